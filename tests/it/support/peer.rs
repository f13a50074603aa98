//! A service that speaks no HTTP: the test plays it, connection by connection.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{Client, within};

/// A listener whose connections the test accepts itself.
#[derive(Debug)]
pub(crate) struct Peer(TcpListener);

// === impl Peer ===

impl Peer {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound address")
    }

    /// The next connection, as raw bytes.
    pub(crate) async fn accept(&self) -> Client {
        let (stream, _) = within("a connection to the service", self.0.accept()).await.expect("accepting");
        Client::over(stream)
    }
}
