//! What it shows: metrics, access log, trace context, the body of a fault, the admin pages.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Client, Metrics, Refused, Reply, eventually, get, post, request, shop, shop_with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Version, trace id, span id and flags of a valid `traceparent`.
fn parts(value: &str) -> (String, String, String, String) {
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 32, 16, 2], "not a traceparent: {value:?}");
    assert!(
        value.chars().all(|char| matches!(char, '0'..='9' | 'a'..='f' | '-')),
        "not lower-case hex: {value:?}"
    );
    assert!(
        parts[1].contains(|char| char != '0') && parts[2].contains(|char| char != '0'),
        "zero id: {value:?}"
    );
    (parts[0].to_owned(), parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned())
}

#[tokio::test]
async fn a_trace_is_continued() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &[PARENT, "tracestate: vendor=1"])).await;
    let seen = upstream.last();
    assert_eq!(seen.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).count(), 1);
    let (version, trace, span, flags) = parts(seen.header("traceparent"));
    assert_eq!((version.as_str(), trace.as_str(), flags.as_str()), ("00", TRACE, "01"));
    assert_ne!(span, "00f067aa0ba902b7", "the attempt has a span of its own");
    assert_eq!(seen.header("tracestate"), "vendor=1");
}

#[tokio::test]
async fn a_trace_is_started_where_there_is_none_or_a_broken_one() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.get("/").await;
    proxy.get("/").await;
    proxy.call(request("GET", "/", &["traceparent: 00-0000-zz-1"])).await;
    let seen = upstream.finish().await;
    let traces: BTreeSet<String> = seen.iter().map(|one| parts(one.header("traceparent")).1).collect();
    assert_eq!(traces.len(), 3, "each call has a trace of its own: {traces:?}");
}

#[tokio::test]
async fn each_attempt_has_a_span_of_its_own() {
    let policy = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";
    let (upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &[PARENT])).await;
    let seen = upstream.finish().await;
    let spans: BTreeSet<String> = seen.iter().map(|one| parts(one.header("traceparent")).2).collect();
    assert_eq!((seen.len(), spans.len()), (2, 2));
    assert!(seen.iter().all(|one| parts(one.header("traceparent")).1 == TRACE));
}

#[tokio::test]
async fn the_body_of_a_fault_explains_it() {
    let (_upstream, proxy) = shop("timeout: 200ms", [Reply::Hang]).await;
    let reply = proxy.call(request("GET", "/", &[PARENT])).await;
    assert_eq!(reply.outcome(), (504, "deadline_exceeded"));
    assert!(reply.header("content-type").starts_with("application/json"), "{}", reply.header("content-type"));
    let body = reply.json();
    assert_eq!(body["error"], "deadline_exceeded");
    assert_eq!(body["service"], "shop");
    assert_eq!(body["attempts"], 1);
    assert_eq!(body["traceId"], TRACE);
    let message = body["message"].as_str().expect("a sentence");
    assert!(
        message.contains("200") || message.contains("0.2"),
        "one plain sentence with the numbers: {message:?}"
    );
}

#[tokio::test]
async fn a_fault_on_head_has_no_body() {
    let (_upstream, proxy) = shop("retries: off", [Reply::Reset, Reply::Ok("next")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(request("HEAD", "/", &[])).await.outcome(), (502, "reset_before_response"));
    assert_eq!(client.call(get("/")).await.text(), "next");
}

#[tokio::test]
async fn a_reason_in_the_services_answer_is_passed_on_as_the_services() {
    let (_upstream, proxy) = shop("", [Reply::With(404, &["Outrigger-Reason: no_route"], "theirs")]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.outcome(), reply.text().as_str()), ((404, ""), "theirs"));
    assert_eq!(reply.header("outrigger-upstream-reason"), "no_route");
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let (_upstream, proxy) = shop("", [Reply::Status(503), Reply::Ok("x")]).await;
    proxy.get("/").await;
    let reply = proxy.get_admin("/metrics").await;
    assert!(
        reply.header("content-type").starts_with("application/openmetrics-text"),
        "{}",
        reply.header("content-type")
    );
    let text = reply.text();
    assert!(text.ends_with("# EOF\n"), "the end is {:?}", text.lines().last());
    let typed: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in Metrics::parse(&text).names() {
        let suffixes = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];
        let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(typed.contains(family) || typed.contains(name), "no # TYPE for {name}");
    }
    for name in ["outrigger_call_duration_seconds_count", "outrigger_attempt_duration_seconds_count"] {
        let count = Metrics::parse(&text).sum(name, &[("service", "shop")]);
        assert!(count >= 1.0, "{name} is {count}");
    }
}

#[tokio::test]
async fn labels_come_from_the_configuration_alone() {
    let (_upstream, proxy) =
        shop_with("outbound: {listen: 127.0.0.1:0, unknown: deny}", "", [Reply::Ok("x")]).await;
    let names = async || {
        let text = proxy.get_admin("/metrics").await.text();
        text.lines().filter(|line| line.starts_with("outrigger_calls_total")).count()
    };
    let ask = async |number: usize| {
        proxy.call(format!("M{number} /{number} HTTP/1.1\r\nHost: shop\r\n\r\n")).await;
        proxy.call(format!("GET / HTTP/1.1\r\nHost: stranger-{number}\r\n\r\n")).await;
    };
    ask(0).await;
    proxy.counted("outrigger_calls_total", &[], 2.0).await;
    let before = names().await;
    for number in 1..=10 {
        ask(number).await;
    }
    proxy.counted("outrigger_calls_total", &[], 22.0).await;
    assert_eq!(names().await, before, "no series per host, path or method");
}

