//! Why a restore could not be done.

use std::fmt;

use super::landing;
use crate::error::Kind;
use crate::format::invariants::Broken;
use crate::format::layout::{BackupId, RestoreId};
use crate::format::{document, frame};
use crate::offsets::map::{LEFT_OUT_MAX, OutOfOrder};
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
    /// Permissions that a restore needs, and this user does not have. Nothing was changed.
    #[error("nothing was restored: the user lacks {}", .0.join("; "))]
    NotAllowed(Vec<String>),
    /// Permissions without which the settings of topics cannot be read. An earlier run of the restore may have written to them.
    #[error("the settings of topics cannot be read: the user lacks {}", .0.join("; "))]
    Hidden(Vec<String>),
    /// The cluster gives no producer id. Nothing was changed.
    #[error(
        "nothing was restored: the cluster gives no producer id, without which no record can be written exactly once: {0}"
    )]
    NoProducer(crate::kafka::Error),
    /// Another client has created topics that this restore was to create.
    #[error(
        "{}: another client has created it (one that creates topics by itself, Strimzi's Topic Operator for a KafkaTopic, or \
         another tool): stop that, delete the topic, then run the same command again", .0.join("; ")
    )]
    NotOurs(Vec<String>),
    /// A group of topics could not be replaced.
    #[error(
        "{error}: of the topics to overwrite {} were replaced and are empty, {} were deleted or are about to be, {} are \
         untouched: remove the cause and run the same command again",
        listed(replaced),
        listed(deleted),
        listed(untouched)
    )]
    Replacing {
        /// Those that were deleted and created again, and hold nothing yet.
        replaced: Vec<String>,
        /// Those that are deleted, or were to be deleted next.
        deleted: Vec<String>,
        /// Those that are as they were.
        untouched: Vec<String>,
        /// Why.
        error: Box<Error>,
    },
    /// The broker does not take a batch, however often it is sent.
    #[error("{error}; {}", refused_batch(*source_offset, error))]
    RefusedBatch {
        /// The source offset of its first record.
        source_offset: i64,
        /// What the broker says, which names topic and partition.
        error: Box<crate::kafka::Error>,
    },
    /// The broker takes nothing more of this restore's producer.
    #[error(
        "{error}; the broker has forgotten the producer of this restore, as one before Kafka 2.5 does a week after the last batch, and \
         Redpanda before 24.2: what has landed is there once; run the same command when the brokers are newer, or end the restore (restore \
         --abandon {id}) and restore into other topics"
    )]
    Forgotten {
        /// The restore.
        id: RestoreId,
        /// What the broker says.
        error: Box<crate::kafka::Error>,
    },
    /// More batches of a partition cannot be read than a broker would have stored.
    #[error(
        "topic {topic:?} partition {partition}: more than {LEFT_OUT_MAX} record batches of the source had to be changed and cannot be read, the \
         last one at offset {base_offset} of the source: leave the topic out (--exclude-topics)"
    )]
    TooManyUnreadable {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Where the last one begins in the source.
        base_offset: i64,
    },
    /// Another program keeps changing a setting under which records are written.
    #[error(
        "topic {topic:?}: {}: another program manages the topic's configuration (Strimzi's Topic Operator does so for a KafkaTopic: \
         annotate that with strimzi.io/pause-reconciliation=true until the restore is done), or somebody changed it by hand",
        .changes.join("; ")
    )]
    Reverted {
        /// The topic's name in the target.
        topic: String,
        /// What was changed, and what it has to be; the first one need not be the one that does harm.
        changes: Vec<String>,
    },
    /// The broker gave records the time at which they were written.
    #[error(
        "topic {topic:?} partition {partition}: the broker gave the records from offset {offset} on the time of the restore, \
         because another program set message.timestamp.type to LogAppendTime (Strimzi's Topic Operator does so for a KafkaTopic: \
         annotate that with strimzi.io/pause-reconciliation=true until the restore is done): restore into another topic \
         (topicMapping) under another restoreId, or into this one after it was deleted, if it holds nothing else"
    )]
    Stamped {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The target offset of the first such record that was noticed.
        offset: i64,
    },
    /// Records that the restore has written were deleted while it runs.
    #[error(
        "topic {topic:?} partition {partition} begins at offset {start_offset} now, and this restore wrote from offset \
         {base_offset} on: restored records were deleted (by a retention that another program set, or by DeleteRecords): restore into \
         another topic (topicMapping) under another restoreId, or into this one after it was deleted, if it holds nothing else"
    )]
    Swept {
        /// The topic's name in the target.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// Where the restore began.
        base_offset: i64,
        /// The log start offset now.
        start_offset: i64,
    },
    /// Topics that the restore has written to are others now, or have lost records of it.
    #[error(
        "{}: restore these topics under another restoreId, into other ones (topicMapping), or after they were deleted, if they \
         hold nothing else",
        .0.join("; ")
    )]
    Changed(Vec<String>),
    /// The restore ended early, and topics are left with the settings of a restore.
    #[error("{error}; {left}")]
    Left {
        /// Why it ended.
        error: Box<Error>,
        /// Which topics have which settings, and how to finish.
        left: String,
    },
    /// The restore to abandon can only be found by the name of its archive.
    #[error("backup {backup} is not there any more: name the archive of the restore (archive) instead")]
    AbandonNeedsArchive {
        /// The backup.
        backup: crate::format::layout::BackupId,
    },
    /// There is nothing to abandon.
    #[error("archive {archive} has no restore {id} that was begun in this cluster")]
    NothingToAbandon {
        /// The restore.
        id: RestoreId,
        /// The archive.
        archive: crate::format::layout::ArchiveName,
    },
    /// A topic could not be created, deleted or changed.
    #[error("{}", of_topic(topic, error))]
    Topic {
        /// The topic's name in the target.
        topic: String,
        /// Why.
        error: Box<crate::kafka::Error>,
    },
    /// Other runs of the same restore do not let this one decide.
    #[error(
        "nothing was restored: other runs of this restore changed its journal each time while this one waited for the lease: see that \
         one runs at a time, then run the same command again"
    )]
    Contended,
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
    /// Another version of the program began the restore, and divides batches otherwise.
    #[error(
        "restore {id} was begun by a version of kafka-backup that splits or joins batches otherwise, so that this one cannot resume \
         it: complete it with that version, or end it with restore --abandon {id}, then restore again"
    )]
    OtherBoundaries {
        /// The restore.
        id: RestoreId,
    },
    /// A response does not have all that was asked for.
    #[error(
        "the brokers' response to {api} lacks {what}: run the same command again, and if that repeats, check the brokers"
    )]
    Lacks {
        /// The request.
        api: &'static str,
        /// What was asked for.
        what: String,
    },
    /// The journal has a document, and then it has none.
    #[error(
        "{key} was there, and is not there any more: see that nothing else deletes objects, and run the same command again"
    )]
    Vanished {
        /// The document.
        key: String,
    },
    /// The restore's id has no room for the number of another one.
    #[error(
        "restore {first} cannot be resumed, since it has ended or its topics were created again, and its id is too long for the number \
         of another one: give this restore a shorter id (--restore-id)"
    )]
    NoIdLeft {
        /// The id that was asked for.
        first: RestoreId,
    },
    /// Brokers contradict each other, or most of them do not answer.
    #[error(
        "the brokers do not agree on whether topics are still those of the restore, or most of them do not answer: {}; see that all of \
         them are well, and run the same command again",
        listed(.0)
    )]
    Unclear(Vec<String>),
    /// A worker ended without a word.
    #[error("a worker of the restore ended before its work was done")]
    WorkerEnded,
    /// The run was asked to stop.
    #[error("stopped as asked; the same command goes on from there")]
    Interrupted,
}

