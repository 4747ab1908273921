//! Topics that are deleted and created again between two runs of a backup, or before its commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker::Broker;
use crate::configs::{self, PATIENCE};
use crate::stop_at::StopAt;
use crate::topic::{Log, State, Topic};

/// Where brokers have the ids of topics (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// In fetches too, from Kafka 3.1 on.
    InFetches,
    /// In the metadata only.
    InMetadata,
    /// Nowhere, before Kafka 2.8.
    Nowhere,
}

impl Ids {
    /// The broker is one of that kind from now on.
    fn prepare(self, broker: &Broker) {
        if self != Self::InFetches {
            broker.fetch_by_name();
        }
        if self == Self::Nowhere {
            broker.topics().iter().for_each(|topic| *topic.id.lock().unwrap() = Uuid::nil());
        }
    }
}

async fn run(broker: &Broker, folder: &Path, settings: Value) -> BackupReport {
    let config = configs::backup(broker, folder, settings);
    backup::run_with(PATIENCE, &config, &Progress::default(), &Stop::default()).await.unwrap()
}

/// Writes a record of so many bytes of each key to an empty log.
fn write(log: &mut State, leader_epoch: i32, keys: &[&str], value_bytes: usize) {
    if leader_epoch > 0 {
        log.elect(leader_epoch, 0);
    }
    keys.iter().for_each(|key| log.write_bytes(key, value_bytes));
}

/// The topic is deleted, and created again with records of these keys.
fn create_again(topic: &Topic, leader_epoch: i32, keys: &[&str]) {
    if !topic.id().is_nil() {
        *topic.id.lock().unwrap() = Uuid::new_v4();
    }
    let mut log = topic.partitions[0].state();
    log.batches.clear();
    log.epoch_starts.clear();
    write(&mut log, leader_epoch, keys, 600_000);
}

/// A run stores two of five records of a topic, and one of another topic, and is stopped. The first topic is created again with five
/// other records.
struct Resumed {
    /// Of the run that resumes.
    report: BackupReport,
    /// Bytes of the two records.
    stored: usize,
    /// Bytes of the topic that was created.
    created: usize,
    /// Bytes of the other topic.
    other: usize,
}

impl Resumed {
    /// Both topics were written in this leader epoch.
    async fn where_ids_are(ids: Ids, leader_epoch: i32) -> Self {
        let stop_at = StopAt::default();
        let orders = Log::default();
        write(&mut orders.state(), leader_epoch, &["a", "b", "c", "d", "e"], 700_000);
        let orders = stop_at.with(orders);
        let topics = vec![Topic::new("orders", vec![orders]), Topic::new("other", vec![Log::of_noise(1, 100, 1)])];
        let broker = Broker::start(topics).await;
        ids.prepare(&broker);
        let [orders, other] = broker.topics() else { panic!("two topics") };
        let folder = tempfile::tempdir().unwrap();
        stop_at.run(&broker, folder.path(), json!({}), 2).await;
        let stored: usize = orders.partitions[0].state().batches[..2].iter().map(|(_, bytes)| bytes.len()).sum();
        create_again(orders, leader_epoch, &["v", "w", "x", "y", "z"]);
        let report = run(&broker, folder.path(), json!({})).await;
        assert!(report.resumed, "{report:?}");
        Self { report, stored, created: orders.partitions[0].bytes(), other: other.partitions[0].bytes() }
    }

