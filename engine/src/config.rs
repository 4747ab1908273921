//! What a run is told: raw forms as they are written, and the checked forms that everything else uses.
//!
//! A run is described by a [`RunConfig`]. It comes from a file, from flags, or from both: then a flag replaces the file's
//! setting, one by one. Whoever starts runs without a user (an operator, say) serialises the same type into a file.

pub mod age;
pub mod backup;
pub mod cat;
pub mod cluster;
pub mod describe;
pub mod job;
#[cfg(feature = "run")]
mod layers;
pub mod list;
mod partitions;
pub mod pem;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod storage;
pub mod verify;

use serde::{Deserialize, Serialize};

#[cfg(feature = "run")]
pub use self::layers::{Error, Flags, load};

/// The most bytes that the records of one batch may take decompressed, unless a run is told otherwise: 64 MiB. A broker bounds the
/// compressed size only, so that a producer may write a megabyte that holds a gigabyte. What reads records holds such a batch
/// about three times, and a pod has 512 MiB.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 64 << 20;

const fn decompressed_batch_bytes_max() -> usize {
    DECOMPRESSED_BATCH_BYTES_MAX
}

/// A run, as it is written in a file: its kind under `run`, and its settings beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "run", rename_all = "camelCase")]
pub enum RunConfig {
    /// Copy topics of a cluster into an archive.
    Backup(Box<backup::BackupConfig>),
    /// Bring a backup's topics back to a cluster.
    Restore(Box<restore::RestoreConfig>),
    /// List archives or backups.
    List(list::ListConfig),
    /// Describe a backup.
    Describe(describe::DescribeConfig),
    /// Check backups.
    Verify(verify::VerifyConfig),
    /// Delete backups that are not to be kept, and leftovers.
    Prune(prune::PruneConfig),
    /// Show records of a backup.
    Cat(cat::CatConfig),
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// Copy topics of a cluster into an archive.
    Backup,
    /// Bring a backup's topics back to a cluster.
    Restore,
    /// List archives or backups.
    List,
    /// Describe a backup.
    Describe,
    /// Check backups.
    Verify,
    /// Delete backups that are not to be kept, and leftovers.
    Prune,
    /// Show records of a backup.
    Cat,
}

/// A setting without which a run cannot begin: its place in a file, and its flag.
#[cfg(feature = "run")]
type Needed = (&'static str, &'static str);

#[cfg(feature = "run")]
const SERVERS: Needed = ("cluster.bootstrapServers", "--bootstrap-servers");
#[cfg(feature = "run")]
const STORAGE: Needed = ("storage", "--storage");
#[cfg(feature = "run")]
const ARCHIVE: Needed = ("archive", "--archive");
#[cfg(feature = "run")]
const BACKUP: Needed = ("backup", "--backup");

impl RunConfig {
    /// What is run.
    pub const fn kind(&self) -> RunKind {
        match self {
            Self::Backup(_) => RunKind::Backup,
            Self::Restore(_) => RunKind::Restore,
            Self::List(_) => RunKind::List,
            Self::Describe(_) => RunKind::Describe,
            Self::Verify(_) => RunKind::Verify,
            Self::Prune(_) => RunKind::Prune,
            Self::Cat(_) => RunKind::Cat,
        }
    }
}

impl RunKind {
    /// Every kind of run.
    #[cfg(feature = "run")]
    const ALL: [Self; 7] =
        [Self::Backup, Self::Restore, Self::List, Self::Describe, Self::Verify, Self::Prune, Self::Cat];

    /// The name, as a file's `run` and the command line have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::List => "list",
            Self::Describe => "describe",
            Self::Verify => "verify",
            Self::Prune => "prune",
            Self::Cat => "cat",
        }
    }

    #[cfg(feature = "run")]
    const fn needed(self) -> &'static [Needed] {
        match self {
            Self::Backup => &[SERVERS, STORAGE, ARCHIVE],
            Self::Restore => &[SERVERS, STORAGE],
            Self::List | Self::Verify => &[STORAGE],
            Self::Describe => &[STORAGE, BACKUP],
            Self::Prune => &[STORAGE, ARCHIVE],
            Self::Cat => &[STORAGE, BACKUP, ("topic", "--topic")],
        }
    }
}
