//! A bounded count without a queue: upgraded, tunnelled and opaque connections of a service.
//!
//! In: wishes for a slot, and slots given back. Out: yes or no, exact over all workers.

use std::sync::atomic::{AtomicU32, Ordering};

/// A bounded count shared by all workers.
#[derive(Debug)]
pub struct Slots {
    taken: AtomicU32,
    max: AtomicU32,
}

// === impl Slots ===

impl Slots {
    /// `max` free slots.
    pub fn new(max: u32) -> Self {
        Self { taken: AtomicU32::new(0), max: AtomicU32::new(max) }
    }

    /// Changes the bound; taken slots stay taken, also above it.
    pub fn resize(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Takes a slot if one is free. Pair it with [`Slots::give_back`].
    pub fn try_take(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let next = |taken: u32| (taken < max).then(|| taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next).is_ok()
    }

    /// Takes a slot whatever the bound, for `mode: observe`.
    pub fn take_over(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives a slot back.
    pub fn give_back(&self) {
        let before = self.taken.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a slot was given back twice");
    }

    /// Slots taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_bound_unless_resized_or_observed() {
        let slots = Slots::new(2);
        assert!(slots.try_take() && slots.try_take() && !slots.try_take());
        slots.take_over();
        slots.resize(1);
        assert_eq!(slots.taken(), 3);
        (0..2).for_each(|_| slots.give_back());
        assert!(!slots.try_take());
        slots.give_back();
        assert!(slots.try_take());
    }

    #[test]
    fn exact_when_workers_compete() {
        let (slots, most) = (Slots::new(3), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if slots.try_take() {
                            most.fetch_max(slots.taken(), Ordering::Relaxed);
                            slots.give_back();
                        }
                    }
                });
            }
        });
        assert_eq!(slots.taken(), 0);
        assert!(most.into_inner() <= 3);
    }
}
