//! Fetch: many partitions of one leader in one request, without a fetch session.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use uuid::Uuid;

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::Cluster;
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::topic_name;

/// From this version on, topics are named by their ids only (KIP-516).
pub(crate) const TOPIC_ID_VERSION: i16 = 13;

/// What is wanted of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTarget {
    /// The topic's name.
    pub topic: String,
    /// The topic's id; nil if the cluster has none.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The leader epoch that the caller knows, so that a stale leader refuses; -1 for none.
    pub leader_epoch: i32,
    /// The offset to begin at. The first batch returned contains it, and may begin before it.
    pub offset: i64,
    /// How many bytes of this partition are wanted at most; one whole batch comes even if it is larger.
    pub max_bytes: i32,
}

/// Bounds of a whole fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// How many bytes of records are wanted at most; one whole batch comes even if it is larger.
    pub max_bytes: i32,
    /// The broker waits until it has so many bytes...
    pub min_bytes: i32,
    /// ...or this time is over, in milliseconds.
    pub max_wait_ms: i32,
    /// Up to where the broker reads.
    pub isolation: Isolation,
}

/// Which records a broker returns (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark; aborted transactions are not listed.
    Uncommitted,
    /// Up to the last stable offset, with a list of what was aborted before it.
    Committed,
}

impl Isolation {
    const fn id(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

/// An aborted transaction that has records in what was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction it was.
    pub producer_id: i64,
    /// The offset of its first record in this partition.
    pub first_offset: i64,
}

/// What a leader had to say about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The first offset that is not replicated everywhere yet.
    pub high_watermark: i64,
    /// The first offset that is not decided yet; nothing after it is returned.
    pub last_stable_offset: i64,
    /// The first offset that still exists; -1 from brokers before Kafka 1.0.
    pub log_start_offset: i64,
    /// Aborted transactions among the records.
    pub aborted: Vec<AbortedTransaction>,
    /// Record batches as the broker stores them, a part of the response's own buffer. The last one may be cut short.
    pub records: Bytes,
    /// Whether the broker slowed the client down with this response (KIP-219): then no records does not mean that there are
    /// none.
    pub is_throttled: bool,
}

/// Why a partition could not be fetched, as far as it decides what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The offset is not in the log: deleted before we came, or never written.
    #[error("{0}")]
    OffsetOutOfRange(Error),
    /// Somebody else leads, or will in a moment: [`Cluster::refresh`], then look the leader up again.
    #[error("{0}")]
    NotLeader(Error),
    /// The topic is not there, or not yet known to this broker; with a topic id: this very topic is not.
    #[error("{0}")]
    UnknownTopic(Error),
    /// The same request may succeed a little later.
    #[error("{0}")]
    Later(Error),
    /// It will not succeed, however often it is sent.
    #[error("{0}")]
    Final(Error),
}

impl FetchError {
    /// The failure itself, with its kind.
    pub const fn error(&self) -> &Error {
        match self {
            Self::OffsetOutOfRange(error)
            | Self::NotLeader(error)
            | Self::UnknownTopic(error)
            | Self::Later(error)
            | Self::Final(error) => error,
        }
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        use crate::kafka::retry::Class;
        match (error.code(), error.class()) {
            (Some(1), _) => Self::OffsetOutOfRange(error),
            (Some(3 | 100 | 103), _) => Self::UnknownTopic(error),
            // The leader knows a newer epoch than ours, or a follower is still behind it.
            (Some(74 | 75), _) | (_, Class::RefreshMetadata) => Self::NotLeader(error),
            (_, Class::Retry | Class::RefreshCoordinator) => Self::Later(error),
            (_, Class::Denied | Class::Usage | Class::Conflict | Class::Fatal) => Self::Final(error),
        }
    }
}

/// The answer about one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What was fetched, or why nothing was.
    pub outcome: Result<Fetched, FetchError>,
}

impl FetchedPartition {
    /// Whether the leader gave records.
    pub fn has_records(&self) -> bool {
        self.outcome.as_ref().is_ok_and(|fetched| !fetched.records.is_empty())
    }

    /// Whether a broker said this. What a failed connection means is known without a response.
    pub fn is_of_a_broker(&self) -> bool {
        self.outcome.as_ref().map_or_else(|failed| failed.error().code().is_some(), |_| true)
    }
}

/// What became of one request.
enum Answer {
    /// Each target has its outcome.
    Fetched(Vec<FetchedPartition>),
    /// The broker read nothing, since the client has used up its quota.
    Throttled,
}

