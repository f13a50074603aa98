//! Read buffers that wait for their next use, one stock per worker thread.
//!
//! In: buffers of streams that fell idle. Out: the same, empty. A call would otherwise allocate
//! and free 16 KiB on each side.

use std::cell::RefCell;

use bytes::BytesMut;

use super::READ_BYTES;

/// Most buffers kept per worker: 1 MiB.
const KEPT_MAX: usize = 64;

/// A buffer that has grown past this is freed instead of kept.
const KEPT_BYTES_MAX: usize = 2 * READ_BYTES;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for one read.
pub fn take() -> BytesMut {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(READ_BYTES))
}

/// Keeps a buffer for its next use, if it is worth it.
pub fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    // Reclaims the front that reading has moved past; allocates nothing when the buffer is ours alone.
    if !buffer.try_reclaim(READ_BYTES) || buffer.capacity() > KEPT_BYTES_MAX {
        return;
    }
    // The stock is gone while its thread ends; the buffer is then freed like any other.
    let _ = KEPT.try_with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut()
            && kept.len() < KEPT_MAX
        {
            kept.push(buffer);
        }
    });
}
