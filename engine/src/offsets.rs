//! Committed offsets: from where a group stood in the source to where it stands in the target.
//!
//! Records that are restored stand close together in the target, wherever holes were between them in the source. The
//! [`map`] of a partition says where each of them went; [`groups`] moves the groups' positions over it.

pub mod groups;
pub mod map;
