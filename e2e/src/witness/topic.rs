//! Topics and positions in them.

use serde::{Deserialize, Serialize};

use super::Properties;

/// A topic to create.
#[derive(Debug, Clone, Serialize)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; `None` is the broker's default.
    pub replication_factor: Option<i16>,
    /// What differs from the broker's defaults.
    pub configs: Properties,
}

impl NewTopic {
    /// A topic with the broker's default replication factor.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: None, configs: Properties::new() }
    }

    /// Sets one of its configs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.configs.insert(name.to_owned(), value.to_string());
        self
    }
}

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id, as Kafka writes it (base64url).
    pub id: String,
    /// In order of their numbers.
    pub partitions: Vec<Partition>,
    /// The configs that were set on the topic itself.
    pub configs: Properties,
}

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Partition {
    /// Its number.
    pub partition: i32,
    /// The node id of the leader; -1 when there is none.
    pub leader: i32,
    /// Node ids, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Node ids.
    pub in_sync: Vec<i32>,
}

/// An offset of a partition: where a record stands, or the next to be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Position {
    /// An offset of a partition.
    pub fn new(topic: impl Into<String>, partition: i32, offset: i64) -> Self {
        Self { topic: topic.into(), partition, offset }
    }
}
