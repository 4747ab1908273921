//! What was done to the cluster, with the times: one JSON object a line in a file, and in memory for the checker.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use kafka_backup::clock::now_ms;
use serde::Serialize;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum What {
    /// A topic was deleted.
    Deleted {
        /// The topic.
        topic: String,
        /// Its id, as Kafka writes it.
        id: String,
    },
    /// A topic was created.
    Created {
        /// The topic.
        topic: String,
        /// Its id, as Kafka writes it.
        id: String,
        /// Partitions.
        partitions: i32,
    },
    /// DeleteRecords moved a log start.
    RecordsDeleted {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The log start since.
        before: i64,
    },
    /// Partitions were added.
    PartitionsAdded {
        /// The topic.
        topic: String,
        /// How many there are since.
        total: i32,
    },
    /// A partition got another leader.
    LeaderMoved {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The node id.
        node: u16,
    },
    /// A broker was ended and started again.
    BrokerRestarted {
        /// The node id.
        node: u16,
        /// Whether by SIGKILL.
        is_killed: bool,
    },
    /// An election among replicas that were not in sync: from the first broker's end until all are back.
    UncleanElection {
        /// The topic that was meant; other topics that allow it may have lost records too.
        topic: String,
        /// Whether such a replica came to lead it. The brokers were away in any case.
        is_elected: bool,
    },
    /// A tombstone was acknowledged in a transaction that was to be committed, or without one.
    TombstoneWritten {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// The key.
        key: String,
    },
    /// A run of the binary ended.
    RunEnded {
        /// `backup` or `restore`, with its number and attempt.
        run: String,
        /// The exit code, or `None` when it was killed.
        code: Option<i32>,
    },
    /// Something that was to be done was not.
    Failed {
        /// What it was, and why.
        text: String,
    },
}

/// What was done, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When it began, in milliseconds since 1970.
    pub begin_ms: i64,
    /// When it was over, likewise.
    pub end_ms: i64,
    /// What was done.
    pub what: What,
}

/// The events of a run.
#[derive(Debug)]
pub struct Events {
    file: Mutex<File>,
    all: Mutex<Vec<Event>>,
}

impl Events {
    /// Events in a new file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), all: Mutex::default() })
    }

    /// Writes down what began then and is over now.
    pub fn add(&self, begin_ms: i64, what: What) {
        let event = Event { begin_ms, end_ms: now_ms(), what };
        let line = serde_json::to_string(&event).unwrap_or_default();
        // The file is for people; the checker reads what is in memory.
        let _ = writeln!(self.file.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Writes down what could not be done.
    pub fn failed(&self, begin_ms: i64, doing: &str, error: &anyhow::Error) {
        self.add(begin_ms, What::Failed { text: format!("{doing}: {error:#}") });
    }

    /// All events so far, in the order in which they were over.
    pub fn all(&self) -> Vec<Event> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
