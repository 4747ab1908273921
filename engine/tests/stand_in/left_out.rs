//! A partition that cannot be read is left out of the backup and named; the others are in it.

use std::io::Write;
use std::path::Path;

use bytes::BufMut;
use kafka_backup::backup::{self, BackupReport, Outcome};
use kafka_backup::error::Kind;
use kafka_backup::format::batch::HEADER_BYTES;
use kafka_backup::list::{self, State};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::{Broker, OVERSIZED_BYTES};
use crate::configs;
use crate::topic::{Log, Topic};

const CORRUPT_MESSAGE: i16 = 2;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const KAFKA_STORAGE_ERROR: i16 = 56;

fn failing(name: &str, error_code: i16) -> Topic {
    let log = Log::of_noise(3, 100, 1);
    log.state().error_code = error_code;
    Topic::new(name, vec![log])
}

/// Message format v1 has its magic byte where v2 has it.
fn of_an_old_format(name: &str) -> Topic {
    let log = Log::of_noise(3, 100, 1);
    for (_, bytes) in &mut log.state().batches {
        let mut old = bytes.to_vec();
        old[16] = 1;
        *bytes = old.into();
    }
    Topic::new(name, vec![log])
}

/// A message without a key in format v0 or v1, whose value is compressed by this codec: an entry of a message set.
fn message(offset: i64, magic: i8, codec: i8, value: &[u8]) -> Vec<u8> {
    let mut covered = Vec::new();
    covered.put_i8(magic);
    covered.put_i8(codec);
    if magic > 0 {
        covered.put_i64(1_700_000_000_000);
    }
    covered.put_i32(-1);
    covered.put_i32(i32::try_from(value.len()).unwrap());
    covered.put_slice(value);
    let mut crc = flate2::Crc::new();
    crc.update(&covered);
    let mut message = Vec::new();
    message.put_i64(offset);
    message.put_i32(i32::try_from(4 + covered.len()).unwrap());
    message.put_u32(crc.sum());
    message.put_slice(&covered);
    message
}

/// Two messages, each of which is shorter than the header of a record batch.
fn of_short_messages(magic: i8) -> Log {
    let log = Log::default();
    for offset in [0, 1] {
        let message = message(offset, magic, 0, b"v");
        assert!(message.len() < HEADER_BYTES);
        log.state().batches.push((offset..offset + 1, message.into()));
    }
    log
}

/// A message whose value is three messages, compressed together. It has the offset of the last of them.
fn of_a_wrapper(magic: i8) -> Log {
    const GZIP: i8 = 1;
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    for (offset, value_bytes) in [(0, 10), (1, 200), (2, 10)] {
        compressed.write_all(&message(offset, magic, 0, &vec![b'v'; value_bytes])).unwrap();
    }
    let log = Log::default();
    log.state().batches.push((0..3, message(2, magic, GZIP, &compressed.finish().unwrap()).into()));
    log
}

