//! HTTP/2 as the application speaks it: many requests at once on one connection.
//!
//! In: a connection whose preface was seen. Out: one call per stream, each in a task of its own;
//! a refusal for whatever can't be routed. Frames, their order and their limits are `h2`'s.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::time::timeout;

use crate::call::{Client, Http2Request, http1_over};
use crate::config::Protocol;
use crate::mesh::Local;
use crate::stream::Stream;
use crate::upstream::http2::{HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES, SMALL_FRAMES_BYTES};

use super::admit_http2::admit;
use super::wait::Closed;
use super::{Door, http1, runners};

/// Most requests of one connection at once.
const STREAMS_MAX: u32 = 1024;

/// Bytes of one request's body that may wait for a service that reads slowly.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// The same for all requests of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// Longest time for the settings of an application to come.
const SETTINGS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Most streams that an application may reset before they were looked at (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 64;

/// Most streams that are reset for errors of the application's, over the life of a connection.
const ERROR_RESETS_MAX: usize = 1024;

/// What comes next on a connection.
enum Arrival {
    /// A request.
    Call(Request<RecvStream>, SendResponse<Bytes>),
    /// The connection has ended.
    End,
}

/// Serves requests until the connection ends.
pub(super) async fn serve(local: &Rc<Local>, stream: Stream, door: &Door) {
    let Ok(Ok(mut connection)) = timeout(SETTINGS_WAIT_MAX, builder().handshake(stream)).await else {
        return;
    };
    let mut told = std::pin::pin!(local.closed.notified());
    let mut closing = false;
    loop {
        let arrival = std::future::poll_fn(|cx| {
            if !closing && (told.as_mut().poll(cx).is_ready() || local.closing.get()) {
                closing = true;
                connection.graceful_shutdown();
            }
            poll_arrival(cx, &mut connection)
        })
        .await;
        match arrival {
            Arrival::Call(request, respond) => start(local, door, request, respond),
            Arrival::End => return,
        }
    }
}

fn builder() -> Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .data_frame_budget(SMALL_FRAMES_BYTES)
        .enable_connect_protocol();
    builder
}

fn poll_arrival(
    cx: &mut std::task::Context<'_>,
    connection: &mut Connection<Stream, Bytes>,
) -> Poll<Arrival> {
    match std::task::ready!(connection.poll_accept(cx)) {
        Some(Ok((request, respond))) => Poll::Ready(Arrival::Call(request, respond)),
        // The streams that were on it have learned of it already.
        Some(Err(_)) | None => Poll::Ready(Arrival::End),
    }
}

/// Runs one call beside the others.
fn start(local: &Rc<Local>, door: &Door, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let Some(request) = admit(local, door, request, respond) else { return };
    if request.plan.service.protocol != Protocol::Http1 {
        return runners::run(local, request);
    }
    let Http2Request { parts, head, body, respond, .. } = request;
    let stream = http1_over(&parts, head.method, body, respond);
    let (local, door) = (Rc::clone(local), door.clone());
    tokio::task::spawn_local(async move {
        let mut client = Client::new(stream, Rc::clone(&local.closing));
        let told = std::pin::pin!(local.closed.notified());
        let mut closed = Closed::new(told);
        // A request that came by HTTP/2 opens no tunnel that HTTP could be found in.
        let _none = http1::serve(&local, &mut client, &door, None, &mut closed).await;
    });
}
