//! One reconcile: references -> plan -> observe -> decide -> apply -> status.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;

use crate::api::PAUSE_ANNOTATION;
use crate::api::phase::Phase;
use crate::api::run_kind::RunKind;
use crate::apply;
use crate::ask::{Asker, PROGRESS_EVERY};
use crate::bookkeeping::Bookkeeping;
use crate::build::{Blueprint, Installation, Run, cron_job, labels, names};
use crate::decide::{self, CronAction, Decision, Facts, Note};
use crate::kinds::{Backup, Reconciled, Restore};
use crate::metrics::Metrics;
use crate::observe::{self, ObservedRun, RunState};
use crate::owner::Owner;
use crate::plan::{Plan, Refusal, When};
use crate::references::StrimziStores;
use crate::state::Verdict;
use crate::status::{self, PAUSED};

/// A pod that does not start is looked at more often, so that a missing Secret is named within seconds.
const TROUBLE_EVERY: Duration = Duration::from_secs(2);
/// How long a reconcile may take: a few calls, each of which is quick or never answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the API server has refused is tried again after this time: a quota may have room again.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// The reason of the condition that says so.
const REFUSED: &str = "RefusedByKubernetes";
/// A resource that has changed while it was looked at is looked at again after this time, should no watch ask for it before.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// What failed is tried again, first after this time, later by the watches or this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a reconcile works with. The stores hold what the watches have seen; nothing is read from the API server that they hold.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What no watch tells.
    pub asker: Asker,
    /// What the installation says of every pod.
    pub installation: Installation,
    /// Events on resources.
    pub recorder: Recorder,
    /// Counts of reconciles.
    pub metrics: Metrics,
    /// Our Jobs.
    pub jobs: Store<Job>,
    /// Their pods.
    pub pods: Store<Pod>,
    /// Our CronJobs.
    pub cron_jobs: Store<CronJob>,
    /// Strimzi's resources, where Strimzi is.
    pub strimzi: Option<StrimziStores>,
    /// Becomes true when these stores hold what the API server holds.
    pub synced: watch::Receiver<bool>,
}

impl Context {
    /// Waits until the stores are filled; false when they never will be, since everything is about to end. Who reconciles before they are
    /// would take every run for lost.
    pub async fn is_synced(&self) -> bool {
        self.synced.clone().wait_for(|is_synced| *is_synced).await.is_ok()
    }
}

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
    let now = Timestamp::now();
    if backup.meta().deletion_timestamp.is_some() {
        // What was made for it goes with it.
        return Ok(Action::await_change());
    }
    if is_paused(&*backup) {
        if !has_other_run(&context, &owner) {
            release(&context, &owner).await?;
        }
        return paused(&*backup, &context, K::to_status(pausing(backup.state(), now, |state| &mut state.conditions)))
            .await;
    }
    let before = backup.state();
    let is_adopting = backup.annotations().get(K::ADOPT_ANNOTATION).is_some_and(|value| value == "true");
    let plan = backup.plan(context.strimzi.as_ref()).map(|plan| if is_adopting { plan.adopting() } else { plan });
    let active = before.active_run.as_ref().map(|run| run.job.as_str());
    let runs = observe(&context, &owner, active, &before.bookkeeping).await?;
    let facts = facts(&*backup, backup.annotations().get(K::TRIGGER_ANNOTATION), now);
    let mut decision = decide::backup::decide(&owner, &facts, &before, &plan, &runs);
    if let Some(refused) = act(&context, &owner, &plan, &decision, facts.generation).await? {
        decision.state.phase = Phase::Failed;
        let is_same_spec = before.observed_generation == Some(facts.generation);
        decision.refuse(refused, is_same_spec.then_some(&before.conditions));
    }
    let mut state = decision.state;
    state.conditions = status::conditions(K::STYLE, &decision.verdict, &decision.warnings, &before.conditions, now);
    let next = state.next_scheduled_time.as_ref().and_then(|next| next.parse().ok());
    if !write(&context, &*backup, K::to_status(state)).await? {
        // Another look at it is on its way.
        return Ok(Action::requeue(STALE_AFTER));
    }
    tell(&context, &*backup, &decision.notes).await;
    // What makes their end no failure stands in the status.
    for job in &decision.replace {
        apply::end(&context.client, &owner.namespace, job).await?;
    }
    expire(&context, &owner, &decision.expire).await?;
    Ok(again(&runs, &decision.verdict, decision.start.is_some(), next, now))
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
    let now = Timestamp::now();
    if restore.meta().deletion_timestamp.is_some() {
        // What was made for it goes with it.
        return Ok(Action::await_change());
    }
    if is_paused(&*restore) {
        return paused(&*restore, &context, K::to_status(pausing(restore.state(), now, |state| &mut state.conditions)))
            .await;
    }
    let before = restore.state();
    let plan = restore.plan(context.strimzi.as_ref(), &backups);
    let active = before.active_run.as_ref().map(|run| run.job.as_str());
    let runs = observe(&context, &owner, active, &before.bookkeeping).await?;
    let facts = facts(&*restore, None, now);
    let mut decision = decide::restore::decide(&facts, &before, &plan, &runs);
    if let Some(refused) = act(&context, &owner, &plan, &decision, facts.generation).await? {
        decision.state.phase = Phase::Failed;
        let is_same_spec = before.observed_generation == Some(facts.generation);
        decision.refuse(refused, is_same_spec.then_some(&before.conditions));
    }
    let mut state = decision.state;
    state.conditions = status::conditions(K::STYLE, &decision.verdict, &decision.warnings, &before.conditions, now);
    if !write(&context, &*restore, K::to_status(state)).await? {
        // Another look at it is on its way.
        return Ok(Action::requeue(STALE_AFTER));
    }
    tell(&context, &*restore, &decision.notes).await;
    expire(&context, &owner, &decision.expire).await?;
    Ok(again(&runs, &decision.verdict, decision.start.is_some(), None, now))
}

