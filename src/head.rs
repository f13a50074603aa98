//! The shared words for one request: what later stages need to know once the bytes are gone.
//!
//! In: built by `wire` from a parsed head. Out: small `Copy` values; never a slice into a buffer,
//! so that a call can be held across waits while its connection's buffer moves on.

use crate::wire::TraceParent;

/// The methods that policies tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: the response has no body whatever its framing says.
    Head,
    /// `CONNECT`: a successful answer turns the connection into a tunnel.
    Connect,
    /// Any other, known to the policies by its text.
    Other,
}

/// The versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, connections end after a response unless asked otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// How a body is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// This many bytes.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Until the connection ends; responses only.
    UntilClose,
}

/// What is known of a request after its head was parsed.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead {
    /// The method, as far as policies care.
    pub method: Method,
    /// The client's version.
    pub version: Version,
    /// How the request's body is delimited.
    pub framing: Framing,
    /// The client lets its connection be used again.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The client asks to leave HTTP on this connection.
    pub upgrade: bool,
    /// RFC 9110 section 9.2.2 and the request's own fields allow it to be repeated.
    pub idempotent: bool,
    /// The trace this call belongs to.
    pub trace: TraceParent,
}
