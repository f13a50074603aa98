//! The certificate that a server of ours shows.
//!
//! In: paths of PEM files. Out: a certificate chain with its key, which fit together, or one sentence that
//! says what is wrong. Never repeats a byte of a key.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::material::{self, Misfit};

/// A certificate chain with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Both, as they are shown.
    pub certified: Arc<CertifiedKey>,
    /// The soonest `notAfter` in the chain (RFC 5280 section 4.1.2.5), as Unix time in seconds.
    pub not_after: i64,
}

/// The certificates of a PEM file, as what is trusted.
///
/// # Errors
/// A sentence with the file in it.
pub fn roots(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let certificates = material::read(path).and_then(|text| material::certificates(&text));
    let roots = certificates.and_then(|certificates| material::roots(&certificates));
    roots.map_err(|clause| format!("{}: {clause}", path.display()))
}

// === impl Identity ===

impl Identity {
    /// Reads both files, which are the operator's: an encrypted key is none.
    ///
    /// # Errors
    /// A sentence with the file in it.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, String> {
        let of = |path: &Path, clause: &str| format!("{}: {clause}", path.display());
        let chain = material::read(cert).and_then(|text| material::certificates(&text));
        let chain = chain.map_err(|clause| of(cert, &clause))?;
        let not_after = material::not_after(&chain).map_err(|clause| of(cert, &clause))?;
        let private = material::read(key).and_then(|text| material::key(&text));
        let private = private.map_err(|clause| of(key, &clause))?;
        let certified = material::identity(chain, private).map_err(|misfit| match misfit {
            Misfit::Key => of(key, "a key of a kind that is not understood"),
            Misfit::Certificate => of(cert, "a certificate that cannot be read"),
            Misfit::Pair => of(key, &format!("the key of another certificate than {}", cert.display())),
        })?;
        Ok(Self { certified, not_after })
    }

    /// How long it is valid from `now` on; zero when it has expired.
    pub fn left(&self, now: SystemTime) -> Duration {
        let expiry = u64::try_from(self.not_after).unwrap_or_default();
        (SystemTime::UNIX_EPOCH + Duration::from_secs(expiry)).duration_since(now).unwrap_or_default()
    }
}
