//! The committed offsets of consumer groups, on their way into the target.
//!
//! What a group committed in the source is translated over the map of each partition, committed through the group's
//! coordinator, and read back. A group with active members is left alone: they would overwrite what we commit, and
//! brokers refuse it anyway. What keeps one group from being restored keeps no other from it.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};

use crate::kafka::groups::{CommittedOffset, CommittedOffsets, GroupDescription};
use crate::kafka::{self, Cluster, TopicPartition};

/// Groups whose offsets are committed at once.
const GROUPS_AT_ONCE: usize = 16;
/// Members that are named before the rest is only counted.
const MEMBERS_NAMED: usize = 3;

/// What a group had committed for a partition that is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceOffset {
    /// The topic's name in the source.
    pub source_topic: String,
    /// The topic's name in the target.
    pub target_topic: String,
    /// The partition's number, in both.
    pub partition: i32,
    /// The source offset of the next record that the group would have read.
    pub offset: i64,
    /// What the group's members wrote beside it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// A group that is to be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupPlan {
    /// Its id in the source.
    pub source: String,
    /// Its id in the target.
    pub target: String,
    /// Its offsets for partitions that are restored.
    pub offsets: Vec<SourceOffset>,
    /// How many more offsets it has, for topics that are not restored.
    pub offsets_left_out: usize,
}

