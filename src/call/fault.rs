//! What our own replies say, whatever protocol carries them.
//!
//! In: a fault and what is known of the call. Out: one plain sentence with the numbers that
//! decided, and the JSON body that holds it. The statuses and codes are those of `error`; nothing
//! here decides.

use std::time::Duration;

use serde_json::json;

use crate::error::Fault;

use super::Call;
use super::attempt::{Detail, Failed};
use super::side::Side;

/// What a reply of ours says.
pub(super) struct Report<'a> {
    pub(super) fault: Fault,
    pub(super) service: &'a str,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) last_status: u16,
    pub(super) trace: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl<'a> Report<'a> {
    /// About a call that has a service.
    pub(super) fn of<S: Side>(call: &Call<'a, S>, failed: &Failed) -> Self {
        Self {
            fault: failed.fault,
            service: &call.plan.service.state.name,
            message: message(call, failed),
            attempts: call.record.attempts,
            last_status: call.last_status,
            trace: Some(call.head.trace.trace_text()),
            retry_after: failed.retry_after,
        }
    }

    /// About a request that has no service.
    pub(super) fn unrouted(fault: Fault, what: &str) -> Self {
        Self {
            fault,
            service: "",
            message: what.to_owned(),
            attempts: 0,
            last_status: 0,
            trace: None,
            retry_after: None,
        }
    }

    /// The body: one line of JSON.
    pub(super) fn body(&self) -> String {
        let mut body = json!({
            "error": self.fault.reason(),
            "service": self.service,
            "message": self.message,
            "attempts": self.attempts,
        });
        if self.last_status != 0 {
            body["lastStatus"] = self.last_status.into();
        }
        if let Some(trace) = &self.trace {
            body["traceId"] = trace.as_str().into();
        }
        format!("{body}\n")
    }

    /// `Retry-After`, in whole seconds, rounded up: sooner would be refused again.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.retry_after?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

/// One plain sentence with the numbers that decided.
pub(super) fn message<S: Side>(call: &Call<'_, S>, failed: &Failed) -> String {
    let policy = call.plan.policy();
    let service = &call.plan.service.state.name;
    let limit =
        |duration: Option<Duration>| duration.map_or("its limit".to_owned(), |limit| format!("{limit:?}"));
    let bulkhead = policy.bulkhead.as_ref();
    match failed.fault {
        Fault::BreakerOpen => {
            format!("the circuit breaker of {service} is open; calls are refused until it has recovered")
        }
        Fault::BulkheadFull => match bulkhead {
            Some(settings) => format!(
                "all {} places of {service} are taken (bulkhead.maxConcurrent)",
                settings.max_concurrent
            ),
            None => format!("all places of {service} are taken"),
        },
        Fault::BulkheadTimeout => match bulkhead {
            Some(settings) => format!(
                "none of the {} places of {service} came free within {:?} (bulkhead.maxWait)",
                settings.max_concurrent, settings.max_wait
            ),
            None => format!("no place of {service} came free in time"),
        },
        Fault::DeadlineExceeded if call.is_callers_deadline() => {
            let callers = call.deadline.map(|deadline| call.record.trail.since(deadline));
            format!("{service} did not answer within {}, as the caller asked (grpc-timeout)", limit(callers))
        }
        Fault::DeadlineExceeded => {
            format!("{service} did not answer within {} (timeout)", limit(policy.timeout))
        }
        Fault::PerTryTimeout => {
            let per_try = policy.retries.as_ref().and_then(|retries| retries.per_try_timeout);
            format!("{service} did not answer within {} (retries.perTryTimeout)", limit(per_try))
        }
        Fault::ConnectTimeout | Fault::ConnectFailed | Fault::TlsFailed => match failed.detail {
            Detail::Tls(address, fault) => {
                let name = call.plan.service.tls.as_ref().map(|tls| tls.server_name());
                let clause = fault.clause(name.as_deref().unwrap_or_default());
                format!("no TLS with {service} at {address}: {clause}")
            }
            Detail::Address(address) => format!("no connection to {service} at {address}"),
            Detail::None | Detail::Text(_) => format!("no connection to {service}"),
        },
        Fault::DnsFailed => format!("the name of {service} does not resolve"),
        Fault::NoEndpoints => format!("{service} has no endpoints: its name has no address"),
        Fault::LoopDetected => format!("{service} leads back to this proxy"),
        Fault::ProtocolError => match failed.detail {
            Detail::Text(what) => format!("{service} broke HTTP: {what}"),
            Detail::None | Detail::Address(_) | Detail::Tls(..) => format!("{service} broke HTTP"),
        },
        Fault::ResetBeforeResponse => format!("{service} closed the connection before it answered"),
        Fault::RequestTimeout => "the request did not arrive in time".to_owned(),
        Fault::RequestMalformed => "the request's body is broken".to_owned(),
        Fault::Overloaded => "the proxy is out of file descriptors or at a limit of its own".to_owned(),
        Fault::IdleTimeout => format!("nothing moved for {} (idleTimeout)", limit(policy.idle_timeout)),
        Fault::NoRoute
        | Fault::Denied
        | Fault::ResetMidResponse
        | Fault::HeaderTooLarge
        | Fault::ClientCancelled
        | Fault::ShuttingDown => format!("the call to {service} was not possible"),
    }
}
