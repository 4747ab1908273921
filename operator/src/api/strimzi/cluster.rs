//! Which Kafka cluster is meant.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A `Kafka` resource of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrimziClusterRef {
    /// The name of the `Kafka` resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The name of the listener to connect to. Left out: the nearest one that fits the authentication, one with TLS first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 25))]
    pub listener: Option<String>,
}
