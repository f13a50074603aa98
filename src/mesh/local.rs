//! One worker's own view of the mesh.
//!
//! In: the snapshot in force, whenever the worker is told of a new one. Out: a [`Plan`] for each
//! call, made of values of this thread alone: no lock and no shared count is touched to plan a
//! call. Connections and counters are kept by the service's name and survive reloads.

mod elsewhere;
mod kept;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::{Alpn, Origin, Policy, Protocol};
use crate::error::Fault;
use crate::route::{Asking, Authority, Choice, route_of};
use crate::telemetry::story::Story;
use crate::telemetry::{
    AccessLog, CallRecord, Outlet, RouteStats, ServiceStats, Stories, Traits, WorkerReport, WorkerStats,
};
use crate::upstream::http2::Http2Pool;
use crate::upstream::{EndpointList, Pools, TlsClient};

use crate::wire::{Told, TraceParent};

use kept::{Kept, Ways};

use super::captured::{At, Claimed};
use super::{Mesh, ServiceReplay, ServiceState, Snapshot, UNKNOWN_MAX};

/// Most destinations without a service that a report names.
const BUSIEST_UNKNOWN: usize = 20;

/// One worker's view.
#[derive(Debug)]
pub struct Local {
    /// What all threads share.
    pub mesh: Arc<Mesh>,
    /// This worker's number, from 0.
    pub worker: usize,
    /// Counts that belong to no service.
    pub stats: Rc<WorkerStats>,
    /// The access log, if there is one.
    pub access_log: Option<AccessLog>,
    /// What finished calls have to tell.
    pub stories: Stories,
    /// The process wants application connections to end with the call they carry.
    pub closing: Rc<Cell<bool>>,
    /// Told when `closing` becomes true, for connections that wait between calls.
    pub closed: Notify,
    pub(super) view: RefCell<Rc<View>>,
    kept: RefCell<HashMap<Arc<str>, Rc<Kept>>>,
    unknown: RefCell<HashMap<Box<[u8]>, Rc<LocalService>>>,
    elsewhere: RefCell<HashMap<elsewhere::Key, Rc<LocalService>>>,
    /// Whose destinations are, and until when that is remembered.
    pub(super) looked: RefCell<HashMap<SocketAddr, (Instant, At)>>,
    /// When all names are looked up again, at the soonest.
    pub(super) search_due: Cell<Option<Instant>>,
    unknown_stats: Rc<ServiceStats>,
    unknown_route: Rc<RouteStats>,
    random: RefCell<fastrand::Rng>,
}

/// The snapshot as this worker uses it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    services: Vec<OnceCell<Rc<LocalService>>>,
    claimed: Vec<OnceCell<Claimed>>,
}

/// A service as this worker uses it.
#[derive(Debug, Clone)]
pub struct LocalService {
    /// Its state, shared with the other workers.
    pub state: Arc<ServiceState>,
    /// Idle connections.
    pub pools: Rc<Pools>,
    /// Connections of HTTP/2.
    pub http2: Rc<Http2Pool>,
    /// What the service speaks.
    pub protocol: Protocol,
    /// TLS towards it; `None` is plain TCP.
    pub tls: Option<Rc<TlsClient>>,
    /// What TLS settled on the last time, where that is open.
    pub negotiated: Rc<Cell<Option<Alpn>>>,
    /// Counts.
    pub stats: Rc<ServiceStats>,
    /// Request bodies kept for retries.
    pub replay: Rc<ServiceReplay>,
    /// On the last connection that nobody spoke on at once, the service was the first who did: the
    /// next one is dialled without a wait.
    pub speaks_first: Rc<Cell<bool>>,
    /// Where round robin stands.
    pub round: Cell<usize>,
    /// Its index in the snapshot's configuration; `None` for unknown destinations.
    pub index: Option<usize>,
    /// Where it stands in the files; built in for unknown destinations.
    pub origin: Origin,
    /// The files that origins point into.
    pub files: Arc<[PathBuf]>,
    /// The request named it, and it is not where the call goes.
    pub host_mismatch: bool,
    /// Calls planned, for unknown destinations.
    calls: Cell<u64>,
    /// The routes, and last the calls that match none.
    routes: Vec<LocalRoute>,
}

/// A route as this worker uses it.
#[derive(Debug, Clone)]
pub struct LocalRoute {
    /// Its name; empty for calls that match no route.
    pub name: Arc<str>,
    /// The merged policy.
    pub policy: Arc<Policy>,
    /// Counts.
    pub stats: Rc<RouteStats>,
    /// Where it stands in the files; `None` for calls that match no route.
    pub origin: Option<Origin>,
}

