//! Share groups (KIP-932): who is in them, and from which offset on each partition is shared.
//!
//! A share group commits no offsets. For each partition its brokers keep a *start offset*: every record before it was
//! acknowledged or given up, records behind it may have been delivered or not. It can be read and set from outside
//! since Kafka 4.1.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;
use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsResponse, GroupId, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{Answers, CONTROL_LANE, Cluster};
use crate::kafka::coordinators::CoordinatorOf;
use crate::kafka::error::{Error, Resource};
use crate::kafka::groups::{
    CommittedOffset, CommittedOffsets, GroupDescription, GroupKind, GroupMember, PARTITIONS_PER_COMMIT, group_ids,
};
use crate::kafka::metadata::{string, topic_name};
use crate::kafka::rounds::{Rounds, of_all};

impl Cluster {
    /// The start offsets of share groups, for all topics that we may describe. Every group is in the result; a group
    /// with a failure in one partition is a failure. A partition of which nothing was delivered yet has none.
    pub async fn share_start_offsets(
        &self,
        groups: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<CommittedOffsets, Error>> {
        self.ask_coordinators(DescribeShareGroupOffsetsRequest::NAME, groups, Error::is_retriable, |broker, groups| {
            async move {
                let build = |_| build_describe_offsets(&groups);
                self.call_once(broker, CONTROL_LANE, Duration::ZERO, build).await.map(process_describe_offsets)
            }
            .boxed()
        })
        .await
    }

    /// Sets the start offsets of a share group that has no members, through its coordinator; a group that is not there
    /// is made. Every partition is in the result; a group with members refuses with `NON_EMPTY_GROUP`.
    pub async fn alter_share_start_offsets(
        &self,
        group: &str,
        offsets: &CommittedOffsets,
    ) -> BTreeMap<TopicPartition, Result<(), Error>> {
        let mut rounds = Rounds::new(self.retry(), AlterShareGroupOffsetsRequest::NAME, offsets.keys().cloned());
        while let Some(open) = rounds.next().await {
            let mut answers = Vec::with_capacity(open.len());
            for part in open.chunks(PARTITIONS_PER_COMMIT) {
                answers.extend(of_all(part, self.alter_once(group, part, offsets).await));
            }
            rounds.settle(answers, Error::is_retriable).await;
        }
        rounds.done()
    }

    async fn alter_once(
        &self,
        group: &str,
        partitions: &[TopicPartition],
        offsets: &CommittedOffsets,
    ) -> Result<Answers<TopicPartition, ()>, Error> {
        let coordinator = self.coordinator(CoordinatorOf::Group, group).await?;
        let build = |_| build_alter_offsets(group, partitions, offsets);
        let response = self.call_once(coordinator, CONTROL_LANE, Duration::ZERO, build).await?;
        process_alter_offsets(group, response)
    }
}

pub(crate) fn build_describe_share_groups(groups: &[String]) -> ShareGroupDescribeRequest {
    ShareGroupDescribeRequest::default().with_group_ids(group_ids(groups))
}

pub(crate) fn process_describe_share_groups(
    response: ShareGroupDescribeResponse,
) -> Vec<(String, Result<GroupDescription, Error>)> {
    let answers = response.groups.into_iter().map(|group| {
        let id = group.group_id.to_string();
        let message = group.error_message.as_deref();
        let resource = || Resource::Group(id.clone());
        let error = Error::from_code(ShareGroupDescribeRequest::NAME, group.error_code, resource, message);
        let members = group.members.iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
        });
        let state = group.group_state.to_string();
        let description = GroupDescription { kind: GroupKind::Share, state, members: members.collect() };
        (id, error.map_or(Ok(description), Err))
    });
    answers.collect()
}

/// All topics of the groups.
fn build_describe_offsets(groups: &[String]) -> DescribeShareGroupOffsetsRequest {
    let group = |id: &String| {
        DescribeShareGroupOffsetsRequestGroup::default().with_group_id(GroupId(string(id))).with_topics(None)
    };
    DescribeShareGroupOffsetsRequest::default().with_groups(groups.iter().map(group).collect())
}

