//! The bulkhead: exact whatever the number of workers, first come first served, one per service.

use crate::support::{Mesh, Outrigger, Reply, Upstream, eventually, held, shop};

/// `count` calls in the background; how many got each (status, reason).
async fn storm(proxy: &Outrigger, count: usize) -> Vec<(u16, String)> {
    let calls: Vec<_> = (0..count).map(|_| proxy.get_later("/")).collect();
    let mut outcomes = Vec::new();
    for call in calls {
        let reply = call.await.expect("the call's task");
        outcomes.push((reply.status, reply.reason().to_owned()));
    }
    outcomes
}

#[tokio::test]
async fn a_full_bulkhead_refuses_at_once() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 1}", [held(Reply::Ok("x"))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    proxy.bulkhead(1, 0).await;
    proxy.counted("outrigger_bulkhead_in_flight", &[("service", "shop")], 1.0).await;
    let reply = proxy.get("/").await;
    assert_eq!(reply.outcome(), (503, "bulkhead_full"));
    assert_eq!(reply.json()["attempts"], 0);
    upstream.release();
    assert_eq!(first.await.expect("the first call").text(), "x");
    proxy.bulkhead(0, 0).await;
    proxy.calls("refused", "bulkhead_full", 1).await;
    proxy.calls("success", "", 1).await;
    assert_eq!(proxy.shop().await["breaker"]["state"], "closed", "our refusal is not the service's failure");
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn a_call_may_wait_for_a_place() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 1, maxWait: 10s}", [held(Reply::Ok("x"))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    let second = proxy.get_later("/");
    proxy.bulkhead(1, 1).await;
    upstream.release();
    for call in [first, second] {
        assert_eq!(call.await.expect("the call's task").text(), "x");
    }
    assert_eq!((upstream.attempts(), upstream.peak()), (2, 1));
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_wait_has_an_end() {
    let (upstream, proxy) =
        shop("bulkhead: {maxConcurrent: 1, maxWait: 200ms}", [held(Reply::Ok("x"))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "bulkhead_timeout"));
    upstream.release();
    first.await.expect("the first call");
    proxy.calls("refused", "bulkhead_timeout", 1).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn the_queue_has_an_end_too() {
    let policy = "bulkhead: {maxConcurrent: 1, maxWait: 10s, maxQueue: 1}";
    let (upstream, proxy) = shop(policy, [held(Reply::Ok("x"))]).await;
    let (first, second) = (proxy.get_later("/"), proxy.get_later("/"));
    proxy.bulkhead(1, 1).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "bulkhead_full"));
    upstream.release();
    for call in [first, second] {
        assert_eq!(call.await.expect("the call's task").text(), "x");
    }
}

