//! What holds retries back: their number, the body, the budget, back-off, `Retry-After`, the deadline.

use std::time::{Duration, SystemTime};

use crate::support::{Mesh, Refused, Reply, Upstream, get, ms, request, shop};

const QUICK: &str = "circuitBreaker: off\nretries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";

fn leaked(line: String) -> &'static [&'static str] {
    Box::leak(Box::new([&*Box::leak(line.into_boxed_str())]))
}

#[tokio::test]
async fn the_services_own_answer_is_passed_on_when_retries_are_exhausted() {
    let last = Reply::With(503, &["X-From: service"], "the third answer");
    let (upstream, proxy) = shop(QUICK, [Reply::Status(502), Reply::Status(504), last]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.outcome(), reply.text().as_str()), ((503, ""), "the third answer"));
    assert_eq!(reply.header("x-from"), "service");
    assert_eq!(upstream.attempts(), 3);
    proxy.retries("retried", 2).await;
    proxy.retries("skipped_exhausted", 1).await;
    proxy.calls("failure", "", 1).await;
}

#[tokio::test]
async fn a_fault_says_how_many_attempts_there_were() {
    let (upstream, proxy) = shop(QUICK, [Reply::Reset]).await;
    let reply = proxy.get("/").await;
    assert_eq!(reply.outcome(), (502, "reset_before_response"));
    assert_eq!(reply.json()["attempts"], 3);
    assert_eq!(upstream.attempts(), 3);
    proxy.calls("failure", "reset_before_response", 1).await;
}

#[tokio::test]
async fn a_body_past_max_body_is_sent_once() {
    let policy = QUICK.replace("maxRetries: 2", "maxRetries: 2, maxBody: 1KiB");
    let (upstream, proxy) = shop(&policy, [Reply::Status(503)]).await;
    let body = "x".repeat(4000);
    let reply = proxy.call(request("PUT", "/", &["Content-Length: 4000"]) + &body).await;
    assert_eq!(reply.outcome(), (503, ""));
    assert_eq!((upstream.attempts(), upstream.last().text()), (1, body));
    proxy.retries("skipped_body", 1).await;
}

#[tokio::test]
async fn a_body_past_max_body_that_was_never_sent_is_still_retried() {
    let policy = QUICK.replace("maxRetries: 2", "maxRetries: 2, maxBody: 1KiB") + "\nbalance: roundRobin";
    let (dead, live) = (Refused::bind(), Upstream::script([Reply::Ok("x")]));
    let proxy =
        Mesh::new().top("workers: 1").service("shop", &[dead.addr(), live.addr()], &policy).start().await;
    let body = "x".repeat(4000);
    for _ in 0..2 {
        let reply = proxy.call(request("POST", "/", &["Content-Length: 4000"]) + &body).await;
        assert_eq!((reply.status, live.last().text()), (200, body.clone()));
    }
}

#[tokio::test]
async fn the_budget_bounds_retries_over_all_calls() {
    let policy =
        QUICK.replace("maxRetries: 2", "maxRetries: 2, budget: {ratio: 10%, minPerSecond: 1, window: 10s}");
    let (upstream, proxy) = shop(&policy, [Reply::Status(503)]).await;
    let mut client = proxy.client().await;
    for _ in 0..40 {
        assert_eq!(
            client.call(get("/")).await.outcome(),
            (503, ""),
            "refused by the budget, their answer passes"
        );
    }
    let retries = upstream.attempts() - 40;
    // 10 of the floor and 4 of the ratio; a little more is allowed for a window that has moved.
    assert!((8..=18).contains(&retries), "{retries} retries for 40 calls");
    let skipped = proxy.metrics().await.sum("outrigger_retries_total", &[("decision", "skipped_budget")]);
    assert!(skipped > 15.0, "{skipped} calls were told that the budget is spent");
}

#[tokio::test]
async fn back_off_is_waited_for() {
    let policy = "retries: {maxRetries: 2, backoff: {base: 100ms, factor: 2, max: 1s, jitter: none}}";
    let (upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Status(503), Reply::Ok("x")]).await;
    let started = tokio::time::Instant::now();
    assert_eq!(proxy.get("/").await.text(), "x");
    assert!(started.elapsed() >= ms(300), "100 ms and 200 ms, not {:?}", started.elapsed());
    assert_eq!(upstream.attempts(), 3);
}

#[tokio::test]
async fn retry_after_in_seconds_lengthens_the_back_off() {
    let (_upstream, proxy) = shop(QUICK, [Reply::With(503, &["Retry-After: 1"], ""), Reply::Ok("x")]).await;
    let started = tokio::time::Instant::now();
    assert_eq!(proxy.get("/").await.text(), "x");
    assert!(started.elapsed() >= ms(990), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn retry_after_as_a_date_lengthens_the_back_off() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let (_upstream, proxy) =
        shop(QUICK, [Reply::With(503, leaked(format!("Retry-After: {date}")), ""), Reply::Ok("x")]).await;
    let started = tokio::time::Instant::now();
    assert_eq!(proxy.get("/").await.text(), "x");
    // The date has whole seconds and starting the proxy took some of them.
    let started_at = SystemTime::now() - started.elapsed();
    let wanted =
        httpdate::parse_http_date(&date).expect("a date").duration_since(started_at).unwrap_or_default();
    assert!(started.elapsed() + ms(20) >= wanted, "after {:?}, not {wanted:?}", started.elapsed());
}

#[tokio::test]
async fn a_long_retry_after_is_passed_on_at_once() {
    let (upstream, proxy) = shop(QUICK, [Reply::With(503, &["Retry-After: 60"], "later")]).await;
    let reply = proxy.get("/").await;
    assert_eq!(
        (reply.outcome(), reply.header("retry-after"), reply.text().as_str()),
        ((503, ""), "60", "later")
    );
    assert_eq!(upstream.attempts(), 1);
    proxy.retries("skipped_retry_after", 1).await;
}

#[tokio::test]
async fn without_time_for_the_back_off_the_answer_is_passed_on() {
    let policy = "timeout: 2s\nretries: {maxRetries: 2, backoff: {base: 10s, max: 10s, jitter: none}}";
    let (upstream, proxy) = shop(policy, [Reply::With(503, &[], "theirs")]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.outcome(), reply.text().as_str()), ((503, ""), "theirs"));
    assert_eq!(upstream.attempts(), 1);
    proxy.retries("skipped_deadline", 1).await;
}

#[tokio::test]
async fn a_response_that_has_started_is_never_retried() {
    let (upstream, proxy) = shop(QUICK, [Reply::CloseMidBody, Reply::Ok("second")]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.status, reply.text().as_str(), reply.cut()), (200, "hello", true));
    assert_eq!(upstream.attempts(), 1);
    proxy.retries("skipped_started", 1).await;
}

#[tokio::test]
async fn a_breaker_that_opens_meanwhile_stops_the_retries_and_their_answer_passes() {
    let policy = "circuitBreaker: {trip: {consecutiveFailures: 2, failureRate: off}}\n\
                  retries: {maxRetries: 5, backoff: {base: 1ms, max: 2ms}}";
    let (upstream, proxy) = shop(policy, [Reply::With(503, &[], "theirs")]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.outcome(), reply.text().as_str()), ((503, ""), "theirs"));
    assert_eq!(upstream.attempts(), 2);
    proxy.retries("skipped_breaker", 1).await;
}
