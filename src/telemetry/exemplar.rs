//! One call's trace for each bucket of a histogram, so that a slow bucket leads to a slow call.
//!
//! In: calls whose spans are exported, from the worker they ran on. Out: copies for the page of
//! metrics. The latest call of a bucket replaces the one before it; a route without exported calls
//! takes no memory for them.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use super::metrics::BUCKETS_SECONDS;

/// Most exemplars of one histogram: one for each bucket, and one above them all.
pub const EXEMPLARS_MAX: usize = BUCKETS_SECONDS.len() + 1;

/// One exported call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: u128,
    /// How long it took.
    pub duration: Duration,
    /// When it ended.
    pub ended: SystemTime,
}

/// The latest exported call of each bucket, from the fastest; nothing until there is one.
#[derive(Debug, Clone, Default)]
pub struct Exemplars(Option<Box<[Option<Exemplar>; EXEMPLARS_MAX]>>);

/// Those of one worker and route.
#[derive(Debug, Default)]
pub(super) struct Latest(RefCell<Exemplars>);

// === impl Exemplar ===

impl Exemplar {
    /// The bucket that its duration falls into.
    fn bucket(&self) -> usize {
        let seconds = self.duration.as_secs_f64();
        BUCKETS_SECONDS.partition_point(|bound| *bound < seconds)
    }
}

// === impl Exemplars ===

impl Exemplars {
    /// The one of the bucket at this place; the last place is for what is above all bounds.
    pub fn at(&self, bucket: usize) -> Option<&Exemplar> {
        self.0.as_ref()?.get(bucket)?.as_ref()
    }

    /// Takes over what is later than its own.
    pub(super) fn merge(&mut self, others: &Self) {
        for other in others.0.iter().flat_map(|buckets| buckets.iter()).flatten() {
            self.put(*other);
        }
    }

    fn put(&mut self, exemplar: Exemplar) {
        let buckets = self.0.get_or_insert_with(|| Box::new([None; EXEMPLARS_MAX]));
        let at = &mut buckets[exemplar.bucket()];
        if at.is_none_or(|known| known.ended <= exemplar.ended) {
            *at = Some(exemplar);
        }
    }
}

// === impl Latest ===

impl Latest {
    /// Notes one call.
    pub(super) fn note(&self, exemplar: Exemplar) {
        self.0.borrow_mut().put(exemplar);
    }

    /// A copy for the admin thread.
    pub(super) fn copy(&self) -> Exemplars {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(trace_id: u128, millis: u64, ended: u64) -> Exemplar {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(ended);
        Exemplar { trace_id, duration: Duration::from_millis(millis), ended }
    }

    fn traces(exemplars: &Exemplars) -> Vec<(usize, u128)> {
        (0..EXEMPLARS_MAX).filter_map(|at| Some((at, exemplars.at(at)?.trace_id))).collect()
    }

    #[test]
    fn the_latest_call_of_each_bucket_is_kept() {
        let latest = Latest::default();
        assert!(latest.copy().0.is_none(), "no memory before the first");
        for exemplar in [call(1, 1, 10), call(2, 2, 11), call(3, 90_000, 12), call(4, 1, 13)] {
            latest.note(exemplar);
        }
        assert_eq!(traces(&latest.copy()), [(0, 4), (1, 2), (EXEMPLARS_MAX - 1, 3)]);
    }

    #[test]
    fn however_many_calls_there_are_one_per_bucket_is_kept() {
        let latest = Latest::default();
        for number in 0..100_000 {
            latest.note(call(number.into(), number, 10));
        }
        let kept = traces(&latest.copy());
        assert_eq!(kept.len(), EXEMPLARS_MAX);
        assert_eq!(kept.last(), Some(&(EXEMPLARS_MAX - 1, 99_999)));
    }

    #[test]
    fn of_two_workers_the_later_call_is_shown() {
        let (mut all, other) = (Exemplars::default(), Latest::default());
        other.note(call(7, 1, 20));
        other.note(call(8, 40, 5));
        all.put(call(1, 1, 19));
        all.put(call(2, 40, 6));
        all.merge(&other.copy());
        all.merge(&Exemplars::default());
        assert_eq!(traces(&all).into_iter().map(|(_, trace)| trace).collect::<Vec<_>>(), [7, 2]);
    }
}
