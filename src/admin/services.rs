//! The page `/services`.
//!
//! In: every service as it is now, what was counted for it, and its configuration. Out: JSON, one
//! shape for services that had a call and those that had none.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Certificate, Config, Mode, Service};
use crate::mesh::{BulkheadView, EndpointView, ServiceView};
use crate::policy::{BreakerView, Force, State};
use crate::telemetry::{Latencies, RetryDecision, ServiceTotals, Totals};

/// Most destinations without a service that are listed.
const UNKNOWN_SHOWN: usize = 20;

/// Leading bits of a latency that tell its size: a few hundred sizes in all.
const SIZE_BITS: u32 = 5;

/// The page.
pub(super) fn show(views: &[ServiceView], config: &Config, totals: &Totals, with_counts: bool) -> Value {
    let none = ServiceTotals::default();
    let services: Vec<Value> = views
        .iter()
        .map(|view| {
            let settings = config.services.iter().find(|service| service.name == view.name);
            let totals = totals.services.get(&view.name).unwrap_or(&none);
            let mut shown = service(view, settings, totals);
            if with_counts {
                shown["latency"]["counts"] = counts(&totals.duration());
            }
            shown
        })
        .collect();
    json!({"services": services, "unknown": unknown(totals)})
}

fn service(view: &ServiceView, settings: Option<&Service>, totals: &ServiceTotals) -> Value {
    let routes: Vec<&str> =
        settings.iter().flat_map(|service| &service.routes).map(|route| &*route.name).collect();
    let calls = |outcome: &str| totals.calls(outcome);
    json!({
        "name": &*view.name,
        "breaker": view.has_breaker.then(|| breaker(view.breaker.as_ref(), settings)),
        "bulkhead": view.bulkhead.map(bulkhead),
        "connections": {"active": totals.open.saturating_sub(totals.idle), "idle": totals.idle},
        "budget": view.budget_tokens.map(|tokens| json!({"tokens": tokens})),
        "endpoints": view.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "certificates": view.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "latency": latency(&totals.duration()),
        "calls": {
            "success": calls("success"),
            "failure": calls("failure"),
            "refused": calls("refused"),
            "cancelled": calls("cancelled"),
        },
        "attempts": totals.attempts,
        "retries": totals.retries[RetryDecision::Retried as usize],
        "routes": routes,
    })
}

/// What lives in a service now, for a call that asks what it would meet.
pub(super) fn live(view: &ServiceView, settings: Option<&Service>) -> Value {
    json!({
        "breaker": view.has_breaker.then(|| breaker(view.breaker.as_ref(), settings)),
        "bulkhead": view.bulkhead.map(bulkhead),
        "budget": view.budget_tokens.map(|tokens| json!({"tokens": tokens})),
        "endpoints": view.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// A breaker; before the first call it is closed and has counted nothing.
pub(super) fn breaker(view: Option<&BreakerView>, settings: Option<&Service>) -> Value {
    let configured =
        settings.and_then(|service| service.policy.circuit_breaker.as_ref()).map(|breaker| breaker.mode);
    let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    json!({
        "state": view.map_or(State::Closed, |view| view.state).name(),
        "forced": view.and_then(|view| view.forced).map(Force::name),
        "generation": view.map_or(0, |view| view.generation),
        "calls": view.map_or(0, |view| view.calls),
        "failures": view.map_or(0, |view| view.failures),
        "slow": view.map_or(0, |view| view.slow),
        "consecutive": view.map_or(0, |view| view.consecutive),
        "openLeftMs": view.and_then(|view| view.open_left).map(millis),
        "probesInFlight": view.map_or(0, |view| view.probes_in_flight),
        "mode": view.map(|view| view.mode).or(configured).map(mode),
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

fn bulkhead(view: BulkheadView) -> Value {
    json!({
        "inFlight": view.in_flight,
        "queued": view.queued,
        "maxConcurrent": view.max_concurrent,
        "connections": view.connections,
    })
}

fn endpoint(view: &EndpointView) -> Value {
    json!({
        "address": view.address.to_string(),
        "inFlight": view.in_flight,
        "penalised": view.penalised,
    })
}

fn certificate(certificate: &Certificate) -> Value {
    json!({"certificate": certificate.of.name(), "expiresUnix": certificate.not_after})
}

/// Quantiles in milliseconds; 0 before the first call.
fn latency(micros: &Latencies) -> Value {
    let quantile = |share: f64| micros.value_at_quantile(share) as f64 / 1e3;
    json!({"p50": quantile(0.5), "p99": quantile(0.99), "p999": quantile(0.999)})
}

/// How many latencies there are of each size, as pairs of microseconds and a number: all there ever
/// were, so that a difference is of the time between. Sizes are a sixteenth apart.
fn counts(micros: &Latencies) -> Value {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for bucket in micros.iter_recorded() {
        let value = bucket.value_iterated_to();
        let dropped = (u64::BITS - value.leading_zeros()).saturating_sub(SIZE_BITS);
        *counts.entry(value >> dropped << dropped).or_default() += bucket.count_at_value();
    }
    counts.into_iter().map(|(micros, count)| json!([micros, count])).collect()
}

/// The busiest first.
fn unknown(totals: &Totals) -> Vec<Value> {
    let mut busiest: Vec<_> = totals.unknown.iter().collect();
    busiest.sort_by_key(|(_, calls)| std::cmp::Reverse(**calls));
    let shown = busiest.into_iter().take(UNKNOWN_SHOWN);
    shown.map(|(destination, calls)| json!({"destination": destination, "calls": calls})).collect()
}
