//! A file of the store that is being written.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::PathBuf;

use bytes::Bytes;

use super::FileStore;
use crate::store::Created;
use crate::store::error::Error;

/// A file that has no name of its own yet.
pub(super) struct Unfinished {
    pub(super) file: File,
    pub(super) name: TemporaryName,
}

/// Removes the name when it goes, whatever became of the file.
pub(super) struct TemporaryName {
    pub(super) path: PathBuf,
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove. If this fails, the sweep comes back for it.
        let _ = fs::remove_file(&self.path);
    }
}

/// A file that is being written and is not visible yet.
pub(in crate::store) struct FileUpload {
    store: FileStore,
    key: String,
    /// `None` while a write is under way: one that is abandoned or fails leaves the upload broken for good.
    unfinished: Option<Unfinished>,
    size: u64,
}

impl FileUpload {
    pub(in crate::store) async fn begin(store: &FileStore, key: &str) -> Result<Self, Error> {
        let owned = key.to_owned();
        let unfinished = store.blocking(key, move |store| store.begin(&owned)).await?;
        Ok(Self { store: store.clone(), key: key.to_owned(), unfinished: Some(unfinished), size: 0 })
    }

    pub(in crate::store) async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), Error> {
        let mut unfinished = self.unfinished.take().ok_or_else(|| self.store.place(&self.key).broken())?;
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let key = self.key.clone();
        let unfinished = self
            .store
            .blocking(&self.key, move |store| {
                write_all(&mut unfinished.file, &pieces).map_err(|error| store.error(&key, &error))?;
                Ok(unfinished)
            })
            .await?;
        self.unfinished = Some(unfinished);
        self.size += length as u64;
        Ok(())
    }

    pub(in crate::store) async fn finish(mut self) -> Result<u64, Error> {
        let unfinished = self.unfinished.take().ok_or_else(|| self.store.place(&self.key).broken())?;
        let key = self.key.clone();
        let created = self.store.blocking(&self.key, move |store| store.publish(&key, unfinished)).await?;
        match created {
            Created::New => Ok(self.size),
            Created::AlreadyThere => Err(self.store.place(&self.key).conflict()),
        }
    }
}

fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
