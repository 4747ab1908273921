//! A plan as Kubernetes objects. Pure: the same plan and run give the same objects, field for field.

pub mod config_map;
pub mod cron_job;
pub mod job;
pub mod labels;
pub mod names;
pub mod pod;
mod run;

pub use self::run::{Run, RunKey, short_hash};

use crate::owner::Owner;
use crate::plan::Plan;

/// What the operator's own installation says of every pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installation {
    /// The image of all runs: the operator's own. No resource can choose another.
    pub image: String,
    /// Kubernetes' `imagePullPolicy`; its default when absent.
    pub image_pull_policy: Option<String>,
    /// Names of Secrets, in the namespace of each run.
    pub image_pull_secrets: Vec<String>,
    /// The service account of pods that name none; the namespace's `default` when absent.
    pub service_account: Option<String>,
    /// The user, and the group, that pods run as, 1 to 2,147,483,647; the platform's choice when absent, as OpenShift wants it.
    pub user: Option<i64>,
    /// Whether pods carry the label by which Azure Workload Identity finds them.
    pub has_azure_workload_identity: bool,
}

/// What a Job is made of.
#[derive(Debug, Clone, Copy)]
pub struct Blueprint<'a> {
    /// Whose run it is.
    pub owner: &'a Owner,
    /// What is run.
    pub plan: &'a Plan,
    /// Where.
    pub installation: &'a Installation,
}

#[cfg(test)]
pub(crate) fn tests_owner() -> Owner {
    Owner {
        group: crate::api::STRIMZI_GROUP,
        version: crate::api::VERSION,
        kind: crate::owner::Kind::Backup,
        namespace: "kafka".to_owned(),
        name: "nightly".to_owned(),
        uid: "8d6c5b1e-0000-4000-8000-000000000001".to_owned(),
        cluster: Some("my-cluster".to_owned()),
    }
}
