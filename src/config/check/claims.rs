//! Hosts, listeners and endpoints that get in each other's way.
//!
//! In: what every service and the process claim for themselves. Out: problems that name both places.
//! Everything is looked up and not compared pair by pair, so that many services stay cheap.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Checker;
use crate::config::raw::Place;
use crate::config::{HostPattern, PortPattern};

/// What services and the process claim for themselves, over the whole configuration.
#[derive(Default)]
pub(super) struct Claims {
    hosts: Vec<(HostPattern, Place, String)>,
    listeners: Vec<Address>,
    endpoints: Vec<Address>,
}

/// An address with its place and the path of its key.
struct Address {
    address: SocketAddr,
    place: Place,
    at: String,
}

/// Listeners by address, to find those that another one meets.
#[derive(Default)]
struct Listeners<'c> {
    by_address: HashMap<SocketAddr, &'c Address>,
    /// The first of each port and family.
    by_port: HashMap<(u16, bool), &'c Address>,
}

// === impl Claims ===

impl Claims {
    /// Notes hosts.
    pub(super) fn hosts(&mut self, at: &str, hosts: &[(HostPattern, Place)]) {
        self.hosts.extend(hosts.iter().map(|(host, place)| (host.clone(), *place, format!("{at}.hosts"))));
    }

    /// Notes addresses we listen on.
    pub(super) fn listeners(&mut self, at: &str, placed: &[(SocketAddr, Place)]) {
        self.listeners.extend(Address::all(at, placed));
    }

    /// Notes addresses of services.
    pub(super) fn endpoints(&mut self, at: &str, placed: &[(SocketAddr, Place)]) {
        self.endpoints.extend(Address::all(at, placed));
    }
}

// === impl Address ===

impl Address {
    fn all(at: &str, placed: &[(SocketAddr, Place)]) -> impl Iterator<Item = Self> {
        placed.iter().map(move |(address, place)| Self {
            address: *address,
            place: *place,
            at: at.to_owned(),
        })
    }
}

// === impl Listeners ===

impl<'c> Listeners<'c> {
    fn add(&mut self, listener: &'c Address) {
        let address = listener.address;
        self.by_address.entry(address).or_insert(listener);
        self.by_port.entry((address.port(), address.is_ipv4())).or_insert(listener);
    }

    /// A listener that cannot be bound together with this address.
    fn beside(&self, address: SocketAddr) -> Option<&'c Address> {
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let whole_port = || self.by_port.get(&(address.port(), address.is_ipv4()));
        let same = self.at(address.ip(), address.port()).or_else(|| self.at(any, address.port()));
        same.or_else(|| whole_port().filter(|_| address.ip().is_unspecified()).copied())
    }

    /// The listener that a connection to this address would arrive at.
    fn behind(&self, address: SocketAddr) -> Option<&'c Address> {
        let port = address.port();
        let any = || {
            let v4 = self.at(Ipv4Addr::UNSPECIFIED.into(), port);
            v4.or_else(|| self.at(Ipv6Addr::UNSPECIFIED.into(), port))
        };
        self.at(address.ip(), port).or_else(|| any().filter(|_| address.ip().is_loopback()))
    }

    fn at(&self, ip: IpAddr, port: u16) -> Option<&'c Address> {
        self.by_address.get(&SocketAddr::new(ip, port)).copied()
    }
}

// === impl Checker ===

impl Checker<'_> {
    /// Tells every conflict.
    pub(super) fn lint_claims(&mut self, claims: &Claims) {
        self.lint_hosts(claims);
        let mut listeners = Listeners::default();
        // Port 0 is the system's choice: never taken.
        for listener in claims.listeners.iter().filter(|listener| listener.address.port() != 0) {
            match listeners.beside(listener.address) {
                Some(other) => self.taken(listener, other),
                None => listeners.add(listener),
            }
        }
        for endpoint in &claims.endpoints {
            if let Some(own) = listeners.behind(endpoint.address) {
                let found = format!("{}, which is our own `{}`", endpoint.address, own.at);
                let want = "the address of the service: this would be a loop";
                self.problem(endpoint.place, &endpoint.at, found, want);
            }
        }
    }

    /// Tells that two listeners meet, at the one the user wrote; the defaults have no place.
    fn taken(&mut self, listener: &Address, other: &Address) {
        let (here, there) = if listener.place.line == 0 { (other, listener) } else { (listener, other) };
        let found = format!("{}, which `{}` has too", here.address, there.at);
        let want = if there.place.line == 0 {
            "an address of its own (that one is its default)".to_owned()
        } else {
            format!("an address of its own (first at {})", self.cite(there.place))
        };
        self.problem(here.place, &here.at, found, want);
    }

    fn lint_hosts(&mut self, claims: &Claims) {
        let mut seen: HashMap<(&str, u32), Place> = HashMap::new();
        for (host, place, at) in &claims.hosts {
            // Ports are below 65,536; the two patterns that name none come after them.
            let port = match host.port {
                PortPattern::Exact(port) => u32::from(port),
                PortPattern::Usual => 1 << 16,
                PortPattern::Any => 1 << 17,
            };
            if let Some(first) = seen.get(&(host.name.as_str(), port)) {
                let want = format!("each host once (first at {})", self.cite(*first));
                self.problem(*place, at, format!("the host `{host}` again"), want);
            } else {
                seen.insert((&host.name, port), *place);
            }
        }
    }
}
