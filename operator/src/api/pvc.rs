//! A volume as a storage, alike in both groups.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A PersistentVolumeClaim of the resource's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PvcStorage {
    /// The claim's name. Runs on several nodes at a time need one that is ReadWriteMany.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// A folder of the volume, by default its root; without a leading slash and without `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')").message("subPath is a folder inside the volume: no leading slash, no .."))]
    pub sub_path: Option<String>,
}
