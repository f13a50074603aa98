//! Every rule of the breaker, with the time and the random numbers passed in.

use super::*;
use crate::config::{FailOn, HalfOpen, OpenFor, Trip};

const OK: Outcome = Outcome { failed: false, slow: false };
const FAILED: Outcome = Outcome { failed: true, slow: false };
const SLOW: Outcome = Outcome { failed: false, slow: true };

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn settings() -> Settings {
    Settings {
        mode: Mode::Enforce,
        trip: Trip {
            consecutive_failures: None,
            failure_rate: Some(0.5),
            slow_call_rate: None,
            slow_call_duration: secs(2),
            window: secs(10),
            minimum_calls: 10,
        },
        open_for: OpenFor { base: secs(5), max: secs(60) },
        half_open: HalfOpen { max_concurrent: 1, successes: 3, max_wait: secs(30) },
        fail_on: FailOn { server_error: true, timeout: true, transport: true, statuses: Vec::new(), grpc: 0 },
    }
}

fn consecutive(limit: u32) -> Settings {
    let trip = Trip { consecutive_failures: Some(limit), failure_rate: None, ..settings().trip };
    Settings { trip, ..settings() }
}

/// A breaker with a clock of its own.
struct Rig {
    breaker: Breaker,
    now: Instant,
    random: f64,
}

impl Rig {
    fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(settings, 2, now), now, random: 0.0 }
    }

    /// Opened by failures, at the start of OPEN.
    fn open(settings: &Settings) -> Self {
        let rig = Self::new(settings);
        let transition = (0..100).find_map(|_| rig.call(FAILED));
        assert_eq!(transition.map(|transition| transition.to), Some(State::Open));
        rig
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn permit(&self) -> Permit {
        self.breaker.permit(self.now).expect("a permit")
    }

    fn record(&self, permit: Permit, outcome: Outcome) -> Option<Transition> {
        self.breaker.record(0, permit, outcome, self.now, self.random)
    }

    fn call(&self, outcome: Outcome) -> Option<Transition> {
        let permit = self.permit();
        self.breaker.record(1, permit, outcome, self.now, self.random)
    }

    /// Calls whose effect the test looks at later.
    fn calls(&self, count: usize, outcome: Outcome) {
        (0..count).for_each(|_| {
            self.call(outcome);
        });
    }

    fn view(&self) -> BreakerView {
        self.breaker.snapshot(self.now)
    }

    fn is_refusing(&self) -> bool {
        let refused = self.breaker.check(self.now).is_err();
        assert_eq!(refused, self.breaker.would_refuse(self.now));
        refused
    }
}

fn trip(reason: Reason) -> Option<Transition> {
    Some(Transition { from: State::Closed, to: State::Open, reason })
}

#[test]
fn failures_in_a_row_open_it_and_a_success_starts_over() {
    let rig = Rig::new(&consecutive(3));
    for outcome in [FAILED, FAILED, OK, FAILED, FAILED] {
        assert_eq!(rig.call(outcome), None);
    }
    assert_eq!(rig.view().consecutive, 2);
    assert_eq!(rig.call(FAILED), trip(Reason::ConsecutiveFailures(3)));
    assert_eq!(rig.view().trips, 1);
}

#[test]
fn the_failure_rate_opens_it_once_there_are_enough_calls() {
    let rig = Rig::new(&settings());
    for _ in 0..5 {
        assert_eq!(rig.call(OK), None);
    }
    for _ in 0..4 {
        assert_eq!(rig.call(FAILED), None, "fewer calls than minimumCalls");
    }
    assert_eq!(rig.call(FAILED), trip(Reason::FailureRate { failures: 5, calls: 10 }));
}

#[test]
fn a_success_never_opens_it() {
    let rig = Rig::new(&settings());
    (0..9).for_each(|_| assert_eq!(rig.call(FAILED), None));
    assert_eq!(rig.call(OK), None);
    assert_eq!(rig.call(FAILED), trip(Reason::FailureRate { failures: 10, calls: 11 }));
}

#[test]
fn a_rate_below_the_limit_leaves_it_closed() {
    let rig = Rig::new(&settings());
    for _ in 0..100 {
        for outcome in [OK, OK, FAILED] {
            assert_eq!(rig.call(outcome), None);
        }
    }
}

