//! Heads of HTTP/2 that are no requests (RFC 9113 section 8): refused, and the service sees nothing.

use crate::support::h2_frames::{Frame, code, flag};
use crate::support::h2_script::ok;
use crate::support::{Fate, RawH2, h2_shop};

type Fields = &'static [(&'static str, &'static str)];

const GET: Fields = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

/// What is wrong, and what follows a good `GET /`.
const BAD_FIELDS: &[(&str, Fields)] = &[
    ("8.2.1 an uppercase name", &[("X-A", "b")]),
    ("8.2.1 a space in a name", &[("x a", "b")]),
    ("8.2.1 a colon in a name", &[("x:a", "b")]),
    ("8.2.1 an empty name", &[("", "b")]),
    ("8.2.1 NUL in a value", &[("x-a", "b\0c")]),
    ("8.2.1 CR and LF in a value", &[("x-a", "b\r\nx-smuggled: c")]),
    ("8.2.1 LF in a value", &[("x-a", "b\nc")]),
    ("8.2.2 connection", &[("connection", "keep-alive")]),
    ("8.2.2 proxy-connection", &[("proxy-connection", "keep-alive")]),
    ("8.2.2 keep-alive", &[("keep-alive", "timeout=5")]),
    ("8.2.2 transfer-encoding", &[("transfer-encoding", "chunked")]),
    ("8.2.2 upgrade", &[("upgrade", "websocket")]),
    ("8.2.2 te other than trailers", &[("te", "gzip")]),
    ("8.3 an unknown pseudo field", &[(":what", "b")]),
    ("8.3 a pseudo field of responses", &[(":status", "200")]),
    ("8.3 a pseudo field after a regular one", &[("x-a", "b"), (":protocol", "c")]),
    ("8.3.1 two methods", &[(":method", "GET")]),
    ("8.3.1 two paths", &[(":path", "/")]),
    ("8.3.1 two schemes", &[(":scheme", "http")]),
    ("8.3.1 two authorities", &[(":authority", "shop")]),
    ("8.3.1 Host against :authority", &[("host", "other")]),
    ("8.3.1 two Hosts", &[("host", "shop"), ("host", "shop2")]),
    ("8.1.1 a length that is no number", &[("content-length", "x")]),
    ("8.1.1 two lengths", &[("content-length", "0"), ("content-length", "1")]),
    ("8.1.1 a length with a sign", &[("content-length", "+0")]),
    ("8.1.1 a length without a body", &[("content-length", "5")]),
];

/// What is wrong, and the whole head.
const BAD_HEADS: &[(&str, Fields)] = &[
    ("8.3.1 no method", &[(":scheme", "http"), (":path", "/"), (":authority", "shop")]),
    ("8.3.1 no scheme", &[(":method", "GET"), (":path", "/"), (":authority", "shop")]),
    ("8.3.1 no path", &[(":method", "GET"), (":scheme", "http"), (":authority", "shop")]),
    (
        "8.3.1 an empty path",
        &[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "shop")],
    ),
    (
        "8.3.1 a path without a slash",
        &[(":method", "GET"), (":scheme", "http"), (":path", "a"), (":authority", "shop")],
    ),
    (
        "8.3.1 a space in the path",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a b"), (":authority", "shop")],
    ),
    (
        "8.3.1 a bad authority",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "sh op")],
    ),
    (
        "8.3.1 an empty method",
        &[(":method", ""), (":scheme", "http"), (":path", "/"), (":authority", "shop")],
    ),
    (
        "8.3.1 a space in the method",
        &[(":method", "GE T"), (":scheme", "http"), (":path", "/"), (":authority", "shop")],
    ),
    (
        "8.3 a pseudo field at the end",
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("x-a", "b"), (":authority", "shop")],
    ),
    (
        "8.5 CONNECT with a path",
        &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "shop")],
    ),
    ("nothing at all", &[]),
];

/// Refused by its stream, by a 400, or with the whole connection.
const fn refused(fate: Fate) -> bool {
    matches!(fate, Fate::Reset(_) | Fate::Goaway(_) | Fate::Closed | Fate::Status(400))
}