/// What decides over one call. It keeps its service's parts alive and no more of the snapshot.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The service.
    pub service: Rc<LocalService>,
    route: usize,
}

// === impl Local ===

impl Local {
    /// The view of worker number `worker`.
    pub fn new(
        mesh: Arc<Mesh>,
        worker: usize,
        stats: Rc<WorkerStats>,
        access_log: Option<AccessLog>,
        outlet: Option<Outlet>,
    ) -> Self {
        let stories = Stories::new(outlet);
        stories.renew(&mesh.snapshot().config);
        let view = RefCell::new(Rc::new(View::new(mesh.snapshot())));
        Self {
            mesh,
            worker,
            stats,
            access_log,
            stories,
            closing: Rc::default(),
            closed: Notify::new(),
            view,
            kept: RefCell::default(),
            unknown: RefCell::default(),
            elsewhere: RefCell::default(),
            looked: RefCell::default(),
            search_due: Cell::new(None),
            unknown_stats: Rc::new(ServiceStats::new()),
            unknown_route: Rc::new(RouteStats::new()),
            random: RefCell::new(fastrand::Rng::new()),
        }
    }

    /// Takes over the snapshot in force.
    pub fn refresh(&self) {
        let snapshot = self.mesh.snapshot();
        self.stories.renew(&snapshot.config);
        let is_named = |name: &str| snapshot.config.services.iter().any(|service| *service.name == *name);
        self.kept.borrow_mut().retain(|name, _| is_named(name));
        for service in &snapshot.config.services {
            if let Some(kept) = self.kept.borrow().get(&service.name) {
                kept.renew(service);
            }
        }
        self.unknown.borrow_mut().clear();
        self.elsewhere.borrow_mut().clear();
        self.looked.borrow_mut().clear();
        *self.view.borrow_mut() = Rc::new(View::new(snapshot));
    }

    /// Ends application connections, each with the call it carries.
    pub fn close(&self) {
        self.closing.set(true);
        self.closed.notify_waiters();
    }

