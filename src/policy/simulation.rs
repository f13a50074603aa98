//! A seeded simulation: breaker, bulkhead and budget together, through thousands of random steps.
//!
//! In: a seed. Out: a panic at the first step after which something is not as it must be, with the
//! seed on stderr; `OUTRIGGER_SEED=n cargo test simulation` plays that one alone. Time is made up.
//!
//! The real machines are compared with the naive ones of `oracle`, which keep every vote in a list
//! and know nothing of atomics, workers or buckets being re-used. On top of that the promises are
//! checked as such: places, queue order, OPEN, probes, and that a recovered service is used again.

mod oracle;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use self::oracle::{BudgetOracle, Grant, Oracle, Ticket};
use crate::config::{
    Bulkhead as BulkheadSettings, CircuitBreaker, FailOn, HalfOpen, Mode, OpenFor, RetryBudget, Trip,
};
use crate::policy::{
    Breaker, Budget, Bulkhead, Entry, Evicted, Force, Outcome, Permit, Reason, State, Transition, Waiting,
};

const SEEDS: u64 = 200;
const STEPS: usize = 10_000;
const THREADS: u64 = 2;

/// An attempt in flight, with what the oracle knows of its permit.
struct Flight {
    worker: usize,
    permit: Permit,
    ticket: Ticket,
}

struct World {
    rng: fastrand::Rng,
    now: Instant,
    workers: usize,
    breaker: Breaker,
    oracle: Oracle,
    bulkhead: Arc<Bulkhead>,
    limits: BulkheadSettings,
    budget: Budget,
    budget_oracle: BudgetOracle,
    flights: Vec<Flight>,
    queue: Vec<(usize, Waiting)>,
    /// Generations in which a success was recorded, for streams that break later.
    streams: Vec<(u32, Ticket)>,
    failing: f64,
    slow: f64,
}

#[test]
fn random_histories_keep_every_promise() {
    if let Some(seed) = std::env::var("OUTRIGGER_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return play(seed);
    }
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || (first..SEEDS).step_by(THREADS as usize).for_each(play));
        }
    });
}

/// Names the seed when the history it made has failed.
struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("simulation failed: replay it with OUTRIGGER_SEED={}", self.0);
        }
    }
}

