//! One end of an HTTP/2 connection, frame by frame: a client or a service that does what a correct
//! library refuses to do.
//!
//! In: frames or bytes. Out: the frames that come back, or what became of a stream. It never acts by
//! itself, except in `wait_for` and what builds on it, where SETTINGS and PING are acknowledged.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::h2_frames::{Frame, PREFACE, bytes, flag, kind};
use super::{ms, within};

/// How long a stream may stay without any answer before it counts as [`Fate::Silent`].
const SILENCE_MS: u64 = 3000;

/// One connection.
#[derive(Debug)]
pub(crate) struct RawH2 {
    stream: TcpStream,
    buffer: BytesMut,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was answered with this status.
    Status(u16),
    /// It was reset with this code.
    Reset(u32),
    /// The connection was given up with this code.
    Goaway(u32),
    /// The connection ended.
    Closed,
    /// Nothing of all this.
    Silent,
}

/// A listener whose connections are scripted by the test itself.
#[derive(Debug)]
pub(crate) struct RawH2Service {
    listener: TcpListener,
}

// === impl RawH2 ===

impl RawH2 {
    /// A client that has sent its preface and empty SETTINGS.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[Frame::settings(&[])]).await
    }

    /// A client that has sent its preface and these frames.
    pub(crate) async fn connect_with(address: SocketAddr, frames: &[Frame]) -> Self {
        let mut raw = Self::connect_bare(address).await;
        raw.send_bytes(&[PREFACE, &bytes(frames)].concat()).await;
        raw
    }

    /// A client that has sent nothing, with a small receive buffer, so that a reader who stops is
    /// felt soon.
    pub(crate) async fn connect_bare(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("SO_RCVBUF");
        let stream = within("connecting", socket.connect(address)).await;
        Self::over(stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}")))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY on a fresh socket");
        Self { stream, buffer: BytesMut::new() }
    }

    /// Sends one frame as far as the connection takes it.
    pub(crate) async fn send(&mut self, frame: Frame) {
        self.send_bytes(&frame.bytes()).await;
    }

    /// Sends these frames in one go.
    pub(crate) async fn send_all(&mut self, frames: &[Frame]) {
        self.send_bytes(&bytes(frames)).await;
    }

    /// Sends `bytes` as far as the connection takes them, and keeps what comes in the meantime: a
    /// peer that cannot write may stop reading.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let (mut reader, mut writer) = self.stream.split();
        let buffer = &mut self.buffer;
        let sending = async {
            let (mut rest, mut reads) = (bytes, true);
            while !rest.is_empty() {
                tokio::select! { // both arms are cancel safe: what was not read or written stays
                    read = reader.read_buf(buffer), if reads => reads = matches!(read, Ok(1..)),
                    written = writer.write(rest) => match written {
                        Ok(count @ 1..) => rest = &rest[count..],
                        Ok(0) | Err(_) => return,
                    },
                }
            }
        };
        within("sending frames", sending).await;
    }

    /// Sends `bytes` and reads nothing, for as long as the connection takes them.
    pub(crate) async fn send_deaf(&mut self, bytes: &[u8]) {
        let _taken = tokio::time::timeout(ms(SILENCE_MS), self.stream.write_all(bytes)).await;
    }

    /// The next frame, whatever it is; `None` when the connection has ended.
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = Frame::read(&self.buffer) {
                self.buffer.advance(length);
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next frame for which `wanted` holds. Others are skipped; SETTINGS and PING are
    /// acknowledged. `None` when the connection has ended.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        within("a certain frame", self.until(wanted)).await
    }

    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            let answer = match frame.kind {
                kind::SETTINGS if !frame.has(flag::ACK) => Some(Frame::settings_ack()),
                kind::PING if !frame.has(flag::ACK) => {
                    Some(Frame::raw(kind::PING, flag::ACK, 0, frame.payload.clone()))
                }
                _ => None,
            };
            if let Some(answer) = answer {
                self.send(answer).await;
            }
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// The next frame of this type.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        self.wait_for(|frame| frame.kind == kind).await
    }

    /// The next `count` heads of requests: their streams.
    pub(crate) async fn heads(&mut self, count: usize) -> Vec<u32> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(self.next_of(kind::HEADERS).await.expect("a head").stream);
        }
        streams
    }

    /// What becomes of `stream`.
    pub(crate) async fn fate(&mut self, stream: u32) -> Fate {
        let decides = |frame: &Frame| match frame.kind {
            kind::GOAWAY => frame.error_code() != 0,
            kind::HEADERS | kind::RST_STREAM => frame.stream == stream,
            _ => false,
        };
        match tokio::time::timeout(ms(SILENCE_MS), self.until(decides)).await {
            Err(_) => Fate::Silent,
            Ok(None) => Fate::Closed,
            Ok(Some(frame)) if frame.kind == kind::GOAWAY => Fate::Goaway(frame.error_code()),
            Ok(Some(frame)) if frame.kind == kind::HEADERS => Fate::Status(frame.status()),
            Ok(Some(frame)) => Fate::Reset(frame.error_code()),
        }
    }

    /// Whether a PING is answered, so that the connection is alive and in step.
    pub(crate) async fn answers_ping(&mut self) -> bool {
        const OPAQUE: [u8; 8] = *b"in step?";
        self.send(Frame::ping(flag::NONE, OPAQUE)).await;
        let pong = |frame: &Frame| {
            frame.kind == kind::PING && frame.has(flag::ACK) && frame.payload == OPAQUE
                || frame.kind == kind::GOAWAY && frame.error_code() != 0
        };
        let found = tokio::time::timeout(ms(SILENCE_MS), self.until(pong)).await;
        matches!(found, Ok(Some(frame)) if frame.kind == kind::PING)
    }

    /// Waits until the peer ends the connection.
    pub(crate) async fn closed(&mut self) {
        within("the end of the connection", async { while self.read().await.is_some() {} }).await;
    }

    /// A whole answer of 200 with this body.
    pub(crate) async fn answer(&mut self, stream: u32, body: &str) {
        let head = Frame::headers(stream, flag::END_HEADERS, &[(":status", "200")]);
        self.send_all(&[head, Frame::data(stream, flag::END_STREAM, body)]).await;
    }
}

// === impl RawH2Service ===

impl RawH2Service {
    pub(crate) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound address")
    }

    /// The next connection, after its preface was read and empty SETTINGS were sent.
    pub(crate) async fn accept(&self) -> RawH2 {
        self.accept_with(&[Frame::settings(&[])]).await
    }

    /// The next connection, after its preface was read and these frames were sent.
    pub(crate) async fn accept_with(&self, frames: &[Frame]) -> RawH2 {
        let mut raw = self.accept_bare().await;
        let mut preface = [0; PREFACE.len()];
        within("a preface", raw.stream.read_exact(&mut preface)).await.expect("a whole preface");
        assert_eq!(preface, PREFACE, "the connection begins with the preface of HTTP/2");
        raw.send_all(frames).await;
        raw
    }

    /// The next connection, untouched.
    pub(crate) async fn accept_bare(&self) -> RawH2 {
        let (stream, _) =
            within("a connection", self.listener.accept()).await.expect("accepting a connection");
        RawH2::over(stream)
    }
}
