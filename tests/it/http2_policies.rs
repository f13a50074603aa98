//! Every policy holds for HTTP/2 as it does for HTTP/1.

use crate::support::h2_frames::code;
use crate::support::h2_script::{Step, answer, hang, ok, reset, status};
use crate::support::{H2Service, Mesh, Refused, ask, eventually, h2_shop, ms};

/// Quick back-off, and no breaker that would step in.
const QUICK: &str =
    "circuitBreaker: off\nretries: {maxRetries: 2, perTryTimeout: 1s, backoff: {base: 1ms, max: 2ms}}";

/// Opens after two failures in a row and stays open for the length of a test.
const TWO: &str = "retries: off\ncircuitBreaker: {trip: {consecutiveFailures: 2, failureRate: off}, \
    openFor: {base: 60s, max: 60s}}";

#[tokio::test]
async fn a_get_is_retried() {
    for first in [status(502), status(503), status(504), reset(code::INTERNAL_ERROR), reset(code::CANCEL)] {
        let (service, proxy) = h2_shop(QUICK, [first.clone(), ok("second")]).await;
        assert_eq!(proxy.h2().await.get("/").await.text(), "second", "after {first:?}");
        assert_eq!(service.attempts(), 2, "after {first:?}");
        proxy.retries("retried", 1).await;
        proxy.calls("success", "", 1).await;
    }
}

#[tokio::test]
async fn a_post_is_not_retried() {
    let cases = [
        (status(503), (503, "")),
        (reset(code::INTERNAL_ERROR), (502, "reset_before_response")),
        (hang(), (504, "per_try_timeout")),
    ];
    for (first, outcome) in cases {
        let (service, proxy) = h2_shop(QUICK, [first.clone(), ok("doubled!")]).await;
        let reply = proxy.h2().await.call(ask("POST", "/", &[]), "pay").await;
        assert_eq!((reply.outcome(), service.attempts()), (outcome, 1), "after {first:?}");
        proxy.retries("skipped_not_idempotent", 1).await;
    }
}

#[tokio::test]
async fn a_body_is_sent_again_as_it_was() {
    let (service, proxy) = h2_shop(QUICK, [status(503), ok("done")]).await;
    let head = ask("POST", "/", &[("idempotency-key", "k")]);
    let reply = proxy.h2().await.call_with(head, "amount=5", &[("x-t", "u")]).await;
    assert_eq!(reply.text(), "done");
    for seen in service.requests() {
        assert_eq!((seen.text().as_str(), seen.header("idempotency-key")), ("amount=5", "k"));
        assert_eq!(seen.body.trailers, [("x-t".to_owned(), "u".to_owned())]);
    }
    assert_eq!(service.attempts(), 2);
}

#[tokio::test]
async fn the_last_answer_of_all_attempts_is_passed_on() {
    let (service, proxy) = h2_shop(QUICK, [answer(503, &[("x-a", "b")], "busy")]).await;
    let reply = proxy.h2().await.get("/").await;
    assert_eq!((reply.outcome(), reply.text().as_str(), reply.header("x-a")), ((503, ""), "busy", "b"));
    assert_eq!(service.attempts(), 3);
    proxy.retries("skipped_exhausted", 1).await;
}

#[tokio::test]
async fn the_breaker_opens_and_says_so() {
    for bad in [status(500), reset(code::INTERNAL_ERROR)] {
        let (service, proxy) = h2_shop(TWO, [bad.clone()]).await;
        let client = proxy.h2().await;
        for _ in 0..2 {
            assert_ne!(client.get("/").await.reason(), "breaker_open", "after {bad:?}");
        }
        let reply = client.get("/").await;
        assert_eq!((reply.outcome(), service.attempts()), ((503, "breaker_open"), 2), "after {bad:?}");
        assert!(!reply.header("retry-after").is_empty(), "it says when to come back");
        let json = reply.json();
        assert_eq!((json["error"].as_str(), json["service"].as_str()), (Some("breaker_open"), Some("shop")));
        assert!(reply.header("content-type").starts_with("application/json"), "{reply:?}");
        proxy.breaker("open").await;
    }
}

#[tokio::test]
async fn the_bulkhead_counts_streams() {
    let held =
        vec![Step::Read, Step::Head(200, &[]), Step::Data("a"), Step::Held, Step::Data("b"), Step::End];
    let (service, proxy) = h2_shop("bulkhead: {maxConcurrent: 2}", [held]).await;
    let client = proxy.h2().await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = client.open(ask("GET", "/", &[]), true).await;
        assert_eq!(stream.head().await.expect("a head").0, 200);
        streams.push(stream);
    }
    proxy.bulkhead(2, 0).await;
    assert_eq!(client.get("/").await.outcome(), (503, "bulkhead_full"));
    service.release();
    for mut stream in streams {
        assert_eq!(stream.rest().await.0.bytes, b"ab");
    }
    proxy.bulkhead(0, 0).await;
    assert_eq!(client.get("/").await.text(), "ab");
}

#[tokio::test]
async fn a_queued_stream_waits_for_its_place() {
    let held = vec![Step::Read, Step::Held, Step::Only(204, &[])];
    let (service, proxy) = h2_shop("bulkhead: {maxConcurrent: 1, maxWait: 14s}", [held]).await;
    let client = proxy.h2().await;
    let first = client.open(ask("GET", "/", &[]), true).await;
    service.saw(1).await;
    let second = client.open(ask("GET", "/", &[]), true).await;
    proxy.bulkhead(1, 1).await;
    service.release();
    assert_eq!((first.finish().await.0.status, second.finish().await.0.status), (204, 204));
    assert_eq!(service.peak(), 1);
}

