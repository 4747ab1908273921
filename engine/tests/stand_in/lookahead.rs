//! Transactions that a response does not list as aborted, and whose end is further on in the log.

use std::sync::{Arc, Mutex};

use kafka_backup::backup::{self, BackupReport, Outcome};
use kafka_backup::format::manifest::PartitionSummary;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::verify;
use serde_json::json;

use crate::broker::Broker;
use crate::configs;
use crate::topic::Asked::{All, Stable};
use crate::topic::{Aborted, Asked, Log, Topic};

const PRODUCER: i64 = 1;
/// Bytes of the value of a batch that a response holds together with others.
const SMALL: usize = 100;
/// What the backup says of a transaction of which the log does not tell whether it was aborted.
const UNTOLD: &str = "whether transactions from offset 0 on were committed or aborted is not known";

/// What a backup of one topic came to.
struct BackedUp {
    report: BackupReport,
    /// What the manifest says of each partition.
    partitions: Vec<PartitionSummary>,
    /// What each partition was asked for.
    asked: Vec<Vec<Asked>>,
}

/// Backs up a topic with one worker; all segments must be whole.
async fn backed_up(topic: Topic) -> BackedUp {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![topic]).await;
    let config = configs::backup(&broker, folder.path(), json!({ "parallelism": 1 }));
    let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    let verified = verify::run(&configs::verify(folder.path()), &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!(verified.outcome, verify::Outcome::Intact, "{:?}", verified.findings);
    let partitions = configs::manifest(folder.path(), &report.backup_id).await.topics[0].partitions.clone();
    let asked = broker.topics()[0].partitions.iter().map(|log| log.state().asked.clone()).collect();
    BackedUp { report, partitions, asked }
}

/// Backs up a partition whose transactions are all decided, and returns its records, its aborted offsets, and what it was asked for.
async fn decided(topic: Topic) -> (u64, u64, Vec<Asked>) {
    let BackedUp { report, partitions, mut asked } = backed_up(topic).await;
    assert!(!is_untold(&report), "{:?}", report.warnings);
    (report.records, partitions[0].content.holes.aborted, asked.remove(0))
}

fn is_untold(report: &BackupReport) -> bool {
    report.warnings.iter().any(|warning| warning.contains(UNTOLD))
}

