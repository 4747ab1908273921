//! Backups of logs that change while they are read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome, Patience, lines};
use kafka_backup::format::manifest::PartitionSummary;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::verify;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker::{Broker, Fetch};
use crate::configs::{self, PATIENCE};
use crate::topic::{Log, State, Topic};

async fn back_up(broker: &Broker, folder: &Path, settings: Value) -> Result<BackupReport, backup::Error> {
    let config = configs::backup(broker, folder, settings);
    backup::run_with(PATIENCE, &config, &Progress::default(), &Stop::default()).await
}

/// Backs up the one topic that there is, whose segments must be whole; with what the manifest says of its first partition.
async fn backed_up(topic: Topic, settings: Value) -> (BackupReport, PartitionSummary) {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![topic]).await;
    let report = back_up(&broker, folder.path(), settings).await.unwrap();
    let verified = verify::run(&configs::verify(folder.path()), &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!(verified.outcome, verify::Outcome::Intact, "{:?}", verified.findings);
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    let summary = manifest.topics[0].partitions[0];
    (report, summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rewritten_during_the_backup_is_in_it() {
    // While a is read, c and then d are written again, and the cleaner takes what the cut had of them.
    let log = Log::of_keys(&["a", "b", "c", "d"]).with(|log, _| match log.fetches {
        2 => {
            log.write("c");
            log.clean(2);
        }
        3 => {
            log.write("d");
            log.clean(3);
        }
        _ => {}
    });
    let (report, partition) = backed_up(Topic::compacted("keys", log), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 4), "{report:?}");
    assert_eq!((partition.end_offset, partition.cut_end_offset), (6, Some(4)));
    assert_eq!(partition.content.holes.compaction, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_log_that_grows_faster_than_it_is_read_ends_the_reading_and_is_a_problem() {
    let log = Log::of_keys(&["a", "b"]).with(|log, _| {
        log.write("a");
        log.write("b");
    });
    let (report, partition) = backed_up(Topic::compacted("busy", log), json!({})).await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(report.problems[0].contains("written to faster than it is read"), "{:?}", report.problems);
    assert!(partition.end_offset > 2 && !partition.missing, "{partition:?}");
}

const KAFKA_STORAGE_ERROR: i16 = 56;

/// Two records around an aborted transaction of two, which the broker does not list.
fn unlisted() -> Log {
    let log = Log::of_keys(&["a"]);
    log.state().write_in_transaction(1);
    log.state().write_in_transaction(1);
    log.state().abort(1);
    log.state().write("b");
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_not_listed_is_decided_by_its_marker_in_a_later_response() {
    let (report, partition) = backed_up(Topic::new("unlisted", vec![unlisted()]), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 2), "{report:?}");
    let holes = partition.content.holes;
    assert_eq!((holes.aborted, holes.control), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_marker_cannot_be_looked_for_is_read_again() {
    let refused = AtomicU32::new(0);
    let log = unlisted().with(move |log, offset| {
        let is_refused = offset == 2 && refused.fetch_add(1, Ordering::Relaxed) < 4;
        log.error_code = if is_refused { KAFKA_STORAGE_ERROR } else { 0 };
    });
    let (report, partition) = backed_up(Topic::new("refused", vec![log]), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 2), "{report:?}");
    assert_eq!(partition.content.holes.aborted, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_which_nobody_tells_how_a_transaction_ended_is_named_and_never_at_its_end() {
    let log = unlisted().with(|log, offset| log.error_code = if offset == 2 { KAFKA_STORAGE_ERROR } else { 0 });
    let topics = vec![Topic::compacted("refused", log), Topic::new("other", vec![Log::of_keys(&["a"])])];
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(topics).await;
    let mut cluster = broker.config();
    cluster.retry_timeout_ms = 800;
    let report = back_up(&broker, folder.path(), json!({ "cluster": cluster })).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert!(report.problems[0].starts_with("partition refused-0 is not in the backup"), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_expire_before_they_are_read_are_a_warning() {
    let log = Log::of_keys(&["a", "b", "c", "d", "e"]).with(|log, _| {
        if log.fetches == 2 {
            log.expire(4);
        }
    });
    let (report, partition) = backed_up(Topic::new("orders", vec![log]), json!({})).await;
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    assert!(report.warnings[0].contains("offsets expired between the cut and their reading"), "{:?}", report.warnings);
    assert_eq!((report.holes.deleted, partition.content.holes.expired > 0), (0, true), "{partition:?}");
    assert_eq!(report.records + report.holes.expired, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_comes_to_begin_inside_a_batch_is_read_on_from_there() {
    let log = Log::of_keys(&["a", "b"]);
    log.state().push(10, Some("many"), vec![7; 100]);
    let log = log.with(|log, _| {
        if log.fetches == 2 {
            log.expire(5);
        }
    });
    let (report, partition) = backed_up(Topic::new("orders", vec![log]), json!({})).await;
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    assert_eq!((partition.content.batches, partition.end_offset), (2, 12), "{partition:?}");
    // The second batch, and the beginning of the third.
    assert_eq!(partition.content.holes.expired, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stretches_on_both_sides_of_a_head_that_expires_are_whole_together() {
    // The log comes to begin behind the boundary, and at the boundary itself, which is inside a batch.
    for log_start_offset in [500_010, 500_000] {
        both_sides_of_a_head_that_expires(log_start_offset).await;
    }
}

/// Two stretches, of 500,000 offsets each. A batch reaches over their boundary.
fn two_stretches() -> Log {
    let log = Log::default();
    for records in [400_000, 99_990, 20, 400_000, 99_990] {
        log.state().push(records, None, Vec::new());
    }
    log
}

async fn both_sides_of_a_head_that_expires(log_start_offset: i64) {
    // The batch over the boundary is taken by the first stretch, which gets to it only after the second has begun behind it
    // and the head of the log is gone.
    let log = two_stretches();
    let is_second_begun = Arc::new(AtomicBool::new(false));
    let log = log.with(move |log, offset| {
        if offset >= 500_000 {
            is_second_begun.store(true, Ordering::Relaxed);
        }
        let expires = offset < 500_000 && is_second_begun.load(Ordering::Relaxed);
        log.is_silent = offset < 500_000 && !is_second_begun.load(Ordering::Relaxed);
        if expires && log.start_offset == 0 {
            log.expire(log_start_offset);
        }
    });
    let (report, _) = backed_up(Topic::new("orders", vec![log]), json!({ "parallelism": 2 })).await;
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    assert!(report.holes.expired >= log_start_offset.unsigned_abs(), "{report:?}");
    // A batch in which the log begins is stored whole, and its first records are counted twice here.
    let counted_twice = if log_start_offset == 500_000 { 10 } else { 0 };
    assert_eq!(report.records + report.holes.expired, 1_000_000 + counted_twice, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_becomes_compacted_while_it_is_read_is_a_problem_although_no_batch_is_missing() {
    let topic = Topic::new("whole", vec![]);
    let policy = Arc::clone(&topic.policy);
    let log = Log::of_keys(&["a"]);
    log.state().push(2, Some("b"), b"v".to_vec());
    let log = log.with(move |log, _| {
        if log.fetches == 1 {
            log.clean_inside(1);
            *policy.lock().unwrap() = Ok("compact");
        }
    });
    let (report, partition) = backed_up(Topic { partitions: vec![log], ..topic }, json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 2), "{report:?}");
    assert_eq!((partition.content.holes.compaction, partition.content.rewrite_batches), (0, 1));
    assert!(report.problems[0].contains("cleanup.policy became compact after the cut"), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_an_end_only_where_the_cleaner_may_have_been() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let log = || {
        let log = Log::of_keys(&["a", "b"]);
        log.state().ends_at = 5;
        log
    };
    let (report, partition) = backed_up(Topic::compacted("keys", log()), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 2), "{report:?}");
    assert_eq!((partition.end_offset, partition.content.holes.compaction), (5, 3));

    let other = || Topic::new("other", vec![Log::of_keys(&["a"])]);
    let unknown = Topic::compacted("unknown", log()).with_policy(Err(TOPIC_AUTHORIZATION_FAILED));
    for topic in [unknown, Topic::new("kept", vec![log()])] {
        let name = topic.name.clone();
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(vec![topic, other()]).await;
        let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
        assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{name}: {report:?}");
        let says = |text: &str| report.problems.iter().any(|problem| problem.contains(text));
        assert!(says(&format!("{name}-0 is not in the backup")) && says("returned no batch"), "{:?}", report.problems);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_compacted_once_and_ends_without_a_batch_is_whole_with_a_warning() {
    let log = Log::of_keys(&["a", "b", "c", "d"]);
    log.state().clean(1);
    log.state().ends_at = 7;
    let (report, partition) = backed_up(Topic::new("kept", vec![log]), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3), "{report:?}");
    assert_eq!((partition.end_offset, partition.content.holes.compaction), (7, 4));
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("topic \"kept\", partitions {0}"), "{warning}");
    assert!(warning.contains(lines::TAKEN_FOR_CLEANED), "{warning}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_log_that_gives_nothing_for_a_while_is_read_whole() {
    const LONG: Duration = Duration::from_secs(600);
    // After five empty answers the partition is asked for alone. Then there is one less than an end needs; or there are many, in less
    // time than an end needs.
    let (few, many) = (5 + 4, 5 + 15);
    tokio::join!(
        whole_after(few, Patience { empty_end: Duration::ZERO, stall: LONG, ..PATIENCE }),
        whole_after(many, Patience { empty_end: LONG, stall: LONG, ..PATIENCE }),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_compacted_partition_is_at_its_end_only_after_requests_for_it_alone_although_others_have_data() {
    let keys = Log::of_keys(&["a", "b"]);
    keys.state().ends_at = 5;
    // A response has one of these batches.
    let orders = Topic::new("orders", vec![Log::of_noise(12, 700_000, 1)]);
    let broker = Broker::start(vec![Topic::compacted("keys", keys), orders]).await;
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path(), json!({ "parallelism": 1 })).await.unwrap();
    let found = (report.outcome, report.records, report.holes.compaction);
    assert_eq!(found, (Outcome::Completed, 2 + 12, 3), "{report:?}");

    let fetches = broker.fetches();
    let names = |fetch: &Fetch, topic: &str| fetch.partitions.iter().any(|(name, _)| name == topic);
    let first = fetches.iter().position(|fetch| !names(fetch, "orders")).expect("a request for the silent one alone");
    let last = fetches.iter().rposition(|fetch| names(fetch, "keys")).unwrap();
    assert!(last + 1 < fetches.len(), "the other partition had data all the time: {fetches:?}");
    let alone = &fetches[first..=last];
    assert!(alone.len() >= 5, "{fetches:?}");
    for fetch in alone {
        assert!(!names(fetch, "orders"), "{fetches:?}");
        assert_eq!(Duration::from_millis(fetch.max_wait_ms.unsigned_abs().into()), PATIENCE.alone_wait);
    }
}

/// Before each record but the first, so many answers are empty.
async fn whole_after(empty_answers: u32, patience: Patience) {
    let (mut at, mut answers) = (0, 0);
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, offset| {
        answers = if offset == at { answers + 1 } else { 1 };
        at = offset;
        log.is_silent = offset > 0 && answers <= empty_answers;
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::compacted("keys", log)]).await;
    let config = configs::backup(&broker, folder.path(), json!({}));
    let report = backup::run_with(patience, &config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.holes.compaction), (Outcome::Completed, 3, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_truncated_while_it_is_read_is_never_joined_to_what_was_read_before() {
    let truncated = Log::of_keys(&["a", "b", "c", "d"]).with(|log, offset| {
        if offset == 2 && log.epoch_starts.is_empty() {
            log.elect(1, 1);
            ["x", "y", "z"].iter().for_each(|key| log.write(key));
        }
    });
    // An election that loses nothing.
    let elected = Log::of_keys(&["a", "b"]);
    elected.state().elect(1, 2);
    elected.state().write("c");
    let folder = tempfile::tempdir().unwrap();
    let broker =
        Broker::start(vec![Topic::new("elected", vec![elected]), Topic::new("truncated", vec![truncated])]).await;
    let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{report:?}");
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].contains("truncated-0") && report.problems[0].contains("unclean leader election"));
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    let summary = |topic: usize| manifest.topics[topic].partitions[0];
    assert_eq!(summary(0).last_leader_epoch, Some(1));
    assert!(summary(1).missing && summary(1).start_offset == summary(1).end_offset, "{:?}", summary(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_log_that_lost_the_newer_value_of_a_key_that_was_passed_over_is_not_in_the_backup() {
    let mut overwritten = None;
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, offset| match offset {
        0 if overwritten.is_none() => {
            // The cleaner takes the first value for the one behind the cut.
            log.write("a");
            overwritten = Some(log.batches[0].clone());
            log.clean(0);
        }
        2 if log.epoch_starts.is_empty() => {
            // The replica that leads now never had the second value, has the first, and nothing of what was read is lost.
            log.elect(1, 3);
            log.batches.insert(0, overwritten.clone().unwrap());
            ["d", "e"].iter().for_each(|key| log.write(key));
        }
        _ => {}
    });
    let folder = tempfile::tempdir().unwrap();
    let topics = vec![Topic::compacted("keys", log), Topic::new("orders", vec![Log::of_noise(3, 100, 1)])];
    let broker = Broker::start(topics).await;
    let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("partition keys-0 is not in the backup"), "{problem}");
    assert!(problem.contains("unclean leader election"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_leader_epochs_fall_is_not_in_the_backup_and_named() {
    // Within a response, and from one to the next.
    for value_bytes in [100, 700_000] {
        let log = Log::default();
        for (epoch, key) in [(3, "a"), (2, "b"), (3, "c")] {
            log.state().epoch_starts = vec![(epoch, 0)];
            log.state().write_bytes(key, value_bytes);
        }
        let folder = tempfile::tempdir().unwrap();
        let topics = vec![Topic::new("fallen", vec![log]), Topic::new("orders", vec![Log::of_noise(3, 100, 1)])];
        let broker = Broker::start(topics).await;
        let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
        assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{value_bytes}: {report:?}");
        let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
        assert!(problem.starts_with("partition fallen-0 is not in the backup"), "{problem}");
        assert!(problem.contains("the batch at 1 has leader epoch 2, after one of epoch 3"), "{problem}");
        let manifest = configs::manifest(folder.path(), &report.backup_id).await;
        assert!(manifest.topics[0].partitions[0].missing, "{:?}", manifest.topics[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_which_no_leader_tells_at_the_end_whether_it_is_the_one_that_was_read_is_a_problem() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    // The leader refuses to tell, or there is none when the last record was read.
    let ends: [fn(&mut State); 2] =
        [|log| log.epochs_error = TOPIC_AUTHORIZATION_FAILED, |log| log.has_no_leader = true];
    for end in ends {
        let log = Log::of_keys(&["a", "b"]).with(move |log, offset| {
            if offset == 1 {
                end(log);
            }
        });
        let broker = Broker::start(vec![Topic::new("orders", vec![log, Log::of_noise(1, 100, 1)])]).await;
        let mut cluster = broker.config();
        cluster.retry_timeout_ms = 800;
        let folder = tempfile::tempdir().unwrap();
        let report = back_up(&broker, folder.path(), json!({ "cluster": cluster })).await.unwrap();
        assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{report:?}");
        let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
        assert!(problem.starts_with("topic \"orders\", partitions {0}: no leader told at the end"), "{problem}");
        assert!(problem.contains("the backup may hold records of both"), "{problem}");
        let manifest = configs::manifest(folder.path(), &report.backup_id).await;
        assert!(!manifest.topics[0].partitions[0].missing, "{:?}", manifest.topics[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_log_without_the_epoch_that_was_read_may_be_another_and_is_a_problem() {
    let log = Log::default();
    log.state().elect(1, 0);
    ["a", "b", "c"].iter().for_each(|key| log.state().write(key));
    let log = log.with(|log, offset| {
        if offset == 2 && log.leader_epoch() == Some(1) {
            // The replica that leads now was built when the cleaner had taken all of the epoch before.
            log.batches.clear();
            (log.epoch_starts, log.ends_at) = (vec![(3, 10)], 10);
            log.write("d");
        }
    });
    let (report, partition) = backed_up(Topic::compacted("keys", log), json!({})).await;
    assert_eq!((report.outcome, report.records, partition.end_offset), (Outcome::Partial, 3, 11), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    let says =
        "topic \"keys\", partitions {0}: the leader's log no longer has the leader epoch in which batches were read";
    assert!(problem.starts_with(says) && problem.contains(lines::MAY_HOLD_TWO_LOGS), "{problem}");
    assert!(!partition.missing, "{partition:?}");
}

/// Nor does anybody answer where its log begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_read_of_a_topic_whose_offset_was_out_of_range_before_it_was_gone_is_a_hole_and_a_problem() {
    let deleted = Topic::new("deleted", Vec::new());
    let is_deleted = Arc::clone(&deleted.is_deleted);
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, _| {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
        if log.fetches == 2 {
            (log.error_code, log.offsets_error) = (OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION);
            is_deleted.store(true, Ordering::Relaxed);
        }
    });
    let orders = Topic::new("orders", vec![Log::of_noise(3, 100, 1)]);
    let broker = Broker::start(vec![Topic { partitions: vec![log], ..deleted }, orders]).await;
    let mut cluster = broker.config();
    // A topic must be unknown for ten seconds to count as deleted.
    cluster.retry_timeout_ms = 10_500;
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path(), json!({ "cluster": cluster })).await.unwrap();
    assert_eq!((report.outcome, report.records, report.holes.deleted), (Outcome::Partial, 4, 2), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("deleted-0: 2 offsets could not be read: the topic was deleted"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_read_of_a_topic_that_was_deleted_is_a_hole_and_a_problem() {
    let deleted = Topic::new("deleted", Vec::new());
    let is_deleted = Arc::clone(&deleted.is_deleted);
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, _| {
        const UNKNOWN_TOPIC_ID: i16 = 100;
        if log.fetches == 2 {
            log.error_code = UNKNOWN_TOPIC_ID;
            is_deleted.store(true, Ordering::Relaxed);
        }
    });
    let orders = Topic::new("orders", vec![Log::of_noise(3, 100, 1)]);
    let broker = Broker::start(vec![Topic { partitions: vec![log], ..deleted }, orders]).await;
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
    assert_eq!((report.outcome, report.records, report.holes.deleted), (Outcome::Partial, 4, 2), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("deleted-0: 2 offsets could not be read: the topic was deleted"), "{problem}");
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    let partition = manifest.topics[0].partitions[0];
    assert_eq!((partition.end_offset, partition.missing), (3, false), "{partition:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stretches_on_both_sides_of_a_batch_are_whole_together_when_one_of_them_is_lost_with_its_topic() {
    // The first stretch is lost after the second has skipped the batch over the boundary; or the second is lost after the first has taken
    // that batch.
    tokio::join!(lost_with_its_topic(400_000, 899_990), lost_with_its_topic(500_000, 500_010));
}

/// When this offset is asked for, another topic has the name. So many records were read before.
async fn lost_with_its_topic(lost_at: i64, records: u64) {
    let orders = Topic::new("orders", Vec::new());
    let id = Arc::clone(&orders.id);
    let log = two_stretches().with(move |log, offset| {
        const NOT_LEADER_OR_FOLLOWER: i16 = 6;
        // A stretch that is refused has its turn after the other one.
        log.error_code = if offset == lost_at { NOT_LEADER_OR_FOLLOWER } else { 0 };
        if offset == lost_at && log.fetches > 2 {
            *id.lock().unwrap() = Uuid::new_v4();
        }
    });
    let orders = Topic { partitions: vec![log], ..orders };
    let (report, partition) = backed_up(orders, json!({ "parallelism": 1 })).await;
    let lost = 1_000_000 - records;
    assert_eq!((report.outcome, report.records, report.holes.deleted), (Outcome::Partial, records, lost), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with(&format!("orders-0: {lost} offsets could not be read")), "{problem}");
    assert_eq!((partition.end_offset, partition.missing), (1_000_000, false), "{partition:?}");
}

/// Before Kafka 3.1, a topic that was created again answers for the one of the cut, in the same epoch and up to the same offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_again_is_never_joined_to_the_one_before_where_fetches_name_topics() {
    let again = Topic::new("again", Vec::new());
    let id = Arc::clone(&again.id);
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, offset| {
        if offset == 1 && log.fetches == 2 {
            *id.lock().unwrap() = Uuid::new_v4();
            log.batches.clear();
            ["x", "y", "z"].iter().for_each(|key| log.write(key));
        }
    });
    let other = Topic::new("other", vec![Log::of_keys(&["d"])]);
    let broker = Broker::start(vec![Topic { partitions: vec![log], ..again }, other]).await;
    broker.fetch_by_name();
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path(), json!({})).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].contains("again-0") && report.problems[0].contains("created again"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_cut_off_from_its_controllers_does_not_decide_the_cut() {
    // It takes itself for the leader of a topic that another broker leads by now, and does not know the one created since.
    let id = Arc::new(Mutex::new(Uuid::new_v4()));
    let led = |batches| Topic { id: Arc::clone(&id), ..Topic::new("led", vec![Log::of_noise(batches, 100, 7)]) };
    // Nor that a third one was deleted and created again.
    let again = |batches| Topic::new("again", vec![Log::of_noise(batches, 100, 9)]);
    let behind = Broker::start_as(1, 4, vec![led(10), again(3)], Vec::new()).await;
    let created = Topic::new("created", vec![Log::of_noise(5, 100, 8)]);
    let leader = Broker::start_as(2, 5, vec![led(20), created, again(7)], Vec::new()).await;
    behind.meet(&leader);
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&behind, folder.path(), json!({ "consumerGroups": [] })).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 32), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_behind_a_log_start_that_moved_is_read_before_everything_else_of_the_broker() {
    let nears_end = Arc::new(AtomicBool::new(false));
    let (seen, told) = (Arc::clone(&nears_end), Arc::clone(&nears_end));
    let expiring = Log::of_noise(3, 100, 1).with(move |log, _| match (log.fetches, seen.load(Ordering::SeqCst)) {
        (1, _) => log.expire(1),
        (_, true) => log.expire(3),
        (_, false) => {}
    });
    let large = Log::of_noise(60, 100_000, 2).with(move |_, offset| told.store(offset > 50, Ordering::SeqCst));
    let broker = Broker::start(vec![Topic::new("a-expiring", vec![expiring]), Topic::new("large", vec![large])]).await;
    let folder = tempfile::tempdir().unwrap();
    let slow = json!({ "parallelism": 1, "rateLimit": { "bytesPerSecond": 1_000_000 } });
    let report = back_up(&broker, folder.path(), slow).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 62), "{report:?}");
}

/// A broker whose high watermark lies inside a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_that_ends_inside_a_batch_makes_a_whole_backup() {
    let log = Log::default();
    log.state().push(3, None, vec![1; 100]);
    log.state().push(3, None, vec![2; 100]);
    log.state().high_watermark = Some(4);
    let (report, partition) = backed_up(Topic::new("inside", vec![log]), json!({})).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 6), "{report:?}");
    assert_eq!((partition.end_offset, partition.cut_end_offset), (6, Some(4)), "the batch is stored as it is");
}
