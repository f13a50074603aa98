//! The file `/etc/hosts`.
//!
//! In: a name. Out: the addresses its lines give. Read again when it has changed, because containers
//! get their lines late, and developers edit it while the proxy runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Largest file that is read; more is not a hosts file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The file, and what it said last.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    modified: Option<SystemTime>,
    names: HashMap<String, Vec<IpAddr>>,
}

// === impl Hosts ===

impl Hosts {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::default() }
    }

    /// Addresses of `name`, in the order of the file; none if it is not in it.
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let file = std::fs::metadata(&self.path).ok().filter(|file| file.len() <= FILE_BYTES_MAX);
        let modified = file.and_then(|file| file.modified().ok());
        if modified != read.modified {
            let text = std::fs::read(&self.path).unwrap_or_default();
            *read = Read { modified, names: parse(&String::from_utf8_lossy(&text)) };
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        read.names.get(&name).cloned().unwrap_or_default()
    }
}

/// Lines of an address and names; what is not one is skipped.
fn parse(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse().ok()) else { continue };
        for name in words {
            names.entry(name.to_ascii_lowercase()).or_default().push(ip);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_stand_on_many_lines() {
        let names =
            parse("127.0.0.1 localhost cart # us\n\n#::1 no\n::1 localhost\nnonsense x\n10.0.0.1 Cart\n");
        assert_eq!(names["localhost"], ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(names["cart"].len(), 2);
        assert!(!names.contains_key("no") && !names.contains_key("x"));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let hosts = Hosts::new(&path);
        assert!(hosts.addresses("cart").is_empty());
        std::fs::write(&path, "10.0.0.1 cart").unwrap();
        assert_eq!(hosts.addresses("CART.").len(), 1);
        std::fs::write(&path, "10.0.0.1 cart\n10.0.0.2 cart").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(hosts.addresses("cart").len(), 2);
    }
}
