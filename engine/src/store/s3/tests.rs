//! What becomes of calls to S3, whatever the store or something in between answers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::bucket::{Asked, Bucket};
use super::stand_in::{HEAD_NOT_FOUND, NO_CONTENT, OK, document, failed, found, serve};
use super::*;
use crate::config::cluster::CircuitBreakerConfig;
use crate::error::Kind;
use crate::store::{Created, Store};

/// What something in between shows; XML, as it happens.
const PAGE: &str = "<html><body>Log in</body></html>";

fn page_with(status: u16, page: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{page}", page.len())
}

/// Keeps the first object that is put, and loses the answer to it.
async fn store_that_loses_its_first_answer(keep: impl Fn(String) -> String + Send + Sync + 'static) -> Store {
    let kept = Mutex::new(None::<String>);
    serve(move |request| {
        let mut kept = kept.lock().unwrap();
        match (request.method.as_str(), kept.clone()) {
            ("PUT", None) => {
                *kept = Some(keep(request.written_by().unwrap()));
                None
            }
            ("PUT", Some(_)) => Some(failed(412, "PreconditionFailed")),
            ("HEAD", Some(token)) => Some(found(3, &token)),
            _ => Some(failed(404, "NoSuchKey")),
        }
    })
    .await
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_race() {
    let store = store_that_loses_its_first_answer(|token| token).await;
    assert_eq!(store.create("key", Bytes::from_static(b"abc")).await, Ok(Created::New));
}

#[tokio::test]
async fn a_lost_race_is_not_taken_for_a_lost_answer() {
    let store = store_that_loses_its_first_answer(|_| "somebody else".to_owned()).await;
    assert_eq!(store.create("key", Bytes::from_static(b"abc")).await, Ok(Created::AlreadyThere));
}

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_finished() {
    let store = store_that_loses_its_first_answer(|token| token).await;
    let mut upload = store.upload("key").await.unwrap();
    upload.write(vec![Bytes::from_static(b"abc")]).await.unwrap();
    assert_eq!(upload.finish().await, Ok(3));
}

/// Answers the first conditional writes with a conflict, more often than a call is repeated by itself; `kept` is what a HEAD
/// finds after the first.
async fn store_with_conflicts(kept: impl Fn(String) -> Option<String> + Send + Sync + 'static) -> Store {
    let token = Mutex::new((0, None::<String>));
    serve(move |request| {
        let mut token = token.lock().unwrap();
        match request.method.as_str() {
            "PUT" => {
                token.0 += 1;
                token.1 = request.written_by().and_then(&kept);
                Some(if token.0 <= RETRIES + 2 { failed(409, "ConditionalRequestConflict") } else { OK.to_owned() })
            }
            "HEAD" => Some(match &token.1 {
                Some(token) => found(3, token),
                None => HEAD_NOT_FOUND.to_owned(),
            }),
            _ => Some(failed(404, "NoSuchKey")),
        }
    })
    .await
}

#[tokio::test]
async fn a_conflict_of_conditional_writes_is_settled_by_what_is_there() {
    let create = async |store: Store| store.create("key", Bytes::from_static(b"abc")).await;
    assert_eq!(create(store_with_conflicts(Some).await).await, Ok(Created::New));
    assert_eq!(create(store_with_conflicts(|_| Some("other".to_owned())).await).await, Ok(Created::AlreadyThere));
    assert_eq!(create(store_with_conflicts(|_| None).await).await, Ok(Created::New));
    let mut upload = store_with_conflicts(|_| None).await.upload("key").await.unwrap();
    upload.write(vec![Bytes::from_static(b"abc")]).await.unwrap();
    assert_eq!(upload.finish().await, Ok(3));
}

#[tokio::test]
async fn every_object_and_every_part_goes_with_a_checksum() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    let store = serve(move |request| {
        heads.lock().unwrap().push((request.method.clone(), request.head.to_ascii_lowercase()));
        let body = match request.method.as_str() {
            "POST" if request.head.contains("uploads") => {
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            }
            "POST" => "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
            _ => "",
        };
        Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: \"e\"\r\n\r\n{body}", body.len()))
    })
    .await;
    store.put("a", Bytes::from_static(b"abc")).await.unwrap();
    store.create("b", Bytes::from_static(b"abc")).await.unwrap();
    let mut upload = store.upload("c").await.unwrap();
    upload.write(vec![Bytes::from(vec![7; 11 << 20])]).await.unwrap();
    upload.finish().await.unwrap();
    let seen = seen.lock().unwrap();
    let puts: Vec<_> = seen.iter().filter(|(method, _)| method == "PUT").collect();
    assert_eq!(puts.len(), 5, "{puts:?}");
    assert!(puts.iter().all(|(_, head)| head.contains("x-amz-checksum-crc32c: ")), "{puts:?}");
    assert!(seen.iter().any(|(method, head)| method == "POST" && head.contains("x-amz-checksum-algorithm: crc32c")));
}

