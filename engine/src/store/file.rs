//! A store in a folder of a file system.
//!
//! An object becomes visible by one step, the link or rename of a file that is whole and on the disk already; then
//! the folder itself is synced, so that the name survives a power cut too. A crash at any instruction leaves either
//! no object or the whole one, and at most an unfinished file whose name begins with `.tmp-`, which no listing shows.
//!
//! Unfinished files are not next to the object that they become, but in one of the few folders near the root
//! ([`UNFINISHED_DEPTH`]): each run removes there what killed runs left ([`FileStore::sweep_unfinished`]), and the cost of that does
//! not grow with the backups that the store holds. Where a file cannot be moved from there to the folder of its object (another volume, or
//! another quota), its bytes are copied next to the object first.
//!
//! Folders are made on demand, and removed with their last object by [`FileStore::delete_many`]: else a volume would collect a few for
//! each backup that it ever held, which every listing walks. A writer that finds its folder gone makes it again. A folder without an
//! object in it is not listed, as in an object store.

mod naming;
mod upload;

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use self::naming::{Named, Naming};
pub(super) use self::upload::FileUpload;
use self::upload::{TemporaryName, Unfinished};
use super::error::{Error, Place};
use super::key::TEMPORARY;
use super::{Created, Object};

/// Why an object cannot have the name of a folder.
const IS_A_FOLDER: &str = "it is a folder that has objects in it";
/// Why nothing is written any more.
const IS_ANOTHER_ROOT: &str = "the folder is another one than when this run began: is the volume mounted?";

/// Whether a writer of ours gave a file this name until it is whole. Other programs have files whose names begin like it.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|id| uuid::Uuid::parse_str(id).is_ok())
}

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
    /// Which folder the root was when it was opened; `None` before.
    root_identity: Option<Identity>,
    /// Folders whose names this process knows to be on the disk.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
    naming: Naming,
}

impl FileStore {
    /// The store in `root`, which must be there unless `create` says to make it; its parent must be there.
    pub(super) async fn open(name: Arc<str>, root: &Path, create: bool) -> Result<Self, Error> {
        let store = Self::unopened(name, root, Naming::SYSTEM);
        let root_identity = store.blocking("", move |store| store.open_root(create)).await?;
        Ok(Self { root_identity: Some(root_identity), ..store })
    }

    fn unopened(name: Arc<str>, root: &Path, naming: Naming) -> Self {
        Self { name, root: Arc::from(root), root_identity: None, durable: Arc::default(), naming }
    }

    fn open_root(&self, create: bool) -> Result<Identity, Error> {
        let place = self.place("");
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => return Ok(identity(&metadata)),
            Ok(_) => return Err(place.misconfigured("it is a file, not a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
            Err(error) => return Err(self.root_error(&error)),
        }
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        match fs::create_dir(&self.root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent_text = parent.display();
                return Err(place.misconfigured(match fs::exists(parent) {
                    // /proc answers so, where nobody can make anything.
                    Ok(true) => format!("no folder can be made in {parent_text}: choose a place on a disk"),
                    // A missing parent is a typing error or a volume that is not mounted; making it would hide both.
                    Ok(false) | Err(_) => format!("the folder {parent_text} does not exist"),
                }));
            }
            Err(error) => return Err(place.io(&error)),
        }
        self.sync_folder(parent).map_err(|error| place.io(&error))?;
        fs::metadata(&self.root).map(|metadata| identity(&metadata)).map_err(|error| self.root_error(&error))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        (self.naming.sync_folder)(folder)
    }

    /// Whether the root's path leads to another folder than at the start: its volume is not mounted any more, or another one is.
    fn is_another_root(&self) -> bool {
        let now = fs::metadata(&self.root).map(|metadata| identity(&metadata));
        self.root_identity.is_some_and(|then| now.is_ok_and(|now| now != then))
    }

