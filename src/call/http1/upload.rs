//! A request on its way to the service: its head as written, and its body as it arrives.
//!
//! In: the application's bytes. Out: the same towards the service, in step with what the service
//! takes. As long as it is small enough, everything is kept, so that another attempt can send it
//! again; past that only what is on its way is held.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};

use crate::head::Framing;
use crate::mesh::ReplayShare;
use crate::stream::{BODY_READ_BYTES, Stream, Taken};
use crate::wire::bridge::carries;
use crate::wire::{BodyDecoder, BodyEncoder, BodyError, Moved, SpanPlaces, TraceParent, transcode};

use super::direct::Direct;

/// Most bytes on their way at once, once a body is no longer kept.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// Longest request line remembered after a long body has pushed its head out.
const LINE_BYTES_MAX: usize = 512;

/// A request on its way.
#[derive(Debug)]
pub struct Upload {
    /// The head and, while `kept`, all of the body so far; else what is on its way.
    out: BytesMut,
    /// How much of `out` this attempt has sent.
    sent: usize,
    head_bytes: usize,
    span_places: SpanPlaces,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    /// Body that passes through without being copied; goes out after `out`.
    direct: Direct,
    /// Everything from the first byte on is in `out`.
    kept: bool,
    keep_max: usize,
    /// What it holds of the memory for replays.
    share: ReplayShare,
    /// Bytes this attempt has written to its connection.
    written: u64,
    /// The request line, once the head is no longer in `out`.
    line: Option<Box<[u8]>>,
    /// The body went past `keep_max` before it was whole.
    pub is_long: bool,
}

/// Why a request can't be sent on.
#[derive(Debug)]
pub enum SendError {
    /// The connection to the service failed. It may have answered all the same.
    Upstream,
    /// The application went away before its request was whole.
    ClientGone,
    /// The application's body is broken.
    Body,
}

// === impl Upload ===

impl Upload {
    /// A request whose head stands in `out`, with the span id at `span_places`.
    /// At most `keep_max` bytes of its body are kept.
    pub fn new(
        out: BytesMut,
        span_places: SpanPlaces,
        framing: Framing,
        keep_max: usize,
        share: ReplayShare,
    ) -> Self {
        let encoder = if framing == Framing::Chunked { BodyEncoder::Chunked } else { BodyEncoder::Plain };
        Self {
            head_bytes: out.len(),
            out,
            sent: 0,
            span_places,
            decoder: BodyDecoder::new(framing),
            encoder,
            direct: Direct::default(),
            kept: true,
            keep_max,
            share,
            written: 0,
            line: None,
            is_long: false,
        }
    }

