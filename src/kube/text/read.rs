//! A file's text, document by document, as trees.
//!
//! In: the text of one file. Out: a [`Tree`] per document, or the one reason why the text cannot be read.
//! Never looks at what a key means, and never does more work than its bounds allow.
//!
//! Takes the events of the YAML crate, as `config/raw.rs` does, because whoever puts text into text has to
//! know where everything stands.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::offsets::Offsets;
use super::tree::{Id, Node, Shape, Style, Text, Tree, problem};
use crate::config::Problem;

/// Deepest nesting. Schemas in custom resource definitions reach 60; this also bounds every recursion
/// over a tree.
pub(super) const DEPTH_MAX: usize = 200;

/// The documents of one file.
pub(in crate::kube) struct Documents<'t> {
    name: &'t str,
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    offsets: Offsets,
    /// What is being built.
    nodes: Vec<Node<'t>>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Id>,
    root: Option<Id>,
    /// First byte of the document.
    start: usize,
}

/// A list or map whose end has not come yet.
struct Frame {
    id: Id,
    anchor: usize,
    /// A key that waits for its value.
    key: Option<Id>,
}

// === impl Documents ===

impl<'t> Documents<'t> {
    /// The documents of `text`, which has no byte order mark in front.
    pub(in crate::kube) fn new(name: &'t str, text: &'t str) -> Self {
        Self {
            name,
            text,
            parser: Parser::new_from_str(text),
            offsets: Offsets::new(text),
            nodes: Vec::new(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            start: 0,
        }
    }

    /// The next document; `None` at the end of the text.
    pub(in crate::kube) fn next(&mut self) -> Result<Option<Tree<'t>>, Problem> {
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event.map_err(|error| self.broken(&error))?;
            match event {
                Event::DocumentStart(_) => {
                    let at = self.offset(span.start);
                    self.start = self.text[..at].rfind('\n').map_or(0, |before| before + 1);
                    self.anchors.clear();
                }
                Event::DocumentEnd => {
                    let nodes = std::mem::take(&mut self.nodes);
                    let Some(root) = self.root.take() else { continue };
                    let range = self.start..self.offset(span.start).max(self.start);
                    return Ok(Some(Tree { name: self.name, text: self.text, range, nodes, root }));
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let style = match style {
                        ScalarStyle::Plain => Style::Plain,
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    };
                    let tag = tag.map(|tag| tag.into_owned().suffix);
                    self.scalar(Text { text, style, tag }, anchor, span);
                }
                Event::SequenceStart(anchor, _) => {
                    let flow = self.opens(span, b'[');
                    self.open(Shape::List { items: Vec::new(), flow }, anchor, span)?;
                }
                Event::MappingStart(anchor, _) => {
                    let flow = self.opens(span, b'{') || self.in_flow();
                    self.open(Shape::Map { entries: Vec::new(), flow }, anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::StreamStart | Event::StreamEnd | Event::Nothing => {}
            }
        }
        Ok(None)
    }

    fn scalar(&mut self, text: Text<'t>, anchor: usize, span: Span) {
        let (mut start, mut end) = (self.offset(span.start), self.offset(span.end));
        if text.style == Style::Quoted {
            let content = self.content(start);
            end = content + quoted_length(&self.text[content..end]);
        } else if text.style == Style::Block && text.text.is_empty() {
            // Its place is that of whatever comes next.
            start = self.nothing_at(start);
            end = start;
        } else if text.style == Style::Block {
            end = start + block_length(&text.text, &self.text[start..end]);
        } else if text.text.is_empty() && text.style == Style::Plain && anchor == 0 && text.tag.is_none() {
            start = self.nothing_at(start);
            end = start;
        }
        let id = self.push(start, end, span.start, Shape::Text(text));
        self.finish(id, anchor);
    }

    /// Where a value that was not written would stand: after its colon or dash. The parser gives the
    /// place of the colon, of what follows a dash, or of whatever comes next.
    fn nothing_at(&self, at: usize) -> usize {
        if self.text.as_bytes().get(at) == Some(&b':') {
            return at + 1;
        }
        let key = self.stack.last().and_then(|frame| frame.key);
        key.map_or(at, |key| self.nodes[key].end)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let Some(&target) = self.anchors.get(&anchor) else {
            let (line, column) = place(span.start);
            let found = "an alias of an anchor that has not ended in this document";
            return Err(problem(self.name, line, column, found, "an anchor that ends before"));
        };
        self.nodes[target].shared = true;
        let (start, end) = (self.offset(span.start), self.offset(span.end));
        let id = self.push(start, end, span.start, Shape::Alias(target));
        self.finish(id, 0);
        Ok(())
    }

    fn open(&mut self, shape: Shape<'t>, anchor: usize, span: Span) -> Result<(), Problem> {
        if self.stack.len() >= DEPTH_MAX {
            let (line, column) = place(span.start);
            let found = format!("more than {DEPTH_MAX} levels");
            return Err(problem(self.name, line, column, &found, "less nesting"));
        }
        let start = self.offset(span.start);
        let id = self.push(start, self.offset(span.end), span.start, shape);
        self.stack.push(Frame { id, anchor, key: None });
        Ok(())
    }

    fn close(&mut self, span: Span) {
        let Some(frame) = self.stack.pop() else { return };
        let last = match &self.nodes[frame.id].shape {
            Shape::List { items, .. } => items.last().copied(),
            Shape::Map { entries, .. } => entries.last().map(|(_, value)| *value),
            Shape::Text(_) | Shape::Alias(_) => None,
        };
        let bracket = if span.is_empty() { None } else { self.bracket(self.offset(span.start)) };
        self.nodes[frame.id].end = match (bracket, last) {
            (Some(bracket), _) => bracket + 1,
            (None, Some(last)) => self.nodes[last].end,
            (None, None) => self.offset(span.end),
        };
        self.finish(frame.id, frame.anchor);
    }

    /// The bracket that closes a list or map, from where the parser says that it ends: perhaps at a comma
    /// before.
    fn bracket(&self, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            match self.text.as_bytes().get(at)? {
                b']' | b'}' => return Some(at),
                b'#' => at += self.text[at..].find('\n')?,
                b',' | b' ' | b'\t' | b'\r' | b'\n' => at += 1,
                _ => return None,
            }
        }
    }

