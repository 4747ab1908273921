//! Many topics are overwritten, and the restore fails at each step: few topics are missing afterwards, the error says which, and the
//! same command makes all of them whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use e2e::cli::Ended;
use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::running::Running;
use e2e::runs::Repository;
use e2e::witness::{At, NewTopic, Witness, properties};

use crate::hiding_proxy::{HidingProxy, TimedOut, behind_a_proxy_with};
use crate::{CONFLICT, INTERRUPTED, OLD_MS, TOPICS, take_over};

const DELETE_TOPICS: i16 = 20;
/// Topics that are deleted before the first of them is created again.
const REPLACED_AT_ONCE: usize = 16;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 3;

/// Topics with a record each, and a backup of them.
struct Topics {
    kafka: Kafka,
    witness: Witness,
    repository: Repository<'static>,
    names: Vec<String>,
    /// Lists the names that the broker refuses to create.
    refused: tempfile::NamedTempFile,
}

/// What topics are, as a failure leaves them.
#[derive(Debug, Default)]
struct Found {
    untouched: BTreeSet<String>,
    replaced: BTreeSet<String>,
    missing: BTreeSet<String>,
}

/// Properties of a broker that creates no topic of the names in this file.
fn refusing(file: &tempfile::NamedTempFile) -> [(&str, &str); 2] {
    [("create.topic.policy.class.name", "RefusedNames"), ("e2e.refused.names", file.path().to_str().unwrap())]
}

impl Topics {
    fn new(count: usize) -> Self {
        let refused = tempfile::NamedTempFile::new().unwrap();
        let extra_properties = refusing(&refused).map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let kafka = Kafka::start(KafkaOptions { heap_mb: 768, extra_properties, ..KafkaOptions::default() }).unwrap();
        Self::of(kafka, refused, count)
    }

    /// The topics of a broker behind a proxy.
    fn behind_a_proxy(count: usize) -> (HidingProxy, Self) {
        let refused = tempfile::NamedTempFile::new().unwrap();
        let (proxy, kafka) = behind_a_proxy_with(&refusing(&refused));
        (proxy, Self::of(kafka, refused, count))
    }

    fn of(kafka: Kafka, refused: tempfile::NamedTempFile, count: usize) -> Self {
        let witness = kafka.witness();
        let names: Vec<String> = (0..count).map(|number| format!("t-{number:04}")).collect();
        for part in names.chunks(600) {
            let new = part.iter().map(|name| NewTopic::new(name, 1).with("segment.ms", 604_800_000));
            witness.create_topics(&new.collect::<Vec<_>>()).unwrap();
        }
        for name in &names {
            let record = Record::new(0, OLD_MS, name.as_str(), "v");
            witness.produce(name, &properties([]), &[record]).unwrap();
        }
        let repository = Repository::folder().unwrap();
        let bootstrap = kafka.bootstrap(Listener::Plain);
        let report = repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a"]);
        assert_eq!(report["records"], count, "{report}");
        Self { kafka, witness, repository, names, refused }
    }

    fn ids(&self) -> BTreeMap<String, String> {
        let id = |name: &String| Some((name.clone(), self.witness.describe_topic(name).ok()?.id));
        self.names.iter().filter_map(id).collect()
    }

    /// What a failure at this step has left. It is printed too, for runs with many topics.
    fn found(&self, step: &str, before: &BTreeMap<String, String>) -> Found {
        let mut now = self.ids();
        loop {
            // The last request of a run that was killed may still be at work.
            std::thread::sleep(Duration::from_secs(1));
            let later = self.ids();
            if later == now {
                break;
            }
            now = later;
        }
        let mut found = Found::default();
        for name in &self.names {
            let of = match now.get(name) {
                Some(id) if before[name] == *id => &mut found.untouched,
                Some(_) => &mut found.replaced,
                None => &mut found.missing,
            };
            of.insert(name.clone());
        }
        for name in &found.untouched {
            assert_eq!(self.witness.offsets(name, At::Latest).unwrap(), [1], "{name} is untouched");
        }
        let Found { untouched, replaced, missing } = &found;
        eprintln!("{step}: {} untouched, {} replaced, {} missing", untouched.len(), replaced.len(), missing.len());
        found
    }

    fn command(&self, id: &str, policy: &str) -> Vec<String> {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let command = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--restore-id", id];
        let overwrite = ["--existing-topics", policy];
        command.iter().chain(&overwrite).map(|argument| (*argument).to_owned()).collect()
    }

