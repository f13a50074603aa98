//! gRPC: what may be retried, when an answer is committed, and what the service's pushback does.

use crate::support::grpc::{HEAD, ONE_BYTE, grpc, grpc_status, message_then, only, timeout_ms};
use crate::support::h2_frames::code;
use crate::support::h2_script::{Lines, Step, reset};
use crate::support::{h2_shop, ms};

const ADD: &str = "/shop.Cart/Add";

/// Quick back-off, and calls that may be repeated.
const IDEMPOTENT: &str =
    "idempotent: true\ncircuitBreaker: off\nretries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";

/// The same without the user's word.
const QUICK: &str = "circuitBreaker: off\nretries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";

const UNAVAILABLE: Lines = &[("grpc-status", "14"), ("grpc-message", "busy")];

/// A message and a good status.
fn good() -> Vec<Step> {
    message_then(&[("grpc-status", "0")])
}

/// A trailers-only UNAVAILABLE with this pushback.
fn pushed_back(value: &'static str) -> Vec<Step> {
    let fields = [HEAD[0], ("grpc-status", "14"), ("grpc-retry-pushback-ms", value)];
    vec![Step::Read, Step::Only(200, fields.to_vec().leak())]
}

#[tokio::test]
async fn unavailable_is_retried_where_calls_may_be_repeated() {
    let (service, proxy) = h2_shop(IDEMPOTENT, [only(14), good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((reply.text().as_str(), grpc_status(&reply), service.attempts()), (ONE_BYTE, 0, 2));
    assert!(service.requests().iter().all(|seen| seen.text() == ONE_BYTE && seen.body.complete));
    proxy.retries("retried", 1).await;
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn unavailable_is_passed_on_elsewhere() {
    let (service, proxy) = h2_shop(QUICK, [only(14), good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), reply.reason(), service.attempts()), (14, "", 1));
    proxy.retries("skipped_not_idempotent", 1).await;
}

#[tokio::test]
async fn other_statuses_are_not_retried() {
    for status in [1, 2, 4, 5, 8, 10, 13, 15] {
        let (service, proxy) = h2_shop(IDEMPOTENT, [only(status), good()]).await;
        let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
        assert_eq!((grpc_status(&reply), service.attempts()), (status, 1));
    }
}

#[tokio::test]
async fn the_last_answer_is_passed_on() {
    let (service, proxy) = h2_shop(IDEMPOTENT, [only(14)]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), reply.reason(), service.attempts()), (14, "", 3));
    proxy.retries("skipped_exhausted", 1).await;
}

#[tokio::test]
async fn a_stream_that_was_not_processed_is_retried_everywhere() {
    let (service, proxy) = h2_shop(QUICK, [reset(code::REFUSED_STREAM), good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (0, 2));
    proxy.retries("retried", 1).await;
}

#[tokio::test]
async fn trailers_right_after_the_head_are_judged_before_it_goes_on() {
    let steps = vec![Step::Read, Step::Head(200, HEAD), Step::Trailers(UNAVAILABLE)];
    let (service, proxy) = h2_shop(IDEMPOTENT, [steps, good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (0, 2));
}

#[tokio::test]
async fn a_head_followed_by_silence_goes_on() {
    let steps = vec![Step::Read, Step::Head(200, HEAD), Step::Held, Step::Trailers(UNAVAILABLE)];
    let (service, proxy) = h2_shop(IDEMPOTENT, [steps, good()]).await;
    let mut stream = proxy.h2().await.open(grpc(ADD, &[]), false).await;
    stream.send(ONE_BYTE).await;
    stream.end();
    assert_eq!(stream.head().await.expect("a head").0, 200);
    service.release();
    let (body, cut) = stream.rest().await;
    assert_eq!((body.trailers.len(), cut, service.attempts()), (2, None, 1), "committed: no retry");
    proxy.calls("failure", "", 1).await;
}

#[tokio::test]
async fn a_message_commits_the_answer() {
    let (service, proxy) = h2_shop(IDEMPOTENT, [message_then(UNAVAILABLE), good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((reply.text().as_str(), grpc_status(&reply), service.attempts()), (ONE_BYTE, 14, 1));
    proxy.calls("failure", "", 1).await;
}

#[tokio::test]
async fn an_open_request_lets_the_head_go_on_at_once() {
    let steps = vec![Step::Head(200, HEAD), Step::Held, Step::Trailers(UNAVAILABLE)];
    let (service, proxy) = h2_shop(IDEMPOTENT, [steps, good()]).await;
    let mut stream = proxy.h2().await.open(grpc(ADD, &[]), false).await;
    assert_eq!(stream.head().await.expect("a head, though the request is open").0, 200);
    service.release();
    let (body, cut) = stream.rest().await;
    assert_eq!((body.trailers.len(), cut, service.attempts()), (2, None, 1), "committed: no retry");
}

#[tokio::test]
async fn a_pushback_is_waited_for() {
    let (service, proxy) = h2_shop(IDEMPOTENT, [pushed_back("300"), good()]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (0, 2));
    assert!(started.elapsed() >= ms(300), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn a_pushback_of_zero_means_at_once() {
    let policy = IDEMPOTENT.replace("base: 1ms, max: 2ms", "base: 9s, max: 9s, jitter: none");
    let (service, proxy) = h2_shop(&policy, [pushed_back("0"), good()]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (0, 2));
    assert!(started.elapsed() < ms(5000), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn a_pushback_that_is_negative_or_unreadable_forbids_a_retry() {
    for value in ["-1", "soon", "", "1.5", "99999999999999999999"] {
        let (service, proxy) = h2_shop(IDEMPOTENT, [pushed_back(value), good()]).await;
        let reply = proxy.h2().await.call(grpc(ADD, &[]), ONE_BYTE).await;
        assert_eq!((grpc_status(&reply), service.attempts()), (14, 1), "{value:?}");
        assert_eq!(reply.header("grpc-retry-pushback-ms"), value, "it is the caller's to see");
        proxy.retries("skipped_pushback", 1).await;
    }
}

#[tokio::test]
async fn what_is_left_of_the_callers_deadline_is_told_anew_at_each_attempt() {
    let mut slow = only(14);
    slow.insert(1, Step::Sleep(ms(200)));
    let (service, proxy) = h2_shop(IDEMPOTENT, [slow, good()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[("grpc-timeout", "9000m")]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (0, 2));
    let left: Vec<u64> =
        service.requests().iter().map(|seen| timeout_ms(seen.header("grpc-timeout"))).collect();
    assert!(left[0] <= 9000 && left[1] + 200 <= left[0], "{left:?} ms");
}

#[tokio::test]
async fn a_deadline_that_comes_before_the_pushback_ends_the_retries() {
    let (service, proxy) = h2_shop(IDEMPOTENT, [pushed_back("5000"), good()]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.h2().await.call(grpc(ADD, &[("grpc-timeout", "1S")]), ONE_BYTE).await;
    assert_eq!((grpc_status(&reply), service.attempts()), (14, 1), "the service's own answer");
    assert!(started.elapsed() < ms(4000), "at once, after {:?}", started.elapsed());
    proxy.retries("skipped_deadline", 1).await;
}
