//! Ports that lead from one network to the other, for a command in a namespace of its own.
//!
//! In: pairs of ports. Out: connections carried both ways until both have ended; each end is passed on
//! by itself, so that a half-closed connection stays half-closed. No policies: these are not calls.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::accept::socket::listen_alone;
use crate::capture::laptop::Inside;

/// Most connections of one port; more wait in the kernel.
const CONNECTIONS_MAX: usize = 256;

/// Longest wait for a connection to the other side; both are this machine.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Wait after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A port, and the one that its connections lead to: `8080`, or `8080:80` where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where connections come from.
    pub from: u16,
    /// Where they lead to.
    pub to: u16,
}

/// The network that connections lead to.
#[derive(Debug, Clone)]
pub(super) enum Side {
    /// The user's own.
    Outside,
    /// The command's.
    Inside(Inside),
}

// === impl Ports ===

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|port| digits && *port > 0)
        };
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        match (port(from), port(to)) {
            (Some(from), Some(to)) => Ok(Self { from, to }),
            (_, _) => Err("want a port or two, as in 8080 or 8080:80; ports are 1 to 65535".to_owned()),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.from, self.to)
    }
}

/// Opens a port of the user's loopback address.
///
/// # Errors
/// When it can't be listened on, with the flag that asked for it.
pub(super) fn open_outside(flag: &str, ports: Ports) -> io::Result<StdListener> {
    let address = loopback(ports.from)[0];
    listen_alone(address).map_err(|error| explain(flag, ports, &error))
}

/// Opens a port of the command's loopback addresses; of both families, as hosts do.
///
/// # Errors
/// As [`open_outside`].
pub(super) async fn open_inside(flag: &str, ports: Ports, inside: &Inside) -> io::Result<Vec<StdListener>> {
    let [v4, v6] = loopback(ports.from);
    let mut listeners = vec![inside.listen(v4).await.map_err(|error| explain(flag, ports, &error))?];
    // Without IPv6 there is none inside.
    listeners.extend(inside.listen(v6).await);
    Ok(listeners)
}

/// Carries the connections of one listener to a port of the other network, for ever.
pub(super) fn carry(listener: StdListener, to: u16, side: Side) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let side = side.clone();
                    tokio::spawn(async move {
                        join(stream, to, &side).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(ACCEPT_RETRY).await,
            }
        }
    });
    Ok(())
}

async fn join(mut stream: TcpStream, to: u16, side: &Side) {
    match side.connect(to).await {
        Ok(mut other) => {
            // Small messages of both sides go on at once.
            let _ = (stream.set_nodelay(true), other.set_nodelay(true));
            if copy_bidirectional(&mut stream, &mut other).await.is_err() {
                reset(&stream);
                reset(&other);
            }
        }
        Err(error) => {
            debug!(%error, port = to, "nobody listens where a port leads to");
            reset(&stream);
        }
    }
}

/// Ends a connection as broken, which it is, when it is dropped.
fn reset(stream: &TcpStream) {
    // What can't be marked is closed all the same.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn loopback(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

fn explain(flag: &str, ports: Ports, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{flag} {ports}: port {} can't be listened on: {error}", ports.from))
}

// === impl Side ===

impl Side {
    /// Connects to a port of the loopback addresses: a server may listen on either alone.
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in loopback(port) {
            let connected = async {
                let socket = self.socket(address).await?;
                socket.connect(address).await
            };
            match timeout(CONNECT_WAIT, connected).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if address.is_ipv4() => last = error,
                Ok(Err(_)) => {}
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    async fn socket(&self, address: SocketAddr) -> io::Result<TcpSocket> {
        match self {
            Self::Outside if address.is_ipv4() => TcpSocket::new_v4(),
            Self::Outside => TcpSocket::new_v6(),
            Self::Inside(inside) => Ok(TcpSocket::from_std_stream(inside.unconnected(address).await?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn ports_are_one_or_two_numbers() {
        assert_eq!("8080".parse(), Ok(Ports { from: 8080, to: 8080 }));
        assert_eq!("8080:80".parse(), Ok(Ports { from: 8080, to: 80 }));
        for wrong in ["", "0", "80:", ":80", "1:0", "65536", "80:81:82", "http", "+80", "127.0.0.1:80"] {
            assert!(wrong.parse::<Ports>().unwrap_err().contains("8080:80"), "{wrong}");
        }
    }

    async fn carried() -> (TcpStream, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = listen_alone("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        carry(listener, server.local_addr().unwrap().port(), Side::Outside).unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        (client, server.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_half_closed_connection_stays_half_closed() {
        let (mut client, mut server) = carried().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "questionanswer");
    }

    #[tokio::test]
    async fn a_port_that_leads_nowhere_resets() {
        let nobody = listen_alone("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap();
        let listener = listen_alone("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        carry(listener, nobody.port(), Side::Outside).unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
