//! The side of an application that speaks HTTP/2, gRPC included, towards a service that does too.
//!
//! In: one stream of the application: a request. Out: the service's answer, frame by frame, or a
//! reply of ours. Both sides' flow control is one: what the slower side does not take, the faster
//! side is not asked for.

mod download;
mod exchange;
mod refuse;
mod upload;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::time::Instant;

use crate::config::{Alpn, Policy};
use crate::error::Fault;
use crate::head::RequestHead;
use crate::mesh::{Local, Plan, ReplayShare};
use crate::policy::{Ending, Failure, parse_retry_after};
use crate::stream::{Alarm, Stream};
use crate::telemetry::story::Spoken;
use crate::telemetry::{Gauge, Outcome};
use crate::upstream::http2::Lease;
use crate::wire::grpc;

use super::attempt::{Answer, Failed};
use super::bridge::from_application;
use super::dial::Dialled;
use super::side::{Asked, OVERLOAD_SIGNALS, Reply, Side, Wish};
use super::{Call, Ended, Flow};

pub(super) use refuse::grpc_reply;
pub use refuse::refuse_http2;

use upload::Upload;
pub(super) use upload::poll_capacity;

/// Most bytes of a body kept where `retries` is off, as with its default.
const KEEP_BYTES: usize = 64 * 1024;

/// A request that came over HTTP/2.
#[derive(Debug)]
pub struct Http2Request {
    /// What decides over it.
    pub plan: Plan,
    /// What is known of it.
    pub head: RequestHead,
    /// Its head, without the fields that end here.
    pub parts: Parts,
    /// Its body.
    pub body: RecvStream,
    /// Where the reply goes.
    pub respond: SendResponse<Bytes>,
    /// When its head was whole.
    pub started: Instant,
}

/// What became of a call.
#[derive(Debug)]
pub enum Ran {
    /// It has its reply and its record.
    Over {
        /// The application gave it up.
        cancelled: bool,
    },
    /// Neither yet: the service speaks HTTP/1, and so does this stream, with the same request on it.
    SpeaksHttp1(Stream),
}

/// One stream of the application.
pub(super) struct Http2 {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    /// Extended CONNECT (RFC 8441): bytes follow, both ways.
    protocol: Option<Protocol>,
    upload: Upload,
    respond: SendResponse<Bytes>,
    alarm: Alarm,
    grpc: bool,
    /// What the application's `grpc-timeout` says.
    callers_deadline: Option<Instant>,
    /// The service turned out to speak HTTP/1: the call takes that road, before anything was sent.
    wants_http1: bool,
}

/// The head of an answer, and the stream its body comes on.
pub(super) struct Http2Reply {
    head: Response<()>,
    from: RecvStream,
    to_service: SendStream<Bytes>,
    lease: Lease,
    grpc: bool,
    /// The first of the body, if it has been looked at.
    first: Option<Bytes>,
    /// Trailers came before any body.
    trailers: Option<HeaderMap>,
}

/// Runs one call to its end: exactly one reply, exactly one record. But for one whose service turned
/// out to speak HTTP/1: that comes back, as an application of HTTP/1 that makes this one request.
pub async fn run_http2(local: &Local, request: Http2Request) -> Ran {
    let Http2Request { plan, head, parts, body, respond, started } = request;
    let speaks = plan.service.speaks();
    let side = Http2::new(&plan, parts, body, respond, started);
    if speaks == Some(Alpn::Http11) {
        return Ran::SpeaksHttp1(side.into_http1());
    }
    let mut call = Call::new(local, &plan, head, started, side);
    call.begin();
    let (outcome, ended) = call.whole().await;
    if call.side.wants_http1 {
        call.record.forget();
        return Ran::SpeaksHttp1(call.side.into_http1());
    }
    std::mem::take(&mut call.side.alarm).give_back();
    call.record(outcome, ended);
    Ran::Over { cancelled: outcome == Outcome::Fault(Fault::ClientCancelled) }
}

impl Call<'_, Http2> {
    /// The call, from its first attempt to its reply.
    async fn whole(&mut self) -> (Outcome, Instant) {
        let absorbed = std::future::poll_fn(|cx| Poll::Ready(self.side.upload.absorb(cx))).await;
        if absorbed.is_err() {
            let (outcome, _, ended) = self.cancelled();
            return (outcome, ended);
        }
        self.start_clock();
        let slot = if self.side.protocol.is_some() { self.slot() } else { Ok(None) };
        let (outcome, _, ended) = match slot {
            Ok(_slot) => self.attempts().await,
            Err(failed) => self.fault(failed).await,
        };
        (outcome, ended)
    }

    /// The sooner of the policy's clock and the caller's. For gRPC the policy's starts when the
    /// request has ended, so that live streams are never cut.
    fn start_clock(&mut self) {
        let waits = self.side.clock_waits() && !self.side.upload.is_read();
        let policy = if waits { None } else { self.deadline };
        self.deadline = [policy, self.side.callers_deadline].into_iter().flatten().min();
    }
}

// === impl Http2 ===

impl Http2 {
    fn new(
        plan: &Plan,
        parts: Parts,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        started: Instant,
    ) -> Self {
        let protocol = parts.extensions.get::<Protocol>().cloned();
        let fields = parts.headers;
        let grpc =
            fields.get(http::header::CONTENT_TYPE).is_some_and(|value| grpc::is_grpc(value.as_bytes()));
        let timeout = fields.get("grpc-timeout").filter(|_| grpc);
        let keep_max = match &plan.policy().retries {
            _ if protocol.is_some() => 0,
            Some(retries) => retries.max_body_bytes,
            None => KEEP_BYTES,
        };
        Self {
            callers_deadline: timeout
                .and_then(|value| grpc::parse_timeout(value.as_bytes()))
                .and_then(|timeout| started.checked_add(timeout)),
            method: parts.method,
            uri: parts.uri,
            fields,
            protocol,
            upload: Upload::new(body, keep_max, ReplayShare::new(&plan.service.replay)),
            respond,
            alarm: Alarm::take(),
            grpc,
            wants_http1: false,
        }
    }

