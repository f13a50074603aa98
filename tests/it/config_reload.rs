//! A changed file is in force soon and drops nothing; a bad one changes nothing and says so.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use crate::support::{Client, Mesh, Outrigger, Reply, Upstream, eventually, get, held, ms};

/// `shop` at this service, with these lines.
fn mesh(upstream: &Upstream, lines: &str) -> Mesh {
    Mesh::new().service("shop", &[upstream.addr()], lines)
}

#[tokio::test]
async fn a_changed_file_is_in_force_soon() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = mesh(&old, "").start().await;
    assert_eq!(proxy.get("/").await.text(), "old");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(&new, "").yaml())).await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn a_file_written_in_place_is_read_too() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = mesh(&old, "").start().await;
    let yaml = mesh(&new, "").yaml();
    proxy
        .reloaded("applied", || std::fs::write(proxy.config(), yaml).expect("writing the configuration"))
        .await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn the_symlink_swap_of_a_mounted_config_map_is_seen() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (version, upstream) in [("..v1", &old), ("..v2", &new)] {
        std::fs::create_dir(at(version)).expect("a folder");
        std::fs::write(at(version).join("mesh.yaml"), mesh(upstream, "").yaml()).expect("a file");
    }
    symlink("..v1", at("..data")).expect("a link");
    symlink("..data/mesh.yaml", at("mesh.yaml")).expect("a link");
    symlink("..v2", at("..data_tmp")).expect("a link");
    let (from, to, config) = (at("..data_tmp"), at("..data"), at("mesh.yaml"));
    let proxy = Outrigger::start_in(folder, config, "").await;
    assert_eq!(proxy.get("/").await.text(), "old");
    proxy.reloaded("applied", || std::fs::rename(from, to).expect("the swap")).await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn sighup_reads_the_file_again() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = mesh(&upstream, "").start().await;
    proxy.reloaded("unchanged", || proxy.signal("HUP")).await;
    assert_eq!(proxy.get("/").await.text(), "x");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_what_is_wrong() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = mesh(&old, "").start().await;
    let bad = mesh(&new, "timeuot: 1s\nretries: {maxRetries: many}").yaml();
    proxy.reloaded("rejected", || proxy.rewrite_config(&bad)).await;
    assert_eq!(proxy.get("/").await.text(), "old");
    for word in ["timeuot", "maxRetries"] {
        assert!(proxy.said(word), "the log says what is wrong with {word}");
    }
    let config = proxy.get_admin("/config").await.text();
    assert!(
        config.contains("timeuot") && config.contains("maxRetries"),
        "/config shows the problems: {config}"
    );
    assert_eq!(proxy.get_admin("/ready").await.status, 200);
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(&new, "").yaml())).await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn a_file_that_is_gone_changes_nothing_until_it_is_back() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = mesh(&old, "").start().await;
    let lines = proxy.log().len();
    std::fs::remove_file(proxy.config()).expect("removing the configuration");
    eventually("the log says that it is gone", async || proxy.log().len() > lines).await;
    assert_eq!(proxy.get("/").await.text(), "old");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(&new, "").yaml())).await;
    assert_eq!(proxy.get("/").await.text(), "new");
}

#[tokio::test]
async fn a_call_in_flight_keeps_its_policy() {
    let upstream = Upstream::script([held(Reply::Ok("kept"))]);
    let proxy = mesh(&upstream, "timeout: 15s").start().await;
    let call = proxy.get_later("/");
    upstream.saw(1).await;
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(&upstream, "timeout: 100ms").yaml())).await;
    assert_eq!(proxy.get("/").await.outcome(), (504, "deadline_exceeded"), "a new call has the new one");
    assert!(!call.is_finished());
    upstream.release();
    assert_eq!(call.await.expect("the call's task").text(), "kept");
}

