//! The network inside: a loopback interface that every address leads to.
//!
//! In: nothing. Out: `lo` is up, has an address of each family, and is the default route of both. A
//! connection to any address then finds a way, which the rules turn towards the proxy.
//!
//! The few messages are written here, after rtnetlink(7): `ip` would be one more program to have.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// Addresses inside, beside the loopback ones: without one that is none, resolvers leave a family out
/// (`AI_ADDRCONFIG`). Of blocks for documentation, so nobody's.
const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))];

/// The loopback interface is the first of every namespace.
const LO: u32 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE`
const FLAGS: u16 = 0x1 | 0x4 | 0x400;
const HEADER_BYTES: usize = 16;

/// Makes every address lead to `lo`. A host without IPv6 has none inside either.
pub(super) fn prepare() -> io::Result<()> {
    send(RTM_NEWLINK, &up())?;
    for ip in ADDRESSES {
        match send(RTM_NEWADDR, &address(ip)) {
            // A host without IPv6, or one that has it switched off, refuses the address.
            Err(_) if ip.is_ipv6() => continue,
            added => added?,
        }
        send(RTM_NEWROUTE, &default_route(ip))?;
    }
    Ok(())
}

/// `struct ifinfomsg`: the interface, with the flag `IFF_UP` set.
fn up() -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [LO, 1, 1] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `struct ifaddrmsg`, `IFA_LOCAL` and `IFA_ADDRESS`: the address alone, without a network. With the flag
/// `IFA_F_NODAD`: else an address of IPv6 can't be used until the kernel has looked for others that
/// have it, which it does in its own time, on this interface too.
fn address(ip: IpAddr) -> Vec<u8> {
    let bytes = octets(ip);
    let bits = u8::try_from(bytes.len() * 8).unwrap_or(u8::MAX);
    let mut body = vec![family(ip), bits, 0x02, 0];
    body.extend(LO.to_ne_bytes());
    attribute(&mut body, 2, &bytes);
    attribute(&mut body, 1, &bytes);
    body
}

/// `struct rtmsg`, `RTA_OIF` and `RTA_PREFSRC`: main table, static, of global scope, unicast.
fn default_route(ip: IpAddr) -> Vec<u8> {
    let mut body = vec![family(ip), 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    attribute(&mut body, 4, &LO.to_ne_bytes());
    attribute(&mut body, 7, &octets(ip));
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    // Values of 4 and 16 bytes need no padding.
    body.extend(value);
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    u8::try_from(family.as_raw()).unwrap_or_default()
}

/// Sends one message and waits for the kernel's word on it.
fn send(kind: u16, body: &[u8]) -> io::Result<()> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(family, SocketType::RAW, flags, None)?;
    let bytes = message(kind, body);
    sendto(&socket, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    acknowledged(&answer[..length])
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(FLAGS.to_ne_bytes());
    // Number and sender: one message per socket needs neither.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// An acknowledgement is an error whose number is 0.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let number = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, number) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(number)) => Err(io::Error::from_raw_os_error(-number)),
        (_, _) => Err(io::Error::other("the kernel's answer over netlink can't be understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_kernel_wants_them() {
        assert_eq!(message(RTM_NEWLINK, &up()).len(), 32);
        assert_eq!(address(ADDRESSES[0]).len(), 8 + 2 * 8);
        assert_eq!(address(ADDRESSES[1])[..2], [10, 128]);
        assert_eq!(default_route(ADDRESSES[1]).len(), 12 + 8 + 20);
    }

    #[test]
    fn an_answer_is_read_with_care() {
        let answer = |number: i32| {
            let mut body = number.to_ne_bytes().to_vec();
            body.extend([0; 16]);
            message(NLMSG_ERROR, &body)
        };
        acknowledged(&answer(0)).unwrap();
        assert_eq!(acknowledged(&answer(-1)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(acknowledged(&answer(0)[..10]).is_err());
        assert!(acknowledged(&[]).is_err());
    }

    #[test]
    fn who_may_not_change_the_network_is_told() {
        // Even root: the address is there and valid, the interface is not.
        let mut body = address(ADDRESSES[0]);
        body[4..8].copy_from_slice(&0x7fff_fff0_u32.to_ne_bytes());
        assert!(send(RTM_NEWADDR, &body).unwrap_err().raw_os_error().is_some());
    }
}
