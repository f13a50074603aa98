//! The state of every service, for people.
//!
//! In: the live states. Out: copies, and the one change people may make: forcing a breaker.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::Certificate;
use crate::policy::{BreakerView, Force, State};

use super::{Mesh, ServiceState};

/// One service, as it is now.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// Its name.
    pub name: Arc<str>,
    /// It has had a call since the process started.
    pub used: bool,
    /// `None` when switched off, or closed and untouched before the first call.
    pub breaker: Option<BreakerView>,
    /// The breaker would refuse a call now, or would if it did more than observe.
    pub breaker_refuses: bool,
    /// Whether the YAML has a breaker at all.
    pub has_breaker: bool,
    /// `None` when switched off.
    pub bulkhead: Option<BulkheadView>,
    /// Retries the budget has left; `None` without retries.
    pub budget_tokens: Option<f64>,
    /// Known addresses.
    pub endpoints: Vec<EndpointView>,
    /// The certificates of its `tls`, and when they expire.
    pub certificates: Vec<Certificate>,
}

/// A bulkhead, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct BulkheadView {
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls waiting.
    pub queued: u32,
    /// Upgraded, tunnelled and opaque connections.
    pub connections: u32,
    /// Its bound.
    pub max_concurrent: u32,
}

/// An endpoint, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct EndpointView {
    /// Its address.
    pub address: SocketAddr,
    /// Attempts in flight.
    pub in_flight: u32,
    /// It is chosen last, for it has failed.
    pub penalised: bool,
}

/// Why a breaker was not forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForceError {
    /// No service has this name.
    NoSuchService,
    /// The service's breaker is switched off.
    NoBreaker,
}

// === impl Mesh ===

impl Mesh {
    /// Every service of the configuration, in its order.
    pub fn view(&self, now: Instant) -> Vec<ServiceView> {
        let snapshot = self.snapshot();
        snapshot
            .config
            .services
            .iter()
            .zip(&snapshot.states)
            .map(|(service, state)| {
                let state = state.get();
                let settings = service.policy.bulkhead.as_ref();
                ServiceView {
                    name: Arc::clone(&service.name),
                    used: state.is_some(),
                    breaker: state
                        .and_then(|state| state.breaker.as_ref())
                        .map(|breaker| breaker.snapshot(now)),
                    breaker_refuses: state
                        .and_then(|state| state.breaker.as_ref())
                        .is_some_and(|breaker| breaker.would_refuse(now)),
                    has_breaker: service.policy.circuit_breaker.is_some(),
                    bulkhead: settings
                        .map(|settings| bulkhead_view(state.map(|state| &**state), settings.max_concurrent)),
                    budget_tokens: state
                        .and_then(|state| state.budget.as_ref())
                        .map(|budget| budget.tokens(now)),
                    endpoints: state.map(|state| endpoint_views(state, now)).unwrap_or_default(),
                    certificates: service.tls.iter().flat_map(|tls| &tls.certificates).copied().collect(),
                }
            })
            .collect()
    }

    /// Forces the breaker of a service, or lets it decide by itself again.
    ///
    /// # Errors
    /// When there is no such service, or it has no breaker.
    pub fn force(&self, name: &str, force: Force, now: Instant) -> Result<(), ForceError> {
        let snapshot = self.snapshot();
        let services = &snapshot.config.services;
        let index =
            services.iter().position(|service| &*service.name == name).ok_or(ForceError::NoSuchService)?;
        let state = self.state(&snapshot, index, now);
        let breaker = state.breaker.as_ref().ok_or(ForceError::NoBreaker)?;
        let forced = breaker.force(force, now);
        if forced.is_some_and(|transition| transition.to == State::Open)
            && let Some(bulkhead) = &state.bulkhead
        {
            bulkhead.evict();
        }
        Ok(())
    }
}

fn bulkhead_view(state: Option<&ServiceState>, max_concurrent: u32) -> BulkheadView {
    let bulkhead = state.and_then(|state| state.bulkhead.as_ref());
    let connections = state.and_then(|state| state.connections.as_ref());
    BulkheadView {
        in_flight: bulkhead.map_or(0, |bulkhead| bulkhead.in_flight()),
        queued: bulkhead.map_or(0, |bulkhead| bulkhead.queued()),
        connections: connections.map_or(0, |slots| slots.taken()),
        max_concurrent,
    }
}

fn endpoint_views(state: &ServiceState, now: Instant) -> Vec<EndpointView> {
    let list = state.endpoints.peek();
    let endpoints = list.iter().flat_map(|list| &list.endpoints);
    endpoints
        .map(|endpoint| EndpointView {
            address: endpoint.address,
            in_flight: endpoint.in_flight(),
            penalised: endpoint.penalty.is_penalised(now),
        })
        .collect()
}
