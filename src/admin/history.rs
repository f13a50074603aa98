//! The last ten minutes of every service, so that a page opened after an incident shows it.
//!
//! In: a sample of the workers' counts every five seconds. Out: the pages of `/history`. A sample
//! costs each worker one report, which is what one scrape costs; nothing is asked in between.

mod series;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::telemetry::{Reports, Totals};

use series::{OUTCOMES, Point, Series};

/// Time between two samples: an incident of ten seconds shows as two points.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// What the services did lately. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Series>>);

// === impl History ===

impl History {
    /// Takes samples for ever. Cancel-safe: a sample is taken whole or not at all.
    pub async fn keep(self, reports: Reports) {
        let mut samples = interval(SAMPLE_EVERY);
        // A host that slept owes one sample, not one for every interval that it slept through.
        samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            samples.tick().await;
            let totals = Totals::of(&reports.collect().await);
            self.sample(&totals, SystemTime::now());
        }
    }

    fn sample(&self, totals: &Totals, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.lock().sample(totals, u32::try_from(since.as_secs()).unwrap_or(u32::MAX));
    }

    /// All points of one service, oldest first; none of a service without a call.
    pub(super) fn of_service(&self, service: &str) -> Value {
        let series = self.lock();
        let point = |point: &Point| {
            let mut fields = fields(point);
            fields.insert("at".into(), point.at.into());
            Value::Object(fields)
        };
        let points: Vec<Value> = series.points(service).map(point).collect();
        json!({"everyS": SAMPLE_EVERY.as_secs(), "points": points})
    }

    /// The last interval of every service that had a call in it.
    pub(super) fn latest(&self) -> Value {
        let series = self.lock();
        let named = |(name, point): &(Arc<str>, Point)| {
            let mut fields = fields(point);
            fields.insert("name".into(), (&**name).into());
            Value::Object(fields)
        };
        let services: Vec<Value> = series.latest().iter().map(named).collect();
        json!({"everyS": SAMPLE_EVERY.as_secs(), "at": series.at(), "services": services})
    }

    fn lock(&self) -> MutexGuard<'_, Series> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts, and quantiles in milliseconds.
fn fields(point: &Point) -> Map<String, Value> {
    let counts = OUTCOMES.into_iter().zip(point.calls).map(|(name, count)| (name, json!(count)));
    let quantiles = ["p50", "p99", "p999"].into_iter().zip(point.micros);
    let quantiles = quantiles.map(|(name, micros)| (name, json!(f64::from(micros) / 1e3)));
    let all = counts.chain([("retries", json!(point.retries))]).chain(quantiles);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}
