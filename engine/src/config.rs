//! What a user writes, checked once and used everywhere in its checked form.

pub mod cluster;
