//! Deadlines and silences: which clock ends what, and with which word.

use crate::support::{FullBacklog, Mesh, Reply, delay, get, ms, pattern, post, request, shop};

#[tokio::test]
async fn the_deadline_ends_a_call_and_its_connection() {
    let (upstream, proxy) = shop("timeout: 300ms", [Reply::Hang]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.get("/").await;
    assert_eq!(reply.outcome(), (504, "deadline_exceeded"));
    assert!((ms(290)..ms(5000)).contains(&started.elapsed()), "after {:?}", started.elapsed());
    assert_eq!((reply.json()["attempts"].as_u64(), upstream.attempts()), (Some(1), 1));
    upstream.drained().await;
    proxy.calls("failure", "deadline_exceeded", 1).await;
}

#[tokio::test]
async fn the_application_connection_lives_on_after_a_deadline() {
    let (_upstream, proxy) = shop("timeout: 800ms", [Reply::Hang, Reply::Ok("next")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.status, 504);
    assert_eq!(client.call(get("/")).await.text(), "next");
}

#[tokio::test]
async fn the_deadline_is_for_all_attempts_together() {
    let policy =
        "timeout: 700ms\nretries: {maxRetries: 10, perTryTimeout: 200ms, backoff: {base: 1ms, max: 2ms}}";
    let (upstream, proxy) = shop(policy, [Reply::Hang]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.get("/").await;
    // The last attempt is clipped by the deadline, or there was no time for another one.
    assert!(
        matches!(reply.outcome(), (504, "deadline_exceeded" | "per_try_timeout")),
        "{:?}",
        reply.outcome()
    );
    assert!(started.elapsed() < ms(5000), "after {:?}", started.elapsed());
    assert!((2..=4).contains(&upstream.attempts()), "{} attempts of 200 ms in 700 ms", upstream.attempts());
}

#[tokio::test]
async fn one_attempt_may_take_per_try_timeout() {
    let policy = "retries: {maxRetries: 1, perTryTimeout: 300ms, backoff: {base: 1ms, max: 2ms}}";
    let (upstream, proxy) = shop(policy, [Reply::Hang]).await;
    let reply = proxy.get("/").await;
    assert_eq!(reply.outcome(), (504, "per_try_timeout"));
    assert_eq!((reply.json()["attempts"].as_u64(), upstream.attempts()), (Some(2), 2));
    proxy.calls("failure", "per_try_timeout", 1).await;
}

#[tokio::test]
async fn a_connect_that_hangs_ends_at_connect_timeout() {
    let full = FullBacklog::bind().await;
    let policy = "connectTimeout: 200ms\nretries: off";
    let proxy = Mesh::new().service("shop", &[full.addr()], policy).start().await;
    let started = tokio::time::Instant::now();
    assert_eq!(proxy.call(post("/", &[], "x")).await.outcome(), (503, "connect_timeout"));
    assert!((ms(190)..ms(5000)).contains(&started.elapsed()), "after {:?}", started.elapsed());
    proxy.calls("failure", "connect_timeout", 1).await;
}

#[tokio::test]
async fn a_body_that_falls_silent_is_cut_at_idle_timeout() {
    let (upstream, proxy) = shop("idleTimeout: 300ms", [Reply::Stall]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.status, reply.text().as_str(), reply.cut()), (200, "hello", true));
    upstream.drained().await;
    proxy.calls("failure", "idle_timeout", 1).await;
}

#[tokio::test]
async fn a_body_that_keeps_moving_may_outlast_timeout_and_idle_timeout() {
    const PARTS: &[&str] = &["a"; 15];
    let policy = "timeout: 1s\nretries: off\nidleTimeout: 1s";
    let (_upstream, proxy) = shop(policy, [Reply::Chunked(PARTS, ms(100), &[])]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.get("/").await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("aaaaaaaaaaaaaaa", false));
    assert!(started.elapsed() >= ms(1200), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn body_timeout_bounds_the_whole_body() {
    const PARTS: &[&str] = &["a"; 200];
    let (upstream, proxy) = shop("bodyTimeout: 500ms", [Reply::Chunked(PARTS, ms(100), &[])]).await;
    let reply = proxy.get("/").await;
    assert!(reply.cut() && reply.body.bytes.len() < 100, "{} of 200 bytes", reply.body.bytes.len());
    upstream.drained().await;
    proxy.calls("failure", "", 1).await;
}

#[tokio::test]
async fn timeout_off_lets_a_call_take_its_time() {
    let policy = "timeout: off\nretries: off";
    let (_upstream, proxy) = shop(policy, [delay(700, Reply::Ok("late"))]).await;
    assert_eq!(proxy.get("/").await.text(), "late");
}

#[tokio::test]
async fn a_route_has_a_deadline_of_its_own() {
    let policy = "timeout: 10s\nroutes: [{name: fast, match: {path: /fast}, timeout: 200ms}]";
    let (_upstream, proxy) = shop(policy, [delay(600, Reply::Ok("x"))]).await;
    assert_eq!(proxy.get("/fast").await.outcome(), (504, "deadline_exceeded"));
    assert_eq!(proxy.get("/slow").await.text(), "x");
}

#[tokio::test]
async fn the_clock_waits_for_a_large_request_body() {
    let policy = "timeout: 800ms\nretries: {maxRetries: 1, maxBody: 1KiB}";
    let (upstream, proxy) = shop(policy, [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 8000"])).await;
    for part in pattern(8000).chunks(1000) {
        client.send(part).await;
        tokio::time::sleep(ms(120)).await;
    }
    assert_eq!(client.read_reply().await.text(), "x");
    assert_eq!(upstream.last().body.bytes, pattern(8000));
}

#[tokio::test]
async fn a_request_body_that_falls_silent_is_ended() {
    let policy = "timeout: 1s\nidleTimeout: 300ms\nretries: {maxRetries: 1, maxBody: 1KiB}";
    let (upstream, proxy) = shop(policy, [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 8000"])).await;
    client.send(pattern(4000)).await;
    let reply = client.read_reply().await;
    let outcome = reply.outcome();
    assert!(matches!(outcome, (408, "request_timeout") | (504, "idle_timeout")), "{outcome:?}");
    upstream.drained().await;
}

#[tokio::test]
async fn a_silent_tunnel_ends_at_idle_timeout() {
    let (upstream, proxy) = shop("idleTimeout: 400ms", [Reply::Upgrade]).await;
    let mut client = proxy.client().await;
    let upgrade = request("GET", "/", &["Connection: Upgrade", "Upgrade: websocket"]);
    assert_eq!(client.call(upgrade).await.status, 101);
    assert!(client.read_to_end().await.is_empty());
    upstream.drained().await;
}
