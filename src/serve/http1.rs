//! HTTP/1 as the application speaks it: one request after the other on one connection.
//!
//! In: a connection. Out: calls, in the order of their requests; a refusal for whatever can't be
//! read one way only, after which the connection ends.

use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use crate::call::{self, Begin, Client, Flow, Request, Tunnelled, refuse};
use crate::config::Protocol;
use crate::error::Fault;
use crate::mesh::Local;
use crate::telemetry::{add_one, take_one};
use crate::wire::{HEAD_BYTES_MAX, head_end};

use super::admit::{Admitted, Refusal, admit};
use super::wait::{Closed, Wake, wait};
use super::{Door, Inside};

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

/// Serves requests until the connection ends, or a tunnel is found to have HTTP in it. The first head is due
/// at `head_due` if it has begun.
pub(super) async fn serve(
    local: &Local,
    client: &mut Client,
    door: &Door,
    mut head_due: Option<Instant>,
    closed: &mut Closed<'_, '_>,
) -> Option<Inside> {
    loop {
        let flow = match arrival(local, client, door, head_due.take(), closed).await {
            Arrival::End => Flow::Close,
            Arrival::Refused(refusal) => {
                let Refusal { fault, what, keep_alive, without_body, line, trace } = refusal;
                local.record_refusal(fault, &what, &line, trace, Instant::now());
                refuse(client, fault, &what, keep_alive, without_body).await
            }
            Arrival::Call(admitted) => {
                add_one(&local.stats.in_flight);
                let Admitted { request, tunnel } = admitted;
                let flow = match tunnel {
                    None => Ok(call::run(local, client, request).await),
                    Some(inside) => connect(local, client, request, inside).await,
                };
                take_one(&local.stats.in_flight);
                match flow {
                    Ok(flow) => flow,
                    Err(inside) => return Some(inside),
                }
            }
        };
        match flow {
            Flow::Again if client.stream.input.is_empty() => client.rest(),
            Flow::Again => {}
            Flow::Close => return None,
            Flow::Linger => {
                client.linger().await;
                return None;
            }
        }
    }
}

/// A tunnel that the application asked for; `Err` is the HTTP that was found in it.
async fn connect(local: &Local, client: &mut Client, request: Request, inside: Door) -> Result<Flow, Inside> {
    let opaque = request.plan.service.protocol == Protocol::Opaque;
    let begin = Begin { asked: true, detect: !opaque, tls: false };
    // In a box of its own: every idle connection would otherwise have room for it.
    match Box::pin(call::tunnel(local, client, request, begin)).await {
        Tunnelled::Over => Ok(Flow::Close),
        Tunnelled::Refused(flow) => Ok(flow),
        Tunnelled::Http(found) => Err(Inside { door: inside, found }),
    }
}

/// Waits for the next request's head and admits it.
async fn arrival(
    local: &Local,
    client: &mut Client,
    door: &Door,
    mut head_due: Option<Instant>,
    closed: &mut Closed<'_, '_>,
) -> Arrival {
    let mut searched = 0;
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
        match wait(client, head_due, head_due.is_none(), closed).await {
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
