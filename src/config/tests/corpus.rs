//! Every file of `mesh-config/invalid` gives exactly the text beside it, quickly.
//!
//! To accept new texts, run with `UPDATE_EXPECTED=1` and read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{options, told};
use crate::config::load::load_bytes;

/// Hostile files may not cost more than this, in a debug build on a busy machine.
const EACH_MAX: Duration = Duration::from_secs(2);

/// Fewer would mean that the folder was not found.
const CASES_MIN: usize = 50;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mesh-config/invalid");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    cases
}

#[test]
fn every_invalid_file_is_explained_in_the_words_beside_it() {
    let mut wrong = Vec::new();
    let cases = cases();
    let folder = format!("{}/mesh-config/invalid/", env!("CARGO_MANIFEST_DIR"));
    assert!(cases.len() >= CASES_MIN);
    for path in cases {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let start = SystemTime::now();
        let result = load_bytes(&path.display().to_string(), &fs::read(&path).unwrap(), &options());
        let took = start.elapsed().unwrap_or_default();
        assert!(took < EACH_MAX, "{name} took {took:?}");
        let found = match result {
            Ok(_) => "no problem\n".to_owned(),
            // As if it were read where it stands, whatever the machine calls the folder.
            Err(problems) => told(&problems).replace(&folder, ""),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        if found == "no problem\n" || fs::read_to_string(&expected).ok().as_deref() != Some(&found) {
            wrong.push(format!("{name}:\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
