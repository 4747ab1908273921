//! What the keys of an archive say: which backups are finished, and what they are. A value made from a listing.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::facts::{self, BackupFacts, Chosen, Holdings};
use crate::format::layout::{ArchiveKeys, BackupId};
use crate::store::Object;

/// The folder of a backup's facts, below that of the backup.
const FACTS: &str = "facts/";

/// What an archive lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Backups that have a manifest.
    pub finished: BTreeMap<BackupId, Listed>,
    /// Backups that have progress. Those that are finished too left it behind.
    pub begun: BTreeSet<BackupId>,
    /// Facts without a manifest: of a run that is about to create it, or was killed before.
    pub spare: BTreeMap<BackupId, Vec<Object>>,
}

impl Listing {
    /// Reads what is listed under [`ArchiveKeys::backups`], and the folders under [`ArchiveKeys::progress`]. Other names are not ours.
    pub fn of(keys: &ArchiveKeys, objects: Vec<Object>, progress: &[String]) -> Self {
        let folder = keys.backups();
        let mut listing = Self::default();
        let mut facts: BTreeMap<BackupId, Vec<Object>> = BTreeMap::new();
        for object in objects {
            let Some((id, rest)) = object.key.strip_prefix(&folder).and_then(|path| path.split_once('/')) else {
                continue;
            };
            let Ok(id) = id.parse::<BackupId>() else { continue };
            if rest == "manifest" {
                listing.finished.insert(id, Listed { manifest: object, facts: Vec::new() });
            } else if ArchiveKeys::leaf(FACTS, rest).is_some() {
                facts.entry(id).or_default().push(object);
            }
        }
        for (id, objects) in facts {
            match listing.finished.get_mut(&id) {
                Some(listed) => listed.facts = objects,
                None => drop(listing.spare.insert(id, objects)),
            }
        }
        listing.begun = progress.iter().filter_map(|name| name.parse().ok()).collect();
        listing
    }

    /// Backups that were begun and are not finished.
    pub fn unfinished(&self) -> impl DoubleEndedIterator<Item = &BackupId> {
        self.begun.iter().filter(|id| !self.finished.contains_key(*id))
    }

    /// Whether anything of a backup of this id is listed.
    pub fn knows(&self, id: &BackupId) -> bool {
        self.finished.contains_key(id) || self.begun.contains(id)
    }
}

/// A finished backup in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its manifest.
    pub manifest: Object,
    /// The objects in the folder of its facts. A run that was repeated may have left more than one.
    pub facts: Vec<Object>,
}

impl Listed {
    /// Objects whose names are facts that this program understands.
    pub fn known(&self) -> impl Iterator<Item = (&Object, BackupFacts)> {
        let name = |object: &Object| object.key.rsplit('/').next().and_then(BackupFacts::parse);
        self.facts.iter().filter_map(move |object| Some((object, name(object)?)))
    }

    fn read(&self) -> Vec<BackupFacts> {
        self.known().map(|(_, facts)| facts).collect()
    }

    /// The facts that count; `None` when the listing leaves that open.
    pub fn facts(&self) -> Option<BackupFacts> {
        match facts::chosen(&self.read(), self.manifest.size) {
            Chosen::Known(facts) => Some(facts.clone()),
            Chosen::Open => None,
        }
    }

    /// The facts of this manifest, once it was read.
    pub fn facts_of(&self, manifest: &[u8]) -> Option<BackupFacts> {
        self.read().into_iter().find(|facts| facts.is_of(manifest))
    }

    /// What runs of this backup wrote, by any of its facts: those of a manifest that cannot be read still say whether the backup
    /// rests on others. Where they differ, that which says so.
    pub fn holdings(&self) -> Option<Holdings> {
        self.read().into_iter().filter_map(|facts| facts.holdings).max_by_key(|holdings| holdings.shares)
    }

    /// The object of these facts.
    pub fn facts_key(&self, facts: &BackupFacts) -> Option<&str> {
        let name = facts.name()?;
        self.facts.iter().map(|object| object.key.as_str()).find(|key| key.rsplit('/').next() == Some(name.as_str()))
    }

    /// Whether something is missing from the backup, by its facts: those of a manifest that cannot be read still say so. `None` where
    /// there are none, or two that differ.
    pub fn is_partial(&self) -> Option<bool> {
        let told: BTreeSet<bool> = self.read().iter().map(BackupFacts::is_partial).collect();
        if told.len() == 1 { told.first().copied() } else { None }
    }

    /// When the backup was made, as far as it can be told without its manifest, in milliseconds since the epoch: the time of its cut, or
    /// that in its id, which is somewhat earlier, or that of the manifest, which is later.
    pub fn about_ms(&self, id: &BackupId) -> i64 {
        let told = self.read().into_iter().map(|facts| facts.cut_at_ms).max();
        told.or_else(|| id.time_ms()).unwrap_or(self.manifest.modified_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ArchiveKeys {
        ArchiveKeys::new(&"shop".parse().unwrap())
    }

    fn object(key: String, size: u64) -> Object {
        Object { key, size, modified_ms: 77 }
    }

    fn facts(cut_at_ms: i64, manifest_bytes: u64) -> BackupFacts {
        BackupFacts {
            cut_at_ms,
            completed_at_ms: cut_at_ms,
            problems: 0,
            topics: 0,
            partitions: 0,
            groups: 0,
            records: 0,
            raw_bytes: 0,
            stored_bytes: 0,
            holdings: Some(Holdings { segments: 0, bytes: 0, parts: 0, shares: false }),
            manifest_bytes,
            manifest_digest: "0123456789abcdef".to_owned(),
            has_label: false,
        }
    }

    fn id(id: &str) -> BackupId {
        id.parse().unwrap()
    }

    #[test]
    fn one_listing_tells_finished_backups_from_others() {
        let facts_key = |backup: &str, at_ms| keys().facts(&id(backup), &facts(at_ms, 10).name().unwrap());
        let objects = vec![
            object(facts_key("a", 5), 200),
            object(keys().manifest(&id("a")), 10),
            object(facts_key("b", 6), 200),
            object(keys().manifest(&id("c")), 10),
            object("archives/shop/backups/.x/manifest".to_owned(), 1),
            object("archives/shop/backups/d/other".to_owned(), 1),
            object("archives/shop/backups/e".to_owned(), 1),
        ];
        let listing = Listing::of(&keys(), objects, &["c".to_owned(), "u".to_owned(), ".x".to_owned()]);
        assert_eq!(listing.finished.keys().collect::<Vec<_>>(), [&id("a"), &id("c")]);
        assert_eq!(listing.finished[&id("a")].facts(), Some(facts(5, 10)));
        assert_eq!(listing.finished[&id("c")].facts(), None);
        assert_eq!(listing.spare.keys().collect::<Vec<_>>(), [&id("b")]);
        assert_eq!(listing.unfinished().collect::<Vec<_>>(), [&id("u")]);
        assert!(listing.knows(&id("a")) && listing.knows(&id("u")) && !listing.knows(&id("b")));
    }

    #[test]
    fn a_backup_whose_manifest_cannot_be_read_still_has_a_time() {
        let listed = |facts: Vec<Object>| Listed { manifest: object("m".to_owned(), 3), facts };
        let named = object(keys().facts(&id("a"), &facts(5, 10).name().unwrap()), 200);
        assert_eq!(listed(vec![named]).about_ms(&id("a-20260212-143000")), 5);
        assert_eq!(listed(Vec::new()).about_ms(&id("a-20260212-143000")), 1_770_906_600_000);
        assert_eq!(listed(Vec::new()).about_ms(&id("a")), 77);
    }
}
