//! What a cluster can do and what this user may do there, asked without changing anything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, MetadataRequest,
    OffsetCommitRequest,
};
use uuid::Uuid;

use crate::error::Kind;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::coordinators::REQUESTS_AT_ONCE;
use crate::kafka::error::{Error, GROUP_AUTHORIZATION_FAILED};
use crate::kafka::groups::{CommittedOffset, CommittedOffsets, build_offset_commit, process_offset_commit};
use crate::kafka::metadata::build_metadata;
use crate::kafka::produce::{ProduceBatch, ProducedPartition};

/// From this version on, a Metadata request can ask for the authorized operations of topics (KIP-430).
const OPERATIONS_VERSION: i16 = 8;
/// What a broker answers when it does not tell operations: before Kafka 2.3, or when they were not asked for.
const NOT_TOLD: i32 = i32::MIN;
/// Topics that one question names, which bounds the size of the request.
const TOPICS_PER_REQUEST: usize = 500;
/// A partition that no topic has: a batch for it lands nowhere.
const NO_PARTITION: i32 = i32::MAX;

/// An operation on a topic, by its number in the protocol (`org.apache.kafka.common.acl.AclOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// To read records, and to commit offsets.
    Read = 3,
    /// To write records.
    Write = 4,
    /// To create the topic; a permission on the cluster serves as well, and does not show here.
    Create = 5,
    /// To delete the topic.
    Delete = 6,
    /// To change its settings.
    AlterConfigs = 11,
}

/// The operations on one topic that this user is authorized for, as a bit field (KIP-430).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations(i32);

impl Operations {
    /// All that a broker without an authorizer allows, or does not tell.
    pub const NOT_TOLD: Self = Self(NOT_TOLD);

    /// Whether the operation is authorized; `None` if the broker does not tell.
    pub const fn allows(self, operation: Operation) -> Option<bool> {
        if self.0 == NOT_TOLD { None } else { Some(self.0 & (1 << operation as i32) != 0) }
    }

    /// These operations and no other.
    #[cfg(test)]
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | 1 << *operation as i32))
    }
}

/// Which requests the brokers of a cluster serve, of those that change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// CreateTopics.
    pub create_topics: bool,
    /// DeleteTopics.
    pub delete_topics: bool,
    /// IncrementalAlterConfigs (KIP-339, Kafka 2.3).
    pub alter_configs: bool,
    /// OffsetCommit.
    pub commit_offsets: bool,
    /// InitProducerId: idempotent producers (KIP-98, Kafka 0.11).
    pub producer_ids: bool,
}

impl Default for Capabilities {
    /// Everything, as Apache Kafka 2.3 and later serve it.
    fn default() -> Self {
        Self { create_topics: true, delete_topics: true, alter_configs: true, commit_offsets: true, producer_ids: true }
    }
}

