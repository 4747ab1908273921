//! Certificates and keys out of PEM text.

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Unusable, unusable};
use crate::config::pem::PemFile;

/// All certificates of a file, at least one.
///
/// # Errors
/// A damaged section, or none.
pub(super) fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let certificates = CertificateDer::pem_slice_iter(&file.bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(file, damage(&error)))?;
    if certificates.is_empty() {
        return Err(unusable(file, format!("there is no certificate in PEM: {}", instead(&file.bytes))));
    }
    Ok(certificates)
}

/// The first private key of a file.
///
/// # Errors
/// A damaged section, or no key that is readable without a password.
pub(super) fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&file.bytes).map_err(|error| {
        let why = match error {
            Error::NoItemsFound => format!(
                "there is no private key in PEM that is not encrypted (PKCS#8, PKCS#1 or SEC1): {}",
                instead(&file.bytes)
            ),
            other => damage(&other).to_owned(),
        };
        unusable(file, why)
    })
}

/// What is wrong with a section. The library's own texts quote the file.
fn damage(error: &Error) -> &'static str {
    match error {
        Error::MissingSectionEnd { .. } => {
            "a PEM section has no END line: the file is cut short, or its line ends are lost"
        }
        Error::IllegalSectionStart { .. } => {
            "a BEGIN line is malformed: are the line ends lost? PEM needs BEGIN, END and the text between on lines of their own"
        }
        Error::Base64Decode(_) => "the text of a PEM section is not base64: it is damaged",
        Error::SectionTooLarge => "a PEM section is too large",
        Error::NoItemsFound | Error::Io(_) => "it is not PEM",
        // The library may add variants.
        _ => "a PEM section is damaged",
    }
}

/// What a file without the wanted section is, as far as its first bytes and its BEGIN lines tell.
fn instead(bytes: &[u8]) -> &'static str {
    let has = |label: &str| bytes.windows(label.len()).any(|window| window == label.as_bytes());
    match bytes {
        [] => "the file is empty",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16 text; save it as UTF-8 or ASCII",
        [0xfe, 0xed, 0xfe, 0xed, ..] => "it is a Java key store; export its entries as PEM",
        [0x30, ..] => "it is binary (DER or PKCS#12); convert it to PEM with openssl",
        _ if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") => {
            "it holds an encrypted private key; decrypt it first"
        }
        _ if has("BEGIN CERTIFICATE REQUEST") || has("BEGIN NEW CERTIFICATE REQUEST") => {
            "it holds a request for a certificate; give the certificate that was issued for it"
        }
        _ if has("PRIVATE KEY-----") => "it holds a private key; are certificate and key file mixed up?",
        _ if has("BEGIN CERTIFICATE") => "it holds certificates; are certificate and key file mixed up?",
        _ if has("-----BEGIN ") => "its sections are of another kind",
        _ => "it has no BEGIN line",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> PemFile {
        PemFile { path: "/x.pem".into(), bytes: bytes.to_vec() }
    }

    #[test]
    fn a_file_without_the_wanted_section_is_named_with_what_it_is() {
        for (bytes, says) in [
            (&b""[..], "the file is empty"),
            (b"\xff\xfe-\0-\0", "UTF-16"),
            (b"\x30\x82\x01\x02", "DER"),
            (b"\xfe\xed\xfe\xed\0\0", "Java key store"),
            (b"nothing", "no BEGIN line"),
            (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "decrypt it"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "mixed up"),
            (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "a request"),
        ] {
            let error = certificates(&file(bytes)).unwrap_err().to_string();
            assert!(error.starts_with("/x.pem: there is no certificate in PEM: ") && error.contains(says), "{error}");
        }
        let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = private_key(&file(certificate)).unwrap_err().to_string();
        assert!(error.contains("no private key") && error.contains("mixed up"), "{error}");
    }

    #[test]
    fn a_damaged_section_is_described_without_its_bytes() {
        for (text, says) in [
            ("-----BEGIN CERTIFICATE-----\n!sesame!\n-----END CERTIFICATE-----\n", "not base64"),
            ("-----BEGIN CERTIFICATE-----\nsesame\n", "no END line"),
            ("-----BEGIN CERTIFICATE-----sesame-----END CERTIFICATE-----", "no END line"),
            ("-----BEGIN PRIVATE KEY----- sesame -----END PRIVATE KEY-----", "line ends"),
        ] {
            let error = certificates(&file(text.as_bytes())).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("sesame") && !error.contains("115, 101"), "{error}");
        }
    }
}
