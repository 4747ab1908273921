//! OffsetForLeaderEpoch: where a leader epoch ended, which tells whether a log is still the same log (KIP-101).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::list_offsets::by_topic;
use crate::kafka::metadata::topic_name;

/// The largest epoch at or below the one that was asked for, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// That epoch; -1 if the leader knows none.
    pub leader_epoch: i32,
    /// The first offset after it; -1 if the leader knows none.
    pub end_offset: i64,
}

impl Cluster {
    /// Where the given leader epoch of each partition ended. Every partition is in the result. Needs Kafka 2.0.
    pub async fn epoch_ends(
        &self,
        epochs: &BTreeMap<TopicPartition, i32>,
    ) -> BTreeMap<TopicPartition, Result<EpochEnd, Error>> {
        self.ask_leaders(OffsetForLeaderEpochRequest::NAME, epochs.keys().cloned(), |broker, partitions| {
            async move {
                let build = |_| build_epoch_ends(&partitions, epochs);
                self.call_once(broker, CONTROL_LANE, Duration::ZERO, build).await.map(process_epoch_ends)
            }
            .boxed()
        })
        .await
    }
}

fn build_epoch_ends(
    partitions: &[TopicPartition],
    epochs: &BTreeMap<TopicPartition, i32>,
) -> OffsetForLeaderEpochRequest {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().filter_map(|partition| {
            let leader_epoch = *epochs.get(&(topic.to_owned(), partition))?;
            // -1: we ask whoever leads now, and do not claim to know in which epoch.
            Some(
                OffsetForLeaderPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(-1)
                    .with_leader_epoch(leader_epoch),
            )
        });
        OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect())
    });
    // A consumer is -1; the default, -2, is a debugging consumer.
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect())
}

fn process_epoch_ends(response: OffsetForLeaderEpochResponse) -> Vec<(TopicPartition, Result<EpochEnd, Error>)> {
    let answers = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let partition = (topic.topic.to_string(), answer.partition);
            let resource = || Resource::Partition(partition.0.clone(), partition.1);
            let error = Error::from_code(OffsetForLeaderEpochRequest::NAME, answer.error_code, resource, None);
            let end = EpochEnd { leader_epoch: answer.leader_epoch, end_offset: answer.end_offset };
            (partition, error.map_or(Ok(end), Err))
        })
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};

    use super::*;

    #[test]
    fn each_partition_asks_for_its_own_epoch() {
        let epochs: BTreeMap<_, _> = [(("t".to_owned(), 0), 3), (("t".to_owned(), 1), 4)].into();
        let request = build_epoch_ends(&epochs.keys().cloned().collect::<Vec<_>>(), &epochs);
        let asked: Vec<_> = request.topics[0].partitions.iter().map(|p| (p.partition, p.leader_epoch)).collect();
        assert_eq!(asked, [(0, 3), (1, 4)]);
    }

    #[test]
    fn a_fenced_epoch_is_an_error_of_its_partition() {
        let response = OffsetForLeaderEpochResponse::default().with_topics(vec![
            OffsetForLeaderTopicResult::default().with_topic(topic_name("t")).with_partitions(vec![
                EpochEndOffset::default().with_partition(0).with_leader_epoch(3).with_end_offset(70),
                EpochEndOffset::default().with_partition(1).with_error_code(74),
            ]),
        ]);
        let answers = process_epoch_ends(response);
        assert_eq!(answers[0].1, Ok(EpochEnd { leader_epoch: 3, end_offset: 70 }));
        assert_eq!(answers[1].1.as_ref().unwrap_err().code(), Some(74));
    }
}
