//! `KafkaRestore`: what of a backup is brought back, and under which names.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::authentication::Authentication;
use super::cluster::StrimziClusterRef;
use super::storage::Storage;
use super::template::Template;
use super::topics::TopicSelection;
use crate::api::backup_ref::BackupRef;
use crate::api::consumer_groups::ConsumerGroups;
use crate::api::pod::JobSettings;
use crate::api::restore_status::RestoreStatus;

/// Restores a backup into a Kafka cluster that Strimzi manages. It is done once; its spec cannot change after the run has started.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.strimzi.io",
    version = "v1alpha1",
    kind = "KafkaRestore",
    namespaced,
    status = "RestoreStatus",
    derive = "PartialEq",
    shortname = "krs",
    shortname = "kr",
    category = "strimzi",
    label("app", "strimzi"),
    label("strimzi.io/crd-install", "true"),
    doc = "Restores a backup into a Kafka cluster that Strimzi manages. It is done once; its spec cannot change after the run has started.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.startTime) || self.spec == oldSelf.spec").message("a restore that has started cannot be changed: create another KafkaRestore"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.strimziClusterRef.name", description = "The Kafka resource that is written to"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupId", description = "The backup that is restored"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Pending, Running, Completed, PartiallyFailed or Failed"),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progress", description = "Percent"),
    printcolumn(name = "Records", type_ = "integer", json_path = ".status.restoredRecords", description = "Records that were restored"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since the resource was created"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime", description = "When it ended", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.status=="True")].message"#, description = "What the conditions say", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRestoreSpec {
    /// The cluster to write to.
    pub strimzi_cluster_ref: StrimziClusterRef,
    /// How to authenticate. Left out: at a listener that asks for no authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// What to restore.
    pub backup_ref: BackupRef,
    /// Where the backup is. Left out: where the `KafkaBackup` keeps it. With it, no `KafkaBackup` need exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Only what was written up to a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<PointInTime>,
    /// Which topics of the backup. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicSelection>,
    /// Other names for topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub topic_mapping: Vec<TopicMapping>,
    /// Whether the committed offsets of consumer groups come back too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<ConsumerGroups>,
    /// What the container of the run asks for and is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSettings>,
    /// What to add to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointInTime {
    /// RFC 3339, to the millisecond: records with a timestamp at or before it are restored.
    #[schemars(
        length(max = 40),
        regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$")
    )]
    pub timestamp: String,
}

/// Another name for a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicMapping {
    /// Its name in the backup.
    #[schemars(length(min = 1, max = 249))]
    pub source_topic: String,
    /// Its name in the target.
    #[schemars(length(min = 1, max = 249))]
    pub target_topic: String,
}
