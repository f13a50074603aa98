//! One record per call, whatever way it ends.
//!
//! In: what the road of a call learns on its way. Out: the counters, the latency and the access-log
//! line of that call, written once in [`CallRecord::finish`] or, when the call's task is dropped,
//! by `Drop`.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{FAULTS, Fault, Side};
use crate::wire::{TraceForm, TraceParent};

use super::{AccessLog, RouteStats, Trail};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The service answered, with anything below 500.
    Success,
    /// The service answered with 5xx, and that answer was passed on.
    ServiceFailure,
    /// The service answered a gRPC call with another status than OK.
    GrpcFailure,
    /// We answered instead, or cut the answer.
    Fault(Fault),
}

/// The access-log fields that are known when a call starts.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The route's name; empty without one.
    pub route: &'a str,
    /// The request line as it was sent on, for method and path.
    pub request: &'a [u8],
    /// The trace.
    pub trace: TraceParent,
}

/// The record of one call.
#[derive(Debug)]
pub struct CallRecord<'a> {
    stats: &'a RouteStats,
    log: Option<&'a AccessLog>,
    started: Instant,
    /// Attempts made so far.
    pub attempts: u32,
    /// What they came to.
    pub trail: Trail,
    /// Time spent waiting for a place in the bulkhead.
    pub queued: Duration,
    /// Status of the reply, 0 before there is one.
    pub status: u16,
    /// Bytes of the reply's body written to the application.
    pub reply_bytes: u64,
    /// Bytes written to the service by a tunnel; 0 for calls of HTTP.
    pub request_bytes: u64,
    /// From the start to the head of the last answer, or to a tunnel's first byte from the service.
    pub first_byte: Option<Duration>,
    done: bool,
}

// === impl Outcome ===

impl Outcome {
    /// A stable place in counters: success, the two failures of the service, then the faults.
    pub const fn index(self) -> usize {
        match self {
            Self::Success => 0,
            Self::ServiceFailure => 1,
            Self::GrpcFailure => 2,
            Self::Fault(fault) => 3 + fault as usize,
        }
    }

    /// The outcome at `index`, the inverse of [`Outcome::index`].
    pub fn at(index: usize) -> Option<Self> {
        match index {
            0 => Some(Self::Success),
            1 => Some(Self::ServiceFailure),
            2 => Some(Self::GrpcFailure),
            at if at - 3 < FAULTS => Some(Self::Fault(Fault::ALL[at - 3])),
            _ => None,
        }
    }

    /// The fault, where we answered or cut the answer.
    pub const fn fault(self) -> Option<Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Success | Self::ServiceFailure | Self::GrpcFailure => None,
        }
    }

    /// Label value of `outcome`: `success`, `failure`, `refused` or `cancelled`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ServiceFailure | Self::GrpcFailure => "failure",
            Self::Fault(Fault::ClientCancelled) => "cancelled",
            Self::Fault(fault) => match fault.side() {
                Side::Local => "refused",
                Side::Upstream => "failure",
            },
        }
    }

    /// Label value of `reason`: a fault's reason code, `status_5xx`, `grpc_status`, or nothing.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Success => "",
            Self::ServiceFailure => "status_5xx",
            Self::GrpcFailure => "grpc_status",
            Self::Fault(fault) => fault.reason(),
        }
    }
}

// === impl CallRecord ===

impl<'a> CallRecord<'a> {
    /// The record of a call whose head was read at `started`.
    pub fn start(stats: &'a RouteStats, log: Option<&'a AccessLog>, started: Instant) -> Self {
        Self {
            stats,
            log,
            started,
            attempts: 0,
            trail: Trail::new(started),
            queued: Duration::ZERO,
            status: 0,
            reply_bytes: 0,
            request_bytes: 0,
            first_byte: None,
            done: false,
        }
    }

    /// When the call started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Ends the record of what turned out to be no call of its own: it counts nowhere.
    pub fn forget(&mut self) {
        self.done = true;
    }

    /// Ends the record of a request that was refused before it had a service, and maybe before a trace.
    pub fn refused(mut self, fault: Fault, request: &[u8], trace: Option<TraceParent>) {
        self.status = fault.status();
        let now = self.started;
        let trace = trace.unwrap_or(TraceParent { trace_id: 0, span_id: 0, flags: 0, form: TraceForm::Own });
        self.finish(Outcome::Fault(fault), now, &Line { service: "", route: "", request, trace });
    }

    /// Ends the record. `line` is asked for only if there is an access log.
    pub fn finish(mut self, outcome: Outcome, now: Instant, line: &Line<'_>) {
        self.done = true;
        let duration = now.saturating_duration_since(self.started);
        self.stats.count(outcome, duration);
        if let Some(log) = self.log {
            log.write(&self, outcome, duration, line);
        }
    }
}

impl Drop for CallRecord<'_> {
    /// A call whose task was dropped: the process is ending at once.
    fn drop(&mut self) {
        if !self.done {
            self.stats.count(Outcome::Fault(Fault::ShuttingDown), self.started.elapsed());
        }
    }
}
