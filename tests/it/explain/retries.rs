//! Why a call was tried again, or was not.

use std::time::Duration;

use crate::support::{Reply, post, request, shop};

use super::{TRACED, assert_cause, assert_tells, assert_time, story, traced_get};

const QUICK: &str = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";

#[tokio::test]
async fn a_retry_that_worked_is_told() {
    let (upstream, proxy) = shop(QUICK, [Reply::Status(503), Reply::Ok("x")]).await;
    assert_eq!(proxy.call(traced_get()).await.text(), "x");
    let story = story(&proxy).await;
    let first = format!(
        "attempt 1, at 0 us: the breaker was closed; to {}, the only endpoint, on a new connection",
        upstream.addr()
    );
    assert_tells(
        &story,
        &[
            "GET / for shop: 200 success after ",
            "taken by service shop (",
            &first,
            "answered 503 after ",
            "Tried again after a back-off of ",
            "the budget had 10.2 retries left and the deadline was ",
            " s away.",
            "attempt 2, at ",
            "answered 200 after ",
            "why: shop answered after 1 retry.",
        ],
    );
    // All of its 15 s but what the first attempt took.
    assert_time(&story, "the deadline was ", Duration::from_secs(10)..=Duration::from_secs(15));
    assert!(!story.contains("cause:"), "{story}");
}

#[tokio::test]
async fn each_skipped_retry_has_a_sentence_with_its_line() {
    let get = || request("GET", "/", &[TRACED]);
    let post_it = || post("/", &[TRACED], "x");
    let large = || post("/", &[TRACED], &"x".repeat(2000)).replace("POST", "PUT");
    let after = Reply::With(503, &["Retry-After: 30"], "later");
    let overload = Reply::With(503, &["Outrigger-Reason: breaker_open"], "theirs");
    let cases: [(&str, Reply, String, &str, &str); 8] = [
        (
            QUICK,
            Reply::Status(503),
            get(),
            "this call has had 1 retry, and may have no more; retries.maxRetries: 1 (",
            "retries.maxRetries: 1",
        ),
        (
            QUICK,
            Reply::Status(503),
            post_it(),
            "shop may have acted on this POST, and doing so twice could do harm; idempotent: false (built-in).",
            "",
        ),
        (
            QUICK,
            Reply::Status(500),
            get(),
            "a failure of this kind is never, or not by this policy; retries.retryOn: [gateway-error, reset, per-try-timeout] (built-in).",
            "",
        ),
        (
            "retries: {maxBody: 1KiB, backoff: {base: 1ms, max: 2ms}}",
            Reply::Status(503),
            large(),
            "the body of the request was too large to be kept, or still arriving; retries.maxBody: 1KiB (",
            "retries.maxBody: 1KiB",
        ),
        (
            "retries: {budget: {ratio: 0%, minPerSecond: 0}, backoff: {base: 1ms, max: 2ms}}",
            Reply::Status(503),
            get(),
            "the retry budget of shop was spent, with 0 retries left; retries.budget.ratio: 0% (",
            "retries.budget.ratio: 0%",
        ),
        (
            "timeout: 2s\nretries: {backoff: {base: 3s, max: 3s, jitter: none}}",
            Reply::Status(503),
            get(),
            "the back-off would have ended after the deadline, which was ",
            "timeout: 2s",
        ),
        (
            QUICK,
            after,
            get(),
            "with Retry-After shop asked for a longer wait than this call has; its deadline was ",
            "",
        ),
        (QUICK, overload, get(), "shop said that it is overloaded, or forbade it.", ""),
    ];
    for (policy, reply, call, sentence, cause) in cases {
        let (_upstream, proxy) = shop(policy, [reply]).await;
        assert!(proxy.call(call).await.status >= 500);
        let story = story(&proxy).await;
        assert_tells(&story, &[&format!("Not tried again: {sentence}"), "why: shop itself answered 50"]);
        if let Some((key, _)) = cause.split_once(':') {
            let line = key.split('.').next().unwrap_or_default();
            assert_cause(&proxy, &story, cause, &format!("{line}:"), "service");
        }
    }
}

#[tokio::test]
async fn an_observed_retry_is_told_as_such() {
    let (_upstream, proxy) = shop("retries: {mode: observe}", [Reply::Status(503)]).await;
    proxy.call(traced_get()).await;
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["Not tried again: it would have been, but retries only observe; retries.mode: observe ("],
    );
    assert_cause(&proxy, &story, "retries.mode: observe", "retries:", "service");
}

#[tokio::test]
async fn a_route_is_told_with_its_line() {
    let policy = "retries: off\nroutes: [{name: check, match: {path: /}, timeout: 250ms}]";
    let (_upstream, proxy) = shop(policy, [Reply::Hang]).await;
    proxy.call(traced_get()).await;
    let story = story(&proxy).await;
    assert_tells(&story, &[", route check ("]);
    assert_cause(&proxy, &story, "timeout: 250ms", "routes:", "route");
}
