//! Where things stand in a repository: every object key is built and parsed here and nowhere else.
//!
//! ```text
//! repository.json                                   format version, repository id
//! archives/<archive>/archive.json                   what the archive belongs to
//! archives/<archive>/lease/<epoch>                  who writes now
//! archives/<archive>/segments/<backup id>/<id>      immutable: runs of whole batches
//! archives/<archive>/parts/<backup id>/<id>         immutable: lists of runs, shared by manifests
//! archives/<archive>/backups/<backup id>/facts/<..> what a listing says of the backup, see `facts`
//! archives/<archive>/backups/<backup id>/manifest   created once: this makes segments a backup
//! archives/<archive>/progress/<backup id>/          the cut and the checkpoints of a run that has not committed
//! archives/<archive>/restores/<restore id>/         journal and offset maps of a restore
//! archives/<archive>/restores-of/<backup id>/<id>   a restore of a backup: most of its journal goes after the backup
//! archives/<archive>/unfinished-restores/<id>       a restore that has not ended; so none of those that have is looked at
//! ```
//!
//! A command must cost what it does, and not what the archive holds. So:
//!
//! - One listing of `backups/` says which backups are finished, and what they are. Nothing else is below it, so that thousands of
//!   checkpoints of an unfinished backup, or progress that its run may not delete, are never listed by others.
//! - Segments and parts are in a folder of the backup whose run wrote them. To prune, restore or verify one backup, only the
//!   folders that it names are listed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The key of the repository's own description.
pub const REPOSITORY: &str = "repository.json";
/// The object with which a run proves that it may write: of a backup at the root of the store, of a restore in the archive's folder.
pub const WRITE_CHECK: &str = "write-check";
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

    /// The time that the id ends with, in milliseconds since the epoch; `None` when it has none, as the caller chose it.
    pub fn time_ms(&self) -> Option<i64> {
        let (rest, time) = self.0.rsplit_once('-')?;
        let (_, date) = rest.rsplit_once('-')?;
        let is_time = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_time(date, 8) && is_time(time, 6)).then_some(())?;
        let at = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", format!("{date}-{time}")).ok()?;
        Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
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

impl SegmentId {
    /// The backup and the lease epoch of the run that wrote the segment; `None` for an id that [`SegmentId::new`] did not make.
    pub fn written_by(&self) -> Option<(BackupId, u64)> {
        let (id, number) = self.0.rsplit_once('-')?;
        let (id, worker) = id.rsplit_once('-')?;
        number_of("", number)?;
        number_of("w", worker)?;
        backup_and_epoch(id)
    }

    /// The backup whose run wrote the segment; `None` for an id that [`SegmentId::new`] did not make.
    pub fn backup(&self) -> Option<BackupId> {
        Some(self.written_by()?.0)
    }
}

impl PartId {
    /// The backup and the lease epoch of the run that wrote the part; `None` for an id that [`PartId::new`] did not make.
    pub fn written_by(&self) -> Option<(BackupId, u64)> {
        let (id, number) = self.0.rsplit_once('-')?;
        number_of("", number)?;
        backup_and_epoch(id)
    }

    /// The backup whose run wrote the part; `None` for an id that [`PartId::new`] did not make.
    pub fn backup(&self) -> Option<BackupId> {
        Some(self.written_by()?.0)
    }
}

fn backup_and_epoch(id: &str) -> Option<(BackupId, u64)> {
    let (backup, epoch) = id.rsplit_once('-')?;
    Some((backup.parse().ok()?, number_of("e", epoch)?))
}

fn number_of(tag: &str, text: &str) -> Option<u64> {
    let digits = text.strip_prefix(tag)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn in_folder(folder: String, backup: Option<BackupId>, id: &str) -> String {
    match backup {
        Some(backup) => format!("{folder}{backup}/{id}"),
        None => format!("{folder}{id}"),
    }
}

/// Which checkpoint it is, and how many it stands for. Names sort in the order of writing.
///
/// A folded checkpoint holds what it and those before it said, so that a run that resumes reads few objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName {
    /// The lease epoch of the writer.
    pub epoch: u64,
    /// Its number among the writer's checkpoints, from 0.
    pub number: u64,
    /// How many checkpoints it stands for, itself among them: 1 unless it is folded.
    pub folded: u64,
}

