//! A cluster: who is in it, who leads what, and the connections to all of them.
//!
//! Every call that may be retried goes through [`Retry`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use kafka_protocol::messages::{FetchRequest, MetadataRequest};
use uuid::Uuid;

use crate::breaker::Breaker;
use crate::config::cluster::{Address, Checked, ClusterConfig};
use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::buffers::Buffers;
use crate::kafka::connection::{Connection, Pending};
use crate::kafka::error::{Error, LEADER_NOT_AVAILABLE, Resource, UNKNOWN_TOPIC_OR_PARTITION};
use crate::kafka::fetch::TOPIC_ID_VERSION;
use crate::kafka::metadata::{Broker, Metadata, PartitionMetadata, TopicMetadata, build_metadata, process_metadata};
use crate::kafka::retry::Budget;
use crate::kafka::rounds::{Retry, Rounds, of_all};
use crate::kafka::transport::Transport;
use crate::kafka::{sasl, transport};

/// The connection to each broker that metadata, administration and offsets share: a long fetch never stands before
/// them. Workers take lanes counted from 0.
pub const CONTROL_LANE: usize = usize::MAX;

/// A cluster that nobody can reach at the start is more likely a wrong address than a restart: no long wait.
const BOOTSTRAP_RETRY: Duration = Duration::from_secs(5);
/// Metadata is asked for at most this often, however many workers find out that a leader moved.
const REFRESH_EVERY: Duration = Duration::from_millis(250);
/// How often a connection that is to be replaced is looked at, until its last answer has come.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// A Kafka cluster; a clone is the same one and shares its connections.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Checked,
    transport: Transport,
    buffers: Buffers,
    breaker: Breaker,
    view: Mutex<View>,
    /// When the last refresh began; held while one is on its way.
    refreshed: tokio::sync::Mutex<Option<Instant>>,
    pool: Mutex<HashMap<(i32, usize), Slot>>,
    /// Whether any broker takes no topic ids in a fetch.
    fetches_by_name: AtomicBool,
    /// The broker that answered last when any would do.
    preferred: AtomicI32,
    seed: AtomicU64,
}

/// What one request said about each of the things that it asked for.
pub(crate) type Answers<K, T> = Vec<(K, Result<T, Error>)>;
/// A request on its way, boxed: calls that take closures could not be spawned otherwise.
pub(crate) type Asked<'a, K, T> = BoxFuture<'a, Result<Answers<K, T>, Error>>;

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// The leader of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker's id.
    pub broker: i32,
    /// The leader epoch in which it leads; -1 from brokers before Kafka 2.1.
    pub epoch: i32,
}

/// What we know about the cluster: its brokers, and the topics that somebody has asked about.
#[derive(Debug, Default)]
struct View {
    cluster_id: Option<String>,
    controller: Option<i32>,
    brokers: BTreeMap<i32, Broker>,
    topics: BTreeMap<String, TopicMetadata>,
    /// Another cluster has answered under this one's addresses.
    other: Option<Error>,
}

impl View {
    /// Takes over what is new. `named`: the answer is about exactly the topics that were asked for, which are
    /// followed from now on; an answer about all topics only updates those that are followed already.
    fn merge(&mut self, metadata: &Metadata, named: bool) {
        let Metadata { cluster_id, controller, brokers, topics } = metadata;
        if cluster_id.is_some() {
            self.cluster_id.clone_from(cluster_id);
        }
        self.controller = *controller;
        self.brokers.clone_from(brokers);
        for (name, topic) in topics {
            match self.topics.get_mut(name) {
                Some(known) => *known = newer(known, topic),
                None if named => drop(self.topics.insert(name.clone(), topic.clone())),
                None => {}
            }
        }
    }

    /// Whether the name belongs to another topic than that of this id now, or to none.
    fn is_gone(&self, topic: &str, id: Uuid) -> bool {
        let Some(known) = self.topics.get(topic) else { return false };
        match &known.error {
            Some(error) => error.code() == Some(UNKNOWN_TOPIC_OR_PARTITION),
            None => !known.id.is_nil() && !id.is_nil() && known.id != id,
        }
    }

