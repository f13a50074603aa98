//! What was wrong with a TLS handshake, in words for an operator.
//!
//! In: an error of the library or of the socket. Out: one of a few kinds, each with a clause. The
//! library's own words are for people who know its sources.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// What was wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The service's certificate has expired.
    Expired,
    /// Its validity has not begun.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// No trusted certificate has issued it.
    UnknownIssuer,
    /// It was revoked, has a broken signature, or is not for servers.
    BadCertificate,
    /// The service does not trust our certificate, or asks for one that it does not get.
    ClientCertificate,
    /// No version, cipher, key exchange or signature that both know.
    NothingShared,
    /// Nothing of what was offered by ALPN is spoken there.
    NoAlpn,
    /// The service does not know the name we asked for.
    NameRefused,
    /// What came is not TLS.
    NotTls,
    /// The service hung up inside the handshake.
    HungUp,
    /// The service gave up for a reason of its own, or broke the rules.
    Broken,
}

// === impl TlsFault ===

impl TlsFault {
    /// What an error of the handshake means.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => of_library(error),
            None => Self::HungUp,
        }
    }

    /// One clause; `name` is what the certificate should have been for.
    pub fn clause(self, name: &str) -> String {
        let plain = match self {
            Self::Expired => "its certificate has expired",
            Self::NotYetValid => "its certificate is not yet valid",
            Self::WrongName => return format!("its certificate is not for {name}"),
            Self::UnknownIssuer => "its certificate was issued by nobody we trust",
            Self::BadCertificate => "its certificate is not good for this use",
            Self::ClientCertificate => "it does not accept our certificate, or wants one",
            Self::NothingShared => "no version, cipher or key exchange in common",
            Self::NoAlpn => "no protocol in common (ALPN)",
            Self::NameRefused => return format!("it does not know the name {name}"),
            Self::NotTls => "it does not speak TLS",
            Self::HungUp => "it hung up",
            Self::Broken => "it broke off",
        };
        plain.to_owned()
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library adds errors in patch versions")]
fn of_library(error: &Error) -> TlsFault {
    match error {
        Error::InvalidCertificate(certificate) => of_certificate(certificate),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(_) => TlsFault::NothingShared,
        Error::NoApplicationProtocol => TlsFault::NoAlpn,
        Error::NoCertificatesPresented => TlsFault::BadCertificate,
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerSentOversizedRecord => {
            TlsFault::NotTls
        }
        _ => TlsFault::Broken,
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library adds errors in patch versions")]
fn of_certificate(error: &CertificateError) -> TlsFault {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::WrongName
        }
        // A signature that does not fit a root of the same name: a certificate authority made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
        _ => TlsFault::BadCertificate,
    }
}

/// What the service told us before it ended the handshake (RFC 8446 section 6.2).
#[allow(clippy::wildcard_enum_match_arm, reason = "alerts are numbers, of which any may come")]
fn of_alert(alert: AlertDescription) -> TlsFault {
    match alert {
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => TlsFault::NothingShared,
        AlertDescription::NoApplicationProtocol => TlsFault::NoAlpn,
        AlertDescription::UnrecognisedName => TlsFault::NameRefused,
        AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateRequired => TlsFault::ClientCertificate,
        _ => TlsFault::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: Error) -> TlsFault {
        TlsFault::of(&io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn each_kind_of_badness_is_told_from_the_others() {
        let certificate = |error| of(Error::InvalidCertificate(error));
        assert_eq!(certificate(CertificateError::Expired), TlsFault::Expired);
        assert_eq!(certificate(CertificateError::NotValidYet), TlsFault::NotYetValid);
        assert_eq!(certificate(CertificateError::UnknownIssuer), TlsFault::UnknownIssuer);
        assert_eq!(certificate(CertificateError::Revoked), TlsFault::BadCertificate);
        let alert = |alert| of(Error::AlertReceived(alert));
        assert_eq!(alert(AlertDescription::CertificateRequired), TlsFault::ClientCertificate);
        assert_eq!(alert(AlertDescription::ProtocolVersion), TlsFault::NothingShared);
        assert_eq!(alert(AlertDescription::NoApplicationProtocol), TlsFault::NoAlpn);
        assert_eq!(alert(AlertDescription::Unknown(200)), TlsFault::Broken);
        assert_eq!(TlsFault::of(&io::ErrorKind::ConnectionReset.into()), TlsFault::HungUp);
    }

    #[test]
    fn a_wrong_name_is_named() {
        assert_eq!(TlsFault::WrongName.clause("pay.example"), "its certificate is not for pay.example");
    }
}
