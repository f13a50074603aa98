//! Bytes that nobody reads: layer-4 policies, and TLS routed by the name it asks for.
//!
//! In: services that speak something else, die early, or are not to be reached. Out: what arrived, what the
//! breaker thinks of it, what is counted.

use crate::support::{Client, Mesh, Outrigger, Peer, ms, within};

/// An opaque service `shop` that the test plays.
async fn bus(lines: &str) -> (Peer, Outrigger) {
    let peer = Peer::bind().await;
    let lines = format!("protocol: opaque\nlisten: 127.0.0.1:0\n{lines}");
    let proxy = Mesh::new().top("accessLog: stdout").service("shop", &[peer.addr()], &lines).start().await;
    (peer, proxy)
}

/// A ClientHello with this name, or without one: as short as it may be.
fn client_hello(name: Option<&str>) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let extensions = name.map_or(Vec::new(), |name| {
        let list = sized(&[&[0][..], &sized(name.as_bytes())].concat());
        [&[0, 0][..], &sized(&list)].concat()
    });
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions)].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

async fn alert_after(proxy: &Outrigger, hello: &[u8]) -> Vec<u8> {
    let mut client = proxy.client().await;
    client.send(hello).await;
    let (alert, clean) = client.read_to_clean_end().await;
    assert!(clean, "an alert must not be lost to a reset");
    alert
}

#[tokio::test]
async fn tls_goes_where_its_name_says_byte_for_byte() {
    let peer = Peer::bind().await;
    let mesh = Mesh::new().service("shop", &[peer.addr()], "hosts: [shop.example]");
    let proxy = mesh.start().await;
    let hello = client_hello(Some("Shop.Example"));
    for cut in 1..hello.len() {
        let mut client = proxy.client().await;
        client.send(&hello[..cut]).await;
        client.send(&hello[cut..]).await;
        let mut service = peer.accept().await;
        assert_eq!(service.read_exactly(hello.len()).await, hello, "cut at {cut}");
        service.send("server hello").await;
        assert_eq!(client.read_exactly(12).await, b"server hello");
    }
}

