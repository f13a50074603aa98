//! Large bodies of known length, from socket to socket without a copy.
//!
//! In: two streams and how much is left of a body. Out: the body's bytes in the kernel, on their way.
//! Both directions of a call use it; the framing is neither read nor written, so nothing else can.

use std::io;
use std::task::{Context, Poll, ready};

use crate::stream::{SPLICE_BYTES_MIN, Splice, Stream, Taken};
use crate::wire::BodyDecoder;

/// The part of a body that is not copied.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// What is on its way; it counts as moved for the decoder.
    pub(super) splice: Splice,
    /// Once it has begun, the rest of the body goes the same way.
    begun: bool,
}

// === impl Direct ===

impl Direct {
    /// Takes a part of the body, if that is worth it. Everything that came before must have been
    /// written, and nothing may wait in `from.input`.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &Stream,
        decoder: &mut BodyDecoder,
    ) -> Poll<io::Result<Taken>> {
        let Some(left) = decoder.left() else { return Poll::Ready(Ok(Taken::Nothing)) };
        if !self.begun && left < SPLICE_BYTES_MIN || !from.input.is_empty() || !Splice::can(from, to) {
            return Poll::Ready(Ok(Taken::Nothing));
        }
        self.begun = true;
        let taken = ready!(self.splice.poll_take(cx, from, left))?;
        if let Taken::Bytes(count) = taken {
            decoder.took_plain(count);
        }
        Poll::Ready(Ok(taken))
    }
}
