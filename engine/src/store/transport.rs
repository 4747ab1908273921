//! HTTP to S3: each request has an end in time, and asks the circuit breaker first.
//!
//! This is the one place that every attempt passes: those of calls that are repeated, of the parts of an upload, of the
//! pages of a listing. Here a response of something in between is found out, before opendal takes it for the store's.

mod document;

use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use http::header::ETAG;
use http::{Request, Response, StatusCode};
use opendal::raw::ServiceOperation;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::error::{NOT_FROM_THE_STORE, beginning, is_certificate};
use crate::breaker::Breaker;

/// Longest time until the answer to a request begins that sends next to nothing.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a piece to go out, or for the next piece of an answer to come in: 5 MiB in a minute is 90 kB a second.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 5 << 20;
/// A request with a body up to this size is one that sends next to nothing.
const SMALL_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Transport {
    http: ReqwestTransport,
    breaker: Breaker,
}

impl Transport {
    pub(super) fn new(client: reqwest::Client, breaker: Breaker) -> Self {
        Self { http: ReqwestTransport::new(client), breaker }
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        self.breaker.ready().await;
        let timeout = timeout(request.body().len());
        // A request for credentials has none.
        let operation = request.extensions().get::<ServiceOperation>().map_or("", |operation| operation.0);
        let answer = match tokio::time::timeout(timeout, self.http.fetch(request)).await {
            Ok(Ok(response)) => of_the_store(operation, response.map(|body| body.map_inner(timed))).await,
            Ok(Err(error)) => Err(permanent_if_certificate(error)),
            Err(_) => {
                let text = format!("no answer within {} s", timeout.as_secs());
                Err(Error::new(ErrorKind::Unexpected, text).set_temporary())
            }
        };
        match is_outage(&answer) {
            true => self.breaker.failure(),
            false => self.breaker.success(),
        }
        retryable_status(answer?)
    }
}

/// The pieces of a body.
type Pieces = Box<dyn Stream<Item = opendal::Result<Buffer>> + Send + Sync + Unpin>;

/// Ends a body whose next piece does not come.
fn timed(pieces: Pieces) -> Pieces {
    let timed = stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(PIECE_TIMEOUT, pieces.next()).await {
            Ok(piece) => piece.map(|piece| (piece, Some(pieces))),
            Err(_) => {
                let text = format!("no more of the answer within {} s", PIECE_TIMEOUT.as_secs());
                Some((Err(Error::new(ErrorKind::Unexpected, text).set_temporary()), None))
            }
        }
    });
    Box::new(Box::pin(timed))
}

/// The response, or an error if something in between has sent it: a login page, or a proxy's own 404. opendal reads any success as an
/// object that is stored, any XML as an empty listing, or as a deletion without errors, and any 404 to a deletion as success.
async fn of_the_store(operation: &str, response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    if let Some(lacks) = lacks_of_an_object(operation, &response) {
        // The body is not shown: it may be an object's.
        return Err(foreign(response.status(), lacks).set_temporary());
    }
    if is_written(operation, response.status()) {
        return without_a_body(response).await;
    }
    if !is_known_by_its_body(operation, response.status()) {
        return Ok(response);
    }
    let (mut parts, mut body) = response.into_parts();
    let bytes = body.to_buffer().await?.to_bytes();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let code = document::error_code(text);
    let is_the_stores = match parts.status {
        StatusCode::OK => document::root(text) == root(operation) || is_failed_completion(operation, code),
        _ => code.is_some(),
    };
    if !is_the_stores {
        // Objects that cannot be deleted at once are deleted one by one: a repetition would only delay that.
        let says = beginning(&String::from_utf8_lossy(&bytes));
        return Err(foreign(parts.status, &says).with_temporary(operation != "DeleteObjects"));
    }
    // opendal takes every 404 for a success, also one of a store that has no such bucket.
    if operation == "DeleteObject" && code != Some("NoSuchKey") {
        parts.status = StatusCode::BAD_REQUEST;
    }
    let body = match operation {
        // MinIO writes `<VersionId></VersionId>` into the error of an object without a version; `null` is such an object's version.
        // opendal compares it with the version that was asked for, which is none, finds no object to which the error belongs, and counts
        // the object as deleted.
        "DeleteObjects" => Buffer::from(document::without_versions(text)),
        _ => Buffer::from(bytes),
    };
    Ok(Response::from_parts(parts, HttpBody::new(stream::iter([Ok(body)]), None)))
}