    /// Whether the application has sent all of it.
    pub fn is_read(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether all of it was written to the service.
    pub fn is_sent(&self) -> bool {
        self.is_read() && self.nothing_waits()
    }

    /// Whether it can be sent from its first byte.
    pub fn is_replayable(&self) -> bool {
        self.kept
    }

    /// Whether this attempt has written nothing of it.
    pub fn is_untouched(&self) -> bool {
        self.written == 0
    }

    /// Bytes this attempt has written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether anything of its body has come in.
    pub fn has_body(&self) -> bool {
        !self.kept || self.out.len() > self.head_bytes
    }

    /// Whether it is the application that keeps it waiting.
    pub fn awaits_client(&self) -> bool {
        !self.is_read() && self.nothing_waits()
    }

    /// Whether all that came in was written.
    fn nothing_waits(&self) -> bool {
        self.sent == self.out.len() && self.direct.splice.held() == 0
    }

    /// Whether HTTP/2 can carry its path.
    pub fn fits_http2(&self) -> bool {
        self.request_line().split(|byte| *byte == b' ').nth(1).is_some_and(carries)
    }

    /// The request line as it is sent on.
    pub fn request_line(&self) -> &[u8] {
        self.line.as_deref().unwrap_or_else(|| first_line(&self.out))
    }

    /// The head as it is sent on; empty once a long body has pushed it out.
    pub fn head(&self) -> &[u8] {
        if self.line.is_some() { &[] } else { self.out.get(..self.head_bytes).unwrap_or_default() }
    }

    /// Starts from the first byte again, for another attempt.
    pub fn rewind(&mut self) {
        if self.kept {
            self.sent = 0;
        }
        self.written = 0;
    }

    /// Puts the span id of the attempt into the head.
    pub fn set_span(&mut self, span_id: u64) {
        if self.kept || self.is_untouched() {
            TraceParent::patch_span(&mut self.out, self.span_places, span_id);
        }
    }

    /// Sends what can be sent. Ready when all of it was written.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        service: &mut Stream,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let moved = self.take(client)?;
            if self.sent < self.out.len() {
                match service.poll_write(cx, &self.out[self.sent..]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(SendError::Upstream)),
                    Poll::Ready(Ok(count)) => self.wrote(count),
                }
                continue;
            }
            if self.direct.splice.held() > 0 {
                let given = self.direct.splice.poll_give(cx, service, &mut self.out);
                self.written += std::task::ready!(given).map_err(|_| SendError::Upstream)? as u64;
                continue;
            }
            match moved {
                Moved::End => return Poll::Ready(Ok(())),
                Moved::Full => continue,
                Moved::NeedMore => {}
            }
            if !self.kept && self.decoder.plain(client.input.len()) > 0 {
                std::task::ready!(self.poll_straight(cx, client, service))?;
                continue;
            }
            if !self.kept {
                match std::task::ready!(self.direct.poll_take(cx, client, service, &mut self.decoder)) {
                    Ok(Taken::Bytes(_)) => continue,
                    Ok(Taken::Nothing) => {}
                    Ok(Taken::End) | Err(_) => return Poll::Ready(Err(SendError::ClientGone)),
                }
            }
            match client.poll_fill(cx, BODY_READ_BYTES) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(SendError::ClientGone)),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }

    /// Moves what the application has sent into `out`, as far as it fits.
    fn take(&mut self, client: &mut Stream) -> Result<Moved, SendError> {
        if self.decoder.is_done() {
            return Ok(Moved::End);
        }
        if !self.kept && self.decoder.plain(1) > 0 {
            // Plain content of a body that is not kept is written straight from the read buffer.
            return Ok(Moved::NeedMore);
        }
        let room = if self.kept { self.head_bytes + self.keep_max.max(OUT_BYTES_MAX) } else { OUT_BYTES_MAX };
        let moved = transcode(&mut self.decoder, self.encoder, &mut client.input, &mut self.out, room)
            .map_err(|_: BodyError| SendError::Body)?;
        if self.kept {
            let body = self.out.len() - self.head_bytes;
            let too_long = moved == Moved::Full || body > self.keep_max;
            if too_long || !self.share.grow_to(body) {
                self.stop_keeping();
            }
        }
        Ok(moved)
    }

    /// The body is too large to be kept: from here on it passes through.
    fn stop_keeping(&mut self) {
        self.line = Some(first_line(&self.out).into());
        self.kept = false;
        self.is_long = !self.decoder.is_done();
        self.share.release();
    }

    fn wrote(&mut self, count: usize) {
        self.sent += count;
        self.written += count as u64;
        if !self.kept && self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
    }

    /// Writes plain content from the read buffer without copying it.
    fn poll_straight(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        service: &mut Stream,
    ) -> Poll<Result<(), SendError>> {
        let count = self.decoder.plain(client.input.len());
        let written: Poll<io::Result<usize>> = service.poll_write(cx, &client.input[..count]);
        match std::task::ready!(written) {
            Err(_) => Poll::Ready(Err(SendError::Upstream)),
            Ok(count) => {
                client.input.advance(count);
                self.decoder.took_plain(count);
                self.written += count as u64;
                Poll::Ready(Ok(()))
            }
        }
    }
}

fn first_line(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
    &head[..end.min(LINE_BYTES_MAX)]
}
