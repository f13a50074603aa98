//! The breaker and the budget again, as naively as can be: what the simulation compares with.
//!
//! In: the same events as the real ones. Out: what must happen. One thread, no atomics, a list of
//! votes: written from the rules, so that it shares the real ones' words but not their mistakes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{CircuitBreaker, Mode, RetryBudget};
use crate::policy::{Force, Outcome, Reason, State, Transition};

/// What a permit must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    Plain,
    Probe,
    /// Refused, or with `mode: observe` let through without a vote.
    Refused,
}

/// A permit as the oracle sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    generation: u64,
    pub(super) grant: Grant,
}

/// Counts per slice of time; sums over the last ten slices.
struct Slices<const N: usize> {
    epoch: Instant,
    width: Duration,
    slices: VecDeque<(u128, [u64; N])>,
}

/// The breaker.
pub(super) struct Oracle {
    settings: CircuitBreaker,
    state: State,
    generation: u64,
    forced: Option<Force>,
    votes: Slices<3>,
    streak: u32,
    until: Instant,
    open_for: Duration,
    opened_for: Duration,
    probes_out: u32,
    most_probes: u32,
    successes: u32,
    undecided_since: Option<Instant>,
}

/// The budget.
pub(super) struct BudgetOracle {
    settings: RetryBudget,
    counts: Slices<2>,
}

// === impl Slices ===

impl<const N: usize> Slices<N> {
    fn new(epoch: Instant, window: Duration) -> Self {
        Self { epoch, width: window / 10, slices: VecDeque::new() }
    }

    fn set_window(&mut self, window: Duration) {
        if self.width != window / 10 {
            *self = Self::new(self.epoch, window);
        }
    }

    fn slice(&self, now: Instant) -> u128 {
        (now - self.epoch).as_micros() / self.width.as_micros()
    }

