//! A stand-in for the only broker of a cluster, which coordinates every group: it notes what each request asks for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as ConsumerGroup;
use kafka_protocol::messages::describe_groups_response::DescribedGroup as ClassicGroup;
use kafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::share_group_describe_response::DescribedGroup as ShareGroup;
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, ApiKey, ApiVersionsResponse, BrokerId,
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, GroupId, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, RequestHeader,
    ResponseHeader, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::breaker::Breaker;
use crate::config::cluster::ClusterConfig;
use crate::kafka::cluster::Cluster;
use crate::kafka::error::GROUP_ID_NOT_FOUND;
use crate::kafka::groups::{DEAD, GroupKind};
use crate::kafka::metadata::{string, topic_name};

/// The topic that every group has an offset of, in partition 0.
pub(crate) const TOPIC: &str = "orders";
/// That offset.
pub(crate) const OFFSET: i64 = 7;
/// A request to set the offset of this partition is refused as a whole.
pub(crate) const REFUSED_PARTITION: i32 = 600;
/// What such a request is refused with: a member has joined.
pub(crate) const NON_EMPTY_GROUP: i16 = 68;

/// The newest version of each request that it speaks.
const APIS: [(ApiKey, i16); 9] = [
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 12),
    (ApiKey::FindCoordinator, 5),
    (ApiKey::DescribeGroups, 6),
    (ApiKey::ConsumerGroupDescribe, 1),
    (ApiKey::ShareGroupDescribe, 1),
    (ApiKey::OffsetFetch, 9),
    (ApiKey::DescribeShareGroupOffsets, 0),
    (ApiKey::AlterShareGroupOffsets, 0),
];

type Asked = Arc<Mutex<Vec<(ApiKey, Vec<String>)>>>;

/// The stand-in. It serves until the runtime ends.
pub(crate) struct Coordinator {
    /// The cluster that it is the broker of.
    pub(crate) cluster: Cluster,
    asked: Asked,
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, address, Arc::clone(&noted)));
            }
        });
        let config = ClusterConfig::plaintext(vec![address.to_string()]);
        Self { cluster: Cluster::connect(&config, Breaker::disabled()).await.unwrap(), asked }
    }

    /// What each request of this kind asked for, in the order of their coming: groups, or partitions by number.
    pub(crate) fn asked(&self, api: ApiKey) -> Vec<Vec<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(of, _)| *of == api).map(|(_, things)| things.clone()).collect()
    }
}

/// The name of a group, which tells its kind.
pub(crate) fn group(kind: GroupKind, number: usize) -> String {
    format!("{}-{number}", kind.name())
}

fn is_of(kind: GroupKind, group: &GroupId) -> bool {
    group.split('-').next() == Some(kind.name())
}

async fn converse(mut stream: TcpStream, address: SocketAddr, asked: Asked) -> std::io::Result<()> {
    loop {
        let length = usize::try_from(stream.read_i32().await?).unwrap();
        let mut frame = BytesMut::zeroed(length);
        stream.read_exact(&mut frame).await?;
        let mut frame = frame.freeze();
        let (api, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let api = ApiKey::try_from(api).unwrap();
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).unwrap();
        let (things, answer) = answer(address, api, version, frame);
        asked.lock().unwrap().push((api, things));
        let mut response = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(header.correlation_id);
        header.encode(&mut response, api.response_header_version(version)).unwrap();
        response.put_slice(&answer);
        stream.write_i32(i32::try_from(response.len()).unwrap()).await?;
        stream.write_all(&response).await?;
    }
}

