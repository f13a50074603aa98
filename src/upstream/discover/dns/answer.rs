//! Answers an application's questions for names, in place of its name server.
//!
//! In: a question as it came over the wire, and the names that are ours. Out: an answer as it goes back:
//! a virtual address for a name of ours, else what the system's name servers say. Never waits longer
//! than a lookup may take, and never answers what is no question.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{DNSClass, RData, Record, RecordType};

use super::lookup::{Lookup, Timing};

/// How long an application may believe a virtual address; it outlives a reload by no more. Seconds.
const VIRTUAL_TTL: u32 = 5;

/// Longest answer over UDP to who does not say how much it takes (RFC 1035 section 4.2.1).
const PLAIN_BYTES_MAX: usize = 512;

/// Longest answer over UDP whatever the asker takes; the road is a loopback interface.
const UDP_BYTES_MAX: usize = 4096;

/// Longest answer over TCP: its length has two bytes.
const TCP_BYTES_MAX: usize = 65_535;

/// Bytes of a message before anything in it: number, flags, four counts.
const HEADER_BYTES: usize = 12;

/// The virtual address of a name that is ours.
pub type Claimed = Box<dyn Fn(&str) -> Option<Ipv4Addr> + Send + Sync>;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// In one datagram: a long answer is cut, and asked for again over TCP.
    Udp,
    /// On a connection.
    Tcp,
}

/// Answers questions.
pub struct Answers {
    lookup: Lookup,
    claimed: Claimed,
}

// === impl Answers ===

impl Answers {
    /// Asks `servers`, or those of `/etc/resolv.conf`, for names that `claimed` has no address for.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` is there and can't be understood.
    pub fn new(servers: &[SocketAddr], claimed: Claimed) -> io::Result<Self> {
        Ok(Self { lookup: Lookup::new(servers, Timing::default())?, claimed })
    }

    /// The answer to `question`, or `None` to what is no question at all.
    pub async fn answer(&self, question: &[u8], over: Over) -> Option<Vec<u8>> {
        let asked = match Message::from_vec(question) {
            Ok(asked) if asked.metadata.message_type == MessageType::Query => asked,
            Ok(_) => return None,
            Err(_) => return malformed(question),
        };
        let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
        reply.metadata.recursion_desired = asked.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.queries.clone_from(&asked.queries);
        if asked.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(u16::try_from(UDP_BYTES_MAX).unwrap_or(u16::MAX));
            reply.edns = Some(edns);
        }
        let (code, answers) = match (asked.metadata.op_code, asked.queries.as_slice()) {
            (OpCode::Query, [query]) if query.query_class() == DNSClass::IN => self.look_up(query).await,
            (OpCode::Query, [_]) => (ResponseCode::Refused, Vec::new()),
            (OpCode::Query, _) => (ResponseCode::FormErr, Vec::new()),
            (_, _) => (ResponseCode::NotImp, Vec::new()),
        };
        reply.metadata.response_code = code;
        reply.answers = answers;
        let bytes = reply.to_vec().ok()?;
        if bytes.len() <= room(&asked, over) { Some(bytes) } else { reply.truncate().to_vec().ok() }
    }

    async fn look_up(&self, query: &Query) -> (ResponseCode, Vec<Record>) {
        let (name, kind) = (query.name(), query.query_type());
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if let Some(address) = (self.claimed)(&text) {
            let is_asked = matches!(kind, RecordType::A | RecordType::ANY);
            let record = Record::from_rdata(name.clone(), VIRTUAL_TTL, RData::A(A(address)));
            // It exists, but has no IPv6 address, no alternatives by HTTPS or SRV, and so on.
            return (ResponseCode::NoError, if is_asked { vec![record] } else { Vec::new() });
        }
        match self.lookup.records(name, kind).await {
            Ok(records) => (ResponseCode::NoError, records),
            Err(code) => (code, Vec::new()),
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// Most bytes of the answer.
fn room(asked: &Message, over: Over) -> usize {
    match (over, &asked.edns) {
        (Over::Tcp, _) => TCP_BYTES_MAX,
        (Over::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(PLAIN_BYTES_MAX, UDP_BYTES_MAX),
        (Over::Udp, None) => PLAIN_BYTES_MAX,
    }
}

/// Word that a question can't be understood, to what has at least the number and the mark of one.
fn malformed(question: &[u8]) -> Option<Vec<u8>> {
    let header: &[u8; HEADER_BYTES] = question.first_chunk()?;
    let is_question = header[2] & 0x80 == 0;
    let id = u16::from_be_bytes([header[0], header[1]]);
    let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    if is_question { reply.to_vec().ok() } else { None }
}

#[cfg(test)]
mod tests;
