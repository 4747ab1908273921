//! What a run leaves in a pod's termination message: its result, in what Kubernetes keeps of it.
//!
//! The kubelet keeps the first 4,096 bytes of a container's termination message and cuts the rest off, which would leave no
//! JSON. So lists are shortened from their ends, with the number of entries that are left out beside them, and long texts are
//! cut; what is whole stands in the archive and in the report on stdout.

#[cfg(feature = "run")]
mod fit;
#[cfg(feature = "run")]
#[cfg(test)]
mod tests;
#[cfg(feature = "run")]
mod told;

use serde::{Deserialize, Serialize};

use crate::error::Kind;
use crate::format::layout::{ArchiveName, BackupId, RestoreId};

/// The longest message, in bytes: what the kubelet keeps of one container's message
/// (<https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>).
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// What became of a run; `run` says of which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "camelCase")]
pub enum Termination {
    /// Of a backup.
    Backup(Ended<BackupResult>),
    /// Of a restore.
    Restore(Ended<RestoreResult>),
    /// Of pruning.
    Prune(Ended<PruneResult>),
    /// Of a verification.
    Verify(Ended<VerifyResult>),
}

/// How a run ended, for whoever looks at its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything that was asked for is done.
    Completed,
    /// There is a result, and the problems name what is missing.
    Partial,
    /// There is no result, or one that is none: the error says why.
    Failed,
    /// A signal ended the run; the same run goes on where it stopped.
    Interrupted,
}

/// The end of a run: its result stands beside these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended<R> {
    /// How it ended.
    pub outcome: Outcome,
    /// What it did; absent when it failed before there was anything to tell.
    #[serde(flatten)]
    pub result: Option<R>,
    /// What is missing or wrong, each in one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Problems that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub problems_omitted: usize,
    /// What else should be known, each in one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Warnings that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warnings_omitted: usize,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What it asks of whoever reads it.
    pub kind: Kind,
    /// The reason, in one line.
    pub message: String,
}

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupResult {
    /// The backup.
    pub backup_id: BackupId,
    /// The archive it is in.
    pub archive: ArchiveName,
    /// The cluster that was read.
    pub source_cluster_id: String,
    /// When the cut was made, in milliseconds since the epoch.
    pub cut_at_ms: i64,
    /// When this run began, in milliseconds since the epoch.
    pub started_at_ms: i64,
    /// Milliseconds that this run took.
    pub duration_ms: i64,
    /// Records in the backup.
    pub records: u64,
    /// Bytes of its record batches.
    pub bytes: u64,
    /// Bytes of the segments that hold them.
    pub stored_bytes: u64,
    /// Topics in the backup.
    pub topics: usize,
    /// Partitions in the backup.
    pub partitions: usize,
    /// Consumer groups in the backup.
    pub groups: usize,
    /// Whether the backup was there already, so that nothing was done.
    pub already_there: bool,
    /// Whether an unfinished backup was gone on with.
    pub resumed: bool,
    /// Backups that the run has deleted when its own was there, the oldest first.
    #[serde(default)]
    pub pruned: Vec<BackupId>,
    /// Deleted backups that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pruned_omitted: usize,
    /// Completed backups in the archive after the run. When they could not be counted, which is a warning then, this backup
    /// alone is told, if it is complete.
    pub archive_backups: usize,
    /// Bytes of all segments in the archive after the run; likewise.
    pub archive_bytes: u64,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreResult {
    /// The restore, under which the same command goes on.
    pub restore_id: RestoreId,
    /// The backup.
    pub backup_id: BackupId,
    /// The archive it is in.
    pub archive: ArchiveName,
    /// The cluster that was written to.
    pub target_cluster_id: String,
    /// Whether nothing was done but to make the plan.
    pub planned: bool,
    /// Whether all records were there already, so that none was written.
    pub already_restored: bool,
    /// Records that the restore has put into the target, in all its runs.
    pub records: u64,
    /// Bytes of their record batches, in all its runs.
    pub bytes: u64,
    /// The topics.
    pub topics: Vec<RestoredTopic>,
    /// Topics that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub topics_omitted: usize,
    /// Names, in the target, of the consumer groups whose offsets were committed.
    pub groups: Vec<String>,
    /// Groups that are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub groups_omitted: usize,
    /// Milliseconds that this run took.
    pub duration_ms: i64,
}

/// A topic that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoredTopic {
    /// Its name in the target.
    pub name: String,
    /// Records that the restore has put into it, in all its runs.
    pub records: u64,
}

/// What pruning did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneResult {
    /// The archive.
    pub archive: ArchiveName,
    /// Whether anything was deleted at all, or only planned.
    pub confirmed: bool,
    /// Backups that went, the oldest first.
    pub removed: Vec<BackupId>,
    /// Backups that went and are left out here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub removed_omitted: usize,
    /// How many backups stayed.
    pub kept: usize,
    /// Objects that went.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Completed backups in the archive after the run.
    pub archive_backups: usize,
    /// Bytes of all segments in the archive after the run.
    pub archive_bytes: u64,
    /// Milliseconds that it took.
    pub duration_ms: i64,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResult {
    /// The archive.
    pub archive: ArchiveName,
    /// How many backups were verified.
    pub backups: usize,
    /// Segments that were looked at.
    pub segments: u64,
    /// Records that were read.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How many damages were found; the problems name the first ones.
    pub findings: usize,
    /// Milliseconds that it took.
    pub duration_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Termination {
    /// One JSON object, on one line, of at most [`MESSAGE_BYTES_MAX`] bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a message has string keys and whole numbers only")
    }
}
