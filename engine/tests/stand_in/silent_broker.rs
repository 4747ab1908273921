//! A broker of which partition after partition gives nothing, as one whose tiered storage is away.

use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome};
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

/// A broker with these partitions of the topic `remote`, and one of the topic `local` that gives its record. It answers at once.
async fn broker(remote: Vec<Log>) -> Broker {
    let broker = Broker::start(vec![Topic::new("local", vec![one_record()]), Topic::new("remote", remote)]).await;
    broker.answer_within(Duration::from_millis(5));
    broker
}

async fn back_up(broker: &Broker) -> BackupReport {
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(broker, folder.path(), json!({ "parallelism": 2 }));
    backup::run_with(PATIENCE, &config, &Progress::default(), &Stop::default()).await.unwrap()
}

/// How many requests named this partition of the topic `remote` first.
fn turns(broker: &Broker, partition: i32) -> usize {
    let fetches = broker.fetches();
    let first = fetches.iter().filter_map(|fetch| fetch.partitions.first());
    first.filter(|(topic, number)| topic == "remote" && *number == partition).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_of_a_silent_broker_has_its_turns_before_it_is_given_up() {
    let broker = broker(dead(20).collect()).await;
    let report = back_up(&broker).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert_eq!(report.problems.len(), 20, "{:?}", report.problems);
    let (silent, stalled) = given_up(&report, 20);
    assert_eq!((silent.is_empty(), silent.len() + stalled), (false, 20), "{:?}", report.problems);
    for partition in silent {
        assert!(
            turns(&broker, partition) >= 2,
            "remote-{partition} was the first of {} requests",
            turns(&broker, partition)
        );
    }
}

/// The partitions of `remote` that were given up with the whole broker, and how many were given up each by itself.
fn given_up(report: &BackupReport, partitions: i32) -> (Vec<i32>, usize) {
    let says = |partition: i32, text: &str| {
        let named = format!("partition remote-{partition} is not in the backup");
        report.problems.iter().any(|problem| problem.starts_with(&named) && problem.contains(text))
    };
    let silent = (0..partitions).filter(|partition| says(*partition, ", as it did for the ")).collect();
    (silent, (0..partitions).filter(|partition| says(*partition, ", although the log reaches ")).count())
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