#[test]
fn failures_that_left_the_window_do_not_count() {
    let mut rig = Rig::new(&settings());
    (0..9).for_each(|_| assert_eq!(rig.call(FAILED), None));
    rig.wait(secs(10));
    assert_eq!(rig.call(FAILED), None);
    assert_eq!(rig.view().calls, 1);
}

#[test]
fn slow_calls_open_it_only_if_that_trigger_is_on() {
    let off = Rig::new(&settings());
    (0..50).for_each(|_| assert_eq!(off.call(SLOW), None));
    let on = Settings { trip: Trip { slow_call_rate: Some(0.8), ..settings().trip }, ..settings() };
    let rig = Rig::new(&on);
    (0..2).for_each(|_| assert_eq!(rig.call(OK), None));
    (0..7).for_each(|_| assert_eq!(rig.call(SLOW), None));
    assert_eq!(rig.call(SLOW), trip(Reason::SlowCallRate { slow: 8, calls: 10 }));
}

#[test]
fn with_no_trigger_nothing_opens_it() {
    let trip = Trip { failure_rate: None, ..settings().trip };
    let rig = Rig::new(&Settings { trip, ..settings() });
    (0..100).for_each(|_| assert_eq!(rig.call(Outcome { failed: true, slow: true }), None));
}

#[test]
fn open_refuses_with_the_time_that_is_left() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(2));
    let refused = Refused { retry_after: secs(3), transition: None };
    assert_eq!(rig.breaker.check(rig.now), Err(refused));
    assert_eq!(rig.breaker.permit(rig.now), Err(refused));
    assert_eq!(rig.view().open_left, Some(secs(3)));
    assert!(rig.is_refusing());
}

#[test]
fn jitter_only_adds_and_at_most_a_fifth() {
    for (random, left) in [(0.0, 5_000), (0.5, 5_500), (1.0, 6_000), (f64::NAN, 5_500)] {
        let mut rig = Rig::new(&consecutive(1));
        rig.random = random;
        assert!(rig.call(FAILED).is_some());
        assert_eq!(rig.view().open_left, Some(Duration::from_millis(left)), "{random}");
    }
}

#[test]
fn the_check_takes_no_slot_and_the_permit_makes_it_half_open() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    assert!(!rig.is_refusing());
    assert_eq!(rig.view().state, State::Open, "nothing changes before a call comes");
    let probe = rig.permit();
    assert!(probe.probe);
    let reason = Reason::OpenTimeOver(secs(5));
    assert_eq!(probe.transition, Some(Transition { from: State::Open, to: State::HalfOpen, reason }));
    assert_eq!(rig.view().probes_in_flight, 1);
    assert!(rig.is_refusing(), "the only slot is taken");
    assert_eq!(rig.breaker.permit(rig.now).err().map(|refused| refused.retry_after), Some(PROBE_RETRY_AFTER));
}

#[test]
fn successes_in_a_row_close_it() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    assert_eq!([rig.call(OK), rig.call(OK)], [None, None]);
    let closed = rig.call(OK).unwrap();
    assert_eq!((closed.to, closed.reason), (State::Closed, Reason::ProbesPassed(3)));
    let view = rig.view();
    assert_eq!((view.calls, view.consecutive, view.state), (0, 0, State::Closed));
    assert_eq!(view.transitions, [1, 1, 1]);
}

#[test]
fn at_most_its_share_passes_while_half_open() {
    let half_open = HalfOpen { max_concurrent: 2, successes: 3, max_wait: secs(30) };
    let mut rig = Rig::open(&Settings { half_open, ..consecutive(1) });
    rig.wait(secs(5));
    let (first, _second) = (rig.permit(), rig.permit());
    assert!(rig.breaker.permit(rig.now).is_err());
    assert_eq!(rig.record(first, OK), None);
    let _third = rig.permit();
    assert!(rig.is_refusing());
}

