//! What an HTTP/2 service can do to us: refuse, go away, reset, vanish, stall, speak something else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::h2_frames::{Frame, code, flag, kind, setting};
use crate::support::h2_script::{Step, ok, reset};
use crate::support::{H2Client, Mesh, Outrigger, RawH2Service, Received, ask, h2_shop, ms, within};

/// Quick back-off, one worker so that all streams meet on one connection.
const QUICK: &str = "circuitBreaker: off\nretries: {maxRetries: 2, backoff: {base: 1ms, max: 2ms}}";

/// A service whose connections the test itself scripts, and a proxy for it.
async fn raw_shop(policy: &str) -> (RawH2Service, Outrigger) {
    let service = RawH2Service::bind().await;
    let policy = format!("protocol: http2\n{policy}");
    let proxy = Mesh::new().top("workers: 1").service("shop", &[service.addr()], &policy).start().await;
    (service, proxy)
}

/// The frames of a broken answer on a stream.
type Broken = fn(u32) -> Vec<Frame>;

/// `POST /` in the background.
fn post_later(proxy: &Outrigger) -> tokio::task::JoinHandle<Received> {
    let address = proxy.outbound();
    tokio::spawn(async move { H2Client::connect(address).await.call(ask("POST", "/", &[]), "pay").await })
}

#[tokio::test]
async fn a_refused_stream_is_retried_whatever_the_method() {
    let (service, proxy) = h2_shop(QUICK, [reset(code::REFUSED_STREAM), ok("second")]).await;
    let reply = proxy.h2().await.call(ask("POST", "/", &[]), "pay").await;
    assert_eq!((reply.text().as_str(), service.attempts()), ("second", 2));
    assert_eq!(service.last().text(), "pay");
    proxy.retries("retried", 1).await;
}

#[tokio::test]
async fn a_service_that_refuses_for_ever_ends_the_retries() {
    let (service, proxy) = h2_shop(QUICK, [reset(code::REFUSED_STREAM)]).await;
    let reply = proxy.h2().await.call(ask("POST", "/", &[]), "pay").await;
    assert_eq!((reply.outcome(), service.attempts()), ((502, "reset_before_response"), 3));
    proxy.retries("skipped_exhausted", 1).await;
}

#[tokio::test]
async fn goaway_finishes_streams_below_and_retries_those_above() {
    let (service, proxy) = raw_shop(QUICK).await;
    let first = post_later(&proxy);
    let mut old = service.accept().await;
    let streams = old.heads(1).await;
    old.answer(streams[0], "warm").await;
    assert_eq!(first.await.expect("the call").text(), "warm");

    let calls: Vec<_> = (0..3).map(|_| post_later(&proxy)).collect();
    let streams = old.heads(3).await;
    old.send(Frame::goaway(streams[0], code::NO_ERROR)).await;
    let mut new = service.accept().await;
    for stream in new.heads(2).await {
        new.answer(stream, "above").await;
    }
    old.answer(streams[0], "below").await;
    let mut texts = Vec::new();
    for call in calls {
        texts.push(call.await.expect("the call").text());
    }
    texts.sort_unstable();
    assert_eq!(texts, ["above", "above", "below"]);
    proxy.calls("success", "", 4).await;
    within("the old connection is let go", old.closed()).await;
}

#[tokio::test]
async fn after_goaway_new_calls_take_a_new_connection() {
    let (service, proxy) = raw_shop(QUICK).await;
    let first = post_later(&proxy);
    let mut old = service.accept().await;
    let streams = old.heads(1).await;
    old.answer(streams[0], "old").await;
    old.send(Frame::goaway(streams[0], code::NO_ERROR)).await;
    assert_eq!(first.await.expect("the call").text(), "old");
    within("the old connection is let go", old.closed()).await;
    let second = post_later(&proxy);
    let mut new = service.accept().await;
    let streams = new.heads(1).await;
    new.answer(streams[0], "new").await;
    assert_eq!(second.await.expect("the call").text(), "new");
    proxy.retries("retried", 0).await;
}

