//! From topics to a manifest.

pub mod committed;
pub mod queue;
pub mod select;
