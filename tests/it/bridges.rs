//! An HTTP/1 application in front of a service that speaks HTTP/2.

use crate::support::h2_frames::code;
use crate::support::h2_script::{Lines, Step, answer, hang, ok, reset, status};
use crate::support::{H2Service, Mesh, Outrigger, get, h2_shop, pattern, post, request};

/// A proxy for a service that is declared to speak HTTP/2.
async fn bridge(policy: &str, script: impl IntoIterator<Item = Vec<Step>>) -> (H2Service, Outrigger) {
    h2_shop(&format!("protocol: http2\n{policy}"), script).await
}

#[tokio::test]
async fn a_head_becomes_one_of_http_2() {
    let (service, proxy) = bridge("", [answer(200, &[("x-one", "Two")], "x")]).await;
    let fields = [
        "X-Mixed: Case",
        "X-Many: a",
        "x-many: b",
        "Cookie: a=1; b=2",
        "Connection: X-Hop, TE",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers, gzip",
        "User-Agent: Test/1.0",
    ];
    let reply = proxy.call(request("GET", "/a?b=c", &fields)).await;
    assert_eq!((reply.status, reply.header("x-one"), reply.text().as_str()), (200, "Two", "x"));
    let seen = service.last();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("GET", "/a?b=c"));
    assert_eq!((seen.authority.as_str(), seen.scheme.as_str()), ("shop", "http"));
    assert_eq!((seen.header("x-mixed"), seen.headers("x-many")), ("Case", vec!["a", "b"]));
    assert_eq!(seen.headers("cookie").join("; "), "a=1; b=2");
    assert_eq!(seen.header("user-agent"), "Test/1.0");
    assert!(matches!(seen.header("te"), "" | "trailers"), "{seen:?}");
    for gone in ["connection", "x-hop", "keep-alive", "host", "via"] {
        assert_eq!(seen.header(gone), "", "{gone}");
    }
    assert_eq!(seen.header("traceparent").len(), 55);
    assert!(seen.body.complete && seen.body.bytes.is_empty());
}

#[tokio::test]
async fn bodies_by_length_and_by_chunks_arrive() {
    let (service, proxy) = bridge("", [ok("done")]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(post("/", &[], "by length")).await.text(), "done");
    assert_eq!((service.last().text().as_str(), service.last().header("content-length")), ("by length", "9"));
    let chunked = request("POST", "/", &["Transfer-Encoding: chunked", "Trailer: X-Sum"]);
    assert_eq!(client.call(chunked + "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n").await.text(), "done");
    let seen = service.last();
    assert_eq!((seen.text().as_str(), seen.header("transfer-encoding")), ("abcde", ""));
    assert_eq!(seen.body.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    assert!(client.is_open().await, "kept alive");
}

#[tokio::test]
async fn answers_get_the_framing_of_http_1() {
    const LENGTH: Lines = &[("content-length", "5")];
    let script = [
        answer(200, LENGTH, "hello"),
        answer(200, &[], "hello"),
        vec![Step::Read, Step::Only(204, &[])],
        vec![Step::Read, Step::Only(304, &[("etag", "\"v\"")])],
        vec![Step::Read, Step::Only(200, &[])],
        vec![Step::Read, Step::Only(200, LENGTH)],
    ];
    let (_service, proxy) = bridge("", script).await;
    let mut client = proxy.client().await;
    let reply = client.call(get("/")).await;
    assert_eq!((reply.text().as_str(), reply.header("content-length")), ("hello", "5"));
    let reply = client.call(get("/")).await;
    assert_eq!((reply.text().as_str(), reply.header("transfer-encoding")), ("hello", "chunked"));
    assert_eq!(client.call(get("/")).await.status, 204);
    let reply = client.call(get("/")).await;
    assert_eq!((reply.status, reply.header("etag")), (304, "\"v\""));
    let reply = client.call(get("/")).await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("", false));
    let reply = client.call(request("HEAD", "/", &[])).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, "5"));
    assert!(client.is_open().await, "one connection for all of them");
    proxy.calls("success", "", 6).await;
}

