//! One side of an HTTP/1 connection as bytes: heads verbatim, bodies by their framing.
//!
//! Shared by the scripted service and the raw client. Strict, and a deviation is a panic: what
//! the proxy writes must have exactly one reading.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of one head; a peer that sends more without an end is broken.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// A connection and the bytes read from it that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body at all.
    Empty,
    /// Exactly this many bytes.
    Length(usize),
    /// The chunked coding.
    Chunked,
    /// Until the connection ends.
    UntilClose,
}

/// A body as received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// Name (as written) and value of each trailer field.
    pub(crate) trailers: Vec<(String, String)>,
    /// False when the connection ended before the body did.
    pub(crate) complete: bool,
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY on a fresh socket");
        Self { stream, buffer: Vec::new() }
    }

    /// Reads once more. `false`: the peer ended or reset the connection.
    pub(crate) async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0)
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Returns when the peer has ended or reset the connection; keeps what it sent before.
    pub(crate) async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// The next head with its empty line, verbatim; `None` if the connection ended without one.
    pub(crate) async fn head(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Some(self.buffer.drain(..at + 4).collect());
            }
            assert!(self.buffer.len() < HEAD_BYTES_MAX, "a head of over {HEAD_BYTES_MAX} bytes");
            if !self.fill().await {
                return None;
            }
        }
    }

    /// A body of this framing.
    pub(crate) async fn body(&mut self, framing: Framing) -> Body {
        match framing {
            Framing::Empty => Body { complete: true, ..Body::default() },
            Framing::Length(length) => {
                let (bytes, complete) = self.exactly(length).await;
                Body { bytes, complete, ..Body::default() }
            }
            Framing::Chunked => {
                let mut body = Body::default();
                body.complete = self.chunked(&mut body).await.is_some();
                body
            }
            Framing::UntilClose => {
                let (bytes, clean) = self.rest().await;
                Body { bytes, complete: clean, ..Body::default() }
            }
        }
    }

    /// Everything until the connection ends, and whether it ended by FIN and not by RST.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let clean = loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        (std::mem::take(&mut self.buffer), clean)
    }

    /// Exactly `length` bytes and true, or what there was and false.
    pub(crate) async fn exactly(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.buffer.len() < length {
            if !self.fill().await {
                return (std::mem::take(&mut self.buffer), false);
            }
        }
        (self.buffer.drain(..length).collect(), true)
    }

    /// Everything up to the end of `needle`; panics if the connection ends first.
    pub(crate) async fn until(&mut self, needle: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(needle.len()).position(|window| window == needle) {
                return self.buffer.drain(..at + needle.len()).collect();
            }
            assert!(self.fill().await, "the connection ended before {:?}", String::from_utf8_lossy(needle));
        }
    }

    /// One line without its CRLF; `None` if the connection ended first.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                let line = line.strip_suffix(b"\r\n").expect("a line of the chunked coding ends in CRLF");
                return Some(String::from_utf8(line.to_vec()).expect("a line of ASCII"));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    async fn chunked(&mut self, body: &mut Body) -> Option<()> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim_end();
            let size = usize::from_str_radix(digits, 16)
                .unwrap_or_else(|_| panic!("not a chunk size: {line:?} after {} bytes", body.bytes.len()));
            if size == 0 {
                break;
            }
            let (bytes, complete) = self.exactly(size).await;
            body.bytes.extend(bytes);
            if !complete {
                return None;
            }
            assert_eq!(self.line().await?, "", "chunk data ends in CRLF");
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(());
            }
            let (name, value) = line.split_once(':').expect("a trailer is `name: value`");
            body.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

/// The header fields of a head (its first line skipped), in order, case kept. Panics on anything
/// that a strict peer would refuse.
pub(crate) fn fields(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let mut fields = Vec::new();
    for line in text.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        assert!(!line.contains(['\r', '\n', '\0']), "a control byte in {line:?}");
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header field: {line:?}"));
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "white space in the name of {line:?}");
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    fields
}

/// The values of every field called `name`, case ignored.
pub(crate) fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

/// The framing that these fields declare, or `otherwise` if they declare none. Panics when they
/// can be read two ways.
pub(crate) fn framing(fields: &[(String, String)], otherwise: Framing) -> Framing {
    match (values(fields, "content-length").as_slice(), values(fields, "transfer-encoding").as_slice()) {
        ([], []) => otherwise,
        ([length], []) => Framing::Length(length.parse().expect("Content-Length is a number")),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (lengths, codings) => panic!("framing can be read two ways: {lengths:?} and {codings:?}"),
    }
}

/// `length` bytes in which a lost, doubled or swapped block shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut number = 0_u64;
    while bytes.len() < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}
