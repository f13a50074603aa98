//! The corners of a call's road: what comes at an odd moment must not be lost, doubled, taken for
//! something else or kept for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{
    Client, Echo, Mesh, Refused, Reply, Upstream, get, ms, post, request, shop, shop_with, within,
};

const DENY: &str = "outbound: {listen: 127.0.0.1:0, unknown: deny}";

#[tokio::test]
async fn an_answer_that_is_retried_has_its_vote() {
    let policy = "retries: {maxRetries: 2, backoff: {base: 1ms, max: 1ms}}
        circuitBreaker: {trip: {consecutiveFailures: 2}}";
    let (upstream, proxy) = shop(policy, [Reply::Status(503)]).await;
    assert_eq!(proxy.get("/").await.text(), "status 503", "the service's own answer, passed on");
    assert_eq!(upstream.attempts(), 2, "the second failure opens the breaker, which ends the retries");
    proxy.breaker("open").await;
    proxy.retries("skipped_breaker", 1).await;
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let (_upstream, proxy) = shop_with(DENY, "", [Reply::Ok("mine")]).await;
    let mut client = proxy.client().await;
    let refused = client.call("HEAD / HTTP/1.1\r\nHost: stranger\r\n\r\n").await;
    assert_eq!(refused.outcome(), (403, "denied"));
    assert_eq!(client.call(get("/")).await.text(), "mine", "the connection is in step");
}

#[tokio::test]
async fn a_reused_connection_that_breaks_inside_an_answer_was_not_stale() {
    let (_upstream, proxy) = shop("", [Reply::Ok("one"), Reply::CloseMidHead, Reply::Ok("two")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "one");
    assert_eq!(client.call(get("/")).await.text(), "two");
    proxy.retries("retried", 1).await;
    proxy.retries("redialled", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_inside_its_request_ends_the_reply() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let service = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let _head = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await.expect("writing");
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    });
    let proxy = Mesh::new().service("shop", &[address], "").start().await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 10"]) + "hello").await;
    assert_eq!(client.read_head().await.0, 200);
    client.abort();
    proxy.calls("cancelled", "client_cancelled", 1).await;
    within("the service is told", service).await.expect("the service has no complaint");
}

#[tokio::test]
async fn interim_answers_that_nobody_reads_are_not_kept() {
    let flood = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = flood.local_addr().expect("a bound address");
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        let (mut stream, _) = flood.accept().await.expect("a connection");
        let _head = stream.read(&mut [0; 4096]).await;
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n", "x".repeat(8000));
        while stream.write_all(hint.as_bytes()).await.is_ok() {
            count.fetch_add(hint.len(), Ordering::Relaxed);
        }
    });
    let policy = "timeout: 1500ms\nidleTimeout: 500ms\nretries: off";
    let proxy = Mesh::new().service("shop", &[address], policy).start().await;
    let mut client = Client::connect_with_small_window(proxy.outbound()).await;
    client.send(get("/")).await;
    proxy.calls("failure", "deadline_exceeded", 1).await;
    let taken = written.load(Ordering::Relaxed);
    assert!(taken < 24 << 20, "{taken} bytes were taken from the service, far more than sockets hold");
}

