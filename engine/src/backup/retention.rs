//! What a run does for the archive once its backup is there: old backups go, and what is left is counted.
//!
//! Backups are chosen and deleted under the lease of the run; their segments, which can be many, after it. Nothing of it can spoil
//! the backup, so a failure is a warning.

use super::archive::Archive;
use crate::clock::now_ms;
use crate::config::retention::RetentionConfig;
use crate::format::contents::ArchiveContents;
use crate::format::layout::BackupId;
use crate::prune::{self, Sweep};
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
    sweep: Option<Sweep>,
}

impl Kept {
    /// Deletes the backups that are not to be kept.
    pub async fn prune(archive: &Archive, retention: &RetentionConfig, lease: &Lease, stop: &Stop) -> Self {
        let mut kept = Self::default();
        match prune::under(&reading(archive), retention, lease, stop).await {
            Ok(prune::Pruned { removed, problems, sweep }) => {
                kept.pruned = removed.into_iter().map(|decision| decision.backup_id).collect();
                kept.warnings.extend(problems.into_iter().map(|problem| format!("retention: {problem}")));
                kept.sweep = Some(sweep);
            }
            Err(error) => kept.warnings.push(not_all(&error)),
        }
        kept
    }

    /// Deletes what the deleted backups needed and what killed runs left unfinished, and counts what is there then. It needs no lease.
    pub async fn end(mut self, archive: &Archive, stop: &Stop) -> Self {
        if let Some(sweep) = self.sweep.take()
            && let Err(error) = sweep.delete(stop).await
        {
            self.warnings.push(not_all(&error));
        }
        // Pods that were killed left them, each with up to a segment of bytes.
        match archive.store.sweep_temporary(&archive.keys.folder(), now_ms()).await {
            Ok(temporary) => tracing::debug!(temporary, "unfinished files removed"),
            Err(error) => self.warnings.push(format!("unfinished files of killed runs stay behind: {error}")),
        }
        match reading(archive).contents().await {
            Ok(contents) => self.contents = Some(contents),
            Err(error) => self.warnings.push(format!("what the archive holds could not be counted: {error}")),
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        self
    }
}

fn reading(archive: &Archive) -> repository::Archive {
    repository::Archive::new(archive.store.clone(), archive.name.clone())
}

fn not_all(error: &prune::Error) -> String {
    format!("retention: old backups were not all deleted: {error}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::repository::sample::Sample;

    #[tokio::test]
    async fn unfinished_files_of_killed_pods_go_after_a_day() {
        let sample = Sample::new().await;
        sample.backup("b1", 1, None).await;
        let folder = sample.archive.keys.segments_of(&"b1".parse().unwrap());
        let left = |name: &str, age_hours: u64| {
            let key = format!("{folder}.tmp-{name}");
            sample.write(&key, b"half a segment");
            let path = sample.dir.path().join(key);
            let now = Duration::from_millis(now_ms().unsigned_abs());
            let at = UNIX_EPOCH + now - Duration::from_secs(age_hours * 3600);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
            path
        };
        let (old, young) = (left("old", 25), left("young", 1));
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let kept = Kept::default().end(&archive, &Stop::default()).await;
        assert_eq!((kept.warnings.len(), kept.contents.map(|contents| contents.backups)), (0, Some(1)));
        assert!(!old.exists() && young.exists());
    }
}
