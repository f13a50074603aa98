//! Writes heads and chunks from what was parsed.
//!
//! In: a parsed head and the buffer it was parsed from. Out: bytes appended to an output buffer.
//! Neighbouring fields that already stand in the one form we write (`Name: value CRLF`) are copied
//! as one run: the bytes are the same, and twenty small copies become two or three.

use bytes::BytesMut;

use super::chunked::ChunkError;
use super::field::{Field, Kind, list};
use super::request::Target;

/// Copies kept fields, run by run.
pub(super) struct FieldWriter<'a> {
    head: &'a [u8],
    runs: bool,
    run: std::ops::Range<usize>,
}

/// The bytes between a name and its value, and after the value, in the form we write.
const SEPARATOR: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

// === impl FieldWriter ===

impl<'a> FieldWriter<'a> {
    /// For fields parsed from `head`. A head with folded lines has no runs: each value is rewritten.
    pub(super) fn new(head: &'a [u8], folded: bool) -> Self {
        Self { head, runs: !folded, run: 0..0 }
    }

    /// Writes `field` as it was spelled.
    pub(super) fn keep(&mut self, field: &Field, out: &mut BytesMut) {
        let (start, value_start) = (field.name.start as usize, field.value.start as usize);
        let (name_end, value_end) = (field.name.end as usize, field.value.end as usize);
        let canonical = self.runs
            && &self.head[name_end..value_start] == SEPARATOR
            && self.head.get(value_end..value_end + LINE_END.len()) == Some(LINE_END);
        if !canonical {
            self.flush(out);
            out.extend_from_slice(&self.head[start..name_end]);
            out.extend_from_slice(SEPARATOR);
            write_unfolded(&self.head[value_start..value_end], out);
            out.extend_from_slice(LINE_END);
            return;
        }
        if self.run.end != start {
            self.flush(out);
            self.run.start = start;
        }
        self.run.end = value_end + LINE_END.len();
    }

    /// Ends the current run. Must be called before anything else is written, and at the end.
    pub(super) fn flush(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(&self.head[self.run.clone()]);
        self.run = 0..0;
    }
}

/// Writes a value whose obsolete line folds (RFC 9112 section 5.2) become one space each.
pub(super) fn write_unfolded(value: &[u8], out: &mut BytesMut) {
    let mut rest = value;
    while let Some(fold) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(rest[..fold].trim_ascii_end());
        out.extend_from_slice(b" ");
        rest = rest[fold..].trim_ascii_start();
    }
    out.extend_from_slice(rest);
}

/// Writes the request line towards the service, always in origin form (or `*`).
pub(super) fn request_line(method: &[u8], target: &Target, head: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(method);
    out.extend_from_slice(b" ");
    let path = target.path.of_bytes(head);
    if path.is_empty() && method == b"OPTIONS" {
        // `OPTIONS http://host` asks the server, not its root (RFC 9112 section 3.2.4).
        out.extend_from_slice(b"*");
    } else if !path.starts_with(b"/") && path != b"*" {
        // `http://host?query` has an empty path, which origin form spells `/`.
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes a decimal number.
pub(super) fn decimal(number: u64, out: &mut BytesMut) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes one chunk. An empty one would end the body, so it is left out.
pub(super) fn chunk(content: &[u8], out: &mut BytesMut) {
    if content.is_empty() {
        return;
    }
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut left = content.len();
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 0xf];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(content);
    out.extend_from_slice(LINE_END);
}

/// Writes the last chunk and those trailer fields that may be passed on.
pub(super) fn last_chunk(trailers: &[u8], out: &mut BytesMut) -> Result<(), ChunkError> {
    out.extend_from_slice(b"0\r\n");
    each_trailer(trailers, |name, value| {
        if may_trail(name) {
            out.extend_from_slice(name);
            out.extend_from_slice(SEPARATOR);
            out.extend_from_slice(value);
            out.extend_from_slice(LINE_END);
        }
    })?;
    out.extend_from_slice(LINE_END);
    Ok(())
}

/// Calls `visit` with the name and value of each trailer field, once all of them were found in order.
/// `trailers` ends with the blank line, or is empty.
pub(super) fn each_trailer(trailers: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), ChunkError> {
    if trailers.len() <= LINE_END.len() {
        return Ok(());
    }
    let mut slots = [httparse::EMPTY_HEADER; TRAILER_FIELDS_MAX];
    match httparse::parse_headers(trailers, &mut slots) {
        Ok(httparse::Status::Complete((length, fields))) if length == trailers.len() => {
            fields.iter().for_each(|field| visit(field.name.as_bytes(), field.value));
            Ok(())
        }
        Ok(_) | Err(_) => Err(ChunkError::BadTrailers),
    }
}

/// Most trailer fields of a chunked body.
const TRAILER_FIELDS_MAX: usize = 64;

/// Fields that frame or route a message must not come after it (RFC 9110 section 6.5.1).
pub(super) fn may_trail(name: &[u8]) -> bool {
    match Kind::of(name) {
        Kind::HopByHop
        | Kind::Host
        | Kind::ContentLength
        | Kind::TransferEncoding
        | Kind::Connection
        | Kind::Te
        | Kind::Upgrade
        | Kind::Expect
        | Kind::KeepAlive
        | Kind::Trace(_) => false,
        Kind::Other
        | Kind::IdempotencyKey
        | Kind::Precondition
        | Kind::RetryAfter
        | Kind::OutriggerReason
        | Kind::ContentType => true,
    }
}

/// Whether the `Connection` fields of a head name this field as one of this hop.
pub(super) fn named_by_connection(head: &[u8], fields: &[Field], name: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.kind == Kind::Connection)
        .any(|field| list(field.value.of_bytes(head)).any(|token| token.eq_ignore_ascii_case(name)))
}