#[test]
fn a_failed_probe_opens_it_for_twice_as_long_up_to_the_longest() {
    let mut rig = Rig::open(&consecutive(1));
    for length in [5, 10, 20, 40, 60, 60] {
        assert_eq!(rig.view().open_left, Some(secs(length)));
        rig.wait(secs(length));
        assert_eq!(rig.call(FAILED).map(|transition| transition.reason), Some(Reason::ProbeFailed));
    }
    rig.wait(secs(60));
    rig.calls(3, OK);
    assert!(rig.call(FAILED).is_some());
    assert_eq!(rig.view().open_left, Some(secs(5)), "closing resets the time");
}

#[test]
fn a_slow_probe_fails_only_if_slow_calls_are_a_trigger() {
    let mut off = Rig::open(&consecutive(1));
    off.wait(secs(5));
    off.calls(3, SLOW);
    assert_eq!(off.view().state, State::Closed);
    let trip = Trip { slow_call_rate: Some(0.8), ..consecutive(1).trip };
    let mut on = Rig::open(&Settings { trip, ..consecutive(1) });
    on.wait(secs(5));
    assert_eq!(on.call(SLOW).map(|transition| transition.reason), Some(Reason::ProbeSlow));
}

#[test]
fn a_cancelled_probe_gives_its_slot_back_and_has_no_vote() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    let probe = rig.permit();
    rig.breaker.cancel(probe);
    let view = rig.view();
    assert_eq!((view.state, view.probes_in_flight), (State::HalfOpen, 0));
    assert!(rig.permit().probe);
}

#[test]
fn half_open_without_a_verdict_opens_again_for_the_same_time() {
    let mut rig = Rig::new(&consecutive(1));
    rig.random = 1.0;
    assert!(rig.call(FAILED).is_some());
    rig.wait(secs(6));
    let hung = rig.permit();
    rig.wait(secs(29));
    assert_eq!(rig.view().state, State::HalfOpen);
    assert!(rig.is_refusing(), "its probe is out");
    rig.wait(secs(1));
    let refused = rig.breaker.check(rig.now).unwrap_err();
    assert_eq!(refused.retry_after, secs(6));
    assert_eq!(refused.transition.map(|change| change.reason), Some(Reason::HalfOpenTimedOut(secs(30))));
    assert_eq!(rig.record(hung, OK), None, "too late to vote");
    rig.wait(secs(6));
    assert_eq!(rig.permit().transition.map(|change| change.to), Some(State::HalfOpen));
}

#[test]
fn the_permit_notices_a_half_open_that_took_too_long_as_well() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    let _hung = rig.permit();
    rig.wait(secs(30));
    assert_eq!(
        rig.breaker.permit(rig.now).unwrap_err().transition.map(|change| change.to),
        Some(State::Open)
    );
}

#[test]
fn cancelled_probes_alone_do_not_keep_it_half_open() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    for _ in 0..3 {
        rig.breaker.cancel(rig.permit());
        rig.wait(secs(10));
    }
    assert!(rig.is_refusing());
    assert_eq!(rig.view().state, State::Open);
}

#[test]
fn a_service_that_is_hardly_called_closes_in_spite_of_max_wait() {
    let mut rig = Rig::open(&consecutive(1));
    for _ in 0..3 {
        rig.wait(secs(100));
        rig.calls(1, OK);
    }
    assert_eq!(rig.view().state, State::Closed);
}

#[test]
fn an_answer_from_before_the_trip_has_no_vote() {
    let mut rig = Rig::new(&consecutive(2));
    let early: Vec<_> = (0..6).map(|_| rig.permit()).collect();
    let generation = early[0].generation;
    assert!((0..2).find_map(|_| rig.call(FAILED)).is_some());
    let mut early = early.into_iter();
    let mut vote = |rig: &Rig, outcome| rig.record(early.next().unwrap(), outcome);
    assert_eq!([vote(&rig, OK), vote(&rig, FAILED)], [None, None], "while OPEN");
    rig.wait(secs(5));
    assert_eq!(rig.call(OK), None);
    assert_eq!([vote(&rig, OK), vote(&rig, FAILED)], [None, None], "while HALF_OPEN");
    assert_eq!(rig.view().state, State::HalfOpen);
    rig.calls(2, OK);
    assert_eq!([vote(&rig, FAILED), vote(&rig, FAILED)], [None, None], "while CLOSED again");
    assert_eq!(rig.breaker.fail_late(0, generation, rig.now, 0.0), None);
    assert_eq!((rig.view().calls, rig.view().consecutive), (0, 0));
}

