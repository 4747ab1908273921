//! The requests that this client sends, and the versions of them that it speaks.

use std::ops::RangeInclusive;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

/// A request, with what is needed to send it and to read its answer.
pub trait Api: Encodable + HeaderVersion + Send {
    /// What answers it.
    type Response: Decodable + HeaderVersion + Send;
    /// Its number in the protocol.
    const KEY: i16;
    /// Its name, for error texts.
    const NAME: &'static str;
    /// The versions that this client can write and read.
    const VERSIONS: RangeInclusive<i16>;
    /// How long the broker wants this client to keep quiet, in milliseconds (KIP-219).
    fn throttle_time_ms(response: &Self::Response) -> i32;
}

macro_rules! apis {
    ($($name:literal $key:ident $request:ident => $response:ident, $versions:expr, |$r:ident| $throttle:expr;)*) => {
        $(impl Api for $request {
            type Response = $response;
            const KEY: i16 = ApiKey::$key as i16;
            const NAME: &'static str = $name;
            const VERSIONS: RangeInclusive<i16> = $versions;
            fn throttle_time_ms($r: &$response) -> i32 {
                $throttle
            }
        })*
        #[cfg(test)]
        const ALL: &[(&str, i16, RangeInclusive<i16>)] = &[$(($name, ApiKey::$key as i16, $versions)),*];
    };
}

// Lower ends: Kafka 0.11, the first with record batches of format v2, except where a request is newer than that.
apis! {
    "ApiVersions" ApiVersions ApiVersionsRequest => ApiVersionsResponse, 0..=3, |r| r.throttle_time_ms;
    "SaslHandshake" SaslHandshake SaslHandshakeRequest => SaslHandshakeResponse, 1..=1, |_r| 0;
    "SaslAuthenticate" SaslAuthenticate SaslAuthenticateRequest => SaslAuthenticateResponse, 0..=2, |_r| 0;
    "Metadata" Metadata MetadataRequest => MetadataResponse, 4..=12, |r| r.throttle_time_ms;
    "DescribeConfigs" DescribeConfigs DescribeConfigsRequest => DescribeConfigsResponse, 1..=4, |r| r.throttle_time_ms;
    "CreateTopics" CreateTopics CreateTopicsRequest => CreateTopicsResponse, 2..=7, |r| r.throttle_time_ms;
    "DeleteTopics" DeleteTopics DeleteTopicsRequest => DeleteTopicsResponse, 1..=6, |r| r.throttle_time_ms;
    "IncrementalAlterConfigs" IncrementalAlterConfigs IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse, 0..=1, |r| r.throttle_time_ms;
    "ListOffsets" ListOffsets ListOffsetsRequest => ListOffsetsResponse, 2..=9, |r| r.throttle_time_ms;
    "OffsetForLeaderEpoch" OffsetForLeaderEpoch OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse, 2..=4, |r| r.throttle_time_ms;
    "Fetch" Fetch FetchRequest => FetchResponse, 4..=17, |r| r.throttle_time_ms;
    "Produce" Produce ProduceRequest => ProduceResponse, 3..=13, |r| r.throttle_time_ms;
    "InitProducerId" InitProducerId InitProducerIdRequest => InitProducerIdResponse, 0..=5, |r| r.throttle_time_ms;
    "ListGroups" ListGroups ListGroupsRequest => ListGroupsResponse, 1..=5, |r| r.throttle_time_ms;
    "FindCoordinator" FindCoordinator FindCoordinatorRequest => FindCoordinatorResponse, 1..=5, |r| r.throttle_time_ms;
    "DescribeGroups" DescribeGroups DescribeGroupsRequest => DescribeGroupsResponse, 0..=6, |r| r.throttle_time_ms;
    "ConsumerGroupDescribe" ConsumerGroupDescribe ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse, 0..=1, |r| r.throttle_time_ms;
    "ShareGroupDescribe" ShareGroupDescribe ShareGroupDescribeRequest => ShareGroupDescribeResponse, 1..=1, |r| r.throttle_time_ms;
    "DescribeShareGroupOffsets" DescribeShareGroupOffsets DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse, 0..=0, |r| r.throttle_time_ms;
    "AlterShareGroupOffsets" AlterShareGroupOffsets AlterShareGroupOffsetsRequest => AlterShareGroupOffsetsResponse, 0..=0, |r| r.throttle_time_ms;
    // Version 4 is the first that tells how much room there is.
    "DescribeLogDirs" DescribeLogDirs DescribeLogDirsRequest => DescribeLogDirsResponse, 4..=4, |r| r.throttle_time_ms;
    "ListPartitionReassignments" ListPartitionReassignments ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse, 0..=0, |r| r.throttle_time_ms;
    "DescribeCluster" DescribeCluster DescribeClusterRequest => DescribeClusterResponse, 0..=2, |r| r.throttle_time_ms;
    "OffsetFetch" OffsetFetch OffsetFetchRequest => OffsetFetchResponse, 2..=9, |r| r.throttle_time_ms;
    "OffsetCommit" OffsetCommit OffsetCommitRequest => OffsetCommitResponse, 2..=9, |r| r.throttle_time_ms;
    "DescribeProducers" DescribeProducers DescribeProducersRequest => DescribeProducersResponse, 0..=0, |r| r.throttle_time_ms;
    "DeleteRecords" DeleteRecords DeleteRecordsRequest => DeleteRecordsResponse, 0..=2, |r| r.throttle_time_ms;
}

/// The highest version that both sides speak; `None` if there is none.
pub(crate) fn choose(ours: &RangeInclusive<i16>, theirs: Option<(i16, i16)>) -> Option<i16> {
    let (low, high) = theirs?;
    let version = high.min(*ours.end());
    (version >= low && version >= *ours.start()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose(&(4..=17), Some((0, 11))), Some(11));
        assert_eq!(choose(&(4..=17), Some((4, 18))), Some(17));
        assert_eq!(choose(&(4..=17), Some((0, 3))), None);
        assert_eq!(choose(&(0..=2), Some((3, 5))), None);
        assert_eq!(choose(&(0..=2), None), None);
    }

    #[test]
    fn no_request_is_spoken_twice_or_in_a_version_that_cannot_be_written() {
        let mut keys: Vec<i16> = ALL.iter().map(|(_, key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), ALL.len());
        for (name, key, versions) in ALL {
            let writable = ApiKey::try_from(*key).unwrap().valid_versions();
            assert!(writable.min <= *versions.start() && writable.max >= *versions.end(), "{name} {writable}");
        }
    }
}
