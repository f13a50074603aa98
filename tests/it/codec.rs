//! HTTP/1 heads through the proxy: connections kept, order, header fields, 1xx, HTTP/1.0.

use crate::support::{Reply, delay, get, ms, post, request, shop, shop_with};

#[tokio::test]
async fn a_connection_is_kept_on_both_sides() {
    let (upstream, proxy) = shop("", [Reply::Ok("one"), Reply::Ok("two")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/a")).await.text(), "one");
    assert_eq!(client.call(get("/b")).await.text(), "two");
    assert_eq!(upstream.connections(), 1);
    proxy.calls("success", "", 2).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (upstream, proxy) =
        shop("", [delay(100, Reply::Ok("one")), Reply::Ok("two"), Reply::Ok("three")]).await;
    let mut client = proxy.client().await;
    client.send(get("/1") + &post("/2", &[], "body") + &get("/3")).await;
    for want in ["one", "two", "three"] {
        assert_eq!(client.read_reply().await.text(), want);
    }
    let lines: Vec<_> =
        upstream.finish().await.into_iter().map(|seen| (seen.line.clone(), seen.text())).collect();
    let want = [("GET /1 HTTP/1.1", ""), ("POST /2 HTTP/1.1", "body"), ("GET /3 HTTP/1.1", "")];
    assert_eq!(lines, want.map(|(line, body)| (line.to_owned(), body.to_owned())));
}

#[tokio::test]
async fn connection_close_is_obeyed_and_stays_here() {
    let (upstream, proxy) = shop("", [Reply::Ok("bye")]).await;
    let mut client = proxy.client().await;
    let reply = client.call(request("GET", "/", &["Connection: close"])).await;
    assert_eq!((reply.text().as_str(), reply.header("connection")), ("bye", "close"));
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true));
    assert_ne!(upstream.last().header("connection"), "close", "the connection to the service is ours");
}

#[tokio::test]
async fn a_service_that_closes_does_not_close_the_application() {
    let (upstream, proxy) = shop("", [Reply::With(200, &["Connection: close"], "a"), Reply::Ok("b")]).await;
    let mut client = proxy.client().await;
    let first = client.call(get("/")).await;
    assert_eq!((first.text().as_str(), first.header("connection") == "close"), ("a", false));
    assert_eq!(client.call(get("/")).await.text(), "b");
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn request_fields_keep_their_case_and_order() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/a?b=c", &["X-Zed: 1", "aCCept: */*", "x-alpha: 2", "X-Zed: 3"])).await;
    let seen = upstream.last();
    let theirs: Vec<_> = seen.fields.iter().filter(|(name, _)| name != "traceparent").collect();
    let want = [("Host", "shop"), ("X-Zed", "1"), ("aCCept", "*/*"), ("x-alpha", "2"), ("X-Zed", "3")];
    assert_eq!(
        theirs,
        want.map(|(name, value)| (name.to_owned(), value.to_owned())).iter().collect::<Vec<_>>()
    );
    assert_eq!(seen.line, "GET /a?b=c HTTP/1.1");
}

#[tokio::test]
async fn response_fields_keep_their_case_and_order() {
    let (_upstream, proxy) =
        shop("", [Reply::With(201, &["X-Zed: 1", "sErver: me", "Set-Cookie: a", "Set-Cookie: b"], "x")])
            .await;
    let reply = proxy.get("/").await;
    let names = ["X-Zed", "sErver", "Set-Cookie", "Content-Length"];
    let theirs: Vec<_> = reply.fields.iter().filter(|(name, _)| names.contains(&name.as_str())).collect();
    let want =
        [("X-Zed", "1"), ("sErver", "me"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Content-Length", "1")];
    assert_eq!(
        theirs,
        want.map(|(name, value)| (name.to_owned(), value.to_owned())).iter().collect::<Vec<_>>()
    );
    assert_eq!((reply.status, reply.reason(), reply.headers("via").len()), (201, "", 0));
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_go_no_further() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let fields = [
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "X-End: 2",
    ];
    proxy.call(request("GET", "/", &fields)).await;
    let seen = upstream.last();
    for gone in ["x-hop", "keep-alive", "proxy-connection", "via", "x-forwarded-for"] {
        assert!(!seen.has(gone), "{gone} reached the service: {}", seen.head);
    }
    assert_eq!(seen.header("x-end"), "2");
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_response_go_no_further() {
    let fields: &[&str] =
        &["Connection: X-Hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=60", "X-End: 2"];
    let (_upstream, proxy) = shop("", [Reply::With(200, fields, "x")]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.header("x-hop"), reply.header("keep-alive"), reply.header("x-end")), ("", "", "2"));
}

#[tokio::test]
async fn connection_cannot_name_away_what_frames_or_routes() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let reply = proxy.call(post("/", &["Connection: content-length, host, keep-alive"], "hello")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "x"));
    assert_eq!((upstream.last().text().as_str(), upstream.last().header("host")), ("hello", "shop"));
}

