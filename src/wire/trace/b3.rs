//! B3, the headers of Zipkin: `b3` alone, or `x-b3-*` (github.com/openzipkin/b3-propagation).
//!
//! In: header values. Out: [`Said`]. Trace ids have 64 or 128 bits. A caller may name a decision
//! and no trace (`b3: 0`), or a trace and no decision, which leaves the decision to us.

use super::fields::TraceField;
use super::hex;

/// How a caller uses B3, and so how the service is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct B3 {
    /// Which headers.
    pub headers: B3Headers,
    /// The trace id has 16 digits, not 32.
    pub short: bool,
    /// Sampled whatever anybody's share says (`d`, or flags 1).
    pub debug: bool,
    /// The caller named a decision alone: the trace starts here, the span id is nobody's.
    pub starts: bool,
}

/// The headers of B3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum B3Headers {
    /// `b3`
    Single,
    /// `x-b3-*`
    Multi,
    /// Both; `b3` is the one believed.
    Both,
}

/// What the headers of B3 say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) ids: Option<(u128, u64)>,
    pub(super) sampled: Option<bool>,
    pub(super) short: bool,
    pub(super) debug: bool,
}

/// Digits of a span id, and of a short trace id.
const SPAN_DIGITS: usize = 16;

/// Digits of a long trace id.
const TRACE_DIGITS: usize = 32;

/// Reads `{trace}-{span}[-{0|1|d}[-{parent}]]`, or a decision alone. A broken one is `None`.
pub(super) fn parse_single(value: &[u8]) -> Option<Said> {
    if let [state] = value {
        let (sampled, debug) = state_of(*state)?;
        return Some(Said { ids: None, sampled: Some(sampled), short: false, debug });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let ids = (trace_id(trace)?, span_id(span)?);
    let decision = match parts.next() {
        None => None,
        Some([state]) => Some(state_of(*state)?),
        Some([..]) => return None,
    };
    // The parent of the caller's span is of no use to us, but must be one if it is there.
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    parts.next().is_none().then_some(Said {
        ids: Some(ids),
        sampled: decision.map(|(sampled, _)| sampled),
        short: trace.len() == SPAN_DIGITS,
        debug: decision.is_some_and(|(_, debug)| debug),
    })
}

/// Reads the headers of B3 that come apart. One that is broken breaks them all.
pub(super) fn parse_multi<'h>(value: impl Fn(TraceField) -> Option<&'h [u8]>) -> Option<Said> {
    let trace = value(TraceField::B3TraceId);
    let ids = match (trace, value(TraceField::B3SpanId)) {
        (Some(trace), Some(span)) => Some((trace_id(trace)?, span_id(span)?)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return None,
    };
    match value(TraceField::B3ParentSpanId) {
        Some(parent) if ids.is_some() && span_id(parent).is_some() => {}
        Some(_) => return None,
        None => {}
    }
    let debug = match value(TraceField::B3Flags) {
        Some(b"1") => true,
        Some(b"0") | None => false,
        Some(_) => return None,
    };
    let sampled = match value(TraceField::B3Sampled) {
        // Early senders spelled it out.
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        Some(_) => return None,
        None => None,
    };
    let sampled = if debug { Some(true) } else { sampled };
    let short = trace.is_some_and(|trace| trace.len() == SPAN_DIGITS);
    (ids.is_some() || sampled.is_some()).then_some(Said { ids, sampled, short, debug })
}

/// Whether it is sampled, and whether that is debug.
fn state_of(state: u8) -> Option<(bool, bool)> {
    match state {
        b'0' => Some((false, false)),
        b'1' => Some((true, false)),
        b'd' => Some((true, true)),
        _ => None,
    }
}

fn trace_id(digits: &[u8]) -> Option<u128> {
    let length_ok = matches!(digits.len(), SPAN_DIGITS | TRACE_DIGITS);
    length_ok.then(|| hex(digits)).flatten().filter(|id| *id != 0)
}

fn span_id(digits: &[u8]) -> Option<u64> {
    let digits: &[u8; SPAN_DIGITS] = digits.try_into().ok()?;
    hex(digits).map(|id| id as u64).filter(|id| *id != 0)
}
