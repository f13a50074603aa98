//! What is added to one pod.
//!
//! In: a pod or pod template, its namespace if known, settings. Out: additions in the order in which
//! they apply, or the reason for none. Pure: every form of injection asks here.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::edit::{Edit, Step};
use super::settings::{CAPTURE_NAME, PROXY_NAME, STATUS, Settings, VOLUME};
use super::sidecar::Parts;
use super::skip::{Pod, Skip};
use super::{annotations, notices, sidecar, skip};

/// The container that `kubectl logs` and `kubectl exec` mean: not the sidecar.
pub(super) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What a pod gets between SIGTERM and SIGKILL unless it says otherwise, in seconds.
pub(super) const GRACE_SECONDS: u64 = 30;

/// The namespace of a pod, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, if they are known.
    pub labels: BTreeMap<String, String>,
}

/// What is added to one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The additions; each applies after those before it.
    pub edits: Vec<Edit>,
    /// What the owner of the pod should know, each in a sentence.
    pub notices: Vec<String>,
}

/// The containers that get the proxy variables, by name.
#[derive(Default)]
struct Told {
    proxy: Vec<String>,
    no_proxy: Vec<String>,
}

/// What is added to `pod`, which has `metadata` and `spec`; nothing if a reason speaks against it.
pub fn plan(pod: &Value, namespace: Option<&Namespace>, settings: &Settings) -> Result<Plan, Skip> {
    let pod = Pod::of(pod)?;
    skip::whatever_settings(&pod, namespace)?;
    let settings = annotations::settings_for(settings, pod.annotations)?;
    skip::under(&pod, namespace, &settings)?;
    let mut edits = Vec::new();
    let told = if settings.capture { Told::default() } else { variables(&pod, &settings, &mut edits) };
    containers(&pod, &settings, &mut edits);
    push(&pod, "volumes", sidecar::volume(&settings), &mut edits);
    marks(&pod, &settings, &told, &mut edits);
    Ok(Plan { edits, notices: notices::of(&pod, &settings) })
}

/// Our containers, before the pod's own init containers: what runs after the rules and before the
/// proxy would have no network.
fn containers(pod: &Pod, settings: &Settings, edits: &mut Vec<Edit>) {
    let grace = pod.spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64);
    let parts = Parts::of(settings, grace.unwrap_or(GRACE_SECONDS));
    let mut ours = Vec::new();
    if settings.capture {
        ours.push(sidecar::capture(&parts));
    }
    ours.push(sidecar::proxy(&parts));
    let key = "initContainers";
    if is_absent(pod.spec, key) {
        edits.push(Edit { at: vec!["spec".into(), key.into()], value: Value::Array(ours) });
        return;
    }
    for (index, value) in ours.into_iter().enumerate() {
        edits.push(Edit { at: vec!["spec".into(), key.into(), index.into()], value });
    }
}

/// The proxy variables for every container that has none of them: a program reads either spelling, so
/// one of them alone is left to mean what it means.
fn variables(pod: &Pod, settings: &Settings, edits: &mut Vec<Edit>) -> Told {
    let url = sidecar::proxy_url(settings);
    let mut told = Told::default();
    for list in ["initContainers", "containers"] {
        let all = pod.spec.get(list).and_then(Value::as_array).into_iter().flatten();
        for (index, container) in all.enumerate() {
            let mut added = Vec::new();
            for (names, value, told) in [
                (sidecar::PROXY_VARIABLES, url.as_str(), &mut told.proxy),
                (sidecar::NO_PROXY_VARIABLES, sidecar::NO_PROXY, &mut told.no_proxy),
            ] {
                if !has_variable(container, names) {
                    added.extend(names.map(|name| json!({"name": name, "value": value})));
                    told.extend(container.get("name").and_then(Value::as_str).map(str::to_owned));
                }
            }
            let at: [Step; 3] = ["spec".into(), list.into(), index.into()];
            append(container, &at, "env", added, edits);
        }
    }
    told
}

