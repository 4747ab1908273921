//! What a run does for the archive once its backup is there: old backups go, and what is left is counted.
//!
//! It happens under the lease of the run. Nothing of it can spoil the backup, so a failure is a warning.

use super::archive::Archive;
use crate::config::retention::RetentionConfig;
use crate::format::contents::ArchiveContents;
use crate::format::layout::BackupId;
use crate::prune;
use crate::repository;
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
}

/// Prunes the archive, if that is wanted, and counts what it holds then.
pub async fn keep(archive: &Archive, retention: Option<&RetentionConfig>, lease: &Lease, stop: &Stop) -> Kept {
    let archive = repository::Archive::new(archive.store.clone(), archive.name.clone());
    let mut kept = Kept::default();
    if let Some(retention) = retention {
        match prune::under(&archive, retention, lease, stop).await {
            Ok(prune::Pruned { removed, problems }) => {
                kept.pruned = removed.into_iter().map(|decision| decision.backup_id).collect();
                kept.warnings.extend(problems.into_iter().map(|problem| format!("retention: {problem}")));
            }
            Err(error) => kept.warnings.push(format!("retention: old backups were not all deleted: {error}")),
        }
    }
    match archive.contents().await {
        Ok(contents) => kept.contents = Some(contents),
        Err(error) => kept.warnings.push(format!("what the archive holds could not be counted: {error}")),
    }
    for warning in &kept.warnings {
        tracing::warn!("{warning}");
    }
    kept
}
