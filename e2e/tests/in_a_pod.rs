//! What a run has to do when nobody but Kubernetes sees it: tell how far it is, leave its result, and go on after a restart.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::{port, unique};
use kafka_backup::report::Termination;
use kafka_backup::report::termination::Outcome;
use serde_json::Value;

const RECORDS: u64 = 30_000;
/// Some seconds for all records: there is much to be seen of a run, and to be killed in.
const SLOW: &str = "--rate-limit-bytes=2000000";
/// The Job of a CronJob that was scheduled for 2026-02-12T14:30:00Z.
const JOB: &str = "--backup-id-of-job=nightly-29515110";

struct Pod {
    repository: Repository<'static>,
    folder: tempfile::TempDir,
    address: String,
    bootstrap: String,
    sample: Sample,
}

impl Pod {
    fn new(stem: &str) -> Self {
        let kafka = Kafka::shared(Shared::Plain);
        Self {
            repository: Repository::folder().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            address: format!("127.0.0.1:{}", port::free().unwrap()),
            bootstrap: kafka.bootstrap(Listener::Plain),
            sample: Sample::write(&kafka.witness(), stem, RECORDS).unwrap(),
        }
    }

    fn message(&self) -> PathBuf {
        self.folder.path().join("termination-log")
    }

    fn command(&self, run: &str, more: &[&str]) -> Vec<String> {
        let message = format!("--termination-message={}", self.message().display());
        let listen = format!("--listen={}", self.address);
        let command = [run, "--bootstrap-servers", &self.bootstrap, "--archive=a", &message, &listen];
        [&command[..], more].concat().into_iter().map(str::to_owned).collect()
    }

    fn start(&self, run: &str, more: &[&str]) -> e2e::running::Running {
        let command = self.command(run, more);
        self.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }

    fn report(&self, run: &str, more: &[&str]) -> Value {
        let command = self.command(run, more);
        self.repository.report(&command.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What `GET /progress` says; none while nobody listens.
    fn progress(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET /progress HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split("\r\n\r\n").nth(1)?).ok()
    }
}

fn read(message: &Path) -> Termination {
    let text = fs::read_to_string(message).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn a_backup_tells_how_far_it_is_and_leaves_its_result() {
    let pod = Pod::new("pod-backup");
    let mut running = pod.start("backup", &["--topics", &pod.sample.topic, JOB, SLOW]);
    let mut seen = Value::Null;
    running.wait_until("it is under way", || {
        seen = pod.progress().unwrap_or_default();
        seen["records"].as_u64().is_some_and(|records| records > 0)
    });
    let percent = seen["percent"].as_f64().unwrap();
    assert!((0.0..100.0).contains(&percent) && seen["etaSeconds"].is_u64() && seen["run"] == "backup", "{seen}");
    assert_eq!(seen["offsetsTotal"], RECORDS);
    let report = running.ended().unwrap().succeeded().json().unwrap();

    let Termination::Backup(told) = read(&pod.message()) else { panic!("the message of another run") };
    let result = told.result.unwrap();
    assert_eq!((told.outcome, result.backup_id.as_str()), (Outcome::Completed, "a-20260212-143000"));
    assert_eq!((result.records, result.topics, result.partitions), (RECORDS, 1, 6));
    assert_eq!(result.started_at_ms, report["startedAtMs"].as_i64().unwrap());
    assert_eq!((result.archive_backups, result.archive_bytes), (1, result.stored_bytes));
    // The same Job has another pod, which finds all done.
    assert_eq!(pod.report("backup", &["--topics", &pod.sample.topic, JOB])["alreadyThere"], true);
}

/// Whether the object is a checkpoint of a run.
fn is_checkpoint(path: &Path) -> bool {
    path.to_string_lossy().contains("/progress/")
        && path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"e"))
}

#[test]
fn a_pod_that_comes_after_a_killed_one_goes_on_with_the_backup_of_its_job() {
    let pod = Pod::new("pod-again");
    let backup = ["--topics", &pod.sample.topic, JOB, "--segment-bytes-max=1048576"];
    let mut running = pod.start("backup", &[&backup[..], &[SLOW]].concat());
    let has_checkpoint = || pod.repository.objects().unwrap_or_default().iter().any(|path| is_checkpoint(path));
    running.wait_until("it has a checkpoint", has_checkpoint);
    running.kill().unwrap();
    assert_eq!(fs::read_to_string(pod.message()).unwrap(), "", "a killed run has told nothing");
    let report = pod.report("backup", &backup);
    assert_eq!((&report["backupId"], &report["resumed"]), (&"a-20260212-143000".into(), &true.into()));
    assert_eq!(report["records"], RECORDS);
}

