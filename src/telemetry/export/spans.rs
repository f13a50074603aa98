//! Stories as spans: one CLIENT span for the call, a child for each attempt, an event for each decision.
//!
//! In: a [`Story`]. Out: spans of OTLP. No query, no header and no credential is in them, for none is in a
//! story. A path of HTTP is an attribute and never a name; the method of gRPC is one, as the conventions ask.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};

use crate::error::{Fault, GRPC_CODES};
use crate::telemetry::RetryDecision;
use crate::telemetry::story::{Attempt, Judged, Pick, Spoken, Story, Why};

use super::attributes::Attributes;

/// The methods that are no surprise (RFC 9110, RFC 5789 and RFC 10008); others are `_OTHER`, as the
/// conventions ask, so that a caller cannot make names of spans without end.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// Spans that a story becomes.
pub(super) fn count(story: &Story) -> usize {
    1 + story.attempts.iter().filter(|attempt| attempt.is_span()).count()
}

/// Appends the spans of a story: the call, then its attempts in order.
pub(super) fn append(story: &Story, spans: &mut Vec<Span>) {
    spans.push(call(story));
    let made = story.attempts.iter().filter(|attempt| attempt.is_span());
    spans.extend(made.enumerate().map(|(index, attempt)| child(story, attempt, index)));
}

fn call(story: &Story) -> Span {
    // A caller has a span of its own, whatever headers it tells it by; but B3 may hold a decision alone.
    let caller = story.trace.caller_span();
    let parent = caller.map(|span| span.to_be_bytes().to_vec()).unwrap_or_default();
    let mut at = Attributes::new();
    request(story, &mut at);
    answer(story.status, story.grpc_status, story, &mut at);
    at.text("outrigger.service", &story.service);
    at.text("outrigger.route", &story.route);
    at.text("outrigger.outcome", story.outcome.name());
    at.text("outrigger.reason", story.outcome.reason());
    at.count("outrigger.attempts", count(story) as u64 - 1);
    at.time("outrigger.queued_ms", story.queued);
    at.count("outrigger.reply_bytes", story.reply_bytes);
    if story.protocol == Spoken::Opaque {
        at.count("outrigger.request_bytes", story.request_bytes);
    }
    if let Some(first_byte) = story.first_byte {
        at.time("outrigger.first_byte_ms", first_byte);
    }
    if let Some(deadline) = story.deadline {
        at.time("outrigger.deadline_ms", deadline);
        at.switch("outrigger.deadline.callers", story.callers_deadline);
    }
    if let Some(why) = story.export.filter(|why| *why != Why::Sampled) {
        at.text("outrigger.kept", why.name());
    }
    let error = error_type(story.outcome.fault(), story.status, story.grpc_status);
    let status = error.as_ref().map(|error| failed(story.message.as_deref().unwrap_or(error)));
    at.text("error.type", error.as_deref().unwrap_or_default());
    Span {
        span_id: story.span_id.to_be_bytes().to_vec(),
        parent_span_id: parent,
        flags: flags(story, caller.is_some()),
        events: events(story),
        attributes: at.done(),
        status,
        ..bare(story, Duration::ZERO, story.duration)
    }
}

/// The span of one attempt; `index` counts those before it.
fn child(story: &Story, attempt: &Attempt, index: usize) -> Span {
    let mut at = Attributes::new();
    request(story, &mut at);
    // The status of gRPC is that of the last answer.
    let last = attempt.decision != Some(RetryDecision::Retried);
    let grpc_status = story.grpc_status.filter(|_| last && attempt.fault.is_none());
    answer(attempt.status, grpc_status, story, &mut at);
    if index > 0 {
        at.count("http.request.resend_count", index as u64);
    }
    if let Some(endpoint) = attempt.endpoint {
        at.peer(endpoint);
    }
    decisions(attempt, &mut at);
    let error = error_type(attempt.fault, attempt.status, grpc_status);
    at.text("error.type", error.as_deref().unwrap_or_default());
    Span {
        span_id: attempt.span_id.to_be_bytes().to_vec(),
        parent_span_id: story.span_id.to_be_bytes().to_vec(),
        flags: flags(story, false),
        attributes: at.done(),
        status: error.map(|error| failed(&error)),
        ..bare(story, attempt.started, attempt.ended)
    }
}

/// What policies said to an attempt, and of it.
fn decisions(attempt: &Attempt, at: &mut Attributes) {
    if let Some(breaker) = attempt.breaker {
        at.text("outrigger.breaker.state", breaker.state);
        at.count("outrigger.breaker.generation", breaker.generation.into());
        if breaker.forced {
            at.switch("outrigger.breaker.forced", true);
        }
        if breaker.refused {
            at.switch("outrigger.breaker.refused", true);
        }
    }
    at.time("outrigger.queued_ms", attempt.queued);
    if attempt.pick != Pick::None {
        at.text("outrigger.endpoint.pick", attempt.pick.name());
        at.switch("outrigger.connection.reused", attempt.reused);
    }
    if let Some(connected) = attempt.connected {
        at.time("outrigger.connected_ms", connected.saturating_sub(attempt.started));
    }
    at.text("outrigger.verdict", attempt.verdict.map_or("", Judged::name));
    if attempt.slow {
        at.switch("outrigger.slow", true);
    }
    if let Some(left) = attempt.deadline_left {
        at.time("outrigger.deadline_left_ms", left);
    }
    retry(attempt, at);
}

