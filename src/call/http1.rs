//! The side of an application that speaks HTTP/1.
//!
//! In: the application's connection and a request as bytes. Out: the service's answer as bytes, or
//! a reply of ours. Heads are ranges into read buffers, and bodies are written straight from them.

mod client;
mod direct;
mod download;
mod exchange;
mod first;
mod open;
mod reply;
mod tunnel;
mod upload;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::config::Alpn;
use crate::error::{Fault, Sent};
use crate::head::{Method, RequestHead, Version};
use crate::mesh::{Local, Plan};
use crate::policy::{Ending, Failure, parse_retry_after};
use crate::stream::Alarm;
use crate::telemetry::story::{Spoken, line_parts};
use crate::upstream::http2::Lease;
use crate::upstream::{Connection, Offer};
use crate::wire::ResponseHead;

use super::attempt::{Answer, Detail, Failed};
use super::bridge::to_service;
use super::dial::Dialled;
use super::side::{Asked, OVERLOAD_SIGNALS, Reply, Side, Wish};
use super::told::head_field;
use super::{Call, Ended, Flow};

pub use client::Client;
pub use first::OPENING_WAIT_MAX;
pub use open::{Begin, Tunnelled, tunnel};
pub use reply::{refuse, refuse_raw};
pub use upload::Upload;

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    /// What decides over it.
    pub plan: Plan,
    /// What is known of it.
    pub head: RequestHead,
    /// Its head as it is sent on, and its body as it arrives.
    pub upload: Upload,
    /// When its head was whole.
    pub started: Instant,
}

/// The application's connection, and the request that it carries.
pub(super) struct Http1<'a> {
    client: &'a mut Client,
    upload: &'a mut Upload,
    /// The end of the application's side ends the call.
    end_is_gone: bool,
    /// What the connection to the service is for.
    offer: Offer,
}

/// The head of an answer, and the connection its body comes from.
pub(super) struct Http1Reply {
    head: ResponseHead,
    connection: Connection,
}

/// Runs one call to its end: exactly one reply, exactly one record.
pub async fn run(local: &Local, client: &mut Client, mut request: Request) -> Flow {
    let mut call = Call::http1(local, client, &mut request);
    call.begin();
    let (outcome, flow, ended) = if call.head.upgrade { call.upgrade().await } else { call.attempts().await };
    call.record(outcome, ended);
    flow
}

impl<'a> Call<'a, Http1<'a>> {
    fn http1(local: &'a Local, client: &'a mut Client, request: &'a mut Request) -> Self {
        let Request { plan, head, upload, started } = request;
        let side = Http1 { client, upload, end_is_gone: head.half_close_ends(), offer: Offer::Http1 };
        Self::new(local, plan, *head, *started, side)
    }
}

/// A stream of HTTP/2 as a connection for one request.
fn over_http2(lease: Lease) -> Connection {
    let (address, reused) = (lease.address(), lease.reused);
    Connection::shared(to_service(lease), address, reused, Instant::now())
}

