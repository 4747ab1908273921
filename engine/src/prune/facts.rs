//! What an archive holds, read from its store: by listings, and by manifests and parts only where those leave something open.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::Error;
use super::plan::{Deletion, Facts, Finished, Named, Needs, Progress, Restore, Stored, Told, Unfinished};
use crate::error::Kind;
use crate::format::document::{self, DocumentKind};
use crate::format::facts::{BackupFacts, Holdings};
use crate::format::layout::{ArchiveKeys, BackupId};
use crate::format::manifest::VERSION;
use crate::repository::listing::{Listed, Listing};
use crate::repository::{self, Archive};
use crate::store::lease;
use crate::store::{self, Object, REQUESTS_AT_ONCE};

/// The object with which a restore says what it is about to do.
const RESTORE_INTENT: &str = "intent";
/// The object that ends a restore; without it, the restore may be gone on with.
const RESTORE_DONE: &str = "done";
/// The object that ends a restore which is never to be completed.
const RESTORE_ABANDONED: &str = "abandoned";
/// How long after its last sign a restore that replaces topics keeps its backup, in milliseconds. Not for ever: the cluster that it
/// wrote to may be gone, and with it the way to complete or abandon it.
pub const REPLACING_KEPT_MS: i64 = 30 * 24 * 3600 * 1000;
/// The folder of a restore's lease.
const RESTORE_LEASE: &str = "lease";
/// Backups whose parts are read at once, where that is needed.
const BACKUPS_AT_ONCE: usize = 2;

/// Reads an archive. `is_ours` says that the archive's lease is held by this very run, so that no other is at work.
///
/// # Errors
/// What the store fails with. Damaged documents are facts.
pub async fn read(archive: &Archive, is_ours: bool, grace_ms: i64, now_ms: i64) -> Result<Facts, Error> {
    let Archive { store, keys, .. } = archive;
    let is_at_work = !is_ours && lease::held_by(store, &keys.lease(), now_ms).await?.is_some();
    let restores = restores(archive, grace_ms, now_ms).await?;
    let listing = archive.listing().await?;
    let mut known = archive.facts(&listing).await?;
    let mut facts = Facts { restores, ..Facts::default() };
    let mut finished = Vec::with_capacity(listing.finished.len());
    for (id, listed) in &listing.finished {
        match known.remove(id).map(|known| known.map_err(|error| error.to_string())) {
            Some(known) => finished.push(finished_backup(archive, listed.clone(), id.clone(), known)),
            // Nobody but this run could have deleted it.
            None if is_ours => {
                let why = format!("{} is listed, and the store says that it is not there", listed.manifest.key);
                finished.push(finished_backup(archive, listed.clone(), id.clone(), Err(why)));
            }
            None => {}
        }
    }
    facts.backups = stream::iter(finished).buffered(BACKUPS_AT_ONCE).try_collect().await?;
    facts.spare =
        listing.spare.iter().flat_map(|(id, objects)| objects.iter().map(|object| stored(id, object))).collect();
    // A bucket with versions may list a folder of which all objects were deleted.
    let progress = progress(archive, &listing).await?.into_iter().filter(|(_, objects)| !objects.is_empty());
    for (id, objects) in progress {
        let is_last = |object: &Stored<BackupId>| [keys.cut(&id), keys.given_up(&id)].contains(&object.key);
        let (cut, checkpoints) = objects.into_iter().partition(is_last);
        let progress = Progress { cut, checkpoints };
        match listing.finished.contains_key(&id) {
            true => facts.spent.push(progress),
            false => facts.unfinished.push(Unfinished { id, is_at_work, progress }),
        }
    }
    Ok(facts)
}

fn stored<Id: Clone>(id: &Id, object: &Object) -> Stored<Id> {
    Stored { id: id.clone(), key: object.key.clone(), bytes: object.size, modified_ms: object.modified_ms }
}

/// Objects right in a folder whose names are ids. Whatever else is there is not ours to delete.
pub fn named_in<Id: std::str::FromStr + Clone>(folder: &str, objects: &[Object]) -> Vec<Stored<Id>> {
    let of = |object: &Object| Some(stored(&ArchiveKeys::leaf(folder, &object.key)?.parse().ok()?, object));
    objects.iter().filter_map(of).collect()
}

