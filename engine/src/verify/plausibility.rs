//! What agrees with itself and is unlikely all the same: a backup may lack records that were lost before it was made, or that the
//! program which made it did not read.
//!
//! Nothing here is damage. A log cleaner takes superseded records out, and an owner may delete most keys of a topic; whoever
//! knows the topic can tell.

use std::collections::BTreeMap;

use crate::format::layout::BackupId;
use crate::format::manifest::{CommittedOffset, Manifest, PartitionSummary, TopicSummary};
use crate::format::segment::TopicKey;

/// With this part of the records of the backup before, and less, a compacted partition is named. Compaction by itself takes a log to
/// half of its records and to a quarter again and again (`min.cleanable.dirty.ratio`).
const SHRUNK_TO: u64 = 10;
/// A partition of fewer records comes to a tenth by chance.
const RECORDS_MIN: u64 = 1_000;

/// How many records compacted partitions had in the last backup that was looked at. Memory follows one backup.
#[derive(Debug, Default)]
pub struct Plausibility {
    /// When the cut of the last one was made, in milliseconds since the epoch.
    before_ms: Option<i64>,
    records: BTreeMap<(TopicKey, i32), u64>,
}

impl Plausibility {
    /// What is unlikely about this backup, each in one line. It is the one to compare the next with, if it is of a later time.
    pub fn warnings(&mut self, manifest: &Manifest) -> Vec<String> {
        let id = &manifest.backup_id;
        let mut warnings = Vec::new();
        warnings.extend(offsets_beyond(manifest));
        let mut records = BTreeMap::new();
        let follows = self.before_ms.is_some_and(|before_ms| before_ms <= manifest.cut_at_ms);
        for topic in &manifest.topics {
            let (missing, partitions): (Vec<&PartitionSummary>, Vec<&PartitionSummary>) =
                topic.partitions.iter().partition(|partition| partition.missing);
            for partition in missing {
                // It is compared with the next backup that has it.
                let key = (topic.topic.clone(), partition.partition);
                records.extend(self.records.remove_entry(&key));
            }
            let partitions = partitions.into_iter();
            if !is_compacted(topic) {
                warnings.extend(partitions.filter_map(|partition| holes_of_compaction(id, topic, partition)));
                continue;
            }
            for partition in partitions {
                let key = (topic.topic.clone(), partition.partition);
                let now = partition.content.records;
                if follows
                    && let Some(then) = self.records.get(&key)
                    && *then >= RECORDS_MIN
                    && now <= then / SHRUNK_TO
                {
                    let (name, number) = (&topic.topic.name, partition.partition);
                    warnings.push(format!(
                        "backup {id}: {name}-{number} is compacted and holds {now} records, after {then} in the backup before: see \
                         whether so many keys were deleted"
                    ));
                }
                records.insert(key, now);
            }
        }
        self.before_ms = Some(manifest.cut_at_ms);
        self.records = records;
        warnings
    }
}

fn is_compacted(topic: &TopicSummary) -> bool {
    topic.configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"))
}

/// Committed offsets beyond the end of their log: it was there before the topic was created again, or truncated. A consumer that reads
/// uncommitted records (`isolation.level`, by default) may be beyond the last stable offset, where a backup ends, and not beyond the high
/// watermark.
fn offsets_beyond(manifest: &Manifest) -> Option<String> {
    let held_back =
        manifest.open_transactions.iter().map(|open| ((open.topic.as_str(), open.partition), open.held_back));
    let held_back: BTreeMap<(&str, i32), i64> = held_back.collect();
    let partitions = manifest.topics.iter().flat_map(|topic| {
        let there = topic.partitions.iter().filter(|partition| !partition.missing);
        there.map(|partition| ((topic.topic.name.as_str(), partition.partition), partition.end_offset))
    });
    let high_watermark = |(key, end_offset): (_, i64)| (key, end_offset + held_back.get(&key).copied().unwrap_or(0));
    let ends: BTreeMap<(&str, i32), i64> = partitions.map(high_watermark).collect();
    let committed =
        manifest.groups.iter().flat_map(|group| group.offsets.iter().map(|committed| (&group.id, committed)));
    let mut beyond = committed.filter_map(|(group, committed)| {
        let end_offset = *ends.get(&(committed.topic.as_str(), committed.partition))?;
        (committed.offset > end_offset).then_some((group, committed, end_offset))
    });
    let (group, CommittedOffset { topic, partition, offset, .. }, end_offset) = beyond.next()?;
    let (id, count) = (&manifest.backup_id, beyond.count() + 1);
    Some(format!(
        "backup {id}: {count} committed offsets are beyond the ends of their logs, such as {offset} of group {group:?} in \
         {topic}-{partition}, which ended at {end_offset}: see whether the topic was created again"
    ))
}

