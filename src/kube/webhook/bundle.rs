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

/// Most authorities of ours in one bundle: replicas, those they replace, and those that crashed. Those
/// that were added first go first. A replica whose own is gone puts it back when it next looks, at the
/// end, and as many others must come before it goes again.
const AUTHORITIES_MAX: usize = 32;

/// One certificate of a bundle.
struct Entry {
    pem: String,
    /// Whether a webhook of ours made it.
    ours: bool,
    /// When it ends, as Unix time in seconds.
    ends: i64,
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
    entries.retain(|entry| !entry.ours || entry.ends > now);
    let ours = entries.iter().filter(|entry| entry.ours).count();
    for _ in AUTHORITIES_MAX..=ours {
        if let Some(first) = entries.iter().position(|entry| entry.ours) {
            entries.remove(first);
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
        let ends = certificate.validity().not_after.timestamp();
        found.push(Entry { pem, ours, ends });
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
    fn a_replica_that_lives_is_not_put_out_again_and_again_by_one_that_crashes() {
        let live = authority(1000, 60);
        let mut bundle = with("", &live, now()).unwrap();
        let mut put_back = 0;
        for number in 0..70 {
            // Each crash is of a later, longer life: the one that lives is the oldest of all.
            bundle = with(&bundle, &authority(number, 3600 + number), now()).unwrap();
            if let Some(more) = with(&bundle, &live, now()) {
                (bundle, put_back) = (more, put_back + 1);
            }
        }
        assert_eq!(put_back, 2, "once in {AUTHORITIES_MAX} crashes, and never twice in a row");
        assert_eq!(with(&bundle, &live, now()), None, "it is there");
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
