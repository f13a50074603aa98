//! Flow control end to end: who does not read holds a bounded number of bytes and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::Builder;

use crate::support::h2_script::{Step, hang, ok};
use crate::support::{H2Client, H2Service, Mesh, ask, eventually, h2_shop, h2_shop_with, ms, pattern};

/// Most bytes of one stream that the proxy may hold for a reader that does not read.
const STREAM_BYTES_MAX: usize = 1 << 20;

/// The window of a peer that sets none (RFC 9113 section 6.9.2).
const PEER_WINDOW: usize = 65_535;

/// An endless body, as far as these tests go.
const ENDLESS: usize = 64 << 20;

fn endless() -> Vec<Step> {
    vec![Step::Read, Step::Head(200, &[]), Step::Zeros(ENDLESS), Step::End]
}

/// Room for many streams that nobody reads.
fn wide(builder: &mut Builder) -> &mut Builder {
    builder.initial_connection_window_size(64 << 20)
}

/// Waits until `count` has stood still for half a second: all that was going to move has moved.
async fn stands_still(what: &str, count: impl Fn() -> usize) -> usize {
    let (mut last, mut since) = (count(), tokio::time::Instant::now());
    eventually(what, async || {
        if count() != last {
            (last, since) = (count(), tokio::time::Instant::now());
        }
        last > 0 && since.elapsed() > ms(500)
    })
    .await;
    last
}

#[tokio::test]
async fn a_reader_that_stops_holds_a_bounded_part_of_an_answer() {
    let (service, proxy) = h2_shop("", [endless()]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    let taken = stands_still("the service is stopped", || service.written_bytes()).await;
    assert!(taken <= STREAM_BYTES_MAX + PEER_WINDOW, "{taken} bytes were taken from the service");
    stream.reset(8);
    service.saw_reset(8).await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
}

#[tokio::test]
async fn ten_readers_that_stop_hold_a_bounded_part_each() {
    let (service, proxy) = h2_shop_with("workers: 1", "", [endless()]).await;
    let before = proxy.rss_kib();
    let client = H2Client::connect_with(proxy.outbound(), wide).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = client.open(ask("GET", "/", &[]), true).await;
        assert_eq!(stream.head().await.expect("a head").0, 200);
        streams.push(stream);
    }
    let taken = stands_still("the service is stopped", || service.written_bytes()).await;
    assert!(taken <= 10 * (STREAM_BYTES_MAX + PEER_WINDOW), "{taken} bytes were taken from the service");
    let more = proxy.rss_kib().saturating_sub(before);
    assert!(more < 24 << 10, "{more} KiB of memory for 10 streams");
}

#[tokio::test]
async fn a_service_that_does_not_read_holds_a_bounded_part_of_a_request() {
    let (service, proxy) =
        h2_shop("timeout: off", [vec![Step::Held, Step::Read, Step::Only(204, &[])]]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("POST", "/", &[]), false).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let (count, mut sender) = (Arc::clone(&sent), stream.take_sender());
    let sending = tokio::spawn(async move {
        let body = Bytes::from(vec![7; 8 << 20]);
        let took = |bytes| {
            count.fetch_add(bytes, Ordering::Relaxed);
        };
        let sent = crate::support::send_within_windows(&mut sender, body, took).await;
        sent.and_then(|()| sender.send_data(Bytes::new(), true).map_err(|_| None))
    });
    let taken = stands_still("the application is stopped", || sent.load(Ordering::Relaxed)).await;
    assert!(taken <= STREAM_BYTES_MAX + PEER_WINDOW, "{taken} bytes were taken from the application");
    service.release();
    sending.await.expect("a task").expect("all is taken once the service reads");
    assert_eq!(stream.finish().await.0.status, 204);
    assert_eq!(service.last().body.bytes.len(), 8 << 20);
}

#[tokio::test]
async fn readers_that_stop_do_not_stop_others() {
    let fast = vec![Step::Read, Step::Head(200, &[]), Step::Pattern(2_000_001), Step::End];
    let mut script = vec![endless(); 10];
    script.push(fast);
    let (service, proxy) = h2_shop_with("workers: 1", "", script).await;
    let client = H2Client::connect_with(proxy.outbound(), wide).await;
    let mut slow = Vec::new();
    for number in 1..=10 {
        slow.push(client.open(ask("GET", "/slow", &[]), true).await);
        service.saw(number).await;
    }
    stands_still("the slow ones are stopped", || service.written_bytes()).await;
    let reply = client.get("/fast").await;
    assert!(reply.body.bytes == pattern(2_000_001), "{} bytes came", reply.body.bytes.len());
}

#[tokio::test]
async fn a_request_that_is_not_read_does_not_stop_others() {
    let service = H2Service::script_with([vec![Step::Held], ok("x")], |builder| {
        builder.initial_connection_window_size(64 << 20)
    });
    let mesh = Mesh::new().top("workers: 1").service("shop", &[service.addr()], "timeout: off");
    let proxy = mesh.start().await;
    let client = proxy.h2().await;
    let mut stuck = client.open(ask("POST", "/", &[]), false).await;
    let mut sender = stuck.take_sender();
    let sending = tokio::spawn(async move {
        let body = Bytes::from(vec![7; 8 << 20]);
        crate::support::send_within_windows(&mut sender, body, |_| ()).await
    });
    service.saw(1).await;
    let reply = client.call(ask("POST", "/", &[]), pattern(1_000_001)).await;
    assert_eq!(reply.text(), "x");
    assert!(service.last().body.bytes == pattern(1_000_001));
    sending.abort();
}

#[tokio::test]
async fn ten_thousand_small_parts_of_a_request_survive_a_stall() {
    let (service, proxy) =
        h2_shop("timeout: off", [vec![Step::Held, Step::Read, Step::Only(204, &[])]]).await;
    let client = proxy.h2().await;
    let head = crate::support::grpc::grpc("/shop.Cart/Watch", &[]);
    let mut stream = client.open(head, false).await;
    for _ in 0..10_000 {
        stream.send("x").await;
    }
    service.release();
    stream.end();
    assert_eq!(stream.finish().await.0.status, 204);
    assert_eq!(service.last().body.bytes.len(), 10_000);
}

#[tokio::test]
async fn ten_thousand_small_parts_of_an_answer_survive_a_stall() {
    let mut steps = vec![Step::Read, Step::Head(200, &[("content-type", "application/grpc")])];
    steps.extend(vec![Step::Data("x"); 10_000]);
    steps.push(Step::Trailers(&[("grpc-status", "0")]));
    let (service, proxy) = h2_shop("", [steps, ok("next")]).await;
    let client = proxy.h2().await;
    let head = crate::support::grpc::grpc("/shop.Cart/Watch", &[]);
    let mut stream = client.open(head, true).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    eventually("the service has sent all", async || service.written_bytes() == 10_000).await;
    assert_eq!(client.get("/").await.text(), "next", "the connection lives");
    let (body, cut) = stream.rest().await;
    assert_eq!((body.bytes.len(), body.complete, cut), (10_000, true, None));
}

#[tokio::test]
async fn a_reader_that_goes_away_frees_what_it_held() {
    let (service, proxy) = h2_shop_with("workers: 1", "", [endless(), hang()]).await;
    let client = proxy.h2().await;
    let mut stream = client.open(ask("GET", "/", &[]), true).await;
    assert_eq!(stream.head().await.expect("a head").0, 200);
    client.abort();
    service.quiet().await;
    proxy.bulkhead(0, 0).await;
    proxy.calls("cancelled", "client_cancelled", 1).await;
}
