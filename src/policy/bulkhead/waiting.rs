//! One who waits in a bulkhead's queue.
//!
//! In: a grant or an eviction from any thread. Out: the end of the wait. Dropping it at any moment
//! leaves the queue, and passes on a place that was granted but never taken, so that neither a
//! timeout nor a vanished client can lose a place.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::policy::bulkhead::Bulkhead;

/// The wait ended without a place because the breaker tripped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted;

/// A place in the queue; a future that ends with a place in the bulkhead.
///
/// After `Ok(())` the place belongs to whoever polled, who calls [`Bulkhead::leave`].
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct Waiting {
    bulkhead: Arc<Bulkhead>,
    node: Arc<Node>,
    is_over: bool,
}

/// What the queue holds. A phase ends once, under the queue's lock.
#[derive(Debug)]
pub(super) struct Node(Mutex<Phase>);

#[derive(Debug)]
enum Phase {
    Queued(Option<Waker>),
    Granted,
    Evicted,
}

// === impl Waiting ===

impl Waiting {
    /// One wait; `node` is in the queue, or granted.
    pub(super) fn new(bulkhead: Arc<Bulkhead>, node: Arc<Node>) -> Self {
        Self { bulkhead, node, is_over: false }
    }

    /// Whether the wait has ended. Once it has, asking again gives `Evicted` and never a second place.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Evicted>> {
        if self.is_over {
            return Poll::Ready(Err(Evicted));
        }
        let mut phase = self.node.lock();
        let result = match &mut *phase {
            Phase::Granted => Ok(()),
            Phase::Evicted => Err(Evicted),
            Phase::Queued(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
        };
        drop(phase);
        self.is_over = true;
        Poll::Ready(result)
    }
}

impl Future for Waiting {
    type Output = Result<(), Evicted>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Self::poll(self.get_mut(), context)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over || self.bulkhead.forget(&self.node) {
            return;
        }
        // Not in the queue any more, so the phase is final.
        let was_granted = matches!(*self.node.lock(), Phase::Granted);
        if was_granted {
            self.bulkhead.leave();
        }
    }
}

// === impl Node ===

impl Node {
    /// A node to queue, or one whose wait is over before it began.
    pub(super) fn new(is_granted: bool) -> Arc<Self> {
        let phase = if is_granted { Phase::Granted } else { Phase::Queued(None) };
        Arc::new(Self(Mutex::new(phase)))
    }

    /// Ends the wait with a place. Returns whom to wake.
    pub(super) fn grant(&self) -> Option<Waker> {
        self.end(Phase::Granted)
    }

    /// Ends the wait without one. Returns whom to wake.
    pub(super) fn evict(&self) -> Option<Waker> {
        self.end(Phase::Evicted)
    }

    fn end(&self, phase: Phase) -> Option<Waker> {
        match std::mem::replace(&mut *self.lock(), phase) {
            Phase::Queued(waker) => waker,
            Phase::Granted | Phase::Evicted => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
