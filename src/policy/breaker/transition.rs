//! What a breaker did and why, in words with numbers.
//!
//! In: nothing. Out: values that log, metrics, spans and explanations share.

use std::fmt;
use std::time::Duration;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass to find out whether the service is back.
    HalfOpen,
}

/// What the admin API asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Force {
    /// Refuse everything until told otherwise.
    Open,
    /// Let everything pass until told otherwise.
    Closed,
    /// Decide by itself again.
    Auto,
}

/// One change of state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// The state it left.
    pub from: State,
    /// The state it is in now.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// This many calls failed in a row.
    ConsecutiveFailures(u32),
    /// Too large a share of the calls in the window failed.
    FailureRate {
        /// Failed calls.
        failures: u64,
        /// All calls.
        calls: u64,
    },
    /// Too large a share of the calls in the window was slow.
    SlowCallRate {
        /// Slow calls.
        slow: u64,
        /// All calls.
        calls: u64,
    },
    /// A probe failed.
    ProbeFailed,
    /// A probe was slow, and `slowCallRate` is on.
    ProbeSlow,
    /// This many probes in a row succeeded.
    ProbesPassed(u32),
    /// It was open for this long.
    OpenTimeOver(Duration),
    /// Probes gave no verdict for this long.
    HalfOpenTimedOut(Duration),
    /// The admin API asked for it.
    Forced,
}

// === impl State ===

impl State {
    /// The word for metrics, spans and the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

// === impl Force ===

impl Force {
    /// The word for the admin API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Auto => "auto",
        }
    }
}

// === impl Transition ===

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from.name(), self.to.name(), self.reason)
    }
}

// === impl Reason ===

impl Reason {
    /// The word for metrics and spans.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures(_) => "consecutive_failures",
            Self::FailureRate { .. } => "failure_rate",
            Self::SlowCallRate { .. } => "slow_call_rate",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeSlow => "probe_slow",
            Self::ProbesPassed(_) => "probes_passed",
            Self::OpenTimeOver(_) => "open_time_over",
            Self::HalfOpenTimedOut(_) => "half_open_timed_out",
            Self::Forced => "forced",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::FailureRate { failures, calls } => {
                write!(f, "{failures} of {calls} calls in the window failed")
            }
            Self::SlowCallRate { slow, calls } => {
                write!(f, "{slow} of {calls} calls in the window were slow")
            }
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::ProbesPassed(count) => write!(f, "{count} probes in a row succeeded"),
            Self::OpenTimeOver(time) => write!(f, "it was open for {time:.1?}"),
            Self::HalfOpenTimedOut(time) => write!(f, "no probe gave a verdict for {time:.1?}"),
            Self::Forced => f.write_str("forced through the admin API"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_reads_as_a_sentence_with_its_numbers() {
        let trip = |reason| Transition { from: State::Closed, to: State::Open, reason }.to_string();
        assert_eq!(trip(Reason::ConsecutiveFailures(5)), "closed -> open: 5 failures in a row");
        assert_eq!(
            trip(Reason::FailureRate { failures: 12, calls: 20 }),
            "closed -> open: 12 of 20 calls in the window failed"
        );
        let back = Transition {
            from: State::Open,
            to: State::HalfOpen,
            reason: Reason::OpenTimeOver(Duration::from_millis(5_420)),
        };
        assert_eq!(back.to_string(), "open -> half_open: it was open for 5.4s");
    }
}
