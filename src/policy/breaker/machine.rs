//! The breaker's part behind the lock: state, probes and transitions.
//!
//! In: events of the current generation. Out: [`Transition`]s. Never touches the atomics of the
//! fast path; the caller publishes what [`Machine::word`] and [`Machine::open_until`] say.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{CircuitBreaker as Settings, Mode};
use crate::policy::backoff::unit;

use super::word::Word;
use super::{Force, Outcome, PROBE_RETRY_AFTER, Permit, Reason, Refused, State, Transition};

/// Up to this share is added to `openFor`, so that sidecars which tripped together do not probe
/// together. Only added: a breaker never opens for less than the YAML says.
const OPEN_JITTER: f64 = 0.2;

/// State, probes and history of one breaker.
#[derive(Debug)]
pub(super) struct Machine {
    settings: Settings,
    phase: Phase,
    generation: u32,
    forced: Option<Force>,
    /// How long the next OPEN lasts, before jitter.
    open_for: Duration,
    /// How long the last OPEN lasted, with jitter.
    opened_for: Duration,
    transitions: [u64; 3],
    trips: u64,
    last: Option<(Instant, Transition)>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen(Probes),
}

#[derive(Debug, Clone, Copy, Default)]
struct Probes {
    in_flight: u32,
    /// In a row, so far.
    successes: u32,
    /// Since when a probe has been out, or was cancelled, without a verdict. A service that is
    /// hardly called must not time out between two good probes, so with none out it is `None`.
    undecided_since: Option<Instant>,
}

// === impl Machine ===

