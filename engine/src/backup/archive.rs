//! Whose archive it is, what stands in it unfinished, and how a backup enters it.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Error;
use crate::clock::utc;
use crate::config::backup::Checked;
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::facts::{BackupFacts, FactsDetails, Holdings};
use crate::format::layout::{self, ArchiveKeys, ArchiveName, BackupId, CheckpointName, PartId};
use crate::format::manifest::{ArchiveOwner, Cut, Manifest, Part, PartRef, Repository, VERSION};
use crate::format::segment::SegmentRef;
use crate::repository;
use crate::store::lease::Lease;
use crate::store::{self, Created, CreatedOrSame, REQUESTS_AT_ONCE, Store};

/// Runs that one part of a manifest lists at most, so that a reader of one topic need not read all of a large archive.
const PART_RUNS_MAX: usize = 20_000;
/// An unfinished backup older than this is not resumed: its cut says little about the cluster of today.
const RESUME_AGE_MAX_MS: i64 = 24 * 3600 * 1000;
/// How much later than the time in its id the cut of a backup may be made.
const CUT_DELAY_MAX_MS: i64 = 3600 * 1000;
/// How often the checkpoints of a backup are listed, when some vanish before they are read.
const CHECKPOINT_LISTINGS_MAX: usize = 3;
/// Cuts that are read at once: that of a large cluster has megabytes.
const CUTS_AT_ONCE: usize = 4;
/// Longest time that a finished run takes to clear its progress away, under its lease. What is left is for prune.
const FORGET_TIME_MAX: Duration = Duration::from_secs(30);

/// An archive in a repository, for a run that writes.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The repository.
    pub store: Store,
    /// The archive's name.
    pub name: ArchiveName,
    /// Its keys.
    pub keys: ArchiveKeys,
}

/// A change of an archive's owner that is allowed and not stored yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Adoption {
    from: ArchiveOwner,
    to: ArchiveOwner,
}

/// How a run begins.
#[derive(Debug)]
pub enum Begun {
    /// The backup is there already.
    Done(Box<Manifest>),
    /// There is something to read.
    Reading {
        /// What the backup is to hold.
        cut: Box<Cut>,
        /// What is stored already.
        stored: Vec<Part>,
    },
    /// Nothing is there yet: a cut is to be taken for this id.
    New(BackupId),
}

impl Archive {
    /// The archive of this name; nothing is read or written yet.
    pub fn new(store: Store, name: ArchiveName) -> Self {
        let keys = ArchiveKeys::new(&name);
        Self { store, name, keys }
    }

    /// The same archive, for reading.
    pub fn reading(&self) -> repository::Archive {
        repository::Archive::new(self.store.clone(), self.name.clone())
    }

    /// Makes the repository and the archive, or sees that they are ours, or to be adopted. An archive that is there is left as it is until
    /// [`Archive::adopt`]: the run may be refused. Call it with the archive's lease held.
    ///
    /// # Errors
    /// [`Error::OtherOwner`] when it belongs to another resource or cluster, and the configuration does not say to adopt it, or it is that
    /// of a name which the file system does not tell from this one.
    pub async fn claim(&self, config: &Checked, source_cluster_id: &str) -> Result<Option<Adoption>, Error> {
        let repository = Repository { id: Uuid::new_v4() };
        let sealed = document::seal(DocumentKind::Repository, VERSION, Encoding::Json, &repository);
        if self.store.create(layout::REPOSITORY, sealed.into()).await? == Created::AlreadyThere {
            self.open::<Repository>(DocumentKind::Repository, layout::REPOSITORY).await?;
        }
        let wanted = owner(config, source_cluster_id);
        let sealed = Bytes::from(document::seal(DocumentKind::Archive, VERSION, Encoding::Json, &wanted));
        let key = self.keys.archive();
        if self.store.create(&key, sealed).await? == Created::New {
            return Ok(None);
        }
        let found: ArchiveOwner = self.open(DocumentKind::Archive, &key).await?;
        let claim = judge_owner(&found, &wanted, config.config.adopt);
        if claim == Claim::Ours {
            return Ok(None);
        }
        let other_name = differ_in_case_only(&found, &wanted).then_some(found.name.as_str());
        let is_found_under_another = self.is_found_under_another(other_name).await?;
        match claim {
            Claim::Ours => Ok(None),
            Claim::Adopt if !is_found_under_another => Ok(Some(Adoption { from: found, to: wanted })),
            Claim::Adopt | Claim::Refuse => Err(Error::OtherOwner {
                archive: self.name.clone(),
                owner: describe(&found),
                wanted: describe(&wanted),
                is_found_under_another,
            }),
        }
    }

