//! Objects that are created only if their key is free, and what became of a call whose response leaves that open.

use std::collections::HashMap;

use bytes::Bytes;
use opendal::ErrorKind;
use opendal::options::WriteOptions;

use super::part::PARTS_IN_FLIGHT;
use super::{RETRY_FIRST_PAUSE, S3Store};
use crate::store::{Created, Error};

/// Where an object says which call made it. S3 answers a repeated "create if absent" with "it exists", also when it
/// was the first attempt, whose answer got lost, that created it; this tells the two apart.
const WRITTEN_BY: &str = "written-by";

/// How often a conditional write is made that meets another one of the same key; the pauses come to twelve seconds.
pub(super) const CONFLICTS_MAX: u32 = 6;
pub(super) const CONFLICTS: &str =
    "other writes of the same key are under way again and again (ConditionalRequestConflict)";

impl S3Store {
    pub(in crate::store) async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        self.create_as(key, bytes, |settled| Ok(settled.created())).await
    }

    /// Like `create`, but returns `AlreadyThere` only if the store itself refused this call because the key exists.
    pub(in crate::store) async fn create_answered(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        let mut is_asked_again = false;
        let answered = |settled: Settled| match settled {
            // The other write has made its object, so that the store has an answer to the next call.
            Settled::Unanswered { is_conflict: true, .. } if !is_asked_again => {
                is_asked_again = true;
                Ok(None)
            }
            Settled::Unanswered { error, .. } => Err(error),
            settled @ (Settled::New | Settled::Taken | Settled::Again) => Ok(settled.created()),
        };
        self.create_as(key, bytes, answered).await
    }

    /// Creates an object. Repeats the call as long as `read` returns `None`.
    async fn create_as(
        &self,
        key: &str,
        bytes: Bytes,
        mut read: impl FnMut(Settled) -> Result<Option<Created>, Error>,
    ) -> Result<Created, Error> {
        let token = uuid::Uuid::new_v4().to_string();
        for attempt in 0..CONFLICTS_MAX {
            let written = self.operator.write_options(key, bytes.clone(), whole_options(&token)).await.map(drop);
            if let Some(created) = read(self.settle(key, &token, written).await?)? {
                return Ok(created);
            }
            tokio::time::sleep(RETRY_FIRST_PAUSE * 2_u32.pow(attempt)).await;
        }
        Err(self.place(key).unavailable(CONFLICTS))
    }

    /// What became of a conditional write, by what stands at its key when the answer leaves it open.
    pub(super) async fn settle(&self, key: &str, token: &str, written: opendal::Result<()>) -> Result<Settled, Error> {
        let Err(error) = written else {
            return Ok(Settled::New);
        };
        let is_taken = error.kind() == ErrorKind::ConditionNotMatch;
        // `ConditionalRequestConflict`: the other write may be the first attempt of this very call.
        let is_conflict = error.kind() == ErrorKind::Conflict;
        // A completed upload that is completed again is "not found"; a lost answer is any error that passes. A denied write was not made,
        // whether the object exists or not.
        let is_open = match error.kind() {
            ErrorKind::PermissionDenied => false,
            ErrorKind::NotFound => true,
            _ => is_taken || is_conflict || error.is_persistent(),
        };
        let written_by_us = if is_open { self.is_written_by(key, token).await } else { Ok(None) };
        match written_by_us {
            Ok(Some(true)) => Ok(Settled::New),
            Ok(Some(false)) if is_taken => Ok(Settled::Taken),
            Ok(Some(false)) => Ok(Settled::Unanswered { error: self.write_error(key, &error), is_conflict }),
            Ok(None) if is_conflict => Ok(Settled::Again),
            Ok(None) | Err(_) if is_taken => {
                Err(self.place(key).unavailable("the key was taken, and its object cannot be read back"))
            }
            Ok(None) | Err(_) => Err(self.write_error(key, &error)),
        }
    }

    /// Reads a failure of a conditional write. A missing upload is a failure of the call: to say "not found" of what was to be written
    /// is no answer.
    fn write_error(&self, key: &str, error: &opendal::Error) -> Error {
        match self.error(key, error) {
            Error::NotFound { .. } => self.place(key).unavailable("the store has lost the upload"),
            error => error,
        }
    }

    /// Whether the object at `key` was made by the call that drew `token`; `None` when there is no object.
    async fn is_written_by(&self, key: &str, token: &str) -> opendal::Result<Option<bool>> {
        match self.operator.stat(key).await {
            Ok(metadata) => {
                let written_by = metadata.user_metadata().and_then(|metadata| metadata.get(WRITTEN_BY));
                Ok(Some(written_by == Some(token)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What became of a conditional write.
pub(super) enum Settled {
    /// This call made the object.
    New,
    /// The store has refused the call, since somebody else's object is there.
    Taken,
    /// The call failed with this error, and another writer's object exists. This does not prove that the caller may write.
    Unanswered {
        error: Error,
        /// Whether the error is that another conditional write of the key was under way.
        is_conflict: bool,
    },
    /// Another conditional write of the key was under way and has left nothing, so that the call has to be made again.
    Again,
}

impl Settled {
    /// What became of the object; `None` when the call has to be made again.
    pub(super) const fn created(&self) -> Option<Created> {
        match self {
            Self::New => Some(Created::New),
            Self::Taken | Self::Unanswered { .. } => Some(Created::AlreadyThere),
            Self::Again => None,
        }
    }
}

/// For bytes that are in memory as a whole. They go out in one request, which is the one whose condition
/// [`Store::check_writable`](crate::store::Store::check_writable) has tried: some stores honour `If-None-Match` of a PutObject
/// and not of a CompleteMultipartUpload.
fn whole_options(token: &str) -> WriteOptions {
    WriteOptions {
        if_not_exists: true,
        user_metadata: Some(HashMap::from([(WRITTEN_BY.to_owned(), token.to_owned())])),
        ..Default::default()
    }
}

/// For parts that we cut ourselves.
pub(super) fn part_options(token: &str) -> WriteOptions {
    WriteOptions { concurrent: PARTS_IN_FLIGHT, ..whole_options(token) }
}
