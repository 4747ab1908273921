//! What is stored, and nothing of how it travels: this module knows neither network nor store.

pub mod batch;
