//! Request heads: parsed, judged, and written towards the service.
//!
//! In: the bytes of one head. Out: [`Parsed`], with every doubt about framing or routing settled
//! or the request refused (RFC 9112 sections 3 and 6, RFC 9110 section 7.6). The tokeniser is
//! `httparse`; what it leaves to its caller is decided here.

use std::mem::MaybeUninit;

use bytes::BytesMut;

use crate::error::Fault;
use crate::head::{Framing, Method, Version};

use super::field::{CONNECTION_BYTES_MAX, Field, Kind, Range, list};
use super::trace::{SpanPlaces, Told, TraceField, TraceFields, TraceParent};
use super::write::{self, FieldWriter};
use super::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// A request head that can be read one way only.
#[derive(Debug, Clone, Copy)]
pub struct Parsed {
    /// Bytes of the head, blank line included.
    pub length: usize,
    /// The method's text.
    pub method: Range,
    /// The method, as far as policies care.
    pub method_kind: Method,
    /// Where the call wants to go.
    pub target: Target,
    /// The client's version.
    pub version: Version,
    /// How the body is delimited.
    pub framing: Framing,
    /// The client lets its connection be used again.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// Asks to leave HTTP, for something else than `h2c`.
    pub upgrade: bool,
    /// `If-Match`, `If-None-Match` or `If-Unmodified-Since`.
    pub has_precondition: bool,
    /// `Idempotency-Key`.
    pub has_idempotency_key: bool,
    /// What the caller says of its trace.
    pub trace: Told,
    /// Some `Connection` field names other fields.
    connection_names: bool,
}

/// Where a call wants to go (RFC 9112 section 3.2).
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The text was `http://...`, so its authority wins over `Host`.
    pub absolute: bool,
    /// The scheme was `https`.
    pub secure: bool,
    /// `host[:port]`, of the target or else of `Host`; empty if neither names one.
    pub authority: Range,
    /// Path and query.
    pub path: Range,
}

/// Why a request is refused, in words for its author.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// `RequestMalformed` or `HeaderTooLarge`.
    pub fault: Fault,
    /// One plain clause.
    pub what: &'static str,
}

/// What the fields of a head say together.
#[derive(Default)]
struct Seen<'h> {
    host: Option<Range>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    connection_names: bool,
    connection_bytes: usize,
    upgrade: bool,
    expects_continue: bool,
    precondition: bool,
    idempotency_key: bool,
    trace: TraceFields<'h>,
}

const fn malformed(what: &'static str) -> Malformed {
    Malformed { fault: Fault::RequestMalformed, what }
}

/// Parses the head at the front of `bytes`. `Ok(None)`: it is not whole yet. `fields` is filled.
///
/// # Errors
/// When the head could be read two ways, breaks HTTP or is too large.
pub fn parse_request(bytes: &[u8], fields: &mut Vec<Field>) -> Result<Option<Parsed>, Malformed> {
    let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(Malformed { fault: Fault::HeaderTooLarge, what: "the head is over 64 KiB" });
        }
        Err(error) => return Err(tokens(error)),
    };
    if length > HEAD_BYTES_MAX {
        return Err(Malformed { fault: Fault::HeaderTooLarge, what: "the head is over 64 KiB" });
    }
    fields.clear();
    let mut seen = Seen::default();
    for header in request.headers.iter() {
        let field = Field {
            name: Range::of(header.name.as_bytes(), bytes),
            value: Range::of(header.value, bytes),
            kind: Kind::of(header.name.as_bytes()),
        };
        seen.look(&field, header.value)?;
        fields.push(field);
    }
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let method = request.method.unwrap_or_default();
    let method_kind = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    let target = target(request.path.unwrap_or_default().as_bytes(), bytes, method, seen.host)?;
    let framing = seen.framing(version)?;
    if method_kind == Method::Connect {
        // `Host` says nothing there that the target does not, and not every client sends it.
        if !matches!(framing, Framing::None | Framing::Length(0)) {
            return Err(malformed("CONNECT has no body"));
        }
    } else if seen.host.is_none() && version == Version::Http11 {
        return Err(malformed("Host is missing"));
    }
    Ok(Some(Parsed {
        length,
        method: Range::of(method.as_bytes(), bytes),
        method_kind,
        target,
        version,
        framing,
        keep_alive: if version == Version::Http10 { seen.keep_alive && !seen.close } else { !seen.close },
        expects_continue: seen.expects_continue && version == Version::Http11,
        upgrade: seen.upgrade && seen.connection_upgrade && version == Version::Http11,
        has_precondition: seen.precondition,
        has_idempotency_key: seen.idempotency_key,
        trace: seen.trace.told(),
        connection_names: seen.connection_names,
    }))
}

