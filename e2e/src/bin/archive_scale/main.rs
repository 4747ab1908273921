//! What commands cost in a large archive, in a store that is far away: requests, time and memory of each.
//!
//! It starts MinIO and a proxy that delays each request, fills an archive with backups whose manifests have one shape, and starts a
//! broker whose topics and groups have that shape too. Then it runs each command as a child process whose address space is limited.
//! The last backup is a real one, of that broker. It is restored into the same broker under other names, and what the broker has
//! afterwards is looked at. The large one, which takes 30 GB of disk:
//!
//! ```text
//! cargo run --release -p e2e --bin archive_scale -- --backups 2000 --partitions 10000 --groups 5000
//! ```

mod cluster;
mod restored;
mod synthetic;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::minio::{Minio, MinioOptions, REGION};
use e2e::slow_proxy::SlowProxy;
use e2e::{cli, measure};
use kafka_backup::clock::now_ms;
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::repository::Archive;
use kafka_backup::store::Store;

use self::restored::Restored;

const ARCHIVE: &str = "large";
const DAY_MS: i64 = 86_400_000;
const PARTITIONS_OF_A_TOPIC: usize = 100;
const OFFSETS_OF_A_GROUP: usize = 20;

#[derive(Debug, Parser)]
#[command(about = "Measures commands in a large archive that is far away", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Step>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Backups in the archive
    #[arg(long, default_value_t = 200)]
    backups: usize,
    /// Partitions of each backup
    #[arg(long, default_value_t = 1_000)]
    partitions: usize,
    /// Consumer groups of each backup, with 20 offsets each
    #[arg(long, default_value_t = 500)]
    groups: usize,
    /// Milliseconds that each request takes longer
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// Partitions of each restore, those of the first topics, up to all. The broker has one file open for each partition, and the
    /// deleted ones of a restore go before the next: what it has and what is restored must be below the limit of open files
    #[arg(long, default_value_t = 5_000)]
    restored_partitions: usize,
    /// Address space of each command, in MiB
    #[arg(long, default_value_t = 512)]
    memory_mib: u64,
}

impl Options {
    /// How many partitions are restored: all of as many topics as are needed.
    fn restored(&self) -> usize {
        let topics = self.restored_partitions.max(1).div_ceil(PARTITIONS_OF_A_TOPIC);
        self.partitions.min(topics * PARTITIONS_OF_A_TOPIC)
    }
}