#[tokio::test]
async fn a_reset_after_the_head_goes_on_with_its_code() {
    for code in [code::CANCEL, code::INTERNAL_ERROR, code::ENHANCE_YOUR_CALM, 0x55] {
        let steps = vec![Step::Read, Step::Head(200, &[]), Step::Data("half"), Step::Reset(code)];
        let (_service, proxy) = h2_shop("", [steps]).await;
        let (reply, cut) = proxy.h2().await.call_to_end(ask("GET", "/", &[]), "", &[]).await;
        assert_eq!((reply.status, cut), (200, Some(Some(code))));
        proxy.calls("failure", "reset_mid_response", 1).await;
        proxy.bulkhead(0, 0).await;
    }
}

#[tokio::test]
async fn a_reset_without_error_after_a_whole_answer_is_no_failure() {
    let (service, proxy) = raw_shop("retries: off").await;
    let client = proxy.h2().await;
    let stream = client.open(ask("POST", "/", &[]), false).await; // never ended: an early answer
    let mut raw = service.accept().await;
    let streams = raw.heads(1).await;
    raw.answer(streams[0], "enough").await;
    raw.send(Frame::reset(streams[0], code::NO_ERROR)).await;
    assert_eq!(stream.finish().await.0.text(), "enough");
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn a_connection_lost_before_the_head() {
    let (service, proxy) = h2_shop(QUICK, [vec![Step::Read, Step::Drop], ok("second")]).await;
    assert_eq!(proxy.h2().await.get("/").await.text(), "second");
    service.now([vec![Step::Read, Step::Drop]]);
    let reply = proxy.h2().await.call(ask("POST", "/", &[]), "pay").await;
    assert_eq!((reply.outcome(), service.attempts()), ((502, "reset_before_response"), 3));
}

#[tokio::test]
async fn a_connection_lost_after_the_head() {
    let steps = vec![Step::Read, Step::Head(200, &[]), Step::Data("half"), Step::Drop];
    let (_service, proxy) = h2_shop(QUICK, [steps]).await;
    let (reply, cut) = proxy.h2().await.call_to_end(ask("GET", "/", &[]), "", &[]).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "half"));
    assert_eq!(cut, Some(Some(code::INTERNAL_ERROR)));
    proxy.calls("failure", "reset_mid_response", 1).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn garbage_instead_of_settings_is_a_fault_before_anything_was_sent() {
    for garbage in ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "\0\0\0\u{6}\0\0\0\0\0garbage!"]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _preface = stream.read(&mut [0; 4096]).await;
                let _sent = stream.write_all(garbage.as_bytes()).await;
                while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            }
        });
        let policy = format!("protocol: http2\n{QUICK}");
        let proxy = Mesh::new().service("shop", &[address], &policy).start().await;
        let reply = proxy.h2().await.call(ask("POST", "/", &[]), "pay").await;
        assert_eq!(reply.outcome(), (502, "protocol_error"), "after {garbage:?}");
        assert_eq!(reply.json()["attempts"], 3, "never sent, so tried again");
        proxy.calls("failure", "protocol_error", 1).await;
    }
}

#[tokio::test]
async fn a_service_that_gives_no_settings_ends_at_connect_timeout() {
    let (service, proxy) = raw_shop("connectTimeout: 300ms\nretries: off").await;
    let call = post_later(&proxy);
    let mut raw = service.accept_with(&[]).await;
    let reply = call.await.expect("the call");
    assert_eq!(reply.outcome(), (503, "connect_timeout"));
    let head = tokio::time::timeout(ms(5000), raw.next_of(kind::HEADERS)).await;
    assert_eq!(head.expect("the connection is let go"), None, "no request before SETTINGS");
}

#[tokio::test]
async fn a_window_that_never_opens_ends_at_the_deadline() {
    let (service, proxy) = raw_shop("timeout: 500ms\nretries: off").await;
    let call = post_later(&proxy);
    let mut raw = service.accept_with(&[Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 0)])]).await;
    let streams = raw.heads(1).await;
    let reply = call.await.expect("the call");
    assert_eq!(reply.outcome(), (504, "deadline_exceeded"));
    let reset = raw.next_of(kind::RST_STREAM).await.expect("the stream is given up");
    assert_eq!((reset.stream, reset.error_code()), (streams[0], code::CANCEL));
    proxy.bulkhead(0, 0).await;
    proxy.counted("outrigger_replay_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn a_window_that_never_opens_on_a_long_body_ends_at_idle_timeout() {
    let (service, proxy) = raw_shop("timeout: 10s\nidleTimeout: 500ms\nretries: off").await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("POST", "/", &[]), false).await;
    let mut sender = stream.take_sender();
    let sending = tokio::spawn(async move {
        let body = bytes::Bytes::from(vec![7; 8 << 20]);
        crate::support::send_within_windows(&mut sender, body, |_| ()).await
    });
    let mut raw = service.accept_with(&[Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 0)])]).await;
    raw.heads(1).await;
    let reply = stream.finish().await.0;
    assert!(matches!(reply.outcome(), (504, "idle_timeout" | "deadline_exceeded")), "{:?}", reply.outcome());
    assert_eq!(raw.next_of(kind::RST_STREAM).await.expect("it is given up").error_code(), code::CANCEL);
    proxy.bulkhead(0, 0).await;
    proxy.counted("outrigger_replay_bytes", &[], 0.0).await;
    sending.abort();
}

