//! gRPC: what a status means to the policies, what our own replies look like, and that streams live.

use crate::support::grpc::{HEAD, ONE_BYTE, assert_own, grpc, grpc_status, message_then, only, timeout_ms};
use crate::support::h2_frames::code;
use crate::support::h2_script::{Step, hang, ok, status};
use crate::support::{H2Service, Mesh, Refused, h2_shop, h2_shop_with, ms};

const ADD: &str = "/shop.Cart/Add";

/// Opens after two failures in a row and stays open for the length of a test.
const TWO: &str = "retries: off\ncircuitBreaker: {trip: {consecutiveFailures: 2, failureRate: off}, \
    openFor: {base: 60s, max: 60s}}";

#[tokio::test]
async fn a_unary_call_passes_as_it_is() {
    let steps = message_then(&[("grpc-status", "0"), ("x-sum", "1")]);
    let (service, proxy) = h2_shop("", [steps]).await;
    let client = proxy.h2().await;
    let reply = client.call(grpc(ADD, &[("x-meta-bin", "AAEC")]), ONE_BYTE).await;
    assert_eq!((reply.status, reply.text().as_str(), grpc_status(&reply)), (200, ONE_BYTE, 0));
    assert!(reply.body.trailers.contains(&("x-sum".to_owned(), "1".to_owned())));
    let seen = service.last();
    assert_eq!((seen.path.as_str(), seen.text().as_str()), (ADD, ONE_BYTE));
    assert_eq!((seen.header("te"), seen.header("x-meta-bin")), ("trailers", "AAEC"));
    assert_eq!((seen.header("content-type"), seen.header("grpc-timeout")), ("application/grpc", ""));
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_failure_in_trailers_only_opens_the_breaker() {
    for status in [2, 4, 13, 14, 15] {
        let (service, proxy) = h2_shop(TWO, [only(status)]).await;
        let client = proxy.h2().await;
        for _ in 0..2 {
            let reply = client.call(grpc(ADD, &[]), ONE_BYTE).await;
            assert_eq!((reply.outcome(), grpc_status(&reply)), ((200, ""), status));
        }
        assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "breaker_open");
        assert_eq!(service.attempts(), 2, "status {status}");
        proxy.calls("failure", "", 2).await;
    }
}

#[tokio::test]
async fn a_failure_in_trailers_opens_the_breaker() {
    // The first message is a success at that moment, so two such calls are no failures in a row.
    let policy = TWO.replace("consecutiveFailures: 2", "consecutiveFailures: 1");
    let after_a_message = message_then(&[("grpc-status", "14")]);
    let at_once = vec![Step::Read, Step::Head(200, HEAD), Step::Trailers(&[("grpc-status", "14")])];
    for steps in [after_a_message, at_once] {
        let (service, proxy) = h2_shop(&policy, [steps.clone()]).await;
        let client = proxy.h2().await;
        assert_eq!(grpc_status(&client.call(grpc(ADD, &[]), ONE_BYTE).await), 14);
        proxy.breaker("open").await;
        assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "breaker_open");
        assert_eq!(service.attempts(), 1, "{steps:?}");
    }
}

#[tokio::test]
async fn any_other_status_is_an_answer() {
    let (service, proxy) = h2_shop(TWO, [only(5)]).await;
    let client = proxy.h2().await;
    for status in [0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 16] {
        service.now([only(status)]);
        for _ in 0..2 {
            assert_eq!(grpc_status(&client.call(grpc(ADD, &[]), ONE_BYTE).await), status);
        }
    }
    assert_eq!(proxy.shop().await["breaker"]["state"], "closed");
    proxy.calls("success", "", 24).await;
}

#[tokio::test]
async fn fail_on_names_further_statuses() {
    for word in ["grpc-8", "grpc-resource-exhausted"] {
        let policy = TWO.replace("openFor", &format!("failOn: [5xx, timeout, transport, {word}], openFor"));
        let (_service, proxy) = h2_shop(&policy, [only(8)]).await;
        let client = proxy.h2().await;
        for _ in 0..2 {
            assert_eq!(grpc_status(&client.call(grpc(ADD, &[]), ONE_BYTE).await), 8);
        }
        assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "breaker_open");
    }
}

#[tokio::test]
async fn a_plain_answer_to_a_grpc_call_is_judged_by_its_status() {
    let (_service, proxy) = h2_shop(TWO, [status(503)]).await;
    let client = proxy.h2().await;
    for _ in 0..2 {
        assert_eq!(client.call(grpc(ADD, &[]), ONE_BYTE).await.outcome(), (503, ""));
    }
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "breaker_open");
}

