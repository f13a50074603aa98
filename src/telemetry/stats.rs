//! Counters and latencies of one worker, and the reports made of them.
//!
//! In: counts from the road of a call, on one thread, in plain cells. Out: [`WorkerReport`], a copy
//! that may cross threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use crate::error::{FAULTS, Fault};

use super::exemplar::Latest;
use super::{Exemplar, Exemplars, Outcome};

/// Number of ways a call can end: success, a failing status of HTTP or gRPC, or a fault.
pub const OUTCOMES: usize = 3 + FAULTS;

/// Two significant digits: a latency is right to 1 %, and a histogram costs a few KiB at most.
pub(super) const SIGNIFICANT_DIGITS: u8 = 2;

/// What was decided about a retry: the label values of `outrigger_retries_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// It was made.
    Retried,
    /// A dead pooled connection was replaced, which counts as no retry.
    Redialled,
    /// `mode: observe`: it would have been made.
    Observed,
    /// The request may not be repeated.
    NotIdempotent,
    /// `maxRetries` were made.
    Exhausted,
    /// The body is too large to be kept.
    Body,
    /// The budget is spent.
    Budget,
    /// The deadline leaves no time for the back-off.
    Deadline,
    /// The breaker is open.
    Breaker,
    /// `Retry-After` is too far away.
    RetryAfter,
    /// The service forbade it.
    Pushback,
    /// The response had begun.
    Started,
    /// Not a failure that `retryOn` covers.
    Status,
}

/// Latencies in microseconds.
#[derive(Debug)]
pub struct Latency(RefCell<Histogram<u32>>);

/// One worker's counts for one service.
#[derive(Debug)]
pub struct ServiceStats {
    /// Attempts sent or refused on their way.
    pub attempts: Cell<u64>,
    /// Retry decisions, by [`RetryDecision`].
    pub retries: [Cell<u64>; RetryDecision::ALL.len()],
    /// Upstream connections opened.
    pub opened: Cell<u64>,
    /// Upstream connections open now.
    pub open: Cell<u64>,
    /// Of those, idle in a pool.
    pub idle: Cell<u64>,
    /// Calls refused for want of a place in the bulkhead.
    pub bulkhead_refused: Cell<u64>,
    /// Captured calls that named the service and were not going there.
    pub host_mismatches: Cell<u64>,
    /// Decisions that `mode: observe` did not enforce.
    pub observed: Cell<u64>,
    /// Bytes of tunnels: to the service, and to the application.
    pub tunnel_bytes: [Cell<u64>; 2],
    /// From the start of an attempt to its response head.
    pub attempt_duration: Latency,
}

/// One worker's counts for one route.
#[derive(Debug)]
pub struct RouteStats {
    /// Calls by [`Outcome::index`].
    pub calls: [Cell<u64>; OUTCOMES],
    /// From the request's head to the end of the reply.
    pub duration: Latency,
    exemplars: Latest,
}

/// One worker's counts that belong to no service.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Application connections accepted.
    pub accepted: Cell<u64>,
    /// Application connections captured.
    pub captured: Cell<u64>,
    /// Application connections open now.
    pub open: Cell<u64>,
    /// Application connections refused because of `limits.connections`.
    pub refused: Cell<u64>,
    /// Calls and tunnels in flight.
    pub in_flight: Cell<u64>,
    /// Times a listener could not accept (out of file descriptors, say).
    pub accept_errors: Cell<u64>,
    /// Requests refused before they had a service.
    pub unrouted: RouteStats,
    /// Access-log lines dropped because the writer was behind.
    pub log_dropped: Cell<u64>,
    /// Calls whose spans found no room on their way to the exporter.
    pub traces_dropped: Cell<u64>,
}

/// A copy of [`RouteStats`].
#[derive(Debug, Clone)]
pub struct RouteReport {
    /// The route's name; empty for calls that matched no route.
    pub route: Arc<str>,
    /// Calls by [`Outcome::index`].
    pub calls: [u64; OUTCOMES],
    /// Latencies in microseconds.
    pub duration: Histogram<u32>,
    /// Exported calls among them.
    pub exemplars: Exemplars,
}

/// A copy of [`ServiceStats`].
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// The service's name.
    pub service: Arc<str>,
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
    /// Captured calls that named the service and went where it is not.
    pub host_mismatches: u64,
    /// Decisions that were not enforced.
    pub observed: u64,
    /// Bytes of tunnels: to the service, and to the application.
    pub tunnel_bytes: [u64; 2],
    /// Latencies of attempts in microseconds.
    pub attempt_duration: Histogram<u32>,
    /// Its routes that had a call.
    pub routes: Vec<RouteReport>,
}

/// Everything one worker has counted.
#[derive(Debug, Clone)]
pub struct WorkerReport {
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
    /// Calls whose spans found no room.
    pub traces_dropped: u64,
    /// Services that had a call.
    pub services: Vec<ServiceReport>,
    /// The busiest destinations that no service claims, with their calls.
    pub unknown: Vec<(String, u64)>,
}

/// One thing that exists now, counted in a gauge until it is dropped.
#[derive(Debug)]
pub struct Gauge {
    stats: Rc<ServiceStats>,
    which: fn(&ServiceStats) -> &Cell<u64>,
}

