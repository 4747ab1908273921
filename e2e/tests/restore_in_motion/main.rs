//! A restore owns what it writes until it is done: against other programs that change topics, and users that may not do it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backed_up;
mod chosen;
mod committing;
mod created_meanwhile;
mod guarded;
mod hiding_proxy;
mod incapable;
mod overwritten;
mod own_settings;
mod pauses;
mod refused_settings;
mod replaced;
mod swept;
mod taken_over;
mod troubles;
mod written_meanwhile;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use e2e::cli::Ended;
use e2e::dump::{self, Record};
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, Position, Witness, properties};
use serde_json::Value;

const CONFLICT: i32 = 6;
const PARTIAL: i32 = 7;
const INTERRUPTED: i32 = 8;
/// Names how many topics are overwritten or created, for a run by hand: `E2E_TOPICS=5000`. One request can create about 1,000.
const TOPICS: &str = "E2E_TOPICS";
/// 2023: older than any retention of the tests.
const OLD_MS: i64 = 1_700_000_000_000;

/// A sample and its backup.
struct BackedUp<'a> {
    kafka: &'a Kafka,
    repository: Repository<'a>,
    sample: Sample,
}

impl<'a> BackedUp<'a> {
    fn new(kafka: &'a Kafka, stem: &str, records: u64) -> Self {
        Self::new_in(Repository::folder().unwrap(), kafka, stem, records)
    }

    fn new_in(repository: Repository<'a>, kafka: &'a Kafka, stem: &str, records: u64) -> Self {
        let sample = Sample::write(&kafka.witness(), stem, records).unwrap();
        let bootstrap = kafka.bootstrap(Listener::Plain);
        let topics = ["--archive", "a", "--topics", &sample.topic];
        repository.report(&[&["backup", "--bootstrap-servers", &bootstrap], &topics[..]].concat());
        Self { kafka, repository, sample }
    }

    fn command(&self, target: &str, more: &[&str]) -> Vec<String> {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let mapping = format!("{}={target}", self.sample.topic);
        let command = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
        [&command[..], more].concat().into_iter().map(str::to_owned).collect()
    }

    fn restore(&self, target: &str, more: &[&str]) -> Ended {
        let command = self.command(target, more);
        self.repository.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }
}

/// Deletes a topic, and creates another one of its name as soon as the deletion is known everywhere.
fn replace(witness: &Witness, topic: &NewTopic) {
    witness.delete_topics(&[&topic.name]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = witness.create_topics(std::slice::from_ref(topic)) {
        assert!(Instant::now() < deadline, "{}: {error:#}", topic.name);
    }
}

/// Takes the lease of a restore in this folder over, as another machine does.
fn take_over(lease: &Path) {
    let epochs = std::fs::read_dir(lease).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let held = epochs.max().unwrap();
    let next = format!("{:020}", held.parse::<u64>().unwrap() + 1);
    std::fs::copy(lease.join(&held), lease.join(next)).unwrap();
}

/// The settings that are set on a topic itself.
fn own_configs(witness: &Witness, topic: &str) -> BTreeMap<String, String> {
    witness.describe_topic(topic).unwrap().configs
}

/// Something that another program does again and again until this value is dropped.
struct Meddler {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Meddler {
    /// `act` says whether it has done something.
    fn new(pause: Duration, act: impl Fn() -> bool + Send + 'static) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if act() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(pause);
            }
        });
        Self { stop, done, thread: Some(thread) }
    }

    /// How often it has done something.
    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Sets a topic back to what a KafkaTopic says, as Strimzi's Topic Operator does: its settings are set, all others taken away.
fn topic_operator(witness: &Witness, topic: &str, spec: &[(&str, &str)]) -> Meddler {
    let (witness, topic) = (witness.clone(), topic.to_owned());
    let spec: BTreeMap<String, String> =
        spec.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Meddler::new(Duration::from_secs(2), move || {
        let Ok(found) = witness.describe_topic(&topic) else { return false };
        let others: Vec<&str> =
            found.configs.keys().filter(|name| !spec.contains_key(*name)).map(String::as_str).collect();
        found.configs != spec && witness.alter_topic(&topic, &spec, &others).is_ok()
    })
}

/// Records of the sample in the topic, with their own times.
fn whole_records(witness: &Witness, topic: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    witness.dump(topic, folder.path()).unwrap();
    let records = dump::read_all(folder.path()).unwrap();
    let last_ms = OLD_MS + 1_000_000;
    records.iter().filter(|record| (OLD_MS..last_ms).contains(&record.timestamp_ms)).count() as u64
}

