//! The tree of spans that a story becomes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;
use crate::error::Sent;
use crate::telemetry::Outcome;
use crate::telemetry::story::BreakerSeen;
use crate::wire::{B3, B3Headers, TraceForm, TraceParent};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn story() -> Story {
    let failed = Attempt {
        span_id: 21,
        endpoint: Some("10.0.0.1:80".parse().unwrap()),
        pick: Pick::LeastRequest,
        ended: ms(5),
        status: 503,
        sent: Sent::Yes,
        verdict: Some(Judged::Failure),
        breaker: Some(BreakerSeen { state: "closed", generation: 4, forced: false, refused: false }),
        decision: Some(RetryDecision::Retried),
        back_off: ms(12),
        budget_left: Some(3.5),
        deadline_left: Some(ms(795)),
        ..Attempt::begin(Duration::ZERO)
    };
    let good = Attempt {
        span_id: 22,
        ended: ms(20),
        status: 200,
        verdict: Some(Judged::Success),
        decision: None,
        back_off: Duration::ZERO,
        started: ms(17),
        ..failed
    };
    Story {
        trace: TraceParent { trace_id: 7, span_id: 1, flags: 1, form: TraceForm::W3c },
        span_id: 20,
        export: Some(Why::Retry),
        request_id: None,
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        duration: ms(25),
        service: Arc::from("cart"),
        route: Arc::from("items"),
        rules: None,
        protocol: Spoken::Http1,
        method: "GET".into(),
        path: "/items/7".into(),
        host: "me:s3cret@cart:8080".into(),
        outcome: Outcome::Success,
        status: 200,
        grpc_status: None,
        message: None,
        queued: Duration::ZERO,
        request_bytes: 0,
        reply_bytes: 10,
        first_byte: Some(ms(20)),
        deadline: Some(ms(800)),
        callers_deadline: false,
        attempts: vec![failed, good],
    }
}

fn spans(story: &Story) -> Vec<Span> {
    let mut spans = Vec::new();
    append(story, &mut spans);
    assert_eq!(spans.len(), count(story));
    spans
}

fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(on) => on.to_string(),
        other @ (Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => panic!("{other:?}"),
    })
}

#[test]
fn a_call_that_was_retried_is_a_span_with_one_child_per_attempt() {
    let [call, first, second] = &spans(&story())[..] else { panic!("three spans") };
    for span in [call, first, second] {
        assert_eq!(span.trace_id, 7u128.to_be_bytes());
        assert_eq!((span.kind, &*span.name), (SpanKind::Client as i32, "GET items"));
    }
    assert_eq!(
        (&call.span_id[..], &call.parent_span_id[..]),
        (&20u64.to_be_bytes()[..], &1u64.to_be_bytes()[..])
    );
    assert_eq!((&first.parent_span_id, &second.parent_span_id), (&call.span_id, &call.span_id));
    assert_eq!(second.start_time_unix_nano - call.start_time_unix_nano, 17_000_000);
    assert_eq!(call.end_time_unix_nano - call.start_time_unix_nano, 25_000_000);
    assert_eq!((call.flags, first.flags), (0x301, 0x101), "the caller is elsewhere, and sampled");
    let of_call = |key| value(&call.attributes, key).unwrap_or_default();
    assert_eq!(of_call("outrigger.kept"), "retry");
    assert_eq!((of_call("server.address"), of_call("server.port")), ("cart".to_owned(), "8080".to_owned()));
    assert_eq!(
        (of_call("url.path"), of_call("http.response.status_code")),
        ("/items/7".to_owned(), "200".to_owned())
    );
    assert_eq!(call.status, None);
    assert!(!format!("{call:?}").contains("s3cret"));
}

