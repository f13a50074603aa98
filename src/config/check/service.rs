//! One entry of `services`.
//!
//! In: its name and node, and the settings of `defaults`. Out: a [`Service`], or problems. Never
//! compares services with each other; `lints` does.

use std::net::SocketAddr;
use std::sync::Arc;

use super::address::is_host_name;
use super::claims::Claims;
use super::layer::{Sets, Settings, index};
use super::lints::Paths;
use super::route::Parent;
use super::value::{self, Value, want_form};
use super::{Checker, Leaf, found, push_key, shorten, tls};
use crate::config::keys::Scope;
use crate::config::raw::{Entry, Place};
use crate::config::{Endpoints, HostPattern, Layer, Origin, PortPattern, Protocol, Service};

/// What is known of a service while its keys are read.
struct Draft<'n> {
    hosts: Vec<(HostPattern, Place)>,
    endpoints: Option<Endpoints>,
    endpoints_key: Option<Place>,
    static_places: Vec<(SocketAddr, Place)>,
    listen: Vec<(SocketAddr, Place)>,
    protocol: Protocol,
    tls: tls::Draft,
    routes: Option<Leaf<'n>>,
    sets: Sets,
}

impl Checker<'_> {
    /// Reads one service; what it claims of the world is noted in `claims`.
    pub(super) fn service(
        &mut self,
        entry: &Entry,
        defaults: &Settings,
        claims: &mut Claims,
    ) -> Option<Service> {
        let mut at = "services".to_owned();
        push_key(&mut at, &entry.key);
        self.service_name(entry, &at);
        let problems_before = self.problems.len();
        let mut draft = Draft {
            hosts: Vec::new(),
            endpoints: None,
            endpoints_key: None,
            static_places: Vec::new(),
            listen: Vec::new(),
            protocol: Protocol::Auto,
            tls: tls::Draft::default(),
            routes: None,
            sets: Sets::default(),
        };
        for leaf in self.leaves(Scope::Service, &entry.value, &at) {
            self.service_key(leaf, &mut draft);
        }
        if draft.endpoints.is_none() && self.problems.len() == problems_before {
            let place = draft.endpoints_key.unwrap_or(entry.place);
            self.problem(place, &at, "no endpoints", "endpoints: {dns: name:port} or {static: [IP:port]}");
        }
        if draft.hosts.is_empty() {
            let name = entry.key.to_ascii_lowercase();
            draft.hosts.push((HostPattern { name, port: PortPattern::Usual }, entry.place));
        }
        claims.hosts(&at, &draft.hosts);
        claims.listeners(&format!("{at}.listen"), &draft.listen);
        claims.endpoints(&format!("{at}.endpoints.static"), &draft.static_places);
        self.finish_service(entry, &at, draft, defaults)
    }

    fn service_name(&mut self, entry: &Entry, at: &str) {
        if entry.key == "unknown" {
            let want = "another name: `unknown` is what calls to other destinations are shown as";
            self.problem(entry.place, at, "the service `unknown`", want);
        } else if !is_host_name(&entry.key) {
            let found = format!("the name `{}`", shorten(&entry.key));
            self.problem(
                entry.place,
                at,
                found,
                "letters, digits, `-`, `_` and `.`, at most 63 between dots",
            );
        }
    }

    fn service_key<'n>(&mut self, leaf: Leaf<'n>, draft: &mut Draft<'n>) {
        match leaf.key.path {
            "hosts" => draft.hosts = self.hosts(&leaf),
            "endpoints" => draft.endpoints_key = Some(leaf.place),
            "endpoints.dns" => {
                let endpoints = self.name_port(&leaf).map(|(name, port)| Endpoints::Dns { name, port });
                self.only_endpoints(&leaf, draft, endpoints);
            }
            "endpoints.static" => {
                let addresses = self.addresses(&leaf, false);
                draft.static_places.clone_from(&addresses);
                let addresses: Vec<_> = addresses.into_iter().map(|(address, _)| address).collect();
                let endpoints = (!addresses.is_empty()).then_some(Endpoints::Static(addresses));
                self.only_endpoints(&leaf, draft, endpoints);
            }
            "listen" => draft.listen = self.addresses(&leaf, true),
            "protocol" => draft.protocol = self.protocol(&leaf),
            path if path == "tls" || path.starts_with("tls.") => self.tls_key(&leaf, &mut draft.tls),
            "routes" => draft.routes = Some(leaf),
            _ => self.set(&leaf, Layer::Service, &mut draft.sets),
        }
    }

    fn only_endpoints(&mut self, leaf: &Leaf<'_>, draft: &mut Draft<'_>, endpoints: Option<Endpoints>) {
        if draft.endpoints.is_some() {
            self.problem(leaf.place, &leaf.at, "a second kind of endpoints", "one of dns and static");
        }
        draft.endpoints = endpoints.or(draft.endpoints.take());
    }

    fn protocol(&mut self, leaf: &Leaf<'_>) -> Protocol {
        match value::read(leaf.key.kind, leaf.node) {
            Ok(Value::Word("http1")) => Protocol::Http1,
            Ok(Value::Word("http2")) => Protocol::Http2,
            Ok(Value::Word("opaque")) => Protocol::Opaque,
            Ok(_) => Protocol::Auto,
            Err(_) => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(leaf.key.kind));
                Protocol::Auto
            }
        }
    }

    fn finish_service(
        &mut self,
        entry: &Entry,
        at: &str,
        draft: Draft<'_>,
        defaults: &Settings,
    ) -> Option<Service> {
        let opaque = draft.protocol == Protocol::Opaque;
        if opaque {
            self.refuse_layer_seven(at, &draft);
        }
        let around = tls::Surroundings {
            at,
            protocol: draft.protocol,
            endpoints: draft.endpoints.as_ref(),
            hosts: &draft.hosts,
        };
        let tls_key = draft.tls.block();
        let tls = self.tls(draft.tls, &around).map(Arc::new);
        let settings = defaults.with(&draft.sets);
        self.lint_service(&Paths { service: at, route: at }, &settings, opaque);
        let policy = Arc::new(settings.policy(opaque));
        let parent = Parent { at, protocol: draft.protocol, settings: &settings, policy: &policy };
        let routes = draft.routes.map(|leaf| self.routes(&leaf, &parent)).unwrap_or_default();
        Some(Service {
            name: entry.key.as_str().into(),
            hosts: draft.hosts.into_iter().map(|(host, _)| host).collect(),
            endpoints: draft.endpoints?,
            listen: draft.listen.into_iter().map(|(address, _)| address).collect(),
            protocol: draft.protocol,
            tls,
            policy,
            routes,
            origin: Self::origin(entry.place, Layer::Service),
            endpoints_origin: Self::origin(draft.endpoints_key.unwrap_or(entry.place), Layer::Service),
            tls_origin: tls_key.map_or(Origin::BUILT_IN, |place| Self::origin(place, Layer::Service)),
        })
    }

    /// Rules about calls make no sense where no call is seen.
    fn refuse_layer_seven(&mut self, at: &str, draft: &Draft<'_>) {
        let rules = [
            ("timeout", draft.sets.set_on(const { index("timeout") })),
            ("bodyTimeout", draft.sets.set_on(const { index("bodyTimeout") })),
            ("retries", draft.sets.set_on(const { index("retries") })),
            ("idempotent", draft.sets.set_on(const { index("idempotent") })),
            ("routes", draft.routes.as_ref().map(|leaf| leaf.place)),
        ];
        for (key, place) in rules {
            if let Some(place) = place {
                let want = "protocol: auto, http1 or http2: with opaque no calls are seen, only connections";
                self.problem(place, &format!("{at}.{key}"), "a rule about calls with protocol: opaque", want);
            }
        }
    }
}