impl CheckpointName {
    /// Reads the name of an object; `None` when it is not that of a checkpoint.
    pub fn parse(name: &str) -> Option<Self> {
        let (epoch, rest) = name.strip_prefix('e')?.split_once('-')?;
        let (number, folded) = match rest.split_once('-') {
            Some((number, folded)) => (number, folded.strip_prefix('f')?.parse().ok()?),
            None => (rest, 1),
        };
        let parsed = Self { epoch: epoch.parse().ok()?, number: number.parse().ok()?, folded };
        (parsed.to_string() == name && (1..=parsed.number.saturating_add(1)).contains(&folded)).then_some(parsed)
    }

    /// The number of the first checkpoint that it stands for.
    const fn first(self) -> u64 {
        (self.number + 1).saturating_sub(self.folded)
    }

    /// The checkpoints that say everything that `all` of them say: those that a folded one stands for are left out.
    pub fn covering(mut all: Vec<Self>) -> Vec<Self> {
        all.sort_unstable_by_key(|name| (name.epoch, std::cmp::Reverse((name.number, name.folded))));
        let mut covering: Vec<Self> = Vec::new();
        for name in all {
            // By descending number, so that the last one of this epoch ends at or after this one.
            let is_covered =
                covering.last().is_some_and(|last| last.epoch == name.epoch && name.first() >= last.first());
            if !is_covered {
                covering.push(name);
            }
        }
        covering.sort_unstable();
        covering
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, number, folded } = self;
        write!(f, "e{epoch:06}-{number:06}")?;
        if *folded == 1 { Ok(()) } else { write!(f, "-f{folded}") }
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

