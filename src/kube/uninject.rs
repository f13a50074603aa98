//! `outrigger uninject`: what `inject` added, taken out again.
//!
//! In: files. Out: one stream without what the status annotation of each pod lists. Nothing else is touched,
//! not even what looks like ours, nor a value that somebody changed since.

use std::collections::HashSet;

use serde_json::Value;

use super::manifest::{Change, PodAt, Rewritten, Source, rewrite};
use super::plan::DEFAULT_CONTAINER;
use super::settings::STATUS;
use super::sidecar::{NO_PROXY, NO_PROXY_VARIABLES, PROXY_VARIABLES, is_proxy_url};
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
                self.variables(spec, key, &listed("proxy"), &|name, value| {
                    PROXY_VARIABLES.contains(&name) && is_proxy_url(value)
                })?;
                self.variables(spec, key, &listed("noProxy"), &|name, value| {
                    NO_PROXY_VARIABLES.contains(&name) && value == NO_PROXY
                })?;
            }
        }
        self.annotations(pod, status["defaultContainer"] == Value::Bool(true))
    }

    /// Marks the annotations; that of the default container as long as it names the one that we named.
    fn annotations(&mut self, pod: Id, default: bool) -> Result<(), String> {
        let Some(metadata) = self.under(pod, "metadata")? else { return Ok(()) };
        let Some(annotations) = self.under(metadata, "annotations")? else { return Ok(()) };
        if let Some(value) = self.under(annotations, STATUS)? {
            self.found.insert(value);
        }
        let default = if default { self.under(annotations, DEFAULT_CONTAINER)? } else { None };
        if let Some(value) = default.filter(|value| self.tree.str(*value) == self.first_container(pod)) {
            self.found.insert(value);
        }
        Ok(())
    }

    fn first_container(&self, pod: Id) -> Option<&str> {
        let spec = self.tree.get(pod, "spec")?;
        let first = self.tree.items(self.tree.get(spec, "containers")?).first()?;
        self.name(*first)
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

    /// Marks the variables that are ours, by name and value, of the containers that have one of these names.
    fn variables(
        &mut self,
        spec: Id,
        key: &str,
        of: &[&str],
        is_ours: &dyn Fn(&str, &str) -> bool,
    ) -> Result<(), String> {
        let Some(list) = self.under(spec, key)? else { return Ok(()) };
        for &container in self.tree.items(list) {
            if !self.found.contains(&container) && self.name(container).is_some_and(|name| of.contains(&name))
            {
                self.allowed(container)?;
                let Some(env) = self.under(container, "env")? else { continue };
                for &variable in self.tree.items(env) {
                    let value = self.tree.get(variable, "value").and_then(|value| self.tree.str(value));
                    let both = self.name(variable).zip(value);
                    if both.is_some_and(|(name, value)| is_ours(name, value)) {
                        self.allowed(variable)?;
                        self.found.insert(variable);
                    }
                }
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
