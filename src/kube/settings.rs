//! What the sidecar of a pod is like: its image, its configuration, its rights and its size.
//!
//! In: nothing. Out: the defaults, each a named value. The command line changes them for all pods,
//! annotations for one.

use super::annotations::{ANNOTATIONS, PREFIX};
use super::values::{Form, quantity};
use crate::config::capture::PortRange;

/// Labels of ours: selectors see labels, not annotations.
pub const INJECT_LABEL: &str = "outrigger.dev/inject";
/// Written by us: what was added, and by which version. A pod that has it is left alone.
pub const STATUS: &str = "outrigger.dev/status";
/// The init container that loads the kernel's rules.
pub const CAPTURE_NAME: &str = "outrigger-capture";
/// The sidecar.
pub const PROXY_NAME: &str = "outrigger";
/// The volume with the configuration.
pub const VOLUME: &str = "outrigger-config";
/// Where the configuration is mounted.
pub const CONFIG_PATH: &str = "/etc/outrigger";

/// The greatest user id that Kubernetes takes.
const USER_MAX: u32 = i32::MAX.unsigned_abs();

/// Longest name of a namespace, in bytes (RFC 1123 label).
const NAMESPACE_BYTES_MAX: usize = 63;

/// What is added to a pod. The defaults are in [`Settings::default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image, as a pod names it. Its entry point is the program.
    pub image: String,
    /// The name of the ConfigMap in the pod's namespace that holds the configuration.
    pub config: String,
    /// Whether the kernel sends the application's connections to the proxy; if not, its containers
    /// get the proxy variables.
    pub capture: bool,
    /// What is not captured, beside what the configuration leaves out.
    pub skip: SkipLists,
    /// What the sidecar asks of the node.
    pub resources: Resources,
    /// The ports in the pod that are ours.
    pub ports: Ports,
    /// The user and group of the proxy, 1 to 2147483647; nobody else in the pod may be it.
    pub user: u32,
    /// The namespace in which Outrigger itself runs; its pods are left alone.
    pub own_namespace: String,
}

/// What is not captured, each item as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SkipLists {
    /// Ports of services, or ranges of them.
    pub ports: Vec<String>,
    /// Networks of services.
    pub networks: Vec<String>,
    /// Users whose connections are left alone.
    pub users: Vec<String>,
}

/// What the sidecar asks of the node, as Kubernetes writes quantities. Requests are always set:
/// without them a HorizontalPodAutoscaler cannot tell how busy the pod is, and says so of all of it.
/// There is no limit of CPU unless one is asked for, as a ResourceQuota may want: throttling would show as
/// latency of every call of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// What the scheduler keeps free for it.
    pub cpu_request: String,
    /// Above this the kernel lets it wait; `None` for no limit.
    pub cpu_limit: Option<String>,
    /// What the scheduler keeps free for it.
    pub memory_request: String,
    /// Above this the kernel ends the proxy.
    pub memory_limit: String,
}

/// Ports in the pod that are ours. The configuration must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// On loopback: captured connections and proxied calls (`outbound.listen`).
    pub outbound: u16,
    /// On loopback: the admin API (`admin.listen`).
    pub admin: u16,
    /// On every address of the pod: `/live`, `/ready` and `/metrics` for probes and scrapers.
    pub health: u16,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: format!("outrigger:{}", env!("CARGO_PKG_VERSION")),
            config: "outrigger".to_owned(),
            capture: true,
            skip: SkipLists::default(),
            resources: Resources::default(),
            ports: Ports::default(),
            user: 1337,
            own_namespace: "outrigger-system".to_owned(),
        }
    }
}

impl Settings {
    /// Sets for all pods what the annotation `outrigger.dev/NAME` sets for one; and what no annotation
    /// sets: `outbound-port`, `admin-port`, `health-port`, `user`, `own-namespace`. What is wrong is told as
    /// `found ..., want ...`.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let of_all = match name {
            "outbound-port" => Some(port(text).map(|port| self.ports.outbound = port)),
            "admin-port" => Some(port(text).map(|port| self.ports.admin = port)),
            "health-port" => Some(port(text).map(|port| self.ports.health = port)),
            "user" => Some(user(text).map(|user| self.user = user)),
            "own-namespace" => Some(namespace(text).map(|name| self.own_namespace = name)),
            _ => None,
        };
        if let Some(set) = of_all {
            return set;
        }
        let annotation =
            ANNOTATIONS.iter().find(|annotation| annotation.name.strip_prefix(PREFIX) == Some(name));
        let annotation = annotation.ok_or_else(|| format!("found {name:?}, want a setting's name"))?;
        let words = annotation.form.read(text).ok_or_else(|| wrong(text, annotation.form.wanted()))?;
        (annotation.set)(self, words);
        Ok(())
    }

    /// What is wrong with the settings together.
    pub fn check(&self) -> Result<(), String> {
        let Ports { outbound, admin, health } = self.ports;
        if outbound == admin || admin == health || health == outbound {
            return Err(format!("ports: found {outbound}, {admin} and {health}, want three different ones"));
        }
        self.resources.check()
    }
}

// === impl Resources ===

impl Default for Resources {
    /// Measured: 8 MiB at rest, 4.6 KiB for an idle connection, about 25 us of CPU for a call. So the
    /// requests are those of some 1,500 idle connections and 400 calls in a second, and the limit holds all that
    /// the configuration's own bounds allow (10,000 connections, 16 MiB for replays, 4 MiB of
    /// explanations: 75 MiB) with room to spare.
    fn default() -> Self {
        Self {
            cpu_request: "10m".to_owned(),
            cpu_limit: None,
            memory_request: "16Mi".to_owned(),
            memory_limit: "128Mi".to_owned(),
        }
    }
}

impl Resources {
    /// Whether limits hold their requests: the API server refuses a pod of which one does not.
    pub(super) fn check(&self) -> Result<(), String> {
        let holds = |what: &str, limit: &str, request: &str| {
            if quantity(request) <= quantity(limit) {
                return Ok(());
            }
            Err(format!("{what}-limit: found {limit}, want at least the {what} request of {request}"))
        };
        holds("memory", &self.memory_limit, &self.memory_request)?;
        self.cpu_limit.as_ref().map_or(Ok(()), |limit| holds("cpu", limit, &self.cpu_request))
    }
}

// === impl Ports ===

impl Default for Ports {
    fn default() -> Self {
        Self { outbound: 15001, admin: 15000, health: 15020 }
    }
}

impl Ports {
    /// All of them, with what each is for.
    pub fn all(self) -> [(u16, &'static str); 3] {
        [(self.admin, "admin"), (self.outbound, "outbound"), (self.health, "health")]
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse::<PortRange>().ok().filter(|ports| ports.first() == ports.last());
    port.map(PortRange::first).ok_or_else(|| wrong(text, "a port from 1 to 65535"))
}

fn user(text: &str) -> Result<u32, String> {
    let words = Form::Users.read(text).unwrap_or_default();
    let user = text.parse().ok().filter(|user| (1..=USER_MAX).contains(user) && words.len() == 1);
    user.ok_or_else(|| wrong(text, &format!("a user id from 1 to {USER_MAX}")))
}

fn namespace(text: &str) -> Result<String, String> {
    let words = Form::ObjectName.read(text).filter(|words| words.concat().len() <= NAMESPACE_BYTES_MAX);
    words.map(|words| words.concat()).ok_or_else(|| wrong(text, "the name of a namespace"))
}

fn wrong(found: &str, wanted: &str) -> String {
    format!("found {found:?}, want {wanted}")
}
