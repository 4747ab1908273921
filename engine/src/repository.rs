//! The reading side of a repository: what is in it, and each document checked before anybody relies on it.
//!
//! Only the store's answer "there is no such object" means that something is not there; every other failure is one.

mod choice;
#[cfg(test)]
pub(crate) mod sample;
pub mod segment;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;

use crate::breaker::Breaker;
use crate::config::storage::StorageConfig;
use crate::error::Kind;
use crate::format::contents::ArchiveContents;
use crate::format::document::{self, DocumentKind};
use crate::format::layout::{self, ArchiveKeys, ArchiveName, BackupId};
use crate::format::manifest::{self, ArchiveOwner, Cut, Manifest, Part, PartRef, VERSION};
use crate::store::{self, Store};

/// A run that holds an archive's lease and fell silent for this long, in milliseconds, has lost it.
pub const LEASE_TTL_MS: i64 = 60_000;
/// Small documents that are asked for at once: a store far away answers one in a tenth of a second.
const REQUESTS_AT_ONCE: usize = 16;

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
    /// The archive has partial backups only.
    #[error(
        "archive {archive} has no completed backup, only partial ones ({}): name one of them to restore what it has",
        backups.iter().map(BackupId::as_str).collect::<Vec<_>>().join(", ")
    )]
    OnlyPartial {
        /// The archive.
        archive: ArchiveName,
        /// Its backups.
        backups: Vec<BackupId>,
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
            | Self::NotInArchive { .. }
            | Self::Unfinished { .. }
            | Self::Ambiguous { .. }
            | Self::Empty { .. }
            | Self::OnlyPartial { .. } => Kind::Usage,
            Self::Document { .. } | Self::Part { .. } | Self::Misplaced { .. } => Kind::Corrupt,
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
        let mut finished: Option<Archive> = None;
        let mut begun = None;
        for name in self.archives().await? {
            let archive = Archive::new(self.store.clone(), name);
            if self.store.exists(&archive.keys.manifest(id)).await? {
                if let Some(first) = finished {
                    return Err(Error::Ambiguous { backup: id.clone(), first: first.name, second: archive.name });
                }
                finished = Some(archive);
            } else if self.store.exists(&archive.keys.cut(id)).await? {
                begun = Some(archive.name);
            }
        }
        match (finished, begun) {
            (Some(archive), _) => {
                let manifest = archive.manifest(id).await?;
                Ok((archive, manifest))
            }
            (None, Some(archive)) => Err(Error::Unfinished { archive, backup: id.clone() }),
            (None, None) => Err(Error::NoBackup { store: self.store.name().to_owned(), backup: id.clone() }),
        }
    }
}

/// How far a backup came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has a manifest.
    Finished,
    /// It has only a cut or checkpoints: a run that is still at work, or was killed.
    Unfinished,
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

    /// Every backup, by id.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn backups(&self) -> Result<BTreeMap<BackupId, Stage>, Error> {
        let folders = self.store.list_dirs(&self.keys.backups()).await?;
        let ids: Vec<BackupId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
        stream::iter(ids.into_iter().map(|id| async move {
            let is_finished = self.store.exists(&self.keys.manifest(&id)).await?;
            Ok((id, if is_finished { Stage::Finished } else { Stage::Unfinished }))
        }))
        .buffer_unordered(REQUESTS_AT_ONCE)
        .try_collect()
        .await
    }

    /// Every manifest that there is, or why it cannot be read; by id.
    ///
    /// # Errors
    /// Whatever the store fails with, other than that the bytes of one manifest are wrong.
    pub async fn manifests(&self) -> Result<BTreeMap<BackupId, Result<Manifest, Error>>, Error> {
        let backups = self.backups().await?;
        let finished = backups.into_iter().filter(|(_, stage)| *stage == Stage::Finished);
        let read = stream::iter(finished.map(|(id, _)| async move {
            let manifest = self.manifest(&id).await;
            (id, manifest)
        }));
        let read: Vec<_> = read.buffer_unordered(REQUESTS_AT_ONCE).collect().await;
        read.into_iter()
            .map(|(id, manifest)| match manifest {
                Err(error) if error.kind() != Kind::Corrupt => Err(error),
                Ok(_) | Err(_) => Ok((id, manifest)),
            })
            .collect()
    }

    /// What the archive holds. A backup whose manifest is damaged does not count.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn contents(&self) -> Result<ArchiveContents, Error> {
        let manifests = self.manifests().await?;
        let backups = manifests.values().flatten().filter(|manifest| !manifest.is_partial()).count();
        let segments = self.store.list(&self.keys.segments()).await?;
        Ok(ArchiveContents { backups, bytes: segments.iter().map(|segment| segment.size).sum() })
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// [`Error::Document`], [`Error::Misplaced`], and whatever the store fails with.
    pub async fn manifest(&self, id: &BackupId) -> Result<Manifest, Error> {
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
        Ok(manifest)
    }

    /// The newest backup, by the time of its cut; one of which nothing is missing before one that is partial.
    ///
    /// # Errors
    /// [`Error::Empty`]; a manifest that cannot be read, since it may be the newest.
    pub async fn newest(&self) -> Result<Manifest, Error> {
        let manifests = self.manifests().await?.into_values().collect::<Result<Vec<_>, Error>>()?;
        manifests
            .into_iter()
            .max_by_key(|manifest| (!manifest.is_partial(), manifest.cut_at_ms))
            .ok_or_else(|| Error::Empty { archive: self.name.clone() })
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

    /// The backup to read for a restore to this time (milliseconds since the epoch): the oldest completed one that reaches it,
    /// else the newest completed one and, in one line, that it does not.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::OnlyPartial`]; a manifest that cannot be read, since it may be the one.
    pub async fn reaching(&self, at_ms: i64) -> Result<(Manifest, Option<String>), Error> {
        let manifests = self.manifests().await?;
        let backups: Vec<BackupId> = manifests.keys().cloned().collect();
        let manifests = manifests.into_values().collect::<Result<Vec<_>, Error>>()?;
        choice::reaching(manifests, at_ms).ok_or_else(|| match backups.is_empty() {
            true => Error::Empty { archive: self.name.clone() },
            false => Error::OnlyPartial { archive: self.name.clone(), backups },
        })
    }

    /// What an unfinished backup began with; `None` when it did not get that far.
    ///
    /// # Errors
    /// [`Error::Document`], and whatever the store fails with.
    pub async fn cut(&self, id: &BackupId) -> Result<Option<Cut>, Error> {
        self.optional(DocumentKind::Cut, &self.keys.cut(id)).await
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
        let parts: Vec<Part> = stream::iter(&manifest.parts)
            .map(|part| self.part(&manifest.backup_id, part))
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await?;
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
