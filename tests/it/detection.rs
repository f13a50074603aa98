//! Protocols are told apart by their first bytes, and none of those is lost.
//!
//! In: openings of many protocols, cut anywhere, to each door. Out: what arrived, byte for byte, and
//! which policies were in force.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{
    Client, Mesh, Outrigger, Peer, Refused, Reply, Upstream, get, ms, request, shop, within,
};

/// Protocols in which the client speaks first and that nobody here reads.
const OPAQUE: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"PING\r\n",
    b"GET key\r\n",
    b"\0\0\0\x29\0\x03\0\0user\0postgres\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"AMQP\0\0\x09\x01",
    b"EHLO shop.example\r\n",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    b"\0\0\0\x21\0\x12\0\x03\0\0\0\0\0\x07outrigger",
    b"\x41\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0",
];

/// A service `shop` that the test plays, with a port of its own.
async fn played(top: &str, lines: &str) -> (Peer, Outrigger) {
    let peer = Peer::bind().await;
    let mesh = Mesh::new().top(&format!("workers: 1\n{top}"));
    let proxy = mesh.service("shop", &[peer.addr()], &format!("listen: 127.0.0.1:0\n{lines}")).start().await;
    (peer, proxy)
}

/// The ClientHello of rustls for this name.
fn client_hello(name: &str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("its own versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    bytes
}

/// What one side sends, the other reads: both ways, and both ends.
async fn assert_carried(client: &mut Client, service: &mut Client, sent: &[u8]) {
    assert_eq!(service.read_exactly(sent.len()).await, sent);
    service.send("answer").await;
    assert_eq!(client.read_exactly(6).await, b"answer");
    client.half_close().await;
    assert_eq!(service.read_to_clean_end().await, (Vec::new(), true));
    service.half_close().await;
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true));
}

#[tokio::test]
async fn an_opaque_opening_cut_anywhere_arrives_whole() {
    let (peer, proxy) = played("", "").await;
    let hello = client_hello("shop.example");
    for opening in OPAQUE.iter().copied().chain([hello.as_slice()]) {
        for cut in (1..opening.len()).step_by(1 + opening.len() / 40) {
            let mut client = Client::connect(proxy.service("shop")).await;
            client.send(&opening[..cut]).await;
            client.send(&opening[cut..]).await;
            assert_carried(&mut client, &mut peer.accept().await, opening).await;
        }
    }
}

#[tokio::test]
async fn an_opening_that_comes_byte_by_byte_arrives_whole() {
    let (peer, proxy) = played("", "").await;
    let hello = client_hello("shop.example");
    for opening in OPAQUE.iter().copied().chain([hello.as_slice()]) {
        let mut client = Client::connect(proxy.service("shop")).await;
        for byte in opening {
            client.send([*byte]).await;
        }
        assert_carried(&mut client, &mut peer.accept().await, opening).await;
    }
}

#[tokio::test]
async fn http1_cut_anywhere_is_http1_at_every_door() {
    let (upstream, proxy) = shop("listen: 127.0.0.1:0", [Reply::Ok("x")]).await;
    let port = upstream.addr().port();
    let connect = format!("CONNECT shop:{port} HTTP/1.1\r\nHost: shop:{port}\r\n\r\n");
    let call = request("PUT", "/a", &["Content-Length: 4"]) + "body";
    for cut in 1..call.len() {
        for door in [proxy.outbound(), proxy.service("shop")] {
            let mut client = Client::connect(door).await;
            client.send(&call[..cut]).await;
            client.send(&call[cut..]).await;
            assert_eq!(client.read_reply().await.text(), "x", "cut at {cut}");
        }
        let mut client = proxy.client().await;
        client.send(connect.clone() + &call[..cut]).await;
        assert_eq!(client.read_head().await.0, 200);
        client.send(&call[cut..]).await;
        assert_eq!(client.read_reply().await.text(), "x", "cut at {cut} inside CONNECT");
        assert_eq!((&*upstream.last().line, &*upstream.last().text()), ("PUT /a HTTP/1.1", "body"));
    }
}

#[tokio::test]
async fn a_service_that_speaks_first_is_waited_for_once() {
    let wait = ms(1500);
    let (peer, proxy) = played("outbound: {listen: 127.0.0.1:0, detectTimeout: 1500ms}", "").await;
    let greeted = async || -> Duration {
        let started = Instant::now();
        let mut client = Client::connect(proxy.service("shop")).await;
        let mut service = peer.accept().await;
        service.send("220 welcome\r\n").await;
        assert_eq!(client.read_exactly(13).await, b"220 welcome\r\n");
        let took = started.elapsed();
        client.send("EHLO shop\r\n").await;
        assert_carried(&mut client, &mut service, b"EHLO shop\r\n").await;
        took
    };
    assert!(greeted().await >= wait, "nobody knows yet who speaks first");
    for _ in 0..3 {
        let took = greeted().await;
        assert!(took < wait, "it is known to speak first, and was waited for: {took:?}");
    }
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("*1\r\n").await;
    assert_carried(&mut client, &mut peer.accept().await, b"*1\r\n").await;
    assert!(greeted().await >= wait, "an application that spoke first makes it forgotten");
}

