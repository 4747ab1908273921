//! Why a backup could not be made.

use super::committed;
use super::queue::Task;
use crate::error::Kind;
use crate::format::batch;
use crate::format::invariants::Broken;
use crate::format::layout::{ArchiveName, BackupId, NameError};
use crate::format::{codec, document};
use crate::repository;
use crate::store::{self, lease};

/// Why a backup could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What the archive holds cannot be read.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The lease on the archive.
    #[error(transparent)]
    Lease(#[from] lease::Error),
    /// A name that was derived.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The archive's codec.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// Topics that were named are not there.
    #[error("{}", no_such_topic(topics, *internal))]
    NoSuchTopic {
        /// Their names.
        topics: Vec<String>,
        /// Whether one of them is internal to Kafka.
        internal: bool,
    },
    /// No topic is left to back up.
    #[error("nothing to back up: {}", nothing_selected(*known, topics, exclude_topics))]
    NothingSelected {
        /// How many topics the cluster shows to this user, without internal ones.
        known: usize,
        /// The patterns of topics to take; none means all.
        topics: Vec<String>,
        /// The patterns of topics to leave out.
        exclude_topics: Vec<String>,
    },
    /// What the broker returned is not what a log holds.
    #[error("topic {topic:?} partition {partition}: {error}{}", remedy(error))]
    Log {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What is wrong.
        error: committed::Error,
    },
    /// The log has lost offsets that it had at the cut, or when they were read.
    #[error(
        "topic {topic:?} partition {partition}: the log no longer holds all that it held up to offset {offset}: it was truncated \
         (an unclean leader election) or the topic was created again; a new backup reads what is there now"
    )]
    Truncated {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Where that ended.
        offset: i64,
    },
    /// The broker returns nothing where something must be.
    #[error(
        "topic {topic:?} partition {partition}: broker {broker} returned no batch at offset {offset} for {seconds} s, although offsets up to \
         {end_offset} are to be read: check the disks of that broker, its log and its tiered storage"
    )]
    Stalled {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The broker that leads it.
        broker: i32,
        /// The offset that is asked for.
        offset: i64,
        /// Up to where it is to be read.
        end_offset: i64,
        /// For how long.
        seconds: u64,
    },
    /// The broker returns nothing of partition after partition.
    #[error(
        "topic {topic:?} partition {partition}: broker {broker} returned no batch at offset {offset}, as it did for the {stalls} partitions that \
         were waited for before: check the disks of that broker, its log and its tiered storage"
    )]
    Silent {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The broker that leads it.
        broker: i32,
        /// The offset that is asked for.
        offset: i64,
        /// How many partitions of the broker were waited for in vain.
        stalls: u32,
    },
    /// A batch that does not fit into any response that is read.
    #[error(
        "topic {topic:?} partition {partition}: the broker's response at offset {offset} has {bytes} bytes, and at most {max} are read \
         at once; exclude this topic (excludeTopics), or let the batch expire"
    )]
    Oversized {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The offset that is asked for.
        offset: i64,
        /// What the response announces.
        bytes: i64,
        /// The limit.
        max: usize,
    },
    /// A partition without a leader.
    #[error("topic {topic:?} partition {partition} has no leader that can be read from{}", why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Leaderless {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// What the cluster says.
        why: Option<Box<crate::kafka::Error>>,
    },
    /// A stored document is not what it should be.
    #[error("{key}: {error}")]
    Document {
        /// The object.
        key: String,
        /// What is wrong with it.
        error: document::Error,
    },
    /// A segment that was stored is not there when the backup is to be committed.
    #[error(
        "{key} was stored by this backup, and the storage does not list it any more: check that the volume is still mounted, that nothing else \
         deletes objects, and that no proxy answers in place of the storage; the next run begins a new backup"
    )]
    LostSegment {
        /// The object.
        key: String,
    },
    /// The archive belongs to somebody else.
    #[error(
        "archive {archive} belongs to {owner}, not to {wanted}: choose another name{}",
        or_adopt(*is_found_under_another)
    )]
    OtherOwner {
        /// The archive.
        archive: ArchiveName,
        /// Whose it is.
        owner: String,
        /// Who wants it.
        wanted: String,
        /// Whether the file system has found it by a name that differs in case.
        is_found_under_another: bool,
    },
    /// The id belongs to an unfinished backup of something else.
    #[error("backup {backup_id} was begun with {began_with}, and is asked for with {asked_for}: choose another id")]
    OtherSelection {
        /// The backup.
        backup_id: BackupId,
        /// What it was begun with.
        began_with: String,
        /// What is asked for now.
        asked_for: String,
    },
    /// The id belongs to a backup of another cluster, finished or not.
    #[error("backup {backup_id} was begun on cluster {began_with}, and this is cluster {found}: choose another id")]
    OtherSource {
        /// The backup.
        backup_id: BackupId,
        /// The cluster that it was begun on.
        began_with: String,
        /// The cluster at hand.
        found: String,
    },
    /// An object that only we write is there, with other content.
    #[error("{key} was written by somebody else: two runs work on one archive")]
    Taken {
        /// The object.
        key: String,
    },
    /// The store holds another number of bytes than it was given.
    #[error(
        "{key}: {written} bytes were written, and the storage holds {stored}: check the storage, and what is between here and it, then run the \
         same command again"
    )]
    Stored {
        /// The object.
        key: String,
        /// Bytes that were written.
        written: u64,
        /// Bytes that the store says it has.
        stored: u64,
    },
    /// What was read does not make a whole.
    #[error("the backup does not hold what it was to hold: {0}")]
    Broken(#[from] Broken),
    /// The manifest cannot be read back from the bytes that were to be stored, and was not stored.
    #[error("{key}: the manifest that was made cannot be read back, and is not stored: {error}")]
    UnreadableManifest {
        /// Its key.
        key: String,
        /// Why not.
        error: document::Error,
    },
    /// Of all that was asked for, nothing can be read.
    #[error("nothing is backed up, since nothing of what was asked for can be read: {}", problems.join("; "))]
    NothingReadable {
        /// Why, one for each topic or partition.
        problems: Vec<String>,
    },
    /// Checkpoints vanish while they are read: whoever removes them has lost its lease and does not know it yet.
    #[error(
        "the checkpoints of backup {backup_id} change while they are read: another run is at work on it, run the same command again"
    )]
    CheckpointsChange {
        /// The backup.
        backup_id: BackupId,
    },
    /// A worker ended without a word.
    #[error("a worker of the backup ended before its work was done")]
    WorkerEnded,
    /// The run was asked to stop before anything was read.
    #[error("stopped as asked, before anything was read")]
    NotBegun,
    /// The run was asked to stop.
    #[error("stopped as asked; what was read is stored, and the same command goes on from there (backup {backup_id})")]
    Interrupted {
        /// The backup that is not finished.
        backup_id: BackupId,
    },
}