fn play(seed: u64) {
    let _name = NameSeed(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.recover();
}

// === impl World ===

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (now, workers) = (Instant::now(), rng.usize(1..4));
        let (settings, limits) = (breaker_settings(&mut rng), bulkhead_settings(&mut rng));
        let budget = budget_settings(&mut rng);
        Self {
            now,
            workers,
            breaker: Breaker::new(&settings, workers, now),
            oracle: Oracle::new(settings, now),
            bulkhead: Arc::new(Bulkhead::new(&limits)),
            limits,
            budget: Budget::new(&budget, workers, now),
            budget_oracle: BudgetOracle::new(budget, now),
            flights: Vec::new(),
            queue: Vec::new(),
            streams: Vec::new(),
            failing: 0.0,
            slow: 0.0,
            rng,
        }
    }

    fn step(&mut self) {
        for _ in 0..self.rng.usize(1..4) {
            let before = self.bulkhead.in_flight();
            self.act();
            let most = self.limits.max_concurrent.max(before);
            assert!(self.bulkhead.in_flight() <= most, "more than maxConcurrent");
        }
        self.serve_queue();
        self.check_places();
        if self.rng.u8(..16) == 0 {
            self.check_breaker();
        }
    }

    fn act(&mut self) {
        match self.rng.u32(..2_000) {
            0..700 => self.arrive(),
            700..1_400 => self.finish(),
            1_400..1_480 => self.cancel(),
            1_480..1_560 => self.give_up(),
            1_560..1_580 => self.break_stream(),
            1_580..1_584 => self.change_health(),
            1_584..1_588 => self.reload(),
            1_588..1_591 => self.force(),
            1_591..1_595 => self.now += Duration::from_millis(self.rng.u64(..40_000)),
            _ => self.now += Duration::from_micros(self.rng.u64(..20_000)),
        }
    }

    fn arrive(&mut self) {
        let worker = self.rng.usize(..self.workers);
        self.budget.deposit(worker, self.now);
        self.budget_oracle.deposit(self.now);
        self.attempt(worker);
    }

    fn attempt(&mut self, worker: usize) {
        let expected = self.oracle.check(self.now);
        let refused = self.breaker.check(self.now).err();
        assert_eq!(refused.is_some(), expected.0, "check: {refused:?}");
        assert_eq!(refused.and_then(|refused| refused.transition), expected.1);
        self.after(expected.1);
        if refused.is_some() {
            return;
        }
        match self.bulkhead.try_enter() {
            Entry::Admitted => self.fly(worker),
            Entry::MustWait => {
                let waiting = self.bulkhead.wait().expect("there was room in the queue");
                self.queue.push((worker, waiting));
            }
            Entry::Full => {
                let room = self.bulkhead.in_flight() < self.limits.max_concurrent;
                assert!(!room || self.bulkhead.queued() > 0, "refused in spite of room");
            }
        }
    }

    /// With a place in the bulkhead: asks the breaker for the permit.
    fn fly(&mut self, worker: usize) {
        let (ticket, expected) = self.oracle.permit(self.now);
        let result = self.breaker.permit(self.now);
        let transition = match &result {
            Ok(permit) => permit.transition,
            Err(refused) => refused.transition,
        };
        assert_eq!(transition, expected);
        match result {
            Ok(permit) => {
                assert_eq!(permit.probe, ticket.grant == Grant::Probe);
                assert_eq!(permit.would_refuse, ticket.grant == Grant::Refused);
                assert!(!permit.would_refuse || self.oracle.is_observing(), "let through in spite of OPEN");
                self.flights.push(Flight { worker, permit, ticket });
            }
            Err(_) => {
                assert!(
                    ticket.grant == Grant::Refused && !self.oracle.is_observing(),
                    "refused without need"
                );
                self.bulkhead.leave();
            }
        }
        self.after(expected);
    }

    fn take_flight(&mut self) -> Option<Flight> {
        let count = self.flights.len();
        (count > 0).then(|| self.flights.swap_remove(self.rng.usize(..count)))
    }

    fn finish(&mut self) {
        let Some(flight) = self.take_flight() else { return };
        let outcome = Outcome { failed: self.rng.f64() < self.failing, slow: self.rng.f64() < self.slow };
        self.end(flight, outcome);
        if outcome.failed {
            self.retry();
        }
    }

    fn end(&mut self, flight: Flight, outcome: Outcome) {
        if !outcome.failed && self.streams.len() < 8 {
            self.streams.push((flight.permit.generation, flight.ticket));
        }
        let random = self.rng.f64();
        let got = self.breaker.record(flight.worker, flight.permit, outcome, self.now, random);
        let expected = self.oracle.record(flight.ticket, outcome, self.now, random);
        assert_eq!(got, expected, "{outcome:?} of {:?}", flight.ticket);
        self.bulkhead.leave();
        self.after(got);
    }

    fn retry(&mut self) {
        let worker = self.rng.usize(..self.workers);
        let got = self.budget.withdraw(worker, self.now);
        assert_eq!(got, self.budget_oracle.withdraw(self.now), "a retry against the budget");
        if got {
            self.attempt(worker);
        }
    }

    fn cancel(&mut self) {
        let Some(flight) = self.take_flight() else { return };
        self.breaker.cancel(flight.permit);
        self.oracle.cancel(flight.ticket);
        self.bulkhead.leave();
    }

    /// Someone in the queue gives up, perhaps with a place granted but not seen yet.
    fn give_up(&mut self) {
        let count = self.queue.len();
        if count > 0 {
            drop(self.queue.remove(self.rng.usize(..count)));
        }
    }

    fn break_stream(&mut self) {
        let Some((generation, ticket)) = self.streams.pop() else { return };
        let random = self.rng.f64();
        let worker = self.rng.usize(..self.workers);
        let got = self.breaker.fail_late(worker, generation, self.now, random);
        assert_eq!(got, self.oracle.fail_late(ticket, self.now, random), "a late failure of {ticket:?}");
        self.after(got);
    }

    fn change_health(&mut self) {
        let rates = [(0.0, 0.0), (0.02, 0.02), (0.5, 0.1), (1.0, 0.0), (0.0, 1.0)];
        (self.failing, self.slow) = rates[self.rng.usize(..rates.len())];
    }

    fn reload(&mut self) {
        let settings = breaker_settings(&mut self.rng);
        self.breaker.configure(&settings);
        self.oracle.configure(settings);
        self.limits = bulkhead_settings(&mut self.rng);
        self.bulkhead.resize(&self.limits);
        let budget = budget_settings(&mut self.rng);
        self.budget.configure(&budget);
        self.budget_oracle.configure(budget);
    }

    fn force(&mut self) {
        let force = [Force::Open, Force::Closed, Force::Auto, Force::Auto][self.rng.usize(..4)];
        let got = self.breaker.force(force, self.now);
        assert_eq!(got, self.oracle.force(force, self.now));
        self.after(got);
    }

    fn after(&mut self, transition: Option<Transition>) {
        let Some(Transition { from, to, .. }) = transition else { return };
        assert_ne!(from, to);
        if to == State::Open {
            self.bulkhead.evict();
        }
    }

    /// Polls everyone in the queue, first come first. Who got a place asks for a permit.
    fn serve_queue(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut still_waiting = Vec::new();
        let mut admitted = Vec::new();
        for (worker, mut waiting) in std::mem::take(&mut self.queue) {
            match waiting.poll(&mut context) {
                Poll::Ready(Ok(())) => {
                    assert!(still_waiting.is_empty(), "someone overtook");
                    admitted.push(worker);
                }
                Poll::Ready(Err(Evicted)) => {}
                Poll::Pending => still_waiting.push((worker, waiting)),
            }
        }
        self.queue = still_waiting;
        for worker in admitted {
            self.fly(worker);
        }
        // A permit refused just now may have handed its place on, or emptied the queue.
        if self.bulkhead.queued() as usize != self.queue.len() {
            self.serve_queue();
        }
    }

    fn check_places(&self) {
        let in_flight = self.bulkhead.in_flight();
        assert_eq!(in_flight as usize, self.flights.len(), "a place was lost or doubled");
        assert_eq!(self.bulkhead.queued() as usize, self.queue.len());
        assert!(
            self.queue.is_empty() || in_flight >= self.limits.max_concurrent,
            "idle places, people waiting"
        );
        assert_eq!(self.breaker.state(), self.oracle.state());
    }

    fn check_breaker(&self) {
        let view = self.breaker.snapshot(self.now);
        let [calls, failures, slow] = self.oracle.sums(self.now);
        assert_eq!([view.calls, view.failures, view.slow], [calls, failures, slow], "votes in the window");
        assert_eq!(view.consecutive, self.oracle.streak());
        assert_eq!(view.forced, self.oracle.forced());
        assert_eq!(view.open_left, self.oracle.open_left(self.now));
        assert_eq!(view.probes_in_flight, self.oracle.probes_out());
        assert_eq!(self.breaker.would_refuse(self.now), self.oracle.would_refuse(self.now));
        let probes = self.flights.iter().filter(|flight| self.oracle.is_current_probe(flight.ticket)).count();
        assert_eq!(probes, view.probes_in_flight as usize, "a probe's slot was lost");
        assert!(probes <= self.oracle.most_probes() as usize, "more than half-open's share");
        let (left, expected) = (self.budget.tokens(self.now), self.budget_oracle.tokens(self.now));
        assert!((left - expected).abs() < 1e-6, "{left} tokens instead of {expected}");
    }

    /// The service is well again and every call ends: all comes back, and the breaker closes.
    fn recover(&mut self) {
        let settings = CircuitBreaker { mode: Mode::Enforce, ..breaker_settings(&mut self.rng) };
        self.breaker.configure(&settings);
        self.oracle.configure(settings.clone());
        let released = self.breaker.force(Force::Auto, self.now);
        assert_eq!(released, self.oracle.force(Force::Auto, self.now));
        while !self.flights.is_empty() || !self.queue.is_empty() {
            self.cancel();
            self.serve_queue();
        }
        assert_eq!((self.bulkhead.in_flight(), self.bulkhead.queued()), (0, 0));
        // What is left of OPEN may stem from the longest settings of this history.
        let patience = 2 * LONGEST_OPEN + settings.half_open.max_wait;
        let end = self.now + patience * 2;
        while self.breaker.state() != State::Closed {
            assert!(self.now < end, "the service is well, but the breaker does not close");
            self.now += Duration::from_millis(100);
            self.attempt(0);
            while let Some(flight) = self.take_flight() {
                self.end(flight, Outcome::default());
            }
        }
        self.check_breaker();
    }
}