    fn leader(&self, topic: &str, partition: i32) -> Result<Leader, Error> {
        let error = |code, resource| Error::Broker { resource, api: MetadataRequest::NAME, code, message: None };
        let resource = || Resource::Partition(topic.to_owned(), partition);
        let Some(known) = self.topics.get(topic) else {
            return Err(error(UNKNOWN_TOPIC_OR_PARTITION, Resource::Topic(topic.to_owned())));
        };
        if let Some(error) = &known.error {
            return Err(error.clone());
        }
        let Some(known) = known.partition(partition) else {
            return Err(error(UNKNOWN_TOPIC_OR_PARTITION, resource()));
        };
        match known.leader {
            Some(broker) => Ok(Leader { broker, epoch: known.leader_epoch }),
            None => Err(known.error.clone().unwrap_or_else(|| error(LEADER_NOT_AVAILABLE, resource()))),
        }
    }
}

/// What an answer adds to what was known before. A topic that was created again under its name begins with new epochs; where brokers
/// tell no ids, one that was created again with fewer partitions is known by these.
pub(crate) fn newer(known: &TopicMetadata, answer: &TopicMetadata) -> TopicMetadata {
    if known.id != answer.id {
        return answer.clone();
    }
    let mut merged = united(known, answer);
    if answer.error.is_some() || answer.id.is_nil() {
        merged.partitions.retain(|partition| answer.partition(partition.partition).is_some());
    }
    merged
}

/// What two answers about one topic say together. A broker that is behind still names the old leader, and lacks partitions that were
/// added; the leader epoch tells (KIP-320), and partitions are never taken away.
pub(crate) fn united(known: &TopicMetadata, answer: &TopicMetadata) -> TopicMetadata {
    let mut merged = answer.clone();
    for partition in &mut merged.partitions {
        let before = known.partition(partition.partition);
        if let Some(before) = before.filter(|before| before.leader_epoch > partition.leader_epoch) {
            *partition = before.clone();
        }
    }
    let is_there = |before: &&PartitionMetadata| answer.partition(before.partition).is_some();
    merged.partitions.extend(known.partitions.iter().filter(|before| !is_there(before)).cloned());
    merged.partitions.sort_by_key(|partition| partition.partition);
    merged
}

impl Cluster {
    /// Finds the cluster through its bootstrap servers.
    ///
    /// # Errors
    /// A contradiction in the configuration; a refusal at once; [`Error::Bootstrap`] when nobody could be reached
    /// for five seconds.
    pub async fn connect(config: &ClusterConfig, breaker: Breaker) -> Result<Self, Error> {
        let config = config.check()?;
        let transport = Transport::new(&config)?;
        let seed = u64::from(std::process::id()) ^ crate::clock::now_ms().unsigned_abs();
        let cluster = Self {
            inner: Arc::new(Inner {
                config,
                transport,
                buffers: Buffers::default(),
                breaker,
                view: Mutex::default(),
                refreshed: tokio::sync::Mutex::default(),
                pool: Mutex::default(),
                preferred: AtomicI32::new(-1),
                fetches_by_name: AtomicBool::new(false),
                seed: AtomicU64::new(seed),
            }),
        };
        let mut budget = Budget::new(BOOTSTRAP_RETRY, Instant::now(), seed);
        loop {
            let error = match cluster.ask_bootstrap(Some(&[])).await {
                Ok(metadata) => {
                    cluster.view().merge(&metadata, true);
                    return Ok(cluster);
                }
                Err(error) => error,
            };
            match budget.pause(Instant::now()) {
                Some(pause) if error.is_retriable() => tokio::time::sleep(pause).await,
                Some(_) | None => return Err(error),
            }
        }
    }

