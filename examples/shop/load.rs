//! The shop's customers: a load at a fixed rate, and what they saw.
//!
//! In: the order service's address and a length of time. Out: one [`Sample`] for each call.
//! Open loop: a call starts when its time has come whatever became of the others, and its
//! latency counts from that time. A closed loop would slow down with a slow shop and report fine
//! percentiles of the few calls it still made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::http::{Client, Request};

/// A customer leaves after this time. The call has failed then, and took this long.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What a customer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// `POST /orders`: all four services.
    Order,
    /// `GET /catalog`: user and inventory alone.
    Catalog,
}

/// What became of one call.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// What was asked for.
    pub ask: Ask,
    /// When it started, from the start of the load.
    pub at: Duration,
    /// How long it took; [`PATIENCE`] when the customer left.
    pub took: Duration,
    /// Whether the answer was 200.
    pub ok: bool,
}

/// Samples in three numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// How many there are.
    pub calls: usize,
    /// How many were answered 200.
    pub ok: usize,
    /// Median latency, successes and failures alike.
    pub p50: Duration,
    /// 99th percentile of latency, successes and failures alike.
    pub p99: Duration,
}

/// Calls `to` `per_second` times a second for `length`: two orders, one look at the catalog.
pub async fn run(to: SocketAddr, per_second: u32, length: Duration) -> Vec<Sample> {
    let client = Arc::new(Client::default());
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0u32.. {
        let at = Duration::from_secs(1) * n / per_second;
        if at >= length {
            break;
        }
        sleep_until(start + at).await;
        let ask = if n % 3 == 2 { Ask::Catalog } else { Ask::Order };
        calls.spawn(call(Arc::clone(&client), to, ask, start, at));
    }
    calls.join_all().await
}

async fn call(client: Arc<Client>, to: SocketAddr, ask: Ask, start: Instant, at: Duration) -> Sample {
    let request = match ask {
        Ask::Order => Request { method: "POST", target: "/orders", host: "shop", body: "{}" },
        Ask::Catalog => Request { method: "GET", target: "/catalog", host: "shop", body: "" },
    };
    let answer = timeout(PATIENCE, client.send(to, request)).await;
    let ok = matches!(answer, Ok(Ok(response)) if response.status == 200);
    Sample { ask, at, took: start.elapsed() - at, ok }
}

// === impl Summary ===

impl Summary {
    /// Sums up the samples that `wanted` picks.
    pub fn of(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Self {
        let picked: Vec<_> = samples.iter().copied().filter(wanted).collect();
        let mut took: Vec<_> = picked.iter().map(|sample| sample.took).collect();
        took.sort_unstable();
        // Nearest rank: the smallest value that at least this share of the samples do not exceed.
        let rank = |percent: usize| {
            let at = (took.len() * percent).div_ceil(100).max(1) - 1;
            took.get(at).copied().unwrap_or_default()
        };
        let ok = picked.iter().filter(|sample| sample.ok).count();
        Self { calls: picked.len(), ok, p50: rank(50), p99: rank(99) }
    }

    /// Share of calls answered 200, in percent; 0 without calls.
    pub fn success_percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
        if self.calls == 0 { 0.0 } else { 100.0 * self.ok as f64 / self.calls as f64 }
    }
}
