//! Offsets of groups at their limits: more partitions than one batch of offsets holds, and transactions without a pause.

use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{Commit, NewTopic, Position, properties};

#[test]
fn a_group_with_more_partitions_than_one_batch_of_offsets_holds_is_restored() {
    const PARTITIONS: i32 = 1_200;
    // A twentieth of the default: with it the same happens at 8,000 to 15,000 partitions.
    const BATCH_BYTES_MAX: &str = "50000";
    let kafka = Kafka::start(KafkaOptions { heap_mb: 768, ..KafkaOptions::default() }).unwrap();
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    witness.create_topics(&[NewTopic::new("wide", PARTITIONS)]).unwrap();
    let position = |partition| Commit::from(Position::new("wide", partition, 0));
    // As members do, each for its own partitions.
    for first in (0..PARTITIONS).step_by(300) {
        let offsets: Vec<Commit> = (first..first + 300).map(position).collect();
        witness.commit_offsets("readers", &offsets).unwrap();
    }
    witness.alter_topic("__consumer_offsets", &properties([("max.message.bytes", BATCH_BYTES_MAX)]), &[]).unwrap();
    // In one request they are refused.
    let all: Vec<Commit> = (0..PARTITIONS).map(position).collect();
    let refused = witness.commit_offsets("refused", &all).unwrap_err().to_string();
    assert!(refused.contains("Failed altering group offsets"), "{refused}");

    let repository = Repository::folder().unwrap();
    let report =
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", "wide"]);
    assert_eq!(report["outcome"], "completed", "{report}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping=wide=restored"];
    let groups = ["--consumer-groups=readers", "--group-mapping=readers=restored"];
    let report = repository.report(&[&restore[..], &groups[..]].concat());
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &PARTITIONS.into()));
    let offsets = witness.group_offsets("restored").unwrap();
    assert_eq!(offsets.len(), usize::try_from(PARTITIONS).unwrap());
}

#[test]
fn a_group_that_is_never_without_a_transaction_is_in_the_backup_with_what_it_had_committed_before() {
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let (topic, group, target) = (unique("orders"), unique("busy"), unique("restored"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let records: Vec<Record> = (0..20).map(|n| Record::new(0, 1_770_000_000_000 + n, n.to_string(), "v")).collect();
    witness.produce(&topic, &properties([]), &records).unwrap();
    witness.commit_offsets(&group, &[Position::new(&topic, 0, 5).into()]).unwrap();
    let id = unique("transactions");
    // Longer than the run: it would have to wait for its end.
    let config = properties([("transactional.id", id.as_str()), ("transaction.timeout.ms", "600000")]);
    let producer = witness.producer(&config).unwrap();
    producer.begin().unwrap();
    producer.commit_offsets(&group, &[Position::new(&topic, 0, 8).into()]).unwrap();

    let repository = Repository::folder().unwrap();
    let groups = format!("--consumer-groups={group}");
    let cluster = ["--bootstrap-servers", &bootstrap, "--archive", "a"];
    let report = repository.report(&[&["backup", "--topics", &topic, &groups], &cluster[..]].concat());
    assert_eq!((&report["outcome"], &report["groups"]), (&"completed".into(), &1.into()), "{report}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains(&group) && warnings.contains("in transactions without a pause"), "{warnings}");
    producer.abort().unwrap();
    producer.close().unwrap();

    let (mapping, renamed) = (format!("--topic-mapping={topic}={target}"), unique("renamed"));
    let group_mapping = format!("--group-mapping={group}={renamed}");
    let restore = [&["restore", &mapping, &groups, &group_mapping], &cluster[..]].concat();
    assert_eq!(repository.report(&restore)["outcome"], "completed");
    let offsets = witness.group_offsets(&renamed).unwrap();
    assert_eq!(offsets[0].position, Position::new(&target, 0, 5));
}
