//! What an archive holds, read from its store.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::plan::{Facts, Finished, Needs, Restore, Stored, Told, Unfinished};
use crate::error::Kind;
use crate::format::document::{self, DocumentKind};
use crate::format::layout::{ArchiveKeys, BackupId, PartId, SegmentId};
use crate::format::manifest::{Manifest, Part, PartRef, VERSION};
use crate::repository::{self, Archive};
use crate::store::lease;
use crate::store::{self, Object};

/// The object with which a restore says what it is about to do.
const RESTORE_INTENT: &str = "intent";
/// The object that ends a restore; without it, the restore may be gone on with.
const RESTORE_DONE: &str = "done";
/// The folder of a restore's lease.
const RESTORE_LEASE: &str = "lease";

/// Reads an archive. `is_ours` says that the archive's lease is held by this very run, so that no other is at work.
///
/// # Errors
/// What the store fails with. Damaged documents are facts.
pub async fn read(archive: &Archive, is_ours: bool, grace_ms: i64, now_ms: i64) -> Result<Facts, Error> {
    let Archive { store, keys, .. } = archive;
    let is_at_work = !is_ours && lease::held_by(store, &keys.lease(), now_ms).await?.is_some();
    let mut facts = Facts {
        segments: stored(store.list(&keys.segments()).await?, &keys.segments()),
        parts: stored(store.list(&keys.parts()).await?, &keys.parts()),
        restores: restores(archive, grace_ms, now_ms).await?,
        ..Facts::default()
    };
    let mut known = BTreeMap::new();
    // The backups come after segments and parts: what a run finishes meanwhile is named by then.
    for (id, objects) in by_backup(&keys.backups(), store.list(&keys.backups()).await?) {
        let key = keys.manifest(&id);
        let (manifest, mut progress): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| object.key == key);
        if let Some(manifest) = manifest.into_iter().next() {
            facts.backups.push(finished(archive, manifest, &mut known).await?);
            facts.spent.extend(progress);
        } else {
            // The cut goes last: checkpoints without it would be taken for those of the next backup of this id.
            progress.sort_by_key(|object| (object.key == keys.cut(&id), object.key.clone()));
            let needs = checkpoints(archive, &id, &progress).await?;
            facts.unfinished.push(Unfinished { id, is_at_work, progress, needs });
        }
    }
    Ok(facts)
}

/// Objects right in a folder whose names are ids. Whatever else is there is not ours to delete.
fn stored<Id: std::str::FromStr>(objects: Vec<Object>, folder: &str) -> Vec<Stored<Id>> {
    let of = |object: Object| {
        let id = ArchiveKeys::leaf(folder, &object.key)?.parse().ok()?;
        let Object { key, size, modified_ms } = object;
        Some(Stored { id, key, bytes: size, modified_ms })
    };
    objects.into_iter().filter_map(of).collect()
}

/// Manifest and progress of every backup.
fn by_backup(folder: &str, objects: Vec<Object>) -> BTreeMap<BackupId, Vec<Stored<BackupId>>> {
    let mut backups: BTreeMap<BackupId, Vec<Stored<BackupId>>> = BTreeMap::new();
    for Object { key, size, modified_ms } in objects {
        let Some((id, rest)) = key.strip_prefix(folder).and_then(|path| path.split_once('/')) else { continue };
        let Ok(id) = id.parse::<BackupId>() else { continue };
        if rest == "manifest" || ArchiveKeys::leaf("progress/", rest).is_some() {
            backups.entry(id.clone()).or_default().push(Stored { id, key, bytes: size, modified_ms });
        }
    }
    backups
}

async fn finished(
    archive: &Archive,
    manifest: Stored<BackupId>,
    known: &mut BTreeMap<PartId, BTreeSet<SegmentId>>,
) -> Result<Finished, Error> {
    let id = manifest.id.clone();
    Ok(match damage(archive.manifest(&id).await)? {
        Ok(read) => {
            let told = Told { cut_at_ms: read.cut_at_ms, is_partial: read.is_partial() };
            Finished { id, manifest, told: Some(told), needs: needs(archive, &read, known).await? }
        }
        Err(why) => Finished { id, manifest, told: None, needs: Err(why) },
    })
}

