//! The Secrets that Strimzi writes, with the labels by which its operators find them again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::strimzi::Release;

/// The labels of what belongs to a cluster.
pub(super) fn labels(cluster: &str, name: &str, component: &str) -> Value {
    json!({
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/managed-by": "strimzi-cluster-operator",
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/part-of": format!("strimzi-{cluster}"),
        "strimzi.io/cluster": cluster,
        "strimzi.io/component-type": component,
        "strimzi.io/kind": "Kafka",
        "strimzi.io/name": name,
    })
}

/// The certificates of a CA.
pub(super) struct Authorities<'a> {
    /// The Secret's name.
    pub(super) name: &'a str,
    /// How often the CA was replaced.
    pub(super) generation: u32,
    /// The Secret's keys, and a PEM certificate for each.
    pub(super) data: &'a [(String, String)],
}

/// The Secret with the certificates of a CA.
pub(super) fn of_authority(
    namespace: &str,
    cluster: &str,
    release: Release,
    owner_uid: &str,
    authorities: &Authorities<'_>,
) -> Value {
    let Authorities { name, generation, data } = authorities;
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels(cluster, "strimzi", "certificate-authority"),
            "annotations": { "strimzi.io/ca-cert-generation": generation.to_string() },
            "ownerReferences": [owner(release, "Kafka", cluster, owner_uid)],
        },
        "data": encoded(data.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
    })
}

/// The Secret with the credentials of a user.
pub(super) fn of_user(
    namespace: &str,
    cluster: &str,
    user: &str,
    release: Release,
    owner_uid: &str,
    data: &[(&str, String)],
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": user,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/instance": user,
                "app.kubernetes.io/managed-by": "strimzi-user-operator",
                "app.kubernetes.io/name": "strimzi-user-operator",
                "app.kubernetes.io/part-of": format!("strimzi-{user}"),
                "strimzi.io/cluster": cluster,
                "strimzi.io/kind": "KafkaUser",
            },
            "ownerReferences": [owner(release, "KafkaUser", user, owner_uid)],
        },
        "data": encoded(data.iter().map(|(key, value)| (*key, value.as_str()))),
    })
}

/// The keys under which a Secret holds the certificates of a CA, of which the last one is the current: the ones before it
/// are named by the end of their time, which here only has to differ.
pub(super) fn keys_of_authorities(certificates: &[String]) -> Vec<(String, String)> {
    let last = certificates.len() - 1;
    let key = |index: usize| match index {
        index if index == last => "ca.crt".to_owned(),
        index => format!("ca-{}-10-02T11-00-31Z.crt", 2027 + index),
    };
    certificates.iter().enumerate().map(|(index, certificate)| (key(index), certificate.clone())).collect()
}

fn owner(release: Release, kind: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": release.api_version(), "kind": kind, "name": name, "uid": uid,
        "controller": false, "blockOwnerDeletion": false,
    })
}

fn encoded<'a>(data: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(data.map(|(key, value)| (key.to_owned(), json!(STANDARD.encode(value)))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_authority_is_ca_crt_and_the_ones_before_keep_a_dated_key() {
        let keys = keys_of_authorities(&["first", "second", "third"].map(str::to_owned));
        let expected =
            [("ca-2027-10-02T11-00-31Z.crt", "first"), ("ca-2028-10-02T11-00-31Z.crt", "second"), ("ca.crt", "third")];
        assert_eq!(keys, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
