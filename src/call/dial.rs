//! From a service to a connection: endpoint, pool, dial.
//!
//! In: what the service's addresses are, and where the last attempt failed. Out: a connection to
//! one of them. An address that can't be reached is passed over for the next one: nothing of the
//! request was sent, so that costs neither a retry nor a vote while another is left.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use crate::config::Alpn;
use crate::error::{Fault, Sent};
use crate::policy::choose;
use crate::stream::Stream;
use crate::telemetry::{Gauge, add_one};
use crate::upstream::http2::{Lease, handshake};
use crate::upstream::{Connection, EndpointList, InFlight, NoConnection, Offer, connect};

use super::Call;
use super::attempt::{Detail, Failed};
use super::hold::Hold;
use super::side::Side;

/// Most addresses dialled in one attempt. With more, the retry policy has its say in between.
const DIALS_MAX: usize = 4;

/// A new connection, in what it turned out to speak.
pub(super) enum Dialled {
    /// A connection of HTTP/1.
    Http1(Stream),
    /// Room on a connection of HTTP/2.
    Http2(Lease),
}

impl<'p, S: Side> Call<'p, S> {
    /// A connection to an endpoint of the service, counted in `hold`.
    pub(super) async fn connect(
        &mut self,
        hold: &mut Hold<'p>,
        now: Instant,
        give_up: Option<Instant>,
    ) -> Result<S::Connection, Failed> {
        let list = self.endpoints(now).await?;
        let mut failed = None;
        let mut tried = [usize::MAX; DIALS_MAX];
        for tried_before in 0..list.endpoints.len().clamp(1, DIALS_MAX) {
            let endpoint = self.pick(&list, &tried, now).ok_or(Failed::local(Fault::NoEndpoints))?;
            tried[tried_before] = endpoint;
            let address = list.endpoints[endpoint].address;
            self.note_endpoint(address, list.endpoints.len());
            if self.local.is_own(address) {
                return Err(Failed::local(Fault::LoopDetected));
            }
            hold.in_flight = Some(InFlight::enter(&list.endpoints[endpoint]));
            if !self.dial_anew
                && let Some(connection) = S::pooled(self, address, now)
            {
                self.record.trail.note(|attempt| attempt.reused = true);
                return Ok(connection);
            }
            // Rare next to calls, so its state is no part of theirs.
            match Box::pin(S::dial(self, address, give_up)).await {
                Ok(connection) => {
                    let now = self.record.trail.since(Instant::now());
                    self.record.trail.note(|attempt| attempt.connected = Some(now));
                    return Ok(connection);
                }
                Err(unreachable) if unreachable.is_unreachable() => {
                    list.endpoints[endpoint].penalty.failed(Instant::now());
                    self.avoid = Some(address);
                    failed = Some(unreachable);
                }
                Err(failed) => return Err(failed),
            }
            if give_up.is_some_and(|give_up| Instant::now() >= give_up) {
                return Err(Failed { sent: Sent::No, ..Failed::local(Fault::PerTryTimeout) });
            }
        }
        Err(failed.unwrap_or(Failed::local(Fault::NoEndpoints)))
    }

    /// The addresses known now; the first call to a name waits for its first answer.
    async fn endpoints(&mut self, now: Instant) -> Result<Arc<EndpointList>, Failed> {
        let set = &self.plan.service.state.endpoints;
        match set.current(now).as_deref().and_then(Option::as_ref) {
            Some(list) => Ok(Arc::clone(list)),
            None => Box::pin(self.first_answer(now)).await,
        }
    }

    async fn first_answer(&mut self, now: Instant) -> Result<Arc<EndpointList>, Failed> {
        let set = &self.plan.service.state.endpoints;
        let limit = now + self.plan.policy().connect_timeout;
        let until = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        match self.watching(Some(until), set.resolved()).await {
            Ok(true) => {}
            Ok(false) if set.is_empty() => return Err(Failed::local(Fault::NoEndpoints)),
            Ok(false) => return Err(Failed::local(Fault::DnsFailed)),
            Err(Fault::DeadlineExceeded) if until == limit => return Err(Failed::local(Fault::DnsFailed)),
            Err(fault) => return Err(Failed::local(fault)),
        }
        let list = set.current(Instant::now());
        list.as_deref().and_then(Option::as_ref).cloned().ok_or(Failed::local(Fault::DnsFailed))
    }

