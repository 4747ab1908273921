//! A store or a cluster that is away for a while: the run pauses instead of failing, says so, and goes on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::minio::{Minio, MinioOptions};
use e2e::runs::Repository;
use e2e::sample::Sample;

const RECORDS: u64 = 60_000;
const OPEN: &str = "the circuit breaker is open";
const CLOSED: &str = "the circuit breaker is closed";

/// Backs the sample up, takes something away once the first segment is stored, and gives it back when the run pauses.
fn pauses_and_goes_on(
    kafka: &Kafka,
    repository: &Repository<'_>,
    over: &str,
    take_away: impl FnOnce(),
    give_back: impl FnOnce(),
) {
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let sample = Sample::write(&kafka.witness(), "outage", RECORDS).unwrap();
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &sample.topic];
    let slow = ["--rate-limit-bytes=3000000", "--segment-bytes-max=1048576", "--parallelism=2"];
    let impatient = ["--failure-threshold=2", "--reset-timeout-secs=2"];
    let mut running = repository.start(&[&backup[..], &slow, &impatient].concat()).unwrap();
    let has_segments = || {
        let is_segment = |path: &std::path::PathBuf| path.to_string_lossy().contains("/segments/");
        repository.objects().is_ok_and(|objects| objects.iter().any(is_segment))
    };
    running.wait_until("a segment is stored", has_segments);
    take_away();
    running.wait_until_it_says(OPEN);
    give_back();
    let ended = running.ended().unwrap().succeeded();
    let line = |text: &str| ended.stderr.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    for text in [OPEN, CLOSED] {
        assert!(line(text).contains(&format!("over=\"{over}\"")), "{}", ended.stderr);
    }
    let report = ended.json().unwrap();
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &RECORDS.into()), "{report}");
    let verified = repository.report(&["verify", "--archive", "a", "--level", "records"]);
    assert_eq!(verified["records"], RECORDS);
}

#[test]
fn a_backup_pauses_while_its_store_is_away() {
    let minio = Minio::start(MinioOptions::default()).unwrap();
    let repository = Repository::bucket(&minio, "outage").unwrap();
    let kafka = Kafka::shared(Shared::Plain);
    pauses_and_goes_on(kafka, &repository, "store", || minio.stop().unwrap(), || minio.start_again().unwrap());
}

#[test]
fn a_backup_pauses_while_its_cluster_is_away() {
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    let repository = Repository::folder().unwrap();
    pauses_and_goes_on(&kafka, &repository, "brokers", || kafka.kill_node(1).unwrap(), || kafka.start_node(1).unwrap());
}
