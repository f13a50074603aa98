//! TLS towards one service, as one worker speaks it.
//!
//! In: the checked settings with their certificates, and a connected socket. Out: the same socket with
//! TLS around it, or what was wrong. Sessions are kept and resumed per worker, so that no worker waits
//! for a lock of another.

mod fault;
mod roots;

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Alpn, Protocol, Tls};

pub use fault::TlsFault;
pub use roots::system_roots;

/// Sessions kept for one service and worker. A server sends two with each full handshake, and each
/// resumes one connection.
const SESSIONS_MAX: usize = 32;

/// What is done with the connection, which decides what is offered inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Calls, in whatever the service chooses of what its settings allow.
    Calls,
    /// Calls in HTTP/1.1 alone: an upgrade, or a caller that can do no other.
    Http1,
    /// Calls in HTTP/2 alone: a caller that can do no other.
    Http2,
    /// Bytes that nobody reads: nothing, unless the service is opaque and its settings say what.
    Bytes,
    /// TLS that the application speaks itself: none of ours is put around it.
    Raw,
}

/// The client side of TLS for one service.
pub struct TlsClient {
    settings: Arc<Tls>,
    protocol: Protocol,
    /// `None` should the library refuse its own defaults: every handshake then fails, and nothing goes
    /// out in plain text.
    connector: Option<TlsConnector>,
    /// How the last handshake failed; logged when it changes.
    last: Cell<Option<TlsFault>>,
}

/// aws-lc-rs with its suites, and key exchanges that every server of the last ten years knows. Hybrid ones
/// would make the first message two packets, which old boxes on the way drop.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let kx_groups =
        vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1, aws_lc_rs::kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
});

// === impl TlsClient ===

impl TlsClient {
    /// A client with no session yet.
    pub fn new(settings: &Arc<Tls>, protocol: Protocol) -> Self {
        let connector = client_config(settings).map(|config| TlsConnector::from(Arc::new(config)));
        Self { settings: Arc::clone(settings), protocol, connector: connector.ok(), last: Cell::new(None) }
    }

    /// Whether it was made of these settings, files included.
    pub fn is_of(&self, settings: &Arc<Tls>, protocol: Protocol) -> bool {
        self.settings == *settings && self.protocol == protocol
    }

    /// The settings it was made of.
    pub fn settings(&self) -> &Tls {
        &self.settings
    }

    /// The name that the service's certificate must be for.
    pub fn server_name(&self) -> String {
        self.settings.server_name.to_str().into_owned()
    }

    /// Notes how a handshake ended. `true` when it failed otherwise than the one before it, so that a
    /// service that is down fills no log.
    pub fn note(&self, fault: Option<TlsFault>) -> bool {
        self.last.replace(fault) != fault && fault.is_some()
    }

    /// Shakes hands over `socket`. Cancel-safe: the socket is closed.
    ///
    /// # Errors
    /// What was wrong. A time limit is the caller's part.
    pub(super) async fn handshake(
        &self,
        socket: TcpStream,
        offer: Offer,
    ) -> Result<TlsStream<TcpStream>, TlsFault> {
        let names = self.offered(offer).into_iter().map(|alpn| alpn.name().as_bytes().to_vec()).collect();
        let name = self.settings.server_name.clone();
        let connector = self.connector.as_ref().ok_or(TlsFault::Broken)?;
        connector.with_alpn(names).connect(name, socket).await.map_err(|error| TlsFault::of(&error))
    }

    /// What is offered, the dearest first (RFC 7301).
    fn offered(&self, offer: Offer) -> Vec<Alpn> {
        let configured = || self.settings.alpn.clone();
        match (offer, self.protocol) {
            (Offer::Bytes, Protocol::Opaque) => configured(),
            (Offer::Bytes, Protocol::Auto | Protocol::Http1 | Protocol::Http2) | (Offer::Raw, _) => {
                Vec::new()
            }
            // What the service is said to speak leaves no choice.
            (Offer::Http1, _) | (Offer::Calls, Protocol::Http1) => vec![Alpn::Http11],
            (Offer::Http2, _) | (Offer::Calls, Protocol::Http2) => vec![Alpn::H2],
            (Offer::Calls, Protocol::Auto | Protocol::Opaque) if self.settings.alpn.is_empty() => {
                vec![Alpn::H2, Alpn::Http11]
            }
            (Offer::Calls, Protocol::Auto | Protocol::Opaque) => configured(),
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn client_config(settings: &Tls) -> Result<ClientConfig, rustls::Error> {
    let roots = settings.roots.clone().unwrap_or_else(system_roots);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &settings.identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Ok(config)
}

#[cfg(test)]
mod tests;
