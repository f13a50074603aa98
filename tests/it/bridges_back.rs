//! An HTTP/2 application in front of a service that speaks HTTP/1.

use crate::support::grpc::{ONE_BYTE, assert_own, grpc};
use crate::support::h2_frames::code;
use crate::support::{
    H2Client, Mesh, Outrigger, Reply, Upstream, ask, eventually, held, ms, pattern, shop, within,
};

/// A proxy for a service that is declared to speak HTTP/1.
async fn bridge(policy: &str, script: impl IntoIterator<Item = Reply>) -> (Upstream, Outrigger) {
    shop(&format!("protocol: http1\n{policy}"), script).await
}

#[tokio::test]
async fn a_head_becomes_one_of_http_1() {
    let hop =
        Reply::With(200, &["X-One: Two", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=9"], "x");
    let (upstream, proxy) = bridge("", [hop]).await;
    let fields = [("x-many", "a"), ("x-many", "b"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    let reply = proxy.h2().await.call(ask("GET", "/a?b=c", &fields), "").await;
    assert_eq!((reply.status, reply.header("x-one"), reply.text().as_str()), (200, "Two", "x"));
    for gone in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
        assert_eq!(reply.header(gone), "", "{gone}");
    }
    let seen = upstream.last();
    assert_eq!((seen.line.as_str(), seen.header("host")), ("GET /a?b=c HTTP/1.1", "shop"));
    assert_eq!(seen.header("cookie"), "a=1; b=2", "one field (RFC 9113 section 8.2.3)");
    assert_eq!(seen.head.matches("cookie").count(), 1);
    assert_eq!(seen.fields.iter().filter(|(name, _)| name == "x-many").count(), 2);
    assert_eq!(seen.header("traceparent").len(), 55);
    assert!(!seen.has("transfer-encoding") && !seen.has("via"), "{}", seen.head);
}

#[tokio::test]
async fn bodies_with_and_without_a_length_arrive() {
    let (upstream, proxy) = bridge("", [Reply::Ok("done")]).await;
    let client = proxy.h2().await;
    assert_eq!(client.call(ask("POST", "/", &[("content-length", "4")]), "four").await.text(), "done");
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.header("content-length")), ("four", "4"));
    assert_eq!(client.call_with(ask("POST", "/", &[]), "five!", &[("x-sum", "5")]).await.text(), "done");
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.body.complete), ("five!", true));
    assert!(seen.header("transfer-encoding").eq_ignore_ascii_case("chunked"), "{}", seen.head);
    let (name, value) = &seen.body.trailers[0];
    assert_eq!((name.to_lowercase().as_str(), value.as_str()), ("x-sum", "5"));
    let reply = client.call(ask("POST", "/", &[]), "").await;
    assert_eq!((reply.text().as_str(), upstream.last().text().as_str()), ("done", ""));
    assert!(!upstream.last().has("transfer-encoding"), "an ended head has no body to chunk");
}

#[tokio::test]
async fn trailers_and_interim_heads_come_back() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let script = [Reply::Chunked(&["he", "llo"], ms(1), &["X-Sum: 5"]), Reply::Raw(early)];
    let (_upstream, proxy) = bridge("", script).await;
    let client = proxy.h2().await;
    let reply = client.call(ask("GET", "/", &[("te", "trailers")]), "").await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("hello", false));
    assert_eq!(reply.body.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    let reply = client.get("/").await;
    assert_eq!((reply.status, reply.interim_statuses()), (204, vec![103]));
}

#[tokio::test]
async fn answers_of_every_framing_come_back() {
    let until_close = "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil close";
    let script = [
        Reply::Ok("hello"),
        Reply::Status(204),
        Reply::With(304, &["ETag: \"v\""], ""),
        Reply::Ok("hello"),
        Reply::RawClose(until_close),
    ];
    let (_upstream, proxy) = bridge("", script).await;
    let client = proxy.h2().await;
    let reply = client.get("/").await;
    assert_eq!((reply.text().as_str(), reply.header("content-length")), ("hello", "5"));
    assert_eq!(client.get("/").await.status, 204);
    assert_eq!(client.get("/").await.header("etag"), "\"v\"");
    let reply = client.call(ask("HEAD", "/", &[]), "").await;
    assert_eq!((reply.header("content-length"), reply.text().as_str()), ("5", ""));
    assert_eq!(client.get("/").await.text(), "until close");
    proxy.calls("success", "", 5).await;
}