/// What was decided about another attempt, on the attempt and on the event alike.
fn retry(attempt: &Attempt, at: &mut Attributes) {
    let Some(decision) = attempt.decision else { return };
    at.text("outrigger.retry.decision", decision.name());
    if decision == RetryDecision::Retried {
        at.time("outrigger.retry.back_off_ms", attempt.back_off);
    }
    if let Some(left) = attempt.budget_left {
        at.fraction("outrigger.retry.budget_left", left);
    }
}

/// One event for each decision, on the call: it outlives its attempts.
fn events(story: &Story) -> Vec<Event> {
    let mut events = Vec::new();
    for attempt in &story.attempts {
        let breaker = attempt.breaker.filter(|breaker| breaker.refused);
        if let Some(breaker) = breaker {
            let mut at = Attributes::new();
            at.text("outrigger.breaker.state", breaker.state);
            at.count("outrigger.breaker.generation", breaker.generation.into());
            events.push(event(story, "outrigger.breaker.refused", attempt.started, at));
        }
        if let Some(fault @ (Fault::BulkheadFull | Fault::BulkheadTimeout)) = attempt.fault {
            let mut at = Attributes::new();
            at.text("outrigger.reason", fault.reason());
            at.time("outrigger.queued_ms", attempt.queued);
            events.push(event(story, "outrigger.bulkhead.refused", attempt.ended, at));
        }
        if let Some(decision) = attempt.decision {
            let mut at = Attributes::new();
            retry(attempt, &mut at);
            let retried = matches!(decision, RetryDecision::Retried | RetryDecision::Redialled);
            let name = if retried { "outrigger.retry" } else { "outrigger.retry.skipped" };
            events.push(event(story, name, attempt.ended, at));
        }
    }
    events
}

fn event(story: &Story, name: &str, offset: Duration, at: Attributes) -> Event {
    Event {
        time_unix_nano: nanos(story.started + offset),
        name: name.to_owned(),
        attributes: at.done(),
        dropped_attributes_count: 0,
    }
}

/// What is asked, on the call and on each attempt.
fn request(story: &Story, at: &mut Attributes) {
    match story.protocol {
        Spoken::Http1 | Spoken::Http2 => {
            let method = known(&story.method);
            at.text("http.request.method", method);
            if method == "_OTHER" {
                at.text("http.request.method_original", &story.method);
            }
            at.text("url.path", &story.path);
            at.text("network.protocol.version", if story.protocol == Spoken::Http1 { "1.1" } else { "2" });
        }
        Spoken::Grpc => {
            at.text("rpc.system.name", "grpc");
            at.text("rpc.method", story.path.trim_start_matches('/'));
        }
        Spoken::Opaque => at.text("network.transport", "tcp"),
    }
    at.server(&story.host);
}

fn answer(status: u16, grpc_status: Option<u32>, story: &Story, at: &mut Attributes) {
    if story.protocol == Spoken::Grpc {
        at.text("rpc.response.status_code", grpc_status.map_or("", grpc_name));
    } else if status > 0 && story.protocol != Spoken::Opaque {
        at.number("http.response.status_code", status.into());
    }
}

/// What is common to all spans of a story.
fn bare(story: &Story, from: Duration, to: Duration) -> Span {
    Span {
        trace_id: story.trace.trace_id.to_be_bytes().to_vec(),
        name: name(story).into_owned(),
        kind: SpanKind::Client as i32,
        start_time_unix_nano: nanos(story.started + from),
        end_time_unix_nano: nanos(story.started + to),
        ..Span::default()
    }
}

/// Paths and unknown methods of HTTP are attributes; gRPC names its method.
fn name(story: &Story) -> Cow<'_, str> {
    match story.protocol {
        Spoken::Http1 | Spoken::Http2 => {
            let method = known(&story.method);
            let method = if method == "_OTHER" { "HTTP" } else { method };
            if story.route.is_empty() { method.into() } else { format!("{method} {}", story.route).into() }
        }
        Spoken::Grpc => story.path.trim_start_matches('/').into(),
        Spoken::Opaque => format!("tcp {}", story.service).into(),
    }
}

fn known(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

fn grpc_name(code: u32) -> &'static str {
    usize::try_from(code).ok().and_then(|code| GRPC_CODES.get(code)).copied().unwrap_or("_OTHER")
}

/// What was wrong, in one word: a reason code of ours, a status, or a status of gRPC.
fn error_type(fault: Option<Fault>, status: u16, grpc_status: Option<u32>) -> Option<Cow<'static, str>> {
    match (fault, grpc_status) {
        (Some(fault), _) => Some(fault.reason().into()),
        (None, Some(code)) if code > 0 => Some(grpc_name(code).into()),
        // Of a client's span every status from 400 on is an error, whoever is to blame.
        (None, _) if status >= 400 => Some(status.to_string().into()),
        (None, _) => None,
    }
}

fn failed(message: &str) -> Status {
    Status { message: message.to_owned(), code: StatusCode::Error as i32 }
}

/// The flags of W3C, and whether the parent is in another process.
fn flags(story: &Story, remote: bool) -> u32 {
    let is_remote = if remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    u32::from(story.trace.flags & 1) | SpanFlags::ContextHasIsRemoteMask as u32 | is_remote
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
