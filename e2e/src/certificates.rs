//! Certificates for one system: the right ones, and those that must be refused.

mod authority;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::date_time_ymd;

pub use self::authority::{Authority, Issued};

/// A folder of PEM files.
///
/// `ca.crt` signed `server` (for `localhost`, `127.0.0.1`, `::1`, and what it was made for), `expired` (a server
/// certificate of the year 2020) and `client` (common name `client`). `foreign-ca.crt`, which no server trusts, signed
/// `foreign-server` and `foreign-client`. Each has a `.crt`, a `.key` (PKCS#8), and a `.pem` with key and chain as Kafka
/// wants it. `clients.crt` is what a server trusts that asks for certificates: `ca.crt`, and the authority that signs
/// clients only, as Strimzi has one.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
    clients: Authority,
    /// What the server is reached by.
    names: Vec<String>,
}

impl Certificates {
    /// Makes all of them in `folder`, which is created; the server is reached on loopback only.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::create_for(folder, &[])
    }

    /// Makes all of them in `folder`, for a server that is reached by these names and addresses beside loopback.
    ///
    /// # Errors
    /// When the folder cannot be written, or a name cannot stand in a certificate.
    pub fn create_for(folder: &Path, more_names: &[String]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.extend(
            more_names.iter().filter(|name| !["localhost", "127.0.0.1", "::1"].contains(&name.as_str())).cloned(),
        );
        let certificates = Self { folder: folder.to_owned(), clients: Authority::new("e2e clients-ca")?, names };
        for (authority_name, prefix) in [("ca", ""), ("foreign-ca", "foreign-")] {
            let authority = Authority::new(&format!("e2e {authority_name}"))?;
            certificates.write(&format!("{authority_name}.crt"), authority.certificate())?;
            if prefix.is_empty() {
                certificates.serve_by(&authority)?;
                let mut params = authority::server("expired", &certificates.names)?;
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
                certificates.write_issued("expired", &authority.issue(&params)?, &authority)?;
                let both = authority.certificate().to_owned() + certificates.clients.certificate();
                certificates.write("clients.crt", &both)?;
            } else {
                let server = format!("{prefix}server");
                let issued = authority.issue_server(&server, &certificates.names)?;
                certificates.write_issued(&server, &issued, &authority)?;
            }
            let client = format!("{prefix}client");
            certificates.write_issued(&client, &authority.issue_client(&client, None)?, &authority)?;
        }
        Ok(certificates)
    }

    /// Makes the server's certificate anew, signed by another authority than before. `ca.crt` stays what it was, and the
    /// server shows the new one after its next start.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn serve_by(&self, authority: &Authority) -> Result<()> {
        self.write_issued("server", &authority.issue_server("server", &self.names)?, authority)
    }

    /// The folder with all the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of one file, such as `ca.crt`, `client.key`, `foreign-ca.crt`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The authority for clients that are made later.
    pub fn clients(&self) -> &Authority {
        &self.clients
    }

    fn write_issued(&self, name: &str, issued: &Issued, authority: &Authority) -> Result<()> {
        let Issued { certificate, key } = issued;
        self.write(&format!("{name}.pem"), &format!("{key}{certificate}{}", authority.certificate()))?;
        self.write(&format!("{name}.crt"), certificate)?;
        self.write(&format!("{name}.key"), key)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
