//! The bulkhead: at most so many attempts in flight to a service, exact over all workers.
//!
//! In: wishes to enter, and leaving. Out: a place, a place in the queue, or a refusal. Never keeps
//! time: who waits sets a timer and drops its [`Waiting`].
//!
//! In flight and queued are two halves of one atomic word, so with room a call enters with one
//! compare-and-swap and leaves with another. The queue is behind a lock, and `queued` changes only
//! under it. That makes hand-off safe: whoever leaves either sees nobody queued in the very word
//! that it swaps, or takes the lock and gives its place to the first in the queue; whoever queues
//! swaps the word too, so it either sees the place that came free or is seen. While anyone waits
//! nobody else gets in (first come, first served).

mod slots;
mod waiting;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::config::Bulkhead as Settings;

use self::waiting::Node;

pub use self::slots::Slots;
pub use self::waiting::{Evicted, Waiting};

/// The bulkhead of one service, shared by all workers.
#[derive(Debug)]
pub struct Bulkhead {
    /// See [`Load`].
    load: AtomicU64,
    max_concurrent: AtomicU32,
    /// Zero when nobody may wait.
    max_queue: AtomicU32,
    queue: Mutex<VecDeque<Arc<Node>>>,
}

/// What asking to enter gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an admitted attempt must leave"]
pub enum Entry {
    /// In: call [`Bulkhead::leave`] once, when the attempt is over.
    Admitted,
    /// No place, but there is room in the queue: call [`Bulkhead::wait`].
    MustWait,
    /// No place, and no room in the queue or no queue at all.
    Full,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// In flight (lower 32 bits) and queued (upper 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    in_flight: u32,
    queued: u32,
}

// === impl Bulkhead ===

impl Bulkhead {
    /// An empty bulkhead.
    pub fn new(settings: &Settings) -> Self {
        Self {
            load: AtomicU64::new(0),
            max_concurrent: AtomicU32::new(settings.max_concurrent),
            max_queue: AtomicU32::new(usable_queue(settings)),
            queue: Mutex::new(VecDeque::new()),
        }
    }

    /// Takes new limits. Whoever is in or waits keeps its place, also above the new limits; a grown
    /// limit lets the first of the queue in.
    pub fn resize(&self, settings: &Settings) {
        let mut queue = self.lock();
        self.max_concurrent.store(settings.max_concurrent, Ordering::Relaxed);
        self.max_queue.store(usable_queue(settings), Ordering::Relaxed);
        let wakers = self.admit_waiting(&mut queue, settings.max_concurrent);
        drop(queue);
        wake(wakers);
    }

    /// Enters if there is a place and nobody waits for it. No lock.
    pub fn try_enter(&self) -> Entry {
        let max = self.max_concurrent.load(Ordering::Relaxed);
        let entered =
            self.update(|load| (load.queued == 0 && load.in_flight < max).then(|| load.one_more_in()));
        match entered {
            Ok(()) => Entry::Admitted,
            Err(load) if load.queued < self.max_queue.load(Ordering::Relaxed) => Entry::MustWait,
            Err(_) => Entry::Full,
        }
    }

    /// Joins the queue; if a place came free meanwhile, the wait is over at once.
    pub fn wait(self: &Arc<Self>) -> Result<Waiting, Full> {
        let mut queue = self.lock();
        let max = self.max_concurrent.load(Ordering::Relaxed);
        let max_queue = self.max_queue.load(Ordering::Relaxed);
        let mut must_queue = false;
        let joined = self.update(|load| {
            must_queue = load.queued > 0 || load.in_flight >= max;
            match must_queue {
                false => Some(load.one_more_in()),
                true => (load.queued < max_queue).then(|| load.one_more_queued()),
            }
        });
        joined.map_err(|_| Full)?;
        let node = Node::new(!must_queue);
        if must_queue {
            queue.push_back(Arc::clone(&node));
        }
        drop(queue);
        Ok(Waiting::new(Arc::clone(self), node))
    }

