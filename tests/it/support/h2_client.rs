//! The application, as a well-behaved HTTP/2 client over a connection with prior knowledge.
//!
//! In: heads, bodies and trailers. Out: replies as the HTTP/1 client gives them, or streams that the
//! test drives step by step. Windows are opened only as data is taken, so a test that takes nothing is
//! a slow reader.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::h2_stream::{Cut, H2Stream, cut, send_within_windows};
use super::{Received, within};

/// Header fields in order, as the tests compare them.
pub(crate) type Fields = Vec<(String, String)>;

/// What small DATA frames may cost before the library gives the connection up: the test's own ends
/// must not be the first to do so.
pub(crate) const SMALL_FRAMES_BYTES_MAX: usize = 1 << 30;

/// One connection of the application. It ends when neither this nor a stream of it is left.
#[derive(Debug)]
pub(crate) struct H2Client {
    send: SendRequest<Bytes>,
    task: JoinHandle<()>,
}

/// A bodiless head for `shop`.
pub(crate) fn ask(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    ask_at("shop", method, path, fields)
}

/// A head for this authority.
pub(crate) fn ask_at(authority: &str, method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://{authority}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a head")
}

/// The fields of a map in order.
pub(crate) fn listed(map: &HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// A map of these fields.
pub(crate) fn mapped(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = name.parse::<http::HeaderName>().expect("a field's name");
        map.append(name, value.parse().expect("a field's value"));
    }
    map
}

// === impl H2Client ===

impl H2Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, |builder| builder).await
    }

    /// The same with other settings.
    pub(crate) async fn connect_with(
        address: SocketAddr,
        settings: impl Fn(&mut Builder) -> &mut Builder,
    ) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await;
        let stream = stream.unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY on a fresh socket");
        let mut builder = Builder::new();
        builder.data_frame_budget(SMALL_FRAMES_BYTES_MAX);
        let shaken = settings(&mut builder).handshake(stream).await;
        let (send, connection) = shaken.expect("a preface is sent without waiting");
        let task = tokio::spawn(async move {
            let _how_it_ended = connection.await;
        });
        Self { send, task }
    }

    /// `GET path` of `shop`.
    pub(crate) async fn get(&self, path: &str) -> Received {
        self.call(ask("GET", path, &[]), "").await
    }

    /// One call and its whole reply; panics if the stream is cut before the reply's head.
    pub(crate) async fn call(&self, head: Request<()>, body: impl AsRef<[u8]>) -> Received {
        self.call_with(head, body, &[]).await
    }

    /// The same with trailers.
    pub(crate) async fn call_with(
        &self,
        head: Request<()>,
        body: impl AsRef<[u8]>,
        trailers: &[(&str, &str)],
    ) -> Received {
        let (reply, _cut) = self.call_to_end(head, body, trailers).await;
        reply
    }

    /// One call, its reply, and how the reply was cut if it was.
    pub(crate) async fn call_to_end(
        &self,
        head: Request<()>,
        body: impl AsRef<[u8]>,
        trailers: &[(&str, &str)],
    ) -> (Received, Option<Cut>) {
        let bytes = Bytes::copy_from_slice(body.as_ref());
        let bodiless = bytes.is_empty() && trailers.is_empty();
        let mut stream = self.open(head, bodiless).await;
        if bodiless {
            return within("a reply", stream.finish()).await;
        }
        let mut send = stream.take_sender();
        let trailers = mapped(trailers);
        let sending = async move {
            if send_within_windows(&mut send, bytes, |_| ()).await.is_ok() {
                let _or_reset = match trailers.is_empty() {
                    true => send.send_data(Bytes::new(), true),
                    false => send.send_trailers(trailers),
                };
            }
            std::future::pending::<()>().await; // a stream that is dropped is reset
        };
        tokio::select! { // the reply ends the call, however much was sent
            reply = within("a reply", stream.finish()) => reply,
            () = sending => unreachable!("it never ends"),
        }
    }

    /// Begins a call; `end` when the head is all of it. Waits while the peer allows no more streams.
    pub(crate) async fn open(&self, head: Request<()>, end: bool) -> H2Stream {
        self.try_open(head, end).await.unwrap_or_else(|cut| panic!("no stream could be opened: {cut:?}"))
    }

    /// The same; says how the connection ended if it has.
    pub(crate) async fn try_open(&self, head: Request<()>, end: bool) -> Result<H2Stream, Cut> {
        let ready = within("room for a stream", self.send.clone().ready()).await;
        let mut send = ready.map_err(|error| cut(&error))?;
        let (response, send) = send.send_request(head, end).map_err(|error| cut(&error))?;
        Ok(H2Stream::new(response, send))
    }

    /// Waits until the peer has said that it takes extended CONNECT (RFC 8441 section 3).
    pub(crate) async fn until_extended_connect(&self) {
        super::eventually("SETTINGS_ENABLE_CONNECT_PROTOCOL", async || {
            self.send.is_extended_connect_protocol_enabled()
        })
        .await;
    }

    /// Ends the connection without a word.
    pub(crate) fn abort(self) {
        self.task.abort();
    }
}
