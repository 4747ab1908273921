//! TLS of a client: certificates and keys from PEM files, which servers are trusted, and what a refusal means.
//!
//! Neither file contents nor a library's own texts reach an error: some of those texts quote the bytes that they could not
//! read, and the file may be a private key.

mod cause;
mod pem;
mod pinned;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

pub(crate) use self::cause::{alert_words, cause, certificate_cause};
use self::pinned::Verifier;
use crate::config::cluster::{Identity, Tls};
use crate::config::pem::PemFile;

/// A PEM file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub(crate) struct Unusable {
    /// The file, or a name for the system's certificates.
    pub(crate) path: PathBuf,
    /// What is wrong with it and what to do; never a byte of it.
    pub(crate) why: String,
}

/// How to connect: whom to trust, and the certificate to show, if any.
///
/// # Errors
/// A PEM file that holds no certificate or key, a certificate that cannot be an authority, or a key that does not belong to
/// its certificate.
pub(crate) fn client_config(tls: &Tls) -> Result<ClientConfig, Unusable> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match &tls.ca {
        Some(files) => {
            let (roots, certificates) = authorities(files)?;
            Verifier::new(roots, certificates, &provider)
        }
        None => Verifier::new(system_roots()?, Vec::new(), &provider),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = certified_key(identity, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    })
}

fn authorities(files: &[PemFile]) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Unusable> {
    let (mut roots, mut all) = (RootCertStore::empty(), Vec::new());
    for file in files {
        for certificate in pem::certificates(file)? {
            roots.add(certificate.clone()).map_err(|error| {
                unusable(file, format!("one of its certificates cannot be an authority: {}", cause(&error)))
            })?;
            all.push(certificate);
        }
    }
    Ok((roots, all))
}

fn system_roots() -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // System stores hold odd old certificates; one that cannot be used must not keep the others out.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Unusable {
            path: "system certificates".into(),
            why: "there are none to trust: give the CA file of the cluster (tls.caFile)".to_owned(),
        });
    }
    Ok(roots)
}

fn certified_key(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, Unusable> {
    let chain = pem::certificates(&identity.certificate)?;
    let key = pem::private_key(&identity.key)?;
    // The library's words for a key that it cannot read are about its own parsers.
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        unusable(
            &identity.key,
            "the key cannot be read: it has to be RSA (2048 bits or more), ECDSA P-256, P-384 or P-521, or Ed25519",
        )
    })?;
    let certified = CertifiedKey::new(chain, key);
    let certificate_path = identity.certificate.path.display();
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(unusable(&identity.key, format!("this is not the key of the certificate in {certificate_path}")))
        }
        // Only X.509 version 3 can be parsed here. Our own certificate is sent and never verified by us, so an older version
        // is the broker's to accept, provided that the key is the one in it.
        Err(_) if names_key(&certified) => Ok(certified),
        Err(_) => Err(unusable(
            &identity.key,
            format!("the certificate in {certificate_path} is damaged, or this is not its key"),
        )),
    }
}

/// Whether the first certificate holds the public half of the key, in its DER form.
fn names_key(certified: &CertifiedKey) -> bool {
    let (Some(key), Some(certificate)) = (certified.key.public_key(), certified.cert.first()) else { return false };
    certificate.windows(key.as_ref().len()).any(|window| window == key.as_ref())
}

