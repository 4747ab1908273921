//! Where a run leaves its result for whoever looks at its pod.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kafka_backup::report::Termination;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("--termination-message {path}: {why}", path = path.display())]
pub struct Error {
    path: PathBuf,
    why: io::Error,
}

/// The place of the termination message, if one is wanted.
#[derive(Debug, Default)]
pub struct Message(Option<(PathBuf, File)>);

impl Message {
    /// Opens the file, and empties it, so that nobody takes the message of an earlier run for that of one that was killed. The
    /// kubelet mounts the file itself: it is written in place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let open = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), file)),
            Err(why) => Err(Error { path: path.to_owned(), why }),
        };
        Ok(Self(path.map(open).transpose()?))
    }

    /// Writes the message. What the run did is done, whether this works or not.
    pub fn write(self, told: Option<&Termination>) {
        let (Some((path, mut file)), Some(told)) = (self.0, told) else { return };
        if let Err(error) = file.write_all(told.to_json().as_bytes()) {
            tracing::error!("the termination message cannot be written to {}: {error}", path.display());
        }
    }
}
