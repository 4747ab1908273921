//! One reconcile: references -> plan -> observe -> decide -> act -> status.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::act;
use crate::api::PAUSE_ANNOTATION;
use crate::api::history::ActiveRun;
use crate::apply;
use crate::ask::PROGRESS_EVERY;
use crate::bookkeeping::Bookkeeping;
use crate::build::labels;
use crate::context::Context;
use crate::decide::{self, Decision, Facts, Note};
use crate::kinds::{Backup, Reconciled, Restore};
use crate::observe::{self, ObservedRun, RunState};
use crate::owner::Owner;
use crate::plan::{Plan, Refusal};
use crate::state::{State, Verdict};
use crate::status::{self, PAUSED};

/// A pod that does not start is looked at more often, so that a missing Secret is named within seconds.
const TROUBLE_EVERY: Duration = Duration::from_secs(2);
/// How long a reconcile may take: a few calls, each of which is quick or never answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the API server has refused is tried again after this time: a quota may have room again.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// A resource that has changed while it was looked at is looked at again after this time, should no watch ask for it before.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// What failed is tried again, first after this time, later by the watches or this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a reconcile is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// Somebody does not answer.
    #[error("it took longer than {} s", PATIENCE.as_secs())]
    TooLong,
}

/// Gives up a reconcile that takes too long, so that others have its place.
///
/// # Errors
/// Its own, and [`Error::TooLong`].
pub async fn in_time(reconcile: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    tokio::time::timeout(PATIENCE, reconcile).await.unwrap_or(Err(Error::TooLong))
}

/// Reconciles a `KafkaBackup`.
///
/// # Errors
/// What the API server says; the next attempt goes on where this one ended.
pub async fn backup<K: Backup>(backup: Arc<K>, context: Arc<Context>) -> Result<Action, Error> {
    let owner = backup.owner();
    if is_going(&*backup) {
        return Ok(Action::await_change());
    }
    if is_paused(&*backup) {
        act::release(&context, &owner, backup.is_suspended()).await?;
        return pause(&*backup, &context).await;
    }
    let is_adopting = backup.annotations().get(K::ADOPT_ANNOTATION).is_some_and(|value| value == "true");
    let plan = backup.plan(context.strimzi.as_ref()).map(|plan| if is_adopting { plan.adopting() } else { plan });
    let before = backup.state();
    let runs = observe(&context, &owner, before.active_run.as_ref(), &before.bookkeeping).await?;
    let facts = Facts {
        generation: backup.meta().generation.unwrap_or_default(),
        trigger: backup.annotations().get(K::TRIGGER_ANNOTATION).cloned(),
        is_suspended: backup.is_suspended(),
        now: Timestamp::now(),
    };
    let decision = decide::backup::decide(&owner, &facts, &before, &plan, &runs);
    finish(&context, &*backup, Look { facts, plan, runs }, decision).await
}

/// Reconciles a `KafkaRestore`.
///
/// # Errors
/// As [`backup`].
pub async fn restore<K: Restore>(
    restore: Arc<K>,
    backups: Store<K::Backup>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let owner = restore.owner();
    if is_going(&*restore) {
        return Ok(Action::await_change());
    }
    if is_paused(&*restore) {
        return pause(&*restore, &context).await;
    }
    let plan = restore.plan(context.strimzi.as_ref(), &backups);
    let before = restore.state();
    let runs = observe(&context, &owner, before.active_run.as_ref(), &before.bookkeeping).await?;
    let facts = Facts {
        generation: restore.meta().generation.unwrap_or_default(),
        trigger: None,
        is_suspended: false,
        now: Timestamp::now(),
    };
    let decision = decide::restore::decide(&facts, &before, &plan, &runs);
    finish(&context, &*restore, Look { facts, plan, runs }, decision).await
}

/// What a decision was made from.
struct Look {
    facts: Facts,
    plan: Result<Plan, Refusal>,
    runs: Vec<ObservedRun>,
}

/// Does what was decided, and then tells it: what is done twice changes nothing, and what is told was done.
async fn finish<K: Reconciled>(
    context: &Context,
    resource: &K,
    Look { facts, plan, runs }: Look,
    mut decision: Decision<K::State>,
) -> Result<Action, Error> {
    let (owner, before) = (resource.owner(), resource.state());
    if decision.start.is_some() && context.asker.has_other_jobs(&owner, &runs).await? {
        // The watch is behind, and what is to be started may be under way already.
        return Ok(Action::requeue(STALE_AFTER));
    }
    if let Some(refused) = act::act(context, &owner, &plan, &mut decision, facts.generation).await? {
        decision.refuse(refused, &before);
    }
    let Decision { start, replace, expire, mut state, verdict, warnings, notes, cron: _ } = decision;
    *state.conditions_mut() = status::conditions(K::STYLE, &verdict, &warnings, before.conditions(), facts.now);
    let next = state.next_scheduled_time().and_then(|next| next.parse().ok());
    if !write(context, resource, K::to_status(state)).await? {
        // Another look at it is on its way.
        return Ok(Action::requeue(STALE_AFTER));
    }
    tell(context, resource, &notes).await;
    // The status tells that their end is no failure.
    for job in &replace {
        apply::end(&context.client, &owner.namespace, job).await?;
    }
    // The status holds their results.
    for (job, ttl_seconds) in &expire {
        apply::expire(&context.client, &owner.namespace, job, *ttl_seconds).await?;
    }
    Ok(again(&runs, &verdict, start.is_some(), next, facts.now))
}

