//! Whether what is stored still is what was stored.
//!
//! Each level trusts only what the one above has shown: a manifest is checked by its own checksum, its parts by the sums in
//! the manifest, the index of a segment by the sum in the part, every frame, batch and record by the index and by their own
//! checksums. A damaged piece is a [`Finding`], and the verification goes on behind it. That a store does not answer is no finding
//! but a failure: it says nothing of what is stored.
//!
//! Backups are looked at one after the other, while the manifests of the next few are read, and forgotten: memory follows the largest
//! backups, not the archive. A segment is read
//! once, however many backups share it, in pieces of a few megabytes. No lease is taken, so retention may delete a backup meanwhile:
//! before anything is reported of a backup, its manifest is looked for once more.

mod backup;
mod documents;
mod finding;
mod frame;
mod plausibility;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use self::backup::Wanted;
use self::documents::{Documents, Reader, Unread};
pub use self::finding::{Finding, Stretch};
use self::plausibility::Plausibility;
use crate::clock::now_ms;
use crate::config::backup::PARALLELISM_MAX;
pub use crate::config::verify::Level;
use crate::config::verify::VerifyConfig;
use crate::decompression::Decompression;
use crate::error::Kind;
use crate::format::layout::{ArchiveName, BackupId};
use crate::format::manifest::Manifest;
use crate::progress::Progress;
use crate::repository::listing::Listed;
use crate::repository::{self, Archive, Repository};
use crate::stop::Stop;
use crate::store::{self, REQUESTS_AT_ONCE};

/// Backups whose documents are read at a time, each with as many requests as a store takes at once: manifests and parts of ten thousand
/// partitions take megabytes.
const BACKUPS_AT_ONCE: usize = 4;

/// Why a verification came to no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// It is not said what to verify.
    #[error("give either --backup or --archive (`backup` or `archive` in a file): what is to be verified?")]
    Scope,
    /// A number of workers that makes no sense.
    #[error("parallelism {0} is out of range: 1 to {PARALLELISM_MAX}")]
    Parallelism(usize),
    /// The run was asked to stop.
    #[error("stopped as asked, before everything was looked at: {findings} findings so far")]
    Interrupted {
        /// What had been found.
        findings: usize,
    },
    /// Nothing is left of what was to be verified.
    #[error(
        "archive {archive}: all backups to verify were deleted during the run, probably by retention: nothing was verified"
    )]
    Deleted {
        /// The archive.
        archive: ArchiveName,
    },
    /// A task ended without a word.
    #[error("a worker of the verification ended before its work was done")]
    WorkerEnded,
}

impl Error {
    /// What it asks of whoever reads it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Scope | Self::Parallelism(_) | Self::Deleted { .. } => Kind::Usage,
            Self::Interrupted { .. } => Kind::Interrupted,
            Self::WorkerEnded => Kind::Bug,
        }
    }
}

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything that was looked at is what was stored.
    Intact,
    /// The findings say what is not.
    Damaged,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// How it ended.
    pub outcome: Outcome,
    /// The archive.
    pub archive: ArchiveName,
    /// How deep it looked.
    pub level: Level,
    /// The backups that were verified.
    pub backups: Vec<BackupId>,
    /// Parts of manifests that were read.
    pub parts: u64,
    /// Segments that were looked at; 0 at the level of manifests.
    pub segments: u64,
    /// Records that were read; 0 unless at the level of records.
    pub records: u64,
    /// Bytes of segments that were read; 0 unless at the level of records.
    pub bytes: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What is as it was stored and may be less than the source had, each in one line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Backups that were deleted while they were looked at, which is no damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<BackupId>,
    /// Objects that no backup names: what killed runs left behind, or what a run at work has stored. Prune removes the former.
    pub leftovers: Vec<String>,
    /// Milliseconds that it took.
    pub duration_ms: i64,
}

