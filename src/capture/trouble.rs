//! Why rules could not be loaded, listed or removed.
//!
//! In: what a program said, or which one is not there. Out: an error in plain words, with what to do
//! and the program's own text at the end.

use std::fmt;

/// Most characters of a program's own text that are repeated.
const SAID_CHARS_MAX: usize = 2_000;

/// Why nothing came of it.
#[derive(Debug)]
pub enum Trouble {
    /// A program is not installed.
    Missing {
        /// Its name.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// A program is there and could not be run.
    NotRun {
        /// Its name.
        program: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The kernel refuses rules from this process.
    NoPrivilege {
        /// The program that was refused.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// The kernel refuses these rules.
    Refused {
        /// The program that was refused.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A program said what nobody expects of it.
    Unreadable {
        /// Its name.
        program: &'static str,
        /// What could not be read.
        what: String,
    },
    /// The rules were loaded and do not work.
    Unproven {
        /// What is wrong, one line each.
        wrongs: Vec<String>,
        /// What became of the rules.
        removed: String,
    },
}

// === impl Trouble ===

impl Trouble {
    /// What a program that failed said, sorted into what the user can do about it.
    pub(super) fn from_words(program: &'static str, said: &str) -> Self {
        let said: String = said.trim().chars().take(SAID_CHARS_MAX).collect();
        if said.contains("JSON support not compiled") {
            let what = "this nft was built without JSON; use --backend iptables".to_owned();
            return Self::Unreadable { program, what };
        }
        // The words of EPERM and EACCES: nft passes the first on, iptables both.
        if said.contains("Operation not permitted") || said.contains("Permission denied") {
            Self::NoPrivilege { program, said }
        } else {
            Self::Refused { program, said }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program: "nft", package } => write!(
                f,
                "nft is not installed: install the package {package}, or use --backend iptables where iptables is"
            ),
            Self::Missing { program, package } => {
                write!(f, "{program} is not installed: install the package {package}")
            }
            Self::NotRun { program, error } => write!(f, "{program} could not be run: {error}"),
            Self::NoPrivilege { program, said } => {
                writeln!(
                    f,
                    "no privilege: rules of the kernel's packet filter belong to whoever has the capability CAP_NET_ADMIN in this network namespace"
                )?;
                writeln!(
                    f,
                    "  in a pod: runAsUser: 0 and securityContext.capabilities: {{drop: [ALL], add: [NET_ADMIN]}}, for this container alone"
                )?;
                writeln!(f, "  on a machine: run it with sudo")?;
                if said.contains("iptables") && said.contains("legacy") {
                    writeln!(f, "  the legacy iptables needs CAP_NET_RAW too; nft does not")?;
                }
                write!(f, "  {program} says: {}", indented(said))
            }
            Self::Refused { program, said } => {
                writeln!(f, "the kernel refused the rules")?;
                writeln!(
                    f,
                    "  capture needs Linux 5.2 or newer with nf_tables, NAT for both families, redirect and fib; without one of these, try --backend iptables"
                )?;
                write!(f, "  {program} says: {}", indented(said))
            }
            Self::Unreadable { program, what } => write!(f, "what {program} lists can't be read: {what}"),
            Self::Unproven { wrongs, removed } => {
                writeln!(f, "the rules were loaded and do not work")?;
                for wrong in wrongs {
                    writeln!(f, "  {wrong}")?;
                }
                write!(f, "  {removed}")
            }
        }
    }
}

impl std::error::Error for Trouble {}

/// Further lines stand under the first.
fn indented(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_kernel_is_told_from_a_missing_right() {
        let no_right =
            Trouble::from_words("nft", "Operation not permitted (you must be root)\nnetlink: Error");
        let text = no_right.to_string();
        assert!(text.contains("CAP_NET_ADMIN") && text.contains("add: [NET_ADMIN]"), "{text}");
        assert!(text.ends_with("nft says: Operation not permitted (you must be root)\n    netlink: Error"));
        let old = Trouble::from_words("nft", "Error: Could not process rule: No such file or directory\n");
        let text = old.to_string();
        assert!(text.contains("Linux 5.2") && !text.contains("CAP_NET_ADMIN"), "{text}");
        assert!(text.ends_with("nft says: Error: Could not process rule: No such file or directory"));
    }

    #[test]
    fn a_missing_nft_names_its_package_and_the_other_way() {
        let text = Trouble::Missing { program: "nft", package: "nftables" }.to_string();
        assert!(text.contains("nftables") && text.contains("--backend iptables"), "{text}");
    }
}
