//! Decides whether a failed attempt is tried again.
//!
//! In: what happened and what is known about the call. Out: [`Decision`], with the one reason why
//! not. Never sleeps, sends or counts; the budget is asked last, through a closure, so that a
//! retry it grants is a retry that happens.
//!
//! The order of the questions is the order of the reasons a reader of a trace cares about: first
//! whether this failure may ever be retried, then what the call allows, then what the service can
//! bear now.

mod headers;

use std::time::Duration;

use crate::config::Retries;
use crate::policy::backoff;

pub use headers::{is_idempotent, parse_retry_after};

/// A `Retry-After` above this is not waited for: the answer is passed on, so that the caller can decide.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// What happened to the attempt, as far as retrying cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The service provably did not see the request.
    NeverSent,
    /// The connection ended before a response byte, or was reset mid-exchange.
    NoResponse,
    /// The answer was 502, 503 or 504.
    GatewayError,
    /// The attempt took longer than `perTryTimeout`.
    PerTryTimeout,
    /// Anything else (500, a 4xx, a broken protocol, our own refusal): never retried.
    Other,
}

/// Everything the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// What happened.
    pub failure: Failure,
    /// Doing it twice does no harm, see [`is_idempotent`].
    pub idempotent: bool,
    /// Retries this call has made already.
    pub retries_made: u32,
    /// The whole request body is at hand.
    pub body_replayable: bool,
    /// The breaker would let another attempt through.
    pub breaker_admits: bool,
    /// What the service asked for, see [`parse_retry_after`].
    pub retry_after: Option<Duration>,
    /// What the service prescribed: exactly this wait (gRPC proposal A6, pushback).
    pub pushback: Option<Duration>,
    /// Until the call's deadline; `None` is no deadline.
    pub time_left: Option<Duration>,
    /// The service's own sidecar said that it is overloaded: more calls would make it worse.
    pub overload_signal: bool,
    /// For the back-off, 0 to 1.
    pub random: f64,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes, after this wait.
    Retry {
        /// The back-off, or what the service asked for if that is longer.
        after: Duration,
    },
    /// No, for this reason.
    No(Skip),
}

/// Why there is no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The service may have acted on the request, and acting twice could do harm.
    NotIdempotent,
    /// `maxRetries` are made.
    Exhausted,
    /// The request body is gone: larger than `maxBody` or still arriving.
    Body,
    /// The budget of the service is spent.
    Budget,
    /// The deadline comes before the back-off ends.
    Deadline,
    /// The breaker would refuse it.
    Breaker,
    /// The service asked for a longer wait than the call has.
    RetryAfter,
    /// The service said that it is overloaded.
    Pushback,
    /// The response is already on its way to the application. For the caller, who alone knows.
    Started,
    /// This failure is not one that `retryOn` covers.
    Status,
}

/// Decides. `withdraw` takes one retry from the budget and is called only if all else agrees.
pub fn decide(settings: &Retries, question: &Question, withdraw: impl FnOnce() -> bool) -> Decision {
    let skip = |skip| Decision::No(skip);
    if let Some(no) = forbidden(settings, question) {
        return skip(no);
    }
    if question.retries_made >= settings.max_retries {
        return skip(Skip::Exhausted);
    }
    if !question.body_replayable && question.failure != Failure::NeverSent {
        return skip(Skip::Body);
    }
    if !question.breaker_admits {
        return skip(Skip::Breaker);
    }
    match wait(settings, question) {
        Err(no) => skip(no),
        Ok(_) if !withdraw() => skip(Skip::Budget),
        Ok(after) => Decision::Retry { after },
    }
}

/// Whether this failure of this request may be retried at all.
fn forbidden(settings: &Retries, question: &Question) -> Option<Skip> {
    let covered = match question.failure {
        Failure::NeverSent => return None,
        Failure::NoResponse => settings.retry_on.reset,
        Failure::GatewayError => settings.retry_on.gateway_error,
        Failure::PerTryTimeout => settings.retry_on.per_try_timeout,
        Failure::Other => false,
    };
    if !covered {
        Some(Skip::Status)
    } else if question.overload_signal {
        Some(Skip::Pushback)
    } else if !question.idempotent {
        Some(Skip::NotIdempotent)
    } else {
        None
    }
}

/// The wait before the retry, if the call has the time.
fn wait(settings: &Retries, question: &Question) -> Result<Duration, Skip> {
    let too_late = |wait: Duration| question.time_left.is_some_and(|left| wait >= left);
    if let Some(exactly) = question.pushback {
        return if too_late(exactly) { Err(Skip::Deadline) } else { Ok(exactly) };
    }
    let asked = question.retry_after.unwrap_or_default();
    if asked > RETRY_AFTER_MAX || (question.retry_after.is_some() && too_late(asked)) {
        return Err(Skip::RetryAfter);
    }
    let after = backoff::delay(&settings.backoff, question.retries_made, question.random).max(asked);
    if too_late(after) { Err(Skip::Deadline) } else { Ok(after) }
}

// === impl Failure ===

impl Failure {
    /// How an answer with this status looks; `None` for one that nobody would give up.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            0..500 => None,
            502..=504 => Some(Self::GatewayError),
            500.. => Some(Self::Other),
        }
    }
}

// === impl Skip ===

impl Skip {
    /// Every reason, in the order of the reference.
    pub const ALL: [Self; 10] = [
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

    /// The word for metric, span and explanation.
    pub const fn name(self) -> &'static str {
        match self {
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

#[cfg(test)]
mod tests;
