//! Where things stand in a repository: every object key is built and parsed here and nowhere else.
//!
//! ```text
//! repository.json                                   format version, repository id
//! archives/<archive>/archive.json                   what the archive belongs to
//! archives/<archive>/lease/<epoch>                  who writes now
//! archives/<archive>/segments/<segment id>          immutable: runs of whole batches
//! archives/<archive>/parts/<part id>                immutable: lists of runs, shared by manifests
//! archives/<archive>/backups/<backup id>/manifest   created once: this makes segments a backup
//! archives/<archive>/backups/<backup id>/progress/  the cut and the checkpoints of a run that has not committed
//! archives/<archive>/restores/<restore id>/         journal and offset maps of a restore
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of the repository's own description.
pub const REPOSITORY: &str = "repository.json";
/// The folder of all archives, with its closing slash.
pub const ARCHIVES: &str = "archives/";

/// Why a name cannot stand in an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} is not a name: 1 to {max} letters, digits, '.', '_' and '-', not beginning with '.'")]
pub struct NameError {
    /// What was to be named.
    pub what: &'static str,
    /// How many characters it may have.
    pub max: usize,
    /// The name as it was given.
    pub name: String,
}

/// The most characters of a name, which is a part of an object's key.
const NAME_MAX: usize = 200;
/// The most characters of a backup's id: what the ids of its segments and parts add still makes a name.
const BACKUP_ID_MAX: usize = NAME_MAX - 30;
/// The most characters of a prefix of backup ids: a time comes behind it, as in `-20260212-143000`.
const BACKUP_ID_PREFIX_MAX: usize = BACKUP_ID_MAX - 16;

