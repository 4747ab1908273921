//! What the owner of a topic sets while a restore has other settings on it stays, and no topic keeps those of a restore unnoticed.

use std::fs;
use std::time::Duration;

use e2e::cli::Ended;
use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::minio::{Minio, MinioOptions};
use e2e::running::Running;
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, Witness, properties};
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::manifest::VERSION;
use kafka_backup::store::Store;
use kafka_backup::store::lease::{Holder, Lease, WaitPolicy};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::hiding_proxy::{behind_a_proxy_with, shared};
use crate::{BackedUp, CONFLICT, INTERRUPTED, Meddler, OLD_MS, own_configs, replace, whole_records};

const USAGE: i32 = 2;
const PRODUCE: i16 = 0;
const SLOWLY: [&str; 2] = ["--rate-limit-bytes", "300000"];

fn start(backed_up: &BackedUp<'_>, target: &str, more: &[&str]) -> Running {
    let command = backed_up.command(target, &[&SLOWLY[..], more].concat());
    backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn is_written_to(witness: &Witness, topic: &str) -> bool {
    witness.offsets(topic, At::Latest).is_ok_and(|ends| ends.iter().any(|end| *end > 10))
}

/// Starts a restore, and asks it to end when it has written some records.
fn stopped(backed_up: &BackedUp<'_>, target: &str, more: &[&str]) {
    let witness = backed_up.kafka.witness();
    let mut running = start(backed_up, target, more);
    running.wait_until("the topic is written to", || is_written_to(&witness, target));
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
}

fn live_topic(witness: &Witness, settings: &[(&str, &str)]) -> String {
    let topic = unique("live");
    let new =
        settings.iter().fold(NewTopic::new(&topic, Sample::PARTITIONS), |new, (name, value)| new.with(name, value));
    witness.create_topics(&[new]).unwrap();
    topic
}

fn abandon(backed_up: &BackedUp<'_>, id: &str) -> serde_json::Value {
    let bootstrap = backed_up.kafka.bootstrap(Listener::Plain);
    backed_up.repository.report(&["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--abandon", id])
}

#[test]
fn a_setting_that_the_owner_gives_a_topic_while_a_restore_runs_is_there_afterwards() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "owned", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("max.message.bytes", "2000000")]);
    let mut running = start(&backed_up, &target, &[]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    witness.alter_topic(&target, &properties([("retention.bytes", "100000000")]), &[]).unwrap();
    let report = running.ended().unwrap().succeeded().json().unwrap();
    assert!(report["warnings"].to_string().contains("retention.bytes"), "{report}");
    assert_eq!(own_configs(&witness, &target).get("retention.bytes").map(String::as_str), Some("100000000"));
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn abandoning_leaves_what_the_owner_has_set_since_and_a_second_time_changes_nothing() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "left", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000")]);
    stopped(&backed_up, &target, &["--restore-id", "r1"]);
    witness.alter_topic(&target, &properties([("retention.ms", "432000000")]), &[]).unwrap();
    let report = abandon(&backed_up, "r1");
    assert!(report["warnings"].to_string().contains("432000000"), "it says what it leaves: {report}");
    let owned = [("retention.ms".to_owned(), "432000000".to_owned())].into();
    assert_eq!(own_configs(&witness, &target), owned);
    witness.alter_topic(&target, &properties([("retention.ms", "-1")]), &[]).unwrap();
    assert_eq!(abandon(&backed_up, "r1")["outcome"], "abandoned");
    assert_eq!(own_configs(&witness, &target).get("retention.ms").map(String::as_str), Some("-1"));
}

