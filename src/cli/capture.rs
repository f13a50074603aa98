//! `outrigger capture`: rules that send an application's connections to the proxy.
//!
//! In: a configuration, or none, and flags that add to it. Out: rules loaded, looked at or removed, one
//! line for each thing that was done or found; what is wrong on standard error, with exit code 1.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::USAGE;
use crate::capture::{self, Backend, Findings, Rules, Trouble};
use crate::config::capture::{Network, PortRange, USER_MAX};
use crate::config::{self, Capture, Options};

/// What is captured when no file says otherwise: an empty file, with every default filled in.
const NOTHING_SAID: &str = "version: v1\n";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Load the rules, as one transaction, and show that they work. Safe to run twice.
    Apply {
        #[command(flatten)]
        what: What,
        /// Print the text that would be loaded, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell whether the rules stand, are those asked for, and work. Without privilege: only whether they work.
    Check {
        #[command(flatten)]
        what: What,
    },
    /// Take the rules away: new connections go direct, open ones go on.
    Remove {
        /// Not read: whatever stands is taken away. Allowed so that the commands take the same words.
        #[arg(hide = true)]
        config: Option<PathBuf>,
        /// Only the rules of this backend; both otherwise.
        #[arg(long, value_enum)]
        backend: Option<BackendName>,
        /// Print the text that it comes to as things stand, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Connect to the proof as the user this runs as; part of `apply`.
    #[command(hide = true)]
    Probe,
}

/// What is captured.
#[derive(Debug, clap::Args)]
pub(super) struct What {
    /// The YAML file, or a directory of them, for `capture` and the port of `outbound.listen`.
    config: Option<PathBuf>,
    /// The user id the proxy runs as, instead of `capture.user`.
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(..=i64::from(USER_MAX)))]
    user: Option<u32>,
    /// The port connections are sent to, instead of that of `outbound.listen`.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// A port, or a range such as 9000-9009, that is connected to directly; may be repeated.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_port: Vec<PortRange>,
    /// A network such as 10.9.0.0/16 that is connected to directly; may be repeated.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    skip_network: Vec<Network>,
    /// A user id whose connections go direct; may be repeated.
    #[arg(long, value_name = "UID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(..=i64::from(USER_MAX)))]
    skip_user: Vec<u32>,
    /// How the kernel is told: nft if it is installed, else iptables.
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum BackendName {
    Nft,
    Iptables,
}

/// Does what was asked for.
pub(super) fn capture(action: &Action) -> ExitCode {
    match action {
        Action::Apply { what, dry_run } => with_rules("apply", what, |rules, backend| {
            if *dry_run {
                super::print(&capture::text(rules, backend)?);
                return Ok(Findings::default());
            }
            capture::apply(rules, backend)
        }),
        Action::Check { what } => with_rules("check", what, capture::check),
        Action::Remove { backend, dry_run, .. } => {
            let backend = backend.map(BackendName::backend);
            tell("remove", if *dry_run { would_remove(backend) } else { capture::remove(backend) })
        }
        Action::Probe => ExitCode::from(capture::probe()),
    }
}

fn would_remove(backend: Option<Backend>) -> Result<Findings, Trouble> {
    super::print(&capture::text_of_removal(backend)?);
    Ok(Findings::default())
}

/// Reads the configuration, and does `act` with the rules it asks for.
fn with_rules(
    name: &str,
    what: &What,
    act: impl FnOnce(&Rules, Option<Backend>) -> Result<Findings, Trouble>,
) -> ExitCode {
    match what.rules() {
        Ok((rules, notes)) => {
            super::complain(&lines(&notes));
            tell(name, act(&rules, what.backend.map(BackendName::backend)))
        }
        Err((text, code)) => {
            super::complain(&text);
            ExitCode::from(code)
        }
    }
}

