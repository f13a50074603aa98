//! A story in plain words.
//!
//! In: a story. Out: several lines: what was asked, who took it, each attempt with its waits and what
//! came of it, and at the end what decided. Every line may go to a terminal as it is.

use std::time::Duration;

use crate::error::Fault;

use super::super::Outcome;
use super::super::story::{Attempt, Judged, Pick, Rules, Spoken, Story};
use super::cause::{because, causes, service};
use super::words::{clean, host_of, place, time, time_of_day};
use super::{Config, decision};

/// The story of one call, in lines that end without a newline.
pub fn told(story: &Story, config: &Config) -> String {
    let mut lines = vec![headline(story)];
    lines.push(format!("  {}", ids(story)));
    lines.extend(story.rules.as_ref().map(|rules| format!("  {}", target(story, rules))));
    lines.extend(waits(story).map(|waits| format!("  {waits}")));
    for (index, attempt) in story.attempts.iter().enumerate() {
        lines.push(format!(
            "  attempt {}, at {}: {}",
            index + 1,
            time(attempt.started),
            road(story, attempt)
        ));
        lines.extend(decision::sentence(story, attempt).map(|sentence| format!("    {sentence}")));
    }
    if story.attempts.is_empty() {
        lines.push("  nothing was sent".to_owned());
    }
    lines.extend(story.message.as_ref().map(|message| format!("  the reply said: {message}")));
    lines.push(format!("  why: {}", because(story)));
    let causes = causes(story, config);
    for cause in &causes {
        lines.push(format!("  cause: {}", cause.told()));
    }
    if causes.is_empty() && story.outcome != Outcome::Success {
        lines.push("  cause: nothing in the configuration".to_owned());
    }
    clean(&lines.join("\n"))
}

/// `GET /x for cart: 503 breaker_open after 1.2 ms`
fn headline(story: &Story) -> String {
    let asked = match story.protocol {
        Spoken::Opaque => format!("a connection to {}", service(story)),
        Spoken::Http1 | Spoken::Http2 | Spoken::Grpc if story.method.is_empty() => "a request".to_owned(),
        Spoken::Http1 | Spoken::Http2 | Spoken::Grpc => {
            format!("{} {} for {}", story.method, story.path, service(story))
        }
    };
    let status = if story.status == 0 { String::new() } else { format!(" {}", story.status) };
    let reason = match story.outcome.reason() {
        "" => " success",
        reason => &format!(" {reason}"),
    };
    format!("{asked}:{status}{reason} after {}", time(story.duration))
}

fn ids(story: &Story) -> String {
    let trace = story.trace.trace_text();
    let request = story.request_id.as_ref().map(|id| format!(", request id {id}")).unwrap_or_default();
    format!("at {} UTC, trace {trace}{request}", time_of_day(story.started))
}

/// Who took it, and by which lines of the configuration.
fn target(story: &Story, rules: &Rules) -> String {
    let at = |origin| place(&rules.files, origin).map(|at| format!(" ({at})")).unwrap_or_default();
    let host = clean(host_of(&story.host));
    if &*story.service == "unknown" {
        return format!(
            "no service has the host {host}: such calls pass through, over {}",
            story.protocol.name()
        );
    }
    let route = match rules.route {
        Some(origin) => format!(", route {}{}", story.route, at(origin)),
        None => ", no route".to_owned(),
    };
    let host = if host.is_empty() { String::new() } else { format!(", as {host}") };
    let elsewhere = if rules.host_mismatch {
        "; host_mismatch: it was going where that service is not, so it got its policies and went there"
    } else {
        ""
    };
    format!(
        "taken by service {}{}{route}{host}, over {}{elsewhere}",
        story.service,
        at(rules.service),
        story.protocol.name()
    )
}

