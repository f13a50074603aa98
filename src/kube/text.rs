//! Manifests as text that keeps its comments, its order and its layout.
//!
//! In: a YAML stream and edits. Out: the same bytes with the edits put in. `read` makes trees whose values
//! know their places, `value` says what they mean, `put` and `cut` turn changes into replacements of bytes.

mod cut;
mod offsets;
mod overlay;
mod place;
mod put;
mod read;
mod scalar;
mod splice;
mod tree;
mod value;
mod write;

pub(super) use cut::cut;
pub(super) use overlay::refusal;
pub(super) use put::put;
pub(super) use read::Documents;
pub(super) use splice::{Splice, apply, sort};
pub(super) use tree::{Id, Shape, Tree, problem};
pub(super) use value::{value, value_without};

#[cfg(test)]
mod tests;