    /// Whether the store takes an archive of another name for this one: maybe of `other`. A file system that ignores case finds both, and
    /// lists one.
    async fn is_found_under_another(&self, other: Option<&str>) -> Result<bool, Error> {
        let folders = self.store.list_dirs(layout::ARCHIVES).await?;
        let is_listed = |name: &str| folders.iter().any(|folder| folder == name);
        if !is_listed(self.name.as_str()) {
            return Ok(true);
        }
        let Some(Ok(other)) = other.map(str::parse::<ArchiveName>) else { return Ok(false) };
        Ok(!is_listed(other.as_str()) && self.store.exists(&ArchiveKeys::new(&other).archive()).await?)
    }

    /// Writes down whose the archive is from now on. Call it when nothing refuses the run any more, and before the run stores anything.
    ///
    /// # Errors
    /// What the store fails with, and when the lease is lost: a run that slept since it read the owner must not write over its successor's.
    pub async fn adopt(&self, lease: &Lease, adoption: Option<Adoption>) -> Result<(), Error> {
        let Some(Adoption { from, to }) = adoption else { return Ok(()) };
        lease.check().await?;
        self.store.put(&self.keys.archive(), seal(DocumentKind::Archive, Encoding::Json, &to)).await?;
        tracing::warn!("archive {} is adopted: it belonged to {}", self.name, describe(&from));
        Ok(())
    }

    /// Finds out what there is to do for the backup of this id, or for an unfinished one of the same selection.
    ///
    /// # Errors
    /// What the store fails with, [`Error::OtherSelection`] when the id belongs to a backup of something else, and
    /// [`Error::OtherSource`] when it belongs to one of another cluster.
    pub async fn begin(&self, config: &Checked, source_cluster_id: &str, now_ms: i64) -> Result<Begun, Error> {
        if let Some(id) = &config.backup_id {
            return self.begin_named(id, config, source_cluster_id, now_ms).await;
        }
        let listing = self.reading().listing().await?;
        let mut ids: Vec<BackupId> = listing.unfinished().cloned().collect();
        ids.retain(|id| id.time_ms().is_none_or(|at_ms| now_ms - at_ms < RESUME_AGE_MAX_MS + CUT_DELAY_MAX_MS));
        let cuts = ids.into_iter().map(|id| async move {
            if self.store.exists(&self.keys.given_up(&id)).await? {
                return Ok(None);
            }
            match self.cut(&id).await {
                // It is another backup, maybe of another version of this program: it stops no new one.
                Err(error @ Error::Document { .. }) => {
                    tracing::warn!("the unfinished backup {id} is left alone: {error}");
                    Ok(None)
                }
                cut => cut,
            }
        });
        let mut cuts = stream::iter(cuts).buffered(CUTS_AT_ONCE);
        let mut unfinished = None;
        while let Some(cut) = cuts.try_next().await? {
            let Some(cut) = cut else { continue };
            let is_ours = cut.selection == config.selection()
                && cut.source_cluster_id == source_cluster_id
                && now_ms - cut.at_ms < RESUME_AGE_MAX_MS;
            // Of two that were cut at the same time, that with the last id.
            let is_newest = unfinished.as_ref().is_none_or(|other: &Cut| other.at_ms <= cut.at_ms);
            if is_ours && is_newest {
                unfinished = Some(cut);
            }
        }
        drop(cuts);
        if let Some(cut) = unfinished {
            return self.resume(cut).await;
        }
        let mut at_ms = now_ms;
        loop {
            let id = BackupId::at(&config.backup_id_prefix, at_ms)?;
            if !listing.knows(&id) {
                return Ok(Begun::New(id));
            }
            // Two backups within a second.
            at_ms += 1000;
        }
    }

