//! `services.*.tls`: files are read, and found to fit together.
//!
//! In: the keys of the block, and what else the service says. Out: a [`Tls`] with the certificates and
//! keys inside, or problems. A bad pair is refused here, so a reload with one changes nothing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;

use super::value::want_form;
use super::{Checker, Leaf, found};
use crate::config::keys::Kind;
use crate::config::material::{self, Misfit};
use crate::config::raw::{Place, Shape};
use crate::config::{Alpn, Certificate, CertificateUse, Endpoints, HostPattern, Protocol, Tls};

/// What is known of the block while its keys are read.
#[derive(Default)]
pub(super) struct Draft {
    /// The block's own key; `None` without one, or when it is off.
    block: Option<Place>,
    ca: Option<PemFile>,
    cert: Option<PemFile>,
    key: Option<PemFile>,
    server_name: Option<ServerName<'static>>,
    alpn: Option<(Vec<Alpn>, Place)>,
}

/// A file that a key names.
pub(super) struct PemFile {
    /// Where the key stands.
    at: String,
    /// Where the path stands.
    place: Place,
    /// The path as it is written.
    written: String,
    /// What is in it; `None` when it could not be read, which is told already.
    pub(super) bytes: Option<Vec<u8>>,
}

/// What else the service says.
pub(super) struct Surroundings<'s> {
    pub(super) at: &'s str,
    pub(super) protocol: Protocol,
    pub(super) endpoints: Option<&'s Endpoints>,
    pub(super) hosts: &'s [(HostPattern, Place)],
}

// === impl Draft ===

impl Draft {
    /// Where the block stands, if it is on.
    pub(super) const fn block(&self) -> Option<Place> {
        self.block
    }
}

// === impl Checker ===

