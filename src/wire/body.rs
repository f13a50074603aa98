//! Moves a body from the framing it came in to the framing it leaves in.
//!
//! In: what was read. Out: what to write, in an output buffer. Knows both framings of one
//! direction; never touches a socket. Content is copied once, and not at all where the caller
//! sees [`BodyDecoder::plain`] and writes straight from the read buffer.

use bytes::{Buf, BytesMut};

use crate::head::Framing;

use super::chunked::{ChunkDecoder, ChunkError, Step};
use super::write;

/// Reads a body in one of the framings of RFC 9112 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyDecoder {
    /// Nothing is left.
    Done,
    /// This many bytes are left.
    Length(u64),
    /// The chunked coding.
    Chunked(ChunkDecoder),
    /// Everything until the connection ends.
    UntilClose,
}

/// Writes a body in one of the framings of RFC 9112 section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEncoder {
    /// As it is: the length was announced, or the connection's end is the body's.
    Plain,
    /// The chunked coding.
    Chunked,
}

/// Why a body can't be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The chunked coding is broken.
    Chunk(ChunkError),
    /// The connection ended inside the body.
    Cut,
}

/// How far [`transcode`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The body is over.
    End,
    /// More must be read.
    NeedMore,
    /// The output is full for now.
    Full,
}

// === impl BodyDecoder ===

impl BodyDecoder {
    /// A decoder for a body framed like this.
    pub const fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(left) => Self::Length(left),
            Framing::Chunked => Self::Chunked(ChunkDecoder::new()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether the body was read to its end.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many of the next `available` bytes are content as they stand, without framing.
    /// Zero for the chunked coding.
    pub fn plain(&self, available: usize) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(available),
            Self::UntilClose => available,
            Self::Done | Self::Chunked(_) => 0,
        }
    }

    /// Bytes left of a body whose length is known.
    pub const fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Done | Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes note that `count` bytes of plain content were moved.
    pub fn took_plain(&mut self, count: usize) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// The connection ended: fine for a body that lasts until then.
    ///
    /// # Errors
    /// When the framing promised more.
    pub fn ended(&mut self) -> Result<(), BodyError> {
        match self {
            Self::Done => Ok(()),
            Self::UntilClose => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(BodyError::Cut),
        }
    }
}

// === impl BodyEncoder ===

impl BodyEncoder {
    fn content(self, content: &[u8], out: &mut BytesMut) {
        match self {
            Self::Plain => out.extend_from_slice(content),
            Self::Chunked => write::chunk(content, out),
        }
    }

    /// Ends the body; `trailers` are the trailer lines as they were read, blank line included.
    pub fn end(self, trailers: &[u8], out: &mut BytesMut) -> Result<(), BodyError> {
        match self {
            Self::Plain => Ok(()),
            Self::Chunked => write::last_chunk(trailers, out).map_err(BodyError::Chunk),
        }
    }
}

/// Moves what can be moved from `input` to `out`, until `out` holds `out_max` bytes.
///
/// # Errors
/// When the input is no such body.
pub fn transcode(
    decoder: &mut BodyDecoder,
    encoder: BodyEncoder,
    input: &mut BytesMut,
    out: &mut BytesMut,
    out_max: usize,
) -> Result<Moved, BodyError> {
    loop {
        if decoder.is_done() {
            return Ok(Moved::End);
        }
        let room = out_max.saturating_sub(out.len());
        if room == 0 {
            return Ok(Moved::Full);
        }
        if let BodyDecoder::Chunked(chunks) = decoder {
            let window = input.len().min(room.max(CHUNK_WINDOW_BYTES_MIN));
            match chunks.step(&input[..window]).map_err(BodyError::Chunk)? {
                Step::NeedMore if window < input.len() => return Ok(Moved::Full),
                Step::NeedMore => return Ok(Moved::NeedMore),
                Step::Framing(count) => input.advance(count),
                Step::Data(count) => {
                    encoder.content(&input[..count], out);
                    input.advance(count);
                }
                Step::End(count) => {
                    encoder.end(&input[..count], out)?;
                    input.advance(count);
                    *decoder = BodyDecoder::Done;
                }
            }
            continue;
        }
        let count = decoder.plain(input.len().min(room));
        if count == 0 {
            return Ok(Moved::NeedMore);
        }
        encoder.content(&input[..count], out);
        input.advance(count);
        decoder.took_plain(count);
        if decoder.is_done() {
            encoder.end(b"", out)?;
        }
    }
}

/// A chunk decoder must see a whole size line or trailer section to go on, whatever room is left.
const CHUNK_WINDOW_BYTES_MIN: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn move_all(
        framing: Framing,
        encoder: BodyEncoder,
        input: &[u8],
    ) -> (Result<Moved, BodyError>, Vec<u8>, Vec<u8>) {
        let (mut rest, mut out) = (BytesMut::from(input), BytesMut::new());
        let moved = transcode(&mut BodyDecoder::new(framing), encoder, &mut rest, &mut out, 1 << 20);
        (moved, out.to_vec(), rest.to_vec())
    }

    #[test]
    fn a_fixed_length_takes_its_bytes_and_no_more() {
        let (moved, out, rest) = move_all(Framing::Length(5), BodyEncoder::Plain, b"helloGET /");
        assert_eq!((moved, out.as_slice(), rest.as_slice()), (Ok(Moved::End), &b"hello"[..], &b"GET /"[..]));
    }

    #[test]
    fn chunks_are_written_anew_with_their_trailers() {
        let (moved, out, _) = move_all(
            Framing::Chunked,
            BodyEncoder::Chunked,
            b"5;x=y\r\nhello\r\n0\r\nX-Sum: 9\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        assert_eq!(moved, Ok(Moved::End));
        assert_eq!(out, b"5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n");
    }

    #[test]
    fn a_body_until_close_can_leave_chunked() {
        let (mut decoder, mut input, mut out) =
            (BodyDecoder::new(Framing::UntilClose), BytesMut::from(&b"abc"[..]), BytesMut::new());
        let moved = transcode(&mut decoder, BodyEncoder::Chunked, &mut input, &mut out, 100);
        assert_eq!(moved, Ok(Moved::NeedMore));
        decoder.ended().expect("its end is the connection's");
        BodyEncoder::Chunked.end(b"", &mut out).expect("no trailers");
        assert_eq!(out.as_ref(), b"3\r\nabc\r\n0\r\n\r\n");
    }

    #[test]
    fn a_full_output_stops_and_goes_on_later() {
        let (mut decoder, mut input, mut out) =
            (BodyDecoder::Length(10), BytesMut::from(&b"0123456789"[..]), BytesMut::new());
        assert_eq!(transcode(&mut decoder, BodyEncoder::Plain, &mut input, &mut out, 4), Ok(Moved::Full));
        assert_eq!(out.as_ref(), b"0123");
        out.clear();
        assert_eq!(transcode(&mut decoder, BodyEncoder::Plain, &mut input, &mut out, 100), Ok(Moved::End));
        assert_eq!(out.as_ref(), b"456789");
    }

    #[test]
    fn an_end_before_the_promise_is_a_cut() {
        assert_eq!(BodyDecoder::Length(3).ended(), Err(BodyError::Cut));
        assert_eq!(BodyDecoder::new(Framing::Chunked).ended(), Err(BodyError::Cut));
        assert_eq!(BodyDecoder::UntilClose.ended(), Ok(()));
    }
}
