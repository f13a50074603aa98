//! What a connection speaks, told from its first bytes.
//!
//! In: the first bytes of a client, and whether more can come. Out: an [`Opening`], or that it is
//! too early to tell. Consumes nothing: whoever serves the connection reads the same bytes again.
//! Once decided, more bytes never change the answer.

mod client_hello;

use super::HEAD_BYTES_MAX;

pub use client_hello::{ClientHello, TLS_HANDSHAKE};

/// What the client side of an HTTP/2 connection begins with (RFC 9113 section 3.4).
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest method that is waited for; the longest registered one has 17 bytes. A shorter bound
/// tells an opaque protocol that begins with letters sooner.
const METHOD_BYTES_MAX: usize = 64;

/// Longest request line that is waited for, empty lines before it included: a longer one has a head
/// that is too large anyway.
const LINE_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// What a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Not enough bytes to tell.
    More,
    /// A first line that ends in `HTTP/1.x`.
    Http1,
    /// The whole client preface of HTTP/2.
    Http2,
    /// TLS, with what its ClientHello says.
    Tls(ClientHello),
    /// None of these.
    Opaque,
}

/// Tells what begins with `bytes`; `ended` says that no more will come, and then the answer is never
/// [`Opening::More`].
pub fn opening(bytes: &[u8], ended: bool) -> Opening {
    let told =
        if bytes.first() == Some(&TLS_HANDSHAKE) { client_hello::opening(bytes, ended) } else { http(bytes) };
    if ended && told == Opening::More { Opening::Opaque } else { told }
}

/// Whether a request of HTTP/1 is for a proxy: CONNECT, or a target in absolute form (RFC 9112 section 3.2).
pub fn asks_a_proxy(bytes: &[u8]) -> bool {
    let Ok(line) = skip_empty_lines(bytes) else { return false };
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let has = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    method == b"CONNECT" || has(b"http://") || has(b"https://")
}

/// Whether a service that begins with `bytes` may be one of HTTP/2, which need not wait for its client:
/// the head of a SETTINGS frame (RFC 9113 sections 3.4 and 6.5). Every prefix of it may.
pub fn opens_like_http2(bytes: &[u8]) -> bool {
    const REST: &[u8] = b"\x04\0\0\0\0\0";
    const ENTRY_BYTES: usize = 6;
    // Settings are few; 16 KiB would be the longest frame, so the first byte is 0.
    let (length, rest) = bytes.split_at(bytes.len().min(3));
    let entries = match *length {
        [high, middle, low] => {
            high == 0 && usize::from(u16::from_be_bytes([middle, low])).is_multiple_of(ENTRY_BYTES)
        }
        [high, ..] => high == 0,
        [] => true,
    };
    entries && REST.starts_with(&rest[..rest.len().min(REST.len())])
}

/// HTTP of either version. The preface of HTTP/2 is made to look like a request of HTTP/1, so both
/// are possible until it is whole.
fn http(bytes: &[u8]) -> Opening {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Opening::Http2;
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return Opening::More;
    }
    match request_line(bytes) {
        Some(true) => Opening::Http1,
        Some(false) => Opening::Opaque,
        None if bytes.len() >= LINE_BYTES_MAX => Opening::Opaque,
        None => Opening::More,
    }
}

/// Whether the first line is a request line: a method, a target, `HTTP/1.x` (RFC 9112 section 3).
/// `None` while it could still become one. Targets are not looked into: what is wrong with them is
/// worth a 400, not a guess.
fn request_line(bytes: &[u8]) -> Option<bool> {
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Ok(line) = skip_empty_lines(line) else { return Some(false) };
    let window = &line[..line.len().min(METHOD_BYTES_MAX + 1)];
    match window.iter().position(|byte| !is_token(*byte)) {
        None if line.len() > METHOD_BYTES_MAX => Some(false),
        None => None,
        Some(0) => Some(false),
        Some(at) if line[at] != b' ' => Some(false),
        Some(at) => {
            let rest = &line[at + 1..];
            let end = memchr::memchr(b'\n', rest)?;
            let rest = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            Some(matches!(rest, [_, .., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']))
        }
    }
}

/// What follows the empty lines that a client may send before a request (RFC 9112 section 2.2).
/// `Err` when a CR is no part of a line end.
fn skip_empty_lines(mut bytes: &[u8]) -> Result<&[u8], ()> {
    loop {
        bytes = match bytes {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => rest,
            [b'\r'] => &[],
            [b'\r', ..] => return Err(()),
            [..] => return Ok(bytes),
        };
    }
}

/// A byte of a method (RFC 9110 section 5.6.2).
const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests;
