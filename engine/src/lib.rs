//! Byte-exact backup and restore of Apache Kafka.

pub mod clock;
pub mod error;
pub mod format;
pub mod rewrite;
