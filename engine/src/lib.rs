//! Byte-exact backup and restore of Apache Kafka.

pub mod breaker;
pub mod clock;
pub mod config;
pub mod error;
pub mod format;
pub mod kafka;
