//! Tells an application that resets its requests as fast as it makes them.
//!
//! In: how each call of a connection ended. Out: whether the connection should end. Each such call
//! costs the service a request and us two frames, and the application nothing (CVE-2023-44487);
//! what `h2` bounds is only those that were not looked at yet.

use std::cell::{Cell, OnceCell};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// Calls of a connection before it is judged: Envoy's `premature_reset_total_stream_count`.
const CALLS_MIN: u32 = 500;

/// A call given up sooner than this was not worth making.
const LIFE_MIN: Duration = Duration::from_secs(1);

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Churn {
    calls: Cell<u32>,
    given_up: Cell<u32>,
    /// Wakes the connection's task when it should end.
    waker: OnceCell<Waker>,
}

// === impl Churn ===

impl Churn {
    /// Notes how a call ended. Most of at least [`CALLS_MIN`] given up at once is too much.
    pub(super) fn note(&self, cancelled: bool, started: Instant) {
        self.calls.set(self.calls.get().saturating_add(1));
        if cancelled && started.elapsed() < LIFE_MIN {
            self.given_up.set(self.given_up.get() + 1);
            if let Some(waker) = self.waker.get().filter(|_| self.is_too_much()) {
                waker.wake_by_ref();
            }
        }
    }

    /// The task to wake when it is too much.
    pub(super) fn wakes(&self, waker: &Waker) {
        let _ = self.waker.set(waker.clone());
    }

    /// Whether the connection should end.
    pub(super) fn is_too_much(&self) -> bool {
        self.calls.get() >= CALLS_MIN && self.given_up.get() > self.calls.get() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_gives_up_most_of_its_calls_is_told() {
        let churn = Churn::default();
        (1..CALLS_MIN).for_each(|_| churn.note(true, Instant::now()));
        assert!(!churn.is_too_much(), "a few are an application in a hurry");
        churn.note(true, Instant::now());
        assert!(churn.is_too_much());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_were_waited_for_count_for_the_application() {
        let (churn, long_ago) = (Churn::default(), Instant::now());
        tokio::time::advance(LIFE_MIN).await;
        (0..2 * CALLS_MIN).for_each(|_| churn.note(true, long_ago));
        (0..CALLS_MIN).for_each(|_| churn.note(true, Instant::now()));
        assert!(!churn.is_too_much(), "a third of them was given up at once");
    }
}