#[test]
fn a_stream_that_breaks_late_is_one_more_failure_of_its_generation() {
    let rig = Rig::new(&consecutive(2));
    assert_eq!(rig.call(FAILED), None);
    let generation = rig.view().generation;
    let transition = rig.breaker.fail_late(0, generation, rig.now, 0.0);
    assert_eq!(transition, trip(Reason::ConsecutiveFailures(2)));
}

#[test]
fn a_probe_that_breaks_late_opens_it_again() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(5));
    assert_eq!(rig.call(OK), None);
    let generation = rig.view().generation;
    let transition = rig.breaker.fail_late(0, generation, rig.now, 0.0).unwrap();
    assert_eq!((transition.to, transition.reason), (State::Open, Reason::ProbeFailed));
    assert_eq!(rig.breaker.fail_late(0, generation, rig.now, 0.0), None);
}

#[test]
fn forced_open_stays_open_until_told_otherwise_then_probes() {
    let mut rig = Rig::new(&consecutive(1));
    let change = rig.breaker.force(Force::Open, rig.now).unwrap();
    assert_eq!((change.to, change.reason), (State::Open, Reason::Forced));
    rig.wait(secs(100_000));
    assert!(rig.is_refusing());
    assert!(rig.breaker.permit(rig.now).is_err());
    let view = rig.view();
    assert_eq!((view.forced, view.open_left, view.trips), (Some(Force::Open), None, 0));
    assert_eq!(rig.breaker.force(Force::Auto, rig.now), None);
    assert!(!rig.is_refusing());
    assert!(rig.permit().probe);
}

#[test]
fn forced_closed_lets_everything_pass_and_still_counts() {
    let rig = Rig::open(&consecutive(2));
    assert_eq!(rig.breaker.force(Force::Closed, rig.now).map(|change| change.to), Some(State::Closed));
    (0..5).for_each(|_| assert_eq!(rig.call(FAILED), None));
    assert_eq!((rig.view().failures, rig.view().forced), (5, Some(Force::Closed)));
    assert_eq!(rig.breaker.force(Force::Auto, rig.now), None);
    assert_eq!(rig.call(FAILED), trip(Reason::ConsecutiveFailures(6)));
}

#[test]
fn forcing_an_open_breaker_open_keeps_refusing_and_auto_lets_a_probe_pass() {
    let rig = Rig::open(&consecutive(1));
    assert_eq!(rig.breaker.force(Force::Open, rig.now), None);
    assert_eq!(rig.breaker.force(Force::Auto, rig.now), None);
    assert!(rig.permit().probe);
}

#[test]
fn auto_changes_nothing_when_nothing_was_forced() {
    let rig = Rig::open(&consecutive(1));
    assert_eq!(rig.breaker.force(Force::Auto, rig.now), None);
    assert_eq!(rig.view().open_left, Some(secs(5)));
}

#[test]
fn observing_lets_everything_pass_and_says_what_it_would_have_done() {
    let observe = Settings { mode: Mode::Observe, ..consecutive(1) };
    let mut rig = Rig::open(&observe);
    assert_eq!(rig.breaker.check(rig.now), Ok(()));
    assert!(rig.breaker.would_refuse(rig.now));
    let passed = rig.permit();
    assert!(passed.would_refuse && !passed.probe);
    rig.wait(secs(5));
    let probe = rig.permit();
    assert!(!probe.would_refuse && probe.probe);
    assert_eq!(rig.record(passed, FAILED), None, "it would not have been sent");
    let beside = rig.permit();
    assert!(beside.would_refuse);
    assert_eq!(rig.breaker.fail_late(0, beside.generation, rig.now, 0.0), None, "nor is its stream");
    assert_eq!(rig.record(beside, FAILED), None, "it is no probe");
    assert_eq!(rig.record(probe, OK), None);
    rig.calls(2, OK);
    assert_eq!(rig.view().state, State::Closed, "the machine runs all the same");
}

