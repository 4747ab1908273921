//! A store in a folder of a file system.
//!
//! An object becomes visible by one step, the link or rename of a file that is whole and on the disk already; then
//! the folder itself is synced, so that the name survives a power cut too. A crash at any instruction leaves either
//! no object or the whole one, and at most an unfinished file whose name begins with `.tmp-`, which no listing shows.
//!
//! Unfinished files are not next to the object that they become, but in one of the few folders near the root
//! ([`UNFINISHED_DEPTH`]): each run removes there what killed runs left ([`FileStore::sweep_unfinished`]), and the cost of that does
//! not grow with the backups that the store holds. Where a file cannot be moved from there to the folder of its object (another volume, or
//! another quota), its bytes are copied next to the object first. What a killed run leaves of a copy goes with the last object of its folder,
//! or by a prune.
//!
//! Folders are made on demand, and removed with their last object by [`FileStore::delete_many`]: else a volume would collect a few for
//! each backup that it ever held, which every listing walks. A writer that finds its folder gone makes it again. A folder without an
//! object in it is not listed, as in an object store.

mod naming;
mod publish;
mod root;
mod sweep;
mod upload;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use self::naming::Naming;
use self::sweep::sweep_emptied;
pub(super) use self::upload::FileUpload;
use self::upload::{TemporaryName, Unfinished};
use super::error::{Error, Place};
use super::key::TEMPORARY;
use super::{Created, Object};

/// Why an object cannot have the name of a folder.
const IS_A_FOLDER: &str = "it is a folder that has objects in it";

/// Unfinished files are stored in the folder of the first two parts of the key, or fewer if the key is shorter. Below
/// `archives/<archive>/` this is the archive's own folder, so a run needs write access to no other.
const UNFINISHED_DEPTH: usize = 2;

/// How often a writer makes a folder again that somebody removed meanwhile.
const FOLDER_RETRIES: usize = 10;

/// Which file or folder it is, whatever name it has: device and inode.
type Identity = (u64, u64);

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

#[derive(Clone)]
pub(super) struct FileStore {
    pub(super) name: Arc<str>,
    root: Arc<Path>,
    /// The root, held open since the store was opened; `None` before.
    held_root: Option<Arc<File>>,
    /// Folders whose names this process knows to be on the disk.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
    naming: Naming,
}

impl FileStore {
    /// The store in `root`, which must be there unless `create` says to make it; its parent must be there.
    pub(super) async fn open(name: Arc<str>, root: &Path, create: bool) -> Result<Self, Error> {
        let store = Self::unopened(name, root, Naming::SYSTEM);
        let held_root = store.blocking("", move |store| store.open_root(create)).await?;
        Ok(Self { held_root: Some(Arc::new(held_root)), ..store })
    }

    fn unopened(name: Arc<str>, root: &Path, naming: Naming) -> Self {
        Self { name, root: Arc::from(root), held_root: None, durable: Arc::default(), naming }
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        (self.naming.sync_folder)(folder)
    }

    fn place<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place { store: &self.name, key }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Reads a failure of a call for `key`. While the store's folder itself is gone, or another one is there, nothing is "not found".
    fn error(&self, key: &str, error: &io::Error) -> Error {
        let error = self.place(key).io(error);
        if error.is_not_found() { self.check_root().err().unwrap_or(error) } else { error }
    }