fn unusable(file: &PemFile, why: impl Into<String>) -> Unusable {
    Unusable { path: file.path.clone(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;
    use crate::kafka;

    fn file(text: &str) -> PemFile {
        PemFile { path: "/x.pem".into(), bytes: text.as_bytes().to_vec() }
    }

    /// A certificate for `kafka` that signs itself, as `openssl req -x509` makes one.
    fn self_signed(is_ca: IsCa, edit: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["kafka".to_owned()]).unwrap();
        params.is_ca = is_ca;
        edit(&mut params);
        (params.self_signed(&key).unwrap(), key)
    }

    fn authority() -> (Certificate, KeyPair) {
        self_signed(IsCa::Ca(BasicConstraints::Unconstrained), |_| {})
    }

    /// A handshake in memory with a server that shows `certificate`.
    fn handshake(ca: &str, (certificate, key): &(Certificate, KeyPair), host: &str) -> Result<(), String> {
        let tls = Tls { ca: Some(vec![file(ca)]), identity: None };
        let config = client_config(&tls).map_err(|error| error.to_string())?;
        let mut client = ClientConnection::new(Arc::new(config), host.to_owned().try_into().unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets().map_err(|error| cause(&error))?;
        }
        Ok(())
    }

    #[test]
    fn a_self_signed_certificate_in_the_ca_file_is_trusted_as_the_server_s_own() {
        for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
            let server = self_signed(is_ca, |_| {});
            assert_eq!(handshake(&server.0.pem(), &server, "kafka"), Ok(()));
        }
    }

    #[test]
    fn a_pinned_certificate_still_has_to_be_current_and_for_the_host() {
        let server = authority();
        let error = handshake(&server.0.pem(), &server, "other").unwrap_err();
        assert!(error.contains("not for other but for kafka"), "{error}");
        let expired = self_signed(IsCa::Ca(BasicConstraints::Unconstrained), |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        let error = handshake(&expired.0.pem(), &expired, "kafka").unwrap_err();
        assert!(error.contains("has expired"), "{error}");
    }

    #[test]
    fn an_authority_that_is_not_pinned_is_no_server() {
        let (server, other) = (authority(), authority());
        let error = handshake(&other.0.pem(), &server, "kafka").unwrap_err();
        assert!(!error.contains("CaUsedAsEndEntity") && !error.contains("Other"), "{error}");
        // Under another authority's signature, which is trusted, it is still none.
        let issuer_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&issuer_key).unwrap();
        let issuer = rcgen::Issuer::new(params, issuer_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["kafka".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let below = (params.signed_by(&key, &issuer).unwrap(), key);
        let error = handshake(&root.pem(), &below, "kafka").unwrap_err();
        assert!(error.contains("CA:TRUE") && error.contains("put this certificate into the CA file"), "{error}");
    }

    /// One DER element: its tag, and what is in it; and what is behind it.
    fn element(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
        let (length, header) = match bytes[1] {
            short @ 0..=0x7f => (usize::from(short), 2),
            0x81 => (usize::from(bytes[2]), 3),
            _ => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        };
        (bytes[0], &bytes[header..header + length], &bytes[header + length..])
    }

    fn sequence(inner: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inner.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82][..], &length, inner].concat()
    }

    /// The certificate as version 1: without the version and the extensions. Its signature is wrong then, which we never check.
    fn version_1(certificate: &Certificate) -> String {
        let (_, outer, _) = element(certificate.der());
        let (_, signed, rest) = element(outer);
        let mut fields = Vec::new();
        let mut left = signed;
        while !left.is_empty() {
            let (tag, _, behind) = element(left);
            let whole = &left[..left.len() - behind.len()];
            if ![0xa0, 0xa3].contains(&tag) {
                fields.extend_from_slice(whole);
            }
            left = behind;
        }
        let der = sequence(&[&sequence(&fields), rest].concat());
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    fn with_identity(certificate: &str, key: &KeyPair) -> Result<ClientConfig, kafka::Error> {
        let identity = Identity { certificate: file(certificate), key: file(&key.serialize_pem()) };
        Ok(client_config(&Tls { ca: Some(vec![file(&authority().0.pem())]), identity: Some(identity) })?)
    }

    #[test]
    fn a_client_certificate_of_version_1_is_taken_with_its_own_key_only() {
        let (certificate, key) = self_signed(IsCa::NoCa, |_| {});
        assert!(with_identity(&certificate.pem(), &key).is_ok());
        assert!(with_identity(&version_1(&certificate), &key).is_ok());
        let (_, other) = authority();
        for text in [certificate.pem(), version_1(&certificate)] {
            let error = with_identity(&text, &other).unwrap_err();
            assert!(error.kind() == crate::error::Kind::Usage && error.to_string().contains("key"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_before_a_certificate_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let server = authority();
        std::fs::write(&path, format!("\u{feff}{}", server.0.pem())).unwrap();
        let ca = PemFile::read(&path).unwrap();
        assert_eq!(handshake(std::str::from_utf8(&ca.bytes).unwrap(), &server, "kafka"), Ok(()));
    }
}
