//! The retry budget: retries are a share of recent calls.
//!
//! In: every call, and every wish to retry. Out: yes or no. Never waits for a token.
//!
//! A limit per call is not enough: with three tries per caller, a chain of three services turns one
//! failure into 27 calls. A share of calls bounds what all retries together add to a service that
//! is already in trouble. Calls are counted by each worker alone; a wish to retry is rare, so it
//! takes a lock and is exact over all workers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::config::RetryBudget as Settings;
use crate::policy::window::Window;

/// Budgets have one generation: only a changed window empties them.
const GENERATION: u32 = 0;

/// The retry budget of one service, shared by all workers.
#[derive(Debug)]
pub struct Budget {
    /// Calls, retries.
    window: Window<2>,
    settings: Mutex<Settings>,
}

// === impl Budget ===

impl Budget {
    /// A budget with no calls yet: it has the floor, `min_per_second * window`.
    pub fn new(settings: &Settings, workers: usize, now: Instant) -> Self {
        Self { window: Window::new(workers, settings.window, now), settings: Mutex::new(*settings) }
    }

    /// Takes new settings. Counts stay, unless `window` changed.
    pub fn configure(&self, settings: &Settings) {
        let mut current = self.lock();
        *current = *settings;
        self.window.set_length(settings.window);
    }

    /// Counts a call (not its retries). No lock.
    pub fn deposit(&self, worker: usize, now: Instant) {
        self.window.add(worker, now, GENERATION, [1, 0]);
    }

    /// Takes one retry out of the budget if there is one: exact over all workers.
    pub fn withdraw(&self, worker: usize, now: Instant) -> bool {
        let settings = self.lock();
        let allowed = self.left(&settings, now) > 0.0;
        if allowed {
            // Within the lock: the next wish must see this one.
            self.window.add(worker, now, GENERATION, [0, 1]);
        }
        allowed
    }

    /// Retries left at `now`; a retry is allowed while it is above zero. Never negative.
    pub fn tokens(&self, now: Instant) -> f64 {
        self.left(&self.lock(), now).max(0.0)
    }

    fn left(&self, settings: &Settings, now: Instant) -> f64 {
        let [calls, retries] = self.window.sum(now, GENERATION);
        let floor = settings.min_per_second * settings.window.as_secs_f64();
        settings.ratio * calls as f64 + floor - retries as f64
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        // Settings are replaced whole: a panic elsewhere leaves nothing half done.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(ratio: f64, min_per_second: f64) -> Settings {
        Settings { ratio, min_per_second, window: Duration::from_secs(10) }
    }

    fn withdraw_all(budget: &Budget, now: Instant) -> usize {
        (0..1000).take_while(|worker| budget.withdraw(worker % 2, now)).count()
    }

    #[test]
    fn a_fresh_budget_has_the_floor() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.2, 1.0), 2, now);
        assert!((budget.tokens(now) - 10.0).abs() < 1e-9);
        assert_eq!(withdraw_all(&budget, now), 10);
        assert!(budget.tokens(now).abs() < 1e-9);
    }

    #[test]
    fn retries_are_a_share_of_calls_over_all_workers() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.2, 0.0), 2, now);
        assert!(!budget.withdraw(0, now), "no calls and no floor");
        for call in 0..100 {
            budget.deposit(call % 2, now);
        }
        assert_eq!(withdraw_all(&budget, now), 20);
    }

    #[test]
    fn a_floor_below_one_still_allows_one() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.0, 0.05), 1, now);
        assert!(budget.withdraw(0, now));
        assert!(!budget.withdraw(0, now));
    }

    #[test]
    fn spent_retries_come_back_when_they_leave_the_window() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.0, 0.2), 1, now);
        assert_eq!(withdraw_all(&budget, now), 2);
        assert!(!budget.withdraw(0, now + Duration::from_millis(9_900)));
        assert!(budget.withdraw(0, now + Duration::from_secs(10)));
    }

    #[test]
    fn a_reload_keeps_the_counts_unless_the_window_changed() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.0, 1.0), 1, now);
        assert_eq!(withdraw_all(&budget, now), 10);
        budget.configure(&settings(0.0, 1.5));
        assert_eq!(withdraw_all(&budget, now), 5);
        budget.configure(&Settings { window: Duration::from_secs(20), ..settings(0.0, 1.0) });
        assert_eq!(withdraw_all(&budget, now), 20);
    }

    #[test]
    fn exact_when_workers_compete() {
        let now = Instant::now();
        let budget = Budget::new(&settings(0.5, 0.0), 4, now);
        (0..400).for_each(|call| budget.deposit(call % 4, now));
        let won: usize = std::thread::scope(|scope| {
            let wish = |worker| (0..1000).filter(|_| budget.withdraw(worker, now)).count();
            let threads: Vec<_> = (0..4).map(|worker| scope.spawn(move || wish(worker))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(won, 200);
    }
}
