//! A service's policies on the way to somewhere else.
//!
//! In: a captured call that names a service, and went where that service is not. Out: a plan with the
//! service's policies and state, and the destination that was dialled: what a request says must not
//! lead an application where it did not dial.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::Protocol;
use crate::telemetry::add_one;

use super::super::{Captured, ServiceState, UNKNOWN_MAX};
use super::{Local, LocalService, Plan};

/// A service, where else, and whether the request named it although it is not there.
pub(super) type Key = (usize, SocketAddr, bool);

// === impl Local ===

impl Local {
    /// Plans a call under the policies of the service at `index` to where the application dialled.
    /// With `host_mismatch` the request names the service, which is not there.
    pub fn plan_elsewhere<'h>(
        &self,
        index: usize,
        captured: &Captured,
        host_mismatch: bool,
        line: (&[u8], &[u8]),
        header: impl Fn(&str) -> Option<&'h [u8]>,
        now: Instant,
    ) -> Plan {
        let Plan { service, route } = self.plan(index, line.0, line.1, header, now);
        let mut elsewhere = self.elsewhere.borrow_mut();
        let key = (index, captured.destination, host_mismatch);
        if elsewhere.len() >= UNKNOWN_MAX && !elsewhere.contains_key(&key) {
            elsewhere.clear();
        }
        let led = elsewhere.entry(key).or_insert_with(|| self.led(&service, captured, host_mismatch));
        Plan { service: Rc::clone(led), route }
    }

    /// A request names the service at `index`, which is not where it was going.
    pub fn count_mismatch(&self, index: usize, now: Instant) {
        add_one(&self.plan(index, b"", b"", |_| None, now).service.stats.host_mismatches);
    }

    fn led(&self, service: &LocalService, captured: &Captured, host_mismatch: bool) -> Rc<LocalService> {
        let endpoints = self.mesh.unknown_endpoints(&captured.host(), captured.destination.port());
        Rc::new(LocalService {
            state: Arc::new(ServiceState { endpoints, ..(*service.state).clone() }),
            pools: Rc::default(),
            http2: Rc::default(),
            // What it speaks there is for the application to know.
            protocol: Protocol::Auto,
            tls: None,
            negotiated: Rc::default(),
            speaks_first: Rc::default(),
            host_mismatch,
            ..service.clone()
        })
    }
}
