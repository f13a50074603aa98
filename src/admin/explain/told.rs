//! An outlook in plain words.
//!
//! In: what the proxy would choose, and the state of what decides. Out: several lines.

use crate::config::{Config, Mode};
use crate::error::Fault;
use crate::mesh::{BulkheadView, EndpointView};
use crate::policy::{BreakerView, Force, State};
use crate::route::Choice;
use crate::telemetry::explain::{Cause, at, clean, policy_values, time};

use super::dry::{Fate, Outlook};

/// Most endpoints that are named.
const ENDPOINTS_TOLD: usize = 20;

/// What would happen to the call, in lines that end without a newline.
pub(super) fn told(outlook: &Outlook<'_>) -> String {
    let target = &outlook.target;
    let scheme = if target.secure { "https" } else { "http" };
    let mut lines = vec![
        format!("{} {scheme}://{}{}: {}", target.method, target.authority, target.path, verdict(outlook)),
        format!("  {}", chosen(outlook)),
    ];
    lines.extend(outlook.by_header.iter().map(|route| {
        let names: Vec<&str> = route.matches.headers.iter().map(|(name, _)| name.as_str()).collect();
        format!("  with the right {}, route {} would take it", names.join(", "), route.name)
    }));
    if target.secure {
        lines.push("  https comes as a CONNECT: the proxy sees a tunnel, and no calls in it".to_owned());
    }
    lines.extend(state(outlook).into_iter().map(|line| format!("  {line}")));
    lines.push(format!("  {}", repeat(outlook)));
    lines.push("  policy:".to_owned());
    let values = policy_values(outlook.policy(), &outlook.config.files);
    lines.extend(values.iter().map(|value| format!("    {}", value.told())));
    clean(&lines.join("\n"))
}

fn verdict(outlook: &Outlook<'_>) -> String {
    match outlook.fate() {
        Fate::Sent => "it would be sent".to_owned(),
        Fate::Queued => {
            let wait = outlook.policy().bulkhead.as_ref().map(|settings| settings.max_wait);
            format!("it would wait for a place in the bulkhead, at most {}", time(wait.unwrap_or_default()))
        }
        Fate::Refused(fault) => format!("it would be refused with {} {}", fault.status(), fault.reason()),
    }
}

fn chosen(outlook: &Outlook<'_>) -> String {
    let place = |origin| at(&outlook.config.files, origin).map(|at| format!(" ({at})")).unwrap_or_default();
    match (outlook.choice, outlook.service) {
        (Choice::Service(_), Some(service)) => {
            let route = match outlook.route {
                Some(route) => format!(", route {}{}", route.name, place(route.origin)),
                None => ", no route".to_owned(),
            };
            format!("service {}{}{route}", service.name, place(service.origin))
        }
        (Choice::Denied, _) => format!("no service has this host; {}", denied(outlook.config)),
        (Choice::Nowhere, _) => "this is no host".to_owned(),
        (Choice::Unknown | Choice::Service(_), _) => {
            "no service has this host: it would pass through, with no policy but timeouts".to_owned()
        }
    }
}

fn denied(config: &Config) -> String {
    Cause::of("outbound.unknown", "deny".to_owned(), config.outbound.unknown_origin, &config.files).told()
}

/// Breaker, bulkhead, budget and endpoints.
fn state(outlook: &Outlook<'_>) -> Vec<String> {
    let Some(view) = &outlook.view else { return Vec::new() };
    let policy = outlook.policy();
    let mut lines = vec![match (&policy.circuit_breaker, &view.breaker) {
        (None, _) => "breaker: off".to_owned(),
        (Some(_), None) => "breaker: closed, and lets it pass".to_owned(),
        (Some(settings), Some(seen)) => breaker(seen, view.breaker_refuses, settings.mode),
    }];
    lines.push(match (&policy.bulkhead, view.bulkhead) {
        (Some(settings), Some(seen)) => {
            let observes = if settings.mode == Mode::Observe { "; it only observes" } else { "" };
            format!("{}{observes}", bulkhead(seen, outlook))
        }
        (_, _) => "bulkhead: off".to_owned(),
    });
    lines.push(match (&policy.retries, view.budget_tokens) {
        (None, _) => "budget: none, for retries are off".to_owned(),
        (Some(_), Some(tokens)) => format!("budget: {tokens:.1} retries left"),
        (Some(_), None) => "budget: untouched".to_owned(),
    });
    lines.extend(endpoints(&view.endpoints, view.used, outlook.is_loop));
    lines
}

fn breaker(seen: &BreakerView, refuses: bool, mode: Mode) -> String {
    let state = match seen.state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half open",
    };
    let forced = match seen.forced {
        Some(Force::Open | Force::Closed) => ", by force",
        Some(Force::Auto) | None => "",
    };
    let does = match (refuses, mode) {
        (false, _) => "lets it pass",
        (true, Mode::Enforce) => "refuses it",
        (true, Mode::Observe) => "would refuse it, but only observes",
    };
    let left = seen.open_left.filter(|_| refuses).map(|left| format!(" for another {}", time(left)));
    let counts = format!("{} calls and {} failures in its window", seen.calls, seen.failures);
    format!("breaker: {state}{forced}, and {does}{}; {counts}", left.unwrap_or_default())
}

fn bulkhead(seen: BulkheadView, outlook: &Outlook<'_>) -> String {
    let full = outlook.fate() == Fate::Refused(Fault::BulkheadFull);
    let full = if full { ", so it is full" } else { "" };
    format!(
        "bulkhead: {} of {} places taken, {} waiting{full}; {} long-lived connections",
        seen.in_flight, seen.max_concurrent, seen.queued, seen.connections
    )
}

fn endpoints(seen: &[EndpointView], used: bool, is_loop: bool) -> Vec<String> {
    if seen.is_empty() {
        let why = if used { "none is known" } else { "not looked up before the first call" };
        return vec![format!("endpoints: {why}")];
    }
    let one = |endpoint: &EndpointView| {
        let last = if endpoint.penalised { ", chosen last, for it has failed" } else { "" };
        format!("endpoint {}: {} in flight{last}", endpoint.address, endpoint.in_flight)
    };
    let mut lines: Vec<String> = seen.iter().take(ENDPOINTS_TOLD).map(one).collect();
    let more = seen.len().saturating_sub(ENDPOINTS_TOLD);
    if more > 0 {
        lines.push(format!("and {more} more endpoints"));
    }
    if is_loop {
        lines.push("an endpoint is a listener of this proxy".to_owned());
    }
    lines
}

/// Whether a failure of it may be retried.
fn repeat(outlook: &Outlook<'_>) -> String {
    if outlook.target.secure {
        return "retries: none inside a tunnel".to_owned();
    }
    let Some(retries) = &outlook.policy().retries else { return "retries: off".to_owned() };
    let what = if outlook.idempotent {
        "whatever was sent, for it may be repeated"
    } else {
        "only what was certainly not sent, for doing it twice could do harm; Idempotency-Key would change that"
    };
    let observes = if retries.mode == Mode::Observe { "; but they only observe" } else { "" };
    format!("retries: up to {}, {what}{observes}", retries.max_retries)
}
