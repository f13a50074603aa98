//! A document as a tree in which every value knows its place in the text.
//!
//! In: nothing of its own; `read` builds it. Out: what a value is, where it begins and ends, and the key
//! or element under it. Nodes are numbers into one list, so that an alias costs nothing.

use std::borrow::Cow;
use std::ops::Range;

use crate::config::Problem;

/// A node: its index in the tree.
pub(in crate::kube) type Id = usize;

/// One value of a document.
#[derive(Debug)]
pub(in crate::kube) struct Node<'t> {
    /// First byte, that of an anchor or tag if there is one.
    pub(in crate::kube) start: usize,
    /// The byte after the last one of its content; comments and blank lines after it are not its.
    pub(in crate::kube) end: usize,
    /// Line of `start`, from 1.
    pub(in crate::kube) line: u32,
    /// Column of `start`, in characters from 0.
    pub(in crate::kube) column: u32,
    /// Whether an alias stands for it too.
    pub(in crate::kube) shared: bool,
    /// What it is.
    pub(in crate::kube) shape: Shape<'t>,
}

/// What a value is.
#[derive(Debug)]
pub(in crate::kube) enum Shape<'t> {
    /// A scalar.
    Text(Text<'t>),
    /// A list; `flow` if written in brackets.
    List { items: Vec<Id>, flow: bool },
    /// Keys with their values; `flow` if written in braces.
    Map { entries: Vec<(Id, Id)>, flow: bool },
    /// `*name`, which stands for another node.
    Alias(Id),
}

/// A scalar: escapes resolved, and how it was written.
#[derive(Debug)]
pub(in crate::kube) struct Text<'t> {
    /// The characters.
    pub(in crate::kube) text: Cow<'t, str>,
    /// How it was written.
    pub(in crate::kube) style: Style,
    /// The suffix of a tag of YAML's own: `str` for `!!str`.
    pub(in crate::kube) tag: Option<String>,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kube) enum Style {
    /// Without quotes.
    Plain,
    /// With quotes of either kind.
    Quoted,
    /// As a block after `|` or `>`.
    Block,
}

/// One document.
#[derive(Debug)]
pub(in crate::kube) struct Tree<'t> {
    /// The file's name.
    pub(in crate::kube) name: &'t str,
    /// The text of the whole file.
    pub(in crate::kube) text: &'t str,
    /// The bytes of this document, from the line it begins on to the next marker.
    pub(in crate::kube) range: Range<usize>,
    /// All nodes.
    pub(in crate::kube) nodes: Vec<Node<'t>>,
    /// The outermost one.
    pub(in crate::kube) root: Id,
}

// === impl Shape ===

impl Shape<'_> {
    /// Whether this is a scalar without quotes.
    pub(in crate::kube) fn is_plain(&self) -> bool {
        match self {
            Self::Text(text) => text.style == Style::Plain,
            Self::List { .. } | Self::Map { .. } | Self::Alias(_) => false,
        }
    }
}

// === impl Node ===

impl Node<'_> {
    /// Whether this is null as kubectl reads it: nothing, `~` or `null`.
    pub(in crate::kube) fn is_null(&self) -> bool {
        match &self.shape {
            Shape::Text(text) => {
                text.style == Style::Plain
                    && text.tag.is_none()
                    && matches!(&*text.text, "" | "~" | "null" | "Null" | "NULL")
            }
            Shape::List { .. } | Shape::Map { .. } | Shape::Alias(_) => false,
        }
    }
}

// === impl Tree ===

impl<'t> Tree<'t> {
    /// The node of an id.
    pub(in crate::kube) fn node(&self, id: Id) -> &Node<'t> {
        &self.nodes[id]
    }

    /// The node that `id` stands for: itself, or what its alias names.
    pub(in crate::kube) fn resolved(&self, id: Id) -> Id {
        match self.nodes[id].shape {
            Shape::Alias(target) => target,
            Shape::Text(_) | Shape::List { .. } | Shape::Map { .. } => id,
        }
    }

    /// The entries of a map, through an alias; none of anything else.
    pub(in crate::kube) fn entries(&self, id: Id) -> &[(Id, Id)] {
        match &self.nodes[self.resolved(id)].shape {
            Shape::Map { entries, .. } => entries,
            Shape::Text(_) | Shape::List { .. } | Shape::Alias(_) => &[],
        }
    }

    /// The elements of a list, through an alias; none of anything else.
    pub(in crate::kube) fn items(&self, id: Id) -> &[Id] {
        match &self.nodes[self.resolved(id)].shape {
            Shape::List { items, .. } => items,
            Shape::Text(_) | Shape::Map { .. } | Shape::Alias(_) => &[],
        }
    }

    /// The value of a key written in this map; merge keys are not followed.
    pub(in crate::kube) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entry(id, key).map(|(_, value)| value)
    }

    /// A key written in this map, and its value.
    pub(in crate::kube) fn entry(&self, id: Id, key: &str) -> Option<(Id, Id)> {
        self.entries(id).iter().copied().find(|(name, _)| self.str(*name) == Some(key))
    }

    /// The characters of a scalar, through an alias.
    pub(in crate::kube) fn str(&self, id: Id) -> Option<&str> {
        match &self.nodes[self.resolved(id)].shape {
            Shape::Text(text) => Some(&text.text),
            Shape::List { .. } | Shape::Map { .. } | Shape::Alias(_) => None,
        }
    }

    /// Whether a list or map is written in brackets or braces.
    pub(in crate::kube) fn is_flow(&self, id: Id) -> bool {
        match self.nodes[id].shape {
            Shape::List { flow, .. } | Shape::Map { flow, .. } => flow,
            Shape::Text(_) | Shape::Alias(_) => false,
        }
    }

    /// A problem at the place of a node.
    pub(in crate::kube) fn problem(&self, id: Id, found: &str, want: &str) -> Problem {
        let node = &self.nodes[id];
        problem(self.name, node.line, node.column + 1, found, want)
    }
}

/// A problem at a place; line and column from 1.
pub(in crate::kube) fn problem(name: &str, line: u32, column: u32, found: &str, want: &str) -> Problem {
    Problem {
        file: name.to_owned(),
        line,
        column,
        key: String::new(),
        found: found.to_owned(),
        want: want.to_owned(),
    }
}
