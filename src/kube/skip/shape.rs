//! What a pod must be for us to look at it.
//!
//! In: any value. Out: the parts of a pod, borrowed, or what is missing. Looks no deeper than our
//! own edits reach: the rest is the API server's to judge.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Reason, Skip};

/// A mapping for those who have none.
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// The parts of a pod, or of a pod template.
pub(in crate::kube) struct Pod<'a> {
    /// All of it.
    pub(in crate::kube) value: &'a Value,
    /// Its `spec`.
    pub(in crate::kube) spec: &'a Map<String, Value>,
    /// Its annotations; none if it has no such mapping.
    pub(in crate::kube) annotations: &'a Map<String, Value>,
}

// === impl Pod ===

impl<'a> Pod<'a> {
    /// The parts of `value`, or why it is no pod.
    pub(in crate::kube) fn of(value: &'a Value) -> Result<Self, Skip> {
        let spec = mapping(value, "spec", "spec")?.ok_or_else(|| bad("it has no spec"))?;
        let metadata = mapping(value, "metadata", "metadata")?;
        let mut annotations = None;
        if let Some(metadata) = metadata {
            mapping_in(metadata, "labels", "metadata.labels")?;
            annotations = mapping_in(metadata, "annotations", "metadata.annotations")?;
        }
        if list(spec, "containers")?.is_none_or(|containers| containers.is_empty()) {
            return Err(bad("it has no spec.containers"));
        }
        for key in ["initContainers", "volumes"] {
            list(spec, key)?;
        }
        for container in containers(spec) {
            if container.get("name").and_then(Value::as_str).is_none() {
                return Err(bad("a container has no name"));
            }
            list(container, "env")?;
        }
        Ok(Self { value, spec, annotations: annotations.unwrap_or(&EMPTY) })
    }
}

/// Its init containers and its containers.
pub(in crate::kube) fn containers(spec: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let of = |key| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    of("initContainers").chain(of("containers")).filter_map(Value::as_object)
}

/// The string at the end of a path of keys.
pub(in crate::kube) fn text_at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value, |value, key| value.get(key)).and_then(Value::as_str)
}

fn bad(message: impl Into<String>) -> Skip {
    Skip::new(Reason::NotAPod, message)
}

/// A mapping under `key`; `null` is as good as nothing, as for the API server.
fn mapping<'a>(value: &'a Value, key: &str, path: &str) -> Result<Option<&'a Map<String, Value>>, Skip> {
    let Some(map) = value.as_object() else { return Err(bad("it is no mapping")) };
    mapping_in(map, key, path)
}

fn mapping_in<'a>(
    map: &'a Map<String, Value>,
    key: &str,
    path: &str,
) -> Result<Option<&'a Map<String, Value>>, Skip> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(bad(format!("its {path} is no mapping")))
        }
    }
}

/// A list of mappings under `key`.
fn list<'a>(map: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Vec<Value>>, Skip> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => Ok(Some(items)),
        Some(Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            Err(bad(format!("its {key} is no list of mappings")))
        }
    }
}
