//! The page `/metrics`.
//!
//! In: what workers counted, what services are like now, and facts of the process. Out: text. Only
//! what has something to say is on it: a counter that is 0 would be a series per service and reason.

use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Fault;
use crate::mesh::ServiceView;
use crate::policy::State;
use crate::telemetry::export::{Dropped, ExportStats};
use crate::telemetry::metrics::{self as table, Format, Metric, Process, Text};
use crate::telemetry::{Exemplars, Outcome, RetryDecision, RouteTotals, ServiceTotals, Totals, WorkerReport};

use super::status::{Reload, Reloads};

/// What belongs to the process and no service.
#[derive(Debug, Clone)]
pub struct ProcessFacts {
    /// When it started.
    pub started: SystemTime,
    /// What the kernel says.
    pub process: Process,
    /// Bytes of request bodies kept for retries.
    pub replay_bytes: usize,
    /// Reloads so far.
    pub reloads: Reloads,
    /// `false` when the configuration was rejected the last time it was read.
    pub last_reload_ok: bool,
    /// The version of the configuration in force.
    pub config_version: String,
    /// Ready for calls.
    pub ready: bool,
    /// About to end.
    pub draining: bool,
    /// What became of the spans; `None` when none are exported.
    pub export: Option<Arc<ExportStats>>,
}

/// The page. `services` are those of the configuration; counts of others are shown too, as long as
/// workers report them.
pub fn render(
    reports: &[WorkerReport],
    services: &[ServiceView],
    facts: &ProcessFacts,
    format: Format,
) -> String {
    let totals = Totals::of(reports);
    let mut text = Text::new(format);
    calls(&mut text, &totals);
    attempts(&mut text, &totals, services);
    breakers(&mut text, services);
    bulkheads(&mut text, &totals, services);
    connections(&mut text, &totals);
    certificates(&mut text, services);
    life(&mut text, &totals, facts);
    export(&mut text, reports, facts);
    process(&mut text, facts);
    text.finish()
}

fn calls(text: &mut Text, totals: &Totals) {
    for (fault, count) in Fault::ALL.into_iter().zip(totals.unrouted) {
        call(text, ["", ""], Outcome::Fault(fault), count);
    }
    for (service, route, counts) in routes(totals) {
        for (index, count) in counts.calls.iter().enumerate() {
            if let Some(outcome) = Outcome::at(index) {
                call(text, [service, route], outcome, *count);
            }
        }
    }
    for (service, route, counts) in timed(totals) {
        text.histogram(&table::CALL_DURATION, &[service, route], &counts.duration, &counts.exemplars);
    }
    for (service, route, counts) in timed(totals) {
        text.quantiles(&table::CALL_DURATION_QUANTILES, &[service, route], &counts.duration);
    }
    text.sample(&table::CALLS_IN_FLIGHT, &[], totals.in_flight);
}

fn routes(totals: &Totals) -> impl Iterator<Item = (&str, &str, &RouteTotals)> {
    totals.services.iter().flat_map(|(service, counts)| {
        counts.routes.iter().map(|(route, counts)| (&**service, &**route, counts))
    })
}

fn timed(totals: &Totals) -> impl Iterator<Item = (&str, &str, &RouteTotals)> {
    routes(totals).filter(|(_, _, counts)| !counts.duration.is_empty())
}

fn call(text: &mut Text, [service, route]: [&str; 2], outcome: Outcome, count: u64) {
    if count > 0 {
        text.sample(&table::CALLS, &[service, route, outcome.name(), outcome.reason()], count);
    }
}

fn attempts(text: &mut Text, totals: &Totals, services: &[ServiceView]) {
    let none = Exemplars::default();
    per_service(text, totals, &table::ATTEMPTS, |counts| counts.attempts);
    for (service, counts) in &totals.services {
        if !counts.attempt_duration.is_empty() {
            text.histogram(&table::ATTEMPT_DURATION, &[service], &counts.attempt_duration, &none);
        }
    }
    for (service, counts) in &totals.services {
        for (decision, count) in RetryDecision::ALL.into_iter().zip(counts.retries) {
            if count > 0 {
                text.sample(&table::RETRIES, &[service, decision.name()], count);
            }
        }
    }
    for service in services {
        if let Some(tokens) = service.budget_tokens {
            text.sample(&table::RETRY_BUDGET_TOKENS, &[&service.name], tokens);
        }
    }
    // Also when 0: whoever watches for the first one needs something to compare it with.
    for (service, counts) in &totals.services {
        text.sample(&table::HOST_MISMATCHES, &[service], counts.host_mismatches);
    }
    per_service(text, totals, &table::OBSERVED, |counts| counts.observed);
}

fn breakers(text: &mut Text, services: &[ServiceView]) {
    let with_breaker = || services.iter().filter(|service| service.has_breaker);
    for service in with_breaker() {
        let state = service.breaker.as_ref().map_or(State::Closed, |breaker| breaker.state);
        text.sample(&table::BREAKER_STATE, &[&service.name], state_number(state));
    }
    for service in with_breaker() {
        let forced = service.breaker.as_ref().is_some_and(|breaker| breaker.forced.is_some());
        text.sample(&table::BREAKER_FORCED, &[&service.name], u8::from(forced));
    }
    for service in services {
        let Some(breaker) = &service.breaker else { continue };
        // The order of `BreakerView::transitions`.
        let to = [State::Closed, State::Open, State::HalfOpen];
        for (state, count) in to.into_iter().zip(breaker.transitions).filter(|(_, count)| *count > 0) {
            text.sample(&table::BREAKER_TRANSITIONS, &[&service.name, state.name()], count);
        }
    }
}

