//! What would happen to a call now, without sending it.
//!
//! In: a method and a URL, and the mesh as it is. Out: the service and the route that the proxy itself
//! would choose, the policy, and what breaker, bulkhead and endpoints would say. Changes nothing, and
//! costs no calls anything.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::{Config, Mode, Policy, Route, Service};
use crate::error::Fault;
use crate::mesh::{Mesh, ServiceView, Snapshot};
use crate::policy::is_idempotent;
use crate::route::{Asking, Choice, route_of};
use crate::telemetry::explain::{Cause, at, policy_values};

use super::super::reply::{problem, reply_json};
use super::super::services;
use super::told::told;

/// Longest method or URL that is looked at: what a head may hold.
const URL_BYTES_MAX: usize = 64 * 1024;

/// Where a call would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'u> {
    pub(super) method: &'u str,
    /// Over `https` nobody but the two ends sees calls: the proxy sees a tunnel.
    pub(super) secure: bool,
    /// Host and port as written, without a user.
    pub(super) authority: &'u str,
    /// Without the query.
    pub(super) path: &'u str,
}

/// What the proxy would choose, and all that decides.
pub(super) struct Outlook<'m> {
    pub(super) target: Target<'m>,
    pub(super) config: &'m Config,
    pub(super) choice: Choice,
    pub(super) service: Option<&'m Service>,
    pub(super) route: Option<&'m Route>,
    /// Routes that would take it if it had the right header fields.
    pub(super) by_header: Vec<&'m Route>,
    pub(super) view: Option<ServiceView>,
    /// An address that leads back to this proxy.
    pub(super) is_loop: bool,
    pub(super) idempotent: bool,
}

/// What would become of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It would be sent.
    Sent,
    /// It would wait for a place in the bulkhead.
    Queued,
    /// It would be refused.
    Refused(Fault),
}

/// The page.
pub(in super::super) fn show(mesh: &Mesh, query: &HashMap<String, String>, now: Instant) -> Response {
    let (Some(method), Some(url)) = (query.get("method"), query.get("url")) else {
        return problem(StatusCode::BAD_REQUEST, "bad_parameter", "the parameters are method and url");
    };
    let snapshot = mesh.snapshot();
    match Target::parse(method, url) {
        Ok(target) => reply_json(StatusCode::OK, &Outlook::of(target, mesh, &snapshot, now).json()),
        Err(message) => problem(StatusCode::BAD_REQUEST, "bad_parameter", message),
    }
}

// === impl Target ===

impl<'u> Target<'u> {
    fn parse(method: &'u str, url: &'u str) -> Result<Self, &'static str> {
        const FORM: &str = "url must be http://HOST/PATH or https://HOST/PATH";
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("method must be a word such as GET");
        }
        if url.len() > URL_BYTES_MAX || url.chars().any(|char| char.is_control() || char == ' ') {
            return Err(FORM);
        }
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(FORM),
        };
        // A fragment is never sent, and a query may hold a token.
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.is_empty() { Err(FORM) } else { Ok(Self { method, secure, authority, path }) }
    }

    /// What the proxy is asked: `https` comes to it as CONNECT, with the port spelled out.
    fn choose(&self, snapshot: &Snapshot) -> Choice {
        if !self.secure {
            return snapshot.router.choose(self.authority.as_bytes(), Asking::Http);
        }
        let host = self.authority.rsplit_once(':').map_or("", |(_, port)| port);
        let has_port = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit());
        let authority = if has_port { self.authority.to_owned() } else { format!("{}:443", self.authority) };
        snapshot.router.choose(authority.as_bytes(), Asking::Connect)
    }

    /// The request line that routes are compared with.
    fn line(&self) -> (&[u8], &[u8]) {
        if self.secure { (b"CONNECT", b"") } else { (self.method.as_bytes(), self.path.as_bytes()) }
    }
}

// === impl Outlook ===