    fn root_error(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => {
                self.place("").misconfigured("the folder does not exist; is the volume mounted?")
            }
            io::ErrorKind::NotADirectory => self.place("").misconfigured("a part of its path is a file, not a folder"),
            _ => self.place("").io(error),
        }
    }

    fn place<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place { store: &self.name, key }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Reads a failure of a call for `key`. While the store's folder itself is gone, nothing is "not found".
    fn error(&self, key: &str, error: &io::Error) -> Error {
        let error = self.place(key).io(error);
        match error {
            Error::NotFound { .. } => match fs::metadata(&self.root) {
                Ok(_) => error,
                Err(root) => self.root_error(&root),
            },
            _ => error,
        }
    }

    /// Maps an I/O error of a write. A write never fails with `NotFound`: a missing folder or unfinished file is `Unavailable`.
    fn write_error(&self, key: &str, error: &io::Error) -> Error {
        match error.kind() {
            // S3 could hold both; a file system cannot.
            io::ErrorKind::NotADirectory => self.place(key).refused("a part of it is an object already"),
            io::ErrorKind::IsADirectory => self.place(key).refused(IS_A_FOLDER),
            _ => match self.error(key, error) {
                Error::NotFound { .. } if self.is_another_root() => self.place(key).misconfigured(IS_ANOTHER_ROOT),
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

    /// Writes a file into this folder, and gives it the name of `key`; returns what became of the latter.
    fn put_through(&self, folder: &Path, key: &str, bytes: &[u8]) -> Result<io::Result<()>, Error> {
        let mut unfinished = self.begin_in(key, folder)?;
        let written = unfinished.file.write_all(bytes).and_then(|()| unfinished.file.sync_all());
        written.map_err(|error| self.write_error(key, &error))?;
        Ok(self.replace(&unfinished.name.path, &self.path(key)))
    }

    /// Gives a written file the name `to`, also if that name is taken.
    fn replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.in_folder(folder_of(to), || (self.naming.rename)(from, to))?;
        self.sync_move(from, to)
    }

    /// Makes durable that a file has the name `to`, and then that it has lost the name `from`: a name that a power cut brings back would
    /// be swept as that of an unfinished file, and not every file system counts the names of a file.
    fn sync_move(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sync_folder(folder_of(to))?;
        if folder_of(from) == folder_of(to) { Ok(()) } else { self.sync_folder(folder_of(from)) }
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
        let open = || File::options().write(true).create_new(true).open(&name.path);
        let begun = self.in_folder(folder, open);
        match begun {
            Ok(file) => Ok(Unfinished { file, name }),
            Err(error) => Err(self.write_error(key, &error)),
        }
    }

    /// A call that adds a name to a folder, which is made, and on the disk, when it is not there yet. The folders of a root that is another
    /// one than at the start are not made: the objects of a run would be in two places.
    fn in_folder<T>(&self, folder: &Path, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let attempt = || self.make_folder(folder).and_then(|()| call());
        let mut done = attempt();
        for _ in 0..FOLDER_RETRIES {
            match &done {
                // It was empty, and somebody removed it between the two steps. With a file in it, it stays.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_another_root() => {
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

    /// Gives a written file its name, unless the name is taken.
    fn publish(&self, key: &str, unfinished: Unfinished) -> Result<Created, Error> {
        unfinished.file.sync_all().map_err(|error| self.write_error(key, &error))?;
        match self.give_name(key, &unfinished) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copy = self.copy_next_to(key, &unfinished)?;
                self.created(key, &copy, self.give_name(key, &copy))
            }
            named => self.created(key, &unfinished, named),
        }
    }

    fn give_name(&self, key: &str, unfinished: &Unfinished) -> io::Result<Named> {
        let path = self.path(key);
        self.in_folder(folder_of(&path), || self.naming.give(&unfinished.name.path, &path))
    }

    /// A copy of a written file, on the disk and in the folder of its object: one volume, or one quota, has both. What a killed run leaves
    /// of it is removed by a prune.
    fn copy_next_to(&self, key: &str, unfinished: &Unfinished) -> Result<Unfinished, Error> {
        let mut copy = self.begin_in(key, folder_of(&self.path(key)))?;
        let mut copied = || {
            let bytes = io::copy(&mut File::open(&unfinished.name.path)?, &mut copy.file)?;
            // Linux has copied less than it said between some file systems.
            if bytes != unfinished.file.metadata()?.len() || bytes != copy.file.metadata()?.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copy.file.sync_all()
        };
        copied().map_err(|error| self.write_error(key, &error))?;
        Ok(copy)
    }

    /// What became of an object whose written file was given its name.
    fn created(&self, key: &str, unfinished: &Unfinished, named: io::Result<Named>) -> Result<Created, Error> {
        let (from, path) = (&unfinished.name.path, self.path(key));
        let failed = |error: io::Error| self.write_error(key, &error);
        match named.map_err(failed)? {
            Named::New => self.sync_folder(folder_of(&path)).map_err(failed).map(|()| Created::New),
            Named::Moved => self.sync_move(from, &path).map_err(failed).map(|()| Created::New),
            Named::Taken => {
                let created = self.taken(key, &unfinished.file)?;
                // The writer of the object may not have got as far as this.
                self.sync_folder(folder_of(&path)).map_err(failed)?;
                Ok(created)
            }
            Named::Unable => Err(self.place(key).misconfigured(
                "this file system has neither hard links nor a rename that keeps what is there (renameat2 with \
                 RENAME_NOREPLACE), so an object cannot be created whole: use a local file system, NFS, or S3",
            )),
        }
    }

    /// Who made what has the name of `key`.
    fn taken(&self, key: &str, ours: &File) -> Result<Created, Error> {
        let failed = |error: io::Error| self.write_error(key, &error);
        let there = fs::metadata(self.path(key)).map_err(failed)?;
        let ours = ours.metadata().map_err(failed)?;
        if there.is_dir() {
            return Err(self.place(key).refused(IS_A_FOLDER));
        }
        // NFS says that a name is taken when it repeats a call whose first answer got lost: then the file there is ours.
        let is_ours = identity(&there) == identity(&ours);
        Ok(if is_ours { Created::New } else { Created::AlreadyThere })
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let path = store.path(&owned);
            let removed = fs::remove_file(&path).and_then(|()| store.sync_folder(folder_of(&path)));
            match removed.map_err(|error| store.error(&owned, &error)) {
                Err(Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        })
        .await
    }

    /// Removes them one by one, whatever becomes of the others, and syncs each folder once, or removes it if nothing else is in it.
    pub(super) async fn delete_many(&self, keys: Vec<String>) -> Result<(), Error> {
        self.blocking("", move |store| {
            let mut folders = BTreeSet::new();
            let mut removed = Ok(());
            for key in &keys {
                let path = store.path(key);
                match fs::remove_file(&path).map_err(|error| store.error(key, &error)) {
                    Ok(()) => drop(folders.insert(folder_of(&path).to_owned())),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => removed = removed.and(Err(error)),
                }
            }
            // Also after a failure: what is gone stays gone.
            for folder in folders {
                store.leave(&folder).map_err(|error| store.error(&folder.to_string_lossy(), &error))?;
            }
            removed
        })
        .await
    }

    /// Removes a folder in which nothing is, and those above it that are empty then; the first that stays is synced.
    fn leave(&self, folder: &Path) -> io::Result<()> {
        for folder in folder.ancestors().take_while(|folder| **folder != *self.root) {
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
            Ok(names)
        })
        .await
    }

    /// Removes unfinished files below the folder, at any depth, that were last written before `before_ms`; returns how many.
    pub(super) async fn sweep(&self, prefix: &str, before_ms: i64) -> Result<u64, Error> {
        let owned = prefix.to_owned();
        self.blocking(prefix, move |store| store.remove_unfinished(vec![(owned, usize::MAX)], before_ms)).await
    }

    /// Removes unfinished files from the folders in which they are made, if they were last written more than `age_ms` ago; returns how
    /// many. The age is measured with the file system's clock, by the date of a new file. This machine's clock may be days ahead, and
    /// files of running processes would be removed. `key` is one that this process may write; its folder comes first.
    pub(super) async fn sweep_unfinished(&self, key: &str, age_ms: i64) -> Result<u64, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            let dated = store.begin(&owned)?.file.metadata().map_err(|error| store.error(&owned, &error))?;
            // The last one is the first to be looked into.
            let folders = vec![(String::new(), UNFINISHED_DEPTH), (unfinished_prefix(&owned).to_owned(), 0)];
            store.remove_unfinished(folders, modified_ms(&dated).saturating_sub(age_ms))
        })
        .await
    }

    /// Looks into folders and those at most `depth` below each, the last one first. Returns how many files it removed, or the first
    /// failure: a folder that cannot be looked into, or a file that cannot be removed, does not stop the sweep. A folder to which access
    /// is denied is that of another user, and no failure.
    fn remove_unfinished(&self, mut folders: Vec<(String, usize)>, before_ms: i64) -> Result<u64, Error> {
        let mut removed = Ok(0);
        while let Some((folder, depth)) = folders.pop() {
            let children = match self.children(&folder) {
                Ok(children) => children,
                Err(Error::Denied { .. }) => continue,
                Err(error) => {
                    removed = removed.and(Err(error));
                    continue;
                }
            };
            for (name, is_folder) in children {
                let key = join(&folder, &name);
                if is_folder {
                    folders.extend(depth.checked_sub(1).map(|depth| (key, depth)));
                } else if is_temporary(&name) {
                    removed = match (removed, self.remove_old(&key, before_ms)) {
                        (Ok(before), Ok(is_removed)) => Ok(before + u64::from(is_removed)),
                        (Err(first), _) | (Ok(_), Err(first)) => Err(first),
                    };
                }
            }
        }
        removed
    }

    /// Whether this call removed an unfinished file. Its writer may have given it its name meanwhile.
    fn remove_old(&self, key: &str, before_ms: i64) -> Result<bool, Error> {
        let path = self.path(key);
        let removed = fs::metadata(&path).and_then(|metadata| {
            let is_old = metadata.is_file() && modified_ms(&metadata) < before_ms;
            if is_old { fs::remove_file(&path).map(|()| true) } else { Ok(false) }
        });
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map_err(|error| self.error(key, &error)),
        }
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
                let metadata = match fs::metadata(self.path(&key)) {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) => continue,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(self.error(&key, &error)),
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
