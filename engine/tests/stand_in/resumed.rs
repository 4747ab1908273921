//! Runs that build on what an earlier one has stored, while the log or the cluster becomes another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_backup::backup::{self, BackupReport, Outcome, lines};
use kafka_backup::error::Kind;
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::manifest::{Cut, VERSION};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::verify;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker::{Broker, Fetch};
use crate::configs::{self, PATIENCE};
use crate::stop_at::StopAt;
use crate::topic::{Asked, Log, State, Topic};

async fn run(broker: &Broker, folder: &Path, settings: Value, stop: &Stop) -> Result<BackupReport, backup::Error> {
    let config = configs::backup(broker, folder, settings);
    backup::run_with(PATIENCE, &config, &Progress::default(), stop).await
}

/// Stops a run at the fetch of this number, and makes another that builds on it. `script` is called before each fetch.
async fn resumed(
    log: Log,
    stop_at: u64,
    mut script: impl FnMut(&mut State, i64) + Send + 'static,
) -> Result<BackupReport, backup::Error> {
    let stop = Stop::default();
    let stopped = stop.clone();
    let log = log.with(move |log, offset| {
        script(log, offset);
        if log.fetches == stop_at {
            stopped.set();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let ended = run(&broker, folder.path(), json!({}), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    run(&broker, folder.path(), json!({}), &Stop::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_run_read_is_asked_for_again_before_the_commit() {
    // Resumed, and found good; then an unclean election takes what was stored, and others write on.
    let log = Log::of_keys(&["a", "b", "c", "d", "e"]);
    let ended = resumed(log, 3, |log, _| {
        if log.fetches == 4 {
            log.elect(4, 1);
            ["v", "w", "x", "y", "z"].into_iter().for_each(|key| log.write(key));
        }
    });
    let error = ended.await.unwrap_err();
    assert!(error.to_string().contains("orders"), "{error}");
    assert!(matches!(error, backup::Error::Truncated { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_an_epoch_ended_that_nobody_told_of_is_asked_by_the_next_run() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let stop = Stop::default();
    let stopped = stop.clone();
    // Behind the cut, of which the brokers are asked in any case: a compacted log is read on.
    let log = Log::of_keys(&["a", "b"]).with(move |log, offset| match (offset, log.epoch_starts.len()) {
        (1, 0) => {
            log.elect(1, 2);
            ["c", "d", "e"].into_iter().for_each(|key| log.write(key));
        }
        // While d is stored, an unclean election takes it; and nobody says so.
        (4, 1) => {
            log.elect(2, 3);
            log.epochs_error = TOPIC_AUTHORIZATION_FAILED;
            ["x", "y", "z"].into_iter().for_each(|key| log.write_bytes(key, 600_000));
        }
        (5, 2) => stopped.set(),
        _ => {}
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::compacted("orders", log)]).await;
    let ended = run(&broker, folder.path(), json!({}), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    broker.topics()[0].partitions[0].state().epochs_error = 0;
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 6, true), "{report:?}");
    let whole = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!(report.bytes, whole.bytes, "it holds what the log holds now: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_of_an_earlier_epoch_gave_is_not_built_upon() {
    let led_in = |epoch, keys: [(&str, usize); 3]| {
        let log = Log::default();
        log.state().elect(epoch, 0);
        keys.into_iter().for_each(|(key, value_bytes)| log.state().write_bytes(key, value_bytes));
        log
    };
    let behind = led_in(2, [("a", 700_000), ("b", 600_000), ("c", 600_000)]);
    let log = led_in(3, [("a", 700_000), ("x", 700_000), ("y", 700_000)]);
    let (of_the_one_behind, of_the_leader) = (behind.state().batches[1].clone(), log.state().batches[1].clone());
    // For a moment, a broker answers that does not know yet that another one leads.
    let log = log.with(move |log, offset| {
        if offset == 1 && log.fetches == 2 {
            log.batches[1] = of_the_one_behind.clone();
        }
    });
    let stop = Stop::default();
    let stopped = stop.clone();
    // It is read after the other one, whose second response has been worked on by then.
    let rest = Log::of_keys(&["r", "s", "t", "u"]).with(move |log, _| {
        if log.fetches == 4 {
            stopped.set();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![log]), Topic::new("rest", vec![rest])]).await;
    let ended = run(&broker, folder.path(), json!({}), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    let read = std::mem::replace(&mut broker.topics()[0].partitions[0].state().batches[1], of_the_leader.clone());
    assert_ne!(read, of_the_leader, "the broker that is behind was not asked");
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 7, true), "{report:?}");
    let whole = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!(report.bytes, whole.bytes, "it holds what the leader's log holds: {report:?}");
}

/// Before Kafka 3.1, what was read of a topic last may be of the one that was created in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_fetches_name_topics_nothing_is_kept_of_a_topic_that_was_created_again() {
    let orders = Topic::new("orders", Vec::new());
    let (stop, id) = (Stop::default(), Arc::clone(&orders.id));
    let stopped = stop.clone();
    let log = Log::of_keys(&["a", "b", "c", "d", "e"]).with(move |log, offset| {
        if offset == 2 && log.fetches == 3 {
            *id.lock().unwrap() = Uuid::new_v4();
            log.batches.clear();
            ["v", "w", "x", "y", "z"].iter().for_each(|key| log.write(key));
        }
        if log.fetches == 5 {
            stopped.set();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let other = Topic::new("other", vec![Log::of_keys(&["o"])]);
    let broker = Broker::start(vec![Topic { partitions: vec![log], ..orders }, other]).await;
    broker.fetch_by_name();
    let ended = run(&broker, folder.path(), json!({}), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    let says = |problem: &String| problem.contains("orders-0") && problem.contains("created again");
    assert!(report.problems.iter().any(says), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_truncated_before_it_was_read_is_not_that_of_the_cut() {
    let log = Log::of_keys(&["a", "b", "c", "d", "e"]).with(|log, _| {
        if log.fetches == 1 {
            log.elect(4, 3);
            ["x", "y", "z"].into_iter().for_each(|key| log.write(key));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let error = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap_err();
    assert!(matches!(error, backup::Error::Truncated { offset: 5, .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_inside_a_batch_in_which_the_log_begins_by_now() {
    let log = Log::of_keys(&["a", "b"]);
    log.state().push(10, Some("many"), vec![7; 100]);
    let report = resumed(log, 4, |log, _| {
        if log.fetches == 2 {
            log.expire(5);
        }
        // The run ends before it has read the batch.
        log.is_silent = log.fetches == 3 || log.fetches == 4;
    });
    let report = report.await.unwrap();
    assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
    // The batch in which the log begins is stored whole.
    assert_eq!((report.records, report.holes.expired), (11, 4), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_warns_of_an_end_without_a_batch_and_not_of_a_gap_before_the_end() {
    const KAFKA_STORAGE_ERROR: i16 = 56;
    // Both logs were compacted once. The second one gives nothing before its end.
    let cleaned = |ends_at| {
        let log = Log::of_noise(4, 100, 1);
        log.state().clean(1);
        log.state().ends_at = ends_at;
        log
    };
    let rest = Log::of_noise(1, 100, 2);
    rest.state().error_code = KAFKA_STORAGE_ERROR;
    let kept = Topic::new("kept", vec![cleaned(0), cleaned(7)]);
    let broker = Broker::start(vec![kept, Topic::new("rest", vec![rest])]).await;
    broker.answer_within(Duration::from_millis(5));
    let (folder, settings, stop) = (tempfile::tempdir().unwrap(), json!({ "parallelism": 1 }), Stop::default());
    let stops_at_rest = async {
        // It is asked for alone once the others have ended.
        let is_alone = |fetch: &Fetch| fetch.partitions == [("rest".to_owned(), 0)];
        while !broker.fetches().iter().any(is_alone) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.set();
    };
    let (ended, ()) = tokio::join!(run(&broker, folder.path(), settings.clone(), &stop), stops_at_rest);
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");

    broker.topics()[1].partitions[0].state().error_code = 0;
    let report = run(&broker, folder.path(), settings, &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 3 + 3 + 1, true), "{report:?}");
    assert_eq!(report.holes.compaction, 1 + 4, "{report:?}");
    assert_eq!(report.warnings, [lines::empty_end("kept", &[1].into())]);
    let verified = verify::run(&configs::verify(folder.path()), &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((verified.outcome, verified.records), (verify::Outcome::Intact, 7), "{:?}", verified.findings);
}

/// The checkpoints of an unfinished backup.
fn checkpoints(folder: &Path, backup_id: &str) -> Vec<PathBuf> {
    let progress = folder.join(format!("archives/{}/progress/{backup_id}", configs::ARCHIVE));
    let objects = std::fs::read_dir(progress).unwrap().map(|entry| entry.unwrap().path());
    objects.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("e0")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fenced_run_and_its_successor_have_both_stored_is_in_the_backup_once() {
    for (by_the_first, by_the_second) in [(2, 3), (3, 2)] {
        let stop_at = StopAt::default();
        let log = stop_at.with(Log::of_keys(&["a", "b", "c", "d", "e"]));
        let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
        let log = &broker.topics()[0].partitions[0];
        let readings_of_the_first_record =
            || log.state().asked.iter().filter(|asked| **asked == Asked::Stable(0)).count();
        let (folder, named) = (tempfile::tempdir().unwrap(), json!({ "backupId": "twice" }));
        stop_at.run(&broker, folder.path(), named.clone(), by_the_first).await;
        // The checkpoint of the first run is stored after the second has listed what there is.
        let of_the_first = checkpoints(folder.path(), "twice");
        let [late] = of_the_first.as_slice() else { panic!("{of_the_first:?}") };
        let checkpoint = std::fs::read(late).unwrap();
        std::fs::remove_file(late).unwrap();
        stop_at.run(&broker, folder.path(), named.clone(), by_the_second).await;
        assert_eq!(readings_of_the_first_record(), 2);
        std::fs::write(late, checkpoint).unwrap();
        assert_eq!(checkpoints(folder.path(), "twice").len(), 2, "each run has an epoch of its own");

        let report = run(&broker, folder.path(), named, &Stop::default()).await.unwrap();
        assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 5, true), "{report:?}");
        assert_eq!(report.bytes, log.bytes() as u64, "{report:?}");
        assert_eq!(readings_of_the_first_record(), 2, "the third run builds on what is stored");
        let config = configs::verify(folder.path());
        let verified = verify::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!((verified.outcome, verified.records), (verify::Outcome::Intact, 5), "{:?}", verified.findings);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cut_of_another_backup_that_cannot_be_read_stops_no_new_one() {
    let broker = Broker::start(vec![Topic::new("orders", vec![Log::of_noise(3, 10, 1)])]).await;
    let folder = tempfile::tempdir().unwrap();
    run(&broker, folder.path(), json!({ "backupId": "first" }), &Stop::default()).await.unwrap();
    for id in ["other", "second"] {
        let progress = folder.path().join(format!("archives/{}/progress/{id}", configs::ARCHIVE));
        std::fs::create_dir_all(&progress).unwrap();
        std::fs::write(progress.join("cut"), "of a later version").unwrap();
    }
    let found = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((found.outcome, found.records), (Outcome::Completed, 3));
    // Named, it is begun again.
    let named = run(&broker, folder.path(), json!({ "backupId": "second" }), &Stop::default()).await.unwrap();
    assert_eq!((named.outcome, named.resumed, named.records), (Outcome::Completed, false, 3));
}

const HOUR_MS: i64 = 3_600_000;

/// Makes the cut of an unfinished backup so much older.
fn made_older(folder: &Path, backup_id: &str, by_ms: i64) -> Cut {
    let path = folder.join(format!("archives/{}/progress/{backup_id}/cut", configs::ARCHIVE));
    let cut: Cut = document::open(DocumentKind::Cut, VERSION, &std::fs::read(&path).unwrap()).unwrap();
    let old = Cut { at_ms: cut.at_ms - by_ms, ..cut };
    std::fs::write(&path, document::seal(DocumentKind::Cut, VERSION, Encoding::JsonZstd, &old)).unwrap();
    old
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_compacted_topic_too_long_ago_for_its_tombstones_is_read_again() {
    // The stored value of the deleted key is in the backup only where its tombstone would have been read.
    let report = resumed_an_hour_later(60_000).await;
    assert_eq!((report.records, report.holes.compaction), (3 + 4, 2), "{report:?}");
    let report = resumed_an_hour_later(24 * HOUR_MS).await;
    assert_eq!((report.records, report.holes.compaction), (3 + 5, 1), "{report:?}");
}

/// A run stores an ordinary topic of three records, and the beginning of a compacted one of four keys. Before the next run, the first key
/// is deleted, another one is written, and the log cleaner takes the value and the tombstone.
async fn resumed_an_hour_later(delete_retention_ms: i64) -> BackupReport {
    let stop = Stop::default();
    let stopped = stop.clone();
    let keys = Log::of_keys(&["a", "b", "c", "d"]).with(move |log, _| {
        if log.fetches == 3 {
            stopped.set();
        }
    });
    let keys = Topic::compacted("keys", keys).with_delete_retention_ms(delete_retention_ms);
    let broker = Broker::start(vec![keys, Topic::new("orders", vec![Log::of_noise(3, 100, 1)])]).await;
    let [keys, orders] = broker.topics() else { panic!("two topics") };
    let (folder, named) = (tempfile::tempdir().unwrap(), json!({ "backupId": "hourly" }));
    let ended = run(&broker, folder.path(), named.clone(), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    for key in ["a", "e"] {
        keys.partitions[0].state().write(key);
    }
    for offset in [0, 4] {
        keys.partitions[0].state().clean(offset);
    }
    made_older(folder.path(), "hourly", HOUR_MS);
    let report = run(&broker, folder.path(), named, &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.resumed), (Outcome::Completed, true), "{report:?}");
    assert_eq!(orders.partitions[0].state().fetches, 1, "the ordinary topic was stored by the first run");
    assert!(!report.warnings.iter().any(|warning| warning.contains("reading took")), "{:?}", report.warnings);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_was_resumed_in_time_and_ends_after_tombstones_are_gone_is_a_warning() {
    /// Half of it may pass until the run that resumes begins, and has passed when it ends.
    const DELETE_RETENTION: Duration = Duration::from_secs(20);
    let stop = Stop::default();
    let stopped = stop.clone();
    let mut stopped_at: Option<Instant> = None;
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, _| {
        const KAFKA_STORAGE_ERROR: i16 = 56;
        if log.fetches == 3 {
            stopped_at = Some(Instant::now());
            stopped.set();
        }
        // The next run gets to the end only then.
        let is_early = log.fetches > 3 && stopped_at.is_some_and(|at| at.elapsed() <= DELETE_RETENTION / 2);
        log.error_code = if is_early { KAFKA_STORAGE_ERROR } else { 0 };
    });
    let keys = Topic::compacted("keys", log).with_delete_retention_ms(20_000);
    let broker = Broker::start(vec![keys]).await;
    let folder = tempfile::tempdir().unwrap();
    let ended = run(&broker, folder.path(), json!({}), &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 3, true), "{report:?}");
    let says = |warning: &String| warning.starts_with("topic \"keys\", partitions {0}: reading took");
    assert!(report.warnings.iter().any(says), "{:?}", report.warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_backup_whose_cut_is_of_last_week_is_begun_again() {
    let stop = Stop::default();
    let stopped = stop.clone();
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, _| {
        if log.fetches == 2 {
            stopped.set();
        }
    });
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let folder = tempfile::tempdir().unwrap();
    let named = json!({ "backupId": "weekly" });
    run(&broker, folder.path(), named.clone(), &stop).await.unwrap_err();
    let old = made_older(folder.path(), "weekly", 7 * 24 * HOUR_MS);
    let report = run(&broker, folder.path(), named, &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.resumed, report.records), (Outcome::Completed, false, 3));
    assert!(report.cut_at_ms > old.at_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_under_the_same_addresses_ends_the_run() {
    let cluster_id = std::sync::Arc::new(std::sync::OnceLock::<std::sync::Arc<std::sync::Mutex<String>>>::new());
    let of_script = std::sync::Arc::clone(&cluster_id);
    let log = Log::of_keys(&["a", "b", "c", "d"]).with(move |log, _| {
        const NOT_LEADER_OR_FOLLOWER: i16 = 6;
        log.error_code = if log.fetches == 2 { NOT_LEADER_OR_FOLLOWER } else { 0 };
        if log.fetches == 2 {
            "another".clone_into(&mut of_script.get().unwrap().lock().unwrap());
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    cluster_id.set(broker.cluster_id()).unwrap();
    let error = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap_err();
    assert!(error.to_string().contains("another"), "{error}");
    assert_eq!(error.kind(), kafka_backup::error::Kind::Conflict);
}

/// A topic of five records, of which a run of these settings has stored the beginning.
async fn ended_early(folder: &Path, settings: Value) -> Broker {
    let stop = Stop::default();
    let stopped = stop.clone();
    let log = Log::of_keys(&["a", "b", "c", "d", "e"]).with(move |log, _| {
        if log.fetches == 3 {
            stopped.set();
        }
    });
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let ended = run(&broker, folder, settings, &stop).await;
    assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
    broker
}

/// Under the same addresses there is the cluster of this id now, whose topic has the same id and other records.
fn replace_cluster(broker: &Broker, id: &str, log: Log) -> Log {
    *broker.cluster_id().lock().unwrap() = id.to_owned();
    std::mem::swap(&mut broker.topics()[0].partitions[0].state().batches, &mut log.state().batches);
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_backup_is_left_to_its_own_cluster_when_another_one_adopts_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let broker = ended_early(folder.path(), json!({})).await;
    let log = &broker.topics()[0].partitions[0];
    let of_the_first = replace_cluster(&broker, "another", Log::of_noise(3, 600_000, 7));
    let refused = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap_err();
    assert!(matches!(refused, backup::Error::OtherOwner { .. }), "{refused:?}");
    assert_eq!(refused.kind(), Kind::Conflict);

    let adopt = json!({ "adopt": true });
    let report = run(&broker, folder.path(), adopt.clone(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 3, false), "{report:?}");
    assert_eq!((report.source_cluster_id.as_str(), report.bytes), ("another", log.bytes() as u64));

    replace_cluster(&broker, "stand-in", of_the_first);
    let report = run(&broker, folder.path(), adopt, &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 5, true), "{report:?}");
    assert_eq!((report.source_cluster_id.as_str(), report.bytes), ("stand-in", log.bytes() as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_backup_that_was_begun_on_another_cluster_is_refused_also_to_one_that_adopts_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let broker = ended_early(folder.path(), json!({ "backupId": "weekly" })).await;
    let of_the_first = replace_cluster(&broker, "another", Log::of_noise(3, 600_000, 7));
    let adopt = json!({ "backupId": "weekly", "adopt": true });
    let refused = run(&broker, folder.path(), adopt.clone(), &Stop::default()).await.unwrap_err();
    let backup::Error::OtherSource { began_with, found, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((began_with.as_str(), found.as_str()), ("stand-in", "another"));
    assert_eq!(refused.kind(), Kind::Conflict);

    // Nothing of it was lost.
    replace_cluster(&broker, "stand-in", of_the_first);
    let report = run(&broker, folder.path(), adopt, &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 5, true), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_take_its_cut_adopts_no_archive() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![Log::of_noise(3, 10, 1)])]).await;
    run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    *broker.cluster_id().lock().unwrap() = "another".to_owned();
    let missing = json!({ "adopt": true, "topics": ["missing"] });
    let refused = run(&broker, folder.path(), missing, &Stop::default()).await.unwrap_err();
    assert!(matches!(refused, backup::Error::NoSuchTopic { .. }), "{refused:?}");

    // The archive still belongs to the first one.
    *broker.cluster_id().lock().unwrap() = "stand-in".to_owned();
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_is_refused_for_a_moment_is_read_later() {
    let log = Log::of_keys(&["a", "b", "c"]).with(|log, _| {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        log.error_code = if (2..=3).contains(&log.fetches) { OFFSET_OUT_OF_RANGE } else { 0 };
    });
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sends_readers_elsewhere_has_not_come_to_its_end() {
    let sent = || {
        let log = Log::of_keys(&["a", "b"]);
        log.state().preferred_replica = Some(2);
        log
    };
    let broker =
        Broker::start(vec![Topic::compacted("keys", sent()), Topic::new("orders", vec![Log::of_noise(3, 10, 1)])])
            .await;
    let folder = tempfile::tempdir().unwrap();
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{report:?}");
    assert!(report.problems[0].contains("replica.selector.class"), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_which_nothing_can_be_read_makes_no_backup() {
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let log = Log::of_noise(3, 10, 1);
    log.state().offsets_error = TOPIC_AUTHORIZATION_FAILED;
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let folder = tempfile::tempdir().unwrap();
    let error = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap_err();
    assert!(matches!(error, backup::Error::NothingReadable { .. }), "{error:?}");
    // The next run does not resume that cut.
    broker.topics()[0].partitions[0].state().offsets_error = 0;
    let report = run(&broker, folder.path(), json!({}), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3));
}
