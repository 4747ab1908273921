//! A hostile log comes back equal, record for record, and consumer groups go on at the record they would have read.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::compare::{self, Rules};
use e2e::hostile::{self, HostileLog, Trait};
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::minio::Minio;
use e2e::runs::Repository;
use e2e::witness::{Commit, Position, Witness, properties};
use e2e::{librdkafka, unique};
use serde_json::Value;

/// Positions that are committed and looked at again.
const POSITIONS: usize = 300;

/// Backs the log up, restores it under other names, and compares all of it as clients that are not ours read it.
fn comes_back_equal(kafka: &Kafka, log: &HostileLog, repository: &Repository<'_>, seed: u64) {
    let witness = kafka.witness();
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let folder = tempfile::tempdir().unwrap();
    let suffix = unique("back");

    // The cleaner has done its work; were it to go on, in source or target, nothing would stay equal.
    let rest = properties([("min.compaction.lag.ms", "31536000000000")]);
    witness.alter_topic(&log.topic(Trait::Compacted).name, &rest, &[]).unwrap();

    // One group a position, so that every one of them is committed and translated by itself.
    let positions = log.random_positions(&witness, seed, POSITIONS).unwrap();
    let group_of = |number: usize| format!("{suffix}-group-{number}");
    for (number, position) in positions.iter().enumerate() {
        witness.commit_offsets(&group_of(number), &[Commit::from(position.clone())]).unwrap();
    }
    let expected = witness.next_records(&positions).unwrap();

    let topics: Vec<&str> = log.topics.iter().map(|topic| topic.name.as_str()).collect();
    let mut arguments = vec!["backup", "--bootstrap-servers", &bootstrap, "--archive", "hostile"];
    topics.iter().for_each(|topic| arguments.extend(["--topics", topic]));
    let backup = repository.report(&arguments);
    assert_eq!(backup["outcome"], "completed", "{backup}");
    assert_eq!(backup["openTransactions"].as_array().unwrap().len(), 1, "{backup}");
    let backup_id = backup["backupId"].as_str().unwrap();
    repository.report(&["verify", "--backup", backup_id, "--level", "records"]);

    let mapping: Vec<String> = topics.iter().map(|topic| format!("{topic}={topic}-{suffix}")).collect();
    let group_mapping: Vec<String> =
        (0..POSITIONS).map(|number| format!("{0}={0}-{suffix}", group_of(number))).collect();
    let groups = format!("{suffix}-group-.*");
    let mut arguments = vec!["restore", "--bootstrap-servers", &bootstrap, "--backup", backup_id];
    mapping.iter().for_each(|mapping| arguments.extend(["--topic-mapping", mapping]));
    group_mapping.iter().for_each(|mapping| arguments.extend(["--group-mapping", mapping]));
    let groups_flag = format!("--consumer-groups={groups}");
    arguments.push(&groups_flag);
    let restored = repository.report(&arguments);
    assert_eq!(restored["outcome"], "completed", "{restored}");

    for topic in &log.topics {
        let target = format!("{}-{suffix}", topic.name);
        let (before, after) =
            (folder.path().join("before").join(&topic.name), folder.path().join("after").join(&topic.name));
        witness.dump(&topic.name, &before).unwrap();
        witness.dump(&target, &after).unwrap();
        let compared =
            compare::dumps(&before, &after, Rules::RESTORED).unwrap_or_else(|error| panic!("{topic:?}: {error:#}"));
        assert_eq!(compared.partitions, topic.partitions.unsigned_abs() as usize);
        if topic.hostility.has_text_header_keys() {
            let by_c = folder.path().join("librdkafka").join(&topic.name);
            librdkafka::dump(&bootstrap, &target, &by_c).unwrap();
            compare::dumps(&after, &by_c, Rules::IDENTICAL).unwrap_or_else(|error| panic!("{topic:?}: {error:#}"));
        }
        same_configs(&witness, &topic.name, &target);
    }
    groups_go_on(&witness, &positions, &expected, &suffix, &group_of);

    // The same command once more adds nothing.
    let ends = |witness: &Witness| -> BTreeMap<String, Vec<i64>> {
        let ends = |topic: &String| witness.offsets(topic, e2e::witness::At::Latest).unwrap();
        log.topics
            .iter()
            .map(|topic| format!("{}-{suffix}", topic.name))
            .map(|topic| (topic.clone(), ends(&topic)))
            .collect()
    };
    let before = ends(&witness);
    let again: Value = repository.report(&arguments);
    assert_eq!(again["outcome"], "completed", "{again}");
    assert_eq!(ends(&witness), before);
}

fn same_configs(witness: &Witness, source: &str, target: &str) {
    let describe = |topic: &str| witness.describe_topic(topic).unwrap();
    let (source, mut target) = (describe(source), describe(target));
    // The controller answers once a change is decided; the broker that is asked here hears of it a moment later.
    let deadline = Instant::now() + Duration::from_secs(60);
    while source.configs != target.configs && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
        target = describe(&target.name);
    }
    assert_eq!(source.configs, target.configs, "{}", source.name);
    assert_eq!(source.partitions.len(), target.partitions.len());
}

/// The next record of each restored group is the one that the group would have read.
fn groups_go_on(
    witness: &Witness,
    positions: &[Position],
    expected: &[Option<e2e::dump::Record>],
    suffix: &str,
    group_of: &impl Fn(usize) -> String,
) {
    for (number, (position, expected)) in positions.iter().zip(expected).enumerate() {
        let group = format!("{}-{suffix}", group_of(number));
        let topic = format!("{}-{suffix}", position.topic);
        let found = witness.next_of_group(&group, &[(&topic, position.partition)]).unwrap().remove(0);
        match (expected, &found) {
            (None, None) => {}
            (Some(expected), Some(found)) => {
                let difference = compare::difference(expected, found, Rules::RESTORED);
                assert_eq!(difference, None, "{position:?}");
            }
            _ => panic!("{position:?}: expected {expected:?}, found {found:?}"),
        }
    }
}

#[test]
fn a_hostile_log_comes_back_equal_from_a_folder() {
    let kafka = Kafka::shared(Shared::Plain);
    let log = hostile::write(kafka, 11).unwrap();
    comes_back_equal(kafka, &log, &Repository::folder().unwrap(), 12);
    assert!(log.topics.iter().any(|topic| topic.hostility == Trait::Compacted));
    log.open_transaction.abort().unwrap();
}

#[test]
fn a_hostile_log_comes_back_equal_from_s3_with_the_newer_line() {
    let kafka = Kafka::shared(Shared::Newer);
    let log = hostile::write(kafka, 21).unwrap();
    comes_back_equal(kafka, &log, &Repository::bucket(Minio::shared(), "hostile").unwrap(), 22);
    log.open_transaction.abort().unwrap();
}