/// An error with the name of its topic, which it may have already.
fn of_topic(topic: &str, error: &crate::kafka::Error) -> String {
    let (name, text) = (format!("topic {topic:?}: "), error.to_string());
    if text.starts_with(&name) { text } else { name + &text }
}

/// What a batch was refused for, and what to do.
fn refused_batch(source_offset: i64, error: &crate::kafka::Error) -> String {
    match error.is_retriable() {
        true => format!(
            "the broker found the record batch at source offset {source_offset} damaged twice, although its checksum was right when it was \
             sent: look at the network and at that broker; a broker before Kafka 2.4 also says so of a record without a key on a compacted \
             topic: leave that topic out (--exclude-topics)"
        ),
        false => format!(
            "the broker refuses the record batch at source offset {source_offset} and will refuse it again: change the target topic's \
             settings so that it accepts the batch, or leave the topic out (--exclude-topics)"
        ),
    }
}

/// Names that one line lists at most.
const NAMES_LISTED_MAX: usize = 10;

/// How many names, and the first of them.
pub fn listed(names: &[String]) -> String {
    let first = names.iter().take(NAMES_LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "0".to_owned(),
        count if count > NAMES_LISTED_MAX => format!("{count} ({first} and {} others)", count - NAMES_LISTED_MAX),
        count => format!("{count} ({first})"),
    }
}

/// What a broker answers to records that a topic's settings do not let in: `MESSAGE_TOO_LARGE`, `INVALID_TIMESTAMP`, and
/// `INVALID_RECORD`, which is a record without a key on a compacted topic. Brokers before Kafka 2.4 answer `CORRUPT_MESSAGE` to the last.
const REFUSED_RECORDS: [i16; 4] = [2, 10, 32, 87];

impl Error {
    /// A response of the brokers to this request lacks something.
    pub(super) fn lacks(api: &'static str, what: impl fmt::Display) -> Self {
        Self::Lacks { api, what: what.to_string() }
    }

    /// Whether it may be due to a protective setting that another program has set back.
    pub fn may_be_a_reversal(&self) -> bool {
        let code = if let Self::Kafka(error) = self {
            error.code()
        } else if let Self::RefusedBatch { error, .. } = self {
            error.code()
        } else {
            None
        };
        code.is_some_and(|code| REFUSED_RECORDS.contains(&code))
    }

