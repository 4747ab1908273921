//! The kinds' controllers, and the watches that wake them.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use strimzi_discovery::fetch::Served;
use tokio::sync::{oneshot, watch};

use crate::api::{oso, strimzi};
use crate::ask::Asker;
use crate::build::{Installation, labels};
use crate::controller::{self as reconcile, Context};
use crate::kinds::{Backup, Reconciled, Restore};
use crate::metrics::Metrics;
use crate::references::StrimziStores;

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
    /// Becomes true when everything is to end.
    pub stop: watch::Receiver<bool>,
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
    /// Has every resource looked at that this is about.
    fn wake(&self, is_about: impl Fn(&K) -> bool) {
        for resource in self.store.state().iter().filter(|resource| is_about(resource)) {
            // When nobody listens any more, everything is about to end.
            let _ = self.queue.unbounded_send(ObjectRef::from_obj(&**resource));
        }
    }
}

/// The controllers of one namespace, or of all.
pub struct Controllers {
    /// Ends when every store holds what the API server holds.
    pub synced: BoxFuture<'static, ()>,
    /// Ends when the controllers have.
    pub ended: BoxFuture<'static, ()>,
}

/// Everything that runs for one namespace, or for all of them.
///
/// # Errors
/// When no client for pods can be made.
pub fn controllers(settings: &Settings, namespace: Option<&str>) -> Result<Controllers, reqwest::Error> {
    let Settings { client, installation, has_oso, strimzi, metrics, stop } = settings.clone();
    let scope = Scope { client: client.clone(), namespace: namespace.map(str::to_owned), stop: stop.clone() };
    let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::OPERATOR));
    let mut group = Group::default();
    let (jobs, watch_jobs) = group.watch::<Job>(&scope, scope.typed(), (), ours.clone());
    let (pods, watch_pods) = group.watch::<Pod>(&scope, scope.typed(), (), ours.clone());
    let (cron_jobs, watch_cron_jobs) = group.watch::<CronJob>(&scope, scope.typed(), (), ours);
    let of_strimzi = strimzi.map(|Served { kafka, user }| {
        let any = watcher::Config::default;
        let kafkas = group.watch(&scope, scope.dynamic(&kafka), kafka, any());
        let users = group.watch(&scope, scope.dynamic(&user), user, any());
        (kafkas, users)
    });
    // Who reconciles before the Jobs are known would take every run for lost.
    let (known, synced) = watch::channel(false);
    let referred = std::mem::take(&mut group.synced);
    let referred = futures::future::join_all(referred).map(move |_| known.send_replace(true)).map(drop).shared();
    group.running.push(referred.clone().boxed());
    group.synced.push(referred.boxed());
    let context = Arc::new(Context {
        asker: Asker::new(client.clone())?,
        recorder: Recorder::new(client.clone(), Reporter { controller: labels::OPERATOR.to_owned(), instance: None }),
        client,
        installation,
        metrics: metrics.clone(),
        jobs,
        pods,
        cron_jobs,
        synced,
        strimzi: of_strimzi
            .as_ref()
            .map(|((kafkas, _), (users, _))| StrimziStores { kafkas: kafkas.clone(), users: users.clone() }),
    });

    let strimzi = group.add::<strimzi::KafkaBackup, strimzi::KafkaRestore>(&scope, &context);
    let oso = has_oso.then(|| group.add::<oso::KafkaBackup, oso::KafkaRestore>(&scope, &context));
    metrics.watch_strimzi(strimzi.0.store.clone(), strimzi.1.store.clone());
    if let Some((backups, restores)) = &oso {
        metrics.watch_oso(backups.store.clone(), restores.store.clone());
    }

    // What is made for a resource wakes it; what it refers to does too.
    let wake_owner = {
        let strimzi = strimzi.clone();
        move |labels: &std::collections::BTreeMap<String, String>| {
            let Some(uid) = labels.get(labels::RESOURCE_UID) else { return };
            let is_owner = |found: Option<&String>| found == Some(uid);
            strimzi.0.wake(|resource| is_owner(resource.meta().uid.as_ref()));
            strimzi.1.wake(|resource| is_owner(resource.meta().uid.as_ref()));
            if let Some((backups, restores)) = &oso {
                backups.wake(|resource| is_owner(resource.meta().uid.as_ref()));
                restores.wake(|resource| is_owner(resource.meta().uid.as_ref()));
            }
        }
    };
    let (of_job, of_pod) = (wake_owner.clone(), wake_owner.clone());
    group.run(watch_jobs, move |job| of_job(job.labels()));
    group.run(watch_pods, move |pod| of_pod(pod.labels()));
    group.run(watch_cron_jobs, move |cron_job| wake_owner(cron_job.labels()));
    if let Some(((_, watch_kafkas), (_, watch_users))) = of_strimzi {
        let of_kafka = strimzi.clone();
        group.run(watch_kafkas, move |kafka| {
            let names = |resource: Option<&str>, of: Option<String>| {
                resource == kafka.metadata.name.as_deref() && of == kafka.metadata.namespace
            };
            of_kafka.0.wake(|backup| names(backup.kafka(), backup.namespace()));
            of_kafka.1.wake(|restore| names(restore.kafka(), restore.namespace()));
        });
        group.run(watch_users, move |user| {
            let names = |resource: Option<&str>, of: Option<String>| {
                resource == user.metadata.name.as_deref() && of == user.metadata.namespace
            };
            strimzi.0.wake(|backup| names(backup.kafka_user(), backup.namespace()));
            strimzi.1.wake(|restore| names(restore.kafka_user(), restore.namespace()));
        });
    }
    Ok(Controllers {
        synced: futures::future::join_all(group.synced).map(drop).boxed(),
        ended: futures::future::join_all(group.running).map(drop).boxed(),
    })
}

