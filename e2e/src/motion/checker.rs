//! Says what is wrong with a backup, given what the oracle saw and what was done to the cluster. Pure.
//!
//! Only what the oracle saw is held against a backup: a record that the oracle read before the cut was committed before it,
//! and a log start that it asked for after the manifest was made bounds what retention may have taken meanwhile.

mod holes;
mod keys;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use kafka_backup::backup::lines::{self, MAY_HOLD_DELETED_KEYS, MAY_HOLD_TWO_LOGS};
use serde::Serialize;

use super::archive::{self, Backup};
use super::events::{Event, What};
use super::oracle::{self, Log, Oracle, hash};
use super::plan::Kind;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Wrong {
    /// A topic that was there during the whole run is not in the backup, or another of its name is.
    NoTopic,
    /// A partition that was there during the whole run is not in the backup.
    NoPartition,
    /// A record that was in the log during the whole run is not in the backup.
    Missing,
    /// A record is not the one that the oracle read at its offset.
    Different,
    /// A record is there twice, or before one with a smaller offset.
    Duplicate,
    /// A record of an aborted transaction.
    Aborted,
    /// A record where the oracle read on without seeing one.
    Unknown,
    /// A record that an unclean election had taken away before the cut.
    Truncated,
    /// Records of two logs: some that an unclean election took away, and some that have been written since.
    Spliced,
    /// A key of a compacted topic has no value, or only one that is older than the cut.
    KeyLost,
    /// A key of a compacted topic that was deleted before the cut has a value.
    KeyRevived,
    /// A hole with a reason that cannot be.
    HoleReason,
    /// A hole where a record must be.
    HoleOverRecord,
    /// Records were lost to the source's own rules without a warning.
    NoWarning,
    /// A problem that nothing explains.
    Problem,
    /// A run of the binary ended otherwise than it should.
    Run,
    /// A restored topic does not hold the backup's records.
    Restore,
}

/// Something that is wrong with a backup or a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The backup.
    pub backup: String,
    /// What is wrong.
    pub wrong: Wrong,
    /// The topic, where it is about one.
    pub topic: String,
    /// The partition; -1 where it is not about one.
    pub partition: i32,
    /// The offset; -1 where it is not about one.
    pub offset: i64,
    /// What was expected, and what was found.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backup, wrong, topic, partition, offset, expected } = self;
        write!(f, "backup {backup}, topic {topic}, partition {partition}, offset {offset}: {wrong:?}: {expected}")
    }
}

/// What is known of one partition of one backup.
struct Case<'a> {
    backup: &'a Backup,
    topic: &'a str,
    kind: Kind,
    number: i32,
    stored: &'a archive::Partition,
    known: &'a oracle::Partition,
    facts: &'a Facts,
    /// Whether the topic was there during the whole run.
    is_alive: bool,
    /// The log start after the run, if it was asked for.
    start_after: Option<i64>,
}

impl Case<'_> {
    fn fault(&self, wrong: Wrong, offset: i64, expected: impl Into<String>) -> Fault {
        Fault {
            backup: self.backup.id.clone(),
            wrong,
            topic: self.topic.to_owned(),
            partition: self.number,
            offset,
            expected: expected.into(),
        }
    }

    /// Whether a problem names the partition.
    fn has_problem(&self) -> bool {
        let name = format!("{}-{}", self.topic, self.number);
        self.backup.problems.iter().any(|line| names(line, &name))
    }

    /// Whether a warning says that the partition was read for longer than tombstones stay.
    fn is_named_slow(&self) -> bool {
        self.is_listed(&self.backup.warnings, MAY_HOLD_DELETED_KEYS)
    }

    /// Whether a problem says that nobody knows whether the log was replaced by another one while it was read.
    fn is_named_unproven(&self) -> bool {
        self.is_listed(&self.backup.problems, MAY_HOLD_TWO_LOGS)
    }

    /// Whether a line that says this lists the partition.
    fn is_listed(&self, lines: &[String], says: &str) -> bool {
        let mut listed = lines.iter().filter_map(|line| lines::partitions(line, self.topic));
        listed.any(|(partitions, what)| partitions.contains(&self.number) && what.contains(says))
    }

    /// When an election may last have truncated the log, of those that may have before the run ended, if any: as long as all brokers are
    /// there, none is held.
    fn truncated_until(&self) -> Option<i64> {
        let ended_ms = self.backup.completed_at_ms;
        let away = self.facts.away.iter().filter(|(begin_ms, _)| *begin_ms <= ended_ms).map(|(_, end_ms)| *end_ms);
        let noticed = self.known.truncations.iter().map(|truncation| truncation.at_ms);
        away.chain(noticed.filter(|at_ms| *at_ms <= ended_ms)).max().filter(|_| self.kind.elects_unclean())
    }

    /// Whether the oracle saw the record before the cut, and it was not lost in an election since.
    fn is_before_cut(&self, seen: &oracle::Seen) -> bool {
        seen.seen_ms < self.backup.cut_at_ms && !self.known.is_dead(seen)
    }
}

