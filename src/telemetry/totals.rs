//! The counts of all workers together.
//!
//! In: one report of each worker. Out: sums, by service and route in the order of their names, so
//! that two readings look alike. Never asks a worker: that is [`super::Reports`].

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::error::FAULTS;

use super::stats::{OUTCOMES, RetryDecision, RouteReport, SIGNIFICANT_DIGITS, ServiceReport, WorkerReport};
use super::{Exemplars, Latencies, Outcome};

/// What all workers counted.
#[derive(Debug)]
pub struct Totals {
    /// Application connections accepted.
    pub accepted: u64,
    /// Of those, captured.
    pub captured: u64,
    /// Application connections open now.
    pub open: u64,
    /// Application connections refused.
    pub refused: u64,
    /// Calls and tunnels in flight.
    pub in_flight: u64,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Requests refused before they had a service, by fault.
    pub unrouted: [u64; FAULTS],
    /// Access-log lines dropped.
    pub log_dropped: u64,
    /// Services that had a call, by name.
    pub services: BTreeMap<Arc<str>, ServiceTotals>,
    /// Destinations that no service claims, with their calls.
    pub unknown: BTreeMap<String, u64>,
}

/// What all workers counted for one service.
#[derive(Debug)]
pub struct ServiceTotals {
    /// Attempts.
    pub attempts: u64,
    /// Retry decisions, by [`RetryDecision`].
    pub retries: [u64; RetryDecision::ALL.len()],
    /// Upstream connections opened.
    pub opened: u64,
    /// Upstream connections open now.
    pub open: u64,
    /// Of those, idle in a pool.
    pub idle: u64,
    /// Calls refused for want of a place.
    pub bulkhead_refused: u64,
    /// Decisions that were not enforced.
    pub observed: u64,
    /// Captured calls that named the service and went where it is not.
    pub host_mismatches: u64,
    /// Bytes of tunnels: to the service, and to the application.
    pub tunnel_bytes: [u64; 2],
    /// Latencies of attempts, in microseconds.
    pub attempt_duration: Latencies,
    /// Routes by name; the empty name is for calls that matched none.
    pub routes: BTreeMap<Arc<str>, RouteTotals>,
}

/// What all workers counted for one route.
#[derive(Debug)]
pub struct RouteTotals {
    /// Calls by [`Outcome::index`].
    pub calls: [u64; OUTCOMES],
    /// Latencies of calls, in microseconds.
    pub duration: Latencies,
    /// Exported calls among them, the latest of each bucket.
    pub exemplars: Exemplars,
}

// === impl Totals ===

impl Totals {
    /// The sums of these reports.
    pub fn of(reports: &[WorkerReport]) -> Self {
        let mut totals = Self {
            accepted: 0,
            captured: 0,
            open: 0,
            refused: 0,
            in_flight: 0,
            accept_errors: 0,
            unrouted: [0; FAULTS],
            log_dropped: 0,
            services: BTreeMap::new(),
            unknown: BTreeMap::new(),
        };
        for report in reports {
            totals.add(report);
        }
        totals
    }

    fn add(&mut self, report: &WorkerReport) {
        self.accepted += report.accepted;
        self.captured += report.captured;
        self.open += report.open;
        self.in_flight += report.in_flight;
        self.refused += report.refused;
        self.accept_errors += report.accept_errors;
        self.log_dropped += report.log_dropped;
        add_each(&mut self.unrouted, &report.unrouted);
        for service in &report.services {
            self.services.entry(Arc::clone(&service.service)).or_default().add(service);
        }
        for (destination, calls) in &report.unknown {
            *self.unknown.entry(destination.clone()).or_default() += calls;
        }
    }
}

// === impl ServiceTotals ===

impl ServiceTotals {
    /// Latencies of calls over all routes, in microseconds.
    pub fn duration(&self) -> Latencies {
        let mut all = empty();
        for route in self.routes.values() {
            // Both resize themselves, so that nothing is out of range.
            let _ = all.add(&route.duration);
        }
        all
    }

