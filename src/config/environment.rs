//! What the configuration takes from outside its files: variables, host name, CPUs.
//!
//! In: the process' environment, read once. Out: the defaults of `service`, `workers` and `tracing`. A value and
//! not calls from within the checks, so that a test says what the environment is.

use std::time::Duration;

use super::units::parse_duration;
use super::variables::Variables;

/// What a Kubernetes pod gets between SIGTERM and SIGKILL unless it says otherwise.
const POD_GRACE: Duration = Duration::from_secs(30);

/// Time a process keeps for its end itself, after a drain that took as long as it may.
const END_TIME: Duration = Duration::from_secs(1);

/// Letters of generated pod names: Kubernetes leaves out vowels and look-alikes.
const HASH_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// The world around the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `OTEL_SERVICE_NAME`, `OUTRIGGER_SERVICE`, or `service.name` of `OTEL_RESOURCE_ATTRIBUTES`.
    pub service: Option<String>,
    /// The host's name; in Kubernetes that of the pod.
    pub hostname: Option<String>,
    /// Whether this is a pod.
    pub in_pod: bool,
    /// Whole CPUs the process may use, its container's quota included.
    pub cpus: usize,
    /// Time between SIGTERM and SIGKILL; `OUTRIGGER_GRACE` (a duration), or else 30 seconds.
    pub grace: Duration,
    /// What `OUTRIGGER_GRACE` says if that is no duration; it counts as not set.
    pub grace_misread: Option<String>,
    /// Whether the process is killed when `grace` is over: this is a pod, or `OUTRIGGER_GRACE` says so.
    pub is_killed: bool,
    /// Variables of OpenTelemetry and of the pod.
    pub variables: Variables,
}

// === impl Environment ===

impl Environment {
    /// The environment of this process.
    pub fn process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let variables = Variables::process();
        let of_resource = variables.resource().into_iter().find(|(key, _)| key == "service.name");
        let of_resource = of_resource.map(|(_, name)| name).filter(|name| !name.is_empty());
        let in_pod = variable("KUBERNETES_SERVICE_HOST").is_some();
        let grace_text = variable("OUTRIGGER_GRACE");
        let grace = grace_text.as_deref().and_then(parse_duration);
        Self {
            service: variable("OTEL_SERVICE_NAME").or_else(|| variable("OUTRIGGER_SERVICE")).or(of_resource),
            hostname: hostname.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
            in_pod,
            // Follows cpu.max of cgroup v2 and the quota of v1, and rounds down.
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            grace: grace.unwrap_or(POD_GRACE),
            grace_misread: grace_text.filter(|_| grace.is_none()),
            is_killed: in_pod || grace.is_some(),
            variables,
        }
    }

    /// The default of `service`.
    pub fn service_name(&self) -> String {
        match (&self.service, &self.hostname) {
            (Some(name), _) => name.clone(),
            (None, Some(pod)) if self.in_pod => workload(pod).to_owned(),
            (None, Some(host)) => host.clone(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// The longest drain that is over before the process is killed; none where nobody kills it.
    pub fn drain_most(&self) -> Option<Duration> {
        self.is_killed.then(|| self.drain_fits())
    }

    /// The longest drain that fits into `grace`, with time left to end; at least half of it.
    pub fn drain_fits(&self) -> Duration {
        self.grace.saturating_sub(END_TIME).max(self.grace / 2)
    }

    /// The default of `workers`: a proxy beside one application seldom needs more than two.
    pub fn workers(&self) -> usize {
        self.cpus.clamp(1, 2)
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::process()
    }
}

/// The workload a pod belongs to: `cart-6d5f8c7b9d-x2x4z`, `agent-x2x4z` and `db-0` without their ends.
fn workload(pod: &str) -> &str {
    let Some((rest, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest;
    }
    if !is_hash(last, 5..=5) {
        return pod;
    }
    match rest.rsplit_once('-') {
        Some((name, hash)) if is_hash(hash, 8..=10) => name,
        Some(_) | None => rest,
    }
}

fn is_hash(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.chars().all(|letter| HASH_LETTERS.contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_after_their_workload() {
        for (pod, name) in [
            ("cart-6d5f8c7b9d-x2x4z", "cart"),
            ("order-service-7c9f6b5d4-bcdfg", "order-service"),
            ("agent-x2x4z", "agent"),
            ("db-0", "db"),
            ("order-service", "order-service"),
            ("cart", "cart"),
        ] {
            assert_eq!(workload(pod), name);
        }
    }

    #[test]
    fn a_name_given_by_variable_wins() {
        let pod = Environment {
            service: None,
            hostname: Some("cart-6d5f8c7b9d-x2x4z".to_owned()),
            in_pod: true,
            cpus: 1,
            grace: POD_GRACE,
            grace_misread: None,
            is_killed: true,
            variables: Variables::default(),
        };
        assert_eq!(pod.service_name(), "cart");
        assert_eq!(Environment { in_pod: false, ..pod.clone() }.service_name(), "cart-6d5f8c7b9d-x2x4z");
        assert_eq!(Environment { service: Some("me".to_owned()), ..pod.clone() }.service_name(), "me");
        assert_eq!(Environment { hostname: None, ..pod.clone() }.service_name(), "unknown");
        assert_eq!(pod.workers(), 1);
        assert_eq!(Environment { cpus: 64, ..pod }.workers(), 2);
    }

    #[test]
    fn a_drain_leaves_time_to_end() {
        let pod = |grace_ms, is_killed| Environment {
            grace: Duration::from_millis(grace_ms),
            is_killed,
            ..Environment::default()
        };
        assert_eq!(pod(30_000, true).drain_most(), Some(Duration::from_secs(29)));
        assert_eq!(pod(1_000, true).drain_most(), Some(Duration::from_millis(500)));
        assert_eq!(pod(30_000, false).drain_most(), None);
    }
}
