//! Addresses that only capture leads anywhere.
//!
//! In: nothing. Out: constants. They are of blocks kept for documentation (RFC 5737, RFC 3849), so
//! nobody's calls go there; a connection that arrives was sent here by the capture rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of both: that of the outbound listener, which nobody excludes.
pub const TEST_PORT: u16 = 15001;

/// Captured whoever connects, the proxy's own user too: it shows that the rules stand.
pub const CANARY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77))];

/// Captured like any address: it shows that an application is, and the proxy's own user is not.
pub const PROOF: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 78)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x78))];

/// Whether `address` is one of them, which no application dials.
pub fn is_test_address(address: SocketAddr) -> bool {
    address.port() == TEST_PORT
        && CANARY.iter().chain(&PROOF).any(|test| *test == address.ip().to_canonical())
}
