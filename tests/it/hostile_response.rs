//! Responses that are broken, or odd but clear.

use crate::support::{Reply, get, shop};

/// The reply to one GET when the service sends these bytes.
async fn through(bytes: &'static str) -> crate::support::Received {
    let (upstream, proxy) = shop("retries: off", [Reply::RawClose(bytes)]).await;
    let reply = proxy.get("/").await;
    assert_eq!(upstream.finish().await.len(), 1, "one attempt");
    reply
}

#[tokio::test]
async fn responses_that_can_be_read_two_ways_are_a_protocol_error() {
    let broken = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
        "this is not HTTP\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
    ];
    for bytes in broken {
        let reply = through(bytes).await;
        assert_eq!(reply.outcome(), (502, "protocol_error"), "for {bytes:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn identical_repeated_lengths_merge() {
    let reply = through("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!((reply.headers("content-length"), reply.text().as_str()), (vec!["2"], "hi"));
}

#[tokio::test]
async fn a_folded_field_becomes_one_line() {
    let reply = through("HTTP/1.1 200 OK\r\nX-Long: one\r\n  two\r\nContent-Length: 2\r\n\r\nhi").await;
    let words: Vec<_> = reply.header("x-long").split_whitespace().collect();
    assert_eq!((words, reply.text().as_str()), (vec!["one", "two"], "hi"));
}

#[tokio::test]
async fn a_body_until_close_arrives_whole() {
    let reply = through("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end").await;
    assert_eq!((reply.text().as_str(), reply.cut(), reply.status), ("until the end", false, 200));
}

#[tokio::test]
async fn http_1_0_responses_are_understood() {
    let (upstream, proxy) =
        shop("", [Reply::RawClose("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"), Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "hi");
    assert_eq!(client.call(get("/")).await.text(), "x");
    assert_eq!(upstream.connections(), 2, "HTTP/1.0 without keep-alive is not reused");
}

#[tokio::test]
async fn a_bad_chunk_size_cuts_the_body_and_is_never_hidden() {
    let (_upstream, proxy) = shop(
        "retries: off",
        [Reply::RawClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")],
    )
    .await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let reply = client.read_reply().await;
    assert!(reply.cut() || reply.outcome() == (502, "protocol_error"), "{reply:?}");
    proxy.calls("failure", "protocol_error", 1).await;
}

#[tokio::test]
async fn an_endless_head_is_a_fault_and_not_our_memory() {
    let endless: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(1 << 20)).into_boxed_str());
    let reply = through(endless).await;
    assert_eq!(reply.outcome(), (502, "protocol_error"));
}

#[tokio::test]
async fn a_reply_without_a_request_is_given_to_nobody() {
    let two =
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (upstream, proxy) = shop("", [Reply::Raw(two), Reply::Ok("next")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "good");
    assert_eq!(client.call(get("/")).await.text(), "next");
    assert_eq!((upstream.attempts(), upstream.connections()), (2, 2));
}