/// Verifies one backup, or every backup of an archive.
///
/// # Errors
/// When it cannot be known whether the archive is whole. That it is not, is no error but [`Outcome::Damaged`].
pub async fn run(config: &VerifyConfig, progress: &Progress, stop: &Stop) -> Result<VerifyReport, Error> {
    let started_ms = now_ms();
    if !(1..=PARALLELISM_MAX).contains(&config.parallelism) {
        return Err(Error::Parallelism(config.parallelism));
    }
    let repository = Repository::open(&config.storage).await?;
    let (archive, backups) = match (&config.backup, &config.archive) {
        (Some(backup), None) => {
            let archive = repository.find(backup).await?.0;
            let listed = archive.listed(backup).await?;
            let missing = || repository::Error::NotInArchive { archive: archive.name.clone(), backup: backup.clone() };
            let backups = vec![(backup.clone(), listed.ok_or_else(missing)?)];
            (archive, backups)
        }
        (None, Some(name)) => {
            let archive = repository.archive(name).await?;
            let mut backups: Vec<_> = archive.listing().await?.finished.into_iter().collect();
            // Ids need not tell the time, and what is unlikely of a backup shows beside the one before it.
            backups.sort_by_key(|(_, listed)| listed.facts().map(|facts| facts.cut_at_ms));
            // A report without backups must not say `intact`.
            if backups.is_empty() {
                return Err(repository::Error::Empty { archive: archive.name }.into());
            }
            (archive, backups)
        }
        (None, None) | (Some(_), Some(_)) => return Err(Error::Scope),
    };
    verified(config, archive, backups, progress, stop, started_ms).await
}

/// Verifies backups that were listed.
async fn verified(
    config: &VerifyConfig,
    archive: Archive,
    backups: Vec<(BackupId, Listed)>,
    progress: &Progress,
    stop: &Stop,
    started_ms: i64,
) -> Result<VerifyReport, Error> {
    let mut run = Run::new(&archive, config, progress, stop, &backups);
    let owner = archive.owner().await.map(|_| ());
    note(owner, archive.keys.archive(), &[], &mut run.found.findings)?;
    let (verified, deleted) = run.backups(backups).await?;
    // A report without backups must not say `intact`.
    if verified.is_empty() {
        return Err(Error::Deleted { archive: archive.name.clone() });
    }
    let leftovers = if config.archive.is_some() { run.leftovers(&verified).await? } else { Vec::new() };
    let Found { parts, segments, records, bytes, findings, warnings } = run.found;
    Ok(VerifyReport {
        outcome: if findings.is_empty() { Outcome::Intact } else { Outcome::Damaged },
        level: config.level,
        backups: verified,
        parts,
        segments,
        records,
        bytes,
        findings,
        warnings,
        deleted,
        leftovers,
        duration_ms: now_ms() - started_ms,
        archive: archive.name,
    })
}

/// What was looked at, and what is wrong.
#[derive(Default)]
struct Found {
    parts: u64,
    segments: u64,
    records: u64,
    bytes: u64,
    findings: Vec<Finding>,
    warnings: Vec<String>,
}

impl Found {
    fn add(&mut self, other: Self) {
        let Self { parts, segments, records, bytes, findings, warnings } = other;
        self.parts += parts;
        self.segments += segments;
        self.records += records;
        self.bytes += bytes;
        self.findings.extend(findings);
        self.warnings.extend(warnings);
    }
}

struct Run<'a> {
    archive: &'a Archive,
    config: &'a VerifyConfig,
    progress: &'a Progress,
    stop: &'a Stop,
    /// What was already looked at of segments, in sixteen bytes each; `None` when no backup shares any, as the listing says.
    seen: Option<HashSet<u128>>,
    /// Keys of what backups name outside of their own folders.
    elsewhere: BTreeSet<String>,
    /// Keys of what is in the folder of a backup that does not name it.
    unnamed: Vec<String>,
    plausibility: Plausibility,
    expected_offsets: u64,
    found: Found,
}

