//! The checker finds what it is there for, and nothing in a sound backup.

use kafka_backup::backup::lines;
use kafka_backup::format::hole::{Hole, HoleReason};

use super::*;
use crate::motion::archive::{Partition, Stored, Topic};
use crate::motion::oracle::{Sample, Seen, Truncation};

const CUT_MS: i64 = 5_000;
const END_MS: i64 = 6_000;

/// A log of ten records, of which those from `start_after` on are left after the run, and its whole backup.
struct World {
    topic: String,
    oracle: Oracle,
    backup: Backup,
    events: Vec<Event>,
}

impl World {
    fn new(kind: &str, start_after: i64) -> Self {
        let topic = format!("src-{kind}-0");
        let seen = |offset: i64| Seen {
            generation: 0,
            offset,
            seen_ms: 1_000 + offset,
            crc: crc(offset),
            key: Some(offset.unsigned_abs() % 3),
            is_tombstone: false,
        };
        let sample = |at_ms, start_offset| Sample {
            before_ms: at_ms,
            after_ms: at_ms,
            start_offset,
            high_watermark: 10,
            stable_offset: 10,
        };
        let known = oracle::Partition {
            records: (0..10).map(seen).collect(),
            samples: vec![sample(900, 0), sample(7_000, start_after)],
            ..oracle::Partition::default()
        };
        let log = Log { topic: topic.clone(), id: "A".to_owned(), forgotten_ms: None, partitions: [(0, known)].into() };
        let stored = Partition {
            end_offset: 10,
            cut_end_offset: 10,
            records: (0..10).map(|offset| stored(offset, offset.unsigned_abs() % 3)).collect(),
            ..Partition::default()
        };
        let backed_up = Topic { id: "A".to_owned(), partitions: [(0, stored)].into() };
        let backup = Backup {
            id: "b".to_owned(),
            cut_at_ms: CUT_MS,
            completed_at_ms: END_MS,
            topics: [(topic.clone(), backed_up)].into(),
            ..Backup::default()
        };
        Self { topic, oracle: [("A".to_owned(), log)].into(), backup, events: Vec::new() }
    }

    fn stored(&mut self) -> &mut Partition {
        self.backup.topics.get_mut(&self.topic).unwrap().partitions.get_mut(&0).unwrap()
    }

    fn known(&mut self) -> &mut oracle::Partition {
        self.oracle.get_mut("A").unwrap().partitions.get_mut(&0).unwrap()
    }

    /// Takes offsets out of the backup, for a reason.
    fn lose(&mut self, offsets: std::ops::Range<i64>, reason: HoleReason) {
        self.stored().records.retain(|stored| !offsets.contains(&stored.offset));
        self.stored().holes.push(Hole { start_offset: offsets.start, end_offset: offsets.end, reason });
    }

    fn happened(&mut self, begin_ms: i64, end_ms: i64, what: What) {
        self.events.push(Event { begin_ms, end_ms, what });
    }

    fn warn(&mut self, text: &str) {
        let line = format!("{}-0: {text}", self.topic);
        self.backup.warnings.push(line);
    }

    /// What is wrong, with the offsets.
    fn faults(&self) -> Vec<(Wrong, i64)> {
        let verdict = check(&self.backup, &self.oracle, &Facts::of(&self.events));
        verdict.faults.into_iter().map(|fault| (fault.wrong, fault.offset)).collect()
    }
}

fn crc(offset: i64) -> u32 {
    u32::try_from(offset).unwrap() + 100
}

fn stored(offset: i64, key: u64) -> Stored {
    Stored { offset, timestamp_ms: offset, crc: crc(offset), key: Some(key), is_tombstone: false, is_aborted: false }
}

#[test]
fn a_whole_backup_has_no_faults() {
    for kind in ["plain", "tx", "compacted", "expiring", "trimmed", "unclean", "unclean-compacted"] {
        assert_eq!(World::new(kind, 0).faults(), [], "{kind}");
    }
    let looked_at = |kind: &str| {
        let world = World::new(kind, 2);
        let verdict = check(&world.backup, &world.oracle, &Facts::default());
        (verdict.records, verdict.keys)
    };
    assert_eq!(looked_at("trimmed"), (8, 0));
    assert_eq!(looked_at("compacted"), (0, 3));
}