/// Where the watches look.
struct Scope {
    client: Client,
    namespace: Option<String>,
    stop: watch::Receiver<bool>,
}

type Watch<K> = (Store<K>, BoxStream<K>);
type BoxStream<K> = futures::stream::BoxStream<'static, K>;

impl Scope {
    fn typed<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn dynamic(&self, kind: &ApiResource) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        }
    }
}

/// A store of what there is of a kind, and the stream that fills it and gives every object that was touched. `done` is called when the
/// store holds what the API server holds: a store tells only one of those who wait for that, and the controllers wait too.
fn reflected<K>(
    api: Api<K>,
    kind: K::DynamicType,
    config: watcher::Config,
    done: oneshot::Sender<()>,
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType: Clone + Eq + Hash + Debug + Send + Sync + Unpin>,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let writer = reflector::store::Writer::new(kind);
    let store = writer.as_reader();
    let mut done = Some(done);
    let events = watcher(api, config).default_backoff().reflect(writer).inspect_ok(move |event| {
        if let Some(done) = done.take_if(|_| matches!(event, watcher::Event::InitDone)) {
            // Nobody waits any more when everything is about to end.
            let _ = done.send(());
        }
    });
    (store, events.touched_objects())
}

fn said<K>(touched: Result<K, watcher::Error>) -> Option<K> {
    touched.inspect_err(|error| tracing::warn!("a watch was interrupted, and goes on: {error}")).ok()
}

/// Ends when everything is to end.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What belongs together.
#[derive(Default)]
struct Group {
    synced: Vec<BoxFuture<'static, ()>>,
    running: Vec<BoxFuture<'static, ()>>,
}

impl Group {
    fn sync(&mut self) -> oneshot::Sender<()> {
        let (done, synced) = oneshot::channel();
        self.synced.push(synced.map(drop).boxed());
        done
    }

    /// A store of what there is of a kind, and a stream of what was touched, which somebody has to run.
    fn watch<K>(&mut self, scope: &Scope, api: Api<K>, kind: K::DynamicType, config: watcher::Config) -> Watch<K>
    where
        K: Resource<DynamicType: Clone + Eq + Hash + Debug + Send + Sync + Unpin>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (store, touched) = reflected(api, kind, config, self.sync());
        let stop = stopped(scope.stop.clone());
        (store, touched.filter_map(|touched| async { said(touched) }).take_until(stop).boxed())
    }

    fn run<K: Send + 'static>(&mut self, watch: BoxStream<K>, wake: impl Fn(K) + Send + 'static) {
        self.running.push(
            watch
                .for_each(move |object| {
                    wake(object);
                    std::future::ready(())
                })
                .boxed(),
        );
    }

    /// The two controllers of a group.
    fn add<B: Backup, R: Restore<Backup = B>>(
        &mut self,
        scope: &Scope,
        context: &Arc<Context>,
    ) -> (Watched<B>, Watched<R>) {
        let (backups, backup_controller) = scope.controller::<B>(self.sync());
        let (restores, restore_controller) = scope.controller::<R>(self.sync());
        let waiting = restores.clone();
        let metrics = context.metrics.clone();
        let made = backup_controller.run(
            move |backup: Arc<B>, context: Arc<Context>| {
                let (waiting, metrics) = (waiting.clone(), metrics.clone());
                async move {
                    // A restore may wait for what this backup is about to tell.
                    waiting.wake(|restore| {
                        restore.backup_name() == backup.meta().name.as_deref()
                            && restore.namespace() == backup.namespace()
                    });
                    metrics.count(reconcile::backup(backup, context)).await
                }
            },
            reconcile::retry,
            Arc::clone(context),
        );
        let metrics = context.metrics.clone();
        let store = backups.store.clone();
        let restored = restore_controller.run(
            move |restore: Arc<R>, context: Arc<Context>| {
                let (store, metrics) = (store.clone(), metrics.clone());
                async move { metrics.count(reconcile::restore(restore, store, context)).await }
            },
            reconcile::retry,
            Arc::clone(context),
        );
        self.running.push(drain(made));
        self.running.push(drain(restored));
        (backups, restores)
    }
}

impl Scope {
    fn controller<K: Reconciled>(&self, synced: oneshot::Sender<()>) -> (Watched<K>, Controller<K>) {
        let (queue, woken) = mpsc::unbounded();
        let (store, touched) = reflected(self.typed::<K>(), (), watcher::Config::default(), synced);
        let controller = Controller::for_stream(touched, store)
            .with_config(controller::Config::default().concurrency(CONCURRENCY).debounce(Duration::from_millis(100)))
            .reconcile_on(woken)
            .graceful_shutdown_on(stopped(self.stop.clone()));
        (Watched { store: controller.store(), queue }, controller)
    }
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
        .into_stream()
        .for_each(|result| {
            if let Err(error) = result {
                tracing::debug!("{error}");
            }
            std::future::ready(())
        })
        .boxed()
}
