//! A restore reports records as restored only if they are in the topics that it has written them to, and never writes them twice.

use std::time::{Duration, Instant};

use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, NewTopic, Position, Witness, properties};

use crate::{CONFLICT, OLD_MS, own_configs, replace};

/// Topics and a backup of all of them.
struct Topics {
    kafka: &'static Kafka,
    repository: Repository<'static>,
    names: Vec<String>,
}

impl Topics {
    /// Topics of one partition, with so many records each.
    fn new(stem: &str, records: &[i64]) -> Self {
        let kafka = Kafka::shared(Shared::Plain);
        let (witness, stem) = (kafka.witness(), unique(stem));
        let name = |number: usize| format!("{stem}-{number}");
        let names: Vec<String> = (0..records.len()).map(name).collect();
        for (name, count) in names.iter().zip(records) {
            witness.create_topics(&[NewTopic::new(name, 1)]).unwrap();
            let value = "v".repeat(1_000);
            let records: Vec<Record> =
                (0..*count).map(|n| Record::new(0, OLD_MS + n, n.to_string(), value.as_str())).collect();
            let small = properties([("batch.size", "4096"), ("linger.ms", "0")]);
            witness.produce(name, &small, &records).unwrap();
        }
        let repository = Repository::folder().unwrap();
        let bootstrap = kafka.bootstrap(Listener::Plain);
        let topics = format!("{stem}.*");
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topics]);
        Self { kafka, repository, names }
    }

    fn restore(&self, more: &[&str]) -> Vec<String> {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let command = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--existing-topics"];
        [&command[..], more].concat().into_iter().map(str::to_owned).collect()
    }
}

fn end(witness: &Witness, topic: &str) -> i64 {
    witness.offsets(topic, At::Latest).unwrap()[0]
}

#[test]
fn a_topic_that_is_replaced_behind_a_running_restore_is_not_reported_as_restored() {
    let topics = Topics::new("behind", &[10, 3_000]);
    let witness = topics.kafka.witness();
    let command = topics.restore(&["overwrite", "--rate-limit-bytes", "300000"]);
    let mut running = topics.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let [first, second] = topics.names.as_slice() else { unreachable!() };
    running.wait_until("the first topic is restored", || {
        let ends = |topic: &str| witness.offsets(topic, At::Latest).ok().map(|ends| ends[0]);
        ends(first) == Some(10) && ends(second).is_some_and(|end| (1..1_000).contains(&end))
    });
    replace(&witness, &NewTopic::new(first, 1));
    let ended = running.ended().unwrap();
    assert_eq!(end(&witness, first), 0);
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&format!("{first:?}")), "{ended:?}");
    // The new one is its owner's: it never got the settings of a restore, and none is said to be left on it.
    assert!(own_configs(&witness, first).is_empty(), "{:?}", own_configs(&witness, first));
    let (_, left) = ended.stderr.split_once("topics that keep the settings of a restore").unwrap();
    assert!(left.contains(second.as_str()) && !left.contains(first.as_str()), "{ended:?}");
}

#[test]
fn a_backup_made_again_under_the_id_of_a_pruned_one_is_restored_by_another_restore() {
    let kafka = Kafka::shared(Shared::Plain);
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let (topic, target) = (unique("monday"), unique("drill"));
    let repository = Repository::folder().unwrap();
    let produce = |count: i64| {
        let records: Vec<Record> = (0..count).map(|n| Record::new(0, OLD_MS + n, n.to_string(), "v")).collect();
        witness.produce(&topic, &properties([]), &records).unwrap();
    };
    let backup = |id: &str| {
        let command = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic];
        repository.report(&[&command[..], &["--backup-id", id]].concat())
    };
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    produce(10);
    backup("monday");
    let mapping = format!("{topic}={target}");
    let command = ["restore", "--bootstrap-servers", &bootstrap, "--backup", "monday", "--topic-mapping", &mapping];
    assert_eq!(repository.report(&command)["records"], 10);
    backup("tuesday");
    repository.report(&["prune", "--archive", "a", "--max-backups", "1", "--grace", "0s", "--confirm"]);
    produce(5);
    backup("monday");
    // The target holds what the first one brought.
    let ended = repository.run(&command).unwrap();
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("existingTopics"), "{ended:?}");
    witness.delete_topics(&[&target]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while witness.describe_topic(&target).is_ok() && Instant::now() < deadline {}
    let report = repository.report(&command);
    assert_eq!((&report["records"], &report["alreadyRestored"]), (&15.into(), &false.into()), "{report}");
    assert_eq!(end(&witness, &target), 15);
    assert!(own_configs(&witness, &target).is_empty(), "{:?}", own_configs(&witness, &target));
}

