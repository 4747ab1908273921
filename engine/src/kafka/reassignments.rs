//! ListPartitionReassignments: how many replicas partitions will have (KIP-455, Kafka 2.4 and later).

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::Cluster;
use crate::kafka::error::{Error, Resource};

/// How long the controller may take, in milliseconds; it answers from memory.
const TIMEOUT_MS: i32 = 10_000;

impl Cluster {
    /// How many replicas each partition will have when its reassignment is over, of all partitions that are being reassigned.
    ///
    /// # Errors
    /// When the controller does not answer, or is older, and without `Describe` on the cluster.
    pub async fn reassigned_factors(&self) -> Result<BTreeMap<TopicPartition, usize>, Error> {
        let build = |_| ListPartitionReassignmentsRequest::default().with_timeout_ms(TIMEOUT_MS).with_topics(None);
        self.call_controller_once(Duration::ZERO, build).await.and_then(process_list_partition_reassignments)
    }
}

fn process_list_partition_reassignments(
    response: ListPartitionReassignmentsResponse,
) -> Result<BTreeMap<TopicPartition, usize>, Error> {
    let ListPartitionReassignmentsResponse { error_code, error_message, topics, .. } = response;
    let name = ListPartitionReassignmentsRequest::NAME;
    if let Some(error) = Error::from_code(name, error_code, || Resource::Cluster, error_message.as_deref()) {
        return Err(error);
    }
    let partitions = topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        topic.partitions.into_iter().map(move |partition| {
            let factor = partition.replicas.len().saturating_sub(partition.removing_replicas.len());
            ((name.clone(), partition.partition_index), factor)
        })
    });
    Ok(partitions.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::list_partition_reassignments_response::{
        OngoingPartitionReassignment, OngoingTopicReassignment,
    };

    use super::*;
    use crate::kafka::metadata::topic_name;

    #[test]
    fn the_replicas_that_stay_are_counted_for_each_partition() {
        let partition = OngoingPartitionReassignment::default()
            .with_partition_index(1)
            .with_replicas([4, 5, 1, 2, 3].map(BrokerId).to_vec())
            .with_adding_replicas([4, 5].map(BrokerId).to_vec())
            .with_removing_replicas([1, 2].map(BrokerId).to_vec());
        let topic =
            OngoingTopicReassignment::default().with_name(topic_name("orders")).with_partitions(vec![partition]);
        let response = ListPartitionReassignmentsResponse::default().with_topics(vec![topic]);
        let found = process_list_partition_reassignments(response).unwrap();
        assert_eq!(found, [(("orders".to_owned(), 1), 3)].into());
    }

    #[test]
    fn a_refusal_is_an_error() {
        let response = ListPartitionReassignmentsResponse::default().with_error_code(31);
        assert_eq!(process_list_partition_reassignments(response).unwrap_err().code(), Some(31));
    }
}