#[test]
fn observing_notices_a_half_open_that_took_too_long() {
    let observe = Settings { mode: Mode::Observe, ..consecutive(1) };
    let mut rig = Rig::open(&observe);
    rig.wait(secs(5));
    let _hung = rig.permit();
    rig.wait(secs(30));
    let passed = rig.permit();
    assert!(passed.would_refuse);
    assert_eq!(passed.transition.map(|change| change.to), Some(State::Open));
}

#[test]
fn a_reload_keeps_open_with_its_time_left_and_counts() {
    let mut rig = Rig::open(&consecutive(1));
    rig.wait(secs(2));
    let open_for = OpenFor { base: secs(50), max: secs(60) };
    rig.breaker.configure(&Settings { open_for, ..consecutive(1) });
    assert_eq!(rig.view().open_left, Some(secs(3)));

    let rig = Rig::new(&settings());
    rig.calls(4, FAILED);
    rig.breaker.configure(&consecutive(5));
    assert_eq!((rig.view().failures, rig.view().consecutive), (4, 4));
    assert_eq!(rig.call(FAILED), trip(Reason::ConsecutiveFailures(5)));
}

#[test]
fn a_reload_with_another_window_empties_it_and_votes_under_way_still_count() {
    let rig = Rig::new(&settings());
    let under_way = rig.permit();
    rig.calls(4, FAILED);
    rig.breaker.configure(&Settings { trip: Trip { window: secs(20), ..settings().trip }, ..settings() });
    assert_eq!(rig.view().calls, 0);
    assert_eq!(rig.record(under_way, OK), None);
    assert_eq!(rig.view().calls, 1);
}

#[test]
fn a_reload_keeps_what_was_forced_and_can_change_the_mode() {
    let rig = Rig::new(&settings());
    rig.breaker.force(Force::Open, rig.now);
    rig.breaker.configure(&consecutive(1));
    assert_eq!(rig.view().forced, Some(Force::Open));
    assert!(rig.is_refusing());
    rig.breaker.configure(&Settings { mode: Mode::Observe, ..consecutive(1) });
    assert_eq!((rig.breaker.check(rig.now), rig.view().mode), (Ok(()), Mode::Observe));
}

#[test]
fn workers_that_fail_together_trip_it_once() {
    let now = Instant::now();
    let breaker = Breaker::new(&consecutive(1_000), 4, now);
    let trips: usize = std::thread::scope(|scope| {
        let fail = |worker| {
            let votes = (0..2_000).filter_map(|_| {
                let permit = breaker.permit(now).ok()?;
                breaker.record(worker, permit, FAILED, now, 0.0)
            });
            votes.count()
        };
        let threads: Vec<_> = (0..4).map(|worker| scope.spawn(move || fail(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(trips, 1);
    let view = breaker.snapshot(now);
    assert_eq!((view.state, view.transitions), (State::Open, [0, 1, 0]));
}

#[test]
fn a_failure_that_lost_the_race_with_a_transition_has_no_vote() {
    let mut machine = Machine::new(&consecutive(1));
    let generation = machine.word().generation();
    let now = Instant::now();
    assert_eq!(machine.evaluate(generation.wrapping_sub(1), 9, || [9, 9, 9], now, 0.0), None);
    assert!(machine.evaluate(generation, 1, || [1, 1, 0], now, 0.0).is_some());
}

#[test]
fn workers_that_probe_together_share_the_slots() {
    let start = Instant::now();
    let half_open = HalfOpen { max_concurrent: 3, successes: u32::MAX, max_wait: secs(30) };
    let breaker = Breaker::new(&Settings { half_open, ..consecutive(1) }, 4, start);
    let permit = breaker.permit(start).unwrap();
    assert!(breaker.record(0, permit, FAILED, start, 0.0).is_some());
    let now = start + secs(5);
    let (out, most) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (breaker, out, most) = (&breaker, &out, &most);
            scope.spawn(move || {
                for round in 0..5_000 {
                    let Ok(permit) = breaker.permit(now) else { continue };
                    most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    out.fetch_sub(1, Ordering::SeqCst);
                    if round % 2 == 0 {
                        breaker.record(worker, permit, OK, now, 0.0);
                    } else {
                        breaker.cancel(permit);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(breaker.snapshot(now).probes_in_flight, 0);
}
