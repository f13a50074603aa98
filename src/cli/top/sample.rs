//! What `/services` says at one moment, and what happened between two of them.
//!
//! In: the page as JSON, and when it came. Out: one [`Row`] for each service, with rates and
//! latencies of the time between. Counts that fell mean that the proxy was started anew: what it
//! has counted since is all that there is then.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::time::Instant;

/// A share of calls that fail from which on a service is in trouble.
const ERROR_SHARE_TROUBLE: f64 = 0.05;

/// The services at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    services: BTreeMap<String, Seen>,
}

/// One service at one moment; counts are of all time.
#[derive(Debug, Default)]
struct Seen {
    breaker: Option<Breaker>,
    bulkhead: Option<Bulkhead>,
    endpoints: usize,
    penalised: usize,
    calls: u64,
    bad: u64,
    retries: u64,
    /// Latencies: a number of calls by microseconds.
    latencies: BTreeMap<u64, u64>,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breaker {
    /// `closed`, `open` or `half_open`.
    pub(super) state: String,
    /// Somebody holds it there.
    pub(super) forced: bool,
    /// Until it lets probes through, in milliseconds.
    pub(super) open_left_ms: Option<u64>,
}

/// A bulkhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bulkhead {
    /// Attempts in flight.
    pub(super) in_flight: u64,
    /// Their bound.
    pub(super) max: u64,
    /// Calls that wait.
    pub(super) queued: u64,
}

/// How badly off a service is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// Nothing is wrong.
    None,
    /// Something is not as usual: a forced breaker, an endpoint that is avoided.
    Odd,
    /// Many calls fail.
    Failing,
    /// Calls wait for a place, or there is none left.
    Full,
    /// The breaker tries whether the service works again.
    HalfOpen,
    /// The breaker refuses calls.
    Open,
}

/// One service, as it is shown. Rates are per second.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// Its name, without anything that a terminal would obey.
    pub(super) name: String,
    /// How badly off it is.
    pub(super) trouble: Trouble,
    /// `None`: switched off.
    pub(super) breaker: Option<Breaker>,
    /// `None`: switched off.
    pub(super) bulkhead: Option<Bulkhead>,
    /// Calls.
    pub(super) rate: f64,
    /// The share of calls that failed or were refused; `None` without calls.
    pub(super) errors: Option<f64>,
    /// Half of the calls took no longer, in microseconds; `None` without calls.
    pub(super) p50: Option<u64>,
    /// 99 % of the calls took no longer.
    pub(super) p99: Option<u64>,
    /// Retries.
    pub(super) retries: f64,
    /// Addresses that calls go to first.
    pub(super) healthy: usize,
    /// All addresses.
    pub(super) endpoints: usize,
}

/// One row for each service: the worst off first, then the busiest. Without a sample from before
/// there are no rates.
pub(super) fn rows(before: Option<&Sample>, now: &Sample) -> Vec<Row> {
    let seconds = before.map_or(0.0, |before| now.at.saturating_duration_since(before.at).as_secs_f64());
    let row = |(name, seen): (&String, &Seen)| {
        let since = before.map(|before| before.services.get(name));
        seen.row(name, since, seconds)
    };
    let mut rows: Vec<Row> = now.services.iter().map(row).collect();
    rows.sort_by(|one, other| {
        let by_rate = other.rate.total_cmp(&one.rate);
        other.trouble.cmp(&one.trouble).then(by_rate).then_with(|| one.name.cmp(&other.name))
    });
    rows
}

// === impl Sample ===

impl Sample {
    /// The page `/services` that came at `at`; nothing if it is another page.
    pub(super) fn parse(page: &str, at: Instant) -> Option<Self> {
        let page: Value = serde_json::from_str(page).ok()?;
        let one = |service: &Value| Some((service["name"].as_str()?.to_owned(), Seen::parse(service)));
        let services = page["services"].as_array()?.iter().map(one).collect::<Option<_>>()?;
        Some(Self { at, services })
    }
}

// === impl Seen ===

