//! Metadata: brokers, topics, and who leads which partition.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::config::cluster::Address;
use crate::kafka::api::Api;
use crate::kafka::error::{Error, Resource};

/// One broker as the cluster advertises it on our listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The broker's id.
    pub id: i32,
    /// Where it listens.
    pub address: Address,
    /// The rack it stands in, if it says so.
    pub rack: Option<String>,
}

/// One partition, as the cluster sees it right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The partition's number, from 0.
    pub partition: i32,
    /// The leading broker; none during an election, or while all its replicas are down.
    pub leader: Option<i32>,
    /// How often the leader changed; -1 from brokers before Kafka 2.1.
    pub leader_epoch: i32,
    /// The brokers that hold a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
    /// What the broker reports about this partition alone, such as `LEADER_NOT_AVAILABLE`.
    pub error: Option<Error>,
}

/// One topic, as the cluster sees it right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The topic's name.
    pub name: String,
    /// The topic's id; nil from brokers before Kafka 2.8.
    pub id: Uuid,
    /// Whether it belongs to Kafka itself, as `__consumer_offsets` does.
    pub internal: bool,
    /// All partitions, in the order of their numbers.
    pub partitions: Vec<PartitionMetadata>,
    /// Why the broker says nothing about the topic: unknown, no permission. Then there are no partitions.
    pub error: Option<Error>,
}

impl TopicMetadata {
    /// The partition of this number, if the answer has it.
    pub fn partition(&self, number: i32) -> Option<&PartitionMetadata> {
        let at = self.partitions.binary_search_by_key(&number, |partition| partition.partition).ok()?;
        self.partitions.get(at)
    }
}

/// An answer about the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that takes administrative requests, if one is known.
    pub controller: Option<i32>,
    /// All live brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// The topics that were asked about, by name; also those with an error.
    pub topics: BTreeMap<String, TopicMetadata>,
}

/// Asks about these topics, or all that we may see; never creates one.
pub(crate) fn build_metadata(topics: Option<&[String]>) -> MetadataRequest {
    let topics = topics.map(|names| {
        names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
    });
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false)
}

pub(crate) fn process_metadata(address: &str, response: MetadataResponse) -> Result<Metadata, Error> {
    if response.brokers.is_empty() {
        // A broker answers like this in the first moments of its life.
        return Err(Error::Unreachable {
            address: address.to_owned(),
            why: "it does not know any broker of its cluster yet".to_owned(),
        });
    }
    let brokers = response.brokers.into_iter().map(|broker| {
        let port = u16::try_from(broker.port).map_err(|_| Error::Protocol {
            address: address.to_owned(),
            api: MetadataRequest::NAME,
            why: format!("broker {} advertises port {}", *broker.node_id, broker.port),
        })?;
        let id = *broker.node_id;
        let address = Address { host: unbracketed(&broker.host), port };
        Ok((id, Broker { id, address, rack: broker.rack.map(|rack| rack.to_string()) }))
    });
    let brokers = brokers.collect::<Result<_, Error>>()?;
    let topics = response.topics.into_iter().filter_map(process_topic).map(|topic| (topic.name.clone(), topic));
    Ok(Metadata {
        cluster_id: response.cluster_id.map(|id| id.to_string()),
        controller: Some(*response.controller_id).filter(|id| *id >= 0),
        brokers,
        topics: topics.collect(),
    })
}

/// Advertised IPv6 addresses come with brackets or without.
fn unbracketed(host: &str) -> String {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned()
}

fn process_topic(topic: MetadataResponseTopic) -> Option<TopicMetadata> {
    // Only a request by topic id is answered without a name, and we send none.
    let name = topic.name?.to_string();
    let mut partitions: Vec<_> =
        topic.partitions.into_iter().map(|partition| process_partition(&name, partition)).collect();
    partitions.sort_by_key(|partition| partition.partition);
    let error = Error::from_code(MetadataRequest::NAME, topic.error_code, || Resource::Topic(name.clone()), None);
    Some(TopicMetadata { id: topic.topic_id, internal: topic.is_internal, partitions, error, name })
}

fn process_partition(topic: &str, partition: MetadataResponsePartition) -> PartitionMetadata {
    let number = partition.partition_index;
    let resource = || Resource::Partition(topic.to_owned(), number);
    PartitionMetadata {
        partition: number,
        leader: Some(*partition.leader_id).filter(|id| *id >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.iter().map(|id| **id).collect(),
        isr: partition.isr_nodes.iter().map(|id| **id).collect(),
        error: Error::from_code(MetadataRequest::NAME, partition.error_code, resource, None),
    }
}

/// A topic's name as the wire has it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(string(name))
}

/// A text as the wire has it.
pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;

    use super::*;

    fn broker(id: i32, host: &'static str, port: i32) -> MetadataResponseBroker {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(id))
            .with_host(StrBytes::from_static_str(host))
            .with_port(port)
    }

    fn partition(number: i32, leader: i32, error_code: i16) -> MetadataResponsePartition {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(BrokerId(leader))
            .with_leader_epoch(7)
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(1)])
            .with_error_code(error_code)
    }

    fn topic(name: &str, partitions: Vec<MetadataResponsePartition>, error_code: i16) -> MetadataResponseTopic {
        MetadataResponseTopic::default()
            .with_name(Some(topic_name(name)))
            .with_partitions(partitions)
            .with_error_code(error_code)
    }

    #[test]
    fn a_request_never_creates_topics_and_tells_all_from_none() {
        assert_eq!(build_metadata(None).topics, None);
        assert_eq!(build_metadata(Some(&[])).topics, Some(vec![]));
        let named = build_metadata(Some(&["a".to_owned()]));
        assert_eq!(named.topics.unwrap()[0].name.as_deref().map(|name| name.as_str()), Some("a"));
        assert!(!named.allow_auto_topic_creation);
    }

    #[test]
    fn errors_of_topics_and_partitions_are_kept() {
        let response = MetadataResponse::default()
            .with_brokers(vec![broker(1, "[::1]", 9092)])
            .with_controller_id(BrokerId(-1))
            .with_topics(vec![
                topic("denied", vec![], 29),
                topic("electing", vec![partition(1, 1, 0), partition(0, -1, 5)], 0),
            ]);
        let metadata = process_metadata("h:1", response).unwrap();
        assert_eq!((metadata.controller, metadata.brokers[&1].address.host.as_str()), (None, "::1"));
        assert_eq!(metadata.topics["denied"].error.as_ref().and_then(Error::code), Some(29));
        let electing = &metadata.topics["electing"];
        assert_eq!(
            (electing.error.as_ref(), electing.partitions[0].leader, electing.partitions[0].partition),
            (None, None, 0)
        );
        assert_eq!(electing.partitions[0].error.as_ref().and_then(Error::code), Some(5));
        assert_eq!((electing.partitions[1].leader, electing.partitions[1].leader_epoch), (Some(1), 7));
        assert_eq!((&electing.partitions[1].replicas[..], &electing.partitions[1].isr[..]), (&[1, 2][..], &[1][..]));
    }

    #[test]
    fn a_broker_without_a_cluster_is_asked_again() {
        assert!(process_metadata("h:1", MetadataResponse::default()).unwrap_err().is_retriable());
    }

    #[test]
    fn an_impossible_port_is_refused() {
        let response = MetadataResponse::default().with_brokers(vec![broker(1, "h", 70_000)]);
        assert!(matches!(process_metadata("h:1", response), Err(Error::Protocol { .. })));
    }
}
