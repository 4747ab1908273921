//! Deleting segments and parts that no backup needs, a folder at a time, and the journals of restores of backups that are gone.
//!
//! It takes no lease, since it can take long. What goes was decided while the archive's lease was held, and nothing can need it again:
//! an object is only named by the run that wrote it, under the lease of its epoch, or by a manifest that was listed then. So the
//! deletions are bounded by epoch: what later holders of the lease write, also for a backup of the same id, is never looked at.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use super::Error;
use super::facts::{journals_of, named_by, named_in};
use super::plan::{Deletion, Keeps, Named, Needed, Stored, unneeded};
use crate::clock::now_ms;
use crate::error::Kind;
use crate::format::facts::Holdings;
use crate::format::layout::{BackupId, PartId, SegmentId};
use crate::repository::Archive;
use crate::stop::Stop;
use crate::store::Store;

/// Folders that are listed at once. A large backup has tens of thousands of segments.
const FOLDERS_AT_ONCE: usize = 8;

/// How many folders are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All, so that what killed runs of finished backups left is found too.
    All,
    /// Those of backups that are gone: the cost is that of what is deleted.
    Gone,
}

/// What may go, and what is to be looked at for it.
#[derive(Debug)]
pub struct Sweep {
    archive: Archive,
    needed: Needed,
    folders: BTreeSet<BackupId>,
    /// Backups that are gone and were restored.
    restored: Vec<BackupId>,
    /// The newest epoch whose objects may go.
    epoch_max: u64,
    grace_ms: i64,
}

/// What went, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What could not be deleted, each in one line.
    pub problems: Vec<String>,
}

impl Swept {
    /// Counts these too.
    pub fn add(&mut self, deletions: &[Deletion]) {
        self.objects += deletions.len();
        self.bytes += deletions.iter().map(|deletion| deletion.bytes).sum::<u64>();
    }

    /// Counts what another one counted, too.
    pub fn join(&mut self, other: Self) {
        let Self { objects, bytes, problems } = other;
        self.objects += objects;
        self.bytes += bytes;
        self.problems.extend(problems);
    }