#[test]
fn a_restore_appends_nothing_twice_when_one_of_its_topics_was_replaced() {
    let topics = Topics::new("appended", &[10, 20]);
    let witness = topics.kafka.witness();
    let command = topics.restore(&["append"]);
    let append: Vec<&str> = command.iter().map(String::as_str).collect();
    topics.repository.run(&append).unwrap().succeeded();
    let [first, second] = topics.names.as_slice() else { unreachable!() };
    assert_eq!([end(&witness, first), end(&witness, second)], [20, 40]);
    replace(&witness, &NewTopic::new(first, 1));
    let ended = topics.repository.run(&append).unwrap();
    assert_eq!(end(&witness, second), 40, "{ended:?}");
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&format!("{second:?}")), "{ended:?}");
    // What was lost can be restored alone.
    topics.repository.run(&[&append[..], &["--topics", first]].concat()).unwrap().succeeded();
    assert_eq!([end(&witness, first), end(&witness, second)], [10, 40]);
}

#[test]
fn a_restore_overwrites_nothing_twice_when_one_of_its_topics_was_replaced() {
    let topics = Topics::new("overwritten", &[10, 20]);
    let witness = topics.kafka.witness();
    let command = topics.restore(&["overwrite"]);
    let overwrite: Vec<&str> = command.iter().map(String::as_str).collect();
    topics.repository.run(&overwrite).unwrap().succeeded();
    let [first, second] = topics.names.as_slice() else { unreachable!() };
    // Applications keep using it.
    witness.produce(second, &properties([]), &[Record::new(0, OLD_MS, "later", "v")]).unwrap();
    replace(&witness, &NewTopic::new(first, 1));
    for more in [&["--dry-run"][..], &[]] {
        let ended = topics.repository.run(&[&overwrite[..], more].concat()).unwrap();
        assert_eq!(end(&witness, second), 21, "{ended:?}");
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains("with all that was written since"), "{ended:?}");
    }
    topics.repository.run(&[&overwrite[..], &["--topics", first]].concat()).unwrap().succeeded();
    assert_eq!([end(&witness, first), end(&witness, second)], [10, 21]);
}

#[test]
fn records_that_are_deleted_behind_those_that_a_topic_held_before_are_never_reported_as_restored() {
    // The first of these deletes only what the topic held before, the second one restored record too.
    for (log_start, code) in [(10, 0), (11, CONFLICT)] {
        let topics = Topics::new("held", &[10, 3_000]);
        let witness = topics.kafka.witness();
        let command = topics.restore(&["append", "--rate-limit-bytes", "300000"]);
        let mut running = topics.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let [first, second] = topics.names.as_slice() else { unreachable!() };
        // No later answer about the first topic can tell of the deletion.
        running.wait_until("the first topic is restored", || {
            let ends = |topic: &str| witness.offsets(topic, At::Latest).ok().map(|ends| ends[0]);
            ends(first) == Some(20) && ends(second).is_some_and(|end| (3_001..4_000).contains(&end))
        });
        witness.delete_records(&[Position::new(first, 0, log_start)]).unwrap();
        let ended = running.ended().unwrap();
        assert_eq!(witness.offsets(first, At::Earliest).unwrap(), [log_start], "{ended:?}");
        assert_eq!(ended.code, Some(code), "from {log_start} on: {ended:?}");
        let begins = format!("topic {first:?} partition 0 begins at offset {log_start} now");
        let is_said = ended.stderr.contains(&begins) && ended.stderr.contains("restored records were deleted");
        assert_eq!(is_said, code == CONFLICT, "from {log_start} on: {ended:?}");
    }
}

#[test]
fn records_that_are_deleted_between_two_runs_of_a_restore_are_never_reported_as_restored() {
    let slowly = ["--rate-limit-bytes", "300000"];
    // Of the first topic all records have landed, so that no broker answers about it again; of the second a part has.
    for swept in [0, 1] {
        let topics = Topics::new("runs", &[10, 3_000]);
        let witness = topics.kafka.witness();
        let command = topics.restore(&["overwrite"]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut running = topics.repository.start(&[&command[..], &slowly].concat()).unwrap();
        running.wait_until("the first topic is restored, and a part of the second", || {
            let ends = |topic: &str| witness.offsets(topic, At::Latest).ok().map(|ends| ends[0]);
            ends(&topics.names[0]) == Some(10) && ends(&topics.names[1]).is_some_and(|end| (1..1_000).contains(&end))
        });
        running.kill().unwrap();
        // Up to the high watermark.
        witness.delete_records(&[Position::new(&topics.names[swept], 0, -1)]).unwrap();
        let pace: &[&str] = if swept == 0 { &[] } else { &slowly };
        let ended = topics.repository.run(&[&command[..], pace].concat()).unwrap();
        assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
        let begins = format!("topic {:?} partition 0 begins at offset ", topics.names[swept]);
        assert!(ended.stderr.contains(&begins), "{ended:?}");
        assert!(ended.stderr.contains("restored records were deleted"), "{ended:?}");
        let is_complete = end(&witness, &topics.names[1]) == 3_000;
        assert_eq!(is_complete, swept == 0, "the first answer about the topic ends the restore: {ended:?}");
    }
}
