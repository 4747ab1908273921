//! Brokers that come and go, brokers of an older line, and every way of getting in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread::sleep;
use std::time::Duration;

use e2e::compare::{self, Rules};
use e2e::dump::{self, Record};
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::process::Output;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{Generate, NewTopic, Shape, Witness, properties};

fn topic_with_data(witness: &Witness, stem: &str, partitions: i32, records: u64) -> String {
    let topic = unique(stem);
    witness.create_topics(&[NewTopic::new(&topic, partitions)]).unwrap();
    let stream = Generate {
        topic: topic.clone(),
        partitions,
        records,
        seed: 7,
        shape: Shape::Json,
        value_bytes: 200,
        keys: 100,
        timestamp_ms: 1_700_000_000_000,
        config: properties([("compression.type", "lz4")]),
    };
    witness.generate(&stream).unwrap();
    topic
}

fn same(witness: &Witness, source: &str, target: &str, records: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    witness.dump(source, &before).unwrap();
    witness.dump(target, &after).unwrap();
    assert_eq!(compare::dumps(&before, &after, Rules::RESTORED).unwrap().records, records);
}

/// Restarts one broker after the other, and moves leaders about, while the command runs.
fn run_while_brokers_restart(kafka: &Kafka, repository: &Repository<'_>, arguments: &[&str], topic: &str) {
    let witness = kafka.witness();
    let mut process = repository.cli(arguments).unwrap().spawn(Output::Discard).unwrap();
    sleep(Duration::from_millis(700));
    assert!(process.ended().unwrap().is_none(), "the run must last long enough to see a restart");
    kafka.kill_node(2).unwrap();
    sleep(Duration::from_secs(2));
    kafka.start_node(2).unwrap();
    // Only as far as there is such a topic: a restore creates it in the meantime.
    for (partition, node) in [(0, 3), (1, 1), (2, 2)] {
        witness.move_leader(topic, partition, node).unwrap();
    }
    kafka.stop_node(1).unwrap();
    sleep(Duration::from_secs(1));
    kafka.start_node(1).unwrap();
    let status = process.wait().unwrap();
    assert!(status.success(), "{arguments:?}: {status}");
}

#[test]
fn brokers_that_restart_and_leaders_that_move_lose_nothing() {
    let kafka = Kafka::shared(Shared::Three);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = topic_with_data(&witness, "restarts", 6, 200_000);
    let repository = Repository::folder().unwrap();
    let slow = ["--rate-limit-bytes", "2000000"];
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic];
    run_while_brokers_restart(kafka, &repository, &[&backup[..], &slow[..]].concat(), &topic);
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    let target = format!("{topic}-back");
    let mapping = format!("{topic}={target}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
    run_while_brokers_restart(kafka, &repository, &[&restore[..], &slow[..]].concat(), &target);
    same(&witness, &topic, &target, 200_000);
}

