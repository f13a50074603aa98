//! The certificate and key in files: read at the start and whenever they change.
//!
//! In: two paths. Out: the certificate in force. cert-manager renews it by swapping the links of a
//! mounted Secret; what does not fit together is refused and the old one stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::config::{Identity, Watcher};

use super::state::State;

/// How often the certificate in force is looked at: a day.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// A certificate with less left is warned of: unless it is made for hours, a machine would have renewed
/// it before.
const EXPIRES_SOON: Duration = Duration::from_secs(24 * 3600);

/// The files.
#[derive(Debug)]
pub(super) struct Files {
    /// The certificate chain, as PEM.
    pub(super) cert: PathBuf,
    /// Its private key, as PEM.
    pub(super) key: PathBuf,
}

// === impl Files ===

impl Files {
    /// Keeps the certificate in force the one in the files; never ends.
    pub(super) async fn follow(self, state: Arc<State>) {
        let mut watcher = Watcher::of_files(vec![self.cert.clone(), self.key.clone()]);
        self.load(&state);
        loop {
            tokio::select! { // Cancel-safe: a change stays a change, a sleep starts anew.
                () = watcher.changed() => self.load(&state),
                () = sleep(WARN_EVERY) => warn(&state),
            }
        }
    }

    fn load(&self, state: &State) {
        match Identity::read(&self.cert, &self.key) {
            Ok(identity) => {
                info!("the certificate of {} is in force", self.cert.display());
                state.show(identity);
                warn(state);
            }
            Err(reason) if state.reject(&reason) => error!("{reason}; the old certificate stays in force"),
            Err(reason) => error!("{reason}; there is no certificate to show, so no review can be answered"),
        }
    }
}

/// Warns of a certificate that expires soon or has.
fn warn(state: &State) {
    let left = state.identity().map(|identity| identity.left(SystemTime::now()));
    match left {
        Some(Duration::ZERO) => warn!("the certificate has expired: API servers refuse it"),
        Some(left) if left < EXPIRES_SOON => {
            warn!("the certificate expires in {} hours", left.as_secs() / 3600);
        }
        Some(_) | None => {}
    }
}
