//! HTTP to S3: each request has an end in time, and asks the circuit breaker first.
//!
//! This is the one place that every attempt passes: those of calls that are repeated, of the parts of an upload, of the
//! pages of a listing.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

use super::error::is_certificate;
use crate::breaker::Breaker;

/// Longest time until the answer to a request begins that sends next to nothing.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a part to go out, or for the next piece of an answer to come in: 5 MiB in a minute is 90 kB a second.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
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
        let timeout = if request.body().len() <= SMALL_BYTES { CALL_TIMEOUT } else { PIECE_TIMEOUT };
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
        answer
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
        Ok(response) => response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS,
        Err(error) => error.is_temporary(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_an_overload_is_not() {
        let answer = |status: u16| Ok(Response::builder().status(status).body(()).expect("a response"));
        for status in [200, 206, 304, 400, 403, 404, 412, 416] {
            assert!(!is_sick(&answer(status)), "{status}");
        }
        for status in [429, 500, 502, 503, 504] {
            assert!(is_sick(&answer(status)), "{status}");
        }
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
