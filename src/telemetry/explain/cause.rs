//! What decided over a call: the key of the YAML, its value and its place.
//!
//! In: a story. Out: its [`Cause`]s, the deciding one first, and one sentence that says why. Every
//! question is one exhaustive match, so that a new fault cannot be forgotten.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Config, Origin, Service, Unknown};
use crate::error::Fault;

use super::super::story::{Rules, Spoken, Story};
use super::super::{Outcome, RetryDecision};
use super::words::{clean, count, host_of, of_rules, place, time};

/// One value that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The key, as it is written in the YAML.
    pub key: &'static str,
    /// Its value, as the YAML would spell it.
    pub value: String,
    /// `file:line`; `None` for values that no file sets.
    pub at: Option<String>,
    /// The layer that set it; `caller` for what a request said.
    pub layer: &'static str,
}

/// The triggers of a breaker; those that are off cannot have tripped it.
const TRIGGERS: [&str; 3] = [
    "circuitBreaker.trip.consecutiveFailures",
    "circuitBreaker.trip.failureRate",
    "circuitBreaker.trip.slowCallRate",
];

/// What decided over the call, the most telling value first; empty where no key of the YAML did.
pub fn causes(story: &Story, config: &Config) -> Vec<Cause> {
    match story.outcome {
        Outcome::Success => Vec::new(),
        Outcome::ServiceFailure | Outcome::GrpcFailure => of_answer(story),
        Outcome::Fault(fault) => of_fault(fault, story, config),
    }
}

fn of_fault(fault: Fault, story: &Story, config: &Config) -> Vec<Cause> {
    let key = |key| one(story, key);
    match fault {
        Fault::NoRoute | Fault::RequestMalformed | Fault::HeaderTooLarge | Fault::ClientCancelled => {
            Vec::new()
        }
        Fault::Denied => vec![denied(config)],
        Fault::BulkheadFull if is_long_lived(story) => key("bulkhead.maxConnections"),
        Fault::BulkheadFull => [key("bulkhead.maxConcurrent"), queue(story)].concat(),
        Fault::BulkheadTimeout => [key("bulkhead.maxWait"), key("bulkhead.maxConcurrent")].concat(),
        // Whoever forced it did so through the admin API.
        Fault::BreakerOpen if is_forced(story) => Vec::new(),
        Fault::BreakerOpen => breaker(story),
        Fault::TlsFailed => target(story, config, "tls"),
        Fault::LoopDetected
        | Fault::NoEndpoints
        | Fault::ConnectFailed
        | Fault::DnsFailed
        | Fault::ResetBeforeResponse
        | Fault::ResetMidResponse
        | Fault::ProtocolError => target(story, config, "endpoints"),
        Fault::Overloaded if story.attempts.is_empty() => vec![connections(config)],
        // File descriptors are the system's to give.
        Fault::Overloaded => Vec::new(),
        Fault::ConnectTimeout => key("connectTimeout"),
        Fault::PerTryTimeout => key("retries.perTryTimeout"),
        Fault::DeadlineExceeded => deadline(story),
        Fault::IdleTimeout if is_body_timeout(story) => key("bodyTimeout"),
        Fault::IdleTimeout => key("idleTimeout"),
        Fault::RequestTimeout if is_past_deadline(story) => deadline(story),
        Fault::RequestTimeout => key("idleTimeout"),
        Fault::ShuttingDown => vec![drain(config)],
    }
}

/// Why an answer of the service was not given up for another try.
fn of_answer(story: &Story) -> Vec<Cause> {
    let key = |key| one(story, key);
    match story.attempts.last().and_then(|attempt| attempt.decision) {
        None => key("retries").into_iter().filter(|retries| retries.value == "off").collect(),
        Some(RetryDecision::Retried | RetryDecision::Redialled) => Vec::new(),
        Some(RetryDecision::Observed) => key("retries.mode"),
        Some(RetryDecision::NotIdempotent) => key("idempotent"),
        Some(RetryDecision::Exhausted) => key("retries.maxRetries"),
        Some(RetryDecision::Body) => key("retries.maxBody"),
        Some(RetryDecision::Budget) => {
            [key("retries.budget.ratio"), key("retries.budget.minPerSecond"), key("retries.budget.window")]
                .concat()
        }
        Some(RetryDecision::Deadline | RetryDecision::RetryAfter) => deadline(story),
        Some(RetryDecision::Breaker) => breaker(story),
        Some(RetryDecision::Pushback | RetryDecision::Started) => Vec::new(),
        Some(RetryDecision::Status) => key("retries.retryOn"),
    }
}

