//! Certificates of the webhook's own, and the API server that must trust them.

use serde_json::{Value, json};

use super::cluster::{Cluster, Mood};
use super::reviews::started;
use super::server::{Webhook, recorded, warnings};
use crate::support::{binary, eventually};

/// With a short lifetime it waits less long for other API servers to learn of it.
async fn start(cluster: &Cluster, flags: &[&str]) -> Webhook {
    let account = cluster.account();
    let flags: Vec<&str> =
        ["--self-signed", account.as_str()].into_iter().chain(flags.iter().copied()).collect();
    let port = cluster.port();
    let variables = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", port.as_str())];
    Webhook::start(&flags, &variables).await
}

#[tokio::test]
async fn replicas_put_themselves_into_the_bundle_and_all_are_trusted() {
    let cluster = Cluster::start(Mood::Well).await;
    let (first, second) =
        tokio::join!(start(&cluster, &["--lifetime=60s"]), start(&cluster, &["--lifetime=60s"]));
    first.until_ready().await;
    second.until_ready().await;
    cluster.until_authorities(2).await;
    for webhook in [&first, &second] {
        let asker = webhook.asker(&cluster.bundle(0));
        assert_eq!(asker.review(&recorded("bare")).await["patchType"], "JSONPatch");
    }
    assert_eq!(cluster.bundle(1), "", "the webhook of another service is left alone");
    assert!(first.count("trust_updates_total", "applied").await > 0.5);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_expires_and_no_review_fails() {
    let cluster = Cluster::start(Mood::Well).await;
    let webhook = start(&cluster, &["--lifetime=9s"]).await;
    webhook.until_ready().await;
    let first = webhook.asker(&cluster.bundle(0)).connect().await.shown;
    eventually("another certificate is shown", async || {
        // What an API server does: it trusts what the object says at this moment.
        let mut line = webhook.asker(&cluster.bundle(0)).connect().await;
        line.review(&recorded("bare")).await;
        assert_eq!(webhook.ready().await.0, 200);
        line.shown != first
    })
    .await;
    assert!(cluster.authorities() >= 2, "the old one stays until it has expired");
}

#[tokio::test]
async fn a_renewal_that_is_refused_takes_nothing_away_while_the_old_one_is_good() {
    let cluster = Cluster::start(Mood::Well).await;
    let webhook = start(&cluster, &["--lifetime=12s"]).await;
    webhook.until_ready().await;
    cluster.now(Mood::ReadOnly);
    eventually("it is said", async || webhook.said("can't be made to trust our certificate")).await;
    assert_eq!(webhook.ready().await.0, 200);
    webhook.asker(&cluster.bundle(0)).review(&recorded("bare")).await;
    cluster.now(Mood::Well);
    eventually("another certificate is in force", async || webhook.said("a new certificate is in force"))
        .await;
    webhook.until_ready().await;
}

#[tokio::test]
async fn an_object_that_is_applied_anew_gets_its_bundle_back() {
    let cluster = Cluster::start(Mood::Well).await;
    let webhook = start(&cluster, &["--lifetime=20s"]).await;
    webhook.until_ready().await;
    let before = cluster.bundle(0);
    cluster.forget_bundle();
    cluster.until_authorities(1).await;
    assert_eq!(cluster.bundle(0), before);
    eventually("it is said", async || webhook.said("our authority had gone from outrigger; it is back"))
        .await;
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_asked_again() {
    let moods = [
        (Mood::Hangs, "no answer within 5 s"),
        (Mood::Says(500), "it answered 500 not today"),
        (Mood::ReadOnly, "it answered 403 cannot patch resource"),
    ];
    let each = moods.map(|(mood, told)| async move {
        let cluster = Cluster::start(mood).await;
        let webhook = start(&cluster, &["--lifetime=60s"]).await;
        let reason = format!(
            "the API server does not trust our certificate yet: MutatingWebhookConfiguration outrigger: {told}\n"
        );
        eventually("/ready says why", async || webhook.ready().await == (503, reason.clone())).await;
        assert_eq!(webhook.live().await, 200);
        eventually("the log says so", async || webhook.said(told)).await;
        cluster.now(Mood::Well);
        webhook.until_ready().await;
        webhook.asker(&cluster.bundle(0)).review(&recorded("bare")).await;
    });
    let [hangs, fails, refuses] = each;
    tokio::join!(hangs, fails, refuses);
}

#[tokio::test]
async fn an_api_server_that_fails_later_takes_nothing_away() {
    let cluster = Cluster::start(Mood::Well).await;
    let webhook = start(&cluster, &["--lifetime=20s"]).await;
    webhook.until_ready().await;
    cluster.now(Mood::Says(503));
    eventually("it is said", async || webhook.said("outrigger could not be looked at")).await;
    assert_eq!(webhook.ready().await.0, 200);
    webhook.asker(&cluster.bundle(0)).review(&recorded("bare")).await;
}

#[tokio::test]
async fn outside_a_pod_it_does_not_start_and_says_why() {
    let cluster = Cluster::start(Mood::Well).await;
    for (flags, told) in [
        (vec!["--self-signed".to_owned(), cluster.account()], "KUBERNETES_SERVICE_HOST is not set"),
        (
            vec!["--self-signed".to_owned(), "--service-account=/nowhere".to_owned()],
            "/nowhere/namespace: no namesp",
        ),
        (vec!["--cert=a".to_owned()], "--key <FILE>"),
        (
            vec!["--self-signed".to_owned(), "--cert=a".to_owned(), "--key=b".to_owned()],
            "cannot be used with",
        ),
        (vec![], "required arguments were not provided"),
    ] {
        let mut command = std::process::Command::new(binary());
        command.args(["webhook", "--listen=127.0.0.1:0", "--health=127.0.0.1:0"]).args(&flags);
        command.env_remove("KUBERNETES_SERVICE_HOST").env("NO_COLOR", "1");
        let output = crate::support::run(command).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{flags:?}: {said}");
    }
}

#[tokio::test]
async fn namespaces_are_looked_up_when_that_is_wanted() {
    let cluster = Cluster::start(Mood::Well).await;
    cluster.has_namespace("shop", json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let webhook = start(&cluster, &["--lifetime=60s", "--namespace-lookup"]).await;
    webhook.until_ready().await;
    let mut line = webhook.asker(&cluster.bundle(0)).connect().await;
    for _ in 0..5 {
        let response = line.review(&recorded("replicaset")).await;
        assert_eq!(response["patch"], Value::Null);
        let told = warnings(&response).pop().expect("a warning");
        assert!(told.starts_with("outrigger: not injected (pod-security): its namespace enforces"), "{told}");
    }
    assert_eq!(cluster.asked("/api/v1/namespaces/shop"), 1, "the answer is remembered");
    assert!((webhook.count("namespace_lookups_total", "found").await - 1.0).abs() < 0.1);
    // Without capture the pod needs nothing that is refused.
    assert_eq!(line.review(&recorded("daemonset")).await["patchType"], "JSONPatch");
}

#[tokio::test]
async fn reviews_of_one_namespace_at_once_wait_for_one_answer() {
    let cluster = Cluster::start(Mood::Well).await;
    cluster.has_namespace("shop", json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let webhook = start(&cluster, &["--lifetime=60s", "--namespace-lookup"]).await;
    webhook.until_ready().await;
    let asker = webhook.asker(&cluster.bundle(0));
    let mut lines = Vec::new();
    for _ in 0..40 {
        lines.push(asker.connect().await);
    }
    cluster.now(Mood::Slow);
    let asked: Vec<_> = lines
        .into_iter()
        .map(|mut line| tokio::spawn(async move { line.review(&recorded("replicaset")).await }))
        .collect();
    for one in asked {
        let response = one.await.expect("an answer");
        assert_eq!(response["patch"], Value::Null, "NET_ADMIN would be refused");
        let told = warnings(&response).pop().expect("a warning");
        assert!(told.starts_with("outrigger: not injected (pod-security)"), "{told}");
    }
    assert!(cluster.asked("/api/v1/namespaces/shop") <= 8, "{}", cluster.asked("/api/v1/namespaces/shop"));
    assert!(webhook.count("namespace_lookups_total", "failed").await < 0.5);
}

#[tokio::test]
async fn a_slow_api_server_holds_no_review() {
    let cluster = Cluster::start(Mood::Well).await;
    let webhook = start(&cluster, &["--lifetime=60s", "--namespace-lookup"]).await;
    webhook.until_ready().await;
    cluster.now(Mood::Hangs);
    let mut line = webhook.asker(&cluster.bundle(0)).connect().await;
    let asked = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(line.review(&recorded("bare")).await["patchType"], "JSONPatch");
    }
    assert!(asked.elapsed().as_millis() < 2500, "one of them waited for a second: {:?}", asked.elapsed());
    assert!((webhook.count("namespace_lookups_total", "failed").await - 1.0).abs() < 0.1);
    eventually("the log says so", async || {
        webhook.said("namespace shop: no answer within 1 s; its pods are taken as if it had no labels")
    })
    .await;
}

#[tokio::test]
async fn without_a_wish_for_it_nobody_is_asked() {
    let cluster = Cluster::start(Mood::Well).await;
    let (_webhook, asker, _folder) = started(&[&cluster.account()]).await;
    asker.review(&recorded("bare")).await;
    assert_eq!(cluster.asked("/"), 0);
}
