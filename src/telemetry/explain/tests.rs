//! Stories made by hand: every fault and every decision has words of its own.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::story::{BreakerSeen, Judged, Pick, Rules, Spoken};
use super::super::{Outcome, RetryDecision};
use super::*;
use crate::config::{Options, load_str};
use crate::error::Fault;
use crate::wire::{TraceForm, TraceParent};

const YAML: &str = "\
version: v1
limits: {connections: 7}
outbound:
  unknown: deny
services:
  cart:
    tls: {}
    endpoints: {static: [\"127.0.0.1:1\"]}
    timeout: 800ms
    bulkhead: {maxConcurrent: 3, maxWait: 20ms}
    retries: {maxRetries: 4, perTryTimeout: 100ms}
    routes:
      - {name: check, match: {path: /x}, idleTimeout: 9s}
";

fn config() -> Config {
    load_str("mesh.yaml", YAML, &Options::default()).expect("a valid configuration")
}

fn story(config: &Config, outcome: Outcome) -> Story {
    let (service, route) = (&config.services[0], &config.services[0].routes[0]);
    let mut attempt = Attempt::begin(Duration::ZERO);
    attempt.breaker = Some(BreakerSeen { state: "closed", generation: 0, forced: false, refused: false });
    attempt.endpoint = Some("127.0.0.1:1".parse().unwrap());
    attempt.pick = Pick::Only;
    attempt.connected = Some(Duration::from_micros(400));
    attempt.ended = Duration::from_millis(12);
    attempt.verdict = Some(Judged::Failure);
    attempt.budget_left = Some(0.4);
    attempt.deadline_left = Some(Duration::from_millis(700));
    Story {
        trace: TraceParent { trace_id: 10, span_id: 11, flags: 1, form: TraceForm::Own },
        span_id: 12,
        export: None,
        request_id: Some("r-1".into()),
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        duration: Duration::from_millis(15),
        service: Arc::clone(&service.name),
        route: Arc::clone(&route.name),
        rules: Some(Rules {
            policy: Arc::clone(&route.policy),
            files: Arc::clone(&config.files),
            service: service.origin,
            route: Some(route.origin),
            host_mismatch: false,
        }),
        protocol: Spoken::Http1,
        method: "GET".into(),
        path: "/x".into(),
        host: "me:secret@cart".into(),
        outcome,
        status: 503,
        grpc_status: None,
        message: None,
        queued: Duration::ZERO,
        request_bytes: 0,
        reply_bytes: 10,
        first_byte: Some(Duration::from_millis(12)),
        deadline: Some(Duration::from_millis(800)),
        callers_deadline: false,
        attempts: vec![attempt],
    }
}

fn first_cause(story: &Story, config: &Config) -> String {
    causes(story, config).first().map(Cause::told).unwrap_or_default()
}

#[test]
fn a_story_is_told_line_by_line() {
    let config = config();
    let mut story = story(&config, Outcome::Fault(Fault::DeadlineExceeded));
    story.attempts[0].fault = Some(Fault::DeadlineExceeded);
    let want = "\
GET /x for cart: 503 deadline_exceeded after 15 ms
  at 22:13:20.123 UTC, trace 0000000000000000000000000000000a, request id r-1
  taken by service cart (mesh.yaml:6), route check (mesh.yaml:13), as cart, over http1
  deadline 800 ms (by timeout)
  attempt 1, at 0 us: the breaker was closed; to 127.0.0.1:1, the only endpoint, on a new connection, made in 400 us; \
given up after 11.6 ms, at the deadline (deadline_exceeded); a failure of the service
    Not tried again: the time of the call was over; timeout: 800ms (mesh.yaml:9, service).
  why: cart did not answer within the time of the call.
  cause: timeout: 800ms (mesh.yaml:9, service)";
    assert_eq!(told(&story, &config), want);
}

#[test]
fn the_line_that_decided_is_cited() {
    let config = config();
    for (fault, want) in [
        (Fault::BulkheadFull, "bulkhead.maxConcurrent: 3 (mesh.yaml:10, service)"),
        (Fault::BulkheadTimeout, "bulkhead.maxWait: 20ms (mesh.yaml:10, service)"),
        (Fault::BreakerOpen, "circuitBreaker.trip.failureRate: 50% (built-in)"),
        (Fault::TlsFailed, "tls: of cart (mesh.yaml:7, service)"),
        (Fault::DnsFailed, "endpoints: of cart (mesh.yaml:8, service)"),
        (Fault::NoEndpoints, "endpoints: of cart (mesh.yaml:8, service)"),
        (Fault::ConnectTimeout, "connectTimeout: 1s (built-in)"),
        (Fault::PerTryTimeout, "retries.perTryTimeout: 100ms (mesh.yaml:11, service)"),
        (Fault::IdleTimeout, "idleTimeout: 9s (mesh.yaml:13, route)"),
        (Fault::Denied, "outbound.unknown: deny (mesh.yaml:4, process)"),
        (Fault::ShuttingDown, "drain.timeout: 25 s (built-in)"),
        (Fault::RequestMalformed, ""),
    ] {
        assert_eq!(first_cause(&story(&config, Outcome::Fault(fault)), &config), want, "{fault:?}");
    }
    let mut refused = story(&config, Outcome::Fault(Fault::Overloaded));
    refused.attempts.clear();
    assert_eq!(first_cause(&refused, &config), "limits.connections: 7 (mesh.yaml:2, process)");
    let mut hurried = story(&config, Outcome::Fault(Fault::DeadlineExceeded));
    hurried.callers_deadline = true;
    assert_eq!(first_cause(&hurried, &config), "grpc-timeout: 800 ms (caller)");
}

#[test]
fn after_a_reload_a_service_that_moved_is_cited_where_it_was() {
    let config = config();
    let story = story(&config, Outcome::Fault(Fault::DnsFailed));
    let moved = load_str("mesh.yaml", &YAML.replace("limits", "workers: 1\nlimits"), &Options::default());
    let cited = first_cause(&story, &moved.expect("a valid configuration"));
    assert_eq!(cited, "endpoints: of cart (mesh.yaml:6, service)");
}

#[test]
fn every_fault_has_a_sentence_of_its_own() {
    let config = config();
    let why = |fault| {
        let told = told(&story(&config, Outcome::Fault(fault)), &config);
        told.lines().find(|line| line.starts_with("  why: ")).map(str::to_owned)
    };
    let sentences: HashSet<_> = Fault::ALL.into_iter().map(|fault| why(fault).expect("a sentence")).collect();
    assert_eq!(sentences.len(), Fault::ALL.len());
}

#[test]
fn every_decision_has_a_sentence_of_its_own() {
    let config = config();
    let mut story = story(&config, Outcome::ServiceFailure);
    let mut sentences = HashSet::new();
    for decision in RetryDecision::ALL {
        story.attempts[0].decision = Some(decision);
        sentences.insert(decision::sentence(&story, &story.attempts[0]).expect("a sentence"));
    }
    assert_eq!(sentences.len(), RetryDecision::ALL.len());
    story.attempts[0].decision = Some(RetryDecision::Budget);
    assert_eq!(
        decision::sentence(&story, &story.attempts[0]).unwrap(),
        "Not tried again: the retry budget of cart was spent, with 0.4 retries left; \
         retries.budget.ratio: 20% (built-in)."
    );
}

#[test]
fn nothing_a_terminal_would_obey_is_told() {
    let config = config();
    let mut story = story(&config, Outcome::Success);
    story.path = "/\u{1b}[2J\r\u{7}\u{9b}x".into();
    story.request_id = Some("a\u{0}b".into());
    let told = told(&story, &config);
    assert!(told.chars().all(|char| char == '\n' || !char.is_control()), "{told:?}");
    assert!(told.contains("\\u{1b}[2J"), "{told}");
}

#[test]
fn json_has_the_same_story() {
    let config = config();
    let mut story = story(&config, Outcome::ServiceFailure);
    story.attempts[0].decision = Some(RetryDecision::Exhausted);
    let page = explain(&story, &config);
    assert_eq!(page["traceId"], "0000000000000000000000000000000a");
    assert_eq!((&page["parentSpanId"], &page["sampled"]), (&Value::Null, &Value::Bool(true)));
    assert_eq!((&page["host"], &page["serviceAt"]), (&json!("cart"), &json!("mesh.yaml:6")));
    assert_eq!(
        page["cause"],
        json!({"key": "retries.maxRetries", "value": "4", "at": "mesh.yaml:11", "layer": "service"})
    );
    assert_eq!(page["policy"].as_array().map(Vec::len), Some(POLICY_KEYS.len()));
    assert_eq!(page["attempts"][0]["connectedMs"], 0.4);
    assert!(!page.to_string().contains("secret"), "{page}");
}

#[test]
fn nothing_turns_a_terminal_around() {
    assert_eq!(
        clean("a\nb\u{1b}[31m /\u{202e}txt.exe\u{2066} ä"),
        "a\nb\\u{1b}[31m /\\u{202e}txt.exe\\u{2066} ä"
    );
}