/// What was done to the cluster, as the checker asks for it.
#[derive(Debug, Default)]
pub struct Facts {
    /// When each topic id began to be deleted.
    deleted: BTreeMap<String, (String, i64)>,
    /// From when to when brokers were taken away for an unclean election.
    unclean: Vec<(i64, i64)>,
    /// From when to when any broker was away.
    away: Vec<(i64, i64)>,
    /// From when to when each partition got another leader.
    moved: BTreeMap<(String, i32), Vec<(i64, i64)>>,
    /// Offsets of acknowledged tombstones by topic, partition and key, and when they were sent.
    tombstones: BTreeMap<(String, i32, u64), Vec<(i64, i64)>>,
}

impl Facts {
    /// Sorts events.
    pub fn of(events: &[Event]) -> Self {
        let mut facts = Self::default();
        for event in events {
            match &event.what {
                What::Deleted { topic, id } => {
                    facts.deleted.insert(id.clone(), (topic.clone(), event.begin_ms));
                }
                What::UncleanElection { .. } => {
                    facts.unclean.push((event.begin_ms, event.end_ms));
                    facts.away.push((event.begin_ms, event.end_ms));
                }
                What::BrokerRestarted { .. } => facts.away.push((event.begin_ms, event.end_ms)),
                What::TombstoneWritten { topic, partition, offset, key } => {
                    let key = (topic.clone(), *partition, hash(key.as_bytes()));
                    facts.tombstones.entry(key).or_default().push((*offset, event.begin_ms));
                }
                What::LeaderMoved { topic, partition, .. } => {
                    let of_partition = facts.moved.entry((topic.clone(), *partition)).or_default();
                    of_partition.push((event.begin_ms, event.end_ms));
                }
                What::Created { .. }
                | What::RecordsDeleted { .. }
                | What::PartitionsAdded { .. }
                | What::RunEnded { .. }
                | What::Failed { .. } => {}
            }
        }
        facts
    }

    fn is_deleted_by(&self, id: &str, at_ms: i64) -> bool {
        self.deleted.get(id).is_some_and(|(_, begin_ms)| *begin_ms <= at_ms)
    }

    /// Whether a broker was away at any time between these two.
    ///
    /// A replica that is away for longer than `delete.retention.ms` may never see a tombstone, since the cleaner took it out
    /// of the leader's log meanwhile. When it leads, the deleted key has its value again: Kafka's own doing.
    fn was_broker_away(&self, from_ms: i64, to_ms: i64) -> bool {
        overlap(&self.away, from_ms, to_ms)
    }

    /// Whether a partition got another leader between these two.
    ///
    /// Each replica has a log cleaner of its own. One that is behind another by more than `delete.retention.ms` still has the value
    /// of a deleted key after the other has removed its tombstone: a consumer that reads from the one first, then from the other, sees the
    /// value without the tombstone.
    fn was_moved(&self, topic: &str, partition: i32, from_ms: i64, to_ms: i64) -> bool {
        let moves = self.moved.get(&(topic.to_owned(), partition));
        moves.is_some_and(|moves| overlap(moves, from_ms, to_ms))
    }

    /// Whether a problem of a backup is about a topic that was deleted, or one that an election truncated, while it ran.
    fn explains(&self, backup: &Backup, line: &str) -> bool {
        /// A deleted topic may still be listed for a while.
        const SLACK_MS: i64 = 15_000;
        let from_ms = backup.cut_at_ms - SLACK_MS;
        let is_deletion = self
            .deleted
            .values()
            .any(|(topic, begin_ms)| names(line, topic) && (from_ms..=backup.completed_at_ms).contains(begin_ms));
        let is_unclean = self.unclean.iter().any(|(begin, end)| *begin <= backup.completed_at_ms && *end >= from_ms);
        let is_of_such = |topic: &String| Kind::of(topic).is_some_and(Kind::elects_unclean) && names(line, topic);
        let about_unclean = backup.topics.keys().any(is_of_such);
        is_deletion || (is_unclean && about_unclean)
    }
}

