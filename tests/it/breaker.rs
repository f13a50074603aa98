//! The circuit breaker: what opens it, what it refuses, how it closes, what overrides it.

use crate::support::{Mesh, Reply, Upstream, delay, eventually, held, shop};

/// Opens after two failures in a row and stays open for the length of a test.
const TWO: &str = "retries: off\ncircuitBreaker: {trip: {consecutiveFailures: 2, failureRate: off}, openFor: {base: 60s, max: 60s}}";

/// The same, but open for a moment only.
const BRIEF: &str = "retries: off\ncircuitBreaker: {trip: {consecutiveFailures: 2, failureRate: off}, \
    openFor: {base: 300ms, max: 60s}, halfOpen: {maxConcurrent: 1, successes: 1, maxWait: 30s}}";

#[tokio::test]
async fn failures_in_a_row_open_it_and_calls_are_refused_at_once() {
    let (upstream, proxy) = shop(TWO, [Reply::Status(500)]).await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/").await.outcome(), (500, ""));
    }
    let reply = proxy.get("/").await;
    assert_eq!(reply.outcome(), (503, "breaker_open"));
    let seconds: u64 = reply.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=80).contains(&seconds), "{seconds} s, of 60 s with 20 % jitter");
    assert_eq!((reply.json()["attempts"].as_u64(), upstream.attempts()), (Some(0), 2));
    assert_eq!(proxy.shop().await["breaker"]["state"], "open");
    proxy.counted("outrigger_breaker_state", &[("service", "shop")], 1.0).await;
    proxy.calls("refused", "breaker_open", 1).await;
}

#[tokio::test]
async fn a_success_between_failures_starts_the_count_again() {
    let (upstream, proxy) =
        shop(TWO, [Reply::Status(500), Reply::Ok("x"), Reply::Status(500), Reply::Ok("x")]).await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.reason(), "");
    }
    assert_eq!(upstream.attempts(), 6);
}

#[tokio::test]
async fn transport_failures_and_timeouts_count() {
    for action in [Reply::Reset, Reply::CloseMidHead, Reply::RawClose("garbage\r\n\r\n"), Reply::Hang] {
        let (upstream, proxy) = shop(&format!("timeout: 500ms\n{TWO}"), [action.clone()]).await;
        for _ in 0..2 {
            assert_ne!(proxy.get("/").await.reason(), "breaker_open", "after {action:?}");
        }
        assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"), "after {action:?}");
        assert_eq!(upstream.attempts(), 2);
    }
}

#[tokio::test]
async fn a_4xx_is_an_answer() {
    let (upstream, proxy) = shop(TWO, [Reply::Status(404), Reply::Status(429), Reply::Status(400)]).await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.reason(), "");
    }
    assert_eq!((upstream.attempts(), proxy.shop().await["breaker"]["state"].as_str()), (6, Some("closed")));
}

#[tokio::test]
async fn a_share_of_failures_opens_it() {
    let policy = "retries: off\ncircuitBreaker: {trip: {failureRate: 50%, window: 30s, minimumCalls: 10}, openFor: {base: 60s, max: 60s}}";
    let mut script = vec![Reply::Ok("x"); 6];
    script.push(Reply::Status(500));
    let (upstream, proxy) = shop(policy, script).await;
    for _ in 0..9 {
        assert_eq!(proxy.get("/").await.reason(), "", "fewer than minimumCalls open nothing");
    }
    // 6 good ones; at the sixth bad one half have failed. The workers' counts are summed now and then.
    eventually("it opens", async || proxy.get("/").await.outcome() == (503, "breaker_open")).await;
    assert!(upstream.attempts() >= 12, "opened after {} calls", upstream.attempts());
}

