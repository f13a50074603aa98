//! The five acts: what goes wrong in each, and what it must show.
//!
//! In: a [`Stage`]. Out: a [`Report`] with the act's rows and its promises, each with a number.
//! Every act plays twice, first on the order service alone, then on the one with a sidecar, with
//! the same load and the same trouble. The numbers leave room for a busy two-core machine; the
//! effects they stand for are far larger.

mod down;
mod flaky;
mod healthy;
mod live;
mod slow;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::load::{self, Ask, Sample, Summary};
use crate::services::{Service, Services};
use crate::sidecar::Sidecar;
use crate::table::{Report, Row};

/// Calls of all kinds per second: 100 orders and 50 looks at the catalog.
const RATE: u32 = 150;

/// The acts in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Everyone is well.
    Healthy,
    /// Inventory fails now and then: retries.
    Flaky,
    /// Payment is slow: the bulkhead.
    Slow,
    /// Payment is down and comes back: the breaker.
    Down,
    /// The YAML is edited: the reload.
    Live,
}

/// Everything an act plays with.
#[derive(Debug)]
pub struct Stage {
    /// The four services.
    pub services: Services,
    /// The order service on its own.
    pub alone: SocketAddr,
    /// The order service that has a sidecar.
    pub meshed: SocketAddr,
    /// The sidecar.
    pub sidecar: Sidecar,
}

/// What was seen of one half of an act.
#[derive(Debug)]
struct Half {
    samples: Vec<Sample>,
    reached: u64,
}

/// How an act ends.
type Played = Result<Report, Box<dyn Error>>;

// === impl Act ===

impl Act {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Flaky, Self::Slow, Self::Down, Self::Live];

    /// What `--only` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Flaky => "flaky",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Live => "live",
        }
    }

    /// What the audience is told before it begins.
    pub const fn story(self) -> &'static str {
        match self {
            Self::Healthy => healthy::STORY,
            Self::Flaky => flaky::STORY,
            Self::Slow => slow::STORY,
            Self::Down => down::STORY,
            Self::Live => live::STORY,
        }
    }

    /// Plays it. Fails only when it cannot be played; what it did not show is in the report.
    pub async fn play(self, stage: &Stage) -> Played {
        let report = match self {
            Self::Healthy => healthy::play(stage).await,
            Self::Flaky => flaky::play(stage).await,
            Self::Slow => slow::play(stage).await,
            Self::Down => down::play(stage).await,
            Self::Live => live::play(stage).await,
        };
        stage.services.heal();
        report
    }
}

// === impl Stage ===

impl Stage {
    fn service(&self, name: &str) -> Result<&Arc<Service>, Box<dyn Error>> {
        self.services.named(name).ok_or_else(|| format!("the shop has no {name}").into())
    }

    /// Loads one order service for `length` while `trouble` does what it does to `sick`.
    async fn half<T>(
        &self,
        shop: SocketAddr,
        length: Duration,
        sick: &Service,
        trouble: impl Future<Output = T>,
    ) -> (Half, T) {
        let before = sick.reached();
        let (samples, told) = tokio::join!(load::run(shop, RATE, length), trouble);
        (Half { samples, reached: sick.reached() - before }, told)
    }
}

// === impl Half ===

impl Half {
    fn sum(&self, ask: Ask) -> Summary {
        Summary::of(&self.samples, |sample| sample.ask == ask)
    }

    fn row(&self, act: Act, side: &'static str, ask: Ask, reached: bool) -> Row {
        let calls = match ask {
            Ask::Order => "orders",
            Ask::Catalog => "catalog",
        };
        Row { act: act.name(), calls, side, summary: self.sum(ask), reached: reached.then_some(self.reached) }
    }
}

/// A share as it is printed.
fn percent(share: f64) -> String {
    format!("{share:.1} %")
}
