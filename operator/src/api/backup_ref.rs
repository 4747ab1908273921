//! Which backup a restore is of.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A backup of a `KafkaBackup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// The name of the `KafkaBackup`, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The backup. Left out: the newest complete one; with a point in time, the oldest complete one that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 170))]
    pub backup_id: Option<String>,
}