/// What a success lacks that is about one object or part.
fn lacks_of_an_object<T>(operation: &str, response: &Response<T>) -> Option<&'static str> {
    let status = response.status();
    let is_read = status.is_success() && matches!(operation, "HeadObject" | "GetObject");
    if !is_read && !is_written(operation, status) {
        return None;
    }
    // A proxy that changes what it passes on says 203, and keeps the tag (RFC 9110, 15.3.4).
    let is_whole = !is_read || matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
    match (response.headers().contains_key(ETAG), is_whole) {
        (false, _) => Some("it has no entity tag (ETag)"),
        (true, false) => Some("it does not have the status of an object"),
        (true, true) => None,
    }
}

/// Whether a response with this status says that an object or a part was stored.
fn is_written(operation: &str, status: StatusCode) -> bool {
    status.is_success() && matches!(operation, "PutObject" | "UploadPart")
}

/// The response, if it has no body, as no store sends one with an object or a part that it has stored. Many a web server gives its pages
/// an entity tag, whatever was asked for.
async fn without_a_body(response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    let (parts, mut body) = response.into_parts();
    if !body.to_buffer().await?.is_empty() {
        return Err(foreign(parts.status, "it has a body").set_temporary());
    }
    Ok(Response::from_parts(parts, HttpBody::new(stream::empty(), Some(0))))
}

/// Whether a response with this status shows by its body that it is the store's.
fn is_known_by_its_body(operation: &str, status: StatusCode) -> bool {
    match status {
        StatusCode::OK => root(operation).is_some(),
        // No response to HEAD has a body. A store without DeleteObjects may say so in any way.
        StatusCode::NOT_FOUND => !matches!(operation, "" | "HeadObject" | "DeleteObjects"),
        _ => false,
    }
}

/// The root element of the document that says what became of a call; none for a call whose response is no document.
fn root(operation: &str) -> Option<&'static str> {
    match operation {
        "ListObjectsV2" => Some("ListBucketResult"),
        "DeleteObjects" => Some("DeleteResult"),
        // Ceph takes a part of an upload without an id for the whole object.
        "CreateMultipartUpload" => Some("InitiateMultipartUploadResult"),
        "CompleteMultipartUpload" => Some("CompleteMultipartUploadResult"),
        _ => None,
    }
}

/// Whether this is S3's error to a completion that has status 200: it sends the status before it has joined the parts.
fn is_failed_completion(operation: &str, code: Option<&str>) -> bool {
    operation == "CompleteMultipartUpload" && code.is_some()
}

/// The failure that a response of something in between is, and by what it is known.
fn foreign(status: StatusCode, says: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("HTTP status {}, and {NOT_FROM_THE_STORE}: {says}", status.as_u16()))
}

/// Longest time for a request with a body of so many bytes: a document goes out in one.
fn timeout(body_bytes: usize) -> Duration {
    match body_bytes {
        0..=SMALL_BYTES => CALL_TIMEOUT,
        _ => PIECE_TIMEOUT * u32::try_from(body_bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX),
    }
}

/// A certificate that is not trusted now will not be in a second.
fn permanent_if_certificate(error: Error) -> Error {
    if is_certificate(&error) { error.set_permanent() } else { error }
}

/// Turns a response into a temporary error if opendal would not repeat the request although it may succeed in a second. A body, if any, is
/// the page of a proxy.
fn retryable_status<T>(response: Response<T>) -> opendal::Result<Response<T>> {
    let status = response.status().as_u16();
    match status {
        // 408 Request Timeout, 421 Misdirected Request, 425 Too Early; HAProxy and Cloudflare use 520 to 530 for a server that is away.
        408 | 421 | 425 | 520..=530 => {
            Err(Error::new(ErrorKind::Unexpected, format!("HTTP status {status}")).set_temporary())
        }
        _ => Ok(response),
    }
}

