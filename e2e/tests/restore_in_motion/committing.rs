//! A restore holds the settings of its topics until it is done, also while the offsets of groups are committed.

use e2e::kafka::{Kafka, Listener};
use e2e::running::Running;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, Commit, NewTopic, Position, properties};

use crate::hiding_proxy::shared;
use crate::{BackedUp, CONFLICT, PARTIAL, own_configs, replace};

const PRODUCE: i16 = 0;
const OFFSET_COMMIT: i16 = 8;
const SETTING: &str = "retention.bytes";
/// No record is refused, changed or deleted under it.
const VALUE: &str = "100000000000";

/// A sample with a setting of its own and a group that has read of it, and a backup of all three.
struct WithGroup<'a> {
    backed_up: BackedUp<'a>,
    group: String,
}

impl<'a> WithGroup<'a> {
    fn new(kafka: &'a Kafka, stem: &str, records: u64) -> Self {
        let (backed_up, witness, group) = (BackedUp::new(kafka, stem, records), kafka.witness(), unique("readers"));
        let topic = &backed_up.sample.topic;
        witness.alter_topic(topic, &properties([("min.cleanable.dirty.ratio", "0.3")]), &[]).unwrap();
        witness.commit_offsets(&group, &[Commit::from(Position::new(topic, 0, 1))]).unwrap();
        let (bootstrap, groups) = (kafka.bootstrap(Listener::Plain), format!("--consumer-groups={group}"));
        let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--backup-id", "with-group"];
        backed_up.repository.report(&[&backup[..], &["--topics", topic, &groups]].concat());
        Self { backed_up, group }
    }

    fn command(&self, target: &str, more: &[&str]) -> Vec<String> {
        let groups = format!("--consumer-groups={}", self.group);
        self.backed_up.command(target, &[&["--backup", "with-group", &groups][..], more].concat())
    }

    fn start(&self, target: &str, more: &[&str]) -> Running {
        let command = self.command(target, more);
        self.backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }
}

#[test]
fn a_setting_that_is_set_back_a_second_time_while_the_last_offsets_are_committed_is_a_problem_of_the_report() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (with_group, witness) = (WithGroup::new(kafka, "committing", 6_000), kafka.witness());
    let (target, slowly) = (unique("committing-target"), ["--rate-limit-bytes", "300000"]);
    let mut running = with_group.start(&target, &slowly);
    running.wait_until("the topic is written to", || {
        witness.offsets(&target, At::Latest).is_ok_and(|ends| ends.iter().any(|end| *end > 0))
    });
    let reverse = || witness.alter_topic(&target, &properties([(SETTING, VALUE)]), &[]).unwrap();
    let is_reversed = || own_configs(&witness, &target).get(SETTING).map(String::as_str) == Some(VALUE);
    proxy.hold(Some(OFFSET_COMMIT));
    reverse();
    running.wait_until("the first reversal is undone", || !is_reversed());
    running.wait_until("offsets are committed", || proxy.holds_one());
    reverse();
    running.wait_until("the broker shows the second reversal", is_reversed);
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let problem = format!("topic {target:?}: {SETTING} was changed to {VALUE} while this restore writes");
    let problems = ended.json().unwrap()["problems"].to_string();
    assert!(problems.replace("\\\"", "\"").contains(&problem), "{problems}");
    assert!(is_reversed(), "the newest word of the owner counts");
    with_group.backed_up.sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn a_policy_that_is_changed_after_the_settings_were_held_is_noticed_before_offsets_are_committed() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    // So few that all are written before the settings are looked at for the first time.
    let (with_group, witness, target) = (WithGroup::new(kafka, "last", 60), kafka.witness(), unique("last-target"));
    let mut running = proxy.start_and_hold(PRODUCE, || with_group.start(&target, &[]));
    witness.alter_topic(&target, &properties([("cleanup.policy", "compact")]), &[]).unwrap();
    running.wait_until("the broker shows the policy", || {
        own_configs(&witness, &target).get("cleanup.policy").map(String::as_str) == Some("compact")
    });
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    let error = format!("topic {target:?}: cleanup.policy was changed to compact while this restore writes");
    assert!(ended.stderr.contains(&error), "{ended:?}");
    let committed = witness.group_offsets(&with_group.group).unwrap();
    assert!(committed.iter().all(|commit| commit.position.topic != target), "{committed:?}");
}

#[test]
fn a_topic_that_its_owner_creates_again_while_offsets_are_committed_never_gets_the_archived_settings() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (with_group, witness, target) = (WithGroup::new(kafka, "anew", 60), kafka.witness(), unique("anew-target"));
    let running = proxy.start_and_hold(OFFSET_COMMIT, || with_group.start(&target, &[]));
    replace(&witness, &NewTopic::new(&target, Sample::PARTITIONS).with("retention.ms", 3_600_000));
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(own_configs(&witness, &target), properties([("retention.ms", "3600000")]), "{ended:?}");
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&format!("topic {target:?} was deleted, or created again")), "{ended:?}");
}