#[test]
fn settings_that_the_topic_operator_sets_back_end_in_a_conflict() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "reverted", 6_000);
    let witness = backed_up.kafka.witness();
    // As a restore wants it, so that the error can only be about the other setting.
    let (same, forever) = ("message.timestamp.after.max.ms", "9223372036854775807");
    for (setting, value, errors) in [
        (
            "message.timestamp.type",
            "LogAppendTime",
            &["another program set message.timestamp.type to LogAppendTime (Strimzi's Topic Operator"][..],
        ),
        ("cleanup.policy", "compact", &["cleanup.policy was changed to compact while"]),
        // Brokers may delete records before the restore looks a second time.
        (
            "retention.ms",
            "86400000",
            &[
                "retention.ms was changed to 86400000 while",
                "restored records were deleted (by a retention that another program set",
            ],
        ),
    ] {
        let target = unique("operated");
        let topic = NewTopic::new(&target, Sample::PARTITIONS).with(setting, value).with(same, forever);
        witness.create_topics(&[topic]).unwrap();
        let operator = topic_operator(&witness, &target, &[(setting, value), (same, forever)]);
        // Slow enough for a second reversal.
        let ended = backed_up.restore(&target, &["--rate-limit-bytes", "100000"]);
        assert!(operator.done() > 0, "{ended:?}");
        assert_eq!(ended.code, Some(CONFLICT), "{setting}: {ended:?}");
        assert!(ended.stderr.contains(&format!("topic {target:?}")), "{ended:?}");
        assert!(errors.iter().any(|error| ended.stderr.contains(*error)), "{setting}: {ended:?}");
    }
}

#[test]
fn a_second_reversal_ends_a_restore_and_the_error_names_the_topic_the_setting_and_who_may_have_changed_it() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "twice", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("twice-target"));
    // It would take several times as long as two reversals.
    let command = backed_up.command(&target, &["--rate-limit-bytes", "50000"]);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, At::Latest).is_ok_and(|ends| ends.iter().any(|end| *end > 0))
    });
    // No record is refused, changed or deleted under it: only the reversals can end the restore.
    let (other, name, bytes) = (witness.clone(), target.clone(), "100000000000");
    let program = Meddler::new(Duration::from_secs(2), move || {
        let found = other.describe_topic(&name).map(|found| found.configs.get("retention.bytes").cloned());
        let is_undone = found.is_ok_and(|found| found.as_deref() != Some(bytes));
        is_undone && other.alter_topic(&name, &properties([("retention.bytes", bytes)]), &[]).is_ok()
    });
    let ended = running.ended().unwrap();
    assert_eq!(program.done(), 2, "the first is undone, the second ends the restore: {ended:?}");
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    let error = format!("topic {target:?}: retention.bytes was changed to {bytes} while this restore writes");
    assert!(ended.stderr.contains(&error), "{ended:?}");
    assert!(ended.stderr.contains("which needs -1: another program manages"), "{ended:?}");
    assert!(ended.stderr.contains("Strimzi's Topic Operator"), "{ended:?}");
}

#[test]
fn a_single_reversal_is_undone_and_reported() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "undone", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("undone-target"));
    let command = backed_up.command(&target, &["--rate-limit-bytes", "300000"]);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, e2e::witness::At::Latest).is_ok_and(|ends| ends.iter().any(|end| *end > 0))
    });
    witness.alter_topic(&target, &properties([("segment.bytes", "1048576")]), &["retention.bytes"]).unwrap();
    witness.alter_topic(&target, &properties([("retention.bytes", "100000000")]), &[]).unwrap();
    let report = running.ended().unwrap().succeeded().json().unwrap();
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("retention.bytes") && warnings.contains(&target), "{warnings}");
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn records_that_are_deleted_while_a_restore_runs_are_never_reported_as_restored() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "swept", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("swept-target"));
    let command = backed_up.command(&target, &["--rate-limit-bytes", "300000"]);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, e2e::witness::At::Latest).is_ok_and(|ends| ends[0] > 10)
    });
    witness.delete_records(&[Position::new(&target, 0, 5)]).unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("restored records were deleted"), "{ended:?}");
}

