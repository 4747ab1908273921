//! PEM files that a configuration points at, read while it is checked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Which files of a folder hold trusted authorities, as error texts name them. Strimzi keeps the authority of a cluster in
/// `ca.crt`, and for as long as it is being renewed the one before in `ca-<date>.crt`, all in one Secret.
const AUTHORITIES: &str = "ca*.crt";

/// What Windows editors begin UTF-8 text with.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// Why a PEM file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {path}: {why}", path = path.display())]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

/// A PEM file that has been read; its contents stay out of `Debug`, for it may be a key.
#[derive(Clone)]
pub struct PemFile {
    /// Where it was read from, for error texts.
    pub path: PathBuf,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl PemFile {
    /// Reads the file, without a byte order mark; whether it is PEM is seen by who uses it.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let mut bytes = fs::read(path).map_err(|error| refuse(path, error.to_string()))?;
        if bytes.starts_with(BYTE_ORDER_MARK.encode_utf8(&mut [0; 4]).as_bytes()) {
            bytes.drain(..BYTE_ORDER_MARK.len_utf8());
        }
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// Reads the authorities to trust: one file, or those files of a folder that are called `ca*.crt`, in the order of their
    /// names. Links are followed, as a mounted Secret consists of them; names that begin with a dot are its machinery.
    ///
    /// # Errors
    /// What the system says of a file, and a folder in which no file has such a name.
    pub fn read_authorities(path: &Path) -> Result<Vec<Self>, Error> {
        let failed = |error: std::io::Error| refuse(path, error.to_string());
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Ok(vec![Self::read(path)?]);
        }
        let entries = fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut files: Vec<PathBuf> =
            entries.iter().filter(|entry| is_authority(&entry.file_name())).map(fs::DirEntry::path).collect();
        files.sort();
        if files.is_empty() {
            return Err(refuse(path, format!("the folder has no file {AUTHORITIES}")));
        }
        files.iter().map(|file| Self::read(file)).collect()
    }
}

fn is_authority(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("ca") && name.ends_with(".crt"))
}

fn refuse(path: &Path, why: String) -> Error {
    Error { path: path.to_owned(), why }
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemFile").field("path", &self.path).field("bytes", &"***").finish()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(path: &Path) -> Result<Vec<(String, Vec<u8>)>, String> {
        let name = |file: &PemFile| file.path.file_name().unwrap().to_str().unwrap().to_owned();
        let files = PemFile::read_authorities(path).map_err(|error| error.to_string())?;
        Ok(files.iter().map(|file| (name(file), file.bytes.clone())).collect())
    }

    /// As the kubelet mounts it: links through `..data` into a folder with a time for a name.
    #[test]
    fn every_authority_of_a_mounted_secret_is_read_once() {
        let secret = tempfile::tempdir().unwrap();
        let behind = secret.path().join("..2026_11_21_10_00_00.123456789");
        fs::create_dir(&behind).unwrap();
        symlink(behind.file_name().unwrap(), secret.path().join("..data")).unwrap();
        for (name, text) in
            [("ca.crt", "new"), ("ca-2025-11-21T10-00-00Z.crt", "old"), ("ca.p12", "x"), ("ca.password", "x")]
        {
            fs::write(behind.join(name), text).unwrap();
            symlink(Path::new("..data").join(name), secret.path().join(name)).unwrap();
        }
        fs::write(secret.path().join(".ca.crt"), "hidden").unwrap();
        let wanted = [("ca-2025-11-21T10-00-00Z.crt", "old"), ("ca.crt", "new")];
        let wanted = wanted.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(read(secret.path()).unwrap(), wanted);
        let one = secret.path().join("ca.crt");
        assert_eq!(read(&one).unwrap(), [("ca.crt".to_owned(), b"new".to_vec())]);
    }

    #[test]
    fn a_folder_without_an_authority_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tls.crt"), "x").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error, format!("cannot read {}: the folder has no file ca*.crt", folder.path().display()));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error_and_not_one_authority_less() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), "x").unwrap();
        symlink("nowhere", folder.path().join("ca-old.crt")).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("ca-old.crt"));
        assert!(read(&folder.path().join("missing")).is_err());
    }
}
