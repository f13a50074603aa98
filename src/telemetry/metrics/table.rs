//! Every metric, once: its name, what kind it is, its unit, its labels and what it means.
//!
//! In: nothing. Out: the constants that samples are written with, and [`ALL`] of them in the order
//! of the page. The reference is compared with this table. Label values come from the
//! configuration and from enums, so that their number is bounded.

/// What kind of numbers a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends. The name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of values by size.
    Histogram,
    /// Values that a share of all is within.
    Summary,
    /// Always 1; its labels say something. The name ends in `_info`.
    Info,
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name of its samples (of a histogram: before `_bucket`, `_sum` and `_count`).
    pub name: &'static str,
    /// What kind of numbers it has.
    pub kind: Kind,
    /// Its unit, which its name has too; empty for plain numbers.
    pub unit: &'static str,
    /// Its labels, in the order of a sample's values.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

// === impl Kind ===

impl Kind {
    /// The word after `# TYPE`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }
}

// === impl Metric ===

impl Metric {
    /// The name of the family in OpenMetrics: without `_total` and `_info`.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram | Kind::Summary => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

/// Makes the constants and the list of them, so that none is missing there.
macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help };
        )*

        /// Every metric, in the order of the page.
        pub const ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    CALLS = Counter "outrigger_calls_total" "" ["service", "route", "outcome", "reason"]
        "Calls by how they ended; the reason is empty for a success. Refusals before a service was known have an empty service.";
    CALL_DURATION = Histogram "outrigger_call_duration_seconds" "seconds" ["service", "route"]
        "From a call's head to the end of its reply.";
    CALL_DURATION_QUANTILES = Summary "outrigger_call_duration_quantiles_seconds" "seconds" ["service", "route"]
        "The same as quantiles over all workers, since the start, right to 1 %.";
    CALLS_IN_FLIGHT = Gauge "outrigger_calls_in_flight" "" []
        "Calls and tunnels that have begun and not ended.";
    ATTEMPTS = Counter "outrigger_attempts_total" "" ["service"]
        "Attempts: first ones and retries.";
    ATTEMPT_DURATION = Histogram "outrigger_attempt_duration_seconds" "seconds" ["service"]
        "From the start of an attempt to its response head.";
    RETRIES = Counter "outrigger_retries_total" "" ["service", "decision"]
        "What was decided about retries of failed attempts.";
    RETRY_BUDGET_TOKENS = Gauge "outrigger_retry_budget_tokens" "" ["service"]
        "Retries that retries.budget would allow now.";
    HOST_MISMATCHES = Counter "outrigger_host_mismatches_total" "" ["service"]
        "Captured calls whose Host or SNI names the service, and which were not going there.";
    OBSERVED = Counter "outrigger_observed_total" "" ["service"]
        "Decisions of policies in mode observe, which were not enforced.";
    BREAKER_STATE = Gauge "outrigger_breaker_state" "" ["service"]
        "Circuit breaker: 0 closed, 1 open, 2 half-open.";
    BREAKER_FORCED = Gauge "outrigger_breaker_forced" "" ["service"]
        "1 while the circuit breaker is forced open or closed through the admin API.";
    BREAKER_TRANSITIONS = Counter "outrigger_breaker_transitions_total" "" ["service", "to"]
        "Changes of the circuit breaker's state.";
    BULKHEAD_IN_FLIGHT = Gauge "outrigger_bulkhead_in_flight" "" ["service"]
        "Attempts that hold a place in the bulkhead.";
    BULKHEAD_QUEUED = Gauge "outrigger_bulkhead_queued" "" ["service"]
        "Calls that wait for a place in the bulkhead.";
    BULKHEAD_LIMIT = Gauge "outrigger_bulkhead_limit" "" ["service"]
        "Places in the bulkhead: bulkhead.maxConcurrent.";
    BULKHEAD_REFUSED = Counter "outrigger_bulkhead_refused_total" "" ["service"]
        "Calls refused for want of a place in the bulkhead.";
    CONNECTIONS = Gauge "outrigger_connections" "" ["side"]
        "Open connections of the application.";
    CONNECTIONS_ACCEPTED = Counter "outrigger_connections_accepted_total" "" []
        "Connections accepted from the application.";
    CONNECTIONS_CAPTURED = Counter "outrigger_connections_captured_total" "" []
        "Connections of the application that the kernel sent here, of those accepted.";
    CONNECTIONS_REFUSED = Counter "outrigger_connections_refused_total" "" []
        "Connections of the application refused because of limits.connections.";
    ACCEPT_ERRORS = Counter "outrigger_accept_errors_total" "" []
        "Times a listener could not accept, for want of file descriptors say.";
    UPSTREAM_CONNECTIONS = Gauge "outrigger_upstream_connections" "" ["service", "state"]
        "Open connections to a service: active ones carry a call, idle ones wait in a pool.";
    UPSTREAM_CONNECTIONS_OPENED = Counter "outrigger_upstream_connections_opened_total" "" ["service"]
        "Connections opened to a service.";
    CERTIFICATE_EXPIRY = Gauge "outrigger_certificate_expiry_timestamp_seconds" "seconds" ["service", "certificate"]
        "When the first certificate of tls.ca or tls.cert expires, as Unix time.";
    TUNNEL_BYTES = Counter "outrigger_tunnel_bytes_total" "bytes" ["service", "direction"]
        "Bytes that tunnels and opaque connections have carried: to_service or to_application.";
    REPLAY_BYTES = Gauge "outrigger_replay_bytes" "bytes" []
        "Request bodies kept so that they can be sent again, bounded by limits.replay.";
    ACCESS_LOG_DROPPED = Counter "outrigger_access_log_dropped_total" "" []
        "Lines of the access log that were dropped because its writer was behind.";
    SPANS_EXPORTED = Counter "outrigger_spans_exported_total" "" []
        "Spans that a collector took.";
    SPANS_DROPPED = Counter "outrigger_spans_dropped_total" "" ["reason"]
        "Spans that did not arrive; for queue_full the calls whose spans found no room.";
    EXPORTS_FAILED = Counter "outrigger_span_exports_failed_total" "" []
        "Requests to a collector that failed for good.";
    CONFIG_RELOADS = Counter "outrigger_config_reloads_total" "" ["result"]
        "Reloads of the configuration.";
    CONFIG_LAST_RELOAD_SUCCESSFUL = Gauge "outrigger_config_last_reload_successful" "" []
        "0 when the configuration was rejected the last time it was read, else 1.";
    CONFIG_INFO = Info "outrigger_config_info" "" ["version"]
        "The configuration in force.";
    READY = Gauge "outrigger_ready" "" []
        "1 when ready for calls: after the start and before the drain.";
    DRAINING = Gauge "outrigger_draining" "" []
        "1 when the process is about to end.";
    BUILD_INFO = Info "outrigger_build_info" "" ["version"]
        "The version of Outrigger.";
    PROCESS_CPU = Counter "process_cpu_seconds_total" "seconds" []
        "CPU time used, user and system.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" "bytes" []
        "Resident memory.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" "" []
        "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" "" []
        "Most file descriptors that may be open.";
    PROCESS_START_TIME = Gauge "process_start_time_seconds" "seconds" []
        "When the process started, as Unix time.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_openmetrics() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.family()), "{} is there twice", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_info"), metric.kind == Kind::Info, "{}", metric.name);
            assert!(metric.family().ends_with(metric.unit), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