fn check_name(what: &'static str, max: usize, name: &str) -> Result<(), NameError> {
    let fits = (1..=max).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if fits { Ok(()) } else { Err(NameError { what, max, name: name.to_owned() }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                check_name($what, $max, &name)?;
                Ok(Self(name))
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::try_from(name.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of an archive: all backups of one source, kept together.
    ArchiveName, "the archive", NAME_MAX
);
name!(
    /// The id of a backup, `<prefix>-YYYYMMDD-HHMMSS` unless the caller chose another.
    BackupId, "the backup", BACKUP_ID_MAX
);
name!(
    /// The id of a restore, under which its journal is kept.
    RestoreId, "the restore", NAME_MAX
);
name!(
    /// The id of a segment: backup, lease epoch, worker and number, so that no two runs ever make the same.
    SegmentId, "the segment", NAME_MAX
);
name!(
    /// The id of a part of a manifest.
    PartId, "the part", NAME_MAX
);

name!(
    /// What the ids of an archive's backups begin with: the archive's name unless another is chosen.
    BackupIdPrefix, "the prefix of backup ids", BACKUP_ID_PREFIX_MAX
);

impl From<ArchiveName> for BackupIdPrefix {
    fn from(archive: ArchiveName) -> Self {
        Self(archive.0)
    }
}

impl BackupId {
    /// The id of a backup that begins at `at_ms` (milliseconds since the epoch, UTC): the prefix and the time.
    ///
    /// # Errors
    /// When the prefix leaves no room for the time.
    pub fn at(prefix: &BackupIdPrefix, at_ms: i64) -> Result<Self, NameError> {
        let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self::try_from(format!("{prefix}-{}", at.strftime("%Y%m%d-%H%M%S")))
    }
}

impl SegmentId {
    /// The id of segment `number` that worker `worker` writes under the lease `epoch` for `backup`.
    pub fn new(backup: &BackupId, epoch: u64, worker: usize, number: u64) -> Self {
        Self(format!("{backup}-e{epoch:06}-w{worker:02}-{number:06}"))
    }
}

impl PartId {
    /// The id of part `number` of the manifest of `backup`, written under the lease `epoch`.
    pub fn new(backup: &BackupId, epoch: u64, number: usize) -> Self {
        Self(format!("{backup}-e{epoch:06}-{number:06}"))
    }
}

/// The keys of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveKeys {
    root: String,
}

impl ArchiveKeys {
    /// The keys of the archive of this name.
    pub fn new(archive: &ArchiveName) -> Self {
        Self { root: format!("{ARCHIVES}{archive}") }
    }

    /// What the archive belongs to.
    pub fn archive(&self) -> String {
        format!("{}/archive.json", self.root)
    }

    /// The folder of the leases of writers.
    pub fn lease(&self) -> String {
        format!("{}/lease", self.root)
    }

    /// The folder of all segments, with its closing slash.
    pub fn segments(&self) -> String {
        format!("{}/segments/", self.root)
    }

    /// One segment.
    pub fn segment(&self, id: &SegmentId) -> String {
        format!("{}/segments/{id}", self.root)
    }

    /// The folder of all parts of manifests, with its closing slash.
    pub fn parts(&self) -> String {
        format!("{}/parts/", self.root)
    }

    /// One part of a manifest.
    pub fn part(&self, id: &PartId) -> String {
        format!("{}/parts/{id}", self.root)
    }

    /// The folder of all backups, with its closing slash.
    pub fn backups(&self) -> String {
        format!("{}/backups/", self.root)
    }

    /// The manifest of one backup.
    pub fn manifest(&self, id: &BackupId) -> String {
        format!("{}/backups/{id}/manifest", self.root)
    }

    /// The folder of one backup's progress, with its closing slash.
    pub fn progress_folder(&self, id: &BackupId) -> String {
        format!("{}/backups/{id}/progress/", self.root)
    }

    /// The cut of a backup: what it began with.
    pub fn cut(&self, id: &BackupId) -> String {
        format!("{}/backups/{id}/progress/cut", self.root)
    }

    /// The mark of a backup that cannot be finished.
    pub fn given_up(&self, id: &BackupId) -> String {
        format!("{}/backups/{id}/progress/given-up", self.root)
    }

    /// Checkpoint `number` that the writer of lease `epoch` made; names sort in the order of writing.
    pub fn checkpoint(&self, id: &BackupId, epoch: u64, number: u64) -> String {
        format!("{}/backups/{id}/progress/e{epoch:06}-{number:06}", self.root)
    }

    /// The folder of all restores, with its closing slash.
    pub fn restores(&self) -> String {
        format!("{}/restores/", self.root)
    }

    /// The folder of one restore, with its closing slash.
    pub fn restore_folder(&self, id: &RestoreId) -> String {
        format!("{}/restores/{id}/", self.root)
    }

    /// The last part of `key` when it stands right under `folder`.
    pub fn leaf<'k>(folder: &str, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(folder).filter(|leaf| !leaf.is_empty() && !leaf.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_that_is_derived_from_the_longest_backup_id_reads_back() {
        let backup: BackupId = "b".repeat(BACKUP_ID_MAX).parse().unwrap();
        assert!("b".repeat(BACKUP_ID_MAX + 1).parse::<BackupId>().unwrap_err().to_string().contains("1 to 170"));
        let segment = SegmentId::new(&backup, 999_999_999, 63, 999_999_999);
        assert_eq!(segment.as_str().parse(), Ok(segment.clone()));
        let part = PartId::new(&backup, 999_999_999, 999_999_999);
        assert_eq!(part.as_str().parse(), Ok(part.clone()));
        let prefix: BackupIdPrefix = "p".repeat(BACKUP_ID_PREFIX_MAX).parse().unwrap();
        assert!(BackupId::at(&prefix, 0).is_ok());
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "ä", "a\n"] {
            assert!(name.parse::<ArchiveName>().is_err(), "{name:?} was taken");
        }
        assert!("x".repeat(201).parse::<ArchiveName>().is_err());
        assert!("orders-eu.v2_x".parse::<ArchiveName>().is_ok());
    }

    #[test]
    fn a_backup_id_tells_the_time_in_utc() {
        let prefix: BackupIdPrefix = "orders".parse().unwrap();
        assert_eq!(BackupId::at(&prefix, 1_770_906_600_123).unwrap().as_str(), "orders-20260212-143000");
    }

    #[test]
    fn keys_of_an_archive_are_never_those_of_one_whose_name_it_begins() {
        let orders = ArchiveKeys::new(&"orders".parse().unwrap());
        let orders_eu = ArchiveKeys::new(&"orders-eu".parse().unwrap());
        let backup: BackupId = "b".parse().unwrap();
        assert!(!orders_eu.manifest(&backup).starts_with(&orders.backups()));
        assert_eq!(ArchiveKeys::leaf(&orders.segments(), "archives/orders/segments/s1"), Some("s1"));
        assert_eq!(ArchiveKeys::leaf(&orders.segments(), "archives/orders/segments/s1/x"), None);
        assert_eq!(ArchiveKeys::leaf(&orders.segments(), "archives/orders-eu/segments/s1"), None);
    }

    #[test]
    fn checkpoints_sort_in_the_order_of_writing() {
        let keys = ArchiveKeys::new(&"a".parse().unwrap());
        let id: BackupId = "b".parse().unwrap();
        let mut sorted = vec![keys.checkpoint(&id, 2, 1), keys.checkpoint(&id, 1, 10), keys.checkpoint(&id, 1, 9)];
        sorted.sort();
        assert_eq!(sorted, [keys.checkpoint(&id, 1, 9), keys.checkpoint(&id, 1, 10), keys.checkpoint(&id, 2, 1)]);
    }
}
