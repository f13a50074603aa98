//! The circuit breaker: leaves a failing service alone, and finds out when it is back.
//!
//! In: settings, the time, and how calls ended. Out: permits, refusals, and what changed
//! ([`Transition`]). Never sleeps: time that is over is noticed by the next call.
//!
//! ```text
//!            a trigger of `trip` fires
//!   CLOSED ----------------------------> OPEN <----------------------------.
//!     ^                                   | openFor is over, a call comes  | a probe fails (twice as long),
//!     |        `successes` in a row       v                                | or maxWait without a verdict
//!     '------------------------------ HALF_OPEN ---------------------------'
//! ```
//!
//! Every transition starts a new generation with an empty window. A permit carries the generation
//! that granted it, so an answer from before the trip has no vote. State and generation are one
//! atomic word, read once per call; calls are counted in per-worker windows; failures, transitions
//! and half-open probes go through a lock and are exact over all workers.

mod machine;
mod streak;
mod transition;
mod word;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{CircuitBreaker as Settings, Mode};
use crate::policy::window::{Padded, Window, micros_since};

use self::machine::Machine;
use self::streak::Streak;
use self::word::Word;

pub use self::transition::{Force, Reason, State, Transition};

/// What a call refused in HALF_OPEN is told to wait: probes usually decide within a second.
pub const PROBE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The breaker of one service, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    epoch: Instant,
    /// State, force, mode and generation: see [`Word`]. Written under the lock.
    word: AtomicU64,
    /// Microseconds after `epoch` at which OPEN ends. Written under the lock, before `word`.
    open_until: AtomicU64,
    /// Written by failures: apart from what every call reads.
    streak: Padded<Streak>,
    /// Calls, failures, slow calls.
    window: Window<3>,
    machine: Padded<Mutex<Machine>>,
}

/// Permission for one attempt. Give it back through `record` or `cancel`.
#[derive(Debug, PartialEq)]
#[must_use = "a probe's slot stays taken until the permit is recorded or cancelled"]
pub struct Permit {
    /// The period that granted it.
    pub generation: u32,
    /// Whether it is one of the few that HALF_OPEN lets through.
    pub probe: bool,
    /// With `mode: observe`: this attempt would have been refused. It has no vote.
    pub would_refuse: bool,
    /// What asking changed: the first probe makes an OPEN breaker HALF_OPEN.
    pub transition: Option<Transition>,
}

/// The breaker lets nothing through now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refused {
    /// When asking again makes sense.
    pub retry_after: Duration,
    /// What asking changed: HALF_OPEN without a verdict for too long becomes OPEN.
    pub transition: Option<Transition>,
}

/// How an attempt ended, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The service failed.
    pub failed: bool,
    /// The response head took longer than `slowCallDuration`.
    pub slow: bool,
}

/// A breaker as metrics, the admin API and explanations show it.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerView {
    /// Where it stands. OPEN stays OPEN after its time until a call comes.
    pub state: State,
    /// Number of transitions since the start.
    pub generation: u32,
    /// Forced open or closed; `None` is automatic.
    pub forced: Option<Force>,
    /// Acts or only observes.
    pub mode: Mode,
    /// Calls in the window of this generation.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Failures in a row up to now.
    pub consecutive: u32,
    /// Until the next probe may pass; `None` unless OPEN by itself.
    pub open_left: Option<Duration>,
    /// Probes without a verdict yet.
    pub probes_in_flight: u32,
    /// Transitions to CLOSED, OPEN and HALF_OPEN since the start.
    pub transitions: [u64; 3],
    /// Times a trigger opened it from CLOSED.
    pub trips: u64,
    /// The last transition and when it was.
    pub last: Option<(Instant, Transition)>,
}

// === impl Breaker ===

impl Breaker {
    /// A closed breaker. No `now` given later may be before this one.
    pub fn new(settings: &Settings, workers: usize, now: Instant) -> Self {
        let machine = Machine::new(settings);
        Self {
            epoch: now,
            word: AtomicU64::new(machine.word().0),
            open_until: AtomicU64::new(0),
            streak: Padded(Streak::default()),
            window: Window::new(workers, settings.trip.window, now),
            machine: Padded(Mutex::new(machine)),
        }
    }

    /// Takes new settings. State, force, time left and counts stay; the window is emptied only if
    /// its length changed.
    pub fn configure(&self, settings: &Settings) {
        let mut machine = self.lock();
        machine.configure(settings);
        self.window.set_length(settings.trip.window);
        self.publish(&machine);
    }

    /// The fast check before the bulkhead: refuses what `permit` would surely refuse. Takes no
    /// probe's slot. Always `Ok` with `mode: observe`.
    pub fn check(&self, now: Instant) -> Result<(), Refused> {
        let word = self.load();
        match word.state() {
            State::Closed => Ok(()),
            State::Open | State::HalfOpen if word.is_observing() => Ok(()),
            State::Open => match self.open_left(word, now) {
                None => Ok(()),
                Some(retry_after) => Err(Refused { retry_after, transition: None }),
            },
            State::HalfOpen => {
                let mut machine = self.lock();
                let refused = machine.refusal(now);
                self.publish(&machine);
                refused.map_or(Ok(()), Err)
            }
        }
    }

