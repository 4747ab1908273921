//! Where an archive's objects are kept: a folder, or a bucket.
//!
//! The store knows nothing of Kafka or of an archive's layout: a key is a path with `/`, an object is bytes. What
//! it promises is what the commit order of an archive rests on, and `contract` tests it on every kind of store:
//!
//! - An object is there whole or not at all. Nothing that was begun and not finished can be seen.
//! - Of any number of writers that create one key at a time, one makes it; the others learn that it is there.
//! - Only the store's own answer "there is no such object" is [`Error::NotFound`]. A missing bucket, a folder whose
//!   volume is not mounted, a refused permission, a lost connection: each is another error.
//! - What was written can be read and is listed from then on, and on a file system it is on the disk.
//!
//! Calls to S3 that fail in passing are repeated with growing pauses: a few times, or for minutes by a run that has a
//! circuit breaker over its store. Every request has an end in time. Calls to a folder are not repeated: what a file system
//! fails with once, such as a disk that is full or broken, it fails with again.

#[cfg(any(test, feature = "store-contract"))]
pub mod contract;
mod error;
mod file;
mod key;
pub mod lease;
mod s3;
mod transport;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};

pub use self::error::Error;
use self::file::{FileStore, FileUpload};
pub use self::s3::UPLOAD_MEMORY_BYTES;
#[cfg(test)]
pub(crate) use self::s3::bucket::{Asked, Bucket};
use self::s3::{S3Store, S3Upload};
use crate::breaker::Breaker;
use crate::config::storage::{FileStorage, StorageConfig};

/// How long an unfinished file is left alone, in milliseconds: longer than any upload takes.
pub const TEMPORARY_AGE_MS: i64 = 24 * 3600 * 1000;

/// Calls for small objects that are under way at a time: a store far away answers one in a tenth of a second, and does not
/// notice so many.
pub const REQUESTS_AT_ONCE: usize = 16;

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The key, from the root of the store.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last written, by the clock of the store, in milliseconds since the Unix epoch.
    pub modified_ms: i64,
}

/// What became of a call that creates an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// This very call made it.
    New,
    /// The key was taken, and its object is as it was.
    AlreadyThere,
}

/// What became of a call that creates an object or finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreatedOrSame {
    /// This very call made it.
    New,
    /// The key was taken, and its object is as it was.
    AlreadyThere {
        /// Whether it has exactly the bytes that were to be written.
        same: bool,
    },
}

/// A folder or a bucket. Cheap to clone: clones share their connections.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
    #[cfg(feature = "bench")]
    discards_uploads: bool,
    /// What was asked of the store and of its clones, for tests that count it.
    #[cfg(test)]
    calls: Arc<std::sync::Mutex<Vec<Call>>>,
}

