//! Reads the tree as meant: values in range, inheritance resolved, lints applied.
//!
//! In: the merged tree of all files. Out: a [`Config`], or every problem there is. Never stops at the
//! first problem and never reads a socket, a clock or a file, but those that a `tls` names, or a variable of TLS.
//!
//! Keys are found by walking the table of `keys`, so a block needs no code of its own to refuse an
//! unknown key, to suggest the right one, or to know its path.

mod address;
mod capture;
mod claims;
mod cover;
mod layer;
mod lints;
mod process;
mod route;
mod service;
mod tls;
mod tracing;
mod value;

use std::collections::HashSet;
use std::rc::Rc;

use crate::config::keys::{self, Key, Kind, Scope};
use crate::config::raw::{Node, Place, Shape};
use crate::config::{Config, Options, Origin, Problem, UnknownKeys};

#[cfg(test)]
pub(super) use value::want_form;

/// Most problems told. More are of no help to a reader, and each costs memory.
pub(super) const PROBLEMS_MAX: usize = 1_000;

/// Most characters of a user's text repeated in a problem.
const FOUND_CHARS_MAX: usize = 60;

/// Collects what is wrong while the parts are read.
pub(super) struct Checker<'a> {
    files: &'a [String],
    options: &'a Options,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Lints told so far, with the places of the values they are about.
    told: HashSet<Told>,
}

/// A lint, and the places of the values it is about.
type Told = (&'static str, Vec<(u16, u32, u32)>);

/// One key that was found, with its value.
pub(super) struct Leaf<'n> {
    key: &'static Key,
    /// The whole path, for problems.
    at: String,
    /// Where the key stands; origins cite this.
    place: Place,
    node: &'n Node,
}

/// Checks the merged tree. Warnings go into the configuration; problems come back all at once.
pub(super) fn check(
    root: &Rc<Node>,
    files: &[String],
    options: &Options,
    earlier: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut checker =
        Checker { files, options, problems: earlier, warnings: Vec::new(), told: HashSet::new() };
    let config = checker.process(root);
    let Checker { mut problems, mut warnings, .. } = checker;
    match config {
        Some(mut config) if problems.is_empty() => {
            sort(&mut warnings);
            config.warnings = warnings;
            Ok(config)
        }
        Some(_) | None => {
            sort(&mut problems);
            Err(problems)
        }
    }
}

/// Orders problems as their reader meets the places.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
}

/// Appends a key to a path; a key with dots or spaces is quoted.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let simple = key.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_' || c == '/');
    if simple && key.len() <= FOUND_CHARS_MAX {
        path.push_str(key);
    } else {
        path.push_str(&format!("\"{}\"", shorten(key)));
    }
}

/// The text, short and on one line.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(FOUND_CHARS_MAX).flat_map(char::escape_debug).collect();
    // escape_debug also escapes quotes, which need no escaping inside a sentence.
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(FOUND_CHARS_MAX).is_some() {
        short.push_str("...");
    }
    short
}

/// How a value is named in a problem.
fn found(node: &Node) -> String {
    match &node.shape {
        _ if node.is_nothing() => "nothing".to_owned(),
        Shape::Scalar { text, plain: true } => shorten(text),
        Shape::Scalar { text, plain: false } => format!("\"{}\"", shorten(text)),
        Shape::List(items) if items.is_empty() => "an empty list".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Map(entries) if entries.is_empty() => "an empty block".to_owned(),
        Shape::Map(_) => "a block".to_owned(),
    }
}

/// `a, b or c`.
fn any_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

// === impl Checker ===

impl<'a> Checker<'a> {
    /// Notes a problem.
    fn problem(&mut self, place: Place, at: &str, found: impl Into<String>, want: impl Into<String>) {
        let problem = self.describe(place, at, found, want);
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else if self.problems.len() == PROBLEMS_MAX {
            let (found, want) = (format!("more than {PROBLEMS_MAX} problems"), "fewer");
            self.problems.push(self.describe(Place { line: 0, ..place }, "", found, want));
        }
    }

    /// Notes what is wrong with the value of one key.
    fn wrong(&mut self, leaf: &Leaf<'_>, wrongs: Vec<value::Wrong>) {
        for wrong in wrongs {
            self.problem(wrong.place, &leaf.at, wrong.found, wrong.want);
        }
    }

