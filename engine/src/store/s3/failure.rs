//! A call to S3 that failed, and what its failure means.
//!
//! opendal keeps the store's error document, the HTTP status and the kind of request as texts. They are read here and nowhere
//! else, once for each failure.

use std::fmt;

use opendal::ErrorKind;

use crate::store::error::{Error, NOT_FROM_THE_STORE, Place, beginning, is_certificate, sources, tls_failure};
use crate::tls;

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

/// What is known of a call that failed, after the retries.
pub(super) struct S3Failure<'a> {
    error: &'a opendal::Error,
    /// The store's own error document, if the response had one.
    answer: Option<Answer>,
    /// The HTTP status of the response, if there was one.
    status: Option<u16>,
    /// Whether this is the response to a HEAD request, which never has a body.
    is_head: bool,
}

impl<'a> S3Failure<'a> {
    pub(super) fn read(error: &'a opendal::Error) -> Self {
        let text = error.to_string();
        let status = text.split_once("Parts { status: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
        let is_head = text.contains("service_operation: HeadObject");
        Self { error, answer: Answer::read(error.message()), status, is_head }
    }

    /// Whether this response to HEAD leaves open what there is: only the body of a GET says whether a key or a bucket is missing (404),
    /// which credentials are refused (400), and why access is denied (403).
    pub(super) fn leaves_open(&self) -> bool {
        self.error.kind() == ErrorKind::NotFound || matches!(self.status, Some(400 | 403))
    }

    /// What the failure means for a call at `place`, in a bucket of this name.
    pub(super) fn at(&self, place: Place<'_>, bucket: &str) -> Error {
        use ErrorKind as K;
        let code = self.answer.as_ref().map(|answer| answer.code.as_str());
        match (code, self.error.kind()) {
            (Some("NoSuchBucket"), _) => place.misconfigured(format!(
                "the bucket {bucket:?} does not exist: create it first, or mend the name or the endpoint"
            )),
            (Some("XMinioStorageFull" | "QuotaExceeded" | "InsufficientCapacity"), _) => place.no_space(),
            // These come with status 400, though nothing is wrong but the credentials.
            (Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "InvalidAccessKeyId"), _) => {
                place.denied(self.reason())
            }
            // To any other request than HEAD a store says in its body what is not there.
            (None, K::NotFound) if !self.is_head => {
                place.unavailable(format!("HTTP status 404, and {NOT_FROM_THE_STORE}: {}", self.innermost()))
            }
            (_, K::NotFound) => place.not_found(),
            (_, K::PermissionDenied) => place.denied(self.reason()),
            (_, K::RateLimited) => place.unavailable(self.reason()),
            (_, K::ConditionNotMatch | K::AlreadyExists) => place.conflict(),
            (_, K::ConfigInvalid | K::Unsupported) => place.misconfigured(self.reason()),
            _ if is_certificate(self.error) => place.denied(format!("TLS is refused: {}", self.innermost())),
            _ if self.is_signing() => place.denied(
                "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an identity for the pod",
            ),
            (_, K::Conflict) => place.unavailable(self.reason()),
            (None, _) if self.status == Some(407) => {
                place.denied(format!("a proxy asks for credentials: {}", self.reason()))
            }
            // After the retries opendal calls every failure persistent, also one that was final at the first try.
            (Some(code), _) if FINAL_CODES.contains(&code) => place.refused(self.reason()),
            // Of a bucket that was just created: its name is not known everywhere yet.
            (Some("TemporaryRedirect"), _) => place.unavailable(self.reason()),
            (None, _) if matches!(self.status, Some(301 | 308)) => place.misconfigured(format!(
                "{}: give that as the endpoint, or the region in which the bucket is",
                self.redirection()
            )),
            // Of a gateway that asks for a login, say, and may let the next request pass.
            (None, _) if matches!(self.status, Some(302 | 303 | 307)) => place.unavailable(self.redirection()),
            // Of a response without a code, such as those to HEAD and of proxies, the status is all that there is.
            (None, _) if self.status.is_some_and(is_final) => place.refused(self.reason()),
            _ if self.error.is_temporary() || self.error.is_persistent() => place.unavailable(self.reason()),
            (None, _) => place.unavailable(self.reason()),
            (Some(_), _) => place.refused(self.reason()),
        }
    }

    /// Where a redirection leads, without its path.
    fn redirection(&self) -> String {
        let text = self.error.to_string();
        let location = text.split_once("\"location\": \"").and_then(|(_, rest)| rest.split('"').next());
        let host = location.and_then(|location| location.parse::<http::Uri>().ok()).and_then(|uri| {
            let scheme = uri.scheme_str()?.to_owned();
            Some(format!("{scheme}://{}", uri.authority()?.as_str().rsplit('@').next()?))
        });
        let elsewhere = host.unwrap_or_else(|| "another address".to_owned());
        let status = self.status.unwrap_or_default();
        format!("HTTP status {status}: the endpoint redirects to {elsewhere}")
    }

    fn is_signing(&self) -> bool {
        self.error.kind() == ErrorKind::Unexpected && self.error.message() == "signing http request"
    }

    /// The store's own words, or else all that was seen.
    fn reason(&self) -> String {
        match (&self.answer, self.status) {
            (Some(answer), _) => answer.to_string(),
            (None, Some(status)) => format!("HTTP status {status}: {}", self.innermost()),
            (None, None) => self.innermost(),
        }
    }