    /// The index of the service with this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.view.borrow().snapshot.router.index_of(name)
    }

    /// What the service with this name speaks.
    pub fn protocol_of(&self, name: &str) -> Option<Protocol> {
        Some(self.protocol_at(self.index_of(name)?))
    }

    /// What the service at `index` speaks.
    pub fn protocol_at(&self, index: usize) -> Protocol {
        self.view.borrow().snapshot.config.services[index].protocol
    }

    /// Whether the service at `index` was the first to speak on the last connection that was silent.
    pub fn speaks_first(&self, index: usize) -> bool {
        self.view.borrow().services[index].get().is_some_and(|service| service.speaks_first.get())
    }

    /// What a call is that no service claims.
    pub fn unclaimed(&self) -> Choice {
        self.view.borrow().snapshot.router.unclaimed()
    }

    /// The service that claims `host` and the port that was dialled.
    pub fn claimant(&self, host: &[u8], port: u16) -> Option<usize> {
        self.view.borrow().snapshot.router.claimant(host, Some(port), Asking::Captured)
    }

    /// Whether a destination that no service claims was the first to speak on the last silent connection.
    pub fn unknown_speaks_first(&self, authority: &[u8]) -> bool {
        self.unknown.borrow().get(authority).is_some_and(|service| service.speaks_first.get())
    }

    /// How long a silent connection is waited for before its destination is dialled.
    pub fn detect_timeout(&self) -> Duration {
        self.view.borrow().snapshot.config.outbound.detect_timeout
    }

    /// Most application connections, over all workers.
    pub fn limit_connections(&self) -> usize {
        self.view.borrow().snapshot.config.limits.connections
    }

    /// Whether a call is sampled whose caller has not decided.
    pub fn is_sampled(&self) -> bool {
        let sample = self.view.borrow().snapshot.config.tracing.sample;
        sample > 0.0 && self.random() < sample
    }

    /// The caller's trace, with what it left to us.
    pub fn trace(&self, told: &Told) -> TraceParent {
        let (trace_id, span_id) = told.ids.unwrap_or_else(|| {
            let trace_id = u128::from(self.random_id()) << 64 | u128::from(self.random_id());
            (trace_id, self.random_id())
        });
        let sampled = told.sampled.unwrap_or_else(|| self.is_sampled());
        TraceParent { trace_id, span_id, flags: u8::from(sampled), form: told.form }
    }

    /// A trace of its own for a call whose caller has none.
    pub fn new_trace(&self) -> TraceParent {
        self.trace(&Told::default())
    }

    /// The snapshot this worker uses.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.view.borrow().snapshot)
    }

    /// Whether a connection to `address` would come straight back.
    pub fn is_own(&self, address: SocketAddr) -> bool {
        self.view.borrow().snapshot.is_own(address)
    }

    /// Finds the service for an authority.
    pub fn choose(&self, authority: &[u8], asking: Asking) -> Choice {
        self.view.borrow().snapshot.router.choose(authority, asking)
    }

    /// Plans a call to the service with this index.
    pub fn plan<'h>(
        &self,
        index: usize,
        method: &[u8],
        path: &[u8],
        header: impl Fn(&str) -> Option<&'h [u8]>,
        now: Instant,
    ) -> Plan {
        let view = self.view.borrow();
        let service = view.services[index].get_or_init(|| self.service(&view.snapshot, index, now));
        let settings = &view.snapshot.config.services[index];
        let none = service.routes.len() - 1;
        let route = if none == 0 { 0 } else { route_of(settings, method, path, header).unwrap_or(none) };
        Plan { service: Rc::clone(service), route }
    }

    /// Plans a call to a destination that no service claims. `None` when `authority` names none.
    pub fn plan_unknown(&self, authority: &[u8], default_port: u16) -> Option<Plan> {
        let mut unknown = self.unknown.borrow_mut();
        if let Some(service) = unknown.get(authority) {
            service.calls.set(service.calls.get() + 1);
            return Some(Plan { service: Rc::clone(service), route: 0 });
        }
        let parsed = Authority::parse(authority)?;
        let host = std::str::from_utf8(parsed.host).ok()?.to_ascii_lowercase();
        let endpoints = self.mesh.unknown_endpoints(&host, parsed.port.unwrap_or(default_port));
        if unknown.len() >= UNKNOWN_MAX {
            unknown.clear();
        }
        let snapshot = self.snapshot();
        let service = Rc::new(LocalService {
            state: Arc::new(ServiceState::unknown(endpoints, &host)),
            pools: Rc::default(),
            http2: Rc::default(),
            protocol: Protocol::Auto,
            tls: None,
            negotiated: Rc::default(),
            stats: Rc::clone(&self.unknown_stats),
            replay: Rc::new(ServiceReplay::new(Arc::clone(&self.mesh.replay))),
            speaks_first: Rc::default(),
            round: Cell::new(0),
            index: None,
            host_mismatch: false,
            calls: Cell::new(1),
            routes: vec![LocalRoute {
                name: Arc::from(""),
                policy: Arc::clone(&snapshot.config.unknown),
                stats: Rc::clone(&self.unknown_route),
                origin: None,
            }],
            origin: Origin::BUILT_IN,
            files: Arc::clone(&snapshot.config.files),
        });
        unknown.insert(authority.into(), Rc::clone(&service));
        Some(Plan { service, route: 0 })
    }

    /// A random number in 0..1.
    pub fn random(&self) -> f64 {
        self.random.borrow_mut().f64()
    }

    /// 64 random bits, not all zero.
    pub fn random_id(&self) -> u64 {
        self.random.borrow_mut().u64(1..)
    }

    /// Closes connections that have idled long enough, also of services that were not called since
    /// the last reload.
    pub fn sweep(&self, now: Instant) {
        let snapshot = self.snapshot();
        for (name, kept) in self.kept.borrow().iter() {
            let state = snapshot.router.index_of(name).and_then(|index| snapshot.states[index].get());
            let ways = kept.ways.borrow();
            let list = state.and_then(|state| state.endpoints.peek());
            let idle = snapshot.router.index_of(name).map(|index| &snapshot.config.services[index].policy);
            let idle = idle.map_or(snapshot.config.unknown.pool.idle, |policy| policy.pool.idle);
            sweep(&ways.pools, &ways.http2, list.as_deref(), idle, now);
        }
        for service in self.unknown.borrow().values().chain(self.elsewhere.borrow().values()) {
            let idle = snapshot.config.unknown.pool.idle;
            let list = service.state.endpoints.peek();
            sweep(&service.pools, &service.http2, list.as_deref(), idle, now);
        }
    }

    /// The record of a request that was refused before it had a service; `what` is said of it. Without a
    /// head that could be read it has no trace.
    pub fn record_refusal(
        &self,
        fault: Fault,
        what: &str,
        request: &[u8],
        trace: Option<TraceParent>,
        now: Instant,
    ) {
        CallRecord::start(&self.stats.unrouted, self.access_log.as_ref(), now).refused(fault, request, trace);
        let sampled = trace.is_some_and(|trace| trace.is_sampled());
        let traits = Traits { sampled, ..Traits::refused(fault) };
        let fate = self.stories.fate(&traits, now);
        if fate.is_told() {
            let trace = trace.unwrap_or_else(|| self.new_trace());
            let story = Story::refused(fault, what, request, trace);
            self.stories.tell(Story { span_id: self.random_id(), ..story }, fate, &self.stats);
        }
    }

    /// Everything counted so far.
    pub fn report(&self) -> WorkerReport {
        let mut services: Vec<_> = self
            .kept
            .borrow()
            .iter()
            .map(|(name, kept)| {
                let routes = kept.routes.borrow().iter().map(|(route, stats)| stats.report(route)).collect();
                kept.stats.report(name, routes)
            })
            .collect();
        let unknown_route = self.unknown_route.report(&Arc::from(""));
        services.push(self.unknown_stats.report(&Arc::from("unknown"), vec![unknown_route]));
        let mut unknown: Vec<(String, u64)> = self
            .unknown
            .borrow()
            .iter()
            .map(|(authority, service)| {
                (String::from_utf8_lossy(authority).into_owned(), service.calls.get())
            })
            .collect();
        unknown.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        unknown.truncate(BUSIEST_UNKNOWN);
        self.stats.report(services, unknown)
    }

    /// The service at `index`, with what this worker keeps for its name.
    fn service(&self, snapshot: &Snapshot, index: usize, now: Instant) -> Rc<LocalService> {
        let settings = &snapshot.config.services[index];
        let mut all = self.kept.borrow_mut();
        let kept = all.entry(Arc::clone(&settings.name)).or_default();
        kept.renew(settings);
        let Ways { pools, http2, tls, negotiated } = kept.ways.borrow().clone();
        Rc::new(LocalService {
            state: self.mesh.state(snapshot, index, now),
            pools,
            http2,
            protocol: settings.protocol,
            tls,
            negotiated,
            stats: Rc::clone(&kept.stats),
            replay: Rc::new(ServiceReplay::new(Arc::clone(&self.mesh.replay))),
            speaks_first: Rc::clone(&kept.speaks_first),
            round: Cell::new(0),
            index: Some(index),
            origin: settings.origin,
            files: Arc::clone(&snapshot.config.files),
            host_mismatch: false,
            calls: Cell::new(0),
            routes: kept.routes(settings),
        })
    }
}

