//! Response heads: parsed, judged, and written towards the application.
//!
//! In: the bytes of one head. Out: [`ResponseHead`]. A response that contradicts itself is refused
//! as `protocol_error`; what peers in the wild send and can be read one way only is accepted
//! (RFC 9112 sections 4 to 6).

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::BytesMut;

use crate::head::{Framing, Method, Version};

use super::field::{CONNECTION_BYTES_MAX, Field, Kind, Range, list};
use super::request::parse_length;
use super::write::{self, FieldWriter};
use super::{BodyEncoder, HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// A response head that can be read one way only.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead {
    /// Bytes of the head, blank line included.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// How the body is delimited.
    pub framing: Framing,
    /// The service lets its connection be used again.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=`, what the service says of idle connections.
    pub idle_hint: Option<Duration>,
    /// Value of `Retry-After`.
    pub retry_after: Option<Range>,
    /// Value of `outrigger-reason`: the service's own sidecar spoke.
    pub reason: Option<Range>,
    /// `Content-Type: text/event-stream`: it has no end worth waiting for.
    pub event_stream: bool,
    phrase: Range,
    /// The length it states, be there a body or not.
    announced: Option<u64>,
    folded: bool,
    connection_names: bool,
}

/// What the fields of a head say together.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_names: bool,
    connection_bytes: usize,
    idle_hint: Option<Duration>,
    retry_after: Option<Range>,
    reason: Option<Range>,
    event_stream: bool,
}

/// Parses the head at the front of `bytes`, the answer to a request with this method.
/// `Ok(None)`: it is not whole yet.
///
/// # Errors
/// In words for the log, when the service broke HTTP.
pub fn parse_response(
    bytes: &[u8],
    method: Method,
    fields: &mut Vec<Field>,
) -> Result<Option<ResponseHead>, &'static str> {
    match attempt(bytes, method, fields, false) {
        // Only a head with obsolete line folds pays for a second look.
        Err(_) => attempt(bytes, method, fields, true),
        parsed => parsed,
    }
}

fn attempt(
    bytes: &[u8],
    method: Method,
    fields: &mut Vec<Field>,
    folded: bool,
) -> Result<Option<ResponseHead>, &'static str> {
    let mut slots = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(folded);
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut slots) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Complete(_)) => return Err("the response head is over 64 KiB"),
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the response head is over 64 KiB"),
        Err(httparse::Error::TooManyHeaders) => return Err("the response head has over 256 fields"),
        Err(_) => return Err("the response head is not HTTP/1"),
    };
    fields.clear();
    let mut seen = Seen::default();
    for header in response.headers.iter() {
        let field = Field {
            name: Range::of(header.name.as_bytes(), bytes),
            value: Range::of(header.value, bytes),
            kind: Kind::of(header.name.as_bytes()),
        };
        seen.look(&field, header.value)?;
        fields.push(field);
    }
    let status = response.code.unwrap_or_default();
    let http10 = response.version == Some(0);
    if status < 100 {
        return Err("the status is below 100");
    }
    if http10 && seen.chunked {
        return Err("HTTP/1.0 has no transfer codings");
    }
    let framing = seen.framing(status, method)?;
    // A service that announces a body where there is none may well send it.
    let stray_body = never_has_body(status) && (seen.chunked || seen.length.is_some_and(|length| length > 0));
    let closes = framing == Framing::UntilClose || stray_body || seen.close;
    Ok(Some(ResponseHead {
        length,
        status,
        framing,
        keep_alive: !closes && (!http10 || seen.keep_alive),
        idle_hint: seen.idle_hint,
        retry_after: seen.retry_after,
        reason: seen.reason,
        event_stream: seen.event_stream,
        phrase: response.reason.map_or(Range::default(), |phrase| phrase_range(phrase, bytes)),
        announced: seen.length,
        folded,
        connection_names: seen.connection_names,
    }))
}

/// Statuses whose answers have no body, nor a field that announces one (RFC 9112 section 6).
const fn never_has_body(status: u16) -> bool {
    matches!(status, 100..200 | 204)
}

/// The tokeniser hands out a constant for an empty phrase, which lies outside the buffer.
fn phrase_range(phrase: &str, bytes: &[u8]) -> Range {
    if phrase.is_empty() { Range::default() } else { Range::of(phrase.as_bytes(), bytes) }
}

// === impl Seen ===

