//! What a listing is told.

use serde::{Deserialize, Serialize};

use super::storage::StorageConfig;
use crate::format::layout::ArchiveName;

/// A listing of a repository's archives, or of the backups of one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListConfig {
    /// The repository.
    pub storage: StorageConfig,
    /// The archive whose backups are listed; all archives when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveName>,
}
