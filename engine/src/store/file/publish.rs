//! How a file that is whole becomes an object: by a link or a rename, or by a copy where it cannot be moved.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::naming::Named;
use super::upload::Unfinished;
use super::{FileStore, IS_A_FOLDER, folder_of, identity};
use crate::store::Created;
use crate::store::error::Error;

impl FileStore {
    /// Writes a file into this folder, and gives it the name of `key`; returns what became of the latter.
    pub(super) fn put_through(&self, folder: &Path, key: &str, bytes: &[u8]) -> Result<io::Result<()>, Error> {
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

    /// Gives a written file its name, unless the name is taken.
    pub(super) fn publish(&self, key: &str, unfinished: Unfinished) -> Result<Created, Error> {
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
    /// of it goes with the last object of that folder, or by a prune.
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
}