/// The tokeniser's complaint, in our words.
fn tokens(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => {
            Malformed { fault: Fault::HeaderTooLarge, what: "the head has over 256 fields" }
        }
        httparse::Error::HeaderName => {
            malformed("a field name is not a token, or is not followed by a colon")
        }
        httparse::Error::HeaderValue => malformed("a field value has a control byte or a folded line"),
        httparse::Error::NewLine => malformed("a line is not ended by CRLF"),
        httparse::Error::Token => malformed("the request line is broken"),
        httparse::Error::Version => malformed("this is not HTTP/1.0 or HTTP/1.1"),
        httparse::Error::Status => malformed("the request line is broken"),
    }
}

/// Reads the request target in any of its four forms.
fn target(text: &[u8], head: &[u8], method: &str, host: Option<Range>) -> Result<Target, Malformed> {
    let host = host.unwrap_or_default();
    if method == "CONNECT" {
        check_authority(text)?;
        let authority = Range::of(text, head);
        return Ok(Target { absolute: true, secure: false, authority, path: Range::default() });
    }
    if text == b"*" && method != "OPTIONS" {
        return Err(malformed("the target * goes with OPTIONS only"));
    }
    if text.first() == Some(&b'/') || text == b"*" {
        return Ok(Target { absolute: false, secure: false, authority: host, path: Range::of(text, head) });
    }
    let scheme =
        |name: &str| text.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name.as_bytes()));
    let (secure, skip) = match (scheme("http://"), scheme("https://")) {
        (true, _) => (false, "http://".len()),
        (_, true) => (true, "https://".len()),
        (false, false) => return Err(malformed("the target is neither a path nor an http URL")),
    };
    let rest = &text[skip..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    check_authority(&rest[..end])?;
    let authority = Range::of(&rest[..end], head);
    Ok(Target { absolute: true, secure, authority, path: Range::of(&rest[end..], head) })
}

/// An authority is `host[:port]` and holds nothing that another reader could split differently.
fn check_authority(text: &[u8]) -> Result<(), Malformed> {
    let (host, port) = match text.strip_prefix(b"[") {
        Some(rest) => split_before(rest, b']'),
        None => split_before(text, b':'),
    };
    let literal = text.first() == Some(&b'[');
    let port = if literal { port.strip_prefix(b"]") } else { Some(port) };
    let ok = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b'~' | b'%')
            || (literal && *byte == b':')
    };
    if host.is_empty() || !host.iter().all(ok) {
        return Err(malformed("the host is empty or has characters that no host has"));
    }
    match port {
        Some([]) => Ok(()),
        Some([b':', digits @ ..]) if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => Ok(()),
        Some([..]) | None => Err(malformed("what follows the host is no port")),
    }
}

/// Splits before the first `mark`, if there is one.
fn split_before(text: &[u8], mark: u8) -> (&[u8], &[u8]) {
    text.split_at(memchr::memchr(mark, text).unwrap_or(text.len()))
}

// === impl Seen ===

impl<'h> Seen<'h> {
    fn look(&mut self, field: &Field, value: &'h [u8]) -> Result<(), Malformed> {
        match field.kind {
            Kind::Other | Kind::HopByHop | Kind::Te | Kind::KeepAlive | Kind::RetryAfter => {}
            Kind::OutriggerReason | Kind::ContentType => {}
            Kind::Host if self.host.is_some() => return Err(malformed("Host is repeated")),
            Kind::Host => {
                if !value.is_empty() {
                    check_authority(value)?;
                }
                self.host = Some(field.value);
            }
            Kind::ContentLength if self.length.is_some() => {
                return Err(malformed("Content-Length is repeated"));
            }
            Kind::ContentLength => {
                self.length = Some(parse_length(value).ok_or(malformed("Content-Length is not a number"))?);
            }
            Kind::TransferEncoding if self.chunked => return Err(malformed("Transfer-Encoding is repeated")),
            Kind::TransferEncoding if value.eq_ignore_ascii_case(b"chunked") => self.chunked = true,
            Kind::TransferEncoding => return Err(malformed("the only transfer coding is a single chunked")),
            Kind::Connection => self.look_at_connection(value)?,
            Kind::Upgrade => self.upgrade |= list(value).any(|token| !token.eq_ignore_ascii_case(b"h2c")),
            Kind::Expect => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Kind::Trace(which) => self.trace.look(which, value),
            Kind::IdempotencyKey => self.idempotency_key = true,
            Kind::Precondition => self.precondition = true,
        }
        Ok(())
    }