fn process_describe_offsets(response: DescribeShareGroupOffsetsResponse) -> Answers<String, CommittedOffsets> {
    let answers = response.groups.into_iter().map(|group| {
        let id = group.group_id.to_string();
        let message = group.error_message.as_deref();
        let resource = || Resource::Group(id.clone());
        let mut error = Error::from_code(DescribeShareGroupOffsetsRequest::NAME, group.error_code, resource, message);
        let mut offsets = CommittedOffsets::new();
        for topic in group.topics {
            for partition in topic.partitions {
                let key = (topic.topic_name.to_string(), partition.partition_index);
                let resource = || Resource::GroupPartition(id.clone(), key.0.clone(), key.1);
                let message = partition.error_message.as_deref();
                let failed =
                    Error::from_code(DescribeShareGroupOffsetsRequest::NAME, partition.error_code, resource, message);
                let (offset, leader_epoch) = (partition.start_offset, partition.leader_epoch);
                match failed {
                    Some(failed) => error = error.or(Some(failed)),
                    // -1 stands for "nothing delivered yet".
                    None if offset >= 0 => {
                        offsets.insert(key, CommittedOffset { offset, leader_epoch, metadata: String::new() });
                    }
                    None => {}
                }
            }
        }
        (id, error.map_or(Ok(offsets), Err))
    });
    answers.collect()
}

fn build_alter_offsets(
    group: &str,
    partitions: &[TopicPartition],
    offsets: &CommittedOffsets,
) -> AlterShareGroupOffsetsRequest {
    let mut topics: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> = BTreeMap::new();
    for key in partitions {
        let Some(start) = offsets.get(key) else { continue };
        let partition = AlterShareGroupOffsetsRequestPartition::default()
            .with_partition_index(key.1)
            .with_start_offset(start.offset);
        topics.entry(&key.0).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        AlterShareGroupOffsetsRequestTopic::default().with_topic_name(topic_name(topic)).with_partitions(partitions)
    });
    AlterShareGroupOffsetsRequest::default().with_group_id(GroupId(string(group))).with_topics(topics.collect())
}

