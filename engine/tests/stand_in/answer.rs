//! What the stand-in answers to each request that a backup makes, and a restore into topics that are there, as a broker would.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, DescribeConfigsRequest, DescribeConfigsResponse, FetchRequest,
    FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId, InitProducerIdResponse,
    ListGroupsResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest,
    OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
    ProducerId, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::broker::{Fetch, State};
use crate::topic::{self, Topic};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// ListOffsets asks for the log start offset by this timestamp.
const EARLIEST: i64 = -2;
/// The isolation level of a client that wants nothing from the last stable offset on.
const READ_COMMITTED: i8 = 1;
/// From this version on, a fetch names topics by their ids (KIP-516).
const TOPIC_ID_VERSION: i16 = 13;
/// The kind of a resource whose configuration is asked for: a broker.
const BROKER_RESOURCE: i8 = 4;
/// The id that every idempotent producer gets.
const PRODUCER_ID: i64 = 7;

/// The versions of Kafka 4.3; of Fetch, up to `fetch_version_max`, and of Produce, those that name topics.
const APIS: [(ApiKey, i16, i16); 11] = [
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::ListOffsets, 1, 9),
    (ApiKey::Fetch, 4, 17),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::FindCoordinator, 4, 6),
    (ApiKey::OffsetFetch, 8, 9),
    (ApiKey::OffsetForLeaderEpoch, 3, 4),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::Produce, 3, 12),
];

/// The answer to a request; none where it is larger than any that a client reads.
pub async fn to(state: &State, api: ApiKey, version: i16, request: Bytes) -> Option<Bytes> {
    Some(match api {
        ApiKey::ApiVersions => encoded(&api_versions(state), version),
        ApiKey::Metadata => encoded(&metadata(state, &decoded(request, version)), version),
        ApiKey::ListOffsets => encoded(&list_offsets(state, &decoded(request, version)), version),
        ApiKey::Fetch => return fetch(state, version, &decoded(request, version)).await,
        ApiKey::DescribeConfigs => encoded(&describe_configs(state, &decoded(request, version)), version),
        ApiKey::OffsetForLeaderEpoch => encoded(&epoch_ends(state, &decoded(request, version)), version),
        ApiKey::ListGroups => encoded(&list_groups(state), version),
        ApiKey::FindCoordinator => encoded(&find_coordinator(state, &decoded(request, version)), version),
        ApiKey::OffsetFetch => encoded(&offset_fetch(state, &decoded(request, version)), version),
        ApiKey::InitProducerId => encoded(&init_producer_id(), version),
        ApiKey::Produce => encoded(&produce(state, &decoded(request, version)), version),
        other => panic!("the stand-in does not speak {other:?}"),
    })
}

fn decoded<T: Decodable>(mut request: Bytes, version: i16) -> T {
    T::decode(&mut request, version).unwrap()
}

