//! HTTP to S3: each request has an end in time, and asks the circuit breaker first.
//!
//! This is the one place that every attempt passes: those of calls that are repeated, of the parts of an upload, of the
//! pages of a listing.

use std::future::ready;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use http::{Method, Request, Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::error::is_certificate;
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
        let is_delete_objects = is_delete_objects(&request);
        let answer = match tokio::time::timeout(timeout, self.http.fetch(request)).await {
            Ok(answer) => answer.map_err(without_repeating_what_cannot_pass),
            Err(_) => {
                let text = format!("no answer within {} s", timeout.as_secs());
                Err(Error::new(ErrorKind::Unexpected, text).set_temporary())
            }
        };
        match is_sick(&answer) {
            true => self.breaker.failure(),
            false => self.breaker.success(),
        }
        let response = repeating_what_passes(answer?)?;
        Ok(response.map(|body| {
            let body = body.map_inner(timed);
            if is_delete_objects { body.map_inner(without_empty_versions) } else { body }
        }))
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

/// Elements without a value, as they are written.
const EMPTY_VERSIONS: [&[u8]; 2] = [b"<VersionId></VersionId>", b"<VersionId/>"];

/// Whether this is a DeleteObjects request, whose query is `delete`, with or without an equals sign.
fn is_delete_objects<T>(request: &Request<T>) -> bool {
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    request.method() == Method::POST && parameters.any(|parameter| parameter.trim_end_matches('=') == "delete")
}

/// The response to DeleteObjects with blanks in place of empty versions.
///
/// MinIO writes `<VersionId></VersionId>` into the error of an object without a version. opendal compares it with the version that was
/// asked for, which is none, finds no object to which the error belongs, and counts the object as deleted. As many blanks as the element
/// has bytes leave the length of the body as it is.
fn without_empty_versions(pieces: Pieces) -> Pieces {
    let whole = async move {
        // An element may be cut by the end of a piece, so that the pieces are joined: a response names at most a thousand objects.
        let pieces: Vec<Buffer> = pieces.try_collect().await?;
        let mut body: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        blank_empty_versions(&mut body);
        Ok::<_, Error>(Buffer::from(body))
    };
    // An empty piece would end the body before its length is checked.
    Box::new(Box::pin(stream::once(whole).try_filter(|body| ready(!body.is_empty()))))
}

fn blank_empty_versions(body: &mut [u8]) {
    let mut at = 0;
    while at < body.len() {
        match EMPTY_VERSIONS.iter().find(|element| body[at..].starts_with(element)) {
            Some(element) => {
                body[at..at + element.len()].fill(b' ');
                at += element.len();
            }
            None => at += 1,
        }
    }
}

/// Longest time for a request with a body of so many bytes: a document goes out in one.
fn timeout(body_bytes: usize) -> Duration {
    match body_bytes {
        0..=SMALL_BYTES => CALL_TIMEOUT,
        _ => PIECE_TIMEOUT * u32::try_from(body_bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX),
    }
}

/// A certificate that is not trusted now will not be in a second.
fn without_repeating_what_cannot_pass(error: Error) -> Error {
    if is_certificate(&error) { error.set_permanent() } else { error }
}

/// Turns a response into a temporary error if opendal would not repeat the request although it may succeed in a second. A body, if any, is
/// the page of a proxy.
fn repeating_what_passes<T>(response: Response<T>) -> opendal::Result<Response<T>> {
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
fn is_sick<T>(answer: &opendal::Result<Response<T>>) -> bool {
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
            assert!(!is_sick(&answer(status)), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 520, 530] {
            assert!(is_sick(&answer(status)), "{status}");
        }
    }

    #[test]
    fn only_a_passing_failure_is_made_one_that_is_repeated() {
        let repeated = |status: u16| {
            let response = Response::builder().status(status).body(()).expect("a response");
            repeating_what_passes(response).is_err_and(|error| error.is_temporary())
        };
        for status in [408, 421, 425, 520, 521, 530] {
            assert!(repeated(status), "{status}");
        }
        // opendal repeats 429 and 503 by itself, and reads their bodies.
        for status in [200, 206, 400, 403, 404, 409, 412, 416, 429, 501, 503, 519, 531] {
            assert!(!repeated(status), "{status}");
        }
    }

    #[test]
    fn a_deletion_of_many_is_known_by_its_query() {
        let is_one = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(()).expect("a request");
            is_delete_objects(&request)
        };
        assert!(is_one("POST", "http://store/bucket/?delete") && is_one("POST", "http://store/bucket?delete="));
        assert!(!is_one("GET", "http://store/bucket/?delete") && !is_one("POST", "http://store/delete?uploads"));
        assert!(!is_one("POST", "http://store/bucket/key"));
    }

    #[tokio::test]
    async fn empty_versions_become_blanks_wherever_a_piece_ends() {
        let body = "<E><Key>a</Key><VersionId></VersionId></E><E><VersionId/></E><E><VersionId>1</VersionId></E>";
        let wanted = body.replace("<VersionId></VersionId>", &" ".repeat(23)).replace("<VersionId/>", &" ".repeat(12));
        for piece_bytes in [1, 7, body.len()] {
            let come: Vec<_> =
                body.as_bytes().chunks(piece_bytes).map(|piece| Ok(Buffer::from(piece.to_vec()))).collect();
            let pieces = without_empty_versions(Box::new(stream::iter(come)));
            let mended: Vec<Buffer> = pieces.try_collect().await.unwrap();
            let mended: Vec<u8> = mended.iter().flat_map(|piece| piece.to_vec()).collect();
            assert_eq!(String::from_utf8(mended).unwrap(), wanted, "{piece_bytes}");
        }
        let nothing = without_empty_versions(Box::new(stream::iter([])));
        assert!(nothing.collect::<Vec<_>>().await.is_empty());
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
    fn silence_is_sick_and_a_refused_certificate_is_final() {
        let lost = || Error::new(ErrorKind::Unexpected, "send http request").set_temporary();
        assert!(is_sick::<()>(&Err(lost())));
        let refused = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = without_repeating_what_cannot_pass(lost().set_source(std::io::Error::other(refused)));
        assert!(!error.is_temporary() && !is_sick::<()>(&Err(error)));
        assert!(without_repeating_what_cannot_pass(lost()).is_temporary());
    }
}
