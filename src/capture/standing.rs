//! Rules as the kernel lists them, held against those that are asked for.
//!
//! In: the comments of the rules that stand. Out: what is wrong with them, in one line. Comments are
//! enough: each names its rule and the digest of the whole set, a set of ports or networks inside a rule
//! can't be changed, and no two versions of nft list an expression in the same words.

use super::rules::MARK;
use crate::config::capture::TEST_PORT;

/// What puts right all that can be wrong with rules that were loaded.
const AGAIN: &str = "run `outrigger capture apply` again";

/// The one rule that `remove` leaves while connections are open; the port follows.
const REMOVED: &str = "outrigger removed; here until none is open on port ";

/// Our chain as it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether outgoing connections pass through it.
    pub(super) hooked: bool,
    /// The comment of each rule in order; empty where a rule has none.
    pub(super) comments: Vec<String>,
    /// The port it sends connections to, where the listing says it.
    pub(super) port: Option<u16>,
}

/// The comment of the rule that `remove` leaves.
pub(super) fn removed(port: u16) -> String {
    format!("{REMOVED}{port}")
}

/// What became of our rules at `place` while so many connections are open.
pub(super) fn told_removed(place: &str, open: usize, port: u16) -> String {
    if open == 0 {
        return format!("{place}: deleted; new connections go direct");
    }
    format!(
        "{place}: emptied; new connections go direct. It stays for {open} open on port {port}: `outrigger capture remove` deletes it when they have ended"
    )
}

// === impl Standing ===

impl Standing {
    /// The port of connections that are still open, if `remove` was here before.
    pub(super) fn removed(&self) -> Option<u16> {
        self.comments.first()?.strip_prefix(REMOVED)?.parse().ok()
    }

    /// The port on which connections may still be open; the usual one where no rule says it any more.
    pub(super) fn port_of_open(&self) -> u16 {
        self.removed().or(self.port).unwrap_or(TEST_PORT)
    }

    /// What is wrong, if these comments are asked for.
    pub(super) fn wrong(&self, wanted: &[String]) -> Option<String> {
        if self.removed().is_some() {
            return Some(
                "the rules were removed, and nothing is captured: `outrigger capture apply` loads them"
                    .to_owned(),
            );
        }
        if self.comments.is_empty() {
            return Some(format!("the rules were flushed, and nothing is captured: {AGAIN}"));
        }
        if !self.hooked {
            return Some(format!(
                "the rules stand, and outgoing connections do not pass through them: {AGAIN}"
            ));
        }
        if self.comments == wanted {
            return None;
        }
        let digest = |comment: &str| comment.strip_prefix(MARK)?.split(' ').next().map(str::to_owned);
        let asked = wanted.first().and_then(|comment| digest(comment));
        if self.comments.iter().any(|comment| digest(comment).is_none()) {
            return Some(format!("somebody has put a rule of theirs among ours: {AGAIN}"));
        }
        if self.comments.iter().any(|comment| digest(comment) != asked) {
            return Some(format!("other rules stand than the configuration asks for: {AGAIN}"));
        }
        let absent = wanted.iter().find(|comment| !self.comments.contains(comment));
        Some(match absent.and_then(|comment| comment.splitn(3, ' ').nth(2)) {
            Some(name) => format!("the rule for {name} is missing: {AGAIN}"),
            None => format!("the rules stand in another order: {AGAIN}"),
        })
    }
}

/// What is wrong when there is no chain of ours at all.
pub(super) fn absent() -> String {
    "no rules of Outrigger stand, and nothing is captured: `outrigger capture apply` loads them".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::rules::tests::rules;

    fn comments(users: &[u32]) -> Vec<String> {
        let rules = rules(users, &[], &[]);
        rules.list().iter().map(|rule| rule.comment(&rules.digest())).collect()
    }

    #[test]
    fn every_difference_has_a_name() {
        let wanted = comments(&[]);
        let wrong = |hooked, comments: Vec<String>| {
            Standing { hooked, comments, port: None }.wrong(&wanted).unwrap_or_default()
        };
        let without = |index: usize| {
            let mut comments = wanted.clone();
            comments.remove(index);
            comments
        };
        let mut swapped = wanted.clone();
        swapped.swap(0, 3);
        assert_eq!(wrong(true, wanted.clone()), "");
        assert!(wrong(false, wanted.clone()).contains("do not pass through them"));
        assert!(wrong(true, vec![]).contains("flushed"));
        assert!(wrong(true, vec![removed(15001)]).contains("were removed"));
        assert!(wrong(true, comments(&[7])).contains("other rules stand"));
        assert!(
            wrong(true, without(4)).contains("the rule for the proxy is missing"),
            "{}",
            wrong(true, without(4))
        );
        assert!(wrong(true, swapped).contains("another order"));
        assert!(wrong(true, [vec![String::new()], wanted.clone()].concat()).contains("a rule of theirs"));
    }

    #[test]
    fn what_is_left_for_open_connections_knows_their_port() {
        let left = Standing { hooked: true, comments: vec![removed(16001)], port: None };
        assert_eq!(left.removed(), Some(16001));
        assert_eq!(Standing::default().removed(), None);
    }
}
