//! A restore holds the settings of its topics until it is done, also while the offsets of groups are committed.

use e2e::kafka::Listener;
use e2e::unique;
use e2e::witness::{At, Commit, Position, properties};

use crate::hiding_proxy::behind_a_proxy;
use crate::{BackedUp, CONFLICT, own_configs};

const OFFSET_COMMIT: i16 = 8;
const SETTING: &str = "retention.bytes";
/// No record is refused, changed or deleted under it.
const VALUE: &str = "100000000000";

#[test]
fn a_setting_that_is_set_back_a_second_time_while_offsets_are_committed_ends_the_restore() {
    let (proxy, kafka) = behind_a_proxy();
    let (backed_up, witness) = (BackedUp::new(&kafka, "committing", 6_000), kafka.witness());
    let (group, target) = (unique("readers"), unique("committing-target"));
    let topic = &backed_up.sample.topic;
    witness.commit_offsets(&group, &[Commit::from(Position::new(topic, 0, 1))]).unwrap();
    let (bootstrap, groups) = (kafka.bootstrap(Listener::Plain), format!("--consumer-groups={group}"));
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--backup-id", "with-group"];
    backed_up.repository.report(&[&backup[..], &["--topics", topic, &groups]].concat());
    let more = ["--backup", "with-group", &groups, "--rate-limit-bytes", "300000"];
    let command = backed_up.command(&target, &more);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
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
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    let error = format!("topic {target:?}: {SETTING} was changed to {VALUE} while this restore writes");
    assert!(ended.stderr.contains(&error), "{ended:?}");
    // All records are there: the same command has only to hold the settings, and to put them back.
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    backed_up.repository.run(&command).unwrap().succeeded();
    assert!(is_reversed(), "the newest word of the owner counts");
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}
