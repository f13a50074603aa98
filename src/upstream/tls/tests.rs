//! What is offered, and that a client is of its settings alone.

use super::*;
use crate::config::{Options, load_str};

fn client(keys: &str) -> TlsClient {
    let text = format!("services: {{a: {{endpoints: {{dns: a:443}}, {keys}}}}}");
    let config = load_str("mesh.yaml", &text, &Options::default()).expect("a good configuration");
    let service = &config.services[0];
    TlsClient::new(service.tls.as_ref().expect("a tls block"), service.protocol)
}

#[test]
fn the_protocol_of_the_service_and_the_use_decide_what_is_offered() {
    const BOTH: &[Alpn] = &[Alpn::H2, Alpn::Http11];
    // What is offered for calls, for HTTP/1 alone and for bytes.
    type Case = (&'static str, [&'static [Alpn]; 3]);
    let cases: [Case; 6] = [
        ("tls: {}", [BOTH, &[Alpn::Http11], &[]]),
        ("tls: {alpn: [http/1.1, h2]}", [&[Alpn::Http11, Alpn::H2], &[Alpn::Http11], &[]]),
        ("tls: {alpn: [h2, http/1.1]}, protocol: http1", [&[Alpn::Http11], &[Alpn::Http11], &[]]),
        ("tls: {}, protocol: http2", [&[Alpn::H2], &[Alpn::Http11], &[]]),
        ("tls: {}, protocol: opaque", [BOTH, &[Alpn::Http11], &[]]),
        ("tls: {alpn: [h2]}, protocol: opaque", [&[Alpn::H2], &[Alpn::Http11], &[Alpn::H2]]),
    ];
    for (keys, wanted) in cases {
        let client = client(keys);
        let offered = [Offer::Calls, Offer::Http1, Offer::Bytes].map(|offer| client.offered(offer));
        assert_eq!(offered, wanted.map(<[Alpn]>::to_vec), "{keys}");
        assert!(client.connector.is_some());
    }
}

#[test]
fn a_client_is_kept_while_its_settings_are_the_same() {
    let kept = client("tls: {serverName: b}");
    let same = client("tls: {serverName: b}, timeout: 1s");
    let other = client("tls: {serverName: c}");
    assert!(kept.is_of(&same.settings, Protocol::Auto));
    assert!(!kept.is_of(&same.settings, Protocol::Http1));
    assert!(!kept.is_of(&other.settings, Protocol::Auto));
}

#[test]
fn the_same_fault_is_told_once() {
    let client = client("tls: {}");
    let told = [Some(TlsFault::Expired), Some(TlsFault::Expired), Some(TlsFault::NotTls), None]
        .map(|fault| client.note(fault));
    assert_eq!(told, [true, false, true, false]);
    assert!(client.note(Some(TlsFault::NotTls)), "again after a success");
}

#[test]
fn hybrid_key_exchanges_are_not_offered() {
    let names: Vec<_> = PROVIDER.kx_groups.iter().map(|group| group.name()).collect();
    assert_eq!(
        names,
        [rustls::NamedGroup::X25519, rustls::NamedGroup::secp256r1, rustls::NamedGroup::secp384r1]
    );
}
