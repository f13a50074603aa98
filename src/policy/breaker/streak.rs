//! Failures in a row, exact over all workers.
//!
//! In: successes and failures of a generation. Out: how long the streak is. While there is no
//! streak a success only reads, so that the cache line stays shared by all workers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Generation (upper 32 bits) and failures in a row (lower 32).
#[derive(Debug, Default)]
pub(super) struct Streak(AtomicU64);

// === impl Streak ===

impl Streak {
    /// Counts a failure; the length of the streak with it. 0 if `generation` is over.
    pub(super) fn failed(&self, generation: u32) -> u32 {
        let mut found = self.0.load(Ordering::Relaxed);
        loop {
            let length = match age_of((found >> 32) as u32, generation) {
                Age::Same => (found as u32).saturating_add(1),
                Age::Older => 1,
                Age::Newer => return 0,
            };
            let next = u64::from(generation) << 32 | u64::from(length);
            match self.0.compare_exchange_weak(found, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return length,
                Err(other) => found = other,
            }
        }
    }

    /// Ends the streak of `generation`, if there is one.
    pub(super) fn succeeded(&self, generation: u32) {
        let found = self.0.load(Ordering::Relaxed);
        if found as u32 > 0 && (found >> 32) as u32 == generation {
            // If it changed meanwhile, the two calls ended at the same time: either order is true.
            let next = u64::from(generation) << 32;
            let _ = self.0.compare_exchange(found, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Failures in a row of `generation`.
    pub(super) fn of(&self, generation: u32) -> u32 {
        let found = self.0.load(Ordering::Relaxed);
        if (found >> 32) as u32 == generation { found as u32 } else { 0 }
    }
}

enum Age {
    Older,
    Same,
    Newer,
}

/// The age of `found` compared with `generation`; generations wrap around.
fn age_of(found: u32, generation: u32) -> Age {
    match (found.wrapping_sub(generation) as i32).cmp(&0) {
        std::cmp::Ordering::Less => Age::Older,
        std::cmp::Ordering::Equal => Age::Same,
        std::cmp::Ordering::Greater => Age::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_the_streak() {
        let streak = Streak::default();
        assert_eq!((streak.failed(1), streak.failed(1)), (1, 2));
        streak.succeeded(1);
        assert_eq!(streak.of(1), 0);
        assert_eq!(streak.failed(1), 1);
    }

    #[test]
    fn generations_do_not_mix() {
        let streak = Streak::default();
        streak.failed(u32::MAX);
        assert_eq!(streak.of(0), 0);
        assert_eq!(streak.failed(0), 1, "a new generation starts at one, also when the number wraps");
        assert_eq!(streak.failed(u32::MAX), 0, "an old failure has no vote");
        streak.succeeded(u32::MAX);
        assert_eq!(streak.of(0), 1);
    }

    #[test]
    fn exact_when_workers_fail_together() {
        let streak = Streak::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|_| assert!(streak.failed(3) > 0)));
            }
        });
        assert_eq!(streak.of(3), 20_000);
    }
}
