//! Certificates that expire, said while there is time.
//!
//! In: the configuration in force, at start, at each reload and once a day. Out: a warning for each file
//! of certificates that is about to expire. Changes nothing: what has expired is used until the services
//! refuse it, for their clocks decide and not ours.

use std::time::{Duration, SystemTime};

use crate::config::{Certificate, Config};
use crate::upstream::system_roots;

/// How often the certificates in force are looked through: a day.
pub(super) const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// A certificate with less left is warned of: time for two weekends and a person to act. What is renewed
/// by a machine is renewed before, for a third of even 90 days is more.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Reads the system's roots if a service trusts them, so that no worker has to.
pub(super) fn prepare(config: &Config) {
    if config.services.iter().any(|service| service.tls.as_ref().is_some_and(|tls| tls.roots.is_none())) {
        system_roots();
    }
}

/// Warns of what expires soon or has expired.
pub(super) fn warn(config: &Config) {
    let now = SystemTime::now();
    for service in &config.services {
        for certificate in service.tls.iter().flat_map(|tls| &tls.certificates) {
            if let Some(warning) = warning(certificate, now) {
                tracing::warn!("service {}: {warning}", service.name);
            }
        }
    }
}

fn warning(certificate: &Certificate, now: SystemTime) -> Option<String> {
    let (key, left) = (certificate.of.key(), certificate.left(now));
    if left.is_zero() {
        return Some(format!("a certificate of {key} has expired"));
    }
    let hours = left.as_secs() / 3600;
    (left < EXPIRES_SOON)
        .then(|| format!("a certificate of {key} expires in {} days and {} hours", hours / 24, hours % 24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CertificateUse;

    #[test]
    fn two_weeks_before_the_end_it_is_told() {
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 3600);
        let certificate = Certificate { of: CertificateUse::Client, not_after: 100 * 24 * 3600 };
        assert_eq!(warning(&certificate, at(86)), None);
        let told = warning(&certificate, at(97) + Duration::from_secs(3600));
        assert_eq!(told.as_deref(), Some("a certificate of tls.cert expires in 2 days and 23 hours"));
        assert_eq!(warning(&certificate, at(100)).as_deref(), Some("a certificate of tls.cert has expired"));
        let old = Certificate { not_after: -5, ..certificate };
        assert_eq!(warning(&old, at(0)).as_deref(), Some("a certificate of tls.cert has expired"));
    }
}