    fn push(&mut self, start: usize, end: usize, at: Marker, shape: Shape<'t>) -> Id {
        let line = at.line() as u32;
        self.nodes.push(Node { start, end, line, column: at.col() as u32, shared: false, shape });
        self.nodes.len() - 1
    }

    /// Hands a finished node to what encloses it.
    fn finish(&mut self, id: Id, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(id);
            return;
        };
        match &mut self.nodes[frame.id].shape {
            Shape::List { items, .. } => items.push(id),
            Shape::Map { entries, .. } => match frame.key.take() {
                Some(key) => entries.push((key, id)),
                None => frame.key = Some(id),
            },
            Shape::Text(_) | Shape::Alias(_) => {}
        }
    }

    /// Whether the token that opens a list or map is this bracket.
    fn opens(&self, span: Span, bracket: u8) -> bool {
        let at = self.content(self.offset(span.start));
        !span.is_empty() && self.text.as_bytes().get(at) == Some(&bracket)
    }

    /// Where a value begins after the anchor or tag that may stand at `start`.
    fn content(&self, start: usize) -> usize {
        let mut rest = &self.text[start..];
        while rest.starts_with(['&', '!', '#']) {
            let end = match rest.starts_with('#') {
                true => rest.find('\n'),
                false => rest.find([' ', '\t', '\r', '\n']),
            };
            rest = rest[end.unwrap_or(rest.len())..].trim_start();
        }
        self.text.len() - rest.len()
    }

    /// Whether what stands here is inside brackets or braces; a single pair there has none of its own: `[a: b]`.
    fn in_flow(&self) -> bool {
        let Some(frame) = self.stack.last() else { return false };
        match self.nodes[frame.id].shape {
            Shape::List { flow, .. } | Shape::Map { flow, .. } => flow,
            Shape::Text(_) | Shape::Alias(_) => false,
        }
    }

    fn offset(&self, marker: Marker) -> usize {
        self.offsets.of(self.text, marker.index())
    }

    fn broken(&self, error: &ScanError) -> Problem {
        let (line, column) = place(*error.marker());
        // What is wrong on one line is often noticed on the next.
        let skipped = line.saturating_sub(2) as usize;
        let shown: String = self.text.lines().skip(skipped).take(2).collect();
        let want = if error.info().contains("recursion") {
            "less nesting"
        } else if shown.contains("{{") {
            "valid YAML; render a template first"
        } else if error.info().contains(" tab") || shown.contains('\t') {
            "valid YAML, with spaces in place of tabs"
        } else {
            "valid YAML"
        };
        problem(self.name, line, column, &format!("broken YAML ({})", error.info()), want)
    }
}

fn place(marker: Marker) -> (u32, u32) {
    (marker.line() as u32, marker.col() as u32 + 1)
}

/// How much of `source` is content of a block scalar that reads as `text`: not the blank lines that say
/// nothing, nor the indentation of what follows.
fn block_length(text: &str, source: &str) -> usize {
    let trimmed = source.trim_end_matches([' ', '\t', '\r', '\n']).len();
    let tail = &text[text.trim_end_matches([' ', '\t', '\r', '\n']).len()..];
    if matches!(tail, "" | "\n") {
        return trimmed;
    }
    let last = source.rfind('\n').unwrap_or(source.len());
    source[..last].strip_suffix('\r').map_or(last, str::len).max(trimmed)
}

/// How much of `source` is a scalar in quotes: the parser takes a comment after it for a part.
fn quoted_length(source: &str) -> usize {
    let bytes = source.as_bytes();
    let Some(&quote) = bytes.first() else { return 0 };
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 2,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            _ if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}