impl Cluster {
    /// One fetch from one broker, as late as the client's quota there allows. Failures of the connection and of the whole
    /// request are retried, unless another broker has become the leader of one of the partitions in the meantime: then each
    /// of those that moved is [`FetchError::NotLeader`], and the rest [`FetchError::Later`]. Failures of single partitions are
    /// the caller's. Every target is in the result, in its order.
    ///
    /// # Errors
    /// What the retry table does not retry, and [`Error::Exhausted`].
    pub async fn fetch(
        &self,
        broker: i32,
        lane: usize,
        targets: &[FetchTarget],
        limits: FetchLimits,
    ) -> Result<Vec<FetchedPartition>, Error> {
        let wait = Duration::from_millis(u64::try_from(limits.max_wait_ms).unwrap_or(0));
        let mut retry = self.retry();
        let mut last: Option<Error> = None;
        loop {
            // Asked after the metadata has been refreshed, which is what a lost connection calls for.
            retry.ready().await;
            if let Some(moved) = last.and_then(|error| self.moved(broker, targets, &error)) {
                return Ok(moved);
            }
            let error = match self.fetch_once(broker, lane, wait, targets, limits).await {
                Ok(Answer::Fetched(answers)) => return Ok(answers),
                // The connection keeps quiet for as long as the broker asked; to be slowed down is no failure.
                Ok(Answer::Throttled) => {
                    retry.progress_if(true);
                    last = None;
                    continue;
                }
                Err(error) => error,
            };
            retry.again(error.clone()).await?;
            last = Some(error);
        }
    }

    async fn fetch_once(
        &self,
        broker: i32,
        lane: usize,
        wait: Duration,
        targets: &[FetchTarget],
        limits: FetchLimits,
    ) -> Result<Answer, Error> {
        let newest = newest_version(targets);
        let pending = self.start_up_to(broker, lane, newest, |version| build_fetch(version, targets, limits)).await?;
        let version = pending.version();
        let response = self.observe(pending.with_extra_time(wait).response().await)?;
        if is_throttled(&response) {
            return Ok(Answer::Throttled);
        }
        process_fetch(broker, version, targets, response).map(Answer::Fetched)
    }

    /// After a failure: the targets, if one of them is led by another broker now.
    fn moved(&self, broker: i32, targets: &[FetchTarget], cause: &Error) -> Option<Vec<FetchedPartition>> {
        let stays = |target: &FetchTarget| {
            self.leader(&target.topic, target.partition).is_ok_and(|leader| leader.broker == broker)
        };
        if targets.iter().all(stays) {
            return None;
        }
        let answers = targets.iter().map(|target| {
            let error = if stays(target) { FetchError::Later } else { FetchError::NotLeader };
            FetchedPartition {
                topic: target.topic.clone(),
                partition: target.partition,
                outcome: Err(error(cause.clone())),
            }
        });
        Some(answers.collect())
    }
}

/// A client over its quota gets an answer without any topic, and the time for which it should keep quiet (KIP-219). It
/// says nothing about the partitions; least of all that they are empty.
fn is_throttled(response: &FetchResponse) -> bool {
    response.error_code == 0 && response.throttle_time_ms > 0 && response.responses.is_empty()
}

/// Versions that name topics by id can only be used when every topic has one: a cluster whose metadata version is
/// from before Kafka 2.8 speaks them, and has none.
fn newest_version(targets: &[FetchTarget]) -> i16 {
    match targets.iter().any(|target| target.topic_id.is_nil()) {
        true => TOPIC_ID_VERSION - 1,
        false => *FetchRequest::VERSIONS.end(),
    }
}

fn build_fetch(version: i16, targets: &[FetchTarget], limits: FetchLimits) -> FetchRequest {
    // The order of the targets stays: a broker fills its response in the order of the request.
    let mut topics: Vec<((&str, Uuid), Vec<FetchPartition>)> = Vec::new();
    for target in targets {
        let partition = FetchPartition::default()
            .with_partition(target.partition)
            .with_current_leader_epoch(target.leader_epoch)
            .with_fetch_offset(target.offset)
            .with_partition_max_bytes(target.max_bytes);
        let topic = (target.topic.as_str(), target.topic_id);
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(partition),
            Some(_) | None => topics.push((topic, vec![partition])),
        }
    }
    let topics = topics.into_iter().map(|((topic, id), partitions)| {
        let named = if version >= TOPIC_ID_VERSION {
            FetchTopic::default().with_topic_id(id)
        } else {
            FetchTopic::default().with_topic(topic_name(topic))
        };
        named.with_partitions(partitions)
    });
    let request = FetchRequest::default()
        .with_max_wait_ms(limits.max_wait_ms)
        .with_min_bytes(limits.min_bytes)
        .with_max_bytes(limits.max_bytes)
        .with_isolation_level(limits.isolation.id())
        .with_topics(topics.collect());
    // Session 0 with epoch -1 is a full fetch that keeps no session on the broker (KIP-227).
    let request = request.with_session_id(0).with_session_epoch(-1);
    if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request }
}

