//! What `tls`, `match.grpc` and `failOn` of gRPC mean once they are read. Mistakes are in the corpus.

use rustls::pki_types::ServerName;

use super::{bad, good};
use crate::config::{Alpn, CertificateUse, Config, PathMatch, Protocol, Tls};

const PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mesh-config/pem");

/// The configuration of one service with these further keys.
fn with(keys: &str) -> Config {
    good(&format!("services: {{a: {{{}}}}}", keys.replace("PEM", PEM)))
}

fn tls(keys: &str) -> std::sync::Arc<Tls> {
    with(keys).services[0].tls.clone().expect("a tls block")
}

fn server_name(keys: &str) -> ServerName<'static> {
    tls(keys).server_name.clone()
}

#[test]
fn a_block_that_is_empty_trusts_the_system_and_one_that_is_off_is_none() {
    let tls = tls("endpoints: {dns: a:443}, tls: {}");
    assert!(tls.roots.is_none() && tls.identity.is_none() && tls.alpn.is_empty());
    assert!(with("endpoints: {dns: a:443}, tls: off").services[0].tls.is_none());
    assert!(with("endpoints: {dns: a:443}").services[0].tls.is_none());
}

#[test]
fn files_are_read_and_what_expires_is_known() {
    let tls = tls("endpoints: {dns: a:443}, \
         tls: {ca: PEM/ca.pem, cert: PEM/client.pem, key: PEM/client-key.pem, alpn: [http/1.1, h2]}");
    assert_eq!(tls.roots.as_ref().map(|roots| roots.len()), Some(1));
    assert_eq!(tls.identity.as_ref().map(|identity| identity.cert.len()), Some(1));
    assert_eq!(tls.alpn, [Alpn::Http11, Alpn::H2]);
    let of: Vec<CertificateUse> = tls.certificates.iter().map(|certificate| certificate.of).collect();
    assert_eq!(of, [CertificateUse::Ca, CertificateUse::Client]);
    assert!(tls.certificates.iter().all(|certificate| certificate.not_after > 4_000_000_000));
}

#[test]
fn the_certificate_must_be_for_the_name_that_is_nearest() {
    let name = |text: &str| ServerName::try_from(text.to_owned()).unwrap();
    assert_eq!(server_name("endpoints: {dns: b:443}, hosts: [c], tls: {serverName: d}"), name("d"));
    assert_eq!(server_name("endpoints: {dns: b:443}, hosts: [c], tls: {}"), name("b"));
    assert_eq!(server_name("endpoints: {static: 10.0.0.1:443}, hosts: [c, d], tls: {}"), name("c"));
    assert_eq!(server_name("endpoints: {static: 10.0.0.1:443}, tls: {}"), name("a"));
    assert_eq!(
        server_name("endpoints: {static: 10.0.0.1:443}, tls: {serverName: 10.0.0.1}"),
        name("10.0.0.1")
    );
    assert_eq!(server_name("endpoints: {static: 10.0.0.1:443}, hosts: ['[::1]'], tls: {}"), name("::1"));
}

#[test]
fn another_file_is_another_value_and_no_key_is_ever_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::copy(format!("{PEM}/ca.pem"), &file).unwrap();
    let keys = format!("endpoints: {{dns: a:443}}, tls: {{ca: {}}}", file.display());
    let before = tls(&keys);
    assert_eq!(before, tls(&keys));
    std::fs::copy(format!("{PEM}/client.pem"), &file).unwrap();
    let after = tls(&keys);
    assert_ne!(before, after);
    assert_ne!(
        format!("{before:?}"),
        format!("{after:?}"),
        "the version of the configuration is made of this"
    );
    assert!(!format!("{after:?}").contains("CertifiedKey"));
}

#[test]
fn a_grpc_method_is_a_path_and_a_grpc_service_a_prefix() {
    let config = with(
        "endpoints: {dns: a:80}, protocol: http2, \
         routes: [{match: {grpc: shop.v1.Cart/Add}}, {match: {grpc: shop.v1.Cart}}]",
    );
    let service = &config.services[0];
    assert_eq!(service.protocol, Protocol::Http2);
    assert!(
        matches!(&service.routes[0].matches.path, Some(PathMatch::Exact(path)) if path == "/shop.v1.Cart/Add")
    );
    assert!(
        matches!(&service.routes[1].matches.path, Some(PathMatch::Prefix(path)) if path == "/shop.v1.Cart")
    );
}

#[test]
fn a_5xx_brings_the_codes_of_grpc_that_mean_the_same() {
    let codes = |list: &str| {
        let config = with(&format!("endpoints: {{dns: a:80}}, circuitBreaker: {{failOn: {list}}}"));
        let policy = &config.services[0].policy;
        (policy.circuit_breaker.as_ref().unwrap().fail_on.grpc, policy.value("circuitBreaker.failOn"))
    };
    let usual = 1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15;
    assert_eq!(codes("[5xx, grpc-14]"), (usual, "[5xx]".to_owned()));
    assert_eq!(
        codes("[5xx, grpc-8, timeout, 429]"),
        (usual | 1 << 8, "[5xx, timeout, 429, grpc-resource-exhausted]".to_owned())
    );
    assert_eq!(codes("[grpc-unavailable]"), (1 << 14, "[grpc-unavailable]".to_owned()));
    assert_eq!(codes("[timeout]"), (0, "[timeout]".to_owned()));
}

#[test]
fn a_silent_connection_is_waited_for_at_most_ten_seconds() {
    let time = |text: &str| good(text).outbound.detect_timeout.as_millis();
    assert_eq!((time("{}"), time("outbound: {detectTimeout: 10s}")), (50, 10_000));
    assert!(bad("outbound: {detectTimeout: 11s}").contains("1ms to 10s"));
}
