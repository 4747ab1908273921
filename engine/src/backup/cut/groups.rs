//! The positions of consumer groups that belong to a cut.
//!
//! A group that is left out is always named: as a problem when it was asked for and could not be read, as a warning when
//! this program or the user's permissions cannot reach it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Notes;
use crate::config::backup::Checked;
use crate::error::Kind;
use crate::format::manifest::{CommittedOffset, Group};
use crate::kafka::groups::{CommittedOffsets, GroupKind, ListedGroup, ListedKind, Stability};
use crate::kafka::{Cluster, Error as KafkaError};
use crate::select::{Patterns, Selection, select};

/// How often groups are listed while their coordinators move.
const LISTS_MAX: usize = 5;
/// How long after the first list the next one is made. The metadata names a new leader of a partition of `__consumer_offsets` before
/// that broker has its groups, and lists none of them until then (`BrokerMetadataPublisher.onMetadataUpdate` in Kafka).
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whether a list of groups may lack some, since the user may not describe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// The list is of all groups, or the cluster does not say.
    Whole,
    /// Groups that the user may not describe are not in it.
    Limited,
}

/// The positions of the groups that are wanted, on the topics that are in the backup.
pub(super) async fn take(
    cluster: &Cluster,
    config: &Checked,
    topics: &BTreeSet<String>,
    notes: &mut Notes,
) -> Vec<Group> {
    let all = Patterns::default();
    let patterns = match &config.consumer_groups {
        Some(patterns) if patterns.is_empty() => return Vec::new(),
        Some(patterns) => patterns,
        None => &all,
    };
    let Some(listed) = list(cluster, notes).await else { return Vec::new() };
    let sight = sight(cluster, notes).await;
    let wanted = wanted(&listed, patterns, sight, notes);
    let mut groups = Vec::new();
    for (id, offsets) in cluster.committed_offsets_soon(&names_of(&wanted, |kind| kind != GroupKind::Share)).await {
        let Some(kind) = wanted.get(&id) else { continue };
        match offsets {
            Ok((offsets, stability)) => {
                unstable(&id, stability).into_iter().for_each(|warning| notes.warning(warning));
                groups.push(group(id, *kind, offsets, topics));
            }
            Err(error) => notes.problem(format!("the offsets of group {id:?} are not in the backup: {error}")),
        }
    }
    for (id, offsets) in cluster.share_start_offsets(&names_of(&wanted, |kind| kind == GroupKind::Share)).await {
        match offsets {
            Ok(offsets) => groups.push(group(id, GroupKind::Share, offsets, topics)),
            // Kafka 4.0 had share groups to try, and no request for their offsets.
            Err(error @ KafkaError::Version { .. }) => notes.warning(format!(
                "the start offsets of share group {id:?} are not in the backup, since this cluster does not tell them: {error}"
            )),
            Err(error) => {
                notes.problem(format!("the start offsets of share group {id:?} are not in the backup: {error}"));
            }
        }
    }
    groups.sort_by(|one, other| one.id.cmp(&other.id));
    groups
}

/// Lists the groups of all brokers. A broker lists the groups of those partitions of `__consumer_offsets` that it leads: those of a
/// partition that moves between two answers may be in neither. So they are listed again, at least once and until nothing has moved
/// meanwhile, and what any list has is there.
async fn list(cluster: &Cluster, notes: &mut Notes) -> Option<Vec<ListedGroup>> {
    let mut leaders = cluster.coordinator_leaders().await;
    let mut listed: BTreeMap<String, ListedGroup> = BTreeMap::new();
    let (mut has_moved, mut gaps) = (true, Vec::new());
    for list in 0..LISTS_MAX {
        if list > 0 {
            tokio::time::sleep(LIST_AGAIN_AFTER).await;
        }
        gaps = match cluster.list_groups().await {
            Ok((groups, gaps)) => {
                listed.extend(groups.into_iter().map(|group| (group.group.clone(), group)));
                gaps
            }
            Err(error) => {
                notes.problem(format!("no consumer group is in the backup, since they cannot be listed: {error}"));
                return None;
            }
        };
        let after = cluster.coordinator_leaders().await;
        has_moved = matches!((&leaders, &after), (Ok(before), Ok(after)) if before != after);
        leaders = after;
        // A broker that does not answer was waited for, and is not waited for again while nothing moves.
        if !has_moved && (list > 0 || !gaps.is_empty()) {
            break;
        }
    }
    gaps.into_iter().for_each(|gap| notes.problem(format!("not in the backup are {gap}")));
    if has_moved {
        notes.problem(format!(
            "groups may be missing in the backup: partitions of __consumer_offsets moved between brokers each of {LISTS_MAX} times when \
             the groups were listed"
        ));
    }
    match leaders {
        Ok(leaders) => {
            let leaderless: Vec<i32> =
                leaders.into_iter().filter(|(_, leader)| leader.is_none()).map(|(partition, _)| partition).collect();
            if !leaderless.is_empty() {
                notes.problem(format!(
                    "groups whose positions are in partitions {leaderless:?} of __consumer_offsets are not in the backup: these \
                     partitions have no leader, and no broker lists their groups"
                ));
            }
        }
        // Whoever backs up some topics seldom may describe this one, and nothing is known to be missing.
        Err(error) if error.kind() == Kind::Denied => {
            tracing::debug!(%error, "whether every group has a coordinator cannot be seen");
        }
        Err(error) => notes.warning(format!("whether every group has a coordinator cannot be seen: {error}")),
    }
    Some(listed.into_values().collect())
}