impl Seen {
    /// Whatever is missing is nothing: an older proxy says less.
    fn parse(service: &Value) -> Self {
        let calls = |outcome: &str| service["calls"][outcome].as_u64().unwrap_or(0);
        let endpoints = service["endpoints"].as_array();
        let penalised = |all: &Vec<Value>| all.iter().filter(|one| one["penalised"] == true).count();
        let pair = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
        let latencies = service["latency"]["counts"].as_array();
        let bad = calls("failure") + calls("refused");
        Self {
            breaker: Breaker::parse(&service["breaker"]),
            bulkhead: Bulkhead::parse(&service["bulkhead"]),
            endpoints: endpoints.map_or(0, Vec::len),
            penalised: endpoints.map_or(0, penalised),
            calls: calls("success") + calls("cancelled") + bad,
            bad,
            retries: service["retries"].as_u64().unwrap_or(0),
            latencies: latencies.into_iter().flatten().filter_map(pair).collect(),
        }
    }

    /// `since`: the same service a while ago, `Some(None)` if it was not there; `None` before there
    /// is anything to compare with.
    fn row(&self, name: &str, since: Option<Option<&Self>>, seconds: f64) -> Row {
        let nothing = Self::default();
        let before = match since {
            // Before a second look everything is as it was.
            None => self,
            Some(before) => before.filter(|before| before.calls <= self.calls).unwrap_or(&nothing),
        };
        let (calls, bad) = (self.calls - before.calls, self.bad.saturating_sub(before.bad));
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let errors = (calls > 0).then(|| bad as f64 / calls as f64);
        let quantile = |share: f64| quantile(&before.latencies, &self.latencies, share);
        Row {
            name: name.chars().map(|char| if char.is_control() { '?' } else { char }).collect(),
            trouble: self.trouble(errors),
            breaker: self.breaker.clone(),
            bulkhead: self.bulkhead,
            rate: rate(calls),
            errors,
            p50: quantile(0.5),
            p99: quantile(0.99),
            retries: rate(self.retries.saturating_sub(before.retries)),
            healthy: self.endpoints - self.penalised,
            endpoints: self.endpoints,
        }
    }

    fn trouble(&self, errors: Option<f64>) -> Trouble {
        let state = self.breaker.as_ref().map_or("", |breaker| breaker.state.as_str());
        let full = self.bulkhead.is_some_and(|bulkhead| {
            bulkhead.queued > 0 || bulkhead.max > 0 && bulkhead.in_flight >= bulkhead.max
        });
        if state == "open" {
            Trouble::Open
        } else if state == "half_open" {
            Trouble::HalfOpen
        } else if full {
            Trouble::Full
        } else if errors.is_some_and(|share| share >= ERROR_SHARE_TROUBLE) {
            Trouble::Failing
        } else if self.penalised > 0 || self.breaker.as_ref().is_some_and(|breaker| breaker.forced) {
            Trouble::Odd
        } else {
            Trouble::None
        }
    }
}

/// What this share of the latencies that came between is within; `None` if none came.
fn quantile(before: &BTreeMap<u64, u64>, now: &BTreeMap<u64, u64>, share: f64) -> Option<u64> {
    let came = |(micros, count): (&u64, &u64)| {
        (*micros, count.saturating_sub(before.get(micros).copied().unwrap_or(0)))
    };
    let all: u64 = now.iter().map(came).map(|(_, count)| count).sum();
    let wanted = (all as f64 * share).ceil().max(1.0);
    let mut within = 0;
    now.iter().map(came).find_map(|(micros, count)| {
        within += count;
        (count > 0 && within as f64 >= wanted).then_some(micros)
    })
}

// === impl Breaker ===

impl Breaker {
    fn parse(breaker: &Value) -> Option<Self> {
        Some(Self {
            state: breaker["state"].as_str()?.to_owned(),
            forced: breaker["forced"].is_string(),
            open_left_ms: breaker["openLeftMs"].as_u64(),
        })
    }
}

// === impl Bulkhead ===

