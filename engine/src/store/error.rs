//! What a store call fails with, and how the words of the operating system are read. Those of S3 are read in
//! `s3/failure.rs`.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Kind;

/// Why a store call failed. Only [`Error::NotFound`] means that an object is not there.
///
/// After an error of a call that writes, other than [`Error::Key`], the object may have been written or not: an
/// answer can get lost on its way back. Read it back, or write with
/// [`Store::create_or_same`](super::Store::create_or_same) again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store answered that it has no such object. Whoever asks for what may be absent matches this variant; to
    /// everybody else an object that should be there is gone.
    #[error("{store}: there is no object {key}")]
    NotFound {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key.
        key: String,
    },
    /// Credentials were refused, a permission is missing, or a certificate is not trusted.
    #[error("{store}: access to {key} is denied: {reason}")]
    Denied {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key, or the prefix that was listed.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// The store did not answer in time, or answered that it cannot now, and repeating the call did not help.
    #[error("{store}: {key} cannot be reached now: {reason}")]
    Unavailable {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key, or the prefix that was listed.
        key: String,
        /// What was seen last.
        reason: String,
    },
    /// The disk, or the quota of the bucket, is full.
    #[error("no space left on {store}, while writing {key}: make room, then run the same command again")]
    NoSpace {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key.
        key: String,
    },
    /// An upload ended at a key that somebody else has written.
    #[error("{store}: {key} exists already, written by somebody else: is another run writing the same archive?")]
    Conflict {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key.
        key: String,
    },
    /// An object has fewer bytes than a reader was told.
    #[error("{store}: {key} is cut short: bytes {start} to {end} were asked for, {have} of them are there")]
    Short {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key.
        key: String,
        /// First byte that was asked for.
        start: u64,
        /// The byte after the last one that was asked for.
        end: u64,
        /// How many of them are there.
        have: u64,
    },
    /// The bucket or the folder does not exist, or the store lacks what an archive needs.
    #[error("{store}: {reason}")]
    Misconfigured {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The store understood the call and will not do it.
    #[error("{store}: the call for {key} was refused: {reason}")]
    Refused {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key, or the prefix that was listed.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// A key that would lead out of the store, or that two stores would understand differently.
    #[error("{key:?} cannot be the key of an object: {reason}")]
    Key {
        /// The key.
        key: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// An upload was used again after one of its writes had failed or had been abandoned halfway.
    #[error("{store}: the upload of {key} was broken off by an earlier failure")]
    Broken {
        /// The store, as its errors name it.
        store: Arc<str>,
        /// The object's key.
        key: String,
    },
}

impl Error {
    /// What the failure asks of the reader.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::Short { .. } => Kind::Corrupt,
            Self::Denied { .. } => Kind::Denied,
            Self::Unavailable { .. } | Self::NoSpace { .. } => Kind::Unavailable,
            Self::Conflict { .. } => Kind::Conflict,
            Self::Misconfigured { .. } | Self::Refused { .. } | Self::Key { .. } => Kind::Usage,
            Self::Broken { .. } => Kind::Bug,
        }
    }

    /// Whether the store answered that the object does not exist.
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The store and the key of a call, for the error that it may end with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a Arc<str>,
    pub(super) key: &'a str,
}

impl Place<'_> {
    fn parts(self) -> (Arc<str>, String) {
        let key = if self.key.is_empty() { "its contents" } else { self.key };
        (self.store.clone(), key.to_owned())
    }

    pub(super) fn not_found(self) -> Error {
        let (store, key) = self.parts();
        Error::NotFound { store, key }
    }

    pub(super) fn denied(self, reason: impl Into<String>) -> Error {
        let (store, key) = self.parts();
        Error::Denied { store, key, reason: reason.into() }
    }

    pub(super) fn unavailable(self, reason: impl Into<String>) -> Error {
        let (store, key) = self.parts();
        Error::Unavailable { store, key, reason: reason.into() }
    }

    pub(super) fn no_space(self) -> Error {
        let (store, key) = self.parts();
        Error::NoSpace { store, key }
    }

    pub(super) fn conflict(self) -> Error {
        let (store, key) = self.parts();
        Error::Conflict { store, key }
    }

    pub(super) fn refused(self, reason: impl Into<String>) -> Error {
        let (store, key) = self.parts();
        Error::Refused { store, key, reason: reason.into() }
    }

    pub(super) fn misconfigured(self, reason: impl Into<String>) -> Error {
        Error::Misconfigured { store: self.store.clone(), reason: reason.into() }
    }

    pub(super) fn broken(self) -> Error {
        let (store, key) = self.parts();
        Error::Broken { store, key }
    }

    pub(super) fn short(self, range: &Range<u64>, have: u64) -> Error {
        let (store, key) = self.parts();
        Error::Short { store, key, start: range.start, end: range.end, have }
    }

    /// `bytes`, if they are as many as `range` has.
    pub(super) fn whole(self, range: &Range<u64>, bytes: Bytes) -> Result<Bytes, Error> {
        let have = bytes.len() as u64;
        if have == range.end.saturating_sub(range.start) { Ok(bytes) } else { Err(self.short(range, have)) }
    }

    /// Reads a failure of the operating system. "Not there" means that the object is not: the caller has made sure
    /// that the store's own folder is.
    pub(super) fn io(self, error: &io::Error) -> Error {
        use io::ErrorKind as K;
        match error.kind() {
            K::NotFound | K::NotADirectory | K::IsADirectory => self.not_found(),
            K::PermissionDenied | K::ReadOnlyFilesystem => self.denied(error.to_string()),
            K::StorageFull | K::QuotaExceeded => self.no_space(),
            K::InvalidFilename | K::InvalidInput | K::FileTooLarge | K::Unsupported | K::TooManyLinks => {
                self.refused(error.to_string())
            }
            // A disk that fails, a server that is away, too many open files: waiting may help, a new flag does not.
            _ => self.unavailable(error.to_string()),
        }
    }
}

