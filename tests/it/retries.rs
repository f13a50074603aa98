//! May this failure be retried? One test per row of the table, with attempts counted at the service.

use crate::support::{Mesh, Outrigger, Refused, Reply, Upstream, post, request, shop};

/// Quick back-off, and no breaker that would step in.
const QUICK: &str =
    "circuitBreaker: off\nretries: {maxRetries: 2, perTryTimeout: 1s, backoff: {base: 1ms, max: 2ms}}";

async fn quick(script: impl IntoIterator<Item = Reply>) -> (Upstream, Outrigger) {
    shop(QUICK, script).await
}

#[tokio::test]
async fn a_get_is_retried_on_each_gateway_error() {
    for status in [502, 503, 504] {
        let (upstream, proxy) = quick([Reply::Status(status), Reply::Ok("second")]).await;
        assert_eq!(proxy.get("/").await.text(), "second", "after {status}");
        assert_eq!(upstream.attempts(), 2);
        proxy.retries("retried", 1).await;
        proxy.calls("success", "", 1).await;
        proxy.counted("outrigger_attempts_total", &[("service", "shop")], 2.0).await;
    }
}

#[tokio::test]
async fn other_statuses_are_answers() {
    for status in [400, 404, 409, 429, 500, 501] {
        let (upstream, proxy) = quick([Reply::Status(status)]).await;
        let reply = proxy.get("/").await;
        assert_eq!((reply.outcome(), reply.text()), ((status, ""), format!("status {status}")));
        assert_eq!(upstream.attempts(), 1, "for {status}");
    }
}

#[tokio::test]
async fn a_failure_that_is_no_gateway_error_is_skipped_by_its_status() {
    let (_upstream, proxy) = quick([Reply::Status(500)]).await;
    proxy.get("/").await;
    proxy.retries("skipped_status", 1).await;
    proxy.calls("failure", "", 1).await;
}

#[tokio::test]
async fn every_idempotent_method_is_retried() {
    for method in ["HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let (upstream, proxy) = quick([Reply::Status(503), Reply::Ok("x")]).await;
        let reply = proxy.call(request(method, "/", &[])).await;
        assert_eq!((reply.status, upstream.attempts()), (200, 2), "{method}");
    }
}

#[tokio::test]
async fn a_post_is_not_retried_on_any_of_these() {
    let cases = [
        (Reply::Status(503), (503, "")),
        (Reply::Reset, (502, "reset_before_response")),
        (Reply::CloseUnanswered, (502, "reset_before_response")),
        (Reply::Hang, (504, "per_try_timeout")),
    ];
    for (action, outcome) in cases {
        let (upstream, proxy) = quick([action.clone(), Reply::Ok("doubled!")]).await;
        assert_eq!(proxy.call(post("/", &[], "pay")).await.outcome(), outcome, "after {action:?}");
        assert_eq!(upstream.attempts(), 1, "after {action:?}");
        proxy.retries("skipped_not_idempotent", 1).await;
    }
}

#[tokio::test]
async fn patch_and_unknown_methods_are_not_retried() {
    for method in ["PATCH", "get", "PURGE"] {
        let (upstream, proxy) = quick([Reply::Status(503)]).await;
        assert_eq!(proxy.call(request(method, "/", &[])).await.outcome(), (503, ""), "{method}");
        assert_eq!(upstream.attempts(), 1, "{method}");
    }
}

#[tokio::test]
async fn an_idempotency_key_makes_a_post_retriable() {
    let (upstream, proxy) = quick([Reply::Status(503), Reply::Reset, Reply::Ok("done")]).await;
    let reply = proxy.call(post("/pay", &["Idempotency-Key: k1"], "amount=5")).await;
    assert_eq!(reply.text(), "done");
    for seen in upstream.finish().await {
        assert_eq!((seen.text().as_str(), seen.header("idempotency-key")), ("amount=5", "k1"));
    }
}

#[tokio::test]
async fn the_users_word_makes_a_post_retriable() {
    let on_service = format!("{QUICK}\nidempotent: true");
    let on_route = format!("{QUICK}\nroutes: [{{name: check, match: {{path: /check}}, idempotent: true}}]");
    for policy in [on_service, on_route] {
        let (upstream, proxy) = shop(&policy, [Reply::Status(503), Reply::Ok("done")]).await;
        assert_eq!(proxy.call(post("/check", &[], "q")).await.text(), "done");
        assert_eq!(upstream.attempts(), 2);
    }
}

