//! What a backup run did.

use serde::{Deserialize, Serialize};

use crate::format::contents::ArchiveContents;
use crate::format::hole::HoleCounts;
use crate::format::layout::{ArchiveName, BackupId};
use crate::format::manifest::{Manifest, OpenTransaction};

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything that was asked for is in the backup.
    Completed,
    /// There is a backup, and its problems name what is missing.
    Partial,
}

/// What a backup run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// How it ended.
    pub outcome: Outcome,
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
    /// Whether an unfinished backup was gone on with.
    pub resumed: bool,
    /// Whether the backup was there already, so that nothing was done.
    pub already_there: bool,
    /// Milliseconds that this run took.
    pub duration_ms: i64,
    /// Topics in the backup.
    pub topics: usize,
    /// Partitions in the backup, empty ones among them.
    pub partitions: usize,
    /// Records in the backup, as the batch headers count them.
    pub records: u64,
    /// Bytes of record batches.
    pub bytes: u64,
    /// Bytes of the segments that hold them.
    pub stored_bytes: u64,
    /// Offsets without a record, by reason.
    pub holes: HoleCounts,
    /// Consumer groups in the backup.
    pub groups: usize,
    /// Transactions that hold back the end of a partition.
    pub open_transactions: Vec<OpenTransaction>,
    /// Backups that this run has deleted when its own was there, the oldest first.
    #[serde(default)]
    pub pruned: Vec<BackupId>,
    /// What the archive holds after that; absent when it could not be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_contents: Option<ArchiveContents>,
    /// What is missing, each in one line.
    pub problems: Vec<String>,
    /// What else should be known, each in one line.
    pub warnings: Vec<String>,
}

impl BackupReport {
    /// The report of a backup that is in the archive.
    pub(super) fn of(
        manifest: &Manifest,
        resumed: bool,
        already_there: bool,
        started_at_ms: i64,
        ended_at_ms: i64,
    ) -> Self {
        Self {
            outcome: if manifest.is_partial() { Outcome::Partial } else { Outcome::Completed },
            backup_id: manifest.backup_id.clone(),
            archive: manifest.archive.clone(),
            source_cluster_id: manifest.source_cluster_id.clone(),
            cut_at_ms: manifest.cut_at_ms,
            started_at_ms,
            resumed,
            already_there,
            duration_ms: ended_at_ms - started_at_ms,
            topics: manifest.topics.len(),
            partitions: manifest.topics.iter().map(|topic| topic.partitions.len()).sum(),
            records: manifest.content.records,
            bytes: manifest.content.raw_bytes,
            stored_bytes: manifest.segment_bytes,
            holes: manifest.content.holes,
            groups: manifest.groups.len(),
            open_transactions: manifest.open_transactions.clone(),
            pruned: Vec::new(),
            archive_contents: None,
            problems: manifest.problems.clone(),
            warnings: manifest.warnings.clone(),
        }
    }
}
