//! Which connections are captured: an ordered list of rules, whatever form they are written in.
//!
//! In: the proxy's port and user, and what is left out. Out: rules in their order, each with a name and
//! the comment by which it is known again. Pure.
//!
//! The order is the meaning. Segments of open connections come first, so that rules that arrive late
//! leave them alone. The canary comes before the proxy's own user, so that the proxy can ask it too;
//! the proof comes after, and before all that is left out, so that nothing hides it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Capture;
use crate::config::capture::{CANARY, Network, PROOF, PortRange};

/// Link-local addresses always go direct: redirected IPv6 ones hang, and IPv4 ones are the cloud's
/// metadata or a name server on the node.
const LINK_LOCAL: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];

/// What every comment of ours begins with.
pub(super) const MARK: &str = "outrigger ";

/// Which connections are captured, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    port: u16,
    user: u32,
    skip_users: Vec<u32>,
    skip_ports: Vec<PortRange>,
    skip_networks: Vec<Network>,
}

/// One rule: a name for readers, and what it looks at.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) what: What,
}

/// What a rule looks at. All but the test addresses and the last let the connection go direct.
#[derive(Debug)]
pub(super) enum What {
    /// No first segment of a connection.
    NotNew,
    /// A connection to a test address: captured.
    Test(IpAddr),
    /// To an address of this network namespace.
    OwnAddress,
    /// Made by one of these users; never empty.
    Users(Vec<u32>),
    /// To one of these ports; never empty, in order, apart.
    Ports(Vec<PortRange>),
    /// To one of these networks, all of one family; never empty, none within another.
    Networks(Vec<String>, Family),
    /// Everything else: captured.
    Rest,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

// === impl Rules ===

impl Rules {
    /// Rules that send connections to `port` of loopback; overlaps in what is left out are joined.
    pub fn new(port: u16, capture: &Capture) -> Self {
        let mut skip_users = capture.skip_users.clone();
        skip_users.sort_unstable();
        skip_users.dedup();
        let all = &capture.skip_networks;
        let mut skip_networks: Vec<Network> = all
            .iter()
            .filter(|inner| !all.iter().any(|outer| outer != *inner && outer.covers(**inner)))
            .copied()
            .collect();
        skip_networks.sort_unstable();
        skip_networks.dedup();
        Self { port, user: capture.user, skip_users, skip_ports: joined(&capture.skip_ports), skip_networks }
    }

    /// The port connections are sent to.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The user whose connections pass: the proxy's.
    pub const fn user(&self) -> u32 {
        self.user
    }

    /// Whether connections of this user are captured.
    pub(super) fn captures_user(&self, user: u32) -> bool {
        user != self.user && !self.skip_users.contains(&user)
    }

    /// The rules in their order.
    pub(super) fn list(&self) -> Vec<Rule> {
        let rule = |name, what| Rule { name, what };
        let mut list = vec![rule("open connections", What::NotNew)];
        list.extend(CANARY.map(|address| rule("the canary", What::Test(address))));
        list.push(rule("own addresses", What::OwnAddress));
        list.push(rule("the proxy", What::Users(vec![self.user])));
        list.extend(PROOF.map(|address| rule("the proof", What::Test(address))));
        if !self.skip_users.is_empty() {
            list.push(rule("skipped users", What::Users(self.skip_users.clone())));
        }
        if !self.skip_ports.is_empty() {
            list.push(rule("skipped ports", What::Ports(self.skip_ports.clone())));
        }
        for family in [Family::V4, Family::V6] {
            let of_family =
                self.skip_networks.iter().filter(|network| Family::of(network.address()) == family);
            let networks: Vec<String> = of_family.map(Network::to_string).collect();
            if !networks.is_empty() {
                list.push(rule("skipped networks", What::Networks(networks, family)));
            }
        }
        list.extend(LINK_LOCAL.map(|(address, prefix)| {
            rule("link-local", What::Networks(vec![format!("{address}/{prefix}")], Family::of(address)))
        }));
        list.push(rule("the rest", What::Rest));
        list
    }

    /// What the comments of exactly these rules have in common, 16 hex digits.
    pub(super) fn digest(&self) -> String {
        let text = format!("{} {:?}", self.port, self.list());
        // FNV-1a: it need not withstand anybody, only tell one configuration from another.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

// === impl Rule ===

impl Rule {
    /// The comment of this rule in a set of rules with this digest.
    pub(super) fn comment(&self, digest: &str) -> String {
        format!("{MARK}{digest} {}", self.name)
    }

    /// Whether it concerns connections of this family.
    pub(super) fn concerns(&self, family: Family) -> bool {
        match &self.what {
            What::Test(address) => Family::of(*address) == family,
            What::Networks(_, of) => *of == family,
            What::NotNew | What::OwnAddress | What::Users(_) | What::Ports(_) | What::Rest => true,
        }
    }
}

// === impl Family ===

impl Family {
    pub(super) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The same ports in as few ranges as can be, in order.
fn joined(ports: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::new();
    for next in sorted {
        match joined.last_mut() {
            Some(last) if last.joined(next).is_some() => *last = last.joined(next).unwrap_or(next),
            Some(_) | None => joined.push(next),
        }
    }
    joined
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Rules from what flags would say.
    pub(in crate::capture) fn rules(users: &[u32], ports: &[&str], networks: &[&str]) -> Rules {
        let capture = Capture {
            user: 1337,
            skip_users: users.to_vec(),
            skip_ports: ports.iter().map(|text| text.parse().unwrap()).collect(),
            skip_networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        };
        Rules::new(15001, &capture)
    }

    #[test]
    fn what_overlaps_is_said_once() {
        let many = rules(
            &[7, 5, 7],
            &["9005-9010", "3306", "9000-9006", "9011"],
            &["10.9.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "::/0", "fe80::/10"],
        );
        assert_eq!(many.skip_users, [5, 7]);
        assert_eq!(
            many.skip_ports.iter().map(PortRange::to_string).collect::<Vec<_>>(),
            ["3306", "9000-9011"]
        );
        assert_eq!(
            many.skip_networks.iter().map(Network::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::/0"]
        );
    }

    #[test]
    fn the_digest_is_of_what_is_captured_and_not_of_how_it_was_written() {
        let digest = rules(&[5], &["80", "81"], &[]).digest();
        assert_eq!(digest.len(), 16);
        assert_eq!(digest, rules(&[5, 5], &["80-81"], &[]).digest());
        for other in
            [rules(&[], &["80-81"], &[]), rules(&[5], &["80-82"], &[]), rules(&[5], &["80-81"], &["::/0"])]
        {
            assert_ne!(digest, other.digest());
        }
    }

    #[test]
    fn the_canary_comes_before_the_proxy_and_the_proof_after_it() {
        let names: Vec<_> =
            rules(&[5], &["80"], &["10.0.0.0/8"]).list().iter().map(|rule| rule.name).collect();
        assert_eq!(
            names,
            [
                "open connections",
                "the canary",
                "the canary",
                "own addresses",
                "the proxy",
                "the proof",
                "the proof",
                "skipped users",
                "skipped ports",
                "skipped networks",
                "link-local",
                "link-local",
                "the rest",
            ]
        );
    }
}