/// Whether any of the stretches of time has a part between these two.
fn overlap(stretches: &[(i64, i64)], from_ms: i64, to_ms: i64) -> bool {
    stretches.iter().any(|(begin, end)| *begin <= to_ms && *end >= from_ms)
}

/// Whether a line is about the topic of this name, one of its partitions, or the partition of this name, and not about one whose name has it
/// as a part.
fn names(line: &str, name: &str) -> bool {
    let is_of_name = |next: char| next.is_ascii_alphanumeric() || matches!(next, '-' | '_');
    let is_whole = |at: usize| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let after =
            after.strip_prefix('-').map_or(after, |rest| rest.trim_start_matches(|next: char| next.is_ascii_digit()));
        !before.ends_with(is_of_name) && !after.starts_with(is_of_name)
    };
    line.match_indices(name).any(|(at, _)| is_whole(at))
}

/// What is wrong with a backup, and how much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Records that had to be there.
    pub records: usize,
    /// Keys of compacted topics that had to have a value, or none.
    pub keys: usize,
}

/// Holds a backup against what is known.
pub fn check(backup: &Backup, oracle: &Oracle, facts: &Facts) -> Verdict {
    let mut faults = present(backup, oracle, facts);
    let (mut records, mut keys) = (0, 0);
    let fault = |line: &String| Fault {
        backup: backup.id.clone(),
        wrong: Wrong::Problem,
        topic: String::new(),
        partition: -1,
        offset: -1,
        expected: format!("nothing explains the problem {line:?}"),
    };
    faults.extend(backup.problems.iter().filter(|line| !facts.explains(backup, line)).map(fault));
    for (name, topic) in &backup.topics {
        let (Some(log), Some(kind)) = (oracle.get(&topic.id), Kind::of(name)) else { continue };
        let is_alive = !facts.is_deleted_by(&topic.id, backup.completed_at_ms);
        for (number, stored) in &topic.partitions {
            let Some(known) = log.partitions.get(number) else { continue };
            let start_after = known.sample_after(backup.completed_at_ms).map(|sample| sample.start_offset);
            let case = Case { backup, topic: name, kind, number: *number, stored, known, facts, is_alive, start_after };
            if stored.is_missing {
                if !case.has_problem() {
                    faults.push(case.fault(Wrong::NoWarning, -1, "a partition is missing, and no problem names it"));
                }
                continue;
            }
            faults.extend(records::check(&case));
            records += records::required(&case).count();
            faults.extend(holes::check(&case));
            if kind.is_compacted() {
                faults.extend(keys::check(&case));
                keys += keys::at_cut(&case).len();
            }
        }
    }
    Verdict { faults, records, keys }
}

/// Topics and partitions that were there during the whole run are in the backup.
fn present(backup: &Backup, oracle: &Oracle, facts: &Facts) -> Vec<Fault> {
    let mut faults = Vec::new();
    for log in oracle.values() {
        let was_there = |partition: &oracle::Partition| {
            partition.samples.first().is_some_and(|sample| sample.after_ms < backup.cut_at_ms)
        };
        if facts.is_deleted_by(&log.id, backup.completed_at_ms) || !log.partitions.values().any(was_there) {
            continue;
        }
        let Log { topic, id, partitions, .. } = log;
        let fault = |wrong, partition, expected: String| Fault {
            backup: backup.id.clone(),
            wrong,
            topic: topic.clone(),
            partition,
            offset: -1,
            expected,
        };
        match backup.topics.get(topic) {
            Some(found) if found.id == *id => {
                let missing = partitions
                    .iter()
                    .filter(|(number, known)| was_there(known) && !found.partitions.contains_key(number));
                faults.extend(missing.map(|(number, _)| {
                    fault(Wrong::NoPartition, *number, "the partition was there before the cut".to_owned())
                }));
            }
            Some(found) => faults.push(fault(Wrong::NoTopic, -1, format!("the id {id}, found {}", found.id))),
            None => {
                faults.push(fault(Wrong::NoTopic, -1, format!("the topic was there before the cut, with the id {id}")))
            }
        }
    }
    faults
}