#[tokio::test]
async fn trailers_and_interim_heads_come_back() {
    let steps = vec![
        Step::Interim(103, &[("link", "</a>")]),
        Step::Read,
        Step::Head(200, &[]),
        Step::Data("x"),
        Step::Trailers(&[("x-sum", "1")]),
    ];
    let (_service, proxy) = bridge("", [steps]).await;
    let reply = proxy.call(request("GET", "/", &["TE: trailers", "Connection: TE"])).await;
    assert_eq!((reply.status, reply.interim_statuses(), reply.text().as_str()), (200, vec![103], "x"));
    let (name, value) = &reply.body.trailers[0];
    assert_eq!((name.to_lowercase().as_str(), value.as_str()), ("x-sum", "1"));
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let steps =
        vec![Step::Interim(100, &[]), Step::Read, Step::Head(200, &[]), Step::Data("done"), Step::End];
    let (service, proxy) = bridge("", [steps]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 2", "Expect: 100-continue"])).await;
    assert_eq!(client.read_head().await.0, 100);
    client.send("hi").await;
    assert_eq!(client.read_reply().await.text(), "done");
    assert_eq!(service.last().text(), "hi");
}

#[tokio::test]
async fn large_bodies_are_intact_both_ways() {
    let steps = vec![Step::Read, Step::Head(200, &[]), Step::Pattern(5_000_003), Step::End];
    let (service, proxy) = bridge("", [steps]).await;
    let mut client = proxy.client().await;
    client.send(request("POST", "/", &["Content-Length: 3000001"])).await;
    client.send(pattern(3_000_001)).await;
    let reply = client.read_reply().await;
    assert!(reply.body.bytes == pattern(5_000_003), "{} bytes came", reply.body.bytes.len());
    assert!(service.last().body.bytes == pattern(3_000_001), "what the service read");
}

#[tokio::test]
async fn a_refused_stream_is_retried_whatever_the_method() {
    let policy = "retries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";
    let (service, proxy) = bridge(policy, [reset(code::REFUSED_STREAM), ok("second")]).await;
    assert_eq!(proxy.call(post("/", &[], "pay")).await.text(), "second");
    assert_eq!((service.last().text().as_str(), service.attempts()), ("pay", 2));
    service.now([reset(code::INTERNAL_ERROR), ok("doubled!")]);
    assert_eq!(proxy.call(post("/", &[], "pay")).await.outcome(), (502, "reset_before_response"));
    service.now([status(503), ok("again")]);
    assert_eq!(proxy.get("/").await.text(), "again");
}

#[tokio::test]
async fn a_cut_answer_is_cut() {
    for length in [&[][..], &[("content-length", "10")]] {
        let steps =
            vec![Step::Read, Step::Head(200, length), Step::Data("hello"), Step::Reset(code::INTERNAL_ERROR)];
        let (_service, proxy) = bridge("", [steps]).await;
        let reply = proxy.get("/").await;
        assert_eq!((reply.status, reply.cut()), (200, true), "{length:?}");
        proxy.calls("failure", "reset_mid_response", 1).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream() {
    let (service, proxy) = bridge("", [hang()]).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    service.saw(1).await;
    client.abort();
    service.saw_reset(code::CANCEL).await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn deadlines_and_silences_hold() {
    let (service, proxy) = bridge("timeout: 300ms", [hang()]).await;
    assert_eq!(proxy.get("/").await.outcome(), (504, "deadline_exceeded"));
    service.saw_reset(code::CANCEL).await;
    let stall = vec![Step::Read, Step::Head(200, &[]), Step::Data("hello")];
    let (service, proxy) = bridge("idleTimeout: 300ms", [stall]).await;
    let reply = proxy.get("/").await;
    assert_eq!((reply.text().as_str(), reply.cut()), ("hello", true));
    service.saw_reset(code::CANCEL).await;
    proxy.calls("failure", "idle_timeout", 1).await;
}

#[tokio::test]
async fn many_connections_of_the_application_share_few_of_the_service() {
    let steps = vec![Step::Read, Step::Held, Step::Head(200, &[]), Step::Data("x"), Step::End];
    let service = H2Service::script([steps]);
    let mesh = Mesh::new().top("workers: 1").service("shop", &[service.addr()], "protocol: http2");
    let proxy = mesh.start().await;
    let calls: Vec<_> = (0..50).map(|_| proxy.get_later("/")).collect();
    service.saw(50).await;
    assert!(service.connections() <= 2, "{} connections", service.connections());
    service.release();
    for call in calls {
        assert_eq!(call.await.expect("the call").text(), "x");
    }
    proxy.bulkhead(0, 0).await;
}