#[tokio::test]
async fn our_own_replies_are_trailers_only() {
    let (_service, proxy) = h2_shop("timeout: 300ms\nretries: off", [hang()]).await;
    let client = proxy.h2().await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 4, "deadline_exceeded");

    let per_try = "retries: {maxRetries: 0, perTryTimeout: 300ms}";
    let (_service, proxy) = h2_shop(per_try, [hang()]).await;
    let client = proxy.h2().await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 4, "per_try_timeout");

    let refused = Refused::bind();
    let proxy = Mesh::new().service("shop", &[refused.addr()], "retries: off").start().await;
    let client = proxy.h2().await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "connect_failed");

    let (service, proxy) = h2_shop("bulkhead: {maxConcurrent: 1}", [hang()]).await;
    let client = proxy.h2().await;
    let _held = client.open(grpc(ADD, &[]), false).await;
    service.saw(1).await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 14, "bulkhead_full");

    let proxy = Mesh::new().top("outbound: {listen: 127.0.0.1:0, unknown: deny}").start().await;
    let client = proxy.h2().await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 7, "denied");
}

#[tokio::test]
async fn a_content_type_with_a_suffix_is_grpc_too() {
    let refused = Refused::bind();
    let proxy = Mesh::new().service("shop", &[refused.addr()], "retries: off").start().await;
    let head =
        crate::support::ask("POST", ADD, &[("content-type", "application/grpc+proto"), ("te", "trailers")]);
    let reply = proxy.h2().await.call(head, ONE_BYTE).await;
    assert_eq!((reply.outcome(), grpc_status(&reply)), ((200, "connect_failed"), 14));
}

#[tokio::test]
async fn a_callers_deadline_ends_the_call_and_has_no_vote() {
    let policy = TWO.replace("consecutiveFailures: 2", "consecutiveFailures: 1") + "\ntimeout: 10s";
    let (service, proxy) = h2_shop(&policy, [hang()]).await;
    let started = tokio::time::Instant::now();
    let reply = proxy.h2().await.call(grpc(ADD, &[("grpc-timeout", "300m")]), ONE_BYTE).await;
    assert_own(&reply, 4, "deadline_exceeded");
    assert!((ms(290)..ms(5000)).contains(&started.elapsed()), "after {:?}", started.elapsed());
    service.saw_reset(code::CANCEL).await;
    let left = timeout_ms(service.last().header("grpc-timeout"));
    assert!((1..=300).contains(&left), "{left} ms were left");
    assert_eq!(proxy.shop().await["breaker"]["state"], "closed");
}

#[tokio::test]
async fn the_policys_own_deadline_has_a_vote_and_is_not_told() {
    let policy = TWO.replace("consecutiveFailures: 2", "consecutiveFailures: 1") + "\ntimeout: 300ms";
    let (service, proxy) = h2_shop(&policy, [hang()]).await;
    let reply = proxy.h2().await.call(grpc(ADD, &[("grpc-timeout", "20S")]), ONE_BYTE).await;
    assert_own(&reply, 4, "deadline_exceeded");
    let told = timeout_ms(service.last().header("grpc-timeout"));
    assert!((15_000..=20_000).contains(&told), "what is left of the caller's, not of ours: {told} ms");
    proxy.breaker("open").await;
}

#[tokio::test]
async fn every_unit_of_grpc_timeout_is_read() {
    let (service, proxy) = h2_shop("", [only(0)]).await;
    let client = proxy.h2().await;
    for (value, most) in [
        ("1H", 3_600_000),
        ("2M", 120_000),
        ("9S", 9000),
        ("9000m", 9000),
        ("9000000u", 9000),
        ("99999999n", 99),
    ] {
        let reply = client.call(grpc(ADD, &[("grpc-timeout", value)]), ONE_BYTE).await;
        if reply.reason().is_empty() {
            let left = timeout_ms(service.last().header("grpc-timeout"));
            assert!(left <= most && left + 5000 >= most, "{value}: {left} ms left");
        } else {
            assert_own(&reply, 4, "deadline_exceeded"); // a busy machine, and the shortest of them
        }
    }
}

