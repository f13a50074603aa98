//! Upgrades: 101 turns the connection into a tunnel, all but `h2c`.

use crate::support::{Reply, get, request, shop};

const WEBSOCKET: &[&str] = &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: abc"];

#[tokio::test]
async fn a_101_makes_the_connection_a_tunnel() {
    let (upstream, proxy) = shop("", [Reply::Upgrade]).await;
    let mut client = proxy.client().await;
    let reply = client.call(request("GET", "/chat", WEBSOCKET)).await;
    assert_eq!((reply.status, reply.header("upgrade")), (101, "websocket"));
    assert_eq!(reply.header("connection").to_lowercase(), "upgrade");
    for word in ["ping", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}"] {
        client.send(word).await;
        assert_eq!(client.read_exactly(word.len()).await, word.as_bytes());
    }
    let seen = upstream.last();
    assert_eq!((seen.header("upgrade"), seen.header("sec-websocket-key")), ("websocket", "abc"));
    assert_eq!(seen.header("connection").to_lowercase(), "upgrade");
    drop(client);
    upstream.drained().await;
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_an_ordinary_call() {
    let (upstream, proxy) = shop("", [Reply::Ok("no"), Reply::Ok("next")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(request("GET", "/chat", WEBSOCKET)).await.text(), "no");
    assert_eq!(client.call(get("/")).await.text(), "next");
    assert_eq!(upstream.attempts(), 2);
}

#[tokio::test]
async fn bytes_sent_right_behind_the_upgrade_are_not_lost() {
    let (_upstream, proxy) = shop("", [Reply::Upgrade]).await;
    let mut client = proxy.client().await;
    client.send(request("GET", "/chat", WEBSOCKET)).await;
    client.send("early").await;
    assert_eq!(client.read_reply().await.status, 101);
    assert_eq!(client.read_exactly(5).await, b"early");
}

#[tokio::test]
async fn h2c_is_not_offered_to_the_service() {
    let (upstream, proxy) = shop("", [Reply::Ok("one")]).await;
    let fields = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"];
    assert_eq!(proxy.call(request("GET", "/", &fields)).await.text(), "one");
    let seen = upstream.last();
    assert!(!seen.has("upgrade") && !seen.has("http2-settings"), "{}", seen.head);
    assert_ne!(seen.header("connection").to_lowercase(), "upgrade");
}
