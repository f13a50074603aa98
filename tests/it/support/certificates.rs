//! Certificates of every kind, made for one test.
//!
//! In: names and what should be wrong. Out: PEM texts, and what a server of rustls is made of.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::Mesh;

/// Who issues certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A folder of PEM files, which the proxy is told of.
#[derive(Debug)]
pub(crate) struct PemFolder(TempDir);

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "An authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name or address.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.issue_with(name, |_| {})
    }

    /// The same with something else about it.
    pub(crate) fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// A certificate that has expired.
    pub(crate) fn issue_expired(&self, name: &str) -> Pair {
        self.issue_with(name, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    /// A certificate whose time has not come.
    pub(crate) fn issue_early(&self, name: &str) -> Pair {
        self.issue_with(name, |params| {
            params.not_before = date_time_ymd(4000, 1, 1);
            params.not_after = date_time_ymd(4001, 1, 1);
        })
    }

    /// The store of someone who trusts this authority.
    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        Arc::new(roots)
    }
}

// === impl Pair ===

impl Pair {
    /// The certificate as it is sent.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("our own PEM")
    }

    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("our own PEM")
    }

    /// A server with this certificate that speaks HTTP/1.1.
    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(&PROVIDER, None)
    }

    /// A server that wants a client certificate of this authority.
    pub(crate) fn server_for_clients_of(&self, authority: &Authority) -> ServerConfig {
        self.server_with(&PROVIDER, Some(authority))
    }

    /// A server that knows no key exchange but a hybrid one.
    pub(crate) fn server_of_the_future(&self) -> ServerConfig {
        let kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
        let provider = Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() });
        self.server_with(&provider, None)
    }

    fn server_with(&self, provider: &Arc<CryptoProvider>, clients_of: Option<&Authority>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .expect("usual versions");
        let builder = match clients_of {
            Some(authority) => {
                let roots = authority.roots();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&PROVIDER));
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(vec![self.der()], self.key_der()).expect("a pair");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

// === impl PemFolder ===

impl PemFolder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("writing a file");
    }

    /// The text with `PEM/` made this folder.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("PEM/", &format!("{}/", self.0.path().display()))
    }

    /// A mesh with the service `shop` at these endpoints; one worker, so that sessions are counted.
    pub(crate) fn shop(&self, endpoints: &[SocketAddr], lines: &str) -> Mesh {
        Mesh::new().top("workers: 1").service("shop", endpoints, &self.fill(lines))
    }
}
