//! Loses a cluster's topics and brings them back, in front of your eyes.
//!
//! A real broker, topics as they are in the wild, a consumer group; a backup, the loss of everything, a restore to a point
//! in time; and a comparison, record by record, by a client that is not ours. It fails when anything differs.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::compare::{self, Rules};
use e2e::dump::{self, Record, Records};
use e2e::kafka::{Kafka, KafkaOptions, Listener, Version};
use e2e::runs::Repository;
use e2e::witness::{At, Commit, Isolation, NewTopic, Position, Properties, Topic, Witness, properties};
use e2e::{cache, cli};
use serde_json::Value;

/// When the data begins, in milliseconds since 1970; it spans an hour.
const START_MS: i64 = 1_700_000_000_000;
const MINUTE_MS: i64 = 60_000;
/// The point in time, three quarters into the data, as the command line takes it and in milliseconds since 1970.
const POINT_IN_TIME: (&str, i64) = ("2023-11-14T22:58:20.000Z", START_MS + 45 * MINUTE_MS);

const ORDERS: &str = "orders";
const PAYMENTS: &str = "payments";
const CUSTOMERS: &str = "customers";
const TOPICS: [&str; 3] = [ORDERS, PAYMENTS, CUSTOMERS];
const GROUP: &str = "billing";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    cache::jdk()?;
    waiting_for("cargo to build kafka-backup (a few minutes the first time)");
    cli::binary()?;
    waiting_for("a broker to start (on the first run Maven fetches it: a minute or two)");
    let kafka = Kafka::start(KafkaOptions::default())?;
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    say(format_args!("broker     Apache Kafka {} at {bootstrap}, started for this demo", Version::V4_3.number()))?;

    waiting_for("topics to be written, and the log cleaner to compact one");
    orders(&witness)?;
    payments(&witness)?;
    customers(&witness)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let before = Snapshot::take(&witness, &folder.path().join("before"))?;
    let commits = commit(&witness)?;
    say(format_args!("{ORDERS:10} {} records with keys and headers; a codec a partition", before.records(0)))?;
    say(format_args!("{PAYMENTS:10} {} records of committed transactions, aborted ones between", before.records(1)))?;
    say(format_args!("{CUSTOMERS:10} {} records that the log cleaner left", before.records(2)))?;
    let (in_holes, at_ends) = unusual(&witness, &commits)?;
    say(format_args!(
        "group      {GROUP} has committed {} offsets, {in_holes} of them where no record is, {at_ends} at an end",
        commits.len()
    ))?;

    let repository = Repository::folder()?;
    let backup = report(&repository, &["backup", "--bootstrap-servers", &bootstrap, "--archive", "demo"])?;
    let backup_id = backup["backupId"].as_str().context("the report of a backup names it")?;
    say(format_args!(
        "backup     {backup_id}: {} records, {} bytes of batches, {} bytes stored, {} ms",
        backup["records"], backup["bytes"], backup["storedBytes"], backup["durationMs"]
    ))?;
    report(&repository, &["verify", "--backup", backup_id, "--level", "records"])?;
    say(format_args!("verify     every stored byte is what was written"))?;

    destroy(&witness)?;
    say(format_args!("destroyed  the topics, and the group with its offsets"))?;

    let restore = [
        "restore",
        "--bootstrap-servers",
        &bootstrap,
        "--archive",
        "demo",
        "--point-in-time",
        POINT_IN_TIME.0,
        "--consumer-groups",
    ];
    let restored = report(&repository, &restore)?;
    say(format_args!(
        "restore    to {}: {} records, {} ms",
        POINT_IN_TIME.0, restored["records"], restored["durationMs"]
    ))?;

    let after = Snapshot::take(&witness, &folder.path().join("after"))?;
    same_records(&before, &after, folder.path())?;
    same_topics(&before, &after)?;
    group_goes_on(&witness, &commits, &folder.path().join("before"))?;
    adds_nothing_twice(&witness, &repository, &restore)?;
    say(format_args!("done       everything that was to come back did, and nothing else; ending the broker"))
}

