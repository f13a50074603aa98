//! HTTP/1 bodies through the proxy: framing, trailers, Expect, early answers, size, back-pressure.

use crate::support::{Client, Reply, eventually, get, ms, pattern, post, request, shop};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn a_body_by_length_goes_both_ways() {
    let (upstream, proxy) = shop("", [Reply::Ok("answer")]).await;
    let reply = proxy.call(post("/", &[], "question")).await;
    assert_eq!((reply.text().as_str(), reply.header("content-length")), ("answer", "6"));
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.header("content-length")), ("question", "8"));
}

#[tokio::test]
async fn an_empty_body_is_still_a_body_of_length_zero() {
    let (upstream, proxy) = shop("", [Reply::Ok("")]).await;
    let reply = proxy.call(post("/", &[], "")).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, "0"));
    assert_eq!(upstream.last().header("content-length"), "0");
}

#[tokio::test]
async fn chunked_bodies_and_trailers_go_both_ways() {
    let (upstream, proxy) = shop("", [Reply::Chunked(&["an", "swer"], ms(10), &["X-Sum: 6"])]).await;
    let body = "4\r\nques\r\n4;ext=1\r\ntion\r\n0\r\nX-Check: 8\r\n\r\n";
    let head = request(
        "POST",
        "/",
        &["Transfer-Encoding: chunked", "Trailer: X-Check", "TE: trailers", "Connection: TE"],
    );
    let reply = proxy.call(head + body).await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("answer", false));
    assert_eq!(reply.body.trailers, [("X-Sum".to_owned(), "6".to_owned())]);
    let seen = upstream.last();
    assert_eq!((seen.text().as_str(), seen.body.complete), ("question", true));
    assert_eq!(seen.body.trailers, [("X-Check".to_owned(), "8".to_owned())]);
}

#[tokio::test]
async fn a_connection_is_kept_after_chunked_bodies() {
    let (upstream, proxy) = shop("", [Reply::Chunked(&["a"], ms(0), &[]), Reply::Ok("b")]).await;
    let mut client = proxy.client().await;
    let chunked = request("POST", "/", &["Transfer-Encoding: chunked"]) + "2\r\nhi\r\n0\r\n\r\n";
    assert_eq!(client.call(chunked).await.text(), "a");
    assert_eq!(client.call(get("/")).await.text(), "b");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let (_upstream, proxy) = shop("", [Reply::Chunked(&["first", "last"], ms(60_000), &[])]).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    assert_eq!(client.read_head().await.0, 200);
    client.read_until("first").await;
}

#[tokio::test]
async fn expect_waits_for_the_service_to_say_continue() {
    let (upstream, proxy) = shop("", [Reply::Continue100(Box::new(Reply::Ok("stored")))]).await;
    let mut client = proxy.client().await;
    client.send(request("PUT", "/", &["Content-Length: 5", "Expect: 100-continue"])).await;
    assert_eq!(client.read_head().await.0, 100);
    client.send("hello").await;
    let reply = client.read_reply().await;
    assert_eq!((reply.status, reply.text().as_str(), reply.interim.len()), (200, "stored", 0));
    assert_eq!((upstream.last().text().as_str(), upstream.attempts()), ("hello", 1));
}

#[tokio::test]
async fn expect_may_be_answered_at_once() {
    let refusal = "HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let (upstream, proxy) = shop("", [Reply::Early(refusal)]).await;
    let mut client = proxy.client().await;
    client.send(request("PUT", "/", &["Content-Length: 5", "Expect: 100-continue"])).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.status, reply.text().as_str(), reply.interim.len()), (401, "no", 0));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn an_answer_before_the_body_is_sent_reaches_the_application() {
    let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let (upstream, proxy) = shop("", [Reply::Early(refusal)]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 1000000"])).await;
    client.send(pattern(100_000)).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.status, reply.text().as_str()), (413, "big"));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn large_bodies_arrive_intact() {
    let (upstream, proxy) = shop("", [Reply::Pattern(5 * MIB + 7)]).await;
    let mut client = proxy.client().await;
    let body = pattern(5 * MIB + 3);
    client.send(request("POST", "/", &[&format!("Content-Length: {}", body.len())])).await;
    client.send(&body).await;
    let reply = client.read_reply().await;
    assert!(reply.body.bytes == pattern(5 * MIB + 7), "the response differs");
    assert!(upstream.last().body.bytes == body, "the request differs");
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_large_chunked_request_arrives_intact() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    let body = pattern(2 * MIB);
    client.send(request("POST", "/", &["Transfer-Encoding: chunked"])).await;
    for chunk in body.chunks(100_001) {
        client.send([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.read_reply().await.text(), "x");
    assert!(upstream.last().body.bytes == body, "the request differs");
}

#[tokio::test]
async fn a_request_in_single_bytes_is_understood() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    for byte in (request("POST", "/", &["Transfer-Encoding: chunked"]) + "2\r\nhi\r\n0\r\n\r\n").into_bytes()
    {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.read_reply().await.text(), "x");
    assert_eq!(upstream.last().text(), "hi");
}

#[tokio::test]
async fn a_slow_reader_holds_the_service_back_and_not_in_our_memory() {
    let (upstream, proxy) = shop("", [Reply::Pattern(128 * MIB)]).await;
    let before = proxy.rss_kib();
    let mut client = Client::connect_with_small_window(proxy.outbound()).await;
    client.send(get("/")).await;
    assert_eq!(client.read_head().await.0, 200);
    let mut last = (upstream.written_bytes(), tokio::time::Instant::now());
    eventually("the service is held back for half a second", async || {
        if upstream.written_bytes() > last.0 {
            last = (upstream.written_bytes(), tokio::time::Instant::now());
        }
        last.1.elapsed() > ms(500)
    })
    .await;
    let (written, grown) = (upstream.written_bytes(), proxy.rss_kib().saturating_sub(before));
    assert!(written < 128 * MIB, "nobody reads, yet all of it was taken");
    assert!(grown < 16 * 1024, "{grown} KiB more for a response that nobody reads");
}

#[tokio::test]
async fn a_slow_service_holds_the_application_back_and_not_in_our_memory() {
    let (upstream, proxy) = shop("timeout: off\nretries: off", [Reply::Deaf]).await;
    let before = proxy.rss_kib();
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &[&format!("Content-Length: {}", 128 * MIB)])).await;
    let block = pattern(256 * 1024);
    let mut taken = 0;
    while tokio::time::timeout(ms(1000), client.try_send(&block)).await.is_ok() {
        taken += block.len();
        assert!(taken < 128 * MIB, "nobody reads, yet all of it was taken");
    }
    let grown = proxy.rss_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more for a request that nobody reads");
    assert_eq!(upstream.attempts(), 1);
}
