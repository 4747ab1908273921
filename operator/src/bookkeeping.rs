//! What the operator remembers of its own doing, in the status of the resource that it did it for.
//!
//! Whether something was done is told by Jobs while they exist, and by this once they are gone.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::build::short_hash;

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
    /// Hashes of the values of the trigger annotation that were acted on, the last one last; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<String>,
    /// The retention that the archive was last pruned by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned_by: Option<String>,
    /// The run that last tried to prune by new limits: it is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_tried: Option<String>,
}

/// Values of the trigger annotation that are remembered.
const TRIGGERS_MAX: usize = 20;

impl Bookkeeping {
    /// Whether this value was acted on.
    pub fn has_triggered(&self, value: &str) -> bool {
        self.triggers.contains(&short_hash(value))
    }

    /// Whether no other value was acted on since.
    pub fn is_last_trigger(&self, value: &str) -> bool {
        self.triggers.last() == Some(&short_hash(value))
    }

    /// Remembers that this value was acted on last.
    pub fn add_trigger(&mut self, value: &str) {
        self.forget_trigger(value);
        self.triggers.push(short_hash(value));
        let excess = self.triggers.len().saturating_sub(TRIGGERS_MAX);
        self.triggers.drain(..excess);
    }

    /// Forgets that this value was acted on.
    pub fn forget_trigger(&mut self, value: &str) {
        self.triggers.retain(|known| *known != short_hash(value));
    }
}
