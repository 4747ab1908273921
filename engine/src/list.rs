//! What a repository holds: its archives, or the backups of one of them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::list::ListConfig;
use crate::format::layout::{ArchiveName, BackupId};
use crate::format::manifest::{ArchiveOwner, Manifest};
use crate::repository::{Archive, Error, Repository, Stage};

/// How a backup stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Everything that was asked for is in it.
    Completed,
    /// It can be restored, and its problems name what is missing.
    Partial,
    /// It has no manifest: a run is at work on it, or was killed.
    Unfinished,
    /// Its manifest is damaged.
    Damaged,
}

/// A backup in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupEntry {
    /// The backup.
    pub backup_id: BackupId,
    /// How it stands.
    pub state: State,
    /// What the user calls the cluster that was read; absent when it was given no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_label: Option<String>,
    /// When the cut was made, in milliseconds since the epoch; absent when that cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_at_ms: Option<i64>,
    /// Topics in it.
    pub topics: usize,
    /// Partitions in it.
    pub partitions: usize,
    /// Records in it; 0 while it is unfinished.
    pub records: u64,
    /// Bytes of record batches; 0 while it is unfinished.
    pub bytes: u64,
    /// Bytes of the segments that it names, those it shares with other backups too.
    pub stored_bytes: u64,
    /// What is missing or wrong, each in one line.
    pub problems: Vec<String>,
}

/// An archive in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveEntry {
    /// The archive.
    pub archive: ArchiveName,
    /// What it belongs to; absent when its first run was killed before it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<ArchiveOwner>,
    /// Its backups, the newest last.
    pub backups: Vec<BackupEntry>,
}

impl ArchiveEntry {
    /// The newest backup that can be restored.
    pub fn newest(&self) -> Option<&BackupEntry> {
        self.backups.iter().rev().find(|backup| matches!(backup.state, State::Completed | State::Partial))
    }
}

/// What a repository holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListReport {
    /// Tells one repository from another.
    pub repository_id: Uuid,
    /// The archive that was asked for; absent when all were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveName>,
    /// The archives, by name.
    pub archives: Vec<ArchiveEntry>,
}

/// Lists archives, or the backups of one.
///
/// # Errors
/// What the repository fails with. A damaged manifest is an entry of the list.
pub async fn run(config: &ListConfig) -> Result<ListReport, Error> {
    let repository = Repository::open(&config.storage).await?;
    let mut archives = Vec::new();
    match &config.archive {
        Some(name) => archives.push(entry(&repository.archive(name).await?).await?),
        None => {
            for name in repository.archives().await? {
                archives.push(entry(&Archive::new(repository.store.clone(), name)).await?);
            }
        }
    }
    Ok(ListReport { repository_id: repository.description.id, archive: config.archive.clone(), archives })
}

async fn entry(archive: &Archive) -> Result<ArchiveEntry, Error> {
    let mut backups = Vec::new();
    for (id, manifest) in archive.manifests().await? {
        backups.push(match manifest {
            Ok(manifest) => finished(&manifest),
            Err(error) => BackupEntry { problems: vec![error.to_string()], ..nothing(id, State::Damaged) },
        });
    }
    for (id, stage) in archive.backups().await? {
        if stage == Stage::Unfinished {
            backups.push(unfinished(archive, id).await?);
        }
    }
    backups.sort_by(|a, b| (a.cut_at_ms, &a.backup_id).cmp(&(b.cut_at_ms, &b.backup_id)));
    Ok(ArchiveEntry { archive: archive.name.clone(), owner: archive.owner().await?, backups })
}

fn nothing(backup_id: BackupId, state: State) -> BackupEntry {
    BackupEntry {
        backup_id,
        state,
        source_cluster_label: None,
        cut_at_ms: None,
        topics: 0,
        partitions: 0,
        records: 0,
        bytes: 0,
        stored_bytes: 0,
        problems: Vec::new(),
    }
}

fn finished(manifest: &Manifest) -> BackupEntry {
    BackupEntry {
        backup_id: manifest.backup_id.clone(),
        state: if manifest.is_partial() { State::Partial } else { State::Completed },
        source_cluster_label: manifest.source_cluster_label.clone(),
        cut_at_ms: Some(manifest.cut_at_ms),
        topics: manifest.topics.len(),
        partitions: manifest.topics.iter().map(|topic| topic.partitions.len()).sum(),
        records: manifest.content.records,
        bytes: manifest.content.raw_bytes,
        stored_bytes: manifest.segment_bytes,
        problems: manifest.problems.clone(),
    }
}

async fn unfinished(archive: &Archive, id: BackupId) -> Result<BackupEntry, Error> {
    Ok(match archive.cut(&id).await {
        Ok(Some(cut)) => BackupEntry {
            cut_at_ms: Some(cut.at_ms),
            topics: cut.topics.len(),
            partitions: cut.topics.iter().map(|topic| topic.partitions.len()).sum(),
            ..nothing(id, State::Unfinished)
        },
        Ok(None) => nothing(id, State::Unfinished),
        Err(error @ Error::Document { .. }) => {
            BackupEntry { problems: vec![error.to_string()], ..nothing(id, State::Unfinished) }
        }
        Err(error) => return Err(error),
    })
}
