//! Whose a captured connection is.
//!
//! In: the address and port that an application dialled. Out: the services that have it, by what
//! their `hosts` and `endpoints` resolve to, now or in the answer before. An application is never
//! led where it did not dial by what it says in a request.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::config::capture::is_test_address;
use crate::config::{Config, Endpoints, PortPattern, Service};
use crate::route::{Asking, HTTP_PORT, covers_dialled, own_ports};
use crate::upstream::{EndpointSet, Source};

use super::local::View;
use super::{Local, Mesh, UNKNOWN_MAX};

/// Longest wait for names that were never looked up, at the first connection to a port.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often all names are looked up again because a destination is nobody's.
const SEARCH_EVERY: Duration = Duration::from_secs(30);

/// How long it is remembered whose a destination is, so that not every call looks through all services.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// No service.
    Nobody,
    /// The service with this index.
    One(usize),
    /// More than one: the address alone does not tell.
    Several,
}

/// A connection that the kernel sent here.
#[derive(Debug, PartialEq, Eq)]
pub struct Captured {
    /// What the application dialled.
    pub destination: SocketAddr,
    /// Who dialled.
    pub from: SocketAddr,
    /// Where it goes when it is no service's: the destination, or the name that its address stands for.
    pub authority: Box<str>,
    /// The name that its address stands for, if it does.
    name: Option<Arc<str>>,
}

/// Where the addresses of one service come from.
#[derive(Debug)]
pub(super) struct Claimed {
    statics: Vec<SocketAddr>,
    names: Vec<(PortPattern, Arc<EndpointSet>)>,
    own_ports: Vec<u16>,
}

// === impl Captured ===

impl Captured {
    /// A connection from `from` to `destination`.
    pub fn new(mesh: &Mesh, destination: SocketAddr, from: SocketAddr) -> Self {
        // An IPv4 address in IPv6 clothing is that address.
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        let name = mesh.virtual_names.name_of(destination.ip());
        let authority = match &name {
            Some(name) => format!("{name}:{}", destination.port()),
            None => destination.to_string(),
        };
        Self { destination, from, authority: authority.into(), name }
    }

    /// Whether it only tries the capture rules.
    pub fn is_test(&self) -> bool {
        is_test_address(self.destination)
    }

    /// The host of `authority`, without brackets.
    pub(super) fn host(&self) -> String {
        self.name.as_deref().map_or_else(|| self.destination.ip().to_string(), str::to_owned)
    }
}

// === impl Mesh ===

impl Mesh {
    /// The addresses of a name that the configuration mentions, looked up for captured connections.
    fn host_addresses(&self, name: &str) -> Arc<EndpointSet> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = hosts.get(name) {
            return Arc::clone(set);
        }
        // The port means nothing here: only addresses are compared.
        let source = Source::Dns { name: name.to_owned(), port: 0 };
        let set = Arc::new(EndpointSet::new(source, Some(self.resolver.clone()), self.epoch));
        hosts.insert(name.into(), Arc::clone(&set));
        set
    }

    /// Forgets names that the configuration mentions no longer.
    pub(super) fn forget_hosts(&self, config: &Config) {
        let mentions = |name: &str| {
            config.services.iter().any(|service| {
                let is_endpoint = match &service.endpoints {
                    Endpoints::Dns { name: own, .. } => own == name,
                    Endpoints::Static(_) => false,
                };
                is_endpoint || service.hosts.iter().any(|host| host.name == name)
            })
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|name, _| mentions(name));
    }
}

// === impl Local ===

impl Local {
    /// Waits until every name that may have this destination was looked up once, at most for
    /// [`SETTLE_WAIT_MAX`]. Later answers come behind the back of calls.
    pub async fn settle(&self, captured: &Captured) {
        if captured.name.is_some() {
            return;
        }
        let now = Instant::now();
        let until = now + SETTLE_WAIT_MAX;
        let waiting = self.sets_of(captured.destination.port(), |set| !set.is_settled());
        for set in &waiting {
            // Asks for it; the waits below then overlap.
            let _ = set.current(now);
        }
        for set in waiting {
            if timeout_at(until, set.resolved()).await.is_err() {
                return;
            }
        }
    }

    /// Whether the destination is one of the addresses of the service at `index`. Asks for newer ones if
    /// those that are known have expired.
    pub fn has_address(&self, index: usize, captured: &Captured, now: Instant) -> bool {
        let view = self.view.borrow();
        let has = view.has_address(&self.mesh, index, captured);
        if captured.name.is_none() {
            let port = captured.destination.port();
            view.claimed(&self.mesh, index).sets(port).for_each(|set| set.keep_fresh(now));
        }
        has
    }