fn state_number(state: State) -> u8 {
    match state {
        State::Closed => 0,
        State::Open => 1,
        State::HalfOpen => 2,
    }
}

fn bulkheads(text: &mut Text, totals: &Totals, services: &[ServiceView]) {
    let with_bulkhead = || services.iter().filter_map(|service| Some((&service.name, service.bulkhead?)));
    for (service, bulkhead) in with_bulkhead() {
        text.sample(&table::BULKHEAD_IN_FLIGHT, &[service], bulkhead.in_flight);
    }
    for (service, bulkhead) in with_bulkhead() {
        text.sample(&table::BULKHEAD_QUEUED, &[service], bulkhead.queued);
    }
    for (service, bulkhead) in with_bulkhead() {
        text.sample(&table::BULKHEAD_LIMIT, &[service], bulkhead.max_concurrent);
    }
    per_service(text, totals, &table::BULKHEAD_REFUSED, |counts| counts.bulkhead_refused);
}

fn connections(text: &mut Text, totals: &Totals) {
    text.sample(&table::CONNECTIONS, &["application"], totals.open);
    text.sample(&table::CONNECTIONS_ACCEPTED, &[], totals.accepted);
    text.sample(&table::CONNECTIONS_CAPTURED, &[], totals.captured);
    text.sample(&table::CONNECTIONS_REFUSED, &[], totals.refused);
    text.sample(&table::ACCEPT_ERRORS, &[], totals.accept_errors);
    for (service, counts) in totals.services.iter().filter(|(_, counts)| counts.opened > 0) {
        let active = counts.open.saturating_sub(counts.idle);
        text.sample(&table::UPSTREAM_CONNECTIONS, &[service, "active"], active);
        text.sample(&table::UPSTREAM_CONNECTIONS, &[service, "idle"], counts.idle);
    }
    per_service(text, totals, &table::UPSTREAM_CONNECTIONS_OPENED, |counts| counts.opened);
    for (service, counts) in &totals.services {
        let directions = ["to_service", "to_application"].into_iter().zip(counts.tunnel_bytes);
        for (direction, bytes) in directions.filter(|(_, bytes)| *bytes > 0) {
            text.sample(&table::TUNNEL_BYTES, &[service, direction], bytes);
        }
    }
}

fn certificates(text: &mut Text, services: &[ServiceView]) {
    for service in services {
        for certificate in &service.certificates {
            let labels = [&*service.name, certificate.of.name()];
            text.sample(&table::CERTIFICATE_EXPIRY, &labels, certificate.not_after);
        }
    }
}

/// A counter of services, where it is not 0.
fn per_service(text: &mut Text, totals: &Totals, metric: &Metric, count: impl Fn(&ServiceTotals) -> u64) {
    for (service, counts) in &totals.services {
        let count = count(counts);
        if count > 0 {
            text.sample(metric, &[service], count);
        }
    }
}

fn life(text: &mut Text, totals: &Totals, facts: &ProcessFacts) {
    text.sample(&table::REPLAY_BYTES, &[], facts.replay_bytes);
    text.sample(&table::ACCESS_LOG_DROPPED, &[], totals.log_dropped);
    // Zeros too: an alert on rejected reloads needs to see the step from 0 to 1.
    let Reloads { applied, unchanged, rejected } = facts.reloads;
    let reloads = [(Reload::Applied, applied), (Reload::Unchanged, unchanged), (Reload::Rejected, rejected)];
    for (result, count) in reloads {
        text.sample(&table::CONFIG_RELOADS, &[result.name()], count);
    }
    text.sample(&table::CONFIG_LAST_RELOAD_SUCCESSFUL, &[], u8::from(facts.last_reload_ok));
    text.sample(&table::CONFIG_INFO, &[&facts.config_version], 1);
    text.sample(&table::READY, &[], u8::from(facts.ready));
    text.sample(&table::DRAINING, &[], u8::from(facts.draining));
    text.sample(&table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
}

/// Zeros too: an alert needs to see the first loss. The workers count the calls that found no room.
fn export(text: &mut Text, reports: &[WorkerReport], facts: &ProcessFacts) {
    let Some(stats) = &facts.export else { return };
    text.sample(&table::SPANS_EXPORTED, &[], stats.exported());
    let queue_full: u64 = reports.iter().map(|report| report.traces_dropped).sum();
    text.sample(&table::SPANS_DROPPED, &["queue_full"], queue_full);
    for reason in Dropped::ALL {
        text.sample(&table::SPANS_DROPPED, &[reason.name()], stats.dropped(reason));
    }
    text.sample(&table::EXPORTS_FAILED, &[], stats.failed());
}

fn process(text: &mut Text, facts: &ProcessFacts) {
    text.sample(&table::PROCESS_CPU, &[], facts.process.cpu_seconds);
    text.sample(&table::PROCESS_MEMORY, &[], facts.process.rss_bytes);
    text.sample(&table::PROCESS_OPEN_FDS, &[], facts.process.open_fds);
    text.sample(&table::PROCESS_MAX_FDS, &[], facts.process.max_fds);
    let started = facts.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.sample(&table::PROCESS_START_TIME, &[], started.as_secs_f64());
}

#[cfg(test)]
mod tests;