#[tokio::test]
async fn slow_calls_open_it_whatever_their_status() {
    let policy = "retries: off\ncircuitBreaker: {trip: {failureRate: off, slowCallRate: 80%, slowCallDuration: 50ms, window: 30s, \
                  minimumCalls: 5}, openFor: {base: 60s, max: 60s}}";
    let (upstream, proxy) = shop(policy, [delay(100, Reply::Ok("x"))]).await;
    eventually("it opens", async || proxy.get("/").await.outcome() == (503, "breaker_open")).await;
    assert!(upstream.attempts() >= 5, "opened after {} calls", upstream.attempts());
}

#[tokio::test]
async fn it_closes_through_half_open_when_the_service_is_back() {
    let (upstream, proxy) = shop(BRIEF, [Reply::Status(500), Reply::Status(500), Reply::Ok("back")]).await;
    for _ in 0..2 {
        proxy.get("/").await;
    }
    eventually("the service answers again", async || proxy.get("/").await.text() == "back").await;
    proxy.breaker("closed").await;
    assert_eq!(upstream.attempts(), 3, "nothing reached it while it was open");
    proxy.counted("outrigger_breaker_state", &[("service", "shop")], 0.0).await;
    let shifts = proxy.metrics().await.sum("outrigger_breaker_transitions_total", &[]);
    assert!(shifts >= 3.0, "open, half open, closed: {shifts}");
}

#[tokio::test]
async fn a_failed_probe_opens_it_again() {
    let (upstream, proxy) = shop(&BRIEF.replace("300ms", "1s"), [Reply::Status(500)]).await;
    for _ in 0..2 {
        proxy.get("/").await;
    }
    eventually("a probe goes through", async || proxy.get("/").await.reason().is_empty()).await;
    assert_eq!(upstream.attempts(), 3);
    assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"));
    assert_eq!((upstream.attempts(), proxy.shop().await["breaker"]["state"].as_str()), (3, Some("open")));
}

#[tokio::test]
async fn half_open_lets_one_call_at_a_time_through() {
    let (upstream, proxy) =
        shop(BRIEF, [Reply::Status(500), Reply::Status(500), held(Reply::Ok("back"))]).await;
    for _ in 0..2 {
        proxy.get("/").await;
    }
    let mut probe = proxy.get_later("/");
    eventually("a probe is out", async || {
        if probe.is_finished() {
            probe = proxy.get_later("/");
        }
        upstream.attempts() == 3
    })
    .await;
    assert_eq!(proxy.shop().await["breaker"]["state"], "half_open");
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"));
    }
    upstream.release();
    assert_eq!(probe.await.expect("the probe").text(), "back");
    proxy.breaker("closed").await;
}

#[tokio::test]
async fn a_probe_whose_client_leaves_gives_its_place_back() {
    let (upstream, proxy) =
        shop(BRIEF, [Reply::Status(500), Reply::Status(500), Reply::Hang, Reply::Ok("back")]).await;
    for _ in 0..2 {
        proxy.get("/").await;
    }
    let mut probe = proxy.get_later("/");
    eventually("a probe is out", async || {
        if probe.is_finished() {
            probe = proxy.get_later("/");
        }
        upstream.attempts() == 3
    })
    .await;
    probe.abort();
    eventually("the place is free", async || proxy.get("/").await.text() == "back").await;
    assert_eq!(upstream.attempts(), 4);
}

#[tokio::test]
async fn it_can_be_forced_open_forced_closed_and_returned_to_automatic() {
    let (upstream, proxy) = shop(TWO, [Reply::Status(500)]).await;
    assert_eq!(proxy.post_admin("/services/shop/breaker?state=open").await.status / 100, 2);
    assert_eq!(proxy.shop().await["breaker"]["forced"], "open");
    assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"));
    assert_eq!(upstream.attempts(), 0);

    assert_eq!(proxy.post_admin("/services/shop/breaker?state=closed").await.status / 100, 2);
    assert_eq!(proxy.shop().await["breaker"]["forced"], "closed");
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.outcome(), (500, ""), "forced closed stays closed");
    }

    assert_eq!(proxy.post_admin("/services/shop/breaker?state=auto").await.status / 100, 2);
    assert!(proxy.shop().await["breaker"]["forced"].is_null());
    eventually("it opens by itself", async || proxy.get("/").await.reason() == "breaker_open").await;
    assert!((6..=7).contains(&upstream.attempts()), "{} attempts", upstream.attempts());
}