/// What is in the folder of each backup's progress.
async fn progress(archive: &Archive, listing: &Listing) -> Result<Vec<(BackupId, Vec<Stored<BackupId>>)>, Error> {
    let folders = listing.begun.clone().into_iter().map(|id| async move {
        let folder = archive.keys.progress_folder(&id);
        let objects = archive.store.list(&folder).await?;
        let own = objects.iter().filter(|object| ArchiveKeys::leaf(&folder, &object.key).is_some());
        let own = own.map(|object| stored(&id, object)).collect();
        Ok::<_, Error>((id, own))
    });
    stream::iter(folders).buffered(REQUESTS_AT_ONCE).try_collect().await
}

async fn finished_backup(
    archive: &Archive,
    listed: Listed,
    id: BackupId,
    known: Result<BackupFacts, String>,
) -> Result<Finished, Error> {
    let manifest = stored(&id, &listed.manifest);
    let facts = listed.facts.iter().map(|object| stored(&id, object)).collect();
    let (told, needs) = match known {
        Ok(known) => {
            let told = Told { cut_at_ms: known.cut_at_ms, is_partial: known.is_partial() };
            (Ok(told), needs(archive, &id, known.holdings).await?)
        }
        Err(why) => {
            // Its facts say what its runs wrote, whichever of them made the manifest.
            let shares = listed.holdings().is_none_or(|holdings| holdings.shares);
            let needs = if shares { Needs::Unknown(why.clone()) } else { Needs::Own(None) };
            (Err(why), needs)
        }
    };
    Ok(Finished { id, manifest, facts, told, needs })
}

/// What a backup rests on. Only one that shares with others, or whose facts are not there, has to be opened.
async fn needs(archive: &Archive, id: &BackupId, holdings: Option<Holdings>) -> Result<Needs, Error> {
    match holdings {
        Some(holdings) if !holdings.shares => Ok(Needs::Own(Some(holdings))),
        Some(_) | None => Ok(match named_by(archive, id).await? {
            Ok(named) => Needs::Named(named),
            Err(why) => Needs::Unknown(why),
        }),
    }
}

/// What a backup's manifest and parts name, or in one line why that cannot be known.
///
/// # Errors
/// What the store fails with.
pub async fn named_by(archive: &Archive, id: &BackupId) -> Result<Result<Named, String>, Error> {
    let manifest = match damage(archive.manifest(id).await)? {
        Ok(manifest) => manifest,
        Err(why) => return Ok(Err(why)),
    };
    let read = manifest.parts.clone().into_iter().map(|part| async move { archive.part(id, &part).await });
    let mut parts = stream::iter(read).buffered(REQUESTS_AT_ONCE);
    let mut segments = BTreeSet::new();
    while let Some(part) = parts.next().await {
        match damage(part)? {
            Ok(part) => segments.extend(part.segments.into_iter().map(|segment| segment.id)),
            Err(why) => return Ok(Err(why)),
        }
    }
    drop(parts);
    Ok(Ok(Named { segments, parts: manifest.parts.into_iter().map(|part| part.id).collect() }))
}

/// Restores that have not ended, and may still need what they read: those at work, and for [`REPLACING_KEPT_MS`] those that may have
/// replaced topics of which the backup is a copy.
///
/// # Errors
/// What the store fails with.
pub async fn restores(archive: &Archive, grace_ms: i64, now_ms: i64) -> Result<Vec<Restore>, Error> {
    let folder = archive.keys.unfinished_restores();
    let named = archive.store.list(&folder).await?;
    let ids = named.iter().filter_map(|object| ArchiveKeys::leaf(&folder, &object.key).map(str::to_owned));
    let ids: Vec<String> = ids.collect();
    let looked = ids.into_iter().map(|id| restore(archive, id, grace_ms, now_ms));
    let looked: Vec<Option<Restore>> = stream::iter(looked).buffered(REQUESTS_AT_ONCE).try_collect().await?;
    Ok(looked.into_iter().flatten().collect())
}

