//! The YAML as written: a tree in which every key and value knows its line and column.
//!
//! In: the bytes of one file. Out: a [`Node`], and problems for duplicate keys; or the one reason why
//! the text cannot be read. Never looks at what a key means, never panics whatever the bytes, and
//! never does more work than its bounds allow.
//!
//! This file and `kube/text/read.rs` alone name the YAML crate. This one takes events and not deserialised
//! structs because every problem and every effective value must cite its place, and all problems are told
//! at once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::config::Problem;
use crate::config::check::{PROBLEMS_MAX, push_key};

/// Most bytes of one file. A thousand services with every key set take under 2 MiB, and a mounted
/// ConfigMap cannot exceed 1 MiB.
pub(super) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deepest nesting. Our deepest key sits at 8; the rest is room for `x-` blocks. It also bounds every
/// recursion over the tree.
const DEPTH_MAX: usize = 64;

/// Most nodes after aliases are followed: 5,000 services with 50 values each. Past it the file is an
/// alias bomb or a mistake.
const NODES_MAX: usize = 256 * 1024;

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) file: u16,
    /// Line, from 1; 0 for no place at all.
    pub(super) line: u32,
    /// Column, from 1.
    pub(super) column: u32,
}

/// One value of the YAML.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins.
    pub(super) place: Place,
    /// What it is.
    pub(super) shape: Shape,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text; `plain` when it was written without quotes.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Rc<Node>>),
    /// A block of keys, each there once.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key begins.
    pub(super) place: Place,
    /// Its value.
    pub(super) value: Rc<Node>,
}

/// A finished node with the weight it adds wherever an alias repeats it.
#[derive(Clone)]
struct Built {
    node: Rc<Node>,
    nodes: usize,
    height: usize,
}

/// A list or block whose end has not come yet.
struct Frame {
    place: Place,
    anchor: usize,
    parts: Parts,
    nodes: usize,
    height: usize,
}

enum Parts {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, key: Option<(String, Place)> },
}

/// Assembles the tree from events, without recursion.
struct Builder<'a> {
    name: &'a str,
    text: &'a str,
    file: u16,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    nodes: usize,
    root: Option<Rc<Node>>,
    problems: &'a mut Vec<Problem>,
}

/// Reads one file. `Err` is the one reason why nothing of it can be used.
pub(super) fn parse(
    file: u16,
    name: &str,
    bytes: &[u8],
    problems: &mut Vec<Problem>,
) -> Result<Rc<Node>, Problem> {
    let text = decode(name, bytes)?;
    let mut builder = Builder {
        name,
        text,
        file,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
        problems,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.broken(&error))?;
        builder.take(event, span)?;
    }
    builder.root.ok_or_else(|| Problem::of_file(name, "an empty file", "at least `version: v1`"))
}

/// The text of a file: UTF-8, a byte order mark is skipped.
fn decode<'t>(name: &str, bytes: &'t [u8]) -> Result<&'t str, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Problem::of_file(name, format!("{} bytes", bytes.len()), "at most 4MiB"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        Problem {
            file: name.to_owned(),
            line: memchr::memchr_iter(b'\n', before).count() as u32 + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() as u32 + 1,
            key: String::new(),
            found: "bytes that are not UTF-8".to_owned(),
            want: "YAML in UTF-8".to_owned(),
        }
    })
}

// === impl Place ===

impl Place {
    /// No place: the value is built in.
    pub(super) const NONE: Self = Self { file: 0, line: 0, column: 0 };
}

// === impl Node ===

impl Node {
    /// The keys, if this is a block.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.shape {
            Shape::Map(entries) => Some(entries),
            Shape::Scalar { .. } | Shape::List(_) => None,
        }
    }

    /// The text, if this is a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar { text, .. } => Some(text),
            Shape::List(_) | Shape::Map(_) => None,
        }
    }

    /// Whether nothing was written: `key:` alone.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(&self.shape, Shape::Scalar { text, plain: true } if text.is_empty() || text == "~" || text == "null")
    }
}

