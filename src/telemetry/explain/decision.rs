//! Why an attempt was followed by another one, or was not: one plain sentence with the numbers.
//!
//! In: an attempt and its story. Out: a sentence, for each decision there is.

use crate::error::{Fault, Side};

use super::super::RetryDecision;
use super::super::story::{Attempt, Story};
use super::cause::service;
use super::words::{count, of_rules, time, trimmed};

/// The sentence; `None` where there was nothing to decide.
pub(super) fn sentence(story: &Story, attempt: &Attempt) -> Option<String> {
    let Some(decision) = attempt.decision else { return undecided(story, attempt) };
    let service = service(story);
    let clause = match decision {
        RetryDecision::Retried => {
            return Some(format!(
                "Tried again after a back-off of {}{}.",
                time(attempt.back_off),
                left(attempt)
            ));
        }
        RetryDecision::Redialled => return Some(REDIALLED.to_owned()),
        RetryDecision::Observed => "it would have been, but retries only observe".to_owned(),
        RetryDecision::NotIdempotent => {
            format!("{service} may have acted on this {}, and doing so twice could do harm", story.method)
        }
        RetryDecision::Exhausted => {
            let made = count(story.retries(), "retry", "retries");
            format!("this call has had {made}, and may have no more")
        }
        RetryDecision::Body => {
            "the body of the request was too large to be kept, or still arriving".to_owned()
        }
        RetryDecision::Budget => {
            let left = tokens(attempt.budget_left.unwrap_or_default());
            format!("the retry budget of {service} was spent, with {left} left")
        }
        RetryDecision::Deadline => {
            let left = time(attempt.deadline_left.unwrap_or_default());
            format!("the back-off would have ended after the deadline, which was {left} away")
        }
        RetryDecision::Breaker => format!("the circuit breaker of {service} would have refused it"),
        RetryDecision::RetryAfter => {
            let left = attempt.deadline_left.map(|left| format!("; its deadline was {} away", time(left)));
            let left = left.unwrap_or_default();
            format!("with Retry-After {service} asked for a longer wait than this call has{left}")
        }
        RetryDecision::Pushback => format!("{service} said that it is overloaded, or forbade it"),
        RetryDecision::Started => "the answer was on its way to the application already".to_owned(),
        RetryDecision::Status => "a failure of this kind is never, or not by this policy".to_owned(),
    };
    Some(format!("Not tried again: {clause}{}.", decided_by(decision, story)))
}

const REDIALLED: &str = "Sent again at once: the idle connection had ended already, which counts as no retry and \
                         costs no budget.";

/// The key that said no, after a clause; nothing where none did.
fn decided_by(decision: RetryDecision, story: &Story) -> String {
    match decision {
        RetryDecision::Observed => cite(story, "retries.mode"),
        RetryDecision::NotIdempotent => cite(story, "idempotent"),
        RetryDecision::Exhausted => cite(story, "retries.maxRetries"),
        RetryDecision::Body => cite(story, "retries.maxBody"),
        RetryDecision::Budget => cite(story, "retries.budget.ratio"),
        RetryDecision::Deadline => deadline(story),
        RetryDecision::Status => cite(story, "retries.retryOn"),
        RetryDecision::Retried
        | RetryDecision::Redialled
        | RetryDecision::Breaker
        | RetryDecision::RetryAfter
        | RetryDecision::Pushback
        | RetryDecision::Started => String::new(),
    }
}

/// Nobody asked: retries are off, or this is nothing that a retry could mend.
fn undecided(story: &Story, attempt: &Attempt) -> Option<String> {
    let failed = attempt.fault.is_some() || attempt.status >= SERVER_ERROR;
    let is_last = story.attempts.last().is_some_and(|last| last.started == attempt.started);
    if !failed || !is_last {
        return None;
    }
    let retries_off = story.rules.as_ref().is_some_and(|rules| rules.policy.retries.is_none());
    let fault = attempt.fault;
    if fault == Some(Fault::ClientCancelled) {
        return None;
    }
    if fault == Some(Fault::DeadlineExceeded) {
        return Some(format!("Not tried again: the time of the call was over{}.", deadline(story)));
    }
    if fault.is_some_and(|fault| fault.side() == Side::Local) {
        return Some(
            "Not tried again: a refusal of our own never is, for more calls would not help.".to_owned(),
        );
    }
    retries_off.then(|| format!("Not tried again: retries are off{}.", cite(story, "retries")))
}

/// The first status of failures of the service.
const SERVER_ERROR: u16 = 500;

/// What budget and deadline had left.
fn left(attempt: &Attempt) -> String {
    let budget = attempt.budget_left.map(|left| format!("the budget had {} left", tokens(left)));
    let deadline = attempt.deadline_left.map(|left| format!("the deadline was {} away", time(left)));
    let parts: Vec<String> = [budget, deadline].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("; {}", parts.join(" and ")) }
}

/// `; retries.maxRetries: 2 (mesh.yaml:7, service)`, after a clause; nothing without a policy.
fn cite(story: &Story, key: &'static str) -> String {
    story.rules.as_ref().map(|rules| format!("; {}", of_rules(rules, key).told())).unwrap_or_default()
}

fn deadline(story: &Story) -> String {
    if story.callers_deadline { "; it was the caller's own".to_owned() } else { cite(story, "timeout") }
}

fn tokens(left: f64) -> String {
    trimmed(format!("{left:.1}")) + if (left - 1.0).abs() < f64::EPSILON { " retry" } else { " retries" }
}
