//! Asks the retry policy about an attempt, and counts what it says.
//!
//! In: an answer that might be given up, or a failure. Out: try again after a wait, or not. Asked
//! before an answer is discarded, so that the service's own word is passed on when there is no retry.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::{Mode, Retries};
use crate::error::{Fault, Sent};
use crate::policy::{Decision, Failure, Question, Skip, decide};
use crate::telemetry::RetryDecision;

use super::Call;
use super::attempt::{Answer, Failed};
use super::side::{Reply, Side, Wish};

/// What comes after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its result is the call's.
    GiveUp,
    /// Another one.
    Again {
        /// The back-off.
        after: Duration,
    },
}

impl<'p, S: Side> Call<'p, S> {
    /// Whether an answer is given up for another attempt.
    pub(super) fn after_answer(&mut self, answer: &mut Answer<'p, S::Reply>) -> Next {
        let Some(failure) = answer.reply.failure() else { return Next::GiveUp };
        if self.plan.policy().retries.is_none() {
            return Next::GiveUp;
        }
        // Before the policy is asked: it may be this very answer that opens the breaker.
        self.judge_answer(answer);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.ask(failure, answer.reply.wish(unix.as_secs()), answer.at)
    }

    /// Whether a failure is followed by another attempt.
    pub(super) fn after_failure(&mut self, failed: &Failed) -> Next {
        if failed.stale && !self.redialled && self.may_redial(failed) {
            self.redialled = true;
            self.dial_anew = true;
            self.avoid = None;
            self.count(RetryDecision::Redialled, Duration::ZERO);
            return Next::Again { after: Duration::ZERO };
        }
        let Some(failure) = failure_of(failed) else { return Next::GiveUp };
        self.ask(failure, Wish::default(), Instant::now())
    }

    /// A pooled connection that was dead already is replaced, if sending twice does no harm.
    fn may_redial(&self, failed: &Failed) -> bool {
        failed.sent == Sent::No || (self.head.idempotent && self.side.is_replayable())
    }

    fn ask(&mut self, failure: Failure, wish: Wish, now: Instant) -> Next {
        let Some(settings) = &self.plan.policy().retries else { return Next::GiveUp };
        let state = self.plan.state();
        let question = Question {
            failure,
            idempotent: self.head.idempotent,
            retries_made: self.retries,
            body_replayable: self.side.is_replayable(),
            breaker_admits: state.breaker.as_ref().is_none_or(|breaker| breaker.check(now).is_ok()),
            retry_after: wish.retry_after,
            pushback: wish.pushback,
            time_left: self.deadline.map(|deadline| deadline.saturating_duration_since(now)),
            overload_signal: wish.forbids,
            random: self.local.random(),
        };
        self.note_asked(question.time_left, now);
        let withdraw = || match (&state.budget, settings.mode) {
            (Some(budget), Mode::Enforce) => budget.withdraw(self.local.worker, now),
            (Some(budget), Mode::Observe) => budget.tokens(now) >= 1.0,
            (None, _) => true,
        };
        self.obey(settings, decide(settings, &question, withdraw))
    }

    fn obey(&mut self, settings: &Retries, decision: Decision) -> Next {
        match decision {
            Decision::Retry { .. } if settings.mode == Mode::Observe => {
                self.count(RetryDecision::Observed, Duration::ZERO);
                Next::GiveUp
            }
            Decision::Retry { after } => {
                self.retries += 1;
                self.count(RetryDecision::Retried, after);
                Next::Again { after }
            }
            Decision::No(skip) => {
                self.count(skipped(skip), Duration::ZERO);
                Next::GiveUp
            }
        }
    }

    /// Counts a decision; with a retry, after how long a wait.
    pub(super) fn count(&mut self, decision: RetryDecision, back_off: Duration) {
        self.plan.service.stats.count_retry(decision);
        self.record.trail.note(|attempt| {
            attempt.decision = Some(decision);
            attempt.back_off = back_off;
        });
    }
}

/// How a failure looks to the retry policy; `None` for those that are never asked about: local
/// refusals, the application's own doing and the end of all time.
fn failure_of(failed: &Failed) -> Option<Failure> {
    if failed.fault.retriable() {
        return Some(match failed.sent {
            Sent::No => Failure::NeverSent,
            Sent::Maybe | Sent::Yes if failed.fault == Fault::PerTryTimeout => Failure::PerTryTimeout,
            Sent::Maybe | Sent::Yes => Failure::NoResponse,
        });
    }
    if failed.fault == Fault::ProtocolError && failed.sent == Sent::No {
        // It spoke something else before it was asked anything.
        return Some(Failure::NeverSent);
    }
    // Asked about all the same, so that the "no" is counted.
    matches!(failed.fault, Fault::ProtocolError | Fault::IdleTimeout).then_some(Failure::Other)
}

const fn skipped(skip: Skip) -> RetryDecision {
    match skip {
        Skip::NotIdempotent => RetryDecision::NotIdempotent,
        Skip::Exhausted => RetryDecision::Exhausted,
        Skip::Body => RetryDecision::Body,
        Skip::Budget => RetryDecision::Budget,
        Skip::Deadline => RetryDecision::Deadline,
        Skip::Breaker => RetryDecision::Breaker,
        Skip::RetryAfter => RetryDecision::RetryAfter,
        Skip::Pushback => RetryDecision::Pushback,
        Skip::Started => RetryDecision::Started,
        Skip::Status => RetryDecision::Status,
    }
}