async fn sight(cluster: &Cluster, notes: &mut Notes) -> Sight {
    match cluster.sees_every_group().await {
        Ok(Some(false)) => Sight::Limited,
        Ok(Some(true) | None) => Sight::Whole,
        Err(error) => {
            notes.warning(format!(
                "whether the cluster has groups that are hidden from this user is not known: {error}"
            ));
            Sight::Whole
        }
    }
}

/// The groups that are wanted and that this program can read, by their names; the others go into the notes.
fn wanted(listed: &[ListedGroup], patterns: &Patterns, sight: Sight, notes: &mut Notes) -> BTreeMap<String, GroupKind> {
    let kinds: BTreeMap<&str, &ListedKind> = listed.iter().map(|group| (group.group.as_str(), &group.kind)).collect();
    let Selection { names, missing, idle } = select(kinds.keys().copied(), patterns, &Patterns::default());
    let hidden = match sight {
        Sight::Whole => "",
        Sight::Limited => ", or this user may not describe it",
    };
    for name in missing {
        notes.problem(format!("the consumer group {name:?} is not there{hidden}"));
    }
    // A pattern is a wish for groups that may come; only a name is a promise that there is one.
    for pattern in idle {
        notes.warning(format!("the pattern {pattern:?} of consumer groups fits no group"));
    }
    if sight == Sight::Limited && (patterns.is_empty() || !patterns.are_names()) {
        notes.warning(
            "groups that this user may not describe are not in the backup: grant Describe on the cluster or Describe on \
             each group"
                .to_owned(),
        );
    }
    let mut wanted = BTreeMap::new();
    for name in names {
        match kinds.get(name.as_str()) {
            Some(ListedKind::Known(kind)) => drop(wanted.insert(name, *kind)),
            Some(ListedKind::Unknown(kind)) => notes.warning(format!(
                "the offsets of group {name:?} are not in the backup: it is of the kind {kind:?}, which this program does \
                 not know"
            )),
            None => {}
        }
    }
    wanted
}

fn names_of(wanted: &BTreeMap<String, GroupKind>, of: impl Fn(GroupKind) -> bool) -> BTreeSet<String> {
    wanted.iter().filter(|(_, kind)| of(**kind)).map(|(name, _)| name.clone()).collect()
}

fn unstable(group: &str, stability: Stability) -> Option<String> {
    match stability {
        Stability::Stable => None,
        Stability::Unstable => Some(format!(
            "group {group:?} commits offsets in transactions without a pause: its offsets are those from before the \
             transaction that was open, and what that transaction produced may be produced again after a restore"
        )),
    }
}

fn group(id: String, kind: GroupKind, offsets: CommittedOffsets, topics: &BTreeSet<String>) -> Group {
    let offsets = offsets.into_iter().filter(|((topic, _), _)| topics.contains(topic));
    let offsets = offsets.map(|((topic, partition), committed)| CommittedOffset {
        topic,
        partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata,
    });
    Group { id, protocol: kind.name().to_owned(), offsets: offsets.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, kind: ListedKind) -> ListedGroup {
        ListedGroup { group: name.to_owned(), kind, protocol_type: String::new() }
    }

    fn patterns(texts: &[&str]) -> Patterns {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Patterns::new(&texts).unwrap()
    }

    fn chosen(patterns: &Patterns, sight: Sight) -> (Vec<String>, Notes) {
        let groups = [
            listed("app", ListedKind::Known(GroupKind::Streams)),
            listed("billing", ListedKind::Known(GroupKind::Classic)),
            listed("later", ListedKind::Unknown("tomorrow".to_owned())),
            listed("queue", ListedKind::Known(GroupKind::Share)),
        ];
        let mut notes = Notes::default();
        let wanted = wanted(&groups, patterns, sight, &mut notes);
        (wanted.into_keys().collect(), notes)
    }

    #[test]
    fn a_group_of_an_unknown_kind_is_named_with_its_kind() {
        let (names, notes) = chosen(&patterns(&[]), Sight::Whole);
        assert_eq!(names, ["app", "billing", "queue"]);
        assert!(notes.problems.is_empty(), "{notes:?}");
        let [warning] = notes.warnings.as_slice() else { panic!("{notes:?}") };
        assert!(warning.contains(r#""later""#) && warning.contains(r#""tomorrow""#), "{warning}");
        // It was not asked for.
        assert!(chosen(&patterns(&["billing"]), Sight::Whole).1.warnings.is_empty());
    }

    #[test]
    fn a_pattern_that_fits_no_group_is_a_warning_and_a_name_without_a_group_is_a_problem() {
        let (names, notes) = chosen(&patterns(&["soon-.*", "billing"]), Sight::Whole);
        assert_eq!((names.len(), notes.problems.len(), notes.warnings.len()), (1, 0, 1));
        assert!(notes.warnings[0].contains("soon-.*"), "{notes:?}");
        let (_, notes) = chosen(&patterns(&["soon"]), Sight::Whole);
        assert_eq!(notes.problems, [r#"the consumer group "soon" is not there"#]);
    }

    #[test]
    fn groups_that_permissions_may_hide_are_told_of_when_they_may_be_wanted() {
        let told = |texts: &[&str], sight| {
            let (_, notes) = chosen(&patterns(texts), sight);
            notes.warnings.iter().any(|warning| warning.contains("grant Describe on the cluster"))
        };
        assert!(told(&[], Sight::Limited) && told(&["b.*"], Sight::Limited));
        assert!(!told(&["billing"], Sight::Limited), "it is there");
        assert!(!told(&[], Sight::Whole) && !told(&["b.*"], Sight::Whole));
        let (_, notes) = chosen(&patterns(&["secret"]), Sight::Limited);
        assert!(notes.problems[0].contains("may not describe it"), "{notes:?}");
    }
}
