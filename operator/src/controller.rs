//! One reconcile: references -> plan -> observe -> decide -> act -> status.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::act;
use crate::api::PAUSE_ANNOTATION;
use crate::api::common_status::CommonStatus;
use crate::apply;
use crate::ask::PROGRESS_EVERY;
use crate::build::labels;
use crate::context::Context;
use crate::decide::{self, Decision, Facts};
use crate::events;
use crate::kinds::{Backup, Reconciled, Restore};
use crate::observe::{self, ObservedRun, RunState};
use crate::owner::Owner;
use crate::plan::{Plan, Refusal};
use crate::state::{State, Verdict};
use crate::status::{self, PAUSED};

/// A pod that does not start is looked at more often, so that a missing Secret is named within seconds; the longer it does not, the less
/// often.
const TROUBLE_EVERY: Duration = Duration::from_secs(2);
/// What has been in trouble for long is looked at this often, should no watch ask for it before.
const TROUBLE_EVERY_MAX: Duration = Duration::from_secs(60);
/// How long a reconcile may take: a few calls, each of which is quick or never answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was decided may take to be done, so that there is time left to tell that it was not.
const ACT_PATIENCE: Duration = Duration::from_secs(40);
/// What the API server has refused is tried again after this time: a quota may have room again.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// A resource that has changed while it was looked at is looked at again after this time, should no watch ask for it before.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// What failed is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a reconcile is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// Somebody does not answer.
    #[error("it took longer than {} s", .0.as_secs())]
    TooLong(Duration),
}