#[tokio::test]
async fn an_idle_application_connection_survives_and_sees_the_new_policy() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = mesh(&old, "").start().await;
    let mut client = proxy.client().await;
    assert_eq!(client.call(get("/")).await.text(), "old");
    proxy.reloaded("applied", || proxy.rewrite_config(&mesh(&new, "").yaml())).await;
    assert_eq!(client.call(get("/")).await.text(), "new");
}

#[tokio::test]
async fn a_service_that_is_removed_is_unknown() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let deny = "outbound: {listen: 127.0.0.1:0, unknown: deny}";
    let with = |name: &str| Mesh::new().top(deny).service(name, &[upstream.addr()], "").yaml();
    let proxy = Outrigger::start(&with("shop")).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    proxy.reloaded("applied", || proxy.rewrite_config(&with("other"))).await;
    assert_eq!(proxy.get("/").await.outcome(), (403, "denied"));
    assert_eq!(proxy.call("GET / HTTP/1.1\r\nHost: other\r\n\r\n").await.text(), "x");
}

#[tokio::test]
async fn a_services_listener_comes_and_goes() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = mesh(&upstream, "").start().await;
    assert!(proxy.listener("service shop").is_none());
    proxy.rewrite_config(&mesh(&upstream, "listen: 127.0.0.1:0").yaml());
    eventually("it listens", async || proxy.listener("service shop").is_some()).await;
    let address = proxy.service("shop");
    let mut client = Client::connect(address).await;
    assert_eq!(client.call(get("/")).await.text(), "x");

    upstream.now([held(Reply::Ok("kept"))]);
    client.send(get("/")).await;
    upstream.saw(2).await;
    proxy.rewrite_config(&mesh(&upstream, "").yaml());
    eventually("it listens no more", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    upstream.release();
    assert_eq!(client.read_reply().await.text(), "kept", "emptied before it closes");
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_stays_as_it_was() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = mesh(&upstream, "").start().await;
    let before = proxy.outbound();
    let other = mesh(&upstream, "timeout: 3s").top("workers: 1");
    proxy.reloaded("applied", || proxy.rewrite_config(&other.yaml())).await;
    eventually("a warning about workers", async || proxy.said("workers")).await;
    assert_eq!((proxy.outbound(), proxy.get("/").await.text().as_str()), (before, "x"));
}

#[tokio::test]
async fn many_reloads_under_load_cost_no_call() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = mesh(&upstream, "timeout: 15s").start().await;
    let address = proxy.outbound();
    let load = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        loop {
            assert_eq!(client.call(get("/")).await.text(), "x");
            tokio::time::sleep(ms(2)).await;
        }
    });
    for number in 1..=4 {
        let yaml = mesh(&upstream, &format!("timeout: {number}s")).yaml();
        proxy.reloaded("applied", || proxy.rewrite_config(&yaml)).await;
    }
    assert!(!load.is_finished(), "a call failed while the configuration changed");
    load.abort();
    let metrics = proxy.metrics().await;
    assert!(
        metrics.sum("outrigger_calls_total", &[("outcome", "failure")]) < 0.5,
        "{}",
        metrics.matching("outrigger_calls")
    );
}

#[tokio::test]
async fn a_port_may_change_hands() {
    let (old, new) = (Upstream::script([Reply::Ok("old")]), Upstream::script([Reply::Ok("new")]));
    let proxy = Mesh::new().service("before", &[old.addr()], "listen: 127.0.0.1:0").start().await;
    let port = proxy.service("before");
    assert_eq!(Client::connect(port).await.call(get("/")).await.text(), "old");
    let after = Mesh::new().service("after", &[new.addr()], &format!("listen: {port}"));
    proxy.reloaded("applied", || proxy.rewrite_config(&after.yaml())).await;
    for _ in 0..4 {
        assert_eq!(Client::connect(port).await.call(get("/")).await.text(), "new");
    }
    let none = Mesh::new().service("after", &[new.addr()], "");
    proxy.reloaded("applied", || proxy.rewrite_config(&none.yaml())).await;
    eventually("the port is closed", async || tokio::net::TcpStream::connect(port).await.is_err()).await;
}