#[tokio::test]
async fn a_breaker_that_is_not_there_or_a_state_that_is_none_is_refused() {
    let (_upstream, proxy) = shop(TWO, [Reply::Ok("x")]).await;
    assert_eq!(proxy.post_admin("/services/nobody/breaker?state=open").await.status / 100, 4);
    assert_eq!(proxy.post_admin("/services/shop/breaker?state=ajar").await.status / 100, 4);
    assert_eq!(
        proxy.get_admin("/services/shop/breaker?state=open").await.status / 100,
        4,
        "changes are POST only"
    );
    assert_eq!(proxy.get("/").await.text(), "x");
}

#[tokio::test]
async fn observe_lets_calls_pass() {
    let policy = TWO.replace("circuitBreaker: {", "circuitBreaker: {mode: observe, ");
    let (upstream, proxy) = shop(&policy, [Reply::Status(500)]).await;
    for _ in 0..6 {
        assert_eq!(proxy.get("/").await.outcome(), (500, ""));
    }
    assert_eq!(upstream.attempts(), 6);
}

#[tokio::test]
async fn open_stays_open_across_a_reload() {
    let upstream = Upstream::script([Reply::Status(500)]);
    let mesh = |lines: &str| Mesh::new().service("shop", &[upstream.addr()], &format!("{TWO}\n{lines}"));
    let proxy = mesh("").start().await;
    for _ in 0..2 {
        proxy.get("/").await;
    }
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh("timeout: 3s").yaml())).await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "breaker_open"));
    assert_eq!((upstream.attempts(), proxy.shop().await["breaker"]["state"].as_str()), (2, Some("open")));
}

#[tokio::test]
async fn a_forced_state_survives_a_reload() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let mesh = |lines: &str| Mesh::new().service("shop", &[upstream.addr()], &format!("{TWO}\n{lines}"));
    let proxy = mesh("").start().await;
    proxy.post_admin("/services/shop/breaker?state=open").await;
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh("timeout: 3s").yaml())).await;
    assert_eq!((proxy.get("/").await.outcome(), upstream.attempts()), ((503, "breaker_open"), 0));
}

#[tokio::test]
async fn one_services_breaker_is_not_anothers() {
    let (bad, good) = (Upstream::script([Reply::Status(500)]), Upstream::script([Reply::Ok("fine")]));
    let mesh = Mesh::new().service("shop", &[bad.addr()], TWO).service("other", &[good.addr()], TWO);
    let proxy = mesh.start().await;
    for _ in 0..3 {
        proxy.get("/").await;
    }
    assert_eq!(proxy.get("/").await.reason(), "breaker_open");
    assert_eq!(proxy.call("GET / HTTP/1.1\r\nHost: other\r\n\r\n").await.text(), "fine");
}

#[tokio::test]
async fn a_breaker_that_opens_empties_the_bulkheads_queue() {
    let policy = TWO.replace("consecutiveFailures: 2", "consecutiveFailures: 1")
        + "\nbulkhead: {maxConcurrent: 1, maxWait: 14s}";
    let (upstream, proxy) = shop(&policy, [held(Reply::Status(500))]).await;
    let first = proxy.get_later("/");
    upstream.saw(1).await;
    let queued = proxy.get_later("/");
    proxy.bulkhead(1, 1).await;
    upstream.release();
    assert_eq!(first.await.expect("the first call").outcome(), (500, ""));
    let queued = queued.await.expect("the queued call");
    assert_eq!(queued.outcome(), (503, "breaker_open"));
    assert!(!queued.header("retry-after").is_empty(), "it says when to come back");
    assert_eq!(upstream.attempts(), 1);
    proxy.bulkhead(0, 0).await;
}
