//! Short words for the YAML and the requests of most tests: one service called `shop`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::h2_script::Step;
use super::{H2Service, Outrigger, Reply, Upstream};

/// A configuration text, built up. Policies are flow-style YAML lines, one key per line.
#[derive(Debug, Clone)]
pub(crate) struct Mesh {
    top: String,
    services: String,
}

// === impl Mesh ===

impl Mesh {
    /// Listeners on port 0, two workers, no service.
    pub(crate) fn new() -> Self {
        let top = "version: v1\nadmin: {listen: 127.0.0.1:0}\n".to_owned();
        Self { top, services: String::new() }
    }

    /// Adds lines at the top level.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        for line in lines.lines() {
            let _infallible = writeln!(self.top, "{}", line.trim());
        }
        self
    }

    /// Adds a service at these static endpoints, with these lines of its own.
    pub(crate) fn service(self, name: &str, endpoints: &[SocketAddr], lines: &str) -> Self {
        let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
        self.service_raw(name, &format!("endpoints: {{static: [{}]}}\n{lines}", list.join(", ")))
    }

    /// Adds a service with these lines alone.
    pub(crate) fn service_raw(mut self, name: &str, lines: &str) -> Self {
        let _infallible = writeln!(self.services, "  {name}:");
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let _infallible = writeln!(self.services, "    {}", line.trim());
        }
        self
    }

    /// The text.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = self.top.clone();
        if !yaml.contains("workers:") {
            yaml.push_str("workers: 2\n");
        }
        if !yaml.contains("outbound:") {
            yaml.push_str("outbound: {listen: 127.0.0.1:0}\n");
        }
        if !self.services.is_empty() {
            let _infallible = write!(yaml, "services:\n{}", self.services);
        }
        yaml
    }

    /// A proxy with this configuration.
    pub(crate) async fn start(&self) -> Outrigger {
        Outrigger::start(&self.yaml()).await
    }
}

/// A service `shop` that follows `script`, and a proxy with `policy` for it.
pub(crate) async fn shop(policy: &str, script: impl IntoIterator<Item = Reply>) -> (Upstream, Outrigger) {
    shop_with("", policy, script).await
}

/// The same with lines at the top level.
pub(crate) async fn shop_with(
    top: &str,
    policy: &str,
    script: impl IntoIterator<Item = Reply>,
) -> (Upstream, Outrigger) {
    let upstream = Upstream::script(script);
    let proxy = Mesh::new().top(top).service("shop", &[upstream.addr()], policy).start().await;
    (upstream, proxy)
}

/// An HTTP/2 service `shop` that follows `script`, and a proxy with `policy` for it.
pub(crate) async fn h2_shop(
    policy: &str,
    script: impl IntoIterator<Item = Vec<Step>>,
) -> (H2Service, Outrigger) {
    h2_shop_with("", policy, script).await
}

/// The same with lines at the top level.
pub(crate) async fn h2_shop_with(
    top: &str,
    policy: &str,
    script: impl IntoIterator<Item = Vec<Step>>,
) -> (H2Service, Outrigger) {
    let service = H2Service::script(script);
    let proxy = Mesh::new().top(top).service("shop", &[service.addr()], policy).start().await;
    (service, proxy)
}

/// `GET path` for `shop`.
pub(crate) fn get(path: &str) -> String {
    request("GET", path, &[])
}

/// A bodiless request for `shop` with these header lines.
pub(crate) fn request(method: &str, path: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: shop\r\n{fields}\r\n")
}

/// `POST path` for `shop` with these header lines and this body, by length.
pub(crate) fn post(path: &str, fields: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let fields: Vec<&str> = fields.iter().copied().chain([length.as_str()]).collect();
    request("POST", path, &fields) + body
}
