//! MinIO: an S3 server, built once from the Go module proxy and started on a free port.

mod locked;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::certificates::Certificates;
use crate::port;
use crate::process::{Output, Process};
use crate::unique;

const MODULE: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// The access key. It opens nothing but a test's server.
pub const ACCESS_KEY_ID: &str = "e2e-access-key";
/// The secret key.
pub const SECRET_ACCESS_KEY: &str = "e2e-secret-access-key";
/// The region that clients have to name; the server takes any.
pub const REGION: &str = "us-east-1";

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct MinioOptions {
    /// Where it serves: loopback, or the address of this machine that the pods of a cluster reach
    /// ([`crate::kubernetes::Kubernetes::host_ip`]). Its certificate is good for it.
    pub address: Ipv4Addr,
    /// Whether it serves HTTPS, with the server certificate of [`Minio::certificates`].
    pub is_tls: bool,
    /// Whether the server goes on, with its data, when this process ends.
    pub outlives_harness: bool,
}

impl Default for MinioOptions {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, is_tls: false, outlives_harness: false }
    }
}

/// A running server; dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Minio {
    options: MinioOptions,
    folder: PathBuf,
    certificates: Certificates,
    port: u16,
    process: Mutex<Option<Process>>,
}

impl Minio {
    /// Starts a server and waits until it serves.
    ///
    /// # Errors
    /// When it cannot be built, or does not start; the text holds the server's own words.
    pub fn start(options: MinioOptions) -> Result<Self> {
        binary()?;
        let mut attempts = 3;
        loop {
            attempts -= 1;
            let folder = tempfile::Builder::new().prefix("e2e-minio-").tempdir().context("no temporary folder")?.keep();
            let certificates = Certificates::create_for(&folder.join("certificates"), &[options.address.to_string()])?;
            let port = port::free_at(options.address)?;
            let minio = Self { options, folder, certificates, port, process: Mutex::new(None) };
            minio.prepare()?;
            match minio.launch() {
                Err(error) if attempts > 0 && format!("{error:#}").contains("address already in use") => {
                    eprintln!("e2e: a port was taken while MinIO started: trying another");
                }
                outcome => return outcome.map(|()| minio),
            }
        }
    }

    /// The server without TLS that the tests of this process share, started on first use.
    ///
    /// # Panics
    /// When it does not start, for every test that asks for it.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Minio> = LazyLock::new(|| {
            Minio::start(MinioOptions::default()).unwrap_or_else(|error| panic!("cannot start MinIO: {error:#}"))
        });
        &SHARED
    }

    /// The endpoint, such as `http://127.0.0.1:20000`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.options.is_tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.options.address, self.port)
    }

    /// The certificates of an HTTPS server; clients trust its `ca.crt`.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The folder that holds everything of this server.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process id, or `None` while it is stopped.
    pub fn process_id(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// Makes a bucket and gives its name, which begins with `stem`.
    ///
    /// # Errors
    /// When the server's data folder cannot be written.
    pub fn make_bucket(&self, stem: &str) -> Result<String> {
        let name = unique(stem);
        // On a single drive a folder is a bucket.
        let folder = self.folder.join("data").join(&name);
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(name)
    }

    /// The storage URL of a prefix in a bucket, as `kafka-backup` takes it.
    pub fn url(&self, bucket: &str, prefix: &str) -> String {
        format!("s3://{bucket}/{prefix}?endpoint={}&region={REGION}&force_path_style=true", self.endpoint())
    }

    /// The variables that give a child process the credentials.
    pub fn environment(&self) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)]
    }

    /// Ends the server; its data and its port stay.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(&self) -> Result<()> {
        match self.process().take() {
            Some(mut process) => process.stop(STOP_PATIENCE).map(drop),
            None => Ok(()),
        }
    }

    /// Starts a stopped server again, on its old port and data, and waits until it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<()> {
        self.launch()
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir(self.folder.join("data")).context("cannot create the data folder")?;
        let served = self.folder.join("served-certificates");
        fs::create_dir(&served).context("cannot create the certificate folder")?;
        if self.options.is_tls {
            for (from, to) in [("server.crt", "public.crt"), ("server.key", "private.key")] {
                fs::copy(self.certificates.file(from), served.join(to)).context("cannot copy a certificate")?;
            }
        }
        Ok(())
    }

    fn launch(&self) -> Result<()> {
        let path = self.folder.join("minio.log");
        let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut command = Command::new(binary()?);
        command.args(["server", "--address", &format!("{}:{}", self.options.address, self.port), "--certs-dir"]);
        command.arg(self.folder.join("served-certificates")).arg(self.folder.join("data"));
        command.env("MINIO_ROOT_USER", ACCESS_KEY_ID).env("MINIO_ROOT_PASSWORD", SECRET_ACCESS_KEY);
        for switch in ["MINIO_BROWSER", "MINIO_UPDATE"] {
            command.env(switch, "off");
        }
        command.env("MINIO_CALLHOME_ENABLE", "off").env("GOMEMLIMIT", "512MiB");
        let mut process = if self.options.outlives_harness {
            Process::detached(&command, Output::File(log))?
        } else {
            Process::tethered(&command, Some(&self.folder), Output::File(log))?
        };
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let said = fs::read_to_string(&path).unwrap_or_default();
            // It listens before it serves, and says where it can be reached when it does.
            if said.contains("API: ") && TcpStream::connect((self.options.address, self.port)).is_ok() {
                *self.process() = Some(process);
                return Ok(());
            }
            let ended = process.ended()?;
            if ended.is_some() || Instant::now() > deadline {
                let what = ended.map_or("is not ready".to_owned(), |status| format!("ended ({status})"));
                bail!("MinIO {what}: {said}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        if !self.options.outlives_harness {
            drop(self.process().take());
            // Best effort: what is left of a killed server's folder harms nobody.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The server's binary, built on first use.
fn binary() -> Result<PathBuf> {
    let folder = cache::folder()?.join("go/bin");
    let binary = folder.join("minio");
    let is_there = || binary.is_file();
    if is_there() {
        return Ok(binary);
    }
    let waiting_for = "Go to build MinIO (about ten minutes)";
    let _lock = cache::lock("minio", waiting_for)?;
    if is_there() {
        return Ok(binary);
    }
    let mut go = Command::new("go");
    go.args(["install", "-trimpath", "-ldflags", "-s -w", MODULE]).env("GOBIN", &folder).env("CGO_ENABLED", "0");
    // Go moves the finished binary into place, so that it is never seen half written.
    cache::waiting(waiting_for, || cache::run(&mut go, "Go 1.25 or later from https://go.dev/dl"))?;
    Ok(binary)
}