async fn restore(archive: &Archive, id: String, grace_ms: i64, now_ms: i64) -> Result<Option<Restore>, Error> {
    let store = &archive.store;
    let folder = format!("{}{id}/", archive.keys.restores());
    // One that has ended reads nothing any more, also when it is run again.
    for end in [RESTORE_DONE, RESTORE_ABANDONED] {
        if store.exists(&format!("{folder}{end}")).await? {
            return Ok(None);
        }
    }
    let is_held = lease::held_by(store, &format!("{folder}{RESTORE_LEASE}"), now_ms).await?.is_some();
    let written_ms = store.list(&folder).await?.into_iter().map(|object| object.modified_ms).max();
    let is_younger = |age_ms: i64| written_ms.is_some_and(|written_ms| now_ms.saturating_sub(written_ms) <= age_ms);
    let is_at_work = is_held || is_younger(grace_ms);
    let Intent { backup, replaces } = intent_of(archive, &format!("{folder}{RESTORE_INTENT}")).await?;
    let may_go_on = is_at_work || (replaces && is_younger(REPLACING_KEPT_MS));
    Ok(may_go_on.then_some(Restore { id, backup, is_at_work }))
}

/// What goes of the journals of the ended restores of a backup that is gone, in the order in which it is to be deleted: the names by
/// which they are found are the second step. That a restore was begun with this backup, and has ended, stays: the same command
/// would be another restore otherwise. What a restore that has not ended has done to topics can still be undone.
///
/// # Errors
/// What the store fails with.
pub async fn journals_of(archive: &Archive, backup: &BackupId) -> Result<[Vec<Deletion>; 2], Error> {
    let folder = archive.keys.restores_of(backup);
    let deletion = |object: Object| Deletion { key: object.key, bytes: object.size };
    let mut steps = [Vec::new(), Vec::new()];
    for named in archive.store.list(&folder).await? {
        let Some(id) = ArchiveKeys::leaf(&folder, &named.key) else { continue };
        let journal = format!("{}{id}/", archive.keys.restores());
        let ends = [RESTORE_DONE, RESTORE_ABANDONED].map(|name| format!("{journal}{name}"));
        if archive.store.exists(&ends[0]).await? || archive.store.exists(&ends[1]).await? {
            let stays = [RESTORE_INTENT, RESTORE_DONE, RESTORE_ABANDONED].map(|name| format!("{journal}{name}"));
            let objects = archive.store.list(&journal).await?.into_iter().filter(|object| !stays.contains(&object.key));
            steps[0].extend(objects.map(deletion));
            steps[1].push(deletion(named));
        }
    }
    Ok(steps)
}

/// What a restore says before it reads the first record, as far as it matters here. A later version may say more.
#[derive(Default)]
struct Intent {
    /// What it reads; `None` when it has not said so, or in a way that is not understood here.
    backup: Option<BackupId>,
    /// Whether it deletes topics that were there.
    replaces: bool,
}

async fn intent_of(archive: &Archive, intent: &str) -> Result<Intent, Error> {
    let bytes = match archive.store.read(intent).await {
        Err(error) if error.is_not_found() => return Ok(Intent::default()),
        read => read?,
    };
    let Ok(journal) = document::open::<serde_json::Value>(DocumentKind::Journal, VERSION, &bytes) else {
        return Ok(Intent::default());
    };
    let backup = journal.pointer("/request/backupId").and_then(|id| id.as_str()?.parse().ok());
    let overwritten = journal.pointer("/overwritten").and_then(serde_json::Value::as_object);
    Ok(Intent { backup, replaces: overwritten.is_some_and(|topics| !topics.is_empty()) })
}

/// What was read, or in one line what is damaged.
///
/// # Errors
/// When the store does not answer.
pub fn damage<T>(read: Result<T, repository::Error>) -> Result<Result<T, String>, Error> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(repository::Error::Store(error @ store::Error::NotFound { .. })) => Ok(Err(error.to_string())),
        Err(error) if error.kind() == Kind::Corrupt => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
