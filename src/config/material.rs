//! Certificates and keys, from files to values that are known to be good.
//!
//! In: paths as the YAML has them. Out: parsed certificates, trusted roots, a key that fits its
//! certificate; or one clause that says what is wrong. Never repeats a byte of a key.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Most bytes of one PEM file. The roots of a whole operating system take 250 KiB.
const PEM_BYTES_MAX: usize = 1024 * 1024;

/// The file that `text` means in the YAML file called `yaml`: relative paths begin at its folder.
pub(super) fn resolve(yaml: &str, text: &str) -> PathBuf {
    Path::new(yaml).parent().unwrap_or(Path::new("")).join(text)
}

/// The bytes of a file.
///
/// # Errors
/// A clause such as `no such file`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| {
        let absent = error.kind() == std::io::ErrorKind::NotFound;
        if absent { "no such file".to_owned() } else { format!("an unreadable file ({error})") }
    };
    // Opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err("no ordinary file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    // One byte past the bound is enough to see that it is passed.
    file.take(PEM_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() > PEM_BYTES_MAX { Err("a file of more than 1 MiB".to_owned()) } else { Ok(bytes) }
}

/// All certificates of a PEM file; at least one.
///
/// # Errors
/// A clause that says why there are none.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("a file without a certificate".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("broken PEM".to_owned()),
    }
}

/// The certificates as what is trusted.
///
/// # Errors
/// A clause, when one of them is no certificate.
pub(super) fn roots(certificates: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate that cannot be read ({error})"))?;
    }
    Ok(Arc::new(roots))
}

/// The private key of a PEM file.
///
/// # Errors
/// A clause that says why there is none.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let none = matches!(error, pem::Error::NoItemsFound);
        if none { "a file without a private key that is not encrypted" } else { "broken PEM" }.to_owned()
    })
}

/// What is wrong with a certificate and key that should belong together.
pub(super) enum Misfit {
    /// The key is of no kind that is understood.
    Key,
    /// The certificate cannot be read.
    Certificate,
    /// Each is good, and they are not of one another.
    Pair,
}

/// A certificate chain with its key.
///
/// # Errors
/// What does not fit.
pub(super) fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, Misfit> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|_| Misfit::Key)?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(Arc::new(identity)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Misfit::Pair),
        Err(_) => Err(Misfit::Certificate),
    }
}

/// The soonest `notAfter` of the certificates, as Unix time in seconds.
///
/// # Errors
/// A clause, when one of them cannot be read.
pub(super) fn not_after(certificates: &[CertificateDer<'static>]) -> Result<i64, String> {
    let times: Result<Vec<i64>, String> = certificates
        .iter()
        .map(|certificate| {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
                .map_err(|_| "a certificate that cannot be read".to_owned())?;
            Ok(parsed.validity().not_after.timestamp())
        })
        .collect();
    Ok(times?.into_iter().min().unwrap_or(i64::MAX))
}
