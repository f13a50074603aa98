//! Waiting for the application's bytes.
//!
//! In: a connection and a moment. Out: that bytes have come, that none will, or that it took too
//! long. A connection on which nothing is under way ends when the process wants it to.

use std::pin::Pin;
use std::task::Poll;

use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::call::Client;
use crate::stream::READ_BYTES;

/// Wakes a connection that waits between requests when the process wants it to end.
pub(super) struct Closed<'a, 'n> {
    told: Pin<&'a mut Notified<'n>>,
    /// Registered: once is enough, since a connection stays on its task. It would cost a lock per call.
    listens: bool,
}

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// Bytes came.
    Read,
    /// None will: an end, a reset, or the process wants the connection to end.
    Ended,
    /// None came in time.
    Slow,
}

// === impl Closed ===

impl<'a, 'n> Closed<'a, 'n> {
    /// Not registered yet.
    pub(super) fn new(told: Pin<&'a mut Notified<'n>>) -> Self {
        Self { told, listens: false }
    }
}

/// Waits for more bytes until `due`. When nothing is under way, `idle`, the wait also ends when the process
/// wants it to.
pub(super) async fn wait(
    client: &mut Client,
    due: Option<Instant>,
    idle: bool,
    closed: &mut Closed<'_, '_>,
) -> Wake {
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
        if idle && client.closing() {
            return Poll::Ready(Wake::Ended);
        }
        client.alarm.poll(cx, due).map(|()| Wake::Slow)
    })
    .await
}
