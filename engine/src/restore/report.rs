//! What a restore run did.

use serde::{Deserialize, Serialize};

use super::maker::Counts;
use super::plan::Plan;
use crate::format::layout::{ArchiveName, BackupId, RestoreId};
use crate::offsets::groups::GroupReport;
use crate::offsets::map::LeftOut;
use crate::offsets::positions::Restored;

/// How a restore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// All that was asked for is in the target.
    Completed,
    /// The problems name what is not.
    Partial,
    /// Nothing was done: this is the plan.
    Planned,
    /// The restore was given up, and its topics have their own settings.
    Abandoned,
}

/// What became of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicReport {
    /// Its name in the backup.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// What was done with its batches in this run.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What a restore run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// How it ended.
    pub outcome: Outcome,
    /// The restore, under which the same command goes on.
    pub restore_id: RestoreId,
    /// The backup.
    pub backup_id: BackupId,
    /// The archive it is in.
    pub archive: ArchiveName,
    /// The cluster that was written to.
    pub target_cluster_id: String,
    /// Whether all records were there already, so that none was written.
    pub already_restored: bool,
    /// Milliseconds that this run took.
    pub duration_ms: i64,
    /// Records that the restore has put into the target, in this run and before it.
    pub records: u64,
    /// Bytes of the record batches that hold them, as the backup has them; those that the first programs restored are not counted.
    #[serde(default)]
    pub bytes: u64,
    /// The topics.
    pub topics: Vec<TopicReport>,
    /// The consumer groups.
    pub groups: Vec<GroupReport>,
    /// The plan, when it was only asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What is missing, each in one line.
    pub problems: Vec<String>,
    /// What else should be known, each in one line.
    pub warnings: Vec<String>,
}

/// What of the partitions could not be read, one line a batch.
pub fn left_out(partitions: &Restored) -> impl Iterator<Item = String> {
    partitions.iter().flat_map(|((topic, partition), restored)| {
        restored.left_out.iter().map(move |LeftOut { base_offset, records, why }| {
            let (target, number) = &restored.target;
            format!(
                "{target}-{number}: up to {records} records are not there: the record batch at offset {base_offset} of {topic}-{partition} in the \
                 source had to be changed, and cannot be read: {why}"
            )
        })
    })
}
