//! Connections of the API servers: accepted, with TLS around them, bounded, and ended without a cut.
//!
//! In: a bound socket. Out: requests for the reviewer. HTTP/1.1 alone, which is what API servers speak
//! with webhooks. A client that says nothing, or not all, loses its connection; and so does one that sends no
//! review, for the places are the API servers'.

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

/// Longest time from the end of the handshake to a request. Who says nothing holds a place that API
/// servers need, and they say something at once.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Longest time from the first request to the first review that is answered, which is longer than one
/// may take. After that a connection is taken for an API server's.
const PROOF_WAIT_MAX: Duration = Duration::from_secs(20);

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Longest time for reviews under way at the end.
pub(super) const FINISH_WAIT_MAX: Duration = Duration::from_secs(15);

/// What a connection has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Request,
    Review,
}

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
        let (shown, shows) = watch::channel(Shown::Nothing);
        let shown = Arc::new(shown);
        let service = service_fn(move |request| {
            let (reviewer, shown) = (Arc::clone(&self.reviewer), Arc::clone(&shown));
            async move {
                shows_more(&shown, Shown::Request);
                let reply = reviewer.reply(request).await;
                if reply.status().is_success() {
                    shows_more(&shown, Shown::Review);
                }
                Ok::<_, std::convert::Infallible>(reply)
            }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(HEAD_BYTES_MAX);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! { // Dropped in the last arm alone: in the second it ends with the reply under way.
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = shows_too_little(shows) => return debug!("a connection without a review was closed"),
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

fn shows_more(shown: &watch::Sender<Shown>, now: Shown) {
    shown.send_if_modified(|before| {
        let more = *before != Shown::Review && *before != now;
        if more {
            *before = now;
        }
        more
    });
}

/// Until a connection has shown too little for too long; for ever, if it is an API server's. Cancel-safe.
async fn shows_too_little(mut shows: watch::Receiver<Shown>) {
    let asks = timeout(SILENCE_MAX, shows.wait_for(|shown| *shown != Shown::Nothing)).await.is_ok();
    if asks && timeout(PROOF_WAIT_MAX, shows.wait_for(|shown| *shown == Shown::Review)).await.is_ok() {
        std::future::pending::<()>().await;
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How long a connection lasts that shows these, each so many seconds after the one before; at most an hour.
    async fn lasts(script: &[(u64, Shown)]) -> u64 {
        let (shown, shows) = watch::channel(Shown::Nothing);
        let began = Instant::now();
        let told = async {
            for (wait, now) in script {
                sleep(Duration::from_secs(*wait)).await;
                shows_more(&shown, *now);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { // The test ends with it.
            () = told => {}
            ended = timeout(Duration::from_secs(3600), shows_too_little(shows)) => drop(ended),
        }
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_no_review_is_bounded_and_an_api_server_is_not() {
        let silent = SILENCE_MAX.as_secs();
        let bounded = PROOF_WAIT_MAX.as_secs();
        assert_eq!(lasts(&[]).await, silent);
        assert_eq!(lasts(&[(9, Shown::Request)]).await, 9 + bounded);
        // Requests without end do not help.
        assert_eq!(lasts(&[(1, Shown::Request); 100]).await, 1 + bounded);
        assert_eq!(lasts(&[(1, Shown::Request), (2, Shown::Review), (1, Shown::Request)]).await, 3600);
    }
}
