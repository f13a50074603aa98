//! What one call went through: every decision, with the numbers behind it.
//!
//! In: the road of a call notes its attempts as they happen. Out: a [`Story`], made only of calls
//! that somebody may ask about or that are exported; the same value becomes spans, the answer of
//! `outrigger explain` and a row of the dashboard. Holds no query, no header but the request's id,
//! and no body: nothing in it is secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::{Origin, Policy};
use crate::error::{Fault, Sent, Side};
use crate::wire::TraceParent;

use super::{Outcome, RetryDecision};

/// Most bytes of one text of the application's, such as a path, that a story keeps.
const TEXT_BYTES_MAX: usize = 1024;

/// One call, from its head to the end of its reply.
#[derive(Debug, Clone)]
pub struct Story {
    /// The trace, with the caller's span; `form` tells whether the caller has one at all.
    pub trace: TraceParent,
    /// The span of the call.
    pub span_id: u64,
    /// Why it is exported; `None`: it is kept for explanations alone.
    pub export: Option<Why>,
    /// `X-Request-Id`, as the caller sent it.
    pub request_id: Option<Box<str>>,
    /// When its head was whole.
    pub started: SystemTime,
    /// Until the end of the reply.
    pub duration: Duration,
    /// The service's name; `unknown` for destinations without one, empty where it never came to that.
    pub service: Arc<str>,
    /// The route's name; empty without one.
    pub route: Arc<str>,
    /// What decided; `None` where it never came to that.
    pub rules: Option<Rules>,
    /// What the application spoke.
    pub protocol: Spoken,
    /// The method; empty for bytes.
    pub method: Box<str>,
    /// The path, without a query; empty for bytes.
    pub path: Box<str>,
    /// The host and port that were asked for.
    pub host: Box<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// Status of the reply; 0 without one.
    pub status: u16,
    /// The status of gRPC, where it was seen.
    pub grpc_status: Option<u32>,
    /// One plain sentence with the numbers, for a reply of ours.
    pub message: Option<Box<str>>,
    /// Time spent in the queue of the bulkhead.
    pub queued: Duration,
    /// Bytes to the service by a tunnel; 0 for calls of HTTP.
    pub request_bytes: u64,
    /// Bytes of the reply's body.
    pub reply_bytes: u64,
    /// From the start to the head of the last answer, or to a tunnel's first byte.
    pub first_byte: Option<Duration>,
    /// The deadline, from the start; `None` without one.
    pub deadline: Option<Duration>,
    /// The deadline was the caller's own, sooner than `timeout`.
    pub callers_deadline: bool,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
}

/// Where the rules of a call stand.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The merged policy, with the origin of each value.
    pub policy: Arc<Policy>,
    /// The files that origins point into.
    pub files: Arc<[PathBuf]>,
    /// Where the service stands.
    pub service: Origin,
    /// Where the route stands, if one matched.
    pub route: Option<Origin>,
    /// The request names the service, which is not where the captured call was going.
    pub host_mismatch: bool,
}

/// Why a call is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was sampled, by its caller or by `tracing.sample`.
    Sampled,
    /// `tracing.always`: it failed.
    Error,
    /// `tracing.always`: it was tried again.
    Retry,
    /// `tracing.always`: a breaker refused it, or was not closed.
    Breaker,
    /// `tracing.always`: it took longer than `slowCallDuration`.
    Slow,
}

/// What an application speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spoken {
    /// HTTP/1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes: an opaque connection, or a tunnel.
    Opaque,
}

/// One attempt, or what kept it from being made. Times are from the start of the call.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Its span, which the service sees as its parent if anything was sent; 0 if it is none.
    pub span_id: u64,
    /// When the breaker was asked.
    pub started: Duration,
    /// Time in the queue of the bulkhead.
    pub queued: Duration,
    /// The breaker, as the attempt found it.
    pub breaker: Option<BreakerSeen>,
    /// Where it went.
    pub endpoint: Option<SocketAddr>,
    /// Why there.
    pub pick: Pick,
    /// Whether its connection was open already.
    pub reused: bool,
    /// When it had its connection.
    pub connected: Option<Duration>,
    /// When the head of the answer came, or the attempt failed.
    pub ended: Duration,
    /// Status of the answer; 0 without one.
    pub status: u16,
    /// Why there was no answer.
    pub fault: Option<Fault>,
    /// How much the service may have seen.
    pub sent: Sent,
    /// What it said of the service.
    pub verdict: Option<Judged>,
    /// It took longer than `slowCallDuration`.
    pub slow: bool,
    /// Whether it was followed by another one, or why not; `None` where nobody asked.
    pub decision: Option<RetryDecision>,
    /// The wait before the next one.
    pub back_off: Duration,
    /// Retries that the budget had left when it was asked.
    pub budget_left: Option<f64>,
    /// What was left until the deadline when it was asked.
    pub deadline_left: Option<Duration>,
}