#[test]
fn a_setting_that_the_owner_gives_a_topic_between_two_runs_of_a_restore_is_there_afterwards() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "between", 600);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000")]);
    let retention = |value: &str| [("retention.ms".to_owned(), value.to_owned())].into();
    let before = own_configs(&witness, &target);
    let slowest = backed_up.command(&target, &["--rate-limit-bytes", "1"]);
    let mut running = backed_up.repository.start(&slowest.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    running.wait_until("the settings are changed", || own_configs(&witness, &target) != before);
    running.kill().unwrap();
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), vec![0; 6], "no record has landed");
    witness.alter_topic(&target, &properties([("retention.ms", "86400000000000")]), &[]).unwrap();
    let report = backed_up.restore(&target, &[]).succeeded().json().unwrap();
    assert!(report["warnings"].to_string().contains("86400000000000"), "it says what it puts back: {report}");
    assert_eq!(own_configs(&witness, &target), retention("86400000000000"));
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn a_setting_that_is_set_back_between_two_runs_when_records_have_landed_is_undone_or_ends_the_restore() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "set-back", 6_000);
    let witness = backed_up.kafka.witness();
    // Compaction leaves no trace of the records that it takes. A retention does, and this one takes none.
    for (setting, value, code) in [("cleanup.policy", "compact", CONFLICT), ("retention.bytes", "100000000000", 0)] {
        let target = unique("set-back-target");
        let mut running = start(&backed_up, &target, &[]);
        running.wait_until("the topic is written to", || is_written_to(&witness, &target));
        running.kill().unwrap();
        witness.alter_topic(&target, &properties([(setting, value)]), &[]).unwrap();
        let ended = backed_up.restore(&target, &[]);
        assert_eq!(ended.code, Some(code), "{setting}: {ended:?}");
        assert_eq!(own_configs(&witness, &target).get(setting).map(String::as_str), Some(value), "{setting}");
        if code == 0 {
            let report = ended.json().unwrap();
            let said =
                format!("another program changed {setting} before the restore had ended, and the restore set it");
            assert!(report["warnings"].to_string().contains(&said), "{report}");
            backed_up.sample.came_back_as(&witness, &target).unwrap();
        } else {
            let error = format!("topic {target:?}: {setting} was changed to {value} while this restore writes");
            assert!(ended.stderr.contains(&error), "{ended:?}");
            let written: i64 = witness.offsets(&target, At::Latest).unwrap().iter().sum();
            assert!(written.unsigned_abs() < backed_up.sample.records, "the second run has written: {ended:?}");
        }
    }
}

#[test]
fn a_setting_that_the_owner_takes_off_a_topic_stays_off_where_the_default_is_what_a_restore_wants() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "taken-off", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.bytes", "100000000"), ("segment.ms", "86400000")]);
    let mut running = start(&backed_up, &target, &[]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    witness.alter_topic(&target, &properties([]), &["retention.bytes"]).unwrap();
    let report = running.ended().unwrap().succeeded().json().unwrap();
    assert!(report["warnings"].to_string().contains("retention.bytes"), "{report}");
    assert_eq!(own_configs(&witness, &target), properties([("segment.ms", "86400000")]));
}

#[test]
fn abandoning_a_complete_restore_changes_nothing() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "complete", 600);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    backed_up.restore(&target, &["--restore-id", "r1"]).succeeded();
    // What its owner wants now looks like the setting of a restore.
    witness.alter_topic(&target, &properties([("retention.ms", "-1")]), &[]).unwrap();
    let report = abandon(&backed_up, "r1");
    assert!(report["warnings"].to_string().contains("r1 is complete: nothing was changed"), "{report}");
    assert_eq!(own_configs(&witness, &target).get("retention.ms").map(String::as_str), Some("-1"));
    assert!(backed_up.restore(&target, &["--restore-id", "r1"]).succeeded().json().unwrap()["alreadyRestored"] == true);
}

/// Starts a restore that makes its decisions and waits for its lease, lets something happen meanwhile, and lets it go on.
fn held_up(backed_up: &BackedUp<'_>, target: &str, id: &str, meanwhile: impl FnOnce(&Runtime, &Store)) -> Ended {
    let runtime = Runtime::new().unwrap();
    let storage: StorageConfig = backed_up.repository.url().parse().unwrap();
    let (store, holder) = (runtime.block_on(Store::open(&storage)).unwrap(), Holder::current("a test"));
    let key = format!("archives/a/restores/{id}/lease");
    let lease = Lease::acquire(&store, &key, holder, 60_000, WaitPolicy::UpTo(90_000));
    let lease = runtime.block_on(lease).unwrap();
    let waiting = start(backed_up, target, &["--restore-id", id]);
    std::thread::sleep(Duration::from_secs(5));
    meanwhile(&runtime, &store);
    runtime.block_on(lease.release()).unwrap();
    waiting.ended().unwrap()
}

/// Two hosts: one abandons the restore, while the other has made its decisions and waits for the lease.
#[test]
fn a_restore_that_is_abandoned_while_another_run_waits_for_its_lease_is_not_resumed() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "waited", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    stopped(&backed_up, &target, &["--restore-id", "r1"]);

    let end = witness.offsets(&target, At::Latest).unwrap();
    let ended = held_up(&backed_up, &target, "r1", |runtime, store| {
        // What --abandon writes in the end, as the settings are not what this is about.
        let abandoned = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &json!({ "atMs": 1 }));
        runtime.block_on(store.put("archives/a/restores/r1/abandoned", abandoned.into())).unwrap();
    });
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), end, "nothing was written: {ended:?}");
}