#[test]
fn a_missing_record_is_found() {
    let mut world = World::new("plain", 0);
    world.stored().records.remove(4);
    assert_eq!(world.faults(), [(Wrong::Missing, 4), (Wrong::NoWarning, 4)]);
    // The oracle read it after the cut: it may have been committed then.
    world.known().records[4].seen_ms = CUT_MS + 1;
    assert_eq!(world.faults(), []);
}

#[test]
fn a_record_that_is_there_twice_is_found() {
    let mut world = World::new("plain", 0);
    world.stored().records.insert(4, stored(3, 0));
    assert_eq!(world.faults(), [(Wrong::Duplicate, 3)]);
}

#[test]
fn an_aborted_record_is_found_by_its_value_and_by_the_oracle() {
    let mut world = World::new("tx", 0);
    world.stored().records[5].is_aborted = true;
    assert_eq!(world.faults(), [(Wrong::Aborted, 5)]);
    let mut world = World::new("tx", 0);
    world.known().records.remove(5);
    assert_eq!(world.faults(), [(Wrong::Unknown, 5)]);
    world.known().jumps.push((5, 6));
    assert_eq!(world.faults(), []);
}

#[test]
fn a_record_that_is_another_is_found() {
    let mut world = World::new("plain", 0);
    world.stored().records[2].crc = 1;
    assert_eq!(world.faults(), [(Wrong::Different, 2)]);
}

#[test]
fn a_hole_with_a_reason_that_cannot_be_is_found() {
    for (kind, reason) in [
        ("plain", HoleReason::Compaction),
        ("plain", HoleReason::Control),
        ("compacted", HoleReason::Aborted),
        ("plain", HoleReason::Deleted),
        ("plain", HoleReason::Expired),
        ("trimmed", HoleReason::Expired),
    ] {
        let mut world = World::new(kind, 0);
        world.known().records.truncate(8);
        world.lose(8..10, reason);
        let Backup { warnings, problems, .. } = &mut world.backup;
        let lines = if reason == HoleReason::Deleted { problems } else { warnings };
        lines.push(format!("{}-0: 2 offsets are not there", world.topic));
        // Nor does anything explain that problem.
        let faults = world.faults().into_iter().filter(|(wrong, _)| *wrong != Wrong::Problem);
        assert_eq!(faults.collect::<Vec<_>>(), [(Wrong::HoleReason, 8)], "{kind} {reason:?}");
    }
}

#[test]
fn a_hole_over_a_committed_record_is_found() {
    let mut world = World::new("tx", 0);
    world.lose(3..4, HoleReason::Control);
    assert_eq!(world.faults(), [(Wrong::Missing, 3), (Wrong::HoleOverRecord, 3), (Wrong::NoWarning, 3)]);
}

#[test]
fn records_that_expired_during_the_run_need_a_warning() {
    let mut world = World::new("trimmed", 4);
    world.lose(0..4, HoleReason::Expired);
    assert_eq!(world.faults(), [(Wrong::NoWarning, 0)]);
    world.warn("4 offsets expired");
    assert_eq!(world.faults(), []);
    // A warning about partition 01 would be about another.
    world.backup.warnings = vec!["src-trimmed-0-01: 4 offsets expired".to_owned()];
    assert_eq!(world.faults(), [(Wrong::NoWarning, 0)]);
}

#[test]
fn a_line_about_a_partition_excuses_the_loss_that_it_states_and_no_other() {
    let mut world = World::new("trimmed", 4);
    world.lose(0..3, HoleReason::Expired);
    for other in ["whether transactions from offset 0 on were committed is not known", "2 offsets expired"] {
        world.backup.warnings.clear();
        world.warn(other);
        assert_eq!(world.faults(), [(Wrong::NoWarning, 0)], "{other}");
    }
    world.backup.warnings.clear();
    world.warn("3 offsets expired");
    assert_eq!(world.faults(), []);
    // The log begins at offset 4 after the run, so that this one need not be there.
    world.stored().records.retain(|stored| stored.offset != 3);
    assert_eq!(world.faults(), [(Wrong::NoWarning, 3)], "it is in no hole");
}

