//! A run of the binary that is at work: what it has said so far, and how it ends.

use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use crate::cli::{Cli, Ended};
use crate::process::{Output, Process, send_signal};

/// How long a test waits for something that has to happen. Long, since machines that build are slow; nothing that passes
/// takes as long.
const PATIENCE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(10);

/// A run at work; it ends with this value.
#[derive(Debug)]
pub struct Running {
    process: Process,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(cli: Cli) -> Result<Self> {
        let (stdout, stderr) = (NamedTempFile::new()?, NamedTempFile::new()?);
        let process = cli.spawn(Output::Files { stdout: stdout.reopen()?, stderr: stderr.reopen()? })?;
        Ok(Self { process, stdout, stderr })
    }

    /// What it has logged so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.stderr.path()).context("cannot read what the run has logged")
    }

    /// Waits until something is so, while the run is at work.
    ///
    /// # Panics
    /// With all that the run has said, when it ends before, or when it does not come to be.
    pub fn wait_until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            let ended = self.process.ended().expect("the system says whether a child has ended");
            assert!(ended.is_none(), "ended ({ended:?}) before {what}: {}", self.log().unwrap_or_default());
            assert!(Instant::now() < deadline, "waited in vain: {what}: {}", self.log().unwrap_or_default());
            sleep(POLL);
        }
    }

    /// Waits until it has logged this.
    ///
    /// # Panics
    /// As [`Running::wait_until`].
    pub fn wait_until_it_says(&mut self, text: &str) {
        let path = self.stderr.path().to_owned();
        let says = || std::fs::read_to_string(&path).is_ok_and(|log| log.contains(text));
        self.wait_until(&format!("it says {text:?}"), says);
    }

    /// Sends it a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, name: &str) -> Result<()> {
        send_signal(name, self.process.id())
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.ended()
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With all that it has said, when it does not come.
    ///
    /// # Errors
    /// When what it said cannot be read.
    pub fn ended(mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.ended()? {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log()?);
            sleep(POLL);
        };
        let stdout = std::fs::read_to_string(self.stdout.path()).context("cannot read a report")?;
        Ok(Ended { code: status.code(), stdout, stderr: self.log()? })
    }
}
