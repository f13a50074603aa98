//! One question to the admin API of a running proxy.
//!
//! In: a method, a path, and where the API listens. Out: its answer, or why there is none. On a
//! blocking socket: a command that ends after one reply needs no runtime and no HTTP library.
//! Everything read is bounded, and so is the time, for whatever answers on that port may not be an
//! Outrigger.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

/// Where the admin API listens when nothing else is said: the default of `admin.listen`.
pub(super) const ADMIN: &str = "127.0.0.1:15000";

/// Longest time from the first connect to the end of the answer. The API answers in milliseconds.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// A question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// `GET` or `POST`.
    pub(super) method: &'a str,
    /// Path and query, escaped.
    pub(super) path: &'a str,
    /// Where the API listens.
    pub(super) admin: &'a str,
    /// Most bytes of an answer.
    pub(super) bytes_max: usize,
}

/// An answer: its status and body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// The body of a good answer; anything else is told on standard error.
pub(super) fn ask(question: &Question<'_>) -> Result<String, ExitCode> {
    let admin = question.admin;
    match question.ask(Instant::now() + ANSWER_WAIT_MAX) {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => {
            super::complain(&format!("{admin} answered {}: {}\n", answer.status, answer.body.trim_end()));
            Err(ExitCode::FAILURE)
        }
        Err(error) => {
            super::complain(&format!("no answer from the admin API at {admin}: {error}\n"));
            Err(ExitCode::FAILURE)
        }
    }
}

/// Whether `text` has the form `HOST:PORT`. The host may be a name.
pub(super) fn host_port(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let has_strange = host.chars().any(|char| char.is_control() || char.is_whitespace());
    if host.is_empty() || is_bare_ipv6 || has_strange || port.parse::<u16>().is_err() {
        return Err("want HOST:PORT such as 127.0.0.1:15000 or [::1]:15000".to_owned());
    }
    Ok(text.to_owned())
}

/// A part of a path or a query: whatever is not unreserved (RFC 3986 section 2.3) is escaped.
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

// === impl Question ===

impl Question<'_> {
    /// The answer, or why there is none by `until`.
    pub(super) fn ask(&self, until: Instant) -> io::Result<Answer> {
        let mut stream = connect(self.admin, until)?;
        stream.set_write_timeout(Some(left(until)?))?;
        stream.write_all(self.text().as_bytes())?;
        parse(&read(&mut stream, self.bytes_max, until)?)
    }

    fn text(&self) -> String {
        let Self { method, path, admin, .. } = self;
        format!("{method} {path} HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }
}

/// The first address that can be connected to.
fn connect(admin: &str, until: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Everything until the API ends the connection.
fn read(stream: &mut TcpStream, bytes_max: usize, until: Instant) -> io::Result<Vec<u8>> {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What a socket says when its own timeout is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(too_late()),
            Err(error) => return Err(error),
        }
        if answer.len() > bytes_max {
            return Err(strange("it is too long"));
        }
    }
}

/// Status and body. A cut or odd answer is no answer.
fn parse(bytes: &[u8]) -> io::Result<Answer> {
    let text = std::str::from_utf8(bytes).map_err(|_| strange("it is not text"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| strange("it is not a whole HTTP answer"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or_else(|| strange("it is not HTTP/1.1"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    if length != Some(body.len()) {
        return Err(strange("its body is not as long as it says"));
    }
    Ok(Answer { status, body: body.to_owned() })
}

/// The time left; never zero, which a socket would take for "no limit".
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("not within {ANSWER_WAIT_MAX:?}"))
}

pub(super) fn strange(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what came is not its answer: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_is_one() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(whole).unwrap(), Answer { status: 200, body: "{}".to_owned() });
        for broken in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 2\r\ncontent-length: 0\r\n\r\n",
            b"\xff\xfe",
        ] {
            assert!(parse(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:15000", "[::1]:1", "localhost:15000"] {
            assert_eq!(host_port(good), Ok(good.to_owned()));
        }
        for bad in ["", "localhost", ":1", "::1", "::1:15000", "a:b", "a:70000", "a b:1", "a\r\nx:1"] {
            assert!(host_port(bad).is_err(), "{bad:?}");
        }
    }
}