fn encoded<T: Encodable>(response: &T, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn api_versions(state: &State) -> ApiVersionsResponse {
    let apis = APIS.map(|(api, min, max)| {
        let max = if api == ApiKey::Fetch { max.min(state.fetch_version_max.load(Ordering::Relaxed)) } else { max };
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    });
    ApiVersionsResponse::default().with_api_keys(apis.to_vec())
}

fn metadata(state: &State, request: &MetadataRequest) -> MetadataResponse {
    let topics = match &request.topics {
        None => state.known_topics().map(|topic| metadata_of(state, topic)).collect(),
        Some(asked) => asked
            .iter()
            .map(|asked| {
                let known =
                    state.known_topics().find(|topic| asked.name.as_ref().is_some_and(|name| **name == *topic.name));
                known.map_or_else(
                    || {
                        MetadataResponseTopic::default()
                            .with_name(asked.name.clone())
                            .with_error_code(UNKNOWN_TOPIC_OR_PARTITION)
                    },
                    |topic| metadata_of(state, topic),
                )
            })
            .collect(),
    };
    let known = [(state.id, state.port)].into_iter().chain(state.others.lock().unwrap().clone());
    let brokers = known.map(|(id, port)| {
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(text("127.0.0.1"));
        broker.with_port(i32::from(port))
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(&state.cluster_id.lock().unwrap())))
        .with_controller_id(BrokerId(state.id))
        .with_topics(topics)
}

fn metadata_of(state: &State, topic: &Topic) -> MetadataResponseTopic {
    let is_internal = topic.name == "__consumer_offsets";
    // Coordinators move as long as groups are missed in lists.
    let moves = state.groups.iter().map(|group| group.missed_lists).max().unwrap_or(0);
    let epoch = if is_internal {
        i32::try_from(moves.min(state.lists.load(Ordering::SeqCst))).unwrap()
    } else {
        state.leader_epoch
    };
    let broker = BrokerId(state.id);
    let partitions = (0..).zip(&topic.partitions).map(|(number, log)| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(if log.state().has_no_leader { BrokerId(-1) } else { broker })
            .with_leader_epoch(log.state().leader_epoch().unwrap_or(epoch))
            .with_replica_nodes(vec![broker])
            .with_isr_nodes(vec![broker])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id())
        .with_is_internal(is_internal)
        .with_partitions(partitions.collect())
}

fn list_offsets(state: &State, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|asked| {
        let topic = state.topics.iter().find(|topic| *topic.name == **asked.name).unwrap();
        let partitions = asked.partitions.iter().map(|asked| {
            let log = &topic.partitions[usize::try_from(asked.partition_index).unwrap()];
            // Of the end, the epoch of its leader.
            let epoch = log.state().leader_epoch().unwrap_or(0);
            let offset = match (asked.timestamp, request.isolation_level) {
                (EARLIEST, _) => log.state().start_offset,
                (_, READ_COMMITTED) => log.state().last_stable_offset(),
                (_, _) => log.state().end_offset(),
            };
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(log.state().offsets_error)
                .with_offset(offset)
                .with_leader_epoch(epoch)
        });
        ListOffsetsTopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn epoch_ends(state: &State, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|asked| {
        let topic = state.topics.iter().find(|topic| *topic.name == **asked.topic).unwrap();
        let partitions = asked.partitions.iter().map(|asked| {
            let log = &topic.partitions[usize::try_from(asked.partition).unwrap()];
            let (leader_epoch, end_offset) = log.state().epoch_end(asked.leader_epoch);
            EpochEndOffset::default()
                .with_partition(asked.partition)
                .with_error_code(log.state().epochs_error)
                .with_leader_epoch(leader_epoch)
                .with_end_offset(end_offset)
        });
        OffsetForLeaderTopicResult::default().with_topic(asked.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn describe_configs(state: &State, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|asked| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        // The broker itself has no settings.
        if asked.resource_type == BROKER_RESOURCE {
            return answer;
        }
        let Some(topic) = state.known_topics().find(|topic| *topic.name == *asked.resource_name) else {
            return answer.with_error_code(UNKNOWN_TOPIC_OR_PARTITION);
        };
        let entry = |name: &str, value: &str| {
            let entry = DescribeConfigsResourceResult::default().with_name(text(name)).with_value(Some(text(value)));
            entry.with_config_source(5)
        };
        match *topic.policy.lock().unwrap() {
            Err(code) => answer.with_error_code(code),
            Ok(policy) => {
                let tombstones = topic.delete_retention_ms.map(|ms| entry("delete.retention.ms", &ms.to_string()));
                answer.with_configs([entry("cleanup.policy", policy)].into_iter().chain(tombstones).collect())
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn list_groups(state: &State) -> ListGroupsResponse {
    let list = state.lists.fetch_add(1, Ordering::SeqCst);
    let groups = state.groups.iter().filter(|group| group.missed_lists <= list).map(|group| {
        ListedGroup::default()
            .with_group_id(GroupId(text(&group.name)))
            .with_protocol_type(text("consumer"))
            .with_group_state(text("Empty"))
            .with_group_type(text("classic"))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

fn find_coordinator(state: &State, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
    let coordinator = |key: &StrBytes| Coordinator::default().with_key(key.clone()).with_node_id(BrokerId(state.id));
    FindCoordinatorResponse::default().with_coordinators(request.coordinator_keys.iter().map(coordinator).collect())
}

fn offset_fetch(state: &State, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let groups = request.groups.iter().map(|asked| {
        let group = state.groups.iter().find(|group| *group.name == **asked.group_id).unwrap();
        let answer = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
        match &group.committed {
            Err(code) => answer.with_error_code(*code),
            Ok((topic, offset)) => answer.with_topics(vec![
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(vec![OffsetFetchResponsePartitions::default().with_committed_offset(*offset)]),
            ]),
        }
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn init_producer_id() -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(PRODUCER_ID)).with_producer_epoch(0)
}

fn produce(state: &State, request: &ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|asked| {
        let topic = state.known_topics().find(|topic| *topic.name == **asked.name);
        let partitions = asked.partition_data.iter().map(|asked| {
            let answer = PartitionProduceResponse::default().with_index(asked.index);
            let number = usize::try_from(asked.index).unwrap();
            let Some(log) = topic.and_then(|topic| topic.partitions.get(number)) else {
                return answer.with_error_code(UNKNOWN_TOPIC_OR_PARTITION);
            };
            let mut log = log.state();
            match log.produce(asked.records.as_ref().unwrap()) {
                Ok(base_offset) => answer.with_base_offset(base_offset).with_log_start_offset(log.start_offset),
                Err(code) => answer.with_error_code(code).with_base_offset(-1),
            }
        });
        TopicProduceResponse::default().with_name(asked.name.clone()).with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// Filled in the order of the request, each partition up to its own limit and all up to that of the request; the first that
/// has any data gives a batch even if it is larger.
async fn fetch(state: &State, version: i16, request: &FetchRequest) -> Option<Bytes> {
    let mut room = usize::try_from(request.max_bytes).unwrap();
    let (mut is_empty, mut is_oversized, mut throttle_time_ms) = (true, false, 0_i32);
    let mut named = Vec::new();
    let mut is_first = true;
    let is_stable = request.isolation_level == READ_COMMITTED;
    let topics: Vec<_> = request
        .topics
        .iter()
        .map(|asked| {
            let is_asked = |topic: &&Topic| match version >= TOPIC_ID_VERSION {
                true => topic.id() == asked.topic_id,
                false => *topic.name == **asked.topic,
            };
            let Some(topic) = state.known_topics().find(is_asked) else {
                is_empty = false;
                let unknown = |asked: &FetchPartition| refused(asked.partition, UNKNOWN_TOPIC_ID);
                return FetchableTopicResponse::default()
                    .with_topic(asked.topic.clone())
                    .with_topic_id(asked.topic_id)
                    .with_partitions(asked.partitions.iter().map(unknown).collect());
            };
            named.extend(asked.partitions.iter().map(|asked| (topic.name.clone(), asked.partition)));
            let partitions = asked.partitions.iter().map(|asked| {
                let log =
                    topic.partitions[usize::try_from(asked.partition).unwrap()].fetched(asked.fetch_offset, is_stable);
                let error_code = fetch_error(state, &log, asked);
                if error_code != 0 {
                    is_empty = false;
                    return refused(asked.partition, error_code);
                }
                throttle_time_ms = throttle_time_ms.max(log.throttle_time_ms);
                is_oversized |= is_empty && log.is_oversized;
                let bytes_max = room.min(usize::try_from(asked.partition_max_bytes).unwrap());
                let end_offset = if is_stable { log.last_stable_offset() } else { log.end_offset() };
                let is_first = std::mem::replace(&mut is_first, false);
                let records = match log.gives_only_as_first && !is_first {
                    true => Bytes::new(),
                    false => log.read(asked.fetch_offset..end_offset, bytes_max, is_empty),
                };
                room = room.saturating_sub(records.len());
                is_empty &= records.is_empty();
                PartitionData::default()
                    .with_partition_index(asked.partition)
                    .with_high_watermark(log.end_offset())
                    .with_last_stable_offset(log.last_stable_offset())
                    .with_log_start_offset(log.start_offset)
                    .with_aborted_transactions(is_stable.then(|| aborted(&log, asked.fetch_offset, &records)))
                    .with_preferred_read_replica(BrokerId(log.preferred_replica.unwrap_or(-1)))
                    .with_records(Some(records))
            });
            FetchableTopicResponse::default()
                .with_topic(asked.topic.clone())
                .with_topic_id(asked.topic_id)
                .with_partitions(partitions.collect())
        })
        .collect();
    state.fetches.lock().unwrap().push(Fetch { partitions: named, max_wait_ms: request.max_wait_ms });
    // A client that is over its quota is not kept waiting for records.
    if is_empty && throttle_time_ms == 0 {
        let wait_ms = u64::try_from(request.max_wait_ms).unwrap().min(state.wait_ms_max.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    let response = FetchResponse::default().with_responses(topics).with_throttle_time_ms(throttle_time_ms);
    (!is_oversized).then(|| encoded(&response, version))
}

fn aborted(log: &topic::State, offset: i64, records: &[u8]) -> Vec<AbortedTransaction> {
    let listed = log.listed(offset, records).map(|aborted| {
        let transaction = AbortedTransaction::default().with_producer_id(ProducerId(aborted.producer_id));
        transaction.with_first_offset(aborted.first_offset)
    });
    listed.collect()
}

fn refused(partition: i32, error_code: i16) -> PartitionData {
    PartitionData::default().with_partition_index(partition).with_error_code(error_code).with_high_watermark(-1)
}

/// Why a fetch of a partition is refused; 0 if it is not. Whoever names a leader epoch wants its leader only (KIP-320).
fn fetch_error(state: &State, log: &topic::State, asked: &FetchPartition) -> i16 {
    let leader_epoch = log.leader_epoch().unwrap_or(state.leader_epoch);
    match asked.current_leader_epoch {
        known if known >= 0 && known < leader_epoch => FENCED_LEADER_EPOCH,
        known if known > leader_epoch => UNKNOWN_LEADER_EPOCH,
        _ if !(log.start_offset..=log.end_offset()).contains(&asked.fetch_offset) => OFFSET_OUT_OF_RANGE,
        _ => log.error_code,
    }
}
