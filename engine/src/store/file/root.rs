//! The store's own folder, and how a run notices that the folder's path leads to another one.
//!
//! During a run a volume may be unmounted, or another one mounted over it, even one with the same folders, such as an older copy. Then a
//! backup would have its segments in one place and its manifest in another. So the store holds its folder open, and compares it with the
//! folder that the path leads to:
//!
//! - after an unfinished file was made. If the root changes before the file becomes an object, the file is not found by its name.
//! - before a folder is made, and before objects are deleted.
//! - before "there is no such object" is believed, and after objects were listed.
//!
//! While a folder is open, no other folder gets its inode number. It also keeps its own: a CIFS client without `serverino` invents another
//! number once it has forgotten an inode.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::{FileStore, Identity, identity};
use crate::store::error::Error;

/// Why nothing is written or believed any more.
const IS_ANOTHER_ROOT: &str = "the path leads to another folder than when this run began: a volume was unmounted, or mounted over it; mount the \
                               right one and run the same command again";

impl FileStore {
    /// Opens the folder, which must be there unless `create` says to make it.
    pub(super) fn open_root(&self, create: bool) -> Result<File, Error> {
        let place = self.place("");
        match fs::metadata(&self.root) {
            Ok(metadata) if metadata.is_dir() => return self.hold_root(),
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
        self.hold_root()
    }

    /// Holds the folder open without reading it (`O_PATH`), which needs no permission on it. A volume that is mounted on demand is
    /// mounted by this.
    fn hold_root(&self) -> Result<File, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match open(&*self.root, flags, Mode::empty()) {
            Ok(held) => Ok(File::from(held)),
            Err(error) => Err(self.root_error(&io::Error::from(error))),
        }
    }

    /// Makes sure that the root's path leads to the folder that the store was opened with.
    pub(super) fn check_root(&self) -> Result<(), Error> {
        let there = fs::metadata(&self.root).map_err(|error| self.root_error(&error))?;
        let Some(held) = self.held_root.as_deref() else { return Ok(()) };
        match is_another(identity(&there), held.metadata().map(|metadata| identity(&metadata))) {
            Ok(false) => Ok(()),
            Ok(true) => Err(self.place("").misconfigured(IS_ANOTHER_ROOT)),
            // A volume that has failed may be detached, while its folder is held, and leave another one at its place.
            Err(error) => Err(self.root_error(&error)),
        }
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
}

/// Whether the folder to which the path leads is another one than that which is held open. An NFS server says "stale" of a folder that it does
/// not have any more; any other failure tells nothing.
fn is_another(there: Identity, held: io::Result<Identity>) -> io::Result<bool> {
    match held {
        Ok(held) => Ok(there != held),
        Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_folder_that_its_server_has_lost_is_another_one_and_one_that_fails_may_be() {
        assert!(!is_another((1, 2), Ok((1, 2))).unwrap());
        assert!(is_another((1, 2), Ok((1, 3))).unwrap() && is_another((1, 2), Ok((2, 2))).unwrap());
        assert!(is_another((1, 2), Err(Errno::ESTALE.into())).unwrap());
        assert_eq!(is_another((1, 2), Err(Errno::EIO.into())).unwrap_err().raw_os_error(), Some(Errno::EIO as i32));
    }
}
