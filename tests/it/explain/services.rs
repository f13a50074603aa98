//! Failures of a service, or of the way to it.

use std::time::Duration;

use serde_json::Value;

use crate::support::grpc::{ONE_BYTE, grpc, only};
use crate::support::h2_script::hang;
use crate::support::{
    Authority, DnsAnswer, DnsServer, FullBacklog, Mesh, Outrigger, PemFolder, Refused, Reply, TlsFront,
    Upstream, eventually, get, h2_shop, outrigger, shop,
};

use super::{TRACE, TRACED, assert_cause, assert_tells, assert_time, newest, story, traced_get};

const OFF: &str = "retries: off";

#[tokio::test]
async fn dns_failed_cites_the_endpoints() {
    let dns = DnsServer::start("shop.test", DnsAnswer::NxDomain).await;
    let mesh = Mesh::new().top(&format!("dns: {{servers: [\"{}\"]}}", dns.addr()));
    let proxy = mesh.service_raw("shop", "retries: off\nendpoints: {dns: \"shop.test:80\"}").start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "dns_failed"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "503 dns_failed",
            "the name does not resolve (dns_failed)",
            "why: the name of shop does not resolve.",
        ],
    );
    assert_cause(&proxy, &story, "endpoints: of shop", "endpoints:", "service");
    assert_tells(&story, &["Not tried again: retries are off; retries: off ("]);
}

#[tokio::test]
async fn no_endpoints_is_a_name_without_addresses_and_cites_the_endpoints() {
    let dns = DnsServer::start("shop.test", DnsAnswer::Empty).await;
    let mesh = Mesh::new().top(&format!("dns: {{servers: [\"{}\"]}}", dns.addr()));
    let proxy = mesh.service_raw("shop", "retries: off\nendpoints: {dns: \"shop.test:80\"}").start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "no_endpoints"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["503 no_endpoints", "shop has no endpoints: its name has no address", "why: shop has no endpoint."],
    );
    assert_cause(&proxy, &story, "endpoints: of shop", "endpoints:", "service");
    dns.now(DnsAnswer::NxDomain);
    eventually("the name is gone altogether", async || proxy.get("/").await.outcome() == (503, "dns_failed"))
        .await;
}

#[tokio::test]
async fn a_list_of_no_addresses_is_an_error_of_the_yaml() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let empty = proxy.path("empty.yaml");
    std::fs::write(&empty, "version: v1\nservices:\n  shop: {endpoints: {static: []}}\n").expect("a file");
    let checked = outrigger(&["check", empty.to_str().expect("a path")]).await;
    assert_ne!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[tokio::test]
async fn connect_failed_cites_the_endpoints() {
    let refused = Refused::bind();
    let proxy = Mesh::new().service("shop", &[refused.addr()], OFF).start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "connect_failed"));
    let story = story(&proxy).await;
    let to =
        format!("to {}, the only endpoint; no connection: refused or unreachable after ", refused.addr());
    assert_tells(
        &story,
        &[
            &to,
            "(connect_failed); a failure of the service",
            "why: no endpoint of shop could be connected to.",
        ],
    );
    assert_cause(&proxy, &story, "endpoints: of shop", "endpoints:", "service");
}

/// What is told twice, here and as a span, has one name.
#[tokio::test]
async fn an_attempt_that_sent_nothing_has_a_span_and_no_invented_parent() {
    let refused = Refused::bind();
    let proxy = Mesh::new().service("shop", &[refused.addr()], OFF).start().await;
    let reply = proxy.call(get("/").replace("\r\n\r\n", "\r\nb3: 1\r\n\r\n")).await;
    assert_eq!(reply.outcome(), (503, "connect_failed"));
    newest(&proxy, "connect_failed").await;
    let page = proxy.get_admin("/explain").await.json();
    let story = &page["stories"][0];
    assert_eq!(story["parentSpanId"], Value::Null, "the caller named a decision alone: {story}");
    assert_eq!(story["sampled"], true, "{story}");
    assert_eq!(story["attempts"][0]["spanId"].as_str().map(str::len), Some(16), "{story}");
}

