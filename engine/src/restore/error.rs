//! Why a restore could not be done.

use super::landing;
use crate::error::Kind;
use crate::format::invariants::Broken;
use crate::format::layout::{BackupId, RestoreId};
use crate::format::{document, frame};
use crate::offsets::map::OutOfOrder;
use crate::store::{self, lease};
use crate::{repository, rewrite};

/// Why a restore could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The lease on the restore.
    #[error(transparent)]
    Lease(#[from] lease::Error),
    /// What was asked for is not in the backup.
    #[error("backup {backup_id}: {}", reasons.join("; "))]
    NotInBackup {
        /// The backup.
        backup_id: BackupId,
        /// One for each thing.
        reasons: Vec<String>,
    },
    /// The target is not fit, and nothing was written.
    #[error("nothing was restored: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// A topic could not be created, deleted or changed.
    #[error("topic {topic:?}: {error}")]
    Topic {
        /// The topic's name in the target.
        topic: String,
        /// Why.
        error: Box<crate::kafka::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{key}, bytes {start}..{end}: {error}")]
    Damaged {
        /// The object.
        key: String,
        /// Where the damage begins, in bytes.
        start: u64,
        /// Where the run ends, in bytes.
        end: u64,
        /// What is wrong.
        error: frame::Error,
    },
    /// A stored document is not what it should be.
    #[error("{key}: {error}")]
    Document {
        /// The object.
        key: String,
        /// What is wrong with it.
        error: document::Error,
    },
    /// The lists of runs are not what the manifest says.
    #[error("the manifest {key} and its lists of runs contradict each other: {broken}; nothing was restored")]
    Broken {
        /// The manifest.
        key: String,
        /// The first contradiction.
        broken: Broken,
    },
    /// Segments that the backup needs are gone, or have another size.
    #[error("backup {backup_id} has lost segments: {lost}; nothing was restored")]
    LostSegments {
        /// The backup.
        backup_id: BackupId,
        /// Which.
        lost: String,
    },
    /// A batch cannot be made fit for the target.
    #[error("topic {topic:?} partition {partition}: {error}")]
    Rewrite {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Why.
        error: rewrite::Error,
    },
    /// The batches of the backup are not in the order of a log.
    #[error("the backup of what goes to topic {topic:?} partition {partition} is damaged: {error}")]
    OutOfOrder {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What is out of order.
        error: OutOfOrder,
    },
    /// The target does not hold what this restore has put there, or more.
    #[error("topic {topic:?} partition {partition}: {error}")]
    Surprise {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What is different.
        error: landing::Surprise,
    },
    /// The target ends before the offset at which the restore began.
    #[error(
        "topic {topic:?} partition {partition} ends at {end_offset}, and this restore began at {base_offset}: it has lost records"
    )]
    Shrunk {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Its end when the restore began.
        base_offset: i64,
        /// Its end now.
        end_offset: i64,
    },
    /// The restore id belongs to another restore.
    #[error(
        "restore {id} is one of backup {backup_id}, to other topics or with other times: choose another restoreId, or make another KafkaRestore"
    )]
    OtherRequest {
        /// The restore.
        id: RestoreId,
        /// The backup of the one that is there.
        backup_id: BackupId,
    },
    /// The cluster left something out of an answer.
    #[error("the cluster, or the store, left something out that was asked for: run the same command again")]
    NoAnswer,
    /// A worker ended without a word.
    #[error("a worker of the restore ended before its work was done")]
    WorkerEnded,
    /// The run was asked to stop.
    #[error("stopped as asked; the same command goes on from there")]
    Interrupted,
}

impl Error {
    /// What it asks of whoever reads it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kafka(error) => error.kind(),
            Self::Topic { error, .. } => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::Rewrite { error, .. } => error.kind(),
            Self::NotInBackup { .. } => Kind::Usage,
            Self::Refused(_) | Self::Surprise { .. } | Self::Shrunk { .. } | Self::OtherRequest { .. } => {
                Kind::Conflict
            }
            Self::Damaged { .. }
            | Self::Document { .. }
            | Self::OutOfOrder { .. }
            | Self::Broken { .. }
            | Self::LostSegments { .. } => Kind::Corrupt,
            Self::NoAnswer => Kind::Unavailable,
            Self::WorkerEnded => Kind::Bug,
            Self::Interrupted => Kind::Interrupted,
        }
    }
}