// === impl Builder ===

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.untagged(tag.is_some(), place)?;
                let shape =
                    Shape::Scalar { text: text.into_owned(), plain: matches!(style, ScalarStyle::Plain) };
                self.count(1, 1, place)?;
                self.finish(Built { node: Rc::new(Node { place, shape }), nodes: 1, height: 1 }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.untagged(tag.is_some(), place)?;
                self.open(place, anchor, Parts::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.untagged(tag.is_some(), place)?;
                self.open(place, anchor, Parts::Map { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(built) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.at(
                        place,
                        "an alias inside its own anchor",
                        "an anchor that ends before",
                    ));
                };
                self.count(built.nodes, built.height, place)?;
                self.finish(built, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.at(place, "a second document", "one document per file"))
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, parts: Parts) -> Result<(), Problem> {
        self.count(1, 1, place)?;
        self.stack.push(Frame { place, anchor, parts, nodes: 1, height: 1 });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let shape = match frame.parts {
            Parts::List(items) => Shape::List(items),
            Parts::Map { entries, .. } => {
                let entries = self.without_duplicates(entries);
                Shape::Map(self.with_merge_keys(entries)?)
            }
        };
        let node = Rc::new(Node { place: frame.place, shape });
        self.finish(Built { node, nodes: frame.nodes, height: frame.height }, frame.anchor)
    }

    /// Hands a finished node to what encloses it.
    fn finish(&mut self, built: Built, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.nodes += built.nodes;
        frame.height = frame.height.max(built.height + 1);
        match &mut frame.parts {
            Parts::List(items) => items.push(built.node),
            Parts::Map { entries, key } => match key.take() {
                Some((key, place)) => entries.push(Entry { key, place, value: built.node }),
                None => match built.node.text() {
                    Some(text) => *key = Some((text.to_owned(), built.node.place)),
                    None => return Err(self.at(built.node.place, "a list or block as a key", "a name")),
                },
            },
        }
        Ok(())
    }

    /// Drops repeated keys, each with a problem that names the first.
    fn without_duplicates(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut seen: HashMap<String, Place> = HashMap::with_capacity(entries.len());
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            match seen.get(&entry.key) {
                Some(_) if self.problems.len() >= PROBLEMS_MAX => {}
                Some(first) => {
                    let found = format!("`{}` a second time", entry.key);
                    let want = format!("each key once (first on line {})", first.line);
                    let mut problem = self.at(entry.place, &found, &want);
                    problem.key = self.path(&entry.key);
                    self.problems.push(problem);
                }
                None => {
                    seen.insert(entry.key.clone(), entry.place);
                    kept.push(entry);
                }
            }
        }
        kept
    }

    /// Applies `<<`: keys of the block itself win, then those of the first block named.
    fn with_merge_keys(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Problem> {
        let Some(index) = entries.iter().position(|entry| entry.key == "<<") else {
            return Ok(entries);
        };
        let merge = entries.remove(index);
        let sources: Vec<Rc<Node>> = match &merge.value.shape {
            Shape::List(items) => items.clone(),
            Shape::Map(_) | Shape::Scalar { .. } => vec![Rc::clone(&merge.value)],
        };
        let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for source in &sources {
            let Some(more) = source.entries() else {
                return Err(self.at(merge.place, "`<<` with something else", "a block, or a list of blocks"));
            };
            for entry in more {
                if known.insert(entry.key.clone()) {
                    entries.push(entry.clone());
                }
            }
        }
        Ok(entries)
    }

    /// Adds to the number of nodes and looks at the depth reached.
    fn count(&mut self, nodes: usize, height: usize, place: Place) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let found = format!("more than {NODES_MAX} values");
            return Err(self.at(place, &found, "fewer, counting each use of an alias"));
        }
        if self.stack.len() + height > DEPTH_MAX {
            let found = format!("more than {DEPTH_MAX} levels");
            return Err(self.at(place, &found, "less nesting"));
        }
        Ok(())
    }

    fn untagged(&self, tagged: bool, place: Place) -> Result<(), Problem> {
        if tagged {
            return Err(self.at(place, "a YAML tag (`!`)", "a plain value; quote text that begins with `!`"));
        }
        Ok(())
    }

    fn broken(&self, error: &ScanError) -> Problem {
        let marker = error.marker();
        let place = Place { file: self.file, line: marker.line() as u32, column: marker.col() as u32 + 1 };
        let line = self.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let want = if error.info().contains("tabs ") {
            "valid YAML, indented with spaces"
        } else if line.contains("]:") {
            "valid YAML; an address with brackets needs quotes: \"[::1]:80\""
        } else {
            "valid YAML"
        };
        self.at(place, &format!("broken YAML ({})", error.info()), want)
    }

    fn at(&self, place: Place, found: &str, want: &str) -> Problem {
        Problem {
            file: self.name.to_owned(),
            line: place.line,
            column: place.column,
            key: String::new(),
            found: found.to_owned(),
            want: want.to_owned(),
        }
    }

    /// The path of `key` in the block that is just being closed.
    fn path(&self, key: &str) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.parts {
                Parts::List(items) => path.push_str(&format!("[{}]", items.len())),
                Parts::Map { key, .. } => push_key(&mut path, key.as_ref().map_or("", |k| &k.0)),
            }
        }
        push_key(&mut path, key);
        path
    }

    fn place(&self, span: Span) -> Place {
        Place { file: self.file, line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
    }
}

#[cfg(test)]
mod tests;
