//! `KafkaRestore`: what of a backup is brought back, and under which names.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kafka_cluster::KafkaCluster;
use super::pod_template::PodTemplate;
use super::storage::Storage;
use crate::api::backup_ref::BackupRef;
use crate::api::consumer_groups::ConsumerGroups;
use crate::api::pod::JobSettings;
use crate::api::restore_status::RestoreStatus;

/// Restores a backup into a Kafka cluster. It is done once; its spec cannot change after the run has started.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kafka.oso.sh",
    version = "v1alpha1",
    kind = "KafkaRestore",
    namespaced,
    status = "KafkaRestoreStatus",
    derive = "PartialEq",
    shortname = "kr",
    category = "strimzi",
    doc = "Restores a backup into a Kafka cluster. It is done once; its spec cannot change after the run has started.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.startTime) || self.spec == oldSelf.spec").message("a restore that has started cannot be changed: create another KafkaRestore"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupId", description = "The backup that is restored"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Pending, Running, Completed, PartiallyFailed or Failed"),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progress", description = "Percent"),
    printcolumn(name = "Records", type_ = "integer", json_path = ".status.restoredRecords", description = "Records that were restored"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Since the resource was created"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime", description = "When it ended", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, description = "What the Ready condition says", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.backupId) || has(self.backupRef)").message("give backupId or backupRef"),
    validation = Rule::new("!has(self.backupId) || !has(self.backupRef) || !has(self.backupRef.backupId) || self.backupId == self.backupRef.backupId")
        .message("backupId and backupRef.backupId are two names of one thing: give one of them"),
)]
pub struct KafkaRestoreSpec {
    /// The backup to restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 170))]
    pub backup_id: Option<String>,
    /// The `KafkaBackup` whose backup is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<BackupRef>,
    /// The cluster to write to. Left out, with `kafkaCluster` too: the cluster of the `KafkaBackup` that made the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cluster: Option<KafkaCluster>,
    /// Another name of `targetCluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_cluster: Option<KafkaCluster>,
    /// Where the backup is. Left out: where the `KafkaBackup` keeps it. With it, no `KafkaBackup` need exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Topics of the backup, by name or with `*` and `?`. Left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 249)))]
    pub topics: Vec<String>,
    /// Other names for topics: from the name in the backup to the name in the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topic_mapping: BTreeMap<String, String>,
    /// Other numbers for partitions, by the topic's name in the backup: from the number in the backup to the number in the target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_mapping: BTreeMap<String, BTreeMap<String, i32>>,
    /// Only what was written up to a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pitr: Option<Pitr>,
    /// Whether every record gets a header with its offset in the source. Left out: as the backup says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_original_offset_header: Option<bool>,
    /// Whether the committed offsets of consumer groups come back too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<ConsumerGroups>,
    /// Moves consumer groups after the restore. Not run by this release: a resource that enables it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_reset: Option<OffsetReset>,
    /// Keeps the groups' offsets from before the restore. Not run by this release: a resource that enables it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// What the container of the run asks for and is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSettings>,
    /// What to add to the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// Only what was written up to a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.timestamp), has(self.timestampMillis), has(self.endTime)].filter(given, given).size() <= 1")
        .message("timestamp, timestampMillis and endTime are names of one thing: give one of them"),
    validation = Rule::new("(has(self.enabled) && !self.enabled) || has(self.timestamp) || has(self.timestampMillis) || has(self.endTime) || has(self.startTime)")
        .message("give timestamp, timestampMillis or endTime"),
)]
pub struct Pitr {
    /// Whether the times below hold.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// RFC 3339, to the millisecond: records with a timestamp at or before it are restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 40),
        regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$")
    )]
    pub timestamp: Option<String>,
    /// The same in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub timestamp_millis: Option<i64>,
    /// Another name of `timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 40),
        regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$")
    )]
    pub end_time: Option<String>,
    /// Only records with a timestamp at or after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 40),
        regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$")
    )]
    pub start_time: Option<String>,
}

const fn yes() -> bool {
    true
}

/// Where consumer groups are moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OffsetResetStrategy {
    /// The beginning.
    Earliest,
    /// The end.
    Latest,
    /// The first record at or after a moment.
    Timestamp,
    /// An offset.
    Offset,
    /// Where they stood in the source.
    HeaderBased,
}

/// Moves consumer groups after the restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffsetReset {
    /// Whether it is done.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where the groups are moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<OffsetResetStrategy>,
    /// The name of the source, for `headerBased`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster: Option<String>,
    /// The groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumer_groups: Vec<String>,
    /// The moment, for `timestamp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// Keeps the groups' offsets from before the restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Whether they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Under which name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Another name of `enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_before_restore: Option<bool>,
    /// Whether they are put back when the restore fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_rollback_on_failure: Option<bool>,
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRestoreStatus {
    /// What became of the restore.
    #[serde(flatten)]
    pub restore: RestoreStatus,
    /// What became of `offsetReset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_reset_status: Option<OffsetResetStatus>,
    /// Under which name the offsets from before the restore are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_snapshot_id: Option<String>,
}

/// What became of `offsetReset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OffsetResetStatus {
    /// `Pending`, `Completed` or `Failed`.
    pub phase: String,
    /// The groups that were moved.
    #[serde(default)]
    pub groups_reset: Vec<String>,
}
