//! The policies: what may be sent, how much of it at once, and what is tried again.
//!
//! In: settings, the time (`now`), random numbers from 0 to 1 and what happened to a call. Out: a
//! decision or what changed. Nothing here reads a clock, draws a random number, does I/O, spawns,
//! sleeps or logs, so that unit tests, the simulation and the proxy run the very same code.
//!
//! State is shared by all workers. While all is well a call touches only atomics: no lock, no
//! allocation, and counters that a single worker writes. Locks are for what is rare: a failure, a
//! transition, a full bulkhead's queue, a retry.

mod backoff;
mod breaker;
mod budget;
mod bulkhead;
mod endpoint;
mod retry;
#[cfg(test)]
mod simulation;
mod verdict;
mod window;

pub use backoff::delay;
pub use breaker::{
    Breaker, BreakerView, Force, Outcome, PROBE_RETRY_AFTER, Permit, Reason, Refused, State, Transition,
};
pub use budget::Budget;
pub use bulkhead::{Bulkhead, Entry, Evicted, Full, Slots, Waiting};
pub use endpoint::{PENALTY_FIRST, PENALTY_MAX, Penalty, choose};
pub use retry::{
    Decision, Failure, Question, RETRY_AFTER_MAX, Skip, decide, is_idempotent, parse_retry_after,
};
pub use verdict::{Ending, Verdict, verdict};
pub use window::{BUCKETS, Window};
