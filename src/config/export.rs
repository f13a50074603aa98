//! Where spans go, and how: the settings of the export.
//!
//! In: `check` alone builds them, from the YAML and, where that is silent, from the `OTEL_*` variables.
//! Out: what the telemetry thread connects with. Headers carry tokens: their values are never printed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

/// Where spans go, and how. Equal values have equal files behind them.
#[derive(Debug, PartialEq, Eq)]
pub struct Export {
    /// The collector.
    pub endpoint: ExportEndpoint,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// Sent with every request.
    pub headers: ExportHeaders,
    /// Whether requests are compressed with gzip.
    pub gzip: bool,
    /// Longest time of one export, further tries included.
    pub timeout: Duration,
    /// What is trusted and shown under `https`.
    pub tls: ExportTls,
    /// Longest time a span waits for others to go with.
    pub delay: Duration,
    /// Most spans of one request, at least 1.
    pub batch_max: usize,
    /// What the spans are of, besides the application's name: names and values.
    pub resource: Vec<(String, String)>,
}

/// The address of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportEndpoint {
    /// Whether TLS is spoken.
    pub https: bool,
    /// Its name or address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where requests of OTLP/HTTP go; begins with `/`.
    pub path: String,
}

/// The two forms of OTLP that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protocol Buffers in POST requests.
    Http,
    /// gRPC.
    Grpc,
}

/// Header fields for a collector, names in lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExportHeaders(pub(super) Vec<(String, String)>);

/// Certificates for the way to a collector.
#[derive(Clone, Default)]
pub struct ExportTls {
    /// The certificates that are trusted; `None` for the system's.
    pub roots: Option<Arc<RootCertStore>>,
    /// The client certificate with its key, which fit together.
    pub identity: Option<Arc<CertifiedKey>>,
    /// A number that differs when the content of a file does.
    pub(super) digest: u64,
}

// === impl ExportEndpoint ===

impl ExportEndpoint {
    /// `host:port`, with brackets around IPv6.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for ExportEndpoint {
    /// As a URL without a path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

// === impl OtlpProtocol ===

impl OtlpProtocol {
    /// The word in the YAML.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

// === impl ExportHeaders ===

impl ExportHeaders {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for ExportHeaders {
    /// Spells the names, and a number that differs when a value does; never a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        let names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
        f.debug_struct("ExportHeaders").field("names", &names).field("digest", &hasher.finish()).finish()
    }
}

// === impl ExportTls ===

impl PartialEq for ExportTls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ExportTls {}

impl fmt::Debug for ExportTls {
    /// Spells the digest; never a certificate, never a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportTls").field("digest", &self.digest).finish_non_exhaustive()
    }
}