/// After a failed reconcile.
pub fn retry<K: Reconciled>(resource: Arc<K>, error: &Error, _: Arc<Context>) -> Action {
    let owner = resource.owner();
    tracing::warn!(kind = %owner.kind, group = owner.group, namespace = %owner.namespace, name = %owner.name, "reconcile failed: {error}");
    Action::requeue(RETRY_AFTER)
}

fn facts<K: Reconciled>(resource: &K, trigger: Option<&String>, now: Timestamp) -> Facts {
    Facts { generation: resource.meta().generation.unwrap_or_default(), trigger: trigger.cloned(), now }
}

/// The runs of a resource: from the watches, completed by what only a call tells.
async fn observe(
    context: &Context,
    owner: &Owner,
    active: Option<&str>,
    bookkeeping: &Bookkeeping,
) -> Result<Vec<ObservedRun>, Error> {
    let is_ours =
        |labels: &std::collections::BTreeMap<String, String>| labels.get(labels::RESOURCE_UID) == Some(&owner.uid);
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
    if let Some(active) = active.filter(|active| !runs.iter().any(|run| run.job == *active)) {
        runs.extend(context.asker.job(&owner.namespace, active).await?);
    }
    for run in &mut runs {
        context.asker.complete(&owner.namespace, run).await;
    }
    runs.sort_by(|a, b| (a.started_at, &a.job).cmp(&(b.started_at, &b.job)));
    Ok(runs)
}

/// Does what was decided. What the API server refuses, since a spec, a quota or a policy does not allow it, is no error of a call: it
/// will be refused again.
async fn act<S>(
    context: &Context,
    owner: &Owner,
    plan: &Result<Plan, Refusal>,
    decision: &Decision<S>,
    generation: i64,
) -> Result<Option<Verdict>, Error> {
    match carry_out(context, owner, plan, decision, generation).await {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 400 | 403 | 422) => {
            let message =
                format!("the API server does not take what is to be run: {}", answer.message.replace('\n', " "));
            Ok(Some(Verdict::not_ready(REFUSED, message)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn carry_out<S>(
    context: &Context,
    owner: &Owner,
    plan: &Result<Plan, Refusal>,
    decision: &Decision<S>,
    generation: i64,
) -> Result<(), kube::Error> {
    let Context { client, installation, .. } = context;
    // The run comes first: one that is not started holds no schedule.
    let started = match (&decision.start, plan) {
        (Some(run), Ok(plan)) => start(context, owner, plan, run, generation).await,
        (None, _) | (_, Err(_)) => Ok(()),
    };
    let name = names::cron_job(owner);
    let found = context.cron_jobs.get(&ObjectRef::new(&name).within(&owner.namespace));
    match (decision.cron, plan) {
        (CronAction::Apply { is_held, anew }, Ok(plan @ Plan { when: When::Scheduled(cron), .. })) => {
            let blueprint = Blueprint { owner, plan, installation };
            let wanted = cron_job::cron_job(blueprint, cron, is_held && started.is_ok(), generation);
            apply::schedule(client, blueprint, wanted, found.filter(|_| !anew).as_deref()).await?;
        }
        (CronAction::Delete, _) if found.is_some() => apply::unschedule(client, &owner.namespace, &name).await?,
        (CronAction::Release, _) => release(context, owner).await?,
        (CronAction::Apply { .. } | CronAction::Delete | CronAction::Leave, _) => {}
    }
    started
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

/// Lets the schedule go on if it is held.
async fn release(context: &Context, owner: &Owner) -> Result<(), kube::Error> {
    let name = names::cron_job(owner);
    match context.cron_jobs.get(&ObjectRef::new(&name).within(&owner.namespace)) {
        Some(found) if found.annotations().contains_key(labels::HELD) => {
            apply::release(&context.client, &owner.namespace, &name).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Lets Jobs go whose results stand in the status, and not before.
async fn expire(context: &Context, owner: &Owner, jobs: &[(String, i32)]) -> Result<(), Error> {
    for (job, ttl_seconds) in jobs {
        apply::expire(&context.client, &owner.namespace, job, *ttl_seconds).await?;
    }
    Ok(())
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

fn is_paused<K: Reconciled>(resource: &K) -> bool {
    resource.annotations().get(PAUSE_ANNOTATION).is_some_and(|value| value == "true")
}

/// The state of a resource that is left alone: as it was, with the condition that says so.
fn pausing<S>(
    mut state: S,
    now: Timestamp,
    conditions: impl Fn(&mut S) -> &mut Vec<crate::api::condition::Condition>,
) -> S {
    let list = conditions(&mut state);
    let message = format!(
        "Nothing new is begun or told while the annotation {PAUSE_ANNOTATION} is true; what runs, and a schedule, goes on"
    );
    let paused = status::condition(PAUSED, "True", "Paused", &message, list, now);
    list.retain(|condition| condition.type_ != PAUSED);
    list.push(paused);
    state
}

async fn paused<K: Reconciled>(resource: &K, context: &Context, status: K::Status) -> Result<Action, Error> {
    write(context, resource, status).await?;
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
    let refused = (verdict.reason == REFUSED).then_some(REFUSED_EVERY);
    match every.chain(was_started.then_some(TROUBLE_EVERY)).chain(refused).chain(next).min() {
        Some(after) => Action::requeue(after),
        None => Action::await_change(),
    }
}