/// The deadline, and the time spent in queues.
fn waits(story: &Story) -> Option<String> {
    let deadline = story.deadline.map(|deadline| {
        let whose = if story.callers_deadline { "the caller's own" } else { "by timeout" };
        format!("deadline {} ({whose})", time(deadline))
    });
    let queued =
        (!story.queued.is_zero()).then(|| format!("{} in the queue of the bulkhead", time(story.queued)));
    let parts: Vec<String> = [deadline, queued].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What one attempt went through, in the order of the road.
fn road(story: &Story, attempt: &Attempt) -> String {
    let parts = [breaker(attempt), queue(attempt), way(attempt), end(story, attempt), judged(attempt)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn breaker(attempt: &Attempt) -> Option<String> {
    let seen = attempt.breaker?;
    let refused = match (seen.refused, attempt.fault == Some(Fault::BreakerOpen)) {
        (true, true) => " and refused it",
        (true, false) => " and would have refused it, but only observes",
        (false, _) => "",
    };
    let forced = if seen.forced { ", for somebody had forced it," } else { "" };
    let told = format!("the breaker was {}{forced}{refused}", seen.state.replace('_', " "));
    Some(told.trim_end_matches(',').to_owned())
}

fn queue(attempt: &Attempt) -> Option<String> {
    (!attempt.queued.is_zero())
        .then(|| format!("it waited {} for a place in the bulkhead", time(attempt.queued)))
}

/// Where it went, why there, and on what connection.
fn way(attempt: &Attempt) -> Option<String> {
    let endpoint = attempt.endpoint?;
    let pick = match attempt.pick {
        Pick::None => "",
        Pick::Only => ", the only endpoint,",
        Pick::LeastRequest => ", less busy than another,",
        Pick::RoundRobin => ", whose turn it was,",
        Pick::Elsewhere => ", for the last attempt had failed elsewhere,",
    };
    let connection = match (attempt.reused, attempt.connected) {
        (true, _) => " on an open connection".to_owned(),
        (false, Some(_)) => format!(" on a new connection, made in {}", time(connecting(attempt))),
        (false, None) => String::new(),
    };
    Some(format!("to {endpoint}{pick}{connection}").trim_end_matches(',').to_owned())
}

/// From the end of the queue until there was a connection.
fn connecting(attempt: &Attempt) -> Duration {
    let asked = attempt.started + attempt.queued;
    attempt.connected.unwrap_or(attempt.ended).saturating_sub(asked)
}

/// What came of it, and when.
fn end(story: &Story, attempt: &Attempt) -> Option<String> {
    let since = attempt.connected.unwrap_or(attempt.started + attempt.queued);
    let took = time(attempt.ended.saturating_sub(since));
    let slow = if attempt.slow { ", which is slow" } else { "" };
    match attempt.fault {
        Some(fault) => Some(failed(fault, &took)),
        None if attempt.status == 0 && story.protocol == Spoken::Opaque => None,
        None if attempt.status == 0 => Some(format!("it ended after {took}")),
        None => Some(format!("answered {} after {took}{slow}", attempt.status)),
    }
}

/// Why an attempt had no answer.
fn failed(fault: Fault, took: &str) -> String {
    let reason = fault.reason();
    let what = match fault {
        Fault::BreakerOpen => "nothing was sent".to_owned(),
        Fault::BulkheadFull => "every place of the bulkhead was taken".to_owned(),
        Fault::BulkheadTimeout => "no place of the bulkhead came free".to_owned(),
        Fault::NoEndpoints => "there is no endpoint".to_owned(),
        Fault::DnsFailed => "the name does not resolve".to_owned(),
        Fault::ConnectFailed => format!("no connection: refused or unreachable after {took}"),
        Fault::ConnectTimeout => format!("no connection within {took}"),
        Fault::TlsFailed => format!("no TLS, after {took}"),
        Fault::ResetBeforeResponse => format!("the connection ended after {took}, before an answer"),
        Fault::ResetMidResponse => format!("the connection ended after {took}, inside the answer"),
        Fault::ProtocolError => format!("the protocol was broken after {took}"),
        Fault::PerTryTimeout => format!("given up after {took}, the time of one attempt"),
        Fault::DeadlineExceeded => format!("given up after {took}, at the deadline"),
        Fault::IdleTimeout => format!("nothing moved any more; given up after {took}"),
        Fault::RequestTimeout => format!("the request was still not there after {took}"),
        Fault::RequestMalformed => "the request's body was broken".to_owned(),
        Fault::ClientCancelled => format!("the application went away after {took}"),
        Fault::LoopDetected => "it would have come straight back".to_owned(),
        Fault::Overloaded => "no socket was to be had".to_owned(),
        Fault::NoRoute | Fault::Denied | Fault::HeaderTooLarge | Fault::ShuttingDown => "refused".to_owned(),
    };
    format!("{what} ({reason})")
}

fn judged(attempt: &Attempt) -> Option<String> {
    let word = match attempt.verdict? {
        Judged::Success => "a success of the service",
        Judged::Failure => "a failure of the service",
        Judged::Neutral => "no vote about the service",
    };
    Some(word.to_owned())
}
