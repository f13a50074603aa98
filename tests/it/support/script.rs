//! What a scripted service does with one request.
//!
//! A script is a list of these; each request takes the next, whatever its connection, and the
//! last one repeats.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use super::wire::{Wire, pattern};
use super::{ms, upstream::Shared};

/// One action of a scripted service.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// 200 with this body.
    Ok(&'static str),
    /// This status with the body `status NNN`.
    Status(u16),
    /// This status, these header lines (each `name: value`), this body.
    With(u16, &'static [&'static str], &'static str),
    /// 200 with this many bytes of [`pattern`], by length.
    Pattern(usize),
    /// 200 with these chunks, a pause before each but the first, and these trailer lines.
    Chunked(&'static [&'static str], Duration, &'static [&'static str]),
    /// These bytes, verbatim; the connection stays open.
    Raw(&'static str),
    /// These bytes, verbatim; then the connection ends.
    RawClose(&'static str),
    /// RST once the whole request has been read.
    Reset,
    /// RST as soon as the request's head has been read.
    ResetAtHead,
    /// FIN once the whole request has been read.
    CloseUnanswered,
    /// FIN in the middle of the status line and fields.
    CloseMidHead,
    /// FIN after 5 of the 10 declared bytes of the body.
    CloseMidBody,
    /// FIN in the middle of the second chunk; the first is `hello`.
    CloseMidChunk,
    /// No answer, until the peer goes away.
    Hang,
    /// No answer, and the request's body is never read, until the test calls `release`.
    Deaf,
    /// 5 of the 10 declared bytes of a body, then silence until the peer goes away.
    Stall,
    /// The answer after this time, if the peer is still there.
    Delay(Duration, Box<Reply>),
    /// The answer once the test calls `release`, if the peer is still there.
    Held(Box<Reply>),
    /// These bytes as soon as the head was read; the body is then read and thrown away.
    Early(&'static str),
    /// `100 Continue` after the head, then the body is read, then the answer.
    Continue100(Box<Reply>),
    /// `101 Switching Protocols`, then every byte comes back.
    Upgrade,
    /// The answer (that promised a connection to be kept), then FIN.
    ThenClose(Box<Reply>),
}

/// What becomes of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
}

/// `reply` after `millis`.
pub(crate) fn delay(millis: u64, reply: Reply) -> Reply {
    Reply::Delay(ms(millis), Box::new(reply))
}

/// `reply` once the test calls `release`.
pub(crate) fn held(reply: Reply) -> Reply {
    Reply::Held(Box::new(reply))
}

/// `reply`, then FIN.
pub(crate) fn then_close(reply: Reply) -> Reply {
    Reply::ThenClose(Box::new(reply))
}

// === impl Reply ===

impl Reply {
    /// Whether the request's body is read before the action.
    pub(crate) const fn reads_body(&self) -> bool {
        !matches!(self, Self::Early(_) | Self::ResetAtHead | Self::Deaf | Self::Continue100(_))
    }

    /// Acts on a request whose head (and body, if it is to be) was read.
    pub(crate) async fn play(self, wire: &mut Wire, method: &str, shared: &Shared) -> After {
        match self {
            Self::Ok(body) => self_framed(wire, method, 200, &[], body.as_bytes()).await,
            Self::Status(code) => {
                let body = format!("status {code}");
                self_framed(wire, method, code, &[], body.as_bytes()).await
            }
            Self::With(code, fields, body) => self_framed(wire, method, code, fields, body.as_bytes()).await,
            Self::Pattern(length) => large(wire, length, shared).await,
            Self::Chunked(parts, pause, trailers) => chunked(wire, parts, pause, trailers).await,
            Self::Raw(text) => sent(wire, text).await,
            Self::RawClose(text) => close_after(wire, text).await,
            Self::Reset | Self::ResetAtHead => reset(wire),
            Self::CloseUnanswered => After::Close,
            Self::CloseMidHead => close_after(wire, "HTTP/1.1 200 OK\r\nContent-Le").await,
            Self::CloseMidBody => {
                close_after(wire, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await
            }
            Self::CloseMidChunk => {
                close_after(
                    wire,
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\nwor",
                )
                .await
            }
            Self::Hang => silent(wire).await,
            Self::Deaf => {
                shared.released().await;
                After::Close
            }
            Self::Stall => {
                sent(wire, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
                silent(wire).await
            }
            Self::Delay(time, reply) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = wire.closed() => return After::Close, // reading loses nothing: it goes to the buffer
                }
                Box::pin(reply.play(wire, method, shared)).await
            }
            Self::Held(reply) => {
                tokio::select! {
                    () = shared.released() => {}
                    () = wire.closed() => return After::Close, // as above
                }
                Box::pin(reply.play(wire, method, shared)).await
            }
            Self::Early(text) => early(wire, text).await,
            Self::Continue100(reply) => Box::pin(reply.play(wire, method, shared)).await,
            Self::Upgrade => upgrade(wire).await,
            Self::ThenClose(reply) => {
                Box::pin(reply.play(wire, method, shared)).await;
                After::Close
            }
        }
    }
}

async fn self_framed(wire: &mut Wire, method: &str, status: u16, fields: &[&str], body: &[u8]) -> After {
    let bodiless = matches!(status, 204 | 304);
    let mut reply = format!("HTTP/1.1 {status} Scripted\r\n").into_bytes();
    for field in fields {
        reply.extend_from_slice(format!("{field}\r\n").as_bytes());
    }
    if status != 204 {
        reply.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    reply.extend_from_slice(b"\r\n");
    if method != "HEAD" && !bodiless {
        reply.extend_from_slice(body);
    }
    kept(wire.write(&reply).await.is_ok())
}

async fn large(wire: &mut Wire, length: usize, shared: &Shared) -> After {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    if wire.write(head.as_bytes()).await.is_err() {
        return After::Close;
    }
    for block in pattern(length).chunks(64 * 1024) {
        if wire.write(block).await.is_err() {
            return After::Close;
        }
        shared.wrote(block.len());
    }
    After::Keep
}

async fn chunked(wire: &mut Wire, parts: &[&str], pause: Duration, trailers: &[&str]) -> After {
    sent(wire, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            tokio::time::sleep(pause).await;
        }
        if sent(wire, &format!("{:x}\r\n{part}\r\n", part.len())).await == After::Close {
            return After::Close;
        }
    }
    let trailers: String = trailers.iter().map(|line| format!("{line}\r\n")).collect();
    sent(wire, &format!("0\r\n{trailers}\r\n")).await
}

async fn sent(wire: &mut Wire, text: &str) -> After {
    kept(wire.write(text.as_bytes()).await.is_ok())
}

/// Sends `text` and ends the connection a moment later, so that the two are read apart.
async fn close_after(wire: &mut Wire, text: &str) -> After {
    sent(wire, text).await;
    tokio::time::sleep(ms(20)).await;
    After::Close
}

fn reset(wire: &Wire) -> After {
    SockRef::from(&wire.stream).set_linger(Some(ms(0))).expect("SO_LINGER");
    After::Close
}

async fn silent(wire: &mut Wire) -> After {
    wire.closed().await;
    After::Close
}

async fn early(wire: &mut Wire, text: &str) -> After {
    if sent(wire, text).await == After::Keep {
        let _gone = wire.stream.shutdown().await;
        wire.closed().await;
    }
    After::Close
}

async fn upgrade(wire: &mut Wire) -> After {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    sent(wire, head).await;
    loop {
        let (byte, more) = wire.exactly(1).await;
        if !more || wire.write(&byte).await.is_err() {
            return After::Close;
        }
    }
}

const fn kept(written: bool) -> After {
    if written { After::Keep } else { After::Close }
}
