//! The application leaves: at every stage all that was borrowed comes back, and there is exactly
//! one record.

use crate::support::{Client, Outrigger, Reply, Upstream, eventually, get, held, pattern, request, shop};

/// How an application leaves.
#[derive(Debug, Clone, Copy)]
enum Leave {
    Close,
    Reset,
}

fn leave(client: Client, how: Leave) {
    match how {
        Leave::Close => drop(client),
        Leave::Reset => client.abort(),
    }
}

/// Nothing is held any more, and one call was recorded as cancelled.
async fn all_is_back(upstream: &Upstream, proxy: &Outrigger) {
    proxy.bulkhead(0, 0).await;
    upstream.drained().await;
    eventually("no connection to the service is listed as active", async || {
        proxy.shop().await["connections"]["active"] == 0
    })
    .await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
    let shop = proxy.shop().await;
    assert_eq!(shop["breaker"]["state"], "closed", "neither a success nor a failure");
    assert!(
        shop["endpoints"].as_array().is_some_and(|list| list.iter().all(|one| one["inFlight"] == 0)),
        "{shop}"
    );
}

#[tokio::test]
async fn while_waiting_for_the_response() {
    for how in [Leave::Close, Leave::Reset] {
        let (upstream, proxy) = shop("", [Reply::Hang]).await;
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        upstream.saw(1).await;
        leave(client, how);
        all_is_back(&upstream, &proxy).await;
        proxy.counted("outrigger_calls_total", &[("service", "shop")], 1.0).await;
    }
}

#[tokio::test]
async fn by_a_half_close_that_an_http_1_1_client_does_not_mean() {
    let (upstream, proxy) = shop("", [Reply::Hang]).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    upstream.saw(1).await;
    client.half_close().await;
    all_is_back(&upstream, &proxy).await;
}

#[tokio::test]
async fn while_queued_in_the_bulkhead() {
    for how in [Leave::Close, Leave::Reset] {
        let (upstream, proxy) =
            shop("bulkhead: {maxConcurrent: 1, maxWait: 14s}", [held(Reply::Ok("x"))]).await;
        let first = proxy.get_later("/");
        upstream.saw(1).await;
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        proxy.bulkhead(1, 1).await;
        leave(client, how);
        proxy.bulkhead(1, 0).await;
        proxy.calls("cancelled", "client_cancelled", 1).await;
        upstream.release();
        assert_eq!(first.await.expect("the first call").text(), "x");
        proxy.bulkhead(0, 0).await;
        assert_eq!(upstream.attempts(), 1, "the queued call never reached the service");
        proxy.counted("outrigger_calls_total", &[("service", "shop")], 2.0).await;
    }
}

#[tokio::test]
async fn during_the_response_body() {
    for how in [Leave::Close, Leave::Reset] {
        let (upstream, proxy) = shop("", [Reply::Stall]).await;
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        assert_eq!(client.read_head().await.0, 200);
        leave(client, how);
        all_is_back(&upstream, &proxy).await;
        proxy.counted("outrigger_calls_total", &[("service", "shop")], 1.0).await;
    }
}

#[tokio::test]
async fn during_a_large_response_body() {
    let (upstream, proxy) = shop("", [Reply::Pattern(128 * 1024 * 1024)]).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    assert_eq!(client.read_exactly(100_000).await.len(), 100_000);
    client.abort();
    all_is_back(&upstream, &proxy).await;
}

#[tokio::test]
async fn during_the_request_body() {
    for how in [Leave::Close, Leave::Reset] {
        let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
        let mut client = proxy.client().await;
        client.send(request("POST", "/", &["Content-Length: 400000"])).await;
        client.send(pattern(200_000)).await;
        upstream.saw(1).await;
        leave(client, how);
        all_is_back(&upstream, &proxy).await;
        assert!(!upstream.last().body.complete, "half a body must not look like a whole one");
        proxy.counted("outrigger_calls_total", &[("service", "shop")], 1.0).await;
    }
}

#[tokio::test]
async fn during_a_chunked_request_body() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Transfer-Encoding: chunked"])).await;
    client.send([b"186a0\r\n", pattern(100_000).as_slice(), b"\r\n"].concat()).await;
    upstream.saw(1).await;
    drop(client);
    all_is_back(&upstream, &proxy).await;
    assert!(!upstream.last().body.complete, "no last chunk was sent, so none may arrive");
}

#[tokio::test]
async fn during_back_off() {
    let policy = "retries: {maxRetries: 1, backoff: {base: 10s, max: 10s, jitter: none}}";
    for how in [Leave::Close, Leave::Reset] {
        let (upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Ok("x")]).await;
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        upstream.saw(1).await;
        proxy.bulkhead(0, 0).await;
        leave(client, how);
        proxy.calls("cancelled", "client_cancelled", 1).await;
        assert_eq!(upstream.attempts(), 1);
        proxy.counted("outrigger_calls_total", &[("service", "shop")], 1.0).await;
    }
}

#[tokio::test]
async fn in_a_tunnel_both_ends_are_closed() {
    let (upstream, proxy) = shop("", [Reply::Upgrade]).await;
    let mut client = proxy.client().await;
    client.call(request("GET", "/", &["Connection: Upgrade", "Upgrade: websocket"])).await;
    client.abort();
    upstream.drained().await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn many_at_once_and_every_place_is_free_again() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 40}\ncircuitBreaker: off", [Reply::Hang]).await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        clients.push(client);
    }
    upstream.saw(40).await;
    for (number, client) in clients.into_iter().enumerate() {
        leave(client, if number % 2 == 0 { Leave::Close } else { Leave::Reset });
    }
    proxy.bulkhead(0, 0).await;
    upstream.drained().await;
    proxy.calls("cancelled", "client_cancelled", 40).await;
    upstream.now([Reply::Ok("x")]);
    assert_eq!(proxy.get("/").await.text(), "x");
}