fn tell(name: &str, done: Result<Findings, Trouble>) -> ExitCode {
    match done {
        Ok(findings) => {
            super::print(&lines(&findings.notes));
            super::complain(&lines(&findings.wrongs));
            if findings.wrongs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(trouble) => {
            super::complain(&format!("outrigger capture {name}: {trouble}\n"));
            ExitCode::FAILURE
        }
    }
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

// === impl BackendName ===

impl BackendName {
    const fn backend(self) -> Backend {
        match self {
            Self::Nft => Backend::Nft,
            Self::Iptables => Backend::Iptables,
        }
    }
}

// === impl What ===

impl What {
    /// The rules, with what is worth saying of them; or why there are none, with the exit code.
    fn rules(&self) -> Result<(Rules, Vec<String>), (String, u8)> {
        let config = match &self.config {
            Some(path) => config::load(path, &Options::default()),
            None => config::load_str("", NOTHING_SAID, &Options::default()),
        };
        let config = config.map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            (lines(&problems), 1)
        })?;
        let mut notes: Vec<_> = config
            .warnings
            .iter()
            .filter(|warning| warning.key.starts_with("capture"))
            .map(ToString::to_string)
            .collect();
        let port = match self.port {
            Some(port) => port,
            None => {
                let (port, note) = port_of(&config.outbound.listen).map_err(|text| {
                    let at = self.config.as_deref().unwrap_or(Path::new("")).display();
                    (format!("{at}: {text}\n"), USAGE)
                })?;
                notes.extend(note);
                port
            }
        };
        Ok((Rules::new(port, &self.added(config.capture)), notes))
    }

    /// What the file leaves out, and what the flags do.
    fn added(&self, mut capture: Capture) -> Capture {
        capture.user = self.user.unwrap_or(capture.user);
        capture.skip_users.extend(&self.skip_user);
        capture.skip_ports.extend(&self.skip_port);
        capture.skip_networks.extend(&self.skip_network);
        capture
    }
}

/// The port on loopback that captured connections are sent to, and which family would find nobody there.
fn port_of(listen: &[SocketAddr]) -> Result<(u16, Option<String>), String> {
    let on_loopback = |address: &&SocketAddr| address.ip().is_loopback() || address.ip().is_unspecified();
    let arriving: Vec<SocketAddr> = listen.iter().filter(on_loopback).copied().collect();
    let ports: BTreeSet<u16> = arriving.iter().map(SocketAddr::port).collect();
    let port = match ports.first() {
        Some(port) if ports.len() == 1 && *port > 0 => *port,
        Some(_) | None => {
            return Err("outbound.listen must have one fixed port on loopback, where captured connections arrive; or say which with --port".to_owned());
        }
    };
    let v4 = arriving.iter().any(SocketAddr::is_ipv4);
    let v6 = arriving.iter().any(SocketAddr::is_ipv6);
    let refused = |family: &str, address: IpAddr| {
        let absent = SocketAddr::new(address, port);
        format!("outbound.listen has no {absent}: captured {family} connections will be refused")
    };
    let note = match (v4, v6) {
        (true, true) => None,
        (true, false) => Some(refused("IPv6", IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]))),
        (false, _) => Some(refused("IPv4", IpAddr::from([127, 0, 0, 1]))),
    };
    Ok((port, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(addresses: &[&str]) -> Result<(u16, Option<String>), String> {
        port_of(&addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn connections_go_to_the_one_port_on_loopback() {
        assert_eq!(listen(&["127.0.0.1:15001", "[::1]:15001"]), Ok((15001, None)));
        assert_eq!(listen(&["10.0.0.1:9000", "0.0.0.0:16001", "[::]:16001"]), Ok((16001, None)));
        let (port, note) = listen(&["127.0.0.1:15001"]).unwrap();
        assert_eq!(port, 15001);
        assert!(note.unwrap().contains("no [::1]:15001: captured IPv6"));
        assert!(listen(&["[::1]:15001"]).unwrap().1.unwrap().contains("no 127.0.0.1:15001: captured IPv4"));
        for wrong in [&["127.0.0.1:15001", "[::1]:15002"][..], &["127.0.0.1:0"], &["10.0.0.1:15001"]] {
            assert!(listen(wrong).is_err(), "{wrong:?}");
        }
    }
}
