//! Consumer groups of a restore.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Whether the committed offsets of consumer groups come back too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.restore || !has(self.mapping) || self.mapping.size() == 0").message("mapping needs restore: true"))]
pub struct ConsumerGroups {
    /// Whether they do: of all groups in the backup.
    #[serde(default)]
    pub restore: bool,
    /// Other names for groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub mapping: Vec<GroupMapping>,
}

/// Another name for a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupMapping {
    /// Its name in the backup.
    #[schemars(length(min = 1, max = 255))]
    pub source_group: String,
    /// Its name in the target.
    #[schemars(length(min = 1, max = 255))]
    pub target_group: String,
}
