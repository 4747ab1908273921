//! What resources refer to, from what the watches have seen: no call is made for it.

use kube::core::DynamicObject;
use kube::runtime::reflector::Store;
use serde::de::DeserializeOwned;
use strimzi_discovery::{Kafka, KafkaUser};

use crate::plan::Refusal;

/// What Strimzi knows of the cluster and the user that a resource names.
#[derive(Debug, Clone, Default)]
pub struct ClusterReferences {
    /// Whether the Kubernetes cluster has Strimzi's API at all.
    pub is_strimzi_served: bool,
    /// The `Kafka` resource, if there is one of the name.
    pub kafka: Option<Kafka>,
    /// The `KafkaUser` resource, if one is named and there is one.
    pub user: Option<KafkaUser>,
}

/// Strimzi's resources, as far as the watches have seen them.
#[derive(Clone)]
pub struct StrimziStores {
    /// `Kafka`.
    pub kafkas: Store<DynamicObject>,
    /// `KafkaUser`.
    pub users: Store<DynamicObject>,
}

/// Finds what a resource of this namespace names.
///
/// # Errors
/// When a resource is there and cannot be understood.
pub fn cluster(
    stores: Option<&StrimziStores>,
    namespace: &str,
    kafka: &str,
    user: Option<&str>,
) -> Result<ClusterReferences, Refusal> {
    let Some(StrimziStores { kafkas, users }) = stores else { return Ok(ClusterReferences::default()) };
    Ok(ClusterReferences {
        is_strimzi_served: true,
        kafka: find(kafkas, namespace, kafka, "Kafka")?,
        user: match user {
            Some(user) => find(users, namespace, user, "KafkaUser")?,
            None => None,
        },
    })
}

fn find<T: DeserializeOwned>(
    store: &Store<DynamicObject>,
    namespace: &str,
    name: &str,
    kind: &str,
) -> Result<Option<T>, Refusal> {
    let found = store.find(|object| {
        object.metadata.name.as_deref() == Some(name) && object.metadata.namespace.as_deref() == Some(namespace)
    });
    let Some(object) = found else { return Ok(None) };
    let understood = serde_json::to_value(&*object).and_then(serde_json::from_value);
    understood.map(Some).map_err(|error| Refusal {
        reason: "ReferenceNotUnderstood",
        message: format!("{kind} {name}: {error}"),
        is_waiting: true,
    })
}
