//! The policy, and pods with what the plan makes of them, as files: `tests/peers/with_policy.py` has the policy's
//! expressions evaluated by an implementation of CEL that nobody here wrote, and compares.
//!
//! Run with `UPDATE_EXPECTED=1` after changing what is made.

use std::fs;
use std::path::PathBuf;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;
use crate::kube::plan::tests::random;
use crate::kube::settings::SkipLists;
use crate::kube::skip::ENFORCE_LABEL;
use crate::kube::{ANNOTATIONS, Namespace, plan};

/// Pods made at random that are written down.
const RANDOM_PODS: usize = 25;

#[test]
fn the_policy_is_what_is_written_down() {
    written("k8s/policy/policy.yaml", &policy(&Settings::default()));
}

#[test]
fn the_pods_are_what_is_written_down() {
    let mut cases = reasons();
    cases.extend(forms());
    let mut runner = TestRunner::deterministic();
    for _ in 0..RANDOM_PODS {
        let pod = without_null(random::pod().new_tree(&mut runner).unwrap().current());
        cases.push(case("random", as_sent(pod), &[]));
    }
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    written("tests/peers/policy_pods.json", &format!("[\n{}\n]\n", lines.join(",\n")));
}

#[test]
fn settings_of_all_pods_are_the_defaults_of_the_policy() {
    let skip = SkipLists { ports: vec!["3306".to_owned()], ..SkipLists::default() };
    let settings = Settings {
        image: "registry.example/outrigger:7".to_owned(),
        capture: false,
        skip,
        own_namespace: "mesh".to_owned(),
        ..Settings::default()
    };
    let text = policy(&settings);
    for part in [
        r#"[?"outrigger.dev/image"].orValue("registry.example/outrigger:7")"#,
        r#"[?"outrigger.dev/capture"].orValue("off")"#,
        r#": ["--skip-port=3306"])"#,
        "kube-node-lease, mesh]",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn every_reason_that_a_pod_alone_gives_is_a_condition() {
    let text = policy(&Settings::default());
    let conditions = text.matches("    - name: ").count();
    assert!(conditions > 20, "{conditions}");
    for line in text.lines() {
        assert!(!line.contains(['\u{1}', '\u{2}', '\u{3}']) && line.trim_end() == line, "{line:?}");
    }
}

/// Pods that each reason speaks against, and some that look like it.
fn reasons() -> Vec<Value> {
    let mut cases = Vec::new();
    for spec in [
        json!({}),
        json!({"hostNetwork": true}),
        json!({"os": {"name": "windows"}}),
        json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
        json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "os": {"name": "linux"}}),
        json!({"containers": [{"name": "app"}, {"name": "istio-proxy"}]}),
        json!({"initContainers": [{"name": "linkerd-proxy"}]}),
        json!({"containers": [{"name": "outrigger"}]}),
        json!({"containers": [{"name": "outrigger-capture"}]}),
        json!({"volumes": [{"name": "outrigger-config"}]}),
        json!({"volumes": [{"name": "data"}], "initContainers": [{"name": "migrate"}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 15020, "protocol": "TCP"}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 15000}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 15001, "protocol": "UDP"}]}]}),
        json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 1337}}]}),
        json!({"securityContext": {"runAsUser": 1337}}),
        json!({"securityContext": {"runAsUser": 1337},
               "containers": [{"name": "a", "securityContext": {"runAsUser": 1}}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "http_proxy", "value": "x"}]}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "HTTP_PROXY"}, {"name": "no_proxy"}]}],
               "initContainers": [{"name": "i"}, {"name": "j", "env": [{"name": "NO_PROXY"}]}]}),
        json!({"terminationGracePeriodSeconds": 0}),
        json!({"terminationGracePeriodSeconds": 1_000_000}),
    ] {
        cases.push(case("spec", pod(spec.clone(), json!({})), &[]));
        cases.push(case("spec, not captured", pod(spec, json!({"outrigger.dev/capture": "off"})), &[]));
    }
    for mark in [
        "outrigger.dev/status",
        "sidecar.istio.io/status",
        "linkerd.io/proxy-version",
        "kuma.io/sidecar-injected",
        "consul.hashicorp.com/connect-inject-status",
        "kubernetes.io/config.mirror",
        "kubernetes.io/config.source",
        "kubectl.kubernetes.io/default-container",
        "example.com/other",
    ] {
        cases.push(case("mark", pod(json!({}), json!({mark: "x"})), &[]));
    }
    for (name, value) in [
        ("kubernetes.io/config.source", "api"),
        ("sidecar.istio.io/inject", "true"),
        ("sidecar.istio.io/inject", "false"),
        ("istio.io/rev", "canary"),
        ("istio.io/dataplane-mode", "ambient"),
        ("istio.io/dataplane-mode", "none"),
        ("linkerd.io/inject", "enabled"),
        ("linkerd.io/inject", "ingress"),
        ("kuma.io/sidecar-injection", "enabled"),
        ("consul.hashicorp.com/connect-inject", "true"),
    ] {
        cases.push(case("mark", pod(json!({}), json!({name: value})), &[]));
        let mut labelled = pod(json!({}), json!({}));
        labelled["metadata"]["labels"] = json!({name: value});
        cases.push(case("label", labelled, &[]));
    }
    for level in ["privileged", "baseline", "restricted"] {
        for capture in ["on", "off"] {
            let pod = pod(json!({}), json!({"outrigger.dev/capture": capture}));
            cases.push(case("level", pod, &[(ENFORCE_LABEL, level)]));
        }
    }
    for (name, value) in [
        ("istio-injection", "enabled"),
        ("istio-injection", "disabled"),
        ("istio.io/rev", "canary"),
        ("istio.io/dataplane-mode", "ambient"),
        ("istio.io/dataplane-mode", "none"),
        ("kuma.io/sidecar-injection", "enabled"),
    ] {
        cases.push(case("namespace", pod(json!({}), json!({})), &[(name, value)]));
        for unless in [
            ("sidecar.istio.io/inject", "false"),
            ("istio.io/dataplane-mode", "none"),
            ("kuma.io/sidecar-injection", "disabled"),
        ] {
            let pod = pod(json!({}), json!({unless.0: unless.1}));
            cases.push(case("namespace", pod, &[(name, value)]));
        }
    }
    for label in ["enabled", "disabled", "maybe"] {
        let mut pod = pod(json!({}), json!({}));
        pod["metadata"]["labels"] = json!({INJECT_LABEL: label});
        cases.push(case("label", pod.clone(), &[]));
        cases.push(case("label", pod, &[(INJECT_LABEL, "disabled")]));
    }
    cases
}