/// Adds one to a counter.
pub fn add_one(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Takes one from a gauge.
pub fn take_one(gauge: &Cell<u64>) {
    gauge.set(gauge.get().saturating_sub(1));
}

// === impl Gauge ===

impl Gauge {
    /// Counts one more in the gauge that `which` names.
    pub fn enter(stats: &Rc<ServiceStats>, which: fn(&ServiceStats) -> &Cell<u64>) -> Self {
        add_one(which(stats));
        Self { stats: Rc::clone(stats), which }
    }

    /// Counts one more in another gauge of the same service.
    pub fn sibling(&self, which: fn(&ServiceStats) -> &Cell<u64>) -> Self {
        Self::enter(&self.stats, which)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        take_one((self.which)(&self.stats));
    }
}

// === impl RetryDecision ===

impl RetryDecision {
    /// Every decision; the index of each is its place in the counters.
    pub const ALL: [Self; 13] = [
        Self::Retried,
        Self::Redialled,
        Self::Observed,
        Self::NotIdempotent,
        Self::Exhausted,
        Self::Body,
        Self::Budget,
        Self::Deadline,
        Self::Breaker,
        Self::RetryAfter,
        Self::Pushback,
        Self::Started,
        Self::Status,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retried => "retried",
            Self::Redialled => "redialled",
            Self::Observed => "observed",
            Self::NotIdempotent => "skipped_not_idempotent",
            Self::Exhausted => "skipped_exhausted",
            Self::Body => "skipped_body",
            Self::Budget => "skipped_budget",
            Self::Deadline => "skipped_deadline",
            Self::Breaker => "skipped_breaker",
            Self::RetryAfter => "skipped_retry_after",
            Self::Pushback => "skipped_pushback",
            Self::Started => "skipped_started",
            Self::Status => "skipped_status",
        }
    }
}

// === impl Latency ===

impl Latency {
    #[allow(clippy::expect_used, reason = "two significant digits are always valid")]
    fn new() -> Self {
        Self(RefCell::new(Histogram::new(SIGNIFICANT_DIGITS).expect("valid precision")))
    }

    /// Notes one latency.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        // An auto-resizing histogram takes every value; what it can't hold is not worth a crash.
        let _ = self.0.borrow_mut().record(micros);
    }

    fn copy(&self) -> Histogram<u32> {
        self.0.borrow().clone()
    }
}

// === impl ServiceStats ===

impl ServiceStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            attempts: Cell::new(0),
            retries: Default::default(),
            opened: Cell::new(0),
            open: Cell::new(0),
            idle: Cell::new(0),
            bulkhead_refused: Cell::new(0),
            host_mismatches: Cell::new(0),
            observed: Cell::new(0),
            tunnel_bytes: Default::default(),
            attempt_duration: Latency::new(),
        }
    }

    /// Counts one retry decision.
    pub fn count_retry(&self, decision: RetryDecision) {
        add_one(&self.retries[decision as usize]);
    }

    /// A copy for the admin thread.
    pub fn report(&self, service: &Arc<str>, routes: Vec<RouteReport>) -> ServiceReport {
        ServiceReport {
            service: Arc::clone(service),
            attempts: self.attempts.get(),
            retries: self.retries.each_ref().map(Cell::get),
            opened: self.opened.get(),
            open: self.open.get(),
            idle: self.idle.get(),
            bulkhead_refused: self.bulkhead_refused.get(),
            host_mismatches: self.host_mismatches.get(),
            observed: self.observed.get(),
            tunnel_bytes: self.tunnel_bytes.each_ref().map(Cell::get),
            attempt_duration: self.attempt_duration.copy(),
            routes,
        }
    }
}

impl Default for ServiceStats {
    fn default() -> Self {
        Self::new()
    }
}

// === impl RouteStats ===

impl RouteStats {
    /// All zero.
    pub fn new() -> Self {
        let calls = std::array::from_fn(|_| Cell::new(0));
        Self { calls, duration: Latency::new(), exemplars: Latest::default() }
    }

    /// Counts one call.
    pub fn count(&self, outcome: Outcome, duration: Duration) {
        add_one(&self.calls[outcome.index()]);
        self.duration.record(duration);
    }

    /// Notes the trace of a call that is exported, which ended at `unix`: only such a call leads
    /// from a bucket of its histogram to something that can be looked at.
    pub fn exemplify(&self, duration: Duration, trace_id: u128, unix: SystemTime) {
        self.exemplars.note(Exemplar { trace_id, duration, ended: unix });
    }

    /// A copy for the admin thread.
    pub fn report(&self, route: &Arc<str>) -> RouteReport {
        RouteReport {
            route: Arc::clone(route),
            calls: self.calls.each_ref().map(Cell::get),
            duration: self.duration.copy(),
            exemplars: self.exemplars.copy(),
        }
    }
}

impl Default for RouteStats {
    fn default() -> Self {
        Self::new()
    }
}

// === impl WorkerStats ===

impl WorkerStats {
    /// A copy for the admin thread.
    pub fn report(&self, services: Vec<ServiceReport>, unknown: Vec<(String, u64)>) -> WorkerReport {
        WorkerReport {
            accepted: self.accepted.get(),
            captured: self.captured.get(),
            open: self.open.get(),
            refused: self.refused.get(),
            in_flight: self.in_flight.get(),
            accept_errors: self.accept_errors.get(),
            unrouted: Fault::ALL.map(|fault| self.unrouted.calls[Outcome::Fault(fault).index()].get()),
            log_dropped: self.log_dropped.get(),
            traces_dropped: self.traces_dropped.get(),
            services,
            unknown,
        }
    }
}
