//! The reading side of a repository: what is in it, and each document checked before anybody relies on it.
//!
//! Only the store's answer "there is no such object" means that something is not there; every other failure is one.

mod choice;
pub mod listing;
#[cfg(test)]
mod requests;
#[cfg(test)]
pub(crate) mod sample;
pub mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;

use self::choice::{Candidate, Damaged, Wanted};
use self::listing::{Listed, Listing};
use crate::breaker::Breaker;
use crate::config::storage::StorageConfig;
use crate::error::Kind;
use crate::format::contents::ArchiveContents;
use crate::format::document::{self, DocumentKind};
use crate::format::facts::{BackupFacts, FactsDetails};
use crate::format::layout::{self, ArchiveKeys, ArchiveName, BackupId};
use crate::format::manifest::{self, ArchiveOwner, Cut, Manifest, Part, PartRef, VERSION};
use crate::format::segment::SegmentRef;
use crate::store::{self, Object, REQUESTS_AT_ONCE, Store};

/// A run that holds an archive's lease and fell silent for this long, in milliseconds, has lost it.
pub const LEASE_TTL_MS: i64 = 60_000;
/// Manifests that are read at once where the listing does not say what they are: one may have tens of megabytes.
const MANIFESTS_AT_ONCE: usize = 2;

/// Why something cannot be read from a repository.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is a store, and no repository in it.
    #[error(
        "{store} holds no repository (there is no {}): check the storage URL, or make a backup into it first",
        layout::REPOSITORY
    )]
    NoRepository {
        /// The store.
        store: String,
    },
    /// There is no such archive.
    #[error("{store} has no archive {archive}: {}", there_is(known))]
    NoArchive {
        /// The store.
        store: String,
        /// What was looked for.
        archive: ArchiveName,
        /// What there is.
        known: Vec<ArchiveName>,
    },
    /// The backup was there when the run began.
    #[error(
        "backup {backup} was deleted while it was read, probably by retention; choose another backup: `list` shows them"
    )]
    Deleted {
        /// The backup.
        backup: BackupId,
    },
    /// Another backup has taken the place of the one that was chosen.
    #[error(
        "backup {backup} was deleted, and another was made under its id, since this run began: run the same command again"
    )]
    Replaced {
        /// The backup.
        backup: BackupId,
    },
    /// There is no such backup.
    #[error("{store} has no backup {backup} in any archive: `list --archive NAME` shows those that there are")]
    NoBackup {
        /// The store.
        store: String,
        /// What was looked for.
        backup: BackupId,
    },
    /// The backup was begun and has no manifest.
    #[error(
        "backup {backup} of archive {archive} was never finished: run its backup command again, or choose another backup"
    )]
    Unfinished {
        /// The archive.
        archive: ArchiveName,
        /// The backup.
        backup: BackupId,
    },
    /// Two archives have a backup of one id.
    #[error(
        "backup {backup} is in more than one archive ({first} and {second}): rename one, a backup id names one backup"
    )]
    Ambiguous {
        /// The backup.
        backup: BackupId,
        /// An archive that has it.
        first: ArchiveName,
        /// Another one.
        second: ArchiveName,
    },
    /// The archive has no such backup.
    #[error("archive {archive} has no backup {backup}: `list --archive {archive}` shows those that there are")]
    NotInArchive {
        /// The archive.
        archive: ArchiveName,
        /// What was looked for.
        backup: BackupId,
    },
    /// The archive has nothing that could be restored.
    #[error("archive {archive} has no finished backup")]
    Empty {
        /// The archive.
        archive: ArchiveName,
    },
    /// The backup that would be the best choice may be one that cannot be read.
    #[error(
        "archive {archive}: backup {damaged} may be the one to restore and cannot be read ({why}): `verify --backup {damaged}` \
         says what is damaged; to restore another one, name it by its id, such as {instead}"
    )]
    Doubtful {
        /// The archive.
        archive: ArchiveName,
        /// The backup that cannot be read.
        damaged: BackupId,
        /// Why, in one line.
        why: String,
        /// The best one of those that can be.
        instead: BackupId,
    },
    /// A stored document is not what was written.
    #[error("{key}: {error}")]
    Document {
        /// The object.
        key: String,
        /// What is wrong with it.
        error: document::Error,
    },
    /// A part is not the one that the manifest names.
    #[error("{key}: {why}, so the manifest {manifest} cannot be relied on")]
    Part {
        /// The object.
        key: String,
        /// How it differs.
        why: &'static str,
        /// The manifest that names it.
        manifest: String,
    },
    /// A document stands where another belongs.
    #[error("{key}: it is the document of {found}: objects were moved or renamed by hand")]
    Misplaced {
        /// The object.
        key: String,
        /// What it says of itself.
        found: String,
    },
}