#[test]
fn a_partition_that_is_missing_needs_a_problem_that_names_it() {
    let mut world = World::new("unclean", 0);
    world.stored().is_missing = true;
    world.warn("it could not be read");
    assert_eq!(world.faults(), [(Wrong::NoWarning, -1)], "a warning makes no backup partial");
    world.backup.problems = vec!["partition src-unclean-0-0 is not in the backup: no leader".to_owned()];
    assert_eq!(world.faults(), [(Wrong::Problem, -1)]);
    world.happened(CUT_MS + 1, CUT_MS + 2, What::UncleanElection { topic: world.topic.clone(), is_elected: true });
    assert_eq!(world.faults(), []);
}

#[test]
fn a_topic_that_was_deleted_during_the_run_needs_a_problem_that_names_it() {
    let mut world = World::new("recreated", 0);
    world.lose(6..10, HoleReason::Deleted);
    let deleted = What::Deleted { topic: world.topic.clone(), id: "A".to_owned() };
    world.happened(CUT_MS + 10, CUT_MS + 20, deleted);
    assert_eq!(world.faults(), [(Wrong::NoWarning, 6)]);
    world.backup.problems = vec!["src-recreated-0-0: 4 offsets could not be read".to_owned()];
    assert_eq!(world.faults(), []);
    // The same problem of a topic that is there all the time is not explained.
    world.events.clear();
    assert!(world.faults().contains(&(Wrong::Problem, -1)));
}

#[test]
fn topics_and_partitions_that_are_not_there_are_found() {
    let mut world = World::new("plain", 0);
    world.backup.topics.get_mut("src-plain-0").unwrap().partitions.clear();
    assert_eq!(world.faults(), [(Wrong::NoPartition, -1)]);
    world.backup.topics.get_mut("src-plain-0").unwrap().id = "B".to_owned();
    assert_eq!(world.faults(), [(Wrong::NoTopic, -1)]);
    world.backup.topics.clear();
    assert_eq!(world.faults(), [(Wrong::NoTopic, -1)]);
}

#[test]
fn a_key_without_the_value_of_the_cut_or_a_later_one_is_found() {
    let mut world = World::new("compacted", 0);
    // Key 0 is at 0, 3, 6 and 9.
    world.lose(9..10, HoleReason::Compaction);
    assert_eq!(world.faults(), [(Wrong::KeyLost, 9)]);
    world.stored().records.push(stored(12, 0));
    assert_eq!(world.faults(), []);
    world.stored().records.retain(|record| record.key != Some(0));
    assert_eq!(world.faults(), [(Wrong::KeyLost, 9)]);
}

#[test]
fn an_older_tombstone_does_not_stand_for_the_value_that_a_key_had_at_the_cut() {
    let mut world = World::new("compacted", 0);
    world.known().records[6].is_tombstone = true;
    world.stored().records[6].is_tombstone = true;
    world.lose(9..10, HoleReason::Compaction);
    assert_eq!(world.faults(), [(Wrong::KeyLost, 9)]);
    // The key was deleted again, and the cleaner took that tombstone too.
    let known = world.known();
    let tombstone = Seen { offset: 12, seen_ms: CUT_MS + 1, is_tombstone: true, ..known.records[9] };
    known.records.push(tombstone);
    assert_eq!(world.faults(), []);
}

#[test]
fn a_key_that_was_deleted_has_no_value() {
    let mut world = World::new("compacted", 0);
    world.known().records[9].is_tombstone = true;
    world.lose(9..10, HoleReason::Compaction);
    assert_eq!(world.faults(), [(Wrong::KeyRevived, 6)]);
    // A replica that never saw the tombstone may lead by now.
    world.happened(2_000, 3_000, What::BrokerRestarted { node: 1, is_killed: true });
    assert_eq!(world.faults(), []);
    world.events.clear();
    world.stored().records.retain(|record| record.key != Some(0));
    assert_eq!(world.faults(), []);
}

