//! What is in a pod already: our own work, another mesh's, or something that has taken our place.
//!
//! In: a pod. Out: nothing, or the reason not to touch it.

use serde_json::{Map, Value};

use super::{Namespace, Pod, Reason, Skip, containers, is_marked, text_at};
use crate::kube::settings::{CAPTURE_NAME, PROXY_NAME, STATUS, Settings, VOLUME};

/// Our own version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest part of another version that is repeated.
const VERSION_CHARS_MAX: usize = 32;

/// Sidecars of other meshes, by the name of their container.
pub(in crate::kube) const OTHER_CONTAINERS: &[(&str, &str)] = &[
    ("istio-proxy", "Istio"),
    ("linkerd-proxy", "Linkerd"),
    ("kuma-sidecar", "Kuma"),
    ("consul-dataplane", "Consul"),
    ("envoy-sidecar", "Consul"),
];

/// The marks that they leave, by the name of the annotation.
pub(in crate::kube) const OTHER_MARKS: &[(&str, &str)] = &[
    ("sidecar.istio.io/status", "Istio"),
    ("linkerd.io/proxy-version", "Linkerd"),
    ("kuma.io/sidecar-injected", "Kuma"),
    ("consul.hashicorp.com/connect-inject-status", "Consul"),
];

/// Labels or annotations that ask for another mesh's sidecar, which is put there after us.
pub(in crate::kube) const OTHER_WISHES: &[(&str, &str, &str)] = &[
    ("sidecar.istio.io/inject", "true", "Istio"),
    ("istio.io/dataplane-mode", "ambient", "Istio"),
    ("linkerd.io/inject", "enabled", "Linkerd"),
    ("linkerd.io/inject", "ingress", "Linkerd"),
    ("kuma.io/sidecar-injection", "enabled", "Kuma"),
    ("consul.hashicorp.com/connect-inject", "true", "Consul"),
];

/// A label by which another mesh takes a pod, or all pods of a namespace, and how a pod says no to it.
pub(in crate::kube) struct OtherClaim {
    /// The name of the label.
    pub(in crate::kube) name: &'static str,
    /// Its value; `None` for any.
    pub(in crate::kube) value: Option<&'static str>,
    /// The mesh.
    pub(in crate::kube) mesh: &'static str,
    /// Name and value of the pod's own label or annotation that keeps it out.
    pub(in crate::kube) unless: (&'static str, &'static str),
}

/// The revision of Istio that injects; a pod may have it as well as a namespace.
pub(in crate::kube) const REVISION: OtherClaim = OtherClaim {
    name: "istio.io/rev",
    value: None,
    mesh: "Istio",
    unless: ("sidecar.istio.io/inject", "false"),
};

/// Labels of a namespace whose pods another mesh takes.
pub(in crate::kube) const OTHER_NAMESPACES: &[OtherClaim] = &[
    OtherClaim { name: "istio-injection", value: Some("enabled"), ..REVISION },
    REVISION,
    OtherClaim {
        name: "istio.io/dataplane-mode",
        value: Some("ambient"),
        unless: ("istio.io/dataplane-mode", "none"),
        ..REVISION
    },
    OtherClaim {
        name: "kuma.io/sidecar-injection",
        value: Some("enabled"),
        mesh: "Kuma",
        unless: ("kuma.io/sidecar-injection", "disabled"),
    },
];

/// A pod that has our mark, or a container of the sidecar's name, put there by hand.
pub(super) fn injected(pod: &Pod) -> Result<(), Skip> {
    if is_marked(pod) {
        let message = format!("it has the annotation {STATUS}{}", other_version(pod).unwrap_or_default());
        return Err(Skip::new(Reason::AlreadyInjected, message));
    }
    if has_container(pod, PROXY_NAME) {
        let message = format!("it has a container named {PROXY_NAME}");
        return Err(Skip::new(Reason::AlreadyInjected, message));
    }
    Ok(())
}

/// What there is to say of a mark that another version of ours has left.
fn other_version(pod: &Pod) -> Option<String> {
    let status: Value = serde_json::from_str(pod.annotations.get(STATUS)?.as_str()?).ok()?;
    let version = status.get("version")?.as_str().filter(|version| *version != VERSION)?;
    let version: String = version.chars().take(VERSION_CHARS_MAX).collect();
    Some(format!(" of version {}, and this is {VERSION}", version.escape_debug()))
}