impl Bulkhead {
    fn parse(bulkhead: &Value) -> Option<Self> {
        Some(Self {
            in_flight: bulkhead["inFlight"].as_u64()?,
            max: bulkhead["maxConcurrent"].as_u64()?,
            queued: bulkhead["queued"].as_u64()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn service(name: &str, success: u64, failure: u64, counts: &Value) -> Value {
        json!({
            "name": name,
            "breaker": {"state": "closed", "forced": null, "openLeftMs": null},
            "bulkhead": {"inFlight": 3, "queued": 0, "maxConcurrent": 20},
            "endpoints": [{"address": "10.0.0.1:80", "penalised": false}],
            "calls": {"success": success, "failure": failure, "refused": 0, "cancelled": 0},
            "retries": success / 10,
            "latency": {"counts": counts},
        })
    }

    fn sample(services: &[Value], at: Instant) -> Sample {
        Sample::parse(&json!({"services": services}).to_string(), at).expect("the page")
    }

    #[test]
    fn rates_and_latencies_are_of_the_time_between_two_looks() {
        let start = Instant::now();
        let before = sample(&[service("cart", 1_000, 0, &json!([[500_000, 1_000]]))], start);
        let counts = json!([[1_000, 98], [40_000, 2], [500_000, 1_000]]);
        let now = sample(&[service("cart", 1_090, 10, &counts)], start + Duration::from_secs(2));
        let [row] = &rows(Some(&before), &now)[..] else { panic!("one service") };
        assert_eq!((row.rate, row.errors, row.retries), (50.0, Some(0.1), 4.5));
        assert_eq!((row.p50, row.p99), (Some(1_000), Some(40_000)), "not the 500 ms of long ago");
    }

    #[test]
    fn a_proxy_that_was_started_anew_has_counted_from_nothing() {
        let start = Instant::now();
        let before = sample(&[service("cart", 1_000, 900, &json!([[500_000, 1_900]]))], start);
        let now = sample(&[service("cart", 20, 0, &json!([[1_000, 20]]))], start + Duration::from_secs(1));
        let row = &rows(Some(&before), &now)[0];
        assert_eq!((row.rate, row.errors, row.p50), (20.0, Some(0.0), Some(1_000)));
    }

    #[test]
    fn one_look_has_no_rates() {
        let now = sample(&[service("cart", 1_000, 900, &json!([[500_000, 1_900]]))], Instant::now());
        let row = &rows(None, &now)[0];
        assert_eq!((row.rate, row.errors, row.p50, row.retries), (0.0, None, None, 0.0));
    }

    #[test]
    fn the_worst_off_come_first_then_the_busiest() {
        let start = Instant::now();
        let names = ["busy", "idle", "failing", "open", "full", "new"];
        let before: Vec<Value> = names[..5].iter().map(|name| service(name, 0, 0, &json!([]))).collect();
        let mut now: Vec<Value> = names.iter().map(|name| service(name, 1, 0, &json!([]))).collect();
        now[0]["calls"]["success"] = 900.into();
        now[2]["calls"]["failure"] = 1.into();
        now[3]["breaker"]["state"] = "open".into();
        now[4]["bulkhead"]["queued"] = 2.into();
        now[5]["calls"]["success"] = 20.into();
        let (before, now) = (sample(&before, start), sample(&now, start + Duration::from_secs(1)));
        let order: Vec<String> = rows(Some(&before), &now).into_iter().map(|row| row.name).collect();
        assert_eq!(order, ["open", "full", "failing", "busy", "new", "idle"]);
    }

    #[test]
    fn other_pages_and_older_ones_are_no_trouble() {
        for other in ["", "[]", "{}", "{\"services\": 1}", "{\"services\": [{}]}"] {
            assert!(Sample::parse(other, Instant::now()).is_none(), "{other}");
        }
        let bare = sample(&[json!({"name": "a\u{1b}[2Jb"})], Instant::now());
        let row = &rows(None, &bare)[0];
        assert_eq!((row.name.as_str(), row.trouble, row.endpoints), ("a?[2Jb", Trouble::None, 0));
        assert!(row.breaker.is_none() && row.bulkhead.is_none());
    }
}
