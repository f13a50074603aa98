//! `outrigger uninject`: what `inject` added, taken out again.
//!
//! In: files. Out: one stream without what the status annotation of each pod lists. Nothing else is touched,
//! not even what looks like ours.

use std::collections::HashSet;

use serde_json::Value;

use super::manifest::{Change, PodAt, Rewritten, Source, rewrite};
use super::plan::DEFAULT_CONTAINER;
use super::settings::STATUS;
use super::sidecar::{NO_PROXY_VARIABLES, PROXY_VARIABLES};
use super::text::{Id, Tree, cut, refusal};
use crate::config::Problem;

/// Takes the sidecar out of every pod of the files that has it. `Err`: everything that is wrong with them.
pub fn uninject(sources: &[Source]) -> Result<Rewritten, Vec<Problem>> {
    rewrite(sources, None, without)
}

fn without(pod: &PodAt<'_, '_>) -> Result<Change, String> {
    let status = pod.value.pointer("/metadata/annotations").and_then(|all| all.get(STATUS));
    let status = status.ok_or("not-injected: it has no annotation outrigger.dev/status")?;
    let status: Option<Value> = status.as_str().and_then(|text| serde_json::from_str(text).ok());
    let status = status
        .filter(Value::is_object)
        .ok_or("bad-status: its annotation outrigger.dev/status is not ours")?;
    let layout = |reason: String| format!("layout: {reason}");
    let mut ours = Ours { tree: pod.tree, found: HashSet::new() };
    ours.look(pod.id, &status).map_err(layout)?;
    let (splices, gone) = cut(pod.tree, pod.id, ours.found).map_err(layout)?;
    Ok(Change { splices, gone, ..Change::default() })
}

/// What is ours in a pod.
struct Ours<'a, 't> {
    tree: &'a Tree<'t>,
    found: HashSet<Id>,
}

// === impl Ours ===

impl Ours<'_, '_> {
    fn look(&mut self, pod: Id, status: &Value) -> Result<(), String> {
        let listed = |key: &str| -> Vec<&str> {
            status[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        if let Some(spec) = self.under(pod, "spec")? {
            for key in ["initContainers", "volumes"] {
                self.named(spec, key, &listed(key))?;
            }
            for key in ["initContainers", "containers"] {
                self.variables(spec, key, &listed("proxy"), &PROXY_VARIABLES)?;
                self.variables(spec, key, &listed("noProxy"), &NO_PROXY_VARIABLES)?;
            }
        }
        let Some(metadata) = self.under(pod, "metadata")? else { return Ok(()) };
        let Some(annotations) = self.under(metadata, "annotations")? else { return Ok(()) };
        let default = status["defaultContainer"] == Value::Bool(true);
        for key in [Some(STATUS), default.then_some(DEFAULT_CONTAINER)].into_iter().flatten() {
            if let Some(value) = self.under(annotations, key)? {
                self.found.insert(value);
            }
        }
        Ok(())
    }

    /// Marks the elements of a list that have one of these names.
    fn named(&mut self, holder: Id, key: &str, names: &[&str]) -> Result<(), String> {
        let Some(list) = self.under(holder, key)? else { return Ok(()) };
        for &item in self.tree.items(list) {
            if self.name(item).is_some_and(|name| names.contains(&name)) {
                self.allowed(item)?;
                self.found.insert(item);
            }
        }
        Ok(())
    }

    /// Marks these variables of the containers that have one of these names.
    fn variables(&mut self, spec: Id, key: &str, of: &[&str], variables: &[&str]) -> Result<(), String> {
        let Some(list) = self.under(spec, key)? else { return Ok(()) };
        for &container in self.tree.items(list) {
            if !self.found.contains(&container) && self.name(container).is_some_and(|name| of.contains(&name))
            {
                self.allowed(container)?;
                self.named(container, "env", variables)?;
            }
        }
        Ok(())
    }

    /// The value of a key, if something may be taken out of it.
    fn under(&self, id: Id, key: &str) -> Result<Option<Id>, String> {
        let Some(value) = self.tree.get(id, key) else { return Ok(None) };
        self.allowed(value).map(|()| Some(value))
    }

    fn allowed(&self, id: Id) -> Result<(), String> {
        refusal(self.tree, id).map_or(Ok(()), Err)
    }

    fn name(&self, item: Id) -> Option<&str> {
        self.tree.get(item, "name").and_then(|name| self.tree.str(name))
    }
}
