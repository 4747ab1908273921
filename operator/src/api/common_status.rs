//! What every status holds, whatever kind it is of.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::condition::Condition;
use crate::api::history::{ActiveRun, Totals};
use crate::bookkeeping::Bookkeeping;

/// What every status holds, whatever kind it is of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommonStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, in Strimzi's way `Ready` or `NotReady`, and `Warning` and `ReconciliationPaused` beside them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The run that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_run: Option<ActiveRun>,
    /// Sums over all runs.
    #[serde(default)]
    pub totals: Totals,
    /// What the operator remembers of its own doing.
    #[serde(default)]
    pub bookkeeping: Bookkeeping,
}
