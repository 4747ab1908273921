//! What is stored, and nothing of how it travels: this module knows neither network nor store.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod batch;
pub mod builder;
pub mod codec;
mod header;
pub mod record;

pub(crate) use header::{Header, stamp_crc, stamp_producer};