#[test]
fn an_attempt_tells_what_was_decided_and_with_which_numbers() {
    let spans = spans(&story());
    let of_first = |key| value(&spans[1].attributes, key);
    for (key, wanted) in [
        ("network.peer.address", "10.0.0.1"),
        ("network.peer.port", "80"),
        ("http.response.status_code", "503"),
        ("error.type", "503"),
        ("outrigger.verdict", "failure"),
        ("outrigger.endpoint.pick", "least_request"),
        ("outrigger.breaker.state", "closed"),
        ("outrigger.breaker.generation", "4"),
        ("outrigger.retry.decision", "retried"),
        ("outrigger.retry.back_off_ms", "12"),
        ("outrigger.retry.budget_left", "3.5"),
        ("outrigger.deadline_left_ms", "795"),
    ] {
        assert_eq!(of_first(key).as_deref(), Some(wanted), "{key}");
    }
    assert_eq!(of_first("http.request.resend_count"), None);
    assert_eq!(value(&spans[2].attributes, "http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(spans[1].status.as_ref().map(|status| status.code), Some(StatusCode::Error as i32));
    let events: Vec<&str> = spans[0].events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["outrigger.retry"]);
}

#[test]
fn a_call_that_a_breaker_refused_has_an_event_and_no_child() {
    let refused = Attempt {
        breaker: Some(BreakerSeen { state: "open", generation: 5, forced: false, refused: true }),
        fault: Some(Fault::BreakerOpen),
        ..Attempt::begin(ms(1))
    };
    let story = Story {
        trace: TraceParent { trace_id: 7, span_id: 1, flags: 0, form: TraceForm::Own },
        outcome: Outcome::Fault(Fault::BreakerOpen),
        message: Some("open for 3 s more".into()),
        attempts: vec![refused],
        ..story()
    };
    let [call] = &spans(&story)[..] else { panic!("one span") };
    assert!(call.parent_span_id.is_empty(), "nobody called");
    assert_eq!(call.events[0].name, "outrigger.breaker.refused");
    assert_eq!(value(&call.attributes, "error.type").as_deref(), Some("breaker_open"));
    assert_eq!(call.status.as_ref().map(|status| status.message.as_str()), Some("open for 3 s more"));
}

#[test]
fn b3_that_holds_a_decision_alone_is_no_parent() {
    let b3 = B3 { headers: B3Headers::Single, short: false, debug: false, starts: true };
    let trace = TraceParent { trace_id: 7, span_id: 1, flags: 1, form: TraceForm::B3(b3) };
    let spans = spans(&Story { trace, ..story() });
    assert!(spans[0].parent_span_id.is_empty(), "nobody has that span");
}

#[test]
fn an_attempt_that_could_not_connect_is_a_child() {
    let failed = Attempt { fault: Some(Fault::ConnectFailed), span_id: 23, ..story().attempts[0] };
    let spans = spans(&Story { attempts: vec![failed], ..story() });
    assert_eq!(value(&spans[1].attributes, "error.type").as_deref(), Some("connect_failed"));
    assert_eq!(spans[1].span_id, 23u64.to_be_bytes(), "as explanations tell it");
}

#[test]
fn grpc_and_bytes_follow_their_own_conventions() {
    let grpc = Story {
        protocol: Spoken::Grpc,
        path: "/shop.Cart/Add".into(),
        grpc_status: Some(14),
        outcome: Outcome::GrpcFailure,
        ..story()
    };
    let spans_of_grpc = spans(&grpc);
    assert_eq!(spans_of_grpc[0].name, "shop.Cart/Add");
    assert_eq!(
        value(&spans_of_grpc[0].attributes, "rpc.response.status_code").as_deref(),
        Some("UNAVAILABLE")
    );
    assert_eq!(value(&spans_of_grpc[0].attributes, "rpc.system.name").as_deref(), Some("grpc"));
    let opaque = Story { protocol: Spoken::Opaque, request_bytes: 9, status: 0, ..story() };
    let spans_of_opaque = spans(&opaque);
    assert_eq!(spans_of_opaque[0].name, "tcp cart");
    assert_eq!(value(&spans_of_opaque[0].attributes, "network.transport").as_deref(), Some("tcp"));
    assert_eq!(value(&spans_of_opaque[0].attributes, "outrigger.request_bytes").as_deref(), Some("9"));
}

#[test]
fn a_million_methods_and_paths_make_one_name() {
    let odd = Story { method: "BREW".into(), route: Arc::from(""), path: "/a/b/c".into(), ..story() };
    let call = &spans(&odd)[0];
    assert_eq!(call.name, "HTTP");
    assert_eq!(value(&call.attributes, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(value(&call.attributes, "http.request.method_original").as_deref(), Some("BREW"));
}
