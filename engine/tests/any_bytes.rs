//! Whatever a broker or a store returns, reading it comes to an end without a panic: what the fuzzer looks for as well
//! (`engine/fuzz`), here on a stable compiler, with bytes that are nearly right.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/entry.rs"]
mod entry;

use bytes::BytesMut;
use kafka_backup::format::batch::Compression;
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::document::DocumentKind;
use kafka_backup::format::record::OwnedRecord;
use kafka_backup::offsets::map::OffsetMap;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupDescribeResponse, DescribeConfigsResponse, DescribeGroupsResponse,
    DescribeProducersResponse, FetchResponse, GroupId, ListGroupsResponse, ListOffsetsResponse, MetadataResponse,
    OffsetFetchResponse, OffsetForLeaderEpochResponse, ShareGroupDescribeResponse, TopicName,
    consumer_group_describe_response, describe_groups_response, describe_producers_response,
    share_group_describe_response,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::sample::select;

const SEGMENT: &[u8] = include_bytes!("golden/v1/segment");
const MANIFEST: &[u8] = include_bytes!("golden/v1/manifest");
const PART: &[u8] = include_bytes!("golden/v1/part");
const CHECKPOINT: &[u8] = include_bytes!("golden/v1/checkpoint");
const CUT: &[u8] = include_bytes!("golden/v1/cut");
const REPOSITORY: &[u8] = include_bytes!("golden/v1/repository.json");
const ARCHIVE: &[u8] = include_bytes!("golden/v1/archive.json");

/// Where the first frame of the segment begins: its magic.
fn first_frame() -> &'static [u8] {
    let at = SEGMENT.windows(4).position(|bytes| bytes == b"KBFR").unwrap();
    &SEGMENT[at..]
}

/// The JSON of a document, without its header line; none for a compressed one.
fn body(document: &[u8]) -> &[u8] {
    &document[document.iter().position(|byte| *byte == b'\n').unwrap() + 1..]
}

