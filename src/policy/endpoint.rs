//! Which endpoint the next attempt goes to, and which ones are chosen last.
//!
//! In: how connections to an endpoint went; how busy each is. Out: an index. Holds no list of
//! endpoints and no connection: [`choose`] is a function over numbers.
//!
//! The less busy of two picked at random spreads load almost as well as the least busy of all, at
//! the cost of two look-ups. It alone would prefer an endpoint that fails fast and so is never busy,
//! hence the [`Penalty`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Balance;
use crate::policy::window::micros_since;

/// How long an endpoint is chosen last after its first failure.
pub const PENALTY_FIRST: Duration = Duration::from_secs(1);

/// The longest an endpoint is chosen last.
pub const PENALTY_MAX: Duration = Duration::from_secs(30);

/// Low bits of `Penalty::state`: when it ends, in microseconds since the epoch.
const UNTIL_BITS: u32 = 56;
const UNTIL_MASK: u64 = (1 << UNTIL_BITS) - 1;

/// Says whether an endpoint is chosen last: its connection was refused, timed out or reset.
#[derive(Debug)]
pub struct Penalty {
    epoch: Instant,
    /// Failed periods in a row (upper 8 bits) and the end of the last; zero is all well.
    state: AtomicU64,
}

/// How much an endpoint is wanted; the lowest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Good,
    JustFailed,
    Penalised,
    Both,
}

// === impl Penalty ===

impl Penalty {
    /// No penalty. No `now` given later may be before `epoch`.
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, state: AtomicU64::new(0) }
    }

    /// A connection was refused, timed out or was reset: 1 s, doubling to 30 s. Failures within a
    /// penalty change nothing, as calls that were under way fail together.
    pub fn failed(&self, now: Instant) {
        let now = micros_since(self.epoch, now);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (periods, until) = (state >> UNTIL_BITS, state & UNTIL_MASK);
            if periods > 0 && now < until {
                return;
            }
            // Past 8 doublings the longest penalty is reached anyway.
            let length = (PENALTY_FIRST * (1 << periods.min(8))).min(PENALTY_MAX);
            let until = (now + length.as_micros() as u64) & UNTIL_MASK;
            let next = (periods + 1).min(8) << UNTIL_BITS | until;
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => state = found,
            }
        }
    }

    /// The endpoint answered: all is forgiven.
    pub fn worked(&self) {
        // Reading first keeps the cache line shared while all is well.
        if self.state.load(Ordering::Relaxed) != 0 {
            self.state.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the endpoint is to be chosen last at `now`.
    pub fn is_penalised(&self, now: Instant) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state != 0 && micros_since(self.epoch, now) < state & UNTIL_MASK
    }
}

/// Chooses one of `n` endpoints; `None` only for none.
///
/// `avoided` are those that just failed this call. One that is neither penalised nor to be avoided is
/// taken if there is any; then an avoided one, then a penalised one, then one that is both. `load` is what is in flight, `round` a
/// number that grows by one per choice, `random` two random numbers.
pub fn choose(
    n: usize,
    load: impl Fn(usize) -> u32,
    penalised: impl Fn(usize) -> bool,
    avoided: impl Fn(usize) -> bool,
    balance: Balance,
    round: usize,
    random: [u64; 2],
) -> Option<usize> {
    if n <= 1 {
        return (n == 1).then_some(0);
    }
    let tier = |index: usize| tier(penalised(index), avoided(index));
    match balance {
        Balance::RoundRobin => {
            let start = round % n;
            let mut turns = (start..n).chain(0..start);
            turns.find(|index| tier(*index) == Tier::Good).or_else(|| first_best(n, start, tier))
        }
        Balance::LeastRequest => {
            let (one, other) = two_of(n, random);
            let best = [one, other]
                .into_iter()
                .filter(|index| tier(*index) == Tier::Good)
                .min_by_key(|index| load(*index));
            best.or_else(|| first_best(n, one, |index| (tier(index), load(index))))
        }
    }
}

fn tier(penalised: bool, avoided: bool) -> Tier {
    match (penalised, avoided) {
        (false, false) => Tier::Good,
        (false, true) => Tier::JustFailed,
        (true, false) => Tier::Penalised,
        (true, true) => Tier::Both,
    }
}

/// Two different indexes below `n`, which is at least 2.
fn two_of(n: usize, random: [u64; 2]) -> (usize, usize) {
    let one = (random[0] % n as u64) as usize;
    let step = 1 + (random[1] % (n as u64 - 1)) as usize;
    (one, (one + step) % n)
}

