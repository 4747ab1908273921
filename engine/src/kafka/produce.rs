//! Produce: one record batch per partition, exactly as given.
//!
//! Nothing is retried here. Who produces with sequence numbers must decide on every failure itself what comes next,
//! since the order of batches is what the numbers stand for.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TransactionalId};
use uuid::Uuid;

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::Cluster;
use crate::kafka::connection::Pending;
use crate::kafka::delete_records::timeout_ms;
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::{string, topic_name};

/// From this version on, topics are named by their ids only (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;

/// What stands around a batch in a request at most: lengths of lists and of the batch, the partition's number, tags.
const AROUND_A_BATCH_BYTES: usize = 32;

/// One batch for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceBatch {
    /// The topic's name.
    pub topic: String,
    /// The topic's id, so that a topic created again under the name does not get the batch; nil if not known.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// Exactly one whole record batch: brokers refuse more.
    pub batch: Bytes,
}

impl ProduceBatch {
    /// Bytes of a request that it takes at most: with what stands around it, and its topic, whose only batch it may be.
    pub fn request_bytes(&self) -> usize {
        let topic = self.topic.len().max(size_of::<Uuid>());
        topic + AROUND_A_BATCH_BYTES + self.batch.len()
    }
}

/// What a leader said about an accepted batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of the batch's first record.
    pub base_offset: i64,
    /// The time the broker gave its records, in milliseconds; -1 unless the topic has LogAppendTime.
    pub log_append_time_ms: i64,
    /// The log start offset; -1 from brokers before Kafka 1.0.
    pub log_start_offset: i64,
}

/// The answer about one partition; [`Error::class`] tells what a failure asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducedPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// Where the batch is, or why it is not.
    pub outcome: Result<Produced, Error>,
}

/// A produce request that is in line on its connection.
pub struct PendingProduce {
    cluster: Cluster,
    broker: i32,
    pending: Pending<ProduceRequest>,
    names: Vec<(String, Uuid, i32)>,
}

impl PendingProduce {
    /// Waits for the answer about every batch, in the order they were given. Dropping this instead is safe for the
    /// connection, but leaves open what became of the batches.
    ///
    /// # Errors
    /// [`Error::leaves_doubt`] tells whether the batches may have been written nevertheless.
    pub async fn answer(self) -> Result<Vec<ProducedPartition>, Error> {
        let version = self.pending.version();
        let response = self.cluster.observe(self.pending.response().await)?;
        Ok(process_produce(self.broker, version, self.names, response))
    }
}

impl Cluster {
    /// Sends batches to their leader with acks=all. It returns as soon as the request is in line: requests on one
    /// lane reach the broker in the order of these calls, so await each call before the next, and the answers
    /// whenever you like. Keep at most five unanswered: that is how far back a broker remembers sequence numbers.
    ///
    /// # Errors
    /// Whatever keeps the request from being sent; then nothing was.
    pub async fn produce(
        &self,
        broker: i32,
        lane: usize,
        transactional_id: Option<&str>,
        batches: Vec<ProduceBatch>,
    ) -> Result<PendingProduce, Error> {
        let timeout = self.request_timeout();
        let names = batches.iter().map(|b| (b.topic.clone(), b.topic_id, b.partition)).collect();
        let newest = newest_version(&batches);
        let build = |version| build_produce(version, transactional_id, batches, timeout);
        let pending = self.start_up_to(broker, lane, newest, build).await?;
        // The broker itself answers after `timeout` when replicas are slow; the line needs some time on top of it.
        Ok(PendingProduce { cluster: self.clone(), broker, pending: pending.with_extra_time(timeout / 2), names })
    }
}

fn newest_version(batches: &[ProduceBatch]) -> i16 {
    match batches.iter().any(|batch| batch.topic_id.is_nil()) {
        true => TOPIC_ID_VERSION - 1,
        false => *ProduceRequest::VERSIONS.end(),
    }
}

fn build_produce(
    version: i16,
    transactional_id: Option<&str>,
    batches: Vec<ProduceBatch>,
    timeout: Duration,
) -> ProduceRequest {
    let mut topics: BTreeMap<(String, Uuid), Vec<PartitionProduceData>> = BTreeMap::new();
    for ProduceBatch { topic, topic_id, partition, batch } in batches {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        topics.entry((topic, topic_id)).or_default().push(data);
    }
    let topics = topics.into_iter().map(|((topic, id), partitions)| {
        let named = if version >= TOPIC_ID_VERSION {
            TopicProduceData::default().with_topic_id(id)
        } else {
            TopicProduceData::default().with_name(topic_name(&topic))
        };
        named.with_partition_data(partitions)
    });
    ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(string(id))))
        .with_acks(-1)
        .with_timeout_ms(timeout_ms(timeout))
        .with_topic_data(topics.collect())
}

