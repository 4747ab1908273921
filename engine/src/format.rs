//! What is stored, and nothing of how it travels: this module knows neither network nor store.
//!
//! record batch -> frame -> run -> segment -> part -> manifest

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod batch;
pub mod builder;
pub mod checksum;
pub mod codec;
pub mod contents;
pub mod document;
pub mod frame;
mod header;
pub mod hole;
pub mod invariants;
pub mod layout;
pub mod manifest;
pub mod record;
pub mod rope;
pub mod run;
pub mod segment;

pub(crate) use header::{Header, stamp_crc, stamp_producer};
