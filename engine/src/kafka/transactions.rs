//! DescribeProducers: who holds a partition's last stable offset back (KIP-664).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::list_offsets::by_topic;
use crate::kafka::metadata::topic_name;
use crate::kafka::retry::Class;

/// A transaction that has written to a partition and is neither committed nor aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The producer that began it.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i32,
    /// The offset of its first record: the last stable offset cannot pass it.
    pub start_offset: i64,
    /// When the producer last wrote here, in milliseconds since the Unix epoch.
    pub last_timestamp_ms: i64,
}

impl Cluster {
    /// The open transactions of each partition. `None`: we may not know (no permission, or a broker before Kafka
    /// 2.8), which is no failure, since this only serves to explain.
    pub async fn open_transactions(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> BTreeMap<TopicPartition, Result<Option<Vec<OpenTransaction>>, Error>> {
        let answers = self
            .ask_leaders(DescribeProducersRequest::NAME, partitions, |broker, partitions| {
                async move {
                    let build = |_| build_describe_producers(&partitions);
                    self.call_once(broker, CONTROL_LANE, Duration::ZERO, build).await.map(process_describe_producers)
                }
                .boxed()
            })
            .await;
        answers.into_iter().map(|(partition, answer)| (partition, known(answer))).collect()
    }
}

fn known(answer: Result<Vec<OpenTransaction>, Error>) -> Result<Option<Vec<OpenTransaction>>, Error> {
    match answer {
        Ok(open) => Ok(Some(open)),
        Err(Error::Version { .. }) => Ok(None),
        Err(error @ Error::Broker { .. }) if error.class() == Class::Denied => Ok(None),
        Err(error) => Err(error),
    }
}

fn build_describe_producers(partitions: &[TopicPartition]) -> DescribeProducersRequest {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        TopicRequest::default().with_name(topic_name(topic)).with_partition_indexes(partitions)
    });
    DescribeProducersRequest::default().with_topics(topics.collect())
}

fn process_describe_producers(
    response: DescribeProducersResponse,
) -> Vec<(TopicPartition, Result<Vec<OpenTransaction>, Error>)> {
    let answers = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let partition = (topic.name.to_string(), answer.partition_index);
            let resource = || Resource::Partition(partition.0.clone(), partition.1);
            let message = answer.error_message.as_deref();
            let error = Error::from_code(DescribeProducersRequest::NAME, answer.error_code, resource, message);
            // Producers between two transactions are listed as well, with a start offset of -1.
            let open = answer.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
            let open = open.map(|producer| OpenTransaction {
                producer_id: *producer.producer_id,
                producer_epoch: producer.producer_epoch,
                start_offset: producer.current_txn_start_offset,
                last_timestamp_ms: producer.last_timestamp,
            });
            (partition, error.map_or_else(|| Ok(open.collect()), Err))
        })
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ProducerId;
    use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};

    use super::*;

    fn producer(id: i64, start: i64) -> ProducerState {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_current_txn_start_offset(start)
            .with_last_timestamp(99)
    }

    #[test]
    fn only_producers_within_a_transaction_are_named() {
        let response = DescribeProducersResponse::default().with_topics(vec![
            TopicResponse::default().with_name(topic_name("t")).with_partitions(vec![
                PartitionResponse::default().with_active_producers(vec![producer(1, -1), producer(2, 40)]),
            ]),
        ]);
        let open = process_describe_producers(response).remove(0).1.unwrap();
        assert_eq!(
            open.iter().map(|t| (t.producer_id, t.start_offset, t.last_timestamp_ms)).collect::<Vec<_>>(),
            [(2, 40, 99)]
        );
    }

    #[test]
    fn a_missing_permission_or_an_old_broker_is_no_failure() {
        let denied = Error::from_code("DescribeProducers", 29, || Resource::Cluster, None).unwrap();
        assert_eq!(known(Err(denied)), Ok(None));
        let old = Error::Version { address: "h:1".to_owned(), api: "DescribeProducers", theirs: None, ours: (0, 0) };
        assert_eq!(known(Err(old)), Ok(None));
        let lost = Error::Lost { address: "h:1".to_owned(), why: "reset".to_owned() };
        assert!(known(Err(lost)).is_err());
    }
}
