//! The Kafka client: from bootstrap servers to typed answers.
//!
//! [`Cluster`] is the face of it. Below stand, from the wire up: [`connection`] (frames and deadlines over TCP or
//! TLS, after SASL), [`retry`] (what every error code asks of us), [`cluster`] (leaders, connections, the one place
//! where calls are made again). Beside them, one module for each family of requests, with pure `build_*` and
//! `process_*` functions and thin calls between them. Results are kept per partition, topic or group: an error code
//! in a response is never dropped.
//!
//! Versions are negotiated for each request and connection; [`api`] lists which ones are spoken. Only requests and
//! responses are read here: record batches stay the bytes that they are.

mod access;
mod all_topics;
pub mod api;
mod bounds;
mod buffers;
pub mod cluster;
pub mod connection;
pub mod coordinators;
mod delete_records;
mod dial;
pub mod error;
pub mod fetch;
pub mod groups;
pub mod identity;
pub mod leader_epoch;
pub mod list_offsets;
pub mod log_dirs;
pub mod metadata;
pub mod permissions;
pub mod produce;
pub mod produce_queue;
pub mod producer_id;
mod reassignments;
pub mod retry;
mod rounds;
mod sasl;
pub mod share_groups;
mod streams_groups;
pub mod topics;
pub mod transactions;
mod transport;

pub use cluster::{CONTROL_LANE, Cluster, Leader};
pub use error::{Error, Resource};
pub use metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata};

/// A topic's name and a partition's number.
pub type TopicPartition = (String, i32);
