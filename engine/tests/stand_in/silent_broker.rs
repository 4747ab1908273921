//! A broker of which partition after partition gives nothing, as one whose tiered storage is away.

use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome, lines};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::Broker;
use crate::configs::{self, PATIENCE};
use crate::topic::{Log, Topic};

/// A partition of one record.
fn one_record() -> Log {
    Log::of_noise(1, 100, 1)
}

/// So many partitions that give nothing.
fn dead(partitions: usize) -> impl Iterator<Item = Log> {
    let log = || {
        let log = one_record();
        log.state().is_silent = true;
        log
    };
    std::iter::repeat_with(log).take(partitions)
}

/// A broker with these partitions of the topic `remote`, and one of the topic `local` that gives its record.
async fn broker(remote: Vec<Log>) -> Broker {
    broker_of(vec![Topic::new("local", vec![one_record()]), Topic::new("remote", remote)]).await
}

/// A broker that answers at once.
async fn broker_of(topics: Vec<Topic>) -> Broker {
    let broker = Broker::start(topics).await;
    broker.answer_within(Duration::from_millis(5));
    broker
}

async fn back_up(broker: &Broker) -> BackupReport {
    back_up_with(broker, 2).await
}

async fn back_up_with(broker: &Broker, parallelism: usize) -> BackupReport {
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(broker, folder.path(), json!({ "parallelism": parallelism }));
    backup::run_with(PATIENCE, &config, &Progress::default(), &Stop::default()).await.unwrap()
}

/// How many requests named this partition first.
fn turns(broker: &Broker, topic: &str, partition: i32) -> usize {
    let fetches = broker.fetches();
    let first = fetches.iter().filter_map(|fetch| fetch.partitions.first());
    first.filter(|(name, number)| name == topic && *number == partition).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_of_a_silent_broker_has_its_turns_before_it_is_given_up() {
    let broker = broker(dead(20).collect()).await;
    let report = back_up(&broker).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert_eq!(report.problems.len(), 20, "{:?}", report.problems);
    let (silent, stalled) = given_up(&report, "remote", 20);
    assert_eq!((silent.is_empty(), silent.len() + stalled), (false, 20), "{:?}", report.problems);
    for partition in silent {
        let turns = turns(&broker, "remote", partition);
        assert!(turns >= 2, "remote-{partition} was the first of {turns} requests");
    }
}

/// The partitions of a topic that were given up with the whole broker, and how many were given up each by itself.
fn given_up(report: &BackupReport, topic: &str, partitions: i32) -> (Vec<i32>, usize) {
    let says = |partition: i32, text: &str| {
        let named = format!("partition {topic}-{partition} is not in the backup");
        report.problems.iter().any(|problem| problem.starts_with(&named) && problem.contains(text))
    };
    let silent = (0..partitions).filter(|partition| says(*partition, ", as it did for the ")).collect();
    (silent, (0..partitions).filter(|partition| says(*partition, ", although offsets up to ")).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_give_a_batch_in_their_turn_are_in_the_backup_behind_many_that_give_none() {
    const DEAD: usize = 12;
    let remote = || {
        let log = one_record();
        log.state().gives_only_as_first = true;
        log
    };
    let broker = broker(dead(DEAD).chain([remote(), remote(), remote()]).collect()).await;
    let report = back_up(&broker).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1 + 3), "{report:?}");
    assert_eq!(report.problems.len(), DEAD, "{:?}", report.problems);
}

/// A partition of a topic that was compacted once: it gives what is left of its first four records, and nothing of those up to its end.
fn cleaned_once(end_offset: i64) -> Log {
    let log = Log::of_noise(4, 100, 1);
    log.state().clean(1);
    log.state().ends_at = end_offset;
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_compacted_once_is_not_at_its_end_while_its_broker_is_silent() {
    // Its partitions are asked for before those that show that the broker is silent, and after them. So many offsets are asked for two
    // partitions at a time, while the others wait.
    tokio::join!(
        cleaned_once_on_a_silent_broker("a-cleaned", 7, 2),
        cleaned_once_on_a_silent_broker("z-cleaned", 7, 2),
        cleaned_once_on_a_silent_broker("a-cleaned", 60_000, 1),
    );
}

async fn cleaned_once_on_a_silent_broker(name: &str, end_offset: i64, parallelism: usize) {
    const DEAD: usize = 12;
    let cleaned = Topic::new(name, (0..3).map(|_| cleaned_once(end_offset)).collect());
    let local = Topic::new("local", vec![one_record()]);
    let broker = broker_of(vec![cleaned, local, Topic::new("remote", dead(DEAD).collect())]).await;
    let report = back_up_with(&broker, parallelism).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{name} to {end_offset}: {report:?}");
    assert_eq!(report.problems.len(), DEAD + 3, "{:?}", report.problems);
    assert_eq!(given_up(&report, name, 3), (vec![0, 1, 2], 0), "{:?}", report.problems);
    for partition in 0..3 {
        let turns = turns(&broker, name, partition);
        assert!(turns >= 2, "{name}-{partition} was the first of {turns} requests");
    }
    assert!(!report.warnings.iter().any(|warning| warning.contains(lines::TAKEN_FOR_CLEANED)), "{report:?}");
}