#[test]
fn a_topic_that_another_client_creates_in_between_is_taken_with_all_settings_or_refused() {
    let kafka = Kafka::shared(Shared::Plain);
    for (partitions, code) in [(Sample::PARTITIONS, 0), (2, CONFLICT)] {
        let backed_up = BackedUp::new(kafka, "between", 600);
        let (witness, topic) = (kafka.witness(), backed_up.sample.topic.clone());
        witness.alter_topic(&topic, &properties([("min.cleanable.dirty.ratio", "0.3")]), &[]).unwrap();
        let repository = Repository::folder().unwrap();
        let bootstrap = kafka.bootstrap(Listener::Plain);
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "b", "--topics", &topic]);
        let configs = own_configs(&witness, &topic);
        // What a client that creates topics by itself does: with the broker's defaults, as soon as it is gone.
        let (other, name) = (witness.clone(), topic.clone());
        let client = Meddler::new(Duration::ZERO, move || {
            other.create_topics(&[NewTopic::new(&name, partitions).with("retention.ms", 1000)]).is_ok()
        });
        let restore =
            ["restore", "--bootstrap-servers", &bootstrap, "--archive", "b", "--existing-topics", "overwrite"];
        let ended = repository.run(&restore).unwrap();
        drop(client);
        assert!(ended.stderr.contains("created by another client"), "the client was never faster: {ended:?}");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        if code == 0 {
            assert_eq!(whole_records(&witness, &topic), backed_up.sample.records);
            let expected: BTreeMap<_, _> = configs.iter().filter(|(name, _)| *name != "retention.ms").collect();
            let found = own_configs(&witness, &topic);
            assert_eq!(found.iter().filter(|(name, _)| *name != "retention.ms").collect::<BTreeMap<_, _>>(), expected);
            assert_eq!(found.get("retention.ms"), configs.get("retention.ms"), "the client's setting is gone");
        } else {
            assert!(ended.stderr.contains("2 partitions instead of 6"), "{ended:?}");
            assert!(ended.stderr.contains("another client"), "{ended:?}");
        }
    }
}

#[test]
fn a_restore_that_is_stopped_names_the_topics_that_it_leaves_changed_and_abandon_gives_them_back() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "stopped", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("live"));
    let topic =
        NewTopic::new(&target, Sample::PARTITIONS).with("cleanup.policy", "compact").with("retention.ms", 86_400_000);
    witness.create_topics(&[topic]).unwrap();
    witness.produce(&target, &properties([]), &[Record::new(0, OLD_MS, "mine", "mine")]).unwrap();
    let before = own_configs(&witness, &target);
    let more = ["--existing-topics", "append", "--rate-limit-bytes", "300000", "--restore-id", "r1"];
    let command = backed_up.command(&target, &more);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, At::Latest).is_ok_and(|ends| ends.iter().any(|end| *end > 10))
    });
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
    assert!(ended.stderr.contains(&target) && ended.stderr.contains("restore --abandon r1"), "{ended:?}");
    assert_ne!(own_configs(&witness, &target), before);
    let bootstrap = backed_up.kafka.bootstrap(Listener::Plain);
    let abandon = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--abandon", "r1"];
    let report = backed_up.repository.report(&abandon);
    assert_eq!(report["outcome"], "abandoned", "{report}");
    assert_eq!(own_configs(&witness, &target), before);
    let never = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--abandon", "r2"];
    assert_eq!(backed_up.repository.run(&never).unwrap().code, Some(2));
    // The same command would append what has landed a second time.
    let ends = witness.offsets(&target, At::Latest).unwrap();
    let ended = backed_up.restore(&target, &more);
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("restore r1 has written records") && ended.stderr.contains(&target), "{ended:?}");
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), ends);
    // Into another topic, it is another restore.
    let (other, id) = (unique("other"), ["--restore-id", "r3"]);
    backed_up.restore(&other, &id).succeeded();
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn a_restore_that_fails_gives_existing_topics_their_settings_back() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "failing", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("live"));
    let topic =
        NewTopic::new(&target, Sample::PARTITIONS).with("cleanup.policy", "compact").with("segment.ms", 86_400_000);
    witness.create_topics(&[topic]).unwrap();
    let before = own_configs(&witness, &target);
    let command = backed_up.command(&target, &["--rate-limit-bytes", "300000"]);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, e2e::witness::At::Latest).is_ok_and(|ends| ends[0] > 10)
    });
    // The log cleaner needs another policy than the one that the restore holds.
    assert_ne!(own_configs(&witness, &target), before);
    witness.delete_records(&[Position::new(&target, 0, 5)]).unwrap();
    assert_eq!(running.ended().unwrap().code, Some(CONFLICT));
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn a_restore_that_has_ended_never_touches_settings_again() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "ended", 600);
    let (witness, target) = (backed_up.kafka.witness(), unique("live"));
    witness.create_topics(&[NewTopic::new(&target, Sample::PARTITIONS).with("retention.ms", -1)]).unwrap();
    backed_up.restore(&target, &[]).succeeded();
    // Its owner goes on, and something fails when the restore is run again.
    witness.alter_topic(&target, &properties([("retention.ms", "86400000000000")]), &[]).unwrap();
    let owned = own_configs(&witness, &target);
    let objects = backed_up.repository.objects().unwrap();
    let map = objects.iter().find(|path| path.to_str().is_some_and(|path| path.contains("/maps/"))).unwrap();
    std::fs::write(map, "no map").unwrap();
    let ended = backed_up.restore(&target, &[]);
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(!ended.stderr.contains("--abandon"), "{ended:?}");
    assert_eq!(own_configs(&witness, &target), owned);
}