impl Cluster {
    /// Which requests the cluster serves, as the first broker that answers lists them (ApiVersions).
    ///
    /// # Errors
    /// When no broker answers for as long as the retry timeout, or the cluster refuses us.
    pub async fn capabilities(&self) -> Result<Capabilities, Error> {
        // Whatever opens a connection has read the broker's list of versions.
        self.metadata(Some(&[])).await?;
        let mut last = None;
        for broker in self.brokers() {
            match self.connection(broker.id, CONTROL_LANE).await {
                Ok(connection) => {
                    return Ok(Capabilities {
                        create_topics: connection.version::<CreateTopicsRequest>().is_ok(),
                        delete_topics: connection.version::<DeleteTopicsRequest>().is_ok(),
                        alter_configs: connection.version::<IncrementalAlterConfigsRequest>().is_ok(),
                        commit_offsets: connection.version::<OffsetCommitRequest>().is_ok(),
                        producer_ids: connection.version::<InitProducerIdRequest>().is_ok(),
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::UnknownBroker { id: -1 }))
    }

    /// The operations on topics that are there which this user is authorized for. A topic that the cluster does not show is
    /// not in the result.
    ///
    /// # Errors
    /// When no broker answers for as long as the retry timeout, or the cluster refuses us.
    pub async fn topic_operations(&self, topics: &BTreeSet<String>) -> Result<BTreeMap<String, Operations>, Error> {
        let names: Vec<String> = topics.iter().cloned().collect();
        let mut operations = BTreeMap::new();
        for part in names.chunks(TOPICS_PER_REQUEST) {
            let mut retry = self.retry();
            let response = loop {
                retry.ready().await;
                match self.call_any_once(|version| build_topic_operations(version, part)).await {
                    Ok(response) => break response,
                    Err(error) => retry.again(error).await?,
                }
            };
            let known = response.topics.into_iter().filter(|topic| topic.error_code == 0);
            operations
                .extend(known.filter_map(|topic| {
                    Some((topic.name?.to_string(), Operations(topic.topic_authorized_operations)))
                }));
        }
        Ok(operations)
    }

    /// Those of the topics that this user may not write to, with what the broker says; they need not be there. A broker checks
    /// the permission on a topic's name before it looks for the topic, so a request without records, for a partition that
    /// no topic has, is answered with the one or with the other and writes nothing.
    ///
    /// # Errors
    /// When no broker answers for as long as the retry timeout.
    pub async fn topics_denied_to_write(&self, topics: &BTreeSet<String>) -> Result<BTreeMap<String, Error>, Error> {
        let names: Vec<String> = topics.iter().cloned().collect();
        let mut denied = BTreeMap::new();
        for part in names.chunks(TOPICS_PER_REQUEST) {
            let mut retry = self.retry();
            let answers = loop {
                retry.ready().await;
                match self.ask_to_write_once(part).await {
                    Ok(answers) => break answers,
                    Err(error) => retry.again(error).await?,
                }
            };
            denied.extend(answers.into_iter().filter(|(_, error)| error.kind() == Kind::Denied));
        }
        Ok(denied)
    }

    /// Those of the groups whose offsets this user may not commit, with what the broker says; they need not be there. A broker
    /// checks `Read` on the group before it looks for a topic (`KafkaApis.handleOffsetCommitRequest`), so a request for a topic
    /// that nobody has is answered with the one or with the other, by any broker, and commits nothing.
    ///
    /// # Errors
    /// When no broker answers for as long as the retry timeout.
    pub async fn groups_denied_to_commit(&self, groups: &BTreeSet<String>) -> Result<BTreeMap<String, Error>, Error> {
        let asked = groups.iter().map(|group| async move {
            let error = self.ask_to_commit(group).await?;
            Ok::<_, Error>(error.map(|error| (group.clone(), error)))
        });
        let answers: Vec<Option<(String, Error)>> =
            stream::iter(asked).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    async fn ask_to_commit(&self, group: &str) -> Result<Option<Error>, Error> {
        let nobody = format!("check-{}", Uuid::new_v4().simple());
        let offset = CommittedOffset { offset: 0, leader_epoch: -1, metadata: String::new() };
        let offsets: CommittedOffsets = [((nobody.clone(), 0), offset)].into();
        let partitions = [(nobody, 0)];
        let mut retry = self.retry();
        let response = loop {
            retry.ready().await;
            match self.call_any_once(|version| build_offset_commit(version, group, &partitions, &offsets)).await {
                Ok(response) => break response,
                Err(error) => retry.again(error).await?,
            }
        };
        let refused = process_offset_commit(group, response).into_iter().find_map(|(_, answer)| answer.err());
        Ok(refused.filter(|error| error.code() == Some(GROUP_AUTHORIZATION_FAILED)))
    }

    async fn ask_to_write_once(&self, topics: &[String]) -> Result<Vec<(String, Error)>, Error> {
        let mut last = None;
        for broker in self.brokers() {
            let batches = topics.iter().map(|topic| ProduceBatch {
                topic: topic.clone(),
                topic_id: Uuid::nil(),
                partition: NO_PARTITION,
                batch: Bytes::new(),
            });
            let asked = match self.produce(broker.id, CONTROL_LANE, None, batches.collect()).await {
                Ok(pending) => pending.answer().await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(answers) => {
                    let failed = |answer: ProducedPartition| answer.outcome.err().map(|error| (answer.topic, error));
                    return Ok(answers.into_iter().filter_map(failed).collect());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::UnknownBroker { id: -1 }))
    }
}

fn build_topic_operations(version: i16, topics: &[String]) -> MetadataRequest {
    build_metadata(Some(topics)).with_include_topic_authorized_operations(version >= OPERATIONS_VERSION)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::kafka::api::Api;

    #[test]
    fn an_operation_is_a_bit_of_the_field() {
        let operations = Operations::of(&[Operation::Write, Operation::AlterConfigs]);
        assert_eq!(operations, Operations(0b1000_0001_0000));
        assert_eq!(operations.allows(Operation::Write), Some(true));
        assert_eq!(operations.allows(Operation::Delete), Some(false));
        assert_eq!(Operations::NOT_TOLD.allows(Operation::Delete), None);
    }

    #[test]
    fn every_version_can_carry_the_question() {
        for version in MetadataRequest::VERSIONS {
            let request = build_topic_operations(version, &["t".to_owned()]);
            request.encode(&mut bytes::BytesMut::new(), version).unwrap();
            assert_eq!(request.include_topic_authorized_operations, version >= 8);
            assert!(!request.allow_auto_topic_creation);
        }
    }
}