    fn add(&mut self, now: Instant, counts: [u64; N]) {
        let slice = self.slice(now);
        self.slices.retain(|(other, _)| other + 10 > slice);
        match self.slices.back_mut() {
            Some((last, sums)) if *last == slice => {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            Some(_) | None => self.slices.push_back((slice, counts)),
        }
    }

    fn sum(&self, now: Instant) -> [u64; N] {
        let slice = self.slice(now);
        let mut total = [0; N];
        for (_, sums) in self.slices.iter().filter(|(other, _)| other + 10 > slice) {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        total
    }
}

// === impl Oracle ===

impl Oracle {
    pub(super) fn new(settings: CircuitBreaker, now: Instant) -> Self {
        Self {
            state: State::Closed,
            generation: 0,
            forced: None,
            votes: Slices::new(now, settings.trip.window),
            streak: 0,
            until: now,
            open_for: settings.open_for.base,
            opened_for: settings.open_for.base,
            probes_out: 0,
            most_probes: settings.half_open.max_concurrent,
            successes: 0,
            undecided_since: None,
            settings,
        }
    }

    pub(super) fn configure(&mut self, settings: CircuitBreaker) {
        if settings.open_for != self.settings.open_for {
            self.open_for = settings.open_for.base;
        }
        self.votes.set_window(settings.trip.window);
        self.most_probes = self.most_probes.max(settings.half_open.max_concurrent);
        self.settings = settings;
    }

    pub(super) fn would_refuse(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => false,
            State::Open => self.forced.is_some() || now < self.until,
            State::HalfOpen => {
                self.probes_out >= self.settings.half_open.max_concurrent || self.is_stuck(now)
            }
        }
    }

    /// Whether the check refuses, and what it changes.
    pub(super) fn check(&mut self, now: Instant) -> (bool, Option<Transition>) {
        if self.is_observing() { (false, None) } else { self.refuse(now) }
    }

    /// What asking for a permit gives, and what it changes.
    pub(super) fn permit(&mut self, now: Instant) -> (Ticket, Option<Transition>) {
        let (refused, mut transition) = self.refuse(now);
        let mut grant = if refused { Grant::Refused } else { Grant::Plain };
        if !refused && self.state == State::Open {
            transition = Some(self.enter(State::HalfOpen, Reason::OpenTimeOver(self.opened_for)));
        }
        if !refused && self.state == State::HalfOpen {
            self.probes_out += 1;
            self.undecided_since = self.undecided_since.or(Some(now));
            grant = Grant::Probe;
        }
        (Ticket { generation: self.generation, grant }, transition)
    }

    pub(super) fn record(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
        random: f64,
    ) -> Option<Transition> {
        if ticket.generation != self.generation || ticket.grant == Grant::Refused {
            return None;
        }
        if ticket.grant == Grant::Plain {
            return self.vote(outcome, now, random);
        }
        self.probes_out -= 1;
        self.undecided_since = Some(now).filter(|_| self.probes_out > 0);
        if outcome.failed {
            return Some(self.probe_failed(Reason::ProbeFailed, now, random));
        }
        if outcome.slow && self.settings.trip.slow_call_rate.is_some() {
            return Some(self.probe_failed(Reason::ProbeSlow, now, random));
        }
        self.successes += 1;
        if self.successes < self.settings.half_open.successes {
            return None;
        }
        self.open_for = self.settings.open_for.base;
        Some(self.enter(State::Closed, Reason::ProbesPassed(self.successes)))
    }

    pub(super) fn fail_late(&mut self, ticket: Ticket, now: Instant, random: f64) -> Option<Transition> {
        if ticket.generation != self.generation || ticket.grant == Grant::Refused {
            return None;
        }
        match self.state {
            State::Closed => self.vote(Outcome { failed: true, slow: false }, now, random),
            State::HalfOpen => Some(self.probe_failed(Reason::ProbeFailed, now, random)),
            State::Open => None,
        }
    }

    pub(super) fn cancel(&mut self, ticket: Ticket) {
        if self.is_current_probe(ticket) {
            self.probes_out -= 1;
        }
    }

    pub(super) fn force(&mut self, force: Force, now: Instant) -> Option<Transition> {
        let was_forced = self.forced.is_some();
        self.forced = Some(force).filter(|force| *force != Force::Auto);
        if force == Force::Open && self.state != State::Open {
            self.until = now;
            return Some(self.enter(State::Open, Reason::Forced));
        }
        if force == Force::Closed && self.state != State::Closed {
            self.open_for = self.settings.open_for.base;
            return Some(self.enter(State::Closed, Reason::Forced));
        }
        if force == Force::Auto && was_forced {
            self.until = now;
        }
        None
    }

    pub(super) fn is_current_probe(&self, ticket: Ticket) -> bool {
        ticket.grant == Grant::Probe && ticket.generation == self.generation && self.state == State::HalfOpen
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    pub(super) fn forced(&self) -> Option<Force> {
        self.forced
    }

    pub(super) fn sums(&self, now: Instant) -> [u64; 3] {
        self.votes.sum(now)
    }

    pub(super) fn open_left(&self, now: Instant) -> Option<Duration> {
        let is_open = self.state == State::Open && self.forced.is_none();
        is_open.then(|| self.until.saturating_duration_since(now))
    }

    pub(super) fn probes_out(&self) -> u32 {
        self.probes_out
    }

    /// Half-open's share, or the largest of it if a reload made it smaller in mid-probe.
    pub(super) fn most_probes(&self) -> u32 {
        self.most_probes
    }

    pub(super) fn is_observing(&self) -> bool {
        self.settings.mode == Mode::Observe
    }

    fn is_stuck(&self, now: Instant) -> bool {
        self.undecided_since.is_some_and(|since| now - since >= self.settings.half_open.max_wait)
    }

    fn refuse(&mut self, now: Instant) -> (bool, Option<Transition>) {
        let refused = self.would_refuse(now);
        let stuck = self.state == State::HalfOpen && self.is_stuck(now);
        let transition = stuck.then(|| {
            self.until = now + self.opened_for;
            self.enter(State::Open, Reason::HalfOpenTimedOut(self.settings.half_open.max_wait))
        });
        (refused, transition)
    }

    fn vote(&mut self, outcome: Outcome, now: Instant, random: f64) -> Option<Transition> {
        self.votes.add(now, [1, u64::from(outcome.failed), u64::from(outcome.slow)]);
        self.streak = if outcome.failed { self.streak + 1 } else { 0 };
        if self.forced.is_some() || (!outcome.failed && !outcome.slow) {
            return None;
        }
        let reason = self.trigger(now)?;
        Some(self.open(reason, now, random))
    }

    fn trigger(&self, now: Instant) -> Option<Reason> {
        let trip = &self.settings.trip;
        if trip.consecutive_failures.is_some_and(|limit| self.streak >= limit) {
            return Some(Reason::ConsecutiveFailures(self.streak));
        }
        let [calls, failures, slow] = self.votes.sum(now);
        let above = |count: u64, rate: Option<f64>| {
            let limit = rate.unwrap_or(f64::INFINITY) * calls as f64;
            calls >= u64::from(trip.minimum_calls) && count > 0 && count as f64 >= limit
        };
        if above(failures, trip.failure_rate) {
            return Some(Reason::FailureRate { failures, calls });
        }
        above(slow, trip.slow_call_rate).then_some(Reason::SlowCallRate { slow, calls })
    }

    fn probe_failed(&mut self, reason: Reason, now: Instant, random: f64) -> Transition {
        self.open_for = (self.open_for * 2).min(self.settings.open_for.max);
        self.open(reason, now, random)
    }

    fn open(&mut self, reason: Reason, now: Instant, random: f64) -> Transition {
        self.opened_for = self.open_for.mul_f64(1.0 + 0.2 * random);
        self.until = now + self.opened_for;
        self.enter(State::Open, reason)
    }

    fn enter(&mut self, to: State, reason: Reason) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        self.generation += 1;
        self.votes.slices.clear();
        self.streak = 0;
        self.probes_out = 0;
        self.most_probes = self.settings.half_open.max_concurrent;
        self.successes = 0;
        self.undecided_since = None;
        Transition { from, to, reason }
    }
}

// === impl BudgetOracle ===

impl BudgetOracle {
    pub(super) fn new(settings: RetryBudget, now: Instant) -> Self {
        Self { settings, counts: Slices::new(now, settings.window) }
    }

    pub(super) fn configure(&mut self, settings: RetryBudget) {
        self.counts.set_window(settings.window);
        self.settings = settings;
    }

    pub(super) fn deposit(&mut self, now: Instant) {
        self.counts.add(now, [1, 0]);
    }

    pub(super) fn withdraw(&mut self, now: Instant) -> bool {
        let [calls, retries] = self.counts.sum(now);
        let allowed = (retries as f64) < self.settings.ratio * calls as f64 + self.floor();
        if allowed {
            self.counts.add(now, [0, 1]);
        }
        allowed
    }

    pub(super) fn tokens(&self, now: Instant) -> f64 {
        let [calls, retries] = self.counts.sum(now);
        (self.settings.ratio * calls as f64 + self.floor() - retries as f64).max(0.0)
    }

    fn floor(&self) -> f64 {
        self.settings.min_per_second * self.settings.window.as_secs_f64()
    }
}
