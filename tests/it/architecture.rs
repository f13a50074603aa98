//! The road has one direction: a stage imports only from its right.
//!
//! In: the sources as text. Out: every line that goes against the table. Tests inside the sources
//! are not looked at: they may use anything.

use std::fs;
use std::path::{Path, PathBuf};

/// Every stage, and all it may use besides itself. `main` names the crate as `outrigger`, all
/// others as `crate`. ARCHITECTURE.md has the same table.
pub(crate) const ALLOWED: &[(&str, &str)] = &[
    ("lib", ""),
    ("main", "cli"),
    // --- wiring, and what hangs beside the road ---
    ("cli", "app admin capture kube config error"),
    ("app", "worker accept serve mesh upstream telemetry config admin capture drain error"),
    ("admin", "mesh route policy upstream telemetry config listen error"),
    ("capture", "config listen error"),
    ("kube", "config listen error"),
    // --- the road ---
    ("worker", "accept serve call mesh route policy upstream telemetry config error"),
    ("accept", "mesh serve call telemetry config stream listen error"),
    ("serve", "call mesh route policy upstream telemetry config stream head wire error"),
    ("call", "mesh route policy upstream telemetry config stream head wire error"),
    ("mesh", "route policy upstream telemetry config wire error"),
    ("route", "policy config head error"),
    ("policy", "config head error"),
    ("upstream", "policy telemetry config stream error"),
    ("telemetry", "config head wire error"),
    ("config", "error"),
    // --- leaves: shared words ---
    ("drain", "config error"),
    ("listen", ""),
    ("stream", "config"),
    ("head", "wire error"),
    ("wire", "head error"),
    ("error", ""),
];

#[test]
fn a_stage_imports_only_from_its_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&root) {
        let inside = file.strip_prefix(&root).expect("under src").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("a source file");
        wrong.extend(violations(&inside, &text));
    }
    assert!(wrong.is_empty(), "against the direction of the road:\n{}", wrong.join("\n"));
}

#[test]
fn the_check_finds_what_it_should() {
    let text = "//! Doc of crate::call.\nuse crate::upstream::Pool;\nfn a(b: crate::policy::C) {} // crate::serve\n\
                use crate::{config, head};\n#[cfg(test)]\nmod tests {\n    use crate::serve::X;\n}\n";
    let found = violations("route/matcher.rs", text);
    assert_eq!(
        found,
        [
            "src/route/matcher.rs:2: `route` may not use `upstream`",
            "src/route/matcher.rs:4: one stage per `use`, so that this check can read it",
        ]
    );
    assert_eq!(violations("new.rs", ""), ["src/new.rs: `new` is no stage of the table"]);
    assert_eq!(violations("main.rs", "use outrigger::admin;"), ["src/main.rs:1: `main` may not use `admin`"]);
}

/// Every `.rs` file under `folder` that is not a test module of its own.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_tests {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The stages that `stage` may use.
fn allowed(stage: &str) -> Option<Vec<&'static str>> {
    let (_, may) = ALLOWED.iter().find(|(name, _)| *name == stage)?;
    Some(may.split_whitespace().collect())
}

/// What is wrong in one file; `inside` is its path under `src`.
fn violations(inside: &str, text: &str) -> Vec<String> {
    let stage = inside.split(['/', '.']).next().unwrap_or_default();
    let Some(allowed) = allowed(stage) else {
        return vec![format!("src/{inside}: `{stage}` is no stage of the table")];
    };
    let root = if stage == "main" { "outrigger::" } else { "crate::" };
    let mut wrong = Vec::new();
    for (index, line) in production(text).lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for after in code.split(root).skip(1) {
            let used: String =
                after.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
            let place = format!("src/{inside}:{}", index + 1);
            if after.starts_with('{') {
                wrong.push(format!("{place}: one stage per `use`, so that this check can read it"));
            } else if used != stage && is_stage(&used) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{place}: `{stage}` may not use `{used}`"));
            }
        }
    }
    wrong
}

/// Whether a name after `crate::` is a stage, and not an item of the crate's root.
fn is_stage(name: &str) -> bool {
    ALLOWED.iter().any(|(stage, _)| *stage == name)
}

/// The text before the file's own tests.
pub(crate) fn production(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}
