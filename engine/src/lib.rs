//! Byte-exact backup and restore of Apache Kafka.

pub mod backup;
pub mod clock;
pub mod error;
pub mod format;
pub mod progress;
pub mod rate_limit;
pub mod rewrite;
pub mod stop;
