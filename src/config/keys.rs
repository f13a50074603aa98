//! Every key of the YAML, once: name, kind, default, meaning.
//!
//! In: nothing. Out: the one table that reading, defaults, suggestions, the JSON Schema and the
//! reference share, so that they cannot disagree. Never holds a value of a user.

mod policy;
mod process;
mod service;

/// One key of the YAML.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path below its scope: `retries.backoff.base`.
    pub(super) path: &'static str,
    /// What may be written.
    pub(super) kind: Kind,
    /// The value without it, as the YAML would spell it; empty when there is none.
    pub(super) default: &'static str,
    /// What it does, in one sentence.
    pub(super) about: &'static str,
    /// What happens without it.
    pub(super) without: &'static str,
    /// Where a policy key may stand.
    pub(super) levels: Levels,
}

/// Where a policy key may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Levels {
    /// In `defaults`, a service and a route.
    All,
    /// Not in a route: its state is shared by all routes of the service.
    NotRoute,
    /// Not in `defaults`: it is a word about one service or route.
    NotDefaults,
}

/// The part of the YAML a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The top of the file.
    Process,
    /// `defaults`.
    Defaults,
    /// `services.<name>`.
    Service,
    /// `services.<name>.routes[]`.
    Route,
}

/// What may be written as a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A block of further keys; `off` too when `off` is true.
    Block {
        /// Whether the block can be switched off.
        off: bool,
    },
    /// A duration in these bounds of milliseconds.
    Duration {
        /// The shortest.
        min: u64,
        /// The longest.
        max: u64,
        /// Whether `off` may stand instead.
        off: bool,
    },
    /// A share from 0 % to 100 %.
    Ratio {
        /// Whether `off` may stand instead.
        off: bool,
    },
    /// A size in these bounds of bytes.
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A whole number in these bounds.
    Count {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
        /// Whether `off` may stand instead.
        off: bool,
    },
    /// A number in these bounds, fractions too.
    Number {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of the words of `failOn`, and statuses.
    FailOn,
    /// Any text.
    Text,
    /// A path to a PEM file, relative to the folder of the file that names it.
    PemFile,
    /// `package.Service` or `package.Service/Method`.
    GrpcMethod,
    /// `off`, `stdout` or a path.
    AccessLog,
    /// One `IP:port` or a list of them.
    Addresses,
    /// A list of ports and ranges of ports.
    Ports,
    /// A list of networks and single addresses.
    Networks,
    /// A list of user ids.
    Users,
    /// A list of host names, each perhaps with a port.
    Hosts,
    /// One `name:port`.
    NamePort,
    /// An `http` or `https` URL.
    Url,
    /// A block of header names, each with the value asked for or `*`.
    Headers,
    /// A block of header names, each with the value that is sent.
    Fields,
    /// The policy keys.
    Policy,
    /// A block of services by name.
    Services,
    /// A list of routes.
    Routes,
}

/// Longest duration of any key, in milliseconds: a week. Longer ones are typing mistakes.
const WEEK: u64 = 7 * 24 * 3_600_000;

/// Keys of later versions, with the blocks they will stand in. They are refused by name and never
/// ignored, because a configuration that asks for a limit must not run without.
const LATER: [(&str, &[&str]); 3] = [
    ("services", &["rateLimit", "fault", "hedge"]),
    ("endpoints", &["xds", "kubernetes", "consul", "eureka"]),
    ("top", &["tls"]),
];

/// The keys of a `tls` block that name files.
pub(super) const PEM_FILES: [&str; 3] = ["ca", "cert", "key"];

// === impl Scope ===

impl Scope {
    /// The tables whose keys may be written here, in the order they are suggested.
    fn tables(self) -> [&'static [Key]; 2] {
        match self {
            Self::Process => [process::KEYS, &[]],
            Self::Defaults => [policy::KEYS, &[]],
            Self::Service => [service::SERVICE_KEYS, policy::KEYS],
            Self::Route => [service::ROUTE_KEYS, policy::KEYS],
        }
    }

