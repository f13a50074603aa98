//! Explains finished calls to people: why did my request get a 503?
//!
//! In: a [`Story`], and the configuration for what belongs to no service. Out: the same call as JSON
//! and in plain words, down to the line of the YAML that decided. Decides nothing itself, and shows
//! neither queries nor headers: a story holds none.

mod cause;
mod decision;
mod told;
mod words;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::config::{Config, Origin, POLICY_KEYS, Policy};

use super::story::{Attempt, Story};

pub use cause::{Cause, causes};
pub use told::told;
pub use words::{clean, place as at, time, time_of_day};

use words::{host_of, of_policy, place};

/// The story of one call, as `/explain` gives it.
pub fn explain(story: &Story, config: &Config) -> Value {
    let rules = story.rules.as_ref();
    let causes: Vec<Value> = causes(story, config).iter().map(Cause::json).collect();
    let policy = rules.map(|rules| policy_values(&rules.policy, &rules.files)).unwrap_or_default();
    let policy: Vec<Value> = policy.iter().map(Cause::json).collect();
    let at =
        |origin: Option<Origin>| rules.zip(origin).and_then(|(rules, origin)| place(&rules.files, origin));
    json!({
        "traceId": story.trace.trace_text(),
        "spanId": format!("{:016x}", story.span_id),
        "parentSpanId": story.trace.caller_span().map(|span| format!("{span:016x}")),
        "sampled": story.trace.is_sampled(),
        "export": story.export.map(|why| why.name()),
        "requestId": story.request_id,
        "startedUnix": unix_seconds(story.started),
        "durationMs": millis(story.duration),
        "service": &*story.service,
        "serviceAt": at(rules.map(|rules| rules.service)),
        "hostMismatch": rules.is_some_and(|rules| rules.host_mismatch),
        "route": &*story.route,
        "routeAt": at(rules.and_then(|rules| rules.route)),
        "protocol": story.protocol.name(),
        "method": story.method,
        "path": story.path,
        "host": host_of(&story.host),
        "outcome": story.outcome.name(),
        "reason": story.outcome.reason(),
        "status": story.status,
        "grpcStatus": story.grpc_status,
        "message": story.message,
        "queuedMs": millis(story.queued),
        "requestBytes": story.request_bytes,
        "replyBytes": story.reply_bytes,
        "firstByteMs": story.first_byte.map(millis),
        "deadlineMs": story.deadline.map(millis),
        "callersDeadline": story.callers_deadline,
        "cause": causes.first(),
        "causes": causes,
        "policy": policy,
        "attempts": story.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "told": told(story, config),
    })
}

/// Every value of a policy, with its place.
pub fn policy_values(policy: &Policy, files: &[PathBuf]) -> Vec<Cause> {
    POLICY_KEYS.iter().map(|key| of_policy(policy, key, files)).collect()
}

fn attempt(attempt: &Attempt) -> Value {
    let breaker = attempt
        .breaker
        .map(|seen| json!({"state": seen.state, "generation": seen.generation, "forced": seen.forced, "refused": seen.refused}));
    json!({
        "spanId": (attempt.span_id != 0).then(|| format!("{:016x}", attempt.span_id)),
        "startedMs": millis(attempt.started),
        "queuedMs": millis(attempt.queued),
        "breaker": breaker,
        "endpoint": attempt.endpoint.map(|address| address.to_string()),
        "pick": attempt.pick.name(),
        "reused": attempt.reused,
        "connectedMs": attempt.connected.map(millis),
        "endedMs": millis(attempt.ended),
        "status": attempt.status,
        "fault": attempt.fault.map(|fault| fault.reason()),
        "sent": words::sent(attempt.sent),
        "verdict": attempt.verdict.map(|verdict| verdict.name()),
        "slow": attempt.slow,
        "decision": attempt.decision.map(|decision| decision.name()),
        "backOffMs": millis(attempt.back_off),
        "budgetLeft": attempt.budget_left,
        "deadlineLeftMs": attempt.deadline_left.map(millis),
    })
}

/// Milliseconds with their microseconds.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Unix time in seconds, to the millisecond, as in the access log.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3
}

#[cfg(test)]
mod tests;
