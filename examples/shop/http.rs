//! The plain HTTP/1.1 client of the order service and of the load.
//!
//! In: an address and a request. Out: the response, whole. Never retries, never gives up, never
//! follows anything: what an application does that leaves resilience to someone else. Written
//! out here because an HTTP library would bring cleverness the demo must be free of.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of a response head; ours are under 1 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of a response body; `/metrics` is the largest thing read here.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Sends requests and keeps connections for the next ones.
#[derive(Debug, Default)]
pub struct Client {
    idle: Mutex<HashMap<SocketAddr, Vec<TcpStream>>>,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path, or the whole URL when it goes to a proxy.
    pub target: &'a str,
    /// Value of the `Host` field.
    pub host: &'a str,
    /// JSON; empty means no body.
    pub body: &'a str,
}

/// One response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, whole.
    pub body: String,
}

/// Where a response's body begins, how long it is, and what becomes of the connection.
struct Head {
    status: u16,
    begins: usize,
    body_bytes: usize,
    keep: bool,
}

// === impl Client ===

impl Client {
    /// Sends a request to `to` and reads the whole response. Waits as long as it takes.
    pub async fn send(&self, to: SocketAddr, request: Request<'_>) -> io::Result<Response> {
        let mut stream = match self.kept(to) {
            Some(stream) => stream,
            None => TcpStream::connect(to).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(request.encode().as_bytes()).await?;
        let (response, keep) = read(&mut stream).await?;
        if keep {
            self.keep(to, stream);
        }
        Ok(response)
    }

    /// A GET; shorthand of [`Client::send`].
    pub async fn get(&self, to: SocketAddr, path: &str) -> io::Result<Response> {
        self.send(to, Request { method: "GET", target: path, host: &to.to_string(), body: "" }).await
    }

    fn kept(&self, to: SocketAddr) -> Option<TcpStream> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&to)?.pop()
    }

    fn keep(&self, to: SocketAddr, stream: TcpStream) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).entry(to).or_default().push(stream);
    }
}

// === impl Request ===

impl Request<'_> {
    fn encode(&self) -> String {
        let Self { method, target, host, body } = self;
        let length = body.len();
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

// === reading ===

async fn read(stream: &mut TcpStream) -> io::Result<(Response, bool)> {
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = parse(&bytes)? {
            break head;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(broken("the head is too large"));
        }
    };
    let ends = head.begins + head.body_bytes;
    while bytes.len() < ends {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let body = String::from_utf8_lossy(&bytes[head.begins..ends]).into_owned();
    Ok((Response { status: head.status, body }, head.keep && bytes.len() == ends))
}

/// The head, once it is there as a whole.
fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(parsed) = response.parse(bytes) else {
        return Err(broken("not an HTTP/1.1 response"));
    };
    let httparse::Status::Complete(begins) = parsed else { return Ok(None) };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let Some(body_bytes) = field("content-length").and_then(|length| length.parse().ok()) else {
        return Err(broken("no Content-Length; chunked bodies are beyond this client"));
    };
    if body_bytes > BODY_BYTES_MAX {
        return Err(broken("the body is too large"));
    }
    let keep = !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head { status: response.code.unwrap_or(0), begins, body_bytes, keep }))
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
