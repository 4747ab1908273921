//! A leader that was not in sync, elected between two runs of one backup.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::running::Running;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{NewTopic, Witness, properties};

use crate::shown;

const CORRUPT: i32 = 5;
const INTERRUPTED: i32 = 8;
/// Records that both replicas have.
const COMMON: usize = 6_000;
/// Records that only the first leader has.
const LOST: usize = 4_000;
/// Records that the second leader is given. More than were lost: its log reaches every end that a run has seen.
const NEW: usize = 5_000;
/// More than a record takes in a log or in a segment, in bytes.
const RECORD_BYTES_MAX: u64 = 1_100;
const RATE: &str = "--rate-limit-bytes=400000";

/// Records of a kilobyte each, of which every one tells the word, and no two have the same key.
fn write(witness: &Witness, topic: &str, word: &str, count: usize) {
    let record = |n: usize| Record::new(0, -1, format!("{word}-{n}"), format!("{word:-<1000}"));
    witness.produce(topic, &properties([]), &(0..count).map(record).collect::<Vec<_>>()).unwrap();
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(100));
    }
}

/// Stops a run that has written more than the common records, into a segment that may not be finished.
fn stop_behind_the_common_records(repository: &Repository<'_>, archive: &str, mut running: Running) {
    let folder = format!("/archives/{archive}/");
    let stored = || {
        let objects = repository.objects().unwrap_or_default().into_iter();
        let of_archive = objects.filter(|path| path.to_string_lossy().contains(&folder));
        of_archive.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum::<u64>()
    };
    running.wait_until("lost records are read", || stored() > COMMON as u64 * RECORD_BYTES_MAX);
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
}

/// The common records and those of the second leader are in a backup, and nothing else.
fn holds_one_log(repository: &Repository<'_>, report: &serde_json::Value, topic: &str) {
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &(COMMON + NEW).into()), "{report}");
    let shown = shown(repository, report["backupId"].as_str().unwrap(), topic);
    let count = |word: &str| {
        let is_of = |line: &&serde_json::Value| line["value"].as_str().unwrap().starts_with(word);
        shown.iter().filter(is_of).count()
    };
    assert_eq!([count("common"), count("lost"), count("new")], [COMMON, 0, NEW]);
}

#[test]
fn a_resumed_backup_reads_again_what_an_unclean_election_took_and_holds_records_of_one_log() {
    let kafka = Kafka::start(KafkaOptions { nodes: 3, heap_mb: 256, ..KafkaOptions::default() }).unwrap();
    let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique("elected"));
    // A compacted topic is read on beyond the cut. The log cleaner leaves it alone: it has one segment, and no key twice.
    let new = NewTopic::new(&topic, 1).with("cleanup.policy", "compact").with("min.insync.replicas", 1);
    let new = new.with("unclean.leader.election.enable", true);
    witness.create_topics(&[NewTopic { replication_factor: Some(2), ..new }]).unwrap();
    write(&witness, &topic, "common", COMMON);
    let partition = || witness.describe_topic(&topic).map(|topic| topic.partitions[0].clone());
    let in_sync = |nodes: usize| partition().is_ok_and(|partition| partition.in_sync.len() == nodes);
    eventually("both replicas are in sync", || in_sync(2));
    let described = partition().unwrap();
    let leader = u16::try_from(described.leader).unwrap();
    let follower = described.replicas.into_iter().find(|node| *node != described.leader).unwrap();
    let follower = u16::try_from(follower).unwrap();
    kafka.stop_node(follower).unwrap();
    eventually("the leader is alone", || in_sync(1));

    // One run makes its cut before there are records that only the leader has, and another one after that.
    let repository = Repository::folder().unwrap();
    let backup = |archive: &str| {
        let command = ["backup", "--bootstrap-servers", &bootstrap, "--archive", archive, "--topics", &topic];
        let plain = ["--no-consumer-groups", "--compression=none"];
        [&command[..], &plain].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |archive: &str| {
        let command = backup(archive);
        repository.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let start = |archive: &str| {
        let command = backup(archive);
        let command = command.iter().map(String::as_str).chain([RATE]);
        repository.start(&command.collect::<Vec<_>>()).unwrap()
    };
    let mut before = start("before");
    before.wait_until("the cut is taken", || repository.objects().unwrap().iter().any(|path| path.ends_with("cut")));
    write(&witness, &topic, "lost", LOST);
    stop_behind_the_common_records(&repository, "before", before);
    stop_behind_the_common_records(&repository, "after", start("after"));

    // Without the leader, and with the follower, which has none of them.
    kafka.kill_node(leader).unwrap();
    kafka.start_node(follower).unwrap();
    let is_led_by = |node: u16| partition().is_ok_and(|partition| partition.leader == i32::from(node));
    // As long as the controllers do not miss the leader, there is nothing to elect.
    eventually("the follower leads", || witness.elect_unclean(&topic, 0).is_ok() && is_led_by(follower));
    write(&witness, &topic, "new", NEW);
    kafka.start_node(leader).unwrap();
    eventually("both replicas are in sync again", || in_sync(2));

    // All that the cut promises is still in the log.
    let ended = run("before").succeeded();
    let says = |line: &str| line.contains("what was stored of the partition is read again") && line.contains(&topic);
    assert!(ended.stderr.lines().any(says), "{ended:?}");
    let report = ended.json().unwrap();
    assert_eq!(report["resumed"], true, "{report}");
    holds_one_log(&repository, &report, &topic);

    // Some of what the cut promises is in no log any more: there is no such backup, and the next run begins another one.
    let ended = run("after");
    assert_eq!(ended.code, Some(CORRUPT), "{ended:?}");
    let error = format!("the log no longer holds all that it held up to offset {}", COMMON + LOST);
    assert!(ended.stderr.contains(&error) && ended.stderr.contains("unclean leader election"), "{ended:?}");
    let objects = repository.objects().unwrap();
    let is_backup = |path: &str| path.contains("/archives/after/") && path.ends_with("/manifest");
    assert!(!objects.iter().any(|path| is_backup(&path.to_string_lossy())), "{objects:?}");
    let report = run("after").succeeded().json().unwrap();
    assert_eq!(report["resumed"], false, "{report}");
    holds_one_log(&repository, &report, &topic);
    repository.report(&["verify", "--archive", "before", "--level", "records"]);
}
