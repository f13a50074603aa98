//! The corners of HTTP/2: what comes at an odd moment must not be lost, doubled or kept for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::ext::Protocol;
use http::Request;

use crate::support::h2_frames::{Frame, block, code, flag, kind};
use crate::support::h2_script::{Step, hang, ok};
use crate::support::{
    H2Client, H2Service, Mesh, RawH2, RawH2Service, ask, eventually, h2_shop, h2_shop_with, ms,
};

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

#[tokio::test]
async fn a_refusal_can_be_read_though_more_is_being_sent() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    proxy.post_admin("/services/shop/breaker?state=open").await;
    let client = proxy.h2().await;
    for _ in 0..5 {
        let reply = client.call(ask("POST", "/", &[]), vec![7; 4 << 20]).await;
        assert_eq!((reply.outcome(), service.attempts()), ((503, "breaker_open"), 0));
    }
}

#[tokio::test]
async fn an_early_answer_comes_though_the_request_is_not_read() {
    let early = vec![Step::Head(413, &[]), Step::Data("too much"), Step::End];
    let (_service, proxy) = h2_shop("timeout: 5s", [early]).await;
    let client = proxy.h2().await;
    for _ in 0..5 {
        let reply = client.call(ask("POST", "/", &[]), vec![7; 4 << 20]).await;
        assert_eq!((reply.status, reply.text().as_str()), (413, "too much"));
    }
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn an_application_that_stops_inside_its_request_gets_408() {
    let (service, proxy) = h2_shop("idleTimeout: 300ms\nretries: off", [hang()]).await;
    let mut stream = proxy.h2().await.open(ask("POST", "/", &[]), false).await;
    stream.send("half").await;
    assert_eq!(stream.finish().await.0.outcome(), (408, "request_timeout"));
    service.quiet().await;
    assert!(service.requests().iter().all(|seen| !seen.body.complete), "half a body is no whole one");
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_body_may_take_no_longer_than_body_timeout() {
    let mut steps = vec![Step::Read, Step::Head(200, &[])];
    steps.extend([Step::Data("a"), Step::Sleep(ms(50))].into_iter().cycle().take(400));
    let (_service, proxy) = h2_shop("bodyTimeout: 500ms", [steps]).await;
    let (reply, cut) = proxy.h2().await.call_to_end(ask("GET", "/", &[]), "", &[]).await;
    assert_eq!((reply.status, cut), (200, Some(Some(code::INTERNAL_ERROR))));
    proxy.calls("failure", "idle_timeout", 1).await;
}

#[tokio::test]
async fn cancelled_calls_give_their_streams_back() {
    let service = H2Service::script_with([hang()], |builder| builder.max_concurrent_streams(4));
    let proxy = Mesh::new().top("workers: 1").service("shop", &[service.addr()], "").start().await;
    let client = proxy.h2().await;
    for round in 0..10 {
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(client.open(ask("GET", "/", &[]), true).await);
        }
        service.saw((round + 1) * 4).await;
        for mut stream in streams {
            stream.reset(code::CANCEL);
        }
        service.quiet().await;
    }
    service.now([ok("x")]);
    assert_eq!(client.get("/").await.text(), "x");
    assert!(service.connections() <= 3, "{} connections", service.connections());
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_service_that_allows_no_stream_is_the_services_fault() {
    let service = H2Service::script_with([ok("x")], |builder| builder.max_concurrent_streams(0));
    let policy = "timeout: 500ms\nconnectTimeout: 200ms\nretries: off";
    let proxy = Mesh::new().top("workers: 1").service("shop", &[service.addr()], policy).start().await;
    let reply = proxy.h2().await.get("/").await;
    assert!(matches!(reply.status, 502..=504), "{:?}", reply.outcome());
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn an_answer_whose_head_is_too_large_is_a_protocol_error() {
    let service = RawH2Service::bind().await;
    let proxy = Mesh::new().service("shop", &[service.addr()], "retries: off").start().await;
    let stream = proxy.h2().await.open(ask("GET", "/", &[]), true).await;
    let mut raw = service.accept().await;
    let streams = raw.heads(1).await;
    let large = "b".repeat(16_000);
    raw.send(Frame::headers(streams[0], flag::END_STREAM, &[(":status", "200")])).await;
    for _ in 0..6 {
        raw.send(Frame::continuation(streams[0], flag::NONE, block(&[("x-a", &large)]))).await;
    }
    raw.send(Frame::continuation(streams[0], flag::END_HEADERS, [])).await;
    let reply = stream.finish().await.0;
    assert_eq!(reply.outcome(), (502, "protocol_error"));
}

#[tokio::test]
async fn interim_heads_that_nobody_reads_are_not_kept() {
    let service = RawH2Service::bind().await;
    let policy = "timeout: 15s\nretries: off";
    let proxy = Mesh::new().service("shop", &[service.addr()], policy).start().await;
    let mut client = RawH2::connect(proxy.outbound()).await;
    client.send_deaf(&Frame::headers(1, flag::WHOLE, GET).bytes()).await;
    let mut raw = service.accept().await;
    let streams = raw.heads(1).await;
    let hint = block(&[(":status", "103"), ("link", &"x".repeat(8000))]);
    let hints = Frame::raw(kind::HEADERS, flag::END_HEADERS, streams[0], hint).bytes().repeat(8);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let flood = tokio::spawn(async move {
        loop {
            raw.send_bytes(&hints).await;
            count.fetch_add(hints.len(), Ordering::Relaxed);
        }
    });
    let (mut last, mut since) = (0, tokio::time::Instant::now());
    eventually("the service is stopped, or the call is ended", async || {
        let taken = sent.load(Ordering::Relaxed);
        assert!(taken < 48 << 20, "{taken} bytes of interim heads, far more than sockets hold");
        if taken != last {
            (last, since) = (taken, tokio::time::Instant::now());
        }
        let ended = proxy.metrics().await.sum("outrigger_calls_total", &[("service", "shop")]) > 0.5;
        ended || since.elapsed() > ms(1000)
    })
    .await;
    flood.abort();
    drop(client);
}

#[tokio::test]
async fn forty_readers_that_stop_do_not_stop_others() {
    let endless = vec![Step::Read, Step::Head(200, &[]), Step::Zeros(64 << 20), Step::End];
    let mut script = vec![endless; 40];
    script.push(ok("fast"));
    let service = H2Service::script(script);
    let policy = "timeout: 5s\nretries: off";
    let proxy = Mesh::new().top("workers: 1").service("shop", &[service.addr()], policy).start().await;
    let wide = |builder: &mut h2::client::Builder| {
        builder.initial_connection_window_size(64 << 20);
    };
    let client = H2Client::connect_with(proxy.outbound(), |builder| {
        wide(builder);
        builder
    })
    .await;
    let mut slow = Vec::new();
    for number in 1..=40 {
        slow.push(client.open(ask("GET", "/slow", &[]), true).await);
        service.saw(number).await;
    }
    let (mut last, mut since) = (0, tokio::time::Instant::now());
    eventually("the slow ones are stopped", async || {
        if service.written_bytes() != last {
            (last, since) = (service.written_bytes(), tokio::time::Instant::now());
        }
        since.elapsed() > ms(500)
    })
    .await;
    assert_eq!(client.get("/fast").await.text(), "fast");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_an_old_one_retired() {
    let (service, proxy) = h2_shop_with("workers: 1", "pool: {idle: 300ms}", [ok("x")]).await;
    let client = proxy.h2().await;
    assert_eq!(client.get("/").await.text(), "x");
    service.drained().await;
    assert_eq!((client.get("/").await.text().as_str(), service.connections()), ("x", 2));

    let held = vec![Step::Read, Step::Held, Step::Only(204, &[])];
    let (service, proxy) = h2_shop_with("workers: 1", "pool: {maxAge: 300ms}", [held]).await;
    let client = proxy.h2().await;
    let old = client.open(ask("GET", "/", &[]), true).await;
    service.saw(1).await;
    let mut others = Vec::new();
    eventually("a new connection is opened", async || {
        others.push(client.open(ask("GET", "/", &[]), true).await);
        tokio::time::sleep(ms(50)).await;
        service.connections() > 1
    })
    .await;
    service.release();
    assert_eq!(old.finish().await.0.status, 204, "what was under way is not cut");
    for other in others {
        assert_eq!(other.finish().await.0.status, 204);
    }
}

#[tokio::test]
async fn tunnels_have_places_of_their_own() {
    let echo = vec![Step::Head(200, &[]), Step::Echo];
    let service = H2Service::script_with([echo], |builder| builder.enable_connect_protocol());
    let policy = "bulkhead: {maxConcurrent: 1, maxConnections: 1}";
    let proxy = Mesh::new().service("shop", &[service.addr()], policy).start().await;
    let client = proxy.h2().await;
    client.until_extended_connect().await;
    let websocket = || {
        let request = Request::builder().method("CONNECT").uri("http://shop/chat");
        request.extension(Protocol::from("websocket")).body(()).expect("a head")
    };
    let mut first = client.open(websocket(), false).await;
    assert_eq!(first.head().await.expect("a head").0, 200);
    proxy.bulkhead(0, 0).await;
    let second = client.open(websocket(), false).await;
    assert_eq!(second.finish().await.0.outcome(), (503, "bulkhead_full"));
    first.reset(code::CANCEL);
    service.saw_reset(code::CANCEL).await;
    eventually("the place is free again", async || {
        let mut third = client.open(websocket(), false).await;
        third.head().await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_to_a_service_that_takes_none_is_refused() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let client = proxy.h2().await;
    client.until_extended_connect().await;
    let request = Request::builder().method("CONNECT").uri("http://shop/chat");
    let request = request.extension(Protocol::from("websocket")).body(()).expect("a head");
    let mut stream = client.open(request, false).await;
    match stream.head().await {
        Ok((status, _)) => assert!(status >= 400, "{status}"),
        Err(cut) => assert!(cut.is_some(), "the stream alone is reset"),
    }
    assert_eq!(client.get("/").await.text(), "x", "both connections live on");
    assert_eq!(service.attempts(), 1);
}