#[tokio::test]
async fn the_settings_of_a_service_of_http2_do_not_make_it_opaque() {
    const SETTINGS: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    for cut in [1, 3, 8, SETTINGS.len()] {
        let (peer, proxy) = played("outbound: {listen: 127.0.0.1:0, detectTimeout: 10ms}", "").await;
        let mut client = Client::connect(proxy.service("shop")).await;
        let mut service = peer.accept().await;
        service.send(&SETTINGS[..cut]).await;
        let told = tokio::time::timeout(ms(100), client.read_exactly(1)).await;
        assert!(
            told.is_err(),
            "the service's word was carried before the application had spoken, cut at {cut}"
        );
        service.send(&SETTINGS[cut..]).await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let ours = client.read_exactly(9 + 6).await;
        assert_ne!(ours, SETTINGS, "the proxy is the application's server, with settings of its own");
        assert_eq!((ours[3], &ours[5..9]), (4, &b"\0\0\0\0"[..]));
        assert_eq!(service.read_to_end().await, b"", "what was dialled in vain is closed");
    }
}

#[tokio::test]
async fn a_silent_application_that_turns_out_to_speak_http_gets_every_policy() {
    let (upstream, proxy) = shop("listen: 127.0.0.1:0", [Reply::Status(503), Reply::Ok("second")]).await;
    let mut client = Client::connect(proxy.service("shop")).await;
    proxy.counted("outrigger_upstream_connections_opened_total", &[("service", "shop")], 1.0).await;
    assert_eq!(client.call(get("/")).await.text(), "second");
    proxy.retries("retried", 1).await;
    proxy.calls("success", "", 1).await;
    assert_eq!(upstream.connections(), 2, "the one that was dialled carried the first attempt");
    proxy.counted("outrigger_calls_total", &[("service", "shop")], 1.0).await;
}

#[tokio::test]
async fn a_silent_application_whose_service_is_down_is_told_why_if_it_speaks_http() {
    let refused = Refused::bind();
    let lines = "listen: 127.0.0.1:0\nretries: off";
    let proxy = Mesh::new().service("shop", &[refused.addr()], lines).start().await;
    let mut http = Client::connect(proxy.service("shop")).await;
    proxy.counted("outrigger_attempts_total", &[("service", "shop")], 1.0).await;
    assert_eq!(http.call(get("/")).await.outcome(), (503, "connect_failed"));
    let mut silent = Client::connect(proxy.service("shop")).await;
    assert_eq!(silent.read_to_clean_end().await, (Vec::new(), false), "a reset, as without us");
    proxy.calls("failure", "connect_failed", 2).await;
}

#[tokio::test]
async fn a_connection_that_nobody_speaks_on_holds_no_probe_of_the_breaker() {
    let breaker = "circuitBreaker: {trip: {consecutiveFailures: 1}, openFor: {base: 10ms, max: 10ms}}";
    let lines = format!("listen: 127.0.0.1:0\nretries: off\n{breaker}");
    let (_upstream, proxy) = shop(&lines, [Reply::Status(500), Reply::Ok("probe")]).await;
    assert_eq!(proxy.get("/").await.status, 500);
    tokio::time::sleep(ms(50)).await;
    let _silent = Client::connect(proxy.service("shop")).await;
    proxy.counted("outrigger_upstream_connections_opened_total", &[("service", "shop")], 2.0).await;
    assert_eq!(proxy.get("/").await.text(), "probe");
}

#[tokio::test]
async fn an_application_that_ends_before_it_speaks_still_reads_what_the_service_says() {
    let (peer, proxy) = played("", "").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.half_close().await;
    let mut service = peer.accept().await;
    assert_eq!(service.read_to_clean_end().await, (Vec::new(), true));
    service.send("the time").await;
    service.half_close().await;
    assert_eq!(client.read_to_clean_end().await, (b"the time".to_vec(), true));
}

#[tokio::test]
async fn an_opening_that_never_tells_is_carried_in_the_end() {
    let (peer, proxy) = played("", "").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("G").await;
    assert_carried(&mut client, &mut peer.accept().await, b"G").await;
}

