use serde_json::{Value, json};

use super::*;
use crate::kube::Reason;
use crate::kube::skip::containers;

mod form;
pub(in crate::kube) mod random;

/// A pod of one container and nothing else.
fn bare() -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

/// A pod with `spec` changed by `more`, key by key.
fn with_spec(more: Value) -> Value {
    let mut pod = bare();
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn annotated(annotations: Value) -> Value {
    let mut pod = bare();
    pod["metadata"] = json!({"annotations": annotations});
    pod
}

fn uncaptured() -> Settings {
    Settings { capture: false, ..Settings::default() }
}

/// The pod with everything that is planned for it.
fn injected(pod: &Value, settings: &Settings) -> Value {
    let mut after = pod.clone();
    for edit in plan(pod, None, settings).unwrap().edits {
        assert!(edit.apply(&mut after), "{} leads nowhere", edit.pointer());
    }
    after
}

fn reason(pod: &Value, namespace: Option<&Namespace>) -> Reason {
    plan(pod, namespace, &Settings::default()).unwrap_err().reason
}

fn namespace(name: &str, label: &str, value: &str) -> Namespace {
    Namespace { name: name.to_owned(), labels: [(label.to_owned(), value.to_owned())].into() }
}