/// What errors say of a response that is not the store's own.
pub(super) const NOT_FROM_THE_STORE: &str = "not from the store (is a proxy in between, or the endpoint wrong?)";

/// What an error shows of a page that is not the store's, in characters: some pages are one line.
const SHOWN_CHARACTERS: usize = 120;

/// The beginning of what a page says.
pub(super) fn beginning(page: &str) -> String {
    match page.trim().lines().next() {
        Some(line) => line.chars().take(SHOWN_CHARACTERS).collect(),
        None => "the response has no body".to_owned(),
    }
}

/// The causes of a failure, from the outermost to the first.
pub(super) fn sources(error: &opendal::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

/// The failure of TLS among the causes, if there is one.
pub(super) fn tls_failure(error: &opendal::Error) -> Option<&rustls::Error> {
    sources(error).find_map(tls_cause)
}

/// An `io::Error` does not count what it wraps among its sources, and may wrap another of its kind.
fn tls_cause<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls_cause(cause.downcast_ref::<io::Error>()?.get_ref()?)
}

/// Whether the store's certificate was refused.
pub(super) fn is_certificate(error: &opendal::Error) -> bool {
    matches!(tls_failure(error), Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Arc<str> {
        Arc::from("s3://bucket/p")
    }

    fn io(error: io::Error) -> Error {
        let store = store();
        Place { store: &store, key: "a/b" }.io(&error)
    }

    #[test]
    fn a_full_disk_is_no_space() {
        use std::io::Write;
        // The kernel itself answers ENOSPC here, as a full file system does.
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        let error = io(full);
        assert!(matches!(error, Error::NoSpace { .. }));
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().starts_with("no space left on s3://bucket/p"));
    }

    #[test]
    fn permissions_and_read_only_file_systems_are_denied() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(io(kind.into()).kind(), Kind::Denied);
        }
        assert_eq!(io(io::Error::from_raw_os_error(5)).kind(), Kind::Unavailable);
    }
}
