//! The application, as raw bytes: what it sends is exactly what the test wrote, and what it reads
//! is parsed strictly. Every read is bounded.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::wire::{Framing, Wire, fields, framing};
use super::{Received, ms, within};

/// One connection of the application.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
}

// === impl Client ===

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await;
        Self::over(stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}")))
    }

    /// A client on a connection that is there already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { wire: Wire::new(stream) }
    }

    /// A connection whose receive buffer is small, so that a reader who stops is felt soon.
    pub(crate) async fn connect_with_small_window(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("SO_RCVBUF");
        let stream = within("connecting", socket.connect(address)).await.expect("connecting");
        Self { wire: Wire::new(stream) }
    }

    /// Sends all of `bytes`; panics if the connection is gone.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let written = within("sending", self.wire.write(bytes.as_ref())).await;
        written.expect("the connection takes what is sent");
    }

    /// Sends `bytes` as far as the connection takes them.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _sent_or_reset = within("sending", self.wire.write(bytes.as_ref())).await;
    }

    /// Sends one request and reads its reply.
    pub(crate) async fn call(&mut self, request: impl AsRef<[u8]>) -> Received {
        let bytes = request.as_ref();
        self.send(bytes).await;
        self.reply_to(if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" }).await.expect("a reply")
    }

    /// The next reply to anything but HEAD; panics if the connection ends without one.
    pub(crate) async fn read_reply(&mut self) -> Received {
        self.reply_to("GET").await.expect("a reply before the connection ends")
    }

    /// The next reply, or `None` if the connection ends without one.
    pub(crate) async fn try_read_reply(&mut self) -> Option<Received> {
        self.reply_to("GET").await
    }

    /// The next head of a reply, 1xx included: its status and fields. The body stays unread.
    pub(crate) async fn read_head(&mut self) -> (u16, Vec<(String, String)>) {
        let head =
            within("a reply's head", self.wire.head()).await.expect("a reply before the connection ends");
        (status(&head), fields(&head))
    }

    /// Exactly `length` bytes as they come, with no parsing; fewer if the connection ends.
    pub(crate) async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        within("bytes", self.wire.exactly(length)).await.0
    }

    /// Everything up to the end of `needle`, unparsed.
    pub(crate) async fn read_until(&mut self, needle: &str) -> Vec<u8> {
        within("bytes", self.wire.until(needle.as_bytes())).await
    }

    /// Everything until the proxy ends the connection.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        within("the end of the connection", self.wire.rest()).await.0
    }

    /// Everything until the connection ends, and whether it ended by FIN and not by RST.
    pub(crate) async fn read_to_clean_end(&mut self) -> (Vec<u8>, bool) {
        within("the end of the connection", self.wire.rest()).await
    }

    /// Whether the connection is still open after a moment without traffic.
    pub(crate) async fn is_open(&mut self) -> bool {
        tokio::time::timeout(ms(50), self.wire.closed()).await.is_err()
    }

    /// Says that nothing more will be sent (FIN), and keeps reading.
    pub(crate) async fn half_close(&mut self) {
        self.wire.stream.shutdown().await.expect("shutdown of an open connection");
    }

    /// Ends the connection by RST.
    pub(crate) fn abort(self) {
        SockRef::from(&self.wire.stream).set_linger(Some(ms(0))).expect("SO_LINGER");
    }

    async fn reply_to(&mut self, method: &str) -> Option<Received> {
        let mut interim = Vec::new();
        loop {
            let head = within("a reply's head", self.wire.head()).await?;
            let (status, fields) = (status(&head), fields(&head));
            if (100..200).contains(&status) && status != 101 {
                interim.push((status, fields));
                continue;
            }
            let framing = match status {
                101 | 204 | 304 => Framing::Empty,
                _ if method == "HEAD" => Framing::Empty,
                _ => framing(&fields, Framing::UntilClose),
            };
            let body = within("a reply's body", self.wire.body(framing)).await;
            return Some(Received { status, fields, body, interim });
        }
    }
}

fn status(head: &[u8]) -> u16 {
    let line = String::from_utf8_lossy(head);
    let line = line.lines().next().unwrap_or_default();
    assert!(line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "), "not a status line: {line:?}");
    line[9..].split(' ').next().and_then(|digits| digits.parse().ok()).expect("a status code")
}
