//! What differs between an application that speaks HTTP/1 and one that speaks HTTP/2.
//!
//! In: a call, whose policies neither knows nor asks what it speaks. Out: its connection to a
//! service, its answer, its reply. One type per side, chosen when the connection was told apart;
//! the loop in `call` is written once, for both.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Fault;
use crate::policy::{Ending, Failure};
use crate::stream::Alarm;
use crate::telemetry::story::Spoken;

use super::attempt::{Answer, Failed};
use super::{Call, Ended};

/// Reasons with which another sidecar says that more calls would make it worse.
pub(super) const OVERLOAD_SIGNALS: [&[u8]; 4] =
    [b"breaker_open", b"bulkhead_full", b"bulkhead_timeout", b"overloaded"];

/// The application's side of one call.
pub(super) trait Side: Sized {
    /// A connection to a service, ready for one request.
    type Connection;
    /// The head of an answer, and the way to its body.
    type Reply: Reply;

    /// Ready when the application has gone away.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The one timer of the call.
    fn alarm(&mut self) -> &mut Alarm;

    /// Whether the request can be sent from its first byte.
    fn is_replayable(&self) -> bool;

    /// When the caller itself gives up, if it said so.
    fn callers_deadline(&self) -> Option<Instant>;

    /// Starts the request from its first byte again, for another attempt.
    fn rewind(&mut self);

    /// The request line, for the access log.
    fn request_line(&self) -> Cow<'_, [u8]>;

    /// What was asked for, for those who are told of the call.
    fn asked(&self) -> Asked;

    /// A connection that is open already.
    fn pooled(call: &Call<'_, Self>, address: SocketAddr, now: Instant) -> Option<Self::Connection>;

    /// A new connection, in the time that is left.
    async fn dial(
        call: &mut Call<'_, Self>,
        address: SocketAddr,
        give_up: Option<Instant>,
    ) -> Result<Self::Connection, Failed>;

    /// Sends the request and waits for the head of its answer.
    async fn exchange(
        call: &mut Call<'_, Self>,
        connection: Self::Connection,
        give_up: Option<Instant>,
    ) -> Result<Self::Reply, Failed>;

    /// Passes the answer on: head, body, verdict.
    async fn reply<'p>(call: &mut Call<'p, Self>, answer: Answer<'p, Self::Reply>) -> Ended;

    /// Our own reply, with the reason.
    async fn refuse(call: &mut Call<'_, Self>, failed: &Failed) -> super::Flow;
}

/// The head of an answer, as the policies see it.
pub(super) trait Reply {
    /// Its status; that of HTTP, also for gRPC.
    fn status(&self) -> u16;

    /// What it says of the service, should its body end well.
    fn ending(&self) -> Ending;

    /// How it looks to the retry policy; `None` for an answer that nobody would give up.
    fn failure(&self) -> Option<Failure>;

    /// What the service asks of those who would try again.
    fn wish(&self, unix_seconds: u64) -> Wish;

    /// Where it came from.
    fn address(&self) -> SocketAddr;
}

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) protocol: Spoken,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) request_id: Option<String>,
}

/// What an answer says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// `Retry-After`: not sooner than this.
    pub(super) retry_after: Option<Duration>,
    /// `grpc-retry-pushback-ms`: exactly then.
    pub(super) pushback: Option<Duration>,
    /// Not at all: the service is overloaded, or says so.
    pub(super) forbids: bool,
}

impl<S: Side> Call<'_, S> {
    /// Whether the deadline is the caller's own, sooner than ours: it says nothing of the service then,
    /// wherever in the call it ran out.
    pub(super) fn is_callers_deadline(&self) -> bool {
        self.deadline.is_some() && self.side.callers_deadline() == self.deadline
    }

    /// Waits for `future`, unless the application leaves or `deadline` comes first.
    /// Biased: a thing that is ready counts, even at the last moment.
    pub(super) async fn watching<T>(
        &mut self,
        deadline: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            if self.side.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Fault::ClientCancelled));
            }
            self.side.alarm().poll(cx, deadline).map(|()| Err(Fault::DeadlineExceeded))
        })
        .await
    }
}