    /// The cluster's id, if its brokers tell one.
    pub fn cluster_id(&self) -> Option<String> {
        self.view().cluster_id.clone()
    }

    /// The live brokers, as of the last metadata.
    pub fn brokers(&self) -> Vec<Broker> {
        self.view().brokers.values().cloned().collect()
    }

    /// The broker that takes administrative requests, if one is known.
    pub fn controller(&self) -> Option<i32> {
        self.view().controller
    }

    /// The circuit breaker that all calls of this cluster share.
    pub fn breaker(&self) -> &Breaker {
        &self.inner.breaker
    }

    /// How long one request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.config.request_timeout_ms)
    }

    /// Fresh metadata about these topics, or all that we may see. A topic that does not exist or that we may not
    /// see is in the answer, with its error. Named topics are followed by [`Cluster::refresh`] from now on.
    ///
    /// # Errors
    /// When no broker answers for as long as the retry timeout, or the cluster refuses us.
    pub async fn metadata(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let mut retry = self.retry();
        loop {
            retry.ready().await;
            match self.ask_metadata(topics).await {
                Ok(metadata) => return Ok(metadata),
                Err(error) => retry.again(error).await?,
            }
        }
    }

    /// The leader of a partition as of the last metadata about its topic.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `LEADER_NOT_AVAILABLE`, or what the broker said about topic or partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Leader, Error> {
        self.view().leader(topic, partition)
    }

    /// Whether a followed topic is gone, as of the last metadata: its name belongs to another topic now (KIP-516), or to none.
    pub fn is_gone(&self, topic: &str, id: Uuid) -> bool {
        self.view().is_gone(topic, id)
    }

    /// The id of a followed topic; nil if it is not known.
    pub fn topic_id(&self, topic: &str) -> Uuid {
        self.view().topics.get(topic).map_or(Uuid::nil(), |topic| topic.id)
    }

    /// Whether records are asked for by the name of their topic: a broker that was met does not take its id (KIP-516, before Kafka
    /// 3.1).
    pub fn fetches_by_name(&self) -> bool {
        self.inner.fetches_by_name.load(Ordering::Relaxed)
    }

    /// Asks about those of the topics that are not followed yet.
    ///
    /// # Errors
    /// As [`Cluster::metadata`]; errors of single topics show in [`Cluster::leader`].
    pub async fn follow(&self, topics: &BTreeSet<String>) -> Result<(), Error> {
        let missing: Vec<String> = {
            let view = self.view();
            topics.iter().filter(|topic| !view.topics.contains_key(*topic)).cloned().collect()
        };
        if !missing.is_empty() {
            self.metadata(Some(&missing)).await?;
        }
        Ok(())
    }

    /// Takes over what is known of topics, which are followed from now on.
    pub(crate) fn learn(&self, topics: BTreeMap<String, TopicMetadata>) {
        let mut view = self.view();
        for (name, topic) in topics {
            let topic = view.topics.get(&name).map_or_else(|| topic.clone(), |known| newer(known, &topic));
            view.topics.insert(name, topic);
        }
    }

    /// Asks again about all followed topics: after errors that say the leader has moved. Callers that come while
    /// one refresh is on its way share the next one.
    ///
    /// # Errors
    /// When no broker and no bootstrap server answers. Not retried here: the caller's own retry comes back.
    pub async fn refresh(&self) -> Result<(), Error> {
        let asked = Instant::now();
        let mut refreshed = self.inner.refreshed.lock().await;
        if let Some(began) = *refreshed {
            if began >= asked {
                return Ok(());
            }
            tokio::time::sleep_until((began + REFRESH_EVERY).into()).await;
        }
        *refreshed = Some(Instant::now());
        let topics: Vec<String> = self.view().topics.keys().cloned().collect();
        self.ask_metadata(Some(&topics)).await.map(drop)
    }

    /// The open connection of a lane to a broker; opened, or replaced, if need be. The broker serves one request per
    /// connection at a time, so a worker that wants to be served beside others takes a lane of its own.
    ///
    /// # Errors
    /// [`Error::UnknownBroker`], [`Error::OtherCluster`] once another cluster has answered to any call, and whatever opening a
    /// connection fails with.
    pub async fn connection(&self, broker: i32, lane: usize) -> Result<Connection, Error> {
        let slot = Arc::clone(lock(&self.inner.pool).entry((broker, lane)).or_default());
        let mut slot = slot.lock().await;
        let address = {
            let view = self.view();
            if let Some(error) = &view.other {
                return Err(error.clone());
            }
            view.brokers.get(&broker).map(|broker| broker.address.clone()).ok_or(Error::UnknownBroker { id: broker })?
        };
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            let expires = connection.expires_at().is_some_and(|at| Instant::now() >= at);
            if !expires && connection.address() == address.to_string() {
                return Ok(connection.clone());
            }
            // The broker must have taken what was sent before what comes next: batches of a producer come in order.
            let deadline = Instant::now() + self.request_timeout();
            while connection.is_alive() && connection.in_flight() > 0 && Instant::now() < deadline {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        }
        *slot = None;
        let connection = self.open(&address).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn open(&self, address: &Address) -> Result<Connection, Error> {
        let transport: &transport::Transport = &self.inner.transport;
        let stream = transport.open(address).await?;
        let timeout = self.request_timeout();
        let buffers = self.inner.buffers.clone();
        let connection = Connection::open(stream, address.to_string(), transport.clone(), buffers, timeout).await?;
        if connection.version::<FetchRequest>().is_ok_and(|version| version < TOPIC_ID_VERSION) {
            self.inner.fetches_by_name.store(true, Ordering::Relaxed);
        }
        if let Some(credentials) = &self.inner.config.sasl {
            sasl::authenticate(&connection, credentials).await?;
        }
        Ok(connection)
    }

    /// One try of one call to one broker; the circuit breaker hears how it went.
    pub(crate) async fn call_once<A: Api>(
        &self,
        broker: i32,
        lane: usize,
        extra: Duration,
        build: impl FnOnce(i16) -> A,
    ) -> Result<A::Response, Error> {
        let outcome = match self.start(broker, lane, build).await {
            Ok(pending) => pending.with_extra_time(extra).response().await,
            Err(error) => return Err(error),
        };
        self.observe(outcome)
    }

    /// Puts one request in line on a lane; done when it is in line. The breaker hears of a failure to get there.
    pub(crate) async fn start<A: Api>(
        &self,
        broker: i32,
        lane: usize,
        build: impl FnOnce(i16) -> A,
    ) -> Result<Pending<A>, Error> {
        self.start_up_to(broker, lane, *A::VERSIONS.end(), build).await
    }

    /// The same in a version that is not above `newest`.
    pub(crate) async fn start_up_to<A: Api>(
        &self,
        broker: i32,
        lane: usize,
        newest: i16,
        build: impl FnOnce(i16) -> A,
    ) -> Result<Pending<A>, Error> {
        let connection = match self.connection(broker, lane).await {
            Ok(connection) => connection,
            Err(error) => return self.observe(Err(error)),
        };
        let version = connection.version_up_to::<A>(newest)?;
        connection.start(version, &build(version))
    }

    /// One try at each broker until one answers, beginning with the one that did last.
    pub(crate) async fn call_any_once<A: Api>(&self, build: impl Fn(i16) -> A) -> Result<A::Response, Error> {
        let mut last = None;
        for broker in self.candidates() {
            match self.call_once(broker, CONTROL_LANE, Duration::ZERO, &build).await {
                Err(error) if error.is_silence() || matches!(error, Error::UnknownBroker { .. }) => last = Some(error),
                outcome => {
                    self.inner.preferred.store(broker, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        Err(last.unwrap_or(Error::UnknownBroker { id: -1 }))
    }

    /// One try at the controller; at any broker while none is known.
    pub(crate) async fn call_controller_once<A: Api>(
        &self,
        extra: Duration,
        build: impl Fn(i16) -> A,
    ) -> Result<A::Response, Error> {
        match self.controller() {
            Some(controller) => self.call_once(controller, CONTROL_LANE, extra, build).await,
            None => self.call_any_once(build).await,
        }
    }

    /// Tells the breaker whether somebody answered. An answer with an error code is an answer.
    pub(crate) fn observe<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Err(error) if error.is_silence() => self.inner.breaker.failure(),
            Err(Error::UnknownBroker { .. } | Error::Encode { .. }) => {}
            Ok(_) | Err(_) => self.inner.breaker.success(),
        }
        outcome
    }

    pub(crate) fn retry(&self) -> Retry<'_> {
        let seed = self.inner.seed.fetch_add(0x9e37_79b9, Ordering::Relaxed);
        let limit = Duration::from_millis(self.inner.config.retry_timeout_ms);
        Retry::new(self, limit, seed)
    }

    /// Sends each partition's question to its leader, and asks again for those whose answer may be retried. Every
    /// partition is in the result. `send` makes one request to one broker about the partitions that it leads.
    pub(crate) async fn ask_leaders<'a, T>(
        &self,
        api: &'static str,
        partitions: impl IntoIterator<Item = TopicPartition>,
        send: impl Fn(i32, Arc<[TopicPartition]>) -> Asked<'a, TopicPartition, T>,
    ) -> BTreeMap<TopicPartition, Result<T, Error>> {
        let partitions: BTreeSet<TopicPartition> = partitions.into_iter().collect();
        let topics: BTreeSet<String> = partitions.iter().map(|(topic, _)| topic.clone()).collect();
        if let Err(error) = self.follow(&topics).await {
            return partitions.into_iter().map(|partition| (partition, Err(error.clone()))).collect();
        }
        let mut rounds = Rounds::new(self.retry(), api, partitions);
        while let Some(open) = rounds.next().await {
            let (by_leader, leaderless) = self.by_leader(open);
            let asked = by_leader.into_iter().map(|(broker, partitions)| {
                let partitions: Arc<[TopicPartition]> = partitions.into();
                let answers = send(broker, Arc::clone(&partitions));
                async move { of_all(&partitions, answers.await) }
            });
            let answers = join_all(asked).await.into_iter().flatten();
            let leaderless = leaderless.into_iter().map(|(partition, error)| (partition, Err(error)));
            rounds.settle(answers.chain(leaderless), Error::is_retriable).await;
        }
        rounds.done()
    }

    #[expect(clippy::type_complexity, reason = "two lists, named where they are taken apart")]
    fn by_leader(
        &self,
        partitions: Vec<TopicPartition>,
    ) -> (BTreeMap<i32, Vec<TopicPartition>>, Vec<(TopicPartition, Error)>) {
        let view = self.view();
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for partition in partitions {
            match view.leader(&partition.0, partition.1) {
                Ok(leader) => by_leader.entry(leader.broker).or_default().push(partition),
                Err(error) => leaderless.push((partition, error)),
            }
        }
        (by_leader, leaderless)
    }

    /// One try at every broker, and when none is left at every bootstrap server.
    async fn ask_metadata(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let metadata = match self.ask_brokers(topics).await {
            Err(error) if error.is_silence() || matches!(error, Error::UnknownBroker { .. }) => {
                self.ask_bootstrap(topics).await?
            }
            outcome => outcome?,
        };
        self.view().merge(&metadata, topics.is_some());
        Ok(metadata)
    }

    async fn ask_brokers(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let response = self.call_any_once(|_| build_metadata(topics)).await?;
        self.accept("a broker", response)
    }

    async fn ask_bootstrap(&self, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let mut causes = Vec::new();
        for server in &self.inner.config.bootstrap_servers {
            match self.ask_server(server, topics).await {
                Ok(metadata) => return Ok(metadata),
                Err(error) => causes.push(error),
            }
        }
        Err(Error::Bootstrap { causes })
    }

    async fn ask_server(&self, server: &Address, topics: Option<&[String]>) -> Result<Metadata, Error> {
        let connection = self.open(server).await?;
        let version = connection.version::<MetadataRequest>()?;
        let response = connection.call(version, &build_metadata(topics)).await.map_err(|error| match error {
            // A listener with SASL answers ApiVersions to everybody, and closes at the next request.
            Error::Lost { address, why } if self.inner.config.sasl.is_none() => {
                Error::Lost { address, why: format!("{why} (does this listener ask for SASL?)") }
            }
            other => other,
        })?;
        self.accept(&server.to_string(), response)
    }

    /// A host name that now leads to another cluster must not get this one's data.
    pub(crate) fn accept(
        &self,
        address: &str,
        response: kafka_protocol::messages::MetadataResponse,
    ) -> Result<Metadata, Error> {
        let metadata = process_metadata(address, response)?;
        match (self.cluster_id(), &metadata.cluster_id) {
            (Some(expected), Some(found)) if expected != *found => {
                let error = Error::OtherCluster { address: address.to_owned(), expected, found: found.clone() };
                // From here on nobody can say whose answers come.
                self.view().other.get_or_insert_with(|| error.clone());
                Err(error)
            }
            (Some(_) | None, Some(_) | None) => Ok(metadata),
        }
    }

    /// Asks this broker first from now on, where any would do.
    pub(crate) fn prefer(&self, broker: i32) {
        self.inner.preferred.store(broker, Ordering::Relaxed);
    }

    /// All brokers, the one that answered last first.
    pub(crate) fn candidates(&self) -> Vec<i32> {
        let preferred = self.inner.preferred.load(Ordering::Relaxed);
        let mut candidates: Vec<i32> = self.view().brokers.keys().copied().collect();
        candidates.sort_by_key(|id| (*id != preferred, *id));
        candidates
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.inner.view)
    }
}

