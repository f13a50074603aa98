//! Notices that the configuration's content has changed.
//!
//! In: a path, or certificates and keys by themselves. Out: one wake-up per change of content, its own or that of the certificates and keys it
//! names. Never reads meaning into it; `load` does.
//!
//! The parent directory is watched and not the file: a mounted ConfigMap is changed by swapping a
//! link, an editor renames a new file over the old one, and a watch on the file is dead after
//! either. Which file an event names says nothing (the swap never names ours), so every event leads
//! to the same question: does the content differ? File systems that send no events are polled.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::{load, material};

mod named;

/// After the first event, the time for the rest of one save to arrive.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// How soon a change is noticed that sends no event: network file systems, a directory made anew.
const POLL: Duration = Duration::from_secs(30);

/// Waits for changes of one configuration.
#[derive(Debug)]
pub struct Watcher {
    /// The configuration; `None` where certificates and keys alone are watched.
    path: Option<PathBuf>,
    seen: Seen,
    events: Arc<Notify>,
    /// An event came whose content has not been looked at; outlives a dropped `changed`.
    woken: bool,
    /// `None` where the system has no watches to give; polling remains.
    folders: Option<RecommendedWatcher>,
}

/// What was there at the last look.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// A number that differs when what `load` would read differs.
    yaml: u64,
    /// The same of the files that the YAML names.
    named: u64,
    /// Those files.
    files: Vec<PathBuf>,
}

// === impl Watcher ===

impl Watcher {
    /// Watches the file or directory as it is now. Make it before the first `load`, so that no change
    /// falls between the two. Never fails: without events it polls.
    pub fn new(path: &Path) -> Self {
        Self::start(Some(path.to_owned()), Seen::now(path, None))
    }

    /// Watches these files, certificates and keys, as they are now. The rest is the same.
    pub fn of_files(files: Vec<PathBuf>) -> Self {
        Self::start(None, Seen::of_files(files))
    }

    fn start(path: Option<PathBuf>, seen: Seen) -> Self {
        let events = Arc::new(Notify::new());
        let wake = Arc::clone(&events);
        let folders = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an access; it must not wake us.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                wake.notify_one();
            }
        });
        let mut watcher = Self { path, seen, events, woken: false, folders: folders.ok() };
        watcher.watch();
        watcher
    }

    /// Resolves when the content differs from the last time; that it is gone is a difference too.
    /// Cancel-safe: a change that was not reported yet is reported by the next call.
    pub async fn changed(&mut self) {
        loop {
            if !self.woken {
                // Both arms may be dropped: `Notify` keeps a wake-up that nobody took, a sleep holds nothing.
                tokio::select! {
                    () = self.events.notified() => self.woken = true,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            if self.woken {
                tokio::time::sleep(DEBOUNCE).await;
                self.woken = false;
            }
            // The directory may be another one than before.
            self.watch();
            let seen = match &self.path {
                Some(path) => Seen::now(path, Some(&self.seen)),
                None => Seen::of_files(self.seen.files.clone()),
            };
            if seen != self.seen {
                self.seen = seen;
                // New names are watched before they are read, so that no change falls between the two.
                self.watch();
                return;
            }
        }
    }

    /// (Re)places the watches; one that is there already stays.
    fn watch(&mut self) {
        let Some(folders) = &mut self.folders else {
            return;
        };
        let named = self.seen.files.iter().flat_map(|file| folders_of(file));
        let path = self.path.iter().flat_map(|path| folders_of(path));
        let folders_wanted: BTreeSet<PathBuf> = path.chain(named).collect();
        for folder in folders_wanted {
            if let Err(error) = folders.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "not watched, polled");
            }
        }
    }
}

/// The directories whose entries decide what is read: of the path as given, and of what it links to.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        _ if path.is_dir() => path.to_owned(),
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut folders = vec![folder(path)];
    if let Ok(target) = path.canonicalize() {
        let target = folder(&target);
        if !folders.contains(&target) {
            folders.push(target);
        }
    }
    folders
}

// === impl Seen ===

impl Seen {
    /// What is there now. The YAML is taken apart only when it differs from `before`.
    fn now(path: &Path, before: Option<&Self>) -> Self {
        let mut hasher = DefaultHasher::new();
        let sources = load::read(path);
        match &sources {
            Ok(sources) => {
                for source in sources {
                    (&source.name, &source.bytes).hash(&mut hasher);
                }
            }
            Err(problem) => problem.to_string().hash(&mut hasher),
        }
        let yaml = hasher.finish();
        let files = match before {
            Some(before) if before.yaml == yaml => before.files.clone(),
            Some(_) | None => named::named(&sources.unwrap_or_default()),
        };
        Self { yaml, named: fingerprint(&files), files }
    }

    /// The same without YAML.
    fn of_files(files: Vec<PathBuf>) -> Self {
        Self { yaml: 0, named: fingerprint(&files), files }
    }
}

/// A number that differs when the content of one of the files does, or that it can't be read.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        material::read(file).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
