//! One entry of `routes`: which calls it is for, and the policy values it changes.
//!
//! In: a node and the settings of its service. Out: a [`Route`], or problems. Never reads the shared
//! parts of a policy: those are refused here by the table.

use std::sync::Arc;

use regex::RegexBuilder;

use super::layer::{Sets, Settings};
use super::lints::Paths;
use super::value::want_form;
use super::{Checker, Leaf, cover, found};
use crate::config::keys::{Kind, Scope};
use crate::config::raw::{Node, Place, Shape};
use crate::config::{Layer, Match, Origin, PathMatch, Policy, Protocol, Route};

/// Longest name of a route, in bytes: it is a label of every metric of the route.
const NAME_BYTES_MAX: usize = 100;

/// Most routes of one service: each is compared with all before it, and each has its own metrics.
const ROUTES_MAX: usize = 1_000;

/// Most bytes of a compiled pattern; ordinary path patterns stay under 64 KiB.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// What a route inherits.
pub(super) struct Parent<'p> {
    pub(super) at: &'p str,
    pub(super) protocol: Protocol,
    pub(super) settings: &'p Settings,
    pub(super) policy: &'p Arc<Policy>,
}

/// What is known of a route while its keys are read.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    matches: Match,
    has_match: bool,
    sets: Sets,
}

