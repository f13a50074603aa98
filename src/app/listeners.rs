//! Every address the process listens on.
//!
//! In: a configuration. Out: bound sockets, or an error that names the address and its key. All are
//! bound before anything is served, so that a process is either whole or not there.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use tracing::{info, warn};

use crate::accept::socket::{listen, listen_again, listen_alone};
use crate::admin::Listener;
use crate::config::{Config, Service};
use crate::serve::Door;

/// Sockets for one door: one per worker.
type DoorSockets = (Door, Vec<TcpListener>);

/// Every address the process listens on, and the sockets nobody has taken yet.
#[derive(Debug)]
pub(super) struct Listeners {
    workers: usize,
    shown: Vec<Listener>,
    /// Addresses of services, as written (port 0 stays 0), with the address that was bound.
    services: BTreeMap<(String, SocketAddr), SocketAddr>,
    doors: Vec<DoorSockets>,
    admin: Vec<(TcpListener, bool)>,
}

/// What a reload adds and takes away.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Sockets to listen on.
    pub(super) opened: Vec<DoorSockets>,
    /// Addresses to leave.
    pub(super) closed: Vec<SocketAddr>,
    keys: Vec<((String, SocketAddr), SocketAddr)>,
    /// Services and addresses as they were written that are written no longer.
    gone: Vec<(String, SocketAddr)>,
}

// === impl Listeners ===

impl Listeners {
    /// Binds every address of the configuration.
    ///
    /// # Errors
    /// When one can't be bound, with its key and address.
    pub(super) fn open(config: &Config) -> io::Result<Self> {
        let mut listeners = Self {
            workers: config.workers,
            shown: Vec::new(),
            services: BTreeMap::new(),
            doors: Vec::new(),
            admin: Vec::new(),
        };
        for address in &config.outbound.listen {
            let bind = || listen(*address, config.workers);
            if let Some(sockets) = where_it_exists("outbound.listen", *address, bind)? {
                listeners.show("outbound", &sockets)?;
                listeners.doors.push((Door::Outbound, sockets));
            }
        }
        for (purpose, addresses) in [("admin", &config.admin), ("health", &config.health)] {
            for address in addresses {
                let bound = where_it_exists(&format!("{purpose}.listen"), *address, || {
                    listen_alone(*address).map(|socket| vec![socket])
                })?;
                for socket in bound.into_iter().flatten() {
                    listeners.show(purpose, std::slice::from_ref(&socket))?;
                    listeners.admin.push((socket, purpose == "health"));
                }
            }
        }
        let difference = listeners.difference(config)?;
        listeners.take_over(difference);
        Ok(listeners)
    }

    /// Binds what `config` has more than we listen on, and names what it has no longer.
    ///
    /// # Errors
    /// When an address can't be bound; nothing has changed then.
    pub(super) fn difference(&self, config: &Config) -> io::Result<Difference> {
        let mut difference = Difference::default();
        let wanted = |service: &Service| {
            service.listen.iter().map(|address| (service.name.to_string(), *address)).collect::<Vec<_>>()
        };
        let all: Vec<(String, SocketAddr)> = config.services.iter().flat_map(wanted).collect();
        for (name, address) in &all {
            if self.services.contains_key(&(name.clone(), *address)) {
                continue;
            }
            let key = format!("services.{name}.listen");
            // An address may change hands: who listens there now is us.
            let is_ours = self.services.values().any(|bound| bound == address);
            let sockets = if is_ours { listen_again } else { listen }(*address, self.workers);
            let sockets = sockets.map_err(|error| explain(&key, *address, &error))?;
            let bound = sockets[0].local_addr()?;
            difference.keys.push(((name.clone(), *address), bound));
            difference.opened.push((Door::service(name), sockets));
        }
        for (key, bound) in self.services.iter().filter(|(key, _)| !all.contains(key)) {
            difference.gone.push(key.clone());
            if !difference.keys.iter().any(|(_, again)| again == bound) {
                difference.closed.push(*bound);
            }
        }
        Ok(difference)
    }

    /// Makes a difference the state of affairs. At start its sockets wait for [`Listeners::take_doors`].
    pub(super) fn take_over(&mut self, difference: Difference) -> Vec<SocketAddr> {
        for key in &difference.gone {
            let bound = self.services.remove(key);
            self.shown.retain(|listener| Some(listener.address) != bound);
        }
        for (key, bound) in difference.keys {
            self.shown.push(announce(&format!("service {}", key.0), bound));
            self.services.insert(key, bound);
        }
        self.doors.extend(difference.opened);
        difference.closed
    }

    /// Sockets for calls, to be given to the workers.
    pub(super) fn take_doors(&mut self) -> Vec<DoorSockets> {
        std::mem::take(&mut self.doors)
    }

    /// Sockets of the admin API, and whether each is for probes and scrapers only.
    pub(super) fn take_admin(&mut self) -> Vec<(TcpListener, bool)> {
        std::mem::take(&mut self.admin)
    }

    /// Every address, for people.
    pub(super) fn shown(&self) -> Vec<Listener> {
        self.shown.clone()
    }

    /// Every address, for the loop guard.
    pub(super) fn own(&self) -> Vec<SocketAddr> {
        self.shown.iter().map(|listener| listener.address).collect()
    }

    fn show(&mut self, purpose: &str, sockets: &[TcpListener]) -> io::Result<()> {
        self.shown.push(announce(purpose, sockets[0].local_addr()?));
        Ok(())
    }
}

fn announce(purpose: &str, address: SocketAddr) -> Listener {
    info!("listening on {address} for {purpose}");
    Listener { purpose: purpose.to_owned(), address }
}

/// Binds, but for addresses of IPv6 on a host that has none: the default names `[::1]` too.
fn where_it_exists(
    key: &str,
    address: SocketAddr,
    bind: impl FnOnce() -> io::Result<Vec<TcpListener>>,
) -> io::Result<Option<Vec<TcpListener>>> {
    const EAFNOSUPPORT: i32 = 97;
    match bind() {
        Ok(sockets) => Ok(Some(sockets)),
        Err(error)
            if address.is_ipv6()
                && (error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error() == Some(EAFNOSUPPORT)) =>
        {
            warn!("{key}: {address} is left out: this host has no IPv6");
            Ok(None)
        }
        Err(error) => Err(explain(key, address, &error)),
    }
}

fn explain(key: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let known = [
        (io::ErrorKind::AddrInUse, "is taken; does another instance run?"),
        (io::ErrorKind::AddrNotAvailable, "is not an address of this host"),
        (io::ErrorKind::PermissionDenied, "needs a privilege: ports below 1024 do"),
    ];
    let what = known
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| format!("can't be listened on: {error}"), |(_, what)| (*what).to_owned());
    io::Error::new(error.kind(), format!("{key}: {address} {what}"))
}
