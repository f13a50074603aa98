//! What one worker keeps of a service over reloads: connections and counts, by the service's name.
//!
//! In: the service's settings, whenever they may have changed. Out: the same pools as long as TLS is the
//! same, the same counters as long as the name is.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Alpn, Origin, Policy, Service};
use crate::telemetry::{RouteStats, ServiceStats};
use crate::upstream::http2::Http2Pool;
use crate::upstream::{Pools, TlsClient};

use super::LocalRoute;

/// What outlives a reload on this worker.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The connections, and the TLS that they were made with.
    pub(super) ways: RefCell<Ways>,
    pub(super) stats: Rc<ServiceStats>,
    pub(super) routes: RefCell<HashMap<Arc<str>, Rc<RouteStats>>>,
    pub(super) speaks_first: Rc<Cell<bool>>,
}

/// The ways to a service: connections, and how new ones are made.
#[derive(Debug, Clone, Default)]
pub(super) struct Ways {
    pub(super) pools: Rc<Pools>,
    pub(super) http2: Rc<Http2Pool>,
    pub(super) tls: Option<Rc<TlsClient>>,
    pub(super) negotiated: Rc<Cell<Option<Alpn>>>,
}

// === impl Kept ===

impl Kept {
    /// Makes TLS what the settings say, unless it is that already. Connections made the other way take no
    /// call from then on; those that carry one end with it.
    pub(super) fn renew(&self, service: &Service) {
        let mut ways = self.ways.borrow_mut();
        let same = match (&ways.tls, &service.tls) {
            (None, None) => true,
            (Some(client), Some(settings)) => client.is_of(settings, service.protocol),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same {
            let client = service.tls.as_ref().map(|tls| TlsClient::new(tls, service.protocol));
            *ways = Ways { tls: client.map(Rc::new), ..Ways::default() };
        }
    }

    /// The routes of a service, and last the calls that match none, with their counts so far.
    pub(super) fn routes(&self, service: &Service) -> Vec<LocalRoute> {
        let mut kept = self.routes.borrow_mut();
        let mut local = |name: &Arc<str>, policy: &Arc<Policy>, origin: Option<Origin>| LocalRoute {
            name: Arc::clone(name),
            policy: Arc::clone(policy),
            stats: Rc::clone(kept.entry(Arc::clone(name)).or_default()),
            origin,
        };
        let mut routes: Vec<_> = service
            .routes
            .iter()
            .map(|route| local(&route.name, &route.policy, Some(route.origin)))
            .collect();
        routes.push(local(&Arc::from(""), &service.policy, None));
        routes
    }
}
