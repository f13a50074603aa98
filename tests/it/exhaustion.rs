//! Without file descriptors, or past a limit: it goes on, says so, and recovers.

use crate::support::{Client, Mesh, Outrigger, Reply, Upstream, eventually, get, shop_with};

/// Whether one call works now; a connection that is refused or cut is an answer too.
async fn works(proxy: &Outrigger) -> bool {
    let mut client = Client::connect(proxy.outbound()).await;
    client.try_send(get("/")).await;
    client.try_read_reply().await.is_some_and(|reply| reply.text() == "x")
}

#[tokio::test]
async fn without_file_descriptors_it_goes_on_and_recovers() {
    let upstream = Upstream::script([Reply::Ok("x")]);
    let mesh = Mesh::new().service("shop", &[upstream.addr()], "");
    let proxy = Outrigger::start_with("ulimit -n 64", &mesh.yaml()).await;
    assert!(works(&proxy).await);
    let mut crowd = Vec::new();
    for _ in 0..120 {
        crowd.push(proxy.client().await);
    }
    eventually("it says so", async || {
        proxy.log().iter().any(|line| {
            let line = line.to_lowercase();
            line.contains("open files") || line.contains("descriptor")
        })
    })
    .await;
    assert!(proxy.log().len() < 1000, "it says so, and not once per try: {} lines", proxy.log().len());
    drop(crowd);
    eventually("it recovers", async || works(&proxy).await).await;
    assert_eq!(proxy.get_admin("/live").await.status, 200);
}

#[tokio::test]
async fn past_the_connection_limit_new_ones_are_refused_and_counted() {
    let (_upstream, proxy) = shop_with("limits: {connections: 3}", "", [Reply::Ok("x")]).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        assert_eq!(client.call(get("/")).await.text(), "x");
        kept.push(client);
    }
    let mut late = proxy.client().await;
    assert_eq!(late.read_reply().await.outcome(), (503, "overloaded"), "before anything is asked");
    eventually("it is counted", async || proxy.metrics().await.sum_mentioning("overloaded") >= 1.0).await;
    assert_eq!(proxy.get_admin("/live").await.status, 200, "admin answers under overload");
    for client in &mut kept {
        assert_eq!(client.call(get("/")).await.text(), "x", "those who are in stay in");
    }
    drop(kept);
    eventually("there is room again", async || works(&proxy).await).await;
}