/// The annotations. The pod is marked last, so that a mark means that all of it is there.
fn marks(pod: &Pod, settings: &Settings, told: &Told, edits: &mut Vec<Edit>) {
    let mut marks = Vec::new();
    let first = pod.spec.get("containers").and_then(|list| list.get(0)).and_then(|first| first.get("name"));
    let default = first.filter(|_| !pod.annotations.contains_key(DEFAULT_CONTAINER));
    marks.extend(default.map(|name| (DEFAULT_CONTAINER, name.clone())));
    marks.push((STATUS, Value::String(status(settings, told, default.is_some()))));
    let metadata = pod.value.get("metadata").and_then(Value::as_object);
    let annotations = "annotations";
    if metadata.is_some_and(|metadata| !is_absent(metadata, annotations)) {
        edits.extend(marks.into_iter().map(|(name, value)| Edit {
            at: vec!["metadata".into(), annotations.into(), name.into()],
            value,
        }));
        return;
    }
    let marks: Map<String, Value> = marks.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (at, value) = match metadata {
        Some(_) => (vec!["metadata".into(), annotations.into()], Value::Object(marks)),
        None => (vec!["metadata".into()], json!({annotations: marks})),
    };
    edits.push(Edit { at, value });
}

fn status(settings: &Settings, told: &Told, default_container: bool) -> String {
    status_text([
        &json!(init_names(settings.capture)).to_string(),
        &default_container.to_string(),
        &json!(told.proxy).to_string(),
        &json!(told.no_proxy).to_string(),
    ])
}

/// What was added, so that it can be taken out again. JSON, since an annotation is one string. In:
/// our containers, whether the default container was named, and the containers that got the
/// variables of the one and the other kind, each as JSON.
pub(super) fn status_text([containers, default_container, proxy, no_proxy]: [&str; 4]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(r#"{{"version":"{version}","initContainers":{containers},"volumes":["{VOLUME}"],"#)
        + &format!(r#""defaultContainer":{default_container},"proxy":{proxy},"noProxy":{no_proxy}}}"#)
}

/// The containers that are added, in order.
pub(super) fn init_names(capture: bool) -> &'static [&'static str] {
    if capture { &[CAPTURE_NAME, PROXY_NAME] } else { &[PROXY_NAME] }
}

/// Adds one element to the end of a list of the pod's `spec`.
fn push(pod: &Pod, key: &'static str, value: Value, edits: &mut Vec<Edit>) {
    let spec = pod.value.get("spec").unwrap_or(&Value::Null);
    append(spec, &["spec".into()], key, vec![value], edits);
}

/// Adds elements to the end of the list at `key` of `holder`, whose own path is `at`.
fn append(holder: &Value, at: &[Step], key: &'static str, added: Vec<Value>, edits: &mut Vec<Edit>) {
    if added.is_empty() {
        return;
    }
    let at = |last: Option<usize>| {
        at.iter().cloned().chain([key.into()]).chain(last.map(Step::from)).collect::<Vec<_>>()
    };
    match holder.get(key).and_then(Value::as_array) {
        Some(list) => edits.extend(
            added
                .into_iter()
                .enumerate()
                .map(|(more, value)| Edit { at: at(Some(list.len() + more)), value }),
        ),
        None => edits.push(Edit { at: at(None), value: Value::Array(added) }),
    }
}

fn has_variable(container: &Value, names: [&str; 2]) -> bool {
    let variables = container.get("env").and_then(Value::as_array).into_iter().flatten();
    variables
        .filter_map(|variable| variable.get("name").and_then(Value::as_str))
        .any(|name| names.contains(&name))
}

/// Absent, or `null`, which is the same to the API server.
fn is_absent(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_none_or(Value::is_null)
}

#[cfg(test)]
pub(in crate::kube) mod tests;