#[test]
fn a_topic_that_its_owner_creates_again_before_a_run_has_the_lease_never_gets_the_settings_of_a_restore() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "held-up", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    stopped(&backed_up, &target, &["--restore-id", "r1"]);

    let owned = properties([("retention.ms", "3600000")]);
    let ended = held_up(&backed_up, &target, "r1", |_, _| {
        replace(&witness, &NewTopic::new(&target, Sample::PARTITIONS).with("retention.ms", 3_600_000));
    });
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&format!("{target:?}")), "{ended:?}");
    assert_eq!(own_configs(&witness, &target), owned, "{ended:?}");
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), vec![0; 6], "nothing was written: {ended:?}");
}

#[test]
fn a_restore_that_is_stopped_while_brokers_are_away_names_the_topics_that_may_keep_its_settings() {
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    let backed_up = BackedUp::new(&kafka, "away", 6_000);
    let witness = kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    let before = own_configs(&witness, &target);
    let mut running = start(&backed_up, &target, &["--restore-id", "r1"]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    kafka.kill_node(1).unwrap();
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(INTERRUPTED), "{ended:?}");
    assert!(ended.stderr.contains(&target) && ended.stderr.contains("restore --abandon r1"), "{ended:?}");
    kafka.start_node(1).unwrap();
    assert_ne!(own_configs(&witness, &target), before, "they are those of the restore");
    abandon(&backed_up, "r1");
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn a_restore_that_is_stopped_while_its_archive_is_away_names_the_topics_that_keep_its_settings() {
    let minio = Minio::start(MinioOptions::default()).unwrap();
    let repository = Repository::bucket(&minio, "away").unwrap();
    let backed_up = BackedUp::new_in(repository, Kafka::shared(Shared::Plain), "archive-away", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    let before = own_configs(&witness, &target);
    let mut running = start(&backed_up, &target, &["--restore-id", "r1"]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    minio.stop().unwrap();
    running.signal("TERM").unwrap();
    let ended = running.ended().unwrap();
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(&target) && ended.stderr.contains("restore --abandon r1"), "{ended:?}");
    assert_ne!(own_configs(&witness, &target), before, "they are those of the restore");
    minio.start_again().unwrap();
    abandon(&backed_up, "r1");
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn a_topic_whose_restore_is_killed_before_its_first_record_is_named_and_abandon_gives_it_its_own_settings() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (backed_up, witness) = (BackedUp::new(kafka, "unwritten", 60), kafka.witness());
    let target = live_topic(&witness, &[("retention.ms", "86400000")]);
    let before = own_configs(&witness, &target);
    let running = proxy.start_and_hold(PRODUCE, || start(&backed_up, &target, &["--restore-id", "r1"]));
    running.kill().unwrap();
    // What waits at the proxy never reaches the broker.
    proxy.end_connections();
    proxy.hold(None);
    assert_ne!(own_configs(&witness, &target), before, "they are those of the restore");
    let ended = backed_up.restore(&target, &["--restore-id", "r2"]);
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    let held = format!("topic {target:?} has the settings of restore r1, which has not ended");
    assert!(ended.stderr.contains(&held) && ended.stderr.contains("restore --abandon r1"), "{ended:?}");
    abandon(&backed_up, "r1");
    assert_eq!(own_configs(&witness, &target), before);
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), vec![0; 6], "no record has landed");
}

