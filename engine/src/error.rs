//! What went wrong, as far as it decides what happens next.
//!
//! Every module has an error enum of its own, with the context as fields. At the crate's face they meet in
//! [`Error`], whose [`Kind`] says what the reader has to do. Exit code, retry and status reason are derived
//! from the kind, here and nowhere else.

use std::process::ExitCode;

/// What a failure asks of whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The request cannot be carried out as it was written: mend the flag, the file, or the name it gives.
    Usage,
    /// A broker or a store does not answer, or has no room left: try again later.
    Unavailable,
    /// Credentials were refused or lack a permission, or a certificate is not trusted.
    Denied,
    /// Stored bytes are not what was written.
    Corrupt,
    /// Somebody else holds, or already made, what this run wants to make.
    Conflict,
    /// The run ended, with less than what was asked; the report names what is missing.
    Partial,
    /// A signal ended the run; the same command goes on where it stopped.
    Interrupted,
    /// A promise of our own was broken. Nothing the user did explains it.
    Bug,
}

impl Kind {
    /// The exit code of the command line tool; 0 is success.
    pub const fn code(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Unavailable => 3,
            Self::Denied => 4,
            Self::Corrupt => 5,
            Self::Conflict => 6,
            Self::Partial => 7,
            Self::Interrupted => 8,
        }
    }

    /// Whether the same call may succeed when it is made again, unchanged.
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind.code())
    }
}

/// Any failure of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// File and flags do not make a configuration.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// A backup's configuration does not hold together.
    #[error(transparent)]
    BackupConfig(#[from] crate::config::backup::Error),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
    /// A restore's configuration does not hold together.
    #[error(transparent)]
    RestoreConfig(#[from] crate::config::restore::Error),
    /// A restore.
    #[error(transparent)]
    Restore(#[from] crate::restore::Error),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] crate::repository::Error),
    /// A verification.
    #[error(transparent)]
    Verify(#[from] crate::verify::Error),
    /// Pruning.
    #[error(transparent)]
    Prune(#[from] crate::prune::Error),
    /// The showing of records.
    #[error(transparent)]
    Cat(#[from] crate::cat::Error),
    /// A signal came, and the run did not end by itself soon enough.
    #[error("stopped as asked; the same command goes on from what is stored")]
    Interrupted,
}

impl Error {
    /// What it asks of whoever reads it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::BackupConfig(error) => error.kind(),
            Self::Backup(error) => error.kind(),
            Self::RestoreConfig(error) => error.kind(),
            Self::Restore(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Verify(error) => error.kind(),
            Self::Prune(error) => error.kind(),
            Self::Cat(error) => error.kind(),
            Self::Interrupted => Kind::Interrupted,
        }
    }
}