/// Changes under these locks are single assignments, so that a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn topic(id: u128, leaders: &[(Option<i32>, i32)]) -> TopicMetadata {
        let partitions = leaders.iter().zip(0..).map(|((leader, leader_epoch), partition)| PartitionMetadata {
            partition,
            leader: *leader,
            leader_epoch: *leader_epoch,
            replicas: vec![],
            isr: vec![],
            error: None,
        });
        TopicMetadata {
            name: "t".to_owned(),
            id: Uuid::from_u128(id),
            internal: false,
            partitions: partitions.collect(),
            error: None,
        }
    }

    fn metadata(topic: TopicMetadata) -> Metadata {
        Metadata {
            cluster_id: None,
            controller: None,
            brokers: BTreeMap::new(),
            topics: [(topic.name.clone(), topic)].into(),
        }
    }

    fn epoch(view: &View) -> i32 {
        view.leader("t", 0).unwrap().epoch
    }

    #[test]
    fn an_answer_with_an_older_leader_epoch_does_not_win() {
        let mut view = View::default();
        view.merge(&metadata(topic(1, &[(Some(1), 5)])), true);
        view.merge(&metadata(topic(1, &[(Some(2), 4)])), true);
        assert_eq!(view.leader("t", 0).unwrap(), Leader { broker: 1, epoch: 5 });
        view.merge(&metadata(topic(1, &[(Some(2), 6)])), true);
        assert_eq!(epoch(&view), 6);
    }

    #[test]
    fn a_topic_that_was_created_again_begins_with_new_epochs() {
        let mut view = View::default();
        view.merge(&metadata(topic(1, &[(Some(1), 5)])), true);
        view.merge(&metadata(topic(2, &[(Some(2), 0)])), true);
        assert_eq!(view.leader("t", 0).unwrap(), Leader { broker: 2, epoch: 0 });
    }

    #[test]
    fn an_answer_about_all_topics_follows_none_of_them() {
        let mut view = View::default();
        view.merge(&metadata(topic(1, &[(Some(1), 5)])), false);
        assert_eq!(view.leader("t", 0).unwrap_err().code(), Some(UNKNOWN_TOPIC_OR_PARTITION));
        view.merge(&metadata(topic(1, &[(Some(1), 5)])), true);
        view.merge(&metadata(topic(1, &[(Some(2), 6)])), false);
        assert_eq!(epoch(&view), 6);
    }

    #[test]
    fn a_partition_without_leader_is_asked_for_again() {
        let mut view = View::default();
        view.merge(&metadata(topic(1, &[(None, 5)])), true);
        let error = view.leader("t", 0).unwrap_err();
        assert_eq!((error.code(), error.is_retriable()), (Some(LEADER_NOT_AVAILABLE), true));
        assert_eq!(view.leader("t", 1).unwrap_err().code(), Some(UNKNOWN_TOPIC_OR_PARTITION));
    }

    #[tokio::test]
    async fn bootstrap_names_every_host_and_its_cause_and_ends_soon() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap().to_string();
        drop(listener);
        let config = ClusterConfig::plaintext(vec![closed.clone(), "no-such-host.invalid:9092".to_owned()]);
        let began = Instant::now();
        let error = Cluster::connect(&config, Breaker::disabled()).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable);
        let text = error.to_string();
        assert!(text.contains(&format!("{closed}: connection refused")), "{text}");
        assert!(text.contains("no-such-host.invalid:9092: ") && !text.contains('\n'), "{text}");
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    /// Runs spawn these calls: each future has to be one that can move between threads.
    #[expect(dead_code, reason = "that it compiles is the promise")]
    fn every_call_can_be_spawned(cluster: Cluster) {
        fn spawnable<T: Send>(_: &T) {}
        let (names, partitions) = (BTreeSet::new(), BTreeMap::new());
        let (epochs, offsets, changes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let isolation = crate::kafka::fetch::Isolation::Committed;
        let limits = crate::kafka::fetch::FetchLimits { max_bytes: 1, min_bytes: 1, max_wait_ms: 1, isolation };
        spawnable(&cluster.list_offsets(vec![], crate::kafka::list_offsets::Position::Earliest));
        spawnable(&cluster.delete_records(&partitions));
        spawnable(&cluster.epoch_ends(&epochs));
        spawnable(&cluster.open_transactions(vec![]));
        spawnable(&cluster.init_producer_id(None, 1));
        spawnable(&cluster.fetch(1, 0, &[], limits));
        spawnable(&cluster.produce(1, 0, None, vec![]));
        spawnable(&cluster.metadata(None));
        spawnable(&cluster.refresh());
        spawnable(&cluster.topic_configs(&names, None));
        spawnable(&cluster.broker_config(1, None));
        spawnable(&cluster.create_topics(&[], false));
        spawnable(&cluster.delete_topics(&ids_of()));
        spawnable(&cluster.alter_topic_configs(&changes, false));
        spawnable(&cluster.capabilities());
        spawnable(&cluster.topic_operations(&names));
        spawnable(&cluster.topics_denied_to_write(&names));
        spawnable(&cluster.await_created(&names, Duration::ZERO));
        spawnable(&cluster.await_deleted(&ids_of(), Duration::ZERO));
        spawnable(&cluster.list_groups());
        spawnable(&cluster.describe_groups(&names));
        spawnable(&cluster.committed_offsets(&names));
        spawnable(&cluster.committed_offsets_soon(&names));
        spawnable(&cluster.commit_offsets("g", &offsets));
        spawnable(&cluster.share_start_offsets(&names));
        spawnable(&cluster.alter_share_start_offsets("g", &offsets));
        spawnable(&cluster.sees_every_group());
    }

    fn ids_of() -> BTreeMap<String, Uuid> {
        BTreeMap::new()
    }
}
