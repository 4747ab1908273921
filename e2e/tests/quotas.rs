//! Quotas: a cluster that slows us down is obeyed, and in the end everything is there.

use e2e::cli::Ended;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::runs::Repository;
use e2e::sample::Sample;
use kafka_backup::kafka::connection::CLIENT_ID;

const RECORDS: u64 = 40_000;
const BYTES_PER_SECOND: &str = "1500000";
/// What the client logs when a response has a throttle time (KIP-219).
const THROTTLED: &str = "the broker asks to slow down";

/// How often a run was told to keep quiet.
fn throttled(ended: &Ended) -> usize {
    ended.stderr.lines().filter(|line| line.contains(THROTTLED)).count()
}

#[test]
fn a_backup_and_a_restore_under_quotas_obey_and_complete() {
    // Two samples of a second: what a client may take at once before it is slowed down is small.
    let window = [("quota.window.num", "2"), ("quota.window.size.seconds", "1")];
    let extra_properties = window.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let kafka = Kafka::start(KafkaOptions { extra_properties, ..KafkaOptions::default() }).unwrap();
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let sample = Sample::write(&witness, "quotas", RECORDS).unwrap();
    let quotas = format!("consumer_byte_rate={BYTES_PER_SECOND},producer_byte_rate={BYTES_PER_SECOND}");
    let of_client = ["--entity-type", "clients", "--entity-name", CLIENT_ID];
    let alter = ["--bootstrap-server", &bootstrap, "--alter", "--add-config", &quotas];
    kafka.tool("kafka.admin.ConfigCommand", &[&alter[..], &of_client].concat()).unwrap();

    let repository = Repository::folder().unwrap();
    let debug = "--log-level=info,kafka_backup::kafka=debug";
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &sample.topic, debug];
    let ended = repository.run(&backup).unwrap().succeeded();
    assert!(throttled(&ended) > 0, "the quota had no effect: {}", ended.stderr);
    assert_eq!(ended.json().unwrap()["records"], RECORDS);
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    let target = format!("{}-back", sample.topic);
    let mapping = format!("--topic-mapping={}={target}", sample.topic);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", &mapping, debug];
    let ended = repository.run(&restore).unwrap().succeeded();
    assert!(throttled(&ended) > 0, "the quota had no effect: {}", ended.stderr);
    sample.came_back_as(&witness, &target).unwrap();
}