/// Two meshes in one pod would capture each other's connections.
pub(super) fn mesh(pod: &Pod, namespace: Option<&Namespace>) -> Result<(), Skip> {
    for (name, mesh) in OTHER_CONTAINERS {
        if has_container(pod, name) {
            let message = format!("it has {mesh}'s sidecar, the container {name}");
            return Err(Skip::new(Reason::OtherMesh, message));
        }
    }
    for (name, mesh) in OTHER_MARKS {
        if pod.annotations.contains_key(*name) {
            let message = format!("it has {mesh}'s mark, the annotation {name}");
            return Err(Skip::new(Reason::OtherMesh, message));
        }
    }
    for (name, value, mesh) in OTHER_WISHES {
        let label = text_at(pod.value, &["metadata", "labels", name]);
        let annotation = pod.annotations.get(*name).and_then(Value::as_str);
        if [label, annotation].contains(&Some(value)) {
            let message = format!("it asks for {mesh}'s sidecar: {name} is {value}");
            return Err(Skip::new(Reason::OtherMesh, message));
        }
    }
    let of_pod = |name| text_at(pod.value, &["metadata", "labels", name]);
    if REVISION.takes(pod, of_pod(REVISION.name)) {
        let message = format!("it asks for {}'s sidecar by the label {}", REVISION.mesh, REVISION.name);
        return Err(Skip::new(Reason::OtherMesh, message));
    }
    let Some(namespace) = namespace else { return Ok(()) };
    for claim in OTHER_NAMESPACES {
        if claim.takes(pod, namespace.labels.get(claim.name).map(String::as_str)) {
            let message = format!("its namespace is {}'s, by the label {}", claim.mesh, claim.name);
            return Err(Skip::new(Reason::OtherMesh, message));
        }
    }
    Ok(())
}

// === impl OtherClaim ===

impl OtherClaim {
    /// Whether it takes a pod, if the label has this value.
    fn takes(&self, pod: &Pod, found: Option<&str>) -> bool {
        let claims = match self.value {
            Some(value) => found == Some(value),
            None => found.is_some_and(|found| !found.is_empty()),
        };
        let (name, value) = self.unless;
        let label = text_at(pod.value, &["metadata", "labels", name]);
        let annotation = pod.annotations.get(name).and_then(Value::as_str);
        claims && ![label, annotation].contains(&Some(value))
    }
}

/// Names must be unique in a pod.
pub(super) fn names(pod: &Pod) -> Result<(), Skip> {
    if has_container(pod, CAPTURE_NAME) {
        let message = format!("it has a container named {CAPTURE_NAME}, which is not ours");
        return Err(Skip::new(Reason::NameTaken, message));
    }
    let volumes = pod.spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    if volumes.into_iter().any(|volume| volume.get("name").and_then(Value::as_str) == Some(VOLUME)) {
        let message = format!("it has a volume named {VOLUME}, which is not ours");
        return Err(Skip::new(Reason::NameTaken, message));
    }
    Ok(())
}

/// Containers of a pod share its ports. A port of the node (`hostPort`) is not in the pod, and no matter.
pub(super) fn ports(pod: &Pod, settings: &Settings) -> Result<(), Skip> {
    for container in containers(pod.spec) {
        let ports = container.get("ports").and_then(Value::as_array).into_iter().flatten();
        for port in ports.filter(|port| is_tcp(port)) {
            let number = port.get("containerPort").and_then(Value::as_u64);
            let taken = settings.ports.all().into_iter().find(|(own, _)| number == Some(u64::from(*own)));
            if let Some((own, what)) = taken {
                let message = format!(
                    "its container {} has port {own}, which is Outrigger's {what} port",
                    name(container)
                );
                return Err(Skip::new(Reason::PortTaken, message));
            }
        }
    }
    Ok(())
}

/// The rules leave the proxy's user alone, so an application of that user would go its own way unseen.
/// What user an image names cannot be seen here.
pub(super) fn user(pod: &Pod, user: u32) -> Result<(), Skip> {
    let of_pod = run_as(pod.spec);
    for container in containers(pod.spec) {
        if run_as(container).or(of_pod) == Some(u64::from(user)) {
            let message = format!(
                "its container {} runs as user {user}, which is Outrigger's own and not captured",
                name(container)
            );
            return Err(Skip::new(Reason::UserTaken, message));
        }
    }
    Ok(())
}

fn has_container(pod: &Pod, wanted: &str) -> bool {
    containers(pod.spec).any(|container| name(container) == wanted)
}

fn name(container: &Map<String, Value>) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// TCP is what is meant when nothing is said.
fn is_tcp(port: &Value) -> bool {
    port.get("protocol").and_then(Value::as_str).is_none_or(|protocol| protocol == "TCP")
}

fn run_as(holder: &Map<String, Value>) -> Option<u64> {
    holder.get("securityContext")?.get("runAsUser")?.as_u64()
}