#[test]
fn a_key_that_was_deleted_has_a_value_only_where_its_tombstone_may_have_gone_unread() {
    let mut world = World::new("compacted", 0);
    world.known().records[9].is_tombstone = true;
    world.lose(9..10, HoleReason::Compaction);
    let moved = |partition| What::LeaderMoved { topic: "src-compacted-0".to_owned(), partition, node: 2 };
    world.happened(CUT_MS + 1, CUT_MS + 2, moved(1));
    world.happened(CUT_MS - 2, CUT_MS - 1, moved(0));
    assert_eq!(world.faults(), [(Wrong::KeyRevived, 6)], "the leader was another all the time");
    world.happened(CUT_MS + 1, CUT_MS + 2, moved(0));
    assert_eq!(world.faults(), []);
    world.events.clear();
    let slow =
        |topic: &str, partitions: &[i32]| lines::slow_reading(topic, &partitions.iter().copied().collect(), 9, 10);
    world.backup.warnings = vec![slow("src-compacted-0", &[1, 10]), slow("src-compacted-00", &[0])];
    assert_eq!(world.faults(), [(Wrong::KeyRevived, 6)], "other partitions were slow");
    world.backup.warnings.push(slow("src-compacted-0", &[0, 1]));
    assert_eq!(world.faults(), []);
}

#[test]
fn a_key_whose_tombstone_was_acknowledged_may_be_gone() {
    let mut world = World::new("compacted", 0);
    world.known().records.iter_mut().filter(|seen| seen.key == Some(0)).for_each(|seen| seen.key = Some(hash(b"k")));
    world.stored().records.retain(|record| record.key != Some(0));
    assert_eq!(world.faults(), [(Wrong::KeyLost, 9)]);
    let tombstone =
        What::TombstoneWritten { topic: world.topic.clone(), partition: 0, offset: 11, key: "k".to_owned() };
    world.happened(CUT_MS + 1, CUT_MS + 2, tombstone);
    assert_eq!(world.faults(), []);
}

#[test]
fn records_that_an_election_took_are_not_asked_for_and_must_not_come_back() {
    let mut world = World::new("unclean", 0);
    world.known().truncations.push(Truncation { generation: 1, offset: 7, at_ms: CUT_MS - 1 });
    let came_back = [(Wrong::Truncated, 7), (Wrong::Truncated, 8), (Wrong::Truncated, 9)];
    assert_eq!(world.faults(), came_back);
    world.known().truncations.push(Truncation { generation: 2, offset: 8, at_ms: END_MS + 1 });
    assert_eq!(world.faults(), came_back, "whatever later elections take");
    world.known().truncations[0].at_ms = CUT_MS + 1;
    assert_eq!(world.faults(), [], "they may have been there when the backup was made");
    world.known().truncations[0].at_ms = CUT_MS - 1;
    world.stored().records.truncate(7);
    assert_eq!(world.faults(), []);
}

/// By how much the checksums of records differ that are written at the offsets of lost ones.
const OTHER: u32 = 1_000;

/// An election during the run takes the last three of ten records, and others are written at their offsets. The oracle reads
/// again from offset 5 on. The backup holds the log before the election.
fn elected() -> World {
    elected_of("unclean")
}

fn elected_of(kind: &str) -> World {
    let mut world = World::new(kind, 0);
    let known = world.known();
    let again = |seen: &Seen| {
        let crc = if seen.offset < 7 { seen.crc } else { seen.crc + OTHER };
        Seen { generation: 1, seen_ms: CUT_MS + 20, crc, ..*seen }
    };
    let later: Vec<Seen> = known.records[5..].iter().map(again).collect();
    known.records.extend(later);
    known.truncations.push(Truncation { generation: 1, offset: 5, at_ms: CUT_MS + 20 });
    let election = What::UncleanElection { topic: world.topic.clone(), is_elected: true };
    world.happened(CUT_MS + 10, CUT_MS + 20, election);
    world
}

