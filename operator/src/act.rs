//! What was decided, done: runs and schedules.

use std::sync::Arc;

use crate::api::run_kind::RunKind;
use crate::apply;
use crate::build::{Blueprint, Run, cron_job, labels, names};
use crate::context::Context;
use crate::decide::{CronAction, Decision};
use crate::observe;
use crate::owner::Owner;
use crate::plan::{Plan, Refusal, When};
use crate::state::{State, Verdict};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::core::Status;
use kube::runtime::reflector::ObjectRef;

/// The reason of the condition that tells what the API server does not take.
pub const REFUSED: &str = "RefusedByKubernetes";

/// Starts the run and sees to the schedule, as decided. What the API server refuses, since a spec, a quota or a policy does not allow it,
/// is no error of a call: it will be refused again. It is given back, and what was refused is taken out of the decision.
///
/// # Errors
/// What the API server says beside that.
pub async fn act<S: State>(
    context: &Context,
    owner: &Owner,
    plan: &Result<Plan, Refusal>,
    decision: &mut Decision<S>,
    generation: i64,
) -> Result<Option<Verdict>, kube::Error> {
    // The run comes first: one that is not started holds no schedule.
    let started = match (&decision.start, plan) {
        (Some(run), Ok(plan)) => start(context, owner, plan, run, generation).await,
        (None, _) | (_, Err(_)) => Ok(()),
    };
    let cron = match decision.cron {
        CronAction::Apply { is_held, anew } => CronAction::Apply { is_held: is_held && started.is_ok(), anew },
        other => other,
    };
    let scheduled = schedule(context, owner, plan, cron, generation).await;
    let not_started = refused(started)?;
    if not_started.is_some() {
        decision.start = None;
    }
    let not_scheduled = refused(scheduled)?;
    if not_scheduled.is_some() {
        decision.state.forget_next_scheduled_time();
    }
    Ok(not_started.or(not_scheduled))
}

/// Lets a schedule go on that is held, once no other run than its own is under way. `is_suspended` is what its resource says of it.
///
/// # Errors
/// What the API server says.
pub async fn release(context: &Context, owner: &Owner, is_suspended: bool) -> Result<(), kube::Error> {
    let is_held = |found: &Arc<CronJob>| found.annotations().contains_key(labels::HELD);
    match found(context, owner).filter(is_held) {
        Some(found) if !has_other_run(context, owner) => {
            apply::keep(&context.client, &owner.namespace, &found, false, is_suspended).await
        }
        Some(_) | None => Ok(()),
    }
}

fn refused(answer: Result<(), kube::Error>) -> Result<Option<Verdict>, kube::Error> {
    match answer {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(answer)) if is_refusal(&answer) => {
            let message =
                format!("the API server does not take what is to be run: {}", answer.message.replace('\n', " "));
            Ok(Some(Verdict::not_ready(REFUSED, message)))
        }
        Err(error) => Err(error),
    }
}

/// Whether the answer will be the same the next time. What server-side apply cannot merge, a list with an entry twice for one, is told as an
/// internal error.
fn is_refusal(answer: &Status) -> bool {
    matches!(answer.code, 400 | 403 | 422) || answer.message.contains("typed patch object")
}

async fn start(context: &Context, owner: &Owner, plan: &Plan, run: &Run, generation: i64) -> Result<(), kube::Error> {
    let Context { client, installation, .. } = context;
    let plan = match run.key.kind() {
        RunKind::Prune => &plan.pruning().unwrap_or_else(|| plan.clone()),
        RunKind::Once | RunKind::Trigger | RunKind::Scheduled => plan,
    };
    let job = apply::start(client, Blueprint { owner, plan, installation }, run, generation).await?;
    tracing::info!(kind = %owner.kind, namespace = %owner.namespace, name = %owner.name, job = %job.name_any(), "run started");
    Ok(())
}

async fn schedule(
    context: &Context,
    owner: &Owner,
    plan: &Result<Plan, Refusal>,
    action: CronAction,
    generation: i64,
) -> Result<(), kube::Error> {
    let Context { client, installation, .. } = context;
    let found = found(context, owner);
    match (action, plan, found) {
        (CronAction::Apply { is_held, anew }, Ok(plan @ Plan { when: When::Scheduled(cron), .. }), found) => {
            let blueprint = Blueprint { owner, plan, installation };
            let wanted = cron_job::cron_job(blueprint, cron, is_held, generation);
            apply::schedule(client, blueprint, wanted, found.filter(|_| !anew).as_deref()).await
        }
        (CronAction::Keep { is_held, is_suspended }, _, Some(found)) => {
            apply::keep(client, &owner.namespace, &found, is_held, is_suspended).await
        }
        (CronAction::Delete, _, Some(found)) => apply::unschedule(client, &owner.namespace, &found.name_any()).await,
        (CronAction::Apply { .. } | CronAction::Keep { .. } | CronAction::Delete | CronAction::Leave, ..) => Ok(()),
    }
}

fn found(context: &Context, owner: &Owner) -> Option<Arc<CronJob>> {
    context.cron_jobs.get(&ObjectRef::new(&names::cron_job(owner)).within(&owner.namespace))
}

/// Whether a run is under way that is not of the schedule.
fn has_other_run(context: &Context, owner: &Owner) -> bool {
    let is_other = |job: &Job| {
        let run = observe::run(job, &[]);
        job.labels().get(labels::RESOURCE_UID) == Some(&owner.uid)
            && run.is_active()
            && run.kind != Some(RunKind::Scheduled)
    };
    context.jobs.state().iter().any(|job| is_other(job))
}
