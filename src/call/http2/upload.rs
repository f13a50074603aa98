//! A request's body on its way to a service that speaks HTTP/2.
//!
//! In: DATA frames of the application. Out: the same towards the service, in step with what the
//! service takes. As long as it is small enough, everything is kept, so that another attempt can
//! send it again; past that, one frame at a time is held.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use crate::mesh::ReplayShare;

use super::super::bridge::Body;

/// Bytes sent before the peer's window is asked about: a whole small message then costs no question.
const UNASKED_BYTES: u64 = 16 * 1024;

/// A request's body.
#[derive(Debug)]
pub(super) struct Upload {
    from: RecvStream,
    /// Everything from the first byte on while `kept`; else what could not be sent yet.
    pieces: VecDeque<Bytes>,
    /// The next of `pieces` that this attempt sends.
    next: usize,
    trailers: Option<HeaderMap>,
    /// The application has ended its request.
    read: bool,
    kept: bool,
    kept_bytes: usize,
    keep_max: usize,
    /// What it holds of the memory for replays.
    share: ReplayShare,
    /// Bytes this attempt has sent.
    written: u64,
    /// This attempt has sent the end too.
    sent: bool,
    /// The body went past `keep_max` before it was whole.
    pub(super) is_long: bool,
}

/// Why a body can't be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// The service takes no more of it. It may have answered all the same.
    Upstream,
    /// The application gave it up.
    ClientGone,
}

// === impl Upload ===

impl Upload {
    /// The body that comes on `from`; at most `keep_max` bytes of it are kept.
    pub(super) fn new(from: RecvStream, keep_max: usize, share: ReplayShare) -> Self {
        Self {
            read: from.is_end_stream(),
            from,
            pieces: VecDeque::new(),
            next: 0,
            trailers: None,
            kept: true,
            kept_bytes: 0,
            keep_max,
            share,
            written: 0,
            sent: false,
            is_long: false,
        }
    }

    /// Whether the application has sent all of it.
    pub(super) fn is_read(&self) -> bool {
        self.read
    }

    /// Whether all of it was sent to the service.
    pub(super) fn is_sent(&self) -> bool {
        self.sent
    }

    /// Whether it is over and has nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.read && self.pieces.is_empty() && self.trailers.is_none() && self.kept
    }

    /// Whether it can be sent from its first byte.
    pub(super) fn is_replayable(&self) -> bool {
        self.kept
    }

    /// Bytes this attempt has sent.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it is the application that keeps it waiting.
    pub(super) fn awaits_client(&self) -> bool {
        !self.read && self.next == self.pieces.len()
    }

    /// Starts from the first byte again, for another attempt.
    pub(super) fn rewind(&mut self) {
        if self.kept {
            self.next = 0;
        }
        self.written = 0;
        self.sent = false;
    }

    /// The head alone was sent, and it ended the request.
    pub(super) fn head_was_all(&mut self) {
        self.sent = true;
    }

    /// No further attempt will want it.
    pub(super) fn stop_keeping(&mut self) {
        if self.kept {
            self.kept = false;
            self.pieces.drain(..self.next);
            self.next = 0;
            self.share.release();
        }
    }

    /// What has come of it so far, for another road. Nothing of it was sent yet.
    pub(super) fn into_body(self) -> Body {
        Body { pieces: self.pieces, trailers: self.trailers, read: self.read, from: self.from }
    }

    /// Takes what the application has sent already, as far as it may be kept.
    pub(super) fn absorb(&mut self, cx: &mut Context<'_>) -> Result<(), SendError> {
        while !self.read && self.kept && self.kept_bytes < self.keep_max {
            match self.poll_take(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(taken) => taken?,
            }
        }
        Ok(())
    }

    /// Sends what can be sent. Ready when all of it was.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut SendStream<Bytes>,
    ) -> Poll<Result<(), SendError>> {
        while !self.sent {
            if let Some(piece) = self.pieces.get(self.next) {
                let after = self.written + piece.len() as u64;
                ready!(poll_room(cx, to, after)).map_err(|()| SendError::Upstream)?;
                self.send_piece(to)?;
            } else if self.read {
                self.send_end(to)?;
            } else {
                ready!(self.poll_take(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_piece(&mut self, to: &mut SendStream<Bytes>) -> Result<(), SendError> {
        let piece = if self.kept {
            self.pieces[self.next].clone()
        } else {
            self.pieces.pop_front().unwrap_or_default()
        };
        self.next += usize::from(self.kept);
        self.written += piece.len() as u64;
        let ends = self.read && self.next == self.pieces.len() && self.trailers.is_none();
        self.sent = ends;
        to.send_data(piece, ends).map_err(|_| SendError::Upstream)
    }

    fn send_end(&mut self, to: &mut SendStream<Bytes>) -> Result<(), SendError> {
        self.sent = true;
        match &self.trailers {
            Some(trailers) => to.send_trailers(trailers.clone()),
            None => to.send_data(Bytes::new(), true),
        }
        .map_err(|_| SendError::Upstream)
    }

    /// Takes one frame of the application.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let gone = |_| SendError::ClientGone;
        match ready!(self.from.poll_data(cx)) {
            Some(piece) => {
                let piece = piece.map_err(gone)?;
                // What is held is bounded here, so the application may send on.
                let _ = self.from.flow_control().release_capacity(piece.len());
                self.read = self.from.is_end_stream();
                self.keep(piece);
            }
            None => {
                self.trailers = ready!(self.from.poll_trailers(cx)).map_err(gone)?;
                self.read = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.kept_bytes += piece.len();
        self.pieces.push_back(piece);
        if self.kept && (self.kept_bytes > self.keep_max || !self.share.grow_to(self.kept_bytes)) {
            self.stop_keeping();
            self.is_long = !self.read;
        }
    }
}

/// Ready when a stream may send what brings it to `after` bytes.
pub(super) fn poll_room(
    cx: &mut Context<'_>,
    to: &mut SendStream<Bytes>,
    after: u64,
) -> Poll<Result<(), ()>> {
    if after <= UNASKED_BYTES { Poll::Ready(Ok(())) } else { poll_capacity(cx, to) }
}

/// Ready when the peer's window lets at least one byte through. Room is asked for only once there is
/// something to send: an idle reservation would pin the connection's last byte.
pub(in crate::call) fn poll_capacity(
    cx: &mut Context<'_>,
    to: &mut SendStream<Bytes>,
) -> Poll<Result<(), ()>> {
    if to.capacity() > 0 {
        return Poll::Ready(Ok(()));
    }
    to.reserve_capacity(1);
    loop {
        match ready!(to.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return Poll::Ready(Ok(())),
            Some(Err(_)) | None => return Poll::Ready(Err(())),
        }
    }
}
