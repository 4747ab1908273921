//! DescribeLogDirs: how much room the brokers' disks have (KIP-827, Kafka 3.3 and later).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::kafka::api::Api;
use crate::kafka::cluster::{CONTROL_LANE, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::topic_name;

/// Brokers that are asked at the same time.
const BROKERS_AT_ONCE: usize = 16;

/// What the log directories of brokers hold, and have room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogDirs {
    /// Bytes that can still be written. A file system with several log directories counts once for each.
    pub usable_bytes: u64,
    /// Bytes of the topics that were asked about, with all replicas.
    pub topics_bytes: u64,
}

impl LogDirs {
    const fn and(self, other: Self) -> Self {
        Self {
            usable_bytes: self.usable_bytes.saturating_add(other.usable_bytes),
            topics_bytes: self.topics_bytes.saturating_add(other.topics_bytes),
        }
    }
}

impl Cluster {
    /// The log directories of all brokers, and what these topics, with so many partitions, take in them; none when a broker does
    /// not know how large its disk is.
    ///
    /// # Errors
    /// When a broker does not answer, or is older, and without `Describe` on the cluster.
    pub async fn log_dirs(&self, topics: &BTreeMap<String, i32>) -> Result<Option<LogDirs>, Error> {
        let asked = self.brokers().into_iter().map(|broker| async move {
            let build = |_| build_describe_log_dirs(topics);
            let answer = self.call_once(broker.id, CONTROL_LANE, Duration::ZERO, build).await;
            answer.and_then(process_describe_log_dirs)
        });
        let all: Vec<Option<LogDirs>> = stream::iter(asked).buffer_unordered(BROKERS_AT_ONCE).try_collect().await?;
        let all: Option<Vec<LogDirs>> = all.into_iter().collect();
        Ok(all.map(|all| all.into_iter().fold(LogDirs::default(), LogDirs::and)))
    }
}

/// An empty list asks about directories alone; no list at all would ask for every partition of the cluster.
fn build_describe_log_dirs(topics: &BTreeMap<String, i32>) -> DescribeLogDirsRequest {
    let topics = topics.iter().map(|(topic, partitions)| {
        DescribableLogDirTopic::default().with_topic(topic_name(topic)).with_partitions((0..*partitions).collect())
    });
    DescribeLogDirsRequest::default().with_topics(Some(topics.collect()))
}

fn process_describe_log_dirs(response: DescribeLogDirsResponse) -> Result<Option<LogDirs>, Error> {
    let codes = [response.error_code].into_iter().chain(response.results.iter().map(|dir| dir.error_code));
    let error = |code| Error::from_code(DescribeLogDirsRequest::NAME, code, || Resource::Cluster, None);
    if let Some(error) = codes.into_iter().find_map(error) {
        return Err(error);
    }
    let directories = response.results.iter().map(|dir| {
        let sizes = dir.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.partition_size);
        let topics_bytes = sizes.map(|size| u64::try_from(size).unwrap_or(0)).sum();
        Some(LogDirs { usable_bytes: u64::try_from(dir.usable_bytes).ok()?, topics_bytes })
    });
    let directories: Option<Vec<LogDirs>> = directories.collect();
    Ok(directories.map(|all| all.into_iter().fold(LogDirs::default(), LogDirs::and)))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };

    use super::*;
    use crate::error::Kind;

    fn dir(usable_bytes: i64, sizes: &[i64]) -> DescribeLogDirsResult {
        let partitions =
            sizes.iter().map(|size| DescribeLogDirsPartition::default().with_partition_size(*size)).collect();
        let topic = DescribeLogDirsTopic::default().with_name(topic_name("t")).with_partitions(partitions);
        DescribeLogDirsResult::default().with_usable_bytes(usable_bytes).with_topics(vec![topic])
    }

    fn read(results: Vec<DescribeLogDirsResult>) -> Result<Option<LogDirs>, Error> {
        process_describe_log_dirs(DescribeLogDirsResponse::default().with_results(results))
    }

    #[test]
    fn directories_add_up() {
        let found = read(vec![dir(100, &[3, 4]), dir(20, &[])]).unwrap();
        assert_eq!(found, Some(LogDirs { usable_bytes: 120, topics_bytes: 7 }));
    }

    #[test]
    fn a_directory_that_is_offline_or_of_unknown_size_is_no_empty_one() {
        assert_eq!(read(vec![dir(100, &[]), dir(-1, &[])]).unwrap(), None);
        // KAFKA_STORAGE_ERROR.
        assert!(read(vec![dir(100, &[]), DescribeLogDirsResult::default().with_error_code(56)]).is_err());
        let denied = DescribeLogDirsResponse::default().with_error_code(31);
        assert_eq!(process_describe_log_dirs(denied).unwrap_err().kind(), Kind::Denied);
    }
}