#[test]
fn a_topic_that_takes_no_record_of_a_restore_has_its_own_settings_again_when_the_restore_has_failed() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (backed_up, witness) = (BackedUp::new(kafka, "untaken", 60), kafka.witness());
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    let before = own_configs(&witness, &target);
    let mut running = proxy.start_and_hold(PRODUCE, || start(&backed_up, &target, &["--restore-id", "r1"]));
    assert_ne!(own_configs(&witness, &target), before, "they are those of the restore");
    // No protective setting, and less than any batch takes.
    let limit = ("max.message.bytes", "100");
    witness.alter_topic(&target, &properties([limit]), &[]).unwrap();
    running.wait_until("the broker shows the limit", || {
        own_configs(&witness, &target).get(limit.0).map(String::as_str) == Some(limit.1)
    });
    // The broker shows it a moment before its logs go by it.
    std::thread::sleep(Duration::from_secs(1));
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(USAGE), "{ended:?}");
    assert!(ended.stderr.contains("MESSAGE_TOO_LARGE") && ended.stderr.contains("will refuse it again"), "{ended:?}");
    assert_eq!(witness.offsets(&target, At::Latest).unwrap(), vec![0; 6], "no record has landed: {ended:?}");
    // Records of any age would not survive under them, and there are none.
    witness.alter_topic(&target, &properties([]), &[limit.0]).unwrap();
    assert_eq!(own_configs(&witness, &target), before, "{ended:?}");
    backed_up.restore(&target, &["--restore-id", "r1"]).succeeded();
    backed_up.sample.came_back_as(&witness, &target).unwrap();
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn topics_whose_settings_a_policy_keeps_from_being_put_back_are_named_and_have_them_once_it_does_not() {
    let refused = tempfile::NamedTempFile::new().unwrap();
    let (proxy, kafka) = behind_a_proxy_with(&[
        ("create.topic.policy.class.name", "RefusedNames"),
        ("alter.config.policy.class.name", "RefusedNames"),
        ("e2e.refused.names", refused.path().to_str().unwrap()),
    ]);
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let topics = ["first", "second", "third"].map(unique);
    for topic in &topics {
        witness.create_topics(&[NewTopic::new(topic, 1).with("retention.ms", 86_400_000_000_000_i64)]).unwrap();
        witness.produce(topic, &properties([]), &[Record::new(0, OLD_MS, "k", "v")]).unwrap();
    }
    let [first, second, third] = &topics;
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a"]);
    let configs = own_configs(&witness, first);
    let common = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a"];
    for (id, policy, is_abandoned) in
        [("r1", "overwrite", true), ("r2", "append", true), ("r3", "overwrite", false), ("r4", "append", false)]
    {
        let restore = [&common[..], &["--existing-topics", policy, "--restore-id", id]].concat();
        let abandon = [&common[..], &["--abandon", id]].concat();
        let finish = if is_abandoned { &abandon } else { &restore };
        // The plan is made and all settings are held before the policy changes.
        let running = proxy.start_and_hold(PRODUCE, || repository.start(&restore).unwrap());
        fs::write(refused.path(), format!("{first}\n{second}\n")).unwrap();
        proxy.hold(None);
        let ended = running.ended().unwrap();
        assert_eq!(ended.code, Some(USAGE), "{id}: {ended:?}");
        assert!(ended.stderr.contains("the name is refused"), "{id}: {ended:?}");
        let (_, left) = ended.stderr.split_once("topics that keep the settings of a restore").unwrap();
        assert!(left.contains(first) && left.contains(second), "{id}: {ended:?}");
        let how =
            format!("until the same command completes it or restore --abandon {id} gives them their own settings");
        assert!(left.contains(&how), "{id}: {ended:?}");
        for topic in [first, second] {
            assert_ne!(own_configs(&witness, topic), configs, "{id}: {topic} has those of the restore");
        }
        assert_eq!(own_configs(&witness, third), configs, "{id}: one that is refused keeps no other");
        // As long as the policy refuses them, nothing is over.
        let ended = repository.run(finish).unwrap();
        assert_eq!(ended.code, Some(USAGE), "{id}: {ended:?}");
        fs::write(refused.path(), "").unwrap();
        let report = repository.report(finish);
        assert_eq!(report["outcome"], if is_abandoned { "abandoned" } else { "completed" }, "{report}");
        for topic in &topics {
            assert_eq!(own_configs(&witness, topic), configs, "{id}: {topic}");
        }
    }
}

#[test]
fn a_restore_into_a_topic_that_another_restore_has_not_finished_is_refused() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "second", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    let before = own_configs(&witness, &target);
    let append = ["--existing-topics", "append", "--restore-id"];
    stopped(&backed_up, &target, &[&append[..], &["r1"]].concat());
    let ended = backed_up.restore(&target, &[&append[..], &["r2"]].concat());
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("restore r1") && ended.stderr.contains("--abandon r1"), "{ended:?}");
    assert_ne!(own_configs(&witness, &target), before, "they are those of the first still");
    abandon(&backed_up, "r1");
    backed_up.restore(&target, &[&append[..], &["r2"]].concat()).succeeded();
    assert_eq!(own_configs(&witness, &target), before);
}

