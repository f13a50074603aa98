//! `outrigger explain --dry`: what would happen to a call now.

use crate::support::{Mesh, Reply, Upstream, held, shop};

use super::{assert_tells, explain, explained, line_of};

const URL: &str = "http://shop/a?token=hunter2";

#[tokio::test]
async fn a_call_that_would_be_sent() {
    let policy = "timeout: 700ms\nroutes: [{name: check, match: {method: POST, path: /check}, idempotent: true}, \
                  {name: beta, match: {path: /a, header: {x-beta: \"1\"}}}]";
    let (upstream, proxy) = shop(policy, [Reply::Ok("x")]).await;
    let told = explained(&proxy, &["--dry", "GET", URL]).await;
    let timeout = format!("mesh.yaml:{}, service)", line_of(&proxy, "timeout:"));
    assert_tells(
        &told,
        &[
            "GET http://shop/a: it would be sent",
            "service shop (",
            ", no route",
            "with the right x-beta, route beta would take it",
            "breaker: closed, and lets it pass",
            "bulkhead: 0 of 1024 places taken, 0 waiting",
            "retries: up to 2, whatever was sent, for it may be repeated",
            "    timeout: 700ms (",
            &timeout,
        ],
    );
    assert!(!told.contains("hunter2"), "{told}");
    let told = explained(&proxy, &["--dry", "POST", "http://shop/check"]).await;
    assert_tells(&told, &[", route check (", "for it may be repeated", "    idempotent: true ("]);
    let told = explained(&proxy, &["--dry", "POST", "http://shop/other"]).await;
    assert_tells(&told, &["retries: up to 2, only what was certainly not sent"]);
    assert_eq!(upstream.connections(), 0, "nothing was sent");
}

#[tokio::test]
async fn an_open_breaker() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.post_admin("/services/shop/breaker?state=open").await;
    let told = explained(&proxy, &["--dry", "GET", URL]).await;
    assert_tells(
        &told,
        &["it would be refused with 503 breaker_open", "breaker: open, by force, and refuses it"],
    );
    let json: serde_json::Value =
        serde_json::from_str(&explained(&proxy, &["--json", "--dry", "GET", URL]).await).expect("JSON");
    assert_eq!((&json["fate"], &json["reason"]), (&"refused".into(), &"breaker_open".into()));
    assert_eq!(json["live"]["breaker"]["state"], "open");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_full_bulkhead_and_one_with_a_queue() {
    for (policy, fate) in [
        ("bulkhead: {maxConcurrent: 1}", "it would be refused with 503 bulkhead_full"),
        (
            "bulkhead: {maxConcurrent: 1, maxWait: 5s}",
            "it would wait for a place in the bulkhead, at most 5 s",
        ),
    ] {
        let (upstream, proxy) = shop(policy, [held(Reply::Ok("x"))]).await;
        let first = proxy.get_later("/");
        upstream.saw(1).await;
        let told = explained(&proxy, &["--dry", "GET", URL]).await;
        let endpoint = format!("endpoint {}: 1 in flight", upstream.addr());
        assert_tells(&told, &[fate, "bulkhead: 1 of 1 places taken", &endpoint]);
        upstream.release();
        first.await.expect("the first call");
    }
}

#[tokio::test]
async fn an_endpoint_that_has_failed_is_told() {
    let (_upstream, proxy) = shop("retries: off", [Reply::CloseUnanswered]).await;
    assert_eq!(proxy.get("/").await.reason(), "reset_before_response");
    let told = explained(&proxy, &["--dry", "GET", URL]).await;
    assert_tells(&told, &["0 in flight, chosen last, for it has failed"]);
}

#[tokio::test]
async fn destinations_without_a_service() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = Mesh::new().service("shop", &[upstream.addr()], "").start().await;
    let told = explained(&proxy, &["--dry", "GET", "http://stranger/x"]).await;
    assert_tells(&told, &["it would be sent", "it would pass through"]);
    let secure = format!("https://shop:{}/x", upstream.addr().port());
    let told = explained(&proxy, &["--dry", "GET", &secure]).await;
    assert_tells(&told, &["service shop (", "https comes as a CONNECT", "retries: none inside a tunnel"]);
    let proxy = Mesh::new().top("outbound: {listen: 127.0.0.1:0, unknown: deny}").start().await;
    let told = explained(&proxy, &["--dry", "GET", "http://stranger/x"]).await;
    let line = format!("mesh.yaml:{}, process)", line_of(&proxy, "outbound:"));
    assert_tells(&told, &["it would be refused with 403 denied", "outbound.unknown: deny (", &line]);
    let wrong = explain(&proxy, &["--dry", "GET", "shop/x"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("url must be http://HOST/PATH"), "{wrong:?}");
}
