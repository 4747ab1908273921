//! From a manifest to topics.

mod sender;
