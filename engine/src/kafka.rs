//! The Kafka client: from bootstrap servers to typed answers.

pub mod api;
pub mod connection;
pub mod error;
pub mod retry;
mod sasl;
mod transport;

pub use error::{Error, Resource};
