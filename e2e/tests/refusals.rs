//! Bad input gets one line that says what and where, the right exit code, and leaves nothing half done.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::cli::{self, Ended};
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::minio::{Minio, REGION};
use e2e::port;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::NewTopic;

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 3;
const DENIED: i32 = 4;
const CORRUPT: i32 = 5;
const CONFLICT: i32 = 6;

/// The run ended with this code and one line on stderr, which holds all of `words`; in JSON it says the same.
#[track_caller]
fn refused(ended: &Ended, code: i32, words: &[&str]) {
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{ended:?}");
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is missing in {:?}", errors[0]);
    }
    if ended.stdout.starts_with('{') {
        let message = ended.json().unwrap()["error"]["message"].clone();
        assert!(errors[0].contains(message.as_str().unwrap()), "{ended:?}");
    }
}

fn a_topic(kafka: &Kafka) -> String {
    let topic = unique("refusals");
    let witness = kafka.witness();
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let records: Vec<_> =
        (0..100).map(|n| e2e::dump::Record::new(0, 1_700_000_000_000 + n, "k", vec![7; 1000])).collect();
    witness.produce(&topic, &e2e::witness::properties([]), &records).unwrap();
    topic
}

/// No manifest in it: nothing that could be taken for a backup.
fn holds_no_backup(folder: &Path) {
    let found = Command::new("find").arg(folder).args(["-name", "manifest"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    let repository = Repository::folder().unwrap();
    let backup = |servers: &str| repository.run(&["backup", "--bootstrap-servers", servers, "--archive", "a"]).unwrap();
    refused(&backup("no-such-host.invalid:9092"), UNAVAILABLE, &["no-such-host.invalid:9092"]);
    let nobody = format!("127.0.0.1:{}", port::free().unwrap());
    refused(&backup(&nobody), UNAVAILABLE, &[&nobody, "refused"]);
    refused(&backup("localhost"), USAGE, &["localhost", "port"]);
    holds_no_backup(repository.path());
}

#[test]
fn what_a_backup_cannot_find_or_write_is_named() {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let topic = a_topic(kafka);
    let repository = Repository::folder().unwrap();
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics"];
    let with = |topics: &[&str]| repository.run(&[&backup[..], topics].concat()).unwrap();
    refused(&with(&["no-such-topic"]), USAGE, &["no-such-topic"]);
    refused(&with(&["no-such-.*"]), USAGE, &["none fits topics [\"no-such-.*\"]"]);
    refused(&with(&[&topic, "--exclude-topics", ".*"]), USAGE, &["excludeTopics [\".*\"] leaves none"]);
    refused(&with(&["broken-("]), USAGE, &["broken-("]);
    holds_no_backup(repository.path());

    // One pattern fits nothing, which may be a topic that is still to come; the other does: there is a backup, with a warning.
    let report = with(&[&topic, "--topics", "no-such-.*"]).succeeded().json().unwrap();
    assert!(report["warnings"][0].as_str().unwrap().contains("no-such-.*"), "{report}");

    let to = |storage: &str| cli::run([&backup[..], &[&topic, "--storage", storage]].concat()).unwrap();
    let read_only = Tmpfs::mount("ro");
    refused(&to(&read_only.url()), DENIED, &[&read_only.url()]);
    refused(&to("file:///no/such/folder"), USAGE, &["/no/such"]);
    refused(&to("gcs://bucket"), USAGE, &["gcs"]);
    refused(&to("s3://bucket?colour=red"), USAGE, &["colour"]);
}

#[test]
fn a_bucket_that_is_not_there_is_not_an_empty_one() {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let topic = a_topic(kafka);
    let minio = Minio::shared();
    let bucket = unique("missing");
    let storage = format!("s3://{bucket}/x?endpoint={}&region={REGION}&force_path_style=true", minio.endpoint());
    let run = |arguments: &[&str]| {
        let cli = e2e::cli::Cli::new([arguments, &["--storage", &storage]].concat()).unwrap();
        minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run().unwrap()
    };
    refused(
        &run(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]),
        USAGE,
        &[&bucket],
    );
    refused(&run(&["list"]), USAGE, &[&bucket]);
}

#[test]
fn a_full_disk_is_said_and_leaves_no_backup() {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let topic = a_topic_of_4_mb(kafka, "full");

    let small = Tmpfs::mount("size=1m");
    let storage = small.url();
    let ended = cli::run([
        "backup",
        "--bootstrap-servers",
        &bootstrap,
        "--archive",
        "a",
        "--topics",
        &topic,
        "--storage",
        &storage,
    ]);
    holds_no_backup(small.folder.path());
    refused(&ended.unwrap(), UNAVAILABLE, &["space"]);
}

fn a_topic_of_4_mb(kafka: &Kafka, stem: &str) -> String {
    let topic = unique(stem);
    let witness = kafka.witness();
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let records: Vec<_> =
        (0..20).map(|n| e2e::dump::Record::new(0, n, "k", noise(200_000, n.unsigned_abs()))).collect();
    witness.produce(&topic, &e2e::witness::properties([]), &records).unwrap();
    topic
}

/// A restore compares its bytes with the room that the brokers have.
#[test]
fn a_plan_warns_when_the_brokers_have_no_room_for_what_is_restored() {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let topic = a_topic_of_4_mb(kafka, "room");
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);

    let disk = Tmpfs::mount("size=64m");
    let logs = disk.folder.path().join("logs");
    let extra_properties = vec![("log.dirs".to_owned(), logs.display().to_string())];
    let target = Kafka::start(KafkaOptions { extra_properties, ..KafkaOptions::default() }).unwrap();
    let bootstrap = target.bootstrap(Listener::Plain);
    let plan = || {
        let report = repository.report(&["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--dry-run"]);
        report["warnings"].to_string()
    };
    assert!(!plan().contains("have room for"), "{}", plan());
    let free = nix::sys::statvfs::statvfs(&logs).unwrap();
    let left = free.blocks_available() * free.fragment_size();
    fs::write(disk.folder.path().join("ballast"), vec![1; usize::try_from(left).unwrap() - (2 << 20)]).unwrap();
    let warnings = plan();
    assert!(
        warnings.contains("may take 3.8 MiB with all replicas, and the brokers' disks have room for"),
        "{warnings}"
    );
}