    /// Whether the same command cannot complete the restore, whatever is done about the cause: records of it are lost or
    /// changed, or this program would divide them otherwise.
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Stamped { .. }
                | Self::Swept { .. }
                | Self::Changed(_)
                | Self::Surprise { .. }
                | Self::Shrunk { .. }
                | Self::OtherBoundaries { .. }
        )
    }

    /// What it asks of whoever reads it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Kafka(error) => error.kind(),
            Self::Topic { error, .. } => error.kind(),
            // Its checksum was right when it was sent: the archive is sound, and a run over another line may complete the restore.
            Self::RefusedBatch { error, .. } if error.is_retriable() => Kind::Unavailable,
            Self::RefusedBatch { error, .. } => error.kind(),
            Self::NoProducer(error) => error.kind(),
            Self::Replacing { error, .. } | Self::Left { error, .. } => error.kind(),
            Self::NotAllowed(_) | Self::Hidden(_) => Kind::Denied,
            Self::Store(error) => error.kind(),
            Self::Repository(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::Rewrite { error, .. } => error.kind(),
            Self::NotInBackup { .. }
            | Self::NoIdLeft { .. }
            | Self::NothingToAbandon { .. }
            | Self::AbandonNeedsArchive { .. } => Kind::Usage,
            Self::Contended | Self::OtherBoundaries { .. } | Self::Forgotten { .. } => Kind::Conflict,
            Self::NotOurs(_) | Self::Reverted { .. } | Self::Stamped { .. } => Kind::Conflict,
            Self::Swept { .. } | Self::Changed(_) => Kind::Conflict,
            Self::Refused(_) | Self::Surprise { .. } | Self::Shrunk { .. } | Self::OtherRequest { .. } => {
                Kind::Conflict
            }
            Self::Damaged { .. }
            | Self::TooManyUnreadable { .. }
            | Self::Document { .. }
            | Self::OutOfOrder { .. }
            | Self::Broken { .. }
            | Self::LostSegments { .. } => Kind::Corrupt,
            Self::Lacks { .. } | Self::Vanished { .. } | Self::Unclear(_) => Kind::Unavailable,
            Self::WorkerEnded => Kind::Bug,
            Self::Interrupted => Kind::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_topics_that_were_replaced_and_those_that_were_not() {
        let names = |range: std::ops::Range<u32>| range.map(|number| format!("t{number}")).collect::<Vec<_>>();
        let (replaced, deleted, untouched) = (names(0..1), names(1..3), names(3..20));
        let error = Error::Replacing { replaced, deleted, untouched, error: Box::new(Error::WorkerEnded) }.to_string();
        assert!(error.contains("1 (t0) were replaced") && error.contains("2 (t1, t2) were deleted"), "{error}");
        assert!(error.contains("17 (t3, ") && error.contains("t12 and 7 others) are untouched"), "{error}");
        assert_eq!(listed(&[]), "0");
    }

    #[test]
    fn a_batch_that_is_refused_for_good_is_named_with_what_to_do() {
        let resource = || crate::kafka::error::Resource::Partition("t".to_owned(), 3);
        let refused = |code| Error::RefusedBatch {
            source_offset: 70,
            error: Box::new(crate::kafka::Error::Broker { resource: resource(), api: "Produce", code, message: None }),
        };
        let text = refused(2).to_string();
        assert!(text.starts_with("topic \"t\" partition 3: CORRUPT_MESSAGE (2)"), "{text}");
        assert!(text.contains("source offset 70 damaged twice") && text.contains("look at the network"), "{text}");
        let text = refused(87).to_string();
        assert!(
            text.contains("source offset 70 and will refuse it again") && text.contains("--exclude-topics"),
            "{text}"
        );
        assert_eq!((refused(2).kind(), refused(87).kind()), (Kind::Unavailable, Kind::Usage));
        assert!(refused(87).may_be_a_reversal() && refused(2).may_be_a_reversal(), "brokers before 2.4 answer 2");
        assert!(!refused(76).may_be_a_reversal());
    }

    #[test]
    fn that_settings_cannot_be_read_does_not_say_that_nothing_was_restored() {
        let hidden = Error::Hidden(vec!["DescribeConfigs on topic \"t\"".to_owned()]);
        let says = "the settings of topics cannot be read: the user lacks DescribeConfigs on topic \"t\"";
        assert_eq!((hidden.to_string(), hidden.kind()), (says.to_owned(), Kind::Denied));
    }

    #[test]
    fn an_error_of_a_topic_names_it_once() {
        let resource = crate::kafka::error::Resource::Topic("t".to_owned());
        let refused = crate::kafka::Error::Broker { resource, api: "CreateTopics", code: 44, message: None };
        let lost = crate::kafka::Error::Lost { address: "b:9092".to_owned(), why: "closed".to_owned() };
        for (error, rest) in [(refused, "POLICY_VIOLATION"), (lost, "")] {
            let text = Error::Topic { topic: "t".to_owned(), error: Box::new(error) }.to_string();
            assert_eq!(text.matches("topic \"t\"").count(), 1, "{text}");
            assert!(text.starts_with(&format!("topic \"t\": {rest}")), "{text}");
        }
    }
}
