//! Memory for request bodies that are kept so that they can be sent again.
//!
//! In: bytes a call wants to keep. Out: whether it may. One bound for the whole process, and no
//! service may crowd the others out of it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The process's memory for replays.
#[derive(Debug)]
pub struct Replay {
    used: AtomicUsize,
    limit: AtomicUsize,
}

/// What the calls of one service hold of it on one worker.
#[derive(Debug)]
pub struct ServiceReplay {
    whole: Arc<Replay>,
    held: Cell<usize>,
}

/// What one call holds of it; given back when dropped.
#[derive(Debug)]
pub struct ReplayShare {
    of: Rc<ServiceReplay>,
    bytes: usize,
}

// === impl Replay ===

impl Replay {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Changes the bound; what is held stays held.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

// === impl ServiceReplay ===

impl ServiceReplay {
    /// Nothing held yet.
    pub fn new(whole: Arc<Replay>) -> Self {
        Self { whole, held: Cell::new(0) }
    }
}

// === impl ReplayShare ===

impl ReplayShare {
    /// An empty share.
    pub fn new(of: &Rc<ServiceReplay>) -> Self {
        Self { of: Rc::clone(of), bytes: 0 }
    }

    /// Asks to hold `total` bytes. A service that holds a quarter of the whole gets more only while
    /// a quarter stays free for the others.
    pub fn grow_to(&mut self, total: usize) -> bool {
        let more = total.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let whole = &self.of.whole;
        let limit = whole.limit.load(Ordering::Relaxed);
        let used = whole.used.fetch_add(more, Ordering::Relaxed) + more;
        let own = self.of.held.get() + more;
        let greedy = own > limit / 4 && used > limit / 4 * 3;
        if used > limit || greedy {
            whole.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.of.held.set(own);
        self.bytes = total;
        true
    }

    /// Gives everything back: the body is no longer kept.
    pub fn release(&mut self) {
        if self.bytes > 0 {
            self.of.whole.used.fetch_sub(self.bytes, Ordering::Relaxed);
            self.of.held.set(self.of.held.get() - self.bytes);
            self.bytes = 0;
        }
    }
}

impl Drop for ReplayShare {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_when_dropped() {
        let whole = Arc::new(Replay::new(100));
        let service = Rc::new(ServiceReplay::new(Arc::clone(&whole)));
        let mut share = ReplayShare::new(&service);
        assert!(share.grow_to(20) && share.grow_to(25) && share.grow_to(3));
        assert_eq!(whole.used(), 25);
        drop(share);
        assert_eq!((whole.used(), service.held.get()), (0, 0));
    }

    #[test]
    fn nobody_crowds_the_others_out() {
        let whole = Arc::new(Replay::new(100));
        let greedy = Rc::new(ServiceReplay::new(Arc::clone(&whole)));
        let modest = Rc::new(ServiceReplay::new(Arc::clone(&whole)));
        let (mut first, mut second) = (ReplayShare::new(&greedy), ReplayShare::new(&modest));
        assert!(first.grow_to(70));
        assert!(!first.grow_to(80), "past a quarter of the whole, a quarter stays free");
        assert!(second.grow_to(25), "which the other may use");
        assert!(!second.grow_to(35));
    }
}