    /// One of the endpoints: not where the last attempt failed or this one already has, if it can be.
    fn pick(&self, list: &EndpointList, tried: &[usize], now: Instant) -> Option<usize> {
        let service = &self.plan.service;
        let round = service.round.get();
        service.round.set(round.wrapping_add(1));
        let endpoints = &list.endpoints;
        let random =
            if endpoints.len() > 1 { [self.local.random_id(), self.local.random_id()] } else { [0; 2] };
        choose(
            endpoints.len(),
            |index| endpoints[index].in_flight(),
            |index| endpoints[index].penalty.is_penalised(now),
            |index| self.avoid == Some(endpoints[index].address) || tried.contains(&index),
            self.plan.policy().balance,
            round,
            random,
        )
    }

    /// A new connection to `address`, for the sides to make theirs of; with the service's TLS, which
    /// offers what suits `offer`.
    pub(super) async fn reach(
        &mut self,
        address: SocketAddr,
        offer: Offer,
        give_up: Option<Instant>,
    ) -> Result<Stream, Failed> {
        let limit = Instant::now() + self.plan.policy().connect_timeout;
        let until = give_up.map_or(limit, |give_up| give_up.min(limit));
        let tls = self.plan.service.tls.as_deref().filter(|_| offer != Offer::Raw);
        let tls = tls.map(|client| (client, offer));
        let connected =
            self.watching(self.deadline, connect(address, tls, until, &self.local.mesh.dials)).await;
        connected.map_err(NoConnection::from).and_then(|connected| connected).map_err(|failed| {
            let address_alone = Detail::Address(address);
            let detail = failed.tls.map_or(address_alone, |fault| Detail::Tls(address, fault));
            Failed { detail, ..Failed::local(failed.fault) }
        })
    }

    /// A new connection in what the service speaks, or in `own`, what the application does. Of several
    /// calls that want one of HTTP/2, one dials.
    pub(super) async fn dial_as(
        &mut self,
        own: Alpn,
        address: SocketAddr,
        give_up: Option<Instant>,
    ) -> Result<Dialled, Failed> {
        let limit = Instant::now() + self.plan.policy().connect_timeout;
        let until = give_up.map_or(limit, |give_up| give_up.min(limit));
        let service = &self.plan.service;
        let negotiated = service.is_negotiated();
        let mut right = None;
        while service.speaks().map_or(negotiated || own == Alpn::H2, |speaks| speaks == Alpn::H2) {
            match service.http2.dial(address) {
                Ok(dial) => {
                    right = Some(dial);
                    break;
                }
                Err(other) => {
                    let waited = self.watching(self.deadline, timeout_at(until, other.done())).await;
                    let in_time = waited.map_err(Failed::local)?;
                    if let Some(lease) = service.http2.take(address, false, Instant::now()) {
                        return Ok(Dialled::Http2(lease));
                    }
                    in_time.map_err(|_| Failed::local(Fault::ConnectTimeout))?;
                }
            }
        }
        let offer = match service.speaks().unwrap_or(own) {
            _ if negotiated => Offer::Calls,
            Alpn::H2 => Offer::Http2,
            Alpn::Http11 => Offer::Http1,
        };
        let stream = self.reach(address, offer, give_up).await?;
        let chosen =
            if negotiated { stream.alpn().unwrap_or(Alpn::Http11) } else { service.speaks().unwrap_or(own) };
        service.negotiated.set(Some(chosen));
        if chosen == Alpn::Http11 {
            return Ok(Dialled::Http1(stream));
        }
        let opened = self.watching(self.deadline, handshake(stream, until)).await;
        let opened = opened.and_then(|opened| opened).map_err(Failed::local)?;
        let settings = &self.plan.policy().pool;
        let open = self.count_open();
        let lease = service.http2.add(address, opened, settings, Instant::now(), self.local.random(), open);
        drop(right);
        Ok(Dialled::Http2(lease))
    }

    /// A connection of HTTP/1 that was just opened.
    pub(super) fn fresh(&self, stream: Stream, address: SocketAddr) -> Connection {
        let (settings, random) = (&self.plan.policy().pool, self.local.random());
        Connection::new(stream, address, settings, Instant::now(), random, self.count_open())
    }

    /// Counts one more connection as open, until the gauge is dropped.
    fn count_open(&self) -> Gauge {
        let stats = &self.plan.service.stats;
        add_one(&stats.opened);
        Gauge::enter(stats, |stats| &stats.open)
    }
}

// === impl Failed ===

impl Failed {
    /// Whether an address can't be reached, so that another one may.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self.fault, Fault::ConnectFailed | Fault::ConnectTimeout | Fault::TlsFailed)
    }
}
