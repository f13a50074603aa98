//! The live mesh: the configuration in force and the state of each service.
//!
//! In: a checked configuration, at start and at each reload. Out: a [`Snapshot`] that workers take
//! over when they are told to. Decides what survives a reload: state belongs to the name of a
//! service, and only `off` resets it. A service's state is made at its first call, so that a
//! thousand services that nobody calls cost nothing.

mod captured;
mod local;
mod replay;
mod view;
mod virtual_names;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::{Config, Mode, Policy, Service};
use crate::policy::{Breaker, Budget, Bulkhead, Slots};
use crate::route::Router;
use crate::upstream::{Dials, EndpointSet, Source};

pub use captured::{At, Captured};
pub use local::{Local, LocalRoute, LocalService, Plan};
pub use replay::{Replay, ReplayShare, ServiceReplay};
pub use view::{BulkheadView, EndpointView, ForceError, ServiceView};
pub use virtual_names::VirtualNames;

/// Most destinations without a service that are remembered; beyond it all are forgotten, and found anew.
pub const UNKNOWN_MAX: usize = 1024;

/// What all threads share.
#[derive(Debug)]
pub struct Mesh {
    snapshot: ArcSwap<Snapshot>,
    states: Mutex<HashMap<Arc<str>, Arc<ServiceState>>>,
    unknown: Mutex<HashMap<(String, u16), Arc<EndpointSet>>>,
    /// What names of the configuration resolve to, for captured connections.
    hosts: Mutex<HashMap<Box<str>, Arc<EndpointSet>>>,
    resolver: mpsc::Sender<Arc<EndpointSet>>,
    search: Vec<String>,
    /// Request bodies kept for retries.
    pub replay: Arc<Replay>,
    /// Application connections open, over all workers.
    pub connections: AtomicUsize,
    /// Addresses that stand for names.
    pub virtual_names: VirtualNames,
    /// The latest dials, once anything is captured.
    pub dials: Dials,
    /// Number of workers.
    pub workers: usize,
    /// When the process started.
    pub epoch: Instant,
}

/// One configuration in force. Immutable, but for states that are made on first use.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// Finds the service for a host.
    pub router: Router,
    /// Every address we listen on: calls to them would come straight back.
    pub own: Vec<SocketAddr>,
    states: Vec<OnceLock<Arc<ServiceState>>>,
}

/// The state of one service under one configuration. The parts are carried over to the next one.
#[derive(Debug, Clone)]
pub struct ServiceState {
    /// The service's name.
    pub name: Arc<str>,
    /// `None` when switched off.
    pub breaker: Option<Arc<Breaker>>,
    /// The breaker refuses for real; without, it only says what it would do.
    pub breaker_enforces: bool,
    /// `None` when switched off.
    pub bulkhead: Option<Arc<Bulkhead>>,
    /// Places for upgraded, tunnelled and opaque connections; `None` when the bulkhead is off.
    pub connections: Option<Arc<Slots>>,
    /// `None` when retries are switched off for the whole service.
    pub budget: Option<Arc<Budget>>,
    /// Its addresses.
    pub endpoints: Arc<EndpointSet>,
    /// What `Host` says when the application named none.
    pub own_host: Box<str>,
}

// === impl Mesh ===

