//! How the pods and Jobs of a resource differ from those of any other.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, HostAlias, LocalObjectReference, PodDNSConfig, PodSecurityContext, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};

use super::{Refusal, connection, storage};
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

/// Where nobody else may put files: what the operator mounts, the programs of the image, and what is the kernel's.
const RESERVED: [&str; 10] = [
    super::CONFIG_FOLDER,
    super::SECRETS_FOLDER,
    super::CLAIM_FOLDER,
    "/tmp",
    "/usr",
    "/lib",
    "/lib64",
    "/dev",
    "/proc",
    "/sys",
];
/// Volumes that the operator defines.
const VOLUMES: [&str; 7] =
    ["config", "tmp", connection::CLUSTER_CA, connection::USER, connection::SASL, storage::CREDENTIALS, storage::CLAIM];
const CONTAINER: &str = "spec.template.container";
const POD: &str = "spec.template.pod";

impl PodPlan {
    /// Refuses what would hand out rights of the node or another program, what the operator sets itself, and what is given twice: a list
    /// whose entries have names is refused by Kubernetes then, with words that name no field. `labels` is what the spec calls the labels;
    /// everything else is in one group only.
    ///
    /// # Errors
    /// By the name of the field.
    pub fn check(self, labels: &str) -> Result<Self, Refusal> {
        if let Some(context) = &self.container_security_context {
            let adds = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
            for (field, is_given) in [
                ("privileged", context.privileged == Some(true)),
                ("allowPrivilegeEscalation", context.allow_privilege_escalation == Some(true)),
                ("capabilities.add", adds.is_some_and(|adds| !adds.is_empty())),
            ] {
                if is_given {
                    let message = format!("{CONTAINER}.securityContext.{field}: a run needs no right of the node");
                    return Err(Refusal::invalid(message));
                }
            }
        }
        if let Some(label) = self.labels.keys().find(|label| crate::build::labels::is_ours(label)) {
            return Err(Refusal::invalid(format!("{labels}: {label:?} is set by the operator: choose another")));
        }
        let paths = self.volume_mounts.iter().map(|mount| mount.mount_path.as_str());
        if let Some(path) = paths.clone().find(|path| is_reserved(path)) {
            return Err(Refusal::invalid(format!(
                "{CONTAINER}.volumeMounts: {path} is used by the operator, or is no path of its own: choose another"
            )));
        }
        let volumes = self.volumes.iter().map(|volume| volume.name.as_str());
        let env = self.env.iter().map(|variable| variable.name.as_str());
        let addresses = self.host_aliases.iter().map(|alias| alias.ip.as_str());
        let spreads = self.topology_spread_constraints.iter();
        let spreads = spreads.map(|spread| format!("{} {}", spread.topology_key, spread.when_unsatisfiable));
        for (field, twice) in [
            (format!("{CONTAINER}.volumeMounts"), twice(paths)),
            (format!("{POD}.volumes"), twice(VOLUMES.into_iter().chain(volumes))),
            (format!("{CONTAINER}.env"), twice([super::JOB_NAME_VARIABLE].into_iter().chain(env))),
            (format!("{POD}.hostAliases"), twice(addresses)),
            (format!("{POD}.topologySpreadConstraints"), twice(spreads)),
        ] {
            if let Some(name) = twice {
                return Err(Refusal::invalid(format!("{field}: {name} is given twice, or is the operator's own")));
            }
        }
        Ok(self)
    }
}

/// The first that is there already.
fn twice<T: AsRef<str>>(names: impl Iterator<Item = T>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    names.map(|name| name.as_ref().to_owned()).find(|name| !seen.insert(name.clone()))
}

/// Whether a path is at, below or above one that is reserved, or is none that can be compared.
fn is_reserved(path: &str) -> bool {
    let parts = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let path_parts = parts(path);
    let meets = |ours: &&str| parts(ours).iter().zip(&path_parts).all(|(ours, part)| ours == part);
    !path.starts_with('/') || path_parts.iter().any(|part| part == "." || part == "..") || RESERVED.iter().any(meets)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mount_replaces_a_program_or_hides_what_the_operator_mounts() {
        for path in
            ["/", "/usr/local/bin/kafka-backup", "/usr", "/etc", "/etc//kafka-backup/x", "/etc/../tmp", "tmp", "/dev/x"]
        {
            assert!(is_reserved(path), "{path}");
        }
        for path in ["/etc/ssl/private-ca", "/var/lib/x", "/backups-of-others", "/tmpx"] {
            assert!(!is_reserved(path), "{path}");
        }
    }
}
