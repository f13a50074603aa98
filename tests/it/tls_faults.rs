//! TLS towards services, when it does not work: a reason, a sentence, and nothing sent.

use std::net::SocketAddr;

use crate::support::{Authority, Outrigger, Parrot, PemFolder, Reply, TlsFront, Upstream, eventually, post};

const TRUSTED: &str = "tls: {ca: PEM/ca.pem}\nretries: off";

/// A fatal alert: no version in common (RFC 8446 section 6.2).
const ALERT_VERSION: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46";

/// The beginning of a record that announces a handshake message of 122 bytes.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03";

/// A call is refused with `tls_failed` and a sentence that has this clause.
async fn assert_says(proxy: &Outrigger, clause: &str) {
    let reply = proxy.call(post("/", &[], "x")).await;
    assert_eq!(reply.outcome(), (503, "tls_failed"), "{clause}");
    let message = reply.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("no TLS with shop at 127.0.0.1:"), "{message}");
    assert!(message.contains(clause), "{message}");
    eventually(&format!("the log says it too: {clause}"), async || proxy.said(clause)).await;
}

/// What a service at `address` looks like to a proxy that trusts `authority`.
async fn assert_seen(authority: &Authority, address: SocketAddr, clause: &str) {
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    assert_says(&folder.shop(&[address], TRUSTED).start().await, clause).await;
}

#[tokio::test]
async fn each_kind_of_bad_certificate_is_told_from_the_others() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let upstream = Upstream::script([]);
    let cases = [
        (authority.issue_expired("shop"), "has expired"),
        (authority.issue_early("shop"), "is not yet valid"),
        (authority.issue("another"), "is not for shop"),
        (stranger.issue("shop"), "issued by nobody we trust"),
    ];
    for (pair, clause) in cases {
        let front = TlsFront::start(pair.server(), upstream.addr()).await;
        assert_seen(&authority, front.addr(), clause).await;
        assert!(front.handshakes().is_empty());
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_system_does_not_trust_a_private_authority() {
    let authority = Authority::new();
    let upstream = Upstream::script([]);
    let front = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let proxy = PemFolder::new(&[]).shop(&[front.addr()], "tls: {}\nretries: off").start().await;
    assert_says(&proxy, "issued by nobody we trust").await;
}

#[tokio::test]
async fn without_anything_in_common_there_is_no_handshake() {
    let authority = Authority::new();
    let upstream = Upstream::script([]);
    let front = TlsFront::start(authority.issue("shop").server_of_the_future(), upstream.addr()).await;
    assert_seen(&authority, front.addr(), "key exchange in common").await;
    let old = Parrot::start(ALERT_VERSION, true).await;
    assert_seen(&authority, old.addr(), "no version").await;
    let mut config = authority.issue("shop").server();
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let other = TlsFront::start(config, upstream.addr()).await;
    assert_seen(&authority, other.addr(), "ALPN").await;
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_no_service() {
    let authority = Authority::new();
    let plain = Parrot::start(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false).await;
    assert_seen(&authority, plain.addr(), "does not speak TLS").await;
    let cut = Parrot::start(HALF_A_HELLO, true).await;
    assert_seen(&authority, cut.addr(), "hung up").await;
}

#[tokio::test]
async fn a_service_that_wants_a_certificate_and_gets_none_or_a_wrong_one_says_so() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = Upstream::script([]);
    let front =
        TlsFront::start(authority.issue("shop").server_for_clients_of(&clients), upstream.addr()).await;
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    assert_refused(&folder.shop(&[front.addr()], TRUSTED).start().await).await;
    let wrong = stranger.issue("order-service");
    let folder = PemFolder::new(&[
        ("ca.pem", &authority.pem()),
        ("client.pem", &wrong.cert),
        ("client-key.pem", &wrong.key),
    ]);
    let lines = "tls: {ca: PEM/ca.pem, cert: PEM/client.pem, key: PEM/client-key.pem}\nretries: off";
    assert_refused(&folder.shop(&[front.addr()], lines).start().await).await;
}

/// In TLS 1.3 a client learns of it after its own part is over, when it reads.
async fn assert_refused(proxy: &Outrigger) {
    let reply = proxy.call(post("/", &[], "x")).await;
    assert_eq!(reply.outcome(), (503, "tls_failed"));
    assert!(reply.text().contains("does not accept our certificate"), "{}", reply.text());
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_a_connect_timeout() {
    let authority = Authority::new();
    for says in [&b""[..], HALF_A_HELLO] {
        let silent = Parrot::start(says, false).await;
        let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
        let lines = format!("{TRUSTED}\nconnectTimeout: 200ms");
        let proxy = folder.shop(&[silent.addr()], &lines).start().await;
        let reply = proxy.call(post("/", &[], "x")).await;
        assert_eq!(reply.outcome(), (503, "connect_timeout"));
    }
}

#[tokio::test]
async fn a_call_that_must_not_be_repeated_goes_to_the_endpoint_that_works() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let bad = TlsFront::start(authority.issue_expired("shop").server(), upstream.addr()).await;
    let good = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let lines = format!("{TRUSTED}\nbalance: roundRobin\npool: {{maxIdle: 0}}");
    let proxy = folder.shop(&[bad.addr(), good.addr()], &lines).start().await;
    for _ in 0..6 {
        assert_eq!(proxy.call(post("/charge", &[], "x")).await.text(), "paid");
    }
    assert_eq!((upstream.attempts(), good.handshakes().len()), (6, 6));
    eventually("the log says what is wrong", async || proxy.said("has expired")).await;
    proxy.breaker("closed").await;
}

#[tokio::test]
async fn failed_handshakes_open_the_breaker() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([]);
    let front = TlsFront::start(authority.issue("another").server(), upstream.addr()).await;
    let lines = format!("{TRUSTED}\ncircuitBreaker: {{trip: {{consecutiveFailures: 3}}}}");
    let proxy = folder.shop(&[front.addr()], &lines).start().await;
    for _ in 0..3 {
        assert_says(&proxy, "is not for shop").await;
    }
    assert_eq!(proxy.get("/").await.reason(), "breaker_open");
}
