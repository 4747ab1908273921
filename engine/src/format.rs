//! What is stored, and nothing of how it travels: this module knows neither network nor store.
//!
//! record batch -> frame -> run -> segment -> part -> manifest

pub mod batch;
pub mod codec;
pub mod document;
pub mod frame;
pub mod hole;
pub mod invariants;
pub mod layout;
pub mod manifest;
pub mod run;
pub mod segment;
