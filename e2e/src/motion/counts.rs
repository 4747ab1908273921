//! What a motion did and what it looked at, in numbers.

use std::collections::BTreeSet;
use std::fmt;

use kafka_backup::format::hole::HoleCounts;

use super::archive::Backup;
use super::backups::Made;
use super::checker::Verdict;
use super::events::{Event, What};
use super::oracle::Oracle;
use super::plan::Kind;
use super::restores::Done;

/// What a motion did and what it looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Backups that were made.
    pub backups: usize,
    /// Those that lack something.
    pub partial: usize,
    /// Those of which both records and keys were held against what the oracle saw.
    pub checked: usize,
    /// Runs of backups that were killed.
    pub backup_kills: u32,
    /// Runs that went on with what a killed one had stored.
    pub resumed: u32,
    /// Records that had to be there, in all backups.
    pub records: usize,
    /// Keys of compacted topics that had to have a value, or none, in all backups.
    pub keys: usize,
    /// Offsets in holes, of all backups.
    pub holes: HoleCounts,
    /// Records of the application's output, which it writes exactly once, in all backups.
    pub output: usize,
    /// Restores that completed.
    pub restores: u32,
    /// Restores that ended with a conflict, as they may.
    pub conflicts: u32,
    /// Runs of restores that were killed, each after it had begun to change the target.
    pub restore_kills: u32,
    /// Completed restores of which a run was killed while it wrote.
    pub restores_resumed: u32,
    /// Restored records that were read back.
    pub records_read_back: usize,
    /// Restored offsets of groups that were read back.
    pub offsets_read_back: usize,
    /// Settings that the simulated Topic Operator set back.
    pub settings_set_back: u32,
    /// Completed restores that set a setting again which the operator had set back.
    pub settings_set_again: u32,
    /// Log starts that DeleteRecords moved.
    pub log_starts_moved: usize,
    /// Times that a partition was added.
    pub partitions_added: usize,
    /// Topics that were created under the name of a deleted one.
    pub recreated: usize,
    /// Partitions that got another leader while all brokers were there.
    pub leaders_moved: usize,
    /// Brokers that were ended and started again.
    pub broker_restarts: usize,
    /// Elections in which a replica came to lead that was not in sync.
    pub unclean_elections: usize,
    /// Times that the oracle saw a log truncated.
    pub truncations: usize,
    /// Records that the oracle saw.
    pub seen: usize,
    /// Logs that the oracle saw.
    pub logs: usize,
    /// All events.
    pub events: usize,
}

impl Counts {
    /// What was done, before any backup is looked at.
    pub(super) fn of(events: &[Event], oracle: &Oracle, made: &Made, done: &Done, settings_set_back: u32) -> Self {
        let happened = |is: fn(&What) -> bool| events.iter().filter(|event| is(&event.what)).count();
        let partitions = || oracle.values().flat_map(|log| log.partitions.values());
        Self {
            backups: made.ids().len(),
            backup_kills: made.kills(),
            resumed: made.resumed(),
            restores: done.completed,
            conflicts: done.conflicts,
            restore_kills: done.kills,
            restores_resumed: done.resumed,
            records_read_back: done.records,
            offsets_read_back: done.offsets,
            settings_set_back,
            settings_set_again: done.set_again,
            log_starts_moved: happened(|what| matches!(what, What::RecordsDeleted { before: 1.., .. })),
            partitions_added: happened(|what| matches!(what, What::PartitionsAdded { .. })),
            recreated: recreated(events),
            leaders_moved: happened(|what| matches!(what, What::LeaderMoved { .. })),
            broker_restarts: happened(|what| matches!(what, What::BrokerRestarted { .. })),
            unclean_elections: happened(|what| matches!(what, What::UncleanElection { is_elected: true, .. })),
            truncations: partitions().map(|partition| partition.truncations.len()).sum(),
            seen: partitions().map(|partition| partition.records.len()).sum(),
            logs: oracle.len(),
            events: events.len(),
            ..Self::default()
        }
    }

    /// Counts in what was seen of a backup.
    pub(super) fn add(&mut self, backup: &Backup, verdict: &Verdict) {
        let partitions = backup.topics.values().flat_map(|topic| topic.partitions.values());
        partitions.flat_map(|partition| &partition.holes).for_each(|hole| self.holes.add_hole(hole));
        let output = backup.topics.iter().filter(|(name, _)| Kind::of(name) == Some(Kind::Output));
        let output = output.flat_map(|(_, topic)| topic.partitions.values());
        self.output += output.map(|partition| partition.records.len()).sum::<usize>();
        self.partial += usize::from(!backup.problems.is_empty());
        self.checked += usize::from(verdict.records > 0 && verdict.keys > 0);
        self.records += verdict.records;
        self.keys += verdict.keys;
    }
}

/// How many topics were created that were there before.
fn recreated(events: &[Event]) -> usize {
    let created = events.iter().filter_map(|event| {
        let What::Created { topic, .. } = &event.what else { return None };
        Some(topic)
    });
    let mut known = BTreeSet::new();
    created.filter(|topic| !known.insert(topic.as_str())).count()
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backups, partial, checked, backup_kills, resumed, records, keys, holes, output, .. } = self;
        let HoleCounts { compaction, control, aborted, deleted, expired } = holes;
        let Self { restores, conflicts, restore_kills, restores_resumed, .. } = self;
        let Self { records_read_back, offsets_read_back, settings_set_back, settings_set_again, .. } = self;
        let Self { log_starts_moved, partitions_added, recreated, leaders_moved, .. } = self;
        let Self { broker_restarts, unclean_elections, truncations, seen, logs, events, .. } = self;
        write!(
            f,
            "{backups} backups ({partial} partial, {checked} checked, {backup_kills} runs killed, {resumed} resumed): {records} \
             records and {keys} keys that had to be there, {output} of the application's output, offsets in holes: {compaction} compaction, {control} control, {aborted} \
             aborted, {deleted} deleted, {expired} expired; {restores} restores and {conflicts} conflicts ({restore_kills} runs \
             killed, {restores_resumed} resumed): {records_read_back} records and {offsets_read_back} committed offsets read back, \
             {settings_set_back} settings set back and {settings_set_again} restores that set them again; {log_starts_moved} log \
             starts moved, {partitions_added} partitions added, {recreated} topics created again, {leaders_moved} leaders moved, \
             {broker_restarts} brokers restarted, {unclean_elections} unclean elections, {truncations} logs truncated; {seen} records \
             seen in {logs} logs, {events} events"
        )
    }
}
