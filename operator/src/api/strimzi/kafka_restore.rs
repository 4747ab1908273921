//! `KafkaRestore`: what of a backup is brought back, and under which names.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::authentication::Authentication;
use super::cluster::StrimziClusterRef;
use super::storage::Storage;
use super::template::Template;
use super::topics::TopicSelection;
use crate::api::condition::Condition;
use crate::api::history::{ActiveRun, Totals};
use crate::api::pod::JobSettings;
use crate::bookkeeping::Bookkeeping;

/// Restores a backup into a Kafka cluster that Strimzi manages. It is done once; its spec cannot change after the run has started.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.strimzi.io",
    version = "v1alpha1",
    kind = "KafkaRestore",
    namespaced,
    status = "KafkaRestoreStatus",
    derive = "PartialEq",
    shortname = "krs",
    shortname = "kr",
    category = "strimzi",
    label("app", "strimzi"),
    label("strimzi.io/crd-install", "true"),
    doc = "Restores a backup into a Kafka cluster that Strimzi manages. It is done once; its spec cannot change after the run has started.",
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.startTime) || self.spec == oldSelf.spec").message("a restore that has started cannot be changed: create another KafkaRestore").reason(Reason::FieldValueForbidden),
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

/// A backup of a `KafkaBackup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// The name of the `KafkaBackup`, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The backup. Left out: the newest complete one; with a point in time, the oldest complete one that covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub backup_id: Option<String>,
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

/// Whether the committed offsets of consumer groups come back too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.restore || !has(self.mapping) || self.mapping.size() == 0").message("mapping needs restore: true"))]
pub struct ConsumerGroups {
    /// Whether they do: of all groups in the backup.
    #[serde(default)]
    pub restore: bool,
    /// Other names for groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub mapping: Vec<GroupMapping>,
}

/// Another name for a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupMapping {
    /// Its name in the backup.
    #[schemars(length(min = 1, max = 255))]
    pub source_group: String,
    /// Its name in the target.
    #[schemars(length(min = 1, max = 255))]
    pub target_group: String,
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRestoreStatus {
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready` or `NotReady`, and `Warning` and `ReconciliationPaused` beside them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// `Pending`, `Running`, `Completed`, `PartiallyFailed` or `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The backup that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// When the run was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<String>,
    /// Percent, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<i64>,
    /// The run while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_run: Option<ActiveRun>,
    /// Records that were restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_records: Option<i64>,
    /// Topics that were restored, by their names in the target; of very many, the first ones.
    #[serde(default)]
    pub restored_topics: Vec<RestoredTopic>,
    /// Consumer groups whose offsets were restored, likewise.
    #[serde(default)]
    pub restored_groups: Vec<String>,
    /// Sums, of which metrics are made.
    #[serde(default)]
    pub totals: Totals,
    /// What the operator remembers of its own doing.
    #[serde(default)]
    pub bookkeeping: Bookkeeping,
}

/// A topic that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoredTopic {
    /// Its name in the target.
    pub name: String,
    /// Records that were restored into it.
    pub records: i64,
}