#[tokio::test]
async fn thousands_of_paths_and_hosts_are_no_series_and_no_memory() {
    const CALLS: usize = 3_000;
    let (_upstream, proxy) =
        shop("retries: off\nroutes: [{name: check, match: {pathPrefix: /check/}}]", [Reply::Ok("x")]).await;
    let nobody = Refused::bind();
    let port = nobody.addr().port();
    let mut client = proxy.client().await;
    let mut ask = async |number: usize| {
        let (high, low) = (number / 250, 1 + number % 250);
        for path in [format!("/check/{number}"), format!("/{number}?q={number}")] {
            assert_eq!(client.call(get(&path)).await.status, 200);
        }
        let stranger = format!("GET / HTTP/1.1\r\nHost: 127.7.{high}.{low}:{port}\r\n\r\n");
        assert_eq!(client.call(stranger).await.status, 503);
    };
    let series = async || {
        let page = proxy.get_admin("/metrics").await.text();
        let names = page.lines().filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned());
        names.collect::<BTreeSet<_>>()
    };
    for number in 0..CALLS / 10 {
        ask(number).await;
    }
    let (before, memory) = (series().await, proxy.rss_kib());
    for number in CALLS / 10..CALLS {
        ask(number).await;
    }
    proxy.counted("outrigger_call_duration_seconds_count", &[], (3 * CALLS) as f64).await;
    assert_eq!(series().await, before);
    // Stories of refused calls and addresses of strangers take their bounds: 4 MiB and 1024 of them.
    let grown = proxy.rss_kib().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more");
}

#[tokio::test]
async fn the_access_log_has_one_json_line_per_call() {
    let (_upstream, proxy) = shop_with("accessLog: stdout", "", [Reply::Ok("x")]).await;
    let lines = || -> Vec<Value> {
        let log = proxy.log();
        let parsed = log.iter().filter_map(|line| serde_json::from_str(line).ok());
        parsed.filter(|line: &Value| line.to_string().contains("\"shop\"")).collect()
    };
    proxy.get("/one").await;
    // A line follows its reply, and the second call may be another worker's.
    eventually("a line", async || lines().len() == 1).await;
    proxy.call(post("/two", &[], "body")).await;
    eventually("two lines", async || lines().len() == 2).await;
    let lines = lines();
    for (line, path) in lines.iter().zip(["/one", "/two"]) {
        let text = line.to_string();
        assert!(text.contains("200") && text.contains(path), "{text}");
    }
    let keys = |line: &Value| line.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&lines[0]), keys(&lines[1]), "the order of fields is fixed");
}

#[tokio::test]
async fn a_service_without_calls_is_listed_with_zeros() {
    let (_upstream, proxy) = shop("circuitBreaker: {}\nbulkhead: {maxConcurrent: 7}", [Reply::Ok("x")]).await;
    let shop = proxy.shop().await;
    assert_eq!(shop["breaker"]["state"], "closed");
    assert!(shop["breaker"]["forced"].is_null());
    let bulkhead = &shop["bulkhead"];
    assert_eq!(
        (&bulkhead["inFlight"], &bulkhead["queued"], &bulkhead["maxConcurrent"]),
        (&0.into(), &0.into(), &7.into())
    );
    assert_eq!((&shop["connections"]["active"], &shop["connections"]["idle"]), (&0.into(), &0.into()));
    assert!(proxy.services().await["unknown"].is_array());
}

#[tokio::test]
async fn a_service_tells_its_retries_and_on_request_its_latencies() {
    let policy = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";
    let (_upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Ok("x")]).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.calls("success", "", 1).await;
    let shop = proxy.shop().await;
    assert_eq!((&shop["attempts"], &shop["retries"]), (&2.into(), &1.into()));
    assert!(shop["latency"]["counts"].is_null(), "only for whoever asks: {shop}");
    let page = proxy.get_admin("/services?counts=1").await.json();
    let counts = page["services"][0]["latency"]["counts"].as_array().expect("a list").clone();
    let micros = counts[0][0].as_u64().expect("microseconds");
    assert_eq!((counts.len(), &counts[0][1]), (1, &1.into()));
    assert!((1_000..60_000_000).contains(&micros), "longer than the back-off: {micros}");
}

#[tokio::test]
async fn what_is_off_is_null() {
    let (_upstream, proxy) = shop("circuitBreaker: off\nbulkhead: off", [Reply::Ok("x")]).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    let shop = proxy.shop().await;
    assert!(shop["breaker"].is_null() && shop["bulkhead"].is_null(), "{shop}");
}

#[tokio::test]
async fn a_services_connections_and_latency_are_shown() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.get("/").await;
    eventually("one idle connection", async || proxy.shop().await["connections"]["idle"] == 1).await;
    assert!(proxy.shop().await["latency"]["p99"].is_number(), "{}", proxy.shop().await);
}

#[tokio::test]
async fn the_port_for_probes_serves_probes_and_metrics_alone() {
    let (_upstream, proxy) = shop_with("health: {listen: 127.0.0.1:0}", "", [Reply::Ok("x")]).await;
    for (path, status) in
        [("/live", 200), ("/ready", 200), ("/metrics", 200), ("/config", 404), ("/services", 404), ("/", 404)]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n");
        assert_eq!(Client::connect(proxy.health()).await.call(request).await.status, status, "{path}");
    }
    let drain = "POST /drain HTTP/1.1\r\nHost: probe\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(Client::connect(proxy.health()).await.call(drain).await.status / 100, 4);
    assert_eq!(proxy.get_admin("/ready").await.status, 200);
}