#[tokio::test]
async fn large_bodies_are_intact_both_ways() {
    let (upstream, proxy) = bridge("", [Reply::Pattern(5_000_003)]).await;
    let reply = proxy.h2().await.call(ask("POST", "/", &[]), pattern(3_000_001)).await;
    assert!(reply.body.bytes == pattern(5_000_003), "{} bytes came", reply.body.bytes.len());
    assert!(upstream.last().body.bytes == pattern(3_000_001), "what the service read");
}

#[tokio::test]
async fn streams_at_once_have_a_connection_each() {
    let (upstream, proxy) = bridge("", [held(Reply::Ok("x"))]).await;
    let client = proxy.h2().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(client.open(ask("GET", "/", &[]), true).await);
    }
    upstream.saw(20).await;
    assert_eq!(upstream.connections(), 20);
    upstream.release();
    for stream in streams {
        assert_eq!(stream.finish().await.0.text(), "x");
    }
}

#[tokio::test]
async fn retries_and_faults_are_those_of_http_1() {
    let policy = "retries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";
    let (upstream, proxy) = bridge(policy, [Reply::Status(503), Reply::Reset, Reply::Ok("third")]).await;
    let client = proxy.h2().await;
    assert_eq!((client.get("/").await.text().as_str(), upstream.attempts()), ("third", 3));
    upstream.now([Reply::Reset, Reply::Ok("doubled!")]);
    let reply = client.call(ask("POST", "/", &[]), "pay").await;
    assert_eq!(reply.outcome(), (502, "reset_before_response"));
    upstream.now([Reply::RawClose("garbage\r\n\r\n")]);
    assert_eq!(client.get("/").await.outcome(), (502, "protocol_error"));
    let reply = client.call(grpc("/shop.Cart/Add", &[]), ONE_BYTE).await;
    assert_own(&reply, 13, "protocol_error");
}

#[tokio::test]
async fn a_cut_answer_is_reset() {
    for action in [Reply::CloseMidBody, Reply::CloseMidChunk] {
        let (_upstream, proxy) = bridge("", [action.clone()]).await;
        let (reply, cut) = proxy.h2().await.call_to_end(ask("GET", "/", &[]), "", &[]).await;
        assert_eq!((reply.status, cut), (200, Some(Some(code::INTERNAL_ERROR))), "{action:?}");
        proxy.calls("failure", "reset_mid_response", 1).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_connection() {
    for action in [Reply::Hang, Reply::Stall] {
        let (upstream, proxy) = bridge("", [action.clone()]).await;
        let client = proxy.h2().await;
        let mut stream = client.open(ask("GET", "/", &[]), true).await;
        upstream.saw(1).await;
        if matches!(action, Reply::Stall) {
            assert_eq!(stream.head().await.expect("a head").0, 200);
        }
        stream.reset(code::CANCEL);
        upstream.drained().await;
        proxy.calls("cancelled", "client_cancelled", 1).await;
    }
}

#[tokio::test]
async fn a_reader_that_stops_holds_a_bounded_part_of_an_answer() {
    let (upstream, proxy) = bridge("", [Reply::Pattern(64 << 20)]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    let (mut last, mut since) = (0, tokio::time::Instant::now());
    eventually("the service is stopped", async || {
        if upstream.written_bytes() != last {
            (last, since) = (upstream.written_bytes(), tokio::time::Instant::now());
        }
        last > 0 && since.elapsed() > ms(500)
    })
    .await;
    assert!(last < 16 << 20, "{last} bytes were taken, far more than sockets hold");
    stream.reset(code::CANCEL);
    upstream.drained().await;
}

#[tokio::test]
async fn a_services_own_port_bridges_too() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let policy = "protocol: http1\nlisten: 127.0.0.1:0";
    let proxy = Mesh::new().service("shop", &[upstream.addr()], policy).start().await;
    let client = H2Client::connect(proxy.service("shop")).await;
    assert_eq!(within("a reply", client.get("/")).await.text(), "x");
}
