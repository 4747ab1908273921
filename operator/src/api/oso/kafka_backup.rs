//! `KafkaBackup`: what of a cluster is backed up, when, where to, and for how long it is kept.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::kafka_cluster::KafkaCluster;
use super::pod_template::PodTemplate;
use super::storage::Storage;
use crate::api::common_status::CommonStatus;
use crate::api::compression::Compression;
use crate::api::history::BackupRecord;
use crate::api::phase::Phase;
use crate::api::pod::JobSettings;

/// Backs up topics and consumer groups of a Kafka cluster: once, or on a schedule.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "kafka.oso.sh",
    version = "v1alpha1",
    kind = "KafkaBackup",
    namespaced,
    status = "KafkaBackupStatus",
    derive = "PartialEq",
    shortname = "kb",
    category = "strimzi",
    doc = "Backs up topics and consumer groups of a Kafka cluster: once, or on a schedule.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule", description = "When it runs"),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Pending, Running, Completed or Failed"
    ),
    printcolumn(
        name = "Last-Backup",
        type_ = "string",
        json_path = ".status.lastBackupId",
        description = "The newest complete backup"
    ),
    printcolumn(
        name = "Last-Success",
        type_ = "date",
        json_path = ".status.lastBackupTime",
        description = "When it was finished"
    ),
    printcolumn(
        name = "Records",
        type_ = "integer",
        json_path = ".status.lastBackupRecords",
        description = "Records in it"
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextScheduledTime",
        description = "When it runs next"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Since the resource was created"
    ),
    printcolumn(
        name = "Progress",
        type_ = "integer",
        json_path = ".status.activeRun.progress.percent",
        description = "Percent of the run that is under way",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "What the Ready condition says",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.checkpoint) || !has(self.checkpoint.intervalSecs) || !has(self.checkpointIntervalSecs) || self.checkpoint.intervalSecs == self.checkpointIntervalSecs")
        .message("checkpoint.intervalSecs and checkpointIntervalSecs are two names of one thing: give one of them"),
    validation = Rule::new("!has(self.timezone) || has(self.schedule)").message("timezone goes with a schedule"),
    validation = Rule::new("!self.suspend || has(self.schedule)").message("suspend goes with a schedule"),
)]
pub struct KafkaBackupSpec {
    /// The cluster to back up.
    pub kafka_cluster: KafkaCluster,
    /// Topics, by name or with `*` and `?`, as in `events-*`. A plain name must exist. Left out: all but the brokers' own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 249)))]
    pub topics: Vec<String>,
    /// Topics to leave out, likewise. They need not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 249)))]
    pub exclude_topics: Vec<String>,
    /// Where the backups are kept.
    pub storage: Storage,
    /// Minute, hour, day of the month, month, day of the week, as in Kubernetes' CronJob. Left out: once, when the resource is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^\s*[^@\s]\S*(\s+\S+){4}\s*$"))]
    pub schedule: Option<String>,
    /// The time zone of `schedule`, by its IANA name. Left out: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("timestamp('2000-01-01T00:00:00Z').getFullYear(self) > 0").message("timezone is an IANA time zone such as Europe/London"))]
    pub timezone: Option<String>,
    /// Whether the schedule starts no run until this is `false` again. One that is triggered by the annotation is run all the same.
    #[serde(default)]
    pub suspend: bool,
    /// Of what producers left uncompressed; the rest is stored as it is. `zstd` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// 1 to 22 of zstd, 1 to 12 of lz4, 0 to 9 of gzip. Left out: the codec's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 22))]
    pub compression_level: Option<i32>,
    /// Whether restores of these backups add a header with each record's offset in the source. The backup itself stays byte-exact.
    #[serde(default)]
    pub include_offset_headers: bool,
    /// A name for the cluster, kept with every backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub source_cluster_id: Option<String>,
    /// How often a run stores where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// Another name of `checkpoint.intervalSecs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub checkpoint_interval_secs: Option<i64>,
    /// Which backups are kept. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What may be read in a second, by the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// When a run pauses because brokers or the store fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// What the container of a run asks for and is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSettings>,
    /// What to add to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// How often a run stores where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Whether it does. Without checkpoints a pod that is started again reads everything again.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Seconds between two checkpoints; 30 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub interval_secs: Option<i64>,
}

const fn yes() -> bool {
    true
}

/// Which backups are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Complete backups to keep. Lowering it removes the others at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub backups: Option<i32>,
}

/// What may be read in a second, by the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Bytes of record batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_per_second: Option<i64>,
    /// Records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub records_per_second: Option<i64>,
}

/// When a run pauses because brokers or the store fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Whether it does.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Failures in a row; 5 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub failure_threshold: Option<i64>,
    /// Seconds of the pause; 60 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub reset_timeout_secs: Option<i64>,
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBackupStatus {
    /// What every status holds.
    #[serde(flatten)]
    pub common: CommonStatus,
    /// `Pending`, `Running`, `Completed` or `Failed`.
    #[serde(default)]
    pub phase: Phase,
    /// The newest complete backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_id: Option<String>,
    /// When it was finished, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<String>,
    /// Bytes of its segments in the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_size: Option<i64>,
    /// Records in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_records: Option<i64>,
    /// The moment that it shows: up to it a restore to a point in time is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_to: Option<String>,
    /// When a run last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<String>,
    /// When it runs next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_scheduled_time: Option<String>,
    /// Bytes of all backups together, in the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<i64>,
    /// The runs that ended last, the newest first.
    #[serde(default)]
    pub backup_history: Vec<BackupRecord>,
}
