//! Listening sockets.
//!
//! In: an address. Out: one socket per worker, so that the kernel spreads connections and no lock is
//! shared; or an error that names the address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::listen::bind;

/// One listening socket per worker on `address`; a port of 0 becomes the same real port for all.
///
/// # Errors
/// When the address is taken, by another instance of this program too, or is not this host's.
pub fn listen(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // Without SO_REUSEPORT first: with it, a second instance would silently take half the calls.
    drop(bind(address, false)?);
    let first = bind(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(bind(address, true)?);
    }
    Ok(sockets)
}

/// The same on an address where this process listens already: the sockets before are to be closed.
///
/// # Errors
/// As [`listen`].
pub fn listen_again(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    (0..workers).map(|_| bind(address, true)).collect()
}

/// One listening socket that nobody shares.
///
/// # Errors
/// As [`listen`].
pub fn listen_alone(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address, false)
}

/// Where a connection was going before the kernel sent it here. `None`: it was dialled to us.
pub(super) fn original_destination(socket: &TcpStream) -> Option<SocketAddr> {
    let own = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    // An IPv4 connection on an IPv6 socket is still one of IPv4 to the kernel's rules.
    let is_ipv4 = own.ip().to_canonical().is_ipv4();
    let original = if is_ipv4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = original.ok()?.as_socket()?;
    let same = original.port() == own.port() && original.ip().to_canonical() == own.ip().to_canonical();
    (!same).then_some(original)
}