#[test]
fn a_broker_that_stays_away_costs_its_own_partitions_and_no_others() {
    // Its own: the brokers of the shared one are restarted by another test.
    let kafka = Kafka::start(KafkaOptions { nodes: 3, ..KafkaOptions::default() }).unwrap();
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = unique("alone");
    let of_one_replica = NewTopic { replication_factor: Some(1), ..NewTopic::new(&topic, 3) };
    witness.create_topics(&[of_one_replica]).unwrap();
    let record = |n: i64| Record::new(i32::try_from(n % 3).unwrap(), 1_700_000_000_000 + n, "key", vec![b'v'; 1_000]);
    let records: Vec<Record> = (0..12_000).map(record).collect();
    witness.produce(&topic, &properties([("batch.size", "16384")]), &records).unwrap();
    let repository = Repository::folder().unwrap();
    let mut backup = vec!["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic];
    backup.extend(["--consumer-groups", "none-.*", "--retry-timeout-ms", "8000", "--rate-limit-bytes", "3000000"]);
    let running = repository.start(&backup).unwrap();
    sleep(Duration::from_millis(1_500));
    kafka.kill_node(2).unwrap();
    let ended = running.ended();
    kafka.start_node(2).unwrap();
    let ended = ended.unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let report = ended.json().unwrap();
    let problems = report["problems"].as_array().unwrap();
    // That of the broker that is away; the cut was made while all were there.
    assert_eq!(problems.len(), 1, "{report}");
    assert!(problems[0].as_str().unwrap().contains(&format!("partition {topic}-")), "{report}");
    assert_eq!(report["records"], 8_000, "{report}");
}

#[test]
fn a_topic_that_moves_to_another_broker_is_restored_with_the_replicas_that_it_had() {
    let kafka = Kafka::start(KafkaOptions { nodes: 3, ..KafkaOptions::default() }).unwrap();
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let topic = unique("moving");
    let new = NewTopic::new(&topic, 1).with("min.insync.replicas", 1);
    witness.create_topics(&[NewTopic { replication_factor: Some(1), ..new }]).unwrap();
    witness.produce(&topic, &properties([]), &[Record::new(0, -1, "key", "value")]).unwrap();
    let leader = u16::try_from(witness.describe_topic(&topic).unwrap().partitions[0].leader).unwrap();
    let other = if leader == 3 { 1 } else { 3 };
    // Who is away does not catch up.
    kafka.stop_node(other).unwrap();
    witness.begin_reassignment(&topic, 0, other).unwrap();
    assert_eq!(witness.describe_topic(&topic).unwrap().partitions[0].replicas.len(), 2);
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    let target = format!("{topic}-back");
    let mapping = format!("--topic-mapping={topic}={target}");
    repository.report(&["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", &mapping]);
    assert_eq!(witness.describe_topic(&target).unwrap().partitions[0].replicas.len(), 1);
    kafka.start_node(other).unwrap();
}

/// A value of a kilobyte that begins with a word.
fn kilobyte(word: &str) -> String {
    format!("{word:-<1000}")
}

fn records_of(count: i64, word: &str) -> Vec<Record> {
    (0..count).map(|_| Record::new(0, -1, "key", kilobyte(word))).collect()
}

fn count_of(witness: &Witness, topic: &str, word: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    witness.dump(topic, folder.path()).unwrap();
    let records = dump::read_all(folder.path()).unwrap();
    records.iter().filter(|record| record.value.as_deref() == Some(kilobyte(word).as_bytes())).count()
}

#[test]
fn an_aborted_transaction_that_the_leader_does_not_list_is_not_in_a_backup() {
    // The brokers of the shared one are restarted by another test.
    let kafka = Kafka::start(KafkaOptions { nodes: 3, ..KafkaOptions::default() }).unwrap();
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let topic = unique("unlisted");
    let new = NewTopic::new(&topic, 1).with("min.insync.replicas", 1);
    witness.create_topics(&[NewTopic { replication_factor: Some(2), ..new }]).unwrap();
    let [first, second] = ["first", "second"].map(|id| {
        let config = [("transactional.id", id), ("compression.type", "none"), ("transaction.timeout.ms", "600000")];
        witness.producer(&properties(config)).unwrap()
    });
    // A response of a megabyte from the beginning ends within what comes next.
    first.begin().unwrap();
    first.send(&topic, &records_of(600, "committed")).unwrap();
    first.commit().unwrap();

    // While the follower is away: two aborted transactions of one producer, and one of another producer that begins in the second.
    let partition = witness.describe_topic(&topic).unwrap().partitions.remove(0);
    let follower = partition.replicas.into_iter().find(|node| *node != partition.leader).unwrap();
    let follower = u16::try_from(follower).unwrap();
    kafka.stop_node(follower).unwrap();
    first.begin().unwrap();
    first.send(&topic, &records_of(1, "aborted")).unwrap();
    first.abort().unwrap();
    first.begin().unwrap();
    first.send(&topic, &records_of(700, "aborted")).unwrap();
    second.begin().unwrap();
    second.send(&topic, &records_of(1, "committed")).unwrap();
    first.abort().unwrap();

    // The follower appends all of it at once, and leads.
    kafka.start_node(follower).unwrap();
    let in_sync = || witness.describe_topic(&topic).unwrap().partitions[0].in_sync.len() == 2;
    assert!(
        (0..600).any(|_| in_sync() || {
            sleep(Duration::from_millis(100));
            false
        }),
        "it is in sync after a minute"
    );
    witness.move_leader(&topic, 0, follower).unwrap();
    let mistaken = count_of(&witness, &topic, "aborted");
    assert!(mistaken > 0, "Kafka's own consumer is to take aborted records for committed ones");

    let restored = |number: usize| {
        let repository = Repository::folder().unwrap();
        let target = format!("{topic}-{number}");
        let mapping = format!("{topic}={target}");
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
        let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
        repository.report(&restore);
        ["committed", "aborted"].map(|word| count_of(&witness, &target, word))
    };
    // While the other transaction is open, the marker of the aborted one is not stable.
    assert_eq!(restored(1), [600, 0]);
    second.commit().unwrap();
    assert_eq!(restored(2), [601, 0]);
    first.close().unwrap();
    second.close().unwrap();
}

#[test]
fn the_older_line_is_served_as_well() {
    let kafka = Kafka::shared(Shared::Older);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = topic_with_data(&witness, "older", 3, 5_000);
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    let target = format!("{topic}-back");
    let mapping = format!("{topic}={target}");
    repository.report(&["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping]);
    same(&witness, &topic, &target, 5_000);
}

#[test]
fn a_setting_that_the_target_refuses_is_known_before_a_topic_is_deleted() {
    let (older, newer) = (Kafka::shared(Shared::Older), Kafka::shared(Shared::Plain));
    let (from, to) = (older.bootstrap(Listener::Plain), newer.bootstrap(Listener::Plain));
    let topic = unique("refused");
    // Since Kafka 4.0 a segment has a megabyte at least (KIP-1030).
    older.witness().create_topics(&[NewTopic::new(&topic, 1).with("segment.bytes", 20_000)]).unwrap();
    older.witness().produce(&topic, &properties([]), &[Record::new(0, 1_700_000_000_000, "k", "v")]).unwrap();
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &from, "--archive", "a", "--topics", &topic]);
    let witness = newer.witness();
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let restore = ["restore", "--bootstrap-servers", &to, "--archive", "a", "--existing-topics", "overwrite"];
    let report = repository.report(&restore);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("segment.bytes is left out"), "{warnings}");
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &1.into()), "{report}");
    assert!(!witness.describe_topic(&topic).unwrap().configs.contains_key("segment.bytes"));
}
