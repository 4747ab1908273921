//! The Kafka client: from bootstrap servers to typed answers.

pub mod api;
pub mod cluster;
pub mod connection;
pub mod error;
pub mod metadata;
pub mod retry;
mod sasl;
mod transport;

pub use cluster::{CONTROL_LANE, Cluster, Leader};
pub use error::{Error, Resource};
pub use metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata};

/// A topic's name and a partition's number.
pub type TopicPartition = (String, i32);