    /// The folder of everything, with its closing slash.
    pub fn folder(&self) -> String {
        format!("{}/", self.root)
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

    /// The folder of the segments that runs of this backup wrote, with its closing slash.
    pub fn segments_of(&self, backup: &BackupId) -> String {
        format!("{}/segments/{backup}/", self.root)
    }

    /// One segment, in the folder of the backup whose run wrote it.
    pub fn segment(&self, id: &SegmentId) -> String {
        in_folder(self.segments(), id.backup(), id.as_str())
    }

    /// The folder of all parts of manifests, with its closing slash.
    pub fn parts(&self) -> String {
        format!("{}/parts/", self.root)
    }

    /// The folder of the parts that runs of this backup wrote, with its closing slash.
    pub fn parts_of(&self, backup: &BackupId) -> String {
        format!("{}/parts/{backup}/", self.root)
    }

    /// One part of a manifest, in the folder of the backup whose run wrote it.
    pub fn part(&self, id: &PartId) -> String {
        in_folder(self.parts(), id.backup(), id.as_str())
    }

    /// The folder of all backups, with its closing slash.
    pub fn backups(&self) -> String {
        format!("{}/backups/", self.root)
    }

    /// The manifest of one backup.
    pub fn manifest(&self, id: &BackupId) -> String {
        format!("{}/backups/{id}/manifest", self.root)
    }

    /// The object whose name holds what a listing says of one backup.
    pub fn facts(&self, id: &BackupId, name: &str) -> String {
        format!("{}/backups/{id}/facts/{name}", self.root)
    }

    /// The folder of the progress of all backups, with its closing slash.
    pub fn progress(&self) -> String {
        format!("{}/progress/", self.root)
    }

    /// The folder of one backup's progress, with its closing slash.
    pub fn progress_folder(&self, id: &BackupId) -> String {
        format!("{}/progress/{id}/", self.root)
    }

    /// The cut of a backup: what it began with.
    pub fn cut(&self, id: &BackupId) -> String {
        format!("{}/progress/{id}/cut", self.root)
    }

    /// The mark of a backup that cannot be finished.
    pub fn given_up(&self, id: &BackupId) -> String {
        format!("{}/progress/{id}/given-up", self.root)
    }

    /// A checkpoint of a backup.
    pub fn checkpoint(&self, id: &BackupId, checkpoint: CheckpointName) -> String {
        format!("{}/progress/{id}/{checkpoint}", self.root)
    }

    /// What a restore proves with that it may write to the archive.
    pub fn write_check(&self) -> String {
        format!("{}/{WRITE_CHECK}", self.root)
    }

    /// The folder of all restores, with its closing slash.
    pub fn restores(&self) -> String {
        format!("{}/restores/", self.root)
    }

    /// The folder of one restore, with its closing slash.
    pub fn restore_folder(&self, id: &RestoreId) -> String {
        format!("{}/restores/{id}/", self.root)
    }

    /// The folder with a folder for each backup that was restored, with its closing slash.
    pub fn restored(&self) -> String {
        format!("{}/restores-of/", self.root)
    }

    /// The folder that names the restores of a backup, with its closing slash.
    pub fn restores_of(&self, backup: &BackupId) -> String {
        format!("{}/restores-of/{backup}/", self.root)
    }

    /// Says that a restore is one of this backup.
    pub fn restore_of(&self, backup: &BackupId, id: &RestoreId) -> String {
        format!("{}/restores-of/{backup}/{id}", self.root)
    }

    /// The folder that names the restores that have not ended, with its closing slash.
    pub fn unfinished_restores(&self) -> String {
        format!("{}/unfinished-restores/", self.root)
    }

    /// Says that a restore has not ended.
    pub fn unfinished_restore(&self, id: &RestoreId) -> String {
        format!("{}/unfinished-restores/{id}", self.root)
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
        let id = BackupId::at(&prefix, 1_770_906_600_123).unwrap();
        assert_eq!((id.as_str(), id.time_ms()), ("orders-20260212-143000", Some(1_770_906_600_000)));
        for other in
            ["orders", "20260212-143000", "orders-20261312-143000", "orders-2026021-143000", "orders-20260212-14300"]
        {
            assert_eq!(other.parse::<BackupId>().unwrap().time_ms(), None, "{other}");
        }
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
        let segment = orders.segment(&SegmentId::new(&backup, 1, 0, 0));
        assert_eq!(ArchiveKeys::leaf(&orders.segments_of(&backup), &segment), Some("b-e000001-w00-000000"));
    }

    fn checkpoint(epoch: u64, number: u64, folded: u64) -> CheckpointName {
        CheckpointName { epoch, number, folded }
    }

    #[test]
    fn checkpoints_sort_in_the_order_of_writing() {
        let names = [checkpoint(1, 9, 1), checkpoint(1, 10, 1), checkpoint(1, 10, 8), checkpoint(2, 1, 1)];
        let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        for (name, text) in names.iter().zip(&texts) {
            assert_eq!(CheckpointName::parse(text), Some(*name));
        }
        for other in
            ["cut", "e000001", "e1-1", "e000001-000001-f1", "e000001-000001-f3", "e000001-000001-x", "given-up"]
        {
            assert_eq!(CheckpointName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_folded_checkpoint_is_read_instead_of_those_that_it_stands_for() {
        let all = vec![
            checkpoint(1, 0, 1),
            checkpoint(1, 1, 1),
            checkpoint(1, 2, 1),
            checkpoint(1, 2, 3),
            checkpoint(1, 3, 1),
            checkpoint(2, 0, 1),
            checkpoint(2, 1, 1),
            checkpoint(3, 5, 6),
        ];
        let read =
            [checkpoint(1, 2, 3), checkpoint(1, 3, 1), checkpoint(2, 0, 1), checkpoint(2, 1, 1), checkpoint(3, 5, 6)];
        assert_eq!(CheckpointName::covering(all), read);
        assert_eq!(CheckpointName::covering(Vec::new()), []);
    }

    #[test]
    fn an_id_says_which_backup_it_belongs_to() {
        for name in ["b", "orders-20260212-143000", "b-e000001-w00-000000", "b-e1-2"] {
            let backup: BackupId = name.parse().unwrap();
            for number in [0, 7, 123_456_789] {
                let segment = SegmentId::new(&backup, number, 3, number);
                assert_eq!(segment.written_by(), Some((backup.clone(), number)), "{segment}");
                let part = PartId::new(&backup, number, 7);
                assert_eq!(part.written_by(), Some((backup.clone(), number)), "{part}");
            }
        }
        for other in ["x", "a-e1-w1", "a-e1-x1-1", "a-1-w1-1", "-e1-w1-1", "a-e-w1-1"] {
            assert_eq!(other.parse::<SegmentId>().unwrap().backup(), None, "{other}");
        }
    }
}
