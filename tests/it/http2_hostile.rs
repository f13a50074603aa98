//! Frames and heads that HTTP/2 forbids: each ends its stream or its connection, and nothing else.

use crate::support::h2_frames::{Frame, PREFACE, block, bytes, code, flag, kind, setting};
use crate::support::h2_script::{hang, ok};
use crate::support::{Fate, RawH2, h2_shop};

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];
const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

/// `GET /` on `stream`.
fn get(stream: u32) -> Frame {
    Frame::headers(stream, flag::WHOLE, GET)
}

/// The head of a `POST /` whose body is to come.
fn post(stream: u32) -> Frame {
    Frame::headers(stream, flag::END_HEADERS, POST)
}

fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::raw(kind, flags, stream, payload)
}

/// Violations that end the connection, with the section of RFC 9113 that says so.
fn connection_errors() -> Vec<(&'static str, Vec<Frame>)> {
    let settings = |name, value| vec![Frame::settings(&[(name, value)])];
    vec![
        ("4.2 a frame over 16,384 bytes", vec![post(1), Frame::data(1, flag::NONE, vec![0; 16_385])]),
        ("4.2 a head over 16,384 bytes", vec![raw(kind::HEADERS, flag::WHOLE, 1, &[0; 16_385])]),
        ("4.3 index 0", vec![raw(kind::HEADERS, flag::WHOLE, 1, &[0x80])]),
        ("4.3 an index past the table", vec![raw(kind::HEADERS, flag::WHOLE, 1, &[0xff, 0x20])]),
        ("4.3 a literal cut short", vec![raw(kind::HEADERS, flag::WHOLE, 1, &[0x00, 0x05, b'a'])]),
        ("4.3 a table over its limit", vec![raw(kind::HEADERS, flag::WHOLE, 1, &[0x3f, 0xe1, 0xff, 0x7f])]),
        ("5.1 DATA on an idle stream", vec![Frame::data(1, flag::NONE, "x")]),
        ("5.1 RST_STREAM on an idle stream", vec![Frame::reset(1, code::CANCEL)]),
        ("5.1 WINDOW_UPDATE on an idle stream", vec![Frame::window_update(1, 100)]),
        ("5.1 CONTINUATION on an idle stream", vec![Frame::continuation(1, flag::END_HEADERS, block(GET))]),
        ("5.1.1 an even stream", vec![get(2)]),
        ("5.1.1 a smaller stream", vec![post(5), get(3)]),
        ("6.1 DATA on stream 0", vec![Frame::data(0, flag::NONE, "x")]),
        ("6.1 padding over the payload", vec![post(1), raw(kind::DATA, flag::PADDED, 1, &[200, 1, 2])]),
        ("6.2 HEADERS on stream 0", vec![get(0)]),
        ("6.2 padding over the block", vec![raw(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, &[200, 1, 2])]),
        ("6.2 another frame inside a block", vec![headers_begun(1), Frame::ping(flag::NONE, [0; 8])]),
        ("6.2 another stream inside a block", vec![headers_begun(1), get(3)]),
        ("6.3 PRIORITY on stream 0", vec![raw(kind::PRIORITY, flag::NONE, 0, &[0, 0, 0, 0, 1])]),
        ("6.4 RST_STREAM on stream 0", vec![Frame::reset(0, code::CANCEL)]),
        ("6.4 RST_STREAM of 3 bytes", vec![post(1), raw(kind::RST_STREAM, flag::NONE, 1, &[0; 3])]),
        ("6.5 SETTINGS on a stream", vec![post(1), raw(kind::SETTINGS, flag::NONE, 1, &[])]),
        ("6.5 SETTINGS of 5 bytes", vec![raw(kind::SETTINGS, flag::NONE, 0, &[0; 5])]),
        ("6.5 an acknowledgement with a payload", vec![raw(kind::SETTINGS, flag::ACK, 0, &[0; 6])]),
        ("6.5.2 ENABLE_PUSH of 2", settings(setting::ENABLE_PUSH, 2)),
        ("6.5.2 a window of 2^31", settings(setting::INITIAL_WINDOW_SIZE, 1 << 31)),
        ("6.5.2 frames of 100 bytes", settings(setting::MAX_FRAME_SIZE, 100)),
        ("6.5.2 frames of 2^24 bytes", settings(setting::MAX_FRAME_SIZE, 1 << 24)),
        (
            "6.6 PUSH_PROMISE of a client",
            vec![post(1), raw(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2])],
        ),
        ("6.7 PING of 7 bytes", vec![raw(kind::PING, flag::NONE, 0, &[0; 7])]),
        ("6.7 PING on a stream", vec![post(1), raw(kind::PING, flag::NONE, 1, &[0; 8])]),
        ("6.8 GOAWAY on a stream", vec![post(1), raw(kind::GOAWAY, flag::NONE, 1, &[0; 8])]),
        ("6.9 WINDOW_UPDATE of 0 for the connection", vec![Frame::window_update(0, 0)]),
        ("6.9 WINDOW_UPDATE of 3 bytes", vec![raw(kind::WINDOW_UPDATE, flag::NONE, 0, &[0; 3])]),
        ("6.9.1 a window over 2^31 - 1", vec![Frame::window_update(0, (1 << 31) - 1)]),
        ("6.10 CONTINUATION without HEADERS", vec![get(1), Frame::continuation(1, flag::END_HEADERS, [])]),
        (
            "6.10 CONTINUATION on stream 0",
            vec![headers_begun(1), Frame::continuation(0, flag::END_HEADERS, [])],
        ),
    ]
}