impl Seen {
    fn look(&mut self, field: &Field, value: &[u8]) -> Result<(), &'static str> {
        match field.kind {
            Kind::ContentLength => {
                // `5, 5` is what some proxies make of two equal fields (RFC 9110 section 8.6).
                for part in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    let length = parse_length(part).ok_or("Content-Length is not a number")?;
                    if self.length.is_some_and(|known| known != length) {
                        return Err("Content-Length has two values");
                    }
                    self.length = Some(length);
                }
            }
            Kind::TransferEncoding if self.chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                return Err("the only transfer coding is a single chunked");
            }
            Kind::TransferEncoding => self.chunked = true,
            Kind::Connection => {
                self.connection_bytes += value.len();
                if self.connection_bytes > CONNECTION_BYTES_MAX {
                    return Err("Connection is over 1 KiB");
                }
                for token in list(value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else {
                        self.connection_names = true;
                    }
                }
            }
            Kind::KeepAlive => self.idle_hint = keep_alive_timeout(value),
            Kind::RetryAfter => self.retry_after = Some(field.value),
            Kind::OutriggerReason => self.reason = Some(field.value),
            Kind::ContentType => {
                const EVENT_STREAM: &[u8] = b"text/event-stream";
                self.event_stream = value
                    .get(..EVENT_STREAM.len())
                    .is_some_and(|front| front.eq_ignore_ascii_case(EVENT_STREAM));
            }
            Kind::Other | Kind::HopByHop | Kind::Host | Kind::Te | Kind::Upgrade | Kind::Expect => {}
            Kind::Trace(_) | Kind::IdempotencyKey | Kind::Precondition => {}
        }
        Ok(())
    }

    /// RFC 9112 section 6.3, for responses.
    fn framing(&self, status: u16, method: Method) -> Result<Framing, &'static str> {
        if self.chunked && self.length.is_some() {
            return Err("Content-Length and Transfer-Encoding contradict each other");
        }
        let tunnel = method == Method::Connect && matches!(status, 200..300);
        if method == Method::Head || never_has_body(status) || status == 304 || tunnel {
            return Ok(Framing::None);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        })
    }
}

/// `timeout=N` in a `Keep-Alive` field, in seconds.
fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    list(value).find_map(|part| {
        let seconds = part.strip_prefix(b"timeout=")?;
        parse_length(seconds).map(Duration::from_secs)
    })
}

/// What the application's side asks of a head that is written to it.
#[derive(Debug, Clone, Copy)]
pub struct ClientSide {
    /// The client's version.
    pub version: Version,
    /// Its connection is used again afterwards.
    pub keep_alive: bool,
}

// === impl ResponseHead ===

impl ResponseHead {
    /// Whether a client of this version can tell the end of the body without the end of its
    /// connection.
    pub fn ends_by_itself(&self, client: Version) -> bool {
        match self.framing {
            Framing::None | Framing::Length(_) => true,
            Framing::Chunked | Framing::UntilClose => client == Version::Http11,
        }
    }
}

/// Writes the head towards the application and says how the body is to be written.
/// Unless the body [ends by itself](ResponseHead::ends_by_itself), the caller must not use the
/// client's connection again.
pub fn client_response(
    parsed: &ResponseHead,
    head: &[u8],
    fields: &[Field],
    client: ClientSide,
    out: &mut BytesMut,
) -> BodyEncoder {
    let rechunk = parsed.framing == Framing::UntilClose && client.version == Version::Http11;
    let unchunk = parsed.framing == Framing::Chunked && client.version == Version::Http10;
    status_line(parsed, head, out);
    let mut writer = FieldWriter::new(head, parsed.folded);
    let mut lengths = 0;
    for field in fields {
        let passes = match field.kind {
            Kind::HopByHop | Kind::Connection | Kind::KeepAlive | Kind::Te => false,
            Kind::Upgrade => parsed.status == 101 || parsed.status == 426,
            Kind::ContentLength | Kind::TransferEncoding if never_has_body(parsed.status) => false,
            Kind::ContentLength => {
                lengths += 1;
                lengths == 1
            }
            Kind::TransferEncoding => client.version == Version::Http11,
            Kind::OutriggerReason => {
                writer.flush(out);
                out.extend_from_slice(b"outrigger-upstream-reason: ");
                write::write_unfolded(field.value.of_bytes(head), out);
                out.extend_from_slice(b"\r\n");
                false
            }
            Kind::Other
            | Kind::Host
            | Kind::Expect
            | Kind::Trace(_)
            | Kind::IdempotencyKey
            | Kind::Precondition
            | Kind::RetryAfter
            | Kind::ContentType => true,
        };
        if !passes {
            continue;
        }
        let named = parsed.connection_names
            && !matches!(field.kind, Kind::ContentLength | Kind::TransferEncoding | Kind::Upgrade)
            && write::named_by_connection(head, fields, field.name.of_bytes(head));
        if field.kind == Kind::ContentLength && lengths == 1 {
            writer.flush(out);
            length_line(parsed, field, head, out);
        } else if !named {
            writer.keep(field, out);
        }
    }
    writer.flush(out);
    if rechunk {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    connection_line(parsed, client, out);
    out.extend_from_slice(b"\r\n");
    let chunked = rechunk || (parsed.framing == Framing::Chunked && !unchunk);
    if chunked { BodyEncoder::Chunked } else { BodyEncoder::Plain }
}

fn status_line(parsed: &ResponseHead, head: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write::decimal(u64::from(parsed.status), out);
    out.extend_from_slice(b" ");
    out.extend_from_slice(parsed.phrase.of_bytes(head));
    out.extend_from_slice(b"\r\n");
}

/// `5, 5` leaves as `5`; HEAD and 304 keep the length they announce though no body follows.
fn length_line(parsed: &ResponseHead, field: &Field, head: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(field.name.of_bytes(head));
    out.extend_from_slice(b": ");
    write::decimal(parsed.announced.unwrap_or_default(), out);
    out.extend_from_slice(b"\r\n");
}

fn connection_line(parsed: &ResponseHead, client: ClientSide, out: &mut BytesMut) {
    if parsed.status == 101 {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    } else if parsed.status >= 200 && !(client.keep_alive && parsed.ends_by_itself(client.version)) {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if parsed.status >= 200 && client.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

#[cfg(test)]
mod tests;
