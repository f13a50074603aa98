//! Bytes from one plain socket to another without a copy: splice(2) through a pipe.
//!
//! In: two streams. Out: bytes of one on the other, in two steps, so that a caller may do something
//! once it has the last byte and before it gives it. A pipe is held only while bytes are in it. Where
//! splicing does not work the caller is told to copy, and nothing is lost.

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use tokio::io::Interest;

use super::Stream;
use super::pipes::{self, Pipe};

/// Most bytes in the kernel between two sockets: what one take may ask for. Bodies of 1 MiB over
/// loopback cost 2.3 times as much CPU with 64 KiB, and no less with 1 MiB.
const SPLICE_BYTES_MAX: usize = 256 * 1024;

/// Bytes left of a body from which splicing pays. CPU time of a call over loopback, as a ratio to
/// copying: 1.2 with 8 KiB left, 0.7 to 1.0 with 16 KiB, 0.68 with 32 KiB, 0.44 with 112 KiB, 0.17 with 1 MiB.
pub const SPLICE_BYTES_MIN: u64 = 16 * 1024;

/// Bytes on their way from one socket to another, in the kernel.
#[derive(Debug, Default)]
pub struct Splice {
    pipe: Option<Pipe>,
}

/// What [`Splice::poll_take`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// This many bytes, at least one.
    Bytes(usize),
    /// The end of the peer's side.
    End,
    /// Nothing was taken and nothing can be: copy instead.
    Nothing,
}

// === impl Splice ===

impl Splice {
    /// Whether bytes of `from` can go to `to` without a copy, as far as is known.
    pub fn can(from: &Stream, to: &Stream) -> bool {
        from.is_plain() && to.is_plain() && pipes::are_useful()
    }

    /// Bytes taken and not yet given.
    pub fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held)
    }

    /// Takes at most `max` bytes from `from`, whose `input` is empty. Only while nothing is held: a
    /// full pipe could not be told from an empty socket.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        max: u64,
    ) -> Poll<io::Result<Taken>> {
        debug_assert!(self.pipe.is_none() && from.input.is_empty(), "bytes would change their order");
        from.rest();
        if from.ended {
            return Poll::Ready(Ok(Taken::End));
        }
        let max = usize::try_from(max).unwrap_or(SPLICE_BYTES_MAX).min(SPLICE_BYTES_MAX);
        loop {
            let Some(socket) = from.plain() else { return Poll::Ready(Ok(Taken::Nothing)) };
            ready!(socket.poll_read_ready(cx))?;
            let Some(mut pipe) = Pipe::take() else { return Poll::Ready(Ok(Taken::Nothing)) };
            match socket.try_io(Interest::READABLE, || splice(socket, &pipe.write, max)) {
                Ok(0) => {
                    pipe.give_back();
                    from.ended = true;
                    return Poll::Ready(Ok(Taken::End));
                }
                Ok(count) => {
                    pipe.held = count;
                    self.pipe = Some(pipe);
                    return Poll::Ready(Ok(Taken::Bytes(count)));
                }
                Err(error) => {
                    pipe.give_back();
                    if is_useless(&error) {
                        pipes::are_useless();
                        return Poll::Ready(Ok(Taken::Nothing));
                    }
                    if error.kind() != io::ErrorKind::WouldBlock {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    /// Gives bytes to `to` once; how many it took. Should splicing turn out not to work, all that is
    /// held is moved into `out`, which the caller writes next.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        to: &Stream,
        out: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let (Some(pipe), Some(socket)) = (&mut self.pipe, to.plain()) else { return Poll::Ready(Ok(0)) };
        let held = pipe.held;
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let mut given = 0;
            let gone = socket.try_io(Interest::WRITABLE, || {
                given = splice(&pipe.read, socket, held)?;
                // The socket is full when it takes less than there is; the kernel says when it has room.
                if given < held { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match gone {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    if !is_useless(&error) {
                        return Poll::Ready(Err(error));
                    }
                    pipes::are_useless();
                    pipe.drain(out)?;
                }
                Ok(()) | Err(_) if given > 0 => pipe.held -= given,
                Ok(()) | Err(_) => continue,
            }
            self.let_go();
            return Poll::Ready(Ok(given));
        }
    }

    /// An empty pipe is for others.
    fn let_go(&mut self) {
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held == 0) {
            pipe.give_back();
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            pipe.give_back();
        }
    }
}

// === impl Pipe ===

impl Pipe {
    /// Moves all that is held into `out`.
    fn drain(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while self.held > 0 {
            let at = out.len();
            out.resize(at + self.held, 0);
            let read = rustix::io::read(&self.read, &mut out[at..]);
            out.truncate(at + read.unwrap_or(0));
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.held -= count,
            }
        }
        Ok(())
    }
}

/// One call to the kernel. `MORE` is not said: a body that comes slowly would be held back.
fn splice(from: impl AsFd, to: impl AsFd, max: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        match rustix::pipe::splice(&from, None, &to, None, max, flags) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// The call itself is refused: by an old kernel, by a sandbox, or for such a socket.
fn is_useless(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::OPNOTSUPP];
    refusals.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
