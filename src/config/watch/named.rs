//! The files that a configuration names: certificates and keys.
//!
//! In: the YAML as it is written, right or wrong. Out: paths. A file that is no good must be watched like
//! any other, since mending it mends the configuration; so this asks for no more than YAML.

use std::path::PathBuf;

use crate::config::load::Source;
use crate::config::raw::{self, Node};
use crate::config::{keys::PEM_FILES, material};

/// Most files watched; a service has three, and most services share theirs.
const NAMED_MAX: usize = 3_000;

/// The files that `sources` name, each once.
pub(super) fn named(sources: &[Source]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for source in sources {
        let Ok(root) = raw::parse(0, &source.name, &source.bytes, &mut Vec::new()) else { continue };
        for service in child(&root, "services").and_then(Node::entries).unwrap_or_default() {
            let Some(tls) = child(&service.value, "tls") else { continue };
            for key in PEM_FILES {
                let text = child(tls, key).and_then(Node::text).filter(|text| !text.is_empty());
                found.extend(text.map(|text| material::resolve(&source.name, text)));
            }
        }
    }
    found.sort();
    found.dedup();
    found.truncate(NAMED_MAX);
    found
}

fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let entry = node.entries()?.iter().find(|entry| entry.key == key)?;
    Some(&entry.value)
}
