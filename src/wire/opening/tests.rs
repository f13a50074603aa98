use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::pki_types::ServerName;

use super::*;

/// A ClientHello as rustls writes it.
fn client_hello(name: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("its own versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name or an address");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    bytes
}

fn tls(name: Option<&str>, alpn: &[&str]) -> Opening {
    let alpn = alpn.iter().map(|name| name.as_bytes().into()).collect();
    Opening::Tls(ClientHello { sni: name.map(Into::into), alpn })
}

/// The same handshake in records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let records = hello[5..].chunks(size);
    records.flat_map(|piece| [&[22, 3, 1, 0, piece.len() as u8], piece].concat()).collect()
}

/// Every prefix gives `More` or the final answer, and never changes its mind.
fn assert_opening(bytes: &[u8], expected: &Opening) {
    let mut decided = false;
    for length in 0..=bytes.len() {
        let told = opening(&bytes[..length], false);
        decided |= told != Opening::More;
        let expected = if decided { expected } else { &Opening::More };
        assert_eq!(&told, expected, "{length} bytes of {:?}", bytes.escape_ascii().to_string());
        assert_ne!(opening(&bytes[..length], true), Opening::More);
    }
    assert!(decided, "never decided: {:?}", bytes.escape_ascii().to_string());
}

#[test]
fn every_prefix_of_settings_may_be_a_service_of_http2_and_greetings_are_not() {
    let settings = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff\0\x05\0\0\x40\0";
    for end in 0..=settings.len() {
        assert!(opens_like_http2(&settings[..end]), "{end}");
    }
    for greeting in [
        &b"220 shop ESMTP"[..],
        b"SSH-2.0-OpenSSH",
        b"\x4a\0\0\0\x0a8.0.36",
        b"\0\0\x07\x04\0\0\0\0\0",
        b"\0\0\0\x04\x01\0\0\0\0",
    ] {
        assert!(!opens_like_http2(greeting), "{greeting:?}");
    }
}

#[test]
fn every_prefix_of_http1_is_http1_or_too_early() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(2000));
    for line in [
        "GET / HTTP/1.1\r\nHost: shop\r\n\r\n",
        "GET / HTTP/1.0\n\n",
        "\r\n\r\nPOST /a?b=c HTTP/1.1\r\n",
        "\nPRI * HTTP/1.1\r\n",
        "PRI * HTTP/1.1\r\n",
        "PRI * HTTP/2.0 HTTP/1.1\r\n",
        "CONNECT shop:443 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "VERSION-CONTROL /ä b\r HTTP/1.1\r\n",
        "M-SEARCH http://shop/ HTTP/1.1\r\n",
        "x /a HTTP/1.9\r\n",
        long.as_str(),
    ] {
        assert_opening(line.as_bytes(), &Opening::Http1);
    }
}

