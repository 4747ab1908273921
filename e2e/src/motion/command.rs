//! The command `motion`: a run by hand, for as long as there is patience.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use kafka_backup::clock::now_ms;

use super::{Options, Summary, run};

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How long there is motion; beginning and end take another minute.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Decides what happens; by the clock when it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// About how many topics.
    #[arg(long, default_value_t = 60)]
    topics: usize,
    /// A folder for everything, which is kept; by default one that is kept only when something is wrong.
    #[arg(long)]
    folder: Option<PathBuf>,
}

impl Arguments {
    /// Runs, and prints what is wrong, what was done, and what did not happen although it has to; whether everything is right.
    ///
    /// # Errors
    /// When a system does not start or a tool fails.
    pub fn run(&self) -> Result<bool> {
        /// There may be thousands, of one kind.
        const SHOWN: usize = 50;
        let seed = self.seed.unwrap_or_else(|| now_ms().unsigned_abs() % 1_000_000);
        let temporary = tempfile::Builder::new().prefix("e2e-motion-").tempdir().context("no temporary folder")?;
        let folder = self.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
        eprintln!("motion: seed {seed}, {} minutes, {}", self.minutes, folder.display());
        let length = Duration::try_from_secs_f64(self.minutes * 60.0).context("no such time")?;
        let outcome = run(&Options { seed, length, topics: self.topics, folder: folder.clone() });
        let is_right = outcome.as_ref().is_ok_and(Summary::is_right);
        if !is_right {
            if self.folder.is_none() {
                let _ = temporary.keep();
            }
            eprintln!("motion: seed {seed}: everything is kept in {}", folder.display());
        }
        let summary = outcome.with_context(|| format!("seed {seed}"))?;
        let mut out = std::io::stdout().lock();
        for fault in summary.faults.iter().take(SHOWN) {
            writeln!(out, "seed {seed}: {fault}")?;
        }
        writeln!(out, "seed {seed}: {summary}")?;
        Ok(is_right)
    }
}
