//! Our backup and restore beside Kafka's own tools and the bare limit: the same machine, the same broker, the same topics.
//!
//! `docs/benchmark.md` says what is measured and how to read it. The exit code is 1 when something promised does not hold.

mod discard;
mod payload;
mod verdict;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use e2e::cli;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Version};
use e2e::measure::{self, Figures};
use e2e::runs::Repository;
use e2e::witness::{At, NewTopic, Witness};
use serde_json::Value;

use self::payload::Shape;
use self::verdict::{Compared, Row};

#[derive(Debug, Parser)]
#[command(about = "Measures backup and restore beside Kafka's own tools", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The topics to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "json,kilobyte,small,transactional")]
    topics: Vec<Shape>,
    /// Records of the JSON topic
    #[arg(long, default_value_t = 15_000_000)]
    json_records: u64,
    /// Records of the topic with 1 kB records
    #[arg(long, default_value_t = 500_000)]
    kilobyte_records: u64,
    /// Records of the topic with 100-byte records
    #[arg(long, default_value_t = 3_000_000)]
    small_records: u64,
    /// Records of the topic that is written in transactions
    #[arg(long, default_value_t = 500_000)]
    transactional_records: u64,
    /// Partitions of each topic
    #[arg(long, default_value_t = 64)]
    partitions: i32,
    /// The producer's batch.size; Kafka's default
    #[arg(long, default_value_t = 16_384)]
    batch_bytes: u32,
    /// Runs of everything that is measured, one after the other; medians are printed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Another kafka-backup, whose backups and restores are measured in the same runs
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// Workers of a backup and a restore, connections of fetch and discard
    #[arg(long, default_value_t = 4)]
    parallelism: usize,
}

/// What this program does as a child of itself.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(name = measure::SUBCOMMAND, hide = true)]
    Measure {
        #[arg(long)]
        result: PathBuf,
        #[arg(last = true)]
        command: Vec<String>,
    },
    #[command(name = discard::FETCH, hide = true)]
    FetchAndDiscard(What),
    #[command(name = discard::BACKUP, hide = true)]
    BackupAndDiscard(What),
}

/// What is read and thrown away.
#[derive(Debug, clap::Args)]
struct What {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    parallelism: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part {
        None => benchmark(&arguments.options),
        Some(Part::Measure { result, command }) => measure::measure(&result, &command).map(|()| true),
        Some(Part::FetchAndDiscard(what)) => say_count(discard::fetch_and_discard, &what),
        Some(Part::BackupAndDiscard(what)) => say_count(discard::backup_and_discard, &what),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say_count(discard: fn(&str, &str, usize) -> Result<u64>, what: &What) -> Result<bool> {
    let count = discard(&what.bootstrap, &what.topic, what.parallelism)?;
    say(&count.to_string()).map(|()| true)
}

/// Whether everything promised holds.
fn benchmark(options: &Options) -> Result<bool> {
    waiting_for("cargo to build kafka-backup for release (a few minutes the first time)");
    cli::binary()?;
    waiting_for("a broker to start (on the first run Maven fetches it: a minute or two)");
    let kafka = Kafka::start(KafkaOptions { heap_mb: 1024, is_benchmark: true, ..KafkaOptions::default() })?;
    say(&format!(
        "Apache Kafka {}, one broker; topics of {} partitions; batch.size {}; parallelism {}; medians of {} run(s)",
        Version::V4_3.number(),
        options.partitions,
        options.batch_bytes,
        options.parallelism,
        options.repeat
    ))?;
    let mut holds = true;
    for shape in &options.topics {
        let records = match shape {
            Shape::Json => options.json_records,
            Shape::Kilobyte => options.kilobyte_records,
            Shape::Small => options.small_records,
            Shape::Transactional => options.transactional_records,
        };
        holds &= Bench::new(&kafka, options, *shape, records)?.run()?;
    }
    Ok(holds)
}

/// One topic that is measured.
struct Bench<'a> {
    kafka: &'a Kafka,
    witness: Witness,
    bootstrap: String,
    options: &'a Options,
    shape: Shape,
    records: u64,
    folder: tempfile::TempDir,
}

/// The figures of every run of each kind, in the order in which they are printed.
#[derive(Default)]
struct Runs {
    discard: Vec<Figures>,
    discarding_backup: Vec<Figures>,
    free_backup: Vec<Figures>,
    free_compressing_backup: Vec<Figures>,
    backup: Vec<Figures>,
    other_backup: Vec<Figures>,
    consumer: Vec<Figures>,
    restore: Vec<Figures>,
    other_restore: Vec<Figures>,
    producer: Vec<Figures>,
}

impl<'a> Bench<'a> {
    fn new(kafka: &'a Kafka, options: &'a Options, shape: Shape, records: u64) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
        Ok(Self { kafka, witness, bootstrap, options, shape, records, folder })
    }