/// After a failed reconcile.
pub fn retry<K: Reconciled>(resource: Arc<K>, error: &Error, _: Arc<Context>) -> Action {
    let owner = resource.owner();
    tracing::warn!(kind = %owner.kind, group = owner.group, namespace = %owner.namespace, name = %owner.name, "reconcile failed: {error}");
    Action::requeue(RETRY_AFTER)
}

/// The runs of a resource: from the watches, completed by what only a call tells.
async fn observe(
    context: &Context,
    owner: &Owner,
    active: Option<&ActiveRun>,
    bookkeeping: &Bookkeeping,
) -> Result<Vec<ObservedRun>, Error> {
    let is_ours = |labels: &BTreeMap<String, String>| labels.get(labels::RESOURCE_UID) == Some(&owner.uid);
    let jobs = context.jobs.state().into_iter().filter(|job| is_ours(job.labels()));
    let pods: Vec<_> = context.pods.state().into_iter().filter(|pod| is_ours(pod.labels())).collect();
    let mut runs = Vec::new();
    for job in jobs {
        let name = job.name_any();
        let of_job = |pod: &&Arc<Pod>| pod.labels().get("batch.kubernetes.io/job-name") == Some(&name);
        let pods: Vec<&Pod> = pods.iter().filter(of_job).map(|pod| &**pod).collect();
        let mut run = observe::run(&job, &pods);
        // What is written down already need not be known again.
        if matches!(run.state, RunState::Ended { termination: None, .. }) && !bookkeeping.recorded_jobs.contains(&name)
        {
            run = context.asker.with_pods(&owner.namespace, &job).await?;
        }
        runs.push(run);
    }
    // What was started a moment ago may not have reached the watch.
    if let Some(active) = active.filter(|active| !runs.iter().any(|run| run.job == active.job)) {
        runs.extend(context.asker.job(&owner.namespace, &active.job).await?);
    }
    for run in &mut runs {
        context.asker.complete(&owner.namespace, run).await;
    }
    runs.sort_by(|a, b| (a.started_at, &a.job).cmp(&(b.started_at, &b.job)));
    Ok(runs)
}

/// Puts what happened on the resource. An event that cannot be written is no reason to do anything again.
async fn tell<K: Reconciled>(context: &Context, resource: &K, notes: &[Note]) {
    for Note { is_warning, reason, message } in notes {
        let event = Event {
            type_: if *is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.clone(),
            note: Some(message.chars().take(1000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = context.recorder.publish(&event, &resource.object_ref(&())).await {
            tracing::warn!("event {reason} cannot be written: {error}");
        }
    }
}

/// Writes the status, if it says anything new. Gives back whether it stands there: not so if the resource is another than the one that was
/// looked at, or gone.
async fn write<K: Reconciled>(context: &Context, resource: &K, status: K::Status) -> Result<bool, Error> {
    if resource.status() == Some(&status) {
        return Ok(true);
    }
    let owner = resource.owner();
    let metadata = json!({ "resourceVersion": resource.resource_version() });
    let patch = json!({ "apiVersion": owner.api_version(), "kind": owner.kind.as_str(), "metadata": metadata, "status": status });
    let api: Api<K> = Api::namespaced(context.client.clone(), &owner.namespace);
    match api.patch_status(&owner.name, &apply::ours(), &Patch::Apply(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(answer)) if answer.is_conflict() || answer.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is being deleted: what was made for it goes with it.
fn is_going<K: Reconciled>(resource: &K) -> bool {
    resource.meta().deletion_timestamp.is_some()
}

fn is_paused<K: Reconciled>(resource: &K) -> bool {
    resource.annotations().get(PAUSE_ANNOTATION).is_some_and(|value| value == "true")
}

/// Leaves a resource alone: its status stays as it is, with the condition that says so.
async fn pause<K: Reconciled>(resource: &K, context: &Context) -> Result<Action, Error> {
    let mut state = resource.state();
    let list = state.conditions_mut();
    let message = format!(
        "Nothing new is begun or told while the annotation {PAUSE_ANNOTATION} is true; what runs, and a schedule, goes on"
    );
    let paused = status::condition(PAUSED, "True", "Paused", &message, list, Timestamp::now());
    list.retain(|condition| condition.type_ != PAUSED);
    list.push(paused);
    write(context, resource, K::to_status(state)).await?;
    Ok(Action::await_change())
}

/// When to look again, should no watch ask for it before.
fn again(
    runs: &[ObservedRun],
    verdict: &Verdict,
    was_started: bool,
    next: Option<Timestamp>,
    now: Timestamp,
) -> Action {
    let active = runs.iter().filter(|run| run.is_active());
    let every = active.map(|run| match &run.state {
        RunState::Active { pod: Some(_), trouble: None, .. } => PROGRESS_EVERY,
        RunState::Active { .. } | RunState::Ended { .. } => TROUBLE_EVERY,
    });
    // The status shows the next time: once that has come, there is another one.
    let next = next.filter(|next| *next > now);
    let next = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok()).map(|next| next + TROUBLE_EVERY);
    let refused = (verdict.reason == act::REFUSED).then_some(REFUSED_EVERY);
    match every.chain(was_started.then_some(TROUBLE_EVERY)).chain(refused).chain(next).min() {
        Some(after) => Action::requeue(after),
        None => Action::await_change(),
    }
}