/// `openFor.max` of every history, with jitter.
const LONGEST_OPEN: Duration = Duration::from_secs(24);

fn breaker_settings(rng: &mut fastrand::Rng) -> CircuitBreaker {
    let mut one_of = |values: [u64; 3]| values[rng.usize(..3)];
    let base = Duration::from_millis(one_of([200, 1_000, 5_000]));
    let rate = |percent: u64| (percent > 0).then_some(percent as f64 / 100.0);
    CircuitBreaker {
        mode: if one_of([0, 0, 1]) + one_of([0, 0, 1]) == 2 { Mode::Observe } else { Mode::Enforce },
        trip: Trip {
            consecutive_failures: Some(one_of([0, 3, 7]) as u32).filter(|limit| *limit > 0),
            failure_rate: rate(one_of([0, 30, 50])),
            slow_call_rate: rate(one_of([0, 50, 100])),
            slow_call_duration: Duration::from_secs(1),
            window: Duration::from_millis(one_of([500, 2_000, 10_000])),
            minimum_calls: one_of([1, 10, 20]) as u32,
        },
        open_for: OpenFor { base, max: base.max(Duration::from_secs(one_of([1, 5, 20]))) },
        half_open: HalfOpen {
            max_concurrent: one_of([1, 2, 5]) as u32,
            successes: one_of([1, 3, 5]) as u32,
            max_wait: Duration::from_millis(one_of([500, 3_000, 10_000])),
        },
        fail_on: FailOn { server_error: true, timeout: true, transport: true, statuses: Vec::new(), grpc: 0 },
    }
}