#[tokio::test]
async fn the_deadline_ends_the_call_and_cancels_its_stream() {
    let (service, proxy) = h2_shop("timeout: 300ms", [hang(), ok("next")]).await;
    let client = proxy.h2().await;
    let reply = client.get("/").await;
    assert_eq!((reply.outcome(), reply.json()["attempts"].as_u64()), ((504, "deadline_exceeded"), Some(1)));
    service.saw_reset(code::CANCEL).await;
    proxy.calls("failure", "deadline_exceeded", 1).await;
    assert_eq!(client.get("/").await.text(), "next", "both connections live on");
}

#[tokio::test]
async fn one_attempt_may_take_per_try_timeout() {
    let policy = "retries: {maxRetries: 1, perTryTimeout: 300ms, backoff: {base: 1ms, max: 2ms}}";
    let (service, proxy) = h2_shop(policy, [hang()]).await;
    let reply = proxy.h2().await.get("/").await;
    assert_eq!((reply.outcome(), service.attempts()), ((504, "per_try_timeout"), 2));
    service.quiet().await;
    assert!(service.requests().iter().all(|seen| seen.cut == Some(Some(code::CANCEL))));
}

#[tokio::test]
async fn a_stream_that_is_reset_is_cancelled_at_the_service() {
    let (service, proxy) = h2_shop("", [hang(), ok("other")]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    service.saw(1).await;
    stream.reset(code::CANCEL);
    service.saw_reset(code::CANCEL).await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
    proxy.bulkhead(0, 0).await;
    assert_eq!(proxy.shop().await["breaker"]["state"], "closed", "neither a success nor a failure");
    assert_eq!(client.get("/").await.text(), "other", "the connection goes on");
    proxy.counted("outrigger_calls_total", &[("service", "shop")], 2.0).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_inside_its_request_or_its_answer_is_cancelled() {
    let stall = vec![Step::Head(200, &[]), Step::Data("x"), Step::Read];
    for before_the_head in [true, false] {
        let script = if before_the_head { vec![hang()] } else { vec![stall.clone()] };
        let (service, proxy) = h2_shop("", script).await;
        let client = proxy.h2().await;
        let mut stream = client.open(ask("POST", "/", &[]), false).await;
        stream.send("half").await;
        if before_the_head {
            service.saw(1).await;
        } else {
            assert_eq!(stream.head().await.expect("a head").0, 200);
        }
        stream.reset(code::CANCEL);
        service.saw_reset(code::CANCEL).await;
        assert!(!service.last().body.complete, "half a body must not look like a whole one");
        proxy.calls("cancelled", "client_cancelled", 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_ends_cancels_all_its_streams() {
    let (service, proxy) = h2_shop("", [hang()]).await;
    let client = proxy.h2().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(client.open(ask("GET", "/", &[]), true).await);
    }
    service.saw(20).await;
    client.abort();
    service.quiet().await;
    proxy.calls("cancelled", "client_cancelled", 20).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_body_that_falls_silent_is_reset_at_idle_timeout() {
    let stall = vec![Step::Read, Step::Head(200, &[]), Step::Data("hello")];
    let (service, proxy) = h2_shop("idleTimeout: 300ms", [stall]).await;
    let stream = proxy.h2().await.open(ask("GET", "/", &[]), true).await;
    let (reply, cut) = stream.finish().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello"));
    assert_eq!(cut, Some(Some(code::INTERNAL_ERROR)));
    service.saw_reset(code::CANCEL).await;
    proxy.calls("failure", "idle_timeout", 1).await;
}

#[tokio::test]
async fn a_body_that_keeps_moving_outlasts_every_timeout() {
    let mut steps = vec![Step::Read, Step::Head(200, &[])];
    steps.extend([Step::Data("a"), Step::Sleep(ms(100))].into_iter().cycle().take(24));
    steps.push(Step::End);
    let (_service, proxy) = h2_shop("timeout: 600ms\nretries: off\nidleTimeout: 1s", [steps]).await;
    assert_eq!(proxy.h2().await.get("/").await.text(), "a".repeat(12));
}

#[tokio::test]
async fn a_connection_refused_is_retried_elsewhere_whatever_the_method() {
    let refused = Refused::bind();
    let service = H2Service::script([ok("here")]);
    let policy = "retries: {maxRetries: 3, backoff: {base: 1ms, max: 2ms}}";
    let proxy = Mesh::new().service("shop", &[refused.addr(), service.addr()], policy).start().await;
    let client = proxy.h2().await;
    for _ in 0..10 {
        assert_eq!(client.call(ask("POST", "/", &[]), "x").await.text(), "here");
    }
    let proxy = Mesh::new().service("shop", &[refused.addr()], "retries: off").start().await;
    assert_eq!(proxy.h2().await.get("/").await.outcome(), (503, "connect_failed"));
}

#[tokio::test]
async fn a_forced_breaker_and_a_reload_hold_for_open_connections() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let client = proxy.h2().await;
    assert_eq!(client.get("/").await.text(), "x");
    proxy.post_admin("/services/shop/breaker?state=open").await;
    eventually("it is forced open", async || client.get("/").await.outcome() == (503, "breaker_open")).await;
    let mesh = Mesh::new().service("shop", &[service.addr()], "circuitBreaker: off");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh.yaml())).await;
    assert_eq!(client.get("/").await.text(), "x", "no connection was closed");
}
