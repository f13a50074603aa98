//! Refusals of our own that protect a service: breaker, bulkhead, connections.

use std::time::Duration;

use crate::support::{Reply, get, held, shop, shop_with};

use super::{assert_cause, assert_no_cause, assert_tells, assert_time, newest, story, traced_get};

#[tokio::test]
async fn breaker_open_names_the_triggers_that_are_on() {
    let policy = "retries: off\n\
                  circuitBreaker: {trip: {consecutiveFailures: 1, failureRate: off}, openFor: {base: 40s}}";
    let (_upstream, proxy) = shop(policy, [Reply::Status(500)]).await;
    assert_eq!(proxy.get("/").await.status, 500);
    proxy.breaker("open").await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "breaker_open"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "GET / for shop: 503 breaker_open after ",
            "attempt 1, at ",
            "the breaker was open and refused it; nothing was sent (breaker_open)",
            "Not tried again: a refusal of our own never is",
            "why: the circuit breaker of shop refused the call",
        ],
    );
    assert_cause(&proxy, &story, "circuitBreaker.trip.consecutiveFailures: 1", "circuitBreaker:", "service");
    assert_cause(&proxy, &story, "circuitBreaker.openFor.base: 40s", "circuitBreaker:", "service");
    assert!(!story.contains("cause: circuitBreaker.trip.failureRate"), "it is off:\n{story}");
}

#[tokio::test]
async fn a_forced_breaker_is_told_as_such() {
    let (_upstream, proxy) = shop("retries: off", [Reply::Ok("x")]).await;
    assert_eq!(proxy.post_admin("/services/shop/breaker?state=open").await.status, 200);
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "breaker_open"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "the breaker was open, for somebody had forced it, and refused it; nothing was sent (breaker_open)",
            "why: the circuit breaker of shop refused the call: somebody forced it open.",
        ],
    );
    assert_no_cause(&story);
    let page = proxy.get_admin("/explain").await.json();
    assert_eq!(page["stories"][0]["attempts"][0]["breaker"]["forced"], true, "{page}");
}

#[tokio::test]
async fn a_breaker_that_observes_tells_what_it_would_have_refused() {
    let policy = "retries: off\ncircuitBreaker: {mode: observe, trip: {consecutiveFailures: 1}}";
    let (_upstream, proxy) = shop(policy, [Reply::Status(500), Reply::Status(500)]).await;
    assert_eq!(proxy.get("/").await.status, 500);
    proxy.breaker("open").await;
    assert_eq!(proxy.call(traced_get()).await.status, 500);
    assert_tells(
        &story(&proxy).await,
        &["the breaker was open and would have refused it, but only observes; to "],
    );
}

/// It was closed when the attempt began to wait: that is not what refused it.
#[tokio::test]
async fn a_breaker_that_opens_during_a_wait_is_told_as_open() {
    let policy = "retries: off\nbulkhead: {maxConcurrent: 1, maxWait: 10s}\n\
                  circuitBreaker: {trip: {consecutiveFailures: 1}}";
    let (upstream, proxy) = shop(policy, [held(Reply::Status(500))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    let waits = async {
        proxy.bulkhead(1, 1).await;
        upstream.release();
    };
    let (reply, ()) = tokio::join!(proxy.call(traced_get()), waits);
    assert_eq!(reply.outcome(), (503, "breaker_open"));
    assert_tells(&story(&proxy).await, &["the breaker was open and refused it; it waited "]);
    first.await.expect("the first call");
}

#[tokio::test]
async fn bulkhead_full_cites_max_concurrent() {
    let (upstream, proxy) = shop("bulkhead: {maxConcurrent: 1}", [held(Reply::Ok("x"))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "bulkhead_full"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "503 bulkhead_full",
            "the breaker was closed; every place of the bulkhead was taken (bulkhead_full)",
            "why: all places for calls to shop were taken, and there was no room to wait.",
            "  cause: bulkhead.maxWait: 0s (built-in)",
        ],
    );
    assert_cause(&proxy, &story, "bulkhead.maxConcurrent: 1", "bulkhead:", "service");
    upstream.release();
    first.await.expect("the first call");
}

#[tokio::test]
async fn bulkhead_timeout_cites_max_wait() {
    let (upstream, proxy) =
        shop("bulkhead: {maxConcurrent: 1, maxWait: 200ms}", [held(Reply::Ok("x"))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "bulkhead_timeout"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "503 bulkhead_timeout",
            " for a place in the bulkhead; no place of the bulkhead came free (bulkhead_timeout)",
        ],
    );
    let waited = || Duration::from_millis(200)..=Duration::from_secs(5);
    assert_time(&story, "it waited ", waited());
    assert_time(&story, "why: all places for calls to shop were taken, and none came free within ", waited());
    assert_cause(&proxy, &story, "bulkhead.maxWait: 200ms", "bulkhead:", "service");
    assert_cause(&proxy, &story, "bulkhead.maxConcurrent: 1", "bulkhead:", "service");
    upstream.release();
    first.await.expect("the first call");
}

#[tokio::test]
async fn overloaded_cites_limits_connections() {
    let (_upstream, proxy) = shop_with("limits: {connections: 1}", "", [Reply::Ok("x")]).await;
    let mut kept = proxy.client().await;
    assert_eq!(kept.call(get("/")).await.text(), "x");
    let mut late = proxy.client().await;
    assert_eq!(late.read_reply().await.outcome(), (503, "overloaded"));
    let story = newest(&proxy, "overloaded").await;
    assert_tells(
        &story,
        &[
            "503 overloaded",
            "nothing was sent",
            "why: the proxy holds as many connections of its application as it may.",
        ],
    );
    assert_cause(&proxy, &story, "limits.connections: 1", "limits:", "process");
}
