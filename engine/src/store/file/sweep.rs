//! Removing the unfinished files that killed runs have left.
//!
//! - Each run looks into the few folders in which unfinished files are made.
//! - Copies are made next to their objects, in a folder of one backup. They go when nothing else is left in that folder.
//! - A prune looks everywhere.
//!
//! A file is left when nobody has written to it for [`TEMPORARY_AGE_MS`], by the clock that dates files: that of a server, or of this kernel.
//! The clock of this machine is not asked. Where it is ahead, files of running processes would be removed.

use std::fs;
use std::io;
use std::path::Path;

use super::{FileStore, TEMPORARY, UNFINISHED_DEPTH, join, modified_ms, unfinished_prefix};
use crate::store::TEMPORARY_AGE_MS;
use crate::store::error::Error;

impl FileStore {
    /// Removes what is left in the folders in which unfinished files are made; returns how many files. `key` is one that this process
    /// may write; its folder comes first.
    pub(in crate::store) async fn sweep_unfinished(&self, key: &str) -> Result<u64, Error> {
        self.sweep(key, UNFINISHED_DEPTH).await
    }

    /// Removes what is left anywhere; returns how many files. `key` is one that this process may write.
    pub(in crate::store) async fn sweep_everywhere(&self, key: &str) -> Result<u64, Error> {
        self.sweep(key, usize::MAX).await
    }

    async fn sweep(&self, key: &str, depth: usize) -> Result<u64, Error> {
        let owned = key.to_owned();
        self.blocking(key, move |store| {
            // The date of a new file is what the clock says now.
            let dated = store.begin(&owned)?.file.metadata().map_err(|error| store.error(&owned, &error))?;
            // The last one is the first to be looked into.
            let folders = vec![(String::new(), depth), (unfinished_prefix(&owned).to_owned(), 0)];
            store.remove_unfinished(folders, modified_ms(&dated).saturating_sub(TEMPORARY_AGE_MS))
        })
        .await
    }

    /// Looks into folders and those at most `depth` below each, the last one first. Returns how many files it removed, or the first
    /// failure: a folder that cannot be looked into, or a file that cannot be removed, does not stop the sweep, unlike a root that is not
    /// there any more. A folder to which access is denied is that of another user, and no failure.
    fn remove_unfinished(&self, mut folders: Vec<(String, usize)>, before_ms: i64) -> Result<u64, Error> {
        let mut removed = Ok(0);
        while let Some((folder, depth)) = folders.pop() {
            if let Err(error) = self.check_root() {
                return removed.and(Err(error));
            }
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

    fn remove_old(&self, key: &str, before_ms: i64) -> Result<bool, Error> {
        remove_old(&self.path(key), before_ms).map_err(|error| self.error(key, &error))
    }
}

/// Removes what is left in a folder that has nothing else in it. Something was deleted from the folder just now, so that its date is what
/// the clock says.
pub(super) fn sweep_emptied(folder: &Path) -> io::Result<()> {
    let before_ms = modified_ms(&fs::metadata(folder)?).saturating_sub(TEMPORARY_AGE_MS);
    let mut left = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_unfinished = entry.file_name().to_str().is_some_and(is_temporary);
        // Anything else keeps the folder, of which no more is read.
        if !is_unfinished {
            return Ok(());
        }
        left.push(entry.path());
    }
    for path in left {
        remove_old(&path, before_ms)?;
    }
    Ok(())
}

/// Whether this call removed an unfinished file. Its writer may have given it its name meanwhile.
fn remove_old(path: &Path, before_ms: i64) -> io::Result<bool> {
    let removed = fs::metadata(path).and_then(|metadata| {
        let is_old = metadata.is_file() && modified_ms(&metadata) < before_ms;
        if is_old { fs::remove_file(path).map(|()| true) } else { Ok(false) }
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed,
    }
}

/// Whether a writer of ours gave a file this name until it is whole. Other programs have files whose names begin like it.
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|id| uuid::Uuid::parse_str(id).is_ok())
}