/// A head whose block has not ended.
fn headers_begun(stream: u32) -> Frame {
    Frame::headers(stream, flag::END_STREAM, GET)
}

/// Violations that end their stream 1; ending the connection is allowed too (section 5.4.1).
fn stream_errors() -> Vec<(&'static str, Vec<Frame>)> {
    let itself = [0, 0, 0, 1, 16];
    vec![
        ("5.1 DATA after the end", vec![get(1), Frame::data(1, flag::NONE, "x")]),
        ("5.1 HEADERS after the end", vec![get(1), get(1)]),
        (
            "5.1 a second head without the end",
            vec![post(1), Frame::headers(1, flag::END_HEADERS, &[("a", "b")])],
        ),
        ("6.3 PRIORITY of 4 bytes", vec![post(1), raw(kind::PRIORITY, flag::NONE, 1, &[0; 4])]),
        ("6.9 WINDOW_UPDATE of 0", vec![post(1), Frame::window_update(1, 0)]),
        ("6.9.1 a window over 2^31 - 1", vec![post(1), Frame::window_update(1, (1 << 31) - 1)]),
        (
            "5.3.1 a head that depends on itself",
            vec![raw(kind::HEADERS, flag::WHOLE | flag::PRIORITY, 1, &[&itself[..], &block(GET)].concat())],
        ),
        ("8.1 uppercase in trailers", vec![post(1), Frame::headers(1, flag::WHOLE, &[("X-A", "b")])]),
    ]
}

