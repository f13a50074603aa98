//! The containers that are added to a pod, and the volume.
//!
//! In: the settings for a pod. Out: JSON, as a pod says it. The words `args` are of the program's own
//! command line; its image has it as entry point.

use serde_json::{Value, json};

use super::settings::{CAPTURE_NAME, CONFIG_PATH, PROXY_NAME, Settings, VOLUME};
use super::values::skip_flags;

/// What of the containers differs from pod to pod.
pub(super) struct Parts {
    /// The settings for the pod.
    pub(super) settings: Settings,
    /// Words of the capture command, for what is not captured.
    pub(super) skip_flags: Vec<String>,
    /// Words of the proxy's command, for a pod that is captured.
    pub(super) captured_flags: Vec<String>,
    /// The time between SIGTERM and SIGKILL, as a duration of the configuration.
    pub(super) grace: String,
}

/// The proxy variables of an application that is not captured, in the two spellings that programs read.
pub(super) const PROXY_VARIABLES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
/// The variables that say what does not go through the proxy.
pub(super) const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The word of the proxy's command for a pod that is captured.
pub(super) const CAPTURED: &str = "--captured";
/// The pod itself does not go through the proxy, nor what a node has for its pods at link-local
/// addresses, such as a cloud's metadata: capture leaves those alone too.
pub(super) const NO_PROXY: &str = "localhost,127.0.0.1,::1,169.254.0.0/16";

/// What the value of the proxy variables begins with, before the port.
const PROXY_HOST: &str = "http://127.0.0.1:";

/// Failures of the startup probe, one in a second, before a proxy that is not ready is started anew: ten
/// minutes. The application waits meanwhile, and goes on waiting. An image or a ConfigMap that is not there is
/// waited for before the first probe, without end.
const STARTUP_FAILURES_MAX: u32 = 600;

/// Longest grace that is passed on, in seconds: the longest that the form of a duration holds.
pub(super) const GRACE_SECONDS_MAX: u64 = 99_999;

// === impl Parts ===

impl Parts {
    /// Those of a pod with these settings and this grace.
    pub(super) fn of(settings: &Settings, grace_seconds: u64) -> Self {
        let captured = settings.capture.then(|| CAPTURED.to_owned());
        Self {
            skip_flags: skip_flags(&settings.skip),
            captured_flags: captured.into_iter().collect(),
            grace: format!("{}s", grace_seconds.min(GRACE_SECONDS_MAX)),
            settings: settings.clone(),
        }
    }
}

/// The init container that loads the kernel's rules: the only one with a right over the network. It
/// runs as root because nothing else gets that right in a plain pod, and it ends before anything starts.
pub(super) fn capture(parts: &Parts) -> Value {
    let settings = &parts.settings;
    let mut args = vec![
        "capture".to_owned(),
        "apply".to_owned(),
        CONFIG_PATH.to_owned(),
        format!("--user={}", settings.user),
    ];
    args.extend_from_slice(&parts.skip_flags);
    json!({
        "name": CAPTURE_NAME,
        "image": settings.image,
        "args": args,
        "volumeMounts": [mount()],
        "resources": resources(settings),
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The sidecar: an init container that goes on running. The application starts when it is ready, and
/// has ended when it is told to end, so there is no `preStop`; and no liveness probe, since a restart
/// would cut every connection.
pub(super) fn proxy(parts: &Parts) -> Value {
    let settings = &parts.settings;
    let health = settings.ports.health;
    let mut args = vec!["run".to_owned(), CONFIG_PATH.to_owned(), format!("--health-port={health}")];
    args.extend_from_slice(&parts.captured_flags);
    json!({
        "name": PROXY_NAME,
        "image": settings.image,
        "restartPolicy": "Always",
        "args": args,
        "env": [
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_UID", "metadata.uid"),
            from_field("NODE_NAME", "spec.nodeName"),
            {"name": "OUTRIGGER_GRACE", "value": parts.grace},
        ],
        "ports": [{"name": PROXY_NAME, "containerPort": health, "protocol": "TCP"}],
        "startupProbe": {
            "httpGet": {"path": "/ready", "port": health},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": STARTUP_FAILURES_MAX,
        },
        "volumeMounts": [mount()],
        "resources": resources(settings),
        "securityContext": {
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The volume with the configuration.
pub(super) fn volume(settings: &Settings) -> Value {
    json!({"name": VOLUME, "configMap": {"name": settings.config}})
}

/// The value of the proxy variables.
pub(super) fn proxy_url(settings: &Settings) -> String {
    format!("{PROXY_HOST}{}", settings.ports.outbound)
}

/// Whether we wrote a value, for whatever port the settings said.
pub(super) fn is_proxy_url(value: &str) -> bool {
    value.strip_prefix(PROXY_HOST).is_some_and(|port| port.parse::<u16>().is_ok())
}

fn mount() -> Value {
    json!({"name": VOLUME, "mountPath": CONFIG_PATH, "readOnly": true})
}

fn resources(settings: &Settings) -> Value {
    let resources = &settings.resources;
    let mut limits = json!({"memory": resources.memory_limit});
    if let Some(cpu) = &resources.cpu_limit {
        limits["cpu"] = json!(cpu);
    }
    json!({
        "requests": {"cpu": resources.cpu_request, "memory": resources.memory_request},
        "limits": limits,
    })
}

fn from_field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}
