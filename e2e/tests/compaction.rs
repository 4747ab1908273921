//! A compacted topic whose keys are written again, and cleaned, while the backup reads it.

use std::collections::BTreeSet;

use e2e::dump::{self, Record};
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{Commit, NewTopic, Position, properties};

const KEYS: usize = 20_000;
const ROUNDS: i64 = 3;
const START_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// Every key once, the last first in every other round, so that the cleaner takes what the reader has not come to yet.
fn round(number: i64) -> Vec<Record> {
    let record = |key: usize| {
        let value = format!("{number}-{key}-{}", "x".repeat(200));
        Record::new(0, START_MS + number * HOUR_MS, format!("key-{key:05}"), value)
    };
    match number % 2 {
        0 => (0..KEYS).map(record).collect(),
        _ => (0..KEYS).rev().map(record).collect(),
    }
}

#[test]
fn every_key_of_a_compacted_topic_is_in_the_backup_although_all_are_rewritten_and_cleaned_meanwhile() {
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let topic = unique("rewritten");
    let new = NewTopic::new(&topic, 1)
        .with("cleanup.policy", "compact")
        .with("min.cleanable.dirty.ratio", "0.01")
        // Segments roll by the records' own time: each round is an hour after the one before.
        .with("segment.ms", "60000")
        .with("delete.retention.ms", "100");
    witness.create_topics(&[new]).unwrap();
    let small = properties([("batch.size", "4096"), ("linger.ms", "1")]);
    witness.produce(&topic, &small, &round(0)).unwrap();
    let at_rest = format!("{topic}-at-rest");
    witness.create_topics(&[NewTopic::new(&at_rest, 1).with("cleanup.policy", "compact")]).unwrap();
    witness.produce(&at_rest, &small, &[Record::new(0, START_MS, "key", "value")]).unwrap();

    // One group is at the cut, one in the middle of what will be cleaned.
    let (caught_up, behind) = (unique("caught-up"), unique("behind"));
    for (group, next) in [(&caught_up, KEYS), (&behind, KEYS / 2)] {
        let next = i64::try_from(next).unwrap();
        witness.commit_offsets(group, &[Commit::from(Position::new(&topic, 0, next))]).unwrap();
    }

    let repository = Repository::folder().unwrap();
    let groups = [&caught_up, &behind].map(|group| format!("--consumer-groups={group}"));
    let mut backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic].to_vec();
    backup.extend(["--topics", &at_rest]);
    backup.extend(["--rate-limit-bytes=700000", "--parallelism=1", &groups[0], &groups[1]]);
    let mut running = repository.start(&backup).unwrap();
    let is_cut = || repository.objects().unwrap().iter().any(|path| path.ends_with("cut"));
    running.wait_until("the cut is taken", is_cut);
    for number in 1..=ROUNDS {
        witness.produce(&topic, &small, &round(number)).unwrap();
    }
    let ended = running.ended().unwrap().succeeded();
    let report = ended.json().unwrap();
    assert_eq!(report["outcome"], "completed", "{report}");
    assert!(report["holes"]["compaction"].as_u64().unwrap() > 0, "nothing was cleaned meanwhile: {report}");
    // Reading took longer than the cleaner leaves tombstones: what was deleted meanwhile may be there. Of the other topic, tombstones stay.
    let warnings: Vec<&str> = report["warnings"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    let [warning] = warnings[..] else { panic!("one warning: {report}") };
    assert!(warning.starts_with(&format!("topic \"{topic}\", partitions {{0}}: reading took up to ")), "{warning}");
    assert!(
        warning.contains("of the 100 ms for which the log cleaner leaves tombstones (delete.retention.ms)"),
        "{warning}"
    );
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    let target = format!("{topic}-back");
    let mapping = format!("--topic-mapping={topic}={target}");
    let mut restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic].to_vec();
    restore.extend([mapping.as_str(), &groups[0], &groups[1]]);
    assert_eq!(repository.report(&restore)["outcome"], "completed");
    let folder = tempfile::tempdir().unwrap();
    witness.dump(&target, folder.path()).unwrap();
    let records = dump::read_all(folder.path()).unwrap();
    let keys: BTreeSet<&[u8]> = records.iter().filter_map(|record| record.key.as_deref()).collect();
    assert_eq!(keys.len(), KEYS);

    // The target holds what was written after the cut too. A group goes on where it stood at the cut, however little is left from there.
    let is_after_the_cut = |record: &Record| !record.value.as_deref().unwrap().starts_with(b"0-");
    let middle = format!("key-{:05}", KEYS / 2).into_bytes();
    let after_the_cut = records.iter().find(|record| is_after_the_cut(record));
    let after_the_middle =
        records.iter().find(|record| is_after_the_cut(record) || record.key.as_ref().is_some_and(|key| *key >= middle));
    assert!(after_the_cut.is_some(), "nothing was written after the cut");
    for (group, expected) in [(&caught_up, after_the_cut), (&behind, after_the_middle)] {
        let next = witness.next_of_group(group, &[(&target, 0)]).unwrap();
        assert_eq!(next[0].as_ref(), expected, "{group}");
    }
}