#[tokio::test]
async fn a_request_that_is_refused_is_not_unavailable() {
    let store = serve(|_| Some(failed(400, "InvalidRequest"))).await;
    let error = store.put("key", Bytes::from_static(b"abc")).await.unwrap_err();
    assert!(error.kind() == Kind::Usage && error.to_string().contains("InvalidRequest: It failed"), "{error}");
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_not_unavailable_either() {
    for status in [400, 405, 411, 413, 501] {
        for answer in [failed(status, ""), format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")] {
            let store = serve(move |_| Some(answer.clone())).await;
            let errors = [
                store.put("key", Bytes::from_static(b"abc")).await.unwrap_err(),
                store.create("key", Bytes::from_static(b"abc")).await.unwrap_err(),
                store.list("").await.unwrap_err(),
            ];
            for error in errors {
                let text = error.to_string();
                assert!(error.kind() == Kind::Usage && text.contains(&format!("HTTP status {status}")), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn where_many_cannot_be_deleted_at_once_each_is_by_itself() {
    let deleted = |answer: fn() -> String, refused: &'static str| async move {
        let single = Arc::new(Mutex::new(0));
        let count = Arc::clone(&single);
        let store = serve(move |request| {
            let is_refused = !refused.is_empty() && request.head.contains(refused);
            Some(match request.method.as_str() {
                "POST" => answer(),
                "DELETE" if is_refused => failed(403, "AccessDenied"),
                _ => {
                    *count.lock().unwrap() += 1;
                    NO_CONTENT.to_owned()
                }
            })
        })
        .await;
        let removed = store.delete_many(&["a".to_owned(), "held".to_owned(), "c".to_owned()]).await;
        let single = *single.lock().unwrap();
        (removed, single)
    };
    // A store that has no DeleteObjects.
    assert_eq!(deleted(|| failed(501, "NotImplemented"), "").await, (Ok(()), 3));
    assert_eq!(deleted(|| failed(405, "MethodNotAllowed"), "").await, (Ok(()), 3));
    // Something in between answers in its place.
    assert_eq!(deleted(|| document(PAGE), "").await, (Ok(()), 3));
    // One of them is held. Some stores name the version of an object that has none.
    fn of_each(version: &str) -> String {
        let error = "<Key>held</Key><Code>AccessDenied</Code><Message>It is held.</Message>";
        document(&format!(
            "<DeleteResult><Deleted><Key>a</Key></Deleted><Error>{error}{version}</Error></DeleteResult>"
        ))
    }
    let answers: [fn() -> String; 5] = [
        || of_each(""),
        || of_each("<VersionId></VersionId>"),
        || of_each("<VersionId/>"),
        || of_each("<VersionId />"),
        || of_each("<VersionId>null</VersionId>"),
    ];
    for answer in answers {
        let (removed, single) = deleted(answer, "/held").await;
        assert_eq!(removed.map_err(|error| error.kind()), Err(Kind::Denied), "{}", answer());
        assert!(single >= 1, "{single}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_no_missing_object() {
    let store = serve(|request| match request.method.as_str() {
        "HEAD" => Some(HEAD_NOT_FOUND.to_owned()),
        _ => Some(failed(404, "NoSuchBucket")),
    })
    .await;
    let errors =
        [store.size("key").await.unwrap_err(), store.read("key").await.unwrap_err(), store.list("").await.unwrap_err()];
    for error in errors {
        assert!(error.to_string().contains("the bucket \"bucket\" does not exist"), "{error}");
    }
}

#[tokio::test]
async fn a_404_of_something_in_between_is_no_missing_object() {
    // A proxy without a route to the store responds without a body.
    let store = serve(|_| Some(HEAD_NOT_FOUND.to_owned())).await;
    let (size, read, range, list, put) = tokio::join!(
        store.size("key"),
        store.read("key"),
        store.read_range("key", 0..1),
        store.list(""),
        store.put("key", Bytes::new()),
    );
    for error in [size.map(drop), read.map(drop), range.map(drop), list.map(drop), put] {
        assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_404_of_something_in_between_is_repeated() {
    for page in ["", PAGE] {
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        let store = serve(move |_| {
            let is_first = seen.fetch_add(1, Ordering::Relaxed) == 0;
            Some(if is_first { page_with(404, page) } else { OK.to_owned() })
        })
        .await;
        assert_eq!(store.read("key").await, Ok(Bytes::new()), "{page:?}");
        assert_eq!(requests.load(Ordering::Relaxed), 2, "{page:?}");
    }
}

#[tokio::test]
async fn a_page_of_something_in_between_is_no_empty_listing() {
    for page in [PAGE, "<Error><Code>InternalError</Code></Error>"] {
        let store = serve(move |_| Some(document(page))).await;
        let (list, dirs) = tokio::join!(store.list(""), store.list_dirs(""));
        for listed in [list.map(drop), dirs.map(drop)] {
            let error = listed.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(error.to_string().contains("HTTP status 200, and not from the store"), "{error}");
        }
    }
    // It goes away.
    let first = AtomicBool::new(true);
    let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let store = serve(move |_| Some(document(if first.swap(false, Ordering::Relaxed) { PAGE } else { empty }))).await;
    assert_eq!(store.list("").await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_store_behind_a_login_page_is_not_opened() {
    // Requests to a bucket are signed, as those of a run.
    let bucket = Bucket::start().await;
    bucket.hide_behind(PAGE);
    let error = Store::open(&bucket.storage).await.unwrap_err();
    assert!(error.kind() == Kind::Unavailable && error.to_string().contains("not from the store"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_a_login_page_is_not_followed() {
    const LOGIN: &str = "HTTP/1.1 200 X\r\netag: \"page\"\r\ncontent-length: 0\r\n\r\n";
    for status in [302, 303, 307] {
        let store = serve(move |request| match request.target() {
            "/login" => Some(LOGIN.to_owned()),
            _ => Some(format!("HTTP/1.1 {status} X\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n")),
        })
        .await;
        let small = Bytes::from_static(b"small");
        for error in [store.size("key").await.unwrap_err(), store.put("key", small).await.unwrap_err()] {
            let is_named = error.to_string().contains(&format!("HTTP status {status}"));
            assert!(error.kind() == Kind::Unavailable && is_named, "{error}");
        }
    }
}

#[tokio::test]
async fn a_listing_that_begins_again_with_each_page_is_refused() {
    let (bucket, store) = bucket_of(&["a/b".to_owned(), "c/d".to_owned()]).await;
    assert_eq!(store.list("").await.map(|objects| objects.len()), Ok(2));
    bucket.repeat_its_first_page();
    for error in [store.list("").await.unwrap_err(), store.list_dirs("").await.unwrap_err()] {
        assert!(error.kind() == Kind::Usage && error.to_string().contains("the same page again"), "{error}");
    }
}

#[tokio::test]
async fn only_the_stores_own_answer_proves_that_an_object_is_deleted() {
    let deleted = async |answer: fn() -> String| {
        let store = serve(move |_| Some(answer())).await;
        store.delete("key").await.map_err(|error| (error.kind(), error.to_string()))
    };
    assert_eq!(deleted(|| NO_CONTENT.to_owned()).await, Ok(()));
    assert_eq!(deleted(|| failed(404, "NoSuchKey")).await, Ok(()));
    let (kind, text) = deleted(|| page_with(404, PAGE)).await.unwrap_err();
    assert!(kind == Kind::Unavailable && text.contains("HTTP status 404, and not from the store"), "{text}");
    let (kind, text) = deleted(|| failed(404, "NoSuchBucket")).await.unwrap_err();
    assert!(kind == Kind::Usage && text.contains("the bucket \"bucket\" does not exist"), "{text}");
    // To this no repetition is due.
    let (kind, text) = deleted(|| document(PAGE)).await.unwrap_err();
    assert!(kind == Kind::Unavailable && text.contains("HTTP status 200"), "{text}");
}

#[tokio::test]
async fn the_reason_of_a_refused_look_at_an_object_is_asked_for() {
    for (status, code) in [(400, "ExpiredToken"), (403, "RequestTimeTooSkewed")] {
        let store = serve(move |request| match request.method.as_str() {
            "HEAD" => Some(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")),
            _ => Some(failed(status, code)),
        })
        .await;
        for error in [store.size("key").await.unwrap_err(), store.read_tail("key", 1).await.unwrap_err()] {
            let says = format!("{code}: It failed");
            assert!(error.kind() == Kind::Denied && error.to_string().contains(&says), "{error}");
        }
    }
}

#[tokio::test]
async fn a_failure_that_passes_is_repeated_although_it_has_no_code() {
    for status in [408, 421, 425, 520, 530] {
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        let store = serve(move |_| {
            let is_first = seen.fetch_add(1, Ordering::Relaxed) == 0;
            let refusal = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
            Some(if is_first { refusal } else { OK.to_owned() })
        })
        .await;
        assert_eq!(store.read("key").await, Ok(Bytes::new()), "{status}");
        assert_eq!(requests.load(Ordering::Relaxed), 2, "{status}");
    }
}

#[tokio::test]
async fn a_denied_object_is_no_missing_object() {
    let store = serve(|_| Some("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned())).await;
    assert!(matches!(store.size("key").await, Err(Error::Denied { .. })));
    assert!(matches!(store.read("key").await, Err(Error::Denied { .. })));
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out() {
    let store = serve(|request| match request.method.as_str() {
        "DELETE" => Some(NO_CONTENT.to_owned()),
        _ => Some(OK.to_owned()),
    })
    .await;
    let error = store.check_writable("write-check").await.unwrap_err();
    assert!(error.to_string().contains("If-None-Match"), "{error}");
}

#[tokio::test]
async fn only_an_answer_to_a_write_proves_that_a_run_may_write() {
    // An earlier run has left the object, and whoever may read finds it.
    let checked = async |status: u16, code: &'static str| {
        let store = serve(move |request| match request.method.as_str() {
            "PUT" => Some(failed(status, code)),
            _ => Some(found(6, "earlier")),
        })
        .await;
        store.check_writable("write-check").await.map_err(|error| error.kind())
    };
    assert_eq!(checked(412, "PreconditionFailed").await, Ok(()));
    assert_eq!(checked(403, "AccessDenied").await, Err(Kind::Denied));
    assert_eq!(checked(400, "InvalidRequest").await, Err(Kind::Usage));
    assert_eq!(checked(501, "NotImplemented").await, Err(Kind::Usage));
    assert_eq!(checked(503, "SlowDown").await, Err(Kind::Unavailable));
    assert_eq!(checked(409, "ConditionalRequestConflict").await, Err(Kind::Unavailable));
}

#[tokio::test]
async fn a_run_whose_write_meets_that_of_another_run_asks_again() {
    let checked = async |answer: fn() -> String| {
        let writes = AtomicUsize::new(0);
        let store = serve(move |request| match request.method.as_str() {
            // Every attempt of the first call.
            "PUT" if writes.fetch_add(1, Ordering::Relaxed) <= RETRIES => {
                Some(failed(409, "ConditionalRequestConflict"))
            }
            "PUT" => Some(answer()),
            _ => Some(found(6, "another run")),
        })
        .await;
        store.check_writable("write-check").await.map_err(|error| error.kind())
    };
    assert_eq!(checked(|| failed(412, "PreconditionFailed")).await, Ok(()));
    assert_eq!(checked(|| failed(403, "AccessDenied")).await, Err(Kind::Denied));
}

/// The result of the work, which does not end where it waits for requests that are not sent.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let time = Duration::from_secs(20);
    tokio::time::timeout(time, work).await.expect("so many requests are under way at a time")
}

fn keys(objects: usize) -> Vec<String> {
    (0..objects).map(|number| format!("key-{number:04}")).collect()
}

async fn bucket_of(keys: &[String]) -> (Bucket, Store) {
    let bucket = Bucket::start().await;
    keys.iter().for_each(|key| bucket.insert(key, Bytes::from_static(b"small"), 0));
    let store = Store::open(&bucket.storage).await.unwrap();
    (bucket, store)
}

#[tokio::test]
async fn a_thousand_objects_are_deleted_by_a_request_and_four_requests_are_under_way_at_a_time() {
    let keys = keys(8 * DELETIONS_OF_A_REQUEST);
    let (bucket, store) = bucket_of(&keys).await;
    bucket.meet(Asked::DeleteMany, "", 4);
    assert_eq!(in_time(store.delete_many(&keys)).await, Ok(()));
    assert_eq!((bucket.count(Asked::DeleteMany, ""), bucket.count(Asked::Delete, "")), (8, 0));
    assert_eq!((bucket.most_under_way(), bucket.keys()), (4, Vec::new()));
}

#[tokio::test]
async fn sixteen_single_deletions_are_under_way_at_a_time() {
    let keys = keys(32);
    let (bucket, store) = bucket_of(&keys).await;
    bucket.lose_delete_many();
    bucket.meet(Asked::Delete, "", 16);
    assert_eq!(in_time(store.delete_many(&keys)).await, Ok(()));
    assert_eq!((bucket.most_under_way(), bucket.keys()), (16, Vec::new()));
}

#[tokio::test]
async fn sixteen_small_objects_are_read_at_a_time() {
    let keys = keys(32);
    let (bucket, store) = bucket_of(&keys).await;
    bucket.meet(Asked::Get, "key", 16);
    let read: Vec<_> = in_time(store.read_many(keys.clone()).collect()).await;
    assert_eq!(bucket.most_under_way(), 16);
    assert_eq!(read, keys.into_iter().map(|key| (key, Ok(Bytes::from_static(b"small")))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_request_for_many_that_is_denied_keeps_no_other_from_being_sent() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let store = serve(move |request| {
        seen.fetch_add(1, Ordering::Relaxed);
        let is_denied = String::from_utf8_lossy(&request.body).contains("<Key>key-0000</Key>");
        Some(if is_denied { failed(403, "AccessDenied") } else { document("<DeleteResult></DeleteResult>") })
    })
    .await;
    let removed = store.delete_many(&keys(9 * DELETIONS_OF_A_REQUEST)).await;
    assert!(matches!(removed, Err(Error::Denied { .. })), "{removed:?}");
    assert_eq!(requests.load(Ordering::Relaxed), 9);
}

/// A store that keeps the names of what is put, and denies deletions.
async fn append_only(conditional_uploads: bool) -> (Store, Arc<Mutex<Vec<String>>>) {
    let keys = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = Arc::clone(&keys);
    let store = serve(move |request| {
        let key = request.head.split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        let mut kept = kept.lock().unwrap();
        match request.method.as_str() {
            "PUT" if kept.contains(&key) => Some(failed(412, "PreconditionFailed")),
            "PUT" => {
                kept.push(key);
                Some(OK.to_owned())
            }
            "HEAD" => Some(found(5, "an earlier run")),
            "POST" if !conditional_uploads => Some(failed(501, "NotImplemented")),
            _ => Some(failed(403, "AccessDenied")),
        }
    })
    .await;
    (store, keys)
}

#[tokio::test]
async fn writers_that_may_not_delete_leave_one_object_for_all_runs() {
    let (store, keys) = append_only(true).await;
    for _ in 0..3 {
        assert_eq!(store.check_writable("write-check").await, Ok(()));
    }
    assert_eq!(*keys.lock().unwrap(), ["/bucket/write-check"]);
}

#[tokio::test]
async fn a_large_document_is_created_under_the_condition_that_was_tried() {
    // A store without multipart uploads shows that none is used.
    let (store, _) = append_only(false).await;
    let document = Bytes::from(vec![b'x'; 20 << 20]);
    assert_eq!(store.create("manifest", document.clone()).await, Ok(Created::New));
    assert_eq!(store.create("manifest", document).await, Ok(Created::AlreadyThere));
}

/// A store whose requests are counted, and fail until the breaker has opened so often.
async fn sick_until_opened(breaker: &Breaker, times: u64) -> (Store, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let (seen, asked) = (Arc::clone(&requests), breaker.clone());
    let store = serve(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        let is_well = asked.times_opened() >= times;
        Some(if is_well { OK.to_owned() } else { failed(503, "SlowDown") })
    })
    .await;
    (store.with_breaker(breaker.clone()), requests)
}

fn breaker(failure_threshold: u32) -> Breaker {
    let config = CircuitBreakerConfig { enabled: true, failure_threshold, reset_timeout_secs: 1 };
    Breaker::new("store", config)
}

#[tokio::test]
async fn a_sick_store_is_left_alone_but_for_one_probe_at_a_time_and_then_the_run_goes_on() {
    const WORKERS: usize = 20;
    const OPENED: u64 = 3;
    let breaker = breaker(1);
    let (store, requests) = sick_until_opened(&breaker, OPENED).await;
    let keys: Vec<String> = (0..WORKERS).map(|number| format!("key-{number}")).collect();
    let reads = keys.iter().map(|key| store.read(key));
    let read: Vec<_> = futures::future::join_all(reads).await;
    assert!(read.iter().all(Result::is_ok), "{read:?}");
    // All at once before it opens, a probe each time it opens again, and each once it is closed.
    let requests = requests.load(Ordering::Relaxed);
    assert_eq!(breaker.times_opened(), OPENED);
    assert!(requests <= WORKERS + OPENED as usize + WORKERS, "{requests} requests");
    assert!(!breaker.is_open());
}

#[tokio::test]
async fn an_upload_goes_on_when_its_store_is_well_again() {
    let breaker = breaker(1);
    let (store, _) = sick_until_opened(&breaker, 2).await;
    let mut upload = store.upload("key").await.unwrap();
    upload.write(vec![Bytes::from_static(b"abc")]).await.unwrap();
    assert_eq!(upload.finish().await, Ok(3));
    assert_eq!(breaker.times_opened(), 2);
}

#[tokio::test]
async fn a_call_that_must_not_wait_asks_although_the_breaker_is_open() {
    let breaker = breaker(1);
    let (store, requests) = sick_until_opened(&breaker, 1).await;
    breaker.failure();
    assert!(breaker.is_open());
    assert_eq!(store.without_breaker().read("key").await, Ok(Bytes::new()));
    assert_eq!((requests.load(Ordering::Relaxed), breaker.is_open()), (1, true));
}

#[tokio::test]
async fn a_store_that_refuses_is_well() {
    let breaker = breaker(1);
    let store = serve(|_| Some(failed(403, "AccessDenied"))).await.with_breaker(breaker.clone());
    for _ in 0..3 {
        assert!(matches!(store.read("key").await, Err(Error::Denied { .. })));
    }
    assert_eq!(breaker.times_opened(), 0);
}
