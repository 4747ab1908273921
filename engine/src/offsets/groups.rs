//! Committed offsets of consumer groups, put where the records are now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::map::OffsetMap;
use crate::format::manifest::CommittedOffset;
use crate::kafka::groups::{CommittedOffset as TargetOffset, CommittedOffsets};
use crate::kafka::{Cluster, TopicPartition};

/// The offset map of each restored partition, by the partition's name in the source.
pub type Maps = BTreeMap<TopicPartition, (String, OffsetMap)>;

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupReport {
    /// The group in the backup.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// Partitions whose offset was committed and read back.
    pub committed: usize,
    /// Committed offsets on topics that were not restored.
    pub left_out: usize,
}

/// Where a group goes on in the target: the first restored record at or behind the one it would have read next.
///
/// The leader epoch is left out: it is the source's, and a consumer would take the target's log for truncated (KIP-320).
pub fn translate(offsets: &[CommittedOffset], maps: &Maps) -> CommittedOffsets {
    offsets
        .iter()
        .filter_map(|committed| {
            let (target, map) = maps.get(&(committed.topic.clone(), committed.partition))?;
            let offset = TargetOffset {
                offset: map.translate(committed.offset),
                leader_epoch: -1,
                metadata: committed.metadata.clone(),
            };
            Some(((target.clone(), committed.partition), offset))
        })
        .collect()
}

/// Commits the offsets and reads them back; gives back what is wrong, one line each.
pub async fn commit(cluster: &Cluster, group: &str, offsets: &CommittedOffsets) -> Vec<String> {
    if offsets.is_empty() {
        return Vec::new();
    }
    let mut problems: Vec<String> = cluster
        .commit_offsets(group, offsets)
        .await
        .into_iter()
        .filter_map(|(_, committed)| Some(format!("an offset could not be committed: {}", committed.err()?)))
        .collect();
    if !problems.is_empty() {
        return problems;
    }
    match cluster.committed_offsets(&[group.to_owned()].into()).await.remove(group) {
        Some(Ok(found)) => problems.extend(differences(group, offsets, &found)),
        Some(Err(error)) => problems.push(format!("the offsets of group {group:?} cannot be read back: {error}")),
        None => problems.push(format!("the offsets of group {group:?} cannot be read back")),
    }
    problems
}

fn differences(group: &str, wanted: &CommittedOffsets, found: &CommittedOffsets) -> Vec<String> {
    let differs = |(key, wanted): (&TopicPartition, &TargetOffset)| {
        let found = found.get(key).map(|found| found.offset);
        (found != Some(wanted.offset)).then(|| {
            let (topic, partition) = key;
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            format!("group {group:?} on {topic}-{partition}: offset {} was committed, {found} is there", wanted.offset)
        })
    };
    wanted.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_go_where_the_records_are() {
        let mut map = OffsetMap::new(100);
        map.push(10, 5);
        map.push(20, 5);
        let maps: Maps = [(("orders".to_owned(), 0), ("orders-back".to_owned(), map))].into();
        let at = |topic: &str, partition, offset| CommittedOffset {
            topic: topic.to_owned(),
            partition,
            offset,
            leader_epoch: 7,
            metadata: "m".to_owned(),
        };
        let translated = |committed| translate(&[committed], &maps);
        let expected = |offset| TargetOffset { offset, leader_epoch: -1, metadata: "m".to_owned() };
        let key = ("orders-back".to_owned(), 0);
        for (source, target) in [(0, 100), (10, 100), (12, 102), (15, 105), (17, 105), (20, 105), (25, 110), (99, 110)]
        {
            assert_eq!(translated(at("orders", 0, source)), [(key.clone(), expected(target))].into(), "{source}");
        }
        assert!(translated(at("orders", 1, 0)).is_empty());
        assert!(translated(at("others", 0, 0)).is_empty());
    }

    #[test]
    fn an_offset_that_is_not_there_afterwards_is_named() {
        let offset = |offset| TargetOffset { offset, leader_epoch: -1, metadata: String::new() };
        let wanted: CommittedOffsets = [(("a".to_owned(), 0), offset(5)), (("a".to_owned(), 1), offset(6))].into();
        let found: CommittedOffsets = [(("a".to_owned(), 0), offset(5)), (("a".to_owned(), 1), offset(7))].into();
        assert_eq!(differences("g", &wanted, &wanted), Vec::<String>::new());
        assert_eq!(differences("g", &wanted, &found), [r#"group "g" on a-1: offset 6 was committed, 7 is there"#]);
    }
}