    async fn begin_named(
        &self,
        id: &BackupId,
        config: &Checked,
        source_cluster_id: &str,
        now_ms: i64,
    ) -> Result<Begun, Error> {
        if self.store.exists(&self.keys.manifest(id)).await? {
            let manifest = self.manifest(id).await?;
            // Without this check, a run that adopts the archive would report another cluster's backup as its own.
            return match manifest.source_cluster_id == source_cluster_id {
                true => Ok(Begun::Done(Box::new(manifest))),
                false => Err(other_source(id, manifest.source_cluster_id, source_cluster_id)),
            };
        }
        let cut = match self.cut(id).await {
            Err(error @ Error::Document { .. }) => return self.begin_again(id, &error.to_string()).await,
            cut => cut?,
        };
        // Before anything is removed: a run must not remove the progress of another cluster's backup.
        if let Some(cut) = &cut
            && cut.source_cluster_id != source_cluster_id
        {
            return Err(other_source(id, cut.source_cluster_id.clone(), source_cluster_id));
        }
        if self.store.exists(&self.keys.given_up(id)).await? {
            return self.begin_again(id, "it was given up").await;
        }
        match cut {
            Some(cut) if now_ms - cut.at_ms >= RESUME_AGE_MAX_MS => {
                self.begin_again(id, &format!("it was cut at {}, more than a day ago", utc(cut.at_ms))).await
            }
            Some(cut) if cut.selection == config.selection() => self.resume(cut).await,
            Some(cut) => Err(Error::OtherSelection {
                backup_id: id.clone(),
                began_with: cut.selection,
                asked_for: config.selection(),
            }),
            None => Ok(Begun::New(id.clone())),
        }
    }

    /// Begins the backup of this id anew: what is stored of it cannot be finished, or says little about the cluster of today.
    async fn begin_again(&self, id: &BackupId, why: &str) -> Result<Begun, Error> {
        tracing::warn!("what was stored of backup {id} is not built upon: {why}");
        self.forget(id).await?;
        Ok(Begun::New(id.clone()))
    }

    /// Reads what is stored of an unfinished backup: the checkpoints that no folded one stands for. A run that has lost its lease may
    /// fold them at this very moment.
    async fn resume(&self, cut: Cut) -> Result<Begun, Error> {
        for _ in 0..CHECKPOINT_LISTINGS_MAX {
            if let Some(stored) = self.checkpoints(&cut.backup_id).await? {
                return Ok(Begun::Reading { cut: Box::new(cut), stored });
            }
        }
        Err(Error::CheckpointsChange { backup_id: cut.backup_id })
    }

    /// What the checkpoints of a backup name; `None` when one was removed since it was listed.
    async fn checkpoints(&self, id: &BackupId) -> Result<Option<Vec<Part>>, Error> {
        let folder = self.keys.progress_folder(id);
        let listed = self.store.list(&folder).await?;
        let names = listed.iter().filter_map(|object| ArchiveKeys::leaf(&folder, &object.key));
        let checkpoints = CheckpointName::covering(names.filter_map(CheckpointName::parse).collect());
        let keys = checkpoints.into_iter().map(|name| self.keys.checkpoint(id, name)).collect();
        let mut stored = Vec::new();
        let mut read = std::pin::pin!(self.store.read_many(keys));
        while let Some((key, bytes)) = read.next().await {
            match bytes {
                Err(error) if error.is_not_found() => return Ok(None),
                bytes => match Part::open(DocumentKind::Checkpoint, &bytes?) {
                    Ok(part) => stored.push(part),
                    // What it names is read again, which costs time and nothing else.
                    Err(error) => tracing::warn!("checkpoint {key} cannot be read, and is left out: {error}"),
                },
            }
        }
        Ok(Some(stored))
    }

