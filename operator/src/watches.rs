//! Watches on the API server: each fills a store, and gives every object that was touched.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, NamespaceResourceScope};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, oneshot, watch};

/// Where the watches look, and what they tell.
#[derive(Clone)]
pub struct Scope {
    /// The API server.
    pub client: Client,
    /// The namespace, or all of them.
    pub namespace: Option<String>,
    /// Told whenever a watch fails: another version of its kind may be served.
    pub failed: Arc<Notify>,
    /// Becomes true when everything is to end.
    pub stop: watch::Receiver<bool>,
}

/// A kind that is watched.
pub struct Watch<K: Resource<DynamicType: Eq + Hash> + 'static, T> {
    /// What there is.
    pub store: Store<K>,
    /// What was touched. Somebody has to read it, or the store stays empty.
    pub touched: BoxStream<'static, T>,
    /// Ends when the store holds what the API server holds. A store tells only one of those who wait for that, and the controllers
    /// wait too.
    pub synced: BoxFuture<'static, ()>,
}

impl Scope {
    /// A kind whose type is known.
    pub fn typed<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// A kind that is found while running.
    pub fn dynamic(&self, kind: &ApiResource) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            None => Api::all_with(self.client.clone(), kind),
        }
    }

    /// Watches what others make, as far as it can be read.
    pub fn watch<K>(&self, api: Api<K>, kind: K::DynamicType, config: watcher::Config) -> Watch<K, K>
    where
        K: Resource<DynamicType: Clone + Eq + Hash + Debug + Send + Sync + Unpin>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let Watch { store, touched, synced } = self.reflect(kind, watcher(api, config));
        let touched = touched.filter_map(|touched| std::future::ready(touched.ok()));
        Watch { store, touched: touched.take_until(stopped(self.stop.clone())).boxed(), synced }
    }

    /// Watches a kind of ours. An object that cannot be read is told, by an event on it, and left alone: the others go on.
    pub fn watch_ours<K>(&self, recorder: &Recorder) -> Watch<K, Result<K, watcher::Error>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let recorder = recorder.clone();
        let events = watcher(self.typed::<DeserializeGuard<K>>(), watcher::Config::default());
        let events = events.filter_map(move |event| {
            let recorder = recorder.clone();
            async move {
                match event {
                    Ok(event) => readable(event, &recorder).await.map(Ok),
                    Err(error) => Some(Err(error)),
                }
            }
        });
        self.reflect((), events)
    }

    fn reflect<K>(
        &self,
        kind: K::DynamicType,
        events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    ) -> Watch<K, Result<K, watcher::Error>>
    where
        K: Resource<DynamicType: Clone + Eq + Hash + Debug + Send + Sync + Unpin>,
        K: Clone + Debug + Send + Sync + 'static,
    {
        let writer: Writer<K> = reflector::store::Writer::new(kind);
        let store = writer.as_reader();
        let (done, synced) = oneshot::channel();
        let (mut done, failed) = (Some(done), Arc::clone(&self.failed));
        let events = events.default_backoff().reflect(writer).inspect_ok(move |event| {
            if let Some(done) = done.take_if(|_| matches!(event, watcher::Event::InitDone)) {
                // Nobody waits any more when everything is about to end.
                let _ = done.send(());
            }
        });
        let touched = events.touched_objects().inspect_err(move |error| {
            tracing::warn!("a watch was interrupted, and goes on: {error}");
            failed.notify_one();
        });
        Watch { store, touched: touched.boxed(), synced: synced.map(drop).boxed() }
    }
}

/// Ends when everything is to end.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn readable<K>(event: watcher::Event<DeserializeGuard<K>>, recorder: &Recorder) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()>,
{
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    Some(match event {
        Init => Init,
        InitDone => InitDone,
        InitApply(object) => InitApply(read(object, recorder).await?),
        Apply(object) => Apply(read(object, recorder).await?),
        Delete(object) => Delete(read(object, recorder).await?),
    })
}

async fn read<K: Resource<DynamicType = ()>>(object: DeserializeGuard<K>, recorder: &Recorder) -> Option<K> {
    let about = object.object_ref(&());
    let error = match object.0 {
        Ok(object) => return Some(object),
        Err(invalid) => invalid.error,
    };
    let (kind, namespace, name) = (K::kind(&()), about.namespace.as_deref(), about.name.as_deref());
    tracing::warn!(%kind, namespace, name, "a resource cannot be understood, and is left alone: {error}");
    let event = Event {
        type_: EventType::Warning,
        reason: "NotUnderstood".to_owned(),
        note: Some(format!("Nothing is done for this resource: this release cannot read it: {error}")),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &about).await {
        tracing::warn!("event {} cannot be written: {error}", event.reason);
    }
    None
}
