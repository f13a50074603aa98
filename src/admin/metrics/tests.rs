//! The page as a scraper reads it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::Mode;
use crate::config::{Certificate, CertificateUse};
use crate::mesh::BulkheadView;
use crate::policy::{BreakerView, Force};
use crate::telemetry::{RouteStats, ServiceStats, WorkerStats, add_one};

fn facts() -> ProcessFacts {
    ProcessFacts {
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        process: Process { rss_bytes: 4096, cpu_seconds: 1.5, open_fds: 9, max_fds: 1024 },
        replay_bytes: 77,
        reloads: Reloads { applied: 2, unchanged: 0, rejected: 1 },
        last_reload_ok: false,
        config_version: "abc".into(),
        ready: true,
        draining: false,
        export: None,
    }
}

fn view(name: &str, breaker: Option<BreakerView>) -> ServiceView {
    ServiceView {
        breaker_refuses: false,
        name: Arc::from(name),
        used: breaker.is_some(),
        breaker,
        has_breaker: true,
        bulkhead: Some(BulkheadView { in_flight: 4, queued: 2, connections: 1, max_concurrent: 20 }),
        budget_tokens: Some(9.5),
        endpoints: Vec::new(),
        certificates: vec![Certificate { of: CertificateUse::Ca, not_after: 1_900_000_000 }],
    }
}

fn open_breaker() -> BreakerView {
    BreakerView {
        state: State::Open,
        generation: 2,
        forced: Some(Force::Open),
        mode: Mode::Enforce,
        calls: 0,
        failures: 0,
        slow: 0,
        consecutive: 0,
        open_left: None,
        probes_in_flight: 0,
        transitions: [0, 2, 1],
        trips: 1,
        last: None,
    }
}

fn report() -> WorkerReport {
    let (service, route, worker) = (ServiceStats::new(), RouteStats::new(), WorkerStats::default());
    route.count(Outcome::Success, Duration::from_millis(3));
    route.count(Outcome::Fault(Fault::BreakerOpen), Duration::from_micros(80));
    service.attempts.set(2);
    service.count_retry(RetryDecision::Budget);
    service.attempt_duration.record(Duration::from_millis(2));
    service.opened.set(5);
    service.open.set(3);
    service.idle.set(1);
    service.bulkhead_refused.set(6);
    add_one(&worker.unrouted.calls[Outcome::Fault(Fault::RequestMalformed).index()]);
    worker.accepted.set(8);
    worker.in_flight.set(3);
    let route = route.report(&Arc::from("check"));
    worker.report(vec![service.report(&Arc::from("cart"), vec![route])], Vec::new())
}

fn page() -> String {
    let services = [view("cart", Some(open_breaker())), view("quiet", None)];
    render(&[report(), report()], &services, &facts(), Format::OpenMetrics)
}

#[test]
fn workers_are_added_up_and_every_part_is_there() {
    let page = page();
    let want = [
        r#"outrigger_calls_total{service="",route="",outcome="refused",reason="request_malformed"} 2"#,
        r#"outrigger_calls_total{service="cart",route="check",outcome="success",reason=""} 2"#,
        r#"outrigger_calls_total{service="cart",route="check",outcome="refused",reason="breaker_open"} 2"#,
        r#"outrigger_call_duration_seconds_bucket{service="cart",route="check",le="0.005"} 4"#,
        r#"outrigger_call_duration_seconds_count{service="cart",route="check"} 4"#,
        r#"outrigger_attempts_total{service="cart"} 4"#,
        r#"outrigger_attempt_duration_seconds_bucket{service="cart",le="+Inf"} 2"#,
        r#"outrigger_retries_total{service="cart",decision="skipped_budget"} 2"#,
        r#"outrigger_retry_budget_tokens{service="cart"} 9.5"#,
        r#"outrigger_breaker_state{service="cart"} 1"#,
        r#"outrigger_breaker_state{service="quiet"} 0"#,
        r#"outrigger_breaker_forced{service="cart"} 1"#,
        r#"outrigger_breaker_transitions_total{service="cart",to="open"} 2"#,
        r#"outrigger_breaker_transitions_total{service="cart",to="half_open"} 1"#,
        r#"outrigger_bulkhead_in_flight{service="quiet"} 4"#,
        r#"outrigger_bulkhead_queued{service="cart"} 2"#,
        r#"outrigger_bulkhead_limit{service="cart"} 20"#,
        r#"outrigger_bulkhead_refused_total{service="cart"} 12"#,
        r#"outrigger_calls_in_flight 6"#,
        r#"outrigger_connections{side="application"} 0"#,
        r#"outrigger_connections_accepted_total 16"#,
        r#"outrigger_upstream_connections{service="cart",state="active"} 4"#,
        r#"outrigger_upstream_connections{service="cart",state="idle"} 2"#,
        r#"outrigger_upstream_connections_opened_total{service="cart"} 10"#,
        r#"outrigger_certificate_expiry_timestamp_seconds{service="quiet",certificate="ca"} 1900000000"#,
        r#"outrigger_replay_bytes 77"#,
        r#"outrigger_config_reloads_total{result="rejected"} 1"#,
        r#"outrigger_config_last_reload_successful 0"#,
        r#"outrigger_config_info{version="abc"} 1"#,
        r#"process_start_time_seconds 1000"#,
        r#"process_cpu_seconds_total 1.5"#,
    ];
    for line in want {
        assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
    }
}

#[test]
fn what_did_not_happen_has_no_series() {
    let page = page();
    for absent in [r#"reason="denied""#, "outrigger_observed_total{", r#"calls_total{service="quiet""#] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn no_series_is_there_twice_and_no_family_is_torn() {
    let page = page();
    let mut series = HashSet::new();
    let mut heads = HashSet::new();
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            assert!(heads.insert(head.to_owned()), "{head} begins twice");
        } else if !line.starts_with('#') {
            let (name, _) = line.rsplit_once(' ').unwrap();
            assert!(series.insert(name.to_owned()), "{name} is there twice");
        }
    }
    assert!(page.ends_with("# EOF\n"));
}