fn there_is(known: &[ArchiveName]) -> String {
    if known.is_empty() {
        return "it has none at all".to_owned();
    }
    format!("there is {}", known.iter().map(ArchiveName::as_str).collect::<Vec<_>>().join(", "))
}

impl Error {
    /// What it asks of whoever reads it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::NoRepository { .. }
            | Self::NoArchive { .. }
            | Self::NoBackup { .. }
            | Self::Deleted { .. }
            | Self::NotInArchive { .. }
            | Self::Unfinished { .. }
            | Self::Ambiguous { .. }
            | Self::Empty { .. } => Kind::Usage,
            Self::Replaced { .. } => Kind::Conflict,
            Self::Doubtful { .. } | Self::Document { .. } | Self::Part { .. } | Self::Misplaced { .. } => Kind::Corrupt,
        }
    }
}

/// A repository that is there and of a version that this program reads.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where it is kept.
    pub store: Store,
    /// What it says of itself.
    pub description: manifest::Repository,
}

impl Repository {
    /// Opens a repository for reading; nothing is written.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::Document`], and whatever the store fails with.
    pub async fn open(storage: &StorageConfig) -> Result<Self, Error> {
        Self::of(Store::open(storage).await?).await
    }

    /// Opens the repository in a store.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn of(store: Store) -> Result<Self, Error> {
        let bytes = match store.read(layout::REPOSITORY).await {
            Err(error) if error.is_not_found() => {
                return Err(Error::NoRepository { store: store.name().to_owned() });
            }
            read => read?,
        };
        let description = parse(DocumentKind::Repository, layout::REPOSITORY, &bytes)?;
        Ok(Self { store, description })
    }

    /// The names of all archives, sorted.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn archives(&self) -> Result<Vec<ArchiveName>, Error> {
        let folders = self.store.list_dirs(layout::ARCHIVES).await?;
        // A folder whose name is no archive's was not made by us.
        Ok(folders.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The archive of this name.
    ///
    /// # Errors
    /// [`Error::NoArchive`] with the names that there are.
    pub async fn archive(&self, name: &ArchiveName) -> Result<Archive, Error> {
        let known = self.archives().await?;
        if known.contains(name) {
            return Ok(Archive::new(self.store.clone(), name.clone()));
        }
        Err(Error::NoArchive { store: self.store.name().to_owned(), archive: name.clone(), known })
    }

    /// The archive that has the backup of this id, and its manifest.
    ///
    /// # Errors
    /// [`Error::NoBackup`], [`Error::Unfinished`], [`Error::Ambiguous`], and those of reading a manifest.
    pub async fn find(&self, id: &BackupId) -> Result<(Archive, Manifest), Error> {
        let archives = self.archives().await?.into_iter().map(|name| Archive::new(self.store.clone(), name));
        let looked = archives.map(|archive| async move {
            let is_finished = self.store.exists(&archive.keys.manifest(id)).await?;
            let is_begun = !is_finished && self.store.exists(&archive.keys.cut(id)).await?;
            Ok::<_, Error>((archive, is_finished, is_begun))
        });
        let mut looked = stream::iter(looked).buffered(REQUESTS_AT_ONCE);
        let mut finished: Option<Archive> = None;
        let mut begun = None;
        while let Some((archive, is_finished, is_begun)) = looked.try_next().await? {
            if is_finished {
                if let Some(first) = finished {
                    return Err(Error::Ambiguous { backup: id.clone(), first: first.name, second: archive.name });
                }
                finished = Some(archive);
            } else if is_begun {
                begun = Some(archive.name);
            }
        }
        drop(looked);
        match (finished, begun) {
            (Some(archive), _) => match archive.manifest(id).await {
                Ok(manifest) => Ok((archive, manifest)),
                Err(Error::Store(error)) if error.is_not_found() => Err(Error::Deleted { backup: id.clone() }),
                Err(error) => Err(error),
            },
            (None, Some(archive)) => Err(Error::Unfinished { archive, backup: id.clone() }),
            (None, None) => Err(Error::NoBackup { store: self.store.name().to_owned(), backup: id.clone() }),
        }
    }
}

