//! The positions of groups, put where the records are now: committed offsets, and the start offsets of share groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::positions::Restored;
use crate::format::manifest::{CommittedOffset, Group};
use crate::kafka::error::GROUP_ID_NOT_FOUND;
use crate::kafka::groups::{CommittedOffset as TargetOffset, CommittedOffsets, DEAD, GroupDescription, GroupKind};
use crate::kafka::{Cluster, Error as KafkaError, TopicPartition};

/// Members of a group that are named; the rest is counted.
const MEMBERS_NAMED: usize = 3;

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

/// The source offsets of all groups of a backup, by partition: whichever group is restored, now or by a later run, its
/// offsets are among them.
pub fn source_offsets(groups: &[Group]) -> BTreeMap<TopicPartition, Vec<i64>> {
    let mut offsets: BTreeMap<TopicPartition, Vec<i64>> = BTreeMap::new();
    for committed in groups.iter().flat_map(|group| &group.offsets) {
        offsets.entry((committed.topic.clone(), committed.partition)).or_default().push(committed.offset);
    }
    offsets
}

/// Where a group goes on in the target: the first restored record at or behind the one it would have read next. The
/// positions are those of [`source_offsets`].
///
/// The leader epoch is left out: it is the source's, and a consumer would take the target's log for truncated (KIP-320).
pub fn translate(offsets: &[CommittedOffset], restored: &Restored) -> CommittedOffsets {
    offsets
        .iter()
        .filter_map(|committed| {
            let partition = restored.get(&(committed.topic.clone(), committed.partition))?;
            let offset = TargetOffset {
                offset: partition.positions.translate(committed.offset)?,
                leader_epoch: -1,
                metadata: committed.metadata.clone(),
            };
            Some((partition.target.clone(), offset))
        })
        .collect()
}

/// Why a group's offsets cannot be committed at this moment.
pub async fn refusal_now(cluster: &Cluster, group: &str, kind: GroupKind) -> Option<String> {
    let described = cluster.describe_groups(&[group.to_owned()].into()).await;
    let described = described.get(group);
    refusal(group, described).or_else(|| other_kind(group, kind, described?.as_ref().ok()?))
}

/// Where a group stands: what it has committed, or the start offsets of a share group.
///
/// # Errors
/// Why it cannot be read, in one line.
pub async fn found(cluster: &Cluster, group: &str, kind: GroupKind) -> Result<CommittedOffsets, String> {
    let groups = [group.to_owned()].into();
    let mut answers = match kind {
        GroupKind::Classic | GroupKind::Consumer | GroupKind::Streams => cluster.committed_offsets(&groups).await,
        GroupKind::Share => cluster.share_start_offsets(&groups).await,
    };
    match answers.remove(group) {
        Some(Ok(found)) => Ok(found),
        // A share group that is not there, unlike others, has no empty list of offsets.
        Some(Err(error)) if kind == GroupKind::Share && error.code() == Some(GROUP_ID_NOT_FOUND) => {
            Ok(CommittedOffsets::new())
        }
        Some(Err(error)) => Err(format!("the offsets of group {group:?} cannot be read: {error}")),
        None => Err(format!("the offsets of group {group:?} cannot be read")),
    }
}

/// Commits the offsets of a group without members and reads them back; gives back what is wrong, one line each.
pub async fn commit(cluster: &Cluster, group: &str, kind: GroupKind, offsets: &CommittedOffsets) -> Vec<String> {
    let answers = match kind {
        GroupKind::Classic | GroupKind::Consumer | GroupKind::Streams => cluster.commit_offsets(group, offsets).await,
        GroupKind::Share => cluster.alter_share_start_offsets(group, offsets).await,
    };
    if let Err(refused) = refused_offset(&answers) {
        return vec![refused];
    }
    match found(cluster, group, kind).await {
        Ok(found) => differences(group, offsets, &found),
        Err(problem) => vec![problem],
    }
}

/// Why a group of this kind cannot have the name of one that is there: a share group has no committed offsets, and any
/// other group no start offsets.
fn other_kind(group: &str, kind: GroupKind, there: &GroupDescription) -> Option<String> {
    let is_share = |kind: GroupKind| kind == GroupKind::Share;
    (there.state != DEAD && is_share(kind) != is_share(there.kind)).then(|| {
        format!(
            "group {group:?} is a {} group in the target, and a {} group in the backup: restore it under another name with \
             groupMapping",
            there.kind.name(),
            kind.name()
        )
    })
}