/// Values of annotations, good and bad.
fn forms() -> Vec<Value> {
    let numbers =
        "0 1 01 80 65535 65536 99999 100000 4294967294 4294967295 99999999999 -1 +1 1-2 2-1 1-1 1-2-3 1- -2";
    let networks = "10.0.0.0/8 10.0.0.1/8 10.0.0.1 10.0.0.1/32 0.0.0.0/0 10.0.0.0/33 10.0.0.0/08 10.0.0/8 ::/0 ::1 \
                    fe80::/10 fe80::1/10 2001:db8::/129 ::ffff:1.2.3.4 ::ffff:0:0/96 64:ff9b::1.2.3.4 fe80::1%lo 1.2.3.4/ /8";
    let words = "on off On yes a A a.b a..b -a a- a_b a:b a/b:1 a@sha256:0 /a 10m 0 0m 0.5 0.0 .5 5. 1e3 16Mi 8Mi 1Gi 1Q 00.10Ki";
    let words = [numbers, networks, words].concat();
    let odd = [
        "",
        " ",
        "1 ",
        " 1",
        "1,2",
        "1, 2 ,3",
        "1,,2",
        "1,",
        "10.0.0.0/8, ::1",
        "a b",
        "1\n",
        "\u{a0}1",
        "ä",
        "１",
    ];
    let long =
        ["1,".repeat(99) + "1", "1,".repeat(100) + "1", "a".repeat(253), "a".repeat(254), "a".repeat(513)];
    let long = long.into_iter().chain(["1".repeat(20), "1".repeat(21)]);
    let texts: Vec<String> = words.split_whitespace().chain(odd).map(str::to_owned).chain(long).collect();
    let mut cases = Vec::new();
    for annotation in ANNOTATIONS {
        for text in &texts {
            let pod = pod(json!({}), json!({annotation.name: text}));
            let good = plan(&pod, None, &Settings::default()).is_ok();
            cases.push(json!({"annotation": annotation.name, "value": text, "good": good}));
        }
    }
    for (request, limit) in [("10m", "10m"), ("20m", "10m"), ("0.5", "499m"), ("0.5", "1")] {
        let both = json!({"outrigger.dev/cpu-request": request, "outrigger.dev/cpu-limit": limit});
        cases.push(case("limit of CPU", pod(json!({}), both), &[]));
    }
    let all = json!({
        "outrigger.dev/config": "cart-mesh", "outrigger.dev/image": "registry.example/outrigger:9",
        "outrigger.dev/skip-ports": "3306, 9000-9009", "outrigger.dev/skip-networks": "10.9.0.0/16,::1",
        "outrigger.dev/skip-users": " 1001", "outrigger.dev/cpu-request": "50m",
        "outrigger.dev/memory-request": "32Mi", "outrigger.dev/memory-limit": "32Mi",
    });
    cases.push(case("all annotations", pod(json!({}), all), &[]));
    cases
}

fn pod(spec: Value, annotations: Value) -> Value {
    let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    if annotations != json!({}) {
        pod["metadata"]["annotations"] = annotations;
    }
    pod
}

/// What the plan makes of a pod in a namespace that asks for injection, unless its labels say otherwise.
fn case(about: &str, pod: Value, labels: &[(&str, &str)]) -> Value {
    let mut all = std::collections::BTreeMap::from([(INJECT_LABEL.to_owned(), "enabled".to_owned())]);
    all.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let namespace = Namespace { name: "shop".to_owned(), labels: all };
    let mut case = json!({"about": about, "labels": namespace.labels, "pod": pod});
    match plan(&pod, Some(&namespace), &Settings::default()) {
        Ok(plan) => {
            let mut after = pod;
            assert!(plan.edits.iter().all(|edit| edit.apply(&mut after)));
            case["after"] = after;
        }
        Err(skip) => case["reason"] = json!(skip.reason.word()),
    }
    case
}

/// Keys without a value are not sent, and every pod has metadata.
fn as_sent(mut pod: Value) -> Value {
    if pod.get("metadata").is_none() {
        pod["metadata"] = json!({});
    }
    pod
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_null(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_null).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn written(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not what is made now: run with UPDATE_EXPECTED=1", path.display());
}
