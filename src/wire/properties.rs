//! What holds for every head and body, on inputs made to be nearly right.
//!
//! In: random requests, responses and bodies, well formed or with a flaw. Out: nothing, or the
//! smallest input that breaks an invariant. The fuzz target holds the same invariants on bytes
//! that were not made to look like HTTP.

pub(crate) mod invariants;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;

use crate::head::{Framing, Method, Version};

use super::{BodyEncoder, ClientSide, Moved, parse_request, parse_response};

const REQUEST_FIELDS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0005",
    "Content-Length: +5",
    "Content-Length: 99999999999999999999",
    "content-length:0",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tcHunKed ",
    "Transfer-Encoding: chunked, chunked",
    "Connection: close",
    "Connection: keep-alive, X-One",
    "connection: upgrade , http2-settings",
    "Connection: Content-Length,Host,Expect,Transfer-Encoding,,traceparent",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: x",
    "TE: gzip, trailers;q=1",
    "te: Trailers",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Upgrade: h2c, foo/2",
    "HTTP2-Settings: AA",
    "Expect: 100-continue",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "traceparent: 00-nonsense",
    "tracestate: a=b",
    "B3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-d",
    "b3: 8448eb211c80319c-b7ad6b7169203331",
    "b3: 0",
    "b3: nonsense",
    "X-B3-TraceId: 8448eb211c80319c",
    "X-B3-SpanId: b7ad6b7169203331",
    "X-B3-Sampled: 1",
    "x-b3-flags: 1",
    "Idempotency-Key: 1",
    "Host: other",
    "Host: [::1]:80",
    "Trailer: X-Sum",
    "X-One: 1",
    "X-One:2",
    "X-Empty:",
    "X-Empty:  \t ",
    "X-Spaced : 1",
    "X-Fold: a\r\n b",
    "X-Cr: a\rb",
];

const RESPONSE_FIELDS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 5, 5",
    "content-length: 05",
    "Content-Length: 6",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: gzip",
    "Connection: close",
    "Connection: keep-alive, X-One,\r\n Content-Length",
    "Keep-Alive: timeout=5, max=3",
    "Upgrade: websocket",
    "outrigger-reason: breaker_open",
    "outrigger-reason: a\r\n\t b",
    "Retry-After: 3",
    "Content-Type: text/event-stream",
    "tracestate: a=b",
    "Proxy-Authenticate: x",
    "X-One: 1",
    "X-One:2",
    "X-Empty:",
    "X-Fold: a\r\n  b \n c",
    "X-Fold:\r\n b",
    "X-Fold: a\r\n \r\n b",
];

const TARGETS: &[&str] = &[
    "/",
    "/a?b=/c",
    "//a",
    "/ä<>|",
    "*",
    "http://shop",
    "HTTP://shop:81/a",
    "http://shop?x",
    "http://[::1]:8/a",
    "https://shop/",
    "http://user@shop/",
    "http://shop:80:81/",
    "http://shop#x",
    "shop:443",
    "http:///a",
];

/// A field that was made up: a token, and a value with blanks and bytes beyond ASCII.
fn made_up_field() -> impl Strategy<Value = Vec<u8>> {
    let value =
        vec(prop_oneof![8 => 0x21u8..0x7f, 2 => Just(b' '), 1 => Just(b'\t'), 2 => 0x80u8..=0xff], 0..20);
    ("[!-'*+.^_`|~0-9A-Za-z-]{1,12}", value)
        .prop_map(|(name, value)| [name.replace(['"', '(', ')', ','], "x").as_bytes(), b":", &value].concat())
}

fn fields(known: &'static [&'static str]) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known = select(known).prop_map(|field| field.as_bytes().to_vec());
    vec(prop_oneof![2 => known, 1 => made_up_field()], 0..8)
}

fn head(start: Vec<u8>, fields: &[Vec<u8>], end: &[u8]) -> Vec<u8> {
    let mut head = [start.as_slice(), end].concat();
    for field in fields {
        head.extend_from_slice(field);
        head.extend_from_slice(end);
    }
    [&head, end].concat()
}

fn line_end() -> impl Strategy<Value = &'static [u8]> {
    prop_oneof![3 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..])]
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get", "X!"]);
    let target = prop_oneof![1 => Just("/a"), 2 => select(TARGETS)];
    let version = prop_oneof![4 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    (method, target, version, 0usize..10, fields(REQUEST_FIELDS), line_end()).prop_map(
        |(method, target, version, host, mut fields, end)| {
            if host > 0 {
                fields.insert((host - 1).min(fields.len()), b"hOst:  shop:80".to_vec());
            }
            head(format!("{method} {target} {version}").into_bytes(), &fields, end)
        },
    )
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let status = select(vec!["200", "100", "101", "103", "204", "304", "426", "503", "099", "999"]);
    let version = prop_oneof![4 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    let phrase = select(vec!["", " ", " OK", " ja\u{e4}", " a\tb"]);
    (version, status, phrase, fields(RESPONSE_FIELDS), line_end()).prop_map(
        |(version, status, phrase, fields, end)| {
            head(format!("{version} {status}{phrase}").into_bytes(), &fields, end)
        },
    )
}

/// Puts a byte in, out or another way round; most heads are then still nearly right.
fn with_flaw(base: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (base, any::<Index>(), any::<u8>(), 0u8..6).prop_map(|(mut bytes, at, byte, how)| {
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => {}
        }
        bytes
    })
}

