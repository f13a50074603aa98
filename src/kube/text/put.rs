//! Additions to a document as replacements of bytes.
//!
//! In: a tree and what is new in it. Out: where in the text which bytes are put. Every byte that does not
//! have to change stays: only a written `null` that gets a value is taken out.

use serde_json::Value;

use super::overlay::{Grown, News, Overlay, Slot};
use super::place::{after, before, dash, line_break, line_end};
use super::splice::Splice;
use super::tree::{Id, Shape, Tree};
use super::write::{Layout, flow, is_tall, pair};
use crate::kube::edit::Edit;

/// The replacements that make `edits` in the pod at `pod`. `Err`: why they cannot be made.
pub(in crate::kube) fn put(tree: &Tree<'_>, pod: Id, edits: &[Edit]) -> Result<Vec<Splice>, String> {
    let mut overlay = Overlay::default();
    for edit in edits {
        overlay.add(tree, pod, edit)?;
    }
    let mut out = Putting { tree, layout: layout(tree, pod), splices: Vec::new() };
    for (id, grown) in &overlay.grown {
        match &grown.news {
            News::Map(set) => out.map(*id, grown, set),
            News::List(slots) => out.list(*id, grown, slots),
        }
        .ok_or_else(|| format!("line {}: its layout leaves no room", tree.node(*id).line))?;
    }
    Ok(out.splices)
}

struct Putting<'a, 't> {
    tree: &'a Tree<'t>,
    layout: Layout,
    splices: Vec<Splice>,
}

/// How the pod is laid out.
fn layout(tree: &Tree<'_>, pod: Id) -> Layout {
    let column = |id: Id| first_column(tree, id);
    let spec = tree.get(pod, "spec").filter(|spec| !tree.is_flow(*spec));
    let step = spec.zip(column(pod)).and_then(|(spec, above)| column(spec)?.checked_sub(above));
    let list = spec.and_then(|spec| tree.entry(spec, "containers")).filter(|(_, list)| !tree.is_flow(*list));
    let dash = list.and_then(|(key, list)| {
        let dash = dash(tree.text, tree.node(key).end).filter(|_| !tree.items(list).is_empty())?;
        column_of(tree.text, dash).checked_sub(tree.node(key).column as usize)
    });
    let step = step.filter(|step| *step > 0).unwrap_or(2);
    Layout { step, dash: dash.unwrap_or(step), line_break: line_break(tree.text, tree.node(pod).start) }
}

/// The column of the keys of a map in block style.
fn first_column(tree: &Tree<'_>, map: Id) -> Option<usize> {
    let (key, _) = tree.entries(map).first()?;
    // The map begins with its first key, or the question mark before it; an anchor or tag comes earlier.
    let first = if tree.text[tree.node(map).start..].starts_with(['&', '!']) { *key } else { map };
    Some(tree.node(first).column as usize)
}

fn column_of(text: &str, at: usize) -> usize {
    text[super::place::line_start(text, at)..at].chars().count()
}

// === impl Putting ===

impl Putting<'_, '_> {
    fn map(&mut self, id: Id, grown: &Grown, set: &[(String, Value)]) -> Option<()> {
        let Shape::Map { entries, flow: in_flow } = &self.tree.node(id).shape else { return None };
        let mut new = Vec::new();
        for (key, value) in set {
            match self.tree.entry(id, key) {
                Some((name, old)) => self.fill(grown, (name, old), *in_flow, value)?,
                None => new.push((key, value)),
            }
        }
        if new.is_empty() {
            return Some(());
        }
        if *in_flow {
            let pairs: Vec<String> = new.into_iter().map(|(key, value)| pair(key, value)).collect();
            let last = entries.last().map(|(_, value)| self.tree.node(*value).end);
            self.flow_end(id, grown, last, &pairs.join(", "))
        } else {
            let column = first_column(self.tree, id)?;
            let mut text = String::new();
            for (key, value) in new {
                self.layout.entry(&mut text, column, key, value);
            }
            let at = after(self.tree.text, self.tree.node(id).end, column);
            self.insert(at, grown, text)
        }
    }

