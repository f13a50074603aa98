//! The trace headers of one request, gathered while its head is read.
//!
//! In: names and values, in any order. Out: what they say together. Which form counts is decided
//! here: `traceparent` before B3, and the single header of B3 before its several.

use super::b3::{self, B3, B3Headers, Said};
use super::{Told, TraceForm, parse_traceparent};

/// The headers that tell of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceField {
    /// `traceparent` (W3C Trace Context)
    Parent,
    /// `tracestate`: means nothing without its `traceparent`.
    State,
    /// `b3`: all of B3 in one.
    B3,
    /// `x-b3-traceid`
    B3TraceId,
    /// `x-b3-spanid`
    B3SpanId,
    /// `x-b3-parentspanid`
    B3ParentSpanId,
    /// `x-b3-sampled`
    B3Sampled,
    /// `x-b3-flags`: 1 is debug.
    B3Flags,
}

/// The trace headers of one request, as they came.
#[derive(Debug, Default)]
pub struct TraceFields<'h> {
    /// The value of each. One that is repeated is empty, which is broken whichever it is.
    values: [Option<&'h [u8]>; TraceField::ALL.len()],
}

// === impl TraceField ===

impl TraceField {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Parent,
        Self::State,
        Self::B3,
        Self::B3TraceId,
        Self::B3SpanId,
        Self::B3ParentSpanId,
        Self::B3Sampled,
        Self::B3Flags,
    ];

    /// As it is written, and as HTTP/2 spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parent => "traceparent",
            Self::State => "tracestate",
            Self::B3 => "b3",
            Self::B3TraceId => "x-b3-traceid",
            Self::B3SpanId => "x-b3-spanid",
            Self::B3ParentSpanId => "x-b3-parentspanid",
            Self::B3Sampled => "x-b3-sampled",
            Self::B3Flags => "x-b3-flags",
        }
    }
}

// === impl TraceFields ===

impl<'h> TraceFields<'h> {
    /// Takes one header of the request.
    pub fn look(&mut self, field: TraceField, value: &'h [u8]) {
        let slot = &mut self.values[field as usize];
        *slot = Some(if slot.is_some() { b"" } else { value });
    }

    /// Which of them came, by number.
    pub fn seen(&self) -> [bool; TraceField::ALL.len()] {
        self.values.map(|value| value.is_some())
    }

    /// What they say together.
    pub fn told(&self) -> Told {
        let parent = self.value(TraceField::Parent).and_then(parse_traceparent);
        let Some((said, b3)) = self.b3() else {
            return parent.map_or_else(Told::default, |parent| Told {
                ids: Some((parent.trace_id, parent.span_id)),
                sampled: Some(parent.is_sampled()),
                form: parent.form,
            });
        };
        let Some(parent) = parent else {
            return Told { ids: said.ids, sampled: said.sampled, form: TraceForm::B3(b3) };
        };
        let b3 = B3 {
            starts: false,
            // Half an id is passed on only where it is one.
            short: b3.short && parent.trace_id as u64 != 0,
            debug: b3.debug && parent.is_sampled(),
            ..b3
        };
        Told {
            ids: Some((parent.trace_id, parent.span_id)),
            sampled: Some(parent.is_sampled()),
            form: TraceForm::W3cAndB3(b3),
        }
    }

    /// What B3 says, and how.
    fn b3(&self) -> Option<(Said, B3)> {
        let single = self.value(TraceField::B3).and_then(b3::parse_single);
        let multi = b3::parse_multi(|field| self.value(field));
        let headers = match (single, multi) {
            (None, None) => return None,
            (Some(_), None) => B3Headers::Single,
            (None, Some(_)) => B3Headers::Multi,
            (Some(_), Some(_)) => B3Headers::Both,
        };
        let said = single.or(multi)?;
        Some((said, B3 { headers, short: said.short, debug: said.debug, starts: said.ids.is_none() }))
    }

    fn value(&self, field: TraceField) -> Option<&'h [u8]> {
        self.values[field as usize]
    }
}