    /// All keys that may be written here.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static Key> {
        let [first, second] = self.tables();
        first.iter().chain(second)
    }

    /// The key called `name` in the block `prefix` (empty for the top of the scope).
    pub(super) fn find(self, prefix: &str, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.leaf_under(prefix) == Some(name))
    }

    /// The names that may be written in the block `prefix`.
    pub(super) fn names(self, prefix: &str) -> Vec<&'static str> {
        self.keys().filter(|key| self.allows(key)).filter_map(|key| key.leaf_under(prefix)).collect()
    }

    /// Whether the key may stand in this scope.
    pub(super) fn allows(self, key: &Key) -> bool {
        match key.levels {
            Levels::All => true,
            Levels::NotRoute => self != Self::Route,
            Levels::NotDefaults => self != Self::Defaults,
        }
    }

    /// Whether `name` in the block `prefix` is a key of a later version.
    pub(super) fn is_later(self, prefix: &str, name: &str) -> bool {
        let block = match (self, prefix) {
            (Self::Process, "") => "top",
            (Self::Defaults | Self::Service | Self::Route, "") => "services",
            (Self::Process | Self::Defaults | Self::Service | Self::Route, other) => other,
        };
        LATER.iter().any(|(place, names)| *place == block && names.contains(&name))
    }
}

// === impl Key ===

impl Key {
    const fn new(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Self {
        Self { path, kind, default, about, without: "", levels: Levels::All }
    }

    /// Says what happens without the key.
    const fn without(mut self, without: &'static str) -> Self {
        self.without = without;
        self
    }

    /// Says where the key may stand.
    const fn only(mut self, levels: Levels) -> Self {
        self.levels = levels;
        self
    }

    /// The last part of the path, if the key stands directly in the block `prefix`.
    pub(super) fn leaf_under(&self, prefix: &str) -> Option<&'static str> {
        let rest = match prefix {
            "" => self.path,
            prefix => self.path.strip_prefix(prefix)?.strip_prefix('.')?,
        };
        (!rest.contains('.')).then_some(rest)
    }
}

/// The policy keys, for the built-in layer.
pub(super) fn policy_keys() -> &'static [Key] {
    policy::KEYS
}

/// All tables with the heading each has in the reference.
#[cfg(test)]
pub(super) fn tables() -> [(&'static str, &'static [Key]); 4] {
    [
        ("", process::KEYS),
        ("services.*", service::SERVICE_KEYS),
        ("services.*.routes[]", service::ROUTE_KEYS),
        ("defaults", policy::KEYS),
    ]
}

/// The name nearest to `wrong`, if it is near enough to be what was meant.
pub(super) fn nearest<'n>(wrong: &str, names: &[&'n str]) -> Option<&'n str> {
    /// Longer names are no slip of the finger, and the distance costs their product.
    const NAME_MAX: usize = 40;
    if wrong.len() > NAME_MAX {
        return None;
    }
    let lower = wrong.to_ascii_lowercase().replace(['_', '-'], "");
    let (distance, name) =
        names.iter().map(|name| (distance(&lower, &name.to_ascii_lowercase()), *name)).min()?;
    (distance <= 1 + name.len() / 3).then_some(name)
}

/// Edits between two words: insert, delete, replace, or swap two neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::POLICY_KEYS;

    #[test]
    fn every_policy_value_has_an_origin_and_every_origin_a_key() {
        let written: Vec<&str> = policy_keys().iter().map(|key| key.path).collect();
        for key in POLICY_KEYS {
            assert!(written.contains(&key), "{key} is not in the table");
        }
        for key in policy_keys() {
            let plain_block = matches!(key.kind, Kind::Block { off: false });
            assert_ne!(plain_block, POLICY_KEYS.contains(&key.path), "{}", key.path);
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let names = Scope::Service.names("");
        assert_eq!(nearest("timeuot", &names), Some("timeout"));
        assert_eq!(nearest("retry", &names), Some("retries"));
        assert_eq!(nearest("circuit_breaker", &names), Some("circuitBreaker"));
        assert_eq!(nearest("zebra", &names), None);
        assert_eq!(nearest(&"t".repeat(10_000), &names), None);
    }

    #[test]
    fn every_key_says_what_it_does() {
        for (_, table) in tables() {
            for key in table {
                assert!(key.about.ends_with('.'), "{}", key.path);
                let told = !key.default.is_empty() || !key.without.is_empty();
                assert!(told || matches!(key.kind, Kind::Block { .. }), "{}: what without it?", key.path);
            }
        }
    }
}