/// All topics with their ids, settings and leaders, a line each, as Kafka's own tool describes them.
fn described(kafka: &Kafka) -> BTreeSet<String> {
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let arguments = ["--bootstrap-server", &bootstrap, "--describe"];
    let described = kafka.tool("org.apache.kafka.tools.TopicCommand", &arguments).unwrap();
    described.lines().map(str::to_owned).collect()
}

#[test]
fn more_topics_than_one_request_can_create_are_overwritten_and_created() {
    // None of them protects records. Each is a metadata record, as is a topic, and as is a partition.
    const SETTINGS: [(&str, &str); 8] = [
        ("delete.retention.ms", "86400001"),
        ("file.delete.delay.ms", "1001"),
        ("flush.ms", "600000"),
        ("index.interval.bytes", "4097"),
        ("min.cleanable.dirty.ratio", "0.4"),
        ("segment.index.bytes", "1048576"),
        ("segment.jitter.ms", "1"),
        ("segment.ms", "604800000"),
    ];
    let topics = std::env::var(TOPICS).map_or(1_200, |topics| topics.parse::<usize>().unwrap());
    let kafka = Kafka::start(KafkaOptions { heap_mb: 768, ..KafkaOptions::default() }).unwrap();
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let names: Vec<String> = (0..topics).map(|number| format!("t-{number:04}")).collect();
    for part in names.chunks(600) {
        let with_settings = |new: NewTopic| SETTINGS.iter().fold(new, |new, (name, value)| new.with(name, value));
        let new = part.iter().map(|name| with_settings(NewTopic::new(name, 1)));
        witness.create_topics(&new.collect::<Vec<_>>()).unwrap();
    }
    for name in [&names[0], &names[topics - 1]] {
        witness.produce(name, &properties([]), &[Record::new(0, OLD_MS, "k", "v")]).unwrap();
    }
    let repository = Repository::folder().unwrap();
    let report = repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a"]);
    assert_eq!(report["topics"], topics, "{report}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a"];
    let overwrite = [&restore[..], &["--existing-topics", "overwrite"]].concat();

    let before = described(&kafka);
    let report = repository.report(&[&overwrite[..], &["--dry-run"]].concat());
    assert_eq!(report["outcome"], "planned", "{report}");
    let after = described(&kafka);
    let changed: Vec<&String> = before.symmetric_difference(&after).take(10).collect();
    assert!(changed.is_empty() && before.len() >= topics, "the dry run has changed topics: {changed:?}");

    let id = witness.describe_topic(&names[0]).unwrap().id;
    let report: Value = repository.report(&overwrite);
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &2.into()), "{report}");
    let first = witness.describe_topic(&names[0]).unwrap();
    assert_ne!(first.id, id);
    assert_eq!(first.configs, properties(SETTINGS));
    assert_eq!(whole_records(&witness, &names[topics - 1]), 1);

    // Where there is none of them, they are created by as few requests as can be.
    for part in names.chunks(600) {
        witness.delete_topics(&part.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    let report = repository.report(&[&restore[..], &["--restore-id", "created"]].concat());
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &2.into()), "{report}");
    let is_whole = |line: &&String| SETTINGS.iter().all(|(name, value)| line.contains(&format!("{name}={value}")));
    assert_eq!(described(&kafka).iter().filter(is_whole).count(), topics, "all are there, with their settings");
    assert_eq!(witness.describe_topic(&names[topics / 2]).unwrap().configs, properties(SETTINGS));
    assert_eq!(whole_records(&witness, &names[topics - 1]), 1);
}
