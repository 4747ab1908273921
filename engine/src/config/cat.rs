//! Which records of a backup are shown.

use serde::{Deserialize, Serialize};

use super::storage::StorageConfig;
use crate::format::layout::BackupId;

/// Records of one topic of a backup, as JSON lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatConfig {
    /// The repository.
    pub storage: StorageConfig,
    /// The backup.
    pub backup: BackupId,
    /// The topic, by its whole name.
    pub topic: String,
    /// The partition; all of them, one after the other, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The first offset to show, in each partition; at least 0.
    #[serde(default)]
    pub from_offset: i64,
    /// How many records to show in all; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The most bytes that the records of one batch may take decompressed, up to 1 GiB. Larger batches are named in an error or a
    /// finding.
    #[serde(default = "super::decompressed_batch_bytes_max")]
    pub decompressed_batch_bytes_max: usize,
}
