//! What is stored, and nothing of how it travels: this module knows neither network nor store.
//!
//! record batch -> frame -> run -> segment -> part -> manifest
//!
//! Without the feature `run` only names, keys and numbers are here: what a configuration and a termination message need.

#[cfg(feature = "run")]
#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(feature = "run")]
pub mod batch;
#[cfg(feature = "run")]
pub mod builder;
#[cfg(feature = "run")]
pub mod checksum;
#[cfg(feature = "run")]
pub mod codec;
pub mod compression;
pub mod contents;
#[cfg(feature = "run")]
pub mod document;
#[cfg(feature = "run")]
pub mod facts;
#[cfg(feature = "run")]
pub mod frame;
#[cfg(feature = "run")]
mod header;
#[cfg(feature = "run")]
pub mod hole;
#[cfg(feature = "run")]
pub mod invariants;
pub mod layout;
#[cfg(feature = "run")]
pub mod manifest;
#[cfg(feature = "run")]
pub mod record;
#[cfg(feature = "run")]
pub mod rope;
#[cfg(feature = "run")]
pub mod run;
#[cfg(feature = "run")]
pub mod segment;

#[cfg(feature = "run")]
pub(crate) use header::{Header, stamp_crc, stamp_producer};
