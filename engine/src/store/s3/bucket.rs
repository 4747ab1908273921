//! A bucket in memory behind HTTP, for tests: what it holds, what it is asked for, and how many requests it gets at a time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::yield_now;

use super::stand_in::{Answer, HEAD_NOT_FOUND, NO_CONTENT, OK, Request, document, failed, found, listen};
use crate::clock::now_ms;
use crate::config::storage::StorageConfig;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Get,
    Head,
    Put,
    Delete,
    DeleteMany,
    List,
}

/// A bucket that takes an object by one request, never in parts, and keeps no versions.
pub(crate) struct Bucket {
    /// Where it is.
    pub(crate) storage: StorageConfig,
    contents: Arc<Contents>,
    /// A folder with credentials, which nobody looks at.
    _credentials: TempDir,
}

#[derive(Default)]
struct Contents {
    objects: Mutex<BTreeMap<String, Stored>>,
    asked: Mutex<Vec<(Asked, String)>>,
    meeting: Mutex<Option<Arc<Meeting>>>,
    lacks_delete_many: AtomicBool,
    repeats_its_first_page: AtomicBool,
    page: Mutex<Option<&'static str>>,
}

struct Stored {
    bytes: Bytes,
    written_by: Option<String>,
    modified_ms: i64,
}

/// Requests that are answered together, or not at all.
struct Meeting {
    asked: Asked,
    /// A part of the key.
    of: &'static str,
    barrier: Barrier,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

/// How often every other task of a test has its turn before requests that have met are answered: often enough for another request to be
/// sent, received and counted, if the client sends one before it has an answer.
const TURNS: usize = 1_000;

impl Meeting {
    async fn wait(&self) {
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        self.barrier.wait().await;
        for _ in 0..TURNS {
            yield_now().await;
        }
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bucket {
    /// An empty one.
    pub(crate) async fn start() -> Self {
        let contents = Arc::new(Contents::default());
        let asked = Arc::clone(&contents);
        let address = listen(move |request| -> Answer {
            let contents = Arc::clone(&asked);
            Box::pin(async move { Some(contents.answer(&request).await) })
        })
        .await;
        let credentials = tempfile::tempdir().unwrap();
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            fs::write(credentials.path().join(name), "test").unwrap();
        }
        let credentials_file = credentials.path().display();
        let url = format!(
            "s3://bucket?endpoint=http://{address}&region=us-east-1&force_path_style=true&credentials_file={credentials_file}"
        );
        Self { storage: url.parse().unwrap(), contents, _credentials: credentials }
    }

    /// Puts an object that was written at this time, in milliseconds since the epoch.
    pub(crate) fn insert(&self, key: &str, bytes: Bytes, modified_ms: i64) {
        let stored = Stored { bytes, written_by: None, modified_ms };
        self.contents.objects.lock().unwrap().insert(key.to_owned(), stored);
    }

    /// The keys of everything in it, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.contents.objects.lock().unwrap().keys().cloned().collect()
    }

    /// From now on, such requests for keys with `of` in them are answered when so many of them are under way, and not before.
    pub(crate) fn meet(&self, asked: Asked, of: &'static str, together: usize) {
        let barrier = Barrier::new(together);
        let meeting =
            Meeting { asked, of, barrier, under_way: AtomicUsize::new(0), most_under_way: AtomicUsize::new(0) };
        *self.contents.meeting.lock().unwrap() = Some(Arc::new(meeting));
    }

    /// The greatest number of such requests that were under way at a time since [`Bucket::meet`]; 0 before.
    pub(crate) fn most_under_way(&self) -> usize {
        let meeting = self.contents.meeting.lock().unwrap();
        meeting.as_ref().map_or(0, |meeting| meeting.most_under_way.load(Ordering::Relaxed))
    }

    /// How many such requests there were for keys with `of` in them.
    pub(crate) fn count(&self, asked: Asked, of: &str) -> usize {
        let requests = self.contents.asked.lock().unwrap();
        requests.iter().filter(|(kind, key)| *kind == asked && key.contains(of)).count()
    }

    /// From now on it has no `DeleteObjects`, as some stores.
    pub(crate) fn lose_delete_many(&self) {
        self.contents.lacks_delete_many.store(true, Ordering::Relaxed);
    }

    /// From now on it says that there is more of each listing, and answers with the same page again.
    pub(crate) fn repeat_its_first_page(&self) {
        self.contents.repeats_its_first_page.store(true, Ordering::Relaxed);
    }

