//! The committed offsets of consumer groups, put into the target once.
//!
//! A group whose offsets were restored may be at work a moment later, and a restore that is run again must not set it back.
//! So the journal remembers, before the offsets of a group are committed, where it stood (`before`), and afterwards that it
//! is done (`committed`). What is done is only read back. When the first is there and the second is not, where the group
//! stands tells what became of the commit.

use futures::stream::{self, StreamExt};

use super::Error;
use super::journal::{GroupBefore, Journal};
use super::plan::GroupPlan;
use crate::kafka::groups::{CommittedOffset, CommittedOffsets, GroupKind};
use crate::kafka::{Cluster, TopicPartition};
use crate::offsets::groups::{self, GroupReport};
use crate::offsets::positions::Restored;
use crate::stop::Stop;

/// Consumer groups whose offsets are committed at a time: each takes a few calls, one after the other.
const GROUPS_AT_ONCE: usize = 16;

/// What became of a group in this run.
#[derive(Debug)]
pub struct Ended {
    /// Its offsets are in the target, since this run or an earlier one.
    pub report: Option<GroupReport>,
    /// Why they are not, each in one line.
    pub problems: Vec<String>,
    /// What else should be known, each in one line.
    pub warnings: Vec<String>,
}

impl Ended {
    fn with(report: Option<GroupReport>, problems: Vec<String>, warnings: Vec<String>) -> Self {
        Self { report, problems, warnings }
    }
}

/// Commits the offsets of groups by `commit`, a few groups at a time, until `stop` is set: the groups that were begun before are completed.
///
/// # Errors
/// [`Error::Interrupted`] when groups were not begun, and what a commit fails with.
pub async fn each<F>(groups: Vec<GroupPlan>, stop: &Stop, commit: impl Fn(GroupPlan) -> F) -> Result<Vec<Ended>, Error>
where
    F: Future<Output = Result<Ended, Error>>,
{
    let commit = &commit;
    let unless_stopped =
        |group: GroupPlan| async move { if stop.is_set() { Err(Error::Interrupted) } else { commit(group).await } };
    let mut committed = stream::iter(groups.into_iter().map(unless_stopped)).buffered(GROUPS_AT_ONCE);
    let mut all = Vec::new();
    while let Some(ended) = committed.next().await {
        all.push(ended?);
    }
    Ok(all)
}

