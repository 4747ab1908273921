//! DeleteRecords: moves the log start offset of partitions forward (KIP-107).

use std::collections::BTreeMap;

use futures::FutureExt;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::list_offsets::by_topic;
use crate::kafka::metadata::topic_name;

impl Cluster {
    /// Deletes everything before the given offset of each partition (-1: everything up to the high watermark), and
    /// gives the log start offset that each partition then has. Every partition is in the result.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, i64>,
    ) -> BTreeMap<TopicPartition, Result<i64, Error>> {
        let timeout = self.request_timeout();
        self.ask_leaders(DeleteRecordsRequest::NAME, before.keys().cloned(), |broker, partitions| {
            async move {
                let build = |_| build_delete_records(&partitions, before, timeout_ms(timeout));
                self.call_once(broker, CONTROL_LANE, timeout, build).await.map(process_delete_records)
            }
            .boxed()
        })
        .await
    }
}

/// A timeout as requests carry it.
pub(crate) fn timeout_ms(timeout: std::time::Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

fn build_delete_records(
    partitions: &[TopicPartition],
    before: &BTreeMap<TopicPartition, i64>,
    timeout_ms: i32,
) -> DeleteRecordsRequest {
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().filter_map(|partition| {
            let offset = *before.get(&(topic.to_owned(), partition))?;
            Some(DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset))
        });
        DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(timeout_ms)
}

fn process_delete_records(response: DeleteRecordsResponse) -> Vec<(TopicPartition, Result<i64, Error>)> {
    let answers = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let partition = (topic.name.to_string(), answer.partition_index);
            let resource = || Resource::Partition(partition.0.clone(), partition.1);
            let error = Error::from_code(DeleteRecordsRequest::NAME, answer.error_code, resource, None);
            let low_watermark = error.map_or(Ok(answer.low_watermark), Err);
            (partition, low_watermark)
        })
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn each_partition_is_cut_at_its_own_offset() {
        let before: BTreeMap<_, _> = [(("t".to_owned(), 0), 5), (("t".to_owned(), 1), 9)].into();
        let partitions: Vec<_> = before.keys().cloned().collect();
        let request = build_delete_records(&partitions, &before, 7);
        let offsets: Vec<_> = request.topics[0].partitions.iter().map(|p| (p.partition_index, p.offset)).collect();
        assert_eq!((offsets, request.timeout_ms), (vec![(0, 5), (1, 9)], 7));
    }

    #[test]
    fn a_compacted_topic_refuses_by_name() {
        let response = DeleteRecordsResponse::default().with_topics(vec![
            DeleteRecordsTopicResult::default().with_name(topic_name("t")).with_partitions(vec![
                DeleteRecordsPartitionResult::default().with_partition_index(0).with_low_watermark(5),
                DeleteRecordsPartitionResult::default().with_partition_index(1).with_error_code(44),
            ]),
        ]);
        let answers = process_delete_records(response);
        assert_eq!(answers[0], (("t".to_owned(), 0), Ok(5)));
        assert_eq!(answers[1].1.as_ref().unwrap_err().kind(), Kind::Usage);
    }
}