/// Offsets that were put down to the log cleaner, in a topic on which it does not work by the topic's own settings.
fn holes_of_compaction(id: &BackupId, topic: &TopicSummary, partition: &PartitionSummary) -> Option<String> {
    let (offsets, name, number) = (partition.content.holes.compaction, &topic.topic.name, partition.partition);
    (offsets > 0).then(|| {
        format!(
            "backup {id}: {name}-{number} has no records for {offsets} offsets, as if the log cleaner had taken them, and the topic has \
             no cleanup.policy=compact of its own: see whether it was compacted before, or the cluster's default is compact"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::{Group, OpenTransaction};
    use crate::repository::sample;

    fn backup(id: &str, cut_at_ms: i64, policy: Option<&str>, records: u64, compaction: u64) -> Manifest {
        let mut manifest = Manifest { cut_at_ms, ..sample::empty(id) };
        let topic = manifest.topics.iter_mut().find(|topic| topic.topic.name == "orders").unwrap();
        topic.configs = policy.map(|policy| ("cleanup.policy".to_owned(), policy.to_owned())).into_iter().collect();
        topic.partitions[1].content.records = records;
        topic.partitions[1].content.holes.compaction = compaction;
        manifest
    }

    #[test]
    fn holes_of_compaction_in_a_topic_that_is_not_compacted_are_named() {
        let warnings = |policy| Plausibility::default().warnings(&backup("b1", 1, policy, 10, 7));
        for policy in [None, Some("delete")] {
            let found = warnings(policy);
            assert!(found.len() == 1 && found[0].contains("b1: orders-1 has no records for 7 offsets"), "{found:?}");
        }
        assert_eq!(warnings(Some("compact,delete")), [""; 0]);
    }

    #[test]
    fn committed_offsets_of_another_log_are_named() {
        let mut manifest = sample::empty("b1");
        let committed = |topic: &str, partition, offset| CommittedOffset {
            topic: topic.to_owned(),
            partition,
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let ends_at = |manifest: &mut Manifest, end_offset| {
            let orders = manifest.topics.iter_mut().find(|topic| topic.topic.name == "orders").unwrap();
            orders.partitions[1].end_offset = end_offset;
        };
        let offsets =
            vec![committed("orders", 1, 12), committed("orders", 1, 9), committed("not-in-the-backup", 0, 12)];
        manifest.groups = vec![Group { id: "readers".to_owned(), protocol: "consumer".to_owned(), offsets }];
        ends_at(&mut manifest, 12);
        assert_eq!(Plausibility::default().warnings(&manifest), [""; 0], "all was read");
        ends_at(&mut manifest, 10);
        let found = Plausibility::default().warnings(&manifest);
        let says =
            "b1: 1 committed offsets are beyond the ends of their logs, such as 12 of group \"readers\" in orders-1";
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
        let held_back = |held_back| OpenTransaction {
            topic: "orders".to_owned(),
            partition: 1,
            producer_id: None,
            start_offset: 10,
            last_timestamp_ms: None,
            held_back,
        };
        manifest.open_transactions = vec![held_back(2)];
        assert_eq!(Plausibility::default().warnings(&manifest), [""; 0], "uncommitted records were read");
        manifest.open_transactions = vec![held_back(1)];
        assert!(Plausibility::default().warnings(&manifest)[0].contains("which ended at 11"));
    }

    #[test]
    fn a_compacted_partition_that_lost_nearly_all_records_since_the_backup_before_is_named() {
        let compact = Some("compact");
        let second = |cut_at_ms, then, now| {
            let mut plausibility = Plausibility::default();
            assert_eq!(plausibility.warnings(&backup("b1", 10, compact, then, 0)), [""; 0]);
            plausibility.warnings(&backup("b2", cut_at_ms, compact, now, 0))
        };
        let found = second(20, 20_000, 2_000);
        assert!(found.len() == 1 && found[0].contains("orders-1") && found[0].contains("after 20000"), "{found:?}");
        assert_eq!(second(20, 20_000, 2_001), [""; 0], "compaction takes as much");
        assert_eq!(second(20, 999, 0), [""; 0], "by chance");
        assert_eq!(second(5, 20_000, 0), [""; 0], "the other one is older");
        // A partition that could not be read says nothing.
        let mut plausibility = Plausibility::default();
        plausibility.warnings(&backup("b1", 10, compact, 20_000, 0));
        let mut missing = backup("b2", 20, compact, 0, 0);
        missing
            .topics
            .iter_mut()
            .for_each(|topic| topic.partitions.iter_mut().for_each(|partition| partition.missing = true));
        assert_eq!(plausibility.warnings(&missing), [""; 0]);
        // What it had before is compared with the next that has it.
        assert_eq!(plausibility.warnings(&backup("b3", 30, compact, 1, 0)).len(), 1);
    }
}
