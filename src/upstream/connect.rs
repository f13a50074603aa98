//! Opens connections to endpoints.
//!
//! In: an address, the TLS of its service and the time left. Out: a connected stream, or the fault that
//! says why not.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::error::Fault;
use crate::stream::Stream;

use super::Dials;
use super::tls::{Offer, TlsClient, TlsFault};

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoConnection {
    /// The reason. Nothing of a request was sent, whatever it is.
    pub fault: Fault,
    /// With `TlsFailed`: what was wrong.
    pub tls: Option<TlsFault>,
}

/// Connects to `address`, TLS handshake included, until `give_up` at the latest, and notes it in `dials`
/// before a byte is sent. Cancel-safe: a half-open socket is closed.
///
/// # Errors
/// `ConnectTimeout`, also of the handshake; `TlsFailed` with what was wrong; `Overloaded` when the process
/// has no file descriptor left; else `ConnectFailed`.
pub async fn connect(
    address: SocketAddr,
    tls: Option<(&TlsClient, Offer)>,
    give_up: Instant,
    dials: &Dials,
) -> Result<Stream, NoConnection> {
    let socket = connect_tcp(address, give_up).await?;
    if dials.is_on()
        && let Ok(own) = socket.local_addr()
    {
        dials.note(own, address, Instant::now());
    }
    let Some((client, offer)) = tls else {
        return Ok(Stream::new(socket));
    };
    match timeout_at(give_up, client.handshake(socket, offer)).await {
        Ok(Ok(stream)) => {
            client.note(None);
            Ok(Stream::encrypted(stream))
        }
        Ok(Err(fault)) => {
            if client.note(Some(fault)) {
                let name = client.server_name();
                tracing::warn!(%address, "no TLS with {name}: {}", fault.clause(&name));
            }
            Err(NoConnection { fault: Fault::TlsFailed, tls: Some(fault) })
        }
        Err(_) => Err(Fault::ConnectTimeout.into()),
    }
}

async fn connect_tcp(address: SocketAddr, give_up: Instant) -> Result<TcpStream, Fault> {
    match timeout_at(give_up, TcpStream::connect(address)).await {
        Err(_) => Err(Fault::ConnectTimeout),
        Ok(Ok(socket)) if is_connected_to_itself(&socket, address) => Err(Fault::ConnectFailed),
        Ok(Ok(socket)) => {
            // Without it small writes wait for the peer's delayed acknowledgement.
            let _ = socket.set_nodelay(true);
            Ok(socket)
        }
        Ok(Err(error)) if is_exhaustion(&error) => Err(Fault::Overloaded),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::ConnectTimeout),
        Ok(Err(_)) => Err(Fault::ConnectFailed),
    }
}

// === impl NoConnection ===

impl From<Fault> for NoConnection {
    fn from(fault: Fault) -> Self {
        Self { fault, tls: None }
    }
}

/// Whether a port of this host where nobody listens was reached from that very port: the kernel picks
/// a port at random and lets such a connection come about (RFC 9293 section 3.5, simultaneous open).
fn is_connected_to_itself(socket: &TcpStream, address: SocketAddr) -> bool {
    address.ip().is_loopback() && socket.local_addr().is_ok_and(|local| local == address)
}

/// Whether the process or the host has run out of file descriptors, local ports or memory.
pub fn is_exhaustion(error: &io::Error) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    const EADDRNOTAVAIL: i32 = 99;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM | ENOBUFS | EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn a_connection_to_itself_is_told_from_one_to_a_listener() -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse().expect("an address"))?;
        let address = socket.local_addr()?;
        let itself = socket.connect(address).await?;
        assert!(is_connected_to_itself(&itself, address));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        assert!(!is_connected_to_itself(&TcpStream::connect(address).await?, address));
        Ok(())
    }
}
