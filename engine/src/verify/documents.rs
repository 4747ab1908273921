//! What the small objects of a backup say: its manifest, the parts of it, and the facts next to it.

use futures::stream::{self, StreamExt};

use super::backup::Wanted;
use super::finding::Finding;
use super::{Error, Found, note};
use crate::format::facts::{BackupFacts, FactsDetails, Holdings};
use crate::format::layout::BackupId;
use crate::format::manifest::{Manifest, PartRange};
use crate::repository::listing::Listed;
use crate::repository::{self, Archive};
use crate::store::REQUESTS_AT_ONCE;

/// Why there is no manifest of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// The store has no such object.
    Missing,
    /// Its bytes are not what was stored.
    Damaged,
}

/// What was read of a backup without its segments.
pub struct Documents {
    /// Its manifest.
    pub manifest: Result<Manifest, Unread>,
    /// What must be true of its segments.
    pub wanted: Wanted,
    /// The keys in its folders of segments and parts, as far as they were asked for.
    pub stored: Vec<String>,
    /// What is wrong with them.
    pub found: Found,
}

/// Reads the documents of backups of one archive.
#[derive(Clone)]
pub struct Reader {
    /// The archive.
    pub archive: Archive,
    /// Whether the folders of the backups are listed.
    pub lists_folders: bool,
}

impl Reader {
    /// Reads those of one backup.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, id: &BackupId, listed: &Listed) -> Result<Documents, Error> {
        let mut found = Found::default();
        let keys = &self.archive.keys;
        let manifest = self.archive.manifest_and_object(id).await;
        let is_missing = matches!(&manifest, Err(repository::Error::Store(error)) if error.is_not_found());
        let manifest = note(manifest, keys.manifest(id), std::slice::from_ref(id), &mut found.findings)?;
        let mut wanted = Wanted::default();
        if let Some((manifest, object)) = &manifest {
            wanted = self.parts(manifest, &mut found).await?;
            self.facts(id, listed, manifest, object, &wanted, &mut found).await?;
        }
        let mut stored = Vec::new();
        if self.lists_folders {
            let store = &self.archive.store;
            let (segments_of, parts_of) = (keys.segments_of(id), keys.parts_of(id));
            let (segments, parts) = futures::try_join!(store.list(&segments_of), store.list(&parts_of))?;
            stored.extend(segments.into_iter().chain(parts).map(|object| object.key));
        }
        let manifest = match manifest {
            Some((manifest, _)) => Ok(manifest),
            None if is_missing => Err(Unread::Missing),
            None => Err(Unread::Damaged),
        };
        Ok(Documents { manifest, wanted, stored, found })
    }

    /// Checks what is said of segments, and gathers what must be true of them.
    async fn parts(&self, manifest: &Manifest, found: &mut Found) -> Result<Wanted, Error> {
        let (keys, id) = (&self.archive.keys, &manifest.backup_id);
        let of = std::slice::from_ref(id);
        let archive = &self.archive;
        let reads = manifest.parts.clone().into_iter().map(|part| async move {
            let read = archive.part(id, &part).await;
            (part, read)
        });
        let mut reads = stream::iter(reads).buffered(REQUESTS_AT_ONCE);
        let mut parts = Vec::with_capacity(manifest.parts.len());
        while let Some((named, read)) = reads.next().await {
            let Some(part) = note(read, keys.part(&named.id), of, &mut found.findings)? else { continue };
            if named.range.as_ref().is_some_and(|range| Some(range) != PartRange::of(&part).as_ref()) {
                let what = format!("what it says of part {} is not what the part holds", named.id);
                found.findings.push(Finding::of_object(keys.manifest(id), of, what));
            }
            parts.push(part);
        }
        drop(reads);
        found.parts += parts.len() as u64;
        let is_complete = parts.len() == manifest.parts.len();
        let (wanted, wrong) = Wanted::of(manifest, parts, is_complete);
        found.findings.extend(wrong.into_iter().map(|what| Finding::of_object(keys.manifest(id), of, what)));
        Ok(wanted)
    }

    /// Checks that what a listing says of the backup is true.
    async fn facts(
        &self,
        id: &BackupId,
        listed: &Listed,
        manifest: &Manifest,
        object: &[u8],
        wanted: &Wanted,
        found: &mut Found,
    ) -> Result<(), Error> {
        let of = std::slice::from_ref(id);
        let keys = listed.known().map(|(object, _)| object.key.clone()).collect();
        let mut reads = std::pin::pin!(self.archive.store.read_many(keys));
        while let Some((key, bytes)) = reads.next().await {
            let details = bytes.map_err(repository::Error::from).and_then(|bytes| {
                let opened = FactsDetails::open(&bytes);
                opened.map_err(|error| repository::Error::Document { key: key.clone(), error })
            });
            let Some(details) = note(details, key.clone(), of, &mut found.findings)? else { continue };
            let name = key.rsplit('/').next().and_then(BackupFacts::parse);
            // Those of another attempt say nothing of this manifest.
            let Some(facts) = name.filter(|facts| facts.is_of(object)) else { continue };
            let holdings = Holdings::of(manifest, &wanted.segment_refs());
            // What a missing part names is not known.
            let is_complete = found.findings.is_empty();
            if details != FactsDetails::of(manifest)
                || (is_complete && facts != BackupFacts::of(manifest, object, Some(holdings)))
            {
                found.findings.push(Finding::of_object(key, of, "it does not say what the manifest says"));
            }
        }
        if listed.known().next().is_some() && listed.facts_of(object).is_none() {
            let what = "none of the facts next to it are those of this manifest: it was replaced by hand";
            found.findings.push(Finding::of_object(self.archive.keys.manifest(id), of, what));
        }
        Ok(())
    }
}
