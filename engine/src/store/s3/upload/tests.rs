//! How an upload of several parts ends, whatever becomes of the answer to its last call; and how many parts it sends at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::error::Kind;
use crate::store::s3::RETRIES;
use crate::store::s3::stand_in::{HEAD_NOT_FOUND, NO_CONTENT, OK, document, failed, found, serve};
use crate::store::{Error, Store};

/// What becomes of a CompleteMultipartUpload.
#[derive(Clone, Copy)]
enum End {
    /// It makes the object.
    Made,
    /// It makes the object, and the answer gets lost.
    MadeAndLost,
    /// It makes the object, while the answer is that another conditional write of the key is under way.
    MadeAndConflict,
    /// Another conditional write of the key is under way: nothing is made.
    Conflict,
    /// Somebody else has made the object, and the answer is 412 (PreconditionFailed).
    Taken,
    /// Somebody else has made the object, and the answer is 409 (ConditionalRequestConflict).
    TakenAndConflict,
    /// There is no such upload: it was completed, or aborted.
    NoSuchUpload,
    /// It fails in passing.
    Sick,
    /// Something in between answers with a page and status 200: nothing is made.
    Page,
}

/// What begins an upload.
const UPLOAD: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
const CONFLICT: &str = "ConditionalRequestConflict";
const BYTES: usize = 11 << 20;

/// What the stand-in has seen.
#[derive(Default)]
struct Seen {
    token: String,
    /// Whose object is at the key.
    made_by: Option<String>,
    parts: usize,
    completions: usize,
    aborted: usize,
}

/// A store in which uploads end in this way, one call after the other, and then all like the last.
async fn store_with(ends: &[End]) -> (Store, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let state = Arc::clone(&seen);
    let ends = Mutex::new(VecDeque::from(ends.to_vec()));
    let store = serve(move |request| {
        let mut seen = state.lock().unwrap();
        match request.method.as_str() {
            "POST" if request.target().contains("uploads") => {
                seen.token = request.written_by().unwrap();
                Some(document(UPLOAD))
            }
            "PUT" => {
                seen.parts += 1;
                Some(OK.to_owned())
            }
            "HEAD" => Some(match &seen.made_by {
                Some(token) => found(BYTES, token),
                None => HEAD_NOT_FOUND.to_owned(),
            }),
            "DELETE" => {
                seen.aborted += 1;
                Some(NO_CONTENT.to_owned())
            }
            "POST" => {
                assert_eq!(request.header("if-none-match").as_deref(), Some("*"));
                let mut ends = ends.lock().unwrap();
                let end = if ends.len() > 1 { ends.pop_front() } else { ends.front().copied() };
                seen.complete(end.unwrap())
            }
            method => panic!("{method} is no part of an upload"),
        }
    })
    .await;
    (store, seen)
}

impl Seen {
    fn complete(&mut self, end: End) -> Option<String> {
        self.completions += 1;
        match end {
            End::Made | End::MadeAndLost | End::MadeAndConflict => self.made_by = Some(self.token.clone()),
            End::Taken | End::TakenAndConflict => {
                self.made_by.get_or_insert_with(|| "somebody else".to_owned());
            }
            End::Conflict | End::NoSuchUpload | End::Sick | End::Page => {}
        }
        match end {
            End::Made => {
                Some(document("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"))
            }
            End::Page => Some(document("<html><body>Log in</body></html>")),
            End::MadeAndLost => None,
            End::Taken => Some(failed(412, "PreconditionFailed")),
            End::MadeAndConflict | End::Conflict | End::TakenAndConflict => Some(failed(409, CONFLICT)),
            End::NoSuchUpload => Some(failed(404, "NoSuchUpload")),
            End::Sick => Some(failed(503, "SlowDown")),
        }
    }
}

/// An upload of three parts that ends in this way: what its writer learns, completions, and calls that abort it.
async fn uploaded(ends: &[End]) -> (Result<u64, Error>, usize, usize) {
    let (store, seen) = store_with(ends).await;
    let mut upload = store.upload("key").await.unwrap();
    upload.write(vec![Bytes::from(vec![7; BYTES])]).await.unwrap();
    let finished = upload.finish().await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.parts, 3, "no part is sent twice");
    (finished, seen.completions, seen.aborted)
}

