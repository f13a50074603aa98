//! A command beside the proxy: started after it, ended before it.
//!
//! In: the command and what it wants of the network. Out: a running command whose calls come here, by
//! a network namespace of its own where that is allowed, else by variables; and its exit code. Says
//! on standard error which of the two it is, and what it can't catch.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use crate::admin::Listener;
use crate::capture::laptop::variables::{replaced, variables};
use crate::capture::laptop::{CommandLine, Inside, Running};
use crate::config::Config;
use crate::upstream::discover::dns::answer::{Answers, Claimed};

use super::names;
use super::ports::{Ports, Side, carry, open_inside, open_outside};

/// The port of the listener inside, where the configuration leaves the choice to the system.
const OUTBOUND_PORT: u16 = 15001;

/// What the user wants to run, and which ports lead to it and from it.
#[derive(Debug, Clone)]
pub struct Beside {
    /// The command.
    pub command: CommandLine,
    /// Ports outside that lead to servers of the command.
    pub publish: Vec<Ports>,
    /// Ports inside that lead to servers of the user's machine.
    pub host_ports: Vec<Ports>,
}

/// The command on its way, and while it runs.
#[derive(Debug)]
pub(super) struct Companion {
    wanted: Beside,
    /// Its helper in a namespace, or why there is none.
    namespace: Result<Inside, String>,
    running: Option<(Inside, Running)>,
    published: Vec<(TcpListener, u16)>,
}

// === impl Companion ===

impl Companion {
    /// Makes the namespace, if one can be had, and opens the ports outside. The command does not run yet.
    ///
    /// # Errors
    /// When a port is taken.
    pub(super) async fn prepare(wanted: Beside, config: &Config) -> io::Result<Self> {
        let tried = Inside::namespace(&wanted.command, outbound_port(config)).await;
        let (namespace, running) = match tried {
            Ok((inside, running)) => (Ok(inside.clone()), Some((inside, running))),
            Err(why) => (Err(why), None),
        };
        let mut published = Vec::new();
        for ports in needed(&wanted.publish, namespace.is_ok()) {
            published.push((open_outside("--publish", ports)?, ports.to));
        }
        Ok(Self { wanted, namespace, running, published })
    }

    /// Where listeners for its calls are opened, if that is not here.
    pub(super) fn inside(&self) -> Option<Inside> {
        self.namespace.as_ref().ok().cloned()
    }

    /// Starts the command. `shown` are the proxy's listeners, `claimed` the names that are its own.
    ///
    /// # Errors
    /// When a port is taken, or no process can be started.
    pub(super) async fn run(
        &mut self,
        config: &Config,
        shown: &[Listener],
        claimed: Claimed,
    ) -> io::Result<()> {
        let side = match &self.namespace {
            Ok(inside) => {
                names::serve(inside, Answers::new(&config.dns_servers, claimed)?).await?;
                for ports in &self.wanted.host_ports {
                    for listener in open_inside("--host-port", *ports, inside).await? {
                        carry(listener, ports.to, Side::Outside)?;
                    }
                }
                Side::Inside(inside.clone())
            }
            Err(_) => {
                for ports in needed(&self.wanted.host_ports, false) {
                    carry(open_outside("--host-port", ports)?, ports.to, Side::Outside)?;
                }
                let proxy = proxy_address(shown)?;
                let set = variables(proxy, |name| std::env::var(name).ok());
                self.running = Some(Inside::beside(&self.wanted.command, set)?);
                Side::Outside
            }
        };
        for (listener, to) in std::mem::take(&mut self.published) {
            carry(listener, to, side.clone())?;
        }
        self.say();
        match &self.running {
            Some((helper, _)) => helper.run().await,
            None => Err(io::Error::other("no helper runs")),
        }
    }

