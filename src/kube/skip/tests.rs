use serde_json::{Value, json};

use super::*;
use crate::kube::plan;

fn pod(spec: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"name": "app"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn with_metadata(metadata: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"] = metadata;
    pod
}

fn namespace(name: &str, labels: &[(&str, &str)]) -> Namespace {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Namespace { name: name.to_owned(), labels }
}

/// The reason's word, or `injected`.
fn told(pod: &Value, namespace: Option<&Namespace>) -> &'static str {
    match plan(pod, namespace, &Settings::default()) {
        Ok(_) => "injected",
        Err(skip) => {
            assert!(!skip.message.is_empty() && !skip.message.ends_with('.'), "{}", skip.message);
            skip.reason.word()
        }
    }
}

#[test]
fn each_reason_has_its_pod() {
    for (spec, word) in [
        (json!({}), "injected"),
        (json!({"hostNetwork": true}), "host-network"),
        (json!({"hostNetwork": false}), "injected"),
        (json!({"os": {"name": "windows"}}), "windows"),
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), "windows"),
        (json!({"os": {"name": "linux"}, "nodeSelector": {"kubernetes.io/os": "linux"}}), "injected"),
        (json!({"containers": [{"name": "app"}, {"name": "istio-proxy"}]}), "other-mesh"),
        (json!({"initContainers": [{"name": "linkerd-proxy"}]}), "other-mesh"),
        (json!({"containers": [{"name": "outrigger"}]}), "already-injected"),
        (json!({"containers": [{"name": "outrigger-capture"}]}), "name-taken"),
        (json!({"volumes": [{"name": "outrigger-config"}]}), "name-taken"),
        (json!({"containers": [{"name": "a", "ports": [{"containerPort": 15020}]}]}), "port-taken"),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 15001, "protocol": "UDP"}]}]}),
            "injected",
        ),
        (
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": 15001}]}]}),
            "injected",
        ),
        (json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 1337}}]}), "user-taken"),
        (json!({"securityContext": {"runAsUser": 1337}}), "user-taken"),
        (json!({"containers": []}), "not-a-pod"),
        (json!({"containers": {}}), "not-a-pod"),
        (json!({"containers": ["app"]}), "not-a-pod"),
        (json!({"initContainers": "none"}), "not-a-pod"),
        (json!({"hostPID": true, "shareProcessNamespace": true, "hostUsers": false}), "injected"),
    ] {
        assert_eq!(told(&pod(spec.clone()), None), word, "{spec}");
    }
}

#[test]
fn a_container_that_overrides_the_pods_user_counts_by_its_own() {
    let spec = json!({
        "securityContext": {"runAsUser": 1337},
        "containers": [{"name": "app", "securityContext": {"runAsUser": 1000}}],
    });
    assert_eq!(told(&pod(spec), None), "injected");
}

#[test]
fn marks_of_others_and_of_the_node_are_seen() {
    for (annotation, word) in [
        ("sidecar.istio.io/status", "other-mesh"),
        ("linkerd.io/proxy-version", "other-mesh"),
        ("kuma.io/sidecar-injected", "other-mesh"),
        ("consul.hashicorp.com/connect-inject-status", "other-mesh"),
        ("kubernetes.io/config.mirror", "static-pod"),
        ("kubernetes.io/config.source", "static-pod"),
        ("outrigger.dev/status", "already-injected"),
    ] {
        assert_eq!(told(&with_metadata(json!({"annotations": {annotation: "x"}})), None), word);
    }
    for (wish, value, word) in [
        ("sidecar.istio.io/inject", "true", "other-mesh"),
        ("sidecar.istio.io/inject", "false", "injected"),
        ("linkerd.io/inject", "enabled", "other-mesh"),
    ] {
        assert_eq!(told(&with_metadata(json!({"annotations": {wish: value}})), None), word);
        assert_eq!(told(&with_metadata(json!({"labels": {wish: value}})), None), word);
    }
    for (claim, word) in [
        (json!({"labels": {"istio.io/rev": "canary"}}), "other-mesh"),
        (json!({"labels": {"istio.io/rev": "canary", "sidecar.istio.io/inject": "false"}}), "injected"),
        (json!({"labels": {"istio.io/dataplane-mode": "ambient"}}), "other-mesh"),
        (json!({"annotations": {"linkerd.io/inject": "ingress"}}), "other-mesh"),
        (json!({"annotations": {"linkerd.io/inject": "disabled"}}), "injected"),
    ] {
        assert_eq!(told(&with_metadata(claim.clone()), None), word, "{claim}");
    }
    let from_api = json!({"annotations": {"kubernetes.io/config.source": "api"}});
    assert_eq!(told(&with_metadata(from_api), None), "injected");
}

