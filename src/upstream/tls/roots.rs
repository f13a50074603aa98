//! The roots that the system trusts.
//!
//! In: what the distribution or the image brings. Out: a store, read once for the process. An image
//! without roots gives an empty one, and each handshake says that the issuer is unknown.

use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;

static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "the system has no root certificates: a service with `tls` and without `ca` can't be reached"
        );
    }
    Arc::new(roots)
});

/// The system's roots. The first caller reads files: let that be the control thread.
pub fn system_roots() -> Arc<RootCertStore> {
    Arc::clone(&ROOTS)
}