    /// Enters whatever the limit, for `mode: observe`. Pair it with [`Bulkhead::leave`].
    pub fn enter_over(&self) {
        // Never refused, so it always swaps.
        let _ = self.update(|load| Some(load.one_more_in()));
    }

    /// Gives a place back: to the first who waits, if anyone does.
    pub fn leave(&self) {
        if self.update(|load| (load.queued == 0).then(|| load.one_less_in())).is_ok() {
            return;
        }
        let mut queue = self.lock();
        // While the queue may be shorter by now, in-flight can only have fallen: nobody overtakes.
        let _ = self.update(|load| Some(load.one_less_in()));
        let wakers = self.admit_waiting(&mut queue, self.max_concurrent.load(Ordering::Relaxed));
        drop(queue);
        wake(wakers);
    }

    /// Sends everyone who waits away: the breaker has tripped, waiting longer helps nobody.
    pub fn evict(&self) {
        if self.queued() == 0 {
            return;
        }
        let mut queue = self.lock();
        let nodes = std::mem::take(&mut *queue);
        let gone = nodes.len() as u32;
        let _ = self.update(|load| Some(Load { queued: load.queued.saturating_sub(gone), ..load }));
        let wakers: Vec<_> = nodes.iter().filter_map(|node| node.evict()).collect();
        drop(queue);
        wake(wakers);
    }

    /// Attempts in flight.
    pub fn in_flight(&self) -> u32 {
        Load::unpack(self.load.load(Ordering::Relaxed)).in_flight
    }

    /// Attempts waiting for a place.
    pub fn queued(&self) -> u32 {
        Load::unpack(self.load.load(Ordering::Relaxed)).queued
    }

    /// Lets the first of the queue in while there is room. Returns whom to wake, once the lock is free.
    fn admit_waiting(&self, queue: &mut VecDeque<Arc<Node>>, max: u32) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while !queue.is_empty() {
            let admitted = self.update(|load| (load.in_flight < max).then(|| load.one_from_queue_in()));
            let Some(node) = admitted.ok().and_then(|()| queue.pop_front()) else { break };
            wakers.extend(node.grant());
        }
        wakers
    }

    /// Takes a node out of the queue; `false` if it is no longer in it.
    fn forget(&self, node: &Arc<Node>) -> bool {
        let mut queue = self.lock();
        let Some(index) = queue.iter().position(|other| Arc::ptr_eq(other, node)) else { return false };
        queue.remove(index);
        let _ = self.update(|load| Some(Load { queued: load.queued.saturating_sub(1), ..load }));
        true
    }

    /// Swaps the word for what `next` makes of it; the word found if `next` says no.
    fn update(&self, mut next: impl FnMut(Load) -> Option<Load>) -> Result<(), Load> {
        let mut found = self.load.load(Ordering::Relaxed);
        loop {
            let load = Load::unpack(found);
            let word = next(load).ok_or(load)?.pack();
            match self.load.compare_exchange_weak(found, word, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => found = other,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Node>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usable_queue(settings: &Settings) -> u32 {
    if settings.max_wait.is_zero() { 0 } else { settings.max_queue }
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

// === impl Load ===

impl Load {
    fn pack(self) -> u64 {
        u64::from(self.queued) << 32 | u64::from(self.in_flight)
    }

    fn unpack(word: u64) -> Self {
        Self { in_flight: word as u32, queued: (word >> 32) as u32 }
    }

    fn one_more_in(self) -> Self {
        Self { in_flight: self.in_flight.saturating_add(1), ..self }
    }

    fn one_less_in(self) -> Self {
        debug_assert!(self.in_flight > 0, "a place was given back twice");
        Self { in_flight: self.in_flight.saturating_sub(1), ..self }
    }

    fn one_more_queued(self) -> Self {
        Self { queued: self.queued.saturating_add(1), ..self }
    }

    fn one_from_queue_in(self) -> Self {
        Self { queued: self.queued.saturating_sub(1), ..self.one_more_in() }
    }
}

#[cfg(test)]
mod tests;
