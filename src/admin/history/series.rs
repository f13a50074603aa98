//! What each service did in each interval, for as long as is remembered.
//!
//! In: the sums of all workers, and the time. Out: points. Pure: no clock, no I/O. Counters only grow
//! and histograms only fill, so an interval is the difference of two samples; where a count fell, the
//! service was removed and came back, and all it has counted is new.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::telemetry::{RetryDecision, ServiceTotals, Totals};

/// Points kept of one service: ten minutes.
pub(super) const POINTS_MAX: usize = 120;

/// Most services whose points are kept, of about 4 KiB each; the busiest stay.
pub(super) const SERVICES_MAX: usize = 256;

/// The outcomes of a call, in the order of [`Point::calls`].
pub(super) const OUTCOMES: [&str; 4] = ["success", "failure", "refused", "cancelled"];

/// The quantiles of [`Point::micros`].
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// One service in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// The end of the interval, in seconds of Unix time.
    pub at: u32,
    /// Calls that ended, by [`OUTCOMES`].
    pub calls: [u32; 4],
    /// Retries made.
    pub retries: u32,
    /// p50, p99 and p99.9 of the calls that ended, in microseconds; 0 without any.
    pub micros: [u32; 3],
}

/// The points of all services.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// What each service had counted by the last sample.
    counted: HashMap<Arc<str>, Counted>,
    rings: BTreeMap<Arc<str>, Ring>,
    latest: Vec<(Arc<str>, Point)>,
    at: u32,
}

/// All that a service has counted until now.
#[derive(Debug, Default)]
struct Counted {
    calls: [u64; 4],
    retries: u64,
    /// Latencies in microseconds that were seen, and how often, in rising order.
    latencies: Vec<(u64, u64)>,
}

/// The last points of one service.
#[derive(Debug, Default)]
struct Ring {
    points: VecDeque<Point>,
    /// The calls of all points.
    calls: u64,
}

// === impl Point ===

impl Point {
    /// Calls that ended, whatever their outcome.
    fn all_calls(&self) -> u64 {
        self.calls.iter().map(|calls| u64::from(*calls)).sum()
    }
}

// === impl Series ===

impl Series {
    /// Takes a sample at `at`, in seconds of Unix time.
    pub(super) fn sample(&mut self, totals: &Totals, at: u32) {
        let nothing = Counted::default();
        let mut counted = HashMap::with_capacity(totals.services.len());
        let mut latest = Vec::new();
        for (name, service) in &totals.services {
            let now = Counted::of(service);
            let point = now.since(self.counted.get(name).unwrap_or(&nothing), at);
            if point.all_calls() + u64::from(point.retries) > 0 {
                latest.push((Arc::clone(name), point));
            }
            counted.insert(Arc::clone(name), now);
        }
        self.counted = counted;
        self.at = at;
        self.keep(&latest);
        self.latest = latest;
    }

    /// The points of a service, oldest first.
    pub(super) fn points(&self, service: &str) -> impl Iterator<Item = &Point> {
        self.rings.get(service).into_iter().flat_map(|ring| &ring.points)
    }

    /// The services that had a call in the last interval.
    pub(super) fn latest(&self) -> &[(Arc<str>, Point)] {
        &self.latest
    }

    /// The time of the last sample, in seconds of Unix time.
    pub(super) fn at(&self) -> u32 {
        self.at
    }

    /// One more point for every service that is remembered, and for those that had a call.
    fn keep(&mut self, latest: &[(Arc<str>, Point)]) {
        let idle = Point { at: self.at, calls: [0; 4], retries: 0, micros: [0; 3] };
        let mut busy: HashMap<&str, Point> = latest.iter().map(|(name, point)| (&**name, *point)).collect();
        for (name, ring) in &mut self.rings {
            ring.push(busy.remove(&**name).unwrap_or(idle));
        }
        self.rings.retain(|_, ring| ring.calls > 0);
        for (name, point) in latest.iter().filter(|(name, _)| busy.contains_key(&**name)) {
            if self.make_room(point.all_calls()) {
                self.rings.entry(Arc::clone(name)).or_default().push(*point);
            }
        }
    }

    /// Whether there is room for a service with so many calls; one with fewer may have to go.
    fn make_room(&mut self, calls: u64) -> bool {
        if self.rings.len() < SERVICES_MAX {
            return true;
        }
        let quietest = self.rings.iter().min_by_key(|(_, ring)| ring.calls);
        match quietest.filter(|(_, ring)| ring.calls < calls).map(|(name, _)| Arc::clone(name)) {
            Some(name) => self.rings.remove(&name).is_some(),
            None => false,
        }
    }
}

// === impl Ring ===

impl Ring {
    fn push(&mut self, point: Point) {
        if self.points.len() == POINTS_MAX {
            self.calls -= self.points.pop_front().map_or(0, |oldest| oldest.all_calls());
        }
        self.calls += point.all_calls();
        self.points.push_back(point);
    }
}

// === impl Counted ===

impl Counted {
    fn of(service: &ServiceTotals) -> Self {
        let seen = service.duration();
        let latencies = seen.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Self {
            calls: OUTCOMES.map(|outcome| service.calls(outcome)),
            retries: service.retries[RetryDecision::Retried as usize],
            latencies: latencies.collect(),
        }
    }

    /// What came since `before`.
    fn since(&self, before: &Self, at: u32) -> Point {
        let nothing = Self::default();
        let fell = self.retries < before.retries
            || self.calls.iter().zip(&before.calls).any(|(now, before)| now < before);
        let before = if fell { &nothing } else { before };
        let calls = std::array::from_fn(|index| narrow(self.calls[index] - before.calls[index]));
        let latencies = difference(&self.latencies, &before.latencies);
        let micros = QUANTILES.map(|share| narrow(quantile(&latencies, share)));
        Point { at, calls, retries: narrow(self.retries - before.retries), micros }
    }
}

/// What an interval counts fits: four thousand million calls would need hundreds of millions a second,
/// and a latency that does not is over an hour.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The values that are in `now` and not yet in `before`; both rise.
fn difference(now: &[(u64, u64)], before: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut before = before.iter().peekable();
    let mut new = Vec::new();
    for &(value, count) in now {
        while before.next_if(|(earlier, _)| *earlier < value).is_some() {}
        let had = before.next_if(|(earlier, _)| *earlier == value).map_or(0, |(_, had)| *had);
        if count > had {
            new.push((value, count - had));
        }
    }
    new
}

/// The smallest value that at least this share of all is not above; 0 without values.
fn quantile(values: &[(u64, u64)], share: f64) -> u64 {
    let all: u64 = values.iter().map(|(_, count)| count).sum();
    let rank = ((share * all as f64).ceil() as u64).max(1);
    let mut passed = 0;
    let at_rank = values.iter().find(|(_, count)| {
        passed += count;
        passed >= rank
    });
    at_rank.map_or(0, |(value, _)| *value)
}

#[cfg(test)]
mod tests;