    /// Who has the destination, by what is known: looked through once a second for each.
    pub fn at(&self, captured: &Captured, now: Instant) -> At {
        let mut looked = self.looked.borrow_mut();
        if let Some((until, at)) = looked.get(&captured.destination)
            && now < *until
        {
            return *at;
        }
        let at = self.look(captured, now);
        if looked.len() >= UNKNOWN_MAX {
            looked.clear();
        }
        looked.insert(captured.destination, (now + LOOKED_FOR, at));
        at
    }

    fn look(&self, captured: &Captured, now: Instant) -> At {
        let found = {
            let view = self.view.borrow();
            let services = 0..view.snapshot.config.services.len();
            let mut having = services.filter(|index| view.has_address(&self.mesh, *index, captured));
            (having.next(), having.next())
        };
        match found {
            (Some(index), None) => {
                self.has_address(index, captured, now);
                At::One(index)
            }
            (Some(_), Some(_)) => At::Several,
            (None, _) => {
                self.search_again(captured, now);
                At::Nobody
            }
        }
    }

    /// Asks for newer addresses of all names that may have the destination: services that nobody calls
    /// by name move too. Seldom, for most destinations are nobody's.
    fn search_again(&self, captured: &Captured, now: Instant) {
        if captured.name.is_some() || self.search_due.get().is_some_and(|due| now < due) {
            return;
        }
        self.search_due.set(Some(now + SEARCH_EVERY));
        for set in self.sets_of(captured.destination.port(), |_| true) {
            let _ = set.current(now);
        }
    }

    fn sets_of(&self, port: u16, wanted: impl Fn(&EndpointSet) -> bool) -> Vec<Arc<EndpointSet>> {
        let view = self.view.borrow();
        let services = 0..view.snapshot.config.services.len();
        let sets = services.flat_map(|index| view.claimed(&self.mesh, index).sets(port));
        sets.filter(|set| wanted(set)).cloned().collect()
    }

    /// Whether a call to the service at `index` goes to its endpoints, whose port may be another than the
    /// one dialled. A request of HTTP to port 80 does, as by `Host`; bytes and TLS only where the
    /// configuration names the port, for they may be of another protocol than the endpoints'.
    pub fn leads_to_endpoints(&self, index: usize, captured: &Captured, is_http: bool) -> bool {
        let view = self.view.borrow();
        let service = &view.snapshot.config.services[index];
        let port = captured.destination.port();
        let named = service.hosts.iter().any(|host| match host.port {
            PortPattern::Any => true,
            PortPattern::Exact(exact) => exact == port,
            PortPattern::Usual => false,
        });
        named || view.claimed(&self.mesh, index).own_ports.contains(&port) || is_http && port == HTTP_PORT
    }
}

// === impl View ===

impl View {
    fn has_address(&self, mesh: &Mesh, index: usize, captured: &Captured) -> bool {
        let (ip, port) = (captured.destination.ip(), captured.destination.port());
        if let Some(name) = &captured.name {
            return self.snapshot.router.claimant(name.as_bytes(), Some(port), Asking::Captured)
                == Some(index);
        }
        let claimed = self.claimed(mesh, index);
        claimed.statics.contains(&captured.destination) || claimed.sets(port).any(|set| set.has_ip(ip))
    }
}

// === impl Claimed ===

impl Claimed {
    /// Of the service with these settings.
    pub(super) fn new(mesh: &Mesh, service: &Service) -> Self {
        let hosts = service.hosts.iter();
        let mut names: Vec<_> = hosts.map(|host| (host.port, mesh.host_addresses(&host.name))).collect();
        let statics = match &service.endpoints {
            Endpoints::Static(addresses) => addresses
                .iter()
                .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
                .collect(),
            Endpoints::Dns { name, port } => {
                names.push((PortPattern::Exact(*port), mesh.host_addresses(name)));
                Vec::new()
            }
        };
        Self { statics, names, own_ports: own_ports(&service.endpoints) }
    }

    /// The addresses of the names that have this port.
    fn sets(&self, port: u16) -> impl Iterator<Item = &Arc<EndpointSet>> {
        let covering =
            self.names.iter().filter(move |(ports, _)| covers_dialled(*ports, &self.own_ports, port));
        covering.map(|(_, set)| set)
    }
}