#[tokio::test]
async fn the_limit_is_exact_over_workers() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 5}", [held(Reply::Ok("x"))]).await;
    let calls: Vec<_> = (0..50).map(|_| proxy.get_later("/")).collect();
    eventually("all but five are refused", async || {
        calls.iter().filter(|call| call.is_finished()).count() == 45
    })
    .await;
    upstream.saw(5).await;
    upstream.release();
    let mut passed = 0;
    for call in calls {
        let reply = call.await.expect("the call's task");
        match reply.outcome() {
            (200, "") => passed += 1,
            (503, "bulkhead_full") => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((passed, upstream.attempts(), upstream.peak()), (5, 5, 5));
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn everyone_who_may_wait_gets_a_place_in_the_end() {
    let policy = "bulkhead: {maxConcurrent: 3, maxWait: 14s, maxQueue: 100}";
    let (upstream, proxy) = shop(policy, [crate::support::delay(10, Reply::Ok("x"))]).await;
    let outcomes = storm(&proxy, 50).await;
    assert!(outcomes.iter().all(|outcome| *outcome == (200, String::new())), "{outcomes:?}");
    assert_eq!((upstream.attempts(), upstream.peak()), (50, 3));
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn waiters_are_served_in_the_order_they_came() {
    let policy = "bulkhead: {maxConcurrent: 1, maxWait: 10s, maxQueue: 10}";
    let (upstream, proxy) = shop(policy, [held(Reply::Ok("x"))]).await;
    let mut calls = vec![proxy.get_later("/0")];
    upstream.saw(1).await;
    for number in 1..=4 {
        calls.push(proxy.get_later(&format!("/{number}")));
        proxy.bulkhead(1, number).await;
    }
    upstream.release();
    for call in calls {
        call.await.expect("the call's task");
    }
    let lines: Vec<_> = upstream.finish().await.into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, (0..=4).map(|number| format!("GET /{number} HTTP/1.1")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_place_is_held_until_the_response_body_ends() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 1}", [Reply::Stall]).await;
    let mut client = proxy.client().await;
    client.send(crate::support::get("/")).await;
    assert_eq!(client.read_head().await.0, 200);
    assert_eq!(proxy.get("/").await.outcome(), (503, "bulkhead_full"));
    client.abort();
    proxy.bulkhead(0, 0).await;
    upstream.drained().await;
}

#[tokio::test]
async fn a_slow_service_takes_no_place_of_another() {
    let (slow, fast) = (Upstream::script([held(Reply::Ok("slow"))]), Upstream::script([Reply::Ok("fast")]));
    let mesh = Mesh::new()
        .service("shop", &[slow.addr()], "bulkhead: {maxConcurrent: 10, maxWait: 10s}")
        .service("fast", &[fast.addr()], "bulkhead: {maxConcurrent: 1}");
    let proxy = mesh.start().await;
    let calls: Vec<_> = (0..20).map(|_| proxy.get_later("/")).collect();
    proxy.bulkhead(10, 10).await;
    for _ in 0..10 {
        assert_eq!(proxy.call("GET / HTTP/1.1\r\nHost: fast\r\n\r\n").await.text(), "fast");
    }
    slow.release();
    for call in calls {
        assert_eq!(call.await.expect("the call's task").text(), "slow");
    }
}

#[tokio::test]
async fn nothing_is_held_during_back_off() {
    let policy =
        "bulkhead: {maxConcurrent: 1}\nretries: {maxRetries: 1, backoff: {base: 5s, max: 5s, jitter: none}}";
    let (upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Ok("x")]).await;
    let waiting = proxy.get_later("/first");
    upstream.saw(1).await;
    proxy.bulkhead(0, 0).await;
    assert_eq!(proxy.get("/second").await.text(), "x");
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn observe_lets_calls_pass() {
    let policy = "bulkhead: {mode: observe, maxConcurrent: 1}";
    let (upstream, proxy) = shop(policy, [held(Reply::Ok("x"))]).await;
    let calls = [proxy.get_later("/"), proxy.get_later("/"), proxy.get_later("/")];
    upstream.saw(3).await;
    upstream.release();
    for call in calls {
        assert_eq!(call.await.expect("the call's task").text(), "x");
    }
}

#[tokio::test]
async fn a_resized_bulkhead_keeps_its_calls() {
    let upstream = Upstream::script([held(Reply::Ok("x"))]);
    let mesh = |size: u32| {
        Mesh::new().service("shop", &[upstream.addr()], &format!("bulkhead: {{maxConcurrent: {size}}}"))
    };
    let proxy = mesh(2).start().await;
    let calls = [proxy.get_later("/"), proxy.get_later("/")];
    proxy.bulkhead(2, 0).await;
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(3).yaml())).await;
    proxy.bulkhead(2, 0).await;
    let third = proxy.get_later("/");
    upstream.saw(3).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "bulkhead_full"));
    upstream.release();
    for call in calls.into_iter().chain([third]) {
        assert_eq!(call.await.expect("the call's task").text(), "x");
    }
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn upgraded_connections_take_max_connections_instead() {
    let policy = "bulkhead: {maxConcurrent: 1, maxConnections: 1}";
    let (upstream, proxy) = shop(policy, [Reply::Upgrade, Reply::Ok("call")]).await;
    let mut client = proxy.client().await;
    let upgrade = crate::support::request("GET", "/", &["Connection: Upgrade", "Upgrade: websocket"]);
    assert_eq!(client.call(&upgrade).await.status, 101);
    assert_eq!(proxy.get("/").await.text(), "call", "the tunnel has left its place");
    drop(client);
    upstream.now([Reply::Ok("after")]);
    assert_eq!(proxy.get("/").await.text(), "after");
}
