//! A certificate authority that goes on issuing.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// An authority with a key of its own; a copy is the same authority.
#[derive(Clone)]
pub struct Authority {
    issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone, without the authority's.
    pub certificate: String,
    /// The private key, in PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of this common name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key_pair = KeyPair::generate()?;
        let (certificate, key) = (params.self_signed(&key_pair)?.pem(), key_pair.serialize_pem());
        Ok(Self { issuer: Arc::new(Issuer::new(params, key_pair)), certificate, key })
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, PKCS#8 in PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for what `params` say, with a new key.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, params: &CertificateParams) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &*self.issuer).context("cannot sign a certificate")?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// A certificate for a server that is reached by these names and addresses. It serves as a client's too, since
    /// brokers are clients of each other.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue_server(&self, common_name: &str, names: &[String]) -> Result<Issued> {
        self.issue(&server(common_name, names)?)
    }

    /// A certificate for a client of this common name and, where it is given, organization.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_client(&self, common_name: &str, organization: Option<&str>) -> Result<Issued> {
        let mut params = CertificateParams::new(vec![])?;
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params)
    }
}

/// What a server's certificate says, before anybody signs it.
pub(super) fn server(common_name: &str, names: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}
