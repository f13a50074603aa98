//! Keeps other people's web pages out of the admin API.
//!
//! In: a request's head. Out: the request goes on, or 403. Two ways lead from a web page to a server
//! on its reader's machine: a name of the attacker's that resolves to 127.0.0.1 (DNS rebinding),
//! which shows in `Host`, and a form or script that posts to us from another site, which shows in
//! `Origin`. A program that is no browser sends what it likes; loopback is what keeps those out.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::reply::problem;

/// Longest request body. No request here needs one at all.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// The names by which this host may be called.
#[derive(Debug)]
pub(super) struct OwnNames(Vec<String>);

// === impl OwnNames ===

impl OwnNames {
    /// The name of the application, and of the host where the kernel tells it.
    pub(super) fn of(service: &str) -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let names = [service, hostname.trim()].map(str::to_owned);
        Self(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    /// Whether `Host` names this host: an IP literal, `localhost`, or a name of its own.
    fn have(&self, authority: &str) -> bool {
        let host = without_port(authority);
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner.parse::<Ipv6Addr>().is_ok();
        }
        let own = self.0.iter().map(String::as_str).chain(["localhost"]);
        host.parse::<IpAddr>().is_ok() || own.into_iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Lets a request pass that no foreign web page can have made.
pub(super) async fn check(State(names): State<Arc<OwnNames>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = authority.or_else(|| text(headers, &header::HOST)).unwrap_or_default();
    if !names.have(host) {
        let message = "Host must be an IP address, localhost or this host's own name";
        return problem(StatusCode::FORBIDDEN, "foreign_host", message);
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && headers.contains_key(header::ORIGIN) && !is_same(text(headers, &header::ORIGIN), host) {
        return problem(StatusCode::FORBIDDEN, "foreign_origin", "changes can't be made from another site");
    }
    let length = text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "at most 64 KiB");
    }
    next.run(request).await
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `origin` is the site that `host` is. `null` is what sandboxed pages send: another site.
fn is_same(origin: Option<&str>, host: &str) -> bool {
    let site = origin.and_then(|origin| origin.strip_prefix("http://").or(origin.strip_prefix("https://")));
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_can_not_be_an_attackers_are_our_own() {
        let names = OwnNames(vec!["order-service".into()]);
        for host in ["127.0.0.1:15000", "127.0.0.1", "[::1]:15000", "[::1]", "LocalHost:9", "order-service"] {
            assert!(names.have(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:15000", "localhost.evil.example", "127.0.0.1.nip.io", "[::1"]
        {
            assert!(!names.have(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_same_with_its_port_alone() {
        assert!(is_same(Some("http://localhost:15000"), "localhost:15000"));
        assert!(!is_same(Some("http://localhost:8080"), "localhost:15000"));
        assert!(!is_same(Some("null"), "localhost:15000"));
        assert!(!is_same(None, "localhost:15000"));
    }
}
