//! The Job of a run that the operator starts itself.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use kube::api::ObjectMeta;

use super::pod::{self, Backup};
use super::run::{Run, RunKey};
use super::{Blueprint, labels, names};

/// Exit codes after which another pod would do no better: usage, corrupt, and a result with less than was asked for.
const FINAL_EXIT_CODES: [i32; 3] = [2, 5, 7];

/// The Job of this run.
pub fn job(blueprint: Blueprint<'_>, run: &Run, generation: i64) -> Job {
    let Blueprint { owner, plan: _, installation: _ } = blueprint;
    let name = names::job(owner, &run.key);
    let backup = run.backup_id.as_deref().map_or(Backup::None, Backup::Id);
    let mut annotations = annotations(blueprint);
    annotations.insert(labels::GENERATION.to_owned(), generation.to_string());
    if let Some(id) = &run.backup_id {
        annotations.insert(labels::BACKUP_ID.to_owned(), id.clone());
    }
    match &run.key {
        RunKey::Trigger { value, .. } => drop(annotations.insert(labels::TRIGGER.to_owned(), value.clone())),
        RunKey::Prune { limits, .. } => drop(annotations.insert(labels::LIMITS.to_owned(), limits.clone())),
        RunKey::Once { .. } | RunKey::Scheduled => {}
    }
    Job {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(job_labels(blueprint, &run.key)),
            annotations: Some(annotations),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(blueprint, &run.key, &name, backup)),
        status: None,
    }
}

/// The annotations of every Job of a plan: by which retention it prunes, if it does.
pub(super) fn annotations(blueprint: Blueprint<'_>) -> BTreeMap<String, String> {
    let retention = blueprint.plan.retention.as_ref().filter(|retention| retention.is_every_run);
    retention.map(|retention| (labels::LIMITS.to_owned(), retention.limits())).into_iter().collect()
}

/// The labels of Jobs of this kind.
pub(super) fn job_labels(blueprint: Blueprint<'_>, key: &RunKey) -> BTreeMap<String, String> {
    let mut labels = labels::of(blueprint.owner);
    labels.insert(labels::RUN.to_owned(), key.kind().label().to_owned());
    labels
}

/// What Jobs of this kind do. `ttlSecondsAfterFinished` is not in it: a Job may not go before its result stands in the status.
pub(super) fn spec(blueprint: Blueprint<'_>, key: &RunKey, config_map: &str, backup: Backup<'_>) -> JobSpec {
    let job = &blueprint.plan.job;
    JobSpec {
        backoff_limit: Some(job.backoff_limit),
        active_deadline_seconds: job.active_deadline_seconds,
        // With it a pod is replaced when it has ended, and not before: two of one run would wait for each other. (`podReplacementPolicy`
        // would say so too, and is unknown to Kubernetes 1.27.)
        pod_failure_policy: Some(PodFailurePolicy {
            rules: vec![
                PodFailurePolicyRule {
                    action: "FailJob".to_owned(),
                    on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                        container_name: Some(pod::CONTAINER.to_owned()),
                        operator: "In".to_owned(),
                        values: FINAL_EXIT_CODES.to_vec(),
                    }),
                    on_pod_conditions: None,
                },
                // An eviction or a drained node is no failure of the run.
                PodFailurePolicyRule {
                    action: "Ignore".to_owned(),
                    on_exit_codes: None,
                    on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                        type_: "DisruptionTarget".to_owned(),
                        status: "True".to_owned(),
                    }]),
                },
            ],
        }),
        template: pod::template(blueprint, key, config_map, backup),
        ..JobSpec::default()
    }
}