/// What a request asks for, and its answer.
fn answer(address: SocketAddr, api: ApiKey, version: i16, request: Bytes) -> (Vec<String>, Bytes) {
    match api {
        ApiKey::ApiVersions => (vec![], encoded(&api_versions(), version)),
        ApiKey::Metadata => (vec![], encoded(&metadata(address), version)),
        ApiKey::FindCoordinator => {
            let keys = decoded::<FindCoordinatorRequest>(request, version).coordinator_keys;
            let found = keys.iter().map(|key| Found::default().with_key(key.clone()).with_node_id(BrokerId(1)));
            let response = FindCoordinatorResponse::default().with_coordinators(found.collect());
            (keys.iter().map(ToString::to_string).collect(), encoded(&response, version))
        }
        ApiKey::DescribeGroups => {
            let groups = decoded::<DescribeGroupsRequest>(request, version).groups;
            let described = groups.iter().map(|id| {
                let group = ClassicGroup::default().with_group_id(id.clone());
                match is_of(GroupKind::Classic, id) {
                    true => group.with_group_state(string("Empty")),
                    false => group.with_group_state(string(DEAD)).with_error_code(GROUP_ID_NOT_FOUND),
                }
            });
            let response = DescribeGroupsResponse::default().with_groups(described.collect());
            (names(&groups), encoded(&response, version))
        }
        ApiKey::ConsumerGroupDescribe => {
            let groups = decoded::<ConsumerGroupDescribeRequest>(request, version).group_ids;
            let described = groups.iter().map(|id| {
                let group = ConsumerGroup::default().with_group_id(id.clone());
                match is_of(GroupKind::Consumer, id) {
                    true => group.with_group_state(string("Empty")),
                    false => group.with_error_code(GROUP_ID_NOT_FOUND),
                }
            });
            let response = ConsumerGroupDescribeResponse::default().with_groups(described.collect());
            (names(&groups), encoded(&response, version))
        }
        ApiKey::ShareGroupDescribe => {
            let groups = decoded::<ShareGroupDescribeRequest>(request, version).group_ids;
            let described = groups.iter().map(|id| {
                let group = ShareGroup::default().with_group_id(id.clone());
                match is_of(GroupKind::Share, id) {
                    true => group.with_group_state(string("Empty")),
                    false => group.with_error_code(GROUP_ID_NOT_FOUND),
                }
            });
            let response = ShareGroupDescribeResponse::default().with_groups(described.collect());
            (names(&groups), encoded(&response, version))
        }
        ApiKey::OffsetFetch => {
            let groups = decoded::<OffsetFetchRequest>(request, version).groups;
            let partition = OffsetFetchResponsePartitions::default().with_committed_offset(OFFSET);
            let topic =
                OffsetFetchResponseTopics::default().with_name(topic_name(TOPIC)).with_partitions(vec![partition]);
            let fetched = groups.iter().map(|group| {
                OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id.clone())
                    .with_topics(vec![topic.clone()])
            });
            let response = OffsetFetchResponse::default().with_groups(fetched.collect());
            (groups.iter().map(|group| group.group_id.to_string()).collect(), encoded(&response, version))
        }
        ApiKey::DescribeShareGroupOffsets => {
            let groups = decoded::<DescribeShareGroupOffsetsRequest>(request, version).groups;
            let partition = DescribeShareGroupOffsetsResponsePartition::default().with_start_offset(OFFSET);
            let topic = DescribeShareGroupOffsetsResponseTopic::default()
                .with_topic_name(topic_name(TOPIC))
                .with_partitions(vec![partition]);
            let described = groups.iter().map(|group| {
                DescribeShareGroupOffsetsResponseGroup::default()
                    .with_group_id(group.group_id.clone())
                    .with_topics(vec![topic.clone()])
            });
            let response = DescribeShareGroupOffsetsResponse::default().with_groups(described.collect());
            (groups.iter().map(|group| group.group_id.to_string()).collect(), encoded(&response, version))
        }
        ApiKey::AlterShareGroupOffsets => {
            let request = decoded::<AlterShareGroupOffsetsRequest>(request, version);
            let numbers: Vec<i32> = request
                .topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|partition| partition.partition_index))
                .collect();
            let response = match numbers.contains(&REFUSED_PARTITION) {
                true => AlterShareGroupOffsetsResponse::default().with_error_code(NON_EMPTY_GROUP),
                false => altered(&request),
            };
            (numbers.iter().map(ToString::to_string).collect(), encoded(&response, version))
        }
        other => panic!("the stand-in does not speak {other:?}"),
    }
}

fn altered(request: &AlterShareGroupOffsetsRequest) -> AlterShareGroupOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            AlterShareGroupOffsetsResponsePartition::default().with_partition_index(partition.partition_index)
        });
        AlterShareGroupOffsetsResponseTopic::default()
            .with_topic_name(topic.topic_name.clone())
            .with_partitions(partitions.collect())
    });
    AlterShareGroupOffsetsResponse::default().with_responses(topics.collect())
}

fn api_versions() -> ApiVersionsResponse {
    let apis = APIS.map(|(api, newest)| {
        // In the newest only, so that every request comes in the shape that is read here.
        let oldest = if api == ApiKey::ApiVersions { 0 } else { newest };
        ApiVersion::default().with_api_key(api as i16).with_min_version(oldest).with_max_version(newest)
    });
    ApiVersionsResponse::default().with_api_keys(apis.to_vec())
}

fn metadata(address: SocketAddr) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(string(&address.ip().to_string()))
        .with_port(i32::from(address.port()));
    MetadataResponse::default().with_brokers(vec![broker]).with_controller_id(BrokerId(1))
}

fn names(groups: &[GroupId]) -> Vec<String> {
    groups.iter().map(|group| group.to_string()).collect()
}

fn decoded<T: Decodable>(mut request: Bytes, version: i16) -> T {
    T::decode(&mut request, version).unwrap()
}

fn encoded<T: Encodable>(response: &T, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}
