//! A service that speaks HTTP/2, as a connection of HTTP/1 for one request.
//!
//! In: the bytes of one request. Out: the bytes of its answer, interim ones and trailers included.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use h2::Reason;
use h2::client::ResponseFuture;
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::head::Framing;
use crate::stream::{Stream, Virtual};
use crate::upstream::http2::Lease;
use crate::wire::{bridge, parse_request};

use super::{Incoming, Outgoing, broken, hand_out, reset};

/// One request on its way to a service that speaks HTTP/2.
#[derive(Debug)]
struct ToService {
    lease: Lease,
    /// The head, until it is whole.
    head: BytesMut,
    /// The answer holds no body whatever it announces.
    bodiless: bool,
    outgoing: Option<Outgoing>,
    response: Option<ResponseFuture>,
    interim_over: bool,
    incoming: Option<Incoming>,
    /// What the call reads next.
    out: BytesMut,
    unprocessed: bool,
}

/// Room on a connection of HTTP/2 as a stream that takes one request of HTTP/1.
pub(in crate::call) fn to_service(lease: Lease) -> Stream {
    Stream::virtual_over(Box::new(ToService {
        lease,
        head: BytesMut::new(),
        bodiless: false,
        outgoing: None,
        response: None,
        interim_over: false,
        incoming: None,
        out: BytesMut::new(),
        unprocessed: false,
    }))
}

impl ToService {
    /// Sends the head once it is whole.
    fn start(&mut self) -> io::Result<()> {
        let mut fields = Vec::new();
        let parsed = parse_request(&self.head, &mut fields).map_err(|no| broken(no.what))?;
        let Some(parsed) = parsed else { return Ok(()) };
        let request = bridge::request_of_http1(&self.head, &fields, &parsed).map_err(broken)?;
        self.bodiless = request.method() == Method::HEAD;
        let ends = matches!(parsed.framing, Framing::None | Framing::Length(0));
        let started = self.lease.start(request, ends);
        let (response, to) = started.map_err(|error| self.lost(&error))?;
        self.response = Some(response);
        let mut outgoing = Outgoing::new(parsed.framing, to);
        outgoing.ended = ends;
        outgoing.input = self.head.split_off(parsed.length);
        self.outgoing = Some(outgoing);
        Ok(())
    }

    /// Waits for the head of the answer and writes it out, interim ones before it.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(response) = &mut self.response else { return Poll::Ready(Ok(())) };
        while !self.interim_over {
            match response.poll_informational(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(interim))) => {
                    bridge::http1_of_interim(&interim, &mut self.out);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Err(_)) | None) => self.interim_over = true,
            }
        }
        let answered = ready!(Pin::new(response).poll(cx));
        let (head, from) = answered.map_err(|error| self.lost(&error))?.into_parts();
        self.response = None;
        let ends = from.is_end_stream();
        let head = http::Response::from_parts(head, ());
        let bodiless = self.bodiless || matches!(head.status().as_u16(), 204 | 304);
        let framing = bridge::http1_of_response(&head, ends, bodiless, &mut self.out);
        let mut incoming = Incoming::new(framing, from);
        incoming.ended = ends;
        self.incoming = Some(incoming);
        Poll::Ready(Ok(()))
    }

    /// RFC 9113 sections 6.8 and 8.7: what was refused was not processed.
    fn lost(&mut self, error: &h2::Error) -> io::Error {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        self.unprocessed = error.is_remote() && (refused || error.is_go_away());
        reset()
    }
}

impl AsyncRead for ToService {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(outgoing) = &mut this.outgoing {
            // A service that takes no more of it may answer all the same.
            let _ = outgoing.poll_drain(cx);
        }
        while this.out.is_empty() {
            if this.response.is_some() {
                ready!(this.poll_answer(cx))?;
                continue;
            }
            match &mut this.incoming {
                Some(incoming) if !incoming.ended => ready!(incoming.poll_fill(cx, &mut this.out))?,
                Some(_) => return Poll::Ready(Ok(())),
                // Nothing was asked yet; the write that asks comes from the same task.
                None => return Poll::Pending,
            }
        }
        hand_out(&mut this.out, buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ToService {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(outgoing) = &mut self.outgoing {
            return outgoing.poll_write(cx, bytes);
        }
        self.head.extend_from_slice(bytes);
        self.start()?;
        if let Some(outgoing) = &mut self.outgoing
            && let Poll::Ready(Err(error)) = outgoing.poll_drain(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.poll_drain(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Virtual for ToService {
    fn reset(&mut self) {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.to.send_reset(Reason::CANCEL);
        }
    }

    fn is_unprocessed(&self) -> bool {
        self.unprocessed
    }
}
