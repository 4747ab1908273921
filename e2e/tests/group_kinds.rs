//! Groups of Kafka Streams (KIP-1071) and share groups (KIP-932) go on where they were, as consumer groups do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::{Duration, Instant};

use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{Application, NewTopic, Position, StreamsProtocol, Witness, properties};

const RECORDS: i64 = 100;
/// Records that are not there any more when the backup is made: offsets in source and target differ.
const DELETED: i64 = 10;
/// How many records a group takes of those that are left before the backup.
const TAKEN: usize = 30;
const PARTIAL: i32 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic with records `0`, `1`, .., of which the first are deleted, and the names of a group and of copies of both.
struct Source {
    kafka: &'static Kafka,
    witness: Witness,
    repository: Repository<'static>,
    topic: String,
    group: String,
    target: String,
    renamed: String,
}

impl Source {
    fn new() -> Self {
        let kafka = Kafka::shared(Shared::Plain);
        let witness = kafka.witness();
        let topic = unique("orders");
        witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
        let source = Self {
            kafka,
            witness,
            repository: Repository::folder().unwrap(),
            group: unique("group"),
            target: unique("restored"),
            renamed: unique("renamed"),
            topic,
        };
        source.produce(&source.topic, 0..RECORDS);
        source.witness.delete_records(&[Position::new(&source.topic, 0, DELETED)]).unwrap();
        source
    }

    fn produce(&self, topic: &str, values: std::ops::Range<i64>) {
        let records: Vec<Record> = values.map(|n| Record::new(0, 1_770_000_000_000 + n, "k", n.to_string())).collect();
        self.witness.produce(topic, &properties([]), &records).unwrap();
    }

    fn back_up(&self) -> serde_json::Value {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let groups = format!("--consumer-groups={}", self.group);
        let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &self.topic, &groups];
        let report = self.repository.report(&backup);
        assert_eq!((&report["outcome"], &report["groups"]), (&"completed".into(), &1.into()), "{report}");
        report
    }

    /// Restores topic and group under other names.
    fn restore(&self) -> e2e::cli::Ended {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let topic = format!("--topic-mapping={}={}", self.topic, self.target);
        let groups = format!("--consumer-groups={}", self.group);
        let group = format!("--group-mapping={}={}", self.group, self.renamed);
        let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", &topic, &groups, &group];
        self.repository.run(&restore).unwrap()
    }
}

fn await_values(application: &Application, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while application.values().unwrap().len() < count {
        assert!(Instant::now() < deadline, "{:?}", application.values());
        thread::sleep(Duration::from_millis(100));
    }
}

fn values(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn an_application_of_the_streams_protocol_goes_on_without_repeating_a_record() {
    let source = Source::new();
    let application = source.witness.start_streams(&source.group, StreamsProtocol::Streams, &source.topic).unwrap();
    let left = usize::try_from(RECORDS - DELETED).unwrap();
    await_values(&application, left);
    let listed = source.witness.list_groups().unwrap();
    assert!(listed.iter().any(|group| group.group == source.group && group.kind == "Streams"), "{listed:?}");
    assert_eq!(application.stop().unwrap(), values(DELETED..RECORDS));
    // It has not seen these when the backup is made.
    source.produce(&source.topic, RECORDS..RECORDS + 20);
    source.back_up();
    let report = source.restore().succeeded().json().unwrap();
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &1.into()), "{report}");

    let application = source.witness.start_streams(&source.renamed, StreamsProtocol::Streams, &source.target).unwrap();
    await_values(&application, 20);
    assert_eq!(application.stop().unwrap(), values(RECORDS..RECORDS + 20));
}

#[test]
fn an_application_of_the_streams_protocol_that_runs_is_left_alone_and_its_client_named() {
    let source = Source::new();
    let application = source.witness.start_streams(&source.group, StreamsProtocol::Streams, &source.topic).unwrap();
    await_values(&application, 1);
    application.stop().unwrap();
    source.back_up();
    // The group of the target is at work, on another topic.
    let busy = source.witness.start_streams(&source.renamed, StreamsProtocol::Streams, &source.topic).unwrap();
    await_values(&busy, 1);
    let ended = source.restore();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let problems = ended.json().unwrap()["problems"].to_string();
    assert!(problems.contains("has active members") && problems.matches(&source.renamed).count() > 1, "{problems}");
    assert!(source.witness.group_offsets(&source.renamed).unwrap().iter().all(|c| c.position.topic != source.target));
    busy.stop().unwrap();

    // Once it has stopped, the same command finishes the work.
    source.restore().succeeded();
    let offsets = source.witness.group_offsets(&source.renamed).unwrap();
    assert!(offsets.iter().any(|commit| commit.position.topic == source.target), "{offsets:?}");
}

#[test]
fn a_share_group_goes_on_at_its_start_offset() {
    let source = Source::new();
    let taken = i64::try_from(TAKEN).unwrap();
    let acknowledged = source.witness.share(&source.group, &source.topic, TAKEN).unwrap();
    assert_eq!(acknowledged, values(DELETED..DELETED + taken));
    // The brokers may store where a group starts only along with what it acknowledges next.
    source.witness.share(&source.group, &source.topic, 5).unwrap();
    let start = source.witness.share_offsets(&source.group).unwrap().remove(0).offset;
    assert!(start >= DELETED + taken, "{start}");
    source.back_up();

    let report = source.restore().succeeded().json().unwrap();
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &1.into()), "{report}");
    let restored = Position::new(&source.target, 0, start - DELETED);
    assert_eq!(source.witness.share_offsets(&source.renamed).unwrap(), [restored]);
    let next = source.witness.share(&source.renamed, &source.target, 5).unwrap();
    assert_eq!(next, values(start..start + 5));
}

#[test]
fn a_group_keeps_the_name_of_another_kind_to_itself() {
    let source = Source::new();
    source.witness.share(&source.group, &source.topic, TAKEN).unwrap();
    source.back_up();
    // A consumer group of the name that the share group is to have.
    let position = Position::new(&source.topic, 0, DELETED);
    source.witness.commit_offsets(&source.renamed, &[position.into()]).unwrap();
    let ended = source.restore();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let problems = ended.json().unwrap()["problems"].to_string();
    assert!(problems.contains("is a classic group in the target"), "{problems}");
}
