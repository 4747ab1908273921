//! Certificates for one system: the right ones, and those that must be refused.

mod authority;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::date_time_ymd;

pub use self::authority::{Authority, Issued};

/// A folder of PEM files.
///
/// `ca.crt` signed `server` (for `localhost`, `127.0.0.1`, `::1`, and the address it was made for), `expired` (a server
/// certificate of the year 2020) and `client` (common name `client`). `foreign-ca.crt`, which no server trusts, signed
/// `foreign-server` and `foreign-client`. Each has a `.crt`, a `.key` (PKCS#8), and a `.pem` with key and chain as Kafka
/// wants it. `clients.crt` is what a server trusts that asks for certificates: `ca.crt`, and the authority that signs
/// clients only, as Strimzi has one.
#[derive(Debug, Clone)]
pub struct Certificates {
    folder: PathBuf,
    clients: Authority,
}

impl Certificates {
    /// Makes all of them in `folder`, which is created; the server is reached on loopback only.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::create_for(folder, &[])
    }

    /// Makes all of them in `folder`, for a server that is reached by these addresses beside loopback.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create_for(folder: &Path, addresses: &[IpAddr]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let certificates = Self { folder: folder.to_owned(), clients: Authority::new("e2e clients-ca")? };
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.extend(addresses.iter().map(IpAddr::to_string).filter(|address| address != "127.0.0.1"));
        for (authority_name, prefix) in [("ca", ""), ("foreign-ca", "foreign-")] {
            let authority = Authority::new(&format!("e2e {authority_name}"))?;
            certificates.write(&format!("{authority_name}.crt"), authority.certificate())?;
            let server = format!("{prefix}server");
            certificates.write_issued(&server, &authority.issue_server(&server, &names)?, &authority)?;
            if prefix.is_empty() {
                let mut params = authority::server("expired", &names)?;
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
                certificates.write_issued("expired", &authority.issue(&params)?, &authority)?;
                let both = authority.certificate().to_owned() + certificates.clients.certificate();
                certificates.write("clients.crt", &both)?;
            }
            let client = format!("{prefix}client");
            certificates.write_issued(&client, &authority.issue_client(&client, None)?, &authority)?;
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
