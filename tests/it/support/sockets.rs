//! Ports that misbehave below HTTP: refusing, never accepting, echoing.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::ms;

/// A port that refuses connections. It stays bound, so that no other test gets it.
#[derive(Debug)]
pub(crate) struct Refused(Socket);

/// A listener whose backlog is full: a connect hangs until it times out.
#[derive(Debug)]
pub(crate) struct FullBacklog {
    socket: Socket,
    _fillers: Vec<TcpStream>,
}

/// A server that sends every byte back.
#[derive(Debug)]
pub(crate) struct Echo {
    address: SocketAddr,
    task: JoinHandle<()>,
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&address.into()).expect("a free port");
    socket
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("a bound address")
}

// === impl Refused ===

impl Refused {
    pub(crate) fn bind() -> Self {
        Self(bound())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        address(&self.0)
    }
}

// === impl FullBacklog ===

impl FullBacklog {
    pub(crate) async fn bind() -> Self {
        let socket = bound();
        socket.listen(0).expect("listening");
        let mut fillers = Vec::new();
        while let Ok(stream) = tokio::time::timeout(ms(300), TcpStream::connect(address(&socket))).await {
            fillers.push(stream.expect("a listener does not refuse"));
        }
        Self { socket, _fillers: fillers }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        address(&self.socket)
    }
}

// === impl Echo ===

impl Echo {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while let Ok(read) = stream.read(&mut bytes).await {
                        if read == 0 || stream.write_all(&bytes[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, task }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}
