//! HTTP/2 end to end: what an application sends arrives, what a service answers comes back, and
//! many streams share few connections.

use http::Request;

use h2::ext::Protocol;

use crate::support::h2_script::{Step, answer, ok};
use crate::support::{
    H2Client, H2Service, Mesh, ask, ask_at, eventually, h2_shop, h2_shop_with, ms, pattern, within,
};

#[tokio::test]
async fn the_authority_decides_the_service() {
    let (shop, other) = (H2Service::script([ok("shop")]), H2Service::script([ok("other")]));
    let mesh = Mesh::new().service("shop", &[shop.addr()], "").service("other", &[other.addr()], "");
    let proxy = mesh.start().await;
    let client = proxy.h2().await;
    assert_eq!(client.get("/a?b=c").await.text(), "shop");
    assert_eq!(client.call(ask_at("other", "GET", "/", &[]), "").await.text(), "other");
    let seen = shop.last();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/a?b=c"));
    assert_eq!((seen.authority.as_str(), seen.scheme.as_str()), ("shop", "http"));
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_services_own_port_takes_any_authority() {
    let (service, proxy) = h2_shop("listen: 127.0.0.1:0", [ok("mine")]).await;
    let client = H2Client::connect(proxy.service("shop")).await;
    let reply = client.call(ask_at("anything.example:8080", "GET", "/", &[]), "").await;
    assert_eq!(reply.text(), "mine");
    assert_eq!(service.last().authority, "anything.example:8080");
}

#[tokio::test]
async fn a_destination_without_a_service_passes_or_is_denied() {
    let service = H2Service::script([ok("through")]);
    let authority = service.addr().to_string();
    let proxy = Mesh::new().start().await;
    let client = proxy.h2().await;
    assert_eq!(client.call(ask_at(&authority, "GET", "/", &[]), "").await.text(), "through");
    let proxy = Mesh::new().top("outbound: {listen: 127.0.0.1:0, unknown: deny}").start().await;
    let refused = proxy.h2().await.call(ask_at(&authority, "GET", "/", &[]), "").await;
    assert_eq!((refused.outcome(), service.attempts()), ((403, "denied"), 1));
    assert_eq!(refused.json()["error"], "denied");
}

#[tokio::test]
async fn a_call_to_one_of_our_own_listeners_is_a_loop() {
    let proxy = Mesh::new().start().await;
    let own = proxy.outbound().to_string();
    let reply = proxy.h2().await.call(ask_at(&own, "GET", "/", &[]), "").await;
    assert_eq!(reply.outcome(), (508, "loop_detected"));
}

#[tokio::test]
async fn headers_arrive_as_they_were_sent() {
    const FIELDS: &[(&str, &str)] = &[
        ("x-many", "One"),
        ("x-many", "two"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-empty", ""),
        ("te", "trailers"),
        ("user-agent", "Test/1.0"),
    ];
    let (service, proxy) = h2_shop("", [answer(200, &[("set-cookie", "a"), ("set-cookie", "b")], "x")]).await;
    let reply = proxy.h2().await.call(ask("GET", "/", FIELDS), "").await;
    assert_eq!(reply.headers("set-cookie"), ["a", "b"]);
    let seen = service.last();
    assert_eq!(seen.headers("x-many"), ["One", "two"]);
    assert_eq!(seen.headers("cookie").join("; "), "a=1; b=2");
    assert_eq!((seen.headers("x-empty"), seen.header("te")), (vec![""], "trailers"));
    assert_eq!(seen.header("user-agent"), "Test/1.0");
    for added in ["via", "x-forwarded-for", "forwarded", "connection", "host"] {
        assert_eq!(seen.header(added), "", "{added} was added");
    }
}

#[tokio::test]
async fn a_trace_is_begun_or_continued() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let client = proxy.h2().await;
    client.get("/").await;
    assert_eq!(service.last().header("traceparent").len(), PARENT.len());
    client.call(ask("GET", "/", &[("traceparent", PARENT)]), "").await;
    let sent = service.last().header("traceparent").to_owned();
    assert!(
        sent.starts_with(&PARENT[..36]) && sent != PARENT,
        "the trace of the caller, a span of ours: {sent}"
    );
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let steps = vec![Step::Read, Step::Head(200, &[]), Step::Data("x"), Step::Trailers(&[("x-sum", "1")])];
    let (service, proxy) = h2_shop("", [steps]).await;
    let reply = proxy.h2().await.call_with(ask("POST", "/", &[]), "body", &[("x-t", "u")]).await;
    assert_eq!(reply.body.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(service.last().body.trailers, [("x-t".to_owned(), "u".to_owned())]);
    assert_eq!(service.last().text(), "body");
}

#[tokio::test]
async fn trailers_go_without_a_body_too() {
    let steps = vec![Step::Read, Step::Head(200, &[]), Step::Trailers(&[("x-sum", "0")])];
    let (service, proxy) = h2_shop("", [steps]).await;
    let reply = proxy.h2().await.call_with(ask("POST", "/", &[]), "", &[("x-t", "u")]).await;
    assert_eq!(reply.body.trailers, [("x-sum".to_owned(), "0".to_owned())]);
    assert_eq!(service.last().body.trailers, [("x-t".to_owned(), "u".to_owned())]);
}

#[tokio::test]
async fn early_hints_come_before_the_reply() {
    let steps = vec![Step::Interim(103, &[("link", "</a>")]), Step::Read, Step::Only(204, &[])];
    let (_service, proxy) = h2_shop("", [steps]).await;
    let reply = proxy.h2().await.get("/").await;
    assert_eq!((reply.status, reply.interim_statuses()), (204, vec![103]));
    assert_eq!(reply.interim[0].1, [("link".to_owned(), "</a>".to_owned())]);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let only = |status, fields| vec![Step::Read, Step::Only(status, fields)];
    let script = [only(204, &[]), only(304, &[("etag", "\"v\"")]), only(200, &[("content-length", "5")])];
    let (_service, proxy) = h2_shop("", script).await;
    let client = proxy.h2().await;
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        let reply = client.call(ask(method, "/", &[]), "").await;
        assert_eq!((reply.status, reply.text().as_str(), reply.cut()), (status, "", false));
        let length = if method == "HEAD" { "5" } else { "" };
        assert_eq!(reply.header("content-length"), length, "{method} {status}");
    }
}

#[tokio::test]
async fn large_bodies_are_intact_both_ways() {
    let steps = vec![Step::Read, Step::Head(200, &[]), Step::Pattern(5_000_003), Step::End];
    let (service, proxy) = h2_shop("", [steps]).await;
    let reply = proxy.h2().await.call(ask("POST", "/", &[]), pattern(3_000_001)).await;
    assert!(reply.body.bytes == pattern(5_000_003), "{} bytes came", reply.body.bytes.len());
    assert!(service.last().body.bytes == pattern(3_000_001), "what the service read");
}

#[tokio::test]
async fn a_stream_flows_both_ways_at_once() {
    let (_service, proxy) = h2_shop("", [vec![Step::Head(200, &[]), Step::Echo]]).await;
    let mut stream = proxy.h2().await.open(ask("POST", "/", &[]), false).await;
    assert_eq!(stream.head().await.expect("a head before the request has ended").0, 200);
    for text in ["ping", "pong"] {
        stream.send(text).await;
        assert_eq!(stream.read_exactly(4).await, text.as_bytes());
    }
    stream.end();
    let (body, cut) = stream.rest().await;
    assert_eq!((body.bytes.len(), body.complete, cut), (0, true, None));
}

#[tokio::test]
async fn a_hundred_streams_share_few_connections() {
    let steps = vec![Step::Read, Step::Held, Step::Head(200, &[]), Step::Data("x"), Step::End];
    let (service, proxy) = h2_shop_with("workers: 1", "", [steps]).await;
    let client = proxy.h2().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(client.open(ask("GET", "/", &[]), true).await);
    }
    service.saw(100).await;
    assert_eq!(service.peak(), 100);
    assert!(service.connections() <= 2, "{} connections", service.connections());
    service.release();
    for stream in streams {
        assert_eq!(stream.finish().await.0.text(), "x");
    }
    proxy.calls("success", "", 100).await;
}