impl Checker<'_> {
    /// All routes of a service.
    pub(super) fn routes(&mut self, leaf: &Leaf<'_>, parent: &Parent<'_>) -> Vec<Route> {
        let Shape::List(items) = &leaf.node.shape else {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::Routes));
            return Vec::new();
        };
        if items.len() > ROUTES_MAX {
            let found = format!("{} routes", items.len());
            self.problem(leaf.node.place, &leaf.at, found, format!("at most {ROUTES_MAX}"));
            return Vec::new();
        }
        let mut routes: Vec<Route> = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{}[{index}]", leaf.at);
            let problems_before = self.problems.len();
            let route = self.route(item, index, &at, parent);
            // A match that could not be read says nothing about what it takes.
            if self.problems.len() == problems_before {
                self.reachable(&routes, &route, item.place, &at);
                routes.push(route);
            }
        }
        routes
    }

    fn route(&mut self, node: &Node, index: usize, at: &str, parent: &Parent<'_>) -> Route {
        let mut draft = Draft::default();
        for leaf in self.leaves(Scope::Route, node, at) {
            if leaf.key.path == "match.grpc" && parent.protocol == Protocol::Http1 {
                let want = "protocol: auto or http2: gRPC is HTTP/2";
                self.problem(leaf.place, &leaf.at, "a route that can never match: protocol: http1", want);
            }
            self.route_key(&leaf, &mut draft);
        }
        if !draft.has_match && node.entries().is_some() {
            self.problem(node.place, at, "no `match`", "match: {...}, or match: {} for every call");
        }
        let policy = if draft.sets.is_empty() {
            Arc::clone(parent.policy)
        } else {
            let settings = parent.settings.with(&draft.sets);
            self.lint_call(&Paths { service: parent.at, route: at }, &settings);
            Arc::new(settings.policy(false))
        };
        let place = node.place;
        Route {
            name: draft.name.unwrap_or_else(|| format!("routes[{index}]")).into(),
            matches: draft.matches,
            policy,
            origin: Origin { layer: Layer::Route, file: place.file, line: place.line, column: place.column },
        }
    }

    fn route_key(&mut self, leaf: &Leaf<'_>, draft: &mut Draft) {
        match leaf.key.path {
            "name" => draft.name = self.label(leaf, NAME_BYTES_MAX),
            "match" => draft.has_match = true,
            "match.method" => draft.matches.method = self.method(leaf),
            "match.path" | "match.pathPrefix" | "match.pathRegex" | "match.grpc" => {
                if draft.matches.path.is_some() {
                    let want = "one of path, pathPrefix, pathRegex and grpc";
                    self.problem(leaf.place, &leaf.at, "a second condition on the path", want);
                }
                draft.matches.path = self.path(leaf);
            }
            "match.header" => draft.matches.headers = self.headers(leaf),
            _ => self.set(leaf, Layer::Route, &mut draft.sets),
        }
    }

    /// Says so when an earlier route takes every call of this one, or has its name.
    fn reachable(&mut self, earlier: &[Route], route: &Route, place: Place, at: &str) {
        if let Some(cover) = earlier.iter().find(|other| cover::covers(&other.matches, &route.matches)) {
            let found = format!("a route that can never match: `{}` takes all its calls", cover.name);
            let want = format!("it before `{}` (line {})", cover.name, cover.origin.line);
            self.problem(place, at, found, want);
        }
        if let Some(same) = earlier.iter().find(|other| other.name == route.name) {
            let want = format!("a name of its own (line {} has it too)", same.origin.line);
            self.problem(place, at, format!("the name `{}` again", route.name), want);
        }
    }

    /// A name that becomes a label.
    pub(super) fn label(&mut self, leaf: &Leaf<'_>, bytes_max: usize) -> Option<String> {
        let text = leaf.node.text().unwrap_or_default();
        if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
            let want = format!("a name of 1 to {bytes_max} bytes");
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
            return None;
        }
        Some(text.to_owned())
    }

    fn method(&mut self, leaf: &Leaf<'_>) -> Option<String> {
        let text = leaf.node.text().unwrap_or_default();
        let upper = text.to_ascii_uppercase();
        if METHODS.contains(&upper.as_str()) && text != upper {
            let want = format!("{upper}; methods are told apart by case");
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
            return None;
        }
        if !is_token(text) {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), "a method such as GET");
            return None;
        }
        Some(text.to_owned())
    }

    fn path(&mut self, leaf: &Leaf<'_>) -> Option<PathMatch> {
        let text = leaf.node.text().unwrap_or_default();
        if leaf.key.path == "match.pathRegex" {
            return self.regex(leaf, text);
        }
        if leaf.key.path == "match.grpc" {
            return self.grpc(leaf, text);
        }
        let odd = |c: char| c.is_control() || c == ' ' || c == '?' || c == '#';
        // `*` is the path of `OPTIONS *`, and has no segments.
        let star = text == "*" && leaf.key.path == "match.path";
        if !(text.starts_with('/') || star) || text.contains(odd) {
            let want = "a path that begins with `/`, without `?`, `#` or spaces, as it is sent";
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
            return None;
        }
        if leaf.key.path == "match.path" {
            return Some(PathMatch::Exact(text.to_owned()));
        }
        let trimmed = text.trim_end_matches('/');
        Some(PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()))
    }

    /// A method's path is `/package.Service/Method`, whatever carries it.
    fn grpc(&mut self, leaf: &Leaf<'_>, text: &str) -> Option<PathMatch> {
        let (service, method) = match text.split_once('/') {
            Some((service, method)) => (service, Some(method)),
            None => (text, None),
        };
        if !service.split('.').all(is_identifier) || !method.is_none_or(is_identifier) {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::GrpcMethod));
            return None;
        }
        let path = format!("/{text}");
        Some(if method.is_some() { PathMatch::Exact(path) } else { PathMatch::Prefix(path) })
    }

    fn regex(&mut self, leaf: &Leaf<'_>, text: &str) -> Option<PathMatch> {
        // The pattern alone first: `a)|(b` must not become valid by what is put around it.
        let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        let alone = compile(text).and_then(|_| compile(&format!(r"\A(?:{text})\z")));
        match alone {
            Ok(pattern) if !text.is_empty() => Some(PathMatch::Regex(pattern)),
            Ok(_) => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), "a pattern such as /orders/[0-9]+");
                None
            }
            Err(error) => {
                let reason = error.to_string();
                let reason =
                    reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let want = format!("a pattern that can be read ({reason})");
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
                None
            }
        }
    }

    fn headers(&mut self, leaf: &Leaf<'_>) -> Vec<(String, Option<String>)> {
        let Some(entries) = leaf.node.entries() else {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(Kind::Headers));
            return Vec::new();
        };
        let mut headers = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut at = leaf.at.clone();
            super::push_key(&mut at, &entry.key);
            if !is_token(&entry.key) {
                let name = format!("`{}`", super::shorten(&entry.key));
                self.problem(entry.place, &at, name, "the name of a header");
                continue;
            }
            let name = entry.key.to_ascii_lowercase();
            match entry.value.text() {
                Some("*") => headers.push((name, None)),
                Some(value) if !entry.value.is_nothing() && !value.contains(['\r', '\n', '\0']) => {
                    headers.push((name, Some(value.to_owned())));
                }
                Some(_) | None => {
                    let want = "the value asked for, or '*' for any";
                    self.problem(entry.value.place, &at, found(&entry.value), want);
                }
            }
        }
        headers
    }
}

/// Whether the text is a token of RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

/// Whether the text is an identifier of Protocol Buffers.
fn is_identifier(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(letter) && text.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}
