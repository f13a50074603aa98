//! Manifests: YAML files with pods in them, changed in place.
//!
//! In: files, and what is to be changed in a pod. Out: one stream with the changes, and notes on what was
//! left as it is; or every file's problem, and no output at all.
//!
//! Each changed document is read once more and compared with what the changes mean: text that would say
//! anything else is not given out.

mod find;
mod source;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::Value;

use super::edit::Edit;
use super::plan::Namespace;
use super::text::{Documents, Id, Splice, Tree, apply, sort, value, value_without};
use crate::config::Problem;

use find::{Found, Place};
pub use source::{INPUT_BYTES_MAX, Source};

/// All files as one stream, and what there is to say of it.
#[derive(Debug)]
pub struct Rewritten {
    /// The stream.
    pub text: String,
    /// What was left as it is and why, and what the owners of pods should know; in the order of the files.
    pub notes: Vec<Note>,
}

/// One sentence on one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file, as it was named to us.
    pub file: String,
    /// The line on which the pod's document, or its part of a list, begins; from 1.
    pub line: u32,
    /// Kind and name: `Deployment/web`.
    pub who: String,
    /// The sentence.
    pub message: String,
}

/// A pod of a manifest, as it is shown to whoever changes it.
pub(super) struct PodAt<'a, 't> {
    /// The document.
    pub(super) tree: &'a Tree<'t>,
    /// The pod or pod template in it.
    pub(super) id: Id,
    /// Its value: `metadata` and `spec`.
    pub(super) value: &'a Value,
    /// Its namespace, with its labels if the input has them.
    pub(super) namespace: Option<&'a Namespace>,
}

/// What is changed in a pod.
#[derive(Default)]
pub(super) struct Change {
    /// The bytes that are replaced.
    pub(super) splices: Vec<Splice>,
    /// What that adds, in order.
    pub(super) edits: Vec<Edit>,
    /// What it takes out.
    pub(super) gone: HashSet<Id>,
    /// What the owner of the pod should know.
    pub(super) notices: Vec<String>,
}

/// A document with pods.
struct Document<'t> {
    file: usize,
    tree: Tree<'t>,
    found: Vec<Found>,
}

/// What all files say together.
#[derive(Default)]
struct Read<'t> {
    documents: Vec<Document<'t>>,
    namespaces: BTreeMap<String, Namespace>,
    problems: Vec<Problem>,
}

/// Changes every pod of the files by `change`, whose `Err` says why one is left as it is. Pods that name no
/// namespace are of `namespace`. `Err`: what is wrong with the files.
pub(super) fn rewrite(
    sources: &[Source],
    namespace: Option<&str>,
    change: impl Fn(&PodAt<'_, '_>) -> Result<Change, String>,
) -> Result<Rewritten, Vec<Problem>> {
    let mut read = Read::of(sources);
    let mut notes = Vec::new();
    let mut splices: Vec<Vec<Splice>> = sources.iter().map(|_| Vec::new()).collect();
    for document in std::mem::take(&mut read.documents) {
        match document.changed(&read.namespaces, namespace, &change, &mut notes) {
            Ok(more) => splices[document.file].extend(more),
            Err(problem) => read.problems.push(problem),
        }
    }
    if !read.problems.is_empty() {
        return Err(read.problems);
    }
    let texts = sources.iter().zip(&splices).map(|(source, splices)| {
        let text = source.yaml();
        apply(text, 0..text.len(), splices).unwrap_or_else(|| text.to_owned())
    });
    Ok(Rewritten { text: source::join(sources, texts), notes })
}

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.who, self.message)
    }
}

// === impl Read ===

impl<'t> Read<'t> {
    fn of(sources: &'t [Source]) -> Self {
        let mut read = Self::default();
        for (file, source) in sources.iter().enumerate() {
            let mut documents = Documents::new(&source.name, source.yaml());
            loop {
                match documents.next() {
                    Ok(Some(tree)) => read.take(file, tree),
                    Ok(None) => break,
                    Err(problem) => {
                        read.problems.push(problem);
                        break;
                    }
                }
            }
        }
        read
    }

    fn take(&mut self, file: usize, tree: Tree<'t>) {
        match find::find(&tree) {
            Ok(found) => {
                for namespace in found.namespaces {
                    self.namespaces.insert(namespace.name.clone(), namespace);
                }
                if !found.pods.is_empty() {
                    self.documents.push(Document { file, tree, found: found.pods });
                }
            }
            Err(problem) => self.problems.push(problem),
        }
    }
}

// === impl Document ===

impl Document<'_> {
    /// The replacements in this document.
    fn changed(
        &self,
        namespaces: &BTreeMap<String, Namespace>,
        default: Option<&str>,
        change: &impl Fn(&PodAt<'_, '_>) -> Result<Change, String>,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Splice>, Problem> {
        let whole = value(&self.tree, self.tree.root)?;
        let mut all = Change::default();
        for found in &self.found {
            let name = found.namespace.as_deref().or(default);
            let namespace = name.map(|name| {
                let unknown = || Namespace { name: name.to_owned(), labels: BTreeMap::new() };
                namespaces.get(name).cloned().unwrap_or_else(unknown)
            });
            let told = match self.pod(found, &whole, namespace.as_ref(), change) {
                Ok(done) => {
                    all.splices.extend(done.splices);
                    all.gone.extend(done.gone);
                    all.edits.extend(done.edits.into_iter().map(|edit| found.in_document(edit)));
                    done.notices
                }
                Err(reason) => vec![format!("skipped: {reason}")],
            };
            notes.extend(told.into_iter().map(|message| self.note(found, message)));
        }
        sort(&mut all.splices);
        if self.is_right(&all)? {
            return Ok(all.splices);
        }
        let message = "skipped: its layout is one that cannot be changed in place";
        notes.extend(self.found.iter().map(|found| self.note(found, message.to_owned())));
        Ok(Vec::new())
    }

    fn pod(
        &self,
        found: &Found,
        whole: &Value,
        namespace: Option<&Namespace>,
        change: &impl Fn(&PodAt<'_, '_>) -> Result<Change, String>,
    ) -> Result<Change, String> {
        let id = match &found.place {
            Place::At(id) => *id,
            Place::Nowhere(reason) => return Err(reason.clone()),
        };
        let value = whole.pointer(&found.pointer()).ok_or("its place in the document is lost")?;
        change(&PodAt { tree: &self.tree, id, value, namespace })
    }

    /// Whether the document with the replacements says what they are meant to say.
    fn is_right(&self, all: &Change) -> Result<bool, Problem> {
        if all.splices.is_empty() {
            return Ok(true);
        }
        let mut wanted = value_without(&self.tree, self.tree.root, &all.gone)?;
        if !all.edits.iter().all(|edit| edit.apply(&mut wanted)) {
            return Ok(false);
        }
        let Some(text) = apply(self.tree.text, self.tree.range.clone(), &all.splices) else {
            return Ok(false);
        };
        let mut again = Documents::new(self.tree.name, &text);
        let Ok(Some(tree)) = again.next() else { return Ok(false) };
        Ok(value(&tree, tree.root).is_ok_and(|found| found == wanted))
    }

    fn note(&self, found: &Found, message: String) -> Note {
        Note { file: self.tree.name.to_owned(), line: found.line, who: found.who.clone(), message }
    }
}

#[cfg(test)]
mod tests;
