//! The chunked transfer coding (RFC 9112 section 7.1), read strictly.
//!
//! In: the bytes at the front of a buffer. Out: one [`Step`] at a time. Own code because the
//! tokeniser's takes an empty size line for the last chunk, which another reader would not:
//! the stuff of request smuggling.

use super::write;

/// Most bytes of one chunk-size line, extensions included. Extensions are dropped, so there is
/// no reason to carry long ones.
const SIZE_LINE_BYTES_MAX: usize = 1024;

/// Most bytes of the trailer section.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

/// Most digits of a chunk size: 15 hexadecimal digits cannot overflow 64 bits.
const SIZE_DIGITS_MAX: usize = 15;

/// Reads a chunked body piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkDecoder(State);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data { left: u64 },
    DataEnd,
    Trailers,
    Done,
}

/// What stands at the front of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Not enough bytes to tell.
    NeedMore,
    /// This many bytes of framing, to be thrown away.
    Framing(usize),
    /// This many bytes of content.
    Data(usize),
    /// The end: this many bytes, of which all but the blank line are trailer fields.
    End(usize),
}

/// Why a chunked body can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkError {
    /// The size is missing, too long or not hexadecimal, or its line is not ended by CRLF.
    BadSize,
    /// The content is not followed by CRLF.
    BadEnd,
    /// The trailer section is too long or not made of fields.
    BadTrailers,
}

// === impl ChunkDecoder ===

impl ChunkDecoder {
    /// At the first size line.
    pub const fn new() -> Self {
        Self(State::Size)
    }

