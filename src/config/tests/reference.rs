//! The reference lists every key as the table has it, each with an example that is tried.
//!
//! The part between the marks in `mesh-config/REFERENCE.md` is generated: run with `UPDATE_EXPECTED=1`
//! after changing the table. What stands around it is written by hand.

use std::fmt::Write;
use std::path::Path;

use super::{bad, good};
use crate::config::check::want_form;
use crate::config::keys::{Key, Kind, Levels, tables};
use crate::telemetry::metrics;

const BEGIN: &str = "<!-- keys: begin -->\n";
const END: &str = "<!-- keys: end -->\n";

/// An example of each key that is no plain block, as flow-style YAML.
const EXAMPLES: &[(&str, &str)] = &[
    // --- the process ---
    ("version", "v1"),
    ("service", "order-service"),
    ("workers", "4"),
    ("accessLog", "stdout"),
    ("drain.quiet", "5s"),
    ("drain.timeout", "20s"),
    ("limits.connections", "2000"),
    ("limits.replay", "64MiB"),
    ("limits.explanations", "1MiB"),
    ("outbound.listen", "127.0.0.1:15001"),
    ("outbound.detectTimeout", "100ms"),
    ("outbound.unknown", "deny"),
    ("admin", "off"),
    ("admin.listen", "127.0.0.1:16000"),
    ("health", "{listen: 0.0.0.0:15020}"),
    ("health.listen", "0.0.0.0:15020"),
    ("capture.user", "2102"),
    ("capture.skipUsers", "[1001]"),
    ("capture.skipPorts", "[3306, 9000-9009]"),
    ("capture.skipNetworks", "[10.9.0.0/16, '2001:db8:9::/48']"),
    ("dns.servers", "[10.0.0.10:53]"),
    ("tracing", "off"),
    ("tracing.otlp", "http://collector:4318"),
    ("tracing.protocol", "grpc"),
    ("tracing.headers", "{authorization: Bearer abc}"),
    ("tracing.compression", "gzip"),
    ("tracing.timeout", "5s"),
    ("tracing.tls.ca", "/etc/mesh/ca.pem"),
    ("tracing.tls.cert", "/etc/mesh/client.pem"),
    ("tracing.tls.key", "/etc/mesh/client-key.pem"),
    ("tracing.sample", "10%"),
    ("tracing.always", "[error, retry]"),
    ("defaults", "{timeout: 2s}"),
    ("services", "{cart: {endpoints: {dns: cart:80}}}"),
    // --- a service ---
    ("hosts", "[cart, cart.shop.svc.cluster.local]"),
    ("endpoints.dns", "cart:80"),
    ("endpoints.static", "[10.0.0.1:80, 10.0.0.2:80]"),
    ("listen", "127.0.0.1:9081"),
    ("protocol", "opaque"),
    ("tls", "{}"),
    ("tls.ca", "/etc/mesh/ca.pem"),
    ("tls.serverName", "cart.example.com"),
    ("tls.cert", "/etc/mesh/client.pem"),
    ("tls.key", "/etc/mesh/client-key.pem"),
    ("tls.alpn", "[h2]"),
    ("routes", "[{match: {path: /a}, timeout: 1s}]"),
    // --- a route ---
    ("name", "charge"),
    ("match.method", "POST"),
    ("match.path", "/charge"),
    ("match.pathPrefix", "/orders"),
    ("match.pathRegex", "'/orders/[0-9]+'"),
    ("match.grpc", "shop.Cart/Add"),
    ("match.header", "{x-tenant: gold}"),
    // --- policy ---
    ("timeout", "800ms"),
    ("connectTimeout", "250ms"),
    ("idleTimeout", "30s"),
    ("bodyTimeout", "1m"),
    ("idempotent", "true"),
    ("balance", "roundRobin"),
    ("pool.idle", "10s"),
    ("pool.maxIdle", "32"),
    ("pool.maxAge", "1m"),
    ("retries", "off"),
    ("retries.mode", "observe"),
    ("retries.maxRetries", "1"),
    ("retries.perTryTimeout", "200ms"),
    ("retries.retryOn", "[reset]"),
    ("retries.backoff.base", "50ms"),
    ("retries.backoff.factor", "1.5"),
    ("retries.backoff.max", "1s"),
    ("retries.backoff.jitter", "equal"),
    ("retries.budget.ratio", "10%"),
    ("retries.budget.minPerSecond", "0.5"),
    ("retries.budget.window", "30s"),
    ("retries.maxBody", "1MiB"),
    ("circuitBreaker", "off"),
    ("circuitBreaker.mode", "observe"),
    ("circuitBreaker.trip.consecutiveFailures", "5"),
    ("circuitBreaker.trip.failureRate", "25%"),
    ("circuitBreaker.trip.slowCallRate", "80%"),
    ("circuitBreaker.trip.slowCallDuration", "500ms"),
    ("circuitBreaker.trip.window", "10s"),
    ("circuitBreaker.trip.minimumCalls", "50"),
    ("circuitBreaker.openFor.base", "10s"),
    ("circuitBreaker.openFor.max", "5m"),
    ("circuitBreaker.halfOpen.maxConcurrent", "2"),
    ("circuitBreaker.halfOpen.successes", "5"),
    ("circuitBreaker.halfOpen.maxWait", "10s"),
    ("circuitBreaker.failOn", "[5xx, timeout, transport, 429, grpc-8]"),
    ("bulkhead", "off"),
    ("bulkhead.mode", "observe"),
    ("bulkhead.maxConcurrent", "100"),
    ("bulkhead.maxWait", "50ms"),
    ("bulkhead.maxQueue", "20"),
    ("bulkhead.maxConnections", "200"),
];