    /// Calls over all routes whose outcome has this name (see [`Outcome::name`]).
    pub fn calls(&self, outcome: &str) -> u64 {
        let of_route = |route: &RouteTotals| {
            let named = |index: &usize| Outcome::at(*index).is_some_and(|at| at.name() == outcome);
            (0..OUTCOMES).filter(named).map(|index| route.calls[index]).sum::<u64>()
        };
        self.routes.values().map(of_route).sum()
    }

    fn add(&mut self, report: &ServiceReport) {
        self.attempts += report.attempts;
        self.opened += report.opened;
        self.open += report.open;
        self.idle += report.idle;
        self.bulkhead_refused += report.bulkhead_refused;
        self.observed += report.observed;
        self.host_mismatches += report.host_mismatches;
        add_each(&mut self.tunnel_bytes, &report.tunnel_bytes);
        add_each(&mut self.retries, &report.retries);
        add_latencies(&mut self.attempt_duration, &report.attempt_duration);
        for route in &report.routes {
            self.routes.entry(Arc::clone(&route.route)).or_default().add(route);
        }
    }
}

impl Default for ServiceTotals {
    fn default() -> Self {
        Self {
            attempts: 0,
            retries: Default::default(),
            opened: 0,
            open: 0,
            idle: 0,
            bulkhead_refused: 0,
            observed: 0,
            host_mismatches: 0,
            tunnel_bytes: [0; 2],
            attempt_duration: empty(),
            routes: BTreeMap::new(),
        }
    }
}

// === impl RouteTotals ===

impl RouteTotals {
    fn add(&mut self, report: &RouteReport) {
        add_each(&mut self.calls, &report.calls);
        add_latencies(&mut self.duration, &report.duration);
        self.exemplars.merge(&report.exemplars);
    }
}

impl Default for RouteTotals {
    fn default() -> Self {
        Self { calls: [0; OUTCOMES], duration: empty(), exemplars: Exemplars::default() }
    }
}

#[allow(clippy::expect_used, reason = "two significant digits are always valid")]
fn empty() -> Latencies {
    Histogram::new(SIGNIFICANT_DIGITS).expect("valid precision")
}

fn add_each(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

/// Into wider counts: a worker's stop at 2^32, the sum of many should not.
fn add_latencies(sum: &mut Latencies, latencies: &Histogram<u32>) {
    for bucket in latencies.iter_recorded() {
        // A histogram that resizes itself takes every value.
        let _ = sum.record_n(bucket.value_iterated_to(), u64::from(bucket.count_at_value()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{RouteStats, ServiceStats, WorkerStats};
    use super::*;
    use crate::error::Fault;

    fn report(calls: &[(Outcome, u64)]) -> WorkerReport {
        let (stats, route) = (ServiceStats::new(), RouteStats::new());
        for (outcome, millis) in calls {
            route.count(*outcome, Duration::from_millis(*millis));
        }
        let name: Arc<str> = Arc::from("cart");
        let service = stats.report(&name, vec![route.report(&Arc::from("check"))]);
        WorkerStats::default().report(vec![service], vec![("a.example:80".to_owned(), 2)])
    }

    #[test]
    fn workers_add_up() {
        let fault = Outcome::Fault(Fault::BreakerOpen);
        let one = report(&[(Outcome::Success, 10), (fault, 1)]);
        let two = report(&[(Outcome::Success, 30), (Outcome::ServiceFailure, 20)]);
        let totals = Totals::of(&[one, two]);
        let cart = &totals.services["cart"];
        let by_name = ["success", "failure", "refused", "cancelled"].map(|name| cart.calls(name));
        assert_eq!(by_name, [2, 1, 1, 0]);
        assert_eq!(cart.duration().len(), 4);
        assert_eq!(totals.unknown["a.example:80"], 4);
    }
}