#[tokio::test]
async fn connect_timeout_cites_connect_timeout() {
    let full = FullBacklog::bind().await;
    let proxy =
        Mesh::new().service("shop", &[full.addr()], "connectTimeout: 200ms\nretries: off").start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "connect_timeout"));
    let story = story(&proxy).await;
    // Not sooner than it is allowed, and not much later, however busy the machine.
    assert_time(&story, "no connection within ", Duration::from_millis(200)..=Duration::from_secs(5));
    assert_tells(&story, &["(connect_timeout)"]);
    assert_cause(&proxy, &story, "connectTimeout: 200ms", "connectTimeout:", "service");
}

#[tokio::test]
async fn tls_failed_cites_tls() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let upstream = Upstream::script([]);
    let front = TlsFront::start(stranger.issue("shop").server(), upstream.addr()).await;
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let proxy = folder.shop(&[front.addr()], "retries: off\ntls: {ca: PEM/ca.pem}").start().await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (503, "tls_failed"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &["no TLS, after ", "why: no TLS came about with shop.", "issued by nobody we trust"],
    );
    assert_cause(&proxy, &story, "tls: of shop", "tls:", "service");
}

#[tokio::test]
async fn resets_and_broken_protocol_cite_the_endpoints() {
    let garbage = "\u{16}\u{3}\u{1}\u{2}\0\u{1}garbage\r\n\r\n";
    let cases = [
        (
            Reply::CloseUnanswered,
            "reset_before_response",
            "shop ended the connection before it had answered.",
        ),
        (Reply::CloseMidBody, "reset_mid_response", "shop ended the connection in the middle of its answer."),
        (Reply::RawClose(garbage), "protocol_error", "shop broke the protocol."),
    ];
    for (action, reason, why) in cases {
        let (_upstream, proxy) = shop(OFF, [action]).await;
        proxy.call(traced_get()).await;
        let story = story(&proxy).await;
        assert_tells(&story, &[reason, &format!("why: {why}"), "on a new connection, made in "]);
        assert_cause(&proxy, &story, "endpoints: of shop", "endpoints:", "service");
    }
}

#[tokio::test]
async fn per_try_timeout_cites_per_try_timeout() {
    let policy =
        "timeout: 5s\nretries: {maxRetries: 1, perTryTimeout: 200ms, backoff: {base: 1ms, max: 2ms}}";
    let (_upstream, proxy) = shop(policy, [Reply::Hang]).await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (504, "per_try_timeout"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "given up after 20",
            ", the time of one attempt (per_try_timeout)",
            "Tried again after a back-off of ",
            "attempt 2, at ",
            "Not tried again: this call has had 1 retry, and may have no more; retries.maxRetries: 1 (",
            "why: shop did not answer within the time of one attempt.",
        ],
    );
    assert_cause(&proxy, &story, "retries.perTryTimeout: 200ms", "retries:", "service");
}

#[tokio::test]
async fn deadline_exceeded_cites_timeout() {
    let (_upstream, proxy) = shop("timeout: 300ms", [Reply::Hang]).await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (504, "deadline_exceeded"));
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "deadline 300 ms (by timeout)",
            "given up after ",
            "Not tried again: the time of the call was over; timeout: 300ms (",
            "why: shop did not answer within the time of the call.",
        ],
    );
    assert_cause(&proxy, &story, "timeout: 300ms", "timeout:", "service");
}

#[tokio::test]
async fn a_deadline_of_defaults_is_cited_there() {
    let (_upstream, proxy) = crate::support::shop_with("defaults: {timeout: 300ms}", "", [Reply::Hang]).await;
    assert_eq!(proxy.call(traced_get()).await.outcome(), (504, "deadline_exceeded"));
    assert_cause(&proxy, &story(&proxy).await, "timeout: 300ms", "defaults:", "defaults");
}

#[tokio::test]
async fn a_callers_own_deadline_is_said_to_be_its_own() {
    let (_service, proxy) = h2_shop("timeout: 10s", [hang()]).await;
    let (name, value) = TRACED.split_once(": ").expect("a header line");
    let reply = proxy
        .h2()
        .await
        .call(grpc("/shop.Cart/Add", &[("grpc-timeout", "300m"), (name, value)]), ONE_BYTE)
        .await;
    assert_eq!(reply.reason(), "deadline_exceeded");
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "deadline 300 ms (the caller's own)",
            "why: the caller wanted its answer sooner than shop gave it.",
            "  cause: grpc-timeout: 300 ms (caller)",
            "no vote about the service",
        ],
    );
}

