//! What edits add to which node.
//!
//! In: a tree, a pod in it, edits one after another. Out: for each node that grows, what is new in it; or why
//! an edit cannot be made there. An edit may reach into what an edit before it has added.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tree::{Id, Shape, Tree};
use super::value::MERGE;
use crate::kube::edit::{Edit, Step};

/// What is new.
#[derive(Default)]
pub(super) struct Overlay {
    /// By node, so that what comes first in the text comes first here.
    pub(super) grown: BTreeMap<Id, Grown>,
}

/// A node that grows.
pub(super) struct Grown {
    /// How deep it is in the pod.
    pub(super) depth: usize,
    /// The byte after which it begins: the end of its key, or of the element before it.
    pub(super) floor: usize,
    /// What is new in it.
    pub(super) news: News,
}

/// What is new in a node.
pub(super) enum News {
    /// Keys that are set.
    Map(Vec<(String, Value)>),
    /// All elements, old and new.
    List(Vec<Slot>),
}

/// An element of a list that grows.
pub(super) enum Slot {
    /// It was there.
    Old(Id),
    /// It is new.
    New(Value),
}

/// Where an edit has come to.
struct Cursor {
    id: Id,
    floor: usize,
    depth: usize,
}

/// Where one step leads.
enum Found {
    /// An old node, and the byte after which it begins.
    Old(Id, usize),
    /// Something new.
    New,
}

/// Why nothing can be put under a node: that would change another place too. `None`: it can.
pub(in crate::kube) fn refusal(tree: &Tree<'_>, id: Id) -> Option<String> {
    let node = tree.node(id);
    let text = |at: usize| {
        let rest = &tree.text[at..];
        rest[..rest.find([' ', '\t', '\r', '\n', ',', ']', '}']).unwrap_or(rest.len())].to_owned()
    };
    match node.shape {
        Shape::Alias(_) => Some(format!(
            "line {}: `{}` stands for another place, which would change too",
            node.line,
            text(node.start)
        )),
        Shape::Text(_) | Shape::List { .. } | Shape::Map { .. } if node.shared => Some(format!(
            "line {}: an alias repeats what is under `{}`, and would change too",
            node.line,
            text(node.start)
        )),
        Shape::Text(_) | Shape::List { .. } | Shape::Map { .. } => None,
    }
}

// === impl Overlay ===

impl Overlay {
    /// Takes one edit over. `Err`: why it cannot be made.
    pub(super) fn add(&mut self, tree: &Tree<'_>, pod: Id, edit: &Edit) -> Result<(), String> {
        let lost = || format!("{} leads nowhere", edit.pointer());
        let (last, above) = edit.at.split_last().ok_or_else(lost)?;
        let mut at = Cursor { id: pod, floor: tree.node(pod).start, depth: 0 };
        for (index, step) in above.iter().enumerate() {
            match self.step(tree, &at, step).ok_or_else(|| why_not(tree, &at, step, edit))? {
                Found::Old(id, floor) => {
                    at = Cursor { id, floor, depth: at.depth + 1 };
                    if let Some(reason) = refusal(tree, id) {
                        return Err(reason);
                    }
                }
                Found::New => {
                    let rest = Edit { at: edit.at[index + 1..].to_vec(), value: edit.value.clone() };
                    let new = self.new_mut(&at, step).ok_or_else(lost)?;
                    return if rest.apply(new) { Ok(()) } else { Err(lost()) };
                }
            }
        }
        self.put(tree, &at, last, &edit.value).ok_or_else(lost)
    }

    fn put(&mut self, tree: &Tree<'_>, at: &Cursor, last: &Step, value: &Value) -> Option<()> {
        let grown = self.grown.entry(at.id).or_insert_with(|| Grown::new(tree, at));
        match (last, &mut grown.news) {
            (Step::Key(key), News::Map(set)) if matches!(tree.node(at.id).shape, Shape::Map { .. }) => {
                match set.iter_mut().find(|(name, _)| name == key) {
                    Some((_, old)) => *old = value.clone(),
                    None => set.push((key.clone().into_owned(), value.clone())),
                }
                Some(())
            }
            (Step::Index(index), News::List(slots)) if *index <= slots.len() => {
                slots.insert(*index, Slot::New(value.clone()));
                Some(())
            }
            (Step::Key(_) | Step::Index(_), News::Map(_) | News::List(_)) => None,
        }
    }

    fn step(&self, tree: &Tree<'_>, at: &Cursor, step: &Step) -> Option<Found> {
        match (step, self.grown.get(&at.id).map(|grown| &grown.news)) {
            (Step::Key(key), Some(News::Map(set))) if set.iter().any(|(name, _)| name == key) => {
                Some(Found::New)
            }
            (Step::Key(key), Some(News::Map(_)) | None) => {
                let (name, value) = tree.entry(at.id, key)?;
                Some(Found::Old(value, tree.node(name).end))
            }
            (Step::Index(index), Some(News::List(slots))) => match slots.get(*index)? {
                Slot::Old(id) => Some(Found::Old(*id, tree.node(*id).start)),
                Slot::New(_) => Some(Found::New),
            },
            (Step::Index(index), None) => {
                let id = *tree.items(at.id).get(*index)?;
                Some(Found::Old(id, tree.node(id).start))
            }
            (Step::Key(_), Some(News::List(_))) | (Step::Index(_), Some(News::Map(_))) => None,
        }
    }

    /// What is new one step further.
    fn new_mut(&mut self, at: &Cursor, step: &Step) -> Option<&mut Value> {
        match (step, &mut self.grown.get_mut(&at.id)?.news) {
            (Step::Key(key), News::Map(set)) => {
                set.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value)
            }
            (Step::Index(index), News::List(slots)) => match slots.get_mut(*index)? {
                Slot::New(value) => Some(value),
                Slot::Old(_) => None,
            },
            (Step::Key(_) | Step::Index(_), News::Map(_) | News::List(_)) => None,
        }
    }
}

/// Why a step leads nowhere, though the edit was made for this pod.
fn why_not(tree: &Tree<'_>, at: &Cursor, step: &Step, edit: &Edit) -> String {
    match (step, tree.entry(at.id, MERGE)) {
        (Step::Key(key), Some((merge, _))) => format!(
            "line {}: `{key}` comes from `<<`, and what it names would change too",
            tree.node(merge).line
        ),
        (Step::Key(_) | Step::Index(_), _) => format!("{} leads nowhere", edit.pointer()),
    }
}

// === impl Grown ===

impl Grown {
    fn new(tree: &Tree<'_>, at: &Cursor) -> Self {
        let news = match &tree.node(at.id).shape {
            Shape::List { items, .. } => News::List(items.iter().copied().map(Slot::Old).collect()),
            Shape::Map { .. } | Shape::Text(_) | Shape::Alias(_) => News::Map(Vec::new()),
        };
        Self { depth: at.depth, floor: at.floor, news }
    }
}
