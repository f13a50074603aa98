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
        let services = child(&root, "services").and_then(Node::entries).unwrap_or_default();
        let holders = services.iter().map(|service| &*service.value).chain(child(&root, "tracing"));
        for tls in holders.filter_map(|holder| child(holder, "tls")) {
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
