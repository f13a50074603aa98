//! What happened, for people: counters, latencies, the access log.
//!
//! In: one finished call at a time, from the worker it ran on. Out: reports that the admin thread
//! merges. Counting touches memory of its own worker alone: no atomics, no locks.

mod access_log;
mod record;
mod stats;

pub use access_log::{AccessLog, AccessLogSender};
pub use record::{CallRecord, Line, Outcome};
pub use stats::{
    Latency, OUTCOMES, Reports, RetryDecision, RouteReport, RouteStats, ServiceReport, ServiceStats,
    WorkerReport, WorkerStats, add_one, take_one,
};