#[test]
fn a_conflict_leaves_half_restored_records_protected_and_the_same_command_completes_them() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "half", 6_000);
    let witness = backed_up.kafka.witness();
    let target = live_topic(&witness, &[("retention.ms", "86400000000000")]);
    let mut running = start(&backed_up, &target, &["--restore-id", "r1"]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    // A setting that does no harm, and is set back again and again.
    let (other, name) = (witness.clone(), target.clone());
    let program = Meddler::new(Duration::from_millis(500), move || {
        other.alter_topic(&name, &properties([("retention.bytes", "100000000000")]), &[]).is_ok()
    });
    let ended = running.ended().unwrap();
    drop(program);
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("--abandon r1") && ended.stderr.contains(&target), "{ended:?}");
    assert_eq!(own_configs(&witness, &target).get("retention.ms").map(String::as_str), Some("-1"), "{ended:?}");
    backed_up.restore(&target, &["--restore-id", "r1"]).succeeded();
    assert_eq!(whole_records(&witness, &target), backed_up.sample.records);
    assert_eq!(own_configs(&witness, &target).get("retention.ms").map(String::as_str), Some("86400000000000"));
}

#[test]
fn topics_that_were_created_before_a_restore_failed_are_named_and_get_their_settings() {
    let kafka = Kafka::shared(Shared::Plain);
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let stem = unique("created");
    let (first, second) = (format!("{stem}-1"), format!("{stem}-2"));
    for topic in [&first, &second] {
        witness.create_topics(&[NewTopic::new(topic, 1).with("retention.ms", 86_400_000_000_000_i64)]).unwrap();
        witness.produce(topic, &properties([]), &[Record::new(0, OLD_MS, "k", "v")]).unwrap();
    }
    let backed_up = BackedUp::new(kafka, "unused", 6);
    let repository = &backed_up.repository;
    let topics = format!("{stem}.*");
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "two", "--topics", &topics]);
    let configs = own_configs(&witness, &first);
    let (other, name) = (witness.clone(), second.clone());
    let client = Meddler::new(Duration::ZERO, move || other.create_topics(&[NewTopic::new(&name, 2)]).is_ok());
    let common = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "two"];
    let restore = [&common[..], &["--existing-topics", "overwrite", "--restore-id", "r1"]].concat();
    let ended = repository.run(&restore).unwrap();
    drop(client);
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains("2 partitions instead of 1"), "the client was never faster: {ended:?}");
    assert!(ended.stderr.contains(&first) && ended.stderr.contains("restore --abandon r1"), "{ended:?}");
    assert_ne!(own_configs(&witness, &first), configs);
    repository.report(&[&common[..], &["--abandon", "r1"]].concat());
    assert_eq!(own_configs(&witness, &first), configs);
    assert_eq!(repository.run(&[&common[..], &["--abandon", "r2"]].concat()).unwrap().code, Some(USAGE));
}

#[test]
fn abandoning_a_restore_that_has_created_nothing_leaves_the_topic_of_another_restore_as_it_is() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "claimed", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("claimed-target"));
    let id = ["--restore-id", "r2"];
    stopped(&backed_up, &target, &id);
    let archive = backed_up.repository.path().join("archives/a");
    let created = fs::read_to_string(archive.join("restores/r2/created")).unwrap();
    assert!(created.contains(&target), "it names what it has created: {created}");
    // What a run of r1 leaves that is killed before it creates the topic: the same intent, and nothing else.
    fs::create_dir(archive.join("restores/r1")).unwrap();
    for (of_r2, of_r1) in
        [("restores/r2/intent", "restores/r1/intent"), ("unfinished-restores/r2", "unfinished-restores/r1")]
    {
        fs::copy(archive.join(of_r2), archive.join(of_r1)).unwrap();
    }
    let before = own_configs(&witness, &target);
    let report = abandon(&backed_up, "r1");
    assert!(report["warnings"].to_string().contains("another restore or client has created it"), "{report}");
    assert_eq!(own_configs(&witness, &target), before, "records of r2 would be lost under other ones: {report}");
    backed_up.restore(&target, &id).succeeded();
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn records_that_a_broker_refuses_under_a_reversed_setting_are_sent_again() {
    let backed_up = BackedUp::new(Kafka::shared(Shared::Plain), "refused", 6_000);
    let (witness, target) = (backed_up.kafka.witness(), unique("refused-target"));
    let mut running = start(&backed_up, &target, &[]);
    running.wait_until("the topic is written to", || is_written_to(&witness, &target));
    witness.alter_topic(&target, &properties([("message.timestamp.before.max.ms", "3600000")]), &[]).unwrap();
    let report = running.ended().unwrap().succeeded().json().unwrap();
    assert!(report["warnings"].to_string().contains("message.timestamp.before.max.ms"), "{report}");
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}