/// What else can be done than to choose another name. Two archives in one would delete each other's backups.
const fn or_adopt(is_found_under_another: bool) -> &'static str {
    match is_found_under_another {
        true => ", as this file system does not tell upper from lower case",
        false => ", or adopt it (--adopt, or the annotation adopt-archive of the KafkaBackup)",
    }
}

fn no_such_topic(topics: &[String], internal: bool) -> String {
    let list = topics.iter().map(|topic| format!("{topic:?}")).collect::<Vec<_>>().join(", ");
    let why = if internal { "internal to Kafka, and not backed up" } else { "not there" };
    format!("topic {list}: {why}")
}

fn nothing_selected(known: usize, topics: &[String], exclude_topics: &[String]) -> String {
    // A broker leaves out of its metadata what the user may not describe.
    const MORE: &str = "let the user describe more topics";
    if known == 0 {
        return format!("the cluster shows no topic but internal ones: check that it is the right one, or {MORE}");
    }
    let why = match (topics, exclude_topics) {
        (topics, []) => format!("none fits topics {topics:?}"),
        ([], exclude_topics) => format!("excludeTopics {exclude_topics:?} leaves out all"),
        (topics, exclude_topics) => format!("topics {topics:?} less excludeTopics {exclude_topics:?} leaves none"),
    };
    format!("of the topics that the cluster shows ({known} without internal ones) {why}: change that, or {MORE}")
}