#[tokio::test]
async fn te_trailers_stays() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    proxy.call(request("GET", "/", &["TE: trailers", "Connection: TE"])).await;
    assert_eq!(upstream.last().header("te"), "trailers");
}

#[tokio::test]
async fn odd_but_unambiguous_heads_pass_as_they_came() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call("get /a HTTP/1.1\r\nHost: shop\r\n\r\n").await.status, 200);
    assert_eq!(client.call("GET /caf\u{e9}?q=\u{2713} HTTP/1.1\r\nHost: shop\r\n\r\n").await.status, 200);
    assert_eq!(client.call("GET /b HTTP/1.1\nHost: shop\nX-A: 1\n\n").await.status, 200);
    let seen = upstream.finish().await;
    assert_eq!(seen[0].line, "get /a HTTP/1.1");
    assert_eq!(seen[1].line, "GET /caf\u{e9}?q=\u{2713} HTTP/1.1");
    assert_eq!(seen[2].header("x-a"), "1", "a bare LF is forwarded as CRLF, or the service would complain");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let script = [
        Reply::Ok("hello"),
        Reply::Status(204),
        Reply::With(304, &["ETag: \"v1\""], "12345"),
        Reply::Ok("after"),
    ];
    let (_upstream, proxy) = shop("", script).await;
    let mut client = proxy.client().await;
    let head = client.call(request("HEAD", "/", &[])).await;
    assert_eq!((head.status, head.header("content-length")), (200, "5"));
    assert_eq!(client.call(get("/")).await.status, 204);
    assert_eq!(client.call(get("/")).await.header("etag"), "\"v1\"");
    assert_eq!(client.call(get("/")).await.text(), "after");
}

#[tokio::test]
async fn interim_replies_are_passed_on() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (_upstream, proxy) = shop("", [Reply::Raw(early)]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.interim_statuses(), reply.text().as_str()), (vec![103], "hi"));
    assert!(reply.interim[0].1.contains(&("Link".to_owned(), "</style.css>".to_owned())));
}

#[tokio::test]
async fn http_1_0_gets_no_interim_reply() {
    let early = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (_upstream, proxy) = shop("", [Reply::Raw(early)]).await;
    let reply = proxy.call("GET / HTTP/1.0\r\nHost: shop\r\n\r\n").await;
    assert_eq!((reply.interim.len(), reply.text().as_str()), (0, "hi"));
}

#[tokio::test]
async fn http_1_0_closes_unless_it_asks_to_stay() {
    let (upstream, proxy) = shop("", [Reply::Ok("a"), Reply::Ok("b"), Reply::Ok("c")]).await;
    let mut client = proxy.client().await;
    let stays = client.call("GET /a HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(
        (stays.text().as_str(), stays.header("connection").to_lowercase().as_str()),
        ("a", "keep-alive")
    );
    assert_eq!(client.call("GET /b HTTP/1.0\r\nHost: shop\r\n\r\n").await.text(), "b");
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true));
    assert!(upstream.last().line.ends_with("HTTP/1.1"), "the service is spoken to in HTTP/1.1");
}

#[tokio::test]
async fn http_1_0_gets_a_chunked_response_without_chunks() {
    let (_upstream, proxy) = shop("", [Reply::Chunked(&["hello, ", "world"], ms(1), &[])]).await;
    let reply = proxy.call("GET / HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!((reply.text().as_str(), reply.header("transfer-encoding")), ("hello, world", ""));
}

#[tokio::test]
async fn a_half_close_after_the_request_is_answered_when_it_means_no_more_requests() {
    let last = request("GET", "/", &["Connection: close"]);
    for request in [last.as_str(), "GET / HTTP/1.0\r\nHost: shop\r\n\r\n"] {
        let (_upstream, proxy) = shop("", [delay(100, Reply::Ok("still here"))]).await;
        let mut client = proxy.client().await;
        client.send(request).await;
        client.half_close().await;
        assert_eq!(client.read_reply().await.text(), "still here");
    }
}

#[tokio::test]
async fn one_worker_is_enough() {
    let (upstream, proxy) = shop_with("workers: 1", "", [Reply::Ok("x")]).await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.text(), "x");
    }
    assert_eq!(upstream.connections(), 1, "an idle connection serves the next application connection");
}
