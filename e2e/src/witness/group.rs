//! Consumer groups and what they have committed.

use serde::{Deserialize, Serialize};

use super::Position;

/// A committed offset with all that a group keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The partition and the offset of the next record to be read.
    #[serde(flatten)]
    pub position: Position,
    /// What the consumer wrote beside it; empty is the same as none.
    #[serde(default)]
    pub metadata: String,
    /// The leader epoch of the record before it, if the consumer said.
    pub leader_epoch: Option<i32>,
}

impl From<Position> for Commit {
    fn from(position: Position) -> Self {
        Self { position, metadata: String::new(), leader_epoch: None }
    }
}

/// A group in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct GroupListing {
    /// Its name.
    pub group: String,
    /// `Classic`, `Consumer`, ..
    #[serde(rename = "type")]
    pub kind: String,
    /// `Empty`, `Stable`, ..
    pub state: String,
}

/// A consumer group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its name.
    pub group: String,
    /// `Classic` or `Consumer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Empty`, `Stable`, ..
    pub state: String,
    /// The client ids of its members.
    pub members: Vec<String>,
}

/// The group protocol of a Kafka Streams application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamsProtocol {
    /// The application assigns its tasks, in a group of the classic protocol.
    Classic,
    /// The coordinator assigns them (KIP-1071).
    Streams,
}

/// The rebalance protocol of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Clients assign among themselves.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}