    /// From now on something in between answers every request with this page.
    pub(crate) fn hide_behind(&self, page: &'static str) {
        *self.contents.page.lock().unwrap() = Some(page);
    }
}

impl Contents {
    async fn answer(&self, request: &Request) -> Vec<u8> {
        if let Some(page) = *self.page.lock().unwrap() {
            return document(page).into_bytes();
        }
        let (asked, key) = subject(request);
        self.asked.lock().unwrap().push((asked, key.clone()));
        let meeting = self.meeting.lock().unwrap().clone();
        if let Some(meeting) = meeting.filter(|meeting| meeting.asked == asked && key.contains(meeting.of)) {
            meeting.wait().await;
        }
        match asked {
            Asked::Get => self.get(&key, request),
            Asked::Head => self.head(&key).into_bytes(),
            Asked::Put => self.put(key, request).into_bytes(),
            Asked::Delete => {
                self.objects.lock().unwrap().remove(&key);
                NO_CONTENT.into()
            }
            Asked::DeleteMany => self.delete_many(request).into_bytes(),
            Asked::List => self.list(request).into_bytes(),
        }
    }

    fn get(&self, key: &str, request: &Request) -> Vec<u8> {
        let objects = self.objects.lock().unwrap();
        let Some(stored) = objects.get(key) else { return failed(404, "NoSuchKey").into_bytes() };
        let size = stored.bytes.len();
        let (status, start, end) = match request.header("range") {
            None => (200, 0, size),
            Some(range) => {
                let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
                let last = last.parse::<usize>().unwrap_or(usize::MAX - 1);
                (206, start.parse::<usize>().unwrap(), size.min(last + 1))
            }
        };
        if status == 206 && start >= end {
            return failed(416, "InvalidRange").into_bytes();
        }
        let length = end - start;
        let mut response = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: \"e\"\r\n").into_bytes();
        if status == 206 {
            response.extend(format!("content-range: bytes {start}-{}/{size}\r\n", end - 1).into_bytes());
        }
        response.extend(b"\r\n");
        response.extend(&stored.bytes[start..end]);
        response
    }

    fn head(&self, key: &str) -> String {
        let objects = self.objects.lock().unwrap();
        let Some(Stored { bytes, written_by, .. }) = objects.get(key) else { return HEAD_NOT_FOUND.to_owned() };
        found(bytes.len(), written_by.as_deref().unwrap_or_default())
    }

    fn put(&self, key: String, request: &Request) -> String {
        let mut objects = self.objects.lock().unwrap();
        if request.header("if-none-match").is_some() && objects.contains_key(&key) {
            return failed(412, "PreconditionFailed");
        }
        let bytes = Bytes::copy_from_slice(&request.body);
        objects.insert(key, Stored { bytes, written_by: request.written_by(), modified_ms: now_ms() });
        OK.to_owned()
    }

    fn delete_many(&self, request: &Request) -> String {
        if self.lacks_delete_many.load(Ordering::Relaxed) {
            return failed(501, "NotImplemented");
        }
        let body = String::from_utf8_lossy(&request.body);
        let keys = body.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        let mut objects = self.objects.lock().unwrap();
        keys.for_each(|key| drop(objects.remove(key)));
        document("<DeleteResult></DeleteResult>")
    }

    fn list(&self, request: &Request) -> String {
        let (prefix, delimiter) = (parameter(request, "prefix"), parameter(request, "delimiter"));
        let objects = self.objects.lock().unwrap();
        let mut listed = String::new();
        let mut folders = Vec::new();
        for (key, stored) in objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            match key[prefix.len()..].split_once('/') {
                Some((folder, _)) if !delimiter.is_empty() => folders.push(format!("{prefix}{folder}/")),
                Some(_) | None => {
                    let modified = jiff::Timestamp::from_millisecond(stored.modified_ms).unwrap();
                    let size = stored.bytes.len();
                    listed += &format!(
                        "<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><Size>{size}</Size></Contents>"
                    );
                }
            }
        }
        // Of a sorted list those that are the same are neighbours.
        folders.dedup();
        for folder in folders {
            listed += &format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
        }
        let is_truncated = self.repeats_its_first_page.load(Ordering::Relaxed);
        document(&format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>{listed}</ListBucketResult>"))
    }
}

/// What a request is for, and the key that it names; a listing and `DeleteObjects` name none.
fn subject(request: &Request) -> (Asked, String) {
    let path = request.target().split('?').next().unwrap_or_default();
    let key = decoded(path.strip_prefix("/bucket").unwrap().trim_start_matches('/'));
    let asked = match (request.method.as_str(), key.is_empty()) {
        ("GET", true) => Asked::List,
        ("GET", false) => Asked::Get,
        ("HEAD", false) => Asked::Head,
        ("PUT", false) => Asked::Put,
        ("DELETE", false) => Asked::Delete,
        ("POST", true) => Asked::DeleteMany,
        (method, _) => panic!("{method} of {key:?} is more than this bucket can do"),
    };
    (asked, key)
}

/// A parameter of the query; empty when it is not there.
fn parameter(request: &Request, name: &str) -> String {
    let query = request.target().split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| decoded(value)).unwrap_or_default()
}

/// A text without percent-encoding.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
