//! Built-in -> `defaults` -> service -> route, with the place that decided.

use std::path::Path;
use std::time::Duration;

use super::{good, options};
use crate::config::{Layer, Mode, Policy, effective, load};

const LAYERS: &str = "\
defaults:
  timeout: 2s
  retries: {maxRetries: 1, backoff: {max: 100ms}}
  bulkhead: off
services:
  a:
    endpoints: {dns: a:80}
    timeout: 1s
    retries: {perTryTimeout: 300ms, retryOn: [reset]}
    routes:
      - name: slow
        match: {path: /slow}
        timeout: off
      - match: {path: /plain}
  b:
    endpoints: {dns: b:80}
    retries: off
    bulkhead: {}
    routes:
      - match: {path: /again}
        retries: {}
  c:
    endpoints: {dns: c:80}
    idleTimeout: 7m
    bulkhead: {maxConcurrent: 9, maxWait: 10ms, mode: observe}
";

fn origin(policy: &Policy, key: &str) -> (Layer, u32, u32) {
    let origin = policy.origins.get(key).unwrap();
    (origin.layer, origin.line, origin.column)
}

#[test]
fn each_field_comes_from_the_nearest_layer_that_sets_it() {
    let config = good(LAYERS);
    let service = &config.services[0].policy;
    assert_eq!(service.value("timeout"), "1s");
    assert_eq!(origin(service, "timeout"), (Layer::Service, 8, 5));
    assert_eq!(service.value("retries.maxRetries"), "1");
    assert_eq!(origin(service, "retries.maxRetries"), (Layer::Defaults, 3, 13));
    assert_eq!(service.value("retries.backoff.max"), "100ms");
    assert_eq!(service.value("retries.backoff.base"), "25ms");
    assert_eq!(origin(service, "retries.backoff.base"), (Layer::BuiltIn, 0, 0));
    let route = &config.services[0].routes[0].policy;
    assert_eq!(route.value("timeout"), "off");
    assert_eq!(origin(route, "timeout"), (Layer::Route, 13, 9));
    assert_eq!(route.value("retries.perTryTimeout"), "300ms");
    assert_eq!(origin(route, "retries.perTryTimeout"), (Layer::Service, 9, 15));
}

#[test]
fn lists_replace() {
    let retry_on = good(LAYERS).services[0].policy.retries.unwrap().retry_on;
    assert!(retry_on.reset && !retry_on.gateway_error && !retry_on.per_try_timeout);
}

#[test]
fn off_switches_a_block_off_and_an_empty_block_on_again() {
    let config = good(LAYERS);
    assert!(config.services[0].policy.bulkhead.is_none());
    let b = &config.services[1];
    assert!(b.policy.retries.is_none());
    assert_eq!(b.policy.bulkhead.unwrap().max_concurrent, 1024);
    assert_eq!(b.routes[0].policy.retries.unwrap().max_retries, 1, "with what was inherited before `off`");
}

#[test]
fn off_and_false_are_the_same() {
    for off in ["off", "false", "\"off\""] {
        let config = good(&format!(
            "services: {{a: {{endpoints: {{dns: a:80}}, timeout: {off}, retries: {off}, \
             circuitBreaker: {{trip: {{failureRate: {off}, consecutiveFailures: 5}}}}}}}}\nhealth: {off}\naccessLog: {off}"
        ));
        let policy = &config.services[0].policy;
        assert!(policy.timeout.is_none() && policy.retries.is_none(), "{off}");
        let trip = policy.circuit_breaker.as_ref().unwrap().trip;
        assert_eq!((trip.failure_rate, trip.consecutive_failures), (None, Some(5)), "{off}");
    }
}

#[test]
fn a_route_that_changes_nothing_shares_the_policy_of_its_service() {
    let config = good(LAYERS);
    let service = &config.services[0];
    assert!(std::sync::Arc::ptr_eq(&service.policy, &service.routes[1].policy));
    assert_eq!(&*service.routes[1].name, "routes[1]");
}

#[test]
fn the_queue_is_as_long_as_the_bulkhead_once_waiting_is_allowed() {
    let bulkhead = good(LAYERS).services[2].policy.bulkhead.unwrap();
    assert_eq!((bulkhead.max_queue, bulkhead.mode), (9, Mode::Observe));
    assert_eq!(good(LAYERS).services[1].policy.bulkhead.unwrap().max_queue, 0);
}

