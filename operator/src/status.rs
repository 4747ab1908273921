//! What is known of a resource, in its own group's words.

mod conditions;
mod oso;
mod strimzi;

pub use self::conditions::{PAUSED, Style, condition, conditions};
