//! The configuration of a run. There is no secret in it: secrets are paths of mounted files.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use super::{Blueprint, labels};

/// The file that the engine reads; YAML is a superset of the JSON that it holds.
pub const CONFIG_FILE: &str = "run.json";

/// The ConfigMap of this name, which goes with its owner.
pub fn config_map(blueprint: Blueprint<'_>, name: &str, owner: OwnerReference) -> ConfigMap {
    let Blueprint { owner: resource, plan, installation: _ } = blueprint;
    let config =
        serde_json::to_string_pretty(&plan.run).expect("a configuration has string keys and finite numbers only");
    let mut data = plan.files.clone();
    data.insert(CONFIG_FILE.to_owned(), config);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(resource.namespace.clone()),
            labels: Some(labels::of(resource)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}