    fn look_at_connection(&mut self, value: &[u8]) -> Result<(), Malformed> {
        self.connection_bytes += value.len();
        if self.connection_bytes > CONNECTION_BYTES_MAX {
            return Err(Malformed { fault: Fault::HeaderTooLarge, what: "Connection is over 1 KiB" });
        }
        for token in list(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            } else {
                self.connection_names = true;
            }
        }
        Ok(())
    }

    /// RFC 9112 section 6.3, for requests.
    fn framing(&self, version: Version) -> Result<Framing, Malformed> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(malformed("Content-Length and Transfer-Encoding contradict each other")),
            (true, None) if version == Version::Http10 => Err(malformed("HTTP/1.0 has no transfer codings")),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }
}

/// `1*DIGIT`, in 64 bits.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Writes the head towards the service. Returns where the span id stands in `out`, so that each
/// attempt can put its own there.
pub fn upstream_request(
    parsed: &Parsed,
    head: &[u8],
    fields: &[Field],
    own_host: &str,
    trace: &TraceParent,
    out: &mut BytesMut,
) -> SpanPlaces {
    write::request_line(parsed.method.of_bytes(head), &parsed.target, head, out);
    let authority = parsed.target.authority.of_bytes(head);
    let host = if authority.is_empty() { own_host.as_bytes() } else { authority };
    let mut writer = FieldWriter::new(head, false);
    let (mut host_written, mut upgrade_written) = (false, false);
    for field in fields {
        if field.kind == Kind::Host {
            if parsed.target.absolute || authority.is_empty() {
                writer.flush(out);
                line(field.name.of_bytes(head), host, out);
            } else {
                writer.keep(field, out);
            }
            host_written = true;
        } else if passes(parsed, trace, head, fields, field) {
            if plain_framing(field, head) {
                writer.keep(field, out);
            } else {
                writer.flush(out);
                framing_line(parsed, field, head, out);
            }
        } else if field.kind == Kind::Upgrade && parsed.upgrade {
            if !upgrade_written {
                writer.flush(out);
                upgrade_lines(head, fields, out);
            }
            upgrade_written = true;
        } else if field.kind == Kind::Te && list(field.value.of_bytes(head)).any(is_trailers) {
            writer.flush(out);
            line(field.name.of_bytes(head), b"trailers", out);
        }
    }
    writer.flush(out);
    if !host_written {
        line(b"Host", host, out);
    }
    let span_places = trace.lines(out);
    out.extend_from_slice(b"\r\n");
    span_places
}

/// Whether a field goes on to the service as it came.
fn passes(parsed: &Parsed, trace: &TraceParent, head: &[u8], fields: &[Field], field: &Field) -> bool {
    let kind_ok = match field.kind {
        Kind::HopByHop | Kind::Connection | Kind::KeepAlive | Kind::Te | Kind::Upgrade | Kind::Host => false,
        // All others are written anew.
        Kind::Trace(which) => which == TraceField::State && trace.form.uses(which),
        Kind::Other
        | Kind::ContentLength
        | Kind::TransferEncoding
        | Kind::Expect
        | Kind::IdempotencyKey
        | Kind::Precondition
        | Kind::RetryAfter
        | Kind::OutriggerReason
        | Kind::ContentType => true,
    };
    // Fields that say when and how a body comes can't be disowned by naming them in `Connection`.
    let framing = matches!(field.kind, Kind::ContentLength | Kind::TransferEncoding | Kind::Expect);
    kind_ok
        && (framing
            || !parsed.connection_names
            || !write::named_by_connection(head, fields, field.name.of_bytes(head)))
}

/// Whether a field that frames the body, if this is one, is spelled as everyone spells it.
fn plain_framing(field: &Field, head: &[u8]) -> bool {
    match field.value.of_bytes(head) {
        [b'0', _, ..] if field.kind == Kind::ContentLength => false,
        coding if field.kind == Kind::TransferEncoding => coding == b"chunked",
        [..] => true,
    }
}

/// `0005` and `cHunked` leave as `5` and `chunked`: the next reader may be less able.
fn framing_line(parsed: &Parsed, field: &Field, head: &[u8], out: &mut BytesMut) {
    let name = field.name.of_bytes(head);
    match parsed.framing {
        Framing::Length(length) => line(name, itoa::Buffer::new().format(length).as_bytes(), out),
        Framing::None | Framing::Chunked | Framing::UntilClose => line(name, b"chunked", out),
    }
}

fn is_trailers(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"trailers")
}

fn line(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `h2c` would leave the mesh on a connection we no longer read; every other protocol is passed on.
fn upgrade_lines(head: &[u8], fields: &[Field], out: &mut BytesMut) {
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
    let mut first = true;
    let upgrades = fields.iter().filter(|field| field.kind == Kind::Upgrade);
    let protocols = upgrades.flat_map(|field| list(field.value.of_bytes(head)));
    for token in protocols.filter(|token| !token.eq_ignore_ascii_case(b"h2c")) {
        if !first {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(token);
        first = false;
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
