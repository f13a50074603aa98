//! Trace headers for the service, each attempt's with a span id of its own.
//!
//! In: where a call stands, and a span id. Out: header values. A head of HTTP/1 is written once, so
//! [`SpanPlaces`] remembers where the span id stands in it, and each attempt puts its own there.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

use super::b3::{B3, B3Headers};
use super::fields::TraceField;
use super::{TEXT_BYTES, TraceForm, TraceParent};

/// Where the span id stands in a head that was written; nowhere by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpanPlaces {
    /// First byte of each, 0 for none: a head begins with a method. At most one for each way to say it.
    at: [u32; 3],
}

/// Where the span id stands in a `traceparent`.
const SPAN_ID_AT: usize = 36;

/// Longest value of `b3`: 32 digits of a trace, 16 of a span, one of a decision, 16 of a parent, and three dashes.
const B3_BYTES_MAX: usize = 68;

fn write_hex(mut number: u128, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

fn span_text(span_id: u64) -> [u8; 16] {
    let mut text = [0; 16];
    write_hex(u128::from(span_id), &mut text);
    text
}

// === impl TraceParent ===

impl TraceParent {
    /// The text of `traceparent`.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut text[3..35]);
        write_hex(u128::from(self.span_id), &mut text[SPAN_ID_AT..SPAN_ID_AT + 16]);
        // Level 1 defines the sampled bit alone; others are not ours to pass on (section 3.2.2.5).
        text[54] = b'0' + (self.flags & 1);
        text
    }

    /// Gives every header that tells the service of the span `span_id`: its value, and where the
    /// span id stands in it, if it does.
    pub fn each_field(&self, span_id: u64, mut give: impl FnMut(TraceField, &[u8], Option<usize>)) {
        if !matches!(self.form, TraceForm::B3(_)) {
            give(TraceField::Parent, &Self { span_id, ..*self }.text(), Some(SPAN_ID_AT));
        }
        let Some(b3) = self.form.b3() else { return };
        if b3.headers != B3Headers::Multi {
            self.single(b3, span_id, &mut give);
        }
        if b3.headers != B3Headers::Single {
            self.multi(b3, span_id, &mut give);
        }
    }

    fn single(&self, b3: B3, span_id: u64, give: &mut impl FnMut(TraceField, &[u8], Option<usize>)) {
        let (mut text, mut length) = ([0; B3_BYTES_MAX], 0);
        let mut put = |part: &[u8]| {
            text[length..length + part.len()].copy_from_slice(part);
            length += part.len();
            length
        };
        put(b3.trace_digits(&mut [0; 32], self.trace_id));
        let span_at = put(b"-");
        put(&span_text(span_id));
        put(match (b3.debug, self.is_sampled()) {
            (true, _) => b"-d",
            (false, true) => b"-1",
            (false, false) => b"-0",
        });
        if let Some(caller) = self.caller_span() {
            put(b"-");
            put(&span_text(caller));
        }
        give(TraceField::B3, &text[..length], Some(span_at));
    }

    fn multi(&self, b3: B3, span_id: u64, give: &mut impl FnMut(TraceField, &[u8], Option<usize>)) {
        give(TraceField::B3TraceId, b3.trace_digits(&mut [0; 32], self.trace_id), None);
        give(TraceField::B3SpanId, &span_text(span_id), Some(0));
        if let Some(caller) = self.caller_span() {
            give(TraceField::B3ParentSpanId, &span_text(caller), None);
        }
        // Debug is a decision: a second one beside it is not sent.
        if b3.debug {
            give(TraceField::B3Flags, b"1", None);
        } else {
            give(TraceField::B3Sampled, if self.is_sampled() { b"1" } else { b"0" }, None);
        }
    }

    /// Writes the lines of HTTP/1. The span id in them is a stand-in for that of each attempt.
    pub(in crate::wire) fn lines(&self, out: &mut BytesMut) -> SpanPlaces {
        let mut places = SpanPlaces::default();
        self.each_field(self.span_id, |field, value, span_at| {
            out.extend_from_slice(field.name().as_bytes());
            out.extend_from_slice(b": ");
            if let Some(at) = span_at {
                places.add(out.len() + at);
            }
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        });
        places
    }

    /// Puts the headers for the span `span_id` into `fields`, in the place of the caller's.
    pub fn put(&self, span_id: u64, fields: &mut HeaderMap) {
        if self.form.uses(TraceField::B3Flags) {
            // Which of them are written depends on more than on which of them came.
            fields.remove(TraceField::B3Sampled.name());
            fields.remove(TraceField::B3Flags.name());
        }
        self.each_field(span_id, |field, value, _| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                fields.insert(field.name(), value);
            }
        });
    }

    /// Puts another span id into a head in which it stands at `places`.
    pub fn patch_span(head: &mut [u8], places: SpanPlaces, span_id: u64) {
        for at in places.at.into_iter().filter(|at| *at != 0) {
            let at = at as usize;
            write_hex(u128::from(span_id), &mut head[at..at + 16]);
        }
    }
}

// === impl B3 ===

impl B3 {
    /// The digits of a trace id, as many as the caller uses.
    fn trace_digits(self, text: &mut [u8; 32], trace_id: u128) -> &[u8] {
        write_hex(trace_id, text);
        if self.short { &text[16..] } else { &text[..] }
    }
}

// === impl SpanPlaces ===

impl SpanPlaces {
    fn add(&mut self, at: usize) {
        if let Some(free) = self.at.iter_mut().find(|place| **place == 0) {
            *free = at as u32;
        }
    }
}