/// A command that is measured.
struct Row {
    name: String,
    command: Vec<String>,
    /// What the broker has afterwards under other names.
    restored: Option<Restored>,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Chooses the backup of a restore
    #[command(hide = true)]
    Choose {
        storage: String,
        /// Milliseconds since the epoch; the newest without it
        at_ms: Option<i64>,
    },
    /// Counts what the archive holds, as a backup does at its end
    #[command(hide = true)]
    Contents { storage: String },
    #[command(name = measure::SUBCOMMAND, hide = true)]
    Measure {
        #[arg(long)]
        result: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

fn main() -> Result<()> {
    let Arguments { options, part } = Arguments::parse();
    match part {
        None => scale(&options),
        Some(Step::Measure { result, command }) => measure::measure(&result, &command),
        Some(Step::Choose { storage, at_ms }) => runtime()?.block_on(async {
            let archive = archive(&storage).await?;
            let (manifest, _) = match at_ms {
                Some(at_ms) => archive.reaching(at_ms).await?,
                None => archive.newest().await?,
            };
            ensure!(!manifest.topics.is_empty(), "the manifest of {} is empty", manifest.backup_id);
            Ok(())
        }),
        Some(Step::Contents { storage }) => runtime()?.block_on(async {
            archive(&storage).await?.contents().await?;
            Ok(())
        }),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no runtime")
}

async fn archive(storage: &str) -> Result<Archive> {
    let storage: StorageConfig = storage.parse().context("the storage cannot be read")?;
    Ok(Archive::new(Store::open(&storage).await?, ARCHIVE.parse()?))
}

fn scale(options: &Options) -> Result<()> {
    let minio = Minio::start(MinioOptions::default())?;
    let bucket = minio.make_bucket("scale")?;
    let port = minio.endpoint().rsplit(':').next().and_then(|port| port.parse().ok()).context("MinIO has no port")?;
    let proxy = SlowProxy::start(port, Duration::from_millis(options.delay_ms))?;
    let near = minio.url(&bucket, "r");
    let far = format!("s3://{bucket}/r?endpoint={}&region={REGION}&force_path_style=true", proxy.endpoint());

    // About 200 KiB for each partition is ample.
    let heap_mb = u32::try_from((options.partitions + options.restored()) / 5)?.max(2_048);
    let kafka = Kafka::start(KafkaOptions { heap_mb, ..KafkaOptions::default() })?;
    let credentials = std::env::temp_dir().join(e2e::unique("archive-scale-credentials"));
    let filled = {
        let [(_, id), (_, secret)] = minio.environment();
        std::fs::write(
            &credentials,
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"),
        )
        .context("the credentials cannot be written")?;
        let with_credentials = format!("{near}&credentials_file={}", credentials.display());
        runtime()?.block_on(synthetic::fill(&with_credentials, options, kafka.cluster_id()))
    };
    // Best effort: it opens nothing but a server that ends with this process.
    let _ = std::fs::remove_file(&credentials);
    let manifest_bytes = filled?;
    // All synthetic backups are older, and the real one is made afterwards.
    let point_in_time_ms = now_ms();
    cluster::fill(&kafka, options, point_in_time_ms)?;
    let configurations = tempfile::tempdir().context("no temporary folder")?;
    say(&format!(
        "{} backups of {} partitions and {} groups: manifests of {:.1} MB; {} ms a request; {} MiB",
        options.backups,
        options.partitions,
        options.groups,
        manifest_bytes as f64 / 1e6,
        options.delay_ms,
        options.memory_mib
    ))?;
    say("| command | requests | manifests opened | wall s | CPU s | peak MiB |\n|---|---|---|---|---|---|")?;
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let mut rows = commands(options, &far, &bootstrap)?;
    rows.extend(restores(options, &far, &bootstrap, point_in_time_ms, configurations.path())?);
    for Row { name, command, restored } in rows {
        let mut limited = Command::new("/bin/sh");
        let limit = format!("ulimit -v {} && exec \"$@\"", options.memory_mib * 1024);
        // Each arena of the allocator takes 64 MiB of address space, and none of memory.
        limited.args(["-c", &limit, "sh"]).args(&command).env("MALLOC_ARENA_MAX", "2").envs(minio.environment());
        proxy.take_requests();
        let measured = measure::run(&limited);
        let requests = proxy.take_requests();
        let checked = measured.and_then(|(figures, _)| {
            restored.map_or(Ok(()), |restored| restored.take(&kafka))?;
            Ok(figures)
        });
        match checked {
            Ok(figures) => {
                let opened = requests.get("GET manifest").copied().unwrap_or_default();
                say(&format!(
                    "| {name} | {} ({}) | {opened} | {:.1} | {:.1} | {:.0} |",
                    requests.values().sum::<u64>(),
                    told(&requests),
                    figures.wall_s,
                    figures.cpu_s,
                    figures.peak_mib
                ))?;
            }
            Err(error) => {
                eprintln!("{error:#}");
                say(&format!("| {name} | failed |"))?;
            }
        }
    }
    Ok(())
}

/// The commands that restore nothing, in their order, each with a name for the table.
fn commands(options: &Options, storage: &str, bootstrap: &str) -> Result<Vec<Row>> {
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let program = program.to_str().context("the path of this program is no text")?;
    let engine = cli::binary()?.to_str().context("the path of the engine is no text")?;
    let middle_ms = now_ms() - DAY_MS * i64::try_from(options.backups / 2)?;
    let middle = middle_ms.to_string();
    let keep = options.backups.saturating_sub(10).max(1).to_string();
    let there = ["--storage", storage, "--archive", ARCHIVE];
    let of_engine = |command: &str, rest: &[&str]| words(&[&[engine, command][..], &there, rest].concat());
    let prune = ["--max-backups", &keep];
    let cluster = ["--bootstrap-servers", bootstrap];
    let rows = [
        ("choose the newest", words(&[program, "choose", storage])),
        ("choose by time", words(&[program, "choose", storage, &middle])),
        ("totals", words(&[program, "contents", storage])),
        ("list", of_engine("list", &[])),
        ("prune, plan", of_engine("prune", &prune)),
        ("prune, 10 backups", of_engine("prune", &[&prune[..], &["--confirm"]].concat())),
        ("verify, manifests", of_engine("verify", &["--level", "manifest"])),
        ("backup of as many partitions and groups", of_engine("backup", &cluster)),
    ];
    Ok(rows.into_iter().map(|(name, command)| Row { name: name.to_owned(), command, restored: None }).collect())
}

/// Restores of the real backup, in their order. Their configurations are written to a folder.
fn restores(
    options: &Options,
    storage: &str,
    bootstrap: &str,
    point_in_time_ms: i64,
    configurations: &Path,
) -> Result<Vec<Row>> {
    let engine = cli::binary()?.to_str().context("the path of the engine is no text")?;
    let (partitions, groups) = (options.restored(), options.groups);
    let newest = Restored { id: "newest", partitions, groups, point_in_time_ms: None, records: 2 };
    let by_time =
        Restored { id: "then", groups: 0, point_in_time_ms: Some(point_in_time_ms), records: 1, ..newest.clone() };
    let one = partitions.min(PARTITIONS_OF_A_TOPIC);
    let of_one = Restored { id: "one", partitions: one, groups: 0, ..newest.clone() };
    let rows = [
        (format!("restore of the newest, {partitions} partitions and {groups} groups"), newest),
        (format!("restore by time, {partitions} partitions"), by_time),
        (format!("restore of the newest, one topic of {one} partitions"), of_one),
    ];
    let row = |(name, restored): (String, Restored)| -> Result<Row> {
        let path = configurations.join(format!("{}.json", restored.id));
        std::fs::write(&path, serde_json::to_vec(&restored.config(storage, bootstrap))?)
            .context("a configuration cannot be written")?;
        let path = path.to_str().context("the path of a configuration is no text")?;
        let command = words(&[engine, "restore", "--config", path]);
        Ok(Row { name, command, restored: Some(restored) })
    };
    rows.into_iter().map(row).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn topic_name(number: usize) -> String {
    format!("a-topic-with-a-name-{number:05}")
}

fn group_name(number: usize) -> String {
    format!("a-group-with-a-name-{number:05}")
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("cannot write to standard output")
}

fn told(requests: &BTreeMap<String, u64>) -> String {
    requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}
