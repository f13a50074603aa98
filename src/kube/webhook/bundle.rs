//! The authorities that the API server trusts with one webhook: `caBundle`.
//!
//! In: the bundle as it is, and the authority that must be in it. Out: the bundle as it should be, or that it is.
//! Pure. Each replica adds its own authority and takes away what has had its time; authorities that
//! others have put there, by hand or by cert-manager, stay.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::Pem;

/// What the names of our authorities begin with.
pub(super) const AUTHORITY: &str = "outrigger webhook authority";

/// Most authorities of ours in one bundle: replicas, those they replace, and those that crashed. The
/// oldest go first; a replica whose own is gone puts it back within seconds.
const AUTHORITIES_MAX: usize = 32;

/// One certificate of a bundle.
struct Entry {
    pem: String,
    /// Whether a webhook of ours made it.
    ours: bool,
    /// When it begins and ends, as Unix time in seconds.
    valid: (i64, i64),
}

/// The bundle with `authority` in it, both as in the configuration object and as PEM. `None`: it is
/// there already. `now` is Unix time in seconds.
pub(super) fn with(bundle: &str, authority: &str, now: i64) -> Option<String> {
    let text = decoded(bundle);
    let authority = authority.trim();
    if text.contains(authority) {
        return None;
    }
    let mut entries = entries(&text);
    entries.retain(|entry| !entry.ours || entry.valid.1 > now);
    let ours = entries.iter().filter(|entry| entry.ours).count();
    for _ in AUTHORITIES_MAX..=ours {
        let oldest = entries.iter().enumerate().filter(|(_, entry)| entry.ours);
        if let Some((index, _)) = oldest.min_by_key(|(_, entry)| entry.valid) {
            entries.remove(index);
        }
    }
    let kept = entries.iter().map(|entry| entry.pem.trim());
    let text: Vec<&str> = kept.chain([authority]).collect();
    Some(STANDARD.encode(text.join("\n") + "\n"))
}

/// The PEM text; nothing for what is none, which the API server could not use either.
fn decoded(bundle: &str) -> String {
    let bytes = STANDARD.decode(bundle).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    // PEM of other tools may have other line ends.
    text.replace("\r\n", "\n")
}

fn entries(text: &str) -> Vec<Entry> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut found = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let Some((inside, _)) = part.split_once(END) else { continue };
        let pem = format!("{BEGIN}{inside}{END}\n");
        let Some(Ok(block)) = Pem::iter_from_buffer(pem.as_bytes()).next() else { continue };
        let Ok(certificate) = block.parse_x509() else { continue };
        let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let ours = name.is_some_and(|name| name.starts_with(AUTHORITY));
        let validity = certificate.validity();
        let valid = (validity.not_before.timestamp(), validity.not_after.timestamp());
        found.push(Entry { pem, ours, valid });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::issue::issue;
    use super::*;

    fn authority(number: u64, lifetime: u64) -> String {
        issue(&["a.b.svc".to_owned()], Duration::from_secs(lifetime), number).unwrap().authority
    }

    fn foreign() -> String {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn now() -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        i64::try_from(now.unwrap().as_secs()).unwrap()
    }

    fn count(bundle: &str) -> usize {
        decoded(bundle).matches("BEGIN CERTIFICATE").count()
    }

    #[test]
    fn replicas_add_themselves_and_each_stays() {
        let (first, second) = (authority(1, 60), authority(2, 60));
        let one = with("", &first, now()).unwrap();
        let two = with(&one, &second, now()).unwrap();
        assert_eq!(count(&two), 2);
        assert_eq!(with(&two, &first, now()), None);
        assert_eq!(with(&two, &second, now()), None);
        let crlf = STANDARD.encode(decoded(&two).replace('\n', "\r\n"));
        assert_eq!(with(&crlf, &first, now()), None);
    }

    #[test]
    fn what_has_expired_goes_and_what_is_not_ours_stays() {
        let bundle = with(&STANDARD.encode(foreign()), &authority(1, 60), now()).unwrap();
        let later = with(&bundle, &authority(2, 6000), now() + 61).unwrap();
        assert_eq!(count(&later), 2);
        assert!(decoded(&later).contains(&decoded(&STANDARD.encode(foreign()))[..28]));
    }

    #[test]
    fn what_is_no_bundle_is_replaced() {
        for garbage in ["%%%", "bm8gUEVN", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="] {
            assert_eq!(count(&with(garbage, &authority(1, 60), now()).unwrap()), 1);
        }
    }

    #[test]
    fn crashes_without_end_do_not_fill_it() {
        let mut bundle = STANDARD.encode(foreign());
        for number in 0..40 {
            bundle = with(&bundle, &authority(number, 60 + number), now()).unwrap();
        }
        assert_eq!(count(&bundle), AUTHORITIES_MAX + 1);
        assert_eq!(with(&bundle, &authority(99, 60), now() + 1000).map(|text| count(&text)), Some(2));
    }
}
