//! The stories of one worker: kept for whoever asks, and on their way to be exported.
//!
//! In: finished calls. Out: the latest failures and a sample of successes, in bounded memory; and
//! batches of those that are exported. A call that nobody will ask about costs a comparison.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{Always, Config};
use crate::error::Fault;

use super::story::{Story, Why};
use super::{Outcome, WorkerStats, add_one};

/// One ordinary success is kept in this time.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Stories that go to the exporter together.
const BATCH_STORIES: usize = 128;

/// Batches on their way to the exporter.
pub const BATCHES_MAX: usize = 64;

/// What is known of a finished call when it is decided whether its story is told.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// How it ended.
    pub outcome: Outcome,
    /// It is sampled.
    pub sampled: bool,
    /// It was tried again.
    pub retried: bool,
    /// A breaker refused it, or was not closed.
    pub breaker: bool,
    /// It was slow.
    pub slow: bool,
}

/// What becomes of a finished call's story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Why it is exported, if it is.
    pub export: Option<Why>,
    /// It is kept for explanations.
    pub keep: Option<Shelf>,
}

/// Where a story is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Failures and retries; they go last.
    Notable,
    /// A sample of the rest.
    Ordinary,
}

/// The way of stories to the exporter, and the memory that they may take until they are sent.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Where batches go.
    pub batches: mpsc::Sender<Vec<Arc<Story>>>,
    /// Bytes of stories that are not yet sent, over all workers. The exporter takes off what it sent.
    pub waiting: Arc<AtomicUsize>,
    /// Most of them.
    pub waiting_max: usize,
}

/// One worker's stories.
#[derive(Debug)]
pub struct Stories {
    shelves: RefCell<Shelves>,
    /// The next ordinary success is kept from then on.
    sample_at: Cell<Option<Instant>>,
    always: Cell<Always>,
    outlet: Option<Outlet>,
    batch: RefCell<Vec<Arc<Story>>>,
}

/// What is kept, oldest first.
#[derive(Debug, Default)]
struct Shelves {
    notable: VecDeque<Arc<Story>>,
    ordinary: VecDeque<Arc<Story>>,
    bytes: usize,
    bytes_max: usize,
}

// === impl Traits ===

impl Traits {
    /// Of a request that was refused before it had a service.
    pub fn refused(fault: Fault) -> Self {
        let outcome = Outcome::Fault(fault);
        Self { outcome, sampled: false, retried: false, breaker: false, slow: false }
    }
}

// === impl Fate ===

impl Fate {
    /// Whether anybody is told.
    pub fn is_told(&self) -> bool {
        self.export.is_some() || self.keep.is_some()
    }
}

// === impl Stories ===

impl Stories {
    /// Keeps nothing until it is told how much; without an outlet nothing is exported.
    pub fn new(outlet: Option<Outlet>) -> Self {
        Self {
            shelves: RefCell::default(),
            sample_at: Cell::new(None),
            always: Cell::default(),
            outlet,
            batch: RefCell::default(),
        }
    }

    /// Takes over what a configuration says. Half of `limits.explanations` is for what is kept, a share
    /// for each worker; the other half is for what waits to be exported.
    pub fn renew(&self, config: &Config) {
        self.always.set(config.tracing.always);
        let mut shelves = self.shelves.borrow_mut();
        shelves.bytes_max = config.limits.explanations_bytes / 2 / config.workers.max(1);
        shelves.make_room(0);
    }

    /// Whether the story of a finished call is worth telling.
    pub fn fate(&self, traits: &Traits, now: Instant) -> Fate {
        let notable = traits.outcome != Outcome::Success || traits.retried || traits.slow;
        let export = self.outlet.as_ref().and_then(|_| why(self.always.get(), traits));
        let keep = if self.shelves.borrow().bytes_max == 0 {
            None
        } else if notable {
            Some(Shelf::Notable)
        } else if self.sample_at.get().is_none_or(|at| now >= at) {
            self.sample_at.set(Some(now + SAMPLE_EVERY));
            Some(Shelf::Ordinary)
        } else {
            None
        };
        Fate { export, keep }
    }

    /// Takes a story. `stats` counts those that find no room on their way out.
    pub fn tell(&self, mut story: Story, fate: Fate, stats: &WorkerStats) {
        story.export = fate.export;
        let story = Arc::new(story);
        if let Some(shelf) = fate.keep {
            self.shelves.borrow_mut().put(Arc::clone(&story), shelf);
        }
        if fate.export.is_some() {
            self.export(story, stats);
        }
    }

    /// Sends what waits to the exporter.
    pub fn flush(&self, stats: &WorkerStats) {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        let Some(outlet) = &self.outlet else { return };
        if batch.is_empty() {
            return;
        }
        if let Err(refused) = outlet.batches.try_send(batch) {
            let (mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) = refused;
            for story in batch {
                outlet.waiting.fetch_sub(story.bytes(), Ordering::Relaxed);
                add_one(&stats.traces_dropped);
            }
        }
    }

    /// What is kept, oldest first.
    pub fn kept(&self) -> Vec<Arc<Story>> {
        let shelves = self.shelves.borrow();
        shelves.notable.iter().chain(&shelves.ordinary).cloned().collect()
    }

    fn export(&self, story: Arc<Story>, stats: &WorkerStats) {
        let Some(outlet) = &self.outlet else { return };
        let bytes = story.bytes();
        if outlet.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > outlet.waiting_max {
            outlet.waiting.fetch_sub(bytes, Ordering::Relaxed);
            add_one(&stats.traces_dropped);
            return;
        }
        let mut batch = self.batch.borrow_mut();
        batch.push(story);
        if batch.len() >= BATCH_STORIES {
            drop(batch);
            self.flush(stats);
        }
    }
}

/// Why a call is exported, if it is.
fn why(always: Always, traits: &Traits) -> Option<Why> {
    let failed = match traits.outcome {
        Outcome::Success | Outcome::Fault(Fault::ClientCancelled) => false,
        Outcome::ServiceFailure | Outcome::GrpcFailure | Outcome::Fault(_) => true,
    };
    let rules = [
        (traits.sampled, Why::Sampled),
        (always.error && failed, Why::Error),
        (always.breaker && traits.breaker, Why::Breaker),
        (always.retry && traits.retried, Why::Retry),
        (always.slow && traits.slow, Why::Slow),
    ];
    rules.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

// === impl Shelves ===

impl Shelves {
    /// Lets go of the oldest, ordinary ones first, until there is room for so many bytes.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.bytes_max {
            let oldest = self.ordinary.pop_front().or_else(|| self.notable.pop_front());
            let Some(oldest) = oldest else { break };
            self.bytes -= oldest.bytes();
        }
    }

    /// Puts a story where it belongs; one that is larger than all the room is not kept.
    fn put(&mut self, story: Arc<Story>, shelf: Shelf) {
        let bytes = story.bytes();
        if bytes > self.bytes_max {
            return;
        }
        self.make_room(bytes);
        self.bytes += bytes;
        match shelf {
            Shelf::Notable => self.notable.push_back(story),
            Shelf::Ordinary => self.ordinary.push_back(story),
        }
    }
}

#[cfg(test)]
mod tests;