fn batch(codec: Compression, values: &[u8]) -> Vec<u8> {
    let record = |value: &u8| OwnedRecord {
        timestamp_ms: 1_700_000_000_000 + i64::from(*value),
        key: (!value.is_multiple_of(3)).then(|| vec![*value; 3]),
        value: (!value.is_multiple_of(5)).then(|| vec![*value; usize::from(*value)]),
        headers: vec![(b"h".to_vec(), None), (vec![0xff], Some(vec![*value]))],
    };
    BatchBuilder::new(7).compression(codec).records(values.iter().map(record)).build().unwrap()
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// A response as a broker writes it behind the correlation id.
fn encoded<T: Encodable + HeaderVersion>(response: &T, version: i16) -> Vec<u8> {
    // The header of a flexible version ends with tagged fields, of which there are none (KIP-482).
    let mut bytes = BytesMut::zeroed(usize::from(T::header_version(version) > 0));
    response.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

/// What a broker answers to one of the requests that are made of it, which are about the partition 0 of the topic `t` or the group `g`.
fn response(api: i16, version: i16) -> Vec<u8> {
    let topic = || TopicName(text("t"));
    let group = || GroupId(text("g"));
    match api {
        entry::FETCH => {
            let partition = PartitionData::default()
                .with_high_watermark(10)
                .with_last_stable_offset(10)
                .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
                .with_records(Some(batch(Compression::Zstd, &[1, 2, 3]).into()));
            let topics = FetchableTopicResponse::default().with_partitions(vec![partition]);
            // From version 13 on, topics are named by their ids (KIP-516).
            let topics = if version < 13 {
                topics.with_topic(topic())
            } else {
                topics.with_topic_id(entry::TOPIC_ID.parse().unwrap())
            };
            encoded(&FetchResponse::default().with_responses(vec![topics]), version)
        }
        entry::LIST_OFFSETS => {
            let partition = ListOffsetsPartitionResponse::default().with_offset(5);
            let topic = ListOffsetsTopicResponse::default().with_name(topic()).with_partitions(vec![partition]);
            encoded(&ListOffsetsResponse::default().with_topics(vec![topic]), version)
        }
        entry::METADATA => {
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(1)).with_host(text("h")).with_port(9);
            let partition = MetadataResponsePartition::default()
                .with_leader_id(BrokerId(1))
                .with_replica_nodes(vec![BrokerId(1)])
                .with_isr_nodes(vec![BrokerId(1)]);
            let topic = MetadataResponseTopic::default().with_name(Some(topic())).with_partitions(vec![partition]);
            encoded(&MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]), version)
        }
        entry::OFFSET_FETCH if version < 8 => {
            let partition = OffsetFetchResponsePartition::default().with_committed_offset(5);
            let topic = OffsetFetchResponseTopic::default().with_name(topic()).with_partitions(vec![partition]);
            encoded(&OffsetFetchResponse::default().with_topics(vec![topic]), version)
        }
        entry::OFFSET_FETCH => {
            let partition = OffsetFetchResponsePartitions::default().with_committed_offset(5);
            let topic = OffsetFetchResponseTopics::default().with_name(topic()).with_partitions(vec![partition]);
            let group = OffsetFetchResponseGroup::default().with_group_id(group()).with_topics(vec![topic]);
            encoded(&OffsetFetchResponse::default().with_groups(vec![group]), version)
        }
        entry::DESCRIBE_GROUPS => {
            let described = describe_groups_response::DescribedGroup::default()
                .with_group_id(group())
                .with_group_state(text("Stable"))
                .with_members(vec![DescribedGroupMember::default().with_member_id(text("m"))]);
            encoded(&DescribeGroupsResponse::default().with_groups(vec![described]), version)
        }
        entry::CONSUMER_GROUP_DESCRIBE => {
            let described = consumer_group_describe_response::DescribedGroup::default()
                .with_group_id(group())
                .with_group_state(text("Stable"))
                .with_members(vec![consumer_group_describe_response::Member::default().with_member_id(text("m"))]);
            encoded(&ConsumerGroupDescribeResponse::default().with_groups(vec![described]), version)
        }
        entry::SHARE_GROUP_DESCRIBE => {
            let described = share_group_describe_response::DescribedGroup::default()
                .with_group_id(group())
                .with_group_state(text("Stable"))
                .with_members(vec![share_group_describe_response::Member::default().with_member_id(text("m"))]);
            encoded(&ShareGroupDescribeResponse::default().with_groups(vec![described]), version)
        }
        entry::STREAMS_GROUP_DESCRIBE => streams_group(),
        entry::LIST_GROUPS => {
            let group = ListedGroup::default().with_group_id(group()).with_protocol_type(text("consumer"));
            encoded(&ListGroupsResponse::default().with_groups(vec![group]), version)
        }
        entry::OFFSET_FOR_LEADER_EPOCH => {
            let end = EpochEndOffset::default().with_leader_epoch(3).with_end_offset(5);
            let topic = OffsetForLeaderTopicResult::default().with_topic(topic()).with_partitions(vec![end]);
            encoded(&OffsetForLeaderEpochResponse::default().with_topics(vec![topic]), version)
        }
        entry::DESCRIBE_CONFIGS => {
            let entry =
                DescribeConfigsResourceResult::default().with_name(text("retention.ms")).with_value(Some(text("1")));
            let topic = DescribeConfigsResult::default().with_resource_type(2).with_resource_name(text("t"));
            encoded(&DescribeConfigsResponse::default().with_results(vec![topic.with_configs(vec![entry])]), version)
        }
        entry::DESCRIBE_PRODUCERS => {
            let producer = describe_producers_response::ProducerState::default().with_current_txn_start_offset(5);
            let partition =
                describe_producers_response::PartitionResponse::default().with_active_producers(vec![producer]);
            let topic = describe_producers_response::TopicResponse::default()
                .with_name(topic())
                .with_partitions(vec![partition]);
            encoded(&DescribeProducersResponse::default().with_topics(vec![topic]), version)
        }
        other => panic!("no request has the number {other}"),
    }
}

/// StreamsGroupDescribe, version 0, which the library of the other messages lacks: one group with one member, and no topology.
fn streams_group() -> Vec<u8> {
    let (none, absent, number) = ([1_u8], [0_u8], [0_u8; 4]);
    let group = [&[0_u8, 0][..], &absent, &[2, b'g'], &[7], b"Stable", &number, &number, &[0xff]].concat();
    let ids =
        [&[2_u8, b'm'][..], &number, &absent, &absent, &[2, b'c'], &[2, b'h'], &number, &absent, &[0xff]].concat();
    let assignment = [1_u8, 1, 1, 0];
    let member = [&ids[..], &none, &none, &none, &assignment, &assignment, &[0], &[0]].concat();
    [&[0_u8][..], &number, &[2], &group, &[2], &member, &number, &[0], &[0]].concat()
}

/// A request in one of its versions, and a response to it of which some bytes are others.
fn damaged_response() -> impl Strategy<Value = (i16, i16, Vec<u8>)> {
    (any::<u8>(), any::<u8>()).prop_flat_map(|(request, version)| {
        let (api, version) = entry::chosen(request, version);
        (Just(api), Just(version), damaged(Just(response(api, version))))
    })
}