impl Mesh {
    /// A mesh under its first configuration. `resolver` looks names up; `search` is its search list.
    pub fn new(
        config: Arc<Config>,
        own: Vec<SocketAddr>,
        resolver: mpsc::Sender<Arc<EndpointSet>>,
        search: Vec<String>,
        epoch: Instant,
    ) -> Self {
        Self {
            replay: Arc::new(Replay::new(config.limits.replay_bytes)),
            workers: config.workers,
            snapshot: ArcSwap::from_pointee(Snapshot::new(config, own, &search)),
            states: Mutex::default(),
            unknown: Mutex::default(),
            hosts: Mutex::default(),
            virtual_names: VirtualNames::default(),
            dials: Dials::default(),
            resolver,
            search,
            connections: AtomicUsize::new(0),
            epoch,
        }
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another configuration in force. States of services that stay are carried over.
    pub fn apply(&self, config: Arc<Config>, own: Vec<SocketAddr>, now: Instant) {
        self.replay.resize(config.limits.replay_bytes);
        self.forget_hosts(&config);
        let next = Snapshot::new(config, own, &self.search);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::with_capacity(states.len());
        for (index, service) in next.config.services.iter().enumerate() {
            if let Some(before) = states.get(&service.name) {
                let state = Arc::new(self.carry_over(service, Some(before), now));
                kept.insert(Arc::clone(&service.name), Arc::clone(&state));
                let _ = next.states[index].set(state);
            }
        }
        *states = kept;
        // Under the lock: a state made meanwhile would otherwise belong to the configuration before.
        self.snapshot.store(Arc::new(next));
    }

    /// The state of the service at `index` of `snapshot`, made now if this is its first call.
    pub fn state(&self, snapshot: &Snapshot, index: usize, now: Instant) -> Arc<ServiceState> {
        if let Some(state) = snapshot.states[index].get() {
            return Arc::clone(state);
        }
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.snapshot.load();
        let asked = &snapshot.config.services[index];
        let state = match current.router.index_of(&asked.name).map(|index| &current.config.services[index]) {
            // By the settings in force: a worker that has not taken the last reload over yet must not
            // bring old ones back.
            Some(service) => {
                let entry = states.entry(Arc::clone(&service.name));
                Arc::clone(entry.or_insert_with(|| Arc::new(self.carry_over(service, None, now))))
            }
            None => Arc::new(self.carry_over(asked, None, now)),
        };
        Arc::clone(snapshot.states[index].get_or_init(|| state))
    }

    /// The addresses of a destination that no service claims.
    pub fn unknown_endpoints(&self, host: &str, port: u16) -> Arc<EndpointSet> {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= UNKNOWN_MAX {
            // Sets in use live on in the calls and workers that hold them.
            unknown.clear();
        }
        let set = unknown.entry((host.to_owned(), port)).or_insert_with(|| {
            let source = Source::Dns { name: host.to_owned(), port };
            Arc::new(EndpointSet::new(source, Some(self.resolver.clone()), self.epoch))
        });
        Arc::clone(set)
    }

    /// The state of a service: parts of `before` that the new settings keep, or new ones.
    fn carry_over(
        &self,
        service: &Service,
        before: Option<&Arc<ServiceState>>,
        now: Instant,
    ) -> ServiceState {
        let policy = &service.policy;
        let source = Source::from(&service.endpoints);
        let endpoints = before
            .map(|before| &before.endpoints)
            .filter(|endpoints| *endpoints.source() == source)
            .cloned()
            .unwrap_or_else(|| Arc::new(EndpointSet::new(source, Some(self.resolver.clone()), self.epoch)));
        ServiceState {
            name: Arc::clone(&service.name),
            breaker: self.breaker(policy, before.and_then(|before| before.breaker.as_ref()), now),
            breaker_enforces: policy
                .circuit_breaker
                .as_ref()
                .is_some_and(|breaker| breaker.mode == Mode::Enforce),
            bulkhead: bulkhead(policy, before.and_then(|before| before.bulkhead.as_ref())),
            connections: connections(policy, before.and_then(|before| before.connections.as_ref())),
            budget: self.budget(service, before.and_then(|before| before.budget.as_ref()), now),
            endpoints,
            own_host: service.hosts.first().map_or(&*service.name, |host| &host.name).into(),
        }
    }

    fn breaker(&self, policy: &Policy, before: Option<&Arc<Breaker>>, now: Instant) -> Option<Arc<Breaker>> {
        let settings = policy.circuit_breaker.as_ref()?;
        Some(match before {
            Some(breaker) => {
                breaker.configure(settings);
                Arc::clone(breaker)
            }
            None => Arc::new(Breaker::new(settings, self.workers, now)),
        })
    }

    /// Routes may switch retries on where the service has them off, so any of them makes a budget.
    fn budget(&self, service: &Service, before: Option<&Arc<Budget>>, now: Instant) -> Option<Arc<Budget>> {
        let policies =
            std::iter::once(&service.policy).chain(service.routes.iter().map(|route| &route.policy));
        let settings =
            policies.filter_map(|policy| policy.retries.as_ref()).map(|retries| &retries.budget).next()?;
        Some(match before {
            Some(budget) => {
                budget.configure(settings);
                Arc::clone(budget)
            }
            None => Arc::new(Budget::new(settings, self.workers, now)),
        })
    }
}

fn bulkhead(policy: &Policy, before: Option<&Arc<Bulkhead>>) -> Option<Arc<Bulkhead>> {
    let settings = policy.bulkhead.as_ref()?;
    Some(match before {
        Some(bulkhead) => {
            bulkhead.resize(settings);
            Arc::clone(bulkhead)
        }
        None => Arc::new(Bulkhead::new(settings)),
    })
}

/// Long-lived connections have places of their own, without a queue.
fn connections(policy: &Policy, before: Option<&Arc<Slots>>) -> Option<Arc<Slots>> {
    let settings = policy.bulkhead.as_ref()?;
    Some(match before {
        Some(slots) => {
            slots.resize(settings.max_connections);
            Arc::clone(slots)
        }
        None => Arc::new(Slots::new(settings.max_connections)),
    })
}

// === impl ServiceState ===

impl ServiceState {
    /// The state of a destination without a service: addresses, and no policy.
    pub fn unknown(endpoints: Arc<EndpointSet>, own_host: &str) -> Self {
        Self {
            name: Arc::from("unknown"),
            breaker: None,
            breaker_enforces: false,
            bulkhead: None,
            connections: None,
            budget: None,
            endpoints,
            own_host: own_host.into(),
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    fn new(config: Arc<Config>, own: Vec<SocketAddr>, search: &[String]) -> Self {
        let states = config.services.iter().map(|_| OnceLock::new()).collect();
        Self { router: Router::new(&config, search), config, own, states }
    }

    /// Whether a connection to `address` would come straight back to one of our listeners.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.own.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == canonical(address.ip()) || own.ip().is_unspecified() && is_here(address.ip()))
        })
    }
}

/// An IPv4 address in IPv6 clothing is that address.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Whether an address is certainly this host's: loopback, or "any".
fn is_here(ip: IpAddr) -> bool {
    let ip = canonical(ip);
    ip.is_loopback() || ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, load_str};

    fn config(port: u16) -> Arc<Config> {
        let yaml =
            format!("version: v1\nservices: {{shop: {{endpoints: {{static: [\"10.0.0.1:{port}\"]}}}}}}\n");
        Arc::new(load_str("mesh.yaml", &yaml, &Options::default()).expect("a valid configuration"))
    }

    #[test]
    fn a_first_call_under_the_configuration_before_leaves_no_trace_in_the_next() {
        let now = Instant::now();
        let mesh = Mesh::new(config(1), Vec::new(), mpsc::channel(1).0, Vec::new(), now);
        let before = mesh.snapshot();
        mesh.apply(config(2), Vec::new(), now);
        let port = |state: &ServiceState| match state.endpoints.source() {
            Source::Static(addresses) => addresses[0].port(),
            Source::Dns { port, .. } => *port,
        };
        assert_eq!(port(&mesh.state(&before, 0, now)), 2, "what is in force decides, whoever asks");
        assert_eq!(port(&mesh.state(&mesh.snapshot(), 0, now)), 2);
    }
}
