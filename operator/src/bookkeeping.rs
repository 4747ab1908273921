//! What the operator remembers of its own doing, in the status of the resource that it did it for.
//!
//! Whether something was done is told by Jobs while they exist, and by this once they are gone.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the operator remembers of its own doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bookkeeping {
    /// Jobs that still exist and whose result stands in the status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recorded_jobs: Vec<String>,
    /// The generation that the run that is made once was last started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once_generation: Option<i64>,
    /// Whether that run has ended with a backup, so that it is never made again.
    #[serde(default)]
    pub once_done: bool,
    /// The value of the trigger annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trigger: Option<String>,
    /// The retention that the archive was last pruned by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_by: Option<String>,
    /// The run that last tried to prune by new limits: it is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_tried: Option<String>,
}
