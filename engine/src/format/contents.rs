//! What an archive holds, in two numbers.

use serde::{Deserialize, Serialize};

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveContents {
    /// Completed backups; partial and unfinished ones are not counted.
    pub backups: usize,
    /// Bytes of all segments that are stored, those that no backup names any more among them.
    pub bytes: u64,
}
