//! What an attempt holds of its service, as guards.
//!
//! In: a place in the bulkhead, a permit of the breaker, a count on an endpoint. Out: the same,
//! given back on every way out, a dropped task included.

use tokio::time::Instant;
use tracing::{info, warn};

use crate::mesh::{Local, ServiceState};
use crate::policy::{self, Bulkhead, Permit, Slots, State, Transition, Verdict};
use crate::upstream::InFlight;

/// A place in the bulkhead.
#[derive(Debug)]
pub(super) struct Place<'a>(pub(super) &'a Bulkhead);

/// A place among the service's long-lived connections.
#[derive(Debug)]
pub(super) struct Slot<'a>(pub(super) &'a Slots);

/// A permit of the breaker, until it is judged.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    state: &'a ServiceState,
    permit: Option<Permit>,
    /// The generation in which the vote was a success.
    succeeded: Option<u32>,
}

/// Everything one attempt holds.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    pub(super) ticket: Ticket<'a>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) place: Option<Place<'a>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

// === impl Ticket ===

impl<'a> Ticket<'a> {
    /// Holds `permit` of the service's breaker.
    pub(super) fn new(state: &'a ServiceState, permit: Option<Permit>) -> Self {
        if let Some(transition) = permit.as_ref().and_then(|permit| permit.transition.as_ref()) {
            announce(state, transition);
        }
        Self { state, permit, succeeded: None }
    }

    /// Votes. Only the first verdict counts, and a neutral one gives the permit back without a vote;
    /// but a failure after a success is one failure more, of the generation that counted the success.
    pub(super) fn judge(&mut self, local: &Local, verdict: Verdict, slow: bool, now: Instant) {
        let Some(breaker) = &self.state.breaker else { return };
        let Some(permit) = self.permit.take() else {
            if verdict == Verdict::Failure
                && let Some(generation) = self.succeeded.take()
                && let Some(transition) = breaker.fail_late(local.worker, generation, now, local.random())
            {
                announce(self.state, &transition);
            }
            return;
        };
        let failed = match verdict {
            Verdict::Success => {
                self.succeeded = Some(permit.generation);
                false
            }
            Verdict::Failure => true,
            Verdict::Neutral => return breaker.cancel(permit),
        };
        let outcome = policy::Outcome { failed, slow };
        let random = if failed || slow { local.random() } else { 0.0 };
        if let Some(transition) = breaker.record(local.worker, permit, outcome, now, random) {
            announce(self.state, &transition);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let (Some(breaker), Some(permit)) = (&self.state.breaker, self.permit.take()) {
            breaker.cancel(permit);
        }
    }
}

/// Says what the breaker did; one that opens sends home those who wait for the bulkhead.
pub(super) fn announce(state: &ServiceState, transition: &Transition) {
    let (service, from, to, reason) = (&*state.name, transition.from, transition.to, &transition.reason);
    match to {
        State::Open => {
            warn!(service, ?from, %reason, "breaker opened");
            if let Some(bulkhead) = state.bulkhead.as_ref().filter(|_| state.breaker_enforces) {
                bulkhead.evict();
            }
        }
        State::HalfOpen => info!(service, ?from, %reason, "breaker is half open"),
        State::Closed => info!(service, ?from, %reason, "breaker closed"),
    }
}