impl Side for Http1<'_> {
    type Connection = Connection;
    type Reply = Http1Reply;

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(cx, self.end_is_gone)
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.client.alarm
    }

    fn is_replayable(&self) -> bool {
        self.upload.is_replayable()
    }

    /// Nothing in HTTP/1 says so.
    fn callers_deadline(&self) -> Option<Instant> {
        None
    }

    fn rewind(&mut self) {
        self.upload.rewind();
    }

    fn request_line(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.upload.request_line())
    }

    fn asked(&self) -> Asked {
        let (method, path) = line_parts(self.upload.request_line());
        if self.offer != Offer::Http1 {
            // The line stands for the connection; what it names is where that goes.
            return Asked { protocol: Spoken::Opaque, method, host: path, ..Asked::default() };
        }
        let field = |name| head_field(self.upload.head(), name);
        Asked {
            protocol: Spoken::Http1,
            method,
            path,
            host: field("host").unwrap_or_default(),
            request_id: field("x-request-id"),
        }
    }

    /// A call that can't be repeated takes only a connection that has hardly idled.
    fn pooled(call: &Call<'_, Self>, address: SocketAddr, now: Instant) -> Option<Connection> {
        if call.avoid == Some(address) || call.head.upgrade {
            return None;
        }
        if call.plan.service.speaks() == Some(Alpn::H2) {
            return call.plan.service.http2.take(address, false, now).map(over_http2);
        }
        call.plan.service.pools.take(address, !call.head.idempotent, now)
    }

    async fn dial(
        call: &mut Call<'_, Self>,
        address: SocketAddr,
        give_up: Option<Instant>,
    ) -> Result<Connection, Failed> {
        if call.head.upgrade || call.side.offer != Offer::Http1 {
            let stream = call.reach(address, call.side.offer, give_up).await?;
            return Ok(call.fresh(stream, address));
        }
        match call.dial_as(Alpn::Http11, address, give_up).await? {
            Dialled::Http1(stream) => Ok(call.fresh(stream, address)),
            Dialled::Http2(lease) => Ok(over_http2(lease)),
        }
    }

    async fn exchange(
        call: &mut Call<'_, Self>,
        mut connection: Connection,
        give_up: Option<Instant>,
    ) -> Result<Http1Reply, Failed> {
        if connection.is_shared() && !call.side.upload.fits_http2() {
            let failed = Failed::local(Fault::RequestMalformed);
            return Err(Failed { detail: Detail::Text("HTTP/2 can't carry its path"), ..failed });
        }
        let span_id = call.new_span();
        call.side.upload.set_span(span_id);
        match call.exchange(&mut connection, give_up).await {
            Ok(head) => Ok(Http1Reply { head, connection }),
            Err(mut failed) => {
                failed.stale = connection.reused
                    && failed.fault == Fault::ResetBeforeResponse
                    && failed.sent != Sent::Yes;
                if failed.stale {
                    call.plan.service.pools.clear(connection.address);
                }
                Err(failed)
            }
        }
    }

    async fn reply<'p>(call: &mut Call<'p, Self>, answer: Answer<'p, Http1Reply>) -> Ended {
        call.reply(answer).await
    }

    async fn refuse(call: &mut Call<'_, Self>, failed: &Failed) -> Flow {
        // After CONNECT come bytes of a tunnel, which must not be read as requests; an HTTP/1.0 client
        // may take the end of the connection for the reply's.
        let may_go_on = call.head.method != Method::Connect && call.head.version == Version::Http11;
        let read = call.side.upload.is_read() && !call.side.client.closing();
        let keep_alive = call.head.keep_alive && may_go_on && read;
        reply::write_fault(call, failed, keep_alive);
        match call.side.client.flush_within(call.plan.policy().idle_timeout).await {
            Ok(()) if keep_alive => Flow::Again,
            Ok(()) => Flow::Linger,
            Err(_) => Flow::Close,
        }
    }
}

impl Reply for Http1Reply {
    fn status(&self) -> u16 {
        self.head.status
    }

    fn ending(&self) -> Ending {
        Ending::Status(self.head.status)
    }

    fn failure(&self) -> Option<Failure> {
        Failure::of_status(self.head.status)
    }

    fn wish(&self, unix_seconds: u64) -> Wish {
        let bytes = &self.connection.stream.input;
        let retry_after =
            self.head.retry_after.and_then(|value| parse_retry_after(value.of_bytes(bytes), unix_seconds));
        let forbids =
            self.head.reason.is_some_and(|reason| OVERLOAD_SIGNALS.contains(&reason.of_bytes(bytes)));
        Wish { retry_after, forbids, pushback: None }
    }

    fn address(&self) -> SocketAddr {
        self.connection.address
    }
}

impl RequestHead {
    /// Whether the end of the client's side ends the call: an HTTP/1.1 client that waits for a
    /// reply keeps its side open.
    fn half_close_ends(&self) -> bool {
        self.keep_alive && self.version == Version::Http11 && self.method != Method::Connect
    }
}