/// A file system in memory, which goes with its test. Only root can make one: as do these tests.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        assert!(mount.status().unwrap().success(), "this test mounts a tmpfs: run it as root");
        Self { folder }
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

/// Bytes that do not compress, from a seed.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn what_a_restore_cannot_use_is_named_and_nothing_is_written() {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = a_topic(kafka);
    let repository = Repository::folder().unwrap();
    let report =
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    let id = report["backupId"].as_str().unwrap();
    let target = format!("{topic}-back");
    let mapping = format!("{topic}={target}");
    let restore = |more: &[&str]| {
        let command = ["restore", "--bootstrap-servers", &bootstrap, "--topic-mapping", &mapping];
        repository.run(&[&command[..], more].concat()).unwrap()
    };
    refused(&restore(&["--backup", "no-such-backup"]), USAGE, &["no-such-backup"]);
    refused(&restore(&["--archive", "no-such-archive"]), USAGE, &["no-such-archive"]);
    refused(&restore(&["--backup", id, "--point-in-time", "yesterday"]), USAGE, &["yesterday"]);
    refused(&restore(&["--backup", id, "--topics", "another"]), USAGE, &["another"]);
    refused(&restore(&["--backup", id, "--replication-factor", "3"]), CONFLICT, &["3", "broker"]);
    // The topic itself is there and not empty.
    let onto_itself = repository.run(&["restore", "--bootstrap-servers", &bootstrap, "--backup", id]).unwrap();
    refused(&onto_itself, CONFLICT, &[&topic, "existingTopics: append or overwrite"]);

    let manifest = repository.objects().unwrap().into_iter().find(|path| path.ends_with("manifest")).unwrap();
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, whole.replace("\"replicationFactor\":1", "\"replicationFactor\":2")).unwrap();
    refused(&restore(&["--backup", id]), CORRUPT, &["manifest"]);
    fs::write(&manifest, &whole[..whole.len() / 2]).unwrap();
    refused(&restore(&["--backup", id]), CORRUPT, &["manifest"]);
    fs::write(&manifest, &whole).unwrap();

    assert!(witness.describe_topic(&target).is_err(), "a refused restore has created its topic");
    assert_eq!(restore(&["--backup", id]).code, Some(0));
}
