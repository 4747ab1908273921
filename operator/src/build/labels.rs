//! Labels: Kubernetes' recommended ones, Strimzi's where the cluster is Strimzi's, and those by which the operator finds its own.

use std::collections::BTreeMap;

use super::run::short_hash;
use crate::owner::{Kind, Owner};

/// The value of [`MANAGED_BY`], and the operator's name as a field manager.
pub const OPERATOR: &str = "strimzi-backup-operator";
/// Who made an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// What part of the whole it is.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The uid of the resource that an object was made for.
pub const RESOURCE_UID: &str = "backup.strimzi.io/resource-uid";
/// Why a run was started.
pub const RUN: &str = "backup.strimzi.io/run";
/// The annotation with the id of the backup that a Job makes.
pub const BACKUP_ID: &str = "backup.strimzi.io/backup-id";
/// The annotation with the value of the trigger annotation that a Job was started for.
pub const TRIGGER: &str = "backup.strimzi.io/trigger";
/// The annotation with the limits that a Job prunes by.
pub const LIMITS: &str = "backup.strimzi.io/retention";
/// The annotation with the generation that a Job was started for.
pub const GENERATION: &str = "backup.strimzi.io/generation";
/// The annotation of a CronJob with a hash of it and of the configuration that was applied with it.
pub const CONFIG: &str = "backup.strimzi.io/config-hash";
/// The annotation of a CronJob that is suspended only as long as another run than its own is under way.
pub const HELD: &str = "backup.strimzi.io/held";

/// The longest value of a label.
const VALUE_MAX: usize = 63;

/// The labels of everything that is made for a resource.
pub fn of(owner: &Owner) -> BTreeMap<String, String> {
    let name = value(&owner.name);
    let mut labels: BTreeMap<String, String> = [
        ("app.kubernetes.io/name", "kafka-backup".to_owned()),
        ("app.kubernetes.io/instance", name.clone()),
        ("app.kubernetes.io/part-of", value(&format!("strimzi-{}", owner.cluster.as_ref().unwrap_or(&owner.name)))),
        (MANAGED_BY, OPERATOR.to_owned()),
        (COMPONENT, "job".to_owned()),
        (RESOURCE_UID, owner.uid.clone()),
        ("strimzi.io/kind", owner.kind.as_str().to_owned()),
        ("strimzi.io/name", name),
        (
            "strimzi.io/component-type",
            match owner.kind {
                Kind::Backup => "kafka-backup",
                Kind::Restore => "kafka-restore",
            }
            .to_owned(),
        ),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(cluster) = &owner.cluster {
        labels.insert("strimzi.io/cluster".to_owned(), value(cluster));
    }
    labels
}

/// Whether the operator sets the label of this key itself.
pub fn is_ours(key: &str) -> bool {
    let ours =
        ["strimzi.io/cluster", "strimzi.io/kind", "strimzi.io/name", "strimzi.io/component-type", RESOURCE_UID, RUN];
    key.starts_with("app.kubernetes.io/") || key.starts_with("batch.kubernetes.io/") || ours.contains(&key)
}

/// A name as the value of a label: a long one is cut, and told from others by a hash.
fn value(name: &str) -> String {
    if name.len() <= VALUE_MAX {
        return name.to_owned();
    }
    let start: String = name.chars().take(VALUE_MAX - 9).collect();
    format!("{}-{}", start.trim_end_matches(['-', '.']), short_hash(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests_owner as owner;

    #[test]
    fn a_cluster_of_strimzi_s_has_strimzi_s_labels() {
        let labels = of(&owner());
        assert_eq!(labels["strimzi.io/cluster"], "my-cluster");
        assert_eq!(labels["strimzi.io/kind"], "KafkaBackup");
        assert_eq!(labels["app.kubernetes.io/part-of"], "strimzi-my-cluster");
        assert!(!of(&Owner { cluster: None, ..owner() }).contains_key("strimzi.io/cluster"));
    }

    #[test]
    fn every_value_is_one_that_kubernetes_takes() {
        let labels = of(&Owner { name: format!("{}.{}", "a".repeat(53), "b".repeat(100)), ..owner() });
        for (key, value) in labels {
            assert!(
                value.len() <= VALUE_MAX && value.ends_with(|end: char| end.is_ascii_alphanumeric()),
                "{key}: {value}"
            );
        }
    }
}