    fn start(&self, id: &str) -> Running {
        self.start_with(id, &[])
    }

    fn start_with(&self, id: &str, more: &[&str]) -> Running {
        let command = self.command(id, "overwrite");
        let command: Vec<&str> = command.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.repository.start(&command).unwrap()
    }

    fn run(&self, id: &str) -> Ended {
        self.run_with(id, "overwrite")
    }

    fn run_with(&self, id: &str, policy: &str) -> Ended {
        self.repository.run(&self.command(id, policy).iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }

    /// The same command makes all topics whole: each is another one, with its own record and its own settings.
    fn completes(&self, id: &str, before: &BTreeMap<String, String>) {
        let report = self.run(id).succeeded().json().unwrap();
        assert_eq!((&report["outcome"], &report["restoreId"]), (&"completed".into(), &id.into()), "{report}");
        for name in &self.names {
            let topic = self.witness.describe_topic(name).unwrap();
            assert_ne!(topic.id, before[name], "{name} is overwritten");
            assert_eq!(topic.configs, properties([("segment.ms", "604800000")]), "{name}");
            assert_eq!(self.witness.offsets(name, At::Latest).unwrap(), [1], "{name}");
        }
        let sampled = [0, self.names.len() / 2, self.names.len() - 1].map(|number| self.names[number].clone());
        let positions = sampled.clone().map(|name| e2e::witness::Position::new(name, 0, 0));
        let records = self.witness.next_records(&positions).unwrap();
        for (name, record) in sampled.iter().zip(records) {
            assert_eq!(record.unwrap().key.as_deref(), Some(name.as_bytes()), "{name} has its own record");
        }
    }

    fn journal(&self, id: &str, object: &str) -> PathBuf {
        self.repository.path().join("archives/a/restores").join(id).join(object)
    }
}

#[test]
fn a_run_that_has_lost_its_lease_deletes_no_further_topic() {
    let topics = Topics::new(40);
    let before = topics.ids();
    let mut running = topics.start("fenced");
    // One topic is replaced, and the run is about to look at the lease before it deletes the next ones.
    running.wait_until("a topic is created again", || topics.journal("fenced", "created").exists());
    running.signal("STOP").unwrap();
    take_over(&topics.journal("fenced", "lease"));
    let found = topics.found("lease taken over", &before);
    running.signal("CONT").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("another process has taken over"), "{ended:?}");
    assert!(!found.untouched.is_empty(), "it was stopped too late: {found:?}");
    assert_eq!(topics.found("lease taken over, at the end", &before).untouched, found.untouched, "{ended:?}");
    topics.completes("fenced", &before);
}

/// A controller may delete topics and answer that the time was up.
#[test]
fn topics_whose_deletion_is_answered_by_a_timeout_are_deleted_once_and_named_where_no_other_answer_comes() {
    let (proxy, topics) = Topics::behind_a_proxy(20);
    let count = topics.names.len();

    // The request is sent again, and the controller knows no topic of the id any more.
    let before = topics.ids();
    proxy.time_out(TimedOut::Deletions);
    topics.completes("doubted", &before);
    assert_eq!(proxy.deleted(), count);

    let before = topics.ids();
    let running = proxy.start_and_hold(DELETE_TOPICS, || topics.start_with("named", &["--retry-timeout-ms", "8000"]));
    proxy.time_out(TimedOut::All);
    proxy.hold(None);
    let ended = running.ended().unwrap();
    proxy.time_out(TimedOut::None);
    assert_eq!(ended.code, Some(UNAVAILABLE), "{ended:?}");
    let (first, found, error) = (&topics.names[0], topics.found("no response to DeleteTopics", &before), &ended.stderr);
    assert_eq!((found.missing, found.replaced.len()), ([first.clone()].into(), 0), "{ended:?}");
    assert!(error.contains(&format!("topic {first:?}")) && error.contains("REQUEST_TIMED_OUT"), "{error}");
    assert_eq!(said(error, "of the topics to overwrite", "were replaced"), 0, "{error}");
    assert!(error.contains(&format!("1 ({first}) were deleted or are about to be")), "{error}");
    assert_eq!(said(error, "about to be,", "are untouched"), count - 1, "{error}");
    assert!(error.contains(&format!("deleted and not created again: 1 ({first})")), "{error}");
    topics.completes("named", &before);
    assert_eq!(proxy.deleted(), 2 * count, "none was deleted twice");
}

