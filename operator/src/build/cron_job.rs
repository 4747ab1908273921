//! The CronJob of a schedule.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobTemplateSpec};
use kube::api::ObjectMeta;

use super::pod::Backup;
use super::run::RunKey;
use super::{Blueprint, job, labels, names};
use crate::plan::Cron;

/// A run that could not be started in time is started late, up to an hour: later, the next one is near. Kubernetes gives up on a
/// schedule of which it has missed more than a hundred runs within this time, and an hour has sixty minutes.
const STARTING_DEADLINE_SECONDS: i64 = 3600;
/// Jobs are kept for their logs; their results stand in the status. There are enough for an operator that was away for a few runs.
const HISTORY: i32 = 5;

/// The CronJob of this schedule, for the spec of this generation; one that is held starts nothing for now, whatever the schedule says.
pub fn cron_job(blueprint: Blueprint<'_>, cron: &Cron, is_held: bool, generation: i64) -> CronJob {
    let Blueprint { owner, plan: _, installation: _ } = blueprint;
    let Cron { schedule, time_zone, is_suspended } = cron;
    let name = names::cron_job(owner);
    let held = is_only_held(is_held, *is_suspended).then(|| (labels::HELD.to_owned(), "true".to_owned()));
    let mut annotations = job::annotations(blueprint);
    annotations.insert(labels::GENERATION.to_owned(), generation.to_string());
    CronJob {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(owner.namespace.clone()),
            labels: Some(labels::of(owner)),
            annotations: Some(held.into_iter().collect()),
            owner_references: Some(vec![owner.reference()]),
            ..ObjectMeta::default()
        },
        spec: Some(CronJobSpec {
            schedule: schedule.clone(),
            time_zone: time_zone.clone(),
            suspend: Some(*is_suspended || is_held),
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(STARTING_DEADLINE_SECONDS),
            successful_jobs_history_limit: Some(HISTORY),
            failed_jobs_history_limit: Some(HISTORY),
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(job::job_labels(blueprint, &RunKey::Scheduled)),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(job::spec(blueprint, &RunKey::Scheduled, &name, Backup::OfJob)),
            },
        }),
        status: None,
    }
}

/// Whether it would start runs, were it not held.
pub const fn is_only_held(is_held: bool, is_suspended: bool) -> bool {
    is_held && !is_suspended
}
