//! What the sidecar of a pod is like: its image, its configuration, its rights and its size.
//!
//! In: nothing. Out: the defaults, each a named value. The command line changes them for all pods,
//! annotations for one.

use super::annotations::{ANNOTATIONS, PREFIX};
use super::values::quantity;

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
/// There is no limit of CPU: throttling would show as latency of every call of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// What the scheduler keeps free for it.
    pub cpu_request: String,
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
    /// Sets what the annotation `outrigger.dev/NAME` sets, for all pods. What is wrong is told as
    /// `found ..., want ...`.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let annotation =
            ANNOTATIONS.iter().find(|annotation| annotation.name.strip_prefix(PREFIX) == Some(name));
        let annotation = annotation.ok_or_else(|| format!("found {name:?}, want a setting's name"))?;
        let words = annotation.form.read(text);
        let words = words.ok_or_else(|| format!("found {text:?}, want {}", annotation.form.wanted()))?;
        (annotation.set)(self, words);
        Ok(())
    }

    /// Whether the limit of memory holds its request: the API server refuses a pod of which it does not.
    pub(super) fn limit_holds_request(&self) -> bool {
        let (request, limit) = (&self.resources.memory_request, &self.resources.memory_limit);
        quantity(request) <= quantity(limit)
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
            memory_request: "16Mi".to_owned(),
            memory_limit: "128Mi".to_owned(),
        }
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
