//! SIGTERM and Ctrl-C: what was done is kept, nobody has to wait for the lease, and the next run completes the work.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::witness::{At, Witness};
use serde_json::Value;

const INTERRUPTED: i32 = 8;
const RECORDS: u64 = 60_000;

fn objects_in(repository: &Repository<'_>, folder: &str) -> Vec<PathBuf> {
    let mut objects = repository.objects().unwrap_or_default();
    objects.retain(|path| path.to_string_lossy().contains(&format!("/{folder}/")));
    objects
}

/// The newest record of every lease below the folder says that it was given back.
fn lease_is_free(repository: &Repository<'_>) {
    let newest = objects_in(repository, "lease").pop().expect("there was a lease");
    let record: Value = serde_json::from_slice(&fs::read(&newest).unwrap()).unwrap();
    assert_eq!(record["released"], true, "{}: {record}", newest.display());
}

fn written(witness: &Witness, topic: &str) -> i64 {
    witness.offsets(topic, At::Latest).map_or(0, |offsets| offsets.iter().sum())
}

/// A backup and a restore that are each interrupted by this signal.
fn interrupted_by(signal: &str) {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let sample = Sample::write(&witness, "signals", RECORDS).unwrap();
    let repository = Repository::folder().unwrap();
    let slow = ["--rate-limit-bytes=3000000"];

    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &sample.topic];
    // One segment a worker, which is not full for long: what is stored at the end is stored because of the signal.
    let mut running = repository.start(&[&backup[..], &slow].concat()).unwrap();
    running.wait_until("the cut is stored", || !objects_in(&repository, "progress").is_empty());
    let unfinished = || {
        objects_in(&repository, "archives/a").iter().any(|path| fs::metadata(path).is_ok_and(|m| m.len() > 2_000_000))
    };
    running.wait_until("something was read", unfinished);
    running.signal(signal).unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
    assert!(ended.stderr.contains("stopped as asked"), "{ended:?}");
    assert!(!objects_in(&repository, "progress").is_empty(), "{:?}", repository.objects());
    lease_is_free(&repository);

    let report = repository.report(&backup);
    assert_eq!((&report["outcome"], &report["resumed"]), (&"completed".into(), &true.into()), "{report}");
    assert_eq!(report["records"], RECORDS);
    // Every segment of the interrupted run was in a checkpoint: none had to be read again.
    let verified = repository.report(&["verify", "--archive", "a", "--level", "records"]);
    assert_eq!(verified["leftovers"].as_array().map(Vec::len), Some(0), "{verified}");

    let target = format!("{}-back", sample.topic);
    let mapping = format!("{}={target}", sample.topic);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
    let mut running = repository.start(&[&restore[..], &slow].concat()).unwrap();
    running.wait_until("records are in the target", || written(&witness, &target) > 0);
    running.signal(signal).unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
    lease_is_free(&repository);
    let before = written(&witness, &target);
    assert!(before < i64::try_from(RECORDS).unwrap(), "the restore was over before the signal came");

    assert_eq!(repository.report(&restore)["outcome"], "completed");
    sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn sigterm_keeps_what_was_done_and_the_next_run_completes() {
    interrupted_by("TERM");
}

#[test]
fn ctrl_c_keeps_what_was_done_and_the_next_run_completes() {
    interrupted_by("INT");
}