    async fn cut(&self, id: &BackupId) -> Result<Option<Cut>, Error> {
        match self.open(DocumentKind::Cut, &self.keys.cut(id)).await {
            Ok(cut) => Ok(Some(cut)),
            Err(Error::Store(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores the cut; when another run of the same backup was faster, its cut is the one that counts.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn store_cut(&self, cut: Cut) -> Result<Cut, Error> {
        let key = self.keys.cut(&cut.backup_id);
        match self.store.create(&key, seal(DocumentKind::Cut, Encoding::JsonZstd, &cut)).await? {
            Created::New => Ok(cut),
            Created::AlreadyThere => self.open(DocumentKind::Cut, &key).await,
        }
    }

    /// Stores a checkpoint: the runs of segments that are stored.
    ///
    /// # Errors
    /// What the store fails with, and [`Error::Taken`] when somebody else wrote this very checkpoint.
    pub async fn store_checkpoint(&self, id: &BackupId, name: CheckpointName, part: &Part) -> Result<(), Error> {
        let key = self.keys.checkpoint(id, name);
        self.create_our_own(key, part.seal(DocumentKind::Checkpoint).into()).await
    }

    /// Removes checkpoints that a folded one stands for. When that fails they stay, and nobody reads them.
    pub async fn remove_checkpoints(&self, id: &BackupId, names: impl Iterator<Item = CheckpointName>) {
        let keys: Vec<String> = names.map(|name| self.keys.checkpoint(id, name)).collect();
        if let Err(error) = self.store.delete_many(&keys).await {
            tracing::debug!("checkpoints that were folded stay behind: {error}");
        }
    }

    /// Stores the parts of a manifest, and says how it names them.
    ///
    /// # Errors
    /// As [`Archive::store_checkpoint`].
    pub async fn store_parts(&self, id: &BackupId, epoch: u64, runs: &Part) -> Result<Vec<PartRef>, Error> {
        let parts = runs.split(PART_RUNS_MAX).into_iter().enumerate();
        let stored = parts.map(|(number, part)| async move {
            let sealed = part.seal(DocumentKind::Part);
            let named = PartRef::new(PartId::new(id, epoch, number), &part, &sealed);
            self.create_our_own(self.keys.part(&named.id), sealed.into()).await?;
            Ok::<_, Error>(named)
        });
        stream::iter(stored).buffered(REQUESTS_AT_ONCE).try_collect().await
    }

    /// Stores the manifest: from here on there is a backup. When one is there already, that one is it.
    ///
    /// The facts are stored before. Without a manifest they mean nothing; next to one they spare everybody the opening of it.
    /// `segments` are those that the backup names.
    ///
    /// # Errors
    /// What the store fails with, [`Error::LostSegment`], and when the lease is lost.
    pub async fn store_manifest(
        &self,
        lease: &Lease,
        manifest: Manifest,
        segments: &[SegmentRef],
    ) -> Result<Manifest, Error> {
        let id = &manifest.backup_id;
        let object = Bytes::from(manifest.seal());
        let key = self.keys.manifest(id);
        // A manifest that nobody can read must not be what says that there is a backup.
        Manifest::open(&object).map_err(|error| Error::UnreadableManifest { key: key.clone(), error })?;
        // What said that they are stored may have been something between here and the store, or a volume that is not mounted any more.
        if let Some(key) = self.missing(segments).await? {
            return Err(Error::LostSegment { key });
        }
        self.store_facts(&manifest, &object, segments).await?;
        lease.check().await?;
        self.create_manifest(lease, manifest, object, segments).await
    }

    /// Between the last look at the lease and the manifest this process may have slept for longer than prune's grace period. So it looks
    /// once more, and withdraws a backup that is not whole.
    async fn create_manifest(
        &self,
        lease: &Lease,
        manifest: Manifest,
        object: Bytes,
        segments: &[SegmentRef],
    ) -> Result<Manifest, Error> {
        let id = &manifest.backup_id;
        let key = self.keys.manifest(id);
        match self.store.create_or_same(&key, object.clone()).await? {
            CreatedOrSame::New | CreatedOrSame::AlreadyThere { same: true } => {}
            CreatedOrSame::AlreadyThere { same: false } => return self.manifest(id).await,
        }
        if let Err(lost) = lease.check().await
            && let Some(missing) = self.missing(segments).await?
        {
            tracing::warn!("backup {id} is withdrawn: {missing} was pruned before its manifest was there");
            if self.store.read(&key).await? == object {
                self.store.delete(&key).await?;
            }
            return Err(lost.into());
        }
        Ok(manifest)
    }

    /// Stores the facts of a manifest. They spare others the opening of the manifest, so the backup does not depend on a store that
    /// refuses them, as an old file system whose names are short.
    async fn store_facts(&self, manifest: &Manifest, object: &[u8], segments: &[SegmentRef]) -> Result<(), Error> {
        let facts = BackupFacts::of(manifest, object, Some(Holdings::of(manifest, segments)));
        let Some(name) = facts.name() else { return Ok(()) };
        let key = self.keys.facts(&manifest.backup_id, &name);
        match self.create_our_own(key, FactsDetails::of(manifest).seal().into()).await {
            Err(Error::Store(error @ (store::Error::Refused { .. } | store::Error::Denied { .. }))) => {
                tracing::warn!("every command will have to open the manifest of {}: {error}", manifest.backup_id);
                Ok(())
            }
            stored => stored,
        }
    }

    /// A segment that is not there, of these.
    async fn missing(&self, segments: &[SegmentRef]) -> Result<Option<String>, Error> {
        let reading = self.reading();
        let listed = reading.list_folders(reading.folders_of(segments.iter())).await?;
        let listed: BTreeSet<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        let keys = segments.iter().map(|segment| self.keys.segment(&segment.id));
        for key in keys.filter(|key| !listed.contains(key.as_str())) {
            // The listing may be older than the object.
            if !self.store.exists(&key).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Marks a backup that cannot be finished, so that no run resumes it. When that fails, the next run finds out by itself.
    pub async fn give_up(&self, lease: &Lease, id: &BackupId, why: &Error) {
        let marked = async {
            lease.check().await?;
            // For a human: that the object is there says all that a run wants to know.
            self.store.put(&self.keys.given_up(id), Bytes::from(format!("{why}\n"))).await?;
            Ok::<(), Error>(())
        };
        match marked.await {
            Ok(()) => tracing::warn!("backup {id} cannot be finished: the next run begins a new one"),
            Err(error) => tracing::warn!("backup {id} cannot be finished, and could not be marked: {error}"),
        }
    }

    /// Removes the progress of a backup: checkpoints, then the cut, then the mark of one that was given up.
    async fn forget(&self, id: &BackupId) -> Result<(), Error> {
        let (cut, mark) = (self.keys.cut(id), self.keys.given_up(id));
        let objects = self.store.list(&self.keys.progress_folder(id)).await?;
        let mut keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
        keys.retain(|key| *key != cut && *key != mark);
        self.store.delete_many(&keys).await?;
        self.store.delete_many(&[cut]).await?;
        Ok(self.store.delete_many(&[mark]).await?)
    }

    /// Removes the progress of a backup that is committed, the cut last. What stays behind when this fails, or takes too long, is
    /// prune's to remove.
    pub async fn forget_progress(&self, lease: &Lease, id: &BackupId) {
        let removed = async {
            // Another run may have pruned the backup, and begun one of the same id.
            lease.check().await?;
            self.forget(id).await
        };
        match tokio::time::timeout(FORGET_TIME_MAX, removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the progress of the finished backup {id} stays behind: {error}"),
            Err(_) => tracing::warn!("the progress of the finished backup {id} is left to prune: the store is slow"),
        }
    }

    async fn manifest(&self, id: &BackupId) -> Result<Manifest, Error> {
        let key = self.keys.manifest(id);
        let bytes = self.store.read(&key).await?;
        Manifest::open(&bytes).map_err(|error| Error::Document { key, error })
    }

    async fn create_our_own(&self, key: String, bytes: Bytes) -> Result<(), Error> {
        match self.store.create_or_same(&key, bytes).await? {
            CreatedOrSame::New | CreatedOrSame::AlreadyThere { same: true } => Ok(()),
            CreatedOrSame::AlreadyThere { same: false } => Err(Error::Taken { key }),
        }
    }

    async fn open<T: DeserializeOwned>(&self, kind: DocumentKind, key: &str) -> Result<T, Error> {
        let bytes = self.store.read(key).await?;
        document::open(kind, VERSION, &bytes).map_err(|error| Error::Document { key: key.to_owned(), error })
    }
}

fn seal<T: Serialize>(kind: DocumentKind, encoding: Encoding, value: &T) -> Bytes {
    document::seal(kind, VERSION, encoding, value).into()
}

fn other_source(id: &BackupId, began_with: String, found: &str) -> Error {
    Error::OtherSource { backup_id: id.clone(), began_with, found: found.to_owned() }
}

fn owner(config: &Checked, source_cluster_id: &str) -> ArchiveOwner {
    let source_cluster_id = source_cluster_id.to_owned();
    match &config.config.owner {
        Some(owner) => ArchiveOwner {
            group: Some(owner.group.clone()),
            kind: Some(owner.kind.clone()),
            namespace: Some(owner.namespace.clone()),
            name: owner.name.clone(),
            uid: Some(owner.uid.clone()),
            source_cluster_id,
        },
        None => ArchiveOwner {
            group: None,
            kind: None,
            namespace: None,
            name: config.config.archive.to_string(),
            uid: None,
            source_cluster_id,
        },
    }
}

fn describe(owner: &ArchiveOwner) -> String {
    let ArchiveOwner { group, kind, namespace, name, uid, source_cluster_id } = owner;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    match kind {
        Some(kind) => format!(
            "{kind}.{} {}/{name} (uid {}) of cluster {source_cluster_id}",
            text(group),
            text(namespace),
            text(uid)
        ),
        None => format!("archive {name} of the command line, cluster {source_cluster_id}"),
    }
}

/// Whether these are two archives of the command line that a file system may take for one.
fn differ_in_case_only(found: &ArchiveOwner, wanted: &ArchiveOwner) -> bool {
    let are_named = found.kind.is_none() && wanted.kind.is_none();
    are_named && found.name != wanted.name && found.name.eq_ignore_ascii_case(&wanted.name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Ours,
    Adopt,
    Refuse,
}

/// A resource that was deleted and made again has another uid and is the same to us, if it reads the same cluster.
fn judge_owner(found: &ArchiveOwner, wanted: &ArchiveOwner, adopt: bool) -> Claim {
    if found == wanted {
        return Claim::Ours;
    }
    let same_but_uid = ArchiveOwner { uid: wanted.uid.clone(), ..found.clone() } == *wanted;
    if same_but_uid || adopt { Claim::Adopt } else { Claim::Refuse }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::sample::{Made, Sample};
    use crate::store::lease::{Holder, WaitPolicy};

    fn of(name: &str, uid: Option<&str>, cluster: &str) -> ArchiveOwner {
        ArchiveOwner {
            group: uid.map(|_| "backup.strimzi.io".to_owned()),
            kind: uid.map(|_| "KafkaBackup".to_owned()),
            namespace: uid.map(|_| "kafka".to_owned()),
            name: name.to_owned(),
            uid: uid.map(str::to_owned),
            source_cluster_id: cluster.to_owned(),
        }
    }

    #[test]
    fn an_archive_that_only_a_file_system_took_for_another_is_not_to_be_adopted() {
        let refused = |found: &ArchiveOwner, wanted: &ArchiveOwner| {
            let error = Error::OtherOwner {
                archive: wanted.name.parse().unwrap(),
                owner: describe(found),
                wanted: describe(wanted),
                is_found_under_another: differ_in_case_only(found, wanted),
            };
            error.to_string()
        };
        assert_eq!(
            refused(&of("Orders", None, "c"), &of("orders", None, "c")),
            "archive orders belongs to archive Orders of the command line, cluster c, not to archive orders of the command line, cluster c: \
             choose another name, as this file system does not tell upper from lower case"
        );
        for (found, wanted) in [
            (of("orders", None, "c"), of("orders", None, "d")),
            (of("Orders", Some("1"), "c"), of("orders", Some("1"), "c")),
        ] {
            assert!(
                refused(&found, &wanted)
                    .ends_with("or adopt it (--adopt, or the annotation adopt-archive of the KafkaBackup)")
            );
        }
    }

    /// It slept between its last look at the lease and the manifest, and retention took what it had stored.
    #[tokio::test]
    async fn a_backup_whose_segments_were_pruned_before_its_manifest_is_withdrawn() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let Made { manifest, stored } = sample.backup("b", 1_000, None).await;
        let segments: Vec<SegmentRef> = stored.iter().map(|stored| stored.segment.clone()).collect();
        let key = archive.keys.manifest(&manifest.backup_id);
        let object = Bytes::from(manifest.seal());
        for is_pruned in [false, true] {
            archive.store.delete(&key).await.unwrap();
            if is_pruned {
                archive.store.delete(&archive.keys.segment(&segments[0].id)).await.unwrap();
            }
            let (prefix, holder) = (archive.keys.lease(), Holder::current("backup"));
            let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
            // Somebody takes over right after the look.
            let next = format!("{prefix}/{:020}", lease.epoch() + 1);
            archive.store.put(&next, Bytes::new()).await.unwrap();
            let created = archive.create_manifest(&lease, manifest.clone(), object.clone(), &segments).await;
            assert_eq!(created.is_err(), is_pruned, "{created:?}");
            assert_eq!(archive.store.exists(&key).await.unwrap(), !is_pruned);
            archive.store.delete(&next).await.unwrap();
            drop(lease);
            let objects = archive.store.list(&prefix).await.unwrap().into_iter().map(|object| object.key);
            archive.store.delete_many(&objects.collect::<Vec<_>>()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_backup_is_not_committed_unless_all_its_segments_are_there() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let Made { manifest, stored } = sample.backup("b", 1_000, None).await;
        let segments: Vec<SegmentRef> = stored.iter().map(|stored| stored.segment.clone()).collect();
        let (key, segment) = (archive.keys.manifest(&manifest.backup_id), archive.keys.segment(&segments[0].id));
        archive.store.delete_many(&[key.clone(), segment.clone()]).await.unwrap();
        let (prefix, holder) = (archive.keys.lease(), Holder::current("backup"));
        let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
        let error = archive.store_manifest(&lease, manifest, &segments).await.unwrap_err();
        assert!(matches!(&error, Error::LostSegment { key } if *key == segment), "{error}");
        assert!(!archive.store.exists(&key).await.unwrap());
    }

    fn config(more: serde_json::Value) -> Checked {
        let mut config = serde_json::json!({
            "cluster": {"bootstrapServers": ["localhost:9092"]}, "storage": "file:///backups", "archive": "sample"
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<crate::config::backup::BackupConfig>(config).unwrap().check().unwrap()
    }

    #[tokio::test]
    async fn a_run_that_is_refused_adopts_nothing_whether_its_backup_is_begun_or_made() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        sample.unfinished("begun").await;
        sample.backup("made", 1_000, None).await;
        for id in ["begun", "made"] {
            let config = config(serde_json::json!({"backupId": id, "adopt": true}));
            assert!(archive.claim(&config, "another").await.unwrap().is_some());
            let refused = archive.begin(&config, "another", 1).await.unwrap_err();
            assert!(matches!(refused, Error::OtherSource { .. }), "{refused:?}");
            assert_eq!(owned_by(&archive).await, "source");
        }
        let config = config(serde_json::json!({"adopt": true}));
        let adoption = archive.claim(&config, "another").await.unwrap();
        let (prefix, holder) = (archive.keys.lease(), Holder::current("backup"));
        let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
        archive.adopt(&lease, adoption).await.unwrap();
        assert_eq!(owned_by(&archive).await, "another");
        assert_eq!(archive.claim(&config, "another").await.unwrap(), None);
    }

    /// A file system that ignores case finds a folder by many names, and lists it by one; so does one with a link.
    #[tokio::test]
    async fn an_archive_that_is_found_under_another_name_is_not_adopted_unlike_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let store = Store::open_or_create(&url.parse().unwrap()).await.unwrap();
        let archive = |name: &str| Archive::new(store.clone(), name.parse().unwrap());
        let claim = async |name: &str, adopt: bool| {
            let config = config(serde_json::json!({"archive": name, "adopt": adopt}));
            archive(name).claim(&config, "source").await
        };
        assert_eq!(claim("Orders", false).await.unwrap(), None);
        let folders = folder.path().join("archives");
        let refused = async || {
            for adopt in [false, true] {
                let refused = claim("orders", adopt).await.unwrap_err().to_string();
                assert!(refused.contains("does not tell upper from lower case"), "{adopt}: {refused}");
            }
        };
        std::os::unix::fs::symlink(folders.join("Orders"), folders.join("orders")).unwrap();
        refused().await;
        // Nor is it by a resource, whose name says nothing of the archive's.
        let resource = serde_json::json!({"group": "backup.strimzi.io", "kind": "KafkaBackup", "namespace": "kafka", "name": "x", "uid": "1"});
        let config_of_resource = config(serde_json::json!({"archive": "orders", "adopt": true, "owner": resource}));
        let error = archive("orders").claim(&config_of_resource, "source").await.unwrap_err();
        assert!(error.to_string().contains("does not tell upper from lower case"), "{error}");
        // Somebody has made the folder by the second name.
        std::fs::remove_file(folders.join("orders")).unwrap();
        std::fs::rename(folders.join("Orders"), folders.join("orders")).unwrap();
        std::os::unix::fs::symlink(folders.join("orders"), folders.join("Orders")).unwrap();
        refused().await;
        std::fs::remove_file(folders.join("Orders")).unwrap();
        std::fs::rename(folders.join("orders"), folders.join("Orders")).unwrap();
        let copied = store.read(&archive("Orders").keys.archive()).await.unwrap();
        store.put(&archive("orders").keys.archive(), copied).await.unwrap();
        let refused = claim("orders", false).await.unwrap_err().to_string();
        assert!(refused.contains("or adopt it"), "{refused}");
        assert!(claim("orders", true).await.unwrap().is_some());
    }

    /// The cluster that the archive belongs to.
    async fn owned_by(archive: &Archive) -> String {
        let owner: ArchiveOwner = archive.open(DocumentKind::Archive, &archive.keys.archive()).await.unwrap();
        owner.source_cluster_id
    }

    #[tokio::test]
    async fn what_another_cluster_has_begun_stays_although_it_is_old_or_was_given_up() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        sample.unfinished("old").await;
        sample.unfinished("given-up").await;
        let given_up = archive.keys.given_up(&"given-up".parse().unwrap());
        archive.store.put(&given_up, Bytes::new()).await.unwrap();
        let before = sample.keys().await;
        for (id, now_ms) in [("old", RESUME_AGE_MAX_MS), ("given-up", 1)] {
            let config = config(serde_json::json!({"backupId": id, "adopt": true}));
            let refused = archive.begin(&config, "another", now_ms).await.unwrap_err();
            assert!(matches!(refused, Error::OtherSource { .. }), "{refused:?}");
            assert_eq!(sample.keys().await, before, "{id}");
            // Its own cluster begins it again.
            let begun = archive.begin(&config, "source", now_ms).await.unwrap();
            assert!(matches!(begun, Begun::New(_)), "{begun:?}");
            let cut = archive.keys.cut(&id.parse().unwrap());
            assert!(!archive.store.exists(&cut).await.unwrap(), "{id}");
            sample.unfinished(id).await;
            archive.store.put(&given_up, Bytes::new()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_run_that_has_lost_its_lease_since_it_read_the_owner_adopts_nothing() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let config = config(serde_json::json!({"adopt": true}));
        let adoption = archive.claim(&config, "another").await.unwrap();
        assert!(adoption.is_some());
        let (prefix, holder) = (archive.keys.lease(), Holder::current("backup"));
        let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
        // It slept, and somebody has taken over.
        archive.store.put(&format!("{prefix}/{:020}", lease.epoch() + 1), Bytes::new()).await.unwrap();
        let error = archive.adopt(&lease, adoption).await.unwrap_err();
        assert!(matches!(error, Error::Lease(_)), "{error:?}");
        assert_eq!(owned_by(&archive).await, "source");
    }

    /// Ids of parts follow from the backup's id, its lease and a number, so that only a fault of this program makes one too long.
    #[tokio::test]
    async fn a_manifest_that_nobody_could_read_is_not_created() {
        let sample = Sample::new().await;
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let id: BackupId = "b".repeat(170).parse().unwrap();
        let part = Part::default();
        let named = PartRef::new(PartId::new(&id, u64::MAX, usize::MAX), &part, &part.seal(DocumentKind::Part));
        let empty = crate::repository::sample::empty("b");
        let manifest = Manifest { backup_id: id.clone(), parts: vec![named], ..empty };
        let holder = Holder::current("backup");
        let prefix = archive.keys.lease();
        let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
        let error = archive.store_manifest(&lease, manifest, &[]).await.unwrap_err();
        let is_it = matches!(&error, Error::UnreadableManifest { key, .. } if *key == archive.keys.manifest(&id));
        assert!(is_it && error.kind() == crate::error::Kind::Bug, "{error}");
        assert!(archive.store.list(&archive.keys.backups()).await.unwrap().is_empty());
    }

    #[test]
    fn a_resource_that_was_made_again_finds_its_archive() {
        let found = of("orders", Some("1"), "A");
        assert_eq!(judge_owner(&found, &found, false), Claim::Ours);
        assert_eq!(judge_owner(&found, &of("orders", Some("2"), "A"), false), Claim::Adopt);
    }

    #[test]
    fn another_cluster_or_name_is_refused_until_the_user_says_so() {
        let found = of("orders", Some("1"), "A");
        for other in [of("orders", Some("1"), "B"), of("orders-eu", Some("1"), "A"), of("orders", None, "A")] {
            assert_eq!(judge_owner(&found, &other, false), Claim::Refuse);
            assert_eq!(judge_owner(&found, &other, true), Claim::Adopt);
        }
    }
}
