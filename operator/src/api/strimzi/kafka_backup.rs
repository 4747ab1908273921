//! `KafkaBackup`: what of a cluster is backed up, when, where to, and for how long it is kept.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::authentication::Authentication;
use super::cluster::StrimziClusterRef;
use super::storage::Storage;
use super::template::Template;
use super::topics::TopicSelection;
use crate::api::common_status::CommonStatus;
use crate::api::compression::Compression;
use crate::api::history::BackupRecord;
use crate::api::pod::JobSettings;

/// Backs up topics and consumer groups of a Kafka cluster that Strimzi manages: once, or on a schedule.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "backup.strimzi.io",
    version = "v1alpha1",
    kind = "KafkaBackup",
    namespaced,
    status = "KafkaBackupStatus",
    derive = "PartialEq",
    shortname = "kbk",
    shortname = "kb",
    category = "strimzi",
    label("app", "strimzi"),
    label("strimzi.io/crd-install", "true"),
    doc = "Backs up topics and consumer groups of a Kafka cluster that Strimzi manages: once, or on a schedule.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.strimziClusterRef.name",
        description = "The Kafka resource"
    ),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule.cron", description = "When it runs"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether all is as it should be"
    ),
    printcolumn(
        name = "Last-Success",
        type_ = "date",
        json_path = ".status.lastSuccessTime",
        description = "When the newest complete backup was finished"
    ),
    printcolumn(
        name = "Recoverable-To",
        type_ = "string",
        json_path = ".status.recoverableTo",
        description = "The moment that the newest complete backup shows"
    ),
    printcolumn(
        name = "Size",
        type_ = "string",
        json_path = ".status.size",
        description = "All backups together, in the storage"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Since the resource was created"
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextScheduledTime",
        description = "When it runs next",
        priority = 1
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
        json_path = r#".status.conditions[?(@.status=="True")].message"#,
        description = "What the conditions say",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBackupSpec {
    /// The cluster to back up.
    pub strimzi_cluster_ref: StrimziClusterRef,
    /// How to authenticate. Left out: at a listener that asks for no authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Which topics. Left out: all but the brokers' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<TopicSelection>,
    /// Where the backups are kept.
    pub storage: Storage,
    /// How the runs work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSettings>,
    /// When to run. Left out: once, when the resource is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Which backups are kept. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What the container of a run asks for and is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Settings of the Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSettings>,
    /// What to add to the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// How the runs work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.compressionLevel) || (has(self.compression) && self.compression in ['zstd', 'lz4', 'gzip']) || !has(self.compression)")
        .message("compressionLevel goes with zstd, lz4 or gzip"),
)]
pub struct BackupSettings {
    /// Of what producers left uncompressed; the rest is stored as it is. `zstd` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// 1 to 22 of zstd, 1 to 12 of lz4, 0 to 9 of gzip. Left out: the codec's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 22))]
    pub compression_level: Option<i32>,
    /// Workers, 1 to 64; 4 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub parallelism: Option<i32>,
}

/// When to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Minute, hour, day of the month, month, day of the week, as in Kubernetes' CronJob.
    #[schemars(length(max = 128), regex(pattern = r"^\s*[^@\s]\S*(\s+\S+){4}\s*$"))]
    pub cron: String,
    /// The time zone of `cron`, by its IANA name. Left out: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("timestamp('2000-01-01T00:00:00Z').getFullYear(self) > 0").message("timezone is an IANA time zone such as Europe/London"))]
    pub timezone: Option<String>,
    /// Whether the schedule starts no run until this is `false` again. One that is triggered by the annotation is run all the same.
    #[serde(default)]
    pub suspend: bool,
}

/// Which backups are kept. A backup that breaks either limit goes, but never the newest complete one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.maxBackups) || has(self.maxAge)").message("give maxBackups, maxAge or both"))]
pub struct Retention {
    /// Complete backups to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_backups: Option<i32>,
    /// How old backups may be: a whole number and one of `s`, `m`, `h`, `d`, `w`, as in `90d`, `720h`, `4w`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[0-9]+[smhdw]$"))]
    pub max_age: Option<String>,
    /// Whether every run removes what is not to be kept once its own backup is complete. Else that happens only when these settings change.
    #[serde(default = "yes")]
    pub prune_on_schedule: bool,
}

const fn yes() -> bool {
    true
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBackupStatus {
    /// What every status holds.
    #[serde(flatten)]
    pub common: CommonStatus,
    /// When it runs next, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_scheduled_time: Option<String>,
    /// The newest complete backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<LastBackup>,
    /// When the newest complete backup was finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_time: Option<String>,
    /// When a run last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<String>,
    /// The moment that the newest complete backup shows: up to it a restore to a point in time is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_to: Option<String>,
    /// All backups together, in the storage: for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The same in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<i64>,
    /// The runs that ended last, the newest first.
    #[serde(default)]
    pub backup_history: Vec<BackupRecord>,
}

/// The newest complete backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastBackup {
    /// Its id, for `backupRef.backupId` of a restore.
    pub id: String,
    /// Records in it.
    pub records: i64,
    /// Bytes of its segments in the storage.
    pub size: i64,
}
