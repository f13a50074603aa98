//! The plan as a policy that the API server itself applies: no webhook, no certificates.
//!
//! In: settings. Out: YAML of a MutatingAdmissionPolicy and its bindings. The containers are those of
//! the plan, with expressions where a pod's annotations may say otherwise.

mod cel;
mod conditions;
mod mutation;
mod variables;

use super::settings::{INJECT_LABEL, Settings};
use super::skip::SYSTEM_NAMESPACES;

/// The policy's name, and what those of the bindings begin with.
const NAME: &str = "outrigger";

/// What the reader of the policy should know.
const ABOUT: &str = r#"# Outrigger beside every application, put there by the API server: no webhook, no certificates.
# Needs Kubernetes 1.36 or later. Made by `outrigger inject --policy`; make it anew with each version.
#
# It does what `outrigger inject` does, to pods as they are created:
#   - in namespaces with the label outrigger.dev/inject: enabled, but for pods whose own label says disabled;
#   - to pods with the label outrigger.dev/inject: enabled, in any namespace but those of the cluster.
#
# What it cannot do:
#   - say why a pod was left alone, or give notices: `outrigger inject` tells that of the same pod;
#   - see which user an image names: one that runs as the proxy's user must say so in runAsUser.
# A pod whose annotations make no sense is left alone. So is one in a namespace of another mesh, and one that would be
# captured in a namespace that enforces Pod Security baseline or restricted, which refuses NET_ADMIN: annotate it outrigger.dev/capture: "off".
"#;

/// YAML of the policy and its bindings.
pub fn policy(settings: &Settings) -> String {
    [
        head(settings),
        conditions::yaml(settings),
        variables::yaml(settings),
        mutation::yaml(settings),
        bindings(),
    ]
    .concat()
}

fn head(settings: &Settings) -> String {
    let system = SYSTEM_NAMESPACES.iter().copied().chain([settings.own_namespace.as_str()]);
    let system = system.collect::<Vec<_>>().join(", ");
    format!(
        r#"{ABOUT}apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: {NAME}
spec:
  # An expression that fails would be a mistake of ours; better no pod than one whose calls have no policy. There is
  # no server that could be away. What has no label is not asked about.
  failurePolicy: Fail
  # A pod that was changed by others afterwards is marked already, so a second look changes nothing.
  reinvocationPolicy: IfNeeded
  matchConstraints:
    namespaceSelector:
      matchExpressions:
        - {{key: kubernetes.io/metadata.name, operator: NotIn, values: [{system}]}}
    resourceRules:
      - {{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}}
"#
    )
}

/// A selector can say "and" but not "or": so two bindings. A pod that both select is changed by the first.
fn bindings() -> String {
    let labels = format!("matchLabels: {{{INJECT_LABEL}: enabled}}");
    let binding = |name: &str, selector: &str| {
        format!(
            r"---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: {NAME}-{name}
spec:
  policyName: {NAME}
  matchResources:
    {selector}:
      {labels}
"
        )
    };
    [binding("namespaces", "namespaceSelector"), binding("pods", "objectSelector")].concat()
}

/// `text` as a block of YAML, indented by `depth` spaces.
fn block(text: &str, depth: usize) -> String {
    let indent = " ".repeat(depth);
    text.lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") })
        .collect()
}

#[cfg(test)]
mod tests;