/// Why the call ended as it did, in one sentence.
pub(super) fn because(story: &Story) -> String {
    let service = service(story);
    match story.outcome {
        Outcome::Success => match story.retries() {
            0 => format!("{service} answered."),
            retries => format!("{service} answered after {}.", count(retries, "retry", "retries")),
        },
        Outcome::ServiceFailure => {
            format!("{service} itself answered {}, and that answer was passed on.", story.status)
        }
        Outcome::GrpcFailure => match story.grpc_status {
            Some(code) => format!("{service} itself answered with gRPC status {code}, which was passed on."),
            None => format!("{service} itself answered with a gRPC failure, which was passed on."),
        },
        Outcome::Fault(fault) => because_of(fault, story, &service),
    }
}

fn because_of(fault: Fault, story: &Story, service: &str) -> String {
    match fault {
        Fault::NoRoute => "the request names no host that it could be sent to.".to_owned(),
        Fault::Denied => "no service claims the call, and such calls are refused.".to_owned(),
        Fault::LoopDetected => format!("{service} leads straight back to this proxy."),
        Fault::BulkheadFull => {
            format!("all places for calls to {service} were taken, and there was no room to wait.")
        }
        Fault::BulkheadTimeout => {
            let waited = time(story.queued);
            format!("all places for calls to {service} were taken, and none came free within {waited}.")
        }
        Fault::BreakerOpen if is_forced(story) => {
            format!("the circuit breaker of {service} refused the call: somebody forced it open.")
        }
        Fault::BreakerOpen => format!(
            "the circuit breaker of {service} refused the call: a trigger had opened it, and it had not \
             recovered yet."
        ),
        Fault::NoEndpoints => format!("{service} has no endpoint."),
        Fault::Overloaded if story.attempts.is_empty() => {
            "the proxy holds as many connections of its application as it may.".to_owned()
        }
        Fault::Overloaded => "the proxy is out of file descriptors or ports.".to_owned(),
        Fault::ConnectFailed => format!("no endpoint of {service} could be connected to."),
        Fault::ConnectTimeout => format!("no endpoint of {service} took the connection in time."),
        Fault::TlsFailed => format!("no TLS came about with {service}."),
        Fault::DnsFailed => format!("the name of {service} does not resolve."),
        Fault::ResetBeforeResponse => format!("{service} ended the connection before it had answered."),
        Fault::ResetMidResponse => format!("{service} ended the connection in the middle of its answer."),
        Fault::ProtocolError => format!("{service} broke the protocol."),
        Fault::PerTryTimeout => format!("{service} did not answer within the time of one attempt."),
        Fault::DeadlineExceeded if story.callers_deadline => {
            format!("the caller wanted its answer sooner than {service} gave it.")
        }
        Fault::DeadlineExceeded => format!("{service} did not answer within the time of the call."),
        Fault::IdleTimeout if is_body_timeout(story) => {
            format!("the body of the answer of {service} took too long as a whole.")
        }
        Fault::IdleTimeout => format!("nothing moved between the application and {service} for too long."),
        Fault::RequestMalformed => "the application broke HTTP.".to_owned(),
        Fault::RequestTimeout => "the application took too long to send its request.".to_owned(),
        Fault::HeaderTooLarge => "the head of the request is larger than any that is accepted.".to_owned(),
        Fault::ClientCancelled => "the application went away before it had its answer.".to_owned(),
        Fault::ShuttingDown => "the proxy is ending.".to_owned(),
    }
}

/// What to call the target of the call.
pub(super) fn service(story: &Story) -> String {
    match &*story.service {
        "" => "the destination".to_owned(),
        "unknown" => clean(host_of(&story.host)),
        name => name.to_owned(),
    }
}

/// One key of the call's policy; none where it never came to a policy.
fn one(story: &Story, key: &'static str) -> Vec<Cause> {
    story.rules.iter().map(|rules| of_rules(rules, key)).collect()
}