#[tokio::test]
async fn tls_to_a_name_that_is_denied_gets_an_alert() {
    let peer = Peer::bind().await;
    let top = "outbound: {listen: 127.0.0.1:0, unknown: deny}\naccessLog: stdout";
    let proxy = Mesh::new().top(top).service("shop", &[peer.addr()], "").start().await;
    let hello = client_hello(Some("stranger.example"));
    assert_eq!(alert_after(&proxy, &hello).await, [21, 3, 3, 0, 2, 2, 49], "access_denied");
    proxy.counted("outrigger_calls_total", &[("reason", "denied")], 1.0).await;
    crate::support::eventually("the log names it", async || proxy.said(r#""path":"stranger.example""#)).await;
}

#[tokio::test]
async fn tls_without_a_name_gets_an_alert() {
    let proxy = Mesh::new().start().await;
    let unrecognized = [21, 3, 3, 0, 2, 2, 112];
    assert_eq!(alert_after(&proxy, &client_hello(None)).await, unrecognized);
    let mut truncated = proxy.client().await;
    truncated.send(&client_hello(Some("shop.example"))[..40]).await;
    truncated.half_close().await;
    assert_eq!(truncated.read_to_clean_end().await, (unrecognized.to_vec(), true));
    proxy.counted("outrigger_calls_total", &[("reason", "no_route")], 2.0).await;
}

#[tokio::test]
async fn tls_to_a_stranger_is_dialled_at_its_https_port() {
    let proxy = Mesh::new().start().await;
    let mut client = proxy.client().await;
    client.send(client_hello(Some("localhost"))).await;
    let (bytes, clean) = client.read_to_clean_end().await;
    assert_eq!((bytes.len(), clean), (0, false), "nobody listens there");
    let labels = [("service", "unknown"), ("reason", "connect_failed")];
    proxy.counted("outrigger_calls_total", &labels, 1.0).await;
}

#[tokio::test]
async fn a_service_that_dies_before_its_first_byte_opens_the_breaker() {
    let (peer, proxy) = bus("circuitBreaker: {trip: {consecutiveFailures: 2}}").await;
    for reset in [false, true] {
        let mut client = Client::connect(proxy.service("shop")).await;
        client.send("hello").await;
        let mut service = peer.accept().await;
        assert_eq!(service.read_exactly(5).await, b"hello");
        if reset {
            service.abort()
        } else {
            drop(service)
        }
        let (bytes, clean) = client.read_to_clean_end().await;
        assert_eq!((bytes.len(), clean), (0, !reset), "it ends as the service ended");
        drop(client);
    }
    proxy.calls("failure", "reset_before_response", 2).await;
    proxy.breaker("open").await;
    // The reset may come before the connection is known to have come about.
    if let Ok(refused) = tokio::net::TcpStream::connect(proxy.service("shop")).await {
        assert_eq!(Client::over(refused).read_to_clean_end().await, (Vec::new(), false));
    }
    proxy.calls("refused", "breaker_open", 1).await;
}

#[tokio::test]
async fn the_first_byte_of_the_service_closes_the_breaker_and_not_the_connection() {
    let breaker = "circuitBreaker: {trip: {consecutiveFailures: 1}, openFor: {base: 10ms, max: 10ms}, halfOpen: {successes: 1}}";
    let (peer, proxy) = bus(breaker).await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("hello").await;
    peer.accept().await.abort();
    assert!(!client.read_to_clean_end().await.1);
    proxy.breaker("open").await;
    tokio::time::sleep(ms(50)).await;
    let mut probe = Client::connect(proxy.service("shop")).await;
    let mut service = peer.accept().await;
    proxy.breaker("half_open").await;
    probe.send("hello").await;
    assert_eq!(service.read_exactly(5).await, b"hello");
    service.send("x").await;
    assert_eq!(probe.read_exactly(1).await, b"x");
    proxy.breaker("closed").await;
}

#[tokio::test]
async fn a_tunnel_is_told_to_its_end() {
    let (peer, proxy) = bus("").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("hello").await;
    let mut service = peer.accept().await;
    assert_eq!(service.read_exactly(5).await, b"hello");
    tokio::time::sleep(ms(50)).await;
    service.send("x").await;
    assert_eq!(client.read_exactly(1).await, b"x");
    drop((client, service));
    let mut story = serde_json::Value::Null;
    crate::support::eventually("it is told", async || {
        story = proxy.get_admin("/explain?all=1").await.json()["stories"][0].take();
        !story.is_null()
    })
    .await;
    let attempt = &story["attempts"][0];
    assert_eq!((&attempt["sent"], &attempt["fault"]), (&"yes".into(), &serde_json::Value::Null), "{story}");
    assert!(attempt["endedMs"].as_f64().is_some_and(|ended| ended >= 50.0), "{story}");
    assert!(attempt["spanId"].is_string(), "{story}");
}

#[tokio::test]
async fn a_service_that_only_listens_has_not_failed() {
    let (peer, proxy) = bus("circuitBreaker: {trip: {consecutiveFailures: 1}}").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("a line for the log").await;
    client.half_close().await;
    let mut service = peer.accept().await;
    assert_eq!(service.read_to_clean_end().await, (b"a line for the log".to_vec(), true));
    drop(service);
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true));
    proxy.calls("success", "", 1).await;
    proxy.breaker("closed").await;
}

#[tokio::test]
async fn bytes_both_ways_and_the_first_one_are_counted() {
    let (peer, proxy) = bus("").await;
    let mut client = Client::connect(proxy.service("shop")).await;
    client.send("four").await;
    let mut service = peer.accept().await;
    assert_eq!(service.read_exactly(4).await, b"four");
    service.send("seven b").await;
    assert_eq!(client.read_exactly(7).await, b"seven b");
    let carried = |direction| [("service", "shop"), ("direction", direction)];
    proxy.counted("outrigger_tunnel_bytes_total", &carried("to_service"), 4.0).await;
    proxy.counted("outrigger_tunnel_bytes_total", &carried("to_application"), 7.0).await;
    drop((client, service));
    within("the line", async {
        crate::support::eventually("its line", async || proxy.said(r#""reply_bytes":7,"request_bytes":4,"#))
            .await;
    })
    .await;
    assert!(!proxy.said(r#""first_byte_ms":null"#));
}
