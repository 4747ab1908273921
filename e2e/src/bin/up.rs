//! Leaves a broker, and with `--minio` an S3 server, running for a person to play with.
//!
//! `up` writes down what it started; `down` ends exactly that, and no process that came by the same id later.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e::cache;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::minio::{ACCESS_KEY_ID, Minio, MinioOptions, SECRET_ACCESS_KEY};
use e2e::process::{send_signal, started_ticks};
use serde::{Deserialize, Serialize};

#[derive(Debug, Parser)]
#[command(about = "Starts and ends a broker to play with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts Apache Kafka and leaves it running.
    Up {
        /// Starts MinIO too.
        #[arg(long)]
        minio: bool,
    },
    /// Ends what `up` started, and removes its data.
    Down,
}

/// A process that was left running, and the folder of its data.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    name: String,
    process_id: u32,
    /// With the id, this tells the process from a later one.
    started_ticks: u64,
    folder: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up { minio } => up(minio),
        Command::Down => down(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(with_minio: bool) -> Result<()> {
    let _lock = cache::lock("up", "another `up` or `down`")?;
    if let Some(left) = read()?.into_iter().find(is_running) {
        bail!("{} runs already (process {}): end it with `cargo run -p e2e -- down`", left.name, left.process_id);
    }
    let kafka = Kafka::start(KafkaOptions { outlives_harness: true, ..KafkaOptions::default() })?;
    let mut left = vec![Left::new("Kafka", kafka.process_id(1), kafka.folder())?];
    // Written before the next one starts, so that `down` finds this one should that fail.
    write(&left)?;
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let mut text = format!(
        "Apache Kafka is up: {bootstrap}\n\n    \
         cargo run -p kafka-backup -- backup --bootstrap-servers {bootstrap} --storage file:///tmp/backups --archive play\n    \
         cargo run -p kafka-backup -- list --storage file:///tmp/backups\n    \
         cargo run -p kafka-backup -- restore --bootstrap-servers {bootstrap} --storage file:///tmp/backups --archive play --topic-mapping FROM=TO\n\n"
    );
    if with_minio {
        let minio = Minio::start(MinioOptions { outlives_harness: true, ..MinioOptions::default() })?;
        left.push(Left::new("MinIO", minio.process_id(), minio.folder())?);
        write(&left)?;
        let bucket = minio.make_bucket("backups")?;
        text += &format!(
            "MinIO is up: {}\n\n    \
             export AWS_ACCESS_KEY_ID={ACCESS_KEY_ID} AWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n    \
             cargo run -p kafka-backup -- list --storage '{}'\n\n",
            minio.endpoint(),
            minio.url(&bucket, "play")
        );
    }
    text += "End with: cargo run -p e2e -- down\n";
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn down() -> Result<()> {
    let _lock = cache::lock("up", "another `up` or `down`")?;
    for left in read()? {
        if is_running(&left) {
            eprintln!("e2e: ending {} (process {})", left.name, left.process_id);
            end(&left)?;
        }
        match fs::remove_dir_all(&left.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", left.folder.display()));
            }
            _ => {}
        }
    }
    write(&[])
}

fn end(left: &Left) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(15);
    for signal in ["TERM", "KILL"] {
        if is_running(left) {
            send_signal(signal, left.process_id)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while is_running(left) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
    }
    if is_running(left) {
        bail!("{} (process {}) does not end", left.name, left.process_id);
    }
    Ok(())
}

fn is_running(left: &Left) -> bool {
    started_ticks(left.process_id) == Some(left.started_ticks)
}

impl Left {
    fn new(name: &str, process_id: Option<u32>, folder: &Path) -> Result<Self> {
        let process_id = process_id.with_context(|| format!("{name} does not run"))?;
        let started_ticks = started_ticks(process_id).with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name: name.to_owned(), process_id, started_ticks, folder: folder.to_owned() })
    }
}

fn record() -> Result<PathBuf> {
    Ok(cache::folder()?.join("up.json"))
}

fn read() -> Result<Vec<Left>> {
    let path = record()?;
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(left: &[Left]) -> Result<()> {
    let path = record()?;
    fs::write(&path, serde_json::to_vec_pretty(left)?).with_context(|| format!("cannot write {}", path.display()))
}
