//! What the webhook says of itself: whether it is ready, and its counts.
//!
//! In: what the other parts note. Out: a reason why not, and a page of metrics. It also holds the
//! certificate in force, which every handshake asks for: a new one is shown from the next handshake
//! on, and no connection ends for it.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Identity;

/// What is counted. The names of the metrics are here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// A review: the sidecar was put in.
    Injected,
    /// A review: the pod has the sidecar.
    Already,
    /// A review: the pod can't be injected.
    Skipped,
    /// A review of something else than the making of a pod.
    Ignored,
    /// A request that is no review that we understand.
    Refused,
    /// A certificate was taken into force.
    CertificateApplied,
    /// New certificate files that are no good.
    CertificateRejected,
    /// Our authority was put into the configuration object.
    TrustUpdated,
    /// The configuration object could not be read or changed.
    TrustFailed,
    /// The API server told of a namespace.
    NamespaceFound,
    /// The API server did not tell of a namespace in time, or would not.
    NamespaceFailed,
    /// A connection that ended in its TLS handshake.
    HandshakeFailed,
}

/// What the webhook says of itself.
#[derive(Debug)]
pub(super) struct State {
    identity: ArcSwapOption<Identity>,
    /// Why there is no certificate, until there is one.
    no_certificate: Mutex<String>,
    /// Why the API server does not trust the one in force.
    untrusted: Mutex<Option<String>>,
    ending: AtomicBool,
    counts: [AtomicU64; Count::ALL.len()],
}

// === impl Count ===

impl Count {
    /// Every count, those of one metric together.
    const ALL: [Self; 12] = [
        Self::Injected,
        Self::Already,
        Self::Skipped,
        Self::Ignored,
        Self::Refused,
        Self::CertificateApplied,
        Self::CertificateRejected,
        Self::TrustUpdated,
        Self::TrustFailed,
        Self::NamespaceFound,
        Self::NamespaceFailed,
        Self::HandshakeFailed,
    ];

    /// The metric without `_total`, its help, and the value of its label `result`.
    const fn named(self) -> (&'static str, &'static str, &'static str) {
        const REVIEWS: (&str, &str) = ("outrigger_webhook_reviews", "Reviews that were answered, by result");
        const LOADS: (&str, &str) = ("outrigger_webhook_certificate_loads", "Certificates read or made");
        const TRUST: (&str, &str) =
            ("outrigger_webhook_trust_updates", "Changes of caBundle in the configuration object");
        const LOOKUPS: (&str, &str) = ("outrigger_webhook_namespace_lookups", "Namespaces asked for");
        const HANDSHAKES: (&str, &str) = ("outrigger_webhook_handshakes", "TLS handshakes that failed");
        let ((name, help), result) = match self {
            Self::Injected => (REVIEWS, "injected"),
            Self::Already => (REVIEWS, "already"),
            Self::Skipped => (REVIEWS, "skipped"),
            Self::Ignored => (REVIEWS, "ignored"),
            Self::Refused => (REVIEWS, "refused"),
            Self::CertificateApplied => (LOADS, "applied"),
            Self::CertificateRejected => (LOADS, "rejected"),
            Self::TrustUpdated => (TRUST, "applied"),
            Self::TrustFailed => (TRUST, "failed"),
            Self::NamespaceFound => (LOOKUPS, "found"),
            Self::NamespaceFailed => (LOOKUPS, "failed"),
            Self::HandshakeFailed => (HANDSHAKES, "failed"),
        };
        (name, help, result)
    }
}

// === impl State ===

impl State {
    /// Nothing yet. With `untrusted` it is not ready before [`State::trust`] says so.
    pub(super) fn new(untrusted: Option<String>) -> Self {
        Self {
            identity: ArcSwapOption::empty(),
            no_certificate: Mutex::new("no certificate was read yet".to_owned()),
            untrusted: Mutex::new(untrusted),
            ending: AtomicBool::new(false),
            counts: [const { AtomicU64::new(0) }; Count::ALL.len()],
        }
    }