/// Where a key shows: the longest beginning of its path counts.
const SEEN: &[(&str, &str)] = &[
    ("service", "`/config`"),
    ("version", "`/config`"),
    ("workers", "`/config`"),
    ("accessLog", "`outrigger_access_log_dropped_total`"),
    ("drain", "`outrigger_draining`"),
    ("limits.connections", "`outrigger_connections_refused_total`"),
    ("limits.replay", "`outrigger_replay_bytes`"),
    ("outbound", "`outrigger_connections`"),
    ("outbound.detectTimeout", "`outrigger_calls_total`"),
    ("outbound.unknown", "`outrigger_calls_total`"),
    ("health", "`outrigger_ready`"),
    ("capture", "`capture check`"),
    ("dns", "`outrigger_calls_total`"),
    ("tracing", "`outrigger_spans_exported_total`"),
    ("tracing.timeout", "`outrigger_spans_dropped_total`"),
    ("defaults", "`check --effective`"),
    ("services", "`/services`"),
    ("hosts", "`/services`"),
    ("endpoints", "`/services`"),
    ("listen", "`/config`"),
    ("protocol", "`outrigger_calls_total`"),
    ("tls", "`outrigger_calls_total`"),
    ("tls.ca", "`outrigger_certificate_expiry_timestamp_seconds`"),
    ("tls.cert", "`outrigger_certificate_expiry_timestamp_seconds`"),
    ("routes", "`outrigger_call_duration_seconds`"),
    ("name", "`outrigger_call_duration_seconds`"),
    ("match", "`outrigger_call_duration_seconds`"),
    ("timeout", "`outrigger_calls_total`"),
    ("connectTimeout", "`outrigger_calls_total`"),
    ("idleTimeout", "`outrigger_calls_total`"),
    ("bodyTimeout", "`outrigger_calls_total`"),
    ("idempotent", "`outrigger_retries_total`"),
    ("balance", "`/services`"),
    ("pool", "`outrigger_upstream_connections`"),
    ("pool.maxAge", "`outrigger_upstream_connections_opened_total`"),
    ("retries", "`outrigger_retries_total`"),
    ("retries.perTryTimeout", "`outrigger_attempt_duration_seconds`"),
    ("retries.budget", "`outrigger_retry_budget_tokens`"),
    ("circuitBreaker", "`outrigger_breaker_state`"),
    ("circuitBreaker.mode", "`outrigger_observed_total`"),
    ("circuitBreaker.trip", "`outrigger_breaker_transitions_total`"),
    ("circuitBreaker.openFor", "`outrigger_breaker_transitions_total`"),
    ("circuitBreaker.failOn", "`outrigger_breaker_transitions_total`"),
    ("bulkhead", "`outrigger_bulkhead_refused_total`"),
    ("bulkhead.mode", "`outrigger_observed_total`"),
    ("bulkhead.maxConcurrent", "`outrigger_bulkhead_in_flight`"),
    ("bulkhead.maxWait", "`outrigger_bulkhead_queued`"),
    ("bulkhead.maxQueue", "`outrigger_bulkhead_queued`"),
];

fn example(key: &Key) -> Option<&'static str> {
    EXAMPLES.iter().find(|(path, _)| *path == key.path).map(|(_, value)| *value)
}

