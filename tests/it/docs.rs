//! The documents are true: what they list is what there is, and what they show can be run.
//!
//! In: README.md, ARCHITECTURE.md, the reference, the sources as text. Out: every sentence that can
//! be checked, checked. Unlike the rest of these tests this one also asks the library for its tables.
//! Lists between marks are generated: run with `UPDATE_EXPECTED=1` after changing their source.

mod examples;
mod lists;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Several tests write parts of one document.
static WRITING: Mutex<()> = Mutex::new(());

/// A document of the repository.
fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What stands between the marks called `mark`.
fn between(text: &str, mark: &str) -> String {
    let (begin, end) = (format!("<!-- {mark}: begin -->\n"), format!("<!-- {mark}: end -->\n"));
    let (_, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no mark {begin}"));
    rest.split_once(&end).unwrap_or_else(|| panic!("no mark {end}")).0.to_owned()
}

/// Compares a generated list with what the document has, or puts it there when told to.
fn generated(document: &str, mark: &str, wanted: &str) {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let text = read(document);
    let found = between(&text, mark);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let (begin, end) = (format!("<!-- {mark}: begin -->\n"), format!("<!-- {mark}: end -->\n"));
        let new = text.replacen(&format!("{begin}{found}{end}"), &format!("{begin}{wanted}{end}"), 1);
        fs::write(path(document), new).expect("writing the document");
    } else {
        assert_eq!(found, wanted, "{document}, {mark}: run with UPDATE_EXPECTED=1");
    }
}

/// The production sources: path from the root, and the text before the tests.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in super::architecture::sources(&path("src")) {
        let text = fs::read_to_string(&file).expect("a source file");
        let inside = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("under the root");
        let production = super::architecture::production(&text).to_owned();
        found.push((inside.to_string_lossy().into_owned(), production));
    }
    found
}