#[tokio::test]
async fn malformed_heads_are_refused_and_go_nowhere() {
    let (service, proxy) = h2_shop("", [ok("only for a good one")]).await;
    let with_get = BAD_FIELDS.iter().map(|(what, fields)| (*what, [GET, fields].concat()));
    let whole = BAD_HEADS.iter().map(|(what, fields)| (*what, fields.to_vec()));
    let mut wrong = Vec::new();
    for (what, fields) in with_get.chain(whole) {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send(Frame::headers(1, flag::WHOLE, &fields)).await;
        let fate = client.fate(1).await;
        if !refused(fate) {
            wrong.push(format!("{what}: {fate:?}"));
        } else if matches!(fate, Fate::Reset(_) | Fate::Status(_)) && !client.answers_ping().await {
            wrong.push(format!("{what}: {fate:?}, then no pong"));
        }
    }
    assert!(wrong.is_empty(), "want 400 or a stream error:\n{}", wrong.join("\n"));
    assert_eq!(service.attempts(), 0, "the service saw {:?}", service.requests());
    assert_eq!(proxy.h2().await.get("/").await.status, 200, "a good one passes");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_is_no_whole_request() {
    let (service, proxy) = h2_shop("retries: off", [ok("only for a good one")]).await;
    let head = |fields: Fields| {
        let post: Fields =
            &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];
        Frame::headers(1, flag::END_HEADERS, &[post, fields].concat())
    };
    let cases = [
        ("shorter", vec![head(&[("content-length", "5")]), Frame::data(1, flag::END_STREAM, "abc")]),
        ("longer", vec![head(&[("content-length", "2")]), Frame::data(1, flag::END_STREAM, "abc")]),
        (
            "longer in two frames",
            vec![head(&[("content-length", "2")]), Frame::data(1, 0, "ab"), Frame::data(1, 0, "c")],
        ),
    ];
    for (what, frames) in cases {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send_all(&frames).await;
        let fate = client.fate(1).await;
        assert!(refused(fate), "{what}: {fate:?}");
    }
    service.quiet().await;
    assert!(service.requests().iter().all(|seen| !seen.body.complete), "{:?}", service.requests());
    proxy.bulkhead(0, 0).await;
    assert_eq!(proxy.h2().await.get("/").await.status, 200, "a good one passes");
}

#[tokio::test]
async fn the_proxy_goes_on_after_each() {
    let (_service, proxy) = h2_shop("", [ok("fine")]).await;
    let mut client = RawH2::connect(proxy.outbound()).await;
    client.send(Frame::headers(1, flag::WHOLE, &[GET, &[("host", "other")]].concat())).await;
    assert_eq!(client.fate(1).await, Fate::Status(400), "no guess which of the two is meant");
    client.send(Frame::headers(3, flag::WHOLE, &[GET, &[("te", "gzip")]].concat())).await;
    assert_eq!(client.fate(3).await, Fate::Reset(code::PROTOCOL_ERROR));
    client.send(Frame::headers(5, flag::WHOLE, &[GET, &[("host", "shop")]].concat())).await;
    assert_eq!(client.fate(5).await, Fate::Status(200));
    assert_eq!(proxy.h2().await.get("/").await.text(), "fine");
    proxy.counted("outrigger_calls_total", &[("reason", "request_malformed")], 1.0).await;
}

#[tokio::test]
async fn a_head_that_names_no_host_has_no_service() {
    let (service, proxy) = h2_shop("", [ok("only for a good one")]).await;
    let nameless: Fields = &[(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let empty = [nameless, &[(":authority", "")]].concat();
    let with_user = [nameless, &[(":authority", "me:pw@shop")]].concat();
    for fields in [nameless.to_vec(), empty, with_user] {
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send(Frame::headers(1, flag::WHOLE, &fields)).await;
        let fate = client.fate(1).await;
        assert!(refused(fate) || fate == Fate::Status(404), "{fate:?}");
    }
    assert_eq!(service.attempts(), 0);
    assert_eq!(proxy.h2().await.get("/").await.status, 200, "a good one passes");
}

#[tokio::test]
async fn a_host_alone_names_the_service() {
    let (service, proxy) = h2_shop("", [ok("fine")]).await;
    let mut client = RawH2::connect(proxy.outbound()).await;
    let fields = &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "shop")];
    client.send(Frame::headers(1, flag::WHOLE, fields)).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    let seen = service.last();
    assert!(seen.authority == "shop" || seen.header("host") == "shop", "{seen:?}");
}