#[test]
fn records_of_two_logs_are_found_and_those_of_either_are_right() {
    let mut world = elected();
    assert_eq!(world.faults(), [], "the log before the election");
    world.stored().records[8..].iter_mut().for_each(|record| record.crc += OTHER);
    assert_eq!(world.faults(), [(Wrong::Spliced, 7)]);
    world.stored().records[7].crc += OTHER;
    assert_eq!(world.faults(), [], "the log since the election");
    world.stored().records[8].crc -= OTHER;
    assert_eq!(world.faults(), [(Wrong::Spliced, 8)], "whichever comes first");
}

/// What is wrong with the logs that a backup is made of, with the offsets: compaction has nothing to say about keys here.
fn splices(world: &World) -> Vec<i64> {
    world.faults().into_iter().filter(|(wrong, _)| *wrong == Wrong::Spliced).map(|(_, offset)| offset).collect()
}

#[test]
fn records_of_two_logs_of_a_compacted_topic_are_found_where_both_logs_are_known_to_differ() {
    for kind in ["compacted", "expiring", "unclean-compacted"] {
        let mut world = elected_of(kind);
        assert!(splices(&world).is_empty(), "{kind}: the log before the election");
        world.stored().records[9].crc += OTHER;
        assert_eq!(splices(&world), [7], "{kind}");
        // The cleaner took the records at 5 and 6, which are of both logs, before the oracle came to them again.
        world.known().records.retain(|seen| seen.generation == 0 || seen.offset > 6);
        world.stored().records.remove(7);
        assert_eq!(splices(&world), [8], "{kind}");
        world.stored().records.remove(7);
        assert!(splices(&world).is_empty(), "{kind}: the log since the election has what is before 7");
    }
}

#[test]
fn records_of_a_compacted_topic_that_the_cleaner_took_between_two_elections_are_of_either_log() {
    let mut world = elected_of("compacted");
    // The second election took all from offset 5 on. What the first left there was read under the first generation only.
    let known = world.known();
    known.records.retain(|seen| seen.generation == 0 || seen.offset > 6);
    let last = known.records.len() - 3;
    let again: Vec<Seen> =
        [5, 6].map(|offset| Seen { generation: 2, offset, crc: crc(offset) + 2 * OTHER, ..known.records[last] }).into();
    known.records.extend(again);
    known.truncations.push(Truncation { generation: 2, offset: 5, at_ms: CUT_MS + 30 });
    world.stored().records[7..].iter_mut().for_each(|record| record.crc += OTHER);
    assert!(splices(&world).is_empty(), "the log between the elections had all of it");
}

#[test]
fn keys_are_judged_until_a_broker_is_away_where_an_election_may_truncate_the_log() {
    let without_last = |kind: &str| {
        let mut world = World::new(kind, 0);
        world.lose(9..10, HoleReason::Compaction);
        world
    };
    let restarted = What::BrokerRestarted { node: 1, is_killed: true };
    for kind in ["compacted", "unclean-compacted"] {
        let mut world = without_last(kind);
        world.happened(END_MS + 1, END_MS + 2, restarted.clone());
        assert_eq!(world.faults(), [(Wrong::KeyLost, 9)], "{kind}: all brokers were there until the end of the run");
    }
    let mut world = without_last("unclean-compacted");
    world.happened(2_000, 3_000, restarted.clone());
    assert_eq!(world.faults(), [], "a later value of the key may be one that an election took");
    let settled_at = |high_watermark| {
        let sample = Sample { before_ms: 3_500, after_ms: 3_500, start_offset: 0, high_watermark, stable_offset: 10 };
        let mut world = without_last("unclean-compacted");
        world.known().samples.insert(1, sample);
        world.happened(2_000, 3_000, restarted.clone());
        world
    };
    assert_eq!(settled_at(10).faults(), []);
    assert_eq!(settled_at(9).faults(), [(Wrong::KeyLost, 9)], "it was written when all brokers were back");
    let mut world = settled_at(9);
    world.known().truncations.push(Truncation { generation: 1, offset: 20, at_ms: 4_000 });
    assert_eq!(world.faults(), [], "the oracle noticed another truncation since, which nothing explains");
    let mut world = settled_at(9);
    world.happened(CUT_MS - 2, CUT_MS + 1, restarted.clone());
    assert_eq!(world.faults(), [], "the backup may have read of the log before");
    let mut world = without_last("compacted");
    world.happened(2_000, 3_000, restarted);
    assert_eq!(world.faults(), [(Wrong::KeyLost, 9)], "nothing truncates this log");
}

