//! The harness against itself: scripted service and raw client with no proxy in between.

use crate::support::{
    BOUND, Client, DnsAnswer, DnsServer, Echo, FullBacklog, Mesh, Metrics, Refused, Reply, Upstream, delay,
    get, held, ms, pattern, post, request, then_close,
};

async fn straight(script: impl IntoIterator<Item = Reply>) -> (Upstream, Client) {
    let upstream = Upstream::script(script);
    let client = Client::connect(upstream.addr()).await;
    (upstream, client)
}

#[tokio::test]
async fn a_script_is_followed_and_its_last_action_repeats() {
    let (upstream, mut client) = straight([Reply::Ok("one"), Reply::Status(503)]).await;
    assert_eq!(client.call(get("/a")).await.text(), "one");
    assert_eq!(client.call(get("/b")).await.status, 503);
    assert_eq!(client.call(post("/c", &["X-A: b"], "body")).await.text(), "status 503");
    let seen = upstream.finish().await;
    assert_eq!(
        seen.iter().map(|one| one.line.as_str()).collect::<Vec<_>>(),
        ["GET /a HTTP/1.1", "GET /b HTTP/1.1", "POST /c HTTP/1.1"]
    );
    assert_eq!((seen[2].text().as_str(), seen[2].header("x-a"), seen[2].connection), ("body", "b", 0));
}

#[tokio::test]
async fn chunks_trailers_and_interim_replies_are_read() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let script = [Reply::Chunked(&["he", "llo"], ms(1), &["X-Sum: 5"]), Reply::Raw(early), Reply::Ok("x")];
    let (_upstream, mut client) = straight(script).await;
    let reply = client.call(get("/")).await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("hello", false));
    assert_eq!(reply.body.trailers, [("X-Sum".to_owned(), "5".to_owned())]);
    assert_eq!(client.call(get("/")).await.interim_statuses(), [103]);
    assert_eq!(client.call(request("HEAD", "/", &[])).await.header("content-length"), "1");
}