    fn run(&self) -> Result<bool> {
        waiting_for(&format!("{} records to be written: {}", self.records, self.shape.describe()));
        self.shape.write(&self.payload())?;
        let source = self.shape.name();
        // The broker's code is warm after it, for reading too once everything was fetched; neither run counts.
        self.produce(source)?;
        self.discard(discard::FETCH, source)?;

        let mut runs = Runs::default();
        let mut raw_bytes = 0;
        for number in 1..=self.options.repeat {
            waiting_for(&format!("run {number} of {}", self.options.repeat));
            runs.discard.push(self.discard(discard::FETCH, source)?);
            runs.discarding_backup.push(self.discard(discard::BACKUP, source)?);
            if Path::new(discard::FREE_STORAGE).is_dir() {
                let storage = || {
                    let folder = tempfile::tempdir_in(discard::FREE_STORAGE).context("no folder in memory")?;
                    anyhow::Ok(Repository::Folder(folder))
                };
                runs.free_backup.push(self.backup(source, &storage()?, "none")?.0);
                if self.shape.codec() == "none" {
                    runs.free_compressing_backup.push(self.backup(source, &storage()?, "zstd")?.0);
                }
            }
            let disk = Repository::folder()?;
            let (figures, report) = self.backup(source, &disk, "zstd")?;
            raw_bytes = report["bytes"].as_u64().context("a backup reports its bytes")?;
            runs.backup.push(figures);
            if let Some(other) = &self.options.against {
                let disk = Repository::folder()?;
                let backup = self.backup_command(source, "zstd");
                runs.other_backup.push(self.measure(Some(other), &disk, &backup)?.0);
                let restore = self.restore_command(source);
                runs.other_restore.push(self.restored(source, self.measure(Some(other), &disk, &restore)?.0)?);
            }
            runs.consumer.push(self.consume(source)?);
            runs.restore.push(self.restore(source, &disk)?);
            runs.producer.push(self.produce_beside(source)?);
        }
        self.witness.delete_topics(&[source])?;
        self.print(&runs, raw_bytes)
    }

    fn print(&self, runs: &Runs, raw_bytes: u64) -> Result<bool> {
        let rows = [
            ("fetch and discard", &runs.discard),
            ("backup and discard", &runs.discarding_backup),
            ("backup to memory, compression none", &runs.free_backup),
            ("backup to memory, compression zstd", &runs.free_compressing_backup),
            ("backup to disk, default settings", &runs.backup),
            ("backup to disk, the other program", &runs.other_backup),
            ("Kafka's ConsumerPerformance", &runs.consumer),
            ("restore from disk", &runs.restore),
            ("restore from disk, the other program", &runs.other_restore),
            ("Kafka's ProducerPerformance", &runs.producer),
        ];
        let rows: Vec<Row> = rows
            .into_iter()
            .filter(|(_, runs)| !runs.is_empty())
            .map(|(name, runs)| Row { name, figures: Figures::median(runs) })
            .collect();
        let compared = Compared {
            shape: self.shape,
            discard: Figures::median(&runs.discard),
            discarding_backup: Figures::median(&runs.discarding_backup),
            free_backup: (!runs.free_backup.is_empty()).then(|| Figures::median(&runs.free_backup)),
            backup: Figures::median(&runs.backup),
            restore: Figures::median(&runs.restore),
            other: self.options.against.is_some().then(|| verdict::Other {
                backup: Figures::median(&runs.other_backup),
                restore: Figures::median(&runs.other_restore),
            }),
            consumer: Figures::median(&runs.consumer),
            producer: Figures::median(&runs.producer),
        };
        let verdicts = verdict::verdicts(&compared);
        let (records, megabytes) = (self.records, raw_bytes / 1_000_000);
        say(&format!("\n{}: {records} records, {megabytes} MB of batches\n", self.shape.describe()))?;
        say(&verdict::table(&rows))?;
        for verdict in &verdicts {
            say(&verdict.to_string())?;
        }
        Ok(verdicts.iter().all(verdict::Verdict::holds))
    }

    fn payload(&self) -> PathBuf {
        self.folder.path().join("payload")
    }

    fn discard(&self, how: &'static str, topic: &str) -> Result<Figures> {
        let mut command = Command::new(std::env::current_exe().context("the path of this program is unknown")?);
        let parallelism = self.options.parallelism.to_string();
        command.args([how, "--bootstrap", &self.bootstrap, "--topic", topic]);
        command.args(["--parallelism", &parallelism]);
        let (figures, said) = measure::run(&command)?;
        let counted = said.trim().parse().ok();
        // Of its batches it reads the headers only, and counts offsets.
        self.count(how, if how == discard::FETCH { self.records_of(counted) } else { counted })?;
        Ok(figures)
    }

    fn backup(&self, topic: &str, repository: &Repository<'_>, compression: &str) -> Result<(Figures, Value)> {
        self.measure(None, repository, &self.backup_command(topic, compression))
    }