    /// The request on the other road.
    fn into_http1(self) -> Stream {
        self.alarm.give_back();
        from_application(&self.method, &self.uri, &self.fields, self.upload.into_body(), self.respond)
    }

    /// Whether the policy's clock starts only when the request has ended.
    fn clock_waits(&self) -> bool {
        self.grpc
    }

    /// Longest silence on this stream.
    fn idle_timeout(&self, policy: &Policy) -> Option<Duration> {
        if self.protocol.is_some() { policy.tunnel_idle_timeout } else { policy.idle_timeout }
    }
}

impl Side for Http2 {
    type Connection = Lease;
    type Reply = Http2Reply;

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    fn is_replayable(&self) -> bool {
        self.upload.is_replayable()
    }

    fn callers_deadline(&self) -> Option<Instant> {
        self.callers_deadline
    }

    fn rewind(&mut self) {
        self.upload.rewind();
    }

    fn request_line(&self) -> Cow<'_, [u8]> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Cow::Owned(format!("{} {path} HTTP/2", self.method).into_bytes())
    }

    fn asked(&self) -> Asked {
        let request_id = self.fields.get("x-request-id").and_then(|value| value.to_str().ok());
        Asked {
            protocol: if self.grpc { Spoken::Grpc } else { Spoken::Http2 },
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            host: self.uri.authority().map(|host| host.as_str().to_owned()).unwrap_or_default(),
            request_id: request_id.map(str::to_owned),
        }
    }

    fn pooled(call: &Call<'_, Self>, address: SocketAddr, now: Instant) -> Option<Lease> {
        call.plan.service.http2.take(address, call.avoid == Some(address), now)
    }

    async fn dial(
        call: &mut Call<'_, Self>,
        address: SocketAddr,
        give_up: Option<Instant>,
    ) -> Result<Lease, Failed> {
        match call.dial_as(Alpn::H2, address, give_up).await? {
            Dialled::Http2(lease) => Ok(lease),
            Dialled::Http1(stream) => {
                let (service, connection) = (&call.plan.service, call.fresh(stream, address));
                let idle = Gauge::enter(&service.stats, |stats| &stats.idle);
                service.pools.put(connection, &call.plan.policy().pool, None, Instant::now(), idle);
                call.side.wants_http1 = true;
                Err(Failed::local(Fault::ClientCancelled))
            }
        }
    }

    async fn exchange(
        call: &mut Call<'_, Self>,
        lease: Lease,
        give_up: Option<Instant>,
    ) -> Result<Http2Reply, Failed> {
        call.exchange(lease, give_up).await
    }

    async fn reply<'p>(call: &mut Call<'p, Self>, answer: Answer<'p, Http2Reply>) -> Ended {
        call.reply(answer).await
    }

    async fn refuse(call: &mut Call<'_, Self>, failed: &Failed) -> Flow {
        refuse::write_fault(call, failed);
        Flow::Again
    }
}

// === impl Http2Reply ===

impl Http2Reply {
    fn new(response: Response<RecvStream>, to_service: SendStream<Bytes>, lease: Lease, grpc: bool) -> Self {
        let (head, from) = response.into_parts();
        Self {
            head: Response::from_parts(head, ()),
            from,
            to_service,
            lease,
            grpc,
            first: None,
            trailers: None,
        }
    }

    /// Looks at the first frame after the head.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        match ready!(self.from.poll_data(cx)) {
            Some(first) => self.first = Some(first?),
            None => self.trailers = ready!(self.from.poll_trailers(cx))?,
        }
        Poll::Ready(Ok(()))
    }

    /// The fields that hold a gRPC status, if it is known before any message.
    fn verdict_fields(&self) -> Option<&HeaderMap> {
        if !self.grpc || self.head.status() != StatusCode::OK || self.first.is_some() {
            return None;
        }
        let over = self.from.is_end_stream().then_some(self.head.headers());
        self.trailers.as_ref().or(over)
    }
}

impl Reply for Http2Reply {
    fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    fn ending(&self) -> Ending {
        match self.verdict_fields() {
            Some(fields) => Ending::Grpc(grpc::status(fields).unwrap_or(grpc::UNKNOWN)),
            None => Ending::Status(self.status()),
        }
    }

    fn failure(&self) -> Option<Failure> {
        let Ending::Grpc(code) = self.ending() else { return Failure::of_status(self.status()) };
        match code {
            grpc::UNAVAILABLE => Some(Failure::GatewayError),
            _ => grpc::is_failure(code).then_some(Failure::Other),
        }
    }

    fn wish(&self, unix_seconds: u64) -> Wish {
        let fields = self.head.headers();
        let retry_after = fields
            .get(http::header::RETRY_AFTER)
            .and_then(|value| parse_retry_after(value.as_bytes(), unix_seconds));
        let overloaded = fields
            .get("outrigger-reason")
            .is_some_and(|reason| OVERLOAD_SIGNALS.contains(&reason.as_bytes()));
        let pushback = self.verdict_fields().and_then(grpc::pushback);
        Wish { retry_after, forbids: overloaded || pushback == Some(None), pushback: pushback.flatten() }
    }

    fn address(&self) -> SocketAddr {
        self.lease.address()
    }
}