/// Gives up a reconcile that takes too long, so that others have its place.
///
/// # Errors
/// Its own, and [`Error::TooLong`].
pub async fn in_time(reconcile: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    tokio::time::timeout(PATIENCE, reconcile).await.unwrap_or(Err(Error::TooLong(PATIENCE)))
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
    let runs = observe(&context, &owner, &before.common).await?;
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
    let runs = observe(&context, &owner, &before.common).await?;
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
        // What is to be started may be under way already.
        tracing::info!(kind = %owner.kind, namespace = %owner.namespace, name = %owner.name, "the watch over Jobs is behind: waiting for it");
        return Ok(Action::requeue(STALE_AFTER));
    }
    let acted = act::act(context, &owner, &plan, &mut decision, facts.generation);
    let acted =
        tokio::time::timeout(ACT_PATIENCE, acted).await.map_or(Err(Error::TooLong(ACT_PATIENCE)), |acted| Ok(acted?));
    match &acted {
        Ok(None) => {}
        Ok(Some(refused)) => decision.refuse(refused.clone(), &before),
        Err(error) => decision.put_off(&error.to_string(), &before),
    }
    let Decision { start, replace, expire, mut state, verdict, warnings, notes, cron: _ } = decision;
    state.common_mut().conditions =
        status::conditions(K::STYLE, &verdict, &warnings, &before.common().conditions, facts.now);
    let next = state.next_scheduled_time().and_then(|next| next.parse().ok());
    if !write(context, resource, K::to_status(state)).await? {
        // Another look at it is on its way.
        return Ok(Action::requeue(STALE_AFTER));
    }
    for note in &notes {
        events::publish(&context.client, &resource.object_ref(&()), note).await;
    }
    acted?;
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
async fn observe(context: &Context, owner: &Owner, before: &CommonStatus) -> Result<Vec<ObservedRun>, Error> {
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
        if matches!(run.state, RunState::Ended { termination: None, .. })
            && !before.bookkeeping.recorded_jobs.contains(&name)
        {
            run = context.asker.with_pods(&owner.namespace, &job).await?;
        }
        runs.push(run);
    }
    // What was started a moment ago may not have reached the watch.
    if let Some(active) = before.active_run.as_ref().filter(|active| !runs.iter().any(|run| run.job == active.job)) {
        runs.extend(context.asker.job(&owner.namespace, &active.job).await?);
    }
    for run in &mut runs {
        context.asker.complete(&owner.namespace, run).await;
    }
    runs.sort_by(|a, b| (a.started_at, &a.job).cmp(&(b.started_at, &b.job)));
    Ok(runs)
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
    let list = &mut state.common_mut().conditions;
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
        RunState::Active { .. } | RunState::Ended { .. } => {
            let age = Duration::try_from(now.duration_since(run.started_at)).unwrap_or_default();
            (age / 10).clamp(TROUBLE_EVERY, TROUBLE_EVERY_MAX)
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::extract::{Request, State as Shared};
    use axum::response::IntoResponse;
    use axum::{Json, Router};
    use kube::Client;
    use kube::runtime::reflector::store::Writer;
    use serde_json::Value;

    use super::*;
    use crate::api::oso::KafkaBackup;
    use crate::ask::Asker;
    use crate::build::Installation;
    use crate::metrics::Metrics;

    /// An API server that notes what it is asked.
    #[derive(Clone, Default)]
    struct Server {
        asked: Arc<Mutex<Vec<String>>>,
        /// Jobs that it lists.
        jobs: Vec<Value>,
        /// Whether the resource is another than the one that was looked at.
        has_changed: bool,
    }

    impl Server {
        async fn answer(Shared(server): Shared<Self>, request: Request) -> axum::response::Response {
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let mut body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            server.asked.lock().unwrap().push(format!("{method} {path}"));
            if method == "GET" {
                let list = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": server.jobs });
                return Json(list).into_response();
            }
            if path.ends_with("/status") {
                body["spec"] = json!(resource("").spec);
                assert_eq!(body["metadata"]["resourceVersion"], "7");
                if server.has_changed {
                    let refusal = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "message": "it was changed", "code": 409 });
                    return (axum::http::StatusCode::CONFLICT, Json(refusal)).into_response();
                }
            }
            Json(body).into_response()
        }

        /// What it was asked, without where that is.
        async fn look_at(&self, backup: KafkaBackup) -> (Action, Vec<String>) {
            let app = Router::new().fallback(Self::answer).with_state(self.clone());
            let client = Client::new(app, "kafka");
            let context = Context {
                asker: Asker::new(client.clone()).unwrap(),
                client,
                installation: Installation::default(),
                metrics: Metrics::default(),
                jobs: Writer::default().as_reader(),
                pods: Writer::default().as_reader(),
                cron_jobs: Writer::default().as_reader(),
                strimzi: None,
                synced: tokio::sync::watch::channel(true).1,
            };
            let action = super::backup(Arc::new(backup), Arc::new(context)).await.unwrap();
            let asked = std::mem::take(&mut *self.asked.lock().unwrap());
            let last = |asked: String| {
                let (method, path) = asked.split_once(' ').unwrap();
                let kind = ["status", "jobs", "configmaps", "events"]
                    .into_iter()
                    .find(|kind| path.split('/').any(|part| part == *kind));
                format!("{method} {}", kind.unwrap_or(path))
            };
            (action, asked.into_iter().map(last).collect())
        }
    }

    fn resource(metadata: &str) -> KafkaBackup {
        let text = format!(
            "apiVersion: kafka.oso.sh/v1alpha1
kind: KafkaBackup
metadata: {{name: nightly, namespace: kafka, uid: a, generation: 1, resourceVersion: '7'{metadata}}}
spec:
  kafkaCluster: {{bootstrapServers: ['kafka:9092']}}
  storage: {{storageType: s3, s3: {{bucket: backups}}}}
"
        );
        serde_saphyr::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn a_run_is_started_and_told() {
        let (_, asked) = Server::default().look_at(resource("")).await;
        assert_eq!(asked, ["GET jobs", "PATCH configmaps", "POST jobs", "PATCH status"]);
    }

    #[tokio::test]
    async fn a_status_is_written_only_over_the_version_that_was_looked_at_and_nothing_is_told_otherwise() {
        let paused = ", annotations: {strimzi.io/pause-reconciliation: 'true'}";
        let changed = Server { has_changed: true, ..Server::default() };
        assert_eq!(changed.look_at(resource(paused)).await.1, ["PATCH status"]);
        let (action, asked) = changed.look_at(resource("")).await;
        assert_eq!(asked.last().unwrap(), "PATCH status");
        assert_eq!(action, Action::requeue(STALE_AFTER));
    }

    #[tokio::test]
    async fn nothing_is_started_while_the_api_server_has_a_job_that_the_watch_has_not() {
        let job = json!({ "metadata": { "name": "nightly-0-g0", "namespace": "kafka" } });
        let (action, asked) = Server { jobs: vec![job], ..Server::default() }.look_at(resource("")).await;
        assert_eq!((action, asked), (Action::requeue(STALE_AFTER), vec!["GET jobs".to_owned()]));
    }

    #[tokio::test]
    async fn a_resource_that_is_being_deleted_is_left_to_its_end() {
        let going = ", deletionTimestamp: '2026-02-02T02:00:00Z', finalizers: [example.com/keep]";
        let (action, asked) = Server::default().look_at(resource(going)).await;
        assert_eq!((action, asked), (Action::await_change(), vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconcile_that_nobody_answers_makes_room_for_others() {
        let started = tokio::time::Instant::now();
        let error = in_time(std::future::pending()).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), started.elapsed()), ("it took longer than 60 s", PATIENCE));
    }
}