/// A breaker at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSeen {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Its generation: how often it has changed.
    pub generation: u32,
    /// Somebody forced it into that state.
    pub forced: bool,
    /// It refused the attempt, or would have (`mode: observe`).
    pub refused: bool,
}

/// Why an endpoint was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// It did not come to that.
    None,
    /// There is no other.
    Only,
    /// It had the fewest calls of two picked at random.
    LeastRequest,
    /// It was its turn.
    RoundRobin,
    /// The last attempt failed elsewhere.
    Elsewhere,
}

/// What an attempt said of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// The service works.
    Success,
    /// The service failed.
    Failure,
    /// Nothing.
    Neutral,
}

// === impl Story ===

impl Story {
    /// Of a request that was refused before it had a service. `request` is its first line.
    pub fn refused(fault: Fault, what: &str, request: &[u8], trace: TraceParent) -> Self {
        let (method, path) = line_parts(request);
        Self {
            trace,
            span_id: trace.span_id,
            export: None,
            request_id: None,
            started: SystemTime::now(),
            duration: Duration::ZERO,
            service: Arc::from(""),
            route: Arc::from(""),
            rules: None,
            protocol: if request.ends_with(b" HTTP/2") { Spoken::Http2 } else { Spoken::Http1 },
            method: clipped(method),
            path: clipped(path),
            host: Box::from(""),
            outcome: Outcome::Fault(fault),
            status: fault.status(),
            grpc_status: None,
            message: Some(what.into()),
            queued: Duration::ZERO,
            request_bytes: 0,
            reply_bytes: 0,
            first_byte: None,
            deadline: None,
            callers_deadline: false,
            attempts: Vec::new(),
        }
    }

    /// Bytes of memory it takes, about.
    pub fn bytes(&self) -> usize {
        let texts = self.method.len() + self.path.len() + self.host.len();
        let maybe = [&self.request_id, &self.message].into_iter().flatten().map(|text| text.len());
        size_of::<Self>() + texts + maybe.sum::<usize>() + self.attempts.capacity() * size_of::<Attempt>()
    }

    /// Retries that were made.
    pub fn retries(&self) -> usize {
        let made = |attempt: &&Attempt| attempt.decision == Some(RetryDecision::Retried);
        self.attempts.iter().filter(made).count()
    }
}

// === impl Attempt ===

impl Attempt {
    /// An attempt that begins.
    pub fn begin(started: Duration) -> Self {
        Self {
            span_id: 0,
            started,
            queued: Duration::ZERO,
            breaker: None,
            endpoint: None,
            pick: Pick::None,
            reused: false,
            connected: None,
            ended: started,
            status: 0,
            fault: None,
            sent: Sent::No,
            verdict: None,
            slow: false,
            decision: None,
            back_off: Duration::ZERO,
            budget_left: None,
            deadline_left: None,
        }
    }

    /// Whether it is a span of its own. What a breaker or a bulkhead of ours refused went nowhere: that
    /// is an event of the call.
    pub fn is_span(&self) -> bool {
        self.span_id != 0 || !self.fault.is_some_and(|fault| fault.side() == Side::Local)
    }
}

// === impl Why ===

impl Why {
    /// The word for it, as in `tracing.always`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Error => "error",
            Self::Retry => "retry",
            Self::Breaker => "breaker",
            Self::Slow => "slow",
        }
    }
}

// === impl Spoken ===

impl Spoken {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Opaque => "opaque",
        }
    }
}

// === impl Pick ===

impl Pick {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Only => "only",
            Self::LeastRequest => "least_request",
            Self::RoundRobin => "round_robin",
            Self::Elsewhere => "elsewhere",
        }
    }
}

// === impl Judged ===

impl Judged {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Neutral => "neutral",
        }
    }
}

/// Method and path of a request line, without the query: that may carry tokens, as may the user part
/// of an absolute form.
pub fn line_parts(line: &[u8]) -> (String, String) {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let method = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
    let target = String::from_utf8_lossy(words.next().unwrap_or_default());
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        // A path may well hold another URL.
        _ if target.starts_with('/') => target,
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target.rsplit_once('@').map_or(target, |(_, host)| host),
    };
    (method, path.to_owned())
}

/// A text of the application's as it is kept: at most [`TEXT_BYTES_MAX`] bytes of it.
pub fn clipped(mut text: String) -> Box<str> {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::line_parts;

    #[test]
    fn a_path_is_told_whole_and_without_what_may_be_secret() {
        for (target, path) in [
            ("/a/b?token=1", "/a/b"),
            ("/proxy/https://cdn.example/x.png?w=2", "/proxy/https://cdn.example/x.png"),
            ("/@me/a", "/@me/a"),
            ("http://me:secret@shop/a?b", "/a"),
            ("http://me:secret@shop", "/"),
            ("me:secret@shop:443", "shop:443"),
            ("*", "*"),
        ] {
            let line = format!("GET {target} HTTP/1.1");
            assert_eq!(line_parts(line.as_bytes()), ("GET".to_owned(), path.to_owned()), "{target}");
        }
    }
}