/// Every codec, keys, headers, and every tenth record late by ten minutes: timestamps are not in order.
fn orders(witness: &Witness) -> Result<()> {
    const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
    const RECORDS: i64 = 3_000;
    witness.create_topics(&[NewTopic::new(ORDERS, 5).with("retention.ms", "604800000000")])?;
    for (partition, codec) in (0..).zip(CODECS) {
        let record = |number: i64| {
            let late_ms = if number % 10 == 9 { 10 * MINUTE_MS } else { 0 };
            let time_ms = START_MS + number * 60 * MINUTE_MS / RECORDS - late_ms;
            let value = format!(r#"{{"order":{number},"partition":{partition},"amount":{}}}"#, number * 37 % 10_000);
            Record::new(partition, time_ms, format!("customer-{}", number % 97), value)
                .with_header("trace", Some(&number.to_be_bytes()))
                .with_header("trace", None)
        };
        let records: Vec<Record> = (0..RECORDS).map(record).collect();
        let config = properties([("compression.type", codec), ("linger.ms", "20"), ("batch.size", "16000")]);
        witness.produce(ORDERS, &config, &records)?;
    }
    Ok(())
}

/// Transactions over all partitions, every third of them aborted, the last one too.
fn payments(witness: &Witness) -> Result<()> {
    const PARTITIONS: i32 = 3;
    const TRANSACTIONS: i64 = 60;
    witness.create_topics(&[NewTopic::new(PAYMENTS, PARTITIONS)])?;
    let producer =
        witness.producer(&properties([("transactional.id", "payments-writer"), ("compression.type", "lz4")]))?;
    for transaction in 0..TRANSACTIONS {
        let time_ms = START_MS + transaction * MINUTE_MS;
        let record = |number: i32| {
            let key = format!("payment-{transaction}-{number}");
            Record::new(number % PARTITIONS, time_ms + i64::from(number), key, format!("of transaction {transaction}"))
        };
        let records: Vec<Record> = (0..30).map(record).collect();
        producer.begin()?;
        producer.send(PAYMENTS, &records)?;
        if transaction % 3 == 2 { producer.abort()? } else { producer.commit()? }
    }
    producer.close()
}

/// Keys that are written over and deleted, and a log cleaner that has been there: offsets with holes.
fn customers(witness: &Witness) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(120);
    const KEYS: usize = 200;
    let topic = NewTopic::new(CUSTOMERS, 2)
        .with("cleanup.policy", "compact")
        .with("min.cleanable.dirty.ratio", "0.01")
        .with("segment.ms", MINUTE_MS);
    witness.create_topics(&[topic])?;
    let mut written = 0;
    // Segments roll by the records' own time; only what is rolled is cleaned, and the last two records see to that.
    for (round, minute) in (1_usize..).zip([0, 10, 20, 30, 40, 50, 52]) {
        let record = |key: usize| {
            let partition = i32::from(key % 2 == 1);
            let record =
                Record::new(partition, START_MS + minute * MINUTE_MS, format!("customer-{key}"), format!("v{round}"));
            // A tombstone, now and then.
            if (key + round).is_multiple_of(11) { Record { value: None, ..record } } else { record }
        };
        let is_written = |key: &usize| if minute >= 50 { *key < 2 } else { key.is_multiple_of(round) };
        let records: Vec<Record> = (0..KEYS).filter(is_written).map(record).collect();
        witness.produce(CUSTOMERS, &Properties::new(), &records)?;
        written += records.len() as u64;
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut left, mut since) = (written, Instant::now());
    while left == written || since.elapsed() < Duration::from_secs(2) {
        ensure!(Instant::now() < deadline, "the log cleaner left {CUSTOMERS} as it was for {} s", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(200));
        let read = witness.digest(CUSTOMERS, Isolation::Uncommitted)?;
        let now_left = read.iter().map(|partition| partition.records).sum();
        if now_left != left {
            (left, since) = (now_left, Instant::now());
        }
    }
    // Were it to go on, the copy and what it is compared with would be cleaned at different times.
    witness.alter_topic(CUSTOMERS, &properties([("min.compaction.lag.ms", "31536000000000")]), &[])
}

/// What the Java client reads of all topics at one moment.
struct Snapshot {
    topics: Vec<(Topic, u64)>,
}

impl Snapshot {
    fn take(witness: &Witness, folder: &Path) -> Result<Self> {
        let topic = |name: &str| {
            let read = witness.dump(name, &folder.join(name))?;
            Ok((witness.describe_topic(name)?, read.iter().map(|partition| partition.records).sum()))
        };
        Ok(Self { topics: TOPICS.into_iter().map(topic).collect::<Result<_>>()? })
    }

    fn records(&self, topic: usize) -> u64 {
        self.topics[topic].1
    }
}

/// One offset a partition, spread over the log up to its end, so that some lie on holes and aborted records.
fn commit(witness: &Witness) -> Result<Vec<Position>> {
    let mut positions = Vec::new();
    for topic in TOPICS {
        let ends = witness.offsets(topic, At::Stable)?;
        let steps = i64::try_from(ends.len())?;
        for (partition, end_offset) in (0_i32..).zip(ends) {
            let offset = end_offset * i64::from(partition + 1) / steps;
            positions.push(Position::new(topic, partition, offset));
        }
    }
    let commits: Vec<Commit> = positions.iter().cloned().map(Commit::from).collect();
    witness.commit_offsets(GROUP, &commits)?;
    Ok(positions)
}

