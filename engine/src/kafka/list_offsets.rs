//! ListOffsets: where a partition begins, where it ends, and where a time is.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ListOffsetsResponse};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::topic_name;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The log start offset.
    Earliest,
    /// The last stable offset: up to here everything is decided, committed or aborted.
    LastStable,
    /// The high watermark, with open transactions.
    HighWatermark,
    /// The first record at or after this time, in milliseconds since the Unix epoch.
    Timestamp(i64),
}

impl Position {
    /// What stands for it in the timestamp field.
    const fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::LastStable | Self::HighWatermark => -1,
            Self::Timestamp(timestamp_ms) => timestamp_ms,
        }
    }

    /// 0 is read_uncommitted, 1 read_committed.
    const fn isolation_level(self) -> i8 {
        match self {
            Self::HighWatermark | Self::Earliest => 0,
            Self::LastStable | Self::Timestamp(_) => 1,
        }
    }
}

/// An offset, as a leader gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; -1 if it was asked for by time and no record is that late.
    pub offset: i64,
    /// The time of the record there, in milliseconds; -1 unless it was asked for by time.
    pub timestamp: i64,
    /// The leader epoch of the record there; -1 if the broker does not tell.
    pub leader_epoch: i32,
}

impl Cluster {
    /// One offset of each partition, all partitions of a broker in one request. Every partition is in the result.
    pub async fn list_offsets(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        position: Position,
    ) -> BTreeMap<TopicPartition, Result<ListedOffset, Error>> {
        self.ask_leaders(ListOffsetsRequest::NAME, partitions, |broker, partitions| {
            async move {
                let build = |_| build_list_offsets(&partitions, position);
                self.call_once(broker, CONTROL_LANE, Duration::ZERO, build).await.map(process_list_offsets)
            }
            .boxed()
        })
        .await
    }
}

fn build_list_offsets(partitions: &[TopicPartition], position: Position) -> ListOffsetsRequest {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|partition| {
            ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(position.timestamp())
        });
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(position.isolation_level())
        .with_topics(topics.collect())
}

fn process_list_offsets(response: ListOffsetsResponse) -> Vec<(TopicPartition, Result<ListedOffset, Error>)> {
    let answers = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let partition = (topic.name.to_string(), answer.partition_index);
            let resource = || Resource::Partition(partition.0.clone(), partition.1);
            let listed = match Error::from_code(ListOffsetsRequest::NAME, answer.error_code, resource, None) {
                Some(error) => Err(error),
                None => Ok(ListedOffset {
                    offset: answer.offset,
                    timestamp: answer.timestamp,
                    leader_epoch: answer.leader_epoch,
                }),
            };
            (partition, listed)
        })
    });
    answers.collect()
}

/// Requests name each topic once.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};

    use super::*;

    #[test]
    fn each_topic_is_named_once_with_the_position_of_each_partition() {
        let partitions = [("a".to_owned(), 1), ("b".to_owned(), 0), ("a".to_owned(), 0)];
        for (position, timestamp, isolation_level) in [
            (Position::Earliest, -2, 0),
            (Position::HighWatermark, -1, 0),
            (Position::LastStable, -1, 1),
            (Position::Timestamp(5), 5, 1),
        ] {
            let request = build_list_offsets(&partitions, position);
            assert_eq!((request.topics.len(), request.isolation_level), (2, isolation_level));
            assert_eq!(request.topics[0].partitions.len(), 2);
            assert!(request.topics.iter().flat_map(|topic| &topic.partitions).all(|p| p.timestamp == timestamp));
        }
    }

    #[test]
    fn an_error_stays_with_its_partition() {
        let partition = |index, error_code, offset| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(error_code)
                .with_offset(offset)
                .with_leader_epoch(3)
        };
        let response = ListOffsetsResponse::default().with_topics(vec![
            ListOffsetsTopicResponse::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition(0, 0, 42), partition(1, 6, -1)]),
        ]);
        let answers: BTreeMap<_, _> = process_list_offsets(response).into_iter().collect();
        assert_eq!(answers[&("t".to_owned(), 0)], Ok(ListedOffset { offset: 42, timestamp: -1, leader_epoch: 3 }));
        let error = answers[&("t".to_owned(), 1)].clone().unwrap_err();
        assert!(error.is_retriable() && error.to_string().contains(r#"topic "t" partition 1"#), "{error}");
    }
}