fn codec() -> impl Strategy<Value = Compression> {
    select(Compression::ALL.to_vec())
}

/// Two batches of any codec, one after the other.
fn log() -> impl Strategy<Value = Vec<u8>> {
    vec((codec(), vec(any::<u8>(), 1..6)), 2)
        .prop_map(|batches| batches.into_iter().flat_map(|(codec, values)| batch(codec, &values)).collect())
}

/// Some bytes are others, in most cases with values that lengths and counts dislike, and the end may be missing.
fn damaged(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0_u8), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    (whole, vec((any::<Index>(), byte), 0..4), prop::option::weighted(0.2, any::<Index>())).prop_map(
        |(mut bytes, changes, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

fn stored() -> impl Strategy<Value = Vec<u8>> {
    let documents = [MANIFEST, PART, CHECKPOINT, CUT, REPOSITORY, ARCHIVE];
    let bodies = documents.map(body);
    prop::sample::select([documents.to_vec(), bodies.to_vec()].concat()).prop_map(<[u8]>::to_vec)
}

/// The body of a map with any numbers, small ones and such as overflow.
fn map_body() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0_u64..5, Just(i64::MAX.unsigned_abs()), Just(u64::MAX), any::<u64>()];
    let base_offset = prop_oneof![0_i64..5, Just(i64::MAX), any::<i64>()];
    (base_offset, vec(number, 0..6), prop::option::of(any::<u64>())).prop_map(|(base_offset, stretches, records)| {
        let lengths = stretches.iter().skip(1).step_by(2);
        let sum = lengths.fold(0_u64, |sum, length| sum.wrapping_add(*length));
        let map = serde_json::json!({
            "baseOffset": base_offset,
            "records": records.unwrap_or(sum),
            "stretches": stretches,
        });
        map.to_string().into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_at_all_are_read_to_an_end(bytes in vec(any::<u8>(), 0..300)) {
        entry::batch_walk(&bytes);
        entry::record_decode(&bytes);
        entry::frames(&bytes);
        entry::segment_end(&bytes);
        entry::documents(&bytes);
        entry::offset_map(&bytes);
    }

    #[test]
    fn damaged_batches_are_read_to_an_end(bytes in damaged(log())) {
        entry::batch_walk(&bytes);
        entry::record_decode(&bytes);
    }

    #[test]
    fn damaged_frames_are_read_to_an_end(bytes in damaged(Just(first_frame().to_vec()))) {
        entry::frames(&bytes);
    }

    #[test]
    fn damaged_ends_of_segments_are_read_to_an_end(bytes in damaged(Just(SEGMENT.to_vec()))) {
        entry::segment_end(&bytes);
    }

    #[test]
    fn damaged_documents_are_read_to_an_end(bytes in damaged(stored())) {
        entry::documents(&bytes);
        entry::segment_end(&bytes);
    }

    #[test]
    fn maps_of_any_numbers_are_read_to_an_end(bytes in map_body()) {
        entry::offset_map(&bytes);
    }
}

proptest! {
    // Each is a few connections.
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_at_all_are_read_to_an_end_as_a_response(bytes in vec(any::<u8>(), 0..300)) {
        entry::response(&bytes);
    }

    #[test]
    fn damaged_responses_are_read_to_an_end((api, version, body) in damaged_response()) {
        entry::is_understood(api, version, &body);
    }
}

#[test]
fn the_responses_that_are_damaged_here_are_understood_when_they_are_whole() {
    for (api, oldest, newest) in entry::REQUESTS {
        for version in oldest..=newest {
            let whole = response(api, version);
            assert!(entry::is_understood(api, version, &whole), "request {api} in version {version}");
            assert!(
                !entry::is_understood(api, version, &whole[..whole.len() - 1]),
                "request {api} in version {version}"
            );
        }
    }
}

#[test]
fn the_bytes_that_are_damaged_here_are_read_when_they_are_whole() {
    let log = batch(Compression::Zstd, &[1, 2, 3]);
    assert_eq!(kafka_backup::format::batch::batches(&log, false).filter(Result::is_ok).count(), 1);
    entry::record_decode(&log);
    let mut frames = kafka_backup::format::segment::frames(first_frame().to_vec().into());
    assert!(frames.next().unwrap().is_ok());
    let map = br#"{"baseOffset":5,"records":3,"stretches":[2,3]}"#;
    let opened = OffsetMap::open(&entry::sealed(DocumentKind::OffsetMap, "json", map));
    assert_eq!(opened.unwrap().translate(4), 7);
}
