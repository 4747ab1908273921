//! Where backups can be kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// Amazon S3, or any store that speaks S3 and honours conditional writes.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// A PersistentVolumeClaim.
    Pvc,
}