/// How many of the positions have no record to read at them, and how many none after them either.
fn unusual(witness: &Witness, commits: &[Position]) -> Result<(usize, usize)> {
    let next = witness.next_records(commits)?;
    let at_ends = next.iter().filter(|record| record.is_none()).count();
    let stands_later =
        |(at, next): &(&Position, &Option<Record>)| next.as_ref().is_some_and(|record| record.offset > at.offset);
    let in_holes = commits.iter().zip(&next).filter(stands_later).count();
    ensure!(in_holes > 0 && at_ends > 0, "the committed offsets are too tame to prove anything: {commits:?}");
    Ok((in_holes, at_ends))
}

fn destroy(witness: &Witness) -> Result<()> {
    witness.delete_group(GROUP)?;
    witness.delete_topics(&TOPICS)?;
    for topic in TOPICS {
        ensure!(witness.describe_topic(topic).is_err(), "{topic} is still there");
    }
    ensure!(witness.list_groups()?.iter().all(|group| group.group != GROUP), "{GROUP} is still there");
    Ok(())
}

fn same_records(before: &Snapshot, after: &Snapshot, folder: &Path) -> Result<()> {
    let is_in_time = |record: &Record| record.timestamp_ms <= POINT_IN_TIME.1;
    let mut records = 0;
    for topic in TOPICS {
        let (expected, actual) = (folder.join("before").join(topic), folder.join("after").join(topic));
        let compared = compare::selected(&expected, &actual, Rules::RESTORED, is_in_time)
            .with_context(|| format!("{topic} came back with a difference"))?;
        records += compared.records;
    }
    let (all, back): (u64, u64) = (before.topics.iter().map(|(_, records)| records).sum(), records);
    ensure!(back == after.topics.iter().map(|(_, records)| records).sum::<u64>(), "records were not compared");
    ensure!(
        0 < back && back < all,
        "the point in time cut nothing off, so nothing was proved: {back} of {all} records"
    );
    say(format_args!(
        "proved     {back} of {all} records are at or before that time, and those came back equal: partition, order, key, \
         value, headers, timestamp"
    ))
}

fn same_topics(before: &Snapshot, after: &Snapshot) -> Result<()> {
    for ((before, _), (after, _)) in before.topics.iter().zip(&after.topics) {
        ensure!(before.id != after.id, "{} was never destroyed", before.name);
        ensure!(
            before.partitions.len() == after.partitions.len() && before.configs == after.configs,
            "{} is another topic: {before:?} came back as {after:?}",
            before.name
        );
    }
    say(format_args!("proved     partitions and settings of the topics are those from before, by new topic ids"))
}

fn group_goes_on(witness: &Witness, commits: &[Position], before: &Path) -> Result<()> {
    let partitions: Vec<(&str, i32)> = commits.iter().map(|at| (at.topic.as_str(), at.partition)).collect();
    let found = witness.next_of_group(GROUP, &partitions)?;
    for (at, found) in commits.iter().zip(&found) {
        let expected = next_restored(before, at)?;
        let is_equal = match (&expected, found) {
            (None, None) => true,
            (Some(expected), Some(found)) => compare::difference(expected, found, Rules::RESTORED).is_none(),
            _ => false,
        };
        if !is_equal {
            bail!("{GROUP} at {at:?} would have read {expected:?}, and now reads {found:?}");
        }
    }
    say(format_args!(
        "proved     {GROUP} goes on at the next record it would have read, in {} partitions",
        commits.len()
    ))
}

/// The first record at or after a position that the point in time keeps.
fn next_restored(before: &Path, at: &Position) -> Result<Option<Record>> {
    let mut records = Records::open(&dump::file_of(&before.join(&at.topic), at.partition))?;
    let is_next = |record: &Record| record.offset >= at.offset && record.timestamp_ms <= POINT_IN_TIME.1;
    records.find(|record| record.as_ref().map_or(true, is_next)).transpose()
}

fn adds_nothing_twice(witness: &Witness, repository: &Repository<'_>, restore: &[&str]) -> Result<()> {
    let ends = || TOPICS.iter().map(|topic| witness.offsets(topic, At::Latest)).collect::<Result<Vec<_>>>();
    let before = ends()?;
    report(repository, restore)?;
    ensure!(ends()? == before, "the same restore, run again, added records");
    say(format_args!("proved     the same restore, run again, adds nothing"))
}

/// Runs the binary, which must succeed with nothing left to be desired.
fn report(repository: &Repository<'_>, arguments: &[&str]) -> Result<Value> {
    let ended = repository.run(arguments)?;
    let line = arguments.join(" ");
    ensure!(ended.code == Some(0), "kafka-backup {line} ended with {:?}:\n{}", ended.code, ended.stderr);
    ended.json().with_context(|| format!("kafka-backup {line}"))
}

fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("cannot write to standard output")
}

fn waiting_for(what: &str) {
    eprintln!("demo: waiting for {what}");
}
