//! HTTP/1 on the wire, and what else an opening may be: bytes in, values out. No sockets, no clock, no policy.
//!
//! In: what was read. Out: heads as ranges into the buffer they were read to, body pieces, and the
//! bytes to send on. Everything that is sent on is written from what was parsed, never passed as
//! it came, so that two readers cannot see two different messages (RFC 9112 section 11.2).

mod body;
pub mod bridge;
mod chunked;
mod field;
pub mod grpc;
mod opening;
mod request;
mod response;
mod scan;
mod trace;
mod write;

#[cfg(test)]
mod properties;

pub use body::{BodyDecoder, BodyEncoder, BodyError, Moved, transcode};
pub use chunked::{ChunkDecoder, ChunkError, Step};
pub use field::{Field, Kind, Range};
pub use opening::{
    ClientHello, HTTP2_PREFACE, Opening, TLS_HANDSHAKE, asks_a_proxy, opening, opens_like_http2,
};
pub use request::{Malformed, Parsed, Target, parse_request, upstream_request};
pub use response::{ClientSide, ResponseHead, client_response, parse_response};
pub use scan::head_end;
pub use trace::{
    B3, B3Headers, SpanPlaces, Told, TraceField, TraceFields, TraceForm, TraceParent, parse_traceparent,
};

/// Most bytes of a head. What peers accept by default: HAProxy 16 KiB, Envoy 60 KiB, nginx 32 KiB.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most fields of a head. Envoy's default is 100; 256 leaves room for generous cookies.
pub const HEAD_FIELDS_MAX: usize = 256;