/// One chunk on the wire: content, the spelling of its size, what stands between size and line end.
fn chunks() -> impl Strategy<Value = Vec<(Vec<u8>, bool, &'static str)>> {
    let extension = select(vec!["", " ", ";a", " ;a=b", ";a=\"b;c\"", "\t;\u{e4}"]);
    vec((vec(any::<u8>(), 1..40), any::<bool>(), extension), 0..6)
}

fn coded(chunks: &[(Vec<u8>, bool, &str)], trailers: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (content, long, extension) in chunks {
        let size = if *long { format!("{:04X}", content.len()) } else { format!("{:x}", content.len()) };
        bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(b"\r\n");
    }
    [&bytes, &b"0\r\n"[..], trailers, b"\r\n"].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_forwarded_request_reads_as_it_was_read(bytes in with_flaw(requests()), cut in any::<u16>()) {
        invariants::request(&bytes, cut.into());
    }

    #[test]
    fn a_forwarded_response_reads_as_it_was_read(
        bytes in with_flaw(responses()),
        method in select(vec![Method::Get, Method::Head, Method::Connect]),
        (old, keep_alive) in any::<(bool, bool)>(),
        cut in any::<u16>(),
    ) {
        let version = if old { Version::Http10 } else { Version::Http11 };
        invariants::response(&bytes, method, ClientSide { version, keep_alive }, cut.into());
    }

    #[test]
    fn a_chunked_body_keeps_its_content_and_ends_where_it_ends(
        chunks in chunks(),
        next in vec(any::<u8>(), 0..10),
        cut in any::<u16>(),
    ) {
        let content: Vec<u8> = chunks.iter().flat_map(|(content, _, _)| content.clone()).collect();
        let wire = [coded(&chunks, b"X-Sum: 1\r\nContent-Length: 3\r\nx-e:\r\n"), next.clone()].concat();
        let (plain, end, rest) =
            invariants::moved(Framing::Chunked, BodyEncoder::Plain, &wire, Some(cut.into()));
        prop_assert_eq!((&plain, end, &rest), (&content, Ok(Moved::End), &next));
        let (again, _, _) = invariants::moved(Framing::Chunked, BodyEncoder::Chunked, &wire, Some(cut.into()));
        prop_assert!(again.ends_with(b"0\r\nX-Sum: 1\r\nx-e: \r\n\r\n"));
        invariants::body(Framing::Chunked, &wire, cut.into());
    }

    #[test]
    fn a_flawed_chunked_body_is_the_same_mistake_however_it_is_cut(
        wire in with_flaw(chunks().prop_map(|chunks| coded(&chunks, b"X: 1\r\n"))),
        cut in any::<u16>(),
    ) {
        invariants::body(Framing::Chunked, &wire, cut.into());
    }

    #[test]
    fn bodies_without_coding_are_the_same_however_they_are_cut(
        bytes in vec(any::<u8>(), 0..100), length in 0u64..120, cut in any::<u16>(),
    ) {
        invariants::body(Framing::Length(length), &bytes, cut.into());
        invariants::body(Framing::UntilClose, &bytes, cut.into());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), cut in any::<u16>()) {
        invariants::request(&bytes, cut.into());
        let client = ClientSide { version: Version::Http11, keep_alive: true };
        invariants::response(&bytes, Method::Get, client, cut.into());
        invariants::body(Framing::Chunked, &bytes, cut.into());
        invariants::small_parts(&bytes, cut.into());
    }

    #[test]
    fn a_trace_parent_is_read_as_it_is_written(text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}-?") {
        invariants::small_parts(text.as_bytes(), 7);
    }
}

/// The properties say nothing about heads that are refused, so enough of them must not be.
#[test]
fn the_made_up_heads_are_often_right() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut draw = |strategy: BoxedStrategy<Vec<u8>>| -> Vec<Vec<u8>> {
        let tree = |_| strategy.new_tree(&mut runner).expect("no filters").current();
        (0..500).map(tree).collect()
    };
    let requests = draw(requests().boxed());
    let read = requests.iter().filter(|head| matches!(parse_request(head, &mut Vec::new()), Ok(Some(_))));
    assert!(read.count() > 50);
    let responses = draw(responses().boxed());
    let read = responses
        .iter()
        .filter(|head| matches!(parse_response(head, Method::Get, &mut Vec::new()), Ok(Some(_))));
    assert!(read.count() > 100);
}
