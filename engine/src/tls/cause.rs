//! What a failure of TLS means, in words. The library's own texts are names of its types.

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// What is wrong with the server's certificate, as "its certificate ..".
pub(crate) fn certificate_cause(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::UnknownIssuer => {
            "its certificate is not from an authority that is trusted here (give the right CA file)"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet (is the clock right?)"
        }
        CertificateError::NotValidForName => "its certificate is for another host name",
        CertificateError::NotValidForNameContext { expected, presented } => {
            return format!(
                "its certificate is not for {} but for {}",
                expected.to_str(),
                if presented.is_empty() { "no name at all".to_owned() } else { names(presented) }
            );
        }
        CertificateError::Revoked => "its certificate is revoked",
        CertificateError::BadEncoding => "its certificate is malformed",
        CertificateError::BadSignature => {
            "its certificate is not signed by the authority that it names (was that authority renewed with another key?)"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate may not be used by a server: issue it with the extended key usage serverAuth"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed with an algorithm that is not safe or not supported (SHA-1, MD5, RSA below 2048 bits): issue it with SHA-256 or better"
        }
        CertificateError::UnhandledCriticalExtension => {
            "its certificate has a critical extension that is not supported here"
        }
        CertificateError::Other(other) => other_cause(other),
        // The library may add variants.
        _ => "its certificate is not valid",
    };
    text.to_owned()
}

fn other_cause(error: &OtherError) -> &'static str {
    match webpki_error(error) {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "its certificate is that of an authority (CA:TRUE) and is not itself in the CA file: put this certificate into the CA file, or issue one with CA:FALSE"
        }
        Some(webpki::Error::EndEntityUsedAsCa) => {
            "its certificate was signed by a certificate that is no authority (CA:FALSE)"
        }
        Some(webpki::Error::UnsupportedCertVersion) => {
            "its certificate is of X.509 version 1 or 2, which names no host: issue one of version 3 with a subjectAltName"
        }
        Some(webpki::Error::NameConstraintViolation) => "its authority may not issue certificates for this host name",
        Some(webpki::Error::PathLenConstraintViolated) => {
            "there are more authorities between it and the trusted one than that one allows"
        }
        Some(webpki::Error::UnsupportedCriticalExtension) => {
            "its certificate has a critical extension that is not supported here"
        }
        Some(_) | None => "its certificate, or one of its chain, is malformed or breaks a rule of X.509",
    }
}

/// The failure that rustls has no word of its own for.
pub(super) fn webpki_error(error: &OtherError) -> Option<&webpki::Error> {
    error.0.downcast_ref::<webpki::Error>()
}

/// What any failure of TLS means.
pub(crate) fn cause(error: &Error) -> String {
    let text = match error {
        Error::InvalidCertificate(why) => return certificate_cause(why),
        Error::NoCertificatesPresented => "it has no certificate",
        Error::AlertReceived(alert) => return format!("it ended TLS: {}", alert_words(*alert)),
        Error::InvalidMessage(_) => "what it sends is not TLS",
        Error::PeerIncompatible(_) => {
            "its TLS and ours have no version, cipher suite or algorithm in common (1.2 and 1.3 are spoken here)"
        }
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "it breaks the rules of TLS"
        }
        Error::DecryptError => "what it sends cannot be decrypted",
        Error::PeerSentOversizedRecord => "it sends more in one record than TLS allows",
        // The library may add variants; the others are about our own use of it.
        _ => "TLS failed",
    };
    text.to_owned()
}

/// Why the other side ended TLS.
pub(crate) fn alert_words(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "a certificate is required",
        AlertDescription::BadCertificate => "the certificate is bad",
        AlertDescription::UnsupportedCertificate => "the certificate is of a kind that is not supported",
        AlertDescription::CertificateRevoked => "the certificate is revoked",
        AlertDescription::CertificateExpired => "the certificate has expired",
        AlertDescription::CertificateUnknown => "the certificate is not accepted",
        AlertDescription::UnknownCA => "the certificate's authority is not known",
        AlertDescription::AccessDenied => "access is denied",
        AlertDescription::DecryptError => "the certificate and its key do not fit",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::ProtocolVersion => "the TLS version is not supported",
        AlertDescription::InsufficientSecurity => "stronger algorithms are wanted",
        AlertDescription::UnrecognisedName => "the host name is not known",
        AlertDescription::InternalError => "internal error",
        other => return format!("alert {}", u8::from(other)),
    };
    text.to_owned()
}

/// The names in a certificate come as `DnsName("kafka")` and `IpAddress(10.0.0.1)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| match name.split_once('(') {
        Some((_, name)) => name.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    presented.iter().map(bare).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_names_of_a_wrong_certificate_are_shown_bare() {
        let presented = [r#"DnsName("*.kafka")"#, "IpAddress(10.0.0.1)", "odd"].map(str::to_owned);
        assert_eq!(names(&presented), "*.kafka, 10.0.0.1, odd");
    }

    #[test]
    fn no_cause_is_the_name_of_a_library_s_type() {
        let other = |error: webpki::Error| CertificateError::Other(OtherError(Arc::new(error)));
        for error in [
            CertificateError::BadSignature,
            CertificateError::InvalidPurpose,
            CertificateError::BadEncoding,
            CertificateError::ApplicationVerificationFailure,
            other(webpki::Error::CaUsedAsEndEntity),
            other(webpki::Error::UnsupportedCertVersion),
            other(webpki::Error::MaximumPathDepthExceeded),
        ] {
            let text = cause(&Error::InvalidCertificate(error.clone()));
            let debug = format!("{error:?}");
            let name = debug.trim_start_matches("Other(OtherError(").trim_end_matches("))");
            assert!(!text.contains(name) && !text.contains("Other"), "{text}");
        }
        assert_eq!(alert_words(AlertDescription::UnknownCA), "the certificate's authority is not known");
        assert_eq!(alert_words(AlertDescription::Unknown(200)), "alert 200");
    }
}
