//! Services that fail in the middle: each with the exact reply, the attempts and the counts.

use crate::support::{
    Outrigger, Refused, Reply, Upstream, eventually, get, pattern, post, request, shop, shop_with, then_close,
};

const OFF: &str = "retries: off";
const QUICK: &str = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";

#[tokio::test]
async fn death_in_the_head_is_reset_before_response() {
    for action in [Reply::CloseMidHead, Reply::CloseUnanswered, Reply::Reset, Reply::ResetAtHead] {
        let (upstream, proxy) = shop(OFF, [action.clone()]).await;
        let reply = proxy.get("/").await;
        assert_eq!(reply.outcome(), (502, "reset_before_response"), "after {action:?}");
        let body = reply.json();
        assert_eq!(
            (body["error"].as_str(), body["attempts"].as_u64()),
            (Some("reset_before_response"), Some(1))
        );
        assert_eq!(upstream.attempts(), 1);
        proxy.calls("failure", "reset_before_response", 1).await;
        upstream.drained().await;
    }
}

#[tokio::test]
async fn death_in_the_head_is_retried_for_a_get_alone() {
    let (upstream, proxy) = shop(QUICK, [Reply::CloseMidHead, Reply::Ok("second")]).await;
    assert_eq!((proxy.get("/").await.text().as_str(), upstream.attempts()), ("second", 2));
    proxy.calls("success", "", 1).await;

    let (upstream, proxy) = shop(QUICK, [Reply::CloseMidHead, Reply::Ok("doubled")]).await;
    assert_eq!(proxy.call(post("/", &[], "x")).await.outcome(), (502, "reset_before_response"));
    assert_eq!(upstream.attempts(), 1);
}

#[tokio::test]
async fn death_in_the_body_cuts_the_reply() {
    for action in [Reply::CloseMidBody, Reply::CloseMidChunk] {
        let (upstream, proxy) = shop(QUICK, [action.clone()]).await;
        let reply = proxy.get("/").await;
        assert_eq!((reply.status, reply.cut()), (200, true), "after {action:?}");
        assert!(reply.text().starts_with("hello"), "what came before goes on: {:?}", reply.text());
        assert_eq!(upstream.attempts(), 1, "a response that has started is not retried");
        proxy.calls("failure", "reset_mid_response", 1).await;
        upstream.drained().await;
    }
}

