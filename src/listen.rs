//! Binds listeners, and bounds what connections of the control side may cost.
//!
//! In: an address; a bound listener and routes; a connection. Out: a listener; an endless task; the
//! connection, which ends when it stalls. A client that stalls, trickles or never leaves loses its
//! connection, so that probes and scrapers always find a place.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
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
pub const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections the kernel holds for us until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening socket of one family, which does not block. With `reuse_port` others of ours may share
/// the address.
///
/// # Errors
/// When the address is taken, or is not this host's.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run in TIME_WAIT must not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

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
#[derive(Debug)]
pub struct Bounded<S = TcpStream> {
    stream: S,
    alarm: Pin<Box<Sleep>>,
    idle_max: Duration,
    /// When a stall of any length ends it; `None` for never.
    ends: Option<Instant>,
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
                Ok((stream, address)) => {
                    return (Bounded::new(stream, place, IDLE_MAX, Some(LIFETIME_MAX)), address);
                }
                Err(error) => {
                    tracing::debug!(%error, "could not accept");
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

impl<S> Bounded<S> {
    /// A connection on which something moves at least every `idle_max`. After `lifetime_max` the first
    /// stall ends it. It holds `place` until it is dropped.
    pub fn new(
        stream: S,
        place: Option<OwnedSemaphorePermit>,
        idle_max: Duration,
        lifetime_max: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + idle_max));
        Self { stream, alarm, idle_max, ends: lifetime_max.map(|lifetime| now + lifetime), _place: place }
    }

    /// Passes on what the stream said; when it stalls, sees whether it has for too long.
    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            ready!(self.alarm.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let next = Instant::now() + self.idle_max;
        self.alarm.as_mut().reset(self.ends.map_or(next, |ends| next.min(ends)));
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(polled, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
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
