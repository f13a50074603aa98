//! Requests that never come to a service, or whose application spoils them.

use crate::support::{BOUND, Mesh, Reply, ask, eventually, held, request, shop, shop_with};

use super::{TRACE, TRACED, assert_cause, assert_no_cause, assert_tells, newest, story, traced_get};

#[tokio::test]
async fn denied_cites_outbound_unknown() {
    let proxy = Mesh::new().top("outbound: {listen: 127.0.0.1:0, unknown: deny}").start().await;
    let reply = proxy.call("GET /x HTTP/1.1\r\nHost: stranger\r\n\r\n").await;
    assert_eq!(reply.outcome(), (403, "denied"));
    let story = newest(&proxy, "denied").await;
    assert_tells(
        &story,
        &["GET /x for the destination: 403 denied", "no service has the host stranger", "nothing was sent"],
    );
    assert_cause(&proxy, &story, "outbound.unknown: deny", "outbound:", "process");
}

#[tokio::test]
async fn no_route_is_the_requests_own_doing() {
    let proxy = Mesh::new().start().await;
    assert_eq!(proxy.call("GET / HTTP/1.0\r\n\r\n").await.outcome(), (404, "no_route"));
    let story = newest(&proxy, "no_route").await;
    assert_tells(&story, &["404 no_route", "why: the request names no host that it could be sent to."]);
    assert_no_cause(&story);
}

#[tokio::test]
async fn a_refused_request_is_found_by_the_callers_trace() {
    let proxy = Mesh::new().top("outbound: {listen: 127.0.0.1:0, unknown: deny}").start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (403, "denied"));
    let (name, value) = TRACED.split_once(": ").expect("a header line");
    let reply = proxy.h2().await.call(ask("POST", "/over/h2", &[(name, value)]), "").await;
    assert_eq!(reply.outcome(), (403, "denied"));
    let path = format!("/explain?id={TRACE}");
    let mut stories = serde_json::Value::Null;
    eventually("both are told", async || {
        stories = proxy.get_admin(&path).await.json()["stories"].take();
        stories.as_array().is_some_and(|stories| stories.len() == 2)
    })
    .await;
    let told = stories.as_array().expect("stories");
    assert!(told.iter().all(|story| story["parentSpanId"] == "b7ad6b7169203331"), "{stories}");
    assert!(told.iter().all(|story| story["spanId"] != "b7ad6b7169203331"), "a span of its own: {stories}");
    assert!(
        told.iter().any(|story| story["protocol"] == "http2" && story["path"] == "/over/h2"),
        "{stories}"
    );
}

#[tokio::test]
async fn a_malformed_request_is_its_own_doing() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let both = "GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(proxy.call(both).await.outcome(), (400, "request_malformed"));
    let story = newest(&proxy, "request_malformed").await;
    assert_tells(&story, &["400 request_malformed", "why: the application broke HTTP.", "the reply said: "]);
    assert_no_cause(&story);
}

#[tokio::test]
async fn a_large_head_is_told_with_its_bound() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let large = format!("X-Large: {}", "a".repeat(70_000));
    let mut client = proxy.client().await;
    client.try_send(request("GET", "/", &[&large])).await;
    assert_eq!(client.read_reply().await.outcome(), (431, "header_too_large"));
    let story = newest(&proxy, "header_too_large").await;
    assert_tells(&story, &["the reply said: the head is over 64 KiB", "larger than any that is accepted"]);
    assert_no_cause(&story);
}

#[tokio::test]
async fn a_call_that_comes_after_the_end_has_begun_cites_the_drain() {
    let quick = "drain: {quiet: 100ms, timeout: 20s}";
    let (upstream, mut proxy) = shop_with(quick, "", [held(Reply::Ok("kept"))]).await;
    let under_way = proxy.get_later("/");
    upstream.saw(1).await;
    let mut late = proxy.client().await;
    let (begun, rest) = (traced_get(), "\r\n\r\n");
    late.send(begun.trim_end()).await;
    proxy.counted("outrigger_connections", &[("side", "application")], 2.0).await;
    proxy.signal("INT");
    eventually("it is ending", async || proxy.get_admin("/ready").await.status == 503).await;
    late.send(rest).await;
    assert_eq!(late.read_reply().await.outcome(), (503, "shutting_down"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["503 shutting_down", "the proxy is ending and takes no new calls", "nothing was sent"],
    );
    assert_cause(&proxy, &story, "drain.timeout: 20 s", "drain:", "process");
    upstream.release();
    assert_eq!(under_way.await.expect("the call's task").text(), "kept");
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_body_that_does_not_come_cites_idle_timeout() {
    let (_upstream, proxy) = shop("timeout: off\nidleTimeout: 200ms", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 10", TRACED]) + "hello").await;
    assert_eq!(
        tokio::time::timeout(BOUND, client.read_reply()).await.expect("a reply").outcome(),
        (408, "request_timeout")
    );
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["POST / for shop: 408 request_timeout", "the application took too long to send its request"],
    );
    assert_cause(&proxy, &story, "idleTimeout: 200ms", "idleTimeout:", "service");
}

#[tokio::test]
async fn an_application_that_goes_away_is_told() {
    let (upstream, proxy) = shop("", [Reply::Hang]).await;
    let mut client = proxy.client().await;
    client.send(traced_get()).await;
    upstream.saw(1).await;
    client.abort();
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["499 client_cancelled", "why: the application went away before it had its answer."],
    );
    assert_no_cause(&story);
}
