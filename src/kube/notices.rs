//! What the owner of a pod should know of the sidecar.
//!
//! In: a pod that is injected. Out: sentences. None of them stops anything.

use serde_json::{Map, Value};

use super::annotations::unknown;
use super::plan::GRACE_SECONDS;
use super::settings::{INJECT_LABEL, Settings};
use super::sidecar::PROXY_VARIABLES;
use super::skip::{Pod, containers, text_at};

/// Grace below which calls under way are likely to be cut, in seconds: a call may take as long, and
/// the sidecar ends after the application, within the same time.
const GRACE_SECONDS_MIN: u64 = 5;

/// What there is to say of this pod.
pub(super) fn of(pod: &Pod, settings: &Settings) -> Vec<String> {
    let mut notices = Vec::new();
    notices
        .extend(unknown(pod.annotations).map(|name| format!("annotation {name} is not one of Outrigger's")));
    notices.extend(label(pod));
    notices.extend(grace(pod));
    notices.extend(pod_resources(pod));
    notices.extend(guaranteed(pod));
    if !settings.capture {
        notices.extend(own_proxy(pod));
    }
    notices
}

fn label(pod: &Pod) -> Option<String> {
    let label = text_at(pod.value, &["metadata", "labels", INJECT_LABEL])?;
    let known = ["enabled", "disabled"].contains(&label);
    (!known).then(|| format!("label {INJECT_LABEL}: found {label:?}, want \"enabled\" or \"disabled\""))
}

fn grace(pod: &Pod) -> Option<String> {
    let grace =
        pod.spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(GRACE_SECONDS);
    (grace < GRACE_SECONDS_MIN).then(|| {
        format!(
            "terminationGracePeriodSeconds is {grace}: the application and the sidecar share it, \
             and calls that take longer are cut"
        )
    })
}

/// Resources of a whole pod must hold those of its containers, or the API server refuses it.
fn pod_resources(pod: &Pod) -> Option<String> {
    pod.spec.get("resources").and_then(Value::as_object).filter(|resources| !resources.is_empty())?;
    Some("spec.resources bounds the whole pod: make sure that it has room for the sidecar's".to_owned())
}

/// A pod is Guaranteed if every container has limits for both, and no other requests.
fn guaranteed(pod: &Pod) -> Option<String> {
    let mut all = containers(pod.spec);
    all.all(is_guaranteed).then(|| {
        "its quality of service is Guaranteed and becomes Burstable, since the sidecar has no limit of CPU".to_owned()
    })
}

fn is_guaranteed(container: &Map<String, Value>) -> bool {
    ["cpu", "memory"].into_iter().all(|what| {
        let of = |kind: &str| container.get("resources")?.get(kind)?.get(what);
        of("limits").is_some_and(|limit| of("requests").is_none_or(|request| request == limit))
    })
}

fn own_proxy(pod: &Pod) -> Vec<String> {
    let mut notices = Vec::new();
    for container in containers(pod.spec) {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        let variables = container.get("env").and_then(Value::as_array).into_iter().flatten();
        let own = variables
            .filter_map(|variable| variable.get("name").and_then(Value::as_str))
            .find(|name| PROXY_VARIABLES.contains(name));
        notices.extend(own.map(|own| {
            format!("container {name} has {own} of its own, so its calls do not go through the sidecar")
        }));
    }
    notices
}
