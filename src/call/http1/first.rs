//! Who speaks first on a connection to a service, and what.
//!
//! In: both sides of a tunnel that has carried nothing yet. Out: the service's word, which makes it
//! opaque, or what the application's first bytes say. Consumes nothing of either side.

use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Protocol;
use crate::error::Fault;
use crate::stream::{READ_BYTES, Stream};
use crate::telemetry::Gauge;
use crate::upstream::Connection;
use crate::wire::{Opening, opening, opens_like_http2};

use super::super::Call;
use super::super::attempt::Failed;
use super::open::NoTunnel;
use super::tunnel::Broken;
use super::{Client, Http1};

/// Longest time for first bytes to say what they are, from the first of them. What has not told by
/// then is opaque.
pub const OPENING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Longest time for an application to speak whose service can't be reached: HTTP gets a reply with a reason
/// then, everything else a reset.
const UNREACHABLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Whose word came first.
pub(super) enum First {
    /// The service's: opaque. Of the protocols told apart only HTTP/2 lets a service begin, which is waited out.
    Service,
    /// The application's; never `More`.
    Client(Opening),
    /// The process ends before anybody has said anything.
    Nobody,
    /// One side broke off, or neither ever spoke.
    Broken(Broken),
}

impl Call<'_, Http1<'_>> {
    /// Waits for the first word, and remembers of the service whether it was the first to speak.
    pub(super) async fn first_word(&mut self, service: &mut Stream) -> First {
        let idle = self.plan.policy().tunnel_idle_timeout.map(|idle| Instant::now() + idle);
        let told = self.listen(Some(&mut *service), idle).await;
        match &told {
            First::Service => self.plan.service.speaks_first.set(!service.input.is_empty()),
            First::Client(_) => self.plan.service.speaks_first.set(false),
            First::Nobody | First::Broken(_) => {}
        }
        told
    }

    /// The service of a silent application can't be reached. HTTP is given back, so that its first call gets
    /// the reason.
    pub(super) async fn unless_http(&mut self, failed: Failed) -> NoTunnel {
        if failed.fault == Fault::ClientCancelled || self.plan.service.speaks_first.get() {
            return failed.into();
        }
        let until = Instant::now() + UNREACHABLE_WAIT_MAX;
        match self.listen(None, Some(until)).await {
            First::Client(found @ (Opening::Http1 | Opening::Http2)) => NoTunnel::Http(found),
            First::Broken(Broken::Client) => Failed::local(Fault::ClientCancelled).into(),
            First::Client(_) | First::Service | First::Nobody | First::Broken(_) => failed.into(),
        }
    }

    /// Keeps the dialled connection for the calls of HTTP/1 that follow.
    pub(super) fn keep(&self, connection: Connection) {
        let service = &self.plan.service;
        if service.protocol == Protocol::Http2 || service.tls.is_some() {
            return;
        }
        let idle = Gauge::enter(&service.stats, |stats| &stats.idle);
        service.pools.put(connection, &self.plan.policy().pool, None, Instant::now(), idle);
    }

    async fn listen(&mut self, mut service: Option<&mut Stream>, idle: Option<Instant>) -> First {
        let mut told = pin!(self.local.closed.notified());
        let client = &mut *self.side.client;
        let mut opening_due = None;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(_)) = client.poll_flush(cx) {
                return Poll::Ready(First::Broken(Broken::Client));
            }
            if let Poll::Ready(word) = poll_client(cx, client) {
                return Poll::Ready(word);
            }
            if let Some(Poll::Ready(word)) = service.as_deref_mut().map(|service| poll_service(cx, service)) {
                return Poll::Ready(word);
            }
            let silent = client.stream.input.is_empty();
            if silent {
                let _ = told.as_mut().poll(cx);
                if client.closing() {
                    return Poll::Ready(First::Nobody);
                }
                if service.as_deref().is_none_or(|service| service.input.is_empty()) {
                    return client.alarm.poll(cx, idle).map(|()| First::Broken(Broken::IdleTimeout));
                }
            }
            let due = *opening_due.get_or_insert_with(|| Instant::now() + OPENING_WAIT_MAX);
            ready!(client.alarm.poll(cx, Some(due)));
            let told = opening(&client.stream.input, true);
            Poll::Ready(if silent { First::Service } else { First::Client(told) })
        })
        .await
    }
}

/// Ready when the application's bytes tell, or when it is gone.
fn poll_client(cx: &mut Context<'_>, client: &mut Client) -> Poll<First> {
    let mut seen = usize::MAX;
    loop {
        let Client { stream, .. } = &mut *client;
        if seen != stream.input.len() || stream.ended() {
            seen = stream.input.len();
            let told = opening(&stream.input, stream.ended());
            if told != Opening::More {
                return Poll::Ready(First::Client(told));
            }
        }
        match stream.poll_fill(cx, READ_BYTES) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(First::Broken(Broken::Client)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Ready when the service has spoken, or ended its side; bytes carry on from there. The settings of
/// HTTP/2 tell nothing yet: what the application says decides, and until then they are held.
fn poll_service(cx: &mut Context<'_>, service: &mut Stream) -> Poll<First> {
    loop {
        match ready!(service.poll_fill(cx, READ_BYTES)) {
            Ok(read) if read > 0 && opens_like_http2(&service.input) => {}
            Ok(_) => return Poll::Ready(First::Service),
            Err(_) => return Poll::Ready(First::Broken(Broken::Service)),
        }
    }
}
