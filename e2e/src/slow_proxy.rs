//! A store that is far away: a proxy in front of it which delays each request, counts them, and refuses some or lets them wait when a test
//! asks for it.
//!
//! It knows as much of HTTP/1.1 as it needs. Clients do not pipeline, so the first bytes that a client sends after those of the server
//! begin a request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const BUFFER_BYTES: usize = 256 << 10;

/// A proxy that runs until this process ends.
#[derive(Debug)]
pub struct SlowProxy {
    port: u16,
    requests: Arc<Mutex<BTreeMap<String, u64>>>,
    refused: Arc<Mutex<Option<&'static str>>>,
    held: Arc<Held>,
}

/// Requests that wait at the proxy, each with what comes behind it on its connection.
#[derive(Debug, Default)]
struct Held {
    state: Mutex<HeldState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct HeldState {
    /// A part of the path and the query of requests that wait.
    of: Option<String>,
    waiting: usize,
}

impl HeldState {
    fn holds(&self, target: &str) -> bool {
        self.of.as_ref().is_some_and(|of| target.contains(of.as_str()))
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, HeldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as such requests are held.
    fn pass(&self, target: &str) {
        let mut state = self.state();
        state.waiting += 1;
        while state.holds(target) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
    }
}

/// What S3 answers about an object that was moved to a storage class which is not read at once.
const REFUSAL: &str = "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the object's storage class</Message></Error>";

impl SlowProxy {
    /// Starts a proxy on a free port of the loopback address, in front of this port.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(target_port: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the proxy cannot listen")?;
        let port = listener.local_addr().context("the proxy has no address")?.port();
        let requests: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let refused: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let held: Arc<Held> = Arc::default();
        let shared = (Arc::clone(&requests), Arc::clone(&refused), Arc::clone(&held));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (counted, refused, held) = shared.clone();
                // A connection that cannot be served is closed, which the client sees.
                thread::spawn(move || drop(serve(client, target_port, delay, &counted, &refused, &held)));
            }
        });
        Ok(Self { port, requests, refused, held })
    }

    /// Holds requests whose path or query contains this text; releases those held before.
    pub fn hold(&self, of: Option<&str>) {
        self.held.state().of = of.map(str::to_owned);
        self.held.changed.notify_all();
    }

    /// Whether a request waits.
    pub fn holds_one(&self) -> bool {
        self.held.state().waiting > 0
    }

    /// Refuses requests of this kind from now on, as S3 refuses to read an archived object.
    pub fn refuse(&self, kind: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
    }

    /// The endpoint, such as `http://127.0.0.1:20000`.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The requests since the last call, by kind: `LIST`, or the method and what the key ends in.
    pub fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut counts(&self.requests))
    }
}

fn counts(requests: &Mutex<BTreeMap<String, u64>>) -> MutexGuard<'_, BTreeMap<String, u64>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    mut client: TcpStream,
    target_port: u16,
    delay: Duration,
    requests: &Mutex<BTreeMap<String, u64>>,
    refused: &Mutex<Option<&'static str>>,
    held: &Held,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let is_answered = Arc::new(AtomicBool::new(true));
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let answered = Arc::clone(&is_answered);
    let answers = thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(bytes @ 1..) = from_server.read(&mut buffer) {
            answered.store(true, Ordering::SeqCst);
            if to_client.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        // Either side may have closed already.
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes @ 1..) = client.read(&mut buffer) {
        if is_answered.swap(false, Ordering::SeqCst) {
            let kind = kind(&buffer[..bytes]);
            let is_refused =
                refused.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|refused| refused == kind);
            *counts(requests).entry(kind).or_default() += 1;
            thread::sleep(delay);
            held.pass(&target(&buffer[..bytes]));
            if is_refused {
                let head = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{REFUSAL}", REFUSAL.len());
                client.write_all(answer.as_bytes())?;
                // What else there is of the request is nobody's.
                while matches!(client.read(&mut buffer), Ok(1..)) {}
                break;
            }
        }
        if server.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    // It ends with the connection, whatever it was at.
    let _ = answers.join();
    Ok(())
}

/// The path and the query of a request, in which slashes are no longer encoded.
fn target(request: &[u8]) -> String {
    first_line(request).split(' ').nth(1).unwrap_or_default().replace("%2F", "/")
}

fn first_line(request: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap_or_default())
}

/// What a request is, by its first line.
fn kind(request: &[u8]) -> String {
    let line = first_line(request);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if query.contains("list-type=2") {
        return "LIST".to_owned();
    }
    let folders = ["/segments/", "/parts/", "/facts/", "/progress/", "/lease/", "/restores/"];
    let of = folders.into_iter().find(|folder| path.contains(folder)).map(|folder| folder.trim_matches('/'));
    let of = of.or_else(|| path.ends_with("/manifest").then_some("manifest"));
    format!("{method} {}", of.unwrap_or("other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (line, wanted) in [
            ("GET /b?list-type=2&prefix=x HTTP/1.1", "LIST"),
            ("GET /b/archives/a/backups/b1/manifest HTTP/1.1", "GET manifest"),
            ("HEAD /b/archives/a/backups/b1/facts/1-2 HTTP/1.1", "HEAD facts"),
            ("POST /b?delete HTTP/1.1", "POST other"),
        ] {
            assert_eq!(kind(format!("{line}\r\nhost: x").as_bytes()), wanted);
        }
    }

    #[test]
    fn a_folder_is_found_in_a_listing_and_in_a_key() {
        for line in
            ["GET /b?list-type=2&prefix=x%2Fsegments%2Fb1%2F HTTP/1.1", "PUT /b/x/segments/b1/e1-w0-0?uploads HTTP/1.1"]
        {
            assert!(target(format!("{line}\r\nhost: x").as_bytes()).contains("/segments/b1/"), "{line}");
        }
    }
}