impl Machine {
    /// Closed, with nothing counted.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            phase: Phase::Closed,
            generation: 0,
            forced: None,
            open_for: settings.open_for.base,
            opened_for: settings.open_for.base,
            transitions: [0; 3],
            trips: 0,
            last: None,
        }
    }

    /// Takes new settings; what is under way stays.
    pub(super) fn configure(&mut self, settings: &Settings) {
        if self.settings.open_for != settings.open_for {
            // Doublings made so far are not worth keeping when their base has changed.
            self.open_for = settings.open_for.base;
        }
        self.settings = settings.clone();
    }

    /// What the fast path reads.
    pub(super) fn word(&self) -> Word {
        Word::new(self.state(), self.forced, self.is_observing(), self.generation)
    }

    /// When OPEN ends by itself.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open { until } => Some(until),
            Phase::Closed | Phase::HalfOpen(_) => None,
        }
    }

    /// What is left of OPEN; `None` unless it ends by itself.
    pub(super) fn open_left(&self, now: Instant) -> Option<Duration> {
        let until = self.open_until().filter(|_| self.forced.is_none())?;
        Some(until.saturating_duration_since(now))
    }

    /// Probes without a verdict yet.
    pub(super) fn probes_in_flight(&self) -> u32 {
        match self.phase {
            Phase::HalfOpen(probes) => probes.in_flight,
            Phase::Closed | Phase::Open { .. } => 0,
        }
    }

    /// Transitions to CLOSED, OPEN and HALF_OPEN.
    pub(super) fn transitions(&self) -> [u64; 3] {
        self.transitions
    }

    /// Times a trigger opened it.
    pub(super) fn trips(&self) -> u64 {
        self.trips
    }

    /// The last transition and when it was.
    pub(super) fn last(&self) -> Option<(Instant, Transition)> {
        self.last
    }

    /// Whether an attempt would be refused now.
    pub(super) fn would_refuse(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Open { until } => self.forced.is_some() || now < until,
            Phase::HalfOpen(probes) => {
                probes.in_flight >= self.settings.half_open.max_concurrent || self.timed_out(probes, now)
            }
        }
    }

    /// Why an attempt is refused now, if it is. Notices that HALF_OPEN took too long.
    pub(super) fn refusal(&mut self, now: Instant) -> Option<Refused> {
        if !self.would_refuse(now) {
            return None;
        }
        let transition = match self.phase {
            Phase::HalfOpen(probes) if self.timed_out(probes, now) => Some(self.reopen(now)),
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen(_) => None,
        };
        let retry_after = self.open_left(now).unwrap_or(PROBE_RETRY_AFTER);
        Some(Refused { retry_after, transition })
    }

    /// Permission for one attempt; a probe unless CLOSED.
    pub(super) fn permit(&mut self, now: Instant) -> Result<Permit, Refused> {
        if let Some(refused) = self.refusal(now) {
            return if self.is_observing() { Ok(self.pass_anyway(refused)) } else { Err(refused) };
        }
        let transition = match self.phase {
            Phase::Open { .. } => {
                let reason = Reason::OpenTimeOver(self.opened_for);
                Some(self.enter(Phase::HalfOpen(Probes::default()), reason, now))
            }
            Phase::Closed | Phase::HalfOpen(_) => None,
        };
        let probe = match &mut self.phase {
            Phase::HalfOpen(probes) => {
                probes.in_flight += 1;
                probes.undecided_since.get_or_insert(now);
                true
            }
            Phase::Closed | Phase::Open { .. } => false,
        };
        Ok(Permit { generation: self.generation, probe, would_refuse: false, transition })
    }

    /// The verdict on a probe of `generation`.
    pub(super) fn probe_ended(
        &mut self,
        generation: u32,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        // A breaker that tripped on slow calls would flap if slow probes closed it.
        let slow = outcome.slow && self.settings.trip.slow_call_rate.is_some();
        let wanted = self.settings.half_open.successes;
        let probes = self.probes_of(generation)?;
        probes.in_flight = probes.in_flight.saturating_sub(1);
        probes.undecided_since = (probes.in_flight > 0).then_some(now);
        if outcome.failed {
            return Some(self.open_longer(Reason::ProbeFailed, now, random));
        }
        if slow {
            return Some(self.open_longer(Reason::ProbeSlow, now, random));
        }
        probes.successes += 1;
        let successes = probes.successes;
        (successes >= wanted).then(|| {
            self.open_for = self.settings.open_for.base;
            self.enter(Phase::Closed, Reason::ProbesPassed(successes), now)
        })
    }

    /// A probe of `generation` that had succeeded has failed after all.
    pub(super) fn probe_failed_late(
        &mut self,
        generation: u32,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        self.probes_of(generation)?;
        Some(self.open_longer(Reason::ProbeFailed, now, random))
    }

    /// A probe of `generation` ended without a verdict.
    pub(super) fn probe_cancelled(&mut self, generation: u32) {
        if let Some(probes) = self.probes_of(generation) {
            probes.in_flight = probes.in_flight.saturating_sub(1);
        }
    }

    /// Opens if a trigger fires: after a failure that made a streak of `streak`, or a slow call.
    pub(super) fn evaluate(
        &mut self,
        generation: u32,
        streak: u32,
        sum: impl FnOnce() -> [u64; 3],
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        let is_automatic = matches!(self.phase, Phase::Closed) && self.forced.is_none();
        if generation != self.generation || !is_automatic {
            return None;
        }
        let reason = self.trigger(streak, sum)?;
        self.trips += 1;
        Some(self.open(reason, now, random))
    }

    /// Forces it open or closed, or returns it to automatic.
    pub(super) fn force(&mut self, force: Force, now: Instant) -> Option<Transition> {
        let before = self.forced;
        self.forced = match force {
            Force::Auto => None,
            Force::Open | Force::Closed => Some(force),
        };
        match (force, self.phase) {
            (Force::Open, Phase::Closed | Phase::HalfOpen(_)) => {
                Some(self.enter(Phase::Open { until: now }, Reason::Forced, now))
            }
            (Force::Closed, Phase::Open { .. } | Phase::HalfOpen(_)) => {
                self.open_for = self.settings.open_for.base;
                Some(self.enter(Phase::Closed, Reason::Forced, now))
            }
            (Force::Auto, Phase::Open { .. }) if before.is_some() => {
                // Nobody knows how the service is: the next call finds out.
                self.phase = Phase::Open { until: now };
                None
            }
            (Force::Open, Phase::Open { .. })
            | (Force::Closed, Phase::Closed)
            | (Force::Auto, Phase::Closed | Phase::Open { .. } | Phase::HalfOpen(_)) => None,
        }
    }

    fn trigger(&self, streak: u32, sum: impl FnOnce() -> [u64; 3]) -> Option<Reason> {
        let trip = &self.settings.trip;
        if trip.consecutive_failures.is_some_and(|limit| streak >= limit.max(1)) {
            return Some(Reason::ConsecutiveFailures(streak));
        }
        if trip.failure_rate.is_none() && trip.slow_call_rate.is_none() {
            return None;
        }
        let [calls, failures, slow] = sum();
        if calls < u64::from(trip.minimum_calls) {
            return None;
        }
        let reached = |rate: Option<f64>, count: u64| {
            count > 0 && rate.is_some_and(|rate| count as f64 >= rate * calls as f64)
        };
        if reached(trip.failure_rate, failures) {
            Some(Reason::FailureRate { failures, calls })
        } else if reached(trip.slow_call_rate, slow) {
            Some(Reason::SlowCallRate { slow, calls })
        } else {
            None
        }
    }

    /// Opens for the current time with jitter.
    fn open(&mut self, reason: Reason, now: Instant, random: f64) -> Transition {
        self.opened_for = self.open_for.mul_f64(1.0 + OPEN_JITTER * unit(random));
        self.enter(Phase::Open { until: now + self.opened_for }, reason, now)
    }

    /// Opens for twice the time of before, up to `max`.
    fn open_longer(&mut self, reason: Reason, now: Instant, random: f64) -> Transition {
        self.open_for = self.open_for.saturating_mul(2).min(self.settings.open_for.max);
        self.open(reason, now, random)
    }

    /// Opens for the very time of before: nothing was learned.
    fn reopen(&mut self, now: Instant) -> Transition {
        let reason = Reason::HalfOpenTimedOut(self.settings.half_open.max_wait);
        self.enter(Phase::Open { until: now + self.opened_for }, reason, now)
    }

    fn enter(&mut self, phase: Phase, reason: Reason, now: Instant) -> Transition {
        let from = self.state();
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        let to = self.state();
        let index = match to {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        self.transitions[index] += 1;
        let transition = Transition { from, to, reason };
        self.last = Some((now, transition));
        transition
    }

    /// With `mode: observe`: passes, but as if granted in a period that is over, so that it has no vote.
    fn pass_anyway(&self, refused: Refused) -> Permit {
        Permit {
            generation: self.generation.wrapping_sub(1),
            probe: false,
            would_refuse: true,
            transition: refused.transition,
        }
    }

    fn probes_of(&mut self, generation: u32) -> Option<&mut Probes> {
        match &mut self.phase {
            Phase::HalfOpen(probes) if generation == self.generation => Some(probes),
            Phase::HalfOpen(_) | Phase::Closed | Phase::Open { .. } => None,
        }
    }

    fn timed_out(&self, probes: Probes, now: Instant) -> bool {
        let max_wait = self.settings.half_open.max_wait;
        probes.undecided_since.is_some_and(|since| now.saturating_duration_since(since) >= max_wait)
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    fn is_observing(&self) -> bool {
        self.settings.mode == Mode::Observe
    }
}
