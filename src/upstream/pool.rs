//! Idle connections of one worker to one service.
//!
//! In: connections whose last response was read to its end. Out: one that is still silent, or
//! none. Which connections may wait, and for how long, is decided here alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Pool as Settings;
use crate::stream::Stream;
use crate::telemetry::Gauge;

/// A call that must not be repeated takes only a connection that was idle for less: the shorter the
/// wait, the smaller the chance that the service is just closing it.
pub const FRESH_IDLE_MAX: Duration = Duration::from_secs(1);

/// How much sooner than the service we give an idle connection up.
const HINT_MARGIN: Duration = Duration::from_secs(1);

/// Share of `maxAge` by which it is shortened at random, so that connections do not end in step.
const AGE_JITTER: f64 = 0.2;

/// A connection to a service.
#[derive(Debug)]
pub struct Connection {
    /// The socket and its unread input.
    pub stream: Stream,
    /// Its endpoint.
    pub address: SocketAddr,
    /// It has carried a call before.
    pub reused: bool,
    /// No call is started on it after this.
    retire_at: Instant,
    open: Option<Gauge>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    until: Instant,
    _idle: Gauge,
}

/// The idle connections, by endpoint.
#[derive(Debug, Default)]
pub struct Pools {
    idle: RefCell<HashMap<SocketAddr, Vec<Idle>, foldhash::fast::RandomState>>,
}

/// When a connection that is opened now takes no more calls; `random` is in 0..1.
pub(super) fn retire_at(settings: &Settings, now: Instant, random: f64) -> Instant {
    now + settings.max_age.mul_f64(1.0 - AGE_JITTER * random)
}

// === impl Connection ===

impl Connection {
    /// A new connection; `random` in 0..1 spreads the ages at which connections retire.
    pub fn new(
        stream: Stream,
        address: SocketAddr,
        settings: &Settings,
        now: Instant,
        random: f64,
        open: Gauge,
    ) -> Self {
        let retire_at = retire_at(settings, now, random);
        Self { stream, address, reused: false, retire_at, open: Some(open) }
    }

    /// Whether it ends with the request it carries.
    pub fn is_shared(&self) -> bool {
        self.open.is_none()
    }

    /// One request's share of a connection that others use too; it is counted and kept elsewhere.
    pub fn shared(stream: Stream, address: SocketAddr, reused: bool, now: Instant) -> Self {
        Self { stream, address, reused, retire_at: now, open: None }
    }
}

// === impl Pools ===

impl Pools {
    /// A silent connection to `address`, the one used last. With `fresh` only one that has hardly idled.
    pub fn take(&self, address: SocketAddr, fresh: bool, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.get_mut(&address)?;
        while let Some(mut last) = waiting.pop() {
            if fresh && now.saturating_duration_since(last.since) >= FRESH_IDLE_MAX {
                waiting.push(last);
                return None;
            }
            if now < last.until && last.connection.stream.is_silent() {
                last.connection.reused = true;
                return Some(last.connection);
            }
        }
        None
    }

    /// Keeps a connection for the next call, if it may wait at all.
    pub fn put(
        &self,
        mut connection: Connection,
        settings: &Settings,
        hint: Option<Duration>,
        now: Instant,
        idle: Gauge,
    ) {
        let wait = hint.map_or(settings.idle, |hint| settings.idle.min(hint.saturating_sub(HINT_MARGIN)));
        let until = (now + wait).min(connection.retire_at);
        if until <= now || !connection.stream.input.is_empty() || connection.stream.ended() {
            return;
        }
        connection.stream.rest();
        let mut pools = self.idle.borrow_mut();
        let waiting = pools.entry(connection.address).or_default();
        if waiting.len() < settings.max_idle {
            waiting.push(Idle { connection, since: now, until, _idle: idle });
        }
    }

    /// Closes what has waited long enough, was ended by its peer, or leads to an address that is
    /// no longer one of the service's (`is_current`).
    pub fn sweep(&self, now: Instant, is_current: impl Fn(SocketAddr) -> bool) {
        self.idle.borrow_mut().retain(|address, waiting| {
            if is_current(*address) {
                waiting.retain_mut(|idle| now < idle.until && idle.connection.stream.is_silent());
            } else {
                waiting.clear();
            }
            !waiting.is_empty()
        });
    }

    /// Closes every idle connection to `address`: one of them was found dead.
    pub fn clear(&self, address: SocketAddr) {
        self.idle.borrow_mut().remove(&address);
    }
}