    /// Whether the last chunk and the trailers were read.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// What stands at the front of `bytes`. The caller removes what the step names before it asks again.
    ///
    /// # Errors
    /// When the bytes are no chunked body; the connection can't be read any further.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        match self.0 {
            State::Size => self.size(bytes),
            State::Data { left } => Ok(self.data(bytes, left)),
            State::DataEnd => self.data_end(bytes),
            State::Trailers => self.trailers(bytes),
            State::Done => Ok(Step::End(0)),
        }
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let window = &bytes[..bytes.len().min(SIZE_LINE_BYTES_MAX)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            let too_long = window.len() == SIZE_LINE_BYTES_MAX;
            return if too_long || !may_become_size(window) {
                Err(ChunkError::BadSize)
            } else {
                Ok(Step::NeedMore)
            };
        };
        let line = window[..end].strip_suffix(b"\r").ok_or(ChunkError::BadSize)?;
        self.0 = match parse_size(line)? {
            0 => State::Trailers,
            left => State::Data { left },
        };
        Ok(Step::Framing(end + 1))
    }

    fn data(&mut self, bytes: &[u8], left: u64) -> Step {
        if bytes.is_empty() {
            return Step::NeedMore;
        }
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        self.0 = if left == 0 { State::DataEnd } else { State::Data { left } };
        Step::Data(here)
    }

    fn data_end(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        match bytes {
            [] | [b'\r'] => Ok(Step::NeedMore),
            [b'\r', b'\n', ..] => {
                self.0 = State::Size;
                Ok(Step::Framing(2))
            }
            [..] => Err(ChunkError::BadEnd),
        }
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Step, ChunkError> {
        let end = match bytes {
            [b'\r', b'\n', ..] => Some(2),
            [b'\n', ..] => return Err(ChunkError::BadTrailers),
            [..] => super::head_end(bytes, 0),
        };
        match end {
            Some(end) if end <= TRAILER_BYTES_MAX => {
                // Judged before anything of the end is written, whoever it is written for.
                write::each_trailer(&bytes[..end], |_, _| {})?;
                self.0 = State::Done;
                Ok(Step::End(end))
            }
            None if bytes.len() < TRAILER_BYTES_MAX => Ok(Step::NeedMore),
            Some(_) | None => Err(ChunkError::BadTrailers),
        }
    }
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether an unfinished line can still become a size line; refuses garbage before it fills the buffer.
fn may_become_size(window: &[u8]) -> bool {
    window.first().is_none_or(u8::is_ascii_hexdigit)
}

/// `1*HEXDIG [BWS ";" ...]`. Blanks before the end or the extensions are allowed, as peers do;
/// they are not sent on.
fn parse_size(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return Err(ChunkError::BadSize);
    }
    // Blanks and tabs only: a wider notion of white space would let a bare CR through.
    let blanks = line[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let rest = &line[digits + blanks..];
    let extensions_ok = rest.is_empty() || (rest[0] == b';' && !rest.iter().any(|byte| is_control(*byte)));
    if !extensions_ok {
        return Err(ChunkError::BadSize);
    }
    let size = line[..digits].iter().fold(0u64, |size, digit| size << 4 | u64::from(hex_value(*digit)));
    Ok(size)
}

/// The value of a hexadecimal digit; the caller has checked that it is one.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ChunkError> {
        let (mut decoder, mut content) = (ChunkDecoder::new(), Vec::new());
        loop {
            match decoder.step(bytes)? {
                Step::NeedMore => return Err(ChunkError::BadEnd),
                Step::Framing(n) => bytes = &bytes[n..],
                Step::Data(n) => {
                    content.extend_from_slice(&bytes[..n]);
                    bytes = &bytes[n..];
                }
                Step::End(n) => return Ok((content, bytes[..n].to_vec())),
            }
        }
    }

    #[test]
    fn chunks_and_trailers_are_read() {
        let (content, trailers) =
            decode(b"5;ext=1\r\nhello\r\n6 \r\n world\r\n0\r\nx-sum: 1\r\n\r\n").expect("valid");
        assert_eq!(content, b"hello world");
        assert_eq!(trailers, b"x-sum: 1\r\n\r\n");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for bad in [
            &b"\r\n\r\n"[..],
            b"5\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-1\r\n",
            b"ffffffffffffffff\r\n",
            b"5 5\r\nhello\r\n0\r\n\r\n",
            b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
            b"g\r\n",
            b" 5\r\nhello\r\n",
            b"5\r\r\nhello\r\n0\r\n\r\n",
            b"5 \r\r\nhello\r\n0\r\n\r\n",
            b"5\x0c;a\r\nhello\r\n0\r\n\r\n",
            b"5;a=\"\r\"\r\nhello\r\n0\r\n\r\n",
            b"5;a\n\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(decode(bad), Err(ChunkError::BadSize), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(decode(b"5\r\nhelloX\r\n0\r\n\r\n"), Err(ChunkError::BadEnd));
        assert_eq!(decode(b"0\r\n\n"), Err(ChunkError::BadTrailers));
    }

    #[test]
    fn trailers_that_are_no_fields_are_refused_before_the_end_is_written() {
        for bad in [
            &b"0\r\n\rX: 1\r\n\r\n"[..],
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\nX: 1\r\n folded\r\n\r\n",
            b"0\r\nX: \x00\r\n\r\n",
        ] {
            assert_eq!(decode(bad), Err(ChunkError::BadTrailers), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_unfinished_and_not_wrong() {
        let whole = b"5\r\nhello\r\n0\r\nx: 1\r\n\r\n";
        for cut in 0..whole.len() {
            let (mut decoder, mut rest) = (ChunkDecoder::new(), &whole[..cut]);
            loop {
                match decoder.step(rest).expect("a cut is no mistake") {
                    Step::NeedMore => break,
                    Step::Framing(n) | Step::Data(n) => rest = &rest[n..],
                    Step::End(_) => panic!("ended after {cut} bytes"),
                }
            }
        }
    }

    #[test]
    fn endless_size_lines_and_trailers_are_refused() {
        let mut line = b"5;".to_vec();
        line.resize(SIZE_LINE_BYTES_MAX + 1, b'a');
        assert_eq!(ChunkDecoder::new().step(&line), Err(ChunkError::BadSize));
        let mut trailers = b"0\r\n".to_vec();
        trailers.resize(TRAILER_BYTES_MAX + 10, b'a');
        assert_eq!(decode(&trailers), Err(ChunkError::BadTrailers));
    }
}
