//! What a run does for the archive once its backup is there: old backups go, and what is left is counted.
//!
//! Backups are chosen and deleted under the lease of the run; their segments, which can be many, after it. Nothing of it can spoil
//! the backup, so a failure is a warning.

use super::archive::Archive;
use crate::config::retention::RetentionConfig;
use crate::format::contents::ArchiveContents;
use crate::format::layout::BackupId;
use crate::prune::{self, Sweep};
use crate::stop::Stop;
use crate::store::lease::Lease;

/// What became of the archive.
#[derive(Debug, Default)]
pub struct Kept {
    /// Backups that were deleted, the oldest first.
    pub pruned: Vec<BackupId>,
    /// What is left, this run's backup among it; `None` when it could not be counted.
    pub contents: Option<ArchiveContents>,
    /// What did not work, each in one line.
    pub warnings: Vec<String>,
    sweep: Option<Sweep>,
}

impl Kept {
    /// Deletes the backups that are not to be kept; `made` is that of this run.
    pub async fn prune(
        archive: &Archive,
        retention: &RetentionConfig,
        made: &BackupId,
        lease: &Lease,
        stop: &Stop,
    ) -> Self {
        let mut kept = Self::default();
        match prune::under(&archive.reading(), retention, made, lease, stop).await {
            Ok(prune::Pruned { removed, problems, sweep }) => {
                kept.pruned = removed.into_iter().map(|decision| decision.backup_id).collect();
                kept.warnings.extend(problems.into_iter().map(|problem| format!("retention: {problem}")));
                kept.sweep = Some(sweep);
            }
            Err(error) => kept.warnings.push(not_all(&error)),
        }
        kept
    }

    /// Deletes what the deleted backups needed, and counts what is there then. It needs no lease.
    pub async fn end(mut self, archive: &Archive, stop: &Stop) -> Self {
        if let Some(sweep) = self.sweep.take() {
            match sweep.delete(stop).await {
                Ok(swept) => self.warnings.extend(swept.problems.iter().map(|problem| format!("retention: {problem}"))),
                Err(error) => self.warnings.push(not_all(&error)),
            }
        }
        match archive.reading().contents().await {
            Ok(contents) => self.contents = Some(contents),
            Err(error) => self.warnings.push(format!("what the archive holds could not be counted: {error}")),
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        self
    }
}

fn not_all(error: &prune::Error) -> String {
    format!("retention: old backups were not all deleted: {error}")
}
