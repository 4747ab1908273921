//! Certificates for one system: the right ones, and those that must be refused.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// A folder of PEM files.
///
/// `ca.crt` signed `server` (for `localhost`, `127.0.0.1` and `::1`), `expired` (a server certificate of the year 2020)
/// and `client` (common name `client`). `foreign-ca.crt`, which no server trusts, signed `foreign-server` and
/// `foreign-client`. Each has a `.crt`, a `.key` (PKCS#8), and a `.pem` with key and chain as Kafka wants it.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes all of them in `folder`, which is created.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let certificates = Self { folder: folder.to_owned() };
        for (authority, prefix) in [("ca", ""), ("foreign-ca", "foreign-")] {
            let (issuer, authority_pem) = certificates.authority(authority)?;
            certificates.server(&format!("{prefix}server"), &issuer, &authority_pem, false)?;
            if prefix.is_empty() {
                certificates.server("expired", &issuer, &authority_pem, true)?;
            }
            let mut client = CertificateParams::new(vec![])?;
            client.distinguished_name.push(DnType::CommonName, format!("{prefix}client"));
            client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            certificates.issue(&format!("{prefix}client"), client, &issuer, &authority_pem)?;
        }
        Ok(certificates)
    }

    /// The folder with all the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one file, such as `ca.crt`, `client.key`, `foreign-ca.crt`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn authority(&self, name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
        let mut params = CertificateParams::new(vec![])?;
        params.distinguished_name.push(DnType::CommonName, format!("e2e {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        self.write(&format!("{name}.crt"), &pem)?;
        Ok((Issuer::new(params, key), pem))
    }

    fn server(
        &self,
        name: &str,
        issuer: &Issuer<'static, KeyPair>,
        authority_pem: &str,
        is_expired: bool,
    ) -> Result<()> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        // Brokers are clients of each other.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        self.issue(name, params, issuer, authority_pem)
    }

    fn issue(
        &self,
        name: &str,
        params: CertificateParams,
        issuer: &Issuer<'static, KeyPair>,
        authority_pem: &str,
    ) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?.pem();
        let key = key.serialize_pem();
        self.write(&format!("{name}.pem"), &format!("{key}{certificate}{authority_pem}"))?;
        self.write(&format!("{name}.crt"), &certificate)?;
        self.write(&format!("{name}.key"), &key)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
