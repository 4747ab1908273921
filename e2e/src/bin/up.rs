//! Leaves the operator and all that it works with, or with `--kafka` a broker alone, running for a person to play with.
//!
//! `up` writes down what it started; `down` ends exactly that, and no process that came by the same id later. `motion` is a
//! test by hand, which leaves nothing running.

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
use e2e::kubernetes::{Kubernetes, KubernetesOptions, VERSION};
use e2e::minio::{ACCESS_KEY_ID, Minio, MinioOptions, SECRET_ACCESS_KEY};
use e2e::motion;
use e2e::operator::Operator;
use e2e::process::{remove_folder, send_signal, started_ticks};
use e2e::strimzi::{Release, Strimzi, StrimziOptions};
use serde::{Deserialize, Serialize};

#[derive(Debug, Parser)]
#[command(about = "Starts and ends what the project works with, to play with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a Kubernetes node with Strimzi's definitions and the operator, and a broker and MinIO that its pods reach, and leaves them
    /// running. Needs root.
    Up {
        /// Starts Apache Kafka alone.
        #[arg(long)]
        kafka: bool,
        /// Starts MinIO beside it.
        #[arg(long, requires = "kafka")]
        minio: bool,
    },
    /// Ends what `up` started, and removes its data.
    Down,
    /// Sets a cluster in motion under backups and restores that are killed, and checks all of them against what a client that
    /// is not ours has seen.
    Motion(motion::Arguments),
}

/// A process that was left running, and the folder of its data.
#[derive(Debug, Serialize, Deserialize)]
struct Left {
    name: String,
    process_id: u32,
    /// With the id, this tells the process from a later one.
    started_ticks: u64,
    folder: PathBuf,
    /// Whether it does not hear SIGTERM.
    #[serde(default)]
    is_deaf: bool,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Up { kafka: true, minio } => up(|| up_kafka(minio)),
        Command::Up { kafka: false, minio: _ } => up(up_all),
        Command::Down => down(),
        Command::Motion(arguments) => match arguments.run() {
            Ok(true) => Ok(()),
            // What is wrong was printed.
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(start: impl FnOnce() -> Result<String>) -> Result<()> {
    let _lock = cache::lock("up", "another `up` or `down`")?;
    if let Some(left) = read()?.into_iter().find(is_running) {
        bail!("{} runs already (process {}): end it with `cargo run -p e2e -- down`", left.name, left.process_id);
    }
    let mut text = start()?;
    text += "End with: cargo run -p e2e -- down\n";
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn up_kafka(with_minio: bool) -> Result<String> {
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
    Ok(text)
}

/// A node, Strimzi's definitions, and in the namespace `kafka` a cluster of Strimzi's with a user and the Secret of a bucket.
fn up_all() -> Result<String> {
    const NAMESPACE: &str = "kafka";
    const CLUSTER: &str = "my-cluster";
    const USER: &str = "backup";
    let kubernetes = Kubernetes::start(KubernetesOptions { outlives_harness: true })?;
    let node = Left::new("Kubernetes", kubernetes.process_id(), kubernetes.folder())?;
    let mut left = vec![Left { is_deaf: true, ..node }];
    write(&left)?;
    let minio = Minio::start(MinioOptions {
        address: kubernetes.host_ip(),
        outlives_harness: true,
        ..MinioOptions::default()
    })?;
    left.push(Left::new("MinIO", minio.process_id(), minio.folder())?);
    write(&left)?;
    let bucket = minio.make_bucket("backups")?;
    kubernetes.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: storage, namespace: {NAMESPACE}}}\n\
         stringData:\n  AWS_ACCESS_KEY_ID: {ACCESS_KEY_ID}\n  AWS_SECRET_ACCESS_KEY: {SECRET_ACCESS_KEY}\n  \
         credentials: \"[default]\\naws_access_key_id = {ACCESS_KEY_ID}\\naws_secret_access_key = {SECRET_ACCESS_KEY}\\n\"\n"
    ))?;
    Release::V1_2.install(&kubernetes)?;
    let strimzi = Strimzi::start(
        &kubernetes,
        StrimziOptions {
            release: Release::V1_2,
            namespace: NAMESPACE.to_owned(),
            cluster: CLUSTER.to_owned(),
            kafka: KafkaOptions { outlives_harness: true, ..KafkaOptions::default() },
            has_own_certificate: false,
        },
    )?;
    left.push(Left::new("Kafka", strimzi.kafka().process_id(1), strimzi.kafka().folder())?);
    write(&left)?;
    strimzi.add_user_tls(USER)?;
    Operator::install(&kubernetes, "backup-operator", &[])?;
    let [kubectl, helm] = kubernetes.program_folders().map(Path::display);
    Ok(format!(
        "Kubernetes {VERSION} is up, with the definitions of Strimzi {} and, in the namespace {NAMESPACE}:\n    \
         the Kafka {CLUSTER} ({} for pods, {} for this machine),\n    \
         the KafkaUser {USER} (type tls), the Secret storage for {},\n    \
         and in the namespace backup-operator the operator, by its chart\n\n    \
         export KUBECONFIG={} PATH={kubectl}:{helm}:$PATH\n    \
         kubectl get strimzi,kafka,kafkauser,secret --namespace {NAMESPACE}\n\n",
        Release::V1_2.number(),
        strimzi.bootstrap("tls"),
        strimzi.kafka().bootstrap(Listener::Plain),
        minio.url(&bucket, "play"),
        kubernetes.kubeconfig().display(),
    ))
}

fn down() -> Result<()> {
    let _lock = cache::lock("up", "another `up` or `down`")?;
    for left in read()? {
        if is_running(&left) {
            eprintln!("e2e: ending {} (process {})", left.name, left.process_id);
            end(&left)?;
        }
        remove_folder(&left.folder)?;
    }
    write(&[])
}

fn end(left: &Left) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(15);
    let signals: &[&str] = if left.is_deaf { &["KILL"] } else { &["TERM", "KILL"] };
    for signal in signals {
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
        Ok(Self { name: name.to_owned(), process_id, started_ticks, folder: folder.to_owned(), is_deaf: false })
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