/// A call and the key or prefix that it was for.
#[cfg(test)]
pub(crate) type Call = (&'static str, String);

#[derive(Clone)]
enum Backend {
    File(FileStore),
    S3(S3Store),
}

impl Store {
    /// Opens a store that is there, and asks it something: a wrong name, key or certificate shows here.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the folder or the bucket does not exist, [`Error::Denied`],
    /// [`Error::Unavailable`].
    pub async fn open(storage: &StorageConfig) -> Result<Self, Error> {
        Self::open_with(storage, false).await
    }

    /// Like [`Store::open`], for a run that writes: a folder is made when its parent exists. A bucket is not.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_or_create(storage: &StorageConfig) -> Result<Self, Error> {
        Self::open_with(storage, true).await
    }

    async fn open_with(storage: &StorageConfig, create: bool) -> Result<Self, Error> {
        let backend = match storage {
            StorageConfig::File(FileStorage { dir }) => {
                Backend::File(FileStore::open(Arc::from(storage.to_string()), dir, create).await?)
            }
            StorageConfig::S3(storage) => Backend::S3(S3Store::open(storage).await?),
        };
        Ok(Self::over(backend))
    }

    fn over(backend: Backend) -> Self {
        Self {
            backend,
            #[cfg(feature = "bench")]
            discards_uploads: false,
            #[cfg(test)]
            calls: Arc::default(),
        }
    }

    #[cfg(test)]
    fn note(&self, call: &'static str, key: &str) {
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((call, key.to_owned()));
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests keep what they note")]
    const fn note(&self, _call: &'static str, _key: &str) {}

    /// What was asked since the last call of this function.
    #[cfg(test)]
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn with_backend(&self, backend: Backend) -> Self {
        let mut store = self.clone();
        store.backend = backend;
        store
    }

    /// The same store, which from now on counts the bytes of uploads and stores empty objects: a storage that costs nothing, for
    /// benchmarks.
    #[cfg(feature = "bench")]
    #[must_use]
    pub fn discarding_uploads(self) -> Self {
        Self { discards_uploads: true, ..self }
    }

    /// The same store for a run that would rather pause than fail: its calls are repeated for some minutes, every attempt
    /// tells the breaker how it went, and none is made while the breaker is open. A folder is the same as before.
    #[must_use]
    pub fn with_breaker(&self, breaker: Breaker) -> Self {
        self.with_backend(match &self.backend {
            Backend::File(store) => Backend::File(store.clone()),
            Backend::S3(store) => Backend::S3(store.with_breaker(breaker)),
        })
    }

    /// The same store as it was opened, for calls that must not wait until a breaker closes.
    #[must_use]
    pub fn without_breaker(&self) -> Self {
        self.with_backend(match &self.backend {
            Backend::File(store) => Backend::File(store.clone()),
            Backend::S3(store) => Backend::S3(store.without_breaker()),
        })
    }

    /// What the store is called in errors and logs: its place, never a credential.
    pub fn name(&self) -> &str {
        match &self.backend {
            Backend::File(store) => &store.name,
            Backend::S3(store) => &store.name,
        }
    }

    /// Creates one object twice, at this key, so that a run learns at its start what it would else learn at its commit: that it may
    /// not write, or that the store takes the second writer of a key for the first.
    ///
    /// The object stays, one for all runs: a writer without the right to delete is a sane protection of an archive, and would
    /// leave one for each run. Only segments are uploaded in parts, and no
    /// other run has their names, so that a conditional end of such an upload need not be proven.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] when the store does not honour conditional writes; as the calls it makes.
    pub async fn check_writable(&self, key: &str) -> Result<(), Error> {
        self.create_answered(key, Bytes::from_static(b"first\n")).await?;
        if self.create_answered(key, Bytes::from_static(b"second\n")).await? == Created::AlreadyThere {
            self.sweep_in_the_background(key);
            return Ok(());
        }
        let reason = "it does not honour \"create only if absent\" (If-None-Match), without which two runs could overwrite each other: use a store that does";
        Err(Error::Misconfigured { store: Arc::from(self.name()), reason: reason.to_owned() })
    }

    /// As [`Store::create`], where the store itself has to say that the key is taken. To find the object there after the call has
    /// failed shows what became of the object, and nothing of a right to write.
    async fn create_answered(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        key::check(key)?;
        self.note("create", key);
        match &self.backend {
            Backend::File(store) => store.create(key, bytes).await,
            Backend::S3(store) => store.create_answered(key, bytes).await,
        }
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`Error::NotFound`] and whatever the store fails with.
    pub async fn read(&self, key: &str) -> Result<Bytes, Error> {
        key::check(key)?;
        self.note("read", key);
        match &self.backend {
            Backend::File(store) => store.read(key).await,
            Backend::S3(store) => store.read(key).await,
        }
    }

    /// The bytes at `range`, all of them.
    ///
    /// # Errors
    /// [`Error::Short`] when the object ends before the range does.
    pub async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        key::check(key)?;
        self.note("read_range", key);
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        match &self.backend {
            Backend::File(store) => store.read_range(key, range).await,
            Backend::S3(store) => store.read_range(key, range).await,
        }
    }

    /// The last `bytes_max` bytes, or all if there are fewer, and the size of the object.
    ///
    /// # Errors
    /// [`Error::NotFound`] and whatever the store fails with.
    pub async fn read_tail(&self, key: &str, bytes_max: u64) -> Result<(Bytes, u64), Error> {
        key::check(key)?;
        self.note("read_tail", key);
        match &self.backend {
            Backend::File(store) => store.read_tail(key, bytes_max).await,
            Backend::S3(store) => store.read_tail(key, bytes_max).await,
        }
    }

    /// Size of the object in bytes; `None` when the store says that there is none.
    ///
    /// # Errors
    /// Whatever the store fails with, except [`Error::NotFound`].
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        key::check(key)?;
        self.note("size", key);
        match &self.backend {
            Backend::File(store) => store.size(key).await,
            Backend::S3(store) => store.size(key).await,
        }
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// As [`Store::size`].
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        Ok(self.size(key).await?.is_some())
    }

    /// Creates the object if its key is free: whole or not at all, with one winner among any number of writers.
    ///
    /// A repeated call whose first answer was lost still learns that it won. After [`Error::Unavailable`] the
    /// object may be there or not; [`Store::create_or_same`] settles it.
    ///
    /// # Errors
    /// Whatever the store fails with. That the key is taken is not an error.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        key::check(key)?;
        self.note("create", key);
        match &self.backend {
            Backend::File(store) => store.create(key, bytes).await,
            Backend::S3(store) => store.create(key, bytes).await,
        }
    }

    /// Creates the object if its key is free, else compares. Safe to call again after any failure.
    ///
    /// # Errors
    /// As [`Store::create`] and [`Store::read`].
    pub async fn create_or_same(&self, key: &str, bytes: Bytes) -> Result<CreatedOrSame, Error> {
        match self.create(key, bytes.clone()).await? {
            Created::New => Ok(CreatedOrSame::New),
            Created::AlreadyThere => Ok(CreatedOrSame::AlreadyThere { same: self.read(key).await? == bytes }),
        }
    }

    /// Writes the object whether it is there or not. A reader sees the old bytes or the new ones, never a mix.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        key::check(key)?;
        self.note("put", key);
        match &self.backend {
            Backend::File(store) => store.put(key, bytes).await,
            Backend::S3(store) => store.put(key, bytes).await,
        }
    }

    /// Begins an object that is written piece by piece and appears when it is finished.
    ///
    /// Memory is bounded whatever the size: a folder needs none, S3 at most [`UPLOAD_MEMORY_BYTES`] an
    /// upload of up to 5 GB, and more for larger ones.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn upload(&self, key: &str) -> Result<Upload, Error> {
        key::check(key)?;
        self.note("upload", key);
        let upload = match &self.backend {
            Backend::File(store) => UploadTo::File(FileUpload::begin(store, key).await?),
            Backend::S3(store) => UploadTo::S3(Box::new(S3Upload::begin(store, key).await?)),
        };
        #[cfg(feature = "bench")]
        if self.discards_uploads {
            return Ok(Upload(UploadTo::Discarding { empty: Box::new(Upload(upload)), bytes: 0 }));
        }
        Ok(Upload(upload))
    }

    /// Removes the object. One that is not there is removed already.
    ///
    /// # Errors
    /// Whatever the store fails with, except [`Error::NotFound`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        key::check(key)?;
        self.note("delete", key);
        match &self.backend {
            Backend::File(store) => store.delete(key).await,
            Backend::S3(store) => store.delete(key).await,
        }
    }

    /// Several whole objects, some at a time and in the order of the keys. Dropping the stream ends it.
    ///
    /// # Errors
    /// For each object as [`Store::read`].
    pub fn read_many(&self, keys: Vec<String>) -> impl Stream<Item = (String, Result<Bytes, Error>)> + Send + '_ {
        let reads = keys.into_iter().map(move |key| async move {
            let read = self.read(&key).await;
            (key, read)
        });
        stream::iter(reads).buffered(REQUESTS_AT_ONCE)
    }

    /// Removes several objects, in no order and with few calls. Those that are not there are removed already.
    ///
    /// # Errors
    /// The first failure, except [`Error::NotFound`]. The others are tried all the same, unless the store cannot be reached.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        for key in keys {
            key::check(key)?;
            self.note("delete_many", key);
        }
        match &self.backend {
            Backend::File(store) => store.delete_many(keys.to_vec()).await,
            Backend::S3(store) => store.delete_many(keys).await,
        }
    }

    /// Every object below the folder `prefix`, at any depth, sorted by the bytes of the key. `""` is the whole store.
    ///
    /// A folder is not a beginning of names: `orders` has nothing to do with `orders-eu`. A missing one is empty.
    ///
    /// # Errors
    /// Whatever the store fails with, except [`Error::NotFound`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let prefix = key::check_prefix(prefix)?;
        self.note("list", prefix);
        let mut objects = match &self.backend {
            Backend::File(store) => store.list(prefix).await?,
            Backend::S3(store) => store.list(prefix).await?,
        };
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// As [`Store::list`], with everything that other machines have done until now, for a folder that this process may write to.
    ///
    /// An NFS client answers for the entries of a folder from its memory for up to a minute (`acdirmax`, nfs(5)). When it changes the
    /// folder itself it learns whether others did (RFC 8881, `change_info4`; RFC 1813, `wcc_data`), so an empty file comes and goes first.
    ///
    /// # Errors
    /// As [`Store::list`] and [`Store::put`].
    pub async fn list_now(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        match &self.backend {
            Backend::File(store) => store.touch(key::check_prefix(prefix)?).await?,
            // S3 is consistent: a listing shows every write that was answered before it.
            Backend::S3(_) => {}
        }
        self.list(prefix).await
    }

    /// The names of the folders right below the folder `prefix` that have an object in them, sorted, without slashes. Of a bucket with
    /// versions, MinIO names folders too of which all objects were deleted.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let prefix = key::check_prefix(prefix)?;
        self.note("list_dirs", prefix);
        let mut names = match &self.backend {
            Backend::File(store) => store.list_dirs(prefix).await?,
            Backend::S3(store) => store.list_dirs(prefix).await?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// Removes what killed runs left in a folder, while this run goes about its work: on a volume where every run is killed
    /// nothing else would. Objects of a bucket are whole or not there. `key` is one that this run may write.
    fn sweep_in_the_background(&self, key: &str) {
        if matches!(self.backend, Backend::File(_)) {
            let (store, key) = (self.clone(), key.to_owned());
            tokio::spawn(async move {
                match store.sweep_unfinished(&key).await {
                    Ok(0) => {}
                    Ok(swept) => tracing::info!(store = store.name(), swept, "unfinished files of killed runs removed"),
                    Err(error) => tracing::debug!("unfinished files of killed runs stay behind: {error}"),
                }
            });
        }
    }

    /// Sweeps only the folders in which this version creates unfinished files: at most two levels deep.
    async fn sweep_unfinished(&self, key: &str) -> Result<u64, Error> {
        match &self.backend {
            Backend::File(store) => store.sweep_unfinished(key).await,
            Backend::S3(_) => Ok(0),
        }
    }

    /// Removes what crashed writers left behind anywhere in the store, once it is older than [`TEMPORARY_AGE_MS`] by the store's clock;
    /// returns how many. Names are looked at, and of other files nothing else. `key` is one that this run may write.
    ///
    /// On S3 there is nothing to see or remove in this way: a lifecycle rule of the bucket
    /// (`AbortIncompleteMultipartUpload`) ends uploads that nobody finished.
    ///
    /// # Errors
    /// Whatever the store fails with.
    pub async fn sweep_temporary(&self, key: &str) -> Result<u64, Error> {
        key::check(key)?;
        match &self.backend {
            Backend::File(store) => store.sweep_everywhere(key).await,
            Backend::S3(_) => Ok(0),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Store").field(&self.name()).finish()
    }
}

/// An object that is being written. Dropping it leaves nothing that can be seen.
///
/// A write that fails, or whose future is dropped before it ends, breaks the upload: bytes may be missing, so nothing
/// but [`Upload::abort`] works after that.
pub struct Upload(UploadTo);

enum UploadTo {
    File(FileUpload),
    S3(Box<S3Upload>),
    /// Counts bytes, and stores an empty object.
    #[cfg(feature = "bench")]
    Discarding {
        empty: Box<Upload>,
        bytes: u64,
    },
}

impl Upload {
    /// Appends pieces, one after the other.
    ///
    /// # Errors
    /// Whatever the store fails with; [`Error::Broken`] after a failed write.
    pub async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        match &mut self.0 {
            UploadTo::File(upload) => upload.write(pieces).await,
            UploadTo::S3(upload) => upload.write(pieces).await,
            #[cfg(feature = "bench")]
            UploadTo::Discarding { bytes, .. } => {
                *bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
                Ok(())
            }
        }
    }

    /// Makes the object visible, and durable; returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the key is taken; [`Error::Broken`] after a failed write.
    pub async fn finish(self) -> Result<u64, Error> {
        match self.0 {
            UploadTo::File(upload) => upload.finish().await,
            UploadTo::S3(upload) => upload.finish().await,
            #[cfg(feature = "bench")]
            UploadTo::Discarding { empty, bytes } => Box::pin(empty.finish()).await.map(|_| bytes),
        }
    }

    /// Gives up and frees what the store kept for it. Not an error if that fails: nothing can be seen of it.
    pub async fn abort(self) {
        match self.0 {
            // The unfinished file goes with its owner.
            UploadTo::File(upload) => drop(upload),
            UploadTo::S3(upload) => upload.abort().await,
            #[cfg(feature = "bench")]
            UploadTo::Discarding { empty, .. } => Box::pin(empty.abort()).await,
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Upload")
    }
}
