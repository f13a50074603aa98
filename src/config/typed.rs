//! The configuration as meant: every default filled in, every value in range.
//!
//! In: nothing; `check` alone builds these values. Out: what the rest of the program reads.
//! Nothing here is optional that has a default: an `Option` means the user may switch it off.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;

use crate::config::Origins;

/// The whole configuration, valid by construction.
#[derive(Debug)]
pub struct Config {
    /// Name of the application this proxy stands beside.
    pub service: String,
    /// Worker threads. At least 1.
    pub workers: usize,
    /// Where one line per call goes.
    pub access_log: AccessLog,
    /// How the process ends.
    pub drain: Drain,
    /// Process-wide bounds.
    pub limits: Limits,
    /// The port every outbound call may use.
    pub outbound: Outbound,
    /// Addresses of the admin API.
    pub admin: Vec<SocketAddr>,
    /// Addresses for probes and scrapers; empty when off.
    pub health: Vec<SocketAddr>,
    /// What the capture rules leave out; the running proxy does not read it.
    pub capture: super::Capture,
    /// Name servers; empty means those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// Services in the order of the file.
    pub services: Vec<Service>,
    /// The policy of calls to destinations that no service names.
    pub unknown: Arc<Policy>,
    /// Which calls are traced, and where their spans go.
    pub tracing: Tracing,
    /// Files this was read from; `Origin::file` points here.
    pub files: Arc<[PathBuf]>,
    /// Lints that did not stop the load, as the user should see them.
    pub warnings: Vec<super::Problem>,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// No access log.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// How the process ends after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Nothing in flight and nothing new for this long ends the process.
    pub quiet: Duration,
    /// The process ends after this time whatever is in flight.
    pub timeout: Duration,
    /// Where `timeout` was set.
    pub timeout_origin: super::Origin,
}

/// Process-wide bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the application held at once, over all workers.
    pub connections: usize,
    /// Where `connections` was set.
    pub connections_origin: super::Origin,
    /// Bytes of request bodies kept for retries, over all calls.
    pub replay_bytes: usize,
    /// Bytes of decision records kept for explanations.
    pub explanations_bytes: usize,
}

/// The port every outbound call may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Addresses of the explicit proxy.
    pub listen: Vec<SocketAddr>,
    /// What happens to calls that no service claims.
    pub unknown: Unknown,
    /// Where `unknown` was set.
    pub unknown_origin: super::Origin,
    /// How long a silent connection is waited for before its destination is dialled; at most 10 s.
    pub detect_timeout: Duration,
}

/// What happens to calls that no service claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They pass through, traced.
    Allow,
    /// They are refused with `denied`.
    Deny,
}

/// Which calls are traced, and where their spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Share of calls sampled when the caller did not decide, 0.0 to 1.0.
    pub sample: f64,
    /// Which are exported though not sampled.
    pub always: Always,
    /// Where spans go; `None`: nowhere, trace headers are passed on.
    pub export: Option<Arc<super::Export>>,
}

/// Which calls are exported though they are not sampled: the words of `tracing.always`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Always {
    /// Those that failed.
    pub error: bool,
    /// Those that were tried again.
    pub retry: bool,
    /// Those that a breaker refused, or that found one not closed.
    pub breaker: bool,
    /// Those that took longer than `slowCallDuration`.
    pub slow: bool,
}

/// One named target of calls.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its key in the YAML.
    pub name: Arc<str>,
    /// Names the application uses for it.
    pub hosts: Vec<HostPattern>,
    /// Where its endpoints come from.
    pub endpoints: Endpoints,
    /// Local addresses of its own, where `Host` is ignored; often empty.
    pub listen: Vec<SocketAddr>,
    /// What the service speaks.
    pub protocol: Protocol,
    /// How TLS is spoken to it; `None` is plain TCP.
    pub tls: Option<Arc<super::Tls>>,
    /// The policy of calls that match no route.
    pub policy: Arc<Policy>,
    /// Routes in the order of the file; the first match wins.
    pub routes: Vec<Route>,
    /// Where the service stands in the files.
    pub origin: super::Origin,
    /// Where its `endpoints` stand.
    pub endpoints_origin: super::Origin,
    /// Where its `tls` stands; built in without one.
    pub tls_origin: super::Origin,
}

