//! Names that callers choose never become names that are counted.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::*;
use crate::admin::{ProcessFacts, Reloads, render};
use crate::config::{Options, load_str};
use crate::route::Asking;
use crate::telemetry::metrics::{Format, Process};
use crate::telemetry::{EXEMPLARS_MAX, Outcome};

const MESH: &str = "
version: v1
services:
  cart:
    endpoints: {static: [\"10.0.0.1:80\"]}
    routes: [{name: check, match: {pathPrefix: /check/}}]
";

fn local() -> Local {
    let config = load_str("mesh.yaml", MESH, &Options::default()).expect("a valid configuration");
    let mesh = Mesh::new(Arc::new(config), Vec::new(), mpsc::channel(1).0, Vec::new(), Instant::now());
    Local::new(Arc::new(mesh), 0, Rc::default(), None, None)
}

/// One call, counted and exported, as the road of a call does it.
fn call(local: &Local, host: &str, path: &str, trace_id: u128) {
    let now = Instant::now();
    let plan = match local.choose(host.as_bytes(), Asking::Http) {
        Choice::Service(index) => local.plan(index, b"GET", path.as_bytes(), |_| None, now),
        Choice::Unknown => local.plan_unknown(host.as_bytes(), 80).expect("a host"),
        Choice::Denied | Choice::Nowhere => panic!("{host} is no host"),
    };
    let duration = Duration::from_micros(1 + (trace_id as u64 * 97) % 100_000_000);
    let route = plan.route();
    route.stats.count(Outcome::Success, duration);
    route.stats.exemplify(duration, trace_id, SystemTime::now());
}

/// The names of all series on the page of metrics, and its length.
fn series(local: &Local) -> (BTreeSet<String>, usize) {
    let facts = ProcessFacts {
        started: SystemTime::UNIX_EPOCH,
        process: Process::default(),
        replay_bytes: 0,
        reloads: Reloads { applied: 0, unchanged: 0, rejected: 0 },
        last_reload_ok: true,
        config_version: String::new(),
        ready: true,
        draining: false,
        export: None,
    };
    let page = render(&[local.report()], &local.mesh.view(Instant::now()), &facts, Format::OpenMetrics);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split(" # ").next()?.rsplit_once(' '));
    (names.map(|(name, _)| name.to_owned()).collect(), page.len())
}

#[test]
fn a_million_paths_and_many_hosts_are_no_series_and_no_memory() {
    let local = local();
    let spread = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let trace_id = u128::from(number);
            let folder = if number % 2 == 0 { "/check" } else { "" };
            call(&local, "cart", &format!("{folder}/{number}?q={number}"), trace_id);
            if number % 4 == 0 {
                call(&local, &format!("stranger-{number}.example:{}", 1 + number % 60_000), "/", trace_id);
            }
        }
    };
    spread(0..10_000);
    let (before, short) = series(&local);
    assert!(before.len() > 60, "{before:?}");
    spread(10_000..1_000_000);
    let (after, long) = series(&local);
    assert_eq!(after, before);
    assert!(long < short + 8 * 1024, "numbers grow by digits: {short} bytes, then {long}");

    assert!(local.unknown.borrow().len() <= UNKNOWN_MAX);
    assert_eq!(local.kept.borrow().values().map(|kept| kept.routes.borrow().len()).sum::<usize>(), 2);
    let report = local.report();
    assert!(report.unknown.len() <= BUSIEST_UNKNOWN);
    for route in report.services.iter().flat_map(|service| &service.routes) {
        assert!((0..=EXEMPLARS_MAX).filter_map(|at| route.exemplars.at(at)).count() <= EXEMPLARS_MAX);
        assert!(route.duration.distinct_values() < 4_096, "{}", route.duration.distinct_values());
    }
}
