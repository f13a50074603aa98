//! Floods over HTTP/2: work and memory stay bounded, the connection ends or is served, and nobody
//! else notices.

use crate::support::h2_frames::{Frame, block, bytes, code, flag, kind, setting};
use crate::support::h2_script::{Step, hang, ok};
use crate::support::{Fate, H2Service, Mesh, Outrigger, RawH2, h2_shop};

const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];

/// More memory than any of these floods may cost.
const MORE_KIB_MAX: u64 = 32 << 10;

fn get(stream: u32) -> Frame {
    Frame::headers(stream, flag::WHOLE, GET)
}

/// A service that hangs, and minds no resets itself.
async fn patient() -> (H2Service, Outrigger) {
    let service =
        H2Service::script_with([hang()], |builder| builder.max_pending_accept_reset_streams(10_000));
    let policy = "timeout: 300ms\nretries: off\ncircuitBreaker: off";
    let proxy = Mesh::new().service("shop", &[service.addr()], policy).start().await;
    (service, proxy)
}

/// The proxy answers others and has not grown.
async fn unharmed(proxy: &Outrigger, before_kib: u64) {
    assert!(proxy.h2().await.get("/").await.status > 0, "another connection is served");
    let more = proxy.rss_kib().saturating_sub(before_kib);
    assert!(more < MORE_KIB_MAX, "{more} KiB of memory");
}

#[tokio::test]
async fn a_rapid_reset_ends_the_connection_after_little_work() {
    let (service, proxy) = patient().await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    let frames: Vec<Frame> =
        (0..1000).flat_map(|call| [get(call * 2 + 1), Frame::reset(call * 2 + 1, code::CANCEL)]).collect();
    client.send_all(&frames).await;
    let fate = client.fate(u32::MAX).await;
    assert!(matches!(fate, Fate::Goaway(code::ENHANCE_YOUR_CALM) | Fate::Closed), "{fate:?}");
    unharmed(&proxy, before).await;
    service.quiet().await;
    assert!(service.attempts() <= 200, "{} of 1000 reached the service", service.attempts());
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn a_slow_rapid_reset_leaves_nothing_behind() {
    let (service, proxy) = patient().await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    for call in 0..500 {
        client.send(get(call * 2 + 1)).await;
        client.send(Frame::reset(call * 2 + 1, code::CANCEL)).await;
        tokio::task::yield_now().await;
    }
    unharmed(&proxy, before).await;
    service.quiet().await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn settings_and_ping_floods_are_answered_or_ended() {
    let (_service, proxy) = h2_shop("", [ok("x")]).await;
    for frame in [
        Frame::settings(&[]),
        Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 1000)]),
        Frame::ping(flag::NONE, [7; 8]),
        Frame::window_update(0, 1),
        Frame::raw(kind::PRIORITY, flag::NONE, 1, [0, 0, 0, 0, 1]),
        Frame::raw(0x42, flag::NONE, 0, []),
    ] {
        let before = proxy.rss_kib();
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send_bytes(&frame.bytes().repeat(100_000)).await;
        unharmed(&proxy, before).await;
        client.send(get(1)).await;
        let fate = client.fate(1).await;
        assert!(fate != Fate::Silent, "{frame:?}: it is served or ended, not left");
    }
}

#[tokio::test]
async fn pings_whose_answers_nobody_reads_are_not_kept() {
    let (_service, proxy) = h2_shop("", [ok("x")]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    client.send_deaf(&Frame::ping(flag::NONE, [7; 8]).bytes().repeat(1_000_000)).await;
    unharmed(&proxy, before).await;
}

#[tokio::test]
async fn a_continuation_flood_ends() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    for part in [block(&[("x-a", &"b".repeat(16_000))]), Vec::new()] {
        let before = proxy.rss_kib();
        let mut client = RawH2::connect(proxy.outbound()).await;
        client.send(Frame::headers(1, flag::END_STREAM, GET)).await;
        let flood = Frame::continuation(1, flag::NONE, part.clone()).bytes();
        client.send_bytes(&flood.repeat((16 << 20) / flood.len())).await;
        let fate = client.fate(1).await;
        let ended = matches!(fate, Fate::Goaway(_) | Fate::Closed | Fate::Reset(_) | Fate::Status(431));
        assert!(ended, "parts of {} bytes: {fate:?}", part.len());
        let attempts = service.attempts();
        unharmed(&proxy, before).await;
        assert_eq!(service.attempts(), attempts + 1, "only the other connection's call got through");
    }
}

