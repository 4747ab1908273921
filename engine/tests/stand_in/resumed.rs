//! Runs that build on what an earlier one has stored, while the log or the cluster becomes another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome, Patience};
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::manifest::{Cut, VERSION};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, State, Topic};

/// As much as a test has.
const PATIENCE: Patience = Patience {
    alone_wait: Duration::from_millis(50),
    empty_end: Duration::from_millis(300),
    stall: Duration::from_millis(600),
    catch_up_min: Duration::from_millis(500),
};

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
    let path = folder.path().join(format!("archives/{}/progress/weekly/cut", configs::ARCHIVE));
    let cut: Cut = document::open(DocumentKind::Cut, VERSION, &std::fs::read(&path).unwrap()).unwrap();
    let old = Cut { at_ms: cut.at_ms - 7 * 24 * 3_600_000, ..cut };
    std::fs::write(&path, document::seal(DocumentKind::Cut, VERSION, Encoding::JsonZstd, &old)).unwrap();
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