/// The number with which the text of an error between `from` and `to` begins.
fn said(error: &str, from: &str, to: &str) -> usize {
    let (_, after) = error.split_once(from).unwrap_or_else(|| panic!("no {from:?} in {error}"));
    let (text, _) = after.split_once(to).unwrap_or_else(|| panic!("no {to:?} in {error}"));
    text.trim().split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no number in {text:?}: {error}"))
}

#[test]
fn a_restore_that_fails_at_any_step_of_overwriting_many_topics_is_completed_by_the_same_command() {
    let count = std::env::var(TOPICS).map_or(60, |topics| topics.parse::<usize>().unwrap());
    let topics = Topics::new(count);
    let names = &topics.names;
    let middle = count / 2;

    // The broker refuses to create one again: the first, which is replaced alone; one in the middle; the last.
    for (number, id) in [(0, "first"), (middle, "middle"), (count - 1, "last")] {
        let before = topics.ids();
        std::fs::write(topics.refused.path(), format!("{}\n", names[number])).unwrap();
        let ended = topics.run(id);
        assert_eq!(ended.code, Some(USAGE), "{ended:?}");
        let found = topics.found(&format!("creating {id} is refused"), &before);
        assert_eq!(found.missing, [names[number].clone()].into(), "{found:?}");
        let error = &ended.stderr;
        assert!(error.contains("the name is refused") && error.contains(&names[number]), "{error}");
        let replaced = said(error, "of the topics to overwrite", "were replaced");
        let deleted = said(error, "are empty,", "were deleted");
        let untouched = said(error, "about to be,", "are untouched");
        assert_eq!((untouched, replaced + deleted), (found.untouched.len(), count - untouched), "{error}");
        assert!(deleted <= REPLACED_AT_ONCE && (number > 0 || deleted == 1), "{error}");
        assert!(error.contains(&format!("deleted and not created again: 1 ({})", names[number])), "{error}");
        std::fs::write(topics.refused.path(), "").unwrap();
        // Who has thought again loses nothing more.
        for policy in ["fail", "append"] {
            let ended = topics.run_with(id, policy);
            assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
            assert!(ended.stderr.contains("was begun with --existing-topics overwrite"), "{ended:?}");
            // A refusal too says what the run before it has left.
            let left = format!("deleted and not created again: 1 ({})", names[number]);
            assert!(ended.stderr.contains(&left), "{ended:?}");
        }
        assert_eq!(topics.found(&format!("refused again, {id}"), &before).untouched, found.untouched);
        topics.completes(id, &before);
    }

    // The run is killed, at each object of its journal and while topics are replaced.
    for id in ["intent", "replacing", "prepared", "maps", "written"] {
        let before = topics.ids();
        let mut running = topics.start(id);
        running.wait_until(id, || match id {
            "replacing" => {
                topics.witness.describe_topic(&names[middle]).is_ok_and(|topic| topic.id != before[&names[middle]])
            }
            object => topics.journal(id, object).exists(),
        });
        running.kill().unwrap();
        let found = topics.found(&format!("killed at {id}"), &before);
        assert!(found.missing.len() <= REPLACED_AT_ONCE, "{id}: {found:?}");
        topics.completes(id, &before);
    }

    // Somebody thinks again while topics are replaced.
    let before = topics.ids();
    let running = topics.start("asked");
    while !running.log().unwrap().contains("topics were deleted, to be created again") {
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    let found = topics.found("asked to stop", &before);
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
    // It ends between two groups, unless creating one takes longer than it has.
    assert!(found.missing.len() <= REPLACED_AT_ONCE && !found.untouched.is_empty(), "{found:?}");
    if ended.stderr.contains("about to be,") {
        assert_eq!(said(&ended.stderr, "about to be,", "are untouched"), found.untouched.len(), "{ended:?}");
    }
    assert!(ended.stderr.contains("topics that keep the settings of a restore"), "{ended:?}");
    topics.completes("asked", &before);

    // The broker is gone, and then the run.
    let before = topics.ids();
    let mut running = topics.start("gone");
    running.wait_until("topics are replaced", || {
        topics.witness.describe_topic(&names[middle]).is_ok_and(|topic| topic.id != before[&names[middle]])
    });
    let node = topics.kafka.node_ids().next().unwrap();
    topics.kafka.kill_node(node).unwrap();
    running.kill().unwrap();
    topics.kafka.start_node(node).unwrap();
    let found = topics.found("broker killed, then the run", &before);
    assert!(found.missing.len() <= REPLACED_AT_ONCE && !found.replaced.is_empty(), "{found:?}");
    topics.completes("gone", &before);
}
