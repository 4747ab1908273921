//! What has run and what is running, as the statuses of both groups keep it.
//!
//! Metrics are made of these alone, so that an operator that was started again tells the same.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::run_kind::RunKind;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything that was asked for.
    Success,
    /// Less than was asked for; the message names what is missing.
    Partial,
    /// Nothing that could be used.
    Failed,
}

/// A backup run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRecord {
    /// The backup; absent when the run failed before it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// The Job.
    pub job: String,
    /// When the Job was started, RFC 3339.
    pub start_time: String,
    /// When it ended.
    pub completion_time: String,
    /// The moment that the backup shows: no record after it is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_time: Option<String>,
    /// Bytes of its segments in the storage.
    pub size: i64,
    /// Records in it.
    pub records: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong or is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A run that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRun {
    /// The Job.
    pub job: String,
    /// Why it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RunKind>,
    /// When the Job was started, RFC 3339.
    pub start_time: String,
    /// How far it is; absent until its pod has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a run is, as its pod told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// 0 to 100; absent until the run knows how much there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
    /// Records copied.
    pub records: i64,
    /// Bytes of record batches copied.
    pub bytes: i64,
    /// Bytes a second, since the pod began.
    pub bytes_per_second: i64,
    /// Seconds that are left if it goes on like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
}

/// Sums over all runs of a resource, which only ever grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Runs that ended with everything that was asked for.
    #[serde(default)]
    pub succeeded: i64,
    /// Runs that ended with less.
    #[serde(default)]
    pub partial: i64,
    /// Runs that failed.
    #[serde(default)]
    pub failed: i64,
    /// Records of all runs.
    #[serde(default)]
    pub records: i64,
    /// Bytes of record batches of all runs.
    #[serde(default)]
    pub bytes: i64,
    /// Seconds of all runs that ended with a result.
    #[serde(default)]
    pub seconds: i64,
    /// Of how many such runs took at most 10, 30, 60, 300, 900, 3600, 14400 and 86400 seconds, each counted once, and at the end those
    /// that took longer.
    #[serde(default)]
    pub duration_buckets: Vec<i64>,
}