impl<'a> Run<'a> {
    /// Nothing was looked at yet; these backups are going to be.
    fn new(
        archive: &'a Archive,
        config: &'a VerifyConfig,
        progress: &'a Progress,
        stop: &'a Stop,
        backups: &[(BackupId, Listed)],
    ) -> Self {
        let is_shared = |(_, listed): &(BackupId, Listed)| listed.holdings().is_none_or(|holdings| holdings.shares);
        Self {
            archive,
            config,
            progress,
            stop,
            seen: backups.iter().any(is_shared).then(HashSet::new),
            elsewhere: BTreeSet::new(),
            unnamed: Vec::new(),
            plausibility: Plausibility::default(),
            expected_offsets: 0,
            found: Found::default(),
        }
    }

    /// Looks at backups in this order; returns those that were verified, and those that were deleted meanwhile.
    async fn backups(&mut self, backups: Vec<(BackupId, Listed)>) -> Result<(Vec<BackupId>, Vec<BackupId>), Error> {
        let (mut verified, mut deleted) = (Vec::new(), Vec::new());
        let reader = Reader { archive: self.archive.clone(), lists_folders: self.config.archive.is_some() };
        let reads = backups.into_iter().map(|(id, listed)| {
            let reader = reader.clone();
            // A task each: what is read ahead goes on while a backup is looked at, and holds nothing up that this may wait for.
            let read = tokio::spawn(async move {
                let documents = reader.read(&id, &listed).await;
                documents.map(|documents| (id, documents))
            });
            async move { read.await.map_err(|_| Error::WorkerEnded)? }
        });
        let mut reads = Box::pin(stream::iter(reads).buffered(BACKUPS_AT_ONCE));
        while let Some((id, documents)) = reads.try_next().await? {
            match self.backup(&id, documents).await? {
                Some(found) => {
                    self.found.add(found);
                    verified.push(id);
                }
                None => deleted.push(id),
            }
        }
        Ok((verified, deleted))
    }

    /// Looks at a backup whose documents were read; `None` when it was deleted meanwhile.
    async fn backup(&mut self, id: &BackupId, documents: Documents) -> Result<Option<Found>, Error> {
        self.check_stop()?;
        let Documents { manifest, wanted, stored, mut found } = documents;
        found.warnings.extend(manifest.iter().flat_map(|manifest| self.plausibility.warnings(manifest)));
        let looked_at = match self.config.level {
            Level::Manifest => Vec::new(),
            Level::Objects | Level::Records => self.segments(&wanted, &mut found).await?,
        };
        if !found.findings.is_empty() && self.is_gone(id, &manifest).await? {
            tracing::info!("backup {id} was deleted while it was looked at");
            return Ok(None);
        }
        // Remember segments only of backups that stay. Findings of a deleted backup are dropped, so other backups must check its shared
        // segments again.
        if let Some(seen) = &mut self.seen {
            seen.extend(looked_at);
        }
        if self.config.archive.is_some() {
            self.note_unnamed(id, &wanted, stored);
        }
        Ok(Some(found))
    }

