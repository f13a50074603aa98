//! Requests that can be read two ways, or not at all: exact status, exact reason, and the service
//! sees nothing of them.

use crate::support::{BOUND, Reply, Upstream, get, ms, request, shop};

/// What is wrong, and a head (without its last empty line) that must get 400.
const MALFORMED: &[(&str, &str)] = &[
    (
        "length and coding",
        "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ),
    (
        "coding and length",
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nContent-Length: 6\r\n"),
    ("one length twice", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\nContent-Length: 5\r\n"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5, 5\r\n"),
    ("a length with a sign", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: +5\r\n"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: -5\r\n"),
    ("a length in hex", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0x5\r\n"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: \r\n"),
    ("a length past 64 bits", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 99999999999999999999\r\n"),
    ("a length with a space in it", "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5 5\r\n"),
    ("gzip coding", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip\r\n"),
    ("two codings", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: gzip, chunked\r\n"),
    (
        "chunked twice in one field",
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked, chunked\r\n",
    ),
    (
        "chunked in two fields",
        "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ),
    ("identity coding", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: identity\r\n"),
    ("nearly chunked", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: xchunked\r\n"),
    ("chunked with a vertical tab", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: \u{b}chunked\r\n"),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: \r\n"),
    ("space before the colon", "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding : chunked\r\n"),
    ("tab before the colon", "GET / HTTP/1.1\r\nHost: shop\r\nX-A\t: 1\r\n"),
    ("a folded field", "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\r\n 2\r\n"),
    ("a folded first field", "GET / HTTP/1.1\r\n Host: shop\r\n"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\rX-B: 2\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\u{0}2\r\n"),
    ("a control byte in a value", "GET / HTTP/1.1\r\nHost: shop\r\nX-A: 1\u{1}2\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: shop\r\nX\u{0}A: 1\r\n"),
    ("a space in a name", "GET / HTTP/1.1\r\nHost: shop\r\nX A: 1\r\n"),
    ("an empty name", "GET / HTTP/1.1\r\nHost: shop\r\n: 1\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: shop\r\nX-A\r\n"),
    ("no Host", "GET / HTTP/1.1\r\nX-A: 1\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: shop\r\nHost: other\r\n"),
    ("one Host twice", "GET / HTTP/1.1\r\nHost: shop\r\nHost: shop\r\n"),
    ("a NUL in the path", "GET /\u{0} HTTP/1.1\r\nHost: shop\r\n"),
    ("a bare CR in the path", "GET /\rx HTTP/1.1\r\nHost: shop\r\n"),
    ("no version", "GET /\r\nHost: shop\r\n"),
    ("an unknown version", "GET / HTTP/9.9\r\nHost: shop\r\n"),
    ("not HTTP at all", "hello\r\n"),
];

/// What is wrong, and a chunked body that must get 400.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
    ("an extension without a size", ";a=b\r\nhello\r\n0\r\n\r\n"),
    ("a size that is no number", "xyz\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a size past 64 bits", "1FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
    ("data shorter than its size", "7\r\nhello\r\n0\r\n\r\n-\r\n"),
    ("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
    ("a bad size after a good chunk", "2\r\nhi\r\nzz\r\nhello\r\n0\r\n\r\n"),
];

#[tokio::test]
async fn malformed_heads_get_400_and_go_nowhere() {
    let (upstream, proxy) = shop("", [Reply::Ok("this must not be reached")]).await;
    let mut wrong = Vec::new();
    for (what, head) in MALFORMED {
        let mut client = proxy.client().await;
        // What follows would be a second request if the first were read the other way.
        client.send(format!("{head}\r\n{}", get("/smuggled"))).await;
        let reply = tokio::time::timeout(ms(3000), client.try_read_reply()).await;
        let found = reply.map(|reply| reply.map(|reply| (reply.status, reply.reason().to_owned())));
        if found != Ok(Some((400, "request_malformed".to_owned()))) {
            wrong.push(format!("{what}: {found:?}"));
        } else if !client.read_to_end().await.is_empty() {
            wrong.push(format!("{what}: a second reply followed"));
        }
    }
    assert!(
        wrong.is_empty(),
        "want 400 request_malformed and the end of the connection:\n{}",
        wrong.join("\n")
    );
    assert_eq!(upstream.attempts(), 0, "the service saw {:?}", upstream.requests());
}

#[tokio::test]
async fn malformed_chunks_get_400_and_the_service_no_whole_request() {
    let (upstream, proxy) = shop("retries: off", [Reply::Ok("this must not be reached")]).await;
    let mut wrong = Vec::new();
    for (what, body) in BAD_CHUNKS {
        let mut client = proxy.client().await;
        client.send(request("POST", "/", &["Transfer-Encoding: chunked"]) + body).await;
        let reply = tokio::time::timeout(ms(3000), client.try_read_reply()).await;
        let found = reply.map(|reply| reply.map(|reply| (reply.status, reply.reason().to_owned())));
        if found != Ok(Some((400, "request_malformed".to_owned()))) {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "want 400 request_malformed:\n{}", wrong.join("\n"));
    assert!(upstream.requests().iter().all(|seen| !seen.body.complete), "a broken body was completed");
}

#[tokio::test]
async fn a_malformed_request_is_counted_and_the_proxy_goes_on() {
    let (_upstream, proxy) = shop("", [Reply::Ok("fine")]).await;
    let reply = proxy.call("GET / HTTP/1.1\r\nHost: shop\r\nX-A : 1\r\n\r\n").await;
    assert_eq!(reply.json()["error"], "request_malformed");
    assert_eq!(proxy.get("/").await.text(), "fine");
    proxy.counted("outrigger_calls_total", &[("reason", "request_malformed")], 1.0).await;
}

#[tokio::test]
async fn a_head_of_over_64_kib_gets_431() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let large = request("GET", "/", &[&format!("X-Large: {}", "a".repeat(60 * 1024))]);
    assert_eq!(proxy.call(large).await.status, 200);
    let mut client = proxy.client().await;
    client.try_send(request("GET", "/", &[&format!("X-Large: {}", "a".repeat(66 * 1024))])).await;
    assert_eq!(client.read_reply().await.outcome(), (431, "header_too_large"));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn a_head_without_an_end_gets_431() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.try_send(format!("GET /{}", "a".repeat(70 * 1024))).await;
    assert_eq!(client.read_reply().await.outcome(), (431, "header_too_large"));
}

#[tokio::test]
async fn a_head_of_over_256_fields_gets_431() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let lines: Vec<String> = (0..256).map(|number| format!("X-{number}: 1")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(proxy.call(request("GET", "/", &lines[..255])).await.status, 200, "with Host they are 256");
    assert_eq!(proxy.call(request("GET", "/", &lines)).await.outcome(), (431, "header_too_large"));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn a_refusal_can_be_read_though_more_was_sent() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 48000\r\nContent-Length: 1\r\n\r\n").await;
    for _ in 0..48 {
        client.send([b'a'; 1000]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read_reply().await.outcome(), (400, "request_malformed"));
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true), "ended by FIN, not by RST");
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered_first() {
    let (upstream, proxy) = shop("", [Reply::Ok("good")]).await;
    let mut client = proxy.client().await;
    client.send(get("/") + "GET / HTTP/1.1\r\nHost : shop\r\n\r\n").await;
    assert_eq!(client.read_reply().await.text(), "good");
    assert_eq!(client.read_reply().await.outcome(), (400, "request_malformed"));
    assert_eq!(upstream.attempts(), 1);
}

/// Takes as long as the head timeout, 10 s: the slowest test here, and alone in it.
#[tokio::test]
async fn a_head_that_never_ends_gets_408() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: sh").await;
    let reply = tokio::time::timeout(BOUND, client.read_reply()).await.expect("the head timeout");
    assert_eq!(reply.outcome(), (408, "request_timeout"));
}

#[tokio::test]
async fn an_idle_connection_that_ends_is_no_call() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    drop(proxy.client().await);
    proxy.client().await.abort();
    let mut half = proxy.client().await;
    half.half_close().await;
    assert!(half.read_to_end().await.is_empty(), "nothing was asked, nothing is answered");
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.counted("outrigger_calls_total", &[], 1.0).await;
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn many_broken_connections_cost_no_other_call() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = crate::support::Mesh::new().service("shop", &[upstream.addr()], "").start().await;
    for number in 0..60 {
        let mut client = proxy.client().await;
        let head = get("/");
        client.send(&head[..head.len() * number / 60]).await;
        if number % 2 == 0 { client.abort() } else { drop(client) }
    }
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.calls("success", "", 1).await;
}