#[tokio::test]
async fn what_breaks_the_connection_ends_it_and_no_other() {
    let (_service, proxy) = h2_shop("timeout: off", [hang()]).await;
    let mut other = RawH2::connect(proxy.outbound()).await;
    let mut wrong = Vec::new();
    for (what, frames) in connection_errors() {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send_all(&frames).await;
        match client.fate(u32::MAX).await {
            Fate::Goaway(_) | Fate::Closed => {}
            fate @ (Fate::Status(_) | Fate::Reset(_) | Fate::Silent) => {
                wrong.push(format!("{what}: {fate:?}"))
            }
        }
    }
    assert!(wrong.is_empty(), "want the end of the connection:\n{}", wrong.join("\n"));
    assert!(other.answers_ping().await, "another connection goes on");
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn what_breaks_a_stream_ends_it_and_no_other() {
    let (service, proxy) = h2_shop("timeout: off", [hang()]).await;
    let mut wrong = Vec::new();
    for (what, frames) in stream_errors() {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send_all(&frames).await;
        match client.fate(1).await {
            Fate::Reset(_) if !client.answers_ping().await => wrong.push(format!("{what}: no pong")),
            Fate::Reset(_) | Fate::Goaway(_) | Fate::Closed | Fate::Status(400) => {}
            fate @ (Fate::Status(_) | Fate::Silent) => wrong.push(format!("{what}: {fate:?}")),
        }
    }
    assert!(wrong.is_empty(), "want the end of the stream:\n{}", wrong.join("\n"));
    service.quiet().await;
    assert!(service.requests().iter().all(|seen| seen.method == "GET" || !seen.body.complete));
    proxy.bulkhead(0, 0).await;
    service.now([ok("fine")]);
    assert_eq!(proxy.h2().await.get("/").await.text(), "fine");
}

#[tokio::test]
async fn pseudo_fields_in_trailers_go_no_further() {
    let (service, proxy) = h2_shop("retries: off", [ok("x")]).await;
    let mut client = RawH2::connect(proxy.outbound()).await;
    client.send_all(&[post(1), Frame::headers(1, flag::WHOLE, &[(":path", "/other"), ("x-t", "u")])]).await;
    assert_ne!(client.fate(1).await, Fate::Silent);
    service.quiet().await;
    let trailers = service.requests().into_iter().flat_map(|seen| seen.body.trailers);
    assert!(trailers.into_iter().all(|(name, _)| name == "x-t"), "dropped, or the whole request refused");
    assert_eq!(proxy.h2().await.get("/").await.text(), "x");
}

#[tokio::test]
async fn what_may_be_ignored_is_ignored() {
    let (_service, proxy) = h2_shop("", [ok("x")]).await;
    let padded = [&[3][..], &block(GET), &[0; 3]].concat();
    let cases = [
        ("an unknown frame", vec![raw(0x42, 0xff, 0, b"what?"), get(1)]),
        ("an unknown setting", vec![Frame::settings(&[(0x4242, 7)]), get(1)]),
        ("an unknown flag", vec![Frame::ping(0xfe, [1; 8]), get(1)]),
        ("a reserved bit", vec![raw(kind::WINDOW_UPDATE, flag::NONE, 0, &[0x80, 0, 0, 9]), get(1)]),
        ("PRIORITY on an idle stream", vec![raw(kind::PRIORITY, flag::NONE, 1, &[0, 0, 0, 0, 1]), get(1)]),
        ("a padded head", vec![raw(kind::HEADERS, flag::WHOLE | flag::PADDED, 1, &padded)]),
        (
            "padded and empty DATA",
            vec![
                post(1),
                raw(kind::DATA, flag::PADDED, 1, &[2, b'a', 0, 0]),
                Frame::data(1, flag::NONE, ""),
                Frame::data(1, flag::END_STREAM, "b"),
            ],
        ),
        (
            "a block in three frames",
            vec![
                raw(kind::HEADERS, flag::END_STREAM, 1, &block(GET)[..10]),
                Frame::continuation(1, flag::NONE, []),
                Frame::continuation(1, flag::END_HEADERS, &block(GET)[10..]),
            ],
        ),
        ("no pong was asked for", vec![Frame::ping(flag::ACK, [9; 8]), get(1)]),
    ];
    for (what, frames) in cases {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send_all(&frames).await;
        assert_eq!(client.fate(1).await, Fate::Status(200), "{what}");
        assert!(client.answers_ping().await, "{what}");
    }
}

#[tokio::test]
async fn a_connection_that_only_began_like_http2_ends() {
    let (_service, proxy) = h2_shop("", [ok("x")]).await;
    for start in [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"PRI * HTTP/2.0\r\nHost: shop\r\n\r\n"] {
        let mut client = RawH2::connect_bare(proxy.outbound()).await;
        client.send_bytes(&[start, &bytes(&[Frame::settings(&[])])].concat()).await;
        client.closed().await;
    }
    let mut client = RawH2::connect_bare(proxy.outbound()).await;
    for byte in [PREFACE, &bytes(&[Frame::settings(&[]), get(1)])].concat() {
        client.send_bytes(&[byte]).await;
    }
    assert_eq!(client.fate(1).await, Fate::Status(200), "byte by byte it is still HTTP/2");
}
