//! Spans at a collector, and collectors that are dead, slow or wrong: no call notices one.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::time::Instant;

use crate::support::h2_script::{Step, hang};
use crate::support::{H2Service, Mesh, Outrigger, Refused, Reply, Upstream, eventually, ms, request};

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// No waiting for spans to go with.
const AT_ONCE: &str = "export OTEL_BSP_SCHEDULE_DELAY=20";

/// A service that answers so, and a proxy that exports to `collector` with these further keys.
async fn traced(
    collector: SocketAddr,
    keys: &str,
    script: impl IntoIterator<Item = Reply>,
) -> (Upstream, Outrigger) {
    let service = Upstream::script(script);
    let policy = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";
    let top = format!("tracing: {{otlp: \"http://{collector}\", {keys}}}");
    let mesh = Mesh::new().top(&top).service("shop", &[service.addr()], policy);
    (service, Outrigger::start_with(AT_ONCE, &mesh.yaml()).await)
}

fn spans(bytes: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(bytes).expect("a request of OTLP");
    let resources = request.resource_spans.into_iter();
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

async fn sum(proxy: &Outrigger, name: &str, labels: &[(&str, &str)]) -> f64 {
    proxy.metrics().await.sum(name, labels)
}

async fn dropped(proxy: &Outrigger, reason: &str) -> f64 {
    sum(proxy, "outrigger_spans_dropped_total", &[("reason", reason)]).await
}

/// One call, its two attempts, and who is whose parent.
fn assert_tree(spans: &[Span]) {
    let [call, first, second] = spans else { panic!("three spans: {spans:?}") };
    assert_eq!(call.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
    assert_eq!(call.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((&first.parent_span_id, &second.parent_span_id), (&call.span_id, &call.span_id));
    assert_eq!(call.events.iter().filter(|event| event.name == "outrigger.retry").count(), 1);
    assert!(!format!("{spans:?}").contains("token=1"), "no query leaves");
}

#[tokio::test]
async fn a_collector_of_http_gets_the_call_and_its_attempts() {
    let collector = Upstream::script([Reply::Ok("")]);
    let keys = "headers: {authorization: Bearer s3cret}";
    let (service, proxy) = traced(collector.addr(), keys, [Reply::Status(503), Reply::Ok("x")]).await;
    assert_eq!(proxy.call(request("GET", "/a?token=1", &[PARENT])).await.status, 200);
    eventually("spans come", async || collector.attempts() == 1).await;
    let seen = collector.last();
    assert!(seen.line.starts_with("POST /v1/traces "), "{}", seen.line);
    assert_eq!(seen.header("content-type"), "application/x-protobuf");
    assert_eq!(seen.header("authorization"), "Bearer s3cret");
    let spans = spans(&seen.body.bytes);
    assert_tree(&spans);
    let sent = service.requests();
    let told = |index: usize| sent[index].header("traceparent").split('-').nth(2).map(str::to_owned);
    let hex = |span: &Span| Some(span.span_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!((told(0), told(1)), (hex(&spans[1]), hex(&spans[2])), "the service has the attempt as parent");
    eventually("they are counted", async || sum(&proxy, "outrigger_spans_exported_total", &[]).await == 3.0)
        .await;
    let shown = proxy.get_admin("/config").await.text();
    assert!(!shown.contains("s3cret") && !proxy.said("s3cret"));
}

#[tokio::test]
async fn a_collector_of_grpc_gets_the_same() {
    let ok = || {
        vec![
            Step::Read,
            Step::Head(200, &[("content-type", "application/grpc")]),
            Step::Data("\0\0\0\0\0"),
            Step::Trailers(&[("grpc-status", "0")]),
        ]
    };
    let collector = H2Service::script([ok()]);
    let keys = "protocol: grpc, headers: {x-tenant: blue}";
    let (_service, proxy) = traced(collector.addr(), keys, [Reply::Status(503), Reply::Ok("x")]).await;
    proxy.call(request("GET", "/a?token=1", &[PARENT])).await;
    eventually("they are counted", async || sum(&proxy, "outrigger_spans_exported_total", &[]).await == 3.0)
        .await;
    let seen = collector.last();
    assert_eq!(seen.path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(seen.header("x-tenant"), "blue");
    // A flag and a length before the message.
    assert_tree(&spans(&seen.body.bytes[5..]));
}

#[tokio::test]
async fn a_failure_is_exported_though_nobody_sampled_it_and_a_success_is_not() {
    let collector = Upstream::script([Reply::Ok("")]);
    let keys = "always: [error], sample: off";
    let (_service, proxy) = traced(collector.addr(), keys, [Reply::Ok("x"), Reply::Status(500)]).await;
    proxy.call(request("GET", "/good", &[UNSAMPLED])).await;
    proxy.call(request("POST", "/bad", &[UNSAMPLED, "content-length: 0"])).await;
    eventually("spans come", async || collector.attempts() == 1).await;
    let spans = spans(&collector.last().body.bytes);
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans[0].attributes.iter().any(|attribute| attribute.key == "outrigger.kept"));
}

#[tokio::test]
async fn a_collector_that_refuses_the_connection_costs_counted_spans_and_no_time() {
    let nobody = Refused::bind();
    let (_service, proxy) = traced(nobody.addr(), "timeout: 300ms", [Reply::Ok("x")]).await;
    for _ in 0..5 {
        assert_eq!(proxy.call(request("GET", "/", &[PARENT])).await.status, 200);
    }
    eventually("they are counted", async || dropped(&proxy, "unreachable").await == 10.0).await;
    let said = proxy.log().iter().filter(|line| line.contains("spans are lost")).count();
    assert_eq!(said, 1, "once, however many exports fail");
}

#[tokio::test]
async fn a_collector_that_hangs_is_given_up() {
    let collector = Upstream::script([Reply::Hang]);
    let (_service, proxy) = traced(collector.addr(), "timeout: 200ms", [Reply::Ok("x")]).await;
    assert_eq!(proxy.call(request("GET", "/", &[PARENT])).await.status, 200);
    eventually("they are counted", async || dropped(&proxy, "timeout").await == 2.0).await;
    let collector = H2Service::script([hang()]);
    let keys = "timeout: 200ms, protocol: grpc";
    let (_service, proxy) = traced(collector.addr(), keys, [Reply::Ok("x")]).await;
    assert_eq!(proxy.call(request("GET", "/", &[PARENT])).await.status, 200);
    eventually("they are counted", async || dropped(&proxy, "timeout").await == 2.0).await;
}

#[tokio::test]
async fn a_collector_that_asks_for_a_pause_gets_it() {
    let busy = Reply::With(429, &["Retry-After: 1"], "later");
    let collector = Upstream::script([busy, Reply::Ok("")]);
    let (_service, proxy) = traced(collector.addr(), "", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &[PARENT])).await;
    eventually("the first try", async || collector.attempts() == 1).await;
    let asked = Instant::now();
    eventually("the second", async || collector.attempts() == 2).await;
    assert!(asked.elapsed() > ms(700), "{:?}", asked.elapsed());
    eventually("they are counted", async || sum(&proxy, "outrigger_spans_exported_total", &[]).await == 2.0)
        .await;
}

#[tokio::test]
async fn a_pause_that_is_too_long_and_a_refusal_for_good_cost_the_spans() {
    for refusal in [Reply::With(503, &["Retry-After: 100"], ""), Reply::Status(400)] {
        let collector = Upstream::script([refusal, Reply::Ok("")]);
        let (_service, proxy) = traced(collector.addr(), "", [Reply::Ok("x")]).await;
        proxy.call(request("GET", "/", &[PARENT])).await;
        eventually("they are counted", async || dropped(&proxy, "refused").await == 2.0).await;
        proxy.call(request("GET", "/", &[PARENT])).await;
        eventually("it is said", async || proxy.said("spans arrive at")).await;
    }
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_counted() {
    let collector = Upstream::script([Reply::Ok("\n\x02\x08\x01")]);
    let (_service, proxy) = traced(collector.addr(), "", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &[PARENT])).await;
    eventually("they are counted", async || dropped(&proxy, "rejected").await == 1.0).await;
    assert_eq!(sum(&proxy, "outrigger_spans_exported_total", &[]).await, 1.0);
}

#[tokio::test]
async fn a_collector_that_speaks_something_else_costs_the_spans() {
    let collector = Upstream::script([Reply::RawClose("SSH-2.0-OpenSSH_9.2\r\n\r\n")]);
    let (_service, proxy) = traced(collector.addr(), "", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &[PARENT])).await;
    eventually("they are counted", async || dropped(&proxy, "protocol").await == 2.0).await;
}

#[tokio::test]
async fn what_waits_is_sent_when_the_process_ends() {
    let collector = Upstream::script([Reply::Ok("")]);
    let service = Upstream::script([Reply::Ok("x")]);
    let top = format!("tracing: {{otlp: \"http://{}\"}}\ndrain: {{quiet: 0s}}", collector.addr());
    let mesh = Mesh::new().top(&top).service("shop", &[service.addr()], "");
    let proxy = Outrigger::start_with("export OTEL_BSP_SCHEDULE_DELAY=3600000", &mesh.yaml()).await;
    proxy.call(request("GET", "/", &[PARENT])).await;
    proxy.signal("TERM");
    eventually("spans come", async || collector.attempts() == 1).await;
    assert_eq!(spans(&collector.last().body.bytes).len(), 2);
}
