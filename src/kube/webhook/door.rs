//! Connections of the API servers: accepted, with TLS around them, bounded, and ended without a cut.
//!
//! In: a bound socket. Out: requests for the reviewer. HTTP/1.1 alone, which is what API servers speak
//! with webhooks. A client that says nothing, or not all, loses its connection.

use std::fmt;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::NoServerSessionStorage;
use rustls::{AlertDescription, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::listen::{ACCEPT_RETRY, Bounded};

use super::reviewer::Reviewer;
use super::state::{Count, State};

/// Most connections at once. An API server keeps at most 25 idle ones, and has one for each review under
/// way.
const CONNECTIONS_MAX: usize = 512;

/// Longest time from the accept to the end of the TLS handshake.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest time from one reply to the head of the next request. API servers close idle connections after
/// 90 s: were we first, a review could be on its way just then, and fail.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Longest time for reviews under way at the end.
pub(super) const FINISH_WAIT_MAX: Duration = Duration::from_secs(15);

/// Where connections come from.
pub(super) struct Door {
    listener: TcpListener,
    inside: Arc<Inside>,
}

/// What becomes of them.
struct Inside {
    acceptor: TlsAcceptor,
    places: Arc<Semaphore>,
    reviewer: Arc<Reviewer>,
    state: Arc<State>,
    /// What the last peer said that broke a handshake off; logged when it changes.
    alert: Mutex<Option<AlertDescription>>,
}

// === impl Door ===

impl Door {
    /// Nothing is accepted yet.
    ///
    /// # Errors
    /// When the socket or the TLS library refuses.
    pub(super) fn new(
        listener: StdListener,
        reviewer: Reviewer,
        state: &Arc<State>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        listener.set_nonblocking(true)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(state) as Arc<_>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session would go by the certificate it began with, also once that was replaced. API
        // servers keep their connections, so whole handshakes are few.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let inside = Inside {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            reviewer: Arc::new(reviewer),
            state: Arc::clone(state),
            alert: Mutex::default(),
        };
        Ok(Self { listener: TcpListener::from_std(listener)?, inside: Arc::new(inside) })
    }

    /// Serves until `closing` is true; then what is under way ends, within [`FINISH_WAIT_MAX`]. Out:
    /// whether it did.
    pub(super) async fn serve(self, mut closing: watch::Receiver<bool>) -> bool {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! { // Cancel-safe: what is not accepted stays in the kernel's queue, a task stays joined.
                biased;
                () = closed(&mut closing) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (socket, place) = self.accept() => {
                    connections.spawn(Arc::clone(&self.inside).connection(socket, place, closing.clone()));
                }
            }
        }
        // Nobody else waits in the kernel's queue for a reply that will not come.
        drop(self);
        let all = async { while connections.join_next().await.is_some() {} };
        timeout(FINISH_WAIT_MAX, all).await.is_ok()
    }

    async fn accept(&self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // Never closed, so never an error; if it were, serving is better than not.
        let place = Arc::clone(&self.inside.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => return (socket, place),
                Err(error) => {
                    debug!(%error, "could not accept");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

// === impl Inside ===

impl Inside {
    async fn connection(
        self: Arc<Self>,
        socket: TcpStream,
        place: Option<OwnedSemaphorePermit>,
        mut closing: watch::Receiver<bool>,
    ) {
        let socket = Bounded::new(socket, place, IDLE_MAX, None);
        let stream = match timeout(HANDSHAKE_WAIT_MAX, self.acceptor.accept(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.handshake_failed(&error),
            Err(_) => return self.state.count(Count::HandshakeFailed),
        };
        let reviewer = Arc::clone(&self.reviewer);
        let service = service_fn(move |request| {
            let reviewer = Arc::clone(&reviewer);
            async move { Ok::<_, std::convert::Infallible>(reviewer.reply(request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(HEAD_BYTES_MAX);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! { // Not dropped in the second arm: it ends with the reply under way.
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke off");
        }
    }

    /// A peer that breaks off says why: a webhook that nobody trusts must not be silent.
    fn handshake_failed(&self, error: &std::io::Error) {
        self.state.count(Count::HandshakeFailed);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::AlertReceived(alert)) = inner else {
            debug!(%error, "a TLS handshake failed");
            return;
        };
        let before = self.alert.lock().unwrap_or_else(PoisonError::into_inner).replace(*alert);
        if before != Some(*alert) {
            warn!("an API server refused our certificate: {alert:?}");
        }
    }
}

/// Until connections are to end. Cancel-safe.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An owner that is gone wants the same.
    let _ = closing.wait_for(|closing| *closing).await;
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("listener", &self.listener).finish_non_exhaustive()
    }
}
