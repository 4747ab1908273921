//! A statement in a status.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A statement in a status, in the shape that Strimzi and Kubernetes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about: `Ready`, `NotReady`, `Warning` or `ReconciliationPaused`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in CamelCase, for programs.
    pub reason: String,
    /// For people: what, where, and what to do.
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: String,
}
