//! Which pods are left as they are, and why.
//!
//! In: a pod, its namespace, the settings for it. Out: nothing, or the first reason not to touch it:
//! one stable word and one sentence. Looks at the pod alone, and changes nothing.

mod others;
mod shape;

use serde_json::Value;

use super::plan::Namespace;
use super::settings::{INJECT_LABEL, STATUS, Settings};

pub(super) use others::{
    OTHER_CONTAINERS, OTHER_MARKS, OTHER_NAMESPACES, OTHER_WISHES, OtherClaim, REVISION,
};
pub(super) use shape::{Pod, containers, text_at};

/// Why a pod is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The word for it.
    pub reason: Reason,
    /// One sentence, without the pod's name.
    pub message: String,
}

/// The reasons; their words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It has no list of containers.
    NotAPod,
    /// It has our sidecar already.
    AlreadyInjected,
    /// The pod, or its namespace, says no.
    Disabled,
    /// It is of a namespace that keeps the cluster going, or of our own.
    SystemNamespace,
    /// The node's own agent runs it, not the API server.
    StaticPod,
    /// It shares the node's network: rules would hit the node.
    HostNetwork,
    /// It runs on Windows.
    Windows,
    /// Another mesh's sidecar is in it, or asked for.
    OtherMesh,
    /// A name that we need is somebody else's.
    NameTaken,
    /// A port that we need is a container's.
    PortTaken,
    /// A container runs as the proxy's user, and would not be captured.
    UserTaken,
    /// An annotation of ours says what makes no sense.
    BadAnnotation,
    /// The namespace refuses pods with the right that capture needs.
    PodSecurity,
}

// === impl Reason ===

impl Reason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAPod => "not-a-pod",
            Self::AlreadyInjected => "already-injected",
            Self::Disabled => "disabled",
            Self::SystemNamespace => "system-namespace",
            Self::StaticPod => "static-pod",
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::OtherMesh => "other-mesh",
            Self::NameTaken => "name-taken",
            Self::PortTaken => "port-taken",
            Self::UserTaken => "user-taken",
            Self::BadAnnotation => "bad-annotation",
            Self::PodSecurity => "pod-security",
        }
    }
}

// === impl Skip ===

impl Skip {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Namespaces that keep the cluster going.
pub(super) const SYSTEM_NAMESPACES: &[&str] = &["kube-system", "kube-public", "kube-node-lease"];

/// Levels of Pod Security that refuse the right to change the network (NET_ADMIN).
pub(super) const STRICT_LEVELS: &[&str] = &["baseline", "restricted"];

/// The label by which a namespace asks for a level of Pod Security.
pub(super) const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Reasons that hold whatever the settings are; first that of a pod that is done already.
pub(super) fn whatever_settings(pod: &Pod, namespace: Option<&Namespace>) -> Result<(), Skip> {
    others::injected(pod)?;
    chosen(pod, namespace)?;
    static_pod(pod)?;
    platform(pod)?;
    others::mesh(pod, namespace)
}

/// Reasons that depend on the settings for this pod.
pub(super) fn under(pod: &Pod, namespace: Option<&Namespace>, settings: &Settings) -> Result<(), Skip> {
    system(namespace, settings)?;
    others::names(pod)?;
    others::ports(pod, settings)?;
    if settings.capture {
        others::user(pod, settings.user)?;
        level(namespace)?;
    }
    Ok(())
}

/// The pod's label counts before its namespace's.
fn chosen(pod: &Pod, namespace: Option<&Namespace>) -> Result<(), Skip> {
    let own = text_at(pod.value, &["metadata", "labels", INJECT_LABEL]);
    let of_namespace = namespace.and_then(|namespace| namespace.labels.get(INJECT_LABEL));
    match (own, of_namespace.map(String::as_str)) {
        (Some("disabled"), _) => {
            Err(Skip::new(Reason::Disabled, format!("its label {INJECT_LABEL} says disabled")))
        }
        (Some("enabled"), _) => Ok(()),
        (_, Some("disabled")) => {
            Err(Skip::new(Reason::Disabled, format!("its namespace's label {INJECT_LABEL} says disabled")))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

fn system(namespace: Option<&Namespace>, settings: &Settings) -> Result<(), Skip> {
    let Some(namespace) = namespace else { return Ok(()) };
    let name = namespace.name.as_str();
    if SYSTEM_NAMESPACES.contains(&name) {
        return Err(Skip::new(Reason::SystemNamespace, format!("{name} keeps the cluster going")));
    }
    if name == settings.own_namespace {
        return Err(Skip::new(Reason::SystemNamespace, format!("{name} is Outrigger's own")));
    }
    Ok(())
}

/// Static pods are run by the node's agent from files; their image in the API server is a mirror.
fn static_pod(pod: &Pod) -> Result<(), Skip> {
    let mirror = pod.annotations.contains_key("kubernetes.io/config.mirror");
    let source = pod.annotations.get("kubernetes.io/config.source").and_then(Value::as_str);
    if mirror || source.is_some_and(|source| source != "api") {
        let message = "the node's agent runs it from a file, so no ConfigMap can be mounted into it";
        return Err(Skip::new(Reason::StaticPod, message));
    }
    Ok(())
}

fn platform(pod: &Pod) -> Result<(), Skip> {
    if pod.spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        let message = "spec.hostNetwork is true: rules and ports would be the node's";
        return Err(Skip::new(Reason::HostNetwork, message));
    }
    let system = text_at(pod.value, &["spec", "os", "name"]);
    let node = text_at(pod.value, &["spec", "nodeSelector", "kubernetes.io/os"]);
    if system == Some("windows") || node == Some("windows") {
        return Err(Skip::new(Reason::Windows, "it runs on Windows, and Outrigger needs Linux"));
    }
    Ok(())
}

/// Injection comes before the check of Pod Security, so a pod with NET_ADMIN would be refused, and
/// nobody would see it but its ReplicaSet. Without the sidecar it runs.
fn level(namespace: Option<&Namespace>) -> Result<(), Skip> {
    let level = namespace.and_then(|namespace| namespace.labels.get(ENFORCE_LABEL));
    let Some(level) = level.filter(|level| STRICT_LEVELS.contains(&level.as_str())) else { return Ok(()) };
    Err(Skip::new(
        Reason::PodSecurity,
        format!(
            "its namespace enforces Pod Security {level}, which refuses NET_ADMIN, and capture needs it; \
             the annotation outrigger.dev/capture: \"off\" injects without capture"
        ),
    ))
}

/// Whether a pod has our mark.
pub(super) fn is_marked(pod: &Pod) -> bool {
    pod.annotations.contains_key(STATUS)
}

#[cfg(test)]
mod tests;