#[tokio::test]
async fn an_opaque_connection_is_in_flight() {
    let echo = Echo::start().await;
    let proxy =
        Mesh::new().service("shop", &[echo.addr()], "protocol: opaque\nlisten: 127.0.0.1:0").start().await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("ping").await;
    assert_eq!(client.read_exactly(4).await, b"ping");
    proxy.counted("outrigger_calls_in_flight", &[], 1.0).await;
    drop(client);
    proxy.counted("outrigger_calls_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn no_protocol_is_switched_before_the_request_is_whole() {
    let early = Reply::Early("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let (_upstream, proxy) = shop("retries: off", [early]).await;
    let mut client = proxy.client().await;
    let fields = ["Connection: upgrade", "Upgrade: x", "Content-Length: 10"];
    client.send(request("GET", "/", &fields) + "hello").await;
    assert_eq!(client.read_reply().await.outcome(), (502, "protocol_error"));
}

#[tokio::test]
async fn a_service_that_never_asks_for_the_body_is_what_is_late() {
    let (_upstream, proxy) = shop("timeout: 300ms\nretries: off", [Reply::Deaf]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 5", "Expect: 100-continue"])).await;
    assert_eq!(client.read_reply().await.outcome(), (504, "deadline_exceeded"));
}

#[tokio::test]
async fn what_follows_a_refused_connect_is_no_request() {
    let upstream = Upstream::script([Reply::Ok("smuggled")]);
    let refused = Refused::bind();
    let proxy = Mesh::new().service("shop", &[upstream.addr()], "").start().await;
    let mut client = proxy.client().await;
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n{1}", refused.addr(), get("/"))).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.outcome(), reply.header("connection")), ((503, "connect_failed"), "close"));
    assert!(client.read_to_end().await.is_empty());
    assert_eq!(upstream.attempts(), 0);
}

#[tokio::test]
async fn what_follows_a_denied_connect_is_no_request() {
    let (upstream, proxy) = shop_with(DENY, "", [Reply::Ok("smuggled")]).await;
    let mut client = proxy.client().await;
    client.send(format!("CONNECT stranger:443 HTTP/1.1\r\nHost: stranger:443\r\n\r\n{}", get("/"))).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.outcome(), reply.header("connection")), ((403, "denied"), "close"));
    assert!(client.read_to_end().await.is_empty());
    assert_eq!(upstream.attempts(), 0);
}

#[tokio::test]
async fn a_request_behind_another_in_one_packet_gets_its_own_reply() {
    let (_upstream, proxy) = shop("", [Reply::Ok("one"), Reply::Ok("two"), Reply::Ok("three")]).await;
    let mut client = proxy.client().await;
    client.send(post("/1", &[], "body") + &get("/2") + &post("/3", &[], "")).await;
    for want in ["one", "two", "three"] {
        assert_eq!(client.read_reply().await.text(), want);
    }
    assert!(tokio::time::timeout(ms(30), client.try_read_reply()).await.is_err(), "and no more");
}

#[tokio::test]
async fn the_clock_of_an_attempt_stands_still_while_the_application_sends() {
    let policy = "timeout: 10s\nretries: {perTryTimeout: 150ms}";
    let (_upstream, proxy) = shop(policy, [Reply::Ok("taken")]).await;
    let mut client = proxy.client().await;
    client.send(request("PUT", "/", &["Content-Length: 10"]) + "hello").await;
    tokio::time::sleep(ms(400)).await;
    client.send("world").await;
    assert_eq!(client.read_reply().await.text(), "taken");
}

#[tokio::test]
async fn an_old_client_learns_the_end_of_our_reply_from_the_connection() {
    let (upstream, proxy) = shop_with(DENY, "retries: off", [Reply::Reset]).await;
    for (host, reason) in [("stranger", "denied"), ("shop", "reset_before_response")] {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n")).await;
        let reply = client.read_reply().await;
        assert_eq!((reply.reason(), reply.header("connection")), (reason, "close"));
        assert!(client.read_to_end().await.is_empty());
    }
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn idle_connections_end_in_time_also_after_a_reload() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let mesh = |timeout| {
        let policy = format!("pool: {{idle: 1s}}\ntimeout: {timeout}");
        Mesh::new().service("shop", &[upstream.addr()], &policy)
    };
    let proxy = mesh("1s").start().await;
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh("2s").yaml())).await;
    upstream.drained().await;
}

#[tokio::test]
async fn a_failure_that_does_not_count_leaves_a_cut_to_be_counted() {
    let policy = "retries: {maxRetries: 1}
        circuitBreaker: {trip: {consecutiveFailures: 1}, failOn: [transport]}";
    let cut = Reply::RawClose("HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nhello");
    let (_upstream, proxy) = shop(policy, [cut]).await;
    assert!(proxy.get("/").await.cut());
    proxy.breaker("open").await;
}

#[tokio::test]
async fn a_request_that_stalls_is_not_waited_for_without_end() {
    let (upstream, proxy) = shop("timeout: off\nidleTimeout: 200ms", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 10"]) + "hello").await;
    assert_eq!(client.read_reply().await.outcome(), (408, "request_timeout"));
    upstream.drained().await;
}