/// Why a group's offsets cannot be committed now; nothing for a group that is empty or not there.
pub fn refusal(group: &str, described: Option<&Result<GroupDescription, KafkaError>>) -> Option<String> {
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
fn refused_offset(answers: &BTreeMap<TopicPartition, Result<(), KafkaError>>) -> Result<(), String> {
    let mut refused = answers.values().filter_map(|answer| answer.as_ref().err());
    let Some(first) = refused.next() else { return Ok(()) };
    match refused.count() {
        0 => Err(first.to_string()),
        more => Err(format!("{first} (and {more} more offsets of the group were refused)")),
    }
}

/// Says so when a group stands before what was committed for it, or nowhere: only ahead may it have gone by itself.
pub fn behind(group: &str, committed: &CommittedOffsets, found: &CommittedOffsets) -> Option<String> {
    let is_behind = |(key, committed): &(&TopicPartition, &TargetOffset)| {
        found.get(*key).is_none_or(|found| found.offset < committed.offset)
    };
    let ((topic, partition), offset) = committed.iter().find(is_behind)?;
    let found =
        found.get(&(topic.clone(), *partition)).map_or_else(|| "none".to_owned(), |found| found.offset.to_string());
    Some(format!(
        "group {group:?} on {topic}-{partition}: this restore has committed offset {}, and now {found} is there",
        offset.offset
    ))
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
    use crate::kafka::Resource;
    use crate::kafka::groups::GroupMember;
    use crate::offsets::map::OffsetMap;
    use crate::offsets::positions::RestoredPartition;

    #[test]
    fn offsets_go_where_the_records_are() {
        let mut map = OffsetMap::new(100);
        map.push(10, 5).unwrap();
        map.push(20, 5).unwrap();
        let sources = [0, 10, 12, 15, 17, 20, 25, 99];
        let partition = RestoredPartition::new(("orders-back".to_owned(), 3), &map, sources);
        let restored: Restored = [(("orders".to_owned(), 0), partition)].into();
        let at = |topic: &str, partition, offset| CommittedOffset {
            topic: topic.to_owned(),
            partition,
            offset,
            leader_epoch: 7,
            metadata: "m".to_owned(),
        };
        let translated = |committed| translate(&[committed], &restored);
        let expected = |offset| TargetOffset { offset, leader_epoch: -1, metadata: "m".to_owned() };
        let key = ("orders-back".to_owned(), 3);
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

    #[test]
    fn a_group_that_went_back_after_its_commit_is_told_and_one_that_went_on_is_not() {
        let offsets = |pairs: &[(i32, i64)]| -> CommittedOffsets {
            let offset = |offset| TargetOffset { offset, leader_epoch: -1, metadata: String::new() };
            pairs.iter().map(|(partition, at)| (("a".to_owned(), *partition), offset(*at))).collect()
        };
        let committed = offsets(&[(0, 5), (1, 6)]);
        assert_eq!(behind("g", &committed, &offsets(&[(0, 5), (1, 700)])), None);
        let text = behind("g", &committed, &offsets(&[(0, 5), (1, 3)])).unwrap();
        assert_eq!(text, r#"group "g" on a-1: this restore has committed offset 6, and now 3 is there"#);
        assert!(behind("g", &committed, &offsets(&[(1, 6)])).unwrap().ends_with("now none is there"));
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
    fn a_group_does_not_take_the_name_of_one_that_keeps_its_position_otherwise() {
        let there = |kind, state: &str| GroupDescription { kind, state: state.to_owned(), members: Vec::new() };
        use GroupKind::*;
        for (kind, found, is_refused) in [
            (Classic, there(Share, "Empty"), true),
            (Share, there(Consumer, "Empty"), true),
            (Share, there(Share, "Empty"), false),
            (Streams, there(Classic, "Empty"), false),
            (Share, there(Classic, "Dead"), false),
        ] {
            assert_eq!(other_kind("g", kind, &found).is_some(), is_refused, "{kind:?} {found:?}");
        }
    }

    #[test]
    fn every_offset_of_every_group_is_noted() {
        let committed = |topic: &str, partition, offset| CommittedOffset {
            topic: topic.to_owned(),
            partition,
            offset,
            leader_epoch: 0,
            metadata: String::new(),
        };
        let group = |id: &str, offsets| Group { id: id.to_owned(), protocol: "classic".to_owned(), offsets };
        let groups = [
            group("a", vec![committed("t", 0, 5), committed("t", 1, 6)]),
            group("b", vec![committed("t", 0, 7), committed("u", 0, 8)]),
        ];
        let key = |topic: &str, partition| (topic.to_owned(), partition);
        let expected = [(key("t", 0), vec![5, 7]), (key("t", 1), vec![6]), (key("u", 0), vec![8])];
        assert_eq!(source_offsets(&groups), expected.into());
    }

    #[test]
    fn every_refused_offset_is_counted() {
        let refused = || {
            let resource = Resource::GroupPartition("g".to_owned(), "t".to_owned(), 0);
            Err(KafkaError::Broker { resource, api: "OffsetCommit", code: 25, message: None })
        };
        let partition = |number| ("t".to_owned(), number);
        assert_eq!(refused_offset(&BTreeMap::from([(partition(0), Ok(()))])), Ok(()));
        let one = BTreeMap::from([(partition(0), refused()), (partition(1), Ok(()))]);
        assert!(refused_offset(&one).unwrap_err().contains("UNKNOWN_MEMBER_ID"));
        let two = BTreeMap::from([(partition(0), refused()), (partition(1), refused())]);
        assert!(refused_offset(&two).unwrap_err().ends_with("(and 1 more offsets of the group were refused)"));
    }
}