const DONE: Result<u64, Error> = Ok(BYTES as u64);

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_finished_whatever_the_repeated_call_learns() {
    assert_eq!(uploaded(&[End::Made]).await, (DONE, 1, 0));
    assert_eq!(uploaded(&[End::MadeAndLost, End::Taken]).await, (DONE, 2, 0));
    assert_eq!(uploaded(&[End::MadeAndLost, End::TakenAndConflict]).await, (DONE, 2, 0));
    assert_eq!(uploaded(&[End::MadeAndLost, End::NoSuchUpload]).await, (DONE, 2, 0));
    assert_eq!(uploaded(&[End::MadeAndConflict]).await, (DONE, 1, 0));
    // Whether or not the store is well again before the calls are used up.
    assert_eq!(uploaded(&[End::MadeAndLost, End::Sick]).await, (DONE, 1 + RETRIES, 0));
}

#[tokio::test]
async fn an_upload_is_completed_again_while_another_conditional_write_is_under_way() {
    assert_eq!(uploaded(&[End::Conflict, End::Conflict, End::Made]).await, (DONE, 3, 0));
    // The other write was the first attempt of this very call.
    assert_eq!(uploaded(&[End::Conflict, End::MadeAndLost, End::NoSuchUpload]).await, (DONE, 3, 0));
}

#[tokio::test]
async fn a_page_of_something_in_between_finishes_no_upload() {
    assert_eq!(uploaded(&[End::Page, End::Made]).await, (DONE, 2, 0));
    let (finished, completions, aborted) = uploaded(&[End::Page, End::NoSuchUpload]).await;
    assert!(matches!(finished, Err(Error::Unavailable { .. })), "{finished:?}");
    assert_eq!((completions, aborted), (2, 1));
}

#[tokio::test]
async fn an_object_of_somebody_else_is_a_conflict_and_the_parts_are_given_up() {
    for ends in [&[End::Taken][..], &[End::TakenAndConflict], &[End::Conflict, End::Taken], &[End::Sick, End::Taken]] {
        let (finished, completions, aborted) = uploaded(ends).await;
        assert!(matches!(finished, Err(Error::Conflict { .. })), "{finished:?}");
        assert_eq!((completions, aborted), (ends.len(), 1));
    }
}

#[tokio::test]
async fn an_upload_that_the_store_has_lost_is_neither_finished_nor_called_missing() {
    for ends in [&[End::NoSuchUpload][..], &[End::Conflict, End::NoSuchUpload]] {
        let (finished, completions, aborted) = uploaded(ends).await;
        let error = finished.unwrap_err();
        assert_eq!((error.kind(), error.is_not_found()), (Kind::Unavailable, false), "{error}");
        assert_eq!((completions, aborted), (ends.len(), 1));
    }
}

/// For so long a part waits for a second one.
const PART_WAIT: Duration = Duration::from_secs(10);
/// For so long two parts wait for a third one, which is not to come.
const THIRD_PART_WAIT: Duration = Duration::from_millis(300);

/// Parts that a store has received, and answers when two of them are under way.
#[derive(Default)]
struct Parts {
    under_way: Mutex<UnderWay>,
    another: Condvar,
}

#[derive(Default)]
struct UnderWay {
    now: usize,
    most: usize,
}

impl Parts {
    /// Returns when two parts have been under way at a time, with time for a third one, or after [`PART_WAIT`]: an upload that sends its
    /// parts one by one is to fail the test and not to hang.
    fn meet(&self) {
        let mut under_way = self.under_way.lock().unwrap();
        under_way.now += 1;
        under_way.most = under_way.most.max(under_way.now);
        self.another.notify_all();
        let is_alone = |under_way: &mut UnderWay| under_way.most < 2;
        let (under_way, _) = self.another.wait_timeout_while(under_way, PART_WAIT, is_alone).unwrap();
        let are_two = |under_way: &mut UnderWay| under_way.most == 2;
        let (mut under_way, _) = self.another.wait_timeout_while(under_way, THIRD_PART_WAIT, are_two).unwrap();
        under_way.now -= 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_parts_of_an_upload_are_under_way_at_a_time() {
    let parts = Arc::new(Parts::default());
    let received = Arc::clone(&parts);
    let store = serve(move |request| match request.method.as_str() {
        "POST" if request.target().contains("uploads") => Some(document(UPLOAD)),
        "PUT" => {
            tokio::task::block_in_place(|| received.meet());
            Some(OK.to_owned())
        }
        "POST" => Some(document("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")),
        method => panic!("{method} is no part of an upload"),
    })
    .await;
    let mut upload = store.upload("key").await.unwrap();
    upload.write(vec![Bytes::from(vec![7; BYTES])]).await.unwrap();
    assert_eq!(upload.finish().await, DONE);
    assert_eq!(parts.under_way.lock().unwrap().most, 2);
}
