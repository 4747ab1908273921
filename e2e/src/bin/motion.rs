//! Sets a cluster in motion under backups and restores, and checks all of them against a client that is not ours.
//!
//!     cargo run -p e2e --bin motion -- --minutes 30 --seed 7
//!
//! The seed is printed. When something is wrong, the folder with the events, logs and reports is kept and named.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::motion::{self, Options};

#[derive(Debug, Parser)]
#[command(about = "Checks backups and restores of a cluster in motion")]
struct Arguments {
    /// How long there is motion.
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

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("motion: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is right.
fn run(arguments: &Arguments) -> Result<bool> {
    /// There may be thousands, of one kind.
    const SHOWN: usize = 50;
    let seed = arguments.seed.unwrap_or_else(|| kafka_backup::clock::now_ms().unsigned_abs() % 1_000_000);
    let temporary = tempfile::Builder::new().prefix("e2e-motion-").tempdir().context("no temporary folder")?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    eprintln!("motion: seed {seed}, {} minutes, {}", arguments.minutes, folder.display());
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let outcome = motion::run(&Options { seed, length, topics: arguments.topics, folder: folder.clone() });
    let is_right = outcome.as_ref().is_ok_and(|summary| summary.faults.is_empty());
    if !is_right {
        let _ = temporary.keep();
        eprintln!("motion: seed {seed}: everything is kept in {}", folder.display());
    }
    let summary = outcome.with_context(|| format!("seed {seed}"))?;
    let mut out = std::io::stdout().lock();
    for fault in summary.faults.iter().take(SHOWN) {
        writeln!(out, "seed {seed}: {fault}")?;
    }
    writeln!(out, "seed {seed}: {}", summary.text)?;
    Ok(is_right)
}
