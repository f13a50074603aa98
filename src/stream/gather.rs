//! The writes of one turn, gathered into few calls to the kernel.
//!
//! In: a stream, and the writes of a library that makes one per frame. Out: the same bytes, written
//! when the task that drives the library says that its turn is over, or when they fill a buffer.
//! A connection with ten answers to give would otherwise make ten calls, which was measured at a
//! third of the proxy's work in the kernel.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{READ_BYTES, Stream, give_back, take};

/// Most bytes that wait for the end of a turn. Whatever does not fit is written at once, together
/// with what waits, and is not copied.
const WAITING_BYTES_MAX: usize = READ_BYTES;

/// Most pieces in one write: what waits, and the head and the payload of a frame.
const PIECES_MAX: usize = 4;

/// A stream that two share: the library that reads and writes it, and the task that ends its turns.
#[derive(Debug, Clone)]
pub struct Gathered(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    stream: Stream,
    /// Taken from the library and not yet written.
    waiting: BytesMut,
    /// Why a write failed that the library believes done; it learns of it when it reads or writes.
    failed: Option<io::Error>,
}

// === impl Gathered ===

impl Gathered {
    /// Takes over a stream.
    pub fn new(stream: Stream) -> Self {
        Self(Rc::new(RefCell::new(Inner { stream, waiting: BytesMut::new(), failed: None })))
    }

    /// Ends a turn: writes what waits. What the kernel does not take now wakes the task when it does;
    /// a failure wakes it at once, so that the library learns of it.
    pub fn end_turn(&self, cx: &mut Context<'_>) {
        let inner = &mut *self.0.borrow_mut();
        if let Poll::Ready(Err(error)) = inner.poll_flush(cx) {
            inner.failed = Some(error);
            cx.waker().wake_by_ref();
        }
    }
}

// === impl Inner ===

impl Inner {
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.capacity() > 0 {
            ready!(self.stream.poll_flush(cx, &mut self.waiting))?;
            give_back(std::mem::take(&mut self.waiting));
        }
        Poll::Ready(Ok(()))
    }

    fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.check()?;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if self.waiting.len() + length <= WAITING_BYTES_MAX {
            if self.waiting.capacity() == 0 {
                self.waiting = take();
            }
            pieces.iter().for_each(|piece| self.waiting.extend_from_slice(piece));
            return Poll::Ready(Ok(length));
        }
        loop {
            let waited = self.waiting.len();
            let mut all = [IoSlice::new(&[]); PIECES_MAX];
            all[0] = IoSlice::new(&self.waiting);
            let count = pieces.len().min(PIECES_MAX - 1);
            all[1..=count].copy_from_slice(&pieces[..count]);
            let written = ready!(self.stream.poll_write_pieces(cx, &all[..=count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written.min(waited));
            if written > waited {
                return Poll::Ready(Ok(written - waited));
            }
        }
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.check()?;
        Pin::new(&mut inner.stream).poll_read(cx, out)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Writes nothing: the turn is not over.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.check()?;
        ready!(inner.poll_flush(cx))?;
        inner.stream.poll_end(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> io::Result<(Gathered, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let peer = TcpStream::connect(listener.local_addr()?).await?;
        Ok((Gathered::new(Stream::new(listener.accept().await?.0)), peer))
    }

    async fn end_turn(gathered: &Gathered) {
        std::future::poll_fn(|cx| {
            gathered.end_turn(cx);
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_written_leaves_at_the_end_of_the_turn() -> io::Result<()> {
        let (mut gathered, mut peer) = pair().await?;
        gathered.write_all(b"one ").await?;
        gathered.flush().await?;
        gathered.write_all(b"two").await?;
        let mut probe = [0u8; 64];
        let early = peer.try_read(&mut probe).map_err(|error| error.kind());
        assert_eq!(early, Err(io::ErrorKind::WouldBlock));
        end_turn(&gathered).await;
        let count = peer.read(&mut probe).await?;
        assert_eq!(&probe[..count], b"one two");
        assert_eq!(gathered.0.borrow().waiting.capacity(), 0, "an idle connection holds no buffer");
        Ok(())
    }

    #[tokio::test]
    async fn what_fills_the_buffer_is_written_in_order() -> io::Result<()> {
        let (mut gathered, mut peer) = pair().await?;
        let sent: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            peer.read_to_end(&mut read).await.map(|_| read)
        });
        let mut rest = &sent[..];
        for size in [1, 700, 9, 16_384, 9, 16_384, 40_000, 5].into_iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            gathered.write_all(piece).await?;
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        gathered.shutdown().await?;
        assert!(reader.await.expect("the reader runs")? == sent);
        Ok(())
    }

    #[tokio::test]
    async fn a_write_that_fails_after_the_turn_is_told_at_the_next() -> io::Result<()> {
        let (mut gathered, peer) = pair().await?;
        socket2::SockRef::from(&peer).set_linger(Some(std::time::Duration::ZERO))?;
        drop(peer);
        gathered.write_all(b"lost").await?;
        end_turn(&gathered).await;
        assert!(gathered.write_all(b"more").await.is_err());
        Ok(())
    }
}
