//! HTTP/2 frames as bytes, also those that no library would send.
//!
//! In: what a frame says. Out: its bytes, and a reader of the frames that came back. Header blocks
//! are HPACK literals without indexing and without Huffman coding (RFC 7541 section 6.2.2), so that
//! a test says exactly what is on the wire and no state hides in a table.

/// What opens a connection of a client (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame before its payload.
const HEAD_BYTES: usize = 9;

/// Types of frames (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 section 6).
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
    /// A whole head without a body.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes (RFC 9113 section 7).
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const INTERNAL_ERROR: u32 = 2;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const CANCEL: u32 = 8;
    pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Names of settings (RFC 9113 section 6.5.2).
pub(crate) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

// === impl Frame ===

impl Frame {
    /// Any frame at all.
    pub(crate) fn raw(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub(crate) fn settings(values: &[(u16, u32)]) -> Self {
        let payload = values.iter().flat_map(|(name, value)| {
            name.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        Self::raw(kind::SETTINGS, flag::NONE, 0, payload.collect::<Vec<_>>())
    }

    pub(crate) fn settings_ack() -> Self {
        Self::raw(kind::SETTINGS, flag::ACK, 0, [])
    }

    /// A header block; it is whole when `flags` say so.
    pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        Self::raw(kind::HEADERS, flags, stream, block(fields))
    }

    pub(crate) fn continuation(stream: u32, flags: u8, block: impl Into<Vec<u8>>) -> Self {
        Self::raw(kind::CONTINUATION, flags, stream, block)
    }

    pub(crate) fn data(stream: u32, flags: u8, bytes: impl Into<Vec<u8>>) -> Self {
        Self::raw(kind::DATA, flags, stream, bytes)
    }

    pub(crate) fn reset(stream: u32, code: u32) -> Self {
        Self::raw(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes())
    }

    pub(crate) fn goaway(last: u32, code: u32) -> Self {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        Self::raw(kind::GOAWAY, flag::NONE, 0, payload)
    }

    pub(crate) fn ping(flags: u8, opaque: [u8; 8]) -> Self {
        Self::raw(kind::PING, flags, 0, opaque)
    }

    pub(crate) fn window_update(stream: u32, more: u32) -> Self {
        Self::raw(kind::WINDOW_UPDATE, flag::NONE, stream, more.to_be_bytes())
    }

    /// The first frame in `bytes` and its length there, once it is whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let head = bytes.get(..HEAD_BYTES)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = bytes.get(HEAD_BYTES..HEAD_BYTES + length)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some((Self::raw(head[3], head[4], stream, payload), HEAD_BYTES + length))
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a length of 24 bits").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Whether it carries `flag`.
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn error_code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let four = self.payload.get(at..at + 4).and_then(|four| four.try_into().ok());
        u32::from_be_bytes(four.expect("a frame with an error code"))
    }

    /// The status of a head, if its block begins with one; 0 when it names an entry of the table.
    pub(crate) fn status(&self) -> u16 {
        status(&self.payload)
    }
}

/// The bytes of all these frames, one after the other.
pub(crate) fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// A header block: each field a literal with a literal name, never indexed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string literal without Huffman coding (RFC 7541 section 5.2).
fn string(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(u8::try_from(rest).expect("below 127"));
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).expect("below 128") | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).expect("below 128"));
    }
    block.extend_from_slice(text.as_bytes());
}

/// Reads `:status` at the start of a block (RFC 7541 sections 6.1 to 6.3 and appendices A and B):
/// a static entry, or a literal with the static name whose digits may be Huffman coded.
fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    const NAME: u8 = 8;
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20); // skips changes of the table's size
    match start.map_or(&[][..], |at| &block[at..]) {
        [indexed, ..] if (NAME | 0x80..=14 | 0x80).contains(indexed) => STATIC[usize::from(indexed - 0x88)],
        [literal, length, rest @ ..] if matches!(literal & 0x3f, NAME) || *literal == NAME | 0x10 => {
            let coded = &rest[..usize::from(length & 0x7f).min(rest.len())];
            let text = if length & 0x80 == 0 { coded.to_vec() } else { digits(coded) };
            String::from_utf8_lossy(&text).parse().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Huffman coded digits: 0 to 2 have 5 bits from 00000 on, 3 to 9 have 6 bits from 011001 on.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> =
        coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut found, mut at) = (Vec::new(), 0);
    while at + 5 <= bits.len() {
        let (value, length) = match number(&bits[at..at + 5]) {
            short @ 0..=2 => (short, 5),
            _ if at + 6 > bits.len() => break,
            _ => (number(&bits[at..at + 6]).wrapping_sub(22), 6),
        };
        if value > 9 {
            break; // the padding, all ones
        }
        found.push(b'0' + value);
        at += length;
    }
    found
}