#[test]
fn the_pods_label_counts_before_its_namespaces() {
    let labelled = |value: &str| with_metadata(json!({"labels": {INJECT_LABEL: value}}));
    let no = namespace("shop", &[(INJECT_LABEL, "disabled")]);
    let yes = namespace("shop", &[(INJECT_LABEL, "enabled")]);
    assert_eq!(told(&pod(json!({})), Some(&no)), "disabled");
    assert_eq!(told(&labelled("enabled"), Some(&no)), "injected");
    assert_eq!(told(&labelled("disabled"), Some(&yes)), "disabled");
    assert_eq!(told(&labelled("disabled"), None), "disabled");
    assert_eq!(told(&pod(json!({})), Some(&yes)), "injected");
}

#[test]
fn namespaces_of_the_cluster_are_left_alone() {
    for (name, word) in
        [("kube-system", "system-namespace"), ("outrigger-system", "system-namespace"), ("shop", "injected")]
    {
        assert_eq!(told(&pod(json!({})), Some(&namespace(name, &[]))), word);
    }
}

#[test]
fn capture_is_not_put_where_it_would_be_refused() {
    for (level, word) in
        [("baseline", "pod-security"), ("restricted", "pod-security"), ("privileged", "injected")]
    {
        let strict = namespace("shop", &[(ENFORCE_LABEL, level)]);
        assert_eq!(told(&pod(json!({})), Some(&strict)), word);
        let without = with_metadata(json!({"annotations": {"outrigger.dev/capture": "off"}}));
        assert_eq!(told(&without, Some(&strict)), "injected");
    }
}

#[test]
fn what_is_no_pod_is_told_so() {
    for value in [json!(null), json!([]), json!("pod"), json!({}), json!({"spec": []}), json!({"spec": {}})] {
        assert_eq!(told(&value, None), "not-a-pod", "{value}");
    }
    for metadata in [json!([]), json!({"annotations": []}), json!({"labels": "x"})] {
        assert_eq!(told(&with_metadata(metadata.clone()), None), "not-a-pod", "{metadata}");
    }
}

#[test]
fn a_namespace_of_another_mesh_is_left_to_it_unless_the_pod_says_no() {
    for (name, value, word) in [
        ("istio-injection", "enabled", "other-mesh"),
        ("istio-injection", "disabled", "injected"),
        ("istio.io/rev", "canary", "other-mesh"),
        ("istio.io/dataplane-mode", "ambient", "other-mesh"),
        ("istio.io/dataplane-mode", "none", "injected"),
        ("kuma.io/sidecar-injection", "enabled", "other-mesh"),
        ("kuma.io/sidecar-injection", "disabled", "injected"),
    ] {
        let theirs = namespace("shop", &[(name, value)]);
        assert_eq!(told(&pod(json!({})), Some(&theirs)), word, "{name}={value}");
    }
    for (name, value, unless, no) in [
        ("istio-injection", "enabled", "sidecar.istio.io/inject", "false"),
        ("istio.io/rev", "canary", "sidecar.istio.io/inject", "false"),
        ("istio.io/dataplane-mode", "ambient", "istio.io/dataplane-mode", "none"),
        ("kuma.io/sidecar-injection", "enabled", "kuma.io/sidecar-injection", "disabled"),
    ] {
        let theirs = namespace("shop", &[(name, value)]);
        for holder in ["labels", "annotations"] {
            let pod = with_metadata(json!({holder: {unless: no}}));
            assert_eq!(told(&pod, Some(&theirs)), "injected", "{name}: {unless}={no}");
        }
    }
}

#[test]
fn a_mark_of_another_version_says_so() {
    let message = |status: &str| {
        let pod = with_metadata(json!({"annotations": {"outrigger.dev/status": status}}));
        plan(&pod, None, &Settings::default()).unwrap_err().message
    };
    let plain = "it has the annotation outrigger.dev/status";
    let own = env!("CARGO_PKG_VERSION");
    assert_eq!(message(&json!({"version": own}).to_string()), plain);
    assert_eq!(message("x"), plain);
    let other = format!("{plain} of version 0.0.9, and this is {own}");
    assert_eq!(message(r#"{"version":"0.0.9"}"#), other);
}