/// Whether the offsets of one of these groups are committed, or may be: from then on an application may use the topics.
///
/// # Errors
/// When the journal cannot be read.
pub async fn has_committed(journal: &Journal, groups: &[GroupPlan]) -> Result<bool, Error> {
    for group in groups {
        // A commit may have arrived that nobody could write down any more.
        let (before, committed) = (journal.group_before(&group.target), journal.group_committed(&group.target));
        if committed.await?.is_some() || before.await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts a group where its records are now, unless that was done before.
///
/// # Errors
/// What the journal fails with. What the cluster refuses is a problem of the group.
pub async fn commit(
    cluster: &Cluster,
    journal: &Journal,
    group: GroupPlan,
    restored: &Restored,
) -> Result<Ended, Error> {
    let wanted = groups::translate(&group.offsets, restored);
    let GroupPlan { source, target, kind, left_out, .. } = group;
    if let Some(report) = journal.group_committed(&target).await? {
        let behind = match groups::found(cluster, &target, kind).await {
            Ok(found) => groups::behind(&target, &wanted, &found),
            Err(problem) => Some(problem),
        };
        return Ok(Ended::with(Some(report), Vec::new(), behind.into_iter().collect()));
    }
    let report = GroupReport { source, target: target.clone(), committed: wanted.len(), left_out };
    let problems = if wanted.is_empty() { Vec::new() } else { once(cluster, journal, &target, kind, &wanted).await? };
    if !problems.is_empty() {
        return Ok(Ended::with(None, problems, Vec::new()));
    }
    let report = journal.write_group_committed(&target, report).await?;
    Ok(Ended::with(Some(report), Vec::new(), Vec::new()))
}

/// Commits the offsets if no earlier run of this restore can have done so with the group having gone on since.
async fn once(
    cluster: &Cluster,
    journal: &Journal,
    group: &str,
    kind: GroupKind,
    wanted: &CommittedOffsets,
) -> Result<Vec<String>, Error> {
    if let Some(refusal) = groups::refusal_now(cluster, group, kind).await {
        return Ok(vec![format!("{refusal}; then run the same command again")]);
    }
    let found = match groups::found(cluster, group, kind).await {
        Ok(found) => found,
        Err(problem) => return Ok(vec![problem]),
    };
    match journal.group_before(group).await? {
        None => journal.write_group_before(GroupBefore::new(group, wanted, &found)).await?,
        Some(before) => {
            if let Some((topic, partition)) = moved(&before, wanted, &found) {
                return Ok(vec![format!(
                    "group {group:?} has gone on in {topic}-{partition} since an earlier run of this restore began to commit \
                     its offsets: it is left as it is"
                )]);
            }
        }
    }
    Ok(groups::commit(cluster, group, kind, wanted).await)
}

/// The first partition in which the group stands neither where it did before the commit nor where the commit puts it.
fn moved<'w>(
    before: &GroupBefore,
    wanted: &'w CommittedOffsets,
    found: &CommittedOffsets,
) -> Option<&'w TopicPartition> {
    let has_moved = |(key, wanted): &(&TopicPartition, &CommittedOffset)| {
        let found = found.get(*key).map(|found| found.offset);
        found != before.offset(key) && found != Some(wanted.offset)
    };
    wanted.iter().find(has_moved).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::format::layout::ArchiveKeys;
    use crate::store::Store;

    fn offsets(pairs: &[(i32, i64)]) -> CommittedOffsets {
        let offset = |offset| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
        pairs.iter().map(|(partition, at)| (("t".to_owned(), *partition), offset(*at))).collect()
    }

    fn group(number: usize) -> GroupPlan {
        let name = format!("g{number}");
        GroupPlan { source: name.clone(), target: name, kind: GroupKind::Classic, offsets: Vec::new(), left_out: 0 }
    }

    #[tokio::test]
    async fn no_group_is_begun_after_the_commits_were_stopped_and_those_that_were_begun_are_completed() {
        let (begun, completed, stop) = (Cell::new(0), Cell::new(0), Stop::default());
        let commit = |_: GroupPlan| async {
            begun.set(begun.get() + 1);
            tokio::task::yield_now().await;
            stop.set();
            completed.set(completed.get() + 1);
            Ok(Ended::with(None, Vec::new(), Vec::new()))
        };
        let ended = each((0..3 * GROUPS_AT_ONCE).map(group).collect(), &stop, commit).await;
        assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
        assert_eq!((begun.get(), completed.get()), (GROUPS_AT_ONCE, GROUPS_AT_ONCE));
    }

    #[tokio::test]
    async fn it_is_known_whether_a_group_of_the_restore_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Store::open_or_create(&format!("file://{}", folder.path().display()).parse().unwrap()).await.unwrap();
        let journal = Journal::new(store, &ArchiveKeys::new(&"a".parse().unwrap()), "r".parse().unwrap());
        let groups = [group(0), group(1)];
        assert!(!has_committed(&journal, &groups).await.unwrap());
        let report = |target: &str| GroupReport {
            source: target.to_owned(),
            target: target.to_owned(),
            committed: 0,
            left_out: 0,
        };
        journal.write_group_committed("another", report("another")).await.unwrap();
        assert!(!has_committed(&journal, &groups).await.unwrap());
        journal.write_group_committed("g1", report("g1")).await.unwrap();
        assert!(has_committed(&journal, &groups).await.unwrap());
        // A run was killed between a commit and this note.
        journal.write_group_before(GroupBefore::new("g2", &offsets(&[]), &offsets(&[]))).await.unwrap();
        assert!(has_committed(&journal, &[group(2)]).await.unwrap());
    }

    #[test]
    fn a_group_that_went_on_after_a_killed_commit_is_not_set_back() {
        let wanted = offsets(&[(0, 50), (1, 60)]);
        let before = GroupBefore::new("g", &wanted, &offsets(&[(1, 7), (2, 8)]));
        for (found, has_moved) in [
            // The commit did not get there.
            (offsets(&[(1, 7), (2, 8)]), None),
            // It did, in whole or in part.
            (offsets(&[(0, 50), (1, 60)]), None),
            (offsets(&[(0, 50), (1, 7)]), None),
            // What is not committed by us does not matter.
            (offsets(&[(1, 7), (2, 99)]), None),
            // It did, and somebody has worked since.
            (offsets(&[(0, 51), (1, 60)]), Some(0)),
            (offsets(&[(0, 50), (1, 61)]), Some(1)),
            // Or somebody reset the group.
            (offsets(&[(0, 50)]), Some(1)),
        ] {
            let moved = moved(&before, &wanted, &found).map(|(_, partition)| *partition);
            assert_eq!(moved, has_moved, "{found:?}");
        }
    }
}
