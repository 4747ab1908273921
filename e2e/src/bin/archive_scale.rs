//! What commands cost in a large archive, in a store that is far away: requests, time and memory of each.
//!
//! It starts MinIO and a proxy that delays each request, fills an archive with backups whose manifests have one shape, and runs each
//! command as a child process whose address space is limited. The large one, which takes 30 GB of disk:
//!
//! ```text
//! cargo run --release -p e2e --bin archive_scale -- --backups 2000 --partitions 10000 --groups 5000
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use e2e::minio::{Minio, MinioOptions, REGION};
use e2e::slow_proxy::SlowProxy;
use e2e::{cli, measure};
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::facts::{BackupFacts, FactsDetails, Holdings};
use kafka_backup::format::layout::{self, BackupId, PartId, SegmentId};
use kafka_backup::format::manifest::{
    ArchiveOwner, CommittedOffset, Group, Manifest, Part, PartRef, PartitionSummary, Repository, TopicRuns,
    TopicSummary, VERSION,
};
use kafka_backup::format::run::{Content, Run};
use kafka_backup::format::segment::{SegmentRef, TopicKey};
use kafka_backup::repository::Archive;
use kafka_backup::store::Store;

const ARCHIVE: &str = "large";
const DAY_MS: i64 = 86_400_000;
const PARTITIONS_OF_A_TOPIC: usize = 100;
const OFFSETS_OF_A_GROUP: usize = 20;
const SEGMENT: &[u8] = b"it is counted and never opened";

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
    /// Address space of each command, in MiB
    #[arg(long, default_value_t = 512)]
    memory_mib: u64,
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
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let program = program.to_str().context("the path of this program is no text")?;
    let engine = cli::binary()?.to_str().context("the path of the engine is no text")?;

    let credentials = std::env::temp_dir().join(e2e::unique("archive-scale-credentials"));
    let filled = {
        let [(_, id), (_, secret)] = minio.environment();
        std::fs::write(
            &credentials,
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"),
        )
        .context("the credentials cannot be written")?;
        let with_credentials = format!("{near}&credentials_file={}", credentials.display());
        runtime()?.block_on(fill(&with_credentials, options))
    };
    // Best effort: it opens nothing but a server that ends with this process.
    let _ = std::fs::remove_file(&credentials);
    let manifest_bytes = filled?;
    println!(
        "{} backups of {} partitions and {} groups: manifests of {:.1} MB; {} ms a request; {} MiB",
        options.backups,
        options.partitions,
        options.groups,
        manifest_bytes as f64 / 1e6,
        options.delay_ms,
        options.memory_mib
    );
    println!("| command | requests | manifests opened | wall s | CPU s | peak MiB |\n|---|---|---|---|---|---|");
    let middle = (now_ms()? - DAY_MS * i64::try_from(options.backups / 2)?).to_string();
    let keep = options.backups.saturating_sub(10).max(1).to_string();
    let prune = [engine, "prune", "--storage", &far, "--archive", ARCHIVE, "--max-backups", &keep];
    let commands: [(&str, Vec<&str>); 7] = [
        ("choose the newest", vec![program, "choose", &far]),
        ("choose by time", vec![program, "choose", &far, &middle]),
        ("totals", vec![program, "contents", &far]),
        ("list", vec![engine, "list", "--storage", &far, "--archive", ARCHIVE]),
        ("prune, plan", prune.to_vec()),
        ("prune, 10 backups", [&prune[..], &["--confirm"]].concat()),
        ("verify, manifests", vec![engine, "verify", "--storage", &far, "--archive", ARCHIVE, "--level", "manifest"]),
    ];
    for (name, command) in commands {
        let mut limited = Command::new("/bin/sh");
        let limit = format!("ulimit -v {} && exec \"$@\"", options.memory_mib * 1024);
        // Each arena of the allocator takes 64 MiB of address space, and none of memory.
        limited.args(["-c", &limit, "sh"]).args(&command).env("MALLOC_ARENA_MAX", "2").envs(minio.environment());
        proxy.take_requests();
        match measure::run(&limited) {
            Ok((figures, _)) => {
                let requests = proxy.take_requests();
                let opened = requests.get("GET manifest").copied().unwrap_or_default();
                println!(
                    "| {name} | {} ({}) | {opened} | {:.1} | {:.1} | {:.0} |",
                    requests.values().sum::<u64>(),
                    told(&requests),
                    figures.wall_s,
                    figures.cpu_s,
                    figures.peak_mib
                );
            }
            Err(error) => println!("| {name} | failed: {error:#} |"),
        }
    }
    Ok(())
}

fn told(requests: &BTreeMap<String, u64>) -> String {
    requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_millis())?)
}