fn bulkhead_settings(rng: &mut fastrand::Rng) -> BulkheadSettings {
    let max_wait = Duration::from_millis(if rng.u8(..4) == 0 { 0 } else { 50 });
    BulkheadSettings {
        mode: Mode::Enforce,
        max_concurrent: rng.u32(1..10),
        max_wait,
        max_queue: rng.u32(1..10),
        max_connections: 1,
    }
}

fn budget_settings(rng: &mut fastrand::Rng) -> RetryBudget {
    RetryBudget {
        ratio: f64::from(rng.u8(..4)) * 0.125,
        min_per_second: f64::from(rng.u8(..3)) * 0.5,
        window: Duration::from_secs(if rng.bool() { 10 } else { 2 }),
    }
}

/// A simulation in which nothing happens would keep every promise too.
#[test]
fn histories_do_reach_every_transition() {
    let mut seen = std::collections::HashSet::new();
    for seed in 0..20 {
        let mut world = World::new(seed);
        for _ in 0..STEPS / 4 {
            world.step();
            if let Some((_, Transition { reason, .. })) = world.breaker.snapshot(world.now).last {
                seen.insert(reason.name());
            }
        }
    }
    for reason in [
        Reason::ConsecutiveFailures(1),
        Reason::FailureRate { failures: 1, calls: 1 },
        Reason::SlowCallRate { slow: 1, calls: 1 },
        Reason::ProbeFailed,
        Reason::ProbeSlow,
        Reason::ProbesPassed(1),
        Reason::OpenTimeOver(Duration::ZERO),
        Reason::HalfOpenTimedOut(Duration::ZERO),
        Reason::Forced,
    ] {
        assert!(seen.contains(reason.name()), "no history had {}", reason.name());
    }
}
