//! TLS towards services, when it works.

use crate::support::{Authority, Echo, PemFolder, Reply, TlsFront, Upstream, eventually, get, pattern, post};

const TRUSTED: &str = "tls: {ca: PEM/ca.pem}\nprotocol: http1";

#[tokio::test]
async fn a_call_goes_out_with_tls_and_the_application_knows_nothing_of_it() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let front = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let proxy = folder.shop(&[front.addr()], TRUSTED).start().await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "paid");
    }
    let handshakes = front.handshakes();
    assert_eq!(handshakes.len(), 1, "the connection is kept: session tickets are no stray bytes");
    assert_eq!(handshakes[0].server_name.as_deref(), Some("shop"));
    assert_eq!(handshakes[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(upstream.attempts(), 3);
    let certificates = proxy.shop().await["certificates"].clone();
    assert_eq!(certificates[0]["certificate"], "ca", "{certificates}");
}

#[tokio::test]
async fn a_name_or_an_address_can_be_asked_for() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    for (name, sent) in [("pay.example.com", Some("pay.example.com")), ("127.0.0.1", None)] {
        let front = TlsFront::start(authority.issue(name).server(), upstream.addr()).await;
        let lines = format!("tls: {{ca: PEM/ca.pem, serverName: {name}}}");
        let proxy = folder.shop(&[front.addr()], &lines).start().await;
        assert_eq!(proxy.get("/").await.text(), "paid");
        assert_eq!(front.handshakes()[0].server_name.as_deref(), sent, "an address is no SNI");
    }
}

#[tokio::test]
async fn a_service_that_asks_for_a_certificate_gets_ours() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let ours = clients.issue("order-service");
    let folder = PemFolder::new(&[
        ("ca.pem", &authority.pem()),
        ("client.pem", &ours.cert),
        ("client-key.pem", &ours.key),
    ]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let server = authority.issue("shop").server_for_clients_of(&clients);
    let front = TlsFront::start(server, upstream.addr()).await;
    let lines = "tls: {ca: PEM/ca.pem, cert: PEM/client.pem, key: PEM/client-key.pem}";
    let proxy = folder.shop(&[front.addr()], lines).start().await;
    assert_eq!(proxy.get("/").await.text(), "paid");
    assert_eq!(front.handshakes()[0].client.as_deref(), Some(&ours.der()[..]));
}

#[tokio::test]
async fn the_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let front = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let lines = format!("{TRUSTED}\npool: {{maxIdle: 0}}");
    let proxy = folder.shop(&[front.addr()], &lines).start().await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.text(), "paid");
    }
    let resumed: Vec<bool> = front.handshakes().iter().map(|handshake| handshake.resumed).collect();
    assert_eq!(resumed, [false, true, true]);
}

#[tokio::test]
async fn long_bodies_pass_both_ways() {
    const LENGTH: usize = 3 << 20;
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::Pattern(LENGTH)]);
    let front = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let proxy = folder.shop(&[front.addr()], TRUSTED).start().await;
    let body = String::from_utf8(vec![b'x'; LENGTH]).expect("text");
    let reply = proxy.call(post("/", &[], &body)).await;
    assert_eq!((reply.status, reply.cut()), (200, false));
    assert!(reply.body.bytes == pattern(LENGTH));
    assert_eq!(upstream.last().body.bytes.len(), LENGTH);
}

#[tokio::test]
async fn a_connection_that_the_service_ended_while_idle_takes_no_call() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let upstream = Upstream::script([Reply::RawClose("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")]);
    let front = TlsFront::start(authority.issue("shop").server(), upstream.addr()).await;
    let proxy = folder.shop(&[front.addr()], TRUSTED).start().await;
    for count in 1..4 {
        assert_eq!(proxy.call(post("/", &[], "x")).await.text(), "hi");
        eventually("the service's end is noticed", async || {
            proxy.metrics().await.sum("outrigger_upstream_connections", &[("service", "shop")]) < 0.5
        })
        .await;
        assert_eq!(front.handshakes().len(), count);
    }
}

#[tokio::test]
async fn an_opaque_service_gets_tls_around_bytes_and_no_alpn() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let echo = Echo::start().await;
    let front = TlsFront::start(authority.issue("shop").server(), echo.addr()).await;
    let lines = "tls: {ca: PEM/ca.pem}\nprotocol: opaque\nlisten: 127.0.0.1:0";
    let proxy = folder.shop(&[front.addr()], lines).start().await;
    let mut client = crate::support::Client::connect(proxy.service("shop")).await;
    client.send("\x01\x02 not HTTP at all").await;
    assert_eq!(client.read_exactly(18).await, b"\x01\x02 not HTTP at all");
    client.half_close().await;
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true), "the end passes both ways");
    assert_eq!(front.handshakes()[0].alpn, None);
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_service_without_tls_is_still_called_in_plain() {
    let upstream = Upstream::script([Reply::Ok("plain")]);
    let folder = PemFolder::new(&[]);
    let proxy = folder.shop(&[upstream.addr()], "tls: off").start().await;
    assert_eq!(proxy.call(get("/")).await.text(), "plain");
}
