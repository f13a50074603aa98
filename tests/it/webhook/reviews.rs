//! Reviews as an API server sends them, and what becomes of the pods.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger::kube::{Namespace, Settings, plan};
use serde_json::{Value, json};

use super::server::{Asker, Webhook, recorded, warnings};
use crate::support::{Authority, PemFolder};

/// Pods of every origin that get the sidecar.
const INJECTED: [&str; 6] = ["bare", "dry-run", "replicaset", "job", "statefulset", "daemonset"];

/// A webhook with the certificate of an authority, and somebody who trusts it.
pub(super) async fn started(flags: &[&str]) -> (Webhook, Asker, PemFolder) {
    let authority = Authority::new();
    let pair = authority.issue(super::server::NAME);
    let folder = PemFolder::new(&[("tls.crt", &pair.cert), ("tls.key", &pair.key)]);
    let (cert, key) = (folder.fill("--cert=PEM/tls.crt"), folder.fill("--key=PEM/tls.key"));
    let flags: Vec<&str> = [cert.as_str(), key.as_str()].into_iter().chain(flags.iter().copied()).collect();
    let webhook = Webhook::start(&flags, &[]).await;
    webhook.until_ready().await;
    let asker = webhook.asker(&authority.pem());
    (webhook, asker, folder)
}

/// The pod of a review.
fn pod(review: &str) -> Value {
    serde_json::from_str::<Value>(review).expect("JSON")["request"]["object"].take()
}

/// The pod as the API server makes it: the answer's patch applied by a library that is not ours.
fn patched(review: &str, response: &Value) -> Value {
    let mut pod = pod(review);
    let patch = STANDARD.decode(response["patch"].as_str().expect("a patch")).expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON Patch");
    json_patch::patch(&mut pod, &patch).expect("a patch that applies");
    pod
}

/// The pod as the plan makes it.
fn planned(review: &str) -> Value {
    let mut pod = pod(review);
    let namespace = Namespace { name: "shop".to_owned(), ..Namespace::default() };
    let plan = plan(&pod, Some(&namespace), &Settings::default()).expect("a plan");
    assert!(plan.edits.iter().all(|edit| edit.apply(&mut pod)));
    pod
}

#[tokio::test]
async fn pods_of_every_origin_become_what_the_plan_says() {
    let (webhook, asker, _folder) = started(&[]).await;
    for name in INJECTED {
        let review = recorded(name);
        let response = asker.review(&review).await;
        assert_eq!(warnings(&response), Vec::<String>::new(), "{name}");
        assert_eq!(patched(&review, &response), planned(&review), "{name}");
    }
    assert!((webhook.count("reviews_total", "injected").await - 6.0).abs() < 0.1);
    assert!(webhook.said("pod shop/web-88b4cdb97-*: injected"));
    assert!(webhook.said("pod shop/cart: injected, by a dry run"));
}

#[tokio::test]
async fn a_second_look_changes_nothing_and_says_nothing() {
    let (webhook, asker, _folder) = started(&[]).await;
    for name in INJECTED {
        let mut review: Value = serde_json::from_str(&recorded(name)).expect("JSON");
        let mut pod = patched(&recorded(name), &asker.review(&recorded(name)).await);
        // What a later webhook has added, for which this one is asked again.
        let another = json!({"name": "another", "image": "registry.example/another:1"});
        pod["spec"]["containers"].as_array_mut().expect("a list").push(another);
        review["request"]["object"] = pod;
        let response = asker.review(&review.to_string()).await;
        assert_eq!(response["patch"], Value::Null, "{name}");
        assert_eq!(warnings(&response), Vec::<String>::new(), "{name}");
    }
    assert!((webhook.count("reviews_total", "already").await - 6.0).abs() < 0.1);
}

#[tokio::test]
async fn a_pod_that_can_not_be_injected_is_made_as_it_is_and_its_owner_told_why() {
    let (webhook, asker, _folder) = started(&[]).await;
    for (name, why) in [
        ("host-network", "outrigger: not injected (host-network): spec.hostNetwork is true"),
        ("windows", "outrigger: not injected (windows): "),
        ("bad-annotation", "outrigger: not injected (bad-annotation): outrigger.dev/skip-ports: found "),
        ("kube-system", "outrigger: not injected (system-namespace): kube-system"),
    ] {
        let response = asker.review(&recorded(name)).await;
        assert_eq!(response["patch"], Value::Null, "{name}");
        let warnings = warnings(&response);
        assert!(warnings.len() == 1 && warnings[0].starts_with(why), "{warnings:?}");
    }
    assert!((webhook.count("reviews_total", "skipped").await - 4.0).abs() < 0.1);
}

#[tokio::test]
async fn everything_but_the_making_of_a_pod_is_allowed_untouched() {
    let (webhook, asker, _folder) = started(&[]).await;
    for (name, what) in [("update", "UPDATE of v1 Pod"), ("deployment", "CREATE of apps/v1 Deployment")] {
        let response = asker.review(&recorded(name)).await;
        assert_eq!(response["patch"], Value::Null, "{name}");
        let warning =
            format!("outrigger: only the making of pods is looked at, and this is {what}; nothing changed");
        assert_eq!(warnings(&response), [warning]);
    }
    assert!((webhook.count("reviews_total", "ignored").await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn the_command_line_says_what_is_added_and_annotations_say_otherwise() {
    let (_webhook, asker, _folder) = started(&["--image=r.example/o:9", "--memory-limit=200Mi"]).await;
    for (name, limit) in [("bare", "200Mi"), ("job", "64Mi")] {
        let pod = patched(&recorded(name), &asker.review(&recorded(name)).await);
        let sidecar = &pod["spec"]["initContainers"][1];
        assert_eq!(sidecar["image"], "r.example/o:9");
        assert_eq!(sidecar["resources"]["limits"]["memory"], limit, "{name}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_many_reviews() {
    let (_webhook, asker, _folder) = started(&[]).await;
    let mut line = asker.connect().await;
    for name in INJECTED.iter().cycle().take(30) {
        line.review(&recorded(name)).await;
    }
}
