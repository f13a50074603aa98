//! Pipes that wait for their next use, one stock per worker thread.
//!
//! In: pipes that are empty again. Out: the same. Bytes that stay in the kernel pass through a pipe
//! (splice(2)); making one and growing it costs more than a small body.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Room asked for in a pipe. The kernel counts in pages: a page may hold one small segment, so a pipe
/// of the default 64 KiB can be full with 23 KiB. It gives less to users who have many pipes.
const PIPE_BYTES: usize = 256 * 1024;

/// Most empty pipes kept per worker: 64 descriptors.
const KEPT_MAX: usize = 32;

/// Most pipes in use at once per worker. They are held only while bytes are in them, so this is the
/// number of slow readers; the bodies of others are copied.
const USED_MAX: usize = 256;

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock { kept: Vec::new(), used: 0, useless: false }) };
}

#[derive(Debug)]
struct Stock {
    kept: Vec<Pipe>,
    used: usize,
    /// The kernel, or who guards it, does not let us.
    useless: bool,
}

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) held: usize,
}

// === impl Pipe ===

impl Pipe {
    /// An empty pipe; none while too many are in use, and where none can be had or none is of use.
    pub(super) fn take() -> Option<Self> {
        STOCK.with_borrow_mut(|stock| {
            if stock.useless || stock.used >= USED_MAX {
                return None;
            }
            let pipe = stock.kept.pop().or_else(|| Self::make().ok())?;
            stock.used += 1;
            Some(pipe)
        })
    }

    /// Ends the use of a pipe. It is kept if it is empty; bytes in it are lost.
    pub(super) fn give_back(self) {
        // The stock is gone while its thread ends; the pipe is then closed like any other.
        let _ = STOCK.try_with(|stock| {
            if let Ok(mut stock) = stock.try_borrow_mut() {
                stock.used -= 1;
                if self.held == 0 && stock.kept.len() < KEPT_MAX && !stock.useless {
                    stock.kept.push(self);
                }
            }
        });
    }

    fn make() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A smaller pipe does as well.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write, held: 0 })
    }
}

/// Whether splicing can be tried on this thread.
pub(super) fn are_useful() -> bool {
    STOCK.with_borrow(|stock| !stock.useless)
}

/// Splicing does not work here: from now on this thread gives out no pipe.
pub(super) fn are_useless() {
    STOCK.with_borrow_mut(|stock| {
        stock.useless = true;
        stock.kept.clear();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_pipe_is_kept() {
        let (mut used, empty) = (Pipe::take().expect("a pipe"), Pipe::take().expect("another"));
        used.held = 1;
        used.give_back();
        empty.give_back();
        assert_eq!(STOCK.with_borrow(|stock| (stock.kept.len(), stock.used)), (1, 0));
    }

    #[test]
    fn pipes_in_use_and_pipes_kept_are_bounded() {
        let used: Vec<_> = std::iter::from_fn(Pipe::take).collect();
        assert_eq!(used.len(), USED_MAX);
        used.into_iter().for_each(Pipe::give_back);
        assert_eq!(STOCK.with_borrow(|stock| stock.kept.len()), KEPT_MAX);
    }

    #[test]
    fn where_pipes_are_useless_there_are_none() {
        Pipe::take().expect("a pipe").give_back();
        are_useless();
        assert!(!are_useful() && Pipe::take().is_none());
        assert_eq!(STOCK.with_borrow(|stock| stock.kept.len()), 0);
    }
}