fn process_fetch(
    broker: i32,
    version: i16,
    targets: &[FetchTarget],
    response: FetchResponse,
) -> Result<Vec<FetchedPartition>, Error> {
    let resource = || Resource::Broker(broker);
    if let Some(error) = Error::from_code(FetchRequest::NAME, response.error_code, resource, None) {
        return Err(error);
    }
    let is_throttled = response.throttle_time_ms > 0;
    let names: HashMap<Uuid, &str> = targets.iter().map(|target| (target.topic_id, target.topic.as_str())).collect();
    let mut answers: HashMap<TopicPartition, Result<Fetched, FetchError>> = HashMap::new();
    for topic in response.responses {
        let name = match version >= TOPIC_ID_VERSION {
            true => names.get(&topic.topic_id).copied().map(str::to_owned),
            false => Some(topic.topic.to_string()),
        };
        // A topic that nobody asked for cannot be told from a broken answer, and has no place to go.
        let Some(name) = name else { continue };
        for partition in topic.partitions {
            let key = (name.clone(), partition.partition_index);
            let outcome = process_partition(&key, partition, is_throttled);
            answers.insert(key, outcome);
        }
    }
    let complete = targets.iter().map(|target| {
        let key = (target.topic.clone(), target.partition);
        let outcome = answers.remove(&key).unwrap_or_else(|| {
            Err(FetchError::Final(Error::Protocol {
                address: format!("broker {broker}"),
                api: FetchRequest::NAME,
                why: format!("nothing about topic {:?} partition {}", target.topic, target.partition),
            }))
        });
        FetchedPartition { topic: key.0, partition: key.1, outcome }
    });
    Ok(complete.collect())
}