#[tokio::test]
async fn another_connection_is_opened_when_streams_run_out() {
    let steps = vec![Step::Read, Step::Held, Step::Only(204, &[])];
    let service = H2Service::script_with([steps], |builder| builder.max_concurrent_streams(4));
    let proxy = Mesh::new().top("workers: 1").service("shop", &[service.addr()], "").start().await;
    let client = proxy.h2().await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(client.open(ask("GET", "/", &[]), true).await);
    }
    service.saw(10).await;
    assert!((3..=10).contains(&service.connections()), "{} connections", service.connections());
    assert!(service.requests().iter().all(|seen| seen.cut.is_none()), "none was refused");
    service.release();
    for stream in streams {
        assert_eq!(stream.finish().await.0.status, 204);
    }
}

#[tokio::test]
async fn connections_are_used_again_one_call_after_the_other() {
    let (service, proxy) = h2_shop_with("workers: 1", "", [ok("x")]).await;
    for _ in 0..5 {
        assert_eq!(proxy.h2().await.get("/").await.text(), "x");
    }
    assert_eq!((service.attempts(), service.connections()), (5, 1));
}

fn websocket() -> Request<()> {
    let request = Request::builder().method("CONNECT").uri("http://shop/chat");
    let request = request.header("sec-websocket-version", "13").extension(Protocol::from("websocket"));
    request.body(()).expect("a head")
}

