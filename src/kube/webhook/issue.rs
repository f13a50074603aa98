//! A certificate of our own, for clusters without cert-manager.
//!
//! In: the names it is for, and how long. Out: the certificate with its key, and the authority that the API
//! server must trust. The authority's key is forgotten as soon as it has signed, so nothing else can be
//! signed by it; no key ever leaves the process, so two replicas share none: each is trusted by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::config::Identity;

/// How far the clock of an API server may be behind ours.
const SKEW_MAX: Duration = Duration::from_secs(3600);

/// A certificate with its key, and who issued it.
pub(super) struct Issued {
    /// What is shown.
    pub(super) identity: Identity,
    /// The authority's certificate, as PEM.
    pub(super) authority: String,
}

/// Makes a certificate for `names`, good from now on for `lifetime`. `number` sets this authority apart
/// from all others.
///
/// # Errors
/// One clause, should the library refuse.
pub(super) fn issue(names: &[String], lifetime: Duration, number: u64) -> Result<Issued, String> {
    make(names, lifetime, number).map_err(|error| format!("no certificate could be made ({error})"))
}

fn make(names: &[String], lifetime: Duration, number: u64) -> Result<Issued, Box<dyn std::error::Error>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let (begins, ends) = (epoch + now.saturating_sub(SKEW_MAX), epoch + now + lifetime);
    let mut authority = CertificateParams::new(Vec::new())?;
    let name = format!("{} {number:016x}", super::bundle::AUTHORITY);
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (authority.not_before, authority.not_after) = (begins, ends);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "outrigger webhook");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (begins, ends);
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let not_after = i64::try_from((now + lifetime).as_secs())?;
    let identity = Identity { certified: Arc::new(certified), not_after };
    Ok(Issued { identity, authority: authority.pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_for_its_names_and_of_its_authority() {
        let names = ["outrigger-webhook.outrigger.svc".to_owned()];
        let issued = issue(&names, Duration::from_secs(60), 7).unwrap();
        issued.identity.certified.keys_match().unwrap();
        let (_, authority) = x509_parser::pem::parse_x509_pem(issued.authority.as_bytes()).unwrap();
        let authority = authority.parse_x509().unwrap();
        assert_eq!(authority.subject().to_string(), "CN=outrigger webhook authority 0000000000000007");
        assert!(authority.is_ca());
        let der = issued.identity.certified.cert[0].clone();
        let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(leaf.issuer(), authority.subject());
        assert_eq!(leaf.validity().not_after.timestamp(), issued.identity.not_after);
        let of = leaf.subject_alternative_name().unwrap().unwrap();
        assert!(format!("{:?}", of.value.general_names).contains("outrigger-webhook.outrigger.svc"));
    }
}
