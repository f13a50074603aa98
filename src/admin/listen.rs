//! Accepts connections of the admin API and bounds what each may cost.
//!
//! In: a bound listener and routes. Out: an endless task. A client that stalls, trickles or never
//! leaves loses its connection, so that probes and scrapers always find a place.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Most connections of one listener. More wait in the kernel's queue until a place comes free.
pub const CONNECTIONS_MAX: usize = 128;

/// A connection on which nothing moves for this long is closed: a head that does not come, a reader
/// that does not read, or nothing more to ask.
pub const IDLE_MAX: Duration = Duration::from_secs(10);

/// A connection that stalls after this time is closed at once: trickling does not hold a place.
pub const LIFETIME_MAX: Duration = Duration::from_secs(300);

/// Wait after a failed accept, which most often means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until it is dropped.
///
/// # Errors
/// When the listener can't be used by the runtime. Errors of single connections end those only.
pub async fn serve(listener: StdListener, router: Router) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    axum::serve(Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }, router).await
}

/// Lets a bounded number of connections in.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// A connection that ends when nothing moves.
struct Bounded {
    stream: TcpStream,
    alarm: Pin<Box<Sleep>>,
    ends: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

// === impl Door ===

impl axum::serve::Listener for Door {
    type Io = Bounded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Bounded, SocketAddr) {
        // Never closed, so never an error; if it were, serving is better than not.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Bounded::new(stream, place), address),
                Err(error) => {
                    tracing::debug!(%error, "the admin API could not accept");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Bounded ===

impl Bounded {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + IDLE_MAX));
        Self { stream, alarm, ends: now + LIFETIME_MAX, _place: place }
    }

    /// Passes on what the stream said; when it stalls, sees whether it has for too long.
    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            ready!(self.alarm.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let next = (Instant::now() + IDLE_MAX).min(self.ends);
        self.alarm.as_mut().reset(next);
        polled
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(polled, cx)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush: this is no sign that the peer reads, so no alarm is reset.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
