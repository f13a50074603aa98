//! Our own replies on HTTP/1.
//!
//! In: what a reply says. Out: a whole reply in the application's buffer.

use std::time::Duration;

use bytes::BytesMut;

use crate::error::Fault;
use crate::head::Method;

use super::super::attempt::Failed;
use super::super::fault::Report;
use super::super::{Call, Flow};
use super::{Client, Http1};

/// Writes the reply of a call that has a service.
pub(super) fn write_fault(call: &mut Call<'_, Http1<'_>>, failed: &Failed, keep_alive: bool) {
    let report = Report::of(call, failed);
    write(&report, keep_alive, call.head.method == Method::Head, &mut call.side.client.out);
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
    write(&Report::unrouted(fault, what), keep_alive, without_body, &mut client.out);
    match client.flush_within(Some(FLUSH_WAIT_MAX)).await {
        Ok(()) if keep_alive => Flow::Again,
        Ok(()) => Flow::Linger,
        Err(_) => Flow::Close,
    }
}

/// The bytes of such a reply, for a connection that is refused before it is served.
pub fn refuse_raw(fault: Fault, what: &str) -> BytesMut {
    let mut out = BytesMut::new();
    write(&Report::unrouted(fault, what), false, false, &mut out);
    out
}

/// Longest wait for an application to take a refusal.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(5);

fn write(report: &Report<'_>, keep_alive: bool, without_body: bool, out: &mut BytesMut) {
    let (status, reason) = report.fault.reply();
    let body = report.body();
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\noutrigger-reason: {reason}\r\n",
        phrase(status),
        body.len(),
    );
    if let Some(seconds) = report.retry_after_seconds() {
        head.push_str(&format!("retry-after: {seconds}\r\n"));
    }
    if !keep_alive {
        head.push_str("connection: close\r\n");
    }
    head.push_str("\r\n");
    out.extend_from_slice(head.as_bytes());
    if !without_body {
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
