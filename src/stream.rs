//! A socket together with what was read from it and not yet used.
//!
//! In: bytes of either side. Out: the same, one read or write at a time, in poll form so that one
//! task can wait for both sides and a timer at once. Knows nothing of HTTP. An idle stream holds
//! no buffer: ten thousand of them must stay small.

mod alarm;
mod buffers;
mod gather;
mod pipes;
mod splice;
mod tls;

use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::config::Alpn;
use tls::Tls;

pub use alarm::Alarm;
pub use buffers::{give_back, take};
pub use gather::Gathered;
pub use splice::{SPLICE_BYTES_MIN, Splice, Taken};

/// Bytes asked of the kernel in one read. One read takes a whole ordinary request or response;
/// larger buffers cost memory per call in flight.
pub const READ_BYTES: usize = 16 * 1024;

/// Bytes asked of the kernel inside a long body, where calls to the kernel are what costs.
pub const BODY_READ_BYTES: usize = 64 * 1024;

/// A byte stream that is no socket of its own, such as one request inside an HTTP/2 connection.
pub trait Virtual: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug {
    /// The stream is given up: its peer must not take what it has for the whole.
    fn reset(&mut self);

    /// Whether the peer has provably not acted on anything that was written.
    fn is_unprocessed(&self) -> bool {
        false
    }
}

/// What carries the bytes.
#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<Tls>),
    Virtual(Box<dyn Virtual>),
}

/// A socket and its unread input.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// Read and not yet used.
    pub input: BytesMut,
    ended: bool,
}

// === impl Stream ===

impl Stream {
    /// Takes over a connected socket.
    pub fn new(socket: TcpStream) -> Self {
        Self::over(Socket::Plain(socket))
    }

    /// Takes over a socket whose TLS handshake is done.
    pub fn encrypted(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Socket::Tls(Box::new(Tls::new(stream))))
    }

    /// What TLS has negotiated; `None` without TLS, and where the peer had no wish.
    pub fn alpn(&self) -> Option<Alpn> {
        match &self.socket {
            Socket::Tls(tls) => tls.alpn(),
            Socket::Plain(_) | Socket::Virtual(_) => None,
        }
    }

    /// A stream whose bytes something else carries.
    pub fn virtual_over(carrier: Box<dyn Virtual>) -> Self {
        Self::over(Socket::Virtual(carrier))
    }

    fn over(socket: Socket) -> Self {
        Self { socket, input: BytesMut::new(), ended: false }
    }

    /// Whether the peer has provably not acted on anything that was written to it.
    pub fn is_unprocessed(&self) -> bool {
        match &self.socket {
            Socket::Plain(_) => false,
            Socket::Tls(tls) => tls.is_refused(),
            Socket::Virtual(carrier) => carrier.is_unprocessed(),
        }
    }

    /// Whether the peer has ended TLS before it looked at anything: it refused our certificate, or the
    /// lack of one.
    pub fn is_refused_by_tls(&self) -> bool {
        match &self.socket {
            Socket::Tls(tls) => tls.is_refused(),
            Socket::Plain(_) | Socket::Virtual(_) => false,
        }
    }

    /// Whether bytes go over the socket as they are.
    pub fn is_plain(&self) -> bool {
        self.plain().is_some()
    }

    /// The socket, if bytes go over it as they are.
    fn plain(&self) -> Option<&TcpStream> {
        if let Socket::Plain(socket) = &self.socket { Some(socket) } else { None }
    }

    /// Whether the peer has ended its side.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Reads once, at most `size` bytes, into `input`. 0 is the end of the peer's side.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let was_idle = self.input.capacity() == 0;
        if was_idle {
            // An idle stream waits without a buffer.
            ready!(self.socket.poll_readable(cx))?;
            self.input = take();
        }
        if self.input.capacity() - self.input.len() < size / 4 {
            self.input.reserve(size);
        }
        let read = pin!(self.socket.read_buf(&mut self.input)).poll(cx);
        if let Poll::Ready(Ok(0)) = read {
            self.ended = true;
        }
        if was_idle && read.is_pending() {
            self.rest();
        }
        read
    }

    /// Reads once.
    #[cfg(test)]
    async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, READ_BYTES)).await
    }

    /// Writes once.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        if written == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(written))
    }

    /// Writes several pieces at once.
    pub fn poll_write_pieces(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    /// Writes everything in `out`, which is empty afterwards.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        while !out.is_empty() {
            match self.poll_write(cx, out) {
                Poll::Ready(Ok(written)) => out.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match &mut self.socket {
            Socket::Plain(_) | Socket::Virtual(_) => Poll::Ready(Ok(())),
            // What was written and encrypted may still wait for the kernel to take it.
            Socket::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    /// Ends our side: the peer reads an end after what was written.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Whether a stream that should be silent still is: no end, no error, no stray byte.
    /// Costs a call to the kernel only if the kernel has said that there is something.
    pub fn is_silent(&mut self) -> bool {
        if self.ended || !self.input.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match &mut self.socket {
            Socket::Plain(socket) => {
                if socket.poll_read_ready(&mut cx).is_pending() {
                    return true;
                }
                let mut probe = [0u8; 1];
                matches!(socket.try_read(&mut probe), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Socket::Tls(tls) => tls.is_silent(),
            Socket::Virtual(_) => false,
        }
    }

    /// Gives the read buffer back if nothing is in it.
    pub fn rest(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            give_back(std::mem::take(&mut self.input));
        }
    }

    /// Makes closing send a reset instead of a polite end, so that the peer can't take a cut
    /// message for a whole one.
    pub fn reset_on_close(&mut self) {
        match &mut self.socket {
            Socket::Plain(socket) => {
                // Without it the peer still sees an end before the message was whole.
                let _ = socket2::SockRef::from(&*socket).set_linger(Some(std::time::Duration::ZERO));
            }
            Socket::Tls(tls) => tls.reset_on_close(),
            Socket::Virtual(carrier) => carrier.reset(),
        }
    }
}

// === impl Socket ===

impl Socket {
    /// Ready when a read is worth a buffer.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(tls) => tls.poll_readable(cx),
            // It says so itself when it is read.
            Self::Virtual(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, out),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, out),
            Self::Virtual(carrier) => Pin::new(carrier).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, bytes),
            Self::Virtual(carrier) => Pin::new(carrier).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
            Self::Virtual(carrier) => Pin::new(carrier).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
            Self::Virtual(carrier) => Pin::new(carrier).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
            Self::Virtual(carrier) => Pin::new(carrier).poll_shutdown(cx),
        }
    }
}

/// For libraries that read a stream themselves: what is unread comes first.
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, out);
        }
        let count = self.input.len().min(out.remaining());
        out.put_slice(&self.input[..count]);
        self.input.advance(count);
        self.rest();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.input.clear();
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_waits_holds_no_buffer() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut peer = TcpStream::connect(listener.local_addr()?).await?;
        let mut stream = Stream::new(listener.accept().await?.0);
        for _ in 0..2 {
            let waits = tokio::time::timeout(std::time::Duration::from_millis(20), stream.fill()).await;
            assert!(waits.is_err());
            assert_eq!(stream.input.capacity(), 0);
            peer.write_all(b"hello").await?;
            assert_eq!((stream.fill().await?, &stream.input[..]), (5, &b"hello"[..]));
            stream.input.clear();
            stream.rest();
        }
        Ok(())
    }
}
