//! How a file that is whole gets its name, unless the name is taken, and how a name gets to the disk.
//!
//! `link` is the one call that fails when the target exists, on local file systems and NFS alike; `rename` would replace it. Where
//! there are no hard links, a rename with a flag does the same.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// A call that gives the file at the first path the second one.
type Call = fn(&Path, &Path) -> io::Result<()>;

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// It is that of the file, which has its first name as well.
    New,
    /// It is that of the file, instead of its first name.
    Moved,
    /// It was taken, or a repeated call found what its first attempt had done.
    Taken,
    /// The file system has no call that keeps what is there.
    Unable,
}

/// The calls that give names, and the one that makes them durable.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    /// Makes an empty file under a name, unless it is taken.
    pub(super) create: fn(&Path) -> io::Result<File>,
    /// Adds a name, unless it is taken.
    pub(super) link: Call,
    /// Replaces the name by another one, unless that one is taken.
    pub(super) rename_if_absent: Call,
    /// Replaces the name by another one, also if that one is taken.
    pub(super) rename: Call,
    /// Writes the names in a folder to the disk.
    pub(super) sync_folder: fn(&Path) -> io::Result<()>,
}

impl Naming {
    /// Those of the system.
    pub(super) const SYSTEM: Self = Self { create, link, rename_if_absent, rename, sync_folder };

    /// Gives the file at `from` the name `to` in one step, unless that name is taken.
    pub(super) fn give(self, from: &Path, to: &Path) -> io::Result<Named> {
        match (self.link)(from, to) {
            Err(error) if has_no_hard_links(&error) => {}
            linked => return named(linked, Named::New),
        }
        match (self.rename_if_absent)(from, to) {
            Err(error) if lacks_rename_if_absent(&error) => Ok(Named::Unable),
            renamed => named(renamed, Named::Moved),
        }
    }
}

fn named(done: io::Result<()>, by: Named) -> io::Result<Named> {
    match done {
        Ok(()) => Ok(by),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Named::Taken),
        Err(error) => Err(error),
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// For file systems without hard links, such as Azure Files over SMB and FAT.
fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE).map_err(io::Error::from)
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder, and say so in this way; their rename is synchronous.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// What `link(2)` fails with on a file system that has no hard links.
fn has_no_hard_links(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::EPERM, Errno::EOPNOTSUPP, Errno::ENOSYS]
            .iter()
            .any(|code| error.raw_os_error() == Some(*code as i32))
}

/// What `renameat2(2)` fails with where the file system, or the kernel, does not have the flag.
fn lacks_rename_if_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::EINVAL, Errno::EOPNOTSUPP, Errno::ENOSYS]
            .iter()
            .any(|code| error.raw_os_error() == Some(*code as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_that_keeps_what_is_there_has_one_winner() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a"), "a").unwrap();
        fs::write(path("b"), "b").unwrap();
        rename_if_absent(&path("a"), &path("key")).unwrap();
        assert_eq!(rename_if_absent(&path("b"), &path("key")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(path("key")).unwrap(), path("b").exists()), (b"a".to_vec(), true));
        assert!(!lacks_rename_if_absent(&io::ErrorKind::AlreadyExists.into()));
    }

    #[test]
    fn whatever_a_file_system_without_hard_links_answers_the_rename_decides() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let refusals: [(&str, Call); 4] = [
            ("EPERM", |_, _| Err(Errno::EPERM.into())),
            ("EOPNOTSUPP", |_, _| Err(Errno::EOPNOTSUPP.into())),
            ("ENOSYS", |_, _| Err(Errno::ENOSYS.into())),
            ("unsupported", |_, _| Err(io::ErrorKind::Unsupported.into())),
        ];
        for (name, refuse) in refusals {
            let naming = Naming { link: refuse, ..Naming::SYSTEM };
            fs::write(path("new"), name).unwrap();
            assert_eq!(naming.give(&path("new"), &path(name)).unwrap(), Named::Moved, "{name}");
            fs::write(path("late"), "late").unwrap();
            assert_eq!(naming.give(&path("late"), &path(name)).unwrap(), Named::Taken, "{name}");
            assert_eq!(fs::read(path(name)).unwrap(), name.as_bytes());
        }
    }

    #[test]
    fn a_rename_is_no_answer_to_a_link_that_fails_in_another_way() {
        let failing: [(io::ErrorKind, Call); 2] = [
            (io::ErrorKind::StorageFull, |_, _| Err(Errno::ENOSPC.into())),
            (io::ErrorKind::PermissionDenied, |_, _| Err(Errno::EACCES.into())),
        ];
        for (kind, link) in failing {
            let naming = Naming { link, rename_if_absent: |_, _| Ok(()), ..Naming::SYSTEM };
            assert_eq!(naming.give(Path::new("from"), Path::new("to")).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn without_any_call_that_keeps_what_is_there_no_name_is_given() {
        let refusals: [Call; 3] =
            [|_, _| Err(Errno::EINVAL.into()), |_, _| Err(Errno::EOPNOTSUPP.into()), |_, _| Err(Errno::ENOSYS.into())];
        for rename_if_absent in refusals {
            let naming = Naming { link: |_, _| Err(Errno::EPERM.into()), rename_if_absent, ..Naming::SYSTEM };
            assert_eq!(naming.give(Path::new("from"), Path::new("to")).unwrap(), Named::Unable);
        }
    }
}
