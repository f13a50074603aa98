//! HTTP/2 as the application speaks it: many requests at once on one connection.
//!
//! In: a connection whose preface was seen. Out: one call per stream, each in a task of its own;
//! a refusal for whatever can't be routed. Frames, their order and their limits are `h2`'s.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::time::timeout;

use crate::mesh::Local;
use crate::stream::{Gathered, Stream};
use crate::upstream::http2::{
    CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, SEND_BUFFER_BYTES, SMALL_FRAMES_BYTES,
    STREAM_WINDOW_BYTES,
};

use super::admit_http2::admit;
use super::churn::Churn;
use super::{Door, runners};

/// Most requests of one connection at once.
const STREAMS_MAX: u32 = 1024;

/// Longest time for the settings of an application to come.
const SETTINGS_WAIT_MAX: Duration = Duration::from_secs(10);

/// Most streams that an application may reset before they were looked at (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 64;

/// Most streams that are reset for errors of the application's, over the life of a connection.
const ERROR_RESETS_MAX: usize = 1024;

/// Serves requests until the connection ends.
pub(super) async fn serve(local: &Rc<Local>, stream: Stream, door: &Door) {
    let io = Gathered::new(stream);
    let mut opening = builder().handshake(io.clone());
    let opened = std::future::poll_fn(|cx| {
        let opened = Pin::new(&mut opening).poll(cx);
        io.end_turn(cx);
        opened
    });
    let Ok(Ok(mut connection)) = timeout(SETTINGS_WAIT_MAX, opened).await else { return };
    let mut told = std::pin::pin!(local.closed.notified());
    let (mut listens, mut closing) = (false, false);
    let churn = Rc::<Churn>::default();
    loop {
        let arrival = std::future::poll_fn(|cx| {
            if !listens {
                // Once is enough, since a connection stays on its task. It would cost a lock per call.
                listens = true;
                let _ = told.as_mut().poll(cx);
                churn.wakes(cx.waker());
            }
            if !closing && local.closing.get() {
                closing = true;
                connection.graceful_shutdown();
            }
            if churn.is_too_much() {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            let arrival = connection.poll_accept(cx);
            if arrival.is_pending() {
                io.end_turn(cx);
            }
            arrival
        })
        .await;
        match arrival {
            Some(Ok((request, respond))) => start(local, door, &churn, request, respond),
            // The streams that were on it have learned of it already.
            Some(Err(_)) | None => return,
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

/// Runs one call beside the others.
fn start(
    local: &Rc<Local>,
    door: &Door,
    churn: &Rc<Churn>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let Some(request) = admit(local, door, request, respond) else { return };
    runners::run(local, request, churn);
}