fn breaker(story: &Story) -> Vec<Cause> {
    let triggers = TRIGGERS.iter().flat_map(|key| one(story, key)).filter(|cause| cause.value != "off");
    let open_for = one(story, "circuitBreaker.openFor.base");
    triggers.chain(open_for).collect()
}

/// Whether the breaker that refused the call was forced open.
fn is_forced(story: &Story) -> bool {
    story.attempts.last().and_then(|attempt| attempt.breaker).is_some_and(|breaker| breaker.forced)
}

/// The queue, where there is one.
fn queue(story: &Story) -> Vec<Cause> {
    let wait = story.rules.as_ref().and_then(|rules| rules.policy.bulkhead.as_ref()).map(|it| it.max_wait);
    let key = if wait.unwrap_or_default().is_zero() { "bulkhead.maxWait" } else { "bulkhead.maxQueue" };
    one(story, key)
}

fn deadline(story: &Story) -> Vec<Cause> {
    if !story.callers_deadline {
        return one(story, "timeout");
    }
    let value = story.deadline.map(time).unwrap_or_default();
    vec![Cause { key: "grpc-timeout", value, at: None, layer: "caller" }]
}

/// Where a service stands: its `endpoints` or `tls` if it still stands where it did, else its name.
fn target(story: &Story, config: &Config, key: &'static str) -> Vec<Cause> {
    let Some(rules) = &story.rules else { return Vec::new() };
    if &*story.service == "unknown" {
        return Vec::new();
    }
    let found = |service: &&Service| service.name == story.service && service.origin == rules.service;
    let service = config.services.iter().find(found).filter(|_| same_files(rules, config));
    let origin = service.map_or(rules.service, |service| match key {
        "tls" => service.tls_origin,
        _ => service.endpoints_origin,
    });
    vec![Cause::of(key, format!("of {}", story.service), origin, &rules.files)]
}

fn same_files(rules: &Rules, config: &Config) -> bool {
    *rules.files == *config.files
}

fn denied(config: &Config) -> Cause {
    let outbound = &config.outbound;
    // It was `deny` when it decided; a reload may have changed it since.
    let (value, origin) = match outbound.unknown {
        Unknown::Deny => ("deny", outbound.unknown_origin),
        Unknown::Allow => ("deny, until a reload", outbound.unknown_origin),
    };
    Cause::of("outbound.unknown", value.to_owned(), origin, &config.files)
}

fn connections(config: &Config) -> Cause {
    let limits = &config.limits;
    let value = limits.connections.to_string();
    Cause::of("limits.connections", value, limits.connections_origin, &config.files)
}

fn drain(config: &Config) -> Cause {
    let drain = &config.drain;
    Cause::of("drain.timeout", time(drain.timeout), drain.timeout_origin, &config.files)
}

/// Upgraded, tunnelled and opaque connections have places of their own.
fn is_long_lived(story: &Story) -> bool {
    story.protocol == Spoken::Opaque || &*story.method == "CONNECT"
}

/// Both clocks end a body with the same word; the longer one was over only if it took that long.
fn is_body_timeout(story: &Story) -> bool {
    let limit = story.rules.as_ref().and_then(|rules| rules.policy.body_timeout);
    let body = story.duration.saturating_sub(story.first_byte.unwrap_or(story.duration));
    limit.is_some_and(|limit| body + CLOCKS_APART >= limit)
}

/// How far two readings of one moment may be apart.
const CLOCKS_APART: Duration = Duration::from_millis(2);

fn is_past_deadline(story: &Story) -> bool {
    story.deadline.is_some_and(|deadline| story.duration + CLOCKS_APART >= deadline)
}

// === impl Cause ===

impl Cause {
    /// A value of the configuration.
    pub fn of(key: &'static str, value: String, origin: Origin, files: &[PathBuf]) -> Self {
        Self { key, value, at: place(files, origin), layer: origin.layer.name() }
    }

    /// As `/explain` gives it.
    pub fn json(&self) -> Value {
        json!({"key": self.key, "value": self.value, "at": self.at, "layer": self.layer})
    }

    /// `timeout: 800ms (mesh.yaml:12, service)`.
    pub fn told(&self) -> String {
        match &self.at {
            Some(at) => format!("{}: {} ({at}, {})", self.key, self.value, self.layer),
            None => format!("{}: {} ({})", self.key, self.value, self.layer),
        }
    }
}