/// A traced call of gRPC with a deadline of its own, and what is told of it.
async fn hurried(proxy: &Outrigger, timeout: &str) -> (String, Value) {
    let (name, value) = TRACED.split_once(": ").expect("a header line");
    let head = grpc("/shop.Cart/Add", &[("grpc-timeout", timeout), (name, value)]);
    proxy.h2().await.call(head, ONE_BYTE).await;
    let told = story(proxy).await;
    let mut page = proxy.get_admin(&format!("/explain?id={TRACE}")).await.json();
    (told, page["stories"][0].take())
}

#[tokio::test]
async fn a_callers_own_deadline_is_told_of_a_success_too() {
    let (_service, proxy) = h2_shop("timeout: 10s", [only(0)]).await;
    let (told, page) = hurried(&proxy, "5S").await;
    assert_tells(&told, &["success", "deadline 5 s (the caller's own)"]);
    assert_eq!(page["callersDeadline"], true, "{page}");
}

#[tokio::test]
async fn a_longer_deadline_of_the_callers_decides_nothing() {
    let (_service, proxy) = h2_shop("timeout: 300ms", [hang()]).await;
    let (told, page) = hurried(&proxy, "9S").await;
    assert_tells(&told, &["(by timeout)", "  cause: timeout: 300ms (", "a failure of the service"]);
    assert_eq!(page["callersDeadline"], false, "{page}");
}

/// No fault of the service, wherever in the call the caller's time is over.
#[tokio::test]
async fn a_callers_own_deadline_may_end_a_connect_or_a_wait() {
    let full = FullBacklog::bind().await;
    let proxy = Mesh::new().service("shop", &[full.addr()], "connectTimeout: 5s").start().await;
    let (told, _) = hurried(&proxy, "300m").await;
    let callers = [
        "deadline 300 ms (the caller's own)",
        "within 300ms, as the caller asked (grpc-timeout)",
        "  cause: grpc-timeout: 300 ms (caller)",
    ];
    assert_tells(&told, &callers);
    assert_tells(&told, &["no vote about the service"]);

    let (service, proxy) = h2_shop("bulkhead: {maxConcurrent: 1, maxWait: 5s}", [hang()]).await;
    let client = proxy.h2().await;
    let first = tokio::spawn(async move { client.call(grpc("/shop.Cart/Add", &[]), ONE_BYTE).await });
    proxy.bulkhead(1, 0).await;
    let (told, _) = hurried(&proxy, "300m").await;
    assert_tells(&told, &callers);
    first.abort();
    drop(service);
}

#[tokio::test]
async fn idle_timeout_cites_the_clock_that_was_over() {
    let (_upstream, proxy) = shop("idleTimeout: 300ms", [Reply::Stall]).await;
    assert!(proxy.call(traced_get()).await.cut());
    let silent = story(&proxy).await;
    assert_tells(
        &silent,
        &["200 idle_timeout", "why: nothing moved between the application and shop for too long."],
    );
    assert_cause(&proxy, &silent, "idleTimeout: 300ms", "idleTimeout:", "service");

    let (_upstream, proxy) = shop("idleTimeout: 10s\nbodyTimeout: 300ms", [Reply::Stall]).await;
    assert!(proxy.call(traced_get()).await.cut());
    let long = story(&proxy).await;
    assert_tells(&long, &["why: the body of the answer of shop took too long as a whole."]);
    assert_cause(&proxy, &long, "bodyTimeout: 300ms", "bodyTimeout:", "service");
}

#[tokio::test]
async fn loop_detected_is_told() {
    let proxy = Mesh::new().start().await;
    let own = proxy.outbound();
    let reply = proxy.call(format!("GET / HTTP/1.1\r\nHost: {own}\r\n{TRACED}\r\n\r\n")).await;
    assert_eq!(reply.outcome(), (508, "loop_detected"));
    let story = newest(&proxy, "loop_detected").await;
    assert_tells(&story, &[TRACE, &format!("why: {own} leads straight back to this proxy.")]);
}

#[tokio::test]
async fn an_answer_of_the_service_is_told_to_be_its_own() {
    let (_upstream, proxy) = shop(OFF, [Reply::Status(503)]).await;
    assert_eq!(proxy.call(traced_get()).await.status, 503);
    let story = story(&proxy).await;
    assert_tells(
        &story,
        &[
            "GET / for shop: 503 status_5xx after ",
            "answered 503 after ",
            "a failure of the service",
            "why: shop itself answered 503, and that answer was passed on.",
        ],
    );
    assert_cause(&proxy, &story, "retries: off", "retries:", "service");
}
