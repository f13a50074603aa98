//! The same message in HTTP/1 and in HTTP/2.
//!
//! In: a head in the words of one. Out: the same head in the words of the other (RFC 9113 section 8).
//! Fields of one hop stay behind; what frames the body is written anew.

use bytes::{Buf, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use crate::head::Framing;

use super::chunked::Step;
use super::field::{Field, Kind};
use super::request::Parsed;
use super::response::ResponseHead;
use super::{BodyDecoder, write};

/// A piece of a body that came in the framing of HTTP/1.
#[derive(Debug)]
pub enum Content {
    /// More must be read.
    NeedMore,
    /// Bytes of it.
    Data(Bytes),
    /// Its end.
    End(Option<HeaderMap>),
}

/// Whether HTTP/2 can carry this path: HTTP/1 lets more through than a URI may hold.
pub fn carries(path: &[u8]) -> bool {
    PathAndQuery::try_from(path).is_ok()
}

/// A request head of HTTP/1 as one of HTTP/2.
///
/// # Errors
/// In words, when HTTP/2 can't say it.
pub fn request_of_http1(head: &[u8], fields: &[Field], parsed: &Parsed) -> Result<Request<()>, &'static str> {
    let method = Method::from_bytes(parsed.method.of_bytes(head)).map_err(|_| "no method of HTTP/2")?;
    let path = parsed.target.path.of_bytes(head);
    let path = PathAndQuery::try_from(path).map_err(|_| "HTTP/2 can't carry this path")?;
    let authority = parsed.target.authority.of_bytes(head);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(path);
    let mut request = Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    *request.method_mut() = method;
    *request.uri_mut() = uri.build().map_err(|_| "HTTP/2 can't carry this host")?;
    let is_host = |field: &Field| field.kind == Kind::Host;
    copy_fields(head, fields, request.headers_mut(), is_host)?;
    if parsed.framing == Framing::Chunked {
        request.headers_mut().remove(header::CONTENT_LENGTH);
    }
    Ok(request)
}

/// A response head of HTTP/1 as one of HTTP/2.
///
/// # Errors
/// In words, when HTTP/2 can't say it.
pub fn response_of_http1(
    head: &[u8],
    fields: &[Field],
    parsed: &ResponseHead,
) -> Result<Response<()>, &'static str> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(parsed.status).map_err(|_| "no status of HTTP/2")?;
    copy_fields(head, fields, response.headers_mut(), |_| false)?;
    Ok(response)
}

fn copy_fields(
    head: &[u8],
    fields: &[Field],
    out: &mut HeaderMap,
    skips: impl Fn(&Field) -> bool,
) -> Result<(), &'static str> {
    for field in fields {
        let value = field.value.of_bytes(head);
        let stays = match field.kind {
            Kind::HopByHop
            | Kind::Connection
            | Kind::TransferEncoding
            | Kind::KeepAlive
            | Kind::Upgrade
            | Kind::Expect => true,
            Kind::Te => !value.eq_ignore_ascii_case(b"trailers"),
            Kind::Other
            | Kind::Host
            | Kind::ContentLength
            | Kind::Trace(_)
            | Kind::IdempotencyKey
            | Kind::Precondition
            | Kind::RetryAfter
            | Kind::OutriggerReason
            | Kind::ContentType => false,
        };
        if !stays && !skips(field) {
            append(out, field.name.of_bytes(head), value)?;
        }
    }
    Ok(())
}

fn append(out: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let name = HeaderName::from_bytes(name).map_err(|_| "HTTP/2 can't carry a field's name")?;
    let value = HeaderValue::from_bytes(value).map_err(|_| "HTTP/2 can't carry a field's value")?;
    out.append(name, value);
    Ok(())
}