    /// How the run ended, the records of the backup, and the bytes of their batches.
    fn held(&self) -> (Outcome, u64, usize) {
        (self.report.outcome, self.report.records, usize::try_from(self.report.bytes).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_fetches_name_ids_a_run_that_resumes_keeps_what_is_stored_of_a_topic_and_reads_nothing_of_the_next_one() {
    let resumed = Resumed::where_ids_are(Ids::InFetches, 0).await;
    let report = &resumed.report;
    assert_eq!(resumed.held(), (Outcome::Partial, 2 + 1, resumed.stored + resumed.other), "{report:?}");
    assert_eq!(report.holes.deleted, 3, "{report:?}");
    let says = "orders-0: 3 offsets could not be read: the topic was deleted or replaced after the cut";
    assert_eq!(report.problems, [says]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_the_metadata_has_ids_a_run_that_resumes_leaves_out_a_topic_that_was_created_again_and_names_it() {
    let resumed = Resumed::where_ids_are(Ids::InMetadata, 0).await;
    assert_eq!(resumed.held(), (Outcome::Partial, 1, resumed.other), "{:?}", resumed.report);
    let [problem] = resumed.report.problems.as_slice() else { panic!("{:?}", resumed.report) };
    assert!(problem.starts_with("partition orders-0 is not in the backup") && problem.contains("created again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_brokers_tell_no_ids_a_run_that_resumes_reads_a_topic_from_the_beginning_whatever_its_epoch_is() {
    for leader_epoch in [0, 1] {
        let resumed = Resumed::where_ids_are(Ids::Nowhere, leader_epoch).await;
        let all = (Outcome::Completed, 5 + 1, resumed.created + resumed.other);
        assert_eq!(resumed.held(), all, "{leader_epoch}: {:?}", resumed.report);
    }
}

/// A topic of three records is created again with one, after the last of them was read and before the backup is committed. Returns
/// also the bytes of what was read, of this topic and of another one of one record.
async fn created_again_before_the_commit(ids: Ids) -> (BackupReport, u64) {
    let again = Log::default();
    // The topic that is created in its place has no such epoch.
    again.state().elect(4, 0);
    ["a", "b", "c"].iter().for_each(|key| again.state().write(key));
    let is_created = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_created);
    // It is read last, and gives nothing until then.
    let other = Log::of_noise(1, 100, 1).with(move |log, _| log.is_silent = !seen.load(Ordering::SeqCst));
    let read = (again.bytes() + other.bytes()) as u64;
    let broker = Broker::start(vec![Topic::new("again", vec![again]), Topic::new("other", vec![other])]).await;
    ids.prepare(&broker);
    let [again, other] = broker.topics() else { panic!("two topics") };
    let folder = tempfile::tempdir().unwrap();
    let creates = async {
        // A response has one record of the first topic: the fourth request is for the other topic alone.
        while other.partitions[0].state().fetches < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        create_again(again, 0, &["x"]);
        is_created.store(true, Ordering::SeqCst);
    };
    let (report, ()) = tokio::join!(run(&broker, folder.path(), json!({ "parallelism": 1 })), creates);
    assert_eq!(again.partitions[0].state().fetches, 3, "nothing was read of the topic that was created");
    (report, read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_by_id_is_in_the_backup_although_the_topic_is_created_again_before_the_commit() {
    let (report, read) = created_again_before_the_commit(Ids::InFetches).await;
    assert_eq!((report.outcome, report.records, report.bytes), (Outcome::Completed, 4, read), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_by_name_is_not_in_the_backup_when_the_topic_is_created_again_before_the_commit() {
    let (report, _) = created_again_before_the_commit(Ids::InMetadata).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert!(problem.starts_with("partition again-0 is not in the backup") && problem.contains("created again"));
}

/// Without ids, an answer about a topic that was created again looks like one of a broker that is behind: it names another leader, in an
/// earlier epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_brokers_tell_no_ids_a_topic_whose_leader_died_is_named_and_not_joined_to_the_one_created_again() {
    let orders = Log::default();
    orders.state().elect(5, 0);
    ["a", "b", "c"].iter().for_each(|key| orders.state().write(key));
    let orders = orders.with(|log, offset| log.is_silent = offset > 0);
    // Both know both topics, so that neither is taken for one that is behind. The second topic stays with the first broker.
    let other = Log::default();
    other.state().elect(9, 0);
    other.state().write_bytes("o", 100);
    let stays = vec![Topic::new("orders", vec![Log::of_keys(&["x", "y", "z"])]), Topic::new("other", vec![other])];
    let dies = vec![Topic::new("orders", vec![orders]), Topic::new("other", vec![Log::default()])];
    let stays = Broker::start_as(1, 0, stays, Vec::new()).await;
    let dies = Broker::start_as(2, 0, dies, Vec::new()).await;
    stays.meet(&dies);
    [&stays, &dies].into_iter().for_each(|broker| Ids::Nowhere.prepare(broker));
    let ends = async {
        while dies.topics()[0].partitions[0].state().fetches < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stays.forgets(2);
        dies.set_away(true);
    };
    let mut cluster = stays.config();
    cluster.retry_timeout_ms = 800;
    let folder = tempfile::tempdir().unwrap();
    let settings = json!({ "cluster": cluster, "consumerGroups": [] });
    let (report, ()) = tokio::join!(run(&stays, folder.path(), settings), ends);
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert!(problem.starts_with("partition orders-0 is not in the backup"), "{problem}");
}
