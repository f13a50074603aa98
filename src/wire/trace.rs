//! Where a call stands in a trace, as headers say it: W3C Trace Context (level 1) and B3.
//!
//! In: the trace headers of a request. Out: what the caller [`Told`], and, for each attempt, the
//! headers that tell the service the same with the attempt's span id, in the caller's own words. A
//! header that is broken or repeated counts as absent and is not passed on; it never fails a call.
//!
//! A caller that uses both forms has services behind it that know only one of them, so both go on.
//! `traceparent` decides, and B3 is written anew from it: passed on as it came, it would name a span
//! that is not the parent of what the service does.

mod b3;
mod fields;
mod write;

pub use b3::{B3, B3Headers};
pub use fields::{TraceField, TraceFields};
pub use write::SpanPlaces;

/// One position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace, not zero.
    pub trace_id: u128,
    /// The caller's span, or ours once it is passed on; not zero.
    pub span_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
    /// How the caller told us, and how the service is told.
    pub form: TraceForm,
}

/// The headers that a trace is passed on in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceForm {
    /// `traceparent`, of a trace that starts here: the span id is nobody's.
    #[default]
    Own,
    /// `traceparent`, from the caller.
    W3c,
    /// B3, from the caller.
    B3(B3),
    /// Both, from the caller; what `traceparent` says is what counts.
    W3cAndB3(B3),
}

/// What the trace headers of a request say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// The caller's trace and span, neither zero. `None`: the trace starts here.
    pub ids: Option<(u128, u64)>,
    /// The caller's decision. `None`: it left the decision to us.
    pub sampled: Option<bool>,
    /// How it was said.
    pub form: TraceForm,
}

/// `00-` + 32 + `-` + 16 + `-` + 2
const TEXT_BYTES: usize = 55;

/// Reads a `traceparent` value. A broken one is `None`: the call then starts a trace of its own.
/// Versions above 00 are read as far as they are known, as the standard asks.
pub fn parse_traceparent(value: &[u8]) -> Option<TraceParent> {
    let (text, rest) = value.split_at_checked(TEXT_BYTES)?;
    let version = hex(&text[..2])? as u8;
    let rest_ok = rest.is_empty() || (version != 0 && rest[0] == b'-');
    let dashes_ok = text[2] == b'-' && text[35] == b'-' && text[52] == b'-';
    if version == 0xff || !rest_ok || !dashes_ok {
        return None;
    }
    let parent = TraceParent {
        trace_id: hex(&text[3..35])?,
        span_id: hex(&text[36..52])? as u64,
        flags: hex(&text[53..55])? as u8,
        form: TraceForm::W3c,
    };
    (parent.trace_id != 0 && parent.span_id != 0).then_some(parent)
}

/// Lower-case hexadecimal digits only, as both standards demand. At most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

// === impl TraceParent ===

impl TraceParent {
    /// The caller's span; `None` where the trace starts here.
    pub fn caller_span(&self) -> Option<u64> {
        let has_caller = match self.form {
            TraceForm::Own => false,
            TraceForm::W3c | TraceForm::W3cAndB3(_) => true,
            TraceForm::B3(b3) => !b3.starts,
        };
        has_caller.then_some(self.span_id)
    }

    /// Whether it is sampled.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The trace id as 32 digits.
    pub fn trace_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

// === impl TraceForm ===

impl TraceForm {
    /// How B3 is written, where it is.
    pub fn b3(self) -> Option<B3> {
        match self {
            Self::Own | Self::W3c => None,
            Self::B3(b3) | Self::W3cAndB3(b3) => Some(b3),
        }
    }

    /// Whether this header of the caller's belongs to what it told.
    pub fn uses(self, field: TraceField) -> bool {
        let w3c = matches!(self, Self::W3c | Self::W3cAndB3(_));
        match field {
            // The state belongs to the parent it came with (Trace Context section 3.3.1).
            TraceField::Parent | TraceField::State => w3c,
            TraceField::B3 => self.b3().is_some_and(|b3| b3.headers != B3Headers::Multi),
            TraceField::B3TraceId
            | TraceField::B3SpanId
            | TraceField::B3ParentSpanId
            | TraceField::B3Sampled
            | TraceField::B3Flags => self.b3().is_some_and(|b3| b3.headers != B3Headers::Single),
        }
    }
}

#[cfg(test)]
mod tests;