impl Checker<'_> {
    /// Reads one key of the block.
    pub(super) fn tls_key(&mut self, leaf: &Leaf<'_>, draft: &mut Draft) {
        match leaf.key.path {
            "tls" => draft.block = (!super::value::is_off(leaf.node)).then_some(leaf.place),
            "tls.ca" => draft.ca = self.pem_file(leaf),
            "tls.cert" => draft.cert = self.pem_file(leaf),
            "tls.key" => draft.key = self.pem_file(leaf),
            "tls.serverName" => draft.server_name = self.server_name(leaf),
            _ => draft.alpn = self.alpn(leaf),
        }
    }

    pub(super) fn pem_file(&mut self, leaf: &Leaf<'_>) -> Option<PemFile> {
        let place = leaf.node.place;
        let Some(written) = leaf.node.text().filter(|text| !text.is_empty() && !text.contains('\0')) else {
            self.problem(place, &leaf.at, found(leaf.node), want_form(Kind::PemFile));
            return None;
        };
        let yaml = self.files.get(usize::from(place.file)).map_or("", String::as_str);
        let path = material::resolve(yaml, written);
        let file = PemFile { at: leaf.at.clone(), place, written: written.to_owned(), bytes: None };
        Some(self.filled(file, &path))
    }

    /// The file that a variable names, from the folder the process was started in.
    pub(super) fn file_of_variable(&mut self, name: &str, path: &str) -> PemFile {
        let file = PemFile { at: name.to_owned(), place: Place::NONE, written: path.to_owned(), bytes: None };
        self.filled(file, Path::new(path))
    }

    fn filled(&mut self, mut file: PemFile, path: &Path) -> PemFile {
        match material::read(path) {
            Ok(bytes) => file.bytes = Some(bytes),
            Err(clause) => self.bad_file(&file, &clause, want_form(Kind::PemFile)),
        }
        file
    }

    fn bad_file(&mut self, file: &PemFile, clause: &str, want: impl Into<String>) {
        let found = format!("{}: {clause}", super::shorten(&file.written));
        self.problem(file.place, &file.at, found, want);
    }

    fn server_name(&mut self, leaf: &Leaf<'_>) -> Option<ServerName<'static>> {
        let text = leaf.node.text().unwrap_or_default();
        let name = ServerName::try_from(text.to_owned()).ok();
        if name.is_none() {
            let want = "a DNS name or an IP, without a port";
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want);
        }
        name
    }

    fn alpn(&mut self, leaf: &Leaf<'_>) -> Option<(Vec<Alpn>, Place)> {
        let want = || want_form(leaf.key.kind);
        let items = match &leaf.node.shape {
            Shape::List(items) if !items.is_empty() => items,
            Shape::List(_) | Shape::Scalar { .. } | Shape::Map(_) => {
                self.problem(leaf.node.place, &leaf.at, found(leaf.node), want());
                return None;
            }
        };
        let mut offered = Vec::new();
        for item in items {
            match Alpn::parse(item.text().unwrap_or_default().as_bytes()) {
                Some(alpn) if offered.contains(&alpn) => {}
                Some(alpn) => offered.push(alpn),
                None => self.problem(item.place, &leaf.at, found(item), want()),
            }
        }
        Some((offered, leaf.node.place))
    }

    /// The block as a whole. `None` without one, and when there are problems.
    pub(super) fn tls(&mut self, draft: Draft, around: &Surroundings<'_>) -> Option<Tls> {
        let block = draft.block?;
        let problems_before = self.problems.len();
        let mut certificates = Vec::new();
        let roots = draft.ca.as_ref().and_then(|file| self.trusted(file)).map(|(roots, expiry)| {
            certificates.push(expiry);
            roots
        });
        let shown = self.shown(draft.cert.as_ref(), draft.key.as_ref());
        let identity = shown.map(|(identity, expiry)| {
            certificates.push(expiry);
            identity
        });
        self.lint_alpn(draft.alpn.as_ref(), around);
        let server_name = match draft.server_name.clone() {
            Some(name) => Some(name),
            None => self.default_server_name(block, around),
        };
        if self.problems.len() > problems_before {
            return None;
        }
        let digest = digest(&draft, server_name.as_ref());
        let alpn = draft.alpn.map(|(offered, _)| offered).unwrap_or_default();
        Some(Tls { roots, server_name: server_name?, identity, alpn, certificates, digest })
    }

    /// What a `ca` trusts.
    pub(super) fn trusted(&mut self, file: &PemFile) -> Option<(Arc<RootCertStore>, Certificate)> {
        let (found, expiry) = self.certificates(file, CertificateUse::Ca)?;
        let roots = material::roots(&found);
        let roots = roots.map_err(|clause| self.bad_file(file, &clause, CERTIFICATES_WANT)).ok()?;
        Some((roots, expiry))
    }

    /// What a `cert` shows, with its `key`. `None` without both, and when there are problems.
    pub(super) fn shown(
        &mut self,
        cert: Option<&PemFile>,
        key: Option<&PemFile>,
    ) -> Option<(Arc<CertifiedKey>, Certificate)> {
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let chain = self.certificates(cert, CertificateUse::Client);
                let key_read = self.private_key(key);
                let ((chain, expiry), key_read) = chain.zip(key_read)?;
                Some((self.identity(cert, key, chain, key_read)?, expiry))
            }
            (Some(file), None) | (None, Some(file)) => {
                let (has, lacks) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                let found = format!("`{has}` without `{lacks}`");
                self.problem(file.place, &file.at, found, "both `cert` and `key`, or neither");
                None
            }
            (None, None) => None,
        }
    }

    fn certificates(
        &mut self,
        file: &PemFile,
        of: CertificateUse,
    ) -> Option<(Vec<CertificateDer<'static>>, Certificate)> {
        let read = material::certificates(file.bytes.as_ref()?)
            .and_then(|found| material::not_after(&found).map(|not_after| (found, not_after)));
        match read {
            Ok((found, not_after)) => Some((found, Certificate { of, not_after })),
            Err(clause) => {
                self.bad_file(file, &clause, CERTIFICATES_WANT);
                None
            }
        }
    }

    fn private_key(&mut self, file: &PemFile) -> Option<PrivateKeyDer<'static>> {
        material::key(file.bytes.as_ref()?).map_err(|clause| self.bad_file(file, &clause, KEY_WANT)).ok()
    }

    fn identity(
        &mut self,
        cert: &PemFile,
        key: &PemFile,
        chain: Vec<CertificateDer<'static>>,
        key_read: PrivateKeyDer<'static>,
    ) -> Option<Arc<CertifiedKey>> {
        match material::identity(chain, key_read) {
            Ok(identity) => return Some(identity),
            Err(Misfit::Key) => self.bad_file(key, "a key of a kind that is not understood", KEY_WANT),
            Err(Misfit::Certificate) => {
                self.bad_file(cert, "a certificate that cannot be read", CERTIFICATES_WANT);
            }
            Err(Misfit::Pair) => {
                let want = format!("the key of the certificate in {}", super::shorten(&cert.written));
                self.bad_file(key, "the key of another certificate", want);
            }
        }
        None
    }

    /// What is offered must be what the service is said to speak.
    fn lint_alpn(&mut self, alpn: Option<&(Vec<Alpn>, Place)>, around: &Surroundings<'_>) {
        let spoken = match around.protocol {
            Protocol::Http1 => Alpn::Http11,
            Protocol::Http2 => Alpn::H2,
            Protocol::Auto | Protocol::Opaque => return,
        };
        if let Some((offered, place)) = alpn
            && !offered.is_empty()
            && !offered.contains(&spoken)
        {
            let protocol = if spoken == Alpn::H2 { "http2" } else { "http1" };
            let found = format!("protocol: {protocol} without {} among what is offered", spoken.name());
            let want = format!("{} in the list, or another protocol", spoken.name());
            self.problem(*place, &format!("{}.tls.alpn", around.at), found, want);
        }
    }

    /// The name that the certificate must be for when nobody says: that of the endpoints, else the first
    /// that the application uses.
    fn default_server_name(
        &mut self,
        block: Place,
        around: &Surroundings<'_>,
    ) -> Option<ServerName<'static>> {
        let name = match around.endpoints? {
            Endpoints::Dns { name, .. } => name.clone(),
            Endpoints::Static(_) => around.hosts.first()?.0.name.clone(),
        };
        let parsed = ServerName::try_from(name.clone()).ok();
        if parsed.is_none() {
            let found = format!("the name `{name}`, which no certificate can have");
            self.problem(block, &format!("{}.tls", around.at), found, "tls: {serverName: ...}");
        }
        parsed
    }
}

const CERTIFICATES_WANT: &str = "a PEM file of certificates";
const KEY_WANT: &str = "a PEM file with a private key of RSA, ECDSA or Ed25519";

/// A number for the settings and the content of the files.
fn digest(draft: &Draft, server_name: Option<&ServerName<'static>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in [&draft.ca, &draft.cert, &draft.key] {
        file.as_ref().map(|file| &file.bytes).hash(&mut hasher);
    }
    draft.alpn.as_ref().map(|(offered, _)| offered).hash(&mut hasher);
    server_name.hash(&mut hasher);
    hasher.finish()
}
