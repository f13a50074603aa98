//! From a service to a connection: endpoint, pool, dial.
//!
//! In: what the service's addresses are, and where the last attempt failed. Out: a connection to
//! one of them. An address that can't be reached is passed over for the next one: nothing of the
//! request was sent, so that costs neither a retry nor a vote while another is left.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::error::{Fault, Sent};
use crate::policy::choose;
use crate::stream::Stream;
use crate::telemetry::{Gauge, add_one};
use crate::upstream::{EndpointList, InFlight, NoConnection, Offer, connect};

use super::Call;
use super::attempt::{Detail, Failed};
use super::hold::Hold;
use super::side::Side;

/// Most addresses dialled in one attempt. With more, the retry policy has its say in between.
const DIALS_MAX: usize = 4;

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
            if self.local.is_own(address) {
                return Err(Failed::local(Fault::LoopDetected));
            }
            hold.in_flight = Some(InFlight::enter(&list.endpoints[endpoint]));
            if !self.dial_anew
                && let Some(connection) = S::pooled(self, address, now)
            {
                return Ok(connection);
            }
            match S::dial(self, address, give_up).await {
                Ok(connection) => return Ok(connection),
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
        if let Some(list) = set.current(now).as_deref().and_then(Option::as_ref) {
            return Ok(Arc::clone(list));
        }
        let limit = now + self.plan.policy().connect_timeout;
        let until = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        match self.watching(Some(until), set.resolved()).await {
            Ok(true) => {}
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
        let tls = self.plan.service.tls.as_deref().map(|client| (client, offer));
        let connected = self.watching(self.deadline, connect(address, tls, until)).await;
        connected.map_err(NoConnection::from).and_then(|connected| connected).map_err(|failed| {
            let address_alone = Detail::Address(address);
            let detail = failed.tls.map_or(address_alone, |fault| Detail::Tls(address, fault));
            Failed { detail, ..Failed::local(failed.fault) }
        })
    }

    /// Counts one more connection as open, until the gauge is dropped.
    pub(super) fn count_open(&self) -> Gauge {
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
