//! How TLS is spoken to a service, with the certificates and keys themselves.
//!
//! In: `check` alone builds it, from files that were read and found good. Out: what `upstream` makes a
//! client of. The material is part of the value: two configurations that name the same files are
//! different once the files are.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

/// How TLS is spoken to a service. Equal values have equal files behind them.
pub struct Tls {
    /// The certificates that are trusted; `None` for the system's.
    pub roots: Option<Arc<RootCertStore>>,
    /// What the service's certificate must be for.
    pub server_name: ServerName<'static>,
    /// The client certificate with its key, which fit together.
    pub identity: Option<Arc<CertifiedKey>>,
    /// What is offered, the dearest first; empty when the protocol of the service decides.
    pub alpn: Vec<Alpn>,
    /// The certificates of `ca` and `cert` that expire first.
    pub certificates: Vec<Certificate>,
    /// A number that differs when the settings or the content of a file do.
    pub(super) digest: u64,
}

/// What may be negotiated inside TLS (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http11,
}

/// When a file of certificates expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// What the file is for.
    pub of: CertificateUse,
    /// The soonest `notAfter` in it (RFC 5280 section 4.1.2.5), as Unix time in seconds.
    pub not_after: i64,
}

/// What a file of certificates is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateUse {
    /// `tls.ca`: what is trusted.
    Ca,
    /// `tls.cert`: what is shown.
    Client,
}

// === impl Tls ===

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Tls {}

impl fmt::Debug for Tls {
    /// Spells the settings and the digest; never a certificate, never a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("server_name", &self.server_name)
            .field("alpn", &self.alpn)
            .field("certificates", &self.certificates)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

// === impl Alpn ===

impl Alpn {
    /// The name in the YAML and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H2 => "h2",
            Self::Http11 => "http/1.1",
        }
    }

    /// What a name on the wire stands for.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::H2, Self::Http11].into_iter().find(|alpn| alpn.name().as_bytes() == name)
    }
}

// === impl Certificate ===

impl Certificate {
    /// How long it is valid from `now` on; zero when it has expired.
    pub fn left(&self, now: SystemTime) -> Duration {
        let expiry = u64::try_from(self.not_after).unwrap_or_default();
        (SystemTime::UNIX_EPOCH + Duration::from_secs(expiry)).duration_since(now).unwrap_or_default()
    }
}

// === impl CertificateUse ===

impl CertificateUse {
    /// The word in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Client => "client",
        }
    }

    /// The key of the YAML that names the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ca => "tls.ca",
            Self::Client => "tls.cert",
        }
    }
}