    /// Counts one more.
    pub(super) fn count(&self, count: Count) {
        if let Some(cell) = self.counts.get(count as usize) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shows this certificate from now on.
    pub(super) fn show(&self, identity: Identity) {
        self.identity.store(Some(Arc::new(identity)));
        self.count(Count::CertificateApplied);
    }

    /// The certificate in force.
    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// Notes why a certificate was not taken. Out: whether one is in force all the same.
    pub(super) fn reject(&self, reason: &str) -> bool {
        self.count(Count::CertificateRejected);
        reason.clone_into(&mut locked(&self.no_certificate));
        self.identity.load().is_some()
    }

    /// Notes whether the API server trusts the certificate in force.
    pub(super) fn trust(&self, untrusted: Option<String>) {
        *locked(&self.untrusted) = untrusted;
    }

    /// No more reviews are wanted.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether the process is ending.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Whether reviews are wanted, or the reason why not.
    pub(super) fn readiness(&self, now: SystemTime) -> Result<(), String> {
        if self.is_ending() {
            return Err("ending".to_owned());
        }
        match self.identity() {
            None => return Err(format!("no certificate: {}", locked(&self.no_certificate))),
            Some(identity) if identity.left(now).is_zero() => {
                return Err("the certificate has expired".to_owned());
            }
            Some(_) => {}
        }
        match &*locked(&self.untrusted) {
            Some(reason) => Err(format!("the API server does not trust our certificate yet: {reason}")),
            None => Ok(()),
        }
    }

    /// The page of metrics, as Prometheus text 0.0.4.
    pub(super) fn metrics(&self, now: SystemTime) -> String {
        let mut page = String::new();
        let mut family = "";
        for (count, cell) in Count::ALL.into_iter().zip(&self.counts) {
            let (name, help, result) = count.named();
            // Writing to a string cannot fail.
            if name != family {
                let _ = write!(page, "# HELP {name}_total {help}.\n# TYPE {name}_total counter\n");
                family = name;
            }
            let value = cell.load(Ordering::Relaxed);
            let _ = writeln!(page, "{name}_total{{result=\"{result}\"}} {value}");
        }
        let mut gauge = |name: &str, help: &str, value: i64| {
            let _ = write!(page, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n");
        };
        if let Some(identity) = self.identity() {
            gauge(
                "outrigger_webhook_certificate_expiry_timestamp_seconds",
                "When the certificate in force expires",
                identity.not_after,
            );
        }
        gauge(
            "outrigger_webhook_ready",
            "Whether reviews are wanted",
            i64::from(self.readiness(now).is_ok()),
        );
        page
    }
}

impl ResolvesServerCert for State {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.identity.load().as_ref().map(|identity| Arc::clone(&identity.certified))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::issue::issue;
    use super::*;

    fn identity(lifetime: u64) -> Identity {
        issue(&["a.b.svc".to_owned()], Duration::from_secs(lifetime), 1).unwrap().identity
    }

    #[test]
    fn it_is_ready_when_its_certificate_is_good_and_trusted() {
        let (state, now) = (State::new(Some("it was not asked".to_owned())), SystemTime::now());
        assert_eq!(state.readiness(now).unwrap_err(), "no certificate: no certificate was read yet");
        assert!(!state.reject("a.pem: no such file"));
        assert_eq!(state.readiness(now).unwrap_err(), "no certificate: a.pem: no such file");
        state.show(identity(60));
        assert!(state.readiness(now).unwrap_err().ends_with("yet: it was not asked"));
        state.trust(None);
        assert_eq!(state.readiness(now), Ok(()));
        assert!(state.reject("a.pem: broken PEM"), "the old one stays");
        assert_eq!(state.readiness(now), Ok(()));
        let later = now + Duration::from_secs(61);
        assert_eq!(state.readiness(later).unwrap_err(), "the certificate has expired");
        state.end();
        assert_eq!(state.readiness(now).unwrap_err(), "ending");
    }

    #[test]
    fn every_count_is_on_the_page_under_its_own_place() {
        let state = State::new(None);
        for (times, count) in Count::ALL.into_iter().enumerate() {
            assert_eq!(count as usize, times);
            (0..=times).for_each(|_| state.count(count));
        }
        let page = state.metrics(SystemTime::now());
        assert!(page.contains("outrigger_webhook_reviews_total{result=\"injected\"} 1\n"), "{page}");
        assert!(page.contains("outrigger_webhook_handshakes_total{result=\"failed\"} 12\n"), "{page}");
        assert!(page.contains("\noutrigger_webhook_ready 0\n"), "{page}");
        assert_eq!(page.matches("# TYPE").count(), 6);
    }
}
