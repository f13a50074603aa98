//! `outrigger top --once`: one table, from a proxy, from nothing, from something else. The live
//! screen is driven in the peers tier, which has a terminal.

use std::process::Output;

use crate::support::{Mesh, Refused, Reply, Upstream, eventually, get, outrigger, request, then_close};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn one_table_shows_every_service_the_worst_off_first() {
    let (fine, broken) = (Upstream::script([Reply::Ok("x")]), Upstream::script([Reply::Status(503)]));
    let proxy = Mesh::new()
        .service("fine", &[fine.addr()], "bulkhead: {maxConcurrent: 7}")
        .service("broken", &[broken.addr()], "circuitBreaker: {}\nretries: off")
        .service("quiet", &[fine.addr()], "circuitBreaker: off\nbulkhead: off")
        .start()
        .await;
    proxy.post_admin("/services/broken/breaker?state=open").await;
    let admin = proxy.admin().to_string();
    let table =
        tokio::spawn(async move { outrigger(&["top", "--once", "--every", "1s", "--admin", &admin]).await });
    // Calls go on for as long as the two looks of the table take.
    let mut client = proxy.client().await;
    let to = |host: &str| request("GET", "/", &[]).replace("Host: shop", &format!("Host: {host}"));
    eventually("the table is printed", async || {
        assert_eq!(client.call(to("fine")).await.status, 200);
        assert_eq!(client.call(to("broken")).await.outcome(), (503, "breaker_open"));
        table.is_finished()
    })
    .await;
    let table = table.await.expect("a task that ends");
    let text = out(&table);
    assert_eq!(table.status.code(), Some(0), "{text}{}", complaint(&table));
    assert!(!text.contains('\u{1b}'), "no escape codes: {text:?}");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(text.starts_with("outrigger ") && text.contains("3 services, 1 open"), "{text}");
    assert_eq!(lines[2][..4], ["SERVICE", "BREAKER", "CALLS/S", "ERRORS"]);
    assert_eq!(lines[3][..2], ["broken", "open!"], "{text}");
    assert_eq!(lines[3][3], "100.0%", "{text}");
    assert_eq!(
        (lines[4][0], lines[4][1], lines[4][3], lines[4][6]),
        ("fine", "closed", "0.0%", "0/7"),
        "{text}"
    );
    assert!(lines[4][2].parse::<f64>().is_ok_and(|rate| rate > 1.0), "{text}");
    assert_eq!(lines[5][..4], ["quiet", "off", "0.0", "-"], "{text}");
    assert_eq!(lines[4].last(), Some(&"1/1"), "{text}");
    assert_eq!(lines[5].last(), Some(&"-"), "no address is known before the first call: {text}");
    assert_eq!(lines.len(), 6, "{text}");
}

#[tokio::test]
async fn what_does_not_answer_as_a_proxy_does_is_told() {
    let nobody = Refused::bind();
    let other = Upstream::script([then_close(Reply::Ok("{}"))]);
    for (admin, why) in [
        (nobody.addr().to_string(), "no answer from the admin API at"),
        (other.addr().to_string(), "is not the page /services"),
    ] {
        let failed = outrigger(&["top", "--once", "--admin", &admin]).await;
        assert_eq!(failed.status.code(), Some(1), "{}", complaint(&failed));
        assert!(complaint(&failed).contains(why), "{}", complaint(&failed));
        assert_eq!(out(&failed), "");
    }
}

#[tokio::test]
async fn a_pipe_gets_a_table_only_if_it_asks_for_one() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let proxy = Mesh::new().service("shop", &[upstream.addr()], "").start().await;
    assert_eq!(proxy.call(get("/")).await.status, 200);
    let refused = outrigger(&["top", "--admin", &proxy.admin().to_string()]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("--once"), "{}", complaint(&refused));
    for wrong in [&["top", "--every", "1"][..], &["top", "--every", "1ms"], &["top", "--admin", "x"]] {
        assert_eq!(outrigger(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}