fn seen(path: &str) -> &'static str {
    let under =
        |start: &str| path == start || path.strip_prefix(start).is_some_and(|rest| rest.starts_with('.'));
    let found = SEEN.iter().filter(|(start, _)| under(start)).max_by_key(|(start, _)| start.len());
    found.map_or("", |(_, place)| place)
}

fn generated() -> String {
    let mut text = String::new();
    for (scope, keys) in tables() {
        let heading = match scope {
            "" => "Top of the file".to_owned(),
            "defaults" => "Policy: `defaults`, `services.*` and `services.*.routes[]`".to_owned(),
            scope => format!("`{scope}`"),
        };
        let columns =
            "| key | value | without it | example | shows in | what it does |\n|---|---|---|---|---|---|";
        write!(text, "\n## {heading}\n\n{columns}\n").unwrap();
        for key in keys {
            writeln!(text, "{}", row(key)).unwrap();
        }
    }
    text
}

fn row(key: &Key) -> String {
    let form = if key.kind == (Kind::Block { off: true }) {
        "a block, or off".to_owned()
    } else {
        want_form(key.kind).replace("such as ", "like ")
    };
    let without = match (key.without, key.default) {
        ("", "") => String::new(),
        ("", default) => format!("`{default}`"),
        (without, _) => without.to_owned(),
    };
    let place = match key.levels {
        Levels::All => "",
        Levels::NotRoute => " Not in a route.",
        Levels::NotDefaults => " Not in `defaults`.",
    };
    let (path, about, seen) = (key.path, key.about, seen(key.path));
    let example = example(key).map(|value| format!("`{value}`")).unwrap_or_default();
    format!("| `{path}` | {form} | {without} | {example} | {seen} | {about}{place} |")
}

/// A configuration in which the key has this value.
fn configuration(scope: &str, path: &str, value: &str) -> String {
    let mut text = value.to_owned();
    for part in path.rsplit('.') {
        text = format!("{{{part}: {text}}}");
    }
    // Neither half of the pair may stand alone, and the files of the examples are on no machine.
    text = match path {
        "tls.cert" => format!("{{tls: {{cert: {value}, key: /etc/mesh/client-key.pem}}}}"),
        "tls.key" => format!("{{tls: {{cert: /etc/mesh/client.pem, key: {value}}}}}"),
        "tracing.tls.cert" => {
            format!("{{tracing: {{tls: {{cert: {value}, key: /etc/mesh/client-key.pem}}}}}}")
        }
        "tracing.tls.key" => format!("{{tracing: {{tls: {{cert: /etc/mesh/client.pem, key: {value}}}}}}}"),
        _ => text,
    };
    let text = text.replace("/etc/mesh/", concat!(env!("CARGO_MANIFEST_DIR"), "/mesh-config/pem/"));
    let inside = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
    let endpoints = if path.starts_with("endpoints") { "" } else { "endpoints: {dns: cart:80}, " };
    let service = |rest: &str| format!("services: {{cart: {{{endpoints}{rest}}}}}\n");
    match scope {
        "" => format!("{inside}\n"),
        "services.*" => service(inside),
        "services.*.routes[]" if path.starts_with("match") => service(&format!("routes: [{{{inside}}}]")),
        "services.*.routes[]" => service(&format!("routes: [{{match: {{}}, {inside}}}]")),
        _ => service(inside),
    }
}

#[test]
fn the_reference_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mesh-config/REFERENCE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (found, after) = rest.split_once(END).expect("the second mark");
    let wanted = generated();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, wanted, "run the test with UPDATE_EXPECTED=1");
    }
}

#[test]
fn every_example_of_the_reference_is_accepted_and_no_key_is_without() {
    for (scope, keys) in tables() {
        for key in keys {
            match example(key) {
                Some(value) => _ = good(&configuration(scope, key.path, value)),
                None => {
                    assert!(matches!(key.kind, Kind::Block { off: false }), "{} has no example", key.path)
                }
            }
        }
    }
    let known = |path: &str| tables().iter().any(|(_, keys)| keys.iter().any(|key| key.path == path));
    for (path, _) in EXAMPLES.iter().chain(SEEN) {
        assert!(known(path), "{path} is no key");
    }
    assert!(!bad(&configuration("defaults", "retries.backoff.base", "5")).is_empty(), "a wrong one is seen");
}

#[test]
fn every_metric_that_the_reference_names_is_one() {
    for (path, place) in SEEN {
        let name = place.trim_matches('`');
        let is_metric = metrics::ALL.iter().any(|metric| metric.name == name);
        assert!(is_metric || !name.starts_with("outrigger_"), "{path}: {name}");
    }
}