/// A group, with its offsets as they are to be in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedGroup {
    /// Its id in the source.
    pub source: String,
    /// Its id in the target.
    pub target: String,
    /// What to commit.
    pub offsets: CommittedOffsets,
    /// How many more offsets it has, for topics that are not restored.
    pub offsets_left_out: usize,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupReport {
    /// Its id in the source.
    pub source: String,
    /// Its id in the target.
    pub target: String,
    /// Offsets that are committed and were read back.
    pub offsets: usize,
    /// Offsets that were left out, for topics that are not restored.
    pub offsets_left_out: usize,
    /// Why the group is not restored, in one line; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The offsets that have to be translated, by source topic and partition: one look into each map serves all groups.
pub fn wanted(groups: &[GroupPlan]) -> BTreeMap<TopicPartition, BTreeSet<i64>> {
    let mut wanted: BTreeMap<TopicPartition, BTreeSet<i64>> = BTreeMap::new();
    for offset in groups.iter().flat_map(|group| &group.offsets) {
        wanted.entry((offset.source_topic.clone(), offset.partition)).or_default().insert(offset.offset);
    }
    wanted
}

/// Puts the target offsets in; `positions` has for every partition of [`wanted`] what
/// [`OffsetMap::translate_all`](super::map::OffsetMap::translate_all) gave.
///
/// # Errors
/// The first topic and partition that `positions` knows nothing about.
pub fn translate(
    groups: &[GroupPlan],
    positions: &BTreeMap<TopicPartition, BTreeMap<i64, i64>>,
) -> Result<Vec<TranslatedGroup>, TopicPartition> {
    let translate_group = |group: &GroupPlan| {
        let mut offsets = CommittedOffsets::new();
        for SourceOffset { source_topic, target_topic, partition, offset, metadata } in &group.offsets {
            let source = (source_topic.clone(), *partition);
            let Some(target_offset) = positions.get(&source).and_then(|positions| positions.get(offset)) else {
                return Err(source);
            };
            // The epoch was one of the source's leaders, and says nothing about the target's.
            let committed = CommittedOffset { offset: *target_offset, leader_epoch: -1, metadata: metadata.clone() };
            offsets.insert((target_topic.clone(), *partition), committed);
        }
        Ok(TranslatedGroup {
            source: group.source.clone(),
            target: group.target.clone(),
            offsets,
            offsets_left_out: group.offsets_left_out,
        })
    };
    groups.iter().map(translate_group).collect()
}

/// Commits the offsets of all groups and reads them back. Doing it again does no harm. Every group is in the result.
pub async fn commit(cluster: &Cluster, groups: &[TranslatedGroup]) -> Vec<GroupReport> {
    let targets: BTreeSet<String> =
        groups.iter().filter(|group| !group.offsets.is_empty()).map(|group| group.target.clone()).collect();
    let described = cluster.describe_groups(&targets).await;
    let committed: Vec<(usize, Result<(), String>)> = stream::iter(groups.iter().enumerate())
        .map(|(number, group)| {
            let refusal = refusal(&group.target, described.get(&group.target));
            async move {
                match refusal {
                    _ if group.offsets.is_empty() => (number, Ok(())),
                    Some(refusal) => (number, Err(refusal)),
                    None => (number, refused_offset(&cluster.commit_offsets(&group.target, &group.offsets).await)),
                }
            }
        })
        .buffered(GROUPS_AT_ONCE)
        .collect()
        .await;
    let read_back = cluster.committed_offsets(&targets).await;
    committed
        .into_iter()
        .map(|(number, outcome)| {
            let group = &groups[number];
            let problem = match outcome {
                Err(problem) => Some(problem),
                Ok(()) if group.offsets.is_empty() => None,
                Ok(()) => difference(&group.target, &group.offsets, read_back.get(&group.target)),
            };
            report(group, problem)
        })
        .collect()
}

fn report(group: &TranslatedGroup, problem: Option<String>) -> GroupReport {
    GroupReport {
        source: group.source.clone(),
        target: group.target.clone(),
        offsets: if problem.is_none() { group.offsets.len() } else { 0 },
        offsets_left_out: group.offsets_left_out,
        problem,
    }
}

/// Why a group's offsets cannot be committed now; nothing for a group that is empty or not there.
pub fn refusal(group: &str, described: Option<&Result<GroupDescription, kafka::Error>>) -> Option<String> {
    match described {
        Some(Ok(description)) if description.members.is_empty() => None,
        Some(Ok(description)) => {
            let named = description
                .members
                .iter()
                .take(MEMBERS_NAMED)
                .map(|member| format!("client {:?} at {} ({})", member.client_id, member.host, member.member_id));
            let named = named.collect::<Vec<_>>().join(", ");
            let more = match description.members.len().saturating_sub(MEMBERS_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!("group {group:?} has active members, stop them first: {named}{more}"))
        }
        Some(Err(error)) => Some(format!("group {group:?} cannot be looked at: {error}")),
        None => Some(format!("group {group:?} cannot be looked at: its coordinator says nothing about it")),
    }
}

/// The first offset that the coordinator did not take.
fn refused_offset(answers: &BTreeMap<TopicPartition, Result<(), kafka::Error>>) -> Result<(), String> {
    let mut refused = answers.values().filter_map(|answer| answer.as_ref().err());
    let Some(first) = refused.next() else { return Ok(()) };
    match refused.count() {
        0 => Err(first.to_string()),
        more => Err(format!("{first} (and {more} more offsets of the group were refused)")),
    }
}

/// How what the group has differs from what it should have.
fn difference(
    group: &str,
    wanted: &CommittedOffsets,
    found: Option<&Result<CommittedOffsets, kafka::Error>>,
) -> Option<String> {
    let found = match found {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Some(format!("group {group:?}: its offsets cannot be read back: {error}")),
        None => return Some(format!("group {group:?}: its offsets cannot be read back")),
    };
    wanted.iter().find_map(|((topic, partition), wanted)| {
        let found = found.get(&(topic.clone(), *partition)).map(|found| found.offset);
        (found != Some(wanted.offset)).then(|| {
            let found = found.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
            let wanted = wanted.offset;
            format!(
                "group {group:?} on topic {topic:?} partition {partition}: offset {wanted} was committed and {found} is \
                 read back: somebody else commits for it"
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Resource;
    use crate::kafka::groups::{GroupKind, GroupMember};

    fn offset(topic: &str, partition: i32, offset: i64) -> SourceOffset {
        SourceOffset {
            source_topic: topic.to_owned(),
            target_topic: format!("{topic}-copy"),
            partition,
            offset,
            metadata: "by hand".to_owned(),
        }
    }

    fn group(name: &str, offsets: Vec<SourceOffset>) -> GroupPlan {
        GroupPlan { source: name.to_owned(), target: format!("{name}-copy"), offsets, offsets_left_out: 2 }
    }

    fn committed(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: "by hand".to_owned() }
    }

    #[test]
    fn one_look_into_each_map_serves_all_groups() {
        let groups = [group("a", vec![offset("t", 0, 5), offset("t", 1, 7)]), group("b", vec![offset("t", 0, 9)])];
        let wanted = wanted(&groups);
        assert_eq!(wanted[&("t".to_owned(), 0)], BTreeSet::from([5, 9]));
        assert_eq!(wanted[&("t".to_owned(), 1)], BTreeSet::from([7]));
    }

    #[test]
    fn offsets_go_to_the_mapped_names_with_their_metadata_and_without_the_epoch() {
        let positions = BTreeMap::from([(("t".to_owned(), 0), BTreeMap::from([(5, 3)]))]);
        let translated = translate(&[group("a", vec![offset("t", 0, 5)])], &positions).unwrap();
        assert_eq!(translated[0].target, "a-copy");
        assert_eq!(translated[0].offsets, BTreeMap::from([(("t-copy".to_owned(), 0), committed(3))]));
        assert_eq!(translated[0].offsets_left_out, 2);
        let unknown = translate(&[group("a", vec![offset("t", 1, 5)])], &positions).unwrap_err();
        assert_eq!(unknown, ("t".to_owned(), 1));
    }

    #[test]
    fn a_group_with_members_is_refused_and_they_are_named() {
        let member = |number: usize| GroupMember {
            member_id: format!("member-{number}"),
            client_id: format!("app-{number}"),
            host: "/10.0.0.1".to_owned(),
        };
        let description = |members: usize| {
            Ok(GroupDescription {
                kind: GroupKind::Classic,
                state: "Stable".to_owned(),
                members: (0..members).map(member).collect(),
            })
        };
        assert_eq!(refusal("g", Some(&description(0))), None);
        let text = refusal("g", Some(&description(5))).unwrap();
        assert!(text.contains(r#"client "app-0" at /10.0.0.1 (member-0)"#) && text.ends_with("and 2 more"), "{text}");
        assert!(!refusal("g", Some(&description(3))).unwrap().contains("more"));
        assert!(refusal("g", None).is_some());
    }

    #[test]
    fn every_refused_offset_is_counted() {
        let refused = || {
            let resource = Resource::GroupPartition("g".to_owned(), "t".to_owned(), 0);
            Err(kafka::Error::Broker { resource, api: "OffsetCommit", code: 25, message: None })
        };
        let partition = |number| ("t".to_owned(), number);
        assert_eq!(refused_offset(&BTreeMap::from([(partition(0), Ok(()))])), Ok(()));
        let one = BTreeMap::from([(partition(0), refused()), (partition(1), Ok(()))]);
        assert!(refused_offset(&one).unwrap_err().contains("UNKNOWN_MEMBER_ID"));
        let two = BTreeMap::from([(partition(0), refused()), (partition(1), refused())]);
        assert!(refused_offset(&two).unwrap_err().ends_with("(and 1 more offsets of the group were refused)"));
    }

    #[test]
    fn what_is_read_back_must_be_what_was_committed() {
        let wanted = BTreeMap::from([(("t".to_owned(), 0), committed(5))]);
        let others_too = BTreeMap::from([(("t".to_owned(), 0), committed(5)), (("u".to_owned(), 0), committed(1))]);
        assert_eq!(difference("g", &wanted, Some(&Ok(others_too))), None);
        for found in [BTreeMap::new(), BTreeMap::from([(("t".to_owned(), 0), committed(6))])] {
            assert!(difference("g", &wanted, Some(&Ok(found))).is_some());
        }
        assert!(difference("g", &wanted, None).is_some());
    }
}
