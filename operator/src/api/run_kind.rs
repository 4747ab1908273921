//! Why a run was started.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RunKind {
    /// The resource asks for one run.
    Once,
    /// The trigger annotation.
    Trigger,
    /// The limits of the retention.
    Prune,
    /// The CronJob.
    Scheduled,
}

impl RunKind {
    /// Reads what [`Self::label`] wrote.
    pub fn of(label: &str) -> Option<Self> {
        [Self::Once, Self::Trigger, Self::Prune, Self::Scheduled].into_iter().find(|kind| kind.label() == label)
    }

    /// The value of the label of its Job and pods.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Trigger => "trigger",
            Self::Prune => "prune",
            Self::Scheduled => "scheduled",
        }
    }
}
