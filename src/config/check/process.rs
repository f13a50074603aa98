//! The top of the file: what concerns the whole process, and the walk over its services.
//!
//! In: the merged tree. Out: a [`Config`], or problems. Defaults come from the table through the same
//! code as a user's values.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::claims::Claims;
use super::layer::{Sets, Settings};
use super::lints::Paths;
use super::value::{self, Value, want_form};
use super::{Checker, Leaf, found, tracing};
use crate::config::keys::{Kind, Scope};
use crate::config::raw::{self, Node, Place};
use crate::config::units::show_duration;
use crate::config::{
    AccessLog, Capture, Config, Drain, Layer, Limits, Origin, Outbound, Policy, Service, Unknown,
};

/// Longest name of the application, in bytes: it is a resource attribute of every span.
const NAME_BYTES_MAX: usize = 255;

/// Addresses with the places they were written at.
type Placed = Vec<(SocketAddr, Place)>;

/// What is known of the process while its keys are read.
struct Draft<'n> {
    service: Option<String>,
    workers: Option<usize>,
    access_log: AccessLog,
    drain: Drain,
    drain_timeout_place: Place,
    explanations_place: Place,
    limits: Limits,
    outbound: Placed,
    unknown: Unknown,
    unknown_origin: Origin,
    detect_timeout: Duration,
    admin: Placed,
    health: Placed,
    /// A `health` block whose `listen` has not come.
    health_wanted: Option<Place>,
    dns_servers: Placed,
    capture: Capture,
    tracing: tracing::Draft,
    defaults: Option<&'n Node>,
    services: Option<Leaf<'n>>,
}

