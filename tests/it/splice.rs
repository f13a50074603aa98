//! Bytes that are not copied: large bodies and busy tunnels between plain sockets. To both sides they
//! must be as any other, and so must what ends them.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{
    Client, Echo, Mesh, Outrigger, Reply, eventually, get, ms, pattern, post, request, shop, within,
};

const MIB: usize = 1024 * 1024;

/// A service of one connection, played by the test itself.
async fn service() -> (SocketAddr, impl Future<Output = TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let accept = async move { within("a connection", listener.accept()).await.expect("a connection").0 };
    (address, accept)
}

/// The proxy before the service at `address`.
async fn proxy_before(address: SocketAddr, policy: &str) -> Outrigger {
    Mesh::new().service("shop", &[address], policy).start().await
}

/// Answers one request of `service` with `status`, a body of `promised` bytes, and `sent` of them.
async fn answer(service: &mut TcpStream, status: u16, promised: usize, sent: usize) {
    let mut head = vec![0; 16 * 1024];
    let read = within("a request", service.read(&mut head)).await.expect("a request");
    assert!(head[..read].ends_with(b"\r\n\r\n"), "all of the request in one piece");
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {promised}\r\n\r\n");
    service.write_all(head.as_bytes()).await.expect("the head is taken");
    service.write_all(&pattern(promised)[..sent]).await.expect("the body is taken");
}

fn put_head(length: usize) -> String {
    request("PUT", "/", &[&format!("Content-Length: {length}")])
}

#[tokio::test]
async fn large_bodies_are_the_same_on_the_other_side_and_connections_are_kept() {
    let (upstream, proxy) = shop("timeout: 10s", [Reply::Pattern(8 * MIB), Reply::Ok("after")]).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        upstream.now([Reply::Pattern(8 * MIB), Reply::Ok("after")]);
        client.send(put_head(8 * MIB + 1)).await;
        client.send(pattern(8 * MIB + 1)).await;
        let reply = client.read_reply().await;
        assert!(reply.body.bytes == pattern(8 * MIB), "the response differs");
        assert!(upstream.last().body.bytes == pattern(8 * MIB + 1), "the request differs");
        assert_eq!(client.call(get("/")).await.text(), "after");
    }
    assert_eq!(upstream.connections(), 1);
    proxy.calls("success", "", 4).await;
}

#[tokio::test]
async fn the_next_request_behind_a_large_body_is_not_taken_for_body() {
    let (upstream, proxy) = shop("", [Reply::Ok("one"), Reply::Pattern(MIB), Reply::Ok("three")]).await;
    let mut client = proxy.client().await;
    let behind = get("/two") + &get("/three");
    client.send([put_head(MIB).as_bytes(), &pattern(MIB), behind.as_bytes()].concat()).await;
    assert_eq!(client.read_reply().await.text(), "one");
    assert!(client.read_reply().await.body.bytes == pattern(MIB));
    assert_eq!(client.read_reply().await.text(), "three");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_pipe_is_held_for_a_slow_reader_and_only_for_one() {
    let (upstream, proxy) = shop("timeout: off", [Reply::Pattern(32 * MIB)]).await;
    let before = proxy.pipe_ends();
    let mut client = Client::connect_with_small_window(proxy.outbound()).await;
    client.send(get("/")).await;
    assert_eq!(client.read_head().await.0, 200);
    eventually("bytes wait in a pipe", async || proxy.pipe_ends() == before + 2).await;
    let body = client.read_exactly(32 * MIB).await;
    assert!(body == pattern(32 * MIB), "the response differs");
    upstream.now([Reply::Pattern(MIB)]);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.body.bytes.len(), MIB);
    }
    // One worker each may keep one.
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(proxy.pipe_ends() <= before + 2 * workers, "{} pipe ends", proxy.pipe_ends());
}