#[tokio::test]
async fn a_live_stream_outlives_the_timeout() {
    let steps = vec![Step::Head(200, HEAD), Step::Echo];
    let (service, proxy) = h2_shop("timeout: 300ms", [steps]).await;
    let mut stream = proxy.h2().await.open(grpc("/shop.Cart/Watch", &[]), false).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    let started = tokio::time::Instant::now();
    while started.elapsed() < ms(900) {
        stream.send(ONE_BYTE).await;
        assert_eq!(stream.read_exactly(ONE_BYTE.len()).await, ONE_BYTE.as_bytes());
        tokio::time::sleep(ms(50)).await;
    }
    stream.end();
    assert!(stream.rest().await.0.complete);
    service.quiet().await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_client_that_streams_for_long_is_not_cut_before_its_answer() {
    let (service, proxy) = h2_shop("timeout: 300ms", [only(0)]).await;
    let mut stream = proxy.h2().await.open(grpc("/shop.Cart/Fill", &[]), false).await;
    let started = tokio::time::Instant::now();
    while started.elapsed() < ms(900) {
        stream.send(ONE_BYTE).await;
        tokio::time::sleep(ms(50)).await;
    }
    stream.end();
    let reply = stream.finish().await.0;
    assert_eq!((reply.reason(), grpc_status(&reply), service.attempts()), ("", 0, 1));
}

#[tokio::test]
async fn a_service_that_streams_for_long_is_not_cut() {
    let mut steps = vec![Step::Read, Step::Head(200, HEAD)];
    steps.extend([Step::Data(ONE_BYTE), Step::Sleep(ms(100))].into_iter().cycle().take(16));
    steps.push(Step::Trailers(&[("grpc-status", "0")]));
    let (_service, proxy) = h2_shop("timeout: 300ms\nretries: off", [steps]).await;
    let reply = proxy.h2().await.call(grpc("/shop.Cart/Watch", &[]), ONE_BYTE).await;
    assert_eq!((reply.text(), grpc_status(&reply)), (ONE_BYTE.repeat(8), 0));
}

#[tokio::test]
async fn routes_are_chosen_by_method() {
    let policy = "routes:
        - {name: add, match: {grpc: shop.Cart/Add}, timeout: 300ms}
        - {name: cart, match: {grpc: shop.Cart}, timeout: 8s}";
    let (service, proxy) = h2_shop(policy, [hang(), only(0)]).await;
    let client = proxy.h2().await;
    assert_own(&client.call(grpc(ADD, &[]), ONE_BYTE).await, 4, "deadline_exceeded");
    for path in ["/shop.Cart/Get", "/shop.Cart/AddAll"] {
        assert_eq!(grpc_status(&client.call(grpc(path, &[]), ONE_BYTE).await), 0);
    }
    assert_eq!(grpc_status(&client.call(grpc("/shop.Cartel/Add", &[]), ONE_BYTE).await), 0);
    for (route, count) in [("add", 1.0), ("cart", 2.0)] {
        proxy.counted("outrigger_calls_total", &[("route", route)], count).await;
    }
    assert_eq!(service.attempts(), 4);
}

#[tokio::test]
async fn a_connection_lost_after_a_message_ends_in_trailers() {
    let steps = vec![Step::Read, Step::Head(200, HEAD), Step::Data(ONE_BYTE), Step::Drop];
    let (_service, proxy) = h2_shop("", [steps]).await;
    let (reply, cut) = proxy.h2().await.call_to_end(grpc(ADD, &[]), ONE_BYTE, &[]).await;
    assert_eq!((reply.text().as_str(), cut), (ONE_BYTE, None));
    assert_eq!(grpc_status(&reply), 14);
    let reason = ("outrigger-reason".to_owned(), "reset_mid_response".to_owned());
    assert!(reply.body.trailers.contains(&reason), "{reply:?}");
    proxy.calls("failure", "reset_mid_response", 1).await;
}

#[tokio::test]
async fn a_reset_after_a_message_keeps_its_code() {
    let steps = vec![Step::Read, Step::Head(200, HEAD), Step::Data(ONE_BYTE), Step::Reset(code::CANCEL)];
    let (_service, proxy) = h2_shop("", [steps]).await;
    let (_reply, cut) = proxy.h2().await.call_to_end(grpc(ADD, &[]), ONE_BYTE, &[]).await;
    assert_eq!(cut, Some(Some(code::CANCEL)));
}

#[tokio::test]
async fn a_cancelled_stream_is_cancelled_at_the_service() {
    let steps = vec![Step::Head(200, HEAD), Step::Echo];
    let (service, proxy) = h2_shop_with("workers: 1", "", [steps]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(grpc("/shop.Cart/Watch", &[]), false).await;
    stream.send(ONE_BYTE).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    assert_eq!(stream.read_exactly(ONE_BYTE.len()).await, ONE_BYTE.as_bytes());
    stream.reset(code::CANCEL);
    service.saw_reset(code::CANCEL).await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_at_idle_timeout() {
    let steps = vec![Step::Read, Step::Head(200, HEAD), Step::Data(ONE_BYTE)];
    let service = H2Service::script([steps, ok("x")]);
    let proxy = Mesh::new().service("shop", &[service.addr()], "idleTimeout: 300ms").start().await;
    let (reply, cut) = proxy.h2().await.call_to_end(grpc(ADD, &[]), ONE_BYTE, &[]).await;
    assert_eq!((reply.text().as_str(), cut, grpc_status(&reply)), (ONE_BYTE, None, 4));
    let reason = ("outrigger-reason".to_owned(), "idle_timeout".to_owned());
    assert!(reply.body.trailers.contains(&reason), "{reply:?}");
    service.saw_reset(code::CANCEL).await;
    proxy.calls("failure", "idle_timeout", 1).await;
}
