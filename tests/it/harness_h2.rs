//! The HTTP/2 half of the harness against itself, with no proxy in between.

use crate::support::h2_frames::{Frame, block, code, flag, kind};
use crate::support::h2_script::{Step, answer, hang, ok, reset};
use crate::support::{Fate, H2Client, H2Service, RawH2, RawH2Service, ask, eventually, pattern};

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

#[tokio::test]
async fn a_script_is_followed_and_its_last_list_repeats() {
    let service = H2Service::script([ok("one"), answer(503, &[("x-a", "b")], "two")]);
    let client = H2Client::connect(service.addr()).await;
    assert_eq!(client.get("/a").await.text(), "one");
    let reply = client.call_with(ask("POST", "/b?c", &[("x-d", "e")]), "body", &[("x-t", "u")]).await;
    assert_eq!((reply.status, reply.header("x-a"), reply.text().as_str()), (503, "b", "two"));
    assert_eq!(client.get("/").await.status, 503);
    let seen = &service.requests()[1];
    assert_eq!((seen.method.as_str(), seen.authority.as_str(), seen.path.as_str()), ("POST", "shop", "/b?c"));
    assert_eq!((seen.header("x-d"), seen.text().as_str(), seen.body.complete), ("e", "body", true));
    assert_eq!(seen.body.trailers, [("x-t".to_owned(), "u".to_owned())]);
    assert_eq!((service.attempts(), service.connections(), seen.connection), (3, 1, 0));
}

#[tokio::test]
async fn interim_heads_trailers_and_large_bodies_are_read() {
    let steps = [
        Step::Interim(103, &[("link", "</a>")]),
        Step::Read,
        Step::Head(200, &[]),
        Step::Pattern(1_000_001),
        Step::Trailers(&[("x-sum", "1")]),
    ];
    let service = H2Service::script([steps.to_vec()]);
    let client = H2Client::connect(service.addr()).await;
    let reply = client.call(ask("POST", "/", &[]), pattern(700_001)).await;
    assert_eq!((reply.interim_statuses(), reply.body.bytes == pattern(1_000_001)), (vec![103], true));
    assert_eq!(reply.body.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert!(service.last().body.bytes == pattern(700_001));
    assert_eq!(service.written_bytes(), 1_000_001);
}

#[tokio::test]
async fn resets_are_seen_on_both_sides() {
    let service = H2Service::script([reset(code::REFUSED_STREAM), hang()]);
    let client = H2Client::connect(service.addr()).await;
    let mut refused = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(refused.head().await, Err(Some(code::REFUSED_STREAM)));
    let mut hung = client.open(ask("GET", "/", &[]), true).await;
    service.saw(2).await;
    hung.reset(code::CANCEL);
    service.saw_reset(code::CANCEL).await;
    service.quiet().await;
}

#[tokio::test]
async fn held_streams_an_echo_and_a_dropped_connection() {
    let held = vec![Step::Read, Step::Held, Step::Only(204, &[])];
    let echo = vec![Step::Head(200, &[]), Step::Echo];
    let service = H2Service::script([held, echo, vec![Step::Read, Step::Drop]]);
    let client = H2Client::connect(service.addr()).await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert!(!stream.has_head_within(30).await);
    service.release();
    assert_eq!(stream.head().await.expect("a head").0, 204);
    let mut stream = client.open(ask("POST", "/", &[]), false).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    stream.send("ping").await;
    assert_eq!(stream.read_exactly(4).await, b"ping");
    stream.end();
    assert!(stream.rest().await.0.complete);
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(stream.head().await.expect_err("cut"), None);
    service.drained().await;
}

#[tokio::test]
async fn a_body_that_nobody_takes_stops_at_the_window() {
    let service = H2Service::script([vec![Step::Head(200, &[]), Step::Zeros(1 << 20), Step::End]]);
    let client = H2Client::connect(service.addr()).await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    eventually("the window is used up", async || service.written_bytes() == 65_535).await;
}

#[tokio::test]
async fn a_raw_client_reads_what_a_library_answers() {
    for (status, expected) in [(200, 200), (404, 404), (431, 431), (503, 503), (408, 408)] {
        let service = H2Service::script([vec![Step::Read, Step::Only(status, &[])]]);
        let mut raw = RawH2::connect(service.addr()).await;
        raw.send(Frame::headers(1, flag::WHOLE, GET)).await;
        assert_eq!(raw.fate(1).await, Fate::Status(expected));
        assert!(raw.answers_ping().await);
        let long = "a".repeat(5000);
        let block = block(&[GET, &[("x-long", &long)]].concat());
        let (first, rest) = block.split_at(100);
        let head = Frame::raw(kind::HEADERS, flag::END_STREAM, 3, first);
        raw.send_all(&[head, Frame::continuation(3, flag::END_HEADERS, rest)]).await;
        service.saw(2).await;
        assert_eq!(service.last().header("x-long").len(), 5000);
    }
}

#[tokio::test]
#[should_panic(expected = "the scripted service complains")]
async fn a_frame_that_breaks_http2_fails_the_test() {
    let service = H2Service::script([ok("x")]);
    let mut raw = RawH2::connect(service.addr()).await;
    raw.send(Frame::data(0, flag::NONE, "x")).await;
    assert_eq!(raw.fate(1).await, Fate::Goaway(code::PROTOCOL_ERROR));
    service.drained().await;
}

#[tokio::test]
async fn a_raw_service_answers_a_library() {
    let service = RawH2Service::bind().await;
    let address = service.addr();
    let calling = tokio::spawn(async move { H2Client::connect(address).await.get("/").await.text() });
    let mut raw = service.accept().await;
    let streams = raw.heads(1).await;
    raw.answer(streams[0], "raw").await;
    assert_eq!(calling.await.expect("the call"), "raw");
    raw.closed().await;
}
