//! One header field, as two ranges into the head it was parsed from, and what kind it is.
//!
//! In: a name. Out: [`Kind`]. The kind is decided once, when the head is parsed, so that framing,
//! routing and writing only compare small numbers.

use super::trace::TraceField;

/// A range of bytes in a head. Heads are below 4 GiB by far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// Most bytes of all `Connection` values of a head. Every other field is compared with every name
/// in them, so that without a bound one head of 64 KiB would cost millions of comparisons.
pub(super) const CONNECTION_BYTES_MAX: usize = 1024;

/// One header field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name as it was spelled.
    pub name: Range,
    /// The value without the blanks around it.
    pub value: Range,
    /// Which field it is.
    pub kind: Kind,
}

/// The fields that mean something to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Passed on as it came.
    Other,
    /// Of this hop alone (RFC 9110 section 7.6.1): never passed on.
    HopByHop,
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `TE`
    Te,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
    /// Tells of a trace: `traceparent`, `tracestate`, or a part of B3.
    Trace(TraceField),
    /// `Idempotency-Key`
    IdempotencyKey,
    /// `If-Match`, `If-None-Match` or `If-Unmodified-Since`: repeating may change the answer.
    Precondition,
    /// `Retry-After`
    RetryAfter,
    /// `Keep-Alive`: of this hop, but it tells how long a connection may idle.
    KeepAlive,
    /// `outrigger-reason`: another sidecar spoke.
    OutriggerReason,
    /// `Content-Type`: event streams are judged at their head.
    ContentType,
}

// === impl Range ===

impl Range {
    /// The range of `part` in `whole`; `part` must lie inside it.
    pub fn of(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        debug_assert!(start + part.len() <= whole.len(), "a part lies in its whole");
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    /// The bytes it stands for.
    pub fn of_bytes(self, whole: &[u8]) -> &[u8] {
        &whole[self.start as usize..self.end as usize]
    }
}

// === impl Kind ===

impl Kind {
    /// Which field `name` is. The length picks at most four candidates to compare.
    pub fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            2 if is("b3") => Self::Trace(TraceField::B3),
            4 if is("host") => Self::Host,
            // Reserved: `Connection: close` would name it (RFC 9110 section 7.6.1).
            5 if is("close") => Self::HopByHop,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Other,
            8 if is("if-match") => Self::Precondition,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            10 if is("tracestate") => Self::Trace(TraceField::State),
            10 if is("x-b3-flags") => Self::Trace(TraceField::B3Flags),
            11 if is("traceparent") => Self::Trace(TraceField::Parent),
            11 if is("x-b3-spanid") => Self::Trace(TraceField::B3SpanId),
            11 if is("retry-after") => Self::RetryAfter,
            12 if is("content-type") => Self::ContentType,
            12 if is("x-b3-traceid") => Self::Trace(TraceField::B3TraceId),
            12 if is("x-b3-sampled") => Self::Trace(TraceField::B3Sampled),
            13 if is("if-none-match") => Self::Precondition,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::HopByHop,
            15 if is("idempotency-key") => Self::IdempotencyKey,
            16 if is("proxy-connection") => Self::HopByHop,
            16 if is("outrigger-reason") => Self::OutriggerReason,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            17 if is("x-b3-parentspanid") => Self::Trace(TraceField::B3ParentSpanId),
            18 if is("proxy-authenticate") => Self::Other,
            19 if is("proxy-authorization") => Self::HopByHop,
            19 if is("if-unmodified-since") => Self::Precondition,
            _ => Self::Other,
        }
    }
}

/// The comma-separated parts of a list field, without the blanks around them.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}
