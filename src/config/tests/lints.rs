//! Lints that warn, and what is allowed although it looks like a mistake. Those that refuse are in
//! the corpus.

use super::{bad, good, options, told};
use crate::config::{Options, UnknownKeys, load_str};

const SERVICE: &str = "services:\n  a:\n    endpoints: {dns: a:80}\n";

/// The warnings of a service with these further lines.
fn warnings(lines: &str) -> String {
    told(&good(&format!("{SERVICE}{lines}")).warnings)
}

#[test]
fn a_per_try_timeout_from_another_block_is_clipped_with_one_warning() {
    let text = "defaults: {retries: {perTryTimeout: 2s}}\nservices:\n  a:\n    endpoints: {dns: a:80}\n    \
                timeout: 1s\n    routes:\n      - {match: {path: /a}, bodyTimeout: 9s}\n";
    let config = good(text);
    assert_eq!(
        told(&config.warnings),
        "mesh.yaml:5:5: services.a.timeout: found perTryTimeout 2s with timeout 1s, \
         want a shorter one; it is clipped to 1s\n"
    );
    assert_eq!(config.services[0].policy.value("retries.perTryTimeout"), "1s");
}

#[test]
fn a_mistake_in_defaults_is_told_once_however_many_inherit_it() {
    let services: String =
        (0..50).map(|i| format!("  s{i}: {{endpoints: {{dns: s:80}}, hosts: [h{i}]}}\n")).collect();
    let text =
        bad(&format!("defaults: {{timeout: 1s, retries: {{perTryTimeout: 1s}}}}\nservices:\n{services}"));
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn attempts_that_cannot_fit_are_warned_of() {
    let text = warnings("    timeout: 800ms\n    retries: {perTryTimeout: 300ms}\n");
    assert_eq!(
        text,
        "mesh.yaml:5:15: services.a.retries.perTryTimeout: found 3 attempts and their back-offs of up to 975ms \
         in 800ms, want room for all of them, or fewer retries\n"
    );
    assert_eq!(warnings("    timeout: 800ms\n    retries: {perTryTimeout: 200ms}\n"), "");
    assert_eq!(warnings("    timeout: 800ms\n    retries: {perTryTimeout: 300ms, maxRetries: 1}\n"), "");
    assert_ne!(warnings("    timeout: 50ms\n"), "", "the back-offs alone take longer");
}

#[test]
fn more_probes_than_places_are_warned_of() {
    let text =
        warnings("    circuitBreaker: {halfOpen: {maxConcurrent: 5}}\n    bulkhead: {maxConcurrent: 2}\n");
    assert!(text.contains("5 probes and a bulkhead of 2"), "{text}");
    assert_eq!(warnings("    circuitBreaker: {halfOpen: {maxConcurrent: 5}}\n    bulkhead: off\n"), "");
}

#[test]
fn a_drain_longer_than_the_pods_grace_is_warned_of() {
    let config = good("drain: {timeout: 1m}");
    assert_eq!(
        told(&config.warnings),
        "mesh.yaml:1:9: drain.timeout: found 1m, want at most 29s: less than the pod's grace of 30s, where it is cut to that\n"
    );
}

#[test]
fn settings_of_the_export_without_a_collector_are_said_to_be_idle() {
    let text = told(&good("tracing: {sample: 10%, always: [error]}").warnings);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("tracing.otlp besides it: nothing is exported without"), "{text}");
    assert_eq!(told(&good("tracing: {otlp: 'http://c:4318', always: [error]}").warnings), "");
}

#[test]
fn unknown_keys_can_be_warnings_but_not_where_they_send_calls_astray() {
    let options = Options { unknown_keys: UnknownKeys::Warn, ..options() };
    let text = format!("{SERVICE}    timeuot: 1s\n    timeout: 3s\n");
    let config = load_str("mesh.yaml", &text, &options).unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(config.services[0].policy.value("timeout"), "3s");
    for lines in ["    routes: [{match: {paht: /a}}]\n", "    rateLimit: 1/s\n", "    tls: {caFile: a.pem}\n"]
    {
        assert!(load_str("mesh.yaml", &format!("{SERVICE}{lines}"), &options).is_err(), "{lines}");
    }
}

#[test]
fn keys_that_begin_with_x_are_ignored_at_any_level() {
    let config = good(
        "x-a: 1\ndefaults: {x-b: [1], retries: {x-c: {}}}\nservices:\n  x-template: {timeout: nonsense}\n  \
         a:\n    x-d: null\n    endpoints: {x-e: 1, dns: a:80}\n    routes: [{match: {header: {x-tenant: blue}}}]\n",
    );
    assert_eq!(config.services.len(), 1);
    let headers = &config.services[0].routes[0].matches.headers;
    assert_eq!(*headers, [("x-tenant".to_owned(), Some("blue".to_owned()))], "header names are no keys");
}

#[test]
fn rules_inherited_from_defaults_are_no_mistake_of_an_opaque_service() {
    good(
        "defaults: {timeout: 1s, retries: {maxRetries: 1}}\nservices: {bus: {endpoints: {dns: k:9}, protocol: opaque, retries: off}}",
    );
}

#[test]
fn port_zero_is_never_taken() {
    good("outbound: {listen: 127.0.0.1:0}\nadmin: {listen: 127.0.0.1:0}\nhealth: {listen: [127.0.0.1:0]}");
}

#[test]
fn patterns_match_the_whole_path() {
    let config = good(&format!("{SERVICE}    routes: [{{match: {{pathRegex: '/a|/b[0-9]+'}}}}]\n"));
    let matches = &config.services[0].routes[0].matches;
    for (path, holds) in
        [("/a", true), ("/b12", true), ("/b12?q", true), ("/ab1", false), ("/x/a", false), ("/b1\n", false)]
    {
        assert_eq!(matches.matches_line(b"GET", path.as_bytes()), holds, "{path}");
    }
}

#[test]
fn the_process_has_its_defaults() {
    let config = good("version: v1");
    let text = |addresses: &[std::net::SocketAddr]| format!("{addresses:?}");
    assert_eq!(text(&config.outbound.listen), "[127.0.0.1:15001, [::1]:15001]");
    assert_eq!(text(&config.admin), "[127.0.0.1:15000]");
    assert_eq!((config.service.as_str(), config.workers), ("laptop", 2));
    assert_eq!((config.limits.connections, config.limits.replay_bytes), (10_000, 16 << 20));
    assert_eq!(config.limits.explanations_bytes, 4 << 20);
    assert!(config.health.is_empty() && config.dns_servers.is_empty() && config.services.is_empty());
    assert!(good("admin: off").admin.is_empty());
    assert_eq!(text(&good("dns: {servers: [127.0.0.1:5353]}").dns_servers), "[127.0.0.1:5353]");
}