    /// Whether `check` would refuse, whatever the mode. Changes nothing.
    pub fn would_refuse(&self, now: Instant) -> bool {
        let word = self.load();
        match word.state() {
            State::Closed => false,
            State::Open => self.open_left(word, now).is_some(),
            State::HalfOpen => self.lock().would_refuse(now),
        }
    }

    /// Permission for one attempt, after the bulkhead. An OPEN breaker whose time is over becomes
    /// HALF_OPEN here. Always `Ok` with `mode: observe`, see [`Permit::would_refuse`].
    pub fn permit(&self, now: Instant) -> Result<Permit, Refused> {
        let word = self.load();
        if word.state() == State::Closed {
            return Ok(Permit::plain(word.generation()));
        }
        let mut machine = self.lock();
        let result = machine.permit(now);
        self.publish(&machine);
        result
    }

    /// Counts how an attempt ended. `random` (0 to 1) spreads the time a breaker stays open.
    pub fn record(
        &self,
        worker: usize,
        permit: Permit,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        let word = self.load();
        if word.generation() != permit.generation {
            return None;
        }
        match word.state() {
            State::Closed => self.count(worker, permit.generation, outcome, now, random),
            State::HalfOpen if permit.probe => {
                self.locked(|machine| machine.probe_ended(permit.generation, outcome, now, random))
            }
            State::HalfOpen | State::Open => None,
        }
    }

    /// The attempt ended without a verdict: a probe's slot is free again, nothing is counted.
    pub fn cancel(&self, permit: Permit) {
        if permit.probe {
            self.lock().probe_cancelled(permit.generation);
        }
    }

    /// One more failure of `generation`, after a success was recorded: a stream that broke.
    pub fn fail_late(&self, worker: usize, generation: u32, now: Instant, random: f64) -> Option<Transition> {
        let word = self.load();
        if word.generation() != generation {
            return None;
        }
        match word.state() {
            State::Closed => {
                self.count(worker, generation, Outcome { failed: true, slow: false }, now, random)
            }
            State::HalfOpen => self.locked(|machine| machine.probe_failed_late(generation, now, random)),
            State::Open => None,
        }
    }

    /// Forces it open or closed, or returns it to automatic. Leaving a forced OPEN, the next call is a probe.
    pub fn force(&self, force: Force, now: Instant) -> Option<Transition> {
        self.locked(|machine| machine.force(force, now))
    }

    /// Everything there is to show.
    pub fn snapshot(&self, now: Instant) -> BreakerView {
        let machine = self.lock();
        let word = machine.word();
        let generation = word.generation();
        let [calls, failures, slow] = self.window.sum(now, generation);
        BreakerView {
            state: word.state(),
            generation,
            forced: word.forced(),
            mode: if word.is_observing() { Mode::Observe } else { Mode::Enforce },
            calls,
            failures,
            slow,
            consecutive: self.streak.0.of(generation),
            open_left: machine.open_left(now),
            probes_in_flight: machine.probes_in_flight(),
            transitions: machine.transitions(),
            trips: machine.trips(),
            last: machine.last(),
        }
    }

    /// Where it stands, for a metric: no lock.
    pub fn state(&self) -> State {
        self.load().state()
    }

    /// Where it stands, how often it has changed, and whether somebody holds it there: no lock.
    pub fn seen(&self) -> (State, u32, Option<Force>) {
        let word = self.load();
        (word.state(), word.generation(), word.forced())
    }

    /// A vote while CLOSED. A success touches this worker's counters alone, unless it ends a streak.
    fn count(
        &self,
        worker: usize,
        generation: u32,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        let counts = [1, u32::from(outcome.failed), u32::from(outcome.slow)];
        self.window.add(worker, now, generation, counts);
        let streak = if outcome.failed {
            self.streak.0.failed(generation)
        } else {
            self.streak.0.succeeded(generation);
            0
        };
        if !outcome.failed && !outcome.slow {
            return None;
        }
        self.locked(|machine| {
            machine.evaluate(generation, streak, || self.window.sum(now, generation), now, random)
        })
    }

    /// What is left of OPEN; `None` when its time is over. A forced OPEN never ends by itself.
    fn open_left(&self, word: Word, now: Instant) -> Option<Duration> {
        if word.forced().is_some() {
            return Some(PROBE_RETRY_AFTER);
        }
        let left = self.open_until.load(Ordering::Acquire).saturating_sub(micros_since(self.epoch, now));
        (left > 0).then(|| Duration::from_micros(left))
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn locked<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let result = change(&mut machine);
        self.publish(&machine);
        result
    }

    fn publish(&self, machine: &Machine) {
        let word = machine.word().0;
        if self.word.load(Ordering::Relaxed) == word {
            // Every failure comes through here; writing would take the line from all workers' caches.
            // When OPEN ends changes only with the generation or the force, which are in the word.
            return;
        }
        let until = machine.open_until().map_or(0, |until| micros_since(self.epoch, until));
        self.open_until.store(until, Ordering::Release);
        // Last: who reads OPEN also reads when it ends.
        self.word.store(word, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        // Its changes are single assignments: a panic elsewhere leaves a usable state.
        self.machine.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Permit ===

impl Permit {
    fn plain(generation: u32) -> Self {
        Self { generation, probe: false, would_refuse: false, transition: None }
    }
}

#[cfg(test)]
mod tests;