/// Where the addresses are not known, none is known to be gone.
fn sweep(pools: &Pools, http2: &Http2Pool, list: Option<&EndpointList>, idle: Duration, now: Instant) {
    let is_current =
        |address| list.is_none_or(|list| list.endpoints.iter().any(|endpoint| endpoint.address == address));
    pools.sweep(now, is_current);
    http2.sweep(idle, now, is_current);
}

// === impl LocalService ===

impl LocalService {
    /// What calls to it speak; `None`: what their application does, or what TLS will settle on.
    pub fn speaks(&self) -> Option<Alpn> {
        match self.protocol {
            Protocol::Http1 => Some(Alpn::Http11),
            Protocol::Http2 => Some(Alpn::H2),
            Protocol::Auto | Protocol::Opaque => self.negotiated.get().filter(|_| self.is_negotiated()),
        }
    }

    /// Whether TLS settles what calls speak.
    pub fn is_negotiated(&self) -> bool {
        self.protocol == Protocol::Auto && self.tls.is_some()
    }
}

// === impl View ===

impl View {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let services = snapshot.config.services.iter().map(|_| OnceCell::new()).collect();
        let claimed = snapshot.config.services.iter().map(|_| OnceCell::new()).collect();
        Self { snapshot, services, claimed }
    }

    /// The addresses that are those of the service at `index`.
    pub(super) fn claimed(&self, mesh: &Mesh, index: usize) -> &Claimed {
        self.claimed[index].get_or_init(|| Claimed::new(mesh, &self.snapshot.config.services[index]))
    }
}

// === impl Plan ===

impl Plan {
    /// The route.
    pub fn route(&self) -> &LocalRoute {
        &self.service.routes[self.route]
    }

    /// The merged policy.
    pub fn policy(&self) -> &Policy {
        &self.service.routes[self.route].policy
    }

    /// The state of the service.
    pub fn state(&self) -> &ServiceState {
        &self.service.state
    }
}

#[cfg(test)]
mod tests;