#[tokio::test]
async fn http_inside_connect_gets_every_policy_and_goes_nowhere_else() {
    let other = Upstream::script([Reply::Ok("other")]);
    let upstream = Upstream::script([Reply::Status(503), Reply::Ok("inside")]);
    let mesh = Mesh::new().service("shop", &[upstream.addr()], "").service("other", &[other.addr()], "");
    let proxy = mesh.start().await;
    let mut client = proxy.client().await;
    let port = upstream.addr().port();
    client.send(format!("CONNECT shop:{port} HTTP/1.1\r\nHost: shop:{port}\r\n\r\n")).await;
    assert_eq!(client.read_head().await.0, 200);
    assert_eq!(client.call(get("/").replace("Host: shop", "Host: other")).await.text(), "inside");
    proxy.retries("retried", 1).await;
    assert_eq!(other.attempts(), 0);
    proxy.post_admin("/services/shop/breaker?state=open").await;
    assert_eq!(client.call(get("/")).await.outcome(), (503, "breaker_open"));
}

#[tokio::test]
async fn http_inside_connect_to_a_stranger_goes_to_that_stranger() {
    let stranger = Upstream::script([Reply::Ok("stranger")]);
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", stranger.addr())).await;
    assert_eq!(client.read_head().await.0, 200);
    assert_eq!(client.call(get("/")).await.text(), "stranger");
    assert_eq!(client.call(get("/")).await.text(), "stranger");
    assert_eq!((upstream.attempts(), stranger.connections()), (0, 1), "the dialled connection is used");
    proxy.counted("outrigger_calls_total", &[("service", "unknown")], 3.0).await;
}

/// Answers each request with 200 and an end, for as long as the connection lasts.
async fn serve_http2(stream: tokio::net::TcpStream) {
    let mut connection = h2::server::handshake(stream).await.expect("the proxy speaks HTTP/2");
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let _ended = respond.send_response(http::Response::new(()), true);
    }
}

#[tokio::test]
async fn http2_is_found_at_every_door_however_its_preface_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let service = listener.local_addr().expect("a bound address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_http2(stream));
        }
    });
    let proxy = Mesh::new().service("shop", &[service], "listen: 127.0.0.1:0").start().await;
    let connect = format!("CONNECT shop:{0} HTTP/1.1\r\nHost: shop:{0}\r\n\r\n", service.port());
    // The preface, empty SETTINGS, and HEADERS: GET http shop /, with end of headers and stream.
    let request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x09\x01\x05\0\0\0\x01\x82\x86\x84\x41\x04shop";
    for cut in 1..request.len() {
        for (door, before) in
            [(proxy.outbound(), ""), (proxy.service("shop"), ""), (proxy.outbound(), connect.as_str())]
        {
            let mut client = Client::connect(door).await;
            client.send([before.as_bytes(), &request[..cut]].concat()).await;
            if !before.is_empty() {
                assert_eq!(client.read_head().await.0, 200);
            }
            client.send(&request[cut..]).await;
            // HEADERS with the end of the headers and of stream 1.
            client.read_until("\x01\x05\0\0\0\x01").await;
        }
    }
}

#[tokio::test]
async fn tls_and_a_service_that_speaks_first_pass_through_connect() {
    let peer = Peer::bind().await;
    let top = "outbound: {listen: 127.0.0.1:0, detectTimeout: 10s}";
    let proxy = Mesh::new().top(top).service("shop", &[peer.addr()], "").start().await;
    let port = peer.addr().port();
    let connect = format!("CONNECT shop:{port} HTTP/1.1\r\nHost: shop:{port}\r\n\r\n");
    let mut client = proxy.client().await;
    client.send(&connect).await;
    let mut service = peer.accept().await;
    assert_eq!(client.read_head().await.0, 200);
    let hello = client_hello("shop.example");
    client.send(&hello).await;
    assert_carried(&mut client, &mut service, &hello).await;
    let mut client = proxy.client().await;
    client.send(&connect).await;
    let mut service = peer.accept().await;
    service.send("220 welcome\r\n").await;
    assert_eq!(client.read_head().await.0, 200);
    let greeting = tokio::time::timeout(Duration::from_secs(5), client.read_exactly(13)).await;
    assert_eq!(greeting.expect("no wait for the application"), b"220 welcome\r\n");
    client.send("QUIT\r\n").await;
    assert_carried(&mut client, &mut service, b"QUIT\r\n").await;
}

#[tokio::test]
async fn an_idle_connection_that_nobody_spoke_on_does_not_hold_up_the_end() {
    let (peer, mut proxy) = played("", "").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    let _service = peer.accept().await;
    proxy.signal("INT");
    assert!(client.read_to_end().await.is_empty());
    assert!(within("the end", proxy.wait_exit()).await.success());
}
