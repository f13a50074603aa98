//! Addresses, host names and URLs.
//!
//! In: a node. Out: parsed values with their places, or problems. Never resolves a name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::value::want_form;
use super::{Checker, Leaf, found};
use crate::config::keys::Kind;
use crate::config::raw::{Node, Place, Shape};
use crate::config::{HostPattern, PortPattern};

/// Longest host name of DNS, in bytes.
const NAME_BYTES_MAX: usize = 253;

/// Longest label of a host name, in bytes.
const LABEL_BYTES_MAX: usize = 63;

impl Checker<'_> {
    /// One `IP:port` or a list of them, each with its place. `port_zero` allows a port of the system's choice.
    pub(super) fn addresses(&mut self, leaf: &Leaf<'_>, port_zero: bool) -> Vec<(SocketAddr, Place)> {
        let mut addresses = Vec::new();
        for item in self.items(leaf) {
            match item.text().and_then(|text| text.parse::<SocketAddr>().ok()) {
                Some(address) if port_zero || address.port() != 0 => addresses.push((address, item.place)),
                Some(_) => self.problem(item.place, &leaf.at, found(item), "a port from 1 to 65535"),
                None => self.problem(item.place, &leaf.at, found(item), want_form(leaf.key.kind)),
            }
        }
        addresses
    }

    /// Host names, each with its place.
    pub(super) fn hosts(&mut self, leaf: &Leaf<'_>) -> Vec<(HostPattern, Place)> {
        let mut hosts = Vec::new();
        for item in self.items(leaf) {
            match item.text().and_then(parse_host) {
                Some(host) => hosts.push((host, item.place)),
                None => self.problem(item.place, &leaf.at, found(item), want_form(Kind::Hosts)),
            }
        }
        hosts
    }

    /// `name:port` for DNS.
    pub(super) fn name_port(&mut self, leaf: &Leaf<'_>) -> Option<(String, u16)> {
        let host = leaf.node.text().and_then(parse_host);
        match host {
            Some(HostPattern { name, .. }) if name.parse::<IpAddr>().is_ok() => {
                let want = "a name; for an address write {static: [IP:port]}";
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
                None
            }
            Some(HostPattern { name, port: PortPattern::Exact(port) }) => Some((name, port)),
            Some(_) | None => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::NamePort));
                None
            }
        }
    }

    /// One value or a list of values.
    fn items<'n>(&mut self, leaf: &Leaf<'n>) -> Vec<&'n Node> {
        match &leaf.node.shape {
            Shape::List(items) if !items.is_empty() => items.iter().map(AsRef::as_ref).collect(),
            Shape::Scalar { .. } => vec![leaf.node],
            Shape::List(_) | Shape::Map(_) => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(leaf.key.kind));
                Vec::new()
            }
        }
    }
}

/// `name`, `name:port`, `name:*`, and the same with an address; IPv6 in brackets.
pub(super) fn parse_host(text: &str) -> Option<HostPattern> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => PortPattern::Usual,
        Some("*") => PortPattern::Any,
        Some(digits) => PortPattern::Exact(parse_port(digits)?),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    (name.contains(':') || is_host_name(&name)).then_some(HostPattern { name, port })
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port > 0)
}

/// Whether the text is a DNS name or an IPv4 address; underscores are met in practice.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_lose_case_and_trailing_dot() {
        let host = |text: &str| parse_host(text).map(|host| (host.name, host.port));
        assert_eq!(host("Cart.Shop."), Some(("cart.shop".to_owned(), PortPattern::Usual)));
        assert_eq!(host("cart:8080"), Some(("cart".to_owned(), PortPattern::Exact(8080))));
        assert_eq!(host("cart:*"), Some(("cart".to_owned(), PortPattern::Any)));
        assert_eq!(host("[::1]:80"), Some(("::1".to_owned(), PortPattern::Exact(80))));
        assert_eq!(host("10.0.0.1"), Some(("10.0.0.1".to_owned(), PortPattern::Usual)));
        for wrong in
            ["", "a b", "cart:", "cart:0", "cart:+1", "cart:65536", "*.cart", "a..b", "::1", "[::1", "[x]:1"]
        {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
