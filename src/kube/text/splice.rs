//! Replacements of bytes in a text.
//!
//! In: a text, replacements in any order. Out: the new text. What stands deeper comes first where several
//! things are put at one place.

use std::cmp::Reverse;
use std::ops::Range;

/// One replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kube) struct Splice {
    /// The bytes that go.
    pub(in crate::kube) range: Range<usize>,
    /// What comes in their place.
    pub(in crate::kube) text: String,
    /// How deep what is put there stands in the document.
    pub(in crate::kube) depth: usize,
}

/// Puts replacements in their order.
pub(in crate::kube) fn sort(splices: &mut [Splice]) {
    splices.sort_by_key(|splice| (splice.range.start, Reverse(splice.depth)));
}

/// The bytes `part` of `text` with replacements, which are in order and inside of it. `None` if two of
/// them take the same bytes.
pub(in crate::kube) fn apply(text: &str, part: Range<usize>, splices: &[Splice]) -> Option<String> {
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut out = String::with_capacity(part.len() + added);
    let mut at = part.start;
    for splice in splices {
        out.push_str(text.get(at..splice.range.start)?);
        out.push_str(&splice.text);
        at = splice.range.end;
    }
    out.push_str(text.get(at..part.end)?);
    Some(out)
}
