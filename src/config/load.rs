//! From a path to a configuration: files are read, merged and checked.
//!
//! In: a file, or a directory whose files may not set the same key twice. Out: a [`Config`] or every
//! problem. Reads, never writes; hidden files are skipped, because a mounted ConfigMap keeps its old
//! and new versions in them.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::raw::{self, Entry, Node, Place, Shape};
use super::{Config, Environment, Problem, check};

/// Most files of a directory.
const FILES_MAX: usize = 1_000;

/// How a configuration is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What an unknown key is.
    pub unknown_keys: UnknownKeys,
    /// The port of `health.listen`, on every address, where the files have none; for pods.
    pub health_port: Option<u16>,
    /// What is taken from outside the files.
    pub environment: Environment,
    /// Whether there may be no such file or directory: the configuration is empty then.
    pub may_be_absent: bool,
}

/// What an unknown key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownKeys {
    /// A problem.
    #[default]
    Error,
    /// A warning, for roll-outs where some proxies are older than the file.
    Warn,
}

/// One file that was read.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Reads the file, or all `*.yaml` and `*.yml` of the directory.
///
/// # Errors
///
/// Every problem there is, in the order of their places.
pub fn load(path: &Path, options: &Options) -> Result<Config, Vec<Problem>> {
    if options.may_be_absent && std::fs::metadata(path).is_err_and(|error| error.kind() == NotFound) {
        return load_str("built-in", "{}", options);
    }
    let sources = read(path).map_err(|problem| vec![problem])?;
    load_sources(&sources, options)
}

/// Reads `text`, which problems call `name`.
///
/// # Errors
///
/// Every problem there is, in the order of their places.
pub fn load_str(name: &str, text: &str, options: &Options) -> Result<Config, Vec<Problem>> {
    load_bytes(name, text.as_bytes(), options)
}

/// The same for bytes that may not even be text.
pub(super) fn load_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Config, Vec<Problem>> {
    load_sources(&[Source { name: name.to_owned(), bytes: bytes.to_vec() }], options)
}

fn load_sources(sources: &[Source], options: &Options) -> Result<Config, Vec<Problem>> {
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    let mut problems = Vec::new();
    let mut merged: Option<Rc<Node>> = None;
    let mut unreadable = false;
    for (index, source) in sources.iter().enumerate() {
        let file = u16::try_from(index).unwrap_or(u16::MAX);
        match raw::parse(file, &source.name, &source.bytes, &mut problems) {
            Ok(node) => {
                merged = Some(match merged {
                    Some(earlier) => merge(&earlier, &node, "", &names, &mut problems),
                    None => node,
                });
            }
            Err(problem) => {
                problems.push(problem);
                unreadable = true;
            }
        }
    }
    match merged {
        // What could not be read may hold the keys that others seem to lack: no further checks.
        Some(root) if !unreadable => check::check(&root, &names, options, problems),
        Some(_) | None => {
            check::sort(&mut problems);
            Err(problems)
        }
    }
}

/// The bytes of the file or files.
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Problem> {
    let is_dir = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_dir();
    let paths = if is_dir { yaml_files(path)? } else { vec![path.to_owned()] };
    if paths.is_empty() {
        return Err(whole(path, "a directory without *.yaml", "at least one file"));
    }
    if paths.len() > FILES_MAX {
        return Err(whole(path, "more than 1000 files", "fewer"));
    }
    paths.iter().map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> Result<Source, Problem> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    // One byte past the bound is enough to see that it is passed.
    let most = raw::FILE_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    Ok(Source { name: path.display().to_string(), bytes })
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        // Follows links: the files of a mounted ConfigMap are links.
        if !hidden && yaml && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Lays one file over another; blocks are joined, anything else may be set once.
fn merge(
    earlier: &Rc<Node>,
    later: &Rc<Node>,
    at: &str,
    names: &[String],
    problems: &mut Vec<Problem>,
) -> Rc<Node> {
    let (Some(left), Some(right)) = (earlier.entries(), later.entries()) else {
        problems.push(twice(at, earlier.place, later.place, names));
        return Rc::clone(earlier);
    };
    let mut entries: Vec<Entry> = left.to_vec();
    let mut known: std::collections::HashMap<String, usize> =
        left.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index)).collect();
    for entry in right {
        if entry.key.starts_with("x-") {
            continue;
        }
        let mut path = at.to_owned();
        check::push_key(&mut path, &entry.key);
        match known.get(&entry.key) {
            None => {
                known.insert(entry.key.clone(), entries.len());
                entries.push(entry.clone());
            }
            // Every file may say which form it has.
            Some(_) if path == "version" => {}
            Some(index) => {
                let first = &entries[*index];
                if first.value.entries().is_some() && entry.value.entries().is_some() {
                    let value = merge(&first.value, &entry.value, &path, names, problems);
                    entries[*index].value = value;
                } else {
                    problems.push(twice(&path, first.place, entry.place, names));
                }
            }
        }
    }
    Rc::new(Node { place: earlier.place, shape: Shape::Map(entries) })
}

fn twice(at: &str, first: Place, second: Place, names: &[String]) -> Problem {
    let name = |place: Place| names.get(usize::from(place.file)).map_or("", String::as_str);
    Problem {
        file: name(second).to_owned(),
        line: second.line,
        column: second.column,
        key: at.to_owned(),
        found: "a key that another file sets too".to_owned(),
        want: format!("each key in one file (first at {}:{}:{})", name(first), first.line, first.column),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let found = if error.kind() == std::io::ErrorKind::NotFound {
        "no such file".to_owned()
    } else {
        format!("an unreadable file ({error})")
    };
    whole(path, &found, "a YAML file, or a directory of them")
}

fn whole(path: &Path, found: &str, want: &str) -> Problem {
    Problem::of_file(path.display().to_string(), found, want)
}