/// A host name a service answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// Lower-case, no trailing dot, no port; IPv6 without brackets.
    pub name: String,
    /// Which ports of that name are meant.
    pub port: PortPattern,
}

/// Which ports of a host name are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortPattern {
    /// No port named: none, 80 or 443 by scheme, or the endpoints' own.
    Usual,
    /// This port alone.
    Exact(u16),
    /// Every port (`name:*`).
    Any,
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// These addresses.
    Static(Vec<SocketAddr>),
    /// Every address of a DNS name.
    Dns {
        /// The name, without a port.
        name: String,
        /// The port of every address.
        port: u16,
    },
}

/// What a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// What the client spoke; under TLS what ALPN says.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, in clear text with prior knowledge.
    Http2,
    /// Bytes: no detection, layer-4 policies.
    Opaque,
}

/// A part of a service's calls with values of its own.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name; `routes[N]` when the YAML gives none.
    pub name: Arc<str>,
    /// Which calls it is for.
    pub matches: Match,
    /// The merged policy.
    pub policy: Arc<Policy>,
    /// Where the route stands in the files.
    pub origin: super::Origin,
}

/// Which calls a route is for: every part that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// The method, case and all.
    pub method: Option<String>,
    /// A condition on the raw path before `?`.
    pub path: Option<PathMatch>,
    /// Fields that must be there: lower-case name, and the value if one is asked for.
    pub headers: Vec<(String, Option<String>)>,
}

/// A condition on the raw path before `?`.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments: `/a` matches `/a` and `/a/b`, not `/ab`. No trailing slash, but for `/` itself.
    Prefix(String),
    /// The whole path, by pattern (already anchored).
    Regex(Regex),
}

/// Everything that decides over a call, merged from built-in values, `defaults`, service and route.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The call's deadline until the response head; `None` is off.
    pub timeout: Option<Duration>,
    /// Longest wait for a TCP connection, per address.
    pub connect_timeout: Duration,
    /// Longest silence on a call's body, tunnel or opaque connection; `None` is off.
    pub idle_timeout: Option<Duration>,
    /// The same for tunnels, upgraded and opaque connections.
    pub tunnel_idle_timeout: Option<Duration>,
    /// Longest time for a whole response body; `None` is off.
    pub body_timeout: Option<Duration>,
    /// The user's word that calls may be repeated.
    pub idempotent: bool,
    /// How an endpoint is chosen.
    pub balance: Balance,
    /// Bounds on idle connections to each endpoint.
    pub pool: Pool,
    /// Retries; `None` is off.
    pub retries: Option<Retries>,
    /// Circuit breaker, the same for all routes of a service; `None` is off.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bulkhead, the same for all routes of a service; `None` is off.
    pub bulkhead: Option<Bulkhead>,
    /// Where each value came from.
    pub origins: Origins,
}

/// Whether a policy acts or only says what it would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Decides and acts.
    Enforce,
    /// Decides and records; the call passes.
    Observe,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two picked at random.
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

/// Bounds on idle connections, per worker and endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// An idle connection is closed after this time.
    pub idle: Duration,
    /// Most idle connections kept.
    pub max_idle: usize,
    /// A connection this old takes no new call.
    pub max_age: Duration,
}

/// When a failed attempt is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retries {
    /// Acts or only records.
    pub mode: Mode,
    /// Retries after the first attempt, 0 to 10.
    pub max_retries: u32,
    /// Longest time of one attempt; `None` is off.
    pub per_try_timeout: Option<Duration>,
    /// Failures that may be retried besides never-sent ones.
    pub retry_on: RetryOn,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The share of calls that may be retries.
    pub budget: RetryBudget,
    /// Most bytes of one request body kept for a retry.
    pub max_body_bytes: usize,
}