    /// Gives a key that has none, or a scalar, another value.
    fn fill(&mut self, grown: &Grown, entry: (Id, Id), in_flow: bool, value: &Value) -> Option<()> {
        let (key, old) = (self.tree.node(entry.0), self.tree.node(entry.1));
        if !matches!(old.shape, Shape::Text(_)) || old.shared {
            return None;
        }
        if !in_flow && old.is_null() && is_tall(value) {
            let text = self.tree.text;
            let colon = key.end + text[key.end..old.end].find(':')?;
            self.splices.push(Splice {
                range: colon + 1..old.end,
                text: String::new(),
                depth: grown.depth + 1,
            });
            let mut new = String::new();
            self.layout.value(&mut new, key.column as usize, value);
            let at = line_end(text, old.end);
            self.splices.push(Splice { range: at..at, text: new, depth: grown.depth + 1 });
            return Some(());
        }
        let space = if self.tree.text[..old.start].ends_with(':') { " " } else { "" };
        let text = format!("{space}{}", flow(value));
        self.splices.push(Splice { range: old.start..old.end, text, depth: grown.depth + 1 });
        Some(())
    }

    fn list(&mut self, id: Id, grown: &Grown, slots: &[Slot]) -> Option<()> {
        let mut floor = grown.floor;
        let mut last = None;
        let mut new: Vec<&Value> = Vec::new();
        for slot in slots {
            match slot {
                Slot::New(value) => new.push(value),
                Slot::Old(old) => {
                    self.before_item(id, grown, *old, floor, &std::mem::take(&mut new))?;
                    floor = self.tree.node(*old).end;
                    last = Some(*old);
                }
            }
        }
        if new.is_empty() {
            return Some(());
        }
        if self.tree.is_flow(id) {
            let items: Vec<String> = new.into_iter().map(flow).collect();
            let last = last.map(|last| self.tree.node(last).end);
            return self.flow_end(id, grown, last, &items.join(", "));
        }
        let column = column_of(self.tree.text, dash(self.tree.text, grown.floor)?);
        // Comments as deep as the dashes may speak of the next key.
        let at = after(self.tree.text, self.tree.node(last?).end, column + 1);
        let text = self.items(column, &new);
        self.insert(at, grown, text)
    }

    fn before_item(&mut self, id: Id, grown: &Grown, old: Id, floor: usize, new: &[&Value]) -> Option<()> {
        let Some((first, _)) = new.split_first() else { return Some(()) };
        let text = self.tree.text;
        if self.tree.is_flow(id) {
            let items: String = new.iter().map(|value| format!("{}, ", flow(value))).collect();
            return self.insert(self.tree.node(old).start, grown, items);
        }
        let dash = dash(text, floor)?;
        let column = column_of(text, dash);
        if let Some(at) = before(text, dash, floor) {
            let text = self.items(column, new);
            return self.insert(at, grown, text);
        }
        let mut out = String::new();
        self.layout.dashed(&mut out, column, first);
        out.push_str(&self.items(column, &new[1..]));
        out.push_str(self.layout.line_break);
        out.extend(std::iter::repeat_n(' ', column));
        self.insert(dash, grown, out)
    }

    fn items(&self, column: usize, new: &[&Value]) -> String {
        let mut text = String::new();
        for value in new {
            self.layout.item(&mut text, column, value);
        }
        text
    }

    /// Puts text after the last part of something in brackets or braces, or after the opening one.
    fn flow_end(&mut self, id: Id, grown: &Grown, last: Option<usize>, new: &str) -> Option<()> {
        let node = self.tree.node(id);
        match last {
            Some(last) => self.insert(last, grown, format!(", {new}")),
            None => {
                let open = self.tree.text[node.start..node.end].rfind(['{', '['])?;
                self.insert(node.start + open + 1, grown, new.to_owned())
            }
        }
    }

    fn insert(&mut self, at: usize, grown: &Grown, text: String) -> Option<()> {
        self.splices.push(Splice { range: at..at, text, depth: grown.depth });
        Some(())
    }
}
