//! A request that came over HTTP/2, as a connection of HTTP/1 with one request on it.
//!
//! In: the bytes of one answer, interim ones included. Out: the bytes of the request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Method, Response, Uri, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Fault;
use crate::head::{self, Framing};
use crate::stream::{Stream, Virtual};
use crate::wire::{bridge, grpc, parse_response};

use super::super::http2::grpc_reply;
use super::{Body, Incoming, Outgoing, broken, hand_out, reset};

/// One request of an application that speaks HTTP/2.
#[derive(Debug)]
struct FromApplication {
    /// It is a gRPC call, and wants replies of ours as such.
    grpc: bool,
    method: head::Method,
    respond: SendResponse<Bytes>,
    incoming: Incoming,
    /// What is read next: the head, then the body.
    out: BytesMut,
    /// The head of the answer, until it is whole.
    head: BytesMut,
    outgoing: Option<Outgoing>,
}

/// A stream that reads like an application of HTTP/1 which makes this one request.
pub(in crate::call) fn from_application(
    method: &Method,
    uri: &Uri,
    fields: &HeaderMap,
    body: Body,
    respond: SendResponse<Bytes>,
) -> Stream {
    let mut out = BytesMut::new();
    let framing = bridge::http1_of_request(method, uri, fields, !body.is_empty(), &mut out);
    let mut incoming = Incoming::new(framing, body.from);
    for piece in &body.pieces {
        bridge::write_content(framing, piece, &mut out);
    }
    if body.read {
        bridge::write_end(framing, body.trailers.as_ref(), &mut out);
        incoming.ended = true;
    }
    let content_type = fields.get(header::CONTENT_TYPE);
    Stream::virtual_over(Box::new(FromApplication {
        grpc: content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes())),
        method: kind(method),
        respond,
        incoming,
        out,
        head: BytesMut::new(),
        outgoing: None,
    }))
}

/// The fault of a reply of ours; a service's own sidecar speaks under another name by now.
fn own_fault(response: &Response<()>) -> Option<Fault> {
    let reason = response.headers().get("outrigger-reason")?;
    Fault::ALL.into_iter().find(|fault| reason == fault.reason())
}

/// What decides whether an answer has a body.
fn kind(method: &Method) -> head::Method {
    match *method {
        Method::HEAD => head::Method::Head,
        Method::CONNECT => head::Method::Connect,
        _ => head::Method::Other,
    }
}

impl Body {
    fn is_empty(&self) -> bool {
        self.read && self.pieces.is_empty() && self.trailers.is_none()
    }
}

impl FromApplication {
    /// Passes on the heads at the front of `head`: interim ones, then the final one.
    fn answer(&mut self) -> io::Result<()> {
        let mut fields = Vec::new();
        while let Some(parsed) = parse_response(&self.head, self.method, &mut fields).map_err(broken)? {
            let response = bridge::response_of_http1(&self.head, &fields, &parsed).map_err(broken)?;
            self.head.advance(parsed.length);
            if parsed.status < 200 {
                let _ = self.respond.send_informational(response);
                continue;
            }
            if let Some(fault) = own_fault(&response).filter(|_| self.grpc) {
                let reply = grpc_reply(fault, fault.reason());
                let to = self.respond.send_response(reply, true).map_err(|_| reset())?;
                let mut outgoing = Outgoing::new(Framing::None, to);
                outgoing.ended = true;
                self.outgoing = Some(outgoing);
                return Ok(());
            }
            let ends = matches!(parsed.framing, Framing::None | Framing::Length(0));
            let to = self.respond.send_response(response, ends).map_err(|_| reset())?;
            let mut outgoing = Outgoing::new(parsed.framing, to);
            outgoing.ended = ends;
            outgoing.input = std::mem::take(&mut self.head);
            self.outgoing = Some(outgoing);
            return Ok(());
        }
        Ok(())
    }

    /// Ready when the application has gone, or has its whole answer.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Some(outgoing) => {
                // Nobody writes any more, and what was written may still wait for the window.
                if let Poll::Ready(Err(error)) = outgoing.poll_drain(cx) {
                    return Poll::Ready(Err(error));
                }
                if outgoing.ended {
                    return Poll::Ready(Ok(()));
                }
                outgoing.to.poll_reset(cx).map(|_| Err(reset()))
            }
            None => self.respond.poll_reset(cx).map(|_| Err(reset())),
        }
    }
}

impl Drop for FromApplication {
    /// An answer that is given up before its end is a cut one.
    fn drop(&mut self) {
        if let Some(outgoing) = &mut self.outgoing
            && !outgoing.ended
        {
            outgoing.to.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

impl AsyncRead for FromApplication {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.out.is_empty() {
            if this.incoming.ended {
                return this.poll_over(cx);
            }
            ready!(this.incoming.poll_fill(cx, &mut this.out))?;
        }
        hand_out(&mut this.out, buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FromApplication {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(outgoing) = &mut self.outgoing {
            return outgoing.poll_write(cx, bytes);
        }
        self.head.extend_from_slice(bytes);
        self.answer()?;
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.outgoing {
            Some(outgoing) => {
                outgoing.finish();
                outgoing.poll_drain(cx)
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Virtual for FromApplication {
    fn reset(&mut self) {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.to.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}
