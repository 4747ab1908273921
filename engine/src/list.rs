//! What a repository holds: its archives, or the backups of one of them.

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::list::ListConfig;
use crate::error::Kind;
use crate::format::facts::{BackupFacts, FactsDetails};
use crate::format::layout::{ArchiveName, BackupId};
use crate::format::manifest::ArchiveOwner;
use crate::repository::listing::Listing;
use crate::repository::{Archive, Error, Repository};
use crate::store::REQUESTS_AT_ONCE;

/// Archives that are listed at once.
const ARCHIVES_AT_ONCE: usize = 4;
/// Cuts of unfinished backups that are read at once: one may have megabytes.
const CUTS_AT_ONCE: usize = 2;

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
    /// It has no manifest and will not get one: its problem says why. `prune` removes it.
    GivenUp,
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
            let named = repository.archives().await?.into_iter();
            let named = named.map(|name| Archive::new(repository.store.clone(), name));
            let entries = named.map(|archive| async move { entry(&archive).await });
            archives = stream::iter(entries).buffered(ARCHIVES_AT_ONCE).try_collect().await?;
        }
    }
    Ok(ListReport { repository_id: repository.description.id, archive: config.archive.clone(), archives })
}

/// The backups of an archive, by listings and small objects: no manifest is opened whose facts are listed.
pub(crate) async fn entry(archive: &Archive) -> Result<ArchiveEntry, Error> {
    let listing = archive.listing().await?;
    let known = archive.facts(&listing).await?;
    let finished = known.into_iter().map(|(id, facts)| finished(archive, &listing, id, facts));
    let mut backups: Vec<BackupEntry> = stream::iter(finished).buffered(REQUESTS_AT_ONCE).try_collect().await?;
    let begun: Vec<BackupId> = listing.unfinished().cloned().collect();
    let begun = begun.into_iter().map(|id| unfinished(archive, id));
    let mut begun = stream::iter(begun).buffered(CUTS_AT_ONCE);
    while let Some(entry) = begun.try_next().await? {
        backups.extend(entry);
    }
    drop(begun);
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

async fn finished(
    archive: &Archive,
    listing: &Listing,
    id: BackupId,
    facts: Result<BackupFacts, Error>,
) -> Result<BackupEntry, Error> {
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return Ok(BackupEntry { problems: vec![error.to_string()], ..nothing(id, State::Damaged) }),
    };
    let FactsDetails { source_cluster_label, problems, .. } = details(archive, listing, &id, &facts).await?;
    Ok(BackupEntry {
        backup_id: id,
        state: if facts.is_partial() { State::Partial } else { State::Completed },
        source_cluster_label,
        cut_at_ms: Some(facts.cut_at_ms),
        topics: count(facts.topics),
        partitions: count(facts.partitions),
        records: facts.records,
        bytes: facts.raw_bytes,
        stored_bytes: facts.stored_bytes,
        problems,
    })
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The label and the problems of a backup, if it has any: from the small object next to the manifest, else from the manifest.
async fn details(
    archive: &Archive,
    listing: &Listing,
    id: &BackupId,
    facts: &BackupFacts,
) -> Result<FactsDetails, Error> {
    let none = || FactsDetails { backup_id: id.clone(), source_cluster_label: None, problems: Vec::new() };
    if !facts.is_partial() && !facts.has_label {
        return Ok(none());
    }
    let listed = match listing.finished.get(id) {
        Some(listed) => archive.details(listed, facts).await,
        None => Ok(None),
    };
    match listed {
        Ok(Some(details)) => return Ok(details),
        Ok(None) => {}
        Err(error) if error.kind() == Kind::Corrupt => {}
        Err(error) => return Err(error),
    }
    match archive.manifest(id).await {
        Ok(manifest) => Ok(FactsDetails::of(&manifest)),
        Err(error) if error.kind() == Kind::Corrupt => Ok(FactsDetails { problems: vec![error.to_string()], ..none() }),
        // It was pruned since it was listed.
        Err(Error::Store(error)) if error.is_not_found() => Ok(none()),
        Err(error) => Err(error),
    }
}

/// A backup that was begun; none where its folder is listed and nothing is in it any more, as buckets with versions may do.
async fn unfinished(archive: &Archive, id: BackupId) -> Result<Option<BackupEntry>, Error> {
    let given_up = archive.given_up(&id).await?;
    let entry = begun(archive, id).await?;
    Ok(match given_up {
        Some(why) => entry.map(|entry| BackupEntry { state: State::GivenUp, problems: vec![why], ..entry }),
        None => entry,
    })
}

async fn begun(archive: &Archive, id: BackupId) -> Result<Option<BackupEntry>, Error> {
    Ok(Some(match archive.cut(&id).await {
        Ok(Some(cut)) => BackupEntry {
            cut_at_ms: Some(cut.at_ms),
            topics: cut.topics.len(),
            partitions: cut.topics.iter().map(|topic| topic.partitions.len()).sum(),
            ..nothing(id, State::Unfinished)
        },
        Ok(None) if archive.store.list(&archive.keys.progress_folder(&id)).await?.is_empty() => return Ok(None),
        Ok(None) => nothing(id, State::Unfinished),
        Err(error @ Error::Document { .. }) => {
            BackupEntry { problems: vec![error.to_string()], ..nothing(id, State::Unfinished) }
        }
        Err(error) => return Err(error),
    }))
}
