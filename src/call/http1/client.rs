//! The application's connection during a call.
//!
//! In: bytes to write to the application. Out: those bytes written, and word of an application
//! that has gone away. Watches the application's side whenever a call waits for something else.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::stream::{Alarm, READ_BYTES, Stream, give_back, take};
use crate::wire::Field;

/// Most bytes of further requests read while one is being answered.
const PIPELINED_BYTES_MAX: usize = READ_BYTES;

/// Most bytes thrown away after a refusal so that its reply is read.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Longest time they are waited for.
const LINGER_WAIT_MAX: Duration = Duration::from_millis(500);

/// The application's connection.
#[derive(Debug)]
pub struct Client {
    /// The socket and its unread input.
    pub stream: Stream,
    /// Written to the application next.
    pub out: BytesMut,
    /// The one timer of this connection.
    pub alarm: Alarm,
    /// Scratch for the fields of a head; holds nothing between uses.
    pub fields: Vec<Field>,
    /// Set when the process wants its connections closed after the call they carry.
    closing: Rc<Cell<bool>>,
}

// === impl Client ===

impl Client {
    /// The connection of an application; `closing` becomes true when it should end soon.
    pub fn new(stream: Stream, closing: Rc<Cell<bool>>) -> Self {
        Self { stream, out: BytesMut::new(), alarm: Alarm::new(), fields: Vec::new(), closing }
    }

    /// Whether the connection should end after this call.
    pub fn closing(&self) -> bool {
        self.closing.get()
    }

    /// Ready when the application has gone away: reset, or ended its side and `end_is_gone`.
    /// What it sends meanwhile is kept for later, within a bound.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, end_is_gone: bool) -> Poll<()> {
        loop {
            if self.stream.ended() {
                return if end_is_gone { Poll::Ready(()) } else { Poll::Pending };
            }
            if self.stream.input.len() >= PIPELINED_BYTES_MAX {
                return Poll::Pending;
            }
            match self.stream.poll_fill(cx, READ_BYTES) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
    }

    /// Writes all of `out`.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, out, .. } = self;
        stream.poll_flush(cx, out)
    }

    /// Writes all of `out`; an application that reads nothing for `patience` is given up.
    pub async fn flush_within(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let mut left = usize::MAX;
        let mut until = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll_flush(cx) {
                return Poll::Ready(done);
            }
            if self.out.len() < left {
                left = self.out.len();
                until = patience.map(|patience| Instant::now() + patience);
            }
            self.alarm.poll(cx, until).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Ends our side and reads a little of what still comes: closing at once would reset the
    /// connection, and the application would lose the reply (RFC 9112 section 9.6).
    pub async fn linger(&mut self) {
        let until = Some(Instant::now() + LINGER_WAIT_MAX);
        let mut left = LINGER_BYTES_MAX;
        let Self { stream, alarm, .. } = self;
        std::future::poll_fn(|cx| {
            if stream.poll_end(cx).is_pending() {
                return alarm.poll(cx, until);
            }
            while left > 0 && !stream.ended() {
                stream.input.clear();
                match stream.poll_fill(cx, READ_BYTES) {
                    Poll::Ready(Ok(read)) => left = left.saturating_sub(read),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return alarm.poll(cx, until),
                }
            }
            Poll::Ready(())
        })
        .await;
        stream.input.clear();
    }

    /// Makes room for one reply, in a buffer that the last one has just left warm.
    pub fn make_room(&mut self) {
        if self.out.capacity() == 0 {
            self.out = take();
        }
    }

    /// Between calls: holds no buffer.
    pub fn rest(&mut self) {
        self.stream.rest();
        if self.out.capacity() > 0 {
            give_back(std::mem::take(&mut self.out));
        }
    }
}