#[test]
fn tunnels_and_opaque_services_may_be_silent_for_an_hour_unless_told() {
    let hour = Some(Duration::from_secs(3600));
    let config =
        good("services: {bus: {endpoints: {dns: k:9092}, protocol: opaque}, a: {endpoints: {dns: a:80}}}");
    assert_eq!(config.services[0].policy.idle_timeout, hour);
    assert_eq!(config.services[1].policy.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.services[1].policy.tunnel_idle_timeout, hour);
    let told = &good(LAYERS).services[2].policy;
    assert_eq!(told.tunnel_idle_timeout, Some(Duration::from_secs(420)));
    assert_eq!(told.idle_timeout, told.tunnel_idle_timeout);
}

#[test]
fn unknown_destinations_have_no_policies_but_inherited_connection_timeouts() {
    let unknown = good("defaults: {connectTimeout: 3s, timeout: 1s}").unknown;
    assert_eq!(unknown.connect_timeout, Duration::from_secs(3));
    assert!(unknown.timeout.is_none() && unknown.retries.is_none());
    assert!(unknown.circuit_breaker.is_none() && unknown.bulkhead.is_none());
}

#[test]
fn anchors_aliases_and_merge_keys_keep_the_place_of_the_value() {
    let config = good(
        "x-quick: &quick\n  timeout: 100ms\n  bodyTimeout: 1s\nservices:\n  a:\n    <<: *quick\n    \
         bodyTimeout: 2s\n    endpoints: {dns: a:80}\n",
    );
    let policy = &config.services[0].policy;
    assert_eq!((policy.value("timeout"), policy.value("bodyTimeout")), ("100ms".to_owned(), "2s".to_owned()));
    assert_eq!(origin(policy, "timeout"), (Layer::Service, 2, 3));
    assert_eq!(origin(policy, "bodyTimeout"), (Layer::Service, 7, 5));
}

/// The values in effect for the example, as `check --effective` prints them.
#[test]
fn the_example_has_the_values_it_promises() {
    let config = load(Path::new("mesh-config/example.yaml"), &options()).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!((config.service.as_str(), config.workers, config.services.len()), ("order-service", 2, 5));
    let text = effective(&config, Some("inventory-service"), Some("POST"), Some("/check?x=1")).unwrap();
    let has = |line: &str| assert!(squeezed(&text).contains(&line.to_owned()), "{line}\n{text}");
    has("# service inventory-service, route check (mesh-config/example.yaml:33:9)");
    has("timeout 300ms mesh-config/example.yaml:36:9 (route)");
    has("idempotent true mesh-config/example.yaml:35:9 (route)");
    has("bulkhead.maxConcurrent 50 mesh-config/example.yaml:31:16 (service)");
    has("retries.maxRetries 2 mesh-config/example.yaml:18:13 (defaults)");
    has("retries.backoff.base 25ms built-in");
    has("circuitBreaker.trip.consecutiveFailures off built-in");
    let other = effective(&config, Some("inventory-service"), Some("GET"), Some("/check")).unwrap();
    assert!(
        squeezed(&other).contains(&"timeout 15s mesh-config/example.yaml:17:3 (defaults)".to_owned()),
        "{other}"
    );
    let payment = &config.services[2].policy;
    assert_eq!(payment.value("circuitBreaker.trip.slowCallRate"), "80%");
    assert_eq!(payment.value("circuitBreaker.openFor.max"), "5m");
}

#[test]
fn a_service_that_is_not_there_is_named_with_the_nearest() {
    let config = good(LAYERS);
    assert_eq!(
        effective(&config, Some("aa"), None, None).unwrap_err(),
        "no service is called `aa`; did you mean `a`?"
    );
}

#[test]
fn the_overview_names_what_files_set() {
    let text = effective(&good(LAYERS), None, None, None).unwrap();
    assert!(squeezed(&text).contains(&"timeout off mesh.yaml:13:9 (route)".to_owned()), "{text}");
    assert!(!text.contains("connectTimeout"), "{text}");
}

/// The lines with single spaces.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
