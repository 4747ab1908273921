//! Byte-exact backup and restore of Apache Kafka.

pub mod backup;
pub mod breaker;
pub mod clock;
pub mod config;
pub mod describe;
pub mod error;
pub mod format;
pub mod kafka;
pub mod list;
pub mod progress;
pub mod rate_limit;
pub mod report;
pub mod repository;
pub mod rewrite;
pub mod stop;
pub mod store;