fn process_partition(
    partition: &TopicPartition,
    data: PartitionData,
    is_throttled: bool,
) -> Result<Fetched, FetchError> {
    let resource = || Resource::Partition(partition.0.clone(), partition.1);
    if let Some(error) = Error::from_code(FetchRequest::NAME, data.error_code, resource, None) {
        return Err(error.into());
    }
    let records = data.records.unwrap_or_default();
    if records.is_empty() && *data.preferred_read_replica >= 0 {
        // No records, and nothing said about them (KIP-392). Brokers send only consumers that name their rack elsewhere, unless a
        // `replica.selector.class` of its own is at work.
        return Err(FetchError::Final(Error::Protocol {
            address: "the leader".to_owned(),
            api: FetchRequest::NAME,
            why: format!(
                "it sends readers of {}-{} to broker {}, which this program does not follow: set no replica.selector.class that \
                 sends readers without a rack elsewhere",
                partition.0, partition.1, *data.preferred_read_replica
            ),
        }));
    }
    let aborted = data
        .aborted_transactions
        .unwrap_or_default()
        .into_iter()
        .map(|aborted| AbortedTransaction { producer_id: *aborted.producer_id, first_offset: aborted.first_offset });
    Ok(Fetched {
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        aborted: aborted.collect(),
        records,
        is_throttled,
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ProducerId;
    use kafka_protocol::messages::fetch_response::{AbortedTransaction as WireAborted, FetchableTopicResponse};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    const LIMITS: FetchLimits =
        FetchLimits { max_bytes: 100, min_bytes: 1, max_wait_ms: 5, isolation: Isolation::Committed };

    fn target(topic: &str, id: u128, partition: i32) -> FetchTarget {
        FetchTarget {
            topic: topic.to_owned(),
            topic_id: Uuid::from_u128(id),
            partition,
            leader_epoch: 3,
            offset: 10,
            max_bytes: 50,
        }
    }

    fn data(partition: i32, error_code: i16) -> PartitionData {
        PartitionData::default()
            .with_partition_index(partition)
            .with_error_code(error_code)
            .with_high_watermark(20)
            .with_last_stable_offset(15)
            .with_log_start_offset(2)
    }

    #[test]
    fn every_version_can_carry_a_fetch() {
        for version in FetchRequest::VERSIONS {
            let request = build_fetch(version, &[target("t", 1, 0), target("t", 1, 1), target("u", 2, 0)], LIMITS);
            assert_eq!(request.topics.len(), 2);
            assert_eq!((request.isolation_level, request.session_epoch), (1, -1));
            request.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn topics_are_named_by_id_from_version_13_and_found_again_by_it() {
        let targets = [target("t", 1, 0)];
        assert_eq!(build_fetch(12, &targets, LIMITS).topics[0].topic.as_str(), "t");
        assert_eq!(build_fetch(13, &targets, LIMITS).topics[0].topic_id, Uuid::from_u128(1));
        let topic =
            FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(1)).with_partitions(vec![data(0, 0)]);
        let answers = process_fetch(1, 13, &targets, FetchResponse::default().with_responses(vec![topic])).unwrap();
        assert_eq!((answers[0].topic.as_str(), answers[0].outcome.is_ok()), ("t", true));
    }

    #[test]
    fn a_topic_without_id_is_fetched_by_name() {
        assert_eq!(newest_version(&[target("t", 1, 0)]), 17);
        assert_eq!(newest_version(&[target("t", 1, 0), target("u", 0, 0)]), 12);
    }

    #[test]
    fn aborted_transactions_and_records_come_through() {
        let aborted = WireAborted::default().with_producer_id(ProducerId(9)).with_first_offset(11);
        let records = Bytes::from_static(b"batches");
        let partition = data(0, 0).with_aborted_transactions(Some(vec![aborted])).with_records(Some(records.clone()));
        let topic = FetchableTopicResponse::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        let answer = process_fetch(1, 4, &[target("t", 0, 0)], response).unwrap().remove(0).outcome.unwrap();
        assert_eq!(answer.aborted, [AbortedTransaction { producer_id: 9, first_offset: 11 }]);
        assert_eq!((answer.high_watermark, answer.last_stable_offset, answer.log_start_offset), (20, 15, 2));
        assert_eq!(answer.records.as_ptr(), records.as_ptr());
    }

    #[test]
    fn partition_errors_tell_the_caller_what_to_do() {
        let targets: Vec<_> = (0..8).map(|partition| target("t", 1, partition)).collect();
        let codes = [1, 6, 74, 3, 100, 29, 56, 78];
        let partitions = codes.iter().zip(0..).map(|(code, partition)| data(partition, *code)).collect();
        let topic = FetchableTopicResponse::default().with_topic_id(Uuid::from_u128(1)).with_partitions(partitions);
        let answers = process_fetch(1, 17, &targets, FetchResponse::default().with_responses(vec![topic])).unwrap();
        let named: Vec<_> = answers
            .iter()
            .map(|answer| match answer.outcome.as_ref().unwrap_err() {
                FetchError::OffsetOutOfRange(_) => "range",
                FetchError::NotLeader(_) => "leader",
                FetchError::UnknownTopic(_) => "topic",
                FetchError::Later(_) => "later",
                FetchError::Final(_) => "final",
            })
            .collect();
        assert_eq!(named, ["range", "leader", "leader", "topic", "topic", "final", "leader", "later"]);
    }

    #[test]
    fn a_partition_that_is_left_out_is_not_taken_for_empty() {
        let answers = process_fetch(1, 17, &[target("t", 1, 0)], FetchResponse::default()).unwrap();
        assert!(matches!(answers[0].outcome, Err(FetchError::Final(Error::Protocol { .. }))));
    }

    #[test]
    fn an_error_of_the_whole_request_is_an_error_of_the_call() {
        let error = process_fetch(1, 17, &[], FetchResponse::default().with_error_code(56)).unwrap_err();
        assert!(error.is_retriable());
    }

    #[test]
    fn an_answer_without_topics_is_a_pause_only_if_the_broker_asks_for_one() {
        let topic = FetchableTopicResponse::default().with_topic(topic_name("a"));
        let empty = FetchResponse::default;
        assert!(is_throttled(&empty().with_throttle_time_ms(1)));
        for answer in [
            empty(),
            empty().with_throttle_time_ms(1).with_responses(vec![topic]),
            empty().with_throttle_time_ms(1).with_error_code(-1),
        ] {
            assert!(!is_throttled(&answer), "{answer:?}");
        }
    }
}
