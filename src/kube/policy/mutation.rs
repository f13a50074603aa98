//! The edits of the plan, as a JSON Patch that the API server makes.
//!
//! In: settings. Out: one expression. A list that is absent is put there empty first; then every value is one
//! element of one type.

use super::super::plan::{DEFAULT_CONTAINER, init_names, status_text};
use super::super::settings::{Resources, STATUS, Settings};
use super::super::sidecar::{self, CAPTURED, NO_PROXY, NO_PROXY_VARIABLES, PROXY_VARIABLES, Parts};
use super::cel::{hole, literal, optional, splice, string, strings};

/// YAML of the mutation.
pub(super) fn yaml(settings: &Settings) -> String {
    let mut text =
        "  mutations:\n    - patchType: JSONPatch\n      jsonPatch:\n        expression: |-\n".to_owned();
    text.push_str(&super::block(&expression(settings), 10));
    text
}

fn expression(settings: &Settings) -> String {
    let edits = [variables(settings), containers(settings), volume(settings), annotations()].concat();
    format!("variables.refused ? [] : (\n{})", super::block(&edits.join(" +\n"), 2))
}

/// Before the containers, for those move the places of the pod's own.
fn variables(settings: &Settings) -> Vec<String> {
    let url = sidecar::proxy_url(settings);
    let each = |paths: &str, name: &str, value: &str| {
        format!(
            "variables.{paths}.map(path, JSONPatch{{op: \"add\", path: path + \"/-\", value: {{\"name\": {}, \"value\": {}}}}})",
            string(name),
            string(value)
        )
    };
    let mut edits =
        vec!["variables.emptyPaths.map(path, JSONPatch{op: \"add\", path: path, value: []})".to_owned()];
    edits.extend(PROXY_VARIABLES.map(|name| each("proxyPaths", name, &url)));
    edits.extend(NO_PROXY_VARIABLES.map(|name| each("noProxyPaths", name, NO_PROXY)));
    edits
}

fn containers(settings: &Settings) -> Vec<String> {
    let parts = parts(settings);
    let path = "Object.spec.initContainers";
    let at = string("/spec/initContainers/0");
    let proxy = add(&at, &literal(&sidecar::proxy(&parts), path));
    let capture = add(&at, &literal(&sidecar::capture(&parts), path));
    vec![
        absent("object.spec.initContainers", "/spec/initContainers", "[]"),
        format!("[{proxy}]"),
        format!("(variables.capture ? [{capture}] : [])"),
    ]
}

fn volume(settings: &Settings) -> Vec<String> {
    let volume = sidecar::volume(&Settings { config: hole("variables.config"), ..settings.clone() });
    let volume = add(&string("/spec/volumes/-"), &literal(&volume, "Object.spec.volumes"));
    vec![absent("object.spec.volumes", "/spec/volumes", "[]"), format!("[{volume}]")]
}

/// The pod is marked last.
fn annotations() -> Vec<String> {
    let at = |name: &str| format!("\"/metadata/annotations/\" + jsonpatch.escapeKey({})", string(name));
    let default = add(&at(DEFAULT_CONTAINER), "string(object.spec.containers[0].name)");
    let names = |names: &str| {
        hole(&format!("\"[\" + variables.{names}.map(name, \"\\\"\" + name + \"\\\"\").join(\",\") + \"]\""))
    };
    let json = |capture| string(&serde_json::json!(init_names(capture)).to_string());
    let ours = format!("(variables.capture ? {} : {})", json(true), json(false));
    let status = status_text([
        &hole(&ours),
        &hole("string(variables.defaultContainer)"),
        &names("proxy"),
        &names("noProxy"),
    ]);
    vec![
        absent("object.metadata.annotations", "/metadata/annotations", "{}"),
        format!("(variables.defaultContainer ? [{default}] : [])"),
        format!("[{}]", add(&at(STATUS), &string(&status))),
    ]
}

/// The parts of the containers, with expressions for what annotations may say.
fn parts(settings: &Settings) -> Parts {
    let resources = Resources {
        cpu_request: hole("variables.cpuRequest"),
        cpu_limit: Some(optional("variables.cpuLimit")),
        memory_request: hole("variables.memoryRequest"),
        memory_limit: hole("variables.memoryLimit"),
    };
    Parts {
        settings: Settings { image: hole("variables.image"), resources, ..settings.clone() },
        skip_flags: vec![splice("variables.skipFlags")],
        captured_flags: vec![splice(&format!("(variables.capture ? {} : [])", strings([CAPTURED])))],
        grace: hole("variables.grace"),
    }
}

fn absent(what: &str, path: &str, empty: &str) -> String {
    format!("(has({what}) ? [] : [{}])", add(&string(path), empty))
}

fn add(path: &str, value: &str) -> String {
    format!("JSONPatch{{op: \"add\", path: {path}, value: {value}}}")
}
