//! Whether what is stored still is what was stored.
//!
//! Each level trusts only what the one above has shown: a manifest is checked by its own checksum, its parts by the sums in
//! the manifest, the index of a segment by the sum in the part, every frame, batch and record by the index and by their own
//! checksums. A damaged piece is a [`Finding`], and the verification goes on behind it. That a store does not answer is no finding
//! but a failure: it says nothing of what is stored.
//!
//! A segment is read once, however many backups share it, in pieces of a few megabytes.

mod backup;
mod finding;
mod frame;
mod segment;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use self::backup::Wanted;
pub use self::finding::{Finding, Stretch};
use crate::clock::now_ms;
use crate::config::backup::PARALLELISM_MAX;
pub use crate::config::verify::Level;
use crate::config::verify::VerifyConfig;
use crate::error::Kind;
use crate::format::layout::{ArchiveKeys, ArchiveName, BackupId, PartId, SegmentId};
use crate::progress::Progress;
use crate::repository::{self, Archive, Repository, Stage};
use crate::stop::Stop;
use crate::store;

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
            Self::Scope | Self::Parallelism(_) => Kind::Usage,
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
        (Some(backup), None) => (repository.find(backup).await?.0, vec![backup.clone()]),
        (None, Some(name)) => {
            let archive = repository.archive(name).await?;
            let backups = finished(&archive).await?;
            (archive, backups)
        }
        (None, None) | (Some(_), Some(_)) => return Err(Error::Scope),
    };
    let decompressed_batch_bytes_max = config.decompressed_batch_bytes_max;
    let findings = Vec::new();
    let mut run = Run { archive: &archive, progress, stop, findings, parts: 0, decompressed_batch_bytes_max };
    let wanted = run.manifests(&backups).await?;
    let mut read = segment::Read::default();
    if config.level >= Level::Objects {
        read = run.segments(&wanted, config.level, config.parallelism).await?;
    }
    let leftovers = if config.archive.is_some() { run.leftovers(&wanted).await? } else { Vec::new() };
    let Run { findings, parts, .. } = run;
    Ok(VerifyReport {
        outcome: if findings.is_empty() { Outcome::Intact } else { Outcome::Damaged },
        level: config.level,
        backups,
        parts,
        segments: if config.level >= Level::Objects { wanted.segments.len() as u64 } else { 0 },
        records: read.records,
        bytes: read.bytes,
        findings,
        leftovers,
        duration_ms: now_ms() - started_ms,
        archive: archive.name,
    })
}

async fn finished(archive: &Archive) -> Result<Vec<BackupId>, Error> {
    let backups = archive.backups().await?.into_iter();
    let ids: Vec<_> = backups.filter(|(_, stage)| *stage == Stage::Finished).map(|(id, _)| id).collect();
    // To say of nothing that it is intact would be believed.
    if ids.is_empty() { Err(repository::Error::Empty { archive: archive.name.clone() }.into()) } else { Ok(ids) }
}

struct Run<'a> {
    archive: &'a Archive,
    progress: &'a Progress,
    stop: &'a Stop,
    findings: Vec<Finding>,
    parts: u64,
    decompressed_batch_bytes_max: usize,
}

impl Run<'_> {
    /// Checks what is said of segments, and gathers what must be true of them.
    async fn manifests(&mut self, backups: &[BackupId]) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        let owner = self.archive.owner().await.map(|_| ());
        self.note(owner, self.archive.keys.archive(), &[])?;
        for id in backups {
            self.check_stop()?;
            let manifest = self.archive.manifest(id).await;
            let of = std::slice::from_ref(id);
            let Some(manifest) = self.note(manifest, self.archive.keys.manifest(id), of)? else { continue };
            let mut parts = Vec::with_capacity(manifest.parts.len());
            for part in &manifest.parts {
                wanted.parts.insert(part.id.clone());
                let read = self.archive.part(id, part).await;
                parts.extend(self.note(read, self.archive.keys.part(&part.id), of)?);
            }
            self.parts += parts.len() as u64;
            let is_complete = parts.len() == manifest.parts.len();
            self.findings.extend(wanted.add(&self.archive.keys, &manifest, parts, is_complete));
        }
        Ok(wanted)
    }

    /// What was read, or `None` and a finding when it is damaged or missing.
    fn note<T>(
        &mut self,
        read: Result<T, repository::Error>,
        key: String,
        backups: &[BackupId],
    ) -> Result<Option<T>, Error> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == Kind::Corrupt => {
                self.findings.push(Finding::of_object(key, backups, finding::without_key(&error)));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks the segments that the backups name.
    async fn segments(&mut self, wanted: &Wanted, level: Level, parallelism: usize) -> Result<segment::Read, Error> {
        self.progress.expect_offsets(wanted.segments.values().map(|wanted| wanted.offsets()).sum());
        let (store, keys) = (&self.archive.store, &self.archive.keys);
        let checks = wanted.segments.values().map(|wanted| {
            let check = segment::Check {
                store: store.clone(),
                key: keys.segment(&wanted.segment.id),
                keys: keys.clone(),
                wanted: Arc::clone(wanted),
                level,
                decompressed_batch_bytes_max: self.decompressed_batch_bytes_max,
                progress: self.progress.clone(),
                stop: self.stop.clone(),
            };
            // A task each, so that they use every core.
            async move { tokio::spawn(check.run()).await.map_err(|_| Error::WorkerEnded)?.map_err(Error::from) }
        });
        let mut read = segment::Read::default();
        let mut checks = stream::iter(checks).buffered(parallelism);
        while let Some(of_segment) = checks.try_next().await? {
            let segment::Read { records, bytes, findings } = of_segment;
            read.records += records;
            read.bytes += bytes;
            self.findings.extend(findings);
        }
        drop(checks);
        self.check_stop()?;
        Ok(read)
    }

    /// The keys of segments and parts that no backup of the archive names.
    async fn leftovers(&self, wanted: &Wanted) -> Result<Vec<String>, Error> {
        let (segments, parts) = (self.archive.keys.segments(), self.archive.keys.parts());
        let mut keys = Vec::new();
        for object in self.archive.store.list(&segments).await? {
            let id = ArchiveKeys::leaf(&segments, &object.key).and_then(|leaf| leaf.parse::<SegmentId>().ok());
            if id.is_none_or(|id| !wanted.segments.contains_key(&id)) {
                keys.push(object.key);
            }
        }
        for object in self.archive.store.list(&parts).await? {
            let id = ArchiveKeys::leaf(&parts, &object.key).and_then(|leaf| leaf.parse::<PartId>().ok());
            if id.is_none_or(|id| !wanted.parts.contains(&id)) {
                keys.push(object.key);
            }
        }
        Ok(keys)
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.is_set() { Err(Error::Interrupted { findings: self.findings.len() }) } else { Ok(()) }
    }
}
