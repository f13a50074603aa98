//! Our own replies: a status, a reason code and one plain sentence.
//!
//! In: a fault and what is known of the call. Out: a whole reply in the application's buffer. The
//! statuses and codes are those of `error`; nothing here decides.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::json;

use crate::error::Fault;
use crate::head::Method;

use super::attempt::{Detail, Failed};
use super::{Call, Client, Flow};

/// A reply of ours before it is written.
struct Reply<'a> {
    fault: Fault,
    service: &'a str,
    message: String,
    attempts: u32,
    last_status: u16,
    trace: Option<String>,
    retry_after: Option<Duration>,
    keep_alive: bool,
    without_body: bool,
}

/// Writes the reply of a call that has a service.
pub(super) fn write_fault(call: &mut Call<'_>, failed: &Failed, keep_alive: bool) {
    let message = message(call, failed);
    let reply = Reply {
        fault: failed.fault,
        service: &call.plan.service.state.name,
        message,
        attempts: call.record.attempts,
        last_status: call.last_status,
        trace: Some(call.head.trace.trace_text()),
        retry_after: failed.retry_after,
        keep_alive,
        without_body: call.head.method == Method::Head,
    };
    write(&reply, &mut call.client.out);
}

/// Refuses a request that has no service yet, and ends its connection: what follows on it can't be trusted
/// or was not read.
pub async fn refuse(
    client: &mut Client,
    fault: Fault,
    what: &str,
    keep_alive: bool,
    without_body: bool,
) -> Flow {
    write(&Reply { keep_alive, without_body, ..Reply::unrouted(fault, what) }, &mut client.out);
    match client.flush_within(Some(FLUSH_WAIT_MAX)).await {
        Ok(()) if keep_alive => Flow::Again,
        Ok(()) => Flow::Linger,
        Err(_) => Flow::Close,
    }
}

/// The bytes of such a reply, for a connection that is refused before it is served.
pub fn refuse_raw(fault: Fault, what: &str) -> BytesMut {
    let mut out = BytesMut::new();
    write(&Reply::unrouted(fault, what), &mut out);
    out
}

impl Reply<'_> {
    /// To a request that has no service; its connection ends.
    fn unrouted(fault: Fault, what: &str) -> Self {
        Self {
            fault,
            service: "",
            message: what.to_owned(),
            attempts: 0,
            last_status: 0,
            trace: None,
            retry_after: None,
            keep_alive: false,
            without_body: false,
        }
    }
}

/// Longest wait for an application to take a refusal.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(5);

fn write(reply: &Reply<'_>, out: &mut BytesMut) {
    let (status, reason) = reply.fault.reply();
    let mut body = json!({
        "error": reason,
        "service": reply.service,
        "message": reply.message,
        "attempts": reply.attempts,
    });
    if reply.last_status != 0 {
        body["lastStatus"] = reply.last_status.into();
    }
    if let Some(trace) = &reply.trace {
        body["traceId"] = trace.as_str().into();
    }
    let body = format!("{body}\n");
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\noutrigger-reason: {reason}\r\n",
        phrase(status),
        body.len(),
    );
    if let Some(wait) = reply.retry_after {
        // Whole seconds, rounded up: sooner would be refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        head.push_str(&format!("retry-after: {}\r\n", seconds.max(1)));
    }
    if !reply.keep_alive {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    out.extend_from_slice(head.as_bytes());
    if !reply.without_body {
        out.extend_from_slice(body.as_bytes());
    }
}

/// The reason phrases of RFC 9110 for the statuses of our faults.
fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        _ => "Error",
    }
}

/// One plain sentence with the numbers that decided.
fn message(call: &Call<'_>, failed: &Failed) -> String {
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
        Fault::DeadlineExceeded => {
            format!("{service} did not answer within {} (timeout)", limit(policy.timeout))
        }
        Fault::PerTryTimeout => {
            let per_try = policy.retries.as_ref().and_then(|retries| retries.per_try_timeout);
            format!("{service} did not answer within {} (retries.perTryTimeout)", limit(per_try))
        }
        Fault::ConnectTimeout | Fault::ConnectFailed => match failed.detail {
            Detail::Address(address) => format!("no connection to {service} at {address}"),
            Detail::None | Detail::Text(_) => format!("no connection to {service}"),
        },
        Fault::DnsFailed => format!("the name of {service} does not resolve"),
        Fault::NoEndpoints => format!("{service} has no endpoints"),
        Fault::LoopDetected => format!("{service} leads back to this proxy"),
        Fault::ProtocolError => match failed.detail {
            Detail::Text(what) => format!("{service} broke HTTP: {what}"),
            Detail::None | Detail::Address(_) => format!("{service} broke HTTP"),
        },
        Fault::ResetBeforeResponse => format!("{service} closed the connection before it answered"),
        Fault::RequestTimeout => "the request did not arrive in time".to_owned(),
        Fault::RequestMalformed => "the request's body is broken".to_owned(),
        Fault::Overloaded => "the proxy is out of file descriptors or at a limit of its own".to_owned(),
        Fault::IdleTimeout => format!("nothing moved for {} (idleTimeout)", limit(policy.idle_timeout)),
        Fault::NoRoute
        | Fault::Denied
        | Fault::TlsFailed
        | Fault::ResetMidResponse
        | Fault::HeaderTooLarge
        | Fault::ClientCancelled
        | Fault::ShuttingDown => format!("the call to {service} was not possible"),
    }
}
