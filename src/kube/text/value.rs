//! A part of a document as a JSON value.
//!
//! In: a node of a tree. Out: what kubectl would send for it: aliases and merge keys followed, scalars read
//! as YAML 1.1; or the place of a key that is there twice, or is no name.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::read::DEPTH_MAX;
use super::scalar::meaning;
use super::tree::{Id, Shape, Tree};
use crate::config::Problem;

/// Most values of one document after aliases are followed: a list of ten thousand pods has half as many.
/// Past it the document is an alias bomb.
const VALUES_MAX: usize = 4 * 1024 * 1024;

/// The key that takes over the entries of other maps.
pub(super) const MERGE: &str = "<<";

/// What is being read.
struct Reading<'a, 't> {
    tree: &'a Tree<'t>,
    without: &'a HashSet<Id>,
    values: usize,
}

/// The value of a node.
pub(in crate::kube) fn value(tree: &Tree<'_>, id: Id) -> Result<Value, Problem> {
    value_without(tree, id, &HashSet::new())
}

/// The value of a node, but for those under it that are named.
pub(in crate::kube) fn value_without(
    tree: &Tree<'_>,
    id: Id,
    without: &HashSet<Id>,
) -> Result<Value, Problem> {
    Reading { tree, without, values: 0 }.value(id, 0)
}

// === impl Reading ===

impl Reading<'_, '_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Problem> {
        self.values += 1;
        if self.values > VALUES_MAX {
            let found = format!("more than {VALUES_MAX} values");
            return Err(self.tree.problem(id, &found, "fewer, counting each use of an alias"));
        }
        if depth > DEPTH_MAX {
            let found = format!("more than {DEPTH_MAX} levels");
            return Err(self.tree.problem(id, &found, "less nesting, counting each use of an alias"));
        }
        let tree = self.tree;
        match &tree.node(id).shape {
            Shape::Text(text) => Ok(meaning(text)),
            Shape::Alias(target) => self.value(*target, depth + 1),
            Shape::List { items, .. } => {
                let kept = items.iter().filter(|item| !self.without.contains(item));
                kept.copied()
                    .collect::<Vec<Id>>()
                    .into_iter()
                    .map(|item| self.value(item, depth + 1))
                    .collect()
            }
            Shape::Map { entries, .. } => self.map(entries, depth).map(Value::Object),
        }
    }

    fn map(&mut self, entries: &[(Id, Id)], depth: usize) -> Result<Map<String, Value>, Problem> {
        let mut map = Map::with_capacity(entries.len());
        let mut merged = Vec::new();
        for &(key, value) in entries.iter().filter(|(_, value)| !self.without.contains(value)) {
            let name = self.name(key)?;
            if name == MERGE && self.tree.node(key).shape.is_plain() {
                merged.push(value);
                continue;
            }
            let value = self.value(value, depth + 1)?;
            if map.contains_key(&name) {
                let found = format!("`{name}` a second time");
                return Err(self.tree.problem(key, &found, "each key once"));
            }
            map.insert(name, value);
        }
        for source in merged {
            self.merge(&mut map, source, depth)?;
        }
        Ok(map)
    }

    /// Adds what a merge key names: keys that are there already win, then those of the first map named.
    fn merge(&mut self, map: &mut Map<String, Value>, source: Id, depth: usize) -> Result<(), Problem> {
        let items = self.tree.items(source);
        let sources = if items.is_empty() { vec![source] } else { items.to_vec() };
        for source in sources {
            let Value::Object(more) = self.value(source, depth + 1)? else {
                return Err(self.tree.problem(
                    source,
                    "`<<` with something else",
                    "a map, or a list of maps",
                ));
            };
            for (key, value) in more {
                map.entry(key).or_insert(value);
            }
        }
        Ok(())
    }

    /// A key as JSON has it: a string, whatever it was.
    fn name(&self, key: Id) -> Result<String, Problem> {
        let resolved = self.tree.resolved(key);
        match &self.tree.node(resolved).shape {
            Shape::Text(text) => Ok(match meaning(text) {
                Value::Bool(bool) => bool.to_string(),
                Value::Number(number) => number.to_string(),
                Value::String(_) | Value::Null | Value::Array(_) | Value::Object(_) => {
                    text.text.clone().into_owned()
                }
            }),
            Shape::List { .. } | Shape::Map { .. } | Shape::Alias(_) => {
                let want = "a name; if this is a template, render it first";
                Err(self.tree.problem(key, "a list or map as a key", want))
            }
        }
    }
}
