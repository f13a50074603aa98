//! Intervals from growing counters, and what is forgotten.

use std::time::Duration;

use super::*;
use crate::error::Fault;
use crate::telemetry::{Outcome, RouteStats, ServiceStats, WorkerStats};

/// A process with one worker whose services count on and on.
#[derive(Default)]
struct Process(BTreeMap<String, (ServiceStats, RouteStats)>);

impl Process {
    fn call(&mut self, service: &str, outcome: Outcome, millis: u64) {
        let (_, route) = self.0.entry(service.to_owned()).or_default();
        route.count(outcome, Duration::from_millis(millis));
    }

    fn totals(&self) -> Totals {
        let report = |(name, (stats, route)): (&String, &(ServiceStats, RouteStats))| {
            stats.report(&Arc::from(name.as_str()), vec![route.report(&Arc::from(""))])
        };
        Totals::of(&[WorkerStats::default().report(self.0.iter().map(report).collect(), Vec::new())])
    }
}

fn calls(series: &Series, service: &str) -> Vec<[u32; 4]> {
    series.points(service).map(|point| point.calls).collect()
}

#[test]
fn a_point_is_what_came_since_the_one_before() {
    let (mut process, mut series) = (Process::default(), Series::default());
    series.sample(&process.totals(), 100);
    process.call("cart", Outcome::Success, 10);
    process.call("cart", Outcome::ServiceFailure, 500);
    series.sample(&process.totals(), 105);
    process.call("cart", Outcome::Fault(Fault::BreakerOpen), 1);
    process.0["cart"].0.count_retry(RetryDecision::Retried);
    process.0["cart"].0.count_retry(RetryDecision::Budget);
    series.sample(&process.totals(), 110);
    assert_eq!(calls(&series, "cart"), [[1, 1, 0, 0], [0, 0, 1, 0]]);
    let points: Vec<&Point> = series.points("cart").collect();
    assert_eq!((points[0].at, points[1].at), (105, 110));
    assert_eq!((points[0].retries, points[1].retries), (0, 1));
    // The slow call was in the interval before: this one's quantiles know nothing of it.
    assert!(points[0].micros[1] >= 500_000, "{:?}", points[0]);
    assert!(points[1].micros[2] <= 1_010, "{:?}", points[1]);
    assert_eq!(series.points("nobody").count(), 0);
}

#[test]
fn quantiles_are_of_the_interval_alone() {
    let (mut process, mut series) = (Process::default(), Series::default());
    (0..1000).for_each(|_| process.call("cart", Outcome::Success, 900));
    series.sample(&process.totals(), 5);
    (0..98).for_each(|_| process.call("cart", Outcome::Success, 10));
    (0..2).for_each(|_| process.call("cart", Outcome::Success, 300));
    series.sample(&process.totals(), 10);
    let [p50, p99, p999] = series.latest()[0].1.micros;
    let near = |found: u32, wanted: u32| found.abs_diff(wanted) * 100 <= wanted;
    assert!(near(p50, 10_000) && near(p99, 300_000) && near(p999, 300_000), "{p50} {p99} {p999}");
}

#[test]
fn a_service_that_came_back_begins_anew() {
    let (mut process, mut series) = (Process::default(), Series::default());
    (0..9).for_each(|_| process.call("cart", Outcome::Success, 10));
    series.sample(&process.totals(), 5);
    let mut process = Process::default();
    process.call("cart", Outcome::Success, 10);
    series.sample(&process.totals(), 10);
    assert_eq!(calls(&series, "cart"), [[9, 0, 0, 0], [1, 0, 0, 0]]);
}

#[test]
fn an_idle_service_has_empty_points_until_it_is_forgotten() {
    let (mut process, mut series) = (Process::default(), Series::default());
    process.call("cart", Outcome::Success, 10);
    series.sample(&process.totals(), 0);
    for sample in 1..POINTS_MAX as u32 {
        series.sample(&process.totals(), sample * 5);
        assert!(series.latest().is_empty());
    }
    assert_eq!(calls(&series, "cart").len(), POINTS_MAX);
    assert_eq!(calls(&series, "cart")[..2], [[1, 0, 0, 0], [0; 4]]);
    series.sample(&process.totals(), 1_000);
    assert_eq!(series.points("cart").count(), 0, "its last call is ten minutes ago");
}

#[test]
fn the_busiest_are_remembered() {
    let (mut process, mut series) = (Process::default(), Series::default());
    for index in 0..SERVICES_MAX {
        process.call(&format!("s{index}"), Outcome::Success, 1);
    }
    process.call("s7", Outcome::Success, 1);
    series.sample(&process.totals(), 5);
    process.call("quiet", Outcome::Success, 1);
    (0..3).for_each(|_| process.call("busy", Outcome::Success, 1));
    series.sample(&process.totals(), 10);
    let known = |name: &str| series.points(name).count() > 0;
    assert_eq!(series.rings.len(), SERVICES_MAX);
    assert!(known("busy") && known("s7") && !known("quiet"));
    assert_eq!(series.latest().len(), 2, "the last interval is told of every service");
}

#[test]
fn the_points_of_a_service_take_what_the_bound_says() {
    assert!(size_of::<Point>() * POINTS_MAX <= 4_400, "{}", size_of::<Point>() * POINTS_MAX);
}

#[test]
fn quantiles_of_few_values_are_among_them() {
    assert_eq!(quantile(&[], 0.5), 0);
    assert_eq!(quantile(&[(7, 1)], 0.999), 7);
    assert_eq!(quantile(&[(1, 50), (9, 50)], 0.5), 1);
    assert_eq!(difference(&[(1, 2), (3, 4), (5, 6)], &[(3, 1), (5, 6)]), [(1, 2), (3, 3)]);
}