    /// Whether the backup of which this manifest was read is not there any more. A run may have made another one of its id.
    async fn is_gone(&self, id: &BackupId, read: &Result<Manifest, Unread>) -> Result<bool, Error> {
        match self.archive.manifest(id).await {
            Ok(found) => Ok(match read {
                Ok(read) => *read != found,
                Err(Unread::Missing) => true,
                // A store that returns wrong bytes now and then is the damage that a verification is to find.
                Err(Unread::Damaged) => false,
            }),
            Err(repository::Error::Store(error)) if error.is_not_found() => Ok(true),
            Err(error) if error.kind() == Kind::Corrupt => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks the segments that a backup names, unless the same was asked of them before. Returns the fingerprints of those that it has
    /// looked at, if any are to be remembered.
    async fn segments(&mut self, wanted: &Wanted, found: &mut Found) -> Result<Vec<u128>, Error> {
        let (store, keys) = (&self.archive.store, &self.archive.keys);
        let (mut new, mut looked_at) = (Vec::new(), Vec::new());
        for wanted in wanted.segments.values() {
            if let Some(seen) = &self.seen {
                let fingerprint = wanted.fingerprint();
                if seen.contains(&fingerprint) {
                    let key = keys.segment(&wanted.segment.id);
                    let known = self.found.findings.iter_mut().filter(|finding| finding.object == key);
                    known.for_each(|finding| finding.backups.push(wanted.backup.clone()));
                    continue;
                }
                looked_at.push(fingerprint);
            }
            new.push(Arc::clone(wanted));
        }
        self.expected_offsets += wanted.offsets();
        self.progress.expect_offsets(self.expected_offsets);
        found.segments += new.len() as u64;
        let (workers, batch_bytes_max) = (self.config.parallelism, self.config.decompressed_batch_bytes_max);
        let decompression = Arc::new(Decompression::new(workers, batch_bytes_max));
        let checks = new.into_iter().map(|wanted| {
            let check = segment::Check {
                store: store.clone(),
                key: keys.segment(&wanted.segment.id),
                keys: keys.clone(),
                wanted,
                level: self.config.level,
                decompression: Arc::clone(&decompression),
                progress: self.progress.clone(),
                stop: self.stop.clone(),
            };
            // A task each, so that they use every core.
            async move { tokio::spawn(check.run()).await.map_err(|_| Error::WorkerEnded)?.map_err(Error::from) }
        });
        // Only records take memory: an index is some kilobytes.
        let at_once = match self.config.level {
            Level::Manifest | Level::Objects => self.config.parallelism.max(REQUESTS_AT_ONCE),
            Level::Records => self.config.parallelism,
        };
        let mut checks = stream::iter(checks).buffered(at_once);
        while let Some(of_segment) = checks.try_next().await? {
            let segment::Read { records, bytes, findings } = of_segment;
            found.records += records;
            found.bytes += bytes;
            found.findings.extend(findings);
        }
        drop(checks);
        self.check_stop()?;
        Ok(looked_at)
    }

    /// Notes what is in the folders of a backup and not named by it, and what it names elsewhere.
    fn note_unnamed(&mut self, id: &BackupId, wanted: &Wanted, stored: Vec<String>) {
        let keys = &self.archive.keys;
        let (segments_of, parts_of) = (keys.segments_of(id), keys.parts_of(id));
        let mut named: BTreeSet<String> = wanted.segments.keys().map(|id| keys.segment(id)).collect();
        named.extend(wanted.parts.iter().map(|id| keys.part(id)));
        self.unnamed.extend(stored.into_iter().filter(|key| !named.contains(key)));
        self.elsewhere
            .extend(named.into_iter().filter(|key| !key.starts_with(&segments_of) && !key.starts_with(&parts_of)));
    }

    /// The keys of segments and parts that no backup of the archive names.
    async fn leftovers(&mut self, verified: &[BackupId]) -> Result<Vec<String>, Error> {
        let verified: BTreeSet<&BackupId> = verified.iter().collect();
        for folder in [self.archive.keys.parts(), self.archive.keys.segments()] {
            for id in self.archive.folders(&folder).await? {
                if !verified.contains(&id) {
                    let objects = self.archive.store.list(&format!("{folder}{id}/")).await?;
                    self.unnamed.extend(objects.into_iter().map(|object| object.key));
                }
            }
        }
        let mut leftovers = std::mem::take(&mut self.unnamed);
        leftovers.retain(|key| !self.elsewhere.contains(key));
        leftovers.sort_unstable();
        Ok(leftovers)
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.is_set() { Err(Error::Interrupted { findings: self.found.findings.len() }) } else { Ok(()) }
    }
}

/// What was read, or `None` and a finding when it is damaged or missing.
fn note<T>(
    read: Result<T, repository::Error>,
    key: String,
    backups: &[BackupId],
    findings: &mut Vec<Finding>,
) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == Kind::Corrupt => {
            findings.push(Finding::of_object(key, backups, finding::without_key(&error)));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