    /// The text of the first cause: what the wrappers around it say is always "send http request".
    fn innermost(&self) -> String {
        if let Some(tls) = tls_failure(self.error) {
            return tls::cause(tls);
        }
        match (sources(self.error).last(), self.error.message()) {
            (Some(cause), _) => cause.to_string(),
            // A document without a code, as opendal shows it.
            (None, message) if message.starts_with("S3Error {") => "the response gives no reason".to_owned(),
            // Of a page it has only the beginning.
            (None, message) if message.contains(NOT_FROM_THE_STORE) => message.to_owned(),
            (None, message) => beginning(message),
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

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code, self.text.trim_end_matches('.'))
    }
}

/// Whether repeating a request with this status is useless.
const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 505) && !matches!(status, 407 | 408 | 409 | 421 | 425 | 429 | 499)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::error::Kind;

    fn read(error: &opendal::Error) -> Error {
        let store: Arc<str> = Arc::from("s3://bucket/p");
        S3Failure::read(error).at(Place { store: &store, key: "a/b" }, "bucket")
    }

    fn s3(kind: ErrorKind, message: &str) -> Error {
        read(&opendal::Error::new(kind, message))
    }

    /// A response with this body, as opendal makes an error of it.
    fn response(status: u16, kind: ErrorKind, operation: &str, body: &str) -> opendal::Error {
        let (parts, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        opendal::Error::new(kind, body)
            .with_context("service_operation", operation)
            .with_context("response", format!("{parts:?}"))
    }

    const ANSWER: &str =
        "S3Error { code: \"{}\", message: \"It \\\"failed\\\".\", resource: \"/r\", request_id: \"1\" }";

    #[test]
    fn only_a_missing_key_is_not_found() {
        use ErrorKind as K;
        assert!(s3(K::NotFound, &ANSWER.replace("{}", "NoSuchKey")).is_not_found());
        // The response to HEAD has no body.
        assert!(read(&response(404, K::NotFound, "HeadObject", "")).is_not_found());
        // A proxy that has lost its upstream says nothing of the object.
        for between in [
            s3(K::NotFound, "<html><h1>404 Not Found</h1></html>"),
            read(&response(404, K::NotFound, "GetObject", "")),
            read(&response(404, K::NotFound, "ListObjectsV2", "")),
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
    fn a_response_to_head_that_gives_no_reason_leaves_open_what_there_is() {
        let leaves_open = |status, kind| S3Failure::read(&response(status, kind, "HeadObject", "")).leaves_open();
        assert!(leaves_open(404, ErrorKind::NotFound) && leaves_open(403, ErrorKind::PermissionDenied));
        assert!(leaves_open(400, ErrorKind::Unexpected) && !leaves_open(503, ErrorKind::Unexpected));
    }

    #[test]
    fn s3_answers_have_the_kind_that_tells_what_to_do() {
        use ErrorKind as K;
        for (kind, code, expected) in [
            (K::ConfigInvalid, "NoSuchBucket", Kind::Usage),
            (K::PermissionDenied, "SignatureDoesNotMatch", Kind::Denied),
            (K::Unexpected, "ExpiredToken", Kind::Denied),
            (K::Unexpected, "XMinioStorageFull", Kind::Unavailable),
            (K::RateLimited, "SlowDown", Kind::Unavailable),
            (K::Unexpected, "InvalidArgument", Kind::Usage),
            (K::Unexpected, "TemporaryRedirect", Kind::Unavailable),
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
            let error = read(&response(status, ErrorKind::Unexpected, "PutObject", ""));
            assert_eq!(error.kind(), expected, "{error}");
            assert!(error.to_string().contains(&format!("HTTP status {status}: the response has no body")), "{error}");
        }
    }

    #[test]
    fn a_redirection_says_where_to_and_what_to_do() {
        let redirected = |location: Option<&str>| {
            let response = http::Response::builder().status(308);
            let response = location.into_iter().fold(response, |response, to| response.header("location", to));
            let (parts, ()) = response.body(()).unwrap().into_parts();
            let error =
                opendal::Error::new(ErrorKind::Unexpected, "<html>").with_context("response", format!("{parts:?}"));
            read(&error)
        };
        let error = redirected(Some("https://store.example:9000/bucket/key?X-Amz-Signature=secret"));
        assert_eq!(error.kind(), Kind::Usage);
        let text = error.to_string();
        assert!(text.contains("redirects to https://store.example:9000: give") && !text.contains("secret"), "{text}");
        // With a user's name and password in it, or without a host, it is not shown.
        for location in [None, Some("/elsewhere"), Some("https://user:word@store.example/")] {
            let text = redirected(location).to_string();
            assert!(text.contains("redirects to ") && !text.contains("word"), "{text}");
        }
    }

    #[test]
    fn an_s3_error_is_one_line_in_the_stores_words() {
        let error = s3(ErrorKind::PermissionDenied, &ANSWER.replace("{}", "AccessDenied"));
        assert_eq!(error.to_string(), "s3://bucket/p: access to a/b is denied: AccessDenied: It \"failed\"");
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_denied() {
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(refused));
        let error = opendal::Error::new(ErrorKind::Unexpected, "send http request").set_source(wrapped);
        let error = read(&error.set_temporary());
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("TLS is refused: its certificate is not from an authority"), "{error}");
    }
}