    /// Maps an I/O error of a write. A write never fails with `NotFound`: a missing folder or unfinished file is `Unavailable`.
    fn write_error(&self, key: &str, error: &io::Error) -> Error {
        match error.kind() {
            // S3 could hold both; a file system cannot.
            io::ErrorKind::NotADirectory => self.place(key).refused("a part of it is an object already"),
            io::ErrorKind::IsADirectory => self.place(key).refused(IS_A_FOLDER),
            _ => match self.error(key, error) {
                Error::NotFound { .. } => {
                    self.place(key).unavailable("its folder, or its unfinished file, was removed while it was written")
                }
                error => error,
            },
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(result) => result,
            Err(join) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(self.place(key).unavailable("the program is shutting down")),
            },
        }
    }

    /// Size in bytes; `None` when there is no such object.
    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| match store.open_object(&owned) {
            Ok((_, size)) => Ok(Some(size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    fn open_object(&self, key: &str) -> Result<(File, u64), Error> {
        let opened = File::open(self.path(key)).and_then(|file| {
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, metadata.len()))
        });
        opened.map_err(|error| self.error(key, &error))
    }

    pub(super) async fn read(&self, key: &str) -> Result<Bytes, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let (file, size) = store.open_object(&owned)?;
            store.read_at(&owned, &file, &(0..size))
        })
        .await
    }

    pub(super) async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let (file, size) = store.open_object(&owned)?;
            // Checked before the buffer is made: the range may come from a damaged index.
            if range.end > size {
                return Err(store.place(&owned).short(&range, size.saturating_sub(range.start)));
            }
            store.read_at(&owned, &file, &range)
        })
        .await
    }

    pub(super) async fn read_tail(&self, key: &str, bytes_max: u64) -> Result<(Bytes, u64), Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let (file, size) = store.open_object(&owned)?;
            let tail = store.read_at(&owned, &file, &(size.saturating_sub(bytes_max)..size))?;
            Ok((tail, size))
        })
        .await
    }

    fn read_at(&self, key: &str, file: &File, range: &Range<u64>) -> Result<Bytes, Error> {
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| self.place(key).refused("more bytes than this machine can address"))?;
        let mut bytes = BytesMut::zeroed(length);
        let mut have = 0;
        while have < length {
            match file.read_at(&mut bytes[have..], range.start + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(key, &error)),
            }
        }
        bytes.truncate(have);
        self.place(key).whole(range, bytes.freeze())
    }

    pub(super) async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let mut unfinished = store.begin(&owned)?;
            unfinished.file.write_all(&bytes).map_err(|error| store.write_error(&owned, &error))?;
            store.publish(&owned, unfinished)
        })
        .await
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let renamed = match store.put_through(&store.unfinished_folder(&owned), &owned, &bytes)? {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    store.put_through(folder_of(&store.path(&owned)), &owned, &bytes)?
                }
                renamed => renamed,
            };
            renamed.map_err(|error| store.write_error(&owned, &error))
        })
        .await
    }

    /// An empty unfinished file for `key`.
    fn begin(&self, key: &str) -> Result<Unfinished, Error> {
        self.begin_in(key, &self.unfinished_folder(key))
    }

    /// The folder that the unfinished files of `key` are in.
    fn unfinished_folder(&self, key: &str) -> PathBuf {
        self.path(unfinished_prefix(key))
    }

    fn begin_in(&self, key: &str, folder: &Path) -> Result<Unfinished, Error> {
        let name = TemporaryName { path: folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4())) };
        let begun = self.in_folder(folder, || (self.naming.create)(&name.path));
        let file = begun.map_err(|error| self.write_error(key, &error))?;
        // Every object is such a file first. This one is in the root that is looked at here, or will not be found by its name.
        self.check_root()?;
        Ok(Unfinished { file, name })
    }

    /// A call that adds a name to a folder, which is made, and on the disk, when it is not there yet.
    fn in_folder<T>(&self, folder: &Path, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let attempt = || self.make_folder(folder).and_then(|()| call());
        let mut done = attempt();
        for _ in 0..FOLDER_RETRIES {
            match &done {
                // It was empty, and somebody removed it between the two steps. With a file in it, it stays.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    done = attempt();
                }
                Ok(_) | Err(_) => break,
            }
        }
        done
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable().contains(folder) {
            return Ok(());
        }
        // Nothing is made in another root. The reader of the failure looks at the root again.
        self.check_root().map_err(|_| io::ErrorKind::NotFound)?;
        let below = folder.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let mut at = self.root.to_path_buf();
        for part in below {
            let parent = at.clone();
            at.push(part);
            match fs::create_dir(&at) {
                Ok(()) => {}
                // Made by another process, maybe just now: its name is synced here all the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            self.sync_folder(&parent)?;
        }
        durable().insert(folder.to_owned());
        Ok(())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            store.check_root()?;
            let path = store.path(&owned);
            let removed = fs::remove_file(&path).and_then(|()| store.sync_folder(folder_of(&path)));
            match removed.map_err(|error| store.error(&owned, &error)) {
                Err(Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        })
        .await
    }

    /// Removes them one by one, whatever becomes of the others while the root is there, and syncs each folder once, or removes it if nothing else is in it.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        self.blocking("", move |store| {
            let mut folders = BTreeSet::new();
            let mut removed = Ok(());
            for key in &keys {
                if let Err(error) = store.check_root() {
                    removed = removed.and(Err(error));
                    break;
                }
                let path = store.path(key);
                match fs::remove_file(&path).map_err(|error| store.error(key, &error)) {
                    Ok(()) => drop(folders.insert(folder_of(&path).to_owned())),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => removed = removed.and(Err(error)),
                }
            }
            // Also after a failure: what is gone stays gone.
            for folder in folders {
                let left = store.check_root().and_then(|()| {
                    store.leave(&folder).map_err(|error| store.error(&folder.to_string_lossy(), &error))
                });
                removed = removed.and(left);
            }
            removed
        })
        .await
    }

    /// Removes a folder in which nothing is, or only what killed runs left, and those above it that are empty then; the first that stays
    /// is synced.
    fn leave(&self, folder: &Path) -> io::Result<()> {
        for folder in folder.ancestors().take_while(|folder| **folder != *self.root) {
            // An unfinished file that stays keeps the folder, as an object does.
            let _ = sweep_emptied(folder);
            match fs::remove_dir(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Something is in it, or it must not be removed: then it stays.
                Err(_) => return self.sync_folder(folder),
            }
        }
        self.sync_folder(&self.root)
    }

    /// Changes the folder and leaves it as it was. This is the one unfinished file that is made where the folder is; it is empty.
    pub(super) async fn touch(&self, prefix: &str) -> Result<(), Error> {
        let key = join(prefix, "now");
        let owned = key.clone();
        self.blocking(&key, move |store| store.begin_in(&owned, folder_of(&store.path(&owned))).map(drop)).await
    }

    /// Every object under the folder, in no order.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let owned = prefix.to_owned();
        self.blocking(prefix, move |store| {
            let mut objects = Vec::new();
            store.walk(&owned, &mut |object| {
                objects.push(object);
                Walk::On
            })?;
            // An object that is not listed is not there.
            store.check_root()?;
            Ok(objects)
        })
        .await
    }

    /// The names of the folders right under the folder that hold an object somewhere, in no order.
    pub(super) async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let owned = prefix.to_owned();
        self.blocking(prefix, move |store| {
            let mut names = Vec::new();
            for (name, is_folder) in store.children(&owned)? {
                let mut has_object = false;
                if is_folder {
                    store.walk(&join(&owned, &name), &mut |_| {
                        has_object = true;
                        Walk::Stop
                    })?;
                }
                if has_object {
                    names.push(name);
                }
            }
            store.check_root()?;
            Ok(names)
        })
        .await
    }

    /// Names in a folder and whether they are folders themselves. A folder that is not there has none; one that
    /// vanishes while we look is as good as not there.
    fn children(&self, prefix: &str) -> Result<Vec<(String, bool)>, Error> {
        let read = || -> io::Result<Vec<(String, bool)>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.path(prefix))? {
                let entry = entry?;
                // A name that is not UTF-8 is not one of ours.
                if let Ok(name) = entry.file_name().into_string() {
                    names.push((name, entry.file_type()?.is_dir()));
                }
            }
            Ok(names)
        };
        match read().map_err(|error| self.error(prefix, &error)) {
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            result => result,
        }
    }

    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(Object) -> Walk) -> Result<(), Error> {
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, is_folder) in self.children(&folder)? {
                let key = join(&folder, &name);
                if is_folder {
                    folders.push(key);
                    continue;
                }
                if name.starts_with(TEMPORARY) {
                    continue;
                }
                let metadata = match fs::metadata(self.path(&key)).map_err(|error| self.error(&key, &error)) {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) | Err(Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let object = Object { key, size: metadata.len(), modified_ms: modified_ms(&metadata) };
                if matches!(visit(object), Walk::Stop) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

enum Walk {
    On,
    Stop,
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("a key has at least one part below the root")
}

/// The folder that the unfinished files of `key` are in: at most [`UNFINISHED_DEPTH`] parts of it.
fn unfinished_prefix(key: &str) -> &str {
    let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
    let end = folder.match_indices('/').nth(UNFINISHED_DEPTH - 1).map_or(folder.len(), |(at, _)| at);
    &folder[..end]
}

#[cfg(test)]
mod tests;