/// The first of the lowest rank, going round from `start`.
fn first_best<R: Ord>(n: usize, start: usize, rank: impl Fn(usize) -> R) -> Option<usize> {
    (start..n).chain(0..start).min_by_key(|index| rank(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// How often each of `n` is chosen in many rounds.
    fn histogram(
        n: usize,
        load: &dyn Fn(usize) -> u32,
        bad: &[usize],
        avoid: Option<usize>,
        balance: Balance,
    ) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut chosen = vec![0; n];
        for round in 0..3_000 {
            let random = [rng.u64(..), rng.u64(..)];
            let (penalised, avoided) = (|index| bad.contains(&index), |index| avoid == Some(index));
            let index = choose(n, load, penalised, avoided, balance, round, random);
            chosen[index.unwrap()] += 1;
        }
        chosen
    }

    #[test]
    fn a_penalty_lasts_one_second_then_doubles_to_thirty() {
        let epoch = Instant::now();
        let penalty = Penalty::new(epoch);
        assert!(!penalty.is_penalised(epoch));
        let mut now = epoch;
        for length in [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30] {
            penalty.failed(now);
            assert!(penalty.is_penalised(now + secs(length) - Duration::from_millis(1)), "{length}");
            now += secs(length);
            assert!(!penalty.is_penalised(now), "{length}");
        }
        penalty.worked();
        penalty.failed(now);
        assert!(!penalty.is_penalised(now + secs(1)), "it starts over once it worked");
    }

    #[test]
    fn failures_within_a_penalty_are_one_incident() {
        let epoch = Instant::now();
        let penalty = Penalty::new(epoch);
        (0..50).for_each(|_| penalty.failed(epoch));
        assert!(!penalty.is_penalised(epoch + secs(1)));
    }

    #[test]
    fn worked_ends_a_penalty_at_once() {
        let epoch = Instant::now();
        let penalty = Penalty::new(epoch);
        penalty.failed(epoch);
        penalty.worked();
        assert!(!penalty.is_penalised(epoch));
    }

    #[test]
    fn none_of_none_and_the_only_one_whatever_its_state() {
        let pick = |n| choose(n, |_| 0, |_| true, |_| true, Balance::LeastRequest, 0, [0, 0]);
        assert_eq!(pick(0), None);
        assert_eq!(pick(1), Some(0));
    }

    #[test]
    fn where_all_are_penalised_one_that_was_not_tried_is_next() {
        for balance in [Balance::LeastRequest, Balance::RoundRobin] {
            for round in 0..9 {
                let random = [round as u64, 3 * round as u64];
                let load = |index: usize| u32::from(index == 2);
                let next = choose(3, load, |_| true, |index| index != 2, balance, round, random);
                assert_eq!(next, Some(2), "{balance:?} {round}");
            }
        }
    }

    #[test]
    fn round_robin_takes_turns_and_skips() {
        assert_eq!(histogram(3, &|_| 0, &[], None, Balance::RoundRobin), [1000, 1000, 1000]);
        assert_eq!(histogram(3, &|_| 0, &[1], None, Balance::RoundRobin)[1], 0);
        assert_eq!(histogram(3, &|_| 0, &[], Some(2), Balance::RoundRobin)[2], 0);
    }

    #[test]
    fn equal_load_is_spread_evenly() {
        let chosen = histogram(5, &|_| 3, &[], None, Balance::LeastRequest);
        assert!(chosen.iter().all(|count| (450..750).contains(count)), "{chosen:?}");
    }

    #[test]
    fn the_busiest_of_all_is_never_chosen() {
        let chosen = histogram(3, &|index| [1, 9, 2][index], &[], None, Balance::LeastRequest);
        assert_eq!(chosen[1], 0);
        assert!(chosen[0] > chosen[2]);
    }

    #[test]
    fn one_good_endpoint_among_many_bad_gets_all() {
        let load = |index| if index == 4 { 100 } else { 0 };
        let chosen = histogram(6, &load, &[0, 1, 2, 3, 5], None, Balance::LeastRequest);
        assert_eq!(chosen[4], 3_000);
    }

    #[test]
    fn the_one_that_just_failed_is_avoided_if_there_is_another() {
        for balance in [Balance::LeastRequest, Balance::RoundRobin] {
            assert_eq!(histogram(2, &|_| 0, &[], Some(0), balance), [0, 3_000]);
            assert_eq!(histogram(2, &|_| 0, &[0], Some(0), balance), [0, 3_000]);
            assert_eq!(histogram(2, &|_| 0, &[0, 1], Some(0), balance), [0, 3_000], "both penalised");
            assert_eq!(histogram(2, &|_| 0, &[1], Some(0), balance), [3_000, 0], "penalised is last");
        }
    }

    #[test]
    fn with_all_penalised_the_load_still_counts() {
        let chosen = histogram(3, &|index| [5, 0, 5][index], &[0, 1, 2], None, Balance::LeastRequest);
        assert_eq!(chosen, [0, 3_000, 0]);
    }
}