/// Failures that may be retried besides never-sent ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// 502, 503 and 504.
    pub gateway_error: bool,
    /// The connection ended before the response did begin, or an attempt was reset.
    pub reset: bool,
    /// The attempt took longer than `per_try_timeout`.
    pub per_try_timeout: bool,
}

/// Waits between attempts. `0 < base <= max`, `factor >= 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait before the first retry, before jitter.
    pub base: Duration,
    /// Each further wait is this much longer.
    pub factor: f64,
    /// No wait is longer, before jitter is added.
    pub max: Duration,
    /// How the wait is spread.
    pub jitter: Jitter,
}

/// How a wait is spread so that callers do not retry in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing to the wait.
    Full,
    /// Half the wait, and anything up to the other half.
    Equal,
    /// The wait, and anything up to `base` on top.
    Additive,
    /// The wait as it is.
    None,
}

/// The share of calls that may be retries, per service over all workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries per call in the window, 0.0 to 1.0.
    pub ratio: f64,
    /// Retries per second allowed whatever the load.
    pub min_per_second: f64,
    /// The window.
    pub window: Duration,
}

/// When a service is left alone for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker {
    /// Acts or only records.
    pub mode: Mode,
    /// What opens it.
    pub trip: Trip,
    /// How long it stays open.
    pub open_for: OpenFor,
    /// How it finds out that the service is back.
    pub half_open: HalfOpen,
    /// Which answers are failures.
    pub fail_on: FailOn,
}

/// What opens a breaker: any one of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trip {
    /// This many failures in a row.
    pub consecutive_failures: Option<u32>,
    /// This share of failed calls in the window, 0.0 to 1.0.
    pub failure_rate: Option<f64>,
    /// This share of slow calls in the window, 0.0 to 1.0.
    pub slow_call_rate: Option<f64>,
    /// From send to response head, longer is slow.
    pub slow_call_duration: Duration,
    /// The window of the two rates.
    pub window: Duration,
    /// With fewer calls in the window, the rates open nothing.
    pub minimum_calls: u32,
}

/// How long a breaker stays open: `base`, doubled each time a probe fails, up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFor {
    /// The first time.
    pub base: Duration,
    /// The longest time.
    pub max: Duration,
}

/// How a breaker finds out that the service is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpen {
    /// Calls let through at a time.
    pub max_concurrent: u32,
    /// Successes in a row that close it.
    pub successes: u32,
    /// Without a decision for this long it opens again.
    pub max_wait: Duration,
}

/// Which answers are failures of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailOn {
    /// Any 5xx.
    pub server_error: bool,
    /// A deadline or per-try timeout of ours.
    pub timeout: bool,
    /// Connect failures, resets, broken protocol.
    pub transport: bool,
    /// Single statuses, such as 429.
    pub statuses: Vec<u16>,
    /// Codes of gRPC: bit n is code n. `5xx` brings those that are failures by default.
    pub grpc: u32,
}

/// How many calls may be in flight to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bulkhead {
    /// Acts or only records.
    pub mode: Mode,
    /// Attempts in flight at once, exact over all workers.
    pub max_concurrent: u32,
    /// Longest wait for a place; zero means no queue.
    pub max_wait: Duration,
    /// Most calls waiting.
    pub max_queue: u32,
    /// Upgraded, tunnelled and opaque connections at once.
    pub max_connections: u32,
}

// === impl HostPattern ===

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            PortPattern::Usual => write!(f, "{}", self.name),
            PortPattern::Exact(port) if self.name.contains(':') => write!(f, "[{}]:{port}", self.name),
            PortPattern::Exact(port) => write!(f, "{}:{port}", self.name),
            PortPattern::Any => write!(f, "{}:*", self.name),
        }
    }
}