/// Fills the archive with daily backups up to today; the size of a manifest in bytes.
async fn fill(storage: &str, options: &Options) -> Result<usize> {
    let archive = archive(storage).await?;
    let Archive { store, keys, .. } = &archive;
    let owner = ArchiveOwner {
        group: None,
        kind: None,
        namespace: None,
        name: ARCHIVE.to_owned(),
        uid: None,
        source_cluster_id: "source".to_owned(),
    };
    let repository = Repository { id: "00000000-0000-0000-0000-000000000001".parse()? };
    let sealed = document::seal(DocumentKind::Repository, VERSION, Encoding::Json, &repository);
    store.put(layout::REPOSITORY, sealed.into()).await?;
    store.put(&keys.archive(), document::seal(DocumentKind::Archive, VERSION, Encoding::Json, &owner).into()).await?;
    let mut manifest = manifest(options)?;
    let now_ms = now_ms()?;
    let mut bytes = 0;
    for number in 0..options.backups {
        let cut_at_ms = now_ms - DAY_MS * i64::try_from(options.backups - number)?;
        let id: BackupId = format!("large-{number:06}").parse()?;
        let part = part(&id, &manifest);
        let sealed = part.seal(DocumentKind::Part);
        let named = PartRef::new(PartId::new(&id, 1, 0), &part, &sealed);
        store.put(&keys.segment(&part.segments[0].id), SEGMENT.into()).await?;
        store.put(&keys.part(&named.id), sealed.into()).await?;
        (manifest.backup_id, manifest.cut_at_ms, manifest.completed_at_ms) = (id, cut_at_ms, cut_at_ms + 1);
        manifest.parts = vec![named];
        let object = manifest.seal();
        bytes = object.len();
        let facts = BackupFacts::of(&manifest, &object, Some(Holdings::of(&manifest, &part.segments)));
        let name = facts.name().context("facts without a name")?;
        store.put(&keys.facts(&manifest.backup_id, &name), FactsDetails::of(&manifest).seal().into()).await?;
        store.put(&keys.manifest(&manifest.backup_id), object.into()).await?;
        if number % 100 == 99 {
            eprintln!("{} of {} backups", number + 1, options.backups);
        }
    }
    Ok(bytes)
}

/// One segment with a run of each partition.
fn part(id: &BackupId, manifest: &Manifest) -> Part {
    let segment = SegmentRef {
        id: SegmentId::new(id, 1, 0, 0),
        bytes: SEGMENT.len() as u64,
        index_sha256: document::sha256_hex(SEGMENT),
    };
    let run = |partition: &PartitionSummary| Run {
        partition: partition.partition,
        start_offset: partition.start_offset,
        end_offset: partition.end_offset,
        position: 0,
        leader_epoch: 0,
        crc32c: 0,
        content: partition.content,
    };
    let runs = |topic: &TopicSummary| TopicRuns {
        topic: topic.topic.clone(),
        runs: topic.partitions.iter().map(|partition| (0, run(partition))).collect(),
    };
    Part { segments: vec![segment], topics: manifest.topics.iter().map(runs).collect() }
}

/// The manifest of every backup, without its id, times and parts.
fn manifest(options: &Options) -> Result<Manifest> {
    let content = Content { batches: 900, records: 1_000_000, raw_bytes: 123_456_789, ..Content::default() };
    let mut topics = Vec::new();
    for number in 0..options.partitions.div_ceil(PARTITIONS_OF_A_TOPIC) {
        let partitions = PARTITIONS_OF_A_TOPIC.min(options.partitions - number * PARTITIONS_OF_A_TOPIC);
        let partition = |partition| {
            let partition = i32::try_from(partition)?;
            Ok(PartitionSummary { partition, start_offset: 1_000_000, end_offset: 2_000_000, content })
        };
        topics.push(TopicSummary {
            topic: TopicKey {
                name: format!("a-topic-with-a-name-{number:05}"),
                id: format!("00000000-0000-0000-0000-{number:012}").parse()?,
            },
            replication_factor: 3,
            configs: [("retention.ms".to_owned(), "604800000".to_owned())].into(),
            partitions: (0..partitions).map(partition).collect::<Result<_>>()?,
        });
    }
    let group = |number: usize| Group {
        id: format!("a-group-with-a-name-{number:05}"),
        protocol: "classic".to_owned(),
        offsets: (0..OFFSETS_OF_A_GROUP)
            .map(|partition| CommittedOffset {
                topic: format!("a-topic-with-a-name-{:05}", number % 100),
                partition: i32::try_from(partition).unwrap_or_default(),
                offset: 1_500_000,
                leader_epoch: 7,
                metadata: String::new(),
            })
            .collect(),
    };
    let mut all = Content::default();
    topics.iter().for_each(|topic| all.add(&topic.content()));
    Ok(Manifest {
        backup_id: "large".parse()?,
        archive: ARCHIVE.parse()?,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        source_cluster_id: "source".to_owned(),
        cut_at_ms: 0,
        completed_at_ms: 0,
        topics,
        groups: (0..options.groups).map(group).collect(),
        parts: Vec::new(),
        open_transactions: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        content: all,
        segment_bytes: SEGMENT.len() as u64,
        include_offset_headers: false,
        source_cluster_label: None,
    })
}
