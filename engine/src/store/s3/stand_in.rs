//! A stand-in for S3 on a port of this machine, for tests: each test gives it the function that answers a request.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::{BoxFuture, ready};
use opendal::Operator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{S3Store, http_client, service};
use crate::store::error::Place;
use crate::store::{Backend, Store};

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"e\"\r\n\r\n";
pub(super) const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
pub(super) const HEAD_NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// A request as the stand-in sees it.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The value of a header, whose name is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    pub(super) fn written_by(&self) -> Option<String> {
        self.header("x-amz-meta-written-by")
    }

    /// The path and the query.
    pub(super) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// A response; `None` cuts the connection, as if the answer got lost.
pub(super) type Answer = BoxFuture<'static, Option<Vec<u8>>>;

/// Answers each request with what `answer` makes of it.
pub(super) async fn serve(answer: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Store {
    let address = listen(move |request| -> Answer {
        let answered = answer(&request).map(String::into_bytes);
        Box::pin(ready(answered))
    })
    .await;
    let builder = service("bucket", "us-east-1").endpoint(&format!("http://{address}")).skip_signature();
    let name: Arc<str> = Arc::from("s3://bucket");
    let client = http_client(Place { store: &name, key: "" }, None).unwrap();
    Store::over(Backend::S3(S3Store::over(Operator::new(builder).unwrap(), client, name, "bucket")))
}

/// Answers on a free port until the runtime ends.
pub(super) async fn listen(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, answer.clone()));
        }
    });
    address
}

async fn converse(mut stream: TcpStream, answer: Arc<impl Fn(Request) -> Answer>) {
    let mut received = Vec::new();
    loop {
        let head_bytes = loop {
            if let Some(at) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(received[..head_bytes].to_vec()).unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap()));
        let end = head_bytes + length.unwrap_or(0);
        while received.len() < end {
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = received[head_bytes..end].to_vec();
        received.drain(..end);
        let method = head.split(' ').next().unwrap().to_owned();
        let Some(answer) = answer(Request { method, head, body }).await else { return };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// A refusal, in S3's words.
pub(super) fn failed(status: u16, code: &str) -> String {
    let body = format!("<Error><Code>{code}</Code><Message>It failed.</Message></Error>");
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An object of so many bytes, to HEAD; `written_by` is the call that made it.
pub(super) fn found(bytes: usize, written_by: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\netag: \"e\"\r\nx-amz-meta-written-by: {written_by}\r\n\r\n")
}

/// A document, in S3's words.
pub(super) fn document(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
