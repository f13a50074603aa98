//! Removals from a document as replacements of bytes.
//!
//! In: a tree and the values to be taken out. Out: which bytes go, and all values that are gone with them: a
//! list or map that is left empty goes with its key. The reverse of `put`: whole lines with the break before
//! them, or parts between commas.

use std::collections::HashSet;
use std::ops::Range;

use super::place::{dash, end_before, line_end, line_start};
use super::splice::Splice;
use super::tree::{Id, Shape, Tree};

/// The replacements that take `values` out of the pod at `pod`, and everything that is gone then. `Err`: why
/// they cannot be made.
pub(in crate::kube) fn cut(
    tree: &Tree<'_>,
    pod: Id,
    values: HashSet<Id>,
) -> Result<(Vec<Splice>, HashSet<Id>), String> {
    let mut cutting = Cutting { tree, gone: values, splices: Vec::new() };
    cutting.spread(pod);
    cutting.cut(pod, tree.node(pod).start)?;
    Ok((cutting.splices, cutting.gone))
}

struct Cutting<'a, 't> {
    tree: &'a Tree<'t>,
    gone: HashSet<Id>,
    splices: Vec<Splice>,
}

// === impl Cutting ===

impl Cutting<'_, '_> {
    /// Marks keys as gone whose values are left empty; says whether nothing is left under `id`.
    fn spread(&mut self, id: Id) -> bool {
        let tree = self.tree;
        match &tree.node(id).shape {
            Shape::Text(_) | Shape::Alias(_) => false,
            Shape::List { items, .. } => {
                for item in items.iter().filter(|item| !self.gone.contains(item)).copied().collect::<Vec<_>>()
                {
                    self.spread(item);
                }
                !items.is_empty() && items.iter().all(|item| self.gone.contains(item))
            }
            Shape::Map { entries, .. } => {
                for &(key, value) in entries {
                    // We quote the keys that we write in braces: under any other, `[]` or `{}` was there.
                    let theirs = tree.is_flow(value) && tree.node(key).shape.is_plain();
                    if !self.gone.contains(&value) && self.spread(value) && !theirs {
                        self.gone.insert(value);
                    }
                }
                !entries.is_empty() && entries.iter().all(|(_, value)| self.gone.contains(value))
            }
        }
    }

    /// Takes out what is gone under `id`, which begins after `floor`.
    fn cut(&mut self, id: Id, floor: usize) -> Result<(), String> {
        let tree = self.tree;
        match &tree.node(id).shape {
            Shape::Text(_) | Shape::Alias(_) => Ok(()),
            Shape::List { items, flow: true } => {
                let parts: Vec<_> = items.iter().map(|item| (*item, self.range(*item, *item))).collect();
                self.between_commas(&parts)
            }
            Shape::Map { entries, flow: true } => {
                let parts: Vec<_> =
                    entries.iter().map(|(key, value)| (*value, self.range(*key, *value))).collect();
                self.between_commas(&parts)
            }
            Shape::List { items, flow: false } => {
                let mut floor = floor;
                for &item in items {
                    let dash = dash(tree.text, floor).ok_or_else(|| self.stuck(item))?;
                    self.lines(item, dash, dash + 1)?;
                    floor = tree.node(item).end;
                }
                Ok(())
            }
            Shape::Map { entries, flow: false } => {
                for &(key, value) in entries {
                    self.lines(value, tree.node(key).start, tree.node(key).end)?;
                }
                Ok(())
            }
        }
    }

    /// Takes out the lines of one value, whose key or dash is from `start` to `floor`; or what is gone
    /// under it.
    fn lines(&mut self, value: Id, start: usize, floor: usize) -> Result<(), String> {
        let node = self.tree.node(value);
        if !self.gone.contains(&value) {
            return self.cut(value, floor);
        }
        let text = self.tree.text;
        let line = line_start(text, start);
        let end = end_before(text, line).filter(|_| text[line..start].bytes().all(|byte| byte == b' '));
        let end = end.ok_or_else(|| self.stuck(value))?;
        self.drop(end..line_end(text, node.end));
        Ok(())
    }

    /// Takes out parts with the commas that go with them, or what is gone under those that stay.
    fn between_commas(&mut self, parts: &[(Id, Range<usize>)]) -> Result<(), String> {
        let mut index = 0;
        while let Some((value, range)) = parts.get(index) {
            if !self.gone.contains(value) {
                self.cut(*value, range.start)?;
                index += 1;
                continue;
            }
            let run = parts[index..].iter().take_while(|(value, _)| self.gone.contains(value)).count();
            let last = &parts[index + run - 1].1;
            match (index.checked_sub(1).map(|before| &parts[before].1), parts.get(index + run)) {
                (Some(before), _) => self.drop(before.end..last.end),
                (None, Some((_, next))) => self.drop(range.start..next.start),
                (None, None) => self.drop(range.start..last.end),
            }
            index += run;
        }
        Ok(())
    }

    fn range(&self, key: Id, value: Id) -> Range<usize> {
        self.tree.node(key).start..self.tree.node(value).end
    }

    fn drop(&mut self, range: Range<usize>) {
        self.splices.push(Splice { range, text: String::new(), depth: 0 });
    }

    fn stuck(&self, id: Id) -> String {
        format!("line {}: it is not on lines of its own", self.tree.node(id).line)
    }
}