/// Writes a request head of HTTP/2 as one of HTTP/1 and says how its body is framed.
pub fn http1_of_request(
    method: &Method,
    uri: &Uri,
    fields: &HeaderMap,
    has_body: bool,
    out: &mut BytesMut,
) -> Framing {
    out.extend_from_slice(method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = uri.authority() {
        line(b"host", authority.as_str().as_bytes(), out);
    }
    let has_host = uri.authority().is_some();
    for (name, value) in fields {
        let again = (*name == header::HOST && has_host) || *name == header::COOKIE;
        if !again {
            line(name.as_str().as_bytes(), value.as_bytes(), out);
        }
    }
    cookies(fields, out);
    let framing = match announced(fields) {
        Some(length) => Framing::Length(length),
        None if has_body => Framing::Chunked,
        None => Framing::None,
    };
    if framing == Framing::Chunked {
        line(b"transfer-encoding", b"chunked", out);
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// HTTP/2 may split cookies over several fields, HTTP/1 may not (RFC 9113 section 8.2.3).
fn cookies(fields: &HeaderMap, out: &mut BytesMut) {
    let mut all = fields.get_all(header::COOKIE).iter();
    let Some(first) = all.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for other in all {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(other.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a final response head of HTTP/2 as one of HTTP/1 and says how its body is framed.
/// `ends`: it is all there is; `bodiless`: it may announce a body, but none follows.
pub fn http1_of_response(response: &Response<()>, ends: bool, bodiless: bool, out: &mut BytesMut) -> Framing {
    status_and_fields(response, out);
    let length = announced(response.headers());
    let framing = match length {
        _ if bodiless => Framing::None,
        Some(length) => Framing::Length(length),
        None if ends => Framing::Length(0),
        None => Framing::Chunked,
    };
    match framing {
        Framing::Chunked => line(b"transfer-encoding", b"chunked", out),
        Framing::Length(_) if length.is_none() => line(b"content-length", b"0", out),
        Framing::Length(_) | Framing::None | Framing::UntilClose => {}
    }
    // The stream is over with this message, and that is all a connection of HTTP/1 can say.
    line(b"connection", b"close", out);
    out.extend_from_slice(b"\r\n");
    framing
}

/// Writes an interim response head of HTTP/2 as one of HTTP/1.
pub fn http1_of_interim(response: &Response<()>, out: &mut BytesMut) {
    status_and_fields(response, out);
    out.extend_from_slice(b"\r\n");
}

fn status_and_fields(response: &Response<()>, out: &mut BytesMut) {
    let status = response.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in response.headers() {
        line(name.as_str().as_bytes(), value.as_bytes(), out);
    }
}

fn line(name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn announced(fields: &HeaderMap) -> Option<u64> {
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The next piece of a body, taken from the front of `input`.
///
/// # Errors
/// When the input is no such body.
pub fn content(decoder: &mut BodyDecoder, input: &mut BytesMut) -> Result<Content, &'static str> {
    if decoder.is_done() {
        return Ok(Content::End(None));
    }
    let BodyDecoder::Chunked(chunks) = decoder else {
        let count = decoder.plain(input.len());
        if count == 0 {
            return Ok(Content::NeedMore);
        }
        decoder.took_plain(count);
        return Ok(Content::Data(input.split_to(count).freeze()));
    };
    loop {
        match chunks.step(input).map_err(|_| "the chunked coding is broken")? {
            Step::NeedMore => return Ok(Content::NeedMore),
            Step::Framing(count) => input.advance(count),
            Step::Data(count) => return Ok(Content::Data(input.split_to(count).freeze())),
            Step::End(count) => {
                let trailers = trailers_of_http1(&input[..count]);
                input.advance(count);
                *decoder = BodyDecoder::Done;
                return Ok(Content::End(trailers));
            }
        }
    }
}

fn trailers_of_http1(lines: &[u8]) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    let read = write::each_trailer(lines, |name, value| {
        if write::may_trail(name) {
            // A field that HTTP/2 can't say is left out, as any trailer may be (RFC 9110 section 6.5.1).
            let _ = append(&mut trailers, name, value);
        }
    });
    (read.is_ok() && !trailers.is_empty()).then_some(trailers)
}

/// Writes a piece of a body in the framing of HTTP/1.
pub fn write_content(framing: Framing, piece: &[u8], out: &mut BytesMut) {
    match framing {
        Framing::Chunked => write::chunk(piece, out),
        Framing::Length(_) | Framing::UntilClose => out.extend_from_slice(piece),
        Framing::None => {}
    }
}

/// Writes the end of a body in the framing of HTTP/1, with trailers where it has a place for them.
pub fn write_end(framing: Framing, trailers: Option<&HeaderMap>, out: &mut BytesMut) {
    if framing != Framing::Chunked {
        return;
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        line(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_request;

    fn bridged(head: &str) -> Result<Request<()>, &'static str> {
        let mut fields = Vec::new();
        let parsed = parse_request(head.as_bytes(), &mut fields).expect("well formed").expect("whole");
        request_of_http1(head.as_bytes(), &fields, &parsed)
    }

    #[test]
    fn a_request_keeps_its_fields_and_loses_those_of_its_hop() {
        let request = bridged(
            "POST /a?b HTTP/1.1\r\nHost: shop:80\r\nKeep-Alive: 5\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\n",
        )
        .expect("it can be said");
        assert_eq!(request.uri(), "http://shop:80/a?b");
        let values: Vec<_> = request.headers().get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(request.headers()["content-length"], "3");
        assert!(request.headers().get("keep-alive").is_none() && request.headers().get("host").is_none());
    }

    #[test]
    fn a_path_that_no_uri_holds_is_said() {
        assert!(!carries(b"/<x>") && carries(b"/a?b=%20"));
        assert_eq!(
            bridged("GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n").err(),
            Some("HTTP/2 can't carry this path")
        );
    }

    #[test]
    fn cookies_become_one_field() {
        let request = Request::get("http://shop/").header("cookie", "a=1").header("cookie", "b=2").body(());
        let (parts, ()) = request.expect("a request").into_parts();
        let mut out = BytesMut::new();
        assert_eq!(
            http1_of_request(&parts.method, &parts.uri, &parts.headers, false, &mut out),
            Framing::None
        );
        assert_eq!(&out[..], b"GET / HTTP/1.1\r\nhost: shop\r\ncookie: a=1; b=2\r\n\r\n");
    }

    #[test]
    fn a_chunked_body_is_taken_apart_trailers_included() {
        let mut input = BytesMut::from("3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n");
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        assert!(matches!(content(&mut decoder, &mut input), Ok(Content::Data(data)) if data == "abc"));
        let Ok(Content::End(Some(trailers))) = content(&mut decoder, &mut input) else { panic!("no end") };
        assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("1")));
    }
}