    /// Deletes these. What the store refuses to delete is a problem: a legal hold on one object does not keep the others.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn delete(&mut self, store: &Store, deletions: &[Deletion]) -> Result<(), Error> {
        let keys: Vec<String> = deletions.iter().map(|deletion| deletion.key.clone()).collect();
        match store.delete_many(&keys).await {
            Ok(()) => self.add(deletions),
            Err(error) if matches!(error.kind(), Kind::Denied | Kind::Usage | Kind::Conflict) => {
                self.problems.push(format!("not all of {} objects could be deleted: {error}", keys.len()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Sweep {
    /// Lists the folders that are to be looked at.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn of(
        archive: &Archive,
        needed: Needed,
        scope: Scope,
        epoch_max: u64,
        grace_ms: i64,
    ) -> Result<Self, Error> {
        let mut folders = BTreeSet::new();
        let mut restored = Vec::new();
        if needed.unknown.is_empty() {
            let (segments, parts) = (archive.keys.segments(), archive.keys.parts());
            let (segments, parts) = futures::try_join!(archive.folders(&segments), archive.folders(&parts))?;
            restored = archive.folders(&archive.keys.restored()).await?;
            restored.retain(|id| !needed.folders.contains_key(id));
            folders = segments.into_iter().chain(parts).filter(|id| is_looked_at(&needed.folders, id, scope)).collect();
        }
        Ok(Self { archive: archive.clone(), needed, folders, restored, epoch_max, grace_ms })
    }

    /// Why less may go than might, each in one line.
    pub fn problems(&self) -> &[String] {
        &self.needed.unknown
    }

    /// Counts what would go.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn count(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let found = self.folders.clone().into_iter().map(|id| self.unneeded_of(id));
        let mut found = stream::iter(found).buffer_unordered(FOLDERS_AT_ONCE);
        while let Some(deletions) = found.try_next().await? {
            swept.add(&deletions);
        }
        drop(found);
        for id in &self.restored {
            journals_of(&self.archive, id).await?.iter().for_each(|step| swept.add(step));
        }
        Ok(swept)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// Whatever the store fails with, and [`Error::Interrupted`].
    pub async fn delete(&self, stop: &Stop) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let found = self.folders.clone().into_iter().map(|id| async move {
            // A backup of which a listing shows nothing may still be there: nothing goes on the word of a listing alone.
            if !self.needed.folders.contains_key(&id) && self.is_there(&id).await? {
                let problem = format!("nothing of {id} is deleted: a listing does not show it, and it is there");
                return Ok((Vec::new(), Some(problem)));
            }
            Ok::<_, Error>((self.unneeded_of(id).await?, None))
        });
        let mut found = stream::iter(found).buffer_unordered(FOLDERS_AT_ONCE);
        while let Some((deletions, problem)) = found.try_next().await? {
            if stop.is_set() {
                return Err(Error::Interrupted { deleted: swept.objects });
            }
            swept.problems.extend(problem);
            swept.delete(&self.archive.store, &deletions).await?;
        }
        drop(found);
        for id in &self.restored {
            if stop.is_set() {
                return Err(Error::Interrupted { deleted: swept.objects });
            }
            if self.is_there(id).await? {
                continue;
            }
            let [journals, names] = journals_of(&self.archive, id).await?;
            let problems = swept.problems.len();
            swept.delete(&self.archive.store, &journals).await?;
            // What could not be deleted now is found again by its name.
            if swept.problems.len() == problems {
                swept.delete(&self.archive.store, &names).await?;
            }
        }
        Ok(swept)
    }

    /// Whether the backup is finished, or a run may resume it.
    async fn is_there(&self, id: &BackupId) -> Result<bool, Error> {
        let (store, keys) = (&self.archive.store, &self.archive.keys);
        Ok(store.exists(&keys.manifest(id)).await? || store.exists(&keys.cut(id)).await?)
    }

    /// Everything that would go.
    #[cfg(test)]
    pub(super) async fn deletions(&self) -> Result<Vec<Deletion>, Error> {
        let found = self.folders.clone().into_iter().map(|id| self.unneeded_of(id));
        stream::iter(found).buffered(1).try_concat().await
    }

    async fn unneeded_of(&self, backup: BackupId) -> Result<Vec<Deletion>, Error> {
        let backup = &backup;
        let (segments_of, parts_of) = (self.archive.keys.segments_of(backup), self.archive.keys.parts_of(backup));
        let store = &self.archive.store;
        let (segments, parts) = futures::try_join!(store.list(&segments_of), store.list(&parts_of))?;
        let mut segments: Vec<Stored<SegmentId>> = named_in(&segments_of, &segments);
        let mut parts: Vec<Stored<PartId>> = named_in(&parts_of, &parts);
        let may_go =
            |of: Option<(BackupId, u64)>| of.is_some_and(|(of, epoch)| of == *backup && epoch <= self.epoch_max);
        segments.retain(|segment| may_go(segment.id.written_by()));
        parts.retain(|part| may_go(part.id.written_by()));
        let own = match self.needed.folders.get(backup).copied().unwrap_or(Keeps::Named) {
            Keeps::All => return Ok(Vec::new()),
            Keeps::AtMost(Holdings { segments: named, parts: named_parts, .. })
                if segments.len() as u64 <= named && parts.len() as u64 <= named_parts =>
            {
                return Ok(Vec::new());
            }
            // There is more than the backup names: only its parts can tell which.
            Keeps::AtMost(_) => match named_by(&self.archive, backup).await? {
                Ok(named) => named,
                Err(why) => {
                    tracing::warn!("what backup {backup} does not need is not known, and kept: {why}");
                    return Ok(Vec::new());
                }
            },
            Keeps::Named => Named::default(),
        };
        let shared = &self.needed.named;
        segments.retain(|segment| !own.segments.contains(&segment.id));
        parts.retain(|part| !own.parts.contains(&part.id));
        let mut deletions = unneeded(&parts, &shared.parts, self.grace_ms, now_ms());
        deletions.extend(unneeded(&segments, &shared.segments, self.grace_ms, now_ms()));
        Ok(deletions)
    }
}

fn is_looked_at(kept: &BTreeMap<BackupId, Keeps>, id: &BackupId, scope: Scope) -> bool {
    match (kept.get(id), scope) {
        (None, _) | (Some(Keeps::Named), _) | (Some(Keeps::AtMost(_)), Scope::All) => true,
        (Some(Keeps::All), _) | (Some(Keeps::AtMost(_)), Scope::Gone) => false,
    }
}
