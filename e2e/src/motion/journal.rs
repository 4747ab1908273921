//! How far a restore is, as its journal in the repository shows: `engine/src/restore/journal.rs` says what is in it.

use std::fs;
use std::path::{Path, PathBuf};

use kafka_backup::format::layout::{ArchiveKeys, RestoreId};

/// The journal of one restore, in a repository that is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// The journal of a restore, which need not have begun.
    pub fn new(repository: &Path, keys: &ArchiveKeys, restore: &RestoreId) -> Self {
        Self { folder: repository.join(keys.restore_folder(restore)) }
    }

    /// The lease epoch of the newest run; 0 as long as no run has had the lease.
    pub fn epoch(&self) -> u64 {
        let Ok(epochs) = fs::read_dir(self.folder.join("lease")) else { return 0 };
        let epochs = epochs.flatten().filter_map(|epoch| epoch.file_name().to_str()?.parse::<u64>().ok());
        epochs.max().unwrap_or(0)
    }

    /// Whether a run with a later lease than this has begun to change the target: it plans without the lease, and the intent is
    /// there before the first topic is created.
    pub fn has_begun_since(&self, epoch: u64) -> bool {
        self.epoch() > epoch && self.has("intent")
    }

    /// Whether the topics are ready for records, and not all records are known to be there.
    pub fn is_half_written(&self) -> bool {
        self.has("prepared") && !self.has("written")
    }

    fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_begun_when_the_intent_is_there_and_the_lease_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, id): (_, RestoreId) = (ArchiveKeys::new(&"a".parse().unwrap()), "r1".parse().unwrap());
        let journal = Journal::new(folder.path(), &keys, &id);
        let write = |name: &str| {
            let path = folder.path().join(keys.restore_folder(&id)).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        assert!(journal.epoch() == 0 && !journal.has_begun_since(0), "there is no journal");
        write("lease/00000000000000000001");
        assert!(journal.epoch() == 1 && !journal.has_begun_since(0), "it has changed nothing");
        write("intent");
        assert!(journal.has_begun_since(0) && !journal.has_begun_since(1), "the next run has only planned");
        write("lease/00000000000000000002");
        assert!(journal.has_begun_since(1) && !journal.is_half_written(), "there is no place for a record");
        write("prepared");
        assert!(journal.is_half_written());
        write("written");
        assert!(!journal.is_half_written(), "only settings are missing");
    }
}