#[tokio::test]
async fn a_service_that_resets_inside_a_large_body_cuts_the_reply() {
    let (address, connection) = service().await;
    let proxy = proxy_before(address, "retries: off").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let mut service = connection.await;
    answer(&mut service, 200, 8 * MIB, MIB).await;
    assert_eq!(client.read_head().await.0, 200);
    assert!(client.read_exactly(MIB / 2).await == pattern(MIB / 2));
    SockRef::from(&service).set_linger(Some(ms(0))).expect("SO_LINGER");
    drop(service);
    assert!(client.read_to_end().await.len() <= MIB / 2);
    proxy.calls("failure", "reset_mid_response", 1).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_service_that_ends_inside_a_large_body_cuts_the_reply() {
    let (address, connection) = service().await;
    let proxy = proxy_before(address, "retries: off").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let mut service = connection.await;
    answer(&mut service, 200, 8 * MIB, MIB).await;
    drop(service);
    let reply = client.read_reply().await;
    assert!(reply.cut() && reply.body.bytes == pattern(MIB), "what came is passed on, and no more");
    proxy.calls("failure", "reset_mid_response", 1).await;
}

#[tokio::test]
async fn an_application_that_leaves_inside_a_large_body_cancels() {
    for abort in [false, true] {
        let (upstream, proxy) = shop("", [Reply::Pattern(64 * MIB)]).await;
        let mut client = Client::connect_with_small_window(proxy.outbound()).await;
        client.send(get("/")).await;
        assert_eq!(client.read_exactly(MIB).await.len(), MIB);
        if abort {
            client.abort();
        } else {
            drop(client);
        }
        proxy.calls("cancelled", "client_cancelled", 1).await;
        upstream.drained().await;
        proxy.bulkhead(0, 0).await;
    }
}

#[tokio::test]
async fn an_application_that_leaves_inside_its_own_large_body_cancels() {
    let (address, connection) = service().await;
    let proxy = proxy_before(address, "retries: off\ntimeout: off").await;
    let mut client = proxy.client().await;
    client.send(put_head(8 * MIB)).await;
    client.send(pattern(MIB)).await;
    let mut service = connection.await;
    let mut some = vec![0; MIB / 2];
    within("half of it", service.read_exact(&mut some)).await.expect("a body");
    client.abort();
    proxy.calls("cancelled", "client_cancelled", 1).await;
    let mut rest = Vec::new();
    let _ended_or_reset = within("the end", service.read_to_end(&mut rest)).await;
    assert!(rest.len() < MIB);
}

#[tokio::test]
async fn the_breaker_has_opened_when_the_last_byte_arrives() {
    let (address, connection) = service().await;
    let policy = "retries: off\nidleTimeout: off\n\
        circuitBreaker: {trip: {consecutiveFailures: 1, failureRate: off}, openFor: {base: 60s, max: 60s}}";
    let proxy = proxy_before(address, policy).await;
    let (mut client, mut other) = (proxy.client().await, proxy.client().await);
    client.send(get("/")).await;
    let mut service = connection.await;
    let (last, send_last) = oneshot::channel::<()>();
    let play = async {
        answer(&mut service, 500, MIB, MIB - 1).await;
        send_last.await.expect("the test goes on");
        service.write_all(&pattern(MIB)[MIB - 1..]).await.expect("the last byte is taken");
        service
    };
    let read = async {
        assert_eq!(client.read_head().await.0, 500);
        assert_eq!(client.read_exactly(MIB - 1).await.len(), MIB - 1);
        assert_eq!(proxy.shop().await["breaker"]["state"], "closed");
        last.send(()).expect("the service waits");
        assert_eq!(client.read_exactly(1).await.len(), 1);
        assert_eq!(other.call(get("/")).await.outcome(), (503, "breaker_open"));
    };
    tokio::join!(play, read);
}

#[tokio::test]
async fn a_large_body_that_stands_still_runs_into_the_idle_timeout() {
    let (address, connection) = service().await;
    let proxy = proxy_before(address, "retries: off\nidleTimeout: 300ms").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let mut service = connection.await;
    let (reply, ()) = tokio::join!(client.read_reply(), answer(&mut service, 200, 8 * MIB, MIB));
    assert!(reply.cut() && reply.body.bytes == pattern(MIB));
    proxy.calls("failure", "idle_timeout", 1).await;
}

#[tokio::test]
async fn a_busy_tunnel_carries_bulk_and_trickle_in_order() {
    let echo = Echo::start().await;
    let mesh = Mesh::new().service("shop", &[echo.addr()], "protocol: opaque\nlisten: 127.0.0.1:0");
    let proxy = mesh.start().await;
    let stream = TcpStream::connect(proxy.service("shop")).await.expect("a connection");
    let (mut back, mut forth) = stream.into_split();
    let sent = pattern(8 * MIB);
    let write = async {
        // Bulk, a trickle, bulk again.
        let (bulk, rest) = sent.split_at(4 * MIB);
        forth.write_all(bulk).await.expect("bulk is taken");
        for piece in rest[..10_000].chunks(100) {
            forth.write_all(piece).await.expect("a trickle is taken");
            tokio::task::yield_now().await;
        }
        forth.write_all(&rest[10_000..]).await.expect("bulk is taken again");
        forth.shutdown().await.expect("an end");
    };
    let mut received = Vec::new();
    let read =
        async { within("all of it back", back.read_to_end(&mut received)).await.expect("a clean end") };
    tokio::join!(write, read);
    assert!(received == sent, "{} bytes came back", received.len());
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_tunnel_passes_on_each_end_and_each_reset_in_the_middle_of_bulk() {
    let (address, connection) = service().await;
    let proxy = proxy_before(address, "protocol: opaque\nlisten: 127.0.0.1:0").await;
    let mut client = TcpStream::connect(proxy.service("shop")).await.expect("a connection");
    let mut service = connection.await;
    let sent = pattern(4 * MIB);
    let mut received = Vec::new();
    let write = async {
        client.write_all(&sent).await.expect("bulk is taken");
        client.shutdown().await.expect("an end");
    };
    let read = async { within("the end", service.read_to_end(&mut received)).await.expect("a clean end") };
    tokio::join!(write, read);
    assert!(received == sent);
    // The other direction is still open, until it is reset.
    let mut back = vec![0; MIB];
    service.write_all(&sent[..MIB]).await.expect("an answer is taken");
    within("the answer", client.read_exact(&mut back)).await.expect("an answer");
    assert!(back == sent[..MIB]);
    SockRef::from(&service).set_linger(Some(ms(0))).expect("SO_LINGER");
    drop(service);
    let end = within("the reset", client.read(&mut back)).await;
    assert!(end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    proxy.calls("failure", "reset_mid_response", 1).await;
}

#[tokio::test]
async fn a_chunked_answer_to_a_large_request_is_as_before() {
    let (upstream, proxy) = shop("", [Reply::Chunked(&["an", "swer"], ms(0), &["X-Sum: 6"])]).await;
    let mut client = proxy.client().await;
    client.send(put_head(MIB)).await;
    client.send(pattern(MIB)).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("answer", false));
    assert!(upstream.last().body.bytes == pattern(MIB));
    assert_eq!(client.call(post("/", &[], "small")).await.text(), "answer");
}
