//! What a verification is told.

use serde::{Deserialize, Serialize};

use super::backup::PARALLELISM;
use super::storage::StorageConfig;
use crate::format::layout::{ArchiveName, BackupId};

/// How deep a verification looks. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Manifests and their parts: every offset is answered for once, all sums agree.
    Manifest,
    /// Every segment is there, has its size, and its index is the one that the manifest knows.
    Objects,
    /// Every byte: frames, batches and records.
    #[default]
    Records,
}

/// A verification of one backup or of a whole archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerifyConfig {
    /// The repository.
    pub storage: StorageConfig,
    /// The backup; not together with `archive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// The archive of which every backup is verified; not together with `backup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveName>,
    /// How deep to look; an untested backup is no backup, so the deepest unless told otherwise.
    #[serde(default)]
    pub level: Level,
    /// Segments that are read at once, 1 to 64.
    #[serde(default = "parallelism")]
    pub parallelism: usize,
    /// The most bytes that the records of one batch may take decompressed, up to 1 GiB. Larger batches are named in an error or a
    /// finding.
    #[serde(default = "super::decompressed_batch_bytes_max")]
    pub decompressed_batch_bytes_max: usize,
}

const fn parallelism() -> usize {
    PARALLELISM
}