#[tokio::test]
async fn an_extended_connect_is_a_tunnel() {
    let steps = vec![Step::Head(200, &[("sec-websocket-protocol", "x")]), Step::Echo];
    let service = H2Service::script_with([steps], |builder| builder.enable_connect_protocol());
    let proxy = Mesh::new().service("shop", &[service.addr()], "timeout: 300ms").start().await;
    let client = proxy.h2().await;
    client.until_extended_connect().await;
    let mut stream = client.open(websocket(), false).await;
    let (status, fields) = stream.head().await.expect("a head");
    assert_eq!(status, 200);
    assert!(fields.contains(&("sec-websocket-protocol".to_owned(), "x".to_owned())), "{fields:?}");
    let seen = service.last();
    assert_eq!((seen.method.as_str(), seen.protocol.as_str()), ("CONNECT", "websocket"));
    assert_eq!((seen.path.as_str(), seen.header("sec-websocket-version")), ("/chat", "13"));
    let started = tokio::time::Instant::now();
    while started.elapsed() < ms(600) {
        stream.send("ping").await;
        assert_eq!(stream.read_exactly(4).await, b"ping", "a tunnel outlives the timeout of calls");
        tokio::time::sleep(ms(50)).await;
    }
    stream.end();
    assert!(within("the end", stream.rest()).await.0.complete);
    service.quiet().await;
    eventually("nothing is in flight", async || {
        proxy.metrics().await.sum("outrigger_calls_in_flight", &[]) < 0.5
    })
    .await;
}

#[tokio::test]
async fn a_silent_tunnel_ends_at_its_idle_timeout() {
    let service = H2Service::script_with([vec![Step::Head(200, &[]), Step::Echo]], |builder| {
        builder.enable_connect_protocol()
    });
    let proxy = Mesh::new().service("shop", &[service.addr()], "idleTimeout: 300ms").start().await;
    let client = proxy.h2().await;
    client.until_extended_connect().await;
    let mut stream = client.open(websocket(), false).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    stream.rest().await;
    service.quiet().await;
}
