//! Watches on the API server: each fills a store, and gives every object that was touched.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, NamespaceResourceScope};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, oneshot, watch};

use crate::decide::Note;
use crate::events;

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
    /// wait too. False when it never will, since everything is about to end.
    pub synced: BoxFuture<'static, bool>,
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
        let Watch { store, touched, synced } = self.reflect(Writer::new(kind), watcher(api, config));
        let touched = touched.filter_map(|touched| std::future::ready(touched.ok()));
        Watch { store, touched: touched.take_until(stopped(self.stop.clone())).boxed(), synced }
    }

    /// Watches a kind of ours. An object that cannot be read is told, by an event on it, and left alone: the others go on.
    pub fn watch_ours<K>(&self) -> Watch<K, Result<K, watcher::Error>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let writer = Writer::new(());
        let known: Store<K> = writer.as_reader();
        let client = self.client.clone();
        let events = watcher(self.typed::<DeserializeGuard<K>>(), watcher::Config::default());
        let events = events.filter_map(move |event| {
            let (known, client) = (known.clone(), client.clone());
            async move {
                match event {
                    Ok(event) => readable(event, &known, &client).await.map(Ok),
                    Err(error) => Some(Err(error)),
                }
            }
        });
        self.reflect(writer, events)
    }

    fn reflect<K>(
        &self,
        writer: Writer<K>,
        events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    ) -> Watch<K, Result<K, watcher::Error>>
    where
        K: Resource<DynamicType: Clone + Eq + Hash + Debug + Send + Sync + Unpin>,
        K: Clone + Debug + Send + Sync + 'static,
    {
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
        Watch { store, touched: touched.boxed(), synced: synced.map(|synced| synced.is_ok()).boxed() }
    }
}

/// Ends when everything is to end.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody can ask any more, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The event as far as it can be read. One that was known and cannot be read any more is as good as gone.
async fn readable<K>(
    event: watcher::Event<DeserializeGuard<K>>,
    known: &Store<K>,
    client: &Client,
) -> Option<watcher::Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let before = |about: &ObjectReference| {
        let name = about.name.as_deref().unwrap_or_default();
        let namespace = about.namespace.as_deref().unwrap_or_default();
        Some(Delete(K::clone(&*known.get(&ObjectRef::new(name).within(namespace))?)))
    };
    match event {
        Init => Some(Init),
        InitDone => Some(InitDone),
        InitApply(object) => match read(object) {
            Ok(object) => Some(InitApply(object)),
            Err(unread) => unread.tell(client).await,
        },
        Apply(object) => match read(object) {
            Ok(object) => Some(Apply(object)),
            Err(unread) => {
                let before = before(&unread.about);
                unread.tell(client).await.or(before)
            }
        },
        Delete(object) => read(object).map_or_else(|unread| before(&unread.about), |object| Some(Delete(object))),
    }
}

/// An object that this release cannot read.
struct Unread {
    about: ObjectReference,
    error: String,
}

fn read<K: Resource<DynamicType = ()>>(object: DeserializeGuard<K>) -> Result<K, Unread> {
    let about = object.object_ref(&());
    object.0.map_err(|invalid| Unread { about, error: invalid.error })
}

impl Unread {
    /// Puts it on the object, and gives nothing.
    async fn tell<T>(&self, client: &Client) -> Option<T> {
        let ObjectReference { kind, namespace, name, .. } = &self.about;
        tracing::warn!(kind, namespace, name, "a resource cannot be understood, and is left alone: {}", self.error);
        let message = format!("Nothing is done for this resource: this release cannot read it: {}", self.error);
        let note = Note { is_warning: true, reason: "NotUnderstood".to_owned(), message };
        events::publish(client, &self.about, &note).await;
        None
    }
}