#[test]
fn every_prefix_of_http2_is_http2_or_too_early() {
    let settings = [HTTP2_PREFACE.as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    assert_opening(&settings, &Opening::Http2);
    for length in 0..HTTP2_PREFACE.len() {
        assert_eq!(opening(&HTTP2_PREFACE[..length], false), Opening::More);
    }
}

#[test]
fn a_preface_that_goes_on_otherwise_is_opaque() {
    for bytes in ["PRI * HTTP/2.0\r\n\r\nXX", "PRI * HTTP/2.1\r\n\r\nSM", "\r\nPRI * HTTP/2.0\r\n"] {
        assert_opening(bytes.as_bytes(), &Opening::Opaque);
    }
}

#[test]
fn every_prefix_of_tls_is_tls_or_too_early() {
    for alpn in [&[][..], &["h2"], &["h2", "http/1.1"]] {
        for (asked, name) in [("Shop.example", Some("shop.example")), ("127.0.0.1", None)] {
            let hello = client_hello(asked, alpn);
            assert_opening(&hello, &tls(name, alpn));
            assert_eq!(opening(&[&hello[..], b"more"].concat(), false), tls(name, alpn));
            for size in [1, 2, 3, 7, 100, 255] {
                assert_opening(&in_records(&hello, size), &tls(name, alpn));
            }
        }
    }
}

#[test]
fn every_prefix_of_other_protocols_is_opaque_or_too_early() {
    for bytes in [
        &b"*1\r\n$4\r\nPING\r\n"[..],                     // Redis
        b"PING\r\n",                                      // Redis, inline; NATS
        b"GET key\r\n",                                   // Redis, inline
        b"CONNECT {\"verbose\":false}\r\n",               // NATS
        b"\0\0\0\x29\0\x03\0\0user\0postgres\0",          // Postgres, startup
        b"\0\0\0\x08\x04\xd2\x16\x2f",                    // Postgres, SSLRequest
        b"\x55\0\0\x01\x85\xa6\xff\x01",                  // MySQL, the client's answer
        b"AMQP\0\0\x09\x01",                              // AMQP 0-9-1
        b"EHLO shop.example\r\n",                         // SMTP
        b"\0\0\0\x21\0\x12\0\x03\0\0\0\0\0\x07outrigger", // Kafka
        b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xd4\x07\0\0",      // MongoDB
        b"\x41\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0",      // MongoDB, of a length that is a letter
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",            // SSH
        b"set key 0 0 1\r\n1\r\n",                        // memcached
        b"\x10\x0e\0\x04MQTT\x04\x02",                    // MQTT
        b"GET /\r\n",                                     // HTTP/0.9
        b"GET / HTTP/1.1 \r\n",
        b"GET HTTP/1.1\r\n",
        b"GET  HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\r\rGET",
        b"\x16\x03\x05\0\x05\x01",
        b"\x16\x02\x01\0\x05\x01",
        b"\x16\x03\x01\0\0\x01",
        b"\x16\x03\x01\x40\x01\x01",
        b"\x16\x03\x01\0\x05\x02",
        b"\x15\x03\x01\0\x02\x02\x28",
    ] {
        assert_opening(bytes, &Opening::Opaque);
    }
}

#[test]
fn lines_without_end_are_given_up_at_a_bound() {
    assert_opening(&[b'a'; 2 * METHOD_BYTES_MAX], &Opening::Opaque);
    let target = [b"GET ", [b'a'; LINE_BYTES_MAX].as_slice()].concat();
    let told = |length: usize| opening(&target[..length], false);
    assert_eq!(told(LINE_BYTES_MAX - 1), Opening::More);
    assert_eq!(told(LINE_BYTES_MAX), Opening::Opaque);
    let late = [&target[..], b" HTTP/1.1\r\n"].concat();
    assert_eq!(opening(&late, false), Opening::Opaque);
    assert_eq!(opening(&b"\r\n".repeat(LINE_BYTES_MAX), false), Opening::Opaque);
}

#[test]
fn a_client_hello_that_does_not_add_up_has_no_name() {
    let hello = client_hello("shop.example", &["h2"]);
    let nameless = tls(None, &[]);
    for (at, byte) in [(6, 0xff), (43, 0xff), (76, 0xff)] {
        let mut bytes = hello.clone();
        bytes[at] = byte;
        assert_eq!(opening(&bytes, false), nameless, "byte {at}");
    }
    for (at, wrong) in [(0, 21), (1, 2), (3, 0xff)] {
        let mut records = in_records(&hello, 50);
        records[55 + at] = wrong;
        assert_opening(&records, &nameless);
    }
    for length in 6..hello.len() {
        assert_eq!(opening(&hello[..length], true), nameless, "ended after {length} bytes");
    }
    assert_eq!(opening(&hello[..5], true), Opening::Opaque);
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0x47, 0], [0; 20_000].as_slice()].concat();
    assert_eq!(opening(&endless[..16_000], false), Opening::More);
    assert_eq!(opening(&endless, false), nameless);
}

#[test]
fn a_name_that_is_no_host_name_is_none() {
    let hello = client_hello("shop.example", &[]);
    let at = hello.windows(12).position(|bytes| bytes == b"shop.example").expect("it is in there");
    for name in ["shop/example", "shop example", "shop\0example", "sho\u{f6}.exampl", "10.10.10.100"] {
        let mut bytes = hello.clone();
        bytes[at..at + 12].copy_from_slice(&name.as_bytes()[..12]);
        assert_eq!(opening(&bytes, false), tls(None, &[]), "{name}");
    }
}

/// Bytes that begin like something that is told apart, and go on anyhow.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(Vec::new()),
        Just(b"GET / HTTP/1.".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nS".to_vec()),
        (0usize..300).prop_map(|length| {
            let mut hello = client_hello("shop.example", &["h2"]);
            hello.truncate(length);
            hello
        }),
        (0usize..300, 1usize..60).prop_map(|(length, size)| {
            let mut hello = in_records(&client_hello("shop.example", &["h2"]), size);
            hello.truncate(length);
            hello
        }),
    ];
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b" \r\n\x16\x03\x01\0aH".to_vec())];
    (start, vec(byte, 0..300)).prop_map(|(start, end)| [start, end].concat())
}

#[test]
fn a_request_to_a_proxy_is_told_from_one_to_a_server() {
    for line in
        ["CONNECT pay:443 HTTP/1.1\r\n", "GET http://pay/ HTTP/1.1\r\n", "\r\nGET HTTPS://pay/ HTTP/1.1\r\n"]
    {
        assert!(asks_a_proxy(line.as_bytes()), "{line}");
    }
    for line in ["GET / HTTP/1.1\r\n", "GET /http://pay HTTP/1.1\r\n", "CONNECTED / HTTP/1.1\r\n", ""] {
        assert!(!asks_a_proxy(line.as_bytes()), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn once_told_it_stays_told(bytes in nearly()) {
        let mut before = Opening::More;
        for length in 0..=bytes.len() {
            let told = opening(&bytes[..length], false);
            prop_assert!(before == Opening::More || told == before, "{before:?}, then {told:?}");
            prop_assert_ne!(opening(&bytes[..length], true), Opening::More);
            before = told;
        }
    }
}
