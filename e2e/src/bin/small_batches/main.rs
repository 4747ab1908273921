//! What a restore of batches of one to three records takes over a line with a long round trip.
//!
//! It starts a broker whose clients are led through a proxy that delays every byte, fills a topic as a producer without
//! `linger.ms` does, and restores a backup of it: as it is done by default, with `--keep-batches`, and with another build of
//! the program, if there is one:
//!
//! ```text
//! cargo run --release -p e2e --bin small_batches -- --before /builds/6cdc683
//! ```

mod far_line;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::measure::{self, Figures};
use e2e::witness::{Generate, Isolation, NewTopic, Shape, Witness, properties};
use e2e::{cli, unique};
use serde_json::Value;

use self::far_line::FarLine;

#[derive(Debug, Parser)]
#[command(about = "Measures restores of small batches over a long line", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Records of the topic
    #[arg(long, default_value_t = 300_000)]
    records: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 64)]
    partitions: i32,
    /// Bytes of each value
    #[arg(long, default_value_t = 100)]
    value_bytes: u32,
    /// The producer's batch.size
    #[arg(long, default_value_t = 400)]
    batch_bytes: u32,
    /// The producer's compression.type
    #[arg(long, default_value = "none")]
    codec: String,
    /// Milliseconds that a request and its answer take on the line
    #[arg(long, default_value_t = 20)]
    round_trip_ms: u64,
    /// Workers of a restore
    #[arg(long, default_value_t = 4)]
    parallelism: usize,
    /// A folder with another build of kafka-backup
    #[arg(long)]
    before: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
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
        None => benchmark(&options),
        Some(Part::Measure { result, command }) => measure::measure(&result, &command),
    }
}

fn benchmark(options: &Options) -> Result<()> {
    let now = cli::binary()?.clone();
    let line = FarLine::start()?;
    let advertised = ("advertised.listeners".to_owned(), format!("PLAIN://127.0.0.1:{}", line.port()));
    let kafka = Kafka::start(KafkaOptions {
        extra_properties: vec![advertised],
        heap_mb: 1024,
        is_benchmark: true,
        ..KafkaOptions::default()
    })?;
    let near = kafka.bootstrap(Listener::Plain);
    line.lead_to(near.rsplit(':').next().and_then(|port| port.parse().ok()).context("the broker has no port")?);
    let bench = Bench { options, witness: kafka.witness(), bootstrap: near, line, source: unique("small") };
    bench.fill()?;
    let mut rows = Vec::new();
    if let Some(folder) = &options.before {
        rows.push(bench.restore("before", &folder.join("kafka-backup"), &[])?);
    }
    rows.push(bench.restore("now, --keep-batches", &now, &["--keep-batches"])?);
    rows.push(bench.restore("now", &now, &[])?);
    bench.print(&rows);
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    witness: Witness,
    bootstrap: String,
    line: FarLine,
    source: String,
}

/// One restore.
struct Row {
    name: &'static str,
    batches: u64,
    figures: Figures,
}

impl Bench<'_> {
    fn fill(&self) -> Result<()> {
        let Options { records, partitions, value_bytes, batch_bytes, codec, .. } = self.options;
        eprintln!("{records} records are written");
        self.witness.create_topics(&[NewTopic::new(&self.source, *partitions)])?;
        self.witness.generate(&Generate {
            topic: self.source.clone(),
            partitions: *partitions,
            records: *records,
            seed: 1,
            shape: Shape::Random,
            value_bytes: *value_bytes,
            keys: 1000,
            timestamp_ms: 1_700_000_000_000,
            config: properties([
                ("batch.size", batch_bytes.to_string().as_str()),
                ("linger.ms", "0"),
                ("compression.type", codec),
            ]),
        })
    }

    fn restore(&self, name: &'static str, program: &Path, more: &[&str]) -> Result<Row> {
        eprintln!("{name}");
        let folder = tempfile::tempdir().context("no folder for the archive")?;
        let storage = format!("file://{}", folder.path().display());
        let common =
            ["--bootstrap-servers", &self.bootstrap, "--storage", &storage, "--archive", "a", "--output", "json"];
        let mut backup = Command::new(program);
        backup.arg("backup").args(common).args(["--topics", &self.source]);
        measure::run(&backup)?;
        let target = unique("back");
        let mut restore = Command::new(program);
        restore.arg("restore").args(common).args(["--topic-mapping", &format!("{}={target}", self.source)]);
        restore.args(["--parallelism", &self.options.parallelism.to_string()]).args(more);
        self.line.set_round_trip(Duration::from_millis(self.options.round_trip_ms));
        let measured = measure::run(&restore);
        self.line.set_round_trip(Duration::ZERO);
        let (figures, report) = measured?;
        let report: Value = serde_json::from_str(&report).context("the report is no JSON")?;
        ensure!(report["records"] == self.options.records, "{report}");
        let digests = |topic: &str| -> Result<Vec<String>> {
            let read = self.witness.digest(topic, Isolation::Committed)?;
            Ok(read.into_iter().map(|partition| partition.digest).collect())
        };
        ensure!(digests(&self.source)? == digests(&target)?, "{name}: other records came back");
        self.witness.delete_topics(&[&target])?;
        let batches = report["topics"][0]["passed"].as_u64().context("a restore reports its batches")?;
        Ok(Row { name, batches, figures })
    }

    #[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
    fn print(&self, rows: &[Row]) {
        let Options { records, partitions, codec, round_trip_ms, parallelism, .. } = self.options;
        let batches = rows.last().map_or(0, |row| row.batches);
        println!(
            "{records} records in {batches} batches (codec {codec}) of {partitions} partitions, round trip {round_trip_ms} ms, \
             parallelism {parallelism}\n"
        );
        println!("{:<22}{:>9}{:>11}{:>9}{:>10}{:>9}", "restore", "wall s", "batches/s", "CPU s", "peak MiB", "ratio");
        let first = rows.first().map_or(0.0, |row| row.figures.wall_s);
        for Row { name, batches, figures: Figures { cpu_s, wall_s, peak_mib } } in rows {
            let rate = *batches as f64 / wall_s;
            println!("{name:<22}{wall_s:>9.2}{rate:>11.0}{cpu_s:>9.2}{peak_mib:>10.0}{:>9.1}", first / wall_s);
        }
    }
}