#[tokio::test]
async fn conditional_writes_are_not_retried() {
    for condition in
        ["If-Match: \"v1\"", "If-None-Match: *", "If-Unmodified-Since: Mon, 01 Jan 2024 00:00:00 GMT"]
    {
        for method in ["PUT", "DELETE"] {
            let (upstream, proxy) = quick([Reply::Status(503)]).await;
            assert_eq!(proxy.call(request(method, "/", &[condition])).await.status, 503);
            assert_eq!(upstream.attempts(), 1, "{method} {condition}");
        }
    }
    let (upstream, proxy) = quick([Reply::Status(503), Reply::Ok("x")]).await;
    assert_eq!(proxy.call(request("GET", "/", &["If-None-Match: *"])).await.text(), "x");
    assert_eq!(upstream.attempts(), 2, "a conditional read is a read");
}

#[tokio::test]
async fn a_get_is_retried_after_a_reset_a_close_and_a_timeout() {
    for action in [Reply::Reset, Reply::CloseUnanswered, Reply::ResetAtHead, Reply::Hang] {
        let (upstream, proxy) = quick([action.clone(), Reply::Ok("second")]).await;
        assert_eq!(proxy.get("/").await.text(), "second", "after {action:?}");
        assert_eq!(upstream.attempts(), 2, "after {action:?}");
    }
}

#[tokio::test]
async fn a_post_that_was_never_sent_is_retried() {
    let (dead, live) = (Refused::bind(), Upstream::script([Reply::Ok("x")]));
    let policy = format!("{QUICK}\nbalance: roundRobin");
    let proxy =
        Mesh::new().top("workers: 1").service("shop", &[dead.addr(), live.addr()], &policy).start().await;
    for _ in 0..4 {
        assert_eq!(proxy.call(post("/", &[], "pay")).await.text(), "x");
    }
    assert_eq!(live.attempts(), 4, "each POST arrived exactly once");
}

#[tokio::test]
async fn a_retry_goes_to_another_endpoint() {
    let (bad, good) = (Upstream::script([Reply::Status(503)]), Upstream::script([Reply::Ok("x")]));
    let proxy = Mesh::new().service("shop", &[bad.addr(), good.addr()], QUICK).start().await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.text(), "x");
    }
}

#[tokio::test]
async fn the_body_is_sent_again_whole() {
    let (upstream, proxy) = quick([Reply::Status(503), Reply::ResetAtHead, Reply::Ok("x")]).await;
    let body = "0123456789".repeat(3000);
    let length = format!("Content-Length: {}", body.len());
    assert_eq!(proxy.call(request("PUT", "/", &[&length]) + &body).await.text(), "x");
    assert_eq!((upstream.attempts(), upstream.last().text()), (3, body));
}

#[tokio::test]
async fn a_chunked_body_is_sent_again_whole() {
    let (upstream, proxy) = quick([Reply::Status(503), Reply::Ok("x")]).await;
    let body = "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let reply = proxy.call(request("PUT", "/", &["Transfer-Encoding: chunked"]) + body).await;
    assert_eq!((reply.text().as_str(), upstream.attempts()), ("x", 2));
    assert_eq!((upstream.last().text().as_str(), upstream.last().body.complete), ("abcdefg", true));
}

#[tokio::test]
async fn retry_on_narrows_but_never_widens() {
    let narrow = QUICK.replace("maxRetries: 2", "maxRetries: 2, retryOn: [reset]");
    let (upstream, proxy) = shop(&narrow, [Reply::Status(503), Reply::Reset, Reply::Ok("x")]).await;
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(proxy.get("/").await.text(), "x");
    assert_eq!(upstream.attempts(), 3);
}

#[tokio::test]
async fn retries_off_means_one_attempt() {
    let (upstream, proxy) = shop("retries: off", [Reply::Status(503)]).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, ""));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn observe_lets_the_answer_pass() {
    let observe = QUICK.replace("maxRetries: 2", "mode: observe, maxRetries: 2");
    let (upstream, proxy) = shop(&observe, [Reply::Status(503)]).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, ""));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn another_sidecars_refusal_is_passed_on_and_not_retried() {
    for reason in ["breaker_open", "bulkhead_full", "bulkhead_timeout", "overloaded"] {
        let line: &'static str = Box::leak(format!("outrigger-reason: {reason}").into_boxed_str());
        let fields: &'static [&'static str] = Box::leak(Box::new([line]));
        let (upstream, proxy) = quick([Reply::With(503, fields, "theirs")]).await;
        let reply = proxy.get("/").await;
        assert_eq!((reply.outcome(), reply.text().as_str()), ((503, ""), "theirs"));
        assert_eq!(reply.header("outrigger-upstream-reason"), reason);
        assert_eq!(upstream.attempts(), 1, "{reason}");
    }
}
