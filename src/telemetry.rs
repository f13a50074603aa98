//! What happened, for people: counters, latencies, the access log.
//!
//! In: one finished call at a time, from the worker it ran on. Out: reports that the admin thread
//! merges. Counting touches memory of its own worker alone: no atomics, no locks.

mod access_log;
mod exemplar;
pub mod explain;
pub mod export;
pub mod metrics;
mod record;
mod reports;
mod stats;
mod stories;
pub mod story;
mod totals;
mod trail;

/// Latencies in microseconds, of all workers together.
pub type Latencies = hdrhistogram::Histogram<u64>;

pub use access_log::{AccessLog, AccessLogSender};
pub use exemplar::{EXEMPLARS_MAX, Exemplar, Exemplars};
pub use record::{CallRecord, Line, Outcome};
pub use reports::{Ask, Reports};
pub use stats::{
    Gauge, Latency, OUTCOMES, RetryDecision, RouteReport, RouteStats, ServiceReport, ServiceStats,
    WorkerReport, WorkerStats, add_one, take_one,
};
pub use stories::{BATCHES_MAX, Fate, Outlet, Shelf, Stories, Traits};
pub use totals::{RouteTotals, ServiceTotals, Totals};
pub use trail::Trail;
