//! What the user may see of the cluster: a broker leaves groups and topics out of a list without a word.
//!
//! ListGroups returns all groups to a user with `Describe` on the cluster, and to any other user those groups on which
//! the user has `Describe` (`KafkaApis.handleListGroupsRequest`). It gives no error in either case. Two questions tell
//! which case it is:
//!
//! - DescribeGroups about a group that does not exist: a broker checks the permission before it looks for the group, and
//!   answers `GROUP_AUTHORIZATION_FAILED` to a user without `Describe` on all groups (`*`). Unlike FindCoordinator it
//!   never creates the topic of the offsets.
//! - DescribeCluster with the authorized operations (KIP-430, KIP-700; Kafka 2.8 and later): 0 to a user without
//!   `Describe` on the cluster.

use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    MetadataResponse,
};
use uuid::Uuid;

use crate::kafka::api::Api;
use crate::kafka::cluster::Cluster;
use crate::kafka::error::{Error, GROUP_AUTHORIZATION_FAILED, Resource};
use crate::kafka::metadata::{build_metadata, string};

/// `TOPIC_AUTHORIZATION_FAILED`.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// The bit of `AclOperation.DESCRIBE` among authorized operations (KIP-430).
const DESCRIBE: i32 = 1 << 8;

impl Cluster {
    /// Whether a list of groups is one of all groups. `None` when the cluster does not say.
    ///
    /// # Errors
    /// What the retry table does not retry, and [`Error::Exhausted`].
    pub async fn sees_every_group(&self) -> Result<Option<bool>, Error> {
        let mut retry = self.retry();
        loop {
            retry.ready().await;
            match self.sees_every_group_once().await {
                Ok(answer) => return Ok(answer),
                Err(Error::Version { .. }) => return Ok(None),
                Err(error) => retry.again(error).await?,
            }
        }
    }

    /// Whether a topic of this name, which need not be there, would be in a list of all topics. A broker checks the permission
    /// before it looks for a topic that is named (`KafkaApis.handleTopicMetadataRequest`), and leaves topics without it out of a
    /// list of all.
    ///
    /// # Errors
    /// What the retry table does not retry, and [`Error::Exhausted`].
    pub async fn sees_topic(&self, name: &str) -> Result<bool, Error> {
        let mut retry = self.retry();
        let names = [name.to_owned()];
        loop {
            retry.ready().await;
            match self.call_any_once(|_| build_metadata(Some(&names))).await {
                Ok(response) => return Ok(!is_hidden(&response)),
                Err(error) => retry.again(error).await?,
            }
        }
    }

    async fn sees_every_group_once(&self) -> Result<Option<bool>, Error> {
        let nobodys = Uuid::new_v4().to_string();
        let response = self.call_any_once(|_| build_describe_group(&nobodys)).await?;
        if !is_denied(&response) {
            return Ok(Some(true));
        }
        match self.call_any_once(|_| build_describe_cluster()).await {
            Ok(response) => process_describe_cluster(response).map(Some),
            // The one that is known is refused; that the other is granted on so old a broker is the rarer case.
            Err(Error::Version { .. }) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }
}

fn is_hidden(response: &MetadataResponse) -> bool {
    response.topics.iter().any(|topic| topic.error_code == TOPIC_AUTHORIZATION_FAILED)
}

fn build_describe_group(group: &str) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(vec![GroupId(string(group))])
}

/// Any other error comes after the permission was checked, such as that the broker does not coordinate the group.
fn is_denied(response: &DescribeGroupsResponse) -> bool {
    response.groups.iter().any(|group| group.error_code == GROUP_AUTHORIZATION_FAILED)
}

fn build_describe_cluster() -> DescribeClusterRequest {
    DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
}

/// Whether the user has `Describe` on the cluster. A broker that does not say has the smallest number in the place of the
/// operations, in which the bit is not set.
fn process_describe_cluster(response: DescribeClusterResponse) -> Result<bool, Error> {
    let message = response.error_message.as_deref();
    let error = Error::from_code(DescribeClusterRequest::NAME, response.error_code, || Resource::Cluster, message);
    error.map_or(Ok(response.cluster_authorized_operations & DESCRIBE != 0), Err)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::describe_groups_response::DescribedGroup;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn every_version_can_carry_its_request() {
        for version in DescribeClusterRequest::VERSIONS {
            build_describe_cluster().encode(&mut BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn only_a_refused_permission_means_that_groups_are_hidden() {
        let answer = |code| {
            let group = DescribedGroup::default().with_error_code(code);
            is_denied(&DescribeGroupsResponse::default().with_groups(vec![group]))
        };
        // NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE, GROUP_ID_NOT_FOUND, none.
        assert_eq!([30, 16, 15, 69, 0].map(answer), [true, false, false, false, false]);
    }

    #[test]
    fn describe_on_the_cluster_is_a_bit() {
        let answer = |operations| {
            let response = DescribeClusterResponse::default().with_cluster_authorized_operations(operations);
            process_describe_cluster(response).unwrap()
        };
        // ClusterAction alone is bit 9.
        assert_eq!([0, 1 << 9, 1 << 8, 0b11_1111_0000_0000, i32::MIN].map(answer), [false, false, true, true, false]);
    }
}
