//! The kinds' controllers, and what wakes them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use strimzi_discovery::fetch::Served;
use tokio::sync::{Notify, watch};

use crate::api::{oso, strimzi};
use crate::ask::Asker;
use crate::build::{Installation, labels};
use crate::context::Context;
use crate::controller as reconcile;
use crate::kinds::{Backup, Reconciled, Restore};
use crate::metrics::Metrics;
use crate::references::StrimziStores;
use crate::watches::{Scope, Watch, stopped};

/// Resources that are reconciled at a time: each makes a few calls, one after the other.
const CONCURRENCY: u16 = 16;

/// What the controllers are told.
#[derive(Clone)]
pub struct Settings {
    /// The API server.
    pub client: Client,
    /// What the installation says of every pod.
    pub installation: Installation,
    /// Whether `kafka.oso.sh` is served too.
    pub has_oso: bool,
    /// Strimzi's API, where there is one.
    pub strimzi: Option<Served>,
    /// Counts, and what they are made of.
    pub metrics: Metrics,
    /// Told whenever a watch fails.
    pub failed: Arc<Notify>,
    /// Becomes true when everything is to end.
    pub stop: watch::Receiver<bool>,
}

/// The controllers of one namespace, or of all.
pub struct Controllers {
    /// Ends when every store holds what the API server holds; with false when they never will, since everything is about to end.
    pub synced: BoxFuture<'static, bool>,
    /// Ends when the controllers have.
    pub ended: BoxFuture<'static, ()>,
}

/// Everything that runs for one namespace, or for all of them.
///
/// # Errors
/// When no client for pods can be made.
pub fn controllers(settings: &Settings, namespace: Option<&str>) -> Result<Controllers, reqwest::Error> {
    let Settings { client, installation, has_oso, strimzi, metrics, failed, stop } = settings.clone();
    let scope = Scope { client: client.clone(), namespace: namespace.map(str::to_owned), failed, stop };
    let mut tasks = Tasks::default();
    let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::OPERATOR));
    let (jobs, job) = tasks.watch(scope.watch::<Job>(scope.typed(), (), ours.clone()));
    let (pods, pod) = tasks.watch(scope.watch::<Pod>(scope.typed(), (), ours.clone()));
    let (cron_jobs, cron_job) = tasks.watch(scope.watch::<CronJob>(scope.typed(), (), ours));
    let beside_strimzi = Context {
        asker: Asker::new(client.clone())?,
        client,
        installation,
        metrics: metrics.clone(),
        jobs,
        pods,
        cron_jobs,
        synced: tasks.referred(),
        strimzi: None,
    };
    let mut wakers = Vec::<Box<dyn Wake>>::new();
    if has_oso {
        // Before Strimzi is watched: who names no cluster of Strimzi's waits for none of its watches.
        let context = Arc::new(beside_strimzi.clone());
        let (backups, restores) = tasks.reconcile::<oso::KafkaBackup, oso::KafkaRestore>(&scope, &context);
        metrics.watch(backups.store.clone(), restores.store.clone());
        wakers.extend([Box::new(backups) as Box<dyn Wake>, Box::new(restores)]);
    }
    let strimzi = strimzi.map(|Served { kafka, user }| {
        let (kafkas, kafka) = tasks.watch(scope.watch(scope.dynamic(&kafka), kafka, watcher::Config::default()));
        let (users, user) = tasks.watch(scope.watch(scope.dynamic(&user), user, watcher::Config::default()));
        (StrimziStores { kafkas, users }, kafka, user)
    });
    let stores = strimzi.as_ref().map(|(stores, ..)| stores.clone());
    let context = Arc::new(Context { synced: tasks.referred(), strimzi: stores, ..beside_strimzi });
    let (backups, restores) = tasks.reconcile::<strimzi::KafkaBackup, strimzi::KafkaRestore>(&scope, &context);
    metrics.watch(backups.store.clone(), restores.store.clone());
    wakers.extend([Box::new(backups) as Box<dyn Wake>, Box::new(restores)]);

    // What is made for a resource wakes it; what it refers to does too.
    let wakers: Wakers = wakers.into();
    tasks.run(job, &wakers, |wakers, job| wake_owner(wakers, job.labels()));
    tasks.run(pod, &wakers, |wakers, pod| wake_owner(wakers, pod.labels()));
    tasks.run(cron_job, &wakers, |wakers, cron_job| wake_owner(wakers, cron_job.labels()));
    if let Some((_, kafka, user)) = strimzi {
        tasks.run(kafka, &wakers, |wakers, kafka| wake_referring(wakers, kafka, |resource| resource.kafka));
        tasks.run(user, &wakers, |wakers, user| wake_referring(wakers, user, |resource| resource.kafka_user));
    }
    let Tasks { synced, running } = tasks;
    Ok(Controllers {
        synced: futures::future::join_all(synced).map(|synced| synced.into_iter().all(|is_synced| is_synced)).boxed(),
        ended: futures::future::join_all(running).map(drop).boxed(),
    })
}

/// A resource, as far as it matters to who wakes it.
struct Named<'a> {
    meta: &'a ObjectMeta,
    kafka: Option<&'a str>,
    kafka_user: Option<&'a str>,
}

