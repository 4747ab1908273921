//! Restored records that are deleted while the offsets of groups are committed.

use e2e::cli::Ended;
use e2e::kafka::Kafka;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{Commit, Position, Witness};

use crate::hiding_proxy::shared;
use crate::{BackedUp, PARTIAL};

const OFFSET_COMMIT: i16 = 8;
/// Records that are deleted, of ten of a partition.
const DELETED: i64 = 5;

/// A sample and a group that has read of it, a backup of both, and the argument by which the group is named.
fn with_group<'a>(kafka: &'a Kafka, stem: &str) -> (BackedUp<'a>, String, String) {
    let (sample, group) = (Sample::write(&kafka.witness(), stem, 60).unwrap(), unique("readers"));
    let groups = format!("--consumer-groups={group}");
    kafka.witness().commit_offsets(&group, &[Commit::from(Position::new(&sample.topic, 0, 1))]).unwrap();
    (BackedUp::of(kafka, sample, &[&groups]), group, groups)
}

/// The run has committed the offsets of the group, and its report names the partition that records were deleted from.
fn names_what_was_deleted(ended: &Ended, witness: &Witness, target: &str, group: &str) {
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let report = ended.json().unwrap();
    assert_eq!(report["outcome"], "partial", "{report}");
    let begins =
        format!("topic {target:?} partition 0 begins at offset {DELETED} now, and this restore wrote from offset 0");
    let mut problems = report["problems"].as_array().unwrap().iter().filter_map(|problem| problem.as_str());
    let is_named = |problem: &str| problem.starts_with(&begins) && problem.contains("restored records were deleted");
    assert!(problems.any(is_named), "{report}");
    let committed = witness.group_offsets(group).unwrap();
    let expected = Position::new(target, 0, 1);
    assert!(committed.iter().any(|commit| commit.position == expected), "{committed:?}");
}

#[test]
fn records_that_are_deleted_while_offsets_are_committed_are_a_problem_of_the_report() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (witness, target) = (kafka.witness(), unique("read-target"));
    let (backed_up, group, groups) = with_group(kafka, "read");
    let running = proxy.start_and_hold(OFFSET_COMMIT, || backed_up.start(&target, &[&groups]));
    witness.delete_records(&[Position::new(&target, 0, DELETED)]).unwrap();
    proxy.hold(None);
    names_what_was_deleted(&running.ended().unwrap(), &witness, &target, &group);
}

#[test]
fn a_restore_that_was_killed_while_offsets_were_committed_commits_them_though_records_were_deleted_since() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (witness, target) = (kafka.witness(), unique("killed-target"));
    let (backed_up, group, groups) = with_group(kafka, "killed");
    let running = proxy.start_and_hold(OFFSET_COMMIT, || backed_up.start(&target, &[&groups]));
    running.kill().unwrap();
    // The commit never reaches the coordinator. As far as the journal tells, it may have, and an application deletes what it has read.
    proxy.end_connections();
    proxy.hold(None);
    witness.delete_records(&[Position::new(&target, 0, DELETED)]).unwrap();
    let ended = backed_up.restore(&target, &[&groups]);
    names_what_was_deleted(&ended, &witness, &target, &group);
}
