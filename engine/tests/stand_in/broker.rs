//! A stand-in for a broker on a port of this machine: a cluster of one, or one of several that know different things.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_backup::config::cluster::ClusterConfig;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::topic::Topic;

/// What a response announces that is larger than any that a client reads.
pub const OVERSIZED_BYTES: i32 = 200 << 20;

/// Serves its topics until it is dropped.
pub struct Broker {
    state: Arc<State>,
    listening: tokio::task::JoinHandle<()>,
}

/// A consumer group that has committed an offset, if its coordinator may say so.
pub struct Group {
    pub name: String,
    /// Topic, partition 0, offset; or the error code that is answered instead.
    pub committed: Result<(String, i64), i16>,
    /// Lists of groups that it is not in, since its coordinator moves meanwhile.
    pub missed_lists: u64,
}

/// What a fetch request asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Topics that are there, and the numbers of their partitions, in the order of the request.
    pub partitions: Vec<(String, i32)>,
    /// For how long the broker may hold its answer back.
    pub max_wait_ms: i32,
}

/// What all its connections share.
pub struct State {
    pub id: i32,
    pub port: u16,
    /// The other brokers that it knows: their ids and ports.
    pub others: Mutex<Vec<(i32, u16)>>,
    /// The leader epoch in which it takes itself for the leader of its topics.
    pub leader_epoch: i32,
    pub topics: Vec<Topic>,
    pub groups: Vec<Group>,
    /// The id of the cluster, which may become another.
    pub cluster_id: Arc<Mutex<String>>,
    /// Requests that were answered, by what was asked.
    answered: Mutex<BTreeMap<i16, u64>>,
    requests: AtomicU64,
    /// Lists of groups that were answered.
    pub lists: AtomicU64,
    /// The fetch requests so far.
    pub fetches: Mutex<Vec<Fetch>>,
    /// The newest version of Fetch that it speaks, if that is not the newest of all.
    pub fetch_version_max: AtomicI16,
    /// For how long it holds an answer back at most, in milliseconds, whatever a client allows.
    pub wait_ms_max: AtomicU64,
    /// So many fetches it answers, before it ends the connection of each.
    fetches_max: AtomicU64,
    /// How long it takes to append what is produced, in milliseconds.
    append_ms: AtomicU64,
    is_away: AtomicBool,
    /// How often somebody came while it was away.
    in_vain: AtomicU64,
}

impl Broker {
    pub async fn start(topics: Vec<Topic>) -> Self {
        Self::start_with(topics, Vec::new()).await
    }

    pub async fn start_with(topics: Vec<Topic>, groups: Vec<Group>) -> Self {
        Self::start_as(1, 0, topics, groups).await
    }