/// An archive of a repository, for reading.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The repository's store.
    pub store: Store,
    /// The archive's name.
    pub name: ArchiveName,
    /// Its keys.
    pub keys: ArchiveKeys,
}

impl Archive {
    /// The archive of this name; nothing is read yet.
    pub fn new(store: Store, name: ArchiveName) -> Self {
        let keys = ArchiveKeys::new(&name);
        Self { store, name, keys }
    }

    /// The same archive, for a run that pauses while its store is sick: see [`Store::with_breaker`].
    #[must_use]
    pub fn with_breaker(self, breaker: Breaker) -> Self {
        Self { store: self.store.with_breaker(breaker), ..self }
    }

    /// What the archive belongs to; `None` when its first run was killed before it said so.
    ///
    /// # Errors
    /// [`Error::Document`], and whatever the store fails with.
    pub async fn owner(&self) -> Result<Option<ArchiveOwner>, Error> {
        self.optional(DocumentKind::Archive, &self.keys.archive()).await
    }

    /// What the archive lists, by two listings whose length is the number of backups.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn listing(&self) -> Result<Listing, Error> {
        // In this order: a run that commits in between, and clears its progress away, is in both or in the second.
        let progress = self.store.list_dirs(&self.keys.progress()).await?;
        let objects = self.store.list(&self.keys.backups()).await?;
        Ok(Listing::of(&self.keys, objects, &progress))
    }

    /// What is listed of one backup; `None` when it is not finished.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn listed(&self, id: &BackupId) -> Result<Option<Listed>, Error> {
        let objects = self.store.list(&format!("{}{id}/", self.keys.backups())).await?;
        Ok(Listing::of(&self.keys, objects, &[]).finished.remove(id))
    }

    /// What is known of every finished backup of a listing, or why it cannot be known. Manifests are opened only where the listing
    /// leaves it open, and none is kept.
    ///
    /// # Errors
    /// Whatever the store fails with, other than that the bytes of one manifest are wrong.
    pub async fn facts(&self, listing: &Listing) -> Result<BTreeMap<BackupId, Result<BackupFacts, Error>>, Error> {
        let mut known = BTreeMap::new();
        let mut open = Vec::new();
        for (id, listed) in &listing.finished {
            match listed.facts() {
                Some(facts) => drop(known.insert(id.clone(), Ok(facts))),
                None => open.push((id.clone(), listed.clone())),
            }
        }
        let read = open.into_iter().map(|(id, listed)| async move {
            let facts = self.read_facts(&id, &listed).await;
            (id, facts)
        });
        let mut read = stream::iter(read).buffer_unordered(MANIFESTS_AT_ONCE);
        while let Some((id, facts)) = read.next().await {
            match facts {
                // It was pruned since it was listed.
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error) if error.kind() != Kind::Corrupt => return Err(error),
                facts => drop(known.insert(id, facts)),
            }
        }
        drop(read);
        Ok(known)
    }

    /// The facts of a backup of which the listing leaves it open, from its manifest.
    async fn read_facts(&self, id: &BackupId, listed: &Listed) -> Result<BackupFacts, Error> {
        let (manifest, object) = self.manifest_and_object(id).await?;
        Ok(listed.facts_of(&object).unwrap_or_else(|| BackupFacts::of(&manifest, &object, None)))
    }

    /// The label and the problems of a finished backup, from the small object next to its manifest; `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::Document`], and whatever the store fails with.
    pub async fn details(&self, listed: &Listed, facts: &BackupFacts) -> Result<Option<FactsDetails>, Error> {
        let Some(key) = listed.facts_key(facts) else { return Ok(None) };
        match self.store.read(key).await {
            Err(error) if error.is_not_found() => Ok(None),
            read => {
                FactsDetails::open(&read?).map(Some).map_err(|error| Error::Document { key: key.to_owned(), error })
            }
        }
    }

    /// What the archive holds. A backup whose manifest is damaged does not count; its segments do.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn contents(&self) -> Result<ArchiveContents, Error> {
        let facts = self.facts(&self.listing().await?).await?;
        let complete = facts.values().flatten().filter(|facts| !facts.is_partial()).count();
        let holdings = |id: &BackupId| facts.get(id).and_then(|facts| facts.as_ref().ok()?.holdings);
        let mut bytes: u64 = facts.keys().filter_map(holdings).map(|holdings| holdings.bytes).sum();
        // The segments of other backups, unfinished and deleted ones among them, are counted one by one.
        let mut folders = self.folders(&self.keys.segments()).await?;
        folders.retain(|id| holdings(id).is_none());
        let listed = folders.into_iter().map(|id| async move { self.store.list(&self.keys.segments_of(&id)).await });
        let mut listed = stream::iter(listed).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(segments) = listed.try_next().await? {
            bytes += segments.iter().map(|segment| segment.size).sum::<u64>();
        }
        drop(listed);
        Ok(ArchiveContents { backups: complete, bytes })
    }

    /// The backups that have a folder under this one.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn folders(&self, of: &str) -> Result<Vec<BackupId>, Error> {
        // A folder whose name is no backup's was not made by us.
        Ok(self.store.list_dirs(of).await?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The folders that these segments are in.
    pub fn folders_of<'s>(&self, segments: impl Iterator<Item = &'s SegmentRef>) -> BTreeSet<String> {
        let folder = |segment: &SegmentRef| match segment.id.backup() {
            Some(backup) => self.keys.segments_of(&backup),
            None => self.keys.segments(),
        };
        segments.map(folder).collect()
    }

    /// The objects in these folders.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn list_folders(&self, folders: BTreeSet<String>) -> Result<Vec<Object>, Error> {
        let listed = folders.into_iter().map(|folder| async move { self.store.list(&folder).await });
        Ok(stream::iter(listed).buffered(REQUESTS_AT_ONCE).try_concat().await?)
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Misplaced`], and whatever the store fails with.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest, Error> {
        Ok(self.manifest_and_object(id).await?.0)
    }

    /// The manifest of a backup, and the bytes that it was read from.
    ///
    /// # Errors
    /// As [`Archive::manifest`].
    pub async fn manifest_and_object(&self, id: &BackupId) -> Result<(Manifest, Bytes), Error> {
        let key = self.keys.manifest(id);
        let bytes = self.store.read(&key).await?;
        let manifest = match Manifest::open(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return Err(Error::Document { key, error }),
        };
        if manifest.backup_id != *id || manifest.archive != self.name {
            let found = format!("backup {} of archive {}", manifest.backup_id, manifest.archive);
            return Err(Error::Misplaced { key, found });
        }
        Ok((manifest, bytes))
    }

    /// Looks whether a backup is still the one of which this manifest was read. Retention may delete a backup at any time of which no
    /// restore is under way, and a run may even make another one of its id.
    ///
    /// # Errors
    /// [`Error::Deleted`], [`Error::Replaced`], and those of [`Archive::manifest`].
    pub async fn still_holds(&self, read: &Manifest) -> Result<(), Error> {
        let backup = read.backup_id.clone();
        match self.manifest(&backup).await {
            Ok(found) if found == *read => Ok(()),
            Ok(_) => Err(Error::Replaced { backup }),
            Err(Error::Store(error)) if error.is_not_found() => Err(Error::Deleted { backup }),
            Err(error) => Err(error),
        }
    }

    /// The newest backup, by the time of its cut; one of which nothing is missing before one that is partial. And what should be
    /// known of the choice, each in one line: that a newer one is partial, that an older one cannot be read.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Doubtful`] when a newer one cannot be read.
    pub async fn newest(&self) -> Result<(Manifest, Vec<String>), Error> {
        self.choose(Wanted::Newest).await
    }

    /// The backup to read for a restore to this time (milliseconds since the epoch): the oldest completed one that reaches it,
    /// else the newest completed one, else a partial one. And what should be known of the choice, each in one line.
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Doubtful`] when one that cannot be read may reach further.
    pub async fn reaching(&self, at_ms: i64) -> Result<(Manifest, Vec<String>), Error> {
        self.choose(Wanted::Reaching(at_ms)).await
    }

    /// Opens the best backup, and of two that are damaged the one after.
    async fn choose(&self, wanted: Wanted) -> Result<(Manifest, Vec<String>), Error> {
        let listing = self.listing().await?;
        let (mut candidates, mut damaged) = (Vec::new(), Vec::new());
        let is_damaged = |id: BackupId, error: &Error| {
            let listed = listing.finished.get(&id);
            let about_ms = listed.map_or(i64::MAX, |listed| listed.about_ms(&id));
            let is_partial = listed.and_then(Listed::is_partial);
            Damaged { id, about_ms, is_partial, why: error.to_string() }
        };
        let mut first_error = None;
        for (id, facts) in self.facts(&listing).await? {
            match facts {
                Ok(facts) => candidates.push(Candidate { id, cut_at_ms: facts.cut_at_ms, problems: facts.problems }),
                Err(error) => {
                    damaged.push(is_damaged(id, &error));
                    first_error.get_or_insert(error);
                }
            }
        }
        loop {
            let Some(best) = choice::best(&candidates, wanted).cloned() else {
                return Err(first_error.unwrap_or_else(|| Error::Empty { archive: self.name.clone() }));
            };
            if let Some(Damaged { id, why, .. }) = choice::doubt(&best, &damaged, wanted) {
                let (archive, damaged, why, instead) = (self.name.clone(), id.clone(), why.clone(), best.id);
                return Err(Error::Doubtful { archive, damaged, why, instead });
            }
            match self.manifest(&best.id).await {
                Ok(manifest) => {
                    let warnings = choice::warnings(&best, &manifest.problems, &candidates, &damaged, wanted);
                    return Ok((manifest, warnings));
                }
                // It was pruned since it was listed.
                Err(Error::Store(error)) if error.is_not_found() => {}
                Err(error) if error.kind() == Kind::Corrupt => {
                    damaged.push(is_damaged(best.id.clone(), &error));
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            candidates.retain(|candidate| candidate.id != best.id);
        }
    }

    /// The backup of this id, which has to be in this archive.
    ///
    /// # Errors
    /// [`Error::NotInArchive`], [`Error::Unfinished`], and those of reading a manifest.
    pub async fn finished(&self, id: &BackupId) -> Result<Manifest, Error> {
        if self.store.exists(&self.keys.manifest(id)).await? {
            return self.manifest(id).await;
        }
        let (archive, backup) = (self.name.clone(), id.clone());
        match self.store.exists(&self.keys.cut(id)).await? {
            true => Err(Error::Unfinished { archive, backup }),
            false => Err(Error::NotInArchive { archive, backup }),
        }
    }

    /// What an unfinished backup began with; `None` when it did not get that far.
    ///
    /// # Errors
    /// [`Error::Document`], and whatever the store fails with.
    pub async fn cut(&self, id: &BackupId) -> Result<Option<Cut>, Error> {
        self.optional(DocumentKind::Cut, &self.keys.cut(id)).await
    }

    /// Why a backup cannot be finished, in one line, if a run has found that out.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn given_up(&self, id: &BackupId) -> Result<Option<String>, Error> {
        match self.store.read(&self.keys.given_up(id)).await {
            Err(error) if error.is_not_found() => Ok(None),
            why => Ok(Some(String::from_utf8_lossy(&why?).lines().next().unwrap_or_default().to_owned())),
        }
    }

    /// A part of a manifest, once it is seen to be the one that the manifest names.
    ///
    /// # Errors
    /// [`Error::Part`], [`Error::Document`], and whatever the store fails with.
    pub async fn part(&self, of: &BackupId, part: &PartRef) -> Result<Part, Error> {
        let key = self.keys.part(&part.id);
        let bytes = self.store.read(&key).await?;
        let differs = |key, why| Error::Part { key, why, manifest: self.keys.manifest(of) };
        if bytes.len() as u64 != part.bytes {
            return Err(differs(key, "it has another size than was stored"));
        }
        if document::sha256_hex(&bytes) != part.sha256 {
            return Err(differs(key, "its SHA-256 is not that of what was stored"));
        }
        Part::open(DocumentKind::Part, &bytes).map_err(|error| Error::Document { key, error })
    }

    /// All runs of a backup.
    ///
    /// # Errors
    /// As [`Archive::part`].
    pub async fn runs(&self, manifest: &Manifest) -> Result<Part, Error> {
        self.runs_in(&manifest.backup_id, manifest.parts.clone()).await
    }

    /// The runs of a backup that are in these of its parts.
    ///
    /// # Errors
    /// As [`Archive::part`].
    pub async fn runs_in(&self, of: &BackupId, parts: Vec<PartRef>) -> Result<Part, Error> {
        let read = parts.into_iter().map(|part| async move { self.part(of, &part).await });
        let parts: Vec<Part> = stream::iter(read).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        Ok(Part::merge(parts))
    }

    async fn optional<T: DeserializeOwned>(&self, kind: DocumentKind, key: &str) -> Result<Option<T>, Error> {
        match self.store.read(key).await {
            Err(error) if error.is_not_found() => Ok(None),
            read => parse(kind, key, &read?).map(Some),
        }
    }
}

fn parse<T: DeserializeOwned>(kind: DocumentKind, key: &str, bytes: &Bytes) -> Result<T, Error> {
    document::open(kind, VERSION, bytes).map_err(|error| Error::Document { key: key.to_owned(), error })
}
