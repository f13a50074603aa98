//! Services by DNS name: every address used, answers asked for again, the last good one kept.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{DnsAnswer, DnsServer, Mesh, Outrigger, Reply, Upstream, eventually, ms};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn answer(addresses: &[Ipv4Addr], seconds: u64) -> DnsAnswer {
    DnsAnswer::Addresses(addresses.to_vec(), ms(seconds * 1000))
}

/// Two services on the same port of 127.0.0.1 and 127.0.0.2 that answer `one` and `two`.
fn pair() -> (Upstream, Upstream) {
    loop {
        let one = Upstream::script([Reply::Ok("one")]);
        let beside = SocketAddr::from((TWO, one.addr().port()));
        if let Ok(two) = Upstream::script_at(beside, [Reply::Ok("two")]) {
            return (one, two);
        }
    }
}

async fn proxy(dns: &DnsServer, port: u16, lines: &str) -> Outrigger {
    let mesh = Mesh::new().top(&format!("dns: {{servers: [\"{}\"]}}", dns.addr()));
    mesh.service_raw("shop", &format!("endpoints: {{dns: \"shop.test:{port}\"}}\n{lines}")).start().await
}

#[tokio::test]
async fn every_address_is_used() {
    let (one, two) = pair();
    let dns = DnsServer::start("shop.test", answer(&[ONE, TWO], 60)).await;
    let proxy = proxy(&dns, one.addr().port(), "balance: roundRobin").await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    assert!(one.attempts() > 0 && two.attempts() > 0, "{} and {}", one.attempts(), two.attempts());
}

#[tokio::test]
async fn a_failed_connect_tries_the_next_address() {
    let one = Upstream::script([Reply::Ok("one")]);
    let dns = DnsServer::start("shop.test", answer(&[TWO, ONE], 60)).await;
    let proxy = proxy(&dns, one.addr().port(), "").await;
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.text(), "one");
    }
}

#[tokio::test]
async fn an_answer_is_asked_for_again_when_its_time_is_over() {
    let (one, two) = pair();
    let dns = DnsServer::start("shop.test", answer(&[ONE], 1)).await;
    let proxy = proxy(&dns, one.addr().port(), "").await;
    assert_eq!(proxy.get("/").await.text(), "one");
    dns.now(answer(&[TWO], 1));
    eventually("the new address is used", async || proxy.get("/").await.text() == "two").await;
    let before = one.attempts();
    for _ in 0..5 {
        assert_eq!(proxy.get("/").await.text(), "two");
    }
    assert_eq!((one.attempts(), two.attempts() >= 6), (before, true));
}

#[tokio::test]
async fn the_last_good_answer_is_kept_when_dns_is_gone() {
    let (one, _two) = pair();
    let dns = DnsServer::start("shop.test", answer(&[ONE], 1)).await;
    let proxy = proxy(&dns, one.addr().port(), "").await;
    assert_eq!(proxy.get("/").await.text(), "one");
    dns.now(DnsAnswer::Silence);
    let asked = dns.questions();
    eventually("it asks again, in vain", async || {
        let reply = proxy.get("/").await;
        assert_eq!((reply.outcome(), reply.text().as_str()), ((200, ""), "one"));
        dns.questions() > asked
    })
    .await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.text(), "one");
        tokio::time::sleep(ms(100)).await;
    }
}

#[tokio::test]
async fn a_name_that_never_resolved_is_dns_failed_and_may_come_later() {
    let one = Upstream::script([Reply::Ok("one")]);
    let dns = DnsServer::start("shop.test", DnsAnswer::NxDomain).await;
    let proxy = proxy(&dns, one.addr().port(), "retries: off\ncircuitBreaker: off").await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "dns_failed"));
    proxy.calls("failure", "dns_failed", 1).await;
    dns.now(answer(&[ONE], 60));
    eventually("it resolves", async || proxy.get("/").await.text() == "one").await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_blocks_neither_the_start_nor_others() {
    let other = Upstream::script([Reply::Ok("other")]);
    let dns = DnsServer::start("shop.test", DnsAnswer::Silence).await;
    let mesh = Mesh::new().top(&format!("dns: {{servers: [\"{}\"]}}", dns.addr()));
    let mesh =
        mesh.service_raw("shop", "endpoints: {dns: \"shop.test:80\"}").service("other", &[other.addr()], "");
    let proxy = mesh.start().await;
    let stuck = proxy.get_later("/");
    eventually("it asks", async || dns.questions() > 0).await;
    assert_eq!(proxy.call("GET / HTTP/1.1\r\nHost: other\r\n\r\n").await.text(), "other");
    stuck.abort();
}
