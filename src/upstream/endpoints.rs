//! The addresses of a service, shared by all workers.
//!
//! In: a static list, or answers of a resolver that runs on the control thread. Out: the list a
//! call chooses from. A call never waits for a name but the first time; later answers replace the
//! list behind its back, and a failed lookup leaves the last good list in place.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use crate::config::Endpoints as Settings;
use crate::policy::Penalty;

/// Shortest time between two lookups of a name, whatever its TTL: a TTL of 0 is common and must not
/// mean a lookup per call.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// Longest time an answer is believed.
pub const TTL_MAX: Duration = Duration::from_secs(300);

/// Wait after a failed lookup before the next one.
pub const FAILED_LOOKUP_WAIT: Duration = Duration::from_secs(1);

/// How soon a waiting call asks again when the resolver's queue was full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);

/// One address of a service.
#[derive(Debug)]
pub struct Endpoint {
    /// The address.
    pub address: SocketAddr,
    /// Keeps it last in the choice while its connections fail.
    pub penalty: Penalty,
    in_flight: AtomicU32,
}

/// Where a set's addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// They never change.
    Static(Vec<SocketAddr>),
    /// Every address of a name.
    Dns {
        /// The name, without a port.
        name: String,
        /// The port of every address.
        port: u16,
    },
}

/// The addresses known at one time.
#[derive(Debug)]
pub struct EndpointList {
    /// In the order of the source.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// When they should be looked up again; `None` for static ones.
    pub expires: Option<Instant>,
    /// Addresses of the answer before that this one has no longer: applications may still dial them.
    pub before: Vec<IpAddr>,
}

/// The addresses of one service.
#[derive(Debug)]
pub struct EndpointSet {
    source: Source,
    current: ArcSwapOption<EndpointList>,
    looking_up: AtomicBool,
    /// Lookups that failed while no address was known.
    failures: AtomicU64,
    /// The last lookup gave a name without addresses.
    is_empty: AtomicBool,
    /// No lookup before this time while no address is known, in microseconds since `epoch`.
    retry_at: AtomicU64,
    changed: Notify,
    epoch: Instant,
    resolver: Option<mpsc::Sender<Arc<EndpointSet>>>,
}

/// What became of the wish for a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The resolver is at it.
    Yes,
    /// It is busy, and the set may ask again.
    QueueFull,
    /// There is none, or no longer.
    Nobody,
}

/// One attempt counted on an endpoint; ends when dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

// === impl Endpoint ===

impl Endpoint {
    fn new(address: SocketAddr, epoch: Instant) -> Self {
        Self { address, penalty: Penalty::new(epoch), in_flight: AtomicU32::new(0) }
    }

    /// Attempts in flight, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

// === impl InFlight ===

impl InFlight {
    /// Counts one attempt.
    pub fn enter(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(endpoint))
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Source ===

impl From<&Settings> for Source {
    fn from(settings: &Settings) -> Self {
        match settings {
            Settings::Static(addresses) => Self::Static(addresses.clone()),
            Settings::Dns { name, port } => Self::Dns { name: name.clone(), port: *port },
        }
    }
}

// === impl EndpointSet ===

impl EndpointSet {
    /// A set whose names `resolver` looks up. A name that is an address needs no resolver.
    pub fn new(source: Source, resolver: Option<mpsc::Sender<Arc<Self>>>, epoch: Instant) -> Self {
        let fixed = match &source {
            Source::Static(addresses) => Some(addresses.clone()),
            Source::Dns { name, port } => name.parse().ok().map(|ip| vec![SocketAddr::new(ip, *port)]),
        };
        let current = fixed.map(|addresses| {
            let endpoints =
                addresses.into_iter().map(|address| Arc::new(Endpoint::new(address, epoch))).collect();
            Arc::new(EndpointList { endpoints, expires: None, before: Vec::new() })
        });
        Self {
            source,
            current: ArcSwapOption::new(current),
            looking_up: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            is_empty: AtomicBool::new(false),
            retry_at: AtomicU64::new(0),
            changed: Notify::new(),
            epoch,
            resolver,
        }
    }

    /// Where the addresses come from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The addresses known now, if any ever were; asks for new ones when they have expired.
    pub fn current(self: &Arc<Self>, now: Instant) -> Option<arc_swap::Guard<Option<Arc<EndpointList>>>> {
        let list = self.current.load();
        match list.as_ref() {
            Some(known) if known.expires.is_none_or(|expires| now < expires) => {}
            None if self.has_just_failed(now) => {}
            // Whoever needs the answer waits for it in `resolved`; others have the list before.
            Some(_) | None => _ = self.look_up(),
        }
        list.is_some().then_some(list)
    }

