//! What became of the spans: counters that the telemetry thread writes and the admin API reads.
//!
//! In: the result of each export. Out: numbers. One writer, off the road of a call.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why spans did not arrive: the label values of `outrigger_spans_dropped_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The collector could not be reached, or the connection broke.
    Unreachable,
    /// It did not answer in `tracing.timeout`.
    Timeout,
    /// It answered that it does not take them.
    Refused,
    /// It took the request and rejected some of its spans (partial success).
    Rejected,
    /// It spoke something that is no OTLP.
    Protocol,
    /// The process ended first.
    Ended,
}

/// What became of the spans so far.
#[derive(Debug, Default)]
pub struct ExportStats {
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
    failed: AtomicU64,
}

// === impl Dropped ===

impl Dropped {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::Timeout, Self::Refused, Self::Rejected, Self::Protocol, Self::Ended];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Protocol => "protocol",
            Self::Ended => "ended",
        }
    }
}

// === impl ExportStats ===

impl ExportStats {
    /// Spans that a collector took.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that did not arrive, for this reason.
    pub fn dropped(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Requests that failed for good.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn add_exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn add_dropped(&self, reason: Dropped, spans: u64) {
        self.dropped[reason as usize].fetch_add(spans, Ordering::Relaxed);
    }

    pub(super) fn add_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}
