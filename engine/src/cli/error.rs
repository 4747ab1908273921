//! Any failure of a command: where the errors of the library meet.

use kafka_backup::error::Kind;

/// Any failure of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// File and flags do not make a configuration.
    #[error(transparent)]
    Config(#[from] kafka_backup::config::Error),
    /// A backup's configuration does not hold together.
    #[error(transparent)]
    BackupConfig(#[from] kafka_backup::config::backup::Error),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] kafka_backup::backup::Error),
    /// A restore's configuration does not hold together.
    #[error(transparent)]
    RestoreConfig(#[from] kafka_backup::config::restore::Error),
    /// A restore.
    #[error(transparent)]
    Restore(#[from] kafka_backup::restore::Error),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] kafka_backup::repository::Error),
    /// A verification.
    #[error(transparent)]
    Verify(#[from] kafka_backup::verify::Error),
    /// Pruning.
    #[error(transparent)]
    Prune(#[from] kafka_backup::prune::Error),
    /// The showing of records.
    #[error(transparent)]
    Cat(#[from] kafka_backup::cat::Error),
    /// Logs cannot be written as asked.
    #[error("{0}")]
    Logs(String),
    /// The termination message has no place.
    #[error(transparent)]
    Message(#[from] super::message::Error),
    /// The server cannot listen.
    #[error(transparent)]
    Http(#[from] super::http::Error),
    /// The system gives no threads.
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    /// A signal came, and the run did not end by itself soon enough.
    #[error("stopped as asked; the same command goes on from what is stored")]
    Interrupted,
}

impl Error {
    /// What it asks of whoever reads it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::BackupConfig(error) => error.kind(),
            Self::Backup(error) => error.kind(),
            Self::RestoreConfig(error) => error.kind(),
            Self::Restore(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Verify(error) => error.kind(),
            Self::Prune(error) => error.kind(),
            Self::Cat(error) => error.kind(),
            Self::Logs(_) | Self::Message(_) | Self::Http(_) => Kind::Usage,
            Self::Runtime(_) => Kind::Bug,
            Self::Interrupted => Kind::Interrupted,
        }
    }
}
