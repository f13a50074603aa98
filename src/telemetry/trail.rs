//! The attempts of a call while it runs.
//!
//! In: what an attempt comes to know, as it does. Out: the attempts of a [`Story`](super::story::Story),
//! or nothing: most calls are told to nobody, and the memory goes to the next one.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

use super::story::{Attempt, Judged};

/// Most lists kept per worker for the next calls, of one attempt each: 320 KiB.
const KEPT_MAX: usize = 1024;

thread_local! {
    static KEPT: RefCell<Vec<Vec<Attempt>>> = const { RefCell::new(Vec::new()) };
}

/// The attempts so far; the last one may still run.
#[derive(Debug)]
pub struct Trail {
    attempts: Vec<Attempt>,
    started: Instant,
    /// What the last attempt has said of its service. In a cell, for it falls where the call is only read.
    judged: Cell<Option<Judged>>,
    /// The status of gRPC that an answer ended with.
    grpc_status: Cell<Option<u32>>,
}

// === impl Trail ===

impl Trail {
    /// Of a call that started then.
    pub(super) fn new(started: Instant) -> Self {
        let attempts = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        Self { attempts, started, judged: Cell::new(None), grpc_status: Cell::new(None) }
    }

    /// Another attempt begins.
    pub fn begin(&mut self, now: Instant) {
        self.close();
        let started = self.since(now);
        if self.attempts.capacity() == 0 {
            self.attempts.reserve_exact(1);
        }
        self.attempts.push(Attempt::begin(started));
    }

    /// Notes something of the attempt that runs; of none, nothing.
    pub fn note(&mut self, what: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.attempts.last_mut() {
            what(attempt);
        }
    }

    /// Notes what the attempt that runs says of its service; the last word counts.
    pub fn judge(&self, judged: Judged) {
        self.judged.set(Some(judged));
    }

    /// Notes the status of gRPC that an answer ended with.
    pub fn answer_grpc(&self, status: u32) {
        self.grpc_status.set(Some(status));
    }

    /// The status of gRPC, where an answer ended with one.
    pub fn grpc_status(&self) -> Option<u32> {
        self.grpc_status.get()
    }

    /// The time from the start of the call.
    pub fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// All attempts, the last one's verdict included.
    pub fn attempts(&mut self) -> &[Attempt] {
        self.close();
        &self.attempts
    }

    /// Takes the attempts for a story.
    pub fn take(&mut self) -> Vec<Attempt> {
        self.close();
        std::mem::take(&mut self.attempts)
    }

    fn close(&mut self) {
        if let Some(judged) = self.judged.take() {
            self.note(|attempt| attempt.verdict = Some(judged));
        }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let mut attempts = std::mem::take(&mut self.attempts);
        // Those of retried calls have grown, and kept they would stay so.
        if attempts.capacity() != 1 {
            return;
        }
        attempts.clear();
        // The stock is gone while its thread ends.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut()
                && kept.len() < KEPT_MAX
            {
                kept.push(attempts);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_retries_made_long_are_not_kept() {
        let now = Instant::now();
        for attempts in [11, 1] {
            let mut trail = Trail::new(now);
            (0..attempts).for_each(|_| trail.begin(now));
        }
        let kept = KEPT.with_borrow(|kept| kept.iter().map(Vec::capacity).collect::<Vec<_>>());
        assert_eq!(kept, [1]);
        assert!(size_of::<Attempt>() * KEPT_MAX <= 320 * 1024, "{}", size_of::<Attempt>());
    }
}
