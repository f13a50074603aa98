//! A DNS server of a few lines: one name, whatever answer the test wants now.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the server says about its name.
#[derive(Debug, Clone)]
pub(crate) enum DnsAnswer {
    /// These addresses, good for this long.
    Addresses(Vec<Ipv4Addr>, Duration),
    /// The name does not exist.
    NxDomain,
    /// The name exists and has no address.
    Empty,
    /// Nothing at all.
    Silence,
}

/// The server; gone when dropped.
#[derive(Debug)]
pub(crate) struct DnsServer {
    address: SocketAddr,
    shared: Arc<Mutex<(DnsAnswer, usize)>>,
    task: JoinHandle<()>,
}

// === impl DnsServer ===

impl DnsServer {
    /// Answers questions about `name` with `answer`; other names do not exist.
    pub(crate) async fn start(name: &'static str, answer: DnsAnswer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("a bound address");
        let shared = Arc::new(Mutex::new((answer, 0)));
        let task = tokio::spawn(serve(socket, name, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Gives this answer from now on.
    pub(crate) fn now(&self, answer: DnsAnswer) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).0 = answer;
    }

    /// Questions about the name so far.
    pub(crate) fn questions(&self) -> usize {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, name: &'static str, shared: Arc<Mutex<(DnsAnswer, usize)>>) {
    let mut packet = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
        let answer = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.1 += 1;
            shared.0.clone()
        };
        if let Some(reply) = reply(&packet[..length], name, &answer) {
            let _lost = socket.send_to(&reply, peer).await;
        }
    }
}

/// The reply to one question: header, the question again, A records.
fn reply(query: &[u8], name: &str, answer: &DnsAnswer) -> Option<Vec<u8>> {
    let (asked, end) = question(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let known = asked.eq_ignore_ascii_case(name);
    let (code, addresses, ttl): (u8, &[Ipv4Addr], Duration) = match answer {
        DnsAnswer::Silence => return None,
        DnsAnswer::Addresses(addresses, ttl) if known && kind == 1 => (0, addresses, *ttl),
        DnsAnswer::Addresses(..) | DnsAnswer::Empty if known => (0, &[], Duration::ZERO), // the name has no AAAA
        DnsAnswer::Addresses(..) | DnsAnswer::Empty | DnsAnswer::NxDomain => (3, &[], Duration::ZERO),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    reply.extend_from_slice(query.get(12..end + 4)?);
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1]);
        reply.extend(u32::try_from(ttl.as_secs()).ok()?.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// The name in the question, without its last dot, and where the name ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}