impl<'m> Outlook<'m> {
    fn of(target: Target<'m>, mesh: &Mesh, snapshot: &'m Snapshot, now: Instant) -> Self {
        let config = &*snapshot.config;
        let choice = target.choose(snapshot);
        let service = match choice {
            Choice::Service(index) => config.services.get(index),
            Choice::Unknown | Choice::Denied | Choice::Nowhere => None,
        };
        let (method, path) = target.line();
        let index = service.and_then(|service| route_of(service, method, path, |_| None));
        let route = service.zip(index).map(|(service, index)| &service.routes[index]);
        let before = service.map(|service| &service.routes[..index.unwrap_or(service.routes.len())]);
        let takes =
            |route: &&Route| !route.matches.headers.is_empty() && route.matches.matches_line(method, path);
        let view =
            service.and_then(|service| mesh.view(now).into_iter().find(|view| view.name == service.name));
        let endpoints = view.iter().flat_map(|view| &view.endpoints);
        let policy = policy(config, service, route);
        Self {
            is_loop: endpoints.clone().any(|endpoint| snapshot.is_own(endpoint.address)),
            idempotent: is_idempotent(target.method, false, false, policy.idempotent),
            by_header: before.unwrap_or_default().iter().filter(takes).collect(),
            target,
            config,
            choice,
            service,
            route,
            view,
        }
    }

    pub(super) fn policy(&self) -> &'m Policy {
        policy(self.config, self.service, self.route)
    }

    /// The questions in the order in which a call meets them.
    pub(super) fn fate(&self) -> Fate {
        match self.choice {
            Choice::Nowhere => return Fate::Refused(Fault::NoRoute),
            Choice::Denied => return Fate::Refused(Fault::Denied),
            Choice::Unknown => return Fate::Sent,
            Choice::Service(_) => {}
        }
        let Some(view) = &self.view else { return Fate::Sent };
        let policy = self.policy();
        let enforced = |mode: Mode| mode == Mode::Enforce;
        let breaker = policy.circuit_breaker.as_ref();
        if view.breaker_refuses && breaker.is_some_and(|breaker| enforced(breaker.mode)) {
            return Fate::Refused(Fault::BreakerOpen);
        }
        if let Some((seen, settings)) =
            view.bulkhead.zip(policy.bulkhead.as_ref()).filter(|(_, it)| enforced(it.mode))
        {
            let has_queue = !settings.max_wait.is_zero();
            if self.target.secure {
                if seen.connections >= settings.max_connections {
                    return Fate::Refused(Fault::BulkheadFull);
                }
            } else if seen.in_flight >= seen.max_concurrent || seen.queued > 0 {
                let room = has_queue && seen.queued < settings.max_queue;
                return if room { Fate::Queued } else { Fate::Refused(Fault::BulkheadFull) };
            }
        }
        if self.is_loop { Fate::Refused(Fault::LoopDetected) } else { Fate::Sent }
    }

    fn json(&self) -> Value {
        let (service, route, config) = (self.service, self.route, self.config);
        let fate = self.fate();
        let view = self.view.as_ref();
        let values: Vec<Value> =
            policy_values(self.policy(), &config.files).iter().map(Cause::json).collect();
        let page = view.map(|view| services::live(view, service)).unwrap_or_default();
        json!({
            "method": self.target.method,
            "host": self.target.authority,
            "path": self.target.path,
            "tunnel": self.target.secure,
            "service": service.map(|service| &*service.name),
            "serviceAt": service.and_then(|service| at(&config.files, service.origin)),
            "route": route.map(|route| &*route.name),
            "routeAt": route.and_then(|route| at(&config.files, route.origin)),
            "routesByHeader": self.by_header.iter().map(|route| &*route.name).collect::<Vec<_>>(),
            "fate": fate.name(),
            "reason": fate.reason(),
            "idempotent": self.idempotent,
            "live": page,
            "policy": values,
            "told": told(self),
        })
    }
}

fn policy<'m>(config: &'m Config, service: Option<&'m Service>, route: Option<&'m Route>) -> &'m Policy {
    let of_service = || service.map_or(&*config.unknown, |service| &service.policy);
    route.map_or_else(of_service, |route| &route.policy)
}

// === impl Fate ===

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Queued => "queued",
            Self::Refused(_) => "refused",
        }
    }

    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Sent | Self::Queued => None,
            Self::Refused(fault) => Some(fault.reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_its_user_and_its_query() {
        let target = Target::parse("GET", "http://me:secret@shop:81/a/b?token=1#c").unwrap();
        assert_eq!((target.authority, target.path, target.secure), ("shop:81", "/a/b", false));
        let target = Target::parse("GET", "HTTPS://shop?token=1").unwrap();
        assert_eq!((target.authority, target.path, target.secure), ("shop", "/", true));
    }

    #[test]
    fn what_is_no_url_is_told() {
        for url in ["", "shop", "/a", "ftp://shop/", "http://", "http:///a", "http://a b/", "http://a/\n"] {
            assert!(Target::parse("GET", url).is_err(), "{url:?}");
        }
        assert!(Target::parse("", "http://shop/").is_err());
        assert!(Target::parse("GE T", "http://shop/").is_err());
    }
}
