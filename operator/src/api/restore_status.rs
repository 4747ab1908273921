//! What became of a restore, in the words that both groups share.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::common_status::CommonStatus;
use crate::api::phase::Phase;

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// What every status holds.
    #[serde(flatten)]
    pub common: CommonStatus,
    /// How far it is.
    #[serde(default)]
    pub phase: Phase,
    /// The backup that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// When the run was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<String>,
    /// Percent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<i64>,
    /// Records that were restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_records: Option<i64>,
    /// Topics that were restored, by their names in the target; of very many, the first ones.
    #[serde(default)]
    pub restored_topics: Vec<RestoredTopic>,
    /// Consumer groups whose offsets were restored, likewise.
    #[serde(default)]
    pub restored_groups: Vec<String>,
}

/// A topic that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredTopic {
    /// Its name in the target.
    pub name: String,
    /// Records that were restored into it.
    pub records: i64,
}
