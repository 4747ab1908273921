//! Groups of the consumer protocol (KIP-848): their committed offsets come back, and one that is at work is left alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::librdkafka;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{Commit, NewTopic, Position, Protocol, Witness, properties};

const START_MS: i64 = 1_770_000_000_000;
const RECORDS: i64 = 100;
/// Where the group goes on.
const NEXT: i64 = 42;
const PARTIAL: i32 = 7;

/// A topic, a group of the consumer protocol whose only member has left after a commit, and a backup of both.
struct BackedUp {
    repository: Repository<'static>,
    bootstrap: String,
    witness: Witness,
    topic: String,
    group: String,
}

impl BackedUp {
    fn new() -> Self {
        let kafka = Kafka::shared(Shared::Plain);
        let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
        let (topic, group) = (unique("orders"), unique("kip-848"));
        witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
        // What lies before the group's position is partly gone, so that offsets in source and target differ.
        let records: Vec<Record> = (0..RECORDS).map(|n| Record::new(0, START_MS + n, n.to_string(), "v")).collect();
        witness.produce(&topic, &properties([("linger.ms", "20")]), &records).unwrap();
        witness.delete_records(&[Position::new(&topic, 0, 10)]).unwrap();
        let member = witness.join_group(&group, Protocol::Consumer, &[&topic]).unwrap();
        let commit = Commit { metadata: "note".to_owned(), ..Commit::from(Position::new(&topic, 0, NEXT)) };
        member.commit(&[commit]).unwrap();
        member.leave().unwrap();
        assert_eq!(witness.describe_group(&group).unwrap().kind, "Consumer");
        let repository = Repository::folder().unwrap();
        let groups = format!("--consumer-groups={group}");
        let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic, &groups];
        let report = repository.report(&backup);
        assert_eq!((&report["outcome"], &report["groups"]), (&"completed".into(), &1.into()), "{report}");
        Self { repository, bootstrap, witness, topic, group }
    }

    /// The command that restores the topic under another name, with the group; and that name.
    fn restore(&self) -> (Vec<String>, String) {
        let target = unique("back");
        let mapping = format!("--topic-mapping={}={target}", self.topic);
        let groups = format!("--consumer-groups={}", self.group);
        let command = ["restore", "--bootstrap-servers", &self.bootstrap, "--archive", "a", &mapping, &groups];
        (command.map(str::to_owned).to_vec(), target)
    }

    fn go_on_at_the_next_record(&self, group: &str, target: &str) {
        let offsets = self.witness.group_offsets(group).unwrap();
        let committed = offsets.iter().find(|commit| commit.position.topic == target).unwrap();
        assert_eq!((committed.position.offset, committed.metadata.as_str()), (NEXT - 10, "note"));
        // As a member of the new protocol, in a client that is not ours.
        let next = librdkafka::next_of_consumer_group(&self.bootstrap, group, target).unwrap();
        assert_eq!((next.timestamp_ms, next.key), (START_MS + NEXT, Some(NEXT.to_string().into_bytes())));
    }
}

fn arguments(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn a_group_of_the_consumer_protocol_goes_on_under_its_own_name_and_under_another() {
    let backed_up = BackedUp::new();
    let (command, target) = backed_up.restore();
    let report = backed_up.repository.report(&arguments(&command));
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &1.into()), "{report}");
    backed_up.go_on_at_the_next_record(&backed_up.group, &target);

    let (mut command, target) = backed_up.restore();
    let renamed = unique("renamed");
    command.push(format!("--group-mapping={}={renamed}", backed_up.group));
    let report = backed_up.repository.report(&arguments(&command));
    assert_eq!(report["outcome"], "completed", "{report}");
    backed_up.go_on_at_the_next_record(&renamed, &target);
}

#[test]
fn a_group_of_the_consumer_protocol_that_is_at_work_is_left_alone_and_named() {
    let backed_up = BackedUp::new();
    let BackedUp { witness, repository, group, topic, .. } = &backed_up;
    let member = witness.join_group(group, Protocol::Consumer, &[topic]).unwrap();
    let before = witness.group_offsets(group).unwrap();
    let (command, target) = backed_up.restore();
    let ended = repository.run(&arguments(&command)).unwrap();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let problems = ended.json().unwrap()["problems"].to_string();
    assert!(problems.contains(group.as_str()) && problems.contains(member.client_id()), "{problems}");
    assert_eq!(witness.group_offsets(group).unwrap(), before);
    member.leave().unwrap();

    // Once it has stopped, the same command finishes the work.
    assert_eq!(repository.report(&arguments(&command))["outcome"], "completed");
    backed_up.go_on_at_the_next_record(group, &target);
}