    /// One of several brokers; see [`Broker::meet`].
    pub async fn start_as(id: i32, leader_epoch: i32, topics: Vec<Topic>, groups: Vec<Group>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            id,
            port,
            others: Mutex::default(),
            leader_epoch,
            topics,
            groups,
            cluster_id: Arc::new(Mutex::new("stand-in".to_owned())),
            answered: Mutex::default(),
            requests: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            fetches: Mutex::default(),
            fetch_version_max: AtomicI16::new(i16::MAX),
            wait_ms_max: AtomicU64::new(u64::MAX),
            fetches_max: AtomicU64::new(u64::MAX),
            append_ms: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
            in_vain: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away ends its connection, and nothing else.
                tokio::spawn(converse(stream, Arc::clone(&shared)));
            }
        });
        Self { state, listening }
    }

    /// Both know of each other from now on.
    pub fn meet(&self, other: &Self) {
        for (one, another) in [(self, other), (other, self)] {
            one.state.others.lock().unwrap().push((another.state.id, another.state.port));
        }
    }

    /// It takes the one on this port of the machine for another broker of its cluster, from now on.
    pub fn knows(&self, id: i32, port: u16) {
        self.state.others.lock().unwrap().push((id, port));
    }

    /// The other broker has left the cluster, as far as this one knows.
    pub fn forgets(&self, id: i32) {
        self.state.others.lock().unwrap().retain(|(other, _)| *other != id);
    }

    pub fn config(&self) -> ClusterConfig {
        ClusterConfig::plaintext(vec![format!("127.0.0.1:{}", self.state.port)])
    }

    /// From now on it speaks Fetch as brokers did before Kafka 3.1, by the names of topics.
    pub fn fetch_by_name(&self) {
        self.state.fetch_version_max.store(12, Ordering::Relaxed);
    }

    /// From now on it answers a fetch of nothing within this time, as one does whose tiered storage is away.
    pub fn answer_within(&self, time: Duration) {
        self.state.wait_ms_max.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// It answers so many fetches, and ends the connection of each that follows. It answers all other requests.
    pub fn answer_fetches(&self, count: u64) {
        self.state.fetches_max.store(count, Ordering::Relaxed);
    }

    /// It answers another fetch after those.
    pub fn answer_another_fetch(&self) {
        self.state.fetches_max.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on it takes so long for each Produce request.
    pub fn append_within(&self, time: Duration) {
        self.state.append_ms.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// From now on it closes every connection at the first sign of a client; or it is as before.
    pub fn set_away(&self, is_away: bool) {
        self.state.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Connections and requests that ended like this.
    pub fn attempts_in_vain(&self) -> u64 {
        self.state.in_vain.load(Ordering::Relaxed)
    }

    /// The id of its cluster.
    pub fn cluster_id(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.state.cluster_id)
    }

    pub fn topics(&self) -> &[Topic] {
        &self.state.topics
    }

    /// The fetch requests so far, in their order.
    pub fn fetches(&self) -> Vec<Fetch> {
        self.state.fetches.lock().unwrap().clone()
    }

    /// All requests since the start.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests of one kind since the start.
    pub fn requests_of(&self, api: ApiKey) -> u64 {
        self.state.answered_of(api)
    }
}

impl State {
    /// The topics that were not deleted.
    pub fn known_topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().filter(|topic| !topic.is_deleted.load(Ordering::Relaxed))
    }

    fn answered_of(&self, api: ApiKey) -> u64 {
        self.answered.lock().unwrap().get(&(api as i16)).copied().unwrap_or(0)
    }

    fn turns_away(&self) -> bool {
        let is_away = self.is_away.load(Ordering::Relaxed);
        self.in_vain.fetch_add(u64::from(is_away), Ordering::Relaxed);
        is_away
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn converse(mut stream: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    if state.turns_away() {
        return Ok(());
    }
    loop {
        let length = usize::try_from(stream.read_i32().await?).unwrap();
        if state.turns_away() {
            return Ok(());
        }
        let mut frame = BytesMut::zeroed(length);
        stream.read_exact(&mut frame).await?;
        let mut frame = frame.freeze();
        let (api, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let api = ApiKey::try_from(api).unwrap();
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).unwrap();
        state.requests.fetch_add(1, Ordering::Relaxed);
        if api == ApiKey::Fetch && state.answered_of(api) >= state.fetches_max.load(Ordering::Relaxed) {
            state.in_vain.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let answer = crate::answer::to(&state, api, version, frame).await;
        if api == ApiKey::Produce {
            tokio::time::sleep(Duration::from_millis(state.append_ms.load(Ordering::Relaxed))).await;
        }
        *state.answered.lock().unwrap().entry(api as i16).or_default() += 1;
        match answer {
            Some(answer) => stream.write_all(&framed(api, version, header.correlation_id, &answer)).await?,
            // A client that does not read so much ends the connection.
            None => stream.write_i32(OVERSIZED_BYTES).await?,
        }
    }
}

fn framed(api: ApiKey, version: i16, correlation_id: i32, answer: &Bytes) -> BytesMut {
    let mut frame = BytesMut::with_capacity(answer.len() + 16);
    frame.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut frame, api.response_header_version(version)).unwrap();
    frame.extend_from_slice(answer);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}