fn process_produce(
    broker: i32,
    version: i16,
    asked: Vec<(String, Uuid, i32)>,
    response: ProduceResponse,
) -> Vec<ProducedPartition> {
    let names: HashMap<Uuid, String> = asked.iter().map(|(topic, id, _)| (*id, topic.clone())).collect();
    let mut answers: HashMap<TopicPartition, Result<Produced, Error>> = HashMap::new();
    for topic in response.responses {
        let name = match version >= TOPIC_ID_VERSION {
            true => names.get(&topic.topic_id).cloned(),
            false => Some(topic.name.to_string()),
        };
        let Some(name) = name else { continue };
        for answer in topic.partition_responses {
            let key = (name.clone(), answer.index);
            let outcome = process_partition(&key, &answer);
            answers.insert(key, outcome);
        }
    }
    let complete = asked.into_iter().map(|(topic, _, partition)| {
        let key = (topic, partition);
        let outcome = answers.remove(&key).unwrap_or_else(|| {
            Err(Error::Protocol {
                address: format!("broker {broker}"),
                api: ProduceRequest::NAME,
                why: format!("nothing about topic {:?} partition {}", key.0, key.1),
            })
        });
        ProducedPartition { topic: key.0, partition: key.1, outcome }
    });
    complete.collect()
}

fn process_partition(partition: &TopicPartition, answer: &PartitionProduceResponse) -> Result<Produced, Error> {
    let resource = || Resource::Partition(partition.0.clone(), partition.1);
    // The broker explains a refused batch as a whole, or record by record; the first record is enough for one line.
    let record = answer.record_errors.first().and_then(|record| record.batch_index_error_message.as_deref());
    let message = record.or(answer.error_message.as_deref());
    match Error::from_code(ProduceRequest::NAME, answer.error_code, resource, message) {
        Some(error) => Err(error),
        None => Ok(Produced {
            base_offset: answer.base_offset,
            log_append_time_ms: answer.log_append_time_ms,
            log_start_offset: answer.log_start_offset,
        }),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::produce_response::{BatchIndexAndErrorMessage, TopicProduceResponse};
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn batch(topic: &str, id: u128, partition: i32) -> ProduceBatch {
        let batch = Bytes::from_static(b"one batch");
        ProduceBatch { topic: topic.to_owned(), topic_id: Uuid::from_u128(id), partition, batch }
    }

    fn asked(batches: &[ProduceBatch]) -> Vec<(String, Uuid, i32)> {
        batches.iter().map(|b| (b.topic.clone(), b.topic_id, b.partition)).collect()
    }

    #[test]
    fn every_version_carries_the_batch_untouched() {
        for version in ProduceRequest::VERSIONS {
            let request = build_produce(version, None, vec![batch("t", 1, 0)], Duration::from_secs(1));
            assert_eq!((request.acks, request.timeout_ms), (-1, 1000));
            assert_eq!(request.topic_data[0].partition_data[0].records.as_deref(), Some(&b"one batch"[..]));
            let mut bytes = bytes::BytesMut::new();
            request.encode(&mut bytes, version).unwrap();
            assert!(bytes.windows(9).any(|window| window == b"one batch"));
        }
    }

    #[test]
    fn a_topic_without_id_is_named() {
        assert_eq!(newest_version(&[batch("t", 1, 0)]), 13);
        assert_eq!(newest_version(&[batch("t", 1, 0), batch("u", 0, 0)]), 12);
    }

    #[test]
    fn answers_come_in_the_order_of_the_batches_with_their_errors() {
        let batches = [batch("t", 1, 1), batch("t", 1, 0), batch("t", 1, 2)];
        let refused = PartitionProduceResponse::default().with_index(1).with_error_code(87).with_record_errors(vec![
            BatchIndexAndErrorMessage::default()
                .with_batch_index_error_message(Some(string("offsets are not consecutive"))),
        ]);
        let taken = PartitionProduceResponse::default().with_index(0).with_base_offset(7).with_log_append_time_ms(-1);
        let topic = TopicProduceResponse::default()
            .with_topic_id(Uuid::from_u128(1))
            .with_partition_responses(vec![taken, refused]);
        let answers = process_produce(1, 13, asked(&batches), ProduceResponse::default().with_responses(vec![topic]));
        let refused = answers[0].outcome.as_ref().unwrap_err();
        assert_eq!(refused.code(), Some(87));
        assert!(
            refused.to_string().ends_with("INVALID_RECORD (87) from Produce: offsets are not consecutive"),
            "{refused}"
        );
        assert_eq!(answers[1].outcome.as_ref().unwrap().base_offset, 7);
        assert!(matches!(answers[2].outcome, Err(Error::Protocol { .. })));
    }
}