#[test]
fn a_record_behind_a_truncation_may_be_unknown_where_the_log_cleaner_is_faster_than_the_oracle() {
    let differing = |mut world: World, offset: usize| {
        world.stored().records[offset].crc += 2 * OTHER;
        world.faults().into_iter().filter(|(wrong, _)| *wrong == Wrong::Different).map(|(_, at)| at).collect::<Vec<_>>()
    };
    assert_eq!(differing(elected_of("unclean"), 8), [8]);
    assert!(differing(elected_of("unclean-compacted"), 8).is_empty());
    assert_eq!(differing(elected_of("unclean-compacted"), 4), [4], "before the truncation");
    let elected_before = || {
        let mut world = elected_of("unclean-compacted");
        world.known().truncations[0].at_ms = CUT_MS - 1;
        world
    };
    assert_eq!(differing(elected_before(), 8), [8], "the oracle has read this one of the log that was backed up");
    let mut world = elected_before();
    world.known().records.retain(|seen| seen.generation == 0 || seen.offset != 8);
    assert!(differing(world, 8).is_empty(), "it has read the one of the log before only");
}

#[test]
fn a_problem_of_a_topic_that_an_election_truncates_is_explained_by_an_election_and_by_nothing_else() {
    for kind in ["unclean", "unclean-compacted"] {
        let mut world = World::new(kind, 0);
        world.backup.problems = vec![format!("{}-0: the log ends before the cut", world.topic)];
        assert_eq!(world.faults(), [(Wrong::Problem, -1)], "{kind}");
        let election = What::UncleanElection { topic: "src-unclean-1".to_owned(), is_elected: true };
        world.happened(CUT_MS + 10, CUT_MS + 20, election);
        assert_eq!(world.faults(), [], "{kind}");
    }
}

#[test]
fn a_line_is_about_a_topic_and_its_partitions_and_about_no_other_name_with_the_same_part() {
    for line in [
        "orders-1: it is slow",
        "topic \"orders-1\" has gone",
        "of topic orders-1, and others",
        "orders-1-12: it is slow",
    ] {
        assert!(names(line, "orders-1"), "{line}");
    }
    for line in
        ["orders-10: it is slow", "eu-orders-1: it is slow", "my_orders-1", "orders-1-eu-3: it is slow", "orders"]
    {
        assert!(!names(line, "orders-1"), "{line}");
    }
}

#[test]
fn each_partition_is_of_a_log_of_its_own() {
    let mut world = elected();
    let (known, mut stored) = (world.known().clone(), world.stored().clone());
    stored.records[7..].iter_mut().for_each(|record| record.crc += OTHER);
    world.oracle.get_mut("A").unwrap().partitions.insert(1, known);
    world.backup.topics.get_mut(&world.topic).unwrap().partitions.insert(1, stored);
    assert_eq!(world.faults(), []);
}

#[test]
fn a_backup_that_warns_of_two_logs_may_hold_records_of_both() {
    let mut world = elected();
    world.stored().records[8..].iter_mut().for_each(|record| record.crc += OTHER);
    let unproven = |partitions: &[i32]| lines::unproven("src-unclean-0", &partitions.iter().copied().collect());
    world.backup.problems = vec![unproven(&[1])];
    assert_eq!(world.faults(), [(Wrong::Spliced, 7)], "another partition is meant");
    world.backup.problems = vec![unproven(&[0, 1])];
    assert_eq!(world.faults(), []);
}
