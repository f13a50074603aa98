//! Start and end: readiness, drain by signal, the second signal, the second instance.

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{Client, Mesh, Outrigger, Reply, Upstream, eventually, get, held, ms, shop, shop_with};

const QUICK: &str = "drain: {quiet: 200ms, timeout: 15s}";

async fn not_ready(proxy: &Outrigger) {
    eventually("/ready fails", async || proxy.get_admin("/ready").await.status == 503).await;
}

/// A proxy that is expected to fail at its start.
fn doomed(yaml: &str) -> Outrigger {
    let folder = TempDir::new().expect("a temporary folder");
    let config = folder.path().join("mesh.yaml");
    std::fs::write(&config, yaml).expect("writing the configuration");
    Outrigger::spawn(folder, config, "")
}

#[tokio::test]
async fn it_is_live_and_ready_once_it_says_so() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    for path in ["/live", "/ready"] {
        assert_eq!(proxy.get_admin(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn sigterm_drains_and_still_takes_calls() {
    let (upstream, mut proxy) = shop_with(QUICK, "", [held(Reply::Ok("kept"))]).await;
    let before = proxy.get_later("/");
    upstream.saw(1).await;
    proxy.signal("TERM");
    not_ready(&proxy).await;
    let after = proxy.get_later("/");
    upstream.saw(2).await;
    upstream.release();
    for call in [before, after] {
        assert_eq!(call.await.expect("the call's task").text(), "kept");
    }
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn an_open_application_connection_keeps_a_draining_proxy_alive() {
    let (_upstream, mut proxy) = shop_with(QUICK, "", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    proxy.signal("TERM");
    not_ready(&proxy).await;
    for _ in 0..3 {
        assert_eq!(client.call(get("/")).await.text(), "x");
        tokio::time::sleep(ms(400)).await;
    }
    drop(client);
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn sigterm_without_work_ends_after_the_quiet_time() {
    let (_upstream, mut proxy) = shop_with(QUICK, "", [Reply::Ok("x")]).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn drain_timeout_ends_it_whatever_is_in_flight() {
    let (upstream, mut proxy) = shop_with("drain: {quiet: 100ms, timeout: 600ms}", "", [Reply::Hang]).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    upstream.saw(1).await;
    proxy.signal("TERM");
    let started = tokio::time::Instant::now();
    proxy.wait_exit().await;
    assert!(started.elapsed() < ms(10_000), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn a_drain_ends_before_the_pods_grace_is_over() {
    let upstream = Upstream::script([Reply::Hang]);
    let yaml =
        Mesh::new().top("drain: {timeout: 1h}").service("shop", &[upstream.addr()], "timeout: off").yaml();
    let mut proxy = Outrigger::start_with("export OUTRIGGER_GRACE=2s", &yaml).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    upstream.saw(1).await;
    proxy.signal("TERM");
    let started = tokio::time::Instant::now();
    proxy.wait_exit().await;
    assert!(started.elapsed() >= ms(900), "after {:?}", started.elapsed());
    assert!(started.elapsed() < ms(10_000), "after {:?}", started.elapsed());
    for line in ["drain.timeout: found 1h, want at most 1s", "the process is killed after 2s"] {
        assert!(proxy.said(line), "{line:?} is not in {:?}", proxy.log());
    }
}

#[tokio::test]
async fn sigint_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (upstream, mut proxy) = shop_with(QUICK, "", [held(Reply::Ok("kept")), Reply::Ok("not yet")]).await;
    let call = proxy.get_later("/");
    upstream.saw(1).await;
    proxy.signal("INT");
    let address = proxy.outbound();
    eventually("new calls are refused", async || {
        let Ok(stream) = TcpStream::connect(address).await else { return true };
        let mut client = Client::over(stream);
        client.try_send(get("/")).await;
        client.try_read_reply().await.is_none_or(|reply| reply.outcome() == (503, "shutting_down"))
    })
    .await;
    assert!(!call.is_finished());
    upstream.release();
    assert_eq!(call.await.expect("the call's task").text(), "kept");
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_now() {
    for name in ["TERM", "INT"] {
        let (upstream, mut proxy) = shop("timeout: off", [Reply::Hang]).await;
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        upstream.saw(1).await;
        proxy.signal("TERM");
        not_ready(&proxy).await;
        let started = tokio::time::Instant::now();
        proxy.signal(name);
        proxy.wait_exit().await;
        assert!(started.elapsed() < ms(5000), "{:?} after the second signal", started.elapsed());
    }
}

#[tokio::test]
async fn drain_can_be_asked_for() {
    let (_upstream, mut proxy) = shop_with(QUICK, "", [Reply::Ok("x")]).await;
    assert_eq!(proxy.get_admin("/drain").await.status / 100, 4, "changes are POST only");
    assert_eq!(proxy.get_admin("/ready").await.status, 200);
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "x");
    assert_eq!(proxy.post_admin("/drain").await.status / 100, 2);
    not_ready(&proxy).await;
    assert_eq!(client.call(get("/")).await.text(), "x");
    drop(client);
    assert_eq!(proxy.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_instance_on_the_same_port_is_an_error_that_names_it() {
    let (upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let taken = proxy.outbound();
    let mesh = Mesh::new().top(&format!("outbound: {{listen: \"{taken}\"}}"));
    let mut second = doomed(&mesh.service("shop", &[upstream.addr()], "").yaml());
    assert!(!second.wait_exit().await.success());
    eventually("the address is named", async || second.said(&taken.to_string())).await;
    assert_eq!(proxy.get("/").await.text(), "x", "the first one is not disturbed");
}

#[tokio::test]
async fn a_bad_configuration_does_not_start_and_every_problem_has_its_place() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let yaml =
        Mesh::new().service("shop", &[upstream.addr()], "timeuot: 1s\nidleTimeout: 5\nbalance: best").yaml();
    let line = |key: &str| yaml.lines().position(|line| line.contains(key)).expect("a line") + 1;
    let mut proxy = doomed(&yaml);
    assert!(!proxy.wait_exit().await.success());
    for key in ["timeuot", "idleTimeout", "balance"] {
        let place = format!("mesh.yaml:{}:", line(key));
        eventually(&format!("{place} .. {key}"), async || {
            proxy.log().iter().any(|line| line.contains(&place) && line.contains(key))
        })
        .await;
    }
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let missing = folder.path().join("nowhere.yaml");
    let mut proxy = Outrigger::spawn(folder, missing, "");
    assert!(!proxy.wait_exit().await.success());
    eventually("the file is named", async || proxy.said("nowhere.yaml")).await;
}
