//! A server that takes TLS off and passes the bytes on to a scripted service, and servers that never
//! get that far.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// The server; its connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct TlsFront {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// One handshake that succeeded.
#[derive(Debug, Clone)]
pub(crate) struct Handshake {
    pub(crate) resumed: bool,
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<Vec<u8>>,
    /// The client's certificate, if it showed one.
    pub(crate) client: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    config: Mutex<Arc<ServerConfig>>,
    handshakes: Mutex<Vec<Handshake>>,
}

/// A server that says these bytes to whoever has said something, and perhaps hangs up.
#[derive(Debug)]
pub(crate) struct Parrot {
    address: SocketAddr,
    task: JoinHandle<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl TlsFront ===

impl TlsFront {
    /// Serves TLS on a free port of 127.0.0.1; what is inside goes to `to`.
    pub(crate) async fn start(config: ServerConfig, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let config = Mutex::new(Arc::new(config));
        let shared = Arc::new(Shared { to, config, handshakes: Mutex::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections to come this way.
    pub(crate) fn now(&self, config: ServerConfig) {
        *locked(&self.shared.config) = Arc::new(config);
    }

    /// The handshakes so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        locked(&self.shared.handshakes).clone()
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, Arc::clone(&shared)));
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let acceptor = TlsAcceptor::from(Arc::clone(&locked(&shared.config)));
    // What a bad handshake looks like is the other side's part to say.
    let Ok(mut stream) = acceptor.accept(socket).await else { return };
    let (_, session) = stream.get_ref();
    let handshake = Handshake {
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        server_name: session.server_name().map(str::to_owned),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        client: session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()),
    };
    locked(&shared.handshakes).push(handshake);
    let mut inside = TcpStream::connect(shared.to).await.expect("the scripted service");
    let _ended = copy_bidirectional(&mut stream, &mut inside).await;
}

// === impl Parrot ===

impl Parrot {
    /// With `hangs_up` the connection ends after the bytes.
    pub(crate) async fn start(says: &'static [u8], hangs_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut heard = [0; 4096];
                    let _heard = socket.read(&mut heard).await;
                    let _said = socket.write_all(says).await;
                    while !hangs_up && socket.read(&mut heard).await.is_ok_and(|read| read > 0) {}
                });
            }
        });
        Self { address, task }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}
