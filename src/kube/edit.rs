//! A change to a pod, as data.
//!
//! In: what is to be added, and where. Out: the same for every form of injection: text, JSON Patch, CEL.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// One step of a path into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(Cow<'static, str>),
    /// An element of a list; as the last step: the place before it, or the end of the list.
    Index(usize),
}

/// One addition, with the meaning of JSON Patch's `add` (RFC 6902 section 4.1): a last step that is
/// a key sets it, a last step that is an index inserts before it. Everything above the last step is
/// there already, or an edit before this one has put it there.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The path, from the pod or pod template (`metadata` and `spec`).
    pub at: Vec<Step>,
    /// What is put there.
    pub value: Value,
}

// === impl Step ===

impl From<&'static str> for Step {
    fn from(key: &'static str) -> Self {
        Self::Key(Cow::Borrowed(key))
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

// === impl Edit ===

impl Edit {
    /// The path as a JSON Pointer (RFC 6901).
    pub fn pointer(&self) -> String {
        let mut text = String::new();
        for step in &self.at {
            text.push('/');
            match step {
                Step::Key(key) => text.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => text.push_str(&index.to_string()),
            }
        }
        text
    }

    /// Makes the change in `document`. `false`, and nothing changed: its path leads nowhere.
    pub fn apply(&self, document: &mut Value) -> bool {
        let Some((last, above)) = self.at.split_last() else { return false };
        let mut place = document;
        for step in above {
            let next = match step {
                Step::Key(key) => place.get_mut(key.as_ref()),
                Step::Index(index) => place.get_mut(*index),
            };
            let Some(next) = next else { return false };
            place = next;
        }
        match (last, place) {
            (Step::Key(key), Value::Object(map)) => set(map, key, &self.value),
            (Step::Index(index), Value::Array(list)) if *index <= list.len() => {
                list.insert(*index, self.value.clone());
            }
            (
                Step::Key(_) | Step::Index(_),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => return false,
        }
        true
    }
}

fn set(map: &mut Map<String, Value>, key: &str, value: &Value) {
    map.insert(key.to_owned(), value.clone());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edit(at: &[Step], value: Value) -> Edit {
        Edit { at: at.to_vec(), value }
    }

    #[test]
    fn a_key_is_set_and_an_element_inserted() {
        let mut pod = json!({"spec": {"containers": [{"name": "app"}]}});
        assert!(edit(&["metadata".into()], json!({})).apply(&mut pod));
        assert!(
            edit(&["spec".into(), "containers".into(), 0.into()], json!({"name": "first"})).apply(&mut pod)
        );
        assert_eq!(
            pod,
            json!({"metadata": {}, "spec": {"containers": [{"name": "first"}, {"name": "app"}]}})
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_changes_nothing() {
        let mut pod = json!({"spec": {"containers": []}});
        let before = pod.clone();
        for at in [
            vec!["status".into(), "phase".into()],
            vec!["spec".into(), "containers".into(), 1.into()],
            vec!["spec".into(), 0.into()],
            vec![],
        ] {
            assert!(!edit(&at, json!(1)).apply(&mut pod), "{at:?}");
        }
        assert_eq!(pod, before);
    }

    #[test]
    fn a_pointer_escapes_what_means_something_in_it() {
        let at = ["metadata".into(), "annotations".into(), "outrigger.dev/a~b".into()];
        assert_eq!(edit(&at, json!("")).pointer(), "/metadata/annotations/outrigger.dev~1a~0b");
    }
}