/// A log that begins with a batch of a transaction of so many bytes.
fn begun(value_bytes: usize) -> Log {
    let log = Log::default();
    log.state().write_bytes_in_transaction(PRODUCER, value_bytes);
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_looked_for_among_stable_batches_first_and_then_among_all() {
    let log = begun(700_000);
    log.state().write("a");
    log.state().last_stable_offset = Some(2);
    log.state().abort(PRODUCER);
    let (records, aborted, asked) = decided(Topic::new("orders", vec![log])).await;
    assert_eq!((records, aborted), (1, 1));
    assert_eq!(asked, [Stable(0), Stable(1), All(2), Stable(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_requests_for_stable_batches_bring_none_all_are_asked_for_until_a_stable_one_comes() {
    let log = begun(700_000);
    ["a", "b", "c"].iter().for_each(|key| log.state().write(key));
    log.state().abort(PRODUCER);
    // A response that ends behind the second record of others lists the transaction.
    log.state().aborted = vec![Aborted { producer_id: PRODUCER, first_offset: 0, last_offset: 4, listed_from: 3 }];
    let log = log.with(|log, _| {
        let silent = log.asked.iter().filter(|asked| **asked == Stable(1)).count();
        log.is_silent = log.asked.last() == Some(&Stable(1)) && silent <= 2;
    });
    let (records, aborted, asked) = decided(Topic::new("orders", vec![log])).await;
    assert_eq!((records, aborted), (3, 1));
    let of_the_search = [Stable(1), Stable(1), All(1), Stable(2)];
    assert_eq!(asked, [&[Stable(0)][..], &of_the_search, &[Stable(1), Stable(2), Stable(3)]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_end_does_not_come_is_asked_for_again_without_what_was_decided_before_it() {
    let log = Log::default();
    log.state().write_bytes("a", SMALL);
    log.state().write_bytes_in_transaction(PRODUCER, SMALL);
    log.state().last_stable_offset = Some(2);
    log.state().abort(PRODUCER);
    let log = log.with(|log, offset| {
        let silent = log.asked.iter().filter(|asked| **asked == All(2)).count();
        log.is_silent = offset == 2 && silent <= 4;
    });
    let (records, aborted, asked) = decided(Topic::new("orders", vec![log])).await;
    assert_eq!((records, aborted), (1, 1));
    assert_eq!(asked, [Stable(0), All(2), All(2), All(2), All(2), Stable(1), All(2)]);
}

/// A log that begins with a small batch of a transaction, whose end is so many large batches further on.
fn ended_after(large: usize) -> Log {
    let log = begun(SMALL);
    (0..large).for_each(|_| log.state().write("a"));
    log.state().abort(PRODUCER);
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_batches_of_a_broker_that_slows_the_client_down_says_nothing() {
    // The first response has the first large batch of the first partition, and none of the second.
    let throttled = |searched_from: i64| {
        ended_after(2).with(move |log, offset| {
            let silent = log.asked.iter().filter(|asked| **asked == Stable(searched_from)).count();
            log.is_silent = offset == searched_from && silent <= 6;
            log.throttle_time_ms = i32::from(log.is_silent);
        })
    };
    let backed_up = backed_up(Topic::new("orders", vec![throttled(2), throttled(1)])).await;
    assert_eq!((backed_up.report.records, backed_up.report.holes.aborted), (4, 2), "{:?}", backed_up.report);
    for asked in backed_up.asked {
        assert_eq!(asked.iter().filter(|asked| **asked == Stable(0)).count(), 1, "nothing was left out: {asked:?}");
        assert!(!asked.iter().any(|asked| matches!(asked, All(_))), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_is_the_first_of_a_request_in_its_turn() {
    let asked: Arc<Mutex<Vec<(usize, i64)>>> = Arc::default();
    let log = |number: usize| {
        let asked = Arc::clone(&asked);
        ended_after(5).with(move |_, offset| asked.lock().unwrap().push((number, offset)))
    };
    let backed_up = backed_up(Topic::new("orders", vec![log(0), log(1)])).await;
    assert_eq!((backed_up.report.records, backed_up.report.holes.aborted), (10, 2), "{:?}", backed_up.report);
    let asked = asked.lock().unwrap();
    let first = |number: usize, offset: i64| asked.iter().position(|asked| *asked == (number, offset)).unwrap();
    assert!(first(0, 0) < first(1, 0) && first(1, 0) < first(0, 2), "{asked:?}");
    // A response has one of the large batches. The first partition is not read to its end before the second has its turn.
    assert!(first(1, 2) < first(0, 4) && first(1, 3) < first(0, 5), "{asked:?}");
}

/// Backs up a partition with one stable offset, which belongs to a transaction. The search for its marker is given up, and the record stays
/// as the broker lists it. Returns the offset that was searched last.
async fn given_up_search(log: Log) -> i64 {
    log.state().last_stable_offset = Some(1);
    let BackedUp { report, partitions, mut asked } = backed_up(Topic::new("orders", vec![log])).await;
    assert_eq!((report.records, partitions[0].content.holes.aborted), (1, 0), "{report:?}");
    assert!(is_untold(&report), "{:?}", report.warnings);
    match asked.remove(0).pop() {
        Some(All(offset)) => offset,
        last => panic!("the search ends in what is not stable: {last:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_does_not_end_within_60_mib_stays_as_the_broker_lists_it_with_a_warning() {
    let log = begun(SMALL);
    (0..61).for_each(|_| log.state().push(1, None, vec![b'v'; 1 << 20]));
    log.state().abort(PRODUCER);
    assert_eq!(given_up_search(log).await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_does_not_end_within_256_requests_stays_as_the_broker_lists_it_with_a_warning() {
    let log = begun(SMALL);
    (0..300).for_each(|_| log.state().push(1, None, vec![b'v'; SMALL]));
    log.state().abort(PRODUCER);
    log.state().batches_max = Some(1);
    assert_eq!(given_up_search(log).await, 256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_behind_which_a_batch_is_too_large_to_be_read_stays_as_the_broker_lists_it_with_a_warning() {
    let log = begun(SMALL);
    log.state().write("a");
    log.state().abort(PRODUCER);
    let log = log.with(|log, offset| log.is_oversized = offset == 1);
    assert_eq!(given_up_search(log).await, 1);
}

/// A transaction that was committed, so many batches of others, and the marker of a later one that was aborted. The log cleaner has taken
/// the first one's marker (KAFKA-14055), all records of the later one, and its entry of the index.
fn left_by_the_cleaner(between: usize) -> Topic {
    let log = begun(700_000);
    log.state().commit(PRODUCER);
    (0..between).for_each(|_| log.state().write("a"));
    let later = log.end_offset();
    log.state().write_in_transaction(PRODUCER);
    log.state().abort(PRODUCER);
    [1, later].into_iter().for_each(|offset| log.state().clean(offset));
    Topic::compacted("keys", log)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_transaction_without_its_marker_is_not_ended_by_that_of_a_later_one_without_records_and_is_named() {
    let BackedUp { report, partitions, asked } = backed_up(left_by_the_cleaner(0)).await;
    assert_eq!((report.records, partitions[0].content.holes.aborted), (1, 0), "{report:?}");
    assert_eq!(asked, [[Stable(0)]]);
    assert!(is_untold(&report), "{:?}", report.warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_later_marker_is_in_another_response_the_transaction_stays_as_it_is_listed_with_a_warning() {
    let backed_up = backed_up(left_by_the_cleaner(1)).await;
    assert_eq!((backed_up.report.records, backed_up.report.holes.aborted), (2, 0), "{:?}", backed_up.report);
    assert!(is_untold(&backed_up.report), "{:?}", backed_up.report.warnings);
}