    /// Waits for the end of the command: its exit code. Cancel-safe.
    pub(super) async fn ended(&mut self) -> io::Result<u8> {
        match &mut self.running {
            Some((_, running)) => running.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Passes a signal on. A command that has ended needs none.
    pub(super) async fn signal(&self, number: i32) {
        if let Some((helper, _)) = &self.running
            && let Err(error) = helper.signal(number).await
        {
            tracing::debug!(%error, number, "a signal was not passed on");
        }
    }

    /// Which of the two ways it is, why, and what it can't catch.
    fn say(&self) {
        let name = self.wanted.command.words.first().map(Path::new).map(Path::display);
        let name = name.map(|name| name.to_string()).unwrap_or_default();
        let text = match &self.namespace {
            Ok(_) => {
                let own = replaced(|name| std::env::var(name).ok()).map_or_else(String::new, |proxy| {
                    format!("outrigger: not seen as calls to services: what goes through {proxy}, as a variable says\n")
                });
                format!(
                    "outrigger: {name} runs in a network namespace of its own; its TCP connections and its \
                     questions for names come here\n\
                     outrigger: not caught: UDP but for names, and ICMP (refused); calls to its own 127.0.0.1 \
                     (--host-port leads to yours, --publish to its servers); setuid programs do not work in it\n{own}"
                )
            }
            Err(why) => {
                let replaced = replaced(|name| std::env::var(name).ok());
                let replaced = replaced.map_or_else(String::new, |proxy| format!(", in place of {proxy}"));
                format!(
                    "outrigger: {name} runs without a network namespace: {why}\n\
                     outrigger: HTTP_PROXY and its like lead its calls here{replaced}; not caught: programs that do not \
                     heed them, protocols that are not HTTP, calls to localhost (Go skips those whatever is set), UDP\n"
                )
            }
        };
        // Nobody may be there to read.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The addresses inside that outbound listeners have: the loopback ones that rules redirect to, and
/// those of the configuration that do not meet them.
pub(super) fn outbound_inside(config: &Config) -> Vec<SocketAddr> {
    let port = outbound_port(config);
    let mut addresses: Vec<SocketAddr> = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    let more = config.outbound.listen.iter().filter(|address| ![0, port].contains(&address.port()));
    addresses.extend(more);
    addresses
}

fn outbound_port(config: &Config) -> u16 {
    config.outbound.listen.first().map(SocketAddr::port).filter(|port| *port > 0).unwrap_or(OUTBOUND_PORT)
}

/// In one network a port that leads to itself needs nobody.
fn needed(ports: &[Ports], apart: bool) -> Vec<Ports> {
    ports.iter().filter(|ports| apart || ports.from != ports.to).copied().collect()
}

/// What variables name: an address of the outbound listener that a program here reaches.
fn proxy_address(shown: &[Listener]) -> io::Result<SocketAddr> {
    let outbound = || shown.iter().filter(|listener| listener.purpose == "outbound").map(|one| one.address);
    let address = outbound().find(SocketAddr::is_ipv4).or_else(|| outbound().next());
    let address =
        address.ok_or_else(|| io::Error::other("outbound.listen has no address to lead calls to"))?;
    Ok(match (address.ip(), address.ip().is_unspecified()) {
        (IpAddr::V4(_), true) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        (IpAddr::V6(_), true) => (Ipv6Addr::LOCALHOST, address.port()).into(),
        (_, false) => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(purpose: &str, address: &str) -> Listener {
        Listener { purpose: purpose.to_owned(), address: address.parse().unwrap() }
    }

    #[test]
    fn variables_name_an_address_that_can_be_dialled() {
        let admin = listener("admin", "127.0.0.1:15000");
        let both = [admin.clone(), listener("outbound", "[::1]:7"), listener("outbound", "127.0.0.1:8")];
        assert_eq!(proxy_address(&both).unwrap().to_string(), "127.0.0.1:8");
        assert_eq!(proxy_address(&both[..2]).unwrap().to_string(), "[::1]:7");
        assert_eq!(proxy_address(&[listener("outbound", "0.0.0.0:9")]).unwrap().to_string(), "127.0.0.1:9");
        assert!(proxy_address(&[admin]).unwrap_err().to_string().contains("outbound.listen"));
    }

    #[test]
    fn ports_that_lead_to_themselves_are_left_out_in_one_network() {
        let ports = [Ports { from: 80, to: 80 }, Ports { from: 80, to: 81 }];
        assert_eq!(needed(&ports, true), ports);
        assert_eq!(needed(&ports, false), ports[1..]);
    }
}
