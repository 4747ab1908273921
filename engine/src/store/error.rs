//! What a store call fails with, and how the words of the operating system and of S3 are read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Kind;
use crate::tls;

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

/// Codes of S3 for a request that will be refused again (status 301, 4xx and 501), as Amazon's list of error responses has them.
const FINAL_CODES: [&str; 18] = [
    "AuthorizationHeaderMalformed",
    "EntityTooLarge",
    "EntityTooSmall",
    "IllegalLocationConstraintException",
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidDigest",
    "InvalidObjectState",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRequest",
    "InvalidStorageClass",
    "KeyTooLongError",
    "MalformedXML",
    "MethodNotAllowed",
    "MissingContentLength",
    "NotImplemented",
    "PermanentRedirect",
];

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

    /// Reads a failure of S3, after the retries.
    pub(super) fn s3(self, bucket: &str, error: &opendal::Error) -> Error {
        use opendal::ErrorKind as K;
        let answer = Answer::read(error.message());
        let code = answer.as_ref().map(|answer| answer.code.as_str());
        // Of a response without a code, such as those to HEAD and of proxies, the status is all that there is.
        let final_status = if code.is_none() { status(error).filter(|status| is_final(*status)) } else { None };
        let reason = || match (&answer, final_status) {
            (Some(answer), _) => answer.to_string(),
            (None, Some(status)) => format!("HTTP status {status}: {}", innermost(error)),
            (None, None) => innermost(error),
        };
        match (code, error.kind()) {
            (Some("NoSuchBucket"), _) => self.misconfigured(format!(
                "the bucket {bucket:?} does not exist: create it first, or mend the name or the endpoint"
            )),
            (Some("XMinioStorageFull" | "QuotaExceeded" | "InsufficientCapacity"), _) => self.no_space(),
            // These come with status 400, though nothing is wrong but the credentials.
            (Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "InvalidAccessKeyId"), _) => {
                self.denied(reason())
            }
            // Only the response to HEAD has no body. To any other request a store says in its body what is not there, so that a response
            // without a code, or without a body at all, is that of something in between.
            (None, K::NotFound) if !error.message().is_empty() || !is_head(error) => {
                self.unavailable(format!("HTTP status 404, and not from the store: {}", between(error)))
            }
            (_, K::NotFound) => self.not_found(),
            (_, K::PermissionDenied) => self.denied(match &answer {
                Some(answer) => answer.to_string(),
                // The answer to HEAD has no body that could say why.
                None => "the store gives no reason".to_owned(),
            }),
            (_, K::RateLimited) => self.unavailable(reason()),
            (_, K::ConditionNotMatch | K::AlreadyExists) => self.conflict(),
            (_, K::ConfigInvalid | K::Unsupported) => self.misconfigured(reason()),
            _ if is_certificate(error) => self.denied(format!("TLS is refused: {}", innermost(error))),
            _ if is_signing(error) => self.denied(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an identity for the pod",
            ),
            (_, K::Conflict) => self.unavailable(reason()),
            (None, _) if status(error) == Some(407) => {
                self.denied(format!("HTTP status 407: a proxy asks for credentials: {}", between(error)))
            }
            // After the retries opendal calls every failure persistent, also one that was final at the first try.
            (Some(code), _) if FINAL_CODES.contains(&code) => self.refused(reason()),
            _ if final_status.is_some() => self.refused(reason()),
            _ if error.is_temporary() || error.is_persistent() => self.unavailable(reason()),
            (None, _) => self.unavailable(reason()),
            (Some(_), _) => self.refused(reason()),
        }
    }
}

/// The error document of S3.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: String,
    text: String,
}

impl Answer {
    /// opendal hands the document over as the `Debug` text of its own type, not as a value.
    fn read(message: &str) -> Option<Self> {
        let field = |name: &str| {
            let (_, rest) = message.strip_prefix("S3Error {")?.split_once(&format!(" {name}: \""))?;
            let end = rest.find("\", ")?;
            Some(rest[..end].replace("\\\"", "\"").replace("\\'", "'"))
        };
        let code = field("code").filter(|code| !code.is_empty())?;
        Some(Self { code, text: field("message").unwrap_or_default() })
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.code, self.text.trim_end_matches('.'))
    }
}

fn sources(error: &opendal::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
}

/// The text of the first cause: what the wrappers around it say is always "send http request".
fn innermost(error: &opendal::Error) -> String {
    if let Some(tls) = sources(error).find_map(tls_cause) {
        return tls::cause(tls);
    }
    match sources(error).last() {
        Some(cause) => cause.to_string(),
        // An answer without a code, as opendal shows it, or without a body.
        None if error.message().is_empty() || error.message().starts_with("S3Error {") => {
            "the store gives no reason".to_owned()
        }
        None => error.message().lines().next().unwrap_or_default().to_owned(),
    }
}

/// Whether the store's certificate was refused.
pub(super) fn is_certificate(error: &opendal::Error) -> bool {
    matches!(sources(error).find_map(tls_cause), Some(rustls::Error::InvalidCertificate(_)))
}

/// An `io::Error` does not count what it wraps among its sources, and may wrap another of its kind.
fn tls_cause<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls_cause(cause.downcast_ref::<io::Error>()?.get_ref()?)
}

/// What something between us and the store says.
fn between(error: &opendal::Error) -> String {
    if error.message().is_empty() { "the response has no body".to_owned() } else { innermost(error) }
}

