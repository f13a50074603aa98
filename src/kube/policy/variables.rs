//! What the expressions of the mutation have in common.
//!
//! In: settings. Out: variables: what the pod's annotations say, or else the settings, and where things are.

use super::super::annotations::{CPU_LIMIT, CPU_REQUEST, MEMORY_LIMIT, MEMORY_REQUEST};
use super::super::plan::{DEFAULT_CONTAINER, GRACE_SECONDS};
use super::super::settings::Settings;
use super::super::sidecar::{GRACE_SECONDS_MAX, NO_PROXY_VARIABLES, PROXY_VARIABLES};
use super::super::skip::{ENFORCE_LABEL, OTHER_NAMESPACES, STRICT_LEVELS};
use super::cel::{string, strings};
use super::conditions::{OF_POD, claims};

/// YAML of all variables; each may use those before it.
pub(super) fn yaml(settings: &Settings) -> String {
    let mut text = "  variables:\n".to_owned();
    for (name, expression) in said(settings).into_iter().chain(places()) {
        text.push_str(&format!("    - name: {name}\n      expression: |-\n"));
        text.push_str(&super::block(&expression, 8));
    }
    text
}

/// What the annotations say.
fn said(settings: &Settings) -> Vec<(&'static str, String)> {
    let of = |name: &str, default: &str| {
        format!("variables.annotations[?{}].orValue({})", string(name), string(default))
    };
    let resources = &settings.resources;
    let capture = if settings.capture { "on" } else { "off" };
    vec![
        ("annotations", OF_POD.to_owned()),
        ("capture", format!("{} == \"on\"", of("outrigger.dev/capture", capture))),
        ("refused", refused()),
        ("image", of("outrigger.dev/image", &settings.image)),
        ("config", of("outrigger.dev/config", &settings.config)),
        ("cpuRequest", of(CPU_REQUEST, &resources.cpu_request)),
        ("cpuLimit", of(CPU_LIMIT, resources.cpu_limit.as_deref().unwrap_or_default())),
        ("memoryRequest", of(MEMORY_REQUEST, &resources.memory_request)),
        ("memoryLimit", of(MEMORY_LIMIT, &resources.memory_limit)),
        ("skipFlags", skip_flags(settings)),
        ("grace", grace()),
    ]
}

/// The namespace's labels cannot be seen by the conditions.
fn refused() -> String {
    let labels = "namespaceObject.metadata.?labels";
    let strict = format!(
        "(variables.capture &&\n  {labels}[?{}].orValue(\"\") in {})",
        string(ENFORCE_LABEL),
        strings(STRICT_LEVELS.iter().copied())
    );
    let claims = OTHER_NAMESPACES.iter().map(|claim| claims(claim, labels));
    [strict].into_iter().chain(claims).collect::<Vec<_>>().join(" ||\n")
}

fn skip_flags(settings: &Settings) -> String {
    let skip = &settings.skip;
    let lists = [
        ("ports", "port", &skip.ports),
        ("networks", "network", &skip.networks),
        ("users", "user", &skip.users),
    ];
    let lists = lists.map(|(plural, one, items)| {
        let name = string(&format!("outrigger.dev/skip-{plural}"));
        let flag = format!("--skip-{one}=");
        let default: Vec<String> = items.iter().map(|item| format!("{flag}{item}")).collect();
        format!(
            "({name} in variables.annotations ?\n  variables.annotations[{name}].split(\",\").map(i, {} + i.trim()) : {})",
            string(&flag),
            strings(default.iter().map(String::as_str))
        )
    });
    lists.join(" +\n")
}

fn grace() -> String {
    format!(
        "[object.spec.?terminationGracePeriodSeconds.orValue({GRACE_SECONDS})].map(seconds,\n  \
         string(seconds < 0 ? {GRACE_SECONDS} : seconds > {GRACE_SECONDS_MAX} ? {GRACE_SECONDS_MAX} : seconds) + \"s\")[0]"
    )
}

/// Where things are: containers that get variables, by name, and the paths of their `env`.
fn places() -> Vec<(&'static str, String)> {
    let lacking = |names: [&str; 2]| {
        format!(
            "variables.capture ? [] : variables.containers.filter(c,\n  \
             !c.?env.orValue([]).exists(e, e.name in {})).map(c, string(c.name))",
            strings(names)
        )
    };
    vec![
        ("initNames", "object.spec.?initContainers.orValue([]).map(c, string(c.name))".to_owned()),
        ("names", "object.spec.containers.map(c, string(c.name))".to_owned()),
        ("containers", "object.spec.?initContainers.orValue([]) + object.spec.containers".to_owned()),
        ("proxy", lacking(PROXY_VARIABLES)),
        ("noProxy", lacking(NO_PROXY_VARIABLES)),
        ("proxyPaths", format!("variables.proxy.map(name,{ENV})")),
        ("noProxyPaths", format!("variables.noProxy.map(name,{ENV})")),
        (
            "emptyPaths",
            format!(
                "variables.containers.filter(c, !has(c.env) && (c.name in variables.proxy || c.name in variables.noProxy))\n  \
                 .map(c, string(c.name)).map(name,{ENV})"
            ),
        ),
        ("defaultContainer", format!("!({} in variables.annotations)", string(DEFAULT_CONTAINER))),
    ]
}

/// The path of the `env` of the container `name`; names are unique in a pod.
const ENV: &str = "\n  (name in variables.initNames ?\n    \
                   \"/spec/initContainers/\" + string(variables.initNames.indexOf(name)) :\n    \
                   \"/spec/containers/\" + string(variables.names.indexOf(name))) + \"/env\"";