/// Resources that can be looked at again.
trait Wake: Send + Sync {
    /// Has every resource looked at that this is about.
    fn wake(&self, is_about: &dyn Fn(&Named<'_>) -> bool);
}

type Wakers = Arc<[Box<dyn Wake>]>;

fn wake_owner(wakers: &Wakers, labels: &BTreeMap<String, String>) {
    if let Some(uid) = labels.get(labels::RESOURCE_UID) {
        wakers.iter().for_each(|waker| waker.wake(&|resource| resource.meta.uid.as_ref() == Some(uid)));
    }
}

fn wake_referring(wakers: &Wakers, object: &DynamicObject, reference: impl for<'a> Fn(&Named<'a>) -> Option<&'a str>) {
    let ObjectMeta { name, namespace, .. } = &object.metadata;
    let refers = |resource: &Named<'_>| {
        reference(resource) == name.as_deref() && resource.meta.namespace.as_deref() == namespace.as_deref()
    };
    wakers.iter().for_each(|waker| waker.wake(&refers));
}

/// Resources of one kind: what is known of them, and a way to have them looked at.
struct Watched<K: Reconciled> {
    store: Store<K>,
    queue: mpsc::UnboundedSender<ObjectRef<K>>,
}

impl<K: Reconciled> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), queue: self.queue.clone() }
    }
}

impl<K: Reconciled> Watched<K> {
    fn wake_those(&self, is_about: impl Fn(&K) -> bool) {
        for resource in self.store.state().iter().filter(|resource| is_about(resource)) {
            // When nobody listens any more, everything is about to end.
            let _ = self.queue.unbounded_send(ObjectRef::from_obj(&**resource));
        }
    }
}

impl<K: Reconciled> Wake for Watched<K> {
    fn wake(&self, is_about: &dyn Fn(&Named<'_>) -> bool) {
        self.wake_those(|resource| {
            is_about(&Named { meta: resource.meta(), kafka: resource.kafka(), kafka_user: resource.kafka_user() })
        });
    }
}

/// What runs together.
#[derive(Default)]
struct Tasks {
    synced: Vec<BoxFuture<'static, bool>>,
    running: Vec<BoxFuture<'static, ()>>,
}

impl Tasks {
    /// Takes a watch apart: its store, and what was touched, which somebody has to run.
    fn watch<K, T>(&mut self, watch: Watch<K, T>) -> (Store<K>, BoxStream<'static, T>)
    where
        K: kube::Resource<DynamicType: Eq + std::hash::Hash> + 'static,
    {
        let Watch { store, touched, synced } = watch;
        self.synced.push(synced);
        (store, touched)
    }

    /// Becomes true when everything that is watched so far is known, and is closed without that when it never will be.
    fn referred(&mut self) -> watch::Receiver<bool> {
        let (known, is_known) = watch::channel(false);
        let referred = futures::future::join_all(std::mem::take(&mut self.synced));
        let referred = referred.map(move |synced| {
            let is_all = synced.into_iter().all(|is_synced| is_synced);
            if is_all {
                known.send_replace(true);
            }
            is_all
        });
        let referred = referred.shared();
        self.running.push(referred.clone().map(drop).boxed());
        self.synced.push(referred.boxed());
        is_known
    }

    fn run<T: Send + 'static>(
        &mut self,
        touched: BoxStream<'static, T>,
        wakers: &Wakers,
        wake: impl Fn(&Wakers, &T) + Send + 'static,
    ) {
        let wakers = Arc::clone(wakers);
        let run = touched.for_each(move |object| {
            wake(&wakers, &object);
            std::future::ready(())
        });
        self.running.push(run.boxed());
    }

    /// The two controllers of a group.
    fn reconcile<B: Backup, R: Restore<Backup = B>>(
        &mut self,
        scope: &Scope,
        context: &Arc<Context>,
    ) -> (Watched<B>, Watched<R>) {
        let (backups, backup_controller) = self.controller::<B>(scope);
        // What a restore refers to is known before it is looked at.
        let restoring = Arc::new(Context { synced: self.referred(), ..Context::clone(context) });
        let (restores, restore_controller) = self.controller::<R>(scope);
        let waiting = restores.clone();
        let backed_up = backup_controller.run(
            move |backup: Arc<B>, context: Arc<Context>| {
                // A restore may wait for what this backup is about to tell.
                waiting.wake_those(|restore| {
                    restore.backup_name() == backup.meta().name.as_deref() && restore.namespace() == backup.namespace()
                });
                look(Arc::clone(&context), reconcile::backup(backup, context))
            },
            reconcile::retry,
            Arc::clone(context),
        );
        let store = backups.store.clone();
        let restored = restore_controller.run(
            move |restore: Arc<R>, context: Arc<Context>| {
                look(Arc::clone(&context), reconcile::restore(restore, store.clone(), context))
            },
            reconcile::retry,
            restoring,
        );
        self.running.extend([drain(backed_up), drain(restored)]);
        (backups, restores)
    }

    fn controller<K: Reconciled>(&mut self, scope: &Scope) -> (Watched<K>, Controller<K>) {
        let (queue, woken) = mpsc::unbounded();
        let (store, touched) = self.watch(scope.watch_ours::<K>());
        let controller = Controller::for_stream(touched, store)
            .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(Duration::from_millis(100)))
            .reconcile_on(woken)
            .graceful_shutdown_on(stopped(scope.stop.clone()));
        (Watched { store: controller.store(), queue }, controller)
    }
}

/// One reconcile, counted and in time, once there is something to look at.
async fn look(
    context: Arc<Context>,
    reconcile: impl Future<Output = Result<Action, reconcile::Error>>,
) -> Result<Action, reconcile::Error> {
    if !context.is_synced().await {
        return Ok(Action::await_change());
    }
    context.metrics.count(reconcile::in_time(reconcile)).await
}

/// Lets a controller run; what failed was logged where it failed.
fn drain<K, E>(
    results: impl Stream<Item = Result<(ObjectRef<K>, Action), E>> + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Reconciled,
    E: std::fmt::Display + Send + 'static,
{
    results
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!("{error}");
            }
            std::future::ready(())
        })
        .boxed()
}
