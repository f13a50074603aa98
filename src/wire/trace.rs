//! The W3C `traceparent` header (Trace Context level 1, section 3.2).
//!
//! In: a header value, or random numbers. Out: [`TraceParent`], written in 55 bytes of fixed width
//! so that each attempt can put its own span id into a head that is already written.

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
}

/// `00-` + 32 + `-` + 16 + `-` + 2
const TEXT_BYTES: usize = 55;

/// Where the span id stands in the text.
const SPAN_ID_AT: usize = 36;

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

/// Lower-case hexadecimal digits only, as the standard demands.
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

fn write_hex(mut number: u128, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

// === impl TraceParent ===

impl TraceParent {
    /// The text of the header value.
    pub fn text(&self) -> [u8; TEXT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id, &mut text[3..35]);
        write_hex(u128::from(self.span_id), &mut text[36..52]);
        // Level 1 defines the sampled bit alone; others are not ours to pass on (section 3.2.2.5).
        text[54] = b'0' + (self.flags & 1);
        text
    }

    /// Puts another span id into a text that stands at `at` in `head`.
    pub fn patch_span(head: &mut [u8], at: usize, span_id: u64) {
        write_hex(u128::from(span_id), &mut head[at + SPAN_ID_AT..at + SPAN_ID_AT + 16]);
    }

    /// The trace id as 32 digits.
    pub fn trace_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let parent = parse_traceparent(TEXT).expect("the standard's own example");
        assert_eq!(parent.text(), TEXT);
    }

    #[test]
    fn broken_values_start_a_new_trace() {
        for bad in [
            &b""[..],
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            b"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse_traceparent(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        assert!(parse_traceparent(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
    }

    #[test]
    fn an_attempt_puts_its_own_span_into_a_written_head() {
        let mut head = [b"traceparent: ".as_slice(), TEXT].concat();
        TraceParent::patch_span(&mut head, 13, 0x1122_3344_5566_7788);
        assert_eq!(&head[13..], b"00-0af7651916cd43dd8448eb211c80319c-1122334455667788-01");
    }
}
