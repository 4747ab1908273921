//! How the pods and Jobs of a resource differ from those of any other.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, HostAlias, LocalObjectReference, PodDNSConfig, PodSecurityContext, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};

use super::Refusal;
use crate::api::pod::JobSettings;

/// Pods that may fail before a Job has.
const BACKOFF_LIMIT: i32 = 3;

/// What a resource says of its pods. What is absent keeps what [`crate::build`] sets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodPlan {
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Secrets to pull the image with.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Replaces the pod's security context.
    pub security_context: Option<PodSecurityContext>,
    /// Seconds to end in.
    pub termination_grace_period_seconds: Option<i64>,
    /// Where pods may run.
    pub affinity: Option<Affinity>,
    /// Taints that are tolerated.
    pub tolerations: Vec<Toleration>,
    /// How pods are spread.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// The priority class.
    pub priority_class_name: Option<String>,
    /// The scheduler.
    pub scheduler_name: Option<String>,
    /// Lines for the hosts file.
    pub host_aliases: Vec<HostAlias>,
    /// How names are resolved.
    pub dns_policy: Option<String>,
    /// Further settings of name resolution.
    pub dns_config: Option<PodDNSConfig>,
    /// Whether Services become environment variables.
    pub enable_service_links: Option<bool>,
    /// The size of the folder for temporary files.
    pub tmp_dir_size_limit: Option<String>,
    /// Volumes to add.
    pub volumes: Vec<Volume>,
    /// Whether pods use the node's user namespace.
    pub host_users: Option<bool>,
    /// The service account.
    pub service_account_name: Option<String>,
    /// Environment variables to add.
    pub env: Vec<EnvVar>,
    /// Replaces the container's security context.
    pub container_security_context: Option<SecurityContext>,
    /// Mounts to add.
    pub volume_mounts: Vec<VolumeMount>,
    /// What the container asks for and is limited to.
    pub resources: Option<ResourceRequirements>,
}

impl PodPlan {
    /// Refuses what would hand out rights of the node, and what the operator sets itself.
    ///
    /// # Errors
    /// By the name of the field.
    pub fn check(self) -> Result<Self, Refusal> {
        if let Some(context) = &self.container_security_context {
            if context.privileged == Some(true) {
                return Err(Refusal::invalid(
                    "securityContext.privileged cannot be true: a run needs no right of the node",
                ));
            }
            if context.allow_privilege_escalation == Some(true) {
                return Err(Refusal::invalid(
                    "securityContext.allowPrivilegeEscalation cannot be true: a run needs none",
                ));
            }
        }
        if let Some(label) = self.labels.keys().find(|label| crate::build::labels::is_ours(label)) {
            return Err(Refusal::invalid(format!(
                "label {label:?} of the pod template is set by the operator: choose another"
            )));
        }
        if let Some(mount) = self.volume_mounts.iter().find(|mount| is_ours(&mount.mount_path)) {
            return Err(Refusal::invalid(format!(
                "volumeMounts: {} is used by the operator: choose another path",
                mount.mount_path
            )));
        }
        Ok(self)
    }
}

fn is_ours(path: &str) -> bool {
    [super::CONFIG_FOLDER, super::SECRETS_FOLDER, super::CLAIM_FOLDER, "/tmp"]
        .iter()
        .any(|ours| path == *ours || path.strip_prefix(ours).is_some_and(|rest| rest.starts_with('/')))
}

/// What a resource says of its Jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPlan {
    /// Pods that may fail before the Job has.
    pub backoff_limit: i32,
    /// Seconds after which a run is ended.
    pub active_deadline_seconds: Option<i64>,
    /// Seconds after which a Job that has ended is deleted, once its result stands in the status.
    pub ttl_seconds_after_finished: Option<i32>,
}

impl From<Option<JobSettings>> for JobPlan {
    fn from(settings: Option<JobSettings>) -> Self {
        let JobSettings { backoff_limit, active_deadline_seconds, ttl_seconds_after_finished } =
            settings.unwrap_or_default();
        Self {
            backoff_limit: backoff_limit.unwrap_or(BACKOFF_LIMIT),
            active_deadline_seconds,
            ttl_seconds_after_finished,
        }
    }
}
