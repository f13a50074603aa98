//! Which service a call is for.

use super::*;
use crate::config::{Options, load_str};

fn router(yaml: &str, search: &[&str]) -> Router {
    let config = load_str("mesh.yaml", yaml, &Options::default()).expect("a valid configuration");
    let search: Vec<String> = search.iter().map(|domain| (*domain).to_owned()).collect();
    Router::new(&config, &search)
}

const SHOP: &str = "
version: v1
services:
  payment:
    hosts: [payment, pay.shop.local, 'exact:8443', 'any:*']
    endpoints: {static: ['10.0.0.1:9101']}
  user:
    endpoints: {static: ['10.0.0.2:9102']}
";

#[test]
fn a_host_without_port_matches_the_usual_ports_and_the_endpoints_own() {
    let router = router(SHOP, &[]);
    for (host, asking) in [
        ("payment", Asking::Http),
        ("PAYMENT.", Asking::Http),
        ("payment:80", Asking::Http),
        ("payment:9101", Asking::Http),
        ("payment:443", Asking::Https),
        ("payment:9101", Asking::Connect),
    ] {
        assert_eq!(router.choose(host.as_bytes(), asking), Choice::Service(0), "{host}");
    }
    for (host, asking) in [
        ("payment:8080", Asking::Http),
        ("payment:443", Asking::Http),
        ("payment:443", Asking::Connect),
        ("exact", Asking::Http),
        ("other", Asking::Http),
    ] {
        assert_eq!(router.choose(host.as_bytes(), asking), Choice::Unknown, "{host}");
    }
}

#[test]
fn ports_that_are_spelled_out_are_meant() {
    let router = router(SHOP, &[]);
    assert_eq!(router.choose(b"exact:8443", Asking::Connect), Choice::Service(0));
    assert_eq!(router.choose(b"any:12345", Asking::Connect), Choice::Service(0));
}

#[test]
fn of_a_captured_call_the_port_that_was_dialled_counts() {
    let router = router(SHOP, &[]);
    let claimant = |host: &str, port| router.claimant(host.as_bytes(), Some(port), Asking::Captured);
    for (host, port) in [("payment", 80), ("Payment", 443), ("payment", 9101), ("exact", 8443), ("any", 5)] {
        assert_eq!(claimant(host, port), Some(0), "{host}:{port}");
    }
    for (host, port) in [("payment", 8080), ("exact", 80), ("other", 80)] {
        assert_eq!(claimant(host, port), None, "{host}:{port}");
    }
    assert!(router.claims("payment") && !router.claims("other"));
}

#[test]
fn a_host_of_one_label_answers_to_its_expansions() {
    let router = router(SHOP, &["shop.svc.cluster.local", "svc.cluster.local."]);
    assert_eq!(router.choose(b"user.shop.svc.cluster.local", Asking::Http), Choice::Service(1));
    assert_eq!(router.choose(b"user.svc.cluster.local", Asking::Http), Choice::Service(1));
    assert_eq!(router.choose(b"pay.shop.local.svc.cluster.local", Asking::Http), Choice::Unknown);
}

#[test]
fn unknown_calls_are_refused_when_the_yaml_says_so() {
    let router = router(&format!("{SHOP}outbound: {{unknown: deny}}\n"), &[]);
    assert_eq!(router.choose(b"other", Asking::Http), Choice::Denied);
    assert_eq!(router.choose(b"", Asking::Http), Choice::Nowhere);
}