#[test]
fn without_checkpoints_a_killed_run_begins_again_and_a_stopped_one_goes_on() {
    let pod = Pod::new("pod-unchecked");
    let backup = ["--topics", &pod.sample.topic, "--checkpoint-interval-secs=0", "--segment-bytes-max=1048576"];
    let objects = |part: &str| {
        let mut objects = pod.repository.objects().unwrap_or_default();
        objects.retain(|path| path.to_string_lossy().contains(part));
        objects.len()
    };
    let mut running = pod.start("backup", &[&backup[..], &[SLOW]].concat());
    running.wait_until("a segment is stored", || objects("/segments/a-") > 0);
    running.kill().unwrap();
    assert_eq!((objects("/progress/"), objects("/cut")), (1, 1));
    let before = objects("/segments/a-");
    let mut running = pod.start("backup", &[&backup[..], &[SLOW]].concat());
    running.wait_until("another segment is stored", || objects("/segments/a-") > before);
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(8), "{ended:?}");
    let Termination::Backup(told) = read(&pod.message()) else { panic!("the message of another run") };
    assert_eq!((told.outcome, told.result), (Outcome::Interrupted, None));
    let stored = pod.repository.objects().unwrap();
    assert!(stored.iter().any(|path| is_checkpoint(path)), "what a stopped run has stored is named");
    let report = pod.report("backup", &backup);
    assert_eq!((&report["resumed"], &report["records"]), (&true.into(), &RECORDS.into()));
}

#[test]
fn a_backup_keeps_as_many_backups_as_it_says_and_is_none_the_worse_when_it_cannot() {
    let pod = Pod::new("pod-retention");
    let backup = |id: &str| {
        let (id, keep) = (format!("--backup-id={id}"), "--max-backups=2");
        pod.report("backup", &["--topics", &pod.sample.topic, &id, keep])
    };
    assert_eq!(backup("b1")["pruned"], serde_json::json!([]));
    backup("b2");
    let third = backup("b3");
    assert_eq!((&third["pruned"], &third["archiveContents"]["backups"]), (&serde_json::json!(["b1"]), &2.into()));
    let Termination::Backup(told) = read(&pod.message()) else { panic!("the message of another run") };
    assert_eq!(told.result.unwrap().pruned[0].as_str(), "b1");

    // What stands in a manifest that cannot be read may be needed, so nothing of it is deleted.
    fs::write(pod.repository.path().join("archives/a/backups/b2/manifest"), "damaged").unwrap();
    let fourth = backup("b4");
    assert_eq!((&fourth["outcome"], &fourth["problems"]), (&"completed".into(), &serde_json::json!([])), "{fourth}");
    assert!(fourth["warnings"][0].as_str().unwrap().starts_with("retention: "), "{fourth}");
    let Termination::Backup(told) = read(&pod.message()) else { panic!("the message of another run") };
    assert_eq!((told.outcome, told.warnings.len()), (Outcome::Completed, 1));
}

#[test]
fn a_restore_that_has_a_name_goes_on_with_the_backup_that_it_began_with() {
    let pod = Pod::new("pod-named");
    let (topic, target) = (&pod.sample.topic, unique("named"));
    let backup = |id: &str| pod.report("backup", &["--topics", topic, &format!("--backup-id={id}")]);
    backup("b1");
    let mapping = format!("--topic-mapping={topic}={target}");
    // Of the future, so that no backup reaches it, and the newest is taken.
    let restore = ["--restore-id=r", "--point-in-time=2126-01-01T00:00:00Z", &mapping];
    let mut running = pod.start("restore", &[&restore[..], &[SLOW]].concat());
    running.wait_until("records are on their way", || {
        pod.progress().is_some_and(|progress| progress["records"].as_u64().is_some_and(|records| records > 0))
    });
    running.kill().unwrap();
    backup("b2");
    let report = pod.report("restore", &restore);
    assert_eq!((&report["backupId"], &report["records"]), (&"b1".into(), &RECORDS.into()), "{report}");
    // Without the name it is another restore, of the newest backup, whose target is taken.
    let ended = pod.start("restore", &restore[1..]).ended().unwrap();
    assert_eq!(ended.code, Some(6), "{ended:?}");
}

#[test]
fn a_restore_tells_the_records_and_bytes_of_all_its_runs() {
    let pod = Pod::new("pod-restore");
    let (topic, whole, again) = (&pod.sample.topic, unique("whole"), unique("again"));
    pod.report("backup", &["--topics", topic]);
    let mapping = |target: &str| format!("--topic-mapping={topic}={target}");
    let result = || match read(&pod.message()) {
        Termination::Restore(told) => told.result.unwrap(),
        other => panic!("{other:?}"),
    };
    pod.report("restore", &[&mapping(&whole)]);
    let alone = result();
    assert_eq!((alone.records, alone.topics[0].records, alone.topics[0].name.as_str()), (RECORDS, RECORDS, &*whole));
    assert!(alone.bytes > RECORDS * u64::from(Sample::VALUE_BYTES), "{alone:?}");

    // One partition after the other, so that some are finished when the run is killed.
    let slow = [&mapping(&again)[..], SLOW, "--parallelism=1"].map(str::to_owned);
    let slow: Vec<&str> = slow.iter().map(String::as_str).collect();
    let mut running = pod.start("restore", &slow);
    let is_map = |path: &PathBuf| path.to_string_lossy().contains("/maps/");
    let maps = || pod.repository.objects().unwrap_or_default().iter().filter(|path| is_map(path)).count();
    let finished = maps();
    running.wait_until("a partition is finished", || maps() > finished);
    running.kill().unwrap();
    pod.report("restore", &[&mapping(&again)]);
    let told = result();
    assert_eq!((told.records, told.bytes, told.topics[0].records), (alone.records, alone.bytes, RECORDS));
    pod.report("restore", &[&mapping(&again)]);
    let told = result();
    assert_eq!((told.already_restored, told.records, told.bytes), (true, alone.records, alone.bytes));
}