#[tokio::test]
async fn a_chunked_request_with_trailers_is_recorded() {
    let (upstream, mut client) = straight([Reply::Ok("x")]).await;
    client
        .call(request("POST", "/", &["Transfer-Encoding: chunked"]) + "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
        .await;
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.body.complete), ("abc", true));
    assert_eq!(seen.body.trailers, [("X-T".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn every_way_to_end_a_connection_is_seen_as_such() {
    for (end, clean) in [(Reply::Reset, false), (Reply::ResetAtHead, false), (Reply::CloseUnanswered, true)] {
        let (upstream, mut client) = straight([end]).await;
        client.send(get("/")).await;
        assert_eq!(client.read_to_clean_end().await, (Vec::new(), clean));
        upstream.drained().await;
    }
    for (end, text) in [(Reply::CloseMidBody, "hello"), (Reply::CloseMidChunk, "hellowor")] {
        let (_upstream, mut client) = straight([end]).await;
        let reply = client.call(get("/")).await;
        assert_eq!((reply.text().as_str(), reply.cut()), (text, true));
    }
    let (_upstream, mut client) = straight([Reply::CloseMidHead]).await;
    client.send(get("/")).await;
    assert!(client.try_read_reply().await.is_none());
    let (_upstream, mut client) = straight([then_close(Reply::Ok("bye"))]).await;
    assert_eq!(client.call(get("/")).await.text(), "bye");
    assert!(!client.is_open().await);
}

#[tokio::test]
async fn held_hanging_and_late_replies_end_when_the_peer_leaves() {
    for action in [held(Reply::Ok("x")), Reply::Hang, Reply::Stall, delay(60_000, Reply::Ok("x"))] {
        let (upstream, mut client) = straight([action]).await;
        client.send(get("/")).await;
        upstream.saw(1).await;
        client.abort();
        upstream.drained().await;
    }
    let (upstream, mut client) = straight([held(Reply::Ok("now"))]).await;
    client.send(get("/")).await;
    upstream.saw(1).await;
    upstream.release();
    assert_eq!(client.read_reply().await.text(), "now");
    assert_eq!(upstream.peak(), 1);
}

#[tokio::test]
async fn early_continue_and_upgrade_work() {
    let (_upstream, mut client) =
        straight([Reply::Early("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")]).await;
    client.send(request("POST", "/", &["Content-Length: 1000"])).await;
    assert_eq!(client.read_reply().await.status, 413);

    let (upstream, mut client) = straight([Reply::Continue100(Box::new(Reply::Ok("done")))]).await;
    client.send(request("POST", "/", &["Content-Length: 2", "Expect: 100-continue"])).await;
    assert_eq!(client.read_head().await.0, 100);
    client.send("hi").await;
    assert_eq!(client.read_reply().await.text(), "done");
    assert_eq!(upstream.last().text(), "hi");

    let (_upstream, mut client) = straight([Reply::Upgrade]).await;
    assert_eq!(client.call(get("/")).await.status, 101);
    client.send("ping").await;
    assert_eq!(client.read_exactly(4).await, b"ping");
}

#[tokio::test]
async fn large_bodies_are_intact_and_written_bytes_counted() {
    let (upstream, mut client) = straight([Reply::Pattern(3_000_001)]).await;
    assert_eq!(client.call(get("/")).await.body.bytes, pattern(3_000_001));
    assert_eq!(upstream.written_bytes(), 3_000_001);
}

#[tokio::test]
#[should_panic(expected = "the scripted service complains")]
async fn a_request_that_can_be_read_two_ways_fails_the_test() {
    let (upstream, mut client) = straight([Reply::Ok("x")]).await;
    client.send(request("POST", "/", &["Content-Length: 2", "Transfer-Encoding: chunked"])).await;
    client.read_to_end().await;
    upstream.finish().await;
}

#[tokio::test]
async fn bad_ports_misbehave_as_they_should() {
    let refused = Refused::bind();
    let error = tokio::net::TcpStream::connect(refused.addr()).await.expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let full = FullBacklog::bind().await;
    let hangs = tokio::time::timeout(ms(500), tokio::net::TcpStream::connect(full.addr())).await;
    assert!(hangs.is_err(), "a full backlog neither accepts nor refuses");
    let echo = Echo::start().await;
    let mut client = Client::connect(echo.addr()).await;
    client.send("abc").await;
    assert_eq!(client.read_exactly(3).await, b"abc");
}

#[tokio::test]
async fn the_dns_server_answers_in_the_wire_format() {
    let answer = DnsAnswer::Addresses(vec!["127.0.0.2".parse().expect("an address")], ms(7000));
    let server = DnsServer::start("shop.test", answer).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04shop\x04test\0\0\x01\0\x01";
    socket.send_to(query, server.addr()).await.expect("sending");
    let mut reply = [0; 512];
    let length =
        tokio::time::timeout(BOUND, socket.recv(&mut reply)).await.expect("in time").expect("a reply");
    assert_eq!(&reply[..8], b"\x12\x34\x81\x80\0\x01\0\x01");
    assert_eq!(&reply[length - 10..length], b"\0\0\0\x07\0\x04\x7f\0\0\x02");
    assert_eq!(server.questions(), 1);
}

#[test]
fn metrics_are_summed_by_the_labels_given() {
    let text = "# TYPE a counter\na_total{s=\"x\",r=\"\"} 2\na_total{s=\"x\",r=\"q\\\"}\"} 3 # {t=\"1\"} 1\nb 1.5\n# EOF\n";
    let metrics = Metrics::parse(text);
    assert!((metrics.sum("a_total", &[("s", "x")]) - 5.0).abs() < 1e-9);
    assert!((metrics.sum("a_total", &[("r", "q\"}")]) - 3.0).abs() < 1e-9);
    assert!((metrics.sum("b", &[]) - 1.5).abs() < 1e-9);
}

#[test]
fn yaml_is_indented_by_block() {
    let address = "127.0.0.1:9".parse().expect("an address");
    let yaml = Mesh::new().top("workers: 1").service("shop", &[address], "timeout: 1s\nretries: off").yaml();
    assert_eq!(
        yaml,
        "version: v1\nadmin: {listen: 127.0.0.1:0}\nworkers: 1\noutbound: {listen: 127.0.0.1:0}\nservices:\n  \
         shop:\n    endpoints: {static: [\"127.0.0.1:9\"]}\n    timeout: 1s\n    retries: off\n"
    );
}