    /// Whether `ip` is one of the addresses, or was in the answer before. A view without a side effect.
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        self.current.load().as_ref().is_some_and(|list| {
            list.endpoints.iter().any(|endpoint| endpoint.address.ip() == ip) || list.before.contains(&ip)
        })
    }

    /// Whether no address is known because the name has none, by the last answer.
    pub fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Acquire)
    }

    /// Asks for newer addresses if those that are known have expired.
    pub fn keep_fresh(self: &Arc<Self>, now: Instant) {
        let expires = self.current.load().as_ref().and_then(|list| list.expires);
        if expires.is_some_and(|expires| now >= expires) {
            let _ = self.look_up();
        }
    }

    /// Whether there was an answer yet, or a failure.
    pub fn is_settled(&self) -> bool {
        self.current.load().is_some() || self.failures.load(Ordering::Acquire) > 0
    }

    /// A view without a side effect, for people.
    pub fn peek(&self) -> Option<Arc<EndpointList>> {
        self.current.load_full()
    }

    /// Waits until the first lookup has an answer. `false`: it failed, now or within the last
    /// [`FAILED_LOOKUP_WAIT`], or there is nobody to ask. Cancel-safe; the caller bounds the wait.
    pub async fn resolved(self: &Arc<Self>) -> bool {
        let failures = self.failures.load(Ordering::Acquire);
        loop {
            // Before the looks, so that no change between them and the wait is missed.
            let changed = self.changed.notified();
            if self.current.load().is_some() {
                return true;
            }
            if self.failures.load(Ordering::Acquire) != failures || self.has_just_failed(Instant::now()) {
                return false;
            }
            match self.look_up() {
                Asked::Yes => changed.await,
                Asked::QueueFull => sleep(QUEUE_FULL_WAIT).await,
                Asked::Nobody => return false,
            }
        }
    }

    /// Asks the resolver, unless it is at it.
    fn look_up(self: &Arc<Self>) -> Asked {
        let Some(resolver) = &self.resolver else { return Asked::Nobody };
        if self.looking_up.swap(true, Ordering::AcqRel) {
            return Asked::Yes;
        }
        let asked = match resolver.try_send(Arc::clone(self)) {
            Ok(()) => return Asked::Yes,
            Err(TrySendError::Full(_)) => Asked::QueueFull,
            Err(TrySendError::Closed(_)) => Asked::Nobody,
        };
        self.looking_up.store(false, Ordering::Release);
        asked
    }

    /// Whether no address is known and the last lookup failed a moment ago: a name that does not
    /// resolve must not mean a lookup per call.
    fn has_just_failed(&self, now: Instant) -> bool {
        self.micros(now) < self.retry_at.load(Ordering::Acquire)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }

    /// The resolver's answer. Endpoints that stay keep their counts and penalties.
    /// An empty answer leaves the last good one in place.
    pub fn answer(&self, addresses: &[SocketAddr], ttl: Duration, now: Instant) {
        if addresses.is_empty() {
            return self.unanswered(true, now);
        }
        let before = self.current.load_full();
        let mut known: HashMap<SocketAddr, Arc<Endpoint>> = before
            .iter()
            .flat_map(|list| &list.endpoints)
            .map(|endpoint| (endpoint.address, Arc::clone(endpoint)))
            .collect();
        let endpoints = addresses
            .iter()
            .map(|address| {
                known.remove(address).unwrap_or_else(|| Arc::new(Endpoint::new(*address, self.epoch)))
            })
            .collect();
        let expires = Some(now + ttl.clamp(TTL_MIN, TTL_MAX));
        // What is left over in `known` has gone.
        let before = known.into_keys().map(|address| address.ip()).collect();
        self.current.store(Some(Arc::new(EndpointList { endpoints, expires, before })));
        self.done();
    }

    /// The lookup failed: what was known stays, and the next try waits a little.
    pub fn no_answer(&self, now: Instant) {
        self.unanswered(false, now);
    }

    fn unanswered(&self, is_empty: bool, now: Instant) {
        self.is_empty.store(is_empty, Ordering::Release);
        match self.current.load_full() {
            Some(list) => {
                let expires = Some(now + FAILED_LOOKUP_WAIT);
                let (endpoints, before) = (list.endpoints.clone(), list.before.clone());
                self.current.store(Some(Arc::new(EndpointList { endpoints, expires, before })));
            }
            None => {
                self.retry_at.store(self.micros(now + FAILED_LOOKUP_WAIT), Ordering::Release);
                self.failures.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.done();
    }

    fn done(&self) {
        self.looking_up.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