async fn back_up(broker: &Broker, folder: &Path) -> Result<BackupReport, backup::Error> {
    let mut cluster = broker.config();
    cluster.retry_timeout_ms = 800;
    let config = configs::backup(broker, folder, json!({ "cluster": cluster }));
    backup::run(&config, &Progress::default(), &Stop::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_cannot_be_read_are_named_and_the_others_are_in_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let broken = [
        ("denied", failing("denied", TOPIC_AUTHORIZATION_FAILED), "TOPIC_AUTHORIZATION_FAILED"),
        ("lost-disk", failing("lost-disk", KAFKA_STORAGE_ERROR), "KAFKA_STORAGE_ERROR"),
        ("corrupt", failing("corrupt", CORRUPT_MESSAGE), "CORRUPT_MESSAGE"),
        ("old", of_an_old_format("old"), "message format v1"),
    ];
    let says: Vec<_> = broken.iter().map(|(name, _, why)| (*name, *why)).collect();
    let mut topics: Vec<Topic> = broken.into_iter().map(|(_, topic, _)| topic).collect();
    topics.push(Topic::new("orders", vec![Log::of_noise(5, 100, 2)]));
    let broker = Broker::start(topics).await;
    let report = back_up(&broker, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 5), "{report:?}");
    assert_eq!(report.problems.len(), says.len(), "{:?}", report.problems);
    for (name, why) in says {
        let named = report.problems.iter().any(|problem| {
            problem.contains(&format!("partition {name}-0 is not in the backup")) && problem.contains(why)
        });
        assert!(named, "{name}: {:?}", report.problems);
    }
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    for topic in manifest.topics {
        assert_eq!(topic.partitions[0].missing, topic.topic.name != "orders", "{}", topic.topic.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_with_messages_of_before_kafka_0_11_are_named_and_the_rest_of_their_topic_is_in_the_backup() {
    // The fifth partition was written to by newer clients too, and the sixth by these alone.
    let upgraded = of_short_messages(1);
    upgraded.state().push(1, None, b"new".to_vec());
    let partitions = vec![
        of_short_messages(0),
        of_short_messages(1),
        of_a_wrapper(0),
        of_a_wrapper(1),
        upgraded,
        Log::of_noise(2, 100, 1),
    ];
    let broker =
        Broker::start(vec![Topic::new("old", partitions), Topic::new("orders", vec![Log::of_noise(5, 100, 2)])]).await;
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 2 + 5), "{report:?}");
    let magic_and_offset = [(0, 0), (1, 0), (0, 2), (1, 2), (1, 0)];
    assert_eq!(report.problems.len(), magic_and_offset.len(), "{:?}", report.problems);
    for (partition, (problem, (magic, offset))) in report.problems.iter().zip(magic_and_offset).enumerate() {
        let says = format!(
            "partition old-{partition} is not in the backup: topic \"old\" partition {partition}: message format v{magic} at \
             offset {offset} is not supported: only v2 is (Kafka 0.11 and later)"
        );
        assert!(problem.starts_with(&says) && problem.ends_with("(excludeTopics)"), "{problem}");
    }
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    let missing: Vec<bool> = manifest.topics[0].partitions.iter().map(|partition| partition.missing).collect();
    assert_eq!(missing, [true, true, true, true, true, false]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_batch_is_larger_than_any_response_is_named_and_the_others_are_in_the_backup() {
    let huge = Log::of_noise(1, 100, 1);
    huge.state().is_oversized = true;
    let orders = vec![Log::of_noise(5, 100, 2), Log::of_noise(2, 100, 3)];
    let broker = Broker::start(vec![Topic::new("huge", vec![huge]), Topic::new("orders", orders)]).await;
    let folder = tempfile::tempdir().unwrap();
    let report = back_up(&broker, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 7), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("partition huge-0 is not in the backup"), "{problem}");
    assert!(problem.contains(&format!("offset 0 has {OVERSIZED_BYTES} bytes")), "{problem}");
    assert!(problem.ends_with("exclude this topic (excludeTopics), or let the batch expire"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_can_read_nothing_at_all_fails_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![failing("denied", TOPIC_AUTHORIZATION_FAILED)]).await;
    let error = back_up(&broker, folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");

    // The right is given, and the same backup is resumed.
    broker.topics()[0].partitions[0].state().error_code = 0;
    let report = back_up(&broker, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_cannot_be_finished_is_given_up_and_the_next_run_takes_a_new_cut() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(vec![of_an_old_format("old")]).await;
    let error = back_up(&broker, folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let listed = list::run(&configs::list(folder.path())).await.unwrap();
    let [entry] = listed.archives[0].backups.as_slice() else { panic!("{listed:?}") };
    assert_eq!((entry.state, entry.problems.as_slice()), (State::GivenUp, [error.to_string()].as_slice()));

    let log = &broker.topics()[0].partitions[0];
    log.state().batches.clear();
    for _ in 0..7 {
        log.state().push(1, None, b"new".to_vec());
    }
    let report = back_up(&broker, folder.path()).await.unwrap();
    // The cut of the first run had three records.
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 7), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_away_altogether_leaves_a_backup_to_be_resumed_and_no_partial_one() {
    // In the shutdown of a cluster its last broker still says that nobody leads the partitions.
    let log = Log::of_noise(20, 700_000, 3).with(|log, offset| {
        if offset >= 5 && log.fetches < 100 {
            (log.error_code, log.has_no_leader, log.fetches) = (NOT_LEADER_OR_FOLLOWER, true, 100);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let orders = Topic::new("orders", vec![Log::of_noise(3, 10, 1)]);
    let broker = Broker::start(vec![orders, Topic::new("large", vec![log])]).await;
    let large = &broker.topics()[1].partitions[0];
    let ends = async {
        while !large.state().has_no_leader {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        broker.set_away(true);
    };
    let (ended, ()) = tokio::join!(back_up(&broker, folder.path()), ends);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");

    broker.set_away(false);
    large.state().error_code = 0;
    large.state().has_no_leader = false;
    let report = back_up(&broker, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records, report.resumed), (Outcome::Completed, 23, true), "{report:?}");
}
