//! HTTP to S3: each request has an end in time, and asks the circuit breaker first.
//!
//! This is the one place that every attempt passes: those of calls that are repeated, of the parts of an upload, of the
//! pages of a listing.

use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use http::{Request, Response, StatusCode};
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
        answer.map(|response| response.map(|body| body.map_inner(timed)))
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

/// Whether this is how a store answers, or does not answer, that had better be left alone for a while. A refusal is an
/// answer of a store that is well.
fn is_sick<T>(answer: &opendal::Result<Response<T>>) -> bool {
    match answer {
        Ok(response) => match response.status() {
            // A store that lacks a call, such as DeleteObjects, will lack it later, too.
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
            status => status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
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
        for status in [200, 206, 304, 400, 403, 404, 412, 416, 501, 505] {
            assert!(!is_sick(&answer(status)), "{status}");
        }
        for status in [429, 500, 502, 503, 504] {
            assert!(is_sick(&answer(status)), "{status}");
        }
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
