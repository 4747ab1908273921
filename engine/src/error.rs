//! What went wrong, as far as it decides what happens next.
//!
//! Every module has an error enum of its own, with the context as fields; its [`Kind`] says what the reader has to do. Exit code,
//! retry and status reason are derived from the kind, here and nowhere else.

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
    /// Bytes in the archive, or a log of the source, are not what they were.
    Corrupt,
    /// Another run, client or version of the program holds, has made, or has changed what this run needs.
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
