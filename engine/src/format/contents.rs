//! What an archive holds, in two numbers.

use serde::{Deserialize, Serialize};

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveContents {
    /// Completed backups; partial and unfinished ones are not counted.
    pub backups: usize,
    /// Bytes of the segments of finished backups, and of all segments that runs of other backups have stored.
    pub bytes: u64,
}
