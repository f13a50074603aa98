//! HTTP/1 as the application speaks it: one request after the other on one connection.
//!
//! In: a connection. Out: calls, in the order of their requests; a refusal for whatever can't be
//! read one way only, after which the connection ends.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::call::{self, Client, Flow, Opening, refuse};
use crate::error::Fault;
use crate::mesh::Local;
use crate::stream::READ_BYTES;
use crate::telemetry::{add_one, take_one};
use crate::wire::{HEAD_BYTES_MAX, head_end};

use super::Door;
use super::admit::{Admitted, Refusal, admit};

/// Longest time for a request's head to arrive, from its first byte.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// What came of waiting for a request.
#[allow(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and a box would be an allocation per call"
)]
enum Arrival {
    /// A request that may go on its way.
    Call(Admitted),
    /// One that may not.
    Refused(Refusal),
    /// The application has ended the connection between requests, or the process wants it ended.
    End,
}

/// Serves requests until the connection ends.
pub(super) async fn serve(local: &Local, client: &mut Client, door: &Door) {
    let told = std::pin::pin!(local.closed.notified());
    let mut closed = Closed { told, listens: false };
    loop {
        let flow = match arrival(local, client, door, &mut closed).await {
            Arrival::End => Flow::Close,
            Arrival::Refused(refusal) => {
                let Refusal { fault, what, keep_alive, without_body, line } = refusal;
                local.record_refusal(fault, &line, Instant::now());
                refuse(client, fault, &what, keep_alive, without_body).await
            }
            Arrival::Call(admitted) => {
                add_one(&local.stats.in_flight);
                let Admitted { request, opens_tunnel } = admitted;
                let flow = if opens_tunnel {
                    call::tunnel(local, client, request, Opening::Connect).await
                } else {
                    call::run(local, client, request).await
                };
                take_one(&local.stats.in_flight);
                flow
            }
        };
        match flow {
            Flow::Again if client.stream.input.is_empty() => client.rest(),
            Flow::Again => {}
            Flow::Close => return,
            Flow::Linger => return client.linger().await,
        }
    }
}

/// Waits for the next request's head and admits it.
async fn arrival(local: &Local, client: &mut Client, door: &Door, closed: &mut Closed<'_, '_>) -> Arrival {
    let mut searched = 0;
    let mut head_due = None;
    loop {
        skip_empty_lines(client);
        if !client.stream.input.is_empty() && head_is_due(client, &mut searched) {
            match admit(local, client, door) {
                Ok(Some(admitted)) => return Arrival::Call(admitted),
                Ok(None) => {}
                Err(refusal) => return Arrival::Refused(refusal),
            }
            searched = client.stream.input.len();
            head_due.get_or_insert_with(|| Instant::now() + HEAD_WAIT_MAX);
        }
        match wait(client, head_due, closed).await {
            Wake::Read => {}
            Wake::Ended => return Arrival::End,
            Wake::Slow => {
                let what = "the request's head did not arrive within 10 s".to_owned();
                return Arrival::Refused(Refusal::unread(Fault::RequestTimeout, what, &client.stream.input));
            }
        }
    }
}

/// Empty lines before a request mean nothing (RFC 9112 section 2.2), so they start no clock.
fn skip_empty_lines(client: &mut Client) {
    let input = &mut client.stream.input;
    loop {
        match &input[..] {
            [b'\r', b'\n', ..] => input.advance(2),
            [b'\n', ..] => input.advance(1),
            [..] => return,
        }
    }
}

/// Whether a parse is worth it: at first, when the head's end is in sight, or when it is too large.
fn head_is_due(client: &Client, searched: &mut usize) -> bool {
    let input = &client.stream.input;
    let due = *searched == 0 || input.len() >= HEAD_BYTES_MAX || head_end(input, *searched).is_some();
    *searched = input.len();
    due
}

/// Wakes a connection that waits between requests when the process wants it to end.
struct Closed<'a, 'n> {
    told: Pin<&'a mut Notified<'n>>,
    /// Registered: once is enough, since a connection stays on its task. It would cost a lock per call.
    listens: bool,
}

enum Wake {
    Read,
    Ended,
    Slow,
}

/// Waits for more of a head. Between requests the wait also ends when the process wants it to.
async fn wait(client: &mut Client, head_due: Option<Instant>, closed: &mut Closed<'_, '_>) -> Wake {
    std::future::poll_fn(|cx| {
        match client.stream.poll_fill(cx, READ_BYTES) {
            Poll::Ready(Ok(read)) if read > 0 => return Poll::Ready(Wake::Read),
            // An end or a reset inside a head: nobody is left who could read a refusal.
            Poll::Ready(_) => return Poll::Ready(Wake::Ended),
            Poll::Pending => {}
        }
        if !closed.listens {
            closed.listens = true;
            let _ = closed.told.as_mut().poll(cx);
        }
        if head_due.is_none() && client.closing() {
            return Poll::Ready(Wake::Ended);
        }
        client.alarm.poll(cx, head_due).map(|()| Wake::Slow)
    })
    .await
}
