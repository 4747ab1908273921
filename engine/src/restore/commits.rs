//! The committed offsets of consumer groups, put into the target once.
//!
//! A group whose offsets were restored may be at work a moment later, and a restore that is run again must not set it back.
//! So the journal remembers, before the offsets of a group are committed, where it stood (`before`), and afterwards that it
//! is done (`committed`). What is done is only read back. When the first is there and the second is not, where the group
//! stands tells what became of the commit.

use super::Error;
use super::journal::{GroupBefore, Journal};
use super::plan::GroupPlan;
use crate::kafka::groups::{CommittedOffset, CommittedOffsets, GroupKind};
use crate::kafka::{Cluster, TopicPartition};
use crate::offsets::groups::{self, GroupReport};
use crate::offsets::positions::Restored;

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
    use super::*;

    fn offsets(pairs: &[(i32, i64)]) -> CommittedOffsets {
        let offset = |offset| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
        pairs.iter().map(|(partition, at)| (("t".to_owned(), *partition), offset(*at))).collect()
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
