//! Where a position in the source stands in the target.

pub mod groups;
pub mod map;
pub mod positions;
