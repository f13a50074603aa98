//! The words of capture: what is left out, and addresses that only capture leads anywhere.
//!
//! In: texts of the YAML or of flags. Out: ports and networks, or what would have been right; and
//! constants. The test addresses are of blocks kept for documentation (RFC 5737, RFC 3849), so
//! nobody's calls go there; a connection that arrives was sent here by the capture rules.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The port of both: that of the outbound listener, which nobody excludes.
pub const TEST_PORT: u16 = 15001;

/// Captured whoever connects, the proxy's own user too: it shows that the rules stand.
pub const CANARY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77))];

/// Captured like any address: it shows that an application is, and the proxy's own user is not.
pub const PROOF: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 78)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x78))];

/// What the capture rules leave out, besides what they always do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The user the proxy runs as: its own connections pass.
    pub user: u32,
    /// Users whose connections pass.
    pub skip_users: Vec<u32>,
    /// Ports that are connected to directly.
    pub skip_ports: Vec<PortRange>,
    /// Networks that are connected to directly.
    pub skip_networks: Vec<Network>,
}

/// Ports from one to another, both included; the first is at least 1 and not above the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A network: an address whose bits past the prefix are all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The highest user id: the one above means "no user" to the kernel.
pub const USER_MAX: u32 = u32::MAX - 1;

/// Whether `address` is one of them, which no application dials.
pub fn is_test_address(address: SocketAddr) -> bool {
    address.port() == TEST_PORT
        && CANARY.iter().chain(&PROOF).any(|test| *test == address.ip().to_canonical())
}

/// The number, of plain digits: no sign, and no zero in front that some would read as octal.
fn plain_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| digits)
}

// === impl PortRange ===

impl PortRange {
    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Both as one, if they overlap or touch.
    pub fn joined(self, other: Self) -> Option<Self> {
        let apart = self.first.max(other.first) > self.last.min(other.last).saturating_add(1);
        (!apart).then(|| Self { first: self.first.min(other.first), last: self.last.max(other.last) })
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text| plain_number(text).filter(|port| *port > 0);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(first), Some(last)) => Err(format!("the lower port first: {last}-{first}")),
            (None, _) | (_, None) => {
                Err("a port from 1 to 65535 such as 3306, or a range such as 9000-9009".to_owned())
            }
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

// === impl Network ===

impl Network {
    /// Bits of an address of this family.
    const fn bits(address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Whether all of `other` lies in it.
    pub fn covers(self, other: Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && first_address(other.address, self.prefix) == self.address
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "a network such as 10.9.0.0/16 or 2001:db8:9::/48, or one address".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits = Self::bits(address);
        let prefix = match prefix {
            None => bits,
            Some(prefix) => {
                let number = plain_number(prefix).and_then(|number| u8::try_from(number).ok());
                number
                    .filter(|number| *number <= bits)
                    .ok_or_else(|| format!("a prefix from /0 to /{bits}"))?
            }
        };
        if let Some(inner) = Some(address.to_canonical()).filter(|inner| inner.is_ipv4() != address.is_ipv4())
        {
            return Err(format!("the IPv4 address itself: {inner}"));
        }
        let first = first_address(address, prefix);
        if first != address {
            return Err(format!("{first}/{prefix} for the network, or {address} for the one address"));
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The address with all bits past the prefix cleared.
fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        let show = |text: &str| text.parse::<PortRange>().map(|ports| ports.to_string());
        assert_eq!(show("3306").unwrap(), "3306");
        assert_eq!(show("9000-9009").unwrap(), "9000-9009");
        assert_eq!(show("80-80").unwrap(), "80");
        assert_eq!(show("9009-9000").unwrap_err(), "the lower port first: 9000-9009");
        for wrong in ["", "0", "65536", "-1", "1-", "+80", "010", "80 ", "http", "1-2-3", "0-80"] {
            assert!(show(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let ports = |text: &str| text.parse::<PortRange>().unwrap();
        assert_eq!(ports("1-5").joined(ports("6")), Some(ports("1-6")));
        assert_eq!(ports("9").joined(ports("1-65535")), Some(ports("1-65535")));
        assert_eq!(ports("1-5").joined(ports("7")), None);
    }

    #[test]
    fn networks_have_no_bits_past_their_prefix() {
        let show = |text: &str| text.parse::<Network>().map(|network| network.to_string());
        for (text, shown) in [
            ("10.9.0.0/16", "10.9.0.0/16"),
            ("10.9.0.1", "10.9.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8:9::/48", "2001:db8:9::/48"),
            ("::/0", "::/0"),
            ("fe80::1", "fe80::1/128"),
        ] {
            assert_eq!(show(text).unwrap(), shown);
        }
        assert_eq!(
            show("10.9.0.1/16").unwrap_err(),
            "10.9.0.0/16 for the network, or 10.9.0.1 for the one address"
        );
        assert_eq!(show("10.0.0.0/33").unwrap_err(), "a prefix from /0 to /32");
        assert_eq!(show("::ffff:10.0.0.1").unwrap_err(), "the IPv4 address itself: 10.0.0.1");
        for wrong in
            ["", "10.9/16", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "cart", "[::1]", "::1%lo", "/8"]
        {
            assert!(show(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_covers_what_lies_in_it() {
        let covers = |a: &str, b: &str| a.parse::<Network>().unwrap().covers(b.parse::<Network>().unwrap());
        assert!(covers("10.0.0.0/8", "10.9.0.0/16"));
        assert!(covers("0.0.0.0/0", "10.9.0.0/16"));
        assert!(covers("10.9.0.0/16", "10.9.0.0/16"));
        assert!(!covers("10.9.0.0/16", "10.0.0.0/8"));
        assert!(!covers("0.0.0.0/0", "::/0"));
    }
}
