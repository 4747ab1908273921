//! Byte-exact backup and restore of Apache Kafka.

pub mod clock;
pub mod config;
pub mod error;
pub mod format;
pub mod store;
