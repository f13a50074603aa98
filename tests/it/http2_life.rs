//! The end of the process and what is recorded, for HTTP/2.

use crate::support::grpc::{ONE_BYTE, grpc, only};
use crate::support::h2_frames::{Frame, flag, kind};
use crate::support::h2_script::{Step, answer, ok};
use crate::support::{RawH2, ask, eventually, h2_shop_with};

const QUICK: &str = "drain: {quiet: 200ms, timeout: 15s}";

/// An answer that waits for the test.
fn kept() -> Vec<Step> {
    vec![Step::Read, Step::Held, Step::Head(200, &[]), Step::Data("kept"), Step::End]
}

#[tokio::test]
async fn sigterm_drains_and_still_takes_streams() {
    let (service, mut proxy) = h2_shop_with(QUICK, "", [kept()]).await;
    let client = proxy.h2().await;
    let before = client.open(ask("GET", "/", &[]), true).await;
    service.saw(1).await;
    proxy.signal("TERM");
    eventually("/ready fails", async || proxy.get_admin("/ready").await.status == 503).await;
    let after = client.open(ask("GET", "/", &[]), true).await;
    service.saw(2).await;
    service.release();
    for stream in [before, after] {
        assert_eq!(stream.finish().await.0.text(), "kept");
    }
    drop(client);
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn sigint_says_goaway_and_finishes_what_is_in_flight() {
    let (service, mut proxy) = h2_shop_with(QUICK, "", [kept()]).await;
    let mut client = RawH2::connect(proxy.outbound()).await;
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop")];
    client.send(Frame::headers(1, flag::WHOLE, &get)).await;
    service.saw(1).await;
    proxy.signal("INT");
    let goaway = client.next_of(kind::GOAWAY).await.expect("it says that it goes");
    assert_eq!(goaway.error_code(), 0);
    service.release();
    let data = client.next_of(kind::DATA).await.expect("the answer comes all the same");
    assert_eq!(data.payload, b"kept");
    client.closed().await;
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_reload_closes_no_connection() {
    let (service, proxy) = h2_shop_with("", "timeout: 9s", [ok("x")]).await;
    let client = proxy.h2().await;
    let mut open = client.open(ask("POST", "/", &[]), false).await;
    service.saw(1).await;
    let mesh = crate::support::Mesh::new().service("shop", &[service.addr()], "timeout: 8s");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh.yaml())).await;
    open.send("on").await;
    open.end();
    assert_eq!(open.finish().await.0.text(), "x");
    assert_eq!(service.last().text(), "on");
    assert_eq!(client.get("/").await.text(), "x");
}

#[tokio::test]
async fn the_access_log_has_one_line_per_stream() {
    let script = [answer(200, &[], "hello"), only(14)];
    let (_service, proxy) = h2_shop_with("accessLog: stdout", "retries: off", script).await;
    let client = proxy.h2().await;
    client.get("/a?b=c").await;
    client.call(grpc("/shop.Cart/Add", &[]), ONE_BYTE).await;
    eventually("two lines are written", async || proxy.said("/shop.Cart/Add") && proxy.said("/a")).await;
    let lines: Vec<String> = proxy.log().into_iter().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in lines {
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((json["service"].as_str(), json["status"].as_u64()), (Some("shop"), Some(200)), "{line}");
    }
}
