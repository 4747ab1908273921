//! Which backup is described.

use serde::{Deserialize, Serialize};

use super::storage::StorageConfig;
use crate::format::layout::BackupId;

/// The description of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DescribeConfig {
    /// The repository.
    pub storage: StorageConfig,
    /// The backup.
    pub backup: BackupId,
}