impl Checker<'_> {
    /// Reads everything. `None` only when there are problems.
    pub(super) fn process(&mut self, root: &Rc<Node>) -> Option<Config> {
        let mut draft = Draft::new();
        self.built_in_process(&mut draft);
        for leaf in self.leaves(Scope::Process, root, "") {
            self.process_key(leaf, &mut draft);
        }
        self.lint_process(&draft);
        let settings = self.defaults(draft.defaults);
        let mut claims = Claims::default();
        let services = self.services(draft.services.take(), &settings, &mut claims);
        claims.listeners("outbound.listen", &draft.outbound);
        claims.listeners("admin.listen", &draft.admin);
        claims.listeners("health.listen", &draft.health);
        self.lint_claims(&claims);
        let environment = &self.options.environment;
        let service = draft.service.unwrap_or_else(|| environment.service_name());
        let tracing = self.tracing(draft.tracing, &service);
        if tracing.export.is_some() && draft.limits.explanations_bytes == 0 {
            let want = "room for spans on their way to tracing.otlp: none is exported without";
            self.warning(draft.explanations_place, "limits.explanations", "0B", want);
        }
        Some(Config {
            service,
            workers: draft.workers.unwrap_or_else(|| environment.workers()),
            access_log: draft.access_log,
            drain: draft.drain,
            limits: draft.limits,
            outbound: Outbound {
                listen: bare(draft.outbound),
                unknown: draft.unknown,
                unknown_origin: draft.unknown_origin,
                detect_timeout: draft.detect_timeout,
            },
            admin: bare(draft.admin),
            health: match self.options.health_port {
                Some(port) if draft.health.is_empty() => everywhere(port),
                Some(_) | None => bare(draft.health),
            },
            dns_servers: bare(draft.dns_servers),
            capture: draft.capture,
            services: services?,
            unknown: Arc::new(unknown_policy(&settings)),
            tracing,
            files: self.files.iter().map(PathBuf::from).collect(),
            warnings: Vec::new(),
        })
    }

    /// Fills the draft from the defaults of the table.
    fn built_in_process(&mut self, draft: &mut Draft<'_>) {
        for key in Scope::Process.keys() {
            // Workers depend on the machine.
            if key.default.is_empty() || key.path == "workers" {
                continue;
            }
            let node = raw::parse(0, "", key.default.as_bytes(), &mut Vec::new())
                .expect("defaults of the table are YAML: every load reads them all");
            let leaf = Leaf { key, at: key.path.to_owned(), place: Place::NONE, node: &node };
            self.simple_process_key(&leaf, draft);
        }
        for (_, place) in draft.outbound.iter_mut().chain(&mut draft.admin) {
            *place = Place::NONE;
        }
        draft.drain_timeout_place = Place::NONE;
        draft.explanations_place = Place::NONE;
        draft.drain.timeout_origin = Origin::BUILT_IN;
        draft.limits.connections_origin = Origin::BUILT_IN;
        draft.unknown_origin = Origin::BUILT_IN;
    }

    fn process_key<'n>(&mut self, leaf: Leaf<'n>, draft: &mut Draft<'n>) {
        match leaf.key.path {
            "defaults" => draft.defaults = Some(leaf.node),
            "services" => draft.services = Some(leaf),
            "admin" if value::is_off(leaf.node) => draft.admin = Vec::new(),
            "health" if !value::is_off(leaf.node) => {
                draft.health_wanted = Some(leaf.place);
            }
            _ => self.simple_process_key(&leaf, draft),
        }
    }

    /// Keys whose value stands for itself, from the user or from the table.
    fn simple_process_key(&mut self, leaf: &Leaf<'_>, draft: &mut Draft<'_>) {
        match leaf.key.path {
            "service" => draft.service = self.label(leaf, NAME_BYTES_MAX),
            "accessLog" => draft.access_log = self.access_log(leaf),
            "outbound.listen" => draft.outbound = self.addresses(leaf, true),
            "admin.listen" => draft.admin = self.addresses(leaf, true),
            "health.listen" => {
                draft.health_wanted = None;
                draft.health = self.addresses(leaf, true);
            }
            "dns.servers" => draft.dns_servers = self.addresses(leaf, false),
            path if path.starts_with("capture") => self.capture_key(leaf, &mut draft.capture),
            path if path.starts_with("tracing") => self.tracing_key(leaf, &mut draft.tracing),
            _ => {
                if let Some(value) = self.simple(leaf) {
                    draft.set(leaf, value);
                }
            }
        }
    }

    /// One value, or a problem.
    fn simple(&mut self, leaf: &Leaf<'_>) -> Option<Value> {
        match value::read(leaf.key.kind, leaf.node) {
            Ok(value) => Some(value),
            Err(wrongs) => {
                self.wrong(leaf, wrongs);
                None
            }
        }
    }

    fn access_log(&mut self, leaf: &Leaf<'_>) -> AccessLog {
        match leaf.node.text() {
            _ if value::is_off(leaf.node) => AccessLog::Off,
            Some("stdout") => AccessLog::Stdout,
            // A bare word is more often a slip than a file in the working directory.
            Some(path) if path.contains('/') && !path.ends_with('/') && !path.contains('\0') => {
                AccessLog::File(PathBuf::from(path))
            }
            Some(_) | None => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::AccessLog));
                AccessLog::Off
            }
        }
    }

    fn lint_process(&mut self, draft: &Draft<'_>) {
        if let Some(place) = draft.health_wanted {
            self.problem(place, "health", "no address", "health: {listen: IP:port}, or off");
        }
        let environment = &self.options.environment;
        let (grace, most) = (environment.grace, environment.drain_fits());
        if draft.drain.timeout > most {
            let found = show_duration(draft.drain.timeout);
            let (most, grace) = (show_duration(most), show_duration(grace));
            let want =
                format!("at most {most}: less than the pod's grace of {grace}, where it is cut to that");
            self.warning(draft.drain_timeout_place, "drain.timeout", found, want);
        }
    }

    /// The built-in settings with those of `defaults` on top.
    fn defaults(&mut self, node: Option<&Node>) -> Settings {
        let mut sets = Sets::default();
        if let Some(node) = node {
            for leaf in self.leaves(Scope::Defaults, node, "defaults") {
                self.set(&leaf, Layer::Defaults, &mut sets);
            }
        }
        let settings = Settings::built_in().with(&sets);
        self.lint_service(&Paths { service: "defaults", route: "defaults" }, &settings, false);
        settings
    }

    /// All services; `None` when one of them is so wrong that it has no value.
    fn services(
        &mut self,
        leaf: Option<Leaf<'_>>,
        defaults: &Settings,
        claims: &mut Claims,
    ) -> Option<Vec<Service>> {
        let Some(leaf) = leaf else {
            return Some(Vec::new());
        };
        let Some(entries) = leaf.node.entries() else {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::Services));
            return None;
        };
        let entries = entries.iter().filter(|entry| !entry.key.starts_with("x-"));
        let services: Vec<_> = entries.map(|entry| self.service(entry, defaults, claims)).collect();
        services.into_iter().collect()
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// A draft with values that `built_in_process` replaces.
    fn new() -> Self {
        Self {
            service: None,
            workers: None,
            access_log: AccessLog::Off,
            drain: Drain { quiet: Duration::ZERO, timeout: Duration::ZERO, timeout_origin: Origin::BUILT_IN },
            drain_timeout_place: Place::NONE,
            explanations_place: Place::NONE,
            limits: Limits {
                connections: 1,
                connections_origin: Origin::BUILT_IN,
                replay_bytes: 0,
                explanations_bytes: 0,
            },
            outbound: Vec::new(),
            unknown: Unknown::Allow,
            unknown_origin: Origin::BUILT_IN,
            detect_timeout: Duration::ZERO,
            admin: Vec::new(),
            health: Vec::new(),
            health_wanted: None,
            dns_servers: Vec::new(),
            capture: Capture {
                user: 0,
                skip_users: Vec::new(),
                skip_ports: Vec::new(),
                skip_networks: Vec::new(),
            },
            tracing: tracing::Draft::default(),
            defaults: None,
            services: None,
        }
    }

    fn set(&mut self, leaf: &Leaf<'_>, value: Value) {
        let origin = Origin {
            layer: Layer::Process,
            file: leaf.place.file,
            line: leaf.place.line,
            column: leaf.place.column,
        };
        match (leaf.key.path, value) {
            ("workers", Value::Count(count)) => self.workers = usize::try_from(count).ok(),
            ("drain.quiet", Value::Time(time)) => self.drain.quiet = time,
            ("drain.timeout", Value::Time(time)) => {
                self.drain.timeout = time;
                self.drain.timeout_origin = origin;
                self.drain_timeout_place = leaf.place;
            }
            ("limits.connections", Value::Count(count)) => {
                self.limits.connections = usize::try_from(count).unwrap_or(usize::MAX);
                self.limits.connections_origin = origin;
            }
            ("limits.replay", Value::Size(bytes)) => {
                self.limits.replay_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            ("limits.explanations", Value::Size(bytes)) => {
                self.limits.explanations_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                self.explanations_place = leaf.place;
            }
            ("outbound.detectTimeout", Value::Time(time)) => self.detect_timeout = time,
            ("outbound.unknown", Value::Word(word)) => {
                self.unknown = if word == "deny" { Unknown::Deny } else { Unknown::Allow };
                self.unknown_origin = origin;
            }
            // Blocks, and keys that are checked only.
            (_, _) => {}
        }
    }
}

fn bare(placed: Placed) -> Vec<SocketAddr> {
    placed.into_iter().map(|(address, _)| address).collect()
}

/// Calls that no service names: connected, timed when idle and traced, nothing else.
fn unknown_policy(defaults: &Settings) -> Policy {
    let mut policy = defaults.policy(false);
    policy.timeout = None;
    policy.body_timeout = None;
    policy.retries = None;
    policy.circuit_breaker = None;
    policy.bulkhead = None;
    for key in ["timeout", "bodyTimeout", "retries", "circuitBreaker", "bulkhead"] {
        policy.origins.set(key, Origin::BUILT_IN);
    }
    policy
}

/// Every address of this host, of both families.
fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}