/// What a backup rests on. Parts that backups share are read once.
async fn needs(
    archive: &Archive,
    manifest: &Manifest,
    known: &mut BTreeMap<PartId, BTreeSet<SegmentId>>,
) -> Result<Result<Needs, String>, Error> {
    let mut needs = Needs::default();
    for part in &manifest.parts {
        let PartRef { id, .. } = part;
        if !known.contains_key(id) {
            match damage(archive.part(&manifest.backup_id, part).await)? {
                Ok(part) => {
                    let segments = part.segments.into_iter().map(|segment| segment.id).collect();
                    known.insert(id.clone(), segments);
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        needs.parts.insert(id.clone());
        needs.segments.extend(known.get(id).into_iter().flatten().cloned());
    }
    Ok(Ok(needs))
}

async fn checkpoints(
    archive: &Archive,
    id: &BackupId,
    progress: &[Stored<BackupId>],
) -> Result<Result<Needs, String>, Error> {
    let mut needs = Needs::default();
    // A backup that was given up is resumed by nobody.
    if progress.iter().any(|object| object.key == archive.keys.given_up(id)) {
        return Ok(Ok(needs));
    }
    for object in progress.iter().filter(|object| object.key != archive.keys.cut(id)) {
        let bytes = match archive.store.read(&object.key).await {
            // Its run has just finished, and cleared it away.
            Err(error) if error.is_not_found() => continue,
            read => read?,
        };
        match Part::open(DocumentKind::Checkpoint, &bytes) {
            Ok(part) => needs.segments.extend(part.segments.into_iter().map(|segment| segment.id)),
            Err(error) => return Ok(Err(format!("{}: {error}", object.key))),
        }
    }
    Ok(Ok(needs))
}

/// Restores that are running, or ended without an end so lately that they may be gone on with.
async fn restores(archive: &Archive, grace_ms: i64, now_ms: i64) -> Result<Vec<Restore>, Error> {
    let folder = archive.keys.restores();
    let mut by_id: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in archive.store.list(&folder).await? {
        if let Some((id, _)) = object.key.strip_prefix(&folder).and_then(|path| path.split_once('/')) {
            by_id.entry(id.to_owned()).or_default().push(object);
        }
    }
    let mut restores = Vec::new();
    for (id, objects) in by_id {
        let own_folder = format!("{folder}{id}/");
        let is_done = objects.iter().any(|object| object.key == format!("{own_folder}{RESTORE_DONE}"));
        let is_young = objects.iter().any(|object| now_ms.saturating_sub(object.modified_ms) <= grace_ms);
        let lease = format!("{own_folder}{RESTORE_LEASE}");
        let is_running = lease::held_by(&archive.store, &lease, now_ms).await?.is_some();
        if is_running || (is_young && !is_done) {
            let backup = backup_of(archive, &format!("{own_folder}{RESTORE_INTENT}")).await?;
            restores.push(Restore { id, backup });
        }
    }
    Ok(restores)
}

/// The backup that a restore names before it reads the first record; `None` when it has not, or in a way that is not
/// understood here. Nothing else of the journal matters, and a later version may say more.
async fn backup_of(archive: &Archive, intent: &str) -> Result<Option<BackupId>, Error> {
    let bytes = match archive.store.read(intent).await {
        Err(error) if error.is_not_found() => return Ok(None),
        read => read?,
    };
    let journal = document::open::<serde_json::Value>(DocumentKind::Journal, VERSION, &bytes).ok();
    Ok(journal.and_then(|journal| journal.pointer("/request/backupId")?.as_str()?.parse().ok()))
}

/// What was read, or in one line what is damaged; an error when the store does not answer.
fn damage<T>(read: Result<T, repository::Error>) -> Result<Result<T, String>, Error> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(repository::Error::Store(error @ store::Error::NotFound { .. })) => Ok(Err(error.to_string())),
        Err(error) if error.kind() == Kind::Corrupt => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