#[tokio::test]
async fn a_mebibyte_of_headers_is_too_large() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    let large = "b".repeat(16_000);
    let parts: Vec<Frame> =
        (0..64).map(|_| Frame::continuation(1, flag::NONE, block(&[("x-a", &large)]))).collect();
    client.send(Frame::headers(1, flag::END_STREAM, GET)).await;
    client.send_all(&parts).await;
    client.send(Frame::continuation(1, flag::END_HEADERS, [])).await;
    let fate = client.fate(1).await;
    assert!(matches!(fate, Fate::Status(431) | Fate::Reset(_) | Fate::Goaway(_) | Fate::Closed), "{fate:?}");
    assert_eq!(service.attempts(), 0);
    unharmed(&proxy, before).await;
}

#[tokio::test]
async fn a_head_a_little_too_large_gets_431_and_a_large_one_passes() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let client = proxy.h2().await;
    let lines =
        |count| -> Vec<(&str, String)> { (0..count).map(|_| ("x-large", "a".repeat(6000))).collect() };
    for (count, status) in [(8, 200), (12, 431)] {
        let lines = lines(count);
        let fields: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = client.call(crate::support::ask("GET", "/", &fields), "").await;
        assert_eq!(reply.status, status, "{count} fields of 6,000 bytes");
    }
    assert_eq!(service.attempts(), 1);
}

#[tokio::test]
async fn a_head_that_unpacks_to_64_mebibytes_is_too_large() {
    let (service, proxy) = h2_shop("", [ok("x")]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    // A field of 4,000 bytes goes into the table once, and is then named 16,000 times by one byte.
    let mut field = block(&[("x-a", &"b".repeat(4000))]);
    field[0] = 0x40;
    let head = [block(GET), field].concat();
    client
        .send_all(&[
            Frame::raw(kind::HEADERS, flag::END_STREAM, 1, head),
            Frame::continuation(1, flag::END_HEADERS, vec![0xbe; 16_000]),
        ])
        .await;
    let fate = client.fate(1).await;
    assert!(matches!(fate, Fate::Status(431) | Fate::Reset(_) | Fate::Goaway(_) | Fate::Closed), "{fate:?}");
    assert_eq!(service.attempts(), 0);
    unharmed(&proxy, before).await;
}

#[tokio::test]
async fn ten_thousand_empty_parts_end_or_pass() {
    let (_service, proxy) = h2_shop("", [ok("x")]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];
    client.send(Frame::headers(1, flag::END_HEADERS, &post)).await;
    client.send_bytes(&Frame::data(1, flag::NONE, "").bytes().repeat(10_000)).await;
    client.send(Frame::data(1, flag::END_STREAM, "")).await;
    assert_ne!(client.fate(1).await, Fate::Silent);
    unharmed(&proxy, before).await;
    proxy.bulkhead(0, 0).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (service, proxy) = h2_shop("timeout: off\nbulkhead: off", [hang()]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect(proxy.outbound()).await;
    let heads: Vec<Frame> = (0..5000).map(|call| get(call * 2 + 1)).collect();
    client.send_all(&heads).await;
    let fate = client.fate(9999).await;
    assert!(matches!(fate, Fate::Reset(code::REFUSED_STREAM) | Fate::Goaway(_) | Fate::Closed), "{fate:?}");
    assert!(service.attempts() <= 1024, "{} streams of one connection", service.attempts());
    assert!(proxy.rss_kib().saturating_sub(before) < MORE_KIB_MAX);
    drop(client);
    service.quiet().await;
    service.now([ok("fine")]);
    assert_eq!(proxy.h2().await.get("/").await.text(), "fine");
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_little_and_is_ended() {
    let endless = vec![Step::Read, Step::Head(200, &[]), Step::Zeros(64 << 20), Step::End];
    let (service, proxy) = h2_shop("idleTimeout: 1s", [endless]).await;
    let before = proxy.rss_kib();
    let mut client = RawH2::connect_with(
        proxy.outbound(),
        &[
            Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]),
            Frame::window_update(0, (1 << 31) - 1 - 65_535),
        ],
    )
    .await;
    let heads: Vec<Frame> = (0..10).map(|call| get(call * 2 + 1)).collect();
    client.send_deaf(&bytes(&heads)).await;
    proxy.calls("cancelled", "client_cancelled", 10).await; // its own doing, at idleTimeout
    service.quiet().await;
    let taken = service.written_bytes();
    assert!(taken < 32 << 20, "{taken} bytes were taken, far more than 10 streams and sockets may hold");
    let more = proxy.rss_kib().saturating_sub(before);
    assert!(more < MORE_KIB_MAX, "{more} KiB of memory");
    drop(client);
}
