//! The committed offsets that belong to a cut.

use std::collections::{BTreeMap, BTreeSet};

use super::Notes;
use crate::config::backup::Checked;
use crate::format::manifest::{CommittedOffset, Group};
use crate::kafka::Cluster;
use crate::kafka::groups::{CommittedOffsets, GroupKind};
use crate::select::{Pattern, Selection, select};

/// The committed offsets of the groups that are wanted, on the topics that are in the backup.
pub(super) async fn take(
    cluster: &Cluster,
    config: &Checked,
    topics: &BTreeSet<String>,
    notes: &mut Notes,
) -> Vec<Group> {
    let wanted: &[Pattern] = match &config.consumer_groups {
        Some(patterns) if patterns.is_empty() => return Vec::new(),
        Some(patterns) => patterns,
        None => &[],
    };
    let listed = match cluster.list_groups().await {
        Ok(listed) => listed,
        Err(error) => {
            notes.problem(format!("no consumer group is in the backup, since they cannot be listed: {error}"));
            return Vec::new();
        }
    };
    let kinds: BTreeMap<&str, GroupKind> = listed.iter().map(|group| (group.group.as_str(), group.kind)).collect();
    let Selection { names, missing, idle } = select(kinds.keys().copied(), wanted, &[]);
    for pattern in missing.iter().chain(&idle) {
        notes.problem(format!("the consumer group {pattern:?} is not there"));
    }
    let mut groups = Vec::new();
    for (id, offsets) in cluster.committed_offsets(&names.into_iter().collect()).await {
        match offsets {
            Ok(offsets) => {
                let kind = kinds.get(id.as_str()).copied().unwrap_or(GroupKind::Classic);
                groups.push(group(id, kind, offsets, topics));
            }
            Err(error) => notes.problem(format!("the offsets of group {id:?} are not in the backup: {error}")),
        }
    }
    groups
}

fn group(id: String, kind: GroupKind, offsets: CommittedOffsets, topics: &BTreeSet<String>) -> Group {
    let protocol = match kind {
        GroupKind::Classic => "classic",
        GroupKind::Consumer => "consumer",
    };
    let offsets = offsets.into_iter().filter(|((topic, _), _)| topics.contains(topic));
    let offsets = offsets.map(|((topic, partition), committed)| CommittedOffset {
        topic,
        partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata,
    });
    Group { id, protocol: protocol.to_owned(), offsets: offsets.collect() }
}
