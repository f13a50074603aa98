//! Which service and which route a call is for.
//!
//! In: an authority, a method, a path. Out: a [`Choice`], a value. Pure: no socket, no clock, no
//! state; built anew from each configuration and shared by all workers.

mod authority;

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::{Config, Endpoints, HostPattern, PortPattern, Service, Unknown};

pub use authority::Authority;

/// Longest host name looked up (RFC 1035 section 2.3.4 allows 255 bytes).
const HOST_BYTES_MAX: usize = 255;

/// Port of `http`.
pub const HTTP_PORT: u16 = 80;

/// Port of `https`.
pub const HTTPS_PORT: u16 = 443;

/// Finds the service for an authority.
#[derive(Debug)]
pub struct Router {
    hosts: HashMap<Box<[u8]>, Vec<Claim>, foldhash::fast::RandomState>,
    names: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    unknown: Unknown,
}

/// One service's claim to a host name.
#[derive(Debug, Clone)]
struct Claim {
    service: usize,
    port: PortPattern,
    own_ports: Vec<u16>,
}

/// Whom a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The service with this index.
    Service(usize),
    /// No service: it passes through.
    Unknown,
    /// No service, and such calls are refused.
    Denied,
    /// The call names no host at all.
    Nowhere,
}

/// What kind of call asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// An `http` request.
    Http,
    /// An `https` request in absolute form.
    Https,
    /// CONNECT: the port it names is meant.
    Connect,
    /// A captured call, http or TLS: the port is the one that was dialled.
    Captured,
}

// === impl Router ===

impl Router {
    /// A router for this configuration. `search` is the resolver's search list: a host of one label
    /// also answers to its expansions.
    pub fn new(config: &Config, search: &[String]) -> Self {
        let names =
            config.services.iter().enumerate().map(|(index, service)| ((&*service.name).into(), index));
        let mut router =
            Self { hosts: HashMap::default(), names: names.collect(), unknown: config.outbound.unknown };
        for (index, service) in config.services.iter().enumerate() {
            for host in &service.hosts {
                router.claim(&host.name, index, host, service);
            }
        }
        // Expansions come last: a name that some service spells out belongs to that service.
        for (index, service) in config.services.iter().enumerate() {
            for host in service.hosts.iter().filter(|host| !host.name.contains('.')) {
                for domain in search {
                    let name = format!("{}.{}", host.name, domain.trim_end_matches('.').to_ascii_lowercase());
                    if !router.hosts.contains_key(name.as_bytes()) {
                        router.claim(&name, index, host, service);
                    }
                }
            }
        }
        router
    }

    fn claim(&mut self, name: &str, index: usize, host: &HostPattern, service: &Service) {
        let claim = Claim { service: index, port: host.port, own_ports: own_ports(&service.endpoints) };
        self.hosts.entry(name.as_bytes().into()).or_default().push(claim);
    }

    /// Whom a call to `authority` (`host[:port]`, as it was sent) is for.
    pub fn choose(&self, authority: &[u8], asking: Asking) -> Choice {
        let Some(parsed) = Authority::parse(authority) else { return Choice::Nowhere };
        match self.claimant(parsed.host, parsed.port, asking) {
            Some(service) => Choice::Service(service),
            None => self.unclaimed(),
        }
    }

    /// The service that claims `host`, as it was spelled, and `port`.
    pub fn claimant(&self, host: &[u8], port: Option<u16>, asking: Asking) -> Option<usize> {
        let mut lower = [0u8; HOST_BYTES_MAX];
        let name = lower.get_mut(..host.len())?;
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let claims = self.hosts.get(&*name).map(Vec::as_slice).unwrap_or_default();
        claims.iter().find(|claim| claim.covers(port, asking)).map(|claim| claim.service)
    }

    /// Whether any service claims `host`, lower-cased, whatever the port.
    pub fn claims(&self, host: &str) -> bool {
        self.hosts.contains_key(host.as_bytes())
    }

    /// The index of the service with this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// What a call is that no service claims.
    pub fn unclaimed(&self) -> Choice {
        match self.unknown {
            Unknown::Allow => Choice::Unknown,
            Unknown::Deny => Choice::Denied,
        }
    }
}

// === impl Claim ===

impl Claim {
    fn covers(&self, port: Option<u16>, asking: Asking) -> bool {
        let own = port.is_some_and(|port| self.own_ports.contains(&port));
        match (self.port, asking) {
            (pattern, Asking::Captured) => {
                port.is_some_and(|port| covers_dialled(pattern, &self.own_ports, port))
            }
            (PortPattern::Any, _) => true,
            (PortPattern::Exact(exact), Asking::Http) => port.unwrap_or(80) == exact,
            (PortPattern::Exact(exact), Asking::Https) => port.unwrap_or(443) == exact,
            (PortPattern::Exact(exact), Asking::Connect) => port == Some(exact),
            (PortPattern::Usual, Asking::Http) => own || port.is_none_or(|port| port == 80),
            (PortPattern::Usual, Asking::Https) => own || port.is_none_or(|port| port == 443),
            (PortPattern::Usual, Asking::Connect) => own,
        }
    }
}

/// Whether a host's ports, as they are written, cover one that was dialled; those of the endpoints are `own`.
pub fn covers_dialled(pattern: PortPattern, own: &[u16], port: u16) -> bool {
    match pattern {
        PortPattern::Any => true,
        PortPattern::Exact(exact) => exact == port,
        PortPattern::Usual => port == HTTP_PORT || port == HTTPS_PORT || own.contains(&port),
    }
}

/// The ports that a service's own addresses have.
pub fn own_ports(endpoints: &Endpoints) -> Vec<u16> {
    match endpoints {
        Endpoints::Static(addresses) => addresses.iter().map(SocketAddr::port).collect(),
        Endpoints::Dns { port, .. } => vec![*port],
    }
}

/// The index of the first route of `service` that matches, if any.
pub fn route_of<'h>(
    service: &Service,
    method: &[u8],
    path: &[u8],
    header: impl Fn(&str) -> Option<&'h [u8]>,
) -> Option<usize> {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    service.routes.iter().position(|route| {
        route.matches.matches_line(method, path)
            && route.matches.headers.iter().all(|(name, wanted)| match (header(name), wanted) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(found), Some(wanted)) => found == wanted.as_bytes(),
            })
    })
}

#[cfg(test)]
mod tests;