#[tokio::test]
async fn answers_that_break_http2_are_protocol_errors() {
    let cases: [(&str, Broken); 6] = [
        ("an uppercase name", |stream| {
            vec![Frame::headers(stream, flag::WHOLE, &[(":status", "200"), ("X-A", "b")])]
        }),
        ("no status", |stream| vec![Frame::headers(stream, flag::WHOLE, &[("x-a", "b")])]),
        ("connection-specific", |stream| {
            vec![Frame::headers(stream, flag::WHOLE, &[(":status", "200"), ("connection", "close")])]
        }),
        ("data first", |stream| vec![Frame::data(stream, flag::END_STREAM, "x")]),
        ("a broken block", |stream| vec![Frame::raw(kind::HEADERS, flag::WHOLE, stream, [0x80])]),
        ("a frame that is too large", |stream| vec![Frame::data(stream, flag::NONE, vec![0; 1 << 20])]),
    ];
    for (what, frames) in cases {
        let (service, proxy) = raw_shop("retries: off").await;
        let call = post_later(&proxy);
        let mut raw = service.accept().await;
        let streams = raw.heads(1).await;
        raw.send_all(&frames(streams[0])).await;
        let reply = call.await.expect("the call");
        assert_eq!(reply.status, 502, "{what}: {:?}", reply.outcome());
        assert!(matches!(reply.reason(), "protocol_error" | "reset_before_response"), "{what}: {reply:?}");
        proxy.bulkhead(0, 0).await;
    }
}

#[tokio::test]
async fn an_answer_shorter_than_it_said_is_cut() {
    let (service, proxy) = raw_shop("retries: off").await;
    let mut stream = proxy.h2().await.open(ask("GET", "/", &[]), true).await;
    let mut raw = service.accept().await;
    let streams = raw.heads(1).await;
    let head = Frame::headers(streams[0], flag::END_HEADERS, &[(":status", "200"), ("content-length", "10")]);
    raw.send_all(&[head, Frame::data(streams[0], flag::END_STREAM, "hello")]).await;
    // The reset may overtake the head inside the library; a whole answer it must not be.
    let whole = match stream.head().await {
        Ok(_) => stream.rest().await.1.is_none(),
        Err(_) => false,
    };
    assert!(!whole, "five of ten bytes are not a whole answer");
    proxy.counted("outrigger_calls_total", &[("outcome", "failure")], 1.0).await;
}

#[tokio::test]
async fn a_goaway_storm_does_not_loop_for_ever() {
    let (service, proxy) = raw_shop(QUICK).await;
    let call = post_later(&proxy);
    for _ in 0..3 {
        let mut raw = service.accept().await;
        raw.heads(1).await;
        raw.send(Frame::goaway(0, code::NO_ERROR)).await;
        tokio::spawn(async move { raw.closed().await });
    }
    assert_eq!(call.await.expect("the call").outcome(), (502, "reset_before_response"));
    proxy.retries("retried", 2).await;
}

#[tokio::test]
#[ignore = "the keep-alive is not configurable: this takes its whole 15 s"]
async fn a_dead_connection_is_noticed_by_its_unanswered_ping() {
    let (service, proxy) = raw_shop("timeout: off\nidleTimeout: off\nretries: off").await;
    let call = post_later(&proxy);
    let mut raw = service.accept().await;
    raw.heads(1).await;
    // From here on nothing is read or sent: no ping is acknowledged.
    let reply = tokio::time::timeout(ms(25_000), call).await.expect("in time").expect("the call");
    assert_eq!(reply.outcome(), (502, "reset_before_response"));
}