    /// Notes something that does not stop the load.
    fn warning(&mut self, place: Place, at: &str, found: impl Into<String>, want: impl Into<String>) {
        if self.warnings.len() < PROBLEMS_MAX {
            let warning = self.describe(place, at, found, want);
            self.warnings.push(warning);
        }
    }

    fn describe(&self, place: Place, at: &str, found: impl Into<String>, want: impl Into<String>) -> Problem {
        Problem {
            file: self.files.get(usize::from(place.file)).cloned().unwrap_or_default(),
            line: place.line,
            column: place.column,
            key: at.to_owned(),
            found: found.into(),
            want: want.into(),
        }
    }

    /// `file:line` of another place, for a problem about two places.
    fn cite(&self, place: Place) -> String {
        let file = self.files.get(usize::from(place.file)).map_or("", String::as_str);
        format!("{file}:{}", place.line)
    }

    /// Every known key of the block `node`, sub-blocks included, each after the block it stands in.
    fn leaves<'n>(&mut self, scope: Scope, node: &'n Node, at: &str) -> Vec<Leaf<'n>> {
        let mut leaves = Vec::new();
        if node.entries().is_some() {
            self.descend(scope, "", node, at, &mut leaves);
        } else {
            self.problem(node.place, at, found(node), "a block of keys");
        }
        leaves
    }

    /// Reads one block. The recursion is as deep as the table: four.
    fn descend<'n>(
        &mut self,
        scope: Scope,
        prefix: &'static str,
        node: &'n Node,
        at: &str,
        leaves: &mut Vec<Leaf<'n>>,
    ) {
        for entry in node.entries().unwrap_or_default() {
            if entry.key.starts_with("x-") {
                continue;
            }
            let mut path = at.to_owned();
            push_key(&mut path, &entry.key);
            let Some(key) = scope.find(prefix, &entry.key) else {
                self.unknown_key(scope, prefix, &entry.key, entry.place, &path);
                continue;
            };
            if !scope.allows(key) {
                self.misplaced(scope, entry.place, &path);
                continue;
            }
            leaves.push(Leaf { key, at: path.clone(), place: entry.place, node: &entry.value });
            let Kind::Block { off } = key.kind else {
                continue;
            };
            if entry.value.entries().is_some() {
                self.descend(scope, key.path, &entry.value, &path, leaves);
            } else if !off || !value::is_off(&entry.value) {
                leaves.pop();
                let want = match key.path {
                    "retries.budget" => "a block of keys; it is never off",
                    _ if off => "a block, {} for its defaults, or off",
                    _ => "a block of keys",
                };
                self.problem(entry.value.place, &path, found(&entry.value), want);
            }
        }
    }

    fn misplaced(&mut self, scope: Scope, place: Place, at: &str) {
        let (found, want) = match scope {
            Scope::Route => (
                "a key of the service in a route",
                "it in the service: it belongs to the service, its state is shared by all routes",
            ),
            Scope::Process | Scope::Defaults | Scope::Service => {
                ("a key of a service or route in `defaults`", "it in the service or route that it is true of")
            }
        };
        self.problem(place, at, found, want);
    }

    fn unknown_key(&mut self, scope: Scope, prefix: &str, name: &str, place: Place, at: &str) {
        if self.problems.len() > PROBLEMS_MAX || self.warnings.len() >= PROBLEMS_MAX {
            return;
        }
        let of_service = prefix.is_empty() && Scope::Service.find(prefix, name).is_some();
        if of_service && (scope == Scope::Route || scope == Scope::Defaults) {
            return self.misplaced(scope, place, at);
        }
        let found = format!("unknown key `{}`", shorten(name));
        let names = scope.names(prefix);
        if scope.is_later(prefix, name) {
            let want = format!("one of {}; {name} is not spoken yet", names.join(", "));
            return self.problem(place, at, found, want);
        }
        let mut want = format!("one of {}", names.join(", "));
        if let Some(name) = keys::nearest(name, &names) {
            want.push_str(&format!("; did you mean `{name}`?"));
        }
        // A key that is dropped from these would not weaken a policy but send calls astray, or trust anyone.
        let may_pass = !["match", "endpoints", "tls", "tracing.tls"].contains(&prefix);
        match self.options.unknown_keys {
            UnknownKeys::Warn if may_pass => self.warning(place, at, found, want),
            UnknownKeys::Warn | UnknownKeys::Error => self.problem(place, at, found, want),
        }
    }

    fn origin(place: Place, layer: super::Layer) -> Origin {
        Origin { layer, file: place.file, line: place.line, column: place.column }
    }
}