#[tokio::test]
async fn a_cut_reply_ends_the_applications_connection() {
    let (_upstream, proxy) = shop(OFF, [Reply::CloseMidChunk, Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    assert!(client.call(get("/")).await.cut());
    assert!(!client.is_open().await, "or the next reply would be read as the rest of this one");
}

#[tokio::test]
async fn garbage_is_a_protocol_error_once() {
    let garbage = "\u{16}\u{3}\u{1}\u{2}\0\u{1}garbage\r\n\r\n";
    let (upstream, proxy) = shop(OFF, [Reply::RawClose(garbage), Reply::Ok("fine")]).await;
    assert_eq!(proxy.get("/").await.outcome(), (502, "protocol_error"));
    assert_eq!(upstream.attempts(), 1);
    proxy.calls("failure", "protocol_error", 1).await;
    assert_eq!(proxy.get("/").await.text(), "fine");
    assert_eq!(upstream.connections(), 2, "the broken connection is not used again");
}

#[tokio::test]
async fn a_refused_connection_is_connect_failed() {
    let refused = Refused::bind();
    let proxy = crate::support::Mesh::new().service("shop", &[refused.addr()], QUICK).start().await;
    let reply = proxy.call(post("/", &[], "x")).await;
    assert_eq!(reply.outcome(), (503, "connect_failed"));
    assert_eq!(reply.json()["attempts"], 2, "never sent, so also a POST is retried");
    proxy.calls("failure", "connect_failed", 1).await;
}

// --- idle connections that end at the worst moment ---

/// A proxy with one idle connection to a service that goes on with `script`.
async fn warm(policy: &str, script: Vec<Reply>) -> (Upstream, Outrigger, crate::support::Client) {
    let (upstream, proxy) = shop(policy, [vec![Reply::Ok("warm")], script].concat()).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "warm");
    (upstream, proxy, client)
}

#[tokio::test]
async fn an_idle_connection_that_has_ended_is_noticed_before_it_is_used() {
    for call in [get("/"), post("/", &[], "pay")] {
        let (upstream, proxy) = shop(OFF, [then_close(Reply::Ok("one")), Reply::Ok("two")]).await;
        let mut client = proxy.client().await;
        assert_eq!(client.call(get("/")).await.text(), "one");
        upstream.drained().await;
        assert_eq!(client.call(call).await.text(), "two");
        assert_eq!((upstream.attempts(), upstream.connections()), (2, 2));
    }
}

#[tokio::test]
async fn a_get_on_a_dying_idle_connection_is_redialled_at_no_cost() {
    for death in [Reply::CloseUnanswered, Reply::ResetAtHead] {
        // One retry is allowed: the redial must not use it up.
        let script = vec![death, Reply::Status(503), Reply::Ok("fresh")];
        let (upstream, proxy, mut client) = warm(QUICK, script).await;
        assert_eq!(client.call(get("/")).await.text(), "fresh");
        assert_eq!(upstream.attempts(), 4);
        proxy.calls("success", "", 2).await;
    }
}

#[tokio::test]
async fn a_post_that_a_dying_idle_connection_may_have_seen_is_not_sent_again() {
    let (upstream, proxy, mut client) =
        warm(QUICK, vec![Reply::CloseUnanswered, Reply::Ok("doubled!")]).await;
    assert_eq!(client.call(post("/", &[], "pay")).await.outcome(), (502, "reset_before_response"));
    assert_eq!(upstream.attempts(), 2, "the warm one and the POST");
    proxy.calls("failure", "reset_before_response", 1).await;
}

#[tokio::test]
async fn keep_alive_of_the_service_is_obeyed() {
    let fields: &[&str] = &["Keep-Alive: timeout=1"];
    let script = [Reply::With(200, fields, "one"), Reply::Ok("two")];
    let (upstream, proxy) = shop_with("workers: 1", OFF, script).await;
    assert_eq!(proxy.get("/").await.text(), "one");
    // One second before the service's own end is now: it is not kept, or dropped before its next use.
    assert_eq!(proxy.get("/").await.text(), "two");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn idle_connections_are_dropped_after_pool_idle() {
    let (upstream, proxy) = shop("pool: {idle: 300ms}", [Reply::Ok("x")]).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    upstream.drained().await;
    eventually("no connection is listed", async || proxy.shop().await["connections"]["idle"] == 0).await;
}

// --- answers at the wrong time ---

#[tokio::test]
async fn an_early_answer_is_passed_on_and_its_connection_not_reused() {
    let early = "HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nearly";
    let (upstream, proxy) = shop(QUICK, [Reply::Early(early), Reply::Ok("next")]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 500000"])).await;
    client.send(pattern(100_000)).await;
    let reply = client.read_reply().await;
    assert_eq!((reply.outcome(), reply.text().as_str(), reply.cut()), ((403, ""), "early", false));
    assert_eq!(proxy.get("/").await.text(), "next");
    assert_eq!((upstream.attempts(), upstream.connections()), (2, 2));
    proxy.calls("success", "", 2).await;
}

#[tokio::test]
async fn death_while_the_request_is_being_sent_is_told_to_the_application() {
    let (upstream, proxy) = shop(QUICK, [Reply::ResetAtHead]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 300000"])).await;
    client.try_send(pattern(300_000)).await;
    assert_eq!(client.read_reply().await.outcome(), (502, "reset_before_response"));
    assert_eq!(upstream.attempts(), 1);
    proxy.calls("failure", "reset_before_response", 1).await;
}

#[tokio::test]
async fn more_than_was_declared_is_thrown_away_with_its_connection() {
    let more = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more";
    let (upstream, proxy) = shop(OFF, [Reply::Raw(more), Reply::Ok("clean")]).await;
    let mut client = proxy.client().await;
    let reply = client.call(get("/")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "hi"));
    assert_eq!(client.call(get("/")).await.text(), "clean");
    assert_eq!((upstream.attempts(), upstream.connections()), (2, 2));
    proxy.calls("success", "", 2).await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let two = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let (upstream, proxy) = shop(OFF, [Reply::Raw(two), Reply::Ok("mine")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.status, 204);
    assert_eq!(client.call(get("/")).await.text(), "mine");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_service_that_comes_back_is_used_again() {
    let (upstream, proxy) = shop(OFF, [Reply::Reset]).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status, 502);
    }
    upstream.now([Reply::Ok("back")]);
    eventually("it answers again", async || proxy.get("/").await.text() == "back").await;
}