fn process_alter_offsets(
    group: &str,
    response: AlterShareGroupOffsetsResponse,
) -> Result<Answers<TopicPartition, ()>, Error> {
    let message = response.error_message.as_deref();
    let resource = || Resource::Group(group.to_owned());
    if let Some(error) = Error::from_code(AlterShareGroupOffsetsRequest::NAME, response.error_code, resource, message) {
        return Err(error);
    }
    let answers = response.responses.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let key = (topic.topic_name.to_string(), answer.partition_index);
            let resource = || Resource::GroupPartition(group.to_owned(), key.0.clone(), key.1);
            let message = answer.error_message.as_deref();
            let error = Error::from_code(AlterShareGroupOffsetsRequest::NAME, answer.error_code, resource, message);
            (key, error.map_or(Ok(()), Err))
        })
    });
    Ok(answers.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::alter_share_group_offsets_response::{
        AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
    };
    use kafka_protocol::messages::describe_share_group_offsets_response::{
        DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
        DescribeShareGroupOffsetsResponseTopic,
    };
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::error::Kind;
    use crate::kafka::coordinators::stand_in::{self, Coordinator, NON_EMPTY_GROUP, OFFSET, TOPIC};

    fn start(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: 4, metadata: String::new() }
    }

    fn described(partitions: &[(i32, i64, i16)]) -> DescribeShareGroupOffsetsResponse {
        let partitions = partitions.iter().map(|(index, start_offset, code)| {
            DescribeShareGroupOffsetsResponsePartition::default()
                .with_partition_index(*index)
                .with_start_offset(*start_offset)
                .with_leader_epoch(4)
                .with_error_code(*code)
        });
        let topic = DescribeShareGroupOffsetsResponseTopic::default()
            .with_topic_name(topic_name("t"))
            .with_partitions(partitions.collect());
        let group = DescribeShareGroupOffsetsResponseGroup::default()
            .with_group_id(GroupId(string("g")))
            .with_topics(vec![topic]);
        DescribeShareGroupOffsetsResponse::default().with_groups(vec![group])
    }

    #[test]
    fn a_partition_of_which_nothing_was_delivered_has_no_start_offset() {
        let expected: CommittedOffsets = [(("t".to_owned(), 0), start(0)), (("t".to_owned(), 2), start(7))].into();
        let answers = process_describe_offsets(described(&[(0, 0, 0), (1, -1, 0), (2, 7, 0)]));
        assert_eq!(answers, [("g".to_owned(), Ok(expected))]);
    }

    #[test]
    fn a_failed_partition_fails_its_share_group() {
        let (_, answer) = process_describe_offsets(described(&[(0, 5, 0), (1, 0, 29)])).remove(0);
        let error = answer.unwrap_err();
        assert!(error.kind() == Kind::Denied && error.to_string().contains("partition 1"), "{error}");
    }

    #[test]
    fn every_error_code_of_an_alteration_is_kept() {
        let offsets: CommittedOffsets = [(("t".to_owned(), 0), start(5)), (("t".to_owned(), 1), start(6))].into();
        let partitions: Vec<_> = offsets.keys().cloned().collect();
        let request = build_alter_offsets("g", &partitions, &offsets);
        request.encode(&mut bytes::BytesMut::new(), 0).unwrap();
        assert_eq!(request.topics[0].partitions[1].start_offset, 6);

        let partition = |index, code| {
            AlterShareGroupOffsetsResponsePartition::default().with_partition_index(index).with_error_code(code)
        };
        let response = AlterShareGroupOffsetsResponse::default().with_responses(vec![
            AlterShareGroupOffsetsResponseTopic::default()
                .with_topic_name(topic_name("t"))
                .with_partitions(vec![partition(0, 0), partition(1, 29)]),
        ]);
        let answers: BTreeMap<_, _> = process_alter_offsets("g", response).unwrap().into_iter().collect();
        assert_eq!(answers[&("t".to_owned(), 0)], Ok(()));
        assert_eq!(answers[&("t".to_owned(), 1)].as_ref().unwrap_err().kind(), Kind::Denied);
        let busy = AlterShareGroupOffsetsResponse::default().with_error_code(68);
        let error = process_alter_offsets("g", busy).unwrap_err();
        assert!(error.kind() == Kind::Conflict && error.to_string().contains("NON_EMPTY_GROUP"), "{error}");
    }

    #[tokio::test]
    async fn no_request_reads_the_start_offsets_of_more_than_a_hundred_groups() {
        let coordinator = Coordinator::start().await;
        let groups: BTreeSet<String> = (0..250).map(|number| stand_in::group(GroupKind::Share, number)).collect();
        let read = coordinator.cluster.share_start_offsets(&groups).await;
        assert!(read.keys().eq(&groups));
        let key = (TOPIC.to_owned(), 0);
        assert!(read.values().all(|answer| answer.as_ref().unwrap()[&key].offset == OFFSET));
        let asked = coordinator.asked(ApiKey::DescribeShareGroupOffsets);
        let mut sizes: Vec<usize> = asked.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [50, 100, 100]);
        assert_eq!(asked.into_iter().flatten().collect::<BTreeSet<_>>(), groups);
    }

    #[tokio::test]
    async fn start_offsets_are_set_in_parts_and_a_part_that_is_refused_leaves_the_others_as_they_are() {
        let coordinator = Coordinator::start().await;
        let offsets: CommittedOffsets = (0..1_201).map(|number| ((TOPIC.to_owned(), number), start(OFFSET))).collect();
        let answers = coordinator.cluster.alter_share_start_offsets("g", &offsets).await;
        let asked = coordinator.asked(ApiKey::AlterShareGroupOffsets);
        assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 201]);
        assert!(answers.keys().eq(offsets.keys()));
        // The partition whose request is refused is in the second part.
        for ((_, number), answer) in answers {
            let code = answer.err().and_then(|error| error.code());
            assert_eq!(code, (500..1_000).contains(&number).then_some(NON_EMPTY_GROUP), "partition {number}");
        }
    }
}
