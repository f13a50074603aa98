//! One message of HTTP/1 carried by one stream of HTTP/2, and the other way round.
//!
//! In: a stream of HTTP/2. Out: a byte stream that speaks HTTP/1, so that a call whose two sides
//! differ takes the road of HTTP/1, with every policy, and nothing on it knows the difference.

mod from_application;
mod to_service;

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::ReadBuf;

use crate::head::Framing;
use crate::wire::BodyDecoder;
use crate::wire::bridge::{self, Content};

pub(super) use from_application::from_application;
pub(super) use to_service::to_service;

use super::http2::poll_capacity;

/// Bytes of a body that wait for the window of HTTP/2 before no more are taken.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// A body that has come in part.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// Nothing more comes.
    pub(super) read: bool,
    /// Where the rest of it comes from.
    pub(super) from: RecvStream,
}

/// A body on its way from HTTP/1 to HTTP/2.
#[derive(Debug)]
struct Outgoing {
    decoder: BodyDecoder,
    input: BytesMut,
    to: SendStream<Bytes>,
    piece: Option<Bytes>,
    ended: bool,
}

/// A body on its way from HTTP/2 to HTTP/1.
#[derive(Debug)]
struct Incoming {
    from: RecvStream,
    framing: Framing,
    ended: bool,
}

// === impl Outgoing ===

impl Outgoing {
    fn new(framing: Framing, to: SendStream<Bytes>) -> Self {
        let decoder = BodyDecoder::new(framing);
        Self { decoder, input: BytesMut::new(), to, piece: None, ended: false }
    }

    /// Takes bytes of the body, if not too many wait already.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        if self.input.len() >= WAITING_BYTES_MAX {
            return Poll::Pending;
        }
        self.input.extend_from_slice(bytes);
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Sends what waits. Ready when nothing does.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended {
            if self.piece.is_some() {
                ready!(poll_capacity(cx, &mut self.to)).map_err(|()| reset())?;
                let piece = self.piece.take().unwrap_or_default();
                self.to.send_data(piece, false).map_err(|_| reset())?;
                continue;
            }
            match bridge::content(&mut self.decoder, &mut self.input).map_err(broken)? {
                Content::NeedMore => return Poll::Ready(Ok(())),
                Content::Data(piece) => self.piece = Some(piece),
                Content::End(trailers) => {
                    self.ended = true;
                    match trailers {
                        Some(trailers) => self.to.send_trailers(trailers),
                        None => self.to.send_data(Bytes::new(), true),
                    }
                    .map_err(|_| reset())?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The side of HTTP/1 has ended, and with it a body that lasts until then.
    fn finish(&mut self) {
        let _ = self.decoder.ended();
    }
}

// === impl Incoming ===

impl Incoming {
    fn new(framing: Framing, from: RecvStream) -> Self {
        Self { ended: false, framing, from }
    }

    /// Writes the next piece of the body to `out`, or its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        match ready!(self.from.poll_data(cx)) {
            Some(piece) => {
                let piece = piece.map_err(|_| reset())?;
                bridge::write_content(self.framing, &piece, out);
                // What is held is bounded by the one who reads `out`.
                let _ = self.from.flow_control().release_capacity(piece.len());
            }
            None => {
                let trailers = ready!(self.from.poll_trailers(cx)).map_err(|_| reset())?;
                bridge::write_end(self.framing, trailers.as_ref(), out);
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands out what is ready to be read.
fn hand_out(out: &mut BytesMut, buffer: &mut ReadBuf<'_>) {
    let count = out.len().min(buffer.remaining());
    buffer.put_slice(&out[..count]);
    out.advance(count);
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