/// What to do about a log that this program does not read.
const fn remedy(error: &committed::Error) -> &'static str {
    match error {
        committed::Error::Batch(batch::Error::Magic { magic: 0 | 1, .. }) => {
            "; let these records expire, or copy them to another topic with a consumer and a producer, and exclude this one (excludeTopics)"
        }
        committed::Error::Batch(_) | committed::Error::Overlap { .. } | committed::Error::EpochFell { .. } => "",
    }
}

impl Error {
    pub(super) fn truncated(task: &Task, offset: i64) -> Self {
        Self::Truncated { topic: task.topic.name.clone(), partition: task.partition, offset }
    }

    pub(super) fn leaderless(task: &Task, why: Option<crate::kafka::Error>) -> Self {
        Self::Leaderless { topic: task.topic.name.clone(), partition: task.partition, why: why.map(Box::new) }
    }

    pub(super) fn silent(task: &Task, broker: i32, stalls: u32) -> Self {
        let (topic, partition, offset) = (task.topic.name.clone(), task.partition, task.stretch.next_offset);
        Self::Silent { topic, partition, broker, offset, stalls }
    }

    pub(super) fn oversized(task: &Task, bytes: i64, max: usize) -> Self {
        let (topic, partition, offset) = (task.topic.name.clone(), task.partition, task.stretch.next_offset);
        Self::Oversized { topic, partition, offset, bytes, max }
    }

    pub(super) fn log(task: &Task, error: committed::Error) -> Self {
        Self::Log { topic: task.topic.name.clone(), partition: task.partition, error }
    }

    /// What it asks of whoever reads it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kafka(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Codec(error) => error.kind(),
            Self::Leaderless { why, .. } => why.as_ref().map_or(Kind::Unavailable, |why| why.kind()),
            Self::Name(_) | Self::NoSuchTopic { .. } | Self::NothingSelected { .. } | Self::Oversized { .. } => {
                Kind::Usage
            }
            Self::Log { .. } | Self::Document { .. } | Self::Truncated { .. } => Kind::Corrupt,
            Self::Stalled { .. }
            | Self::Silent { .. }
            | Self::Stored { .. }
            | Self::LostSegment { .. }
            | Self::NothingReadable { .. } => Kind::Unavailable,
            Self::OtherOwner { .. }
            | Self::OtherSelection { .. }
            | Self::OtherSource { .. }
            | Self::Taken { .. }
            | Self::CheckpointsChange { .. } => Kind::Conflict,
            Self::Broken(_) | Self::UnreadableManifest { .. } | Self::WorkerEnded => Kind::Bug,
            Self::NotBegun | Self::Interrupted { .. } => Kind::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_of_nothing_says_what_was_asked_of_how_many_topics_and_what_to_do() {
        let texts = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        for (known, topics, exclude_topics, says) in [
            (
                0,
                &[][..],
                &[][..],
                "the cluster shows no topic but internal ones: check that it is the right one, or let the user describe more topics",
            ),
            (
                12,
                &["eu-.*"],
                &[],
                "of the topics that the cluster shows (12 without internal ones) none fits topics [\"eu-.*\"]: change that, or let \
                 the user describe more topics",
            ),
            (
                1,
                &[],
                &[".*"],
                "of the topics that the cluster shows (1 without internal ones) excludeTopics [\".*\"] leaves out all: change that, \
                 or let the user describe more topics",
            ),
            (
                3,
                &["a", "b"],
                &["[ab]"],
                "of the topics that the cluster shows (3 without internal ones) topics [\"a\", \"b\"] less excludeTopics [\"[ab]\"] \
                 leaves none: change that, or let the user describe more topics",
            ),
        ] {
            let error = Error::NothingSelected { known, topics: texts(topics), exclude_topics: texts(exclude_topics) };
            assert_eq!(error.to_string(), format!("nothing to back up: {says}"));
            assert_eq!(error.kind(), Kind::Usage);
        }
    }
}
