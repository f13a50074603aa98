//! The programs that speak to the kernel: found, run, listened to.
//!
//! In: a name, words, and a text for standard input. Out: what it said, or the trouble. Never a shell:
//! nothing of a text is ever read as a command.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Trouble;

/// Where they are when `PATH` does not say: that of a user often leaves `sbin` out.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Each with the package it comes in, which has this name on Debian, Fedora and Alpine alike.
const PACKAGES: [(&str, &str); 5] = [
    ("nft", "nftables"),
    ("iptables-restore", "iptables"),
    ("iptables-save", "iptables"),
    ("ip6tables-restore", "iptables"),
    ("ip6tables-save", "iptables"),
];

/// Most bytes of a listing that are read: a hundred thousand rules.
const LISTING_BYTES_MAX: u64 = 64 << 20;

/// A program that is installed.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    path: PathBuf,
}

// === impl Program ===

impl Program {
    /// Looks for it in `PATH` and where such programs usually are.
    pub(super) fn find(name: &'static str) -> Result<Self, Trouble> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&paths).chain(FOLDERS.iter().map(PathBuf::from));
        let path = folders.map(|folder| folder.join(name)).find(|path| is_program(path));
        let package = PACKAGES.iter().find(|(known, _)| *known == name).map_or(name, |(_, package)| package);
        path.map(|path| Self { name, path }).ok_or(Trouble::Missing { program: name, package })
    }

    /// Runs it with `input` and gives what it wrote.
    pub(super) fn run(&self, words: &[&str], input: &str) -> Result<String, Trouble> {
        let not_run = |error| Trouble::NotRun { program: self.name, error };
        let mut child = Command::new(&self.path)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_run)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends without reading has said why; that counts, and not the broken pipe.
            let _ = stdin.write_all(input.as_bytes());
        }
        let mut listing = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LISTING_BYTES_MAX).read_to_end(&mut listing).map_err(not_run)?;
        }
        let ended = child.wait_with_output().map_err(not_run)?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&listing).into_owned());
        }
        Err(Trouble::from_words(self.name, &String::from_utf8_lossy(&ended.stderr)))
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_passed_on() {
        let cat = Program { name: "nft", path: PathBuf::from("/bin/cat") };
        assert_eq!(cat.run(&[], "table\n").unwrap(), "table\n");
        let error = cat.run(&["/no/such/file"], "never read").unwrap_err().to_string();
        assert!(error.contains("nft says: ") && error.contains("/no/such/file"), "{error}");
        let absent = Program { name: "nft", path: PathBuf::from("/no/such/nft") };
        assert!(matches!(absent.run(&[], ""), Err(Trouble::NotRun { program: "nft", .. })));
    }
}