/// Whether this is how a store answers, or does not answer, that had better be left alone for a while. A refusal is an
/// answer of a store that is well.
fn is_outage<T>(answer: &opendal::Result<Response<T>>) -> bool {
    match answer {
        Ok(response) => match response.status() {
            // A store that lacks a call, such as DeleteObjects, will lack it later, too.
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
            status => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
        },
        Err(error) => error.is_temporary(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_an_overload_is_not() {
        let answer = |status: u16| Ok(Response::builder().status(status).body(()).expect("a response"));
        for status in [200, 206, 304, 400, 403, 404, 412, 416, 421, 501, 505] {
            assert!(!is_outage(&answer(status)), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 520, 530] {
            assert!(is_outage(&answer(status)), "{status}");
        }
    }

    #[test]
    fn only_a_passing_failure_is_made_one_that_is_repeated() {
        let repeated = |status: u16| {
            let response = Response::builder().status(status).body(()).expect("a response");
            retryable_status(response).is_err_and(|error| error.is_temporary())
        };
        for status in [408, 421, 425, 520, 521, 530] {
            assert!(repeated(status), "{status}");
        }
        // opendal repeats 429 and 503 by itself, and reads their bodies.
        for status in [200, 206, 400, 403, 404, 409, 412, 416, 429, 501, 503, 519, 531] {
            assert!(!repeated(status), "{status}");
        }
    }

    /// What opendal gets to see of a response with this body: its status and its body.
    async fn seen(operation: &'static str, status: u16, body: &'static str) -> opendal::Result<(u16, String)> {
        let body = HttpBody::new(stream::iter([Ok(Buffer::from(body))]), None);
        let response = Response::builder().status(status).body(body).expect("a response");
        let (parts, mut body) = of_the_store(operation, response).await?.into_parts();
        let body = body.to_buffer().await?.to_vec();
        Ok((parts.status.as_u16(), String::from_utf8(body).expect("UTF-8")))
    }

    const PAGE: &str = "\n<html><body>Log in</body>\n</html>";
    const NO_SUCH_KEY: &str = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
    const NO_SUCH_BUCKET: &str = "<Error><Code>NoSuchBucket</Code></Error>";

    #[tokio::test]
    async fn a_page_of_something_in_between_is_no_document_of_the_store() {
        for (operation, status, body) in [
            ("ListObjectsV2", 200, PAGE),
            ("ListObjectsV2", 200, ""),
            ("ListObjectsV2", 200, NO_SUCH_BUCKET),
            ("ListObjectsV2", 404, PAGE),
            ("DeleteObjects", 200, PAGE),
            ("DeleteObjects", 200, NO_SUCH_BUCKET),
            ("CreateMultipartUpload", 200, PAGE),
            ("CompleteMultipartUpload", 200, PAGE),
            ("CompleteMultipartUpload", 200, "<Error><Message>Try again.</Message></Error>"),
            ("DeleteObject", 404, ""),
            ("GetObject", 404, PAGE),
            ("PutObject", 404, PAGE),
        ] {
            let error = seen(operation, status, body).await.unwrap_err();
            // Objects that were to be deleted at once are deleted one by one instead.
            assert_eq!(error.is_temporary(), operation != "DeleteObjects", "{operation}: {error}");
            assert!(error.message().starts_with(&format!("HTTP status {status}, and not from the store")), "{error}");
            assert!(body != PAGE || error.message().ends_with(": <html><body>Log in</body>"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_the_store_says_is_passed_on() {
        for (operation, status, body) in [
            ("ListObjectsV2", 200, "<ListBucketResult xmlns=\"x\"><KeyCount>0</KeyCount></ListBucketResult>"),
            ("ListObjectsV2", 404, NO_SUCH_BUCKET),
            ("DeleteObjects", 200, "<DeleteResult/>"),
            ("CompleteMultipartUpload", 200, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"),
            ("CompleteMultipartUpload", 200, "<Error><Code>InternalError</Code></Error>"),
            ("DeleteObject", 404, NO_SUCH_KEY),
            ("GetObject", 404, NO_SUCH_KEY),
            ("CreateMultipartUpload", 200, "<InitiateMultipartUploadResult/>"),
            // These have no body, or another one.
            ("HeadObject", 404, ""),
            ("DeleteObjects", 404, PAGE),
            ("", 404, "no such role"),
        ] {
            let passed_on = seen(operation, status, body).await.unwrap();
            assert_eq!(passed_on, (status, body.to_owned()), "{operation}");
        }
    }

    #[tokio::test]
    async fn what_has_no_entity_tag_is_no_object_and_is_not_shown() {
        for operation in ["PutObject", "UploadPart", "HeadObject", "GetObject"] {
            let error = seen(operation, 200, "a record of somebody").await.unwrap_err();
            assert!(error.is_temporary() && error.message().ends_with("it has no entity tag (ETag)"), "{error}");
            assert!(!error.to_string().contains("somebody"), "{error}");
        }
    }

    /// A response with an entity tag.
    fn tagged(status: u16, body: &'static str) -> Response<HttpBody> {
        let body = HttpBody::new(stream::iter([Ok(Buffer::from(body))]), None);
        Response::builder().status(status).header(ETAG, "\"e\"").body(body).expect("a response")
    }

    #[tokio::test]
    async fn an_object_may_be_a_page_and_what_was_stored_has_none() {
        for status in [200, 206] {
            assert!(of_the_store("GetObject", tagged(status, PAGE)).await.is_ok(), "{status}");
        }
        for (operation, status, body) in
            [("PutObject", 200, PAGE), ("UploadPart", 200, PAGE), ("GetObject", 203, PAGE), ("HeadObject", 204, "")]
        {
            let error = of_the_store(operation, tagged(status, body)).await.err().expect("no response of a store");
            assert!(error.is_temporary() && !error.to_string().contains("Log in"), "{operation}: {error}");
        }
        for (operation, status) in [("PutObject", 200), ("UploadPart", 200), ("PutObject", 201)] {
            assert!(of_the_store(operation, tagged(status, "")).await.is_ok(), "{operation} {status}");
        }
    }

    #[tokio::test]
    async fn an_object_whose_bucket_is_missing_is_not_deleted() {
        assert_eq!(seen("DeleteObject", 404, NO_SUCH_BUCKET).await.unwrap(), (400, NO_SUCH_BUCKET.to_owned()));
    }

    #[tokio::test]
    async fn the_error_of_an_object_names_no_version() {
        let named = "<DeleteResult><Error><Key>a</Key><VersionId>null</VersionId></Error></DeleteResult>";
        let seen = seen("DeleteObjects", 200, named).await.unwrap();
        assert_eq!(seen, (200, "<DeleteResult><Error><Key>a</Key></Error></DeleteResult>".to_owned()));
    }

    #[test]
    fn a_large_body_has_the_time_of_its_pieces() {
        assert_eq!(timeout(0), CALL_TIMEOUT);
        assert_eq!(timeout(SMALL_BYTES + 1), PIECE_TIMEOUT);
        assert_eq!(timeout(PIECE_BYTES), PIECE_TIMEOUT);
        assert_eq!(timeout(13 << 20), PIECE_TIMEOUT * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_ends() {
        let come = stream::iter([Ok(Buffer::from("a")), Ok(Buffer::from("b"))]);
        let mut pieces = timed(Box::new(come.chain(stream::pending())));
        assert_eq!((pieces.next().await.unwrap().unwrap().len(), pieces.next().await.unwrap().unwrap().len()), (1, 1));
        assert!(pieces.next().await.unwrap().unwrap_err().is_temporary());
        assert!(pieces.next().await.is_none());
    }

    #[test]
    fn silence_is_outage_and_a_refused_certificate_is_final() {
        let lost = || Error::new(ErrorKind::Unexpected, "send http request").set_temporary();
        assert!(is_outage::<()>(&Err(lost())));
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = permanent_if_certificate(lost().set_source(std::io::Error::other(refused)));
        assert!(!error.is_temporary() && !is_outage::<()>(&Err(error)));
        assert!(permanent_if_certificate(lost()).is_temporary());
    }
}