/// Whether the failure is the response to a HEAD request, which never has a body. opendal keeps the request in the text of the error only.
fn is_head(error: &opendal::Error) -> bool {
    error.to_string().contains("service_operation: HeadObject")
}

/// Whether this response to HEAD leaves open what there is: only the body of a GET says whether a key or a bucket is missing (404), and
/// which credentials are refused (400).
pub(super) fn leaves_open(error: &opendal::Error) -> bool {
    error.kind() == opendal::ErrorKind::NotFound || status(error) == Some(400)
}

/// The HTTP status of an answer without an error document. opendal keeps it in the text of the error only.
fn status(error: &opendal::Error) -> Option<u16> {
    let text = error.to_string();
    let (_, rest) = text.split_once("Parts { status: ")?;
    rest.get(..3)?.parse().ok()
}

/// Whether repeating a request with this status is useless.
fn is_final(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 505) && !matches!(status, 407 | 408 | 409 | 421 | 425 | 429 | 499)
}

fn is_signing(error: &opendal::Error) -> bool {
    error.kind() == opendal::ErrorKind::Unexpected && error.message() == "signing http request"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Arc<str> {
        Arc::from("s3://bucket/p")
    }

    fn s3(kind: opendal::ErrorKind, message: &str) -> Error {
        let store = store();
        Place { store: &store, key: "a/b" }.s3("bucket", &opendal::Error::new(kind, message))
    }

    /// A response without a body, as opendal makes an error of it.
    fn without_body(status: u16, kind: opendal::ErrorKind, operation: &str) -> Error {
        let (parts, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        let error = opendal::Error::new(kind, "")
            .with_context("service_operation", operation)
            .with_context("response", format!("{parts:?}"));
        let store = store();
        Place { store: &store, key: "a/b" }.s3("bucket", &error)
    }

    fn io(error: io::Error) -> Error {
        let store = store();
        Place { store: &store, key: "a/b" }.io(&error)
    }

    const ANSWER: &str =
        "S3Error { code: \"{}\", message: \"It \\\"failed\\\".\", resource: \"/r\", request_id: \"1\" }";

    #[test]
    fn only_a_missing_key_is_not_found() {
        use opendal::ErrorKind as K;
        assert!(s3(K::NotFound, &ANSWER.replace("{}", "NoSuchKey")).is_not_found());
        // The response to HEAD has no body.
        assert!(without_body(404, K::NotFound, "HeadObject").is_not_found());
        // A proxy that has lost its upstream says nothing of the object.
        for between in [
            s3(K::NotFound, "<html><h1>404 Not Found</h1></html>"),
            without_body(404, K::NotFound, "GetObject"),
            without_body(404, K::NotFound, "ListObjectsV2"),
        ] {
            assert_eq!((between.is_not_found(), between.kind()), (false, Kind::Unavailable), "{between}");
            assert!(between.to_string().contains("HTTP status 404, and not from the store"), "{between}");
        }
        for (kind, code) in [
            (K::NotFound, "NoSuchBucket"),
            (K::ConfigInvalid, "NoSuchBucket"),
            (K::PermissionDenied, "AccessDenied"),
            (K::Unexpected, "InternalError"),
            (K::RateLimited, "SlowDown"),
        ] {
            assert!(!s3(kind, &ANSWER.replace("{}", code)).is_not_found(), "{code}");
        }
    }

    #[test]
    fn s3_answers_have_the_kind_that_tells_what_to_do() {
        use opendal::ErrorKind as K;
        for (kind, code, expected) in [
            (K::ConfigInvalid, "NoSuchBucket", Kind::Usage),
            (K::PermissionDenied, "SignatureDoesNotMatch", Kind::Denied),
            (K::Unexpected, "ExpiredToken", Kind::Denied),
            (K::Unexpected, "XMinioStorageFull", Kind::Unavailable),
            (K::RateLimited, "SlowDown", Kind::Unavailable),
            (K::Unexpected, "InvalidArgument", Kind::Usage),
            (K::ConditionNotMatch, "PreconditionFailed", Kind::Conflict),
        ] {
            assert_eq!(s3(kind, &ANSWER.replace("{}", code)).kind(), expected, "{code}");
        }
        assert_eq!(s3(K::Unexpected, "bad gateway").kind(), Kind::Unavailable);
    }

    #[test]
    fn a_status_without_a_body_tells_what_to_do() {
        for (status, expected) in [
            (400, Kind::Usage),
            (405, Kind::Usage),
            (501, Kind::Usage),
            (407, Kind::Denied),
            (408, Kind::Unavailable),
            (421, Kind::Unavailable),
            (425, Kind::Unavailable),
            (502, Kind::Unavailable),
        ] {
            let error = without_body(status, opendal::ErrorKind::Unexpected, "PutObject");
            assert_eq!(error.kind(), expected, "{error}");
        }
    }

    #[test]
    fn an_s3_error_is_one_line_in_the_stores_words() {
        let error = s3(opendal::ErrorKind::PermissionDenied, &ANSWER.replace("{}", "AccessDenied"));
        assert_eq!(error.to_string(), "s3://bucket/p: access to a/b is denied: AccessDenied: It \"failed\"");
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_denied() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(refused));
        let error = opendal::Error::new(opendal::ErrorKind::Unexpected, "send http request").set_source(wrapped);
        let store = store();
        let error = Place { store: &store, key: "" }.s3("bucket", &error.set_temporary());
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("TLS is refused: its certificate is not from an authority"), "{error}");
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
