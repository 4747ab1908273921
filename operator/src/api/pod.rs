//! Settings of pods and Jobs that both groups have.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Settings of the Jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobSettings {
    /// How many pods may fail before the Job has; 3 when left out. A pod that is started again goes on at the last checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub backoff_limit: Option<i32>,
    /// Seconds after which a run is ended, whatever it does; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after which a Job that has ended is deleted; counted once its result stands in the status. Left out: the schedule's last five of either outcome stay, and the last five of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}