    fn backup_command(&self, topic: &str, compression: &str) -> Vec<String> {
        let parallelism = self.options.parallelism.to_string();
        let source = ["backup", "--bootstrap-servers", &self.bootstrap, "--archive", "bench", "--topics", topic];
        let how = ["--no-consumer-groups", "--compression", compression, "--parallelism", &parallelism];
        source.into_iter().chain(how).map(str::to_owned).collect()
    }

    fn restore(&self, topic: &str, repository: &Repository<'_>) -> Result<Figures> {
        let (figures, _) = self.measure(None, repository, &self.restore_command(topic))?;
        self.restored(topic, figures)
    }

    fn restore_command(&self, topic: &str) -> Vec<String> {
        let (parallelism, mapping) = (self.options.parallelism.to_string(), format!("{topic}={}", target_of(topic)));
        let source = ["restore", "--bootstrap-servers", &self.bootstrap, "--archive", "bench"];
        let how = ["--topic-mapping", &mapping, "--parallelism", &parallelism];
        source.into_iter().chain(how).map(str::to_owned).collect()
    }

    /// Looks whether everything is there, and makes room for the next one.
    fn restored(&self, topic: &str, figures: Figures) -> Result<Figures> {
        let target = target_of(topic);
        self.count("the restored topic", self.offsets(&target)?)?;
        self.witness.delete_topics(&[&target])?;
        Ok(figures)
    }

    /// Runs our program, or another one, and counts what its report says.
    fn measure(
        &self,
        program: Option<&PathBuf>,
        repository: &Repository<'_>,
        arguments: &[String],
    ) -> Result<(Figures, Value)> {
        let mut cli = repository.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let ours = cli.command_mut();
        let (figures, said) = match program {
            None => measure::run(ours)?,
            Some(program) => {
                let mut other = Command::new(program);
                other.args(ours.get_args());
                other.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
                measure::run(&other)?
            }
        };
        let report: Value = serde_json::from_str(&said).context("no report on standard output")?;
        self.count(&arguments[0], report["records"].as_u64())?;
        Ok((figures, report))
    }

    fn consume(&self, topic: &str) -> Result<Figures> {
        let mut command = self.kafka.tool_command("org.apache.kafka.tools.ConsumerPerformance")?;
        let records = self.records.to_string();
        command.args(["--bootstrap-server", &self.bootstrap, "--topic", topic, "--num-records", &records]);
        command.args(["--hide-header", "--timeout", "60000"]);
        let (figures, said) = measure::run(&command)?;
        // start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, ..
        let read = said.lines().last().and_then(|line| line.split(", ").nth(4)?.parse().ok());
        self.count("ConsumerPerformance", read)?;
        Ok(figures)
    }

    fn produce_beside(&self, source: &str) -> Result<Figures> {
        let topic = format!("{source}-beside");
        let figures = self.produce(&topic)?;
        self.witness.delete_topics(&[&topic])?;
        Ok(figures)
    }

    fn produce(&self, topic: &str) -> Result<Figures> {
        self.witness.create_topics(&[NewTopic::new(topic, self.options.partitions)])?;
        let mut command = self.kafka.tool_command("org.apache.kafka.tools.ProducerPerformance")?;
        let records = self.records.to_string();
        command.args(["--bootstrap-server", &self.bootstrap, "--topic", topic, "--num-records", &records]);
        command.args(["--throughput", "-1", "--reporting-interval", "600000", "--payload-file"]).arg(self.payload());
        command.arg("--command-property").arg(format!("compression.type={}", self.shape.codec()));
        command.arg(format!("batch.size={}", self.options.batch_bytes));
        command.args(self.shape.transactions());
        let (figures, _) = measure::run(&command)?;
        self.count("ProducerPerformance", self.records_of(self.offsets(topic)?))?;
        Ok(figures)
    }

    /// The records of so many offsets of a topic that was written by [`Self::produce`]: markers of transactions take offsets, too.
    fn records_of(&self, offsets: Option<u64>) -> Option<u64> {
        let has_markers = !self.shape.transactions().is_empty();
        if has_markers { offsets.map(|offsets| offsets.min(self.records)) } else { offsets }
    }

    /// A run that did less than the others would be no measurement.
    fn count(&self, what: &str, records: Option<u64>) -> Result<()> {
        ensure!(records == Some(self.records), "{what}: {records:?} records, where there are {}", self.records);
        Ok(())
    }

    fn offsets(&self, topic: &str) -> Result<Option<u64>> {
        let offsets = self.witness.offsets(topic, At::Latest)?.into_iter().sum::<i64>();
        Ok(u64::try_from(offsets).ok())
    }
}

fn target_of(topic: &str) -> String {
    format!("{topic}-restored")
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write to standard output")
}

fn waiting_for(what: &str) {
    eprintln!("bench: waiting for {what}");
}
