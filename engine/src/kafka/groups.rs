//! Consumer groups: which there are, who is in them, and what they have committed.
//!
//! A group's coordinator is looked up again for every try, so that a move is followed. Groups of the classic, the
//! consumer (KIP-848) and the streams protocol (KIP-1071) commit offsets alike. Share groups (KIP-932) keep start offsets
//! instead ([`crate::kafka::share_groups`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, ShareGroupDescribeRequest,
};
use serde::{Deserialize, Serialize};

use crate::kafka::TopicPartition;
use crate::kafka::api::Api;
use crate::kafka::cluster::{Answers, CONTROL_LANE, Cluster, Leader};
use crate::kafka::coordinators::{CoordinatorOf, REQUESTS_AT_ONCE};
use crate::kafka::error::{
    Error, GROUP_ID_NOT_FOUND, Resource, UNKNOWN_TOPIC_OR_PARTITION, UNSTABLE_OFFSET_COMMIT, UNSUPPORTED_VERSION,
};
use crate::kafka::metadata::{PartitionMetadata, string, topic_name};
use crate::kafka::rounds::{Rounds, of_all};
use crate::kafka::share_groups::{build_describe_share_groups, process_describe_share_groups};
use crate::kafka::streams_groups::{
    StreamsGroupDescribeRequest, build_describe_streams_groups, process_describe_streams_groups,
};

/// From this version on, a request asks for many groups (KIP-709).
const MANY_GROUPS_VERSION: i16 = 8;
/// The state of a group that is not there.
pub(crate) const DEAD: &str = "Dead";
/// Partitions in one request that commits offsets. The coordinator appends all of a request as one batch to its topic,
/// whose `max.message.bytes` (1 MiB by default) about 8,000 of them would exceed.
pub(crate) const PARTITIONS_PER_COMMIT: usize = 500;
/// Bytes of the batch that a request makes the coordinator append: half of that default. The metadata of one partition may have
/// 4 KiB (`offset.metadata.max.bytes`).
const COMMIT_BYTES_MAX: usize = 512 << 10;
/// What each record of that batch takes beside group, topic and metadata, in bytes, at most.
const COMMIT_RECORD_BYTES: usize = 100;
/// How long a group whose offsets transactions are about to change is asked again, from its first such answer on. A group
/// that commits ten times a second over many partitions may never be without one.
const STABLE_WAIT: Duration = Duration::from_secs(5);

/// Which protocol a group's members speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupKind {
    /// The protocol of old, which Connect and many others use as well.
    #[default]
    Classic,
    /// The consumer protocol of KIP-848.
    Consumer,
    /// The streams protocol of KIP-1071.
    Streams,
    /// The share protocol of KIP-932, whose groups have start offsets and commit none.
    Share,
}

impl GroupKind {
    /// Kafka's name for it, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Streams => "streams",
            Self::Share => "share",
        }
    }

    /// The kind of this name, in any case; nothing for one that this program does not know.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Classic, Self::Consumer, Self::Streams, Self::Share]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

/// The kind of a group, as its coordinator names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// One that this program can read the offsets of.
    Known(GroupKind),
    /// One of a newer Kafka, in its words.
    Unknown(String),
}

/// A group as its coordinator lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group's id.
    pub group: String,
    /// Which protocol it speaks.
    pub kind: ListedKind,
    /// What its members do: `consumer`, `connect`; empty for offsets that were committed without members.
    pub protocol_type: String,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id the coordinator gave it.
    pub member_id: String,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Which protocol it speaks.
    pub kind: GroupKind,
    /// Kafka's name for its state: `Stable`, `Empty`, ..; `Dead` for a group that is not there.
    pub state: String,
    /// Its members right now; offsets can only be committed from outside while there are none.
    pub members: Vec<GroupMember>,
}

/// The topic in which the brokers keep what groups have committed.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Where a group goes on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record it reads.
    pub offset: i64,
    /// The leader epoch of the record before; -1 if not known.
    pub leader_epoch: i32,
    /// What the group wrote beside it.
    pub metadata: String,
}

/// What a group has committed, by partition.
pub type CommittedOffsets = BTreeMap<TopicPartition, CommittedOffset>;

/// Whether offsets were read at a moment at which no transaction was about to change them (KIP-447).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// They were: what is committed is all that the group has done.
    Stable,
    /// They were not: an open transaction of the group holds newer ones.
    Unstable,
}

impl Cluster {
    /// All groups of the cluster that we may describe, of every kind, in the order of their names; and why some may be missing, each in
    /// one line. Every broker is asked, and if one of them cannot answer, all are asked again: its groups may have moved to one that
    /// has answered already.
    ///
    /// # Errors
    /// When not one broker answers.
    pub async fn list_groups(&self) -> Result<(Vec<ListedGroup>, Vec<String>), Error> {
        let mut retry = self.retry();
        loop {
            retry.ready().await;
            let brokers = self.brokers();
            let asked = brokers.into_iter().map(|broker| async move {
                let response = self.call_once(broker.id, CONTROL_LANE, Duration::ZERO, build_list_groups).await;
                (broker.id, response.and_then(|response| process_list_groups(broker.id, response)))
            });
            let mut groups: BTreeMap<String, ListedGroup> = BTreeMap::new();
            let (mut answered, mut silent) = (0, Vec::new());
            for (broker, answer) in join_all(asked).await {
                match answer {
                    Ok(listed) => {
                        answered += 1;
                        groups.extend(listed.into_iter().map(|group| (group.group.clone(), group)));
                    }
                    Err(error) => silent.push((broker, error)),
                }
            }
            let Some((_, error)) = silent.first() else { return Ok((groups.into_values().collect(), Vec::new())) };
            if let Err(error) = retry.again(error.clone()).await {
                let gap = |(broker, error)| format!("the groups of broker {broker}, which does not list them: {error}");
                return match answered {
                    0 => Err(error),
                    _ => Ok((groups.into_values().collect(), silent.into_iter().map(gap).collect())),
                };
            }
        }
    }

    /// Who leads the partitions of the topic in which the brokers keep the positions of groups, by their numbers: each leader lists
    /// the groups of its partitions, and those of a partition without a leader are in no list.
    ///
    /// # Errors
    /// As [`Cluster::metadata`], and what the broker says of the topic, other than that it is not there: before the first commit of a
    /// cluster it is not.
    pub async fn coordinator_leaders(&self) -> Result<BTreeMap<i32, Option<Leader>>, Error> {
        let metadata = self.metadata(Some(&[OFFSETS_TOPIC.to_owned()])).await?;
        let topic = metadata.topics.get(OFFSETS_TOPIC);
        if let Some(error) = topic.and_then(|topic| topic.error.as_ref())
            && error.code() != Some(UNKNOWN_TOPIC_OR_PARTITION)
        {
            return Err(error.clone());
        }
        let leader = |partition: &PartitionMetadata| {
            let epoch = partition.leader_epoch;
            (partition.partition, partition.leader.map(|broker| Leader { broker, epoch }))
        };
        Ok(topic.map_or(&[][..], |topic| &topic.partitions).iter().map(leader).collect())
    }

    /// State and members of groups of every kind. Every group is in the result; one that is not there is `Dead`. Each
    /// kind has a request of its own, and the others are made for those that the first one does not find.
    pub async fn describe_groups(
        &self,
        groups: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<GroupDescription, Error>> {
        let mut described = self.describe_as(GroupKind::Consumer, groups).await;
        let open = described.iter().filter(|(_, answer)| is_not_found(answer)).map(|(group, _)| group.clone());
        let open: BTreeSet<String> = open.collect();
        let (classic, streams, share) = futures::join!(
            self.describe_as(GroupKind::Classic, &open),
            self.describe_as(GroupKind::Streams, &open),
            self.describe_as(GroupKind::Share, &open)
        );
        // A group that is none of the others is as dead as the classic answer says.
        described.extend(classic);
        let others = streams.into_iter().chain(share).filter(|(_, answer)| !is_not_found(answer));
        for (group, answer) in others {
            if described.get(&group).is_none_or(is_not_found) {
                described.insert(group, answer);
            }
        }
        described
    }

    async fn describe_as(
        &self,
        kind: GroupKind,
        groups: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<GroupDescription, Error>> {
        let api = match kind {
            GroupKind::Classic => DescribeGroupsRequest::NAME,
            GroupKind::Consumer => ConsumerGroupDescribeRequest::NAME,
            GroupKind::Streams => StreamsGroupDescribeRequest::NAME,
            GroupKind::Share => ShareGroupDescribeRequest::NAME,
        };
        self.ask_coordinators(api, groups, Error::is_retriable, |broker, groups| {
            self.describe_once(kind, broker, groups).boxed()
        })
        .await
    }

    async fn describe_once(
        &self,
        kind: GroupKind,
        broker: i32,
        groups: Arc<[String]>,
    ) -> Result<Answers<String, GroupDescription>, Error> {
        let (lane, extra) = (CONTROL_LANE, Duration::ZERO);
        match kind {
            GroupKind::Classic => {
                let build = |_| build_describe_groups(&groups);
                self.call_once(broker, lane, extra, build).await.map(process_describe_groups)
            }
            GroupKind::Consumer => {
                let build = |_| build_describe_consumer_groups(&groups);
                self.call_once(broker, lane, extra, build).await.map(process_describe_consumer_groups)
            }
            GroupKind::Streams => {
                let build = |_| build_describe_streams_groups(&groups);
                self.call_once(broker, lane, extra, build).await.map(process_describe_streams_groups)
            }
            GroupKind::Share => {
                let build = |_| build_describe_share_groups(&groups);
                self.call_once(broker, lane, extra, build).await.map(process_describe_share_groups)
            }
        }
    }

    /// What groups have committed, for all topics. Every group is in the result; a group with a failure in one
    /// partition is a failure. Offsets that a transaction is about to change are waited for (KIP-447).
    pub async fn committed_offsets(
        &self,
        groups: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<CommittedOffsets, Error>> {
        self.ask_for_offsets(groups, Stability::Stable, Error::is_retriable).await
    }

    /// The same, with an end to the waiting: of a group that is never without an open transaction, what it had committed
    /// before. Since that transaction is open, its records are not committed either: the older offset is the right one.
    pub async fn committed_offsets_soon(
        &self,
        groups: &BTreeSet<String>,
    ) -> BTreeMap<String, Result<(CommittedOffsets, Stability), Error>> {
        let trouble: OnceLock<Instant> = OnceLock::new();
        let may_pass = |error: &Error| {
            let is_unstable = error.code() == Some(UNSTABLE_OFFSET_COMMIT);
            error.is_retriable() && !(is_unstable && trouble.get_or_init(Instant::now).elapsed() >= STABLE_WAIT)
        };
        let answers = self.ask_for_offsets(groups, Stability::Stable, may_pass).await;
        let is_unstable =
            |answer: &Result<_, Error>| answer.as_ref().err().and_then(Error::code) == Some(UNSTABLE_OFFSET_COMMIT);
        let busy: BTreeSet<String> =
            answers.iter().filter(|(_, answer)| is_unstable(answer)).map(|(group, _)| group.clone()).collect();
        let older = self.ask_for_offsets(&busy, Stability::Unstable, Error::is_retriable).await;
        let with = |stability| {
            move |(group, answer): (String, Result<CommittedOffsets, Error>)| {
                (group, answer.map(|offsets| (offsets, stability)))
            }
        };
        let stable = answers.into_iter().filter(|(_, answer)| !is_unstable(answer)).map(with(Stability::Stable));
        stable.chain(older.into_iter().map(with(Stability::Unstable))).collect()
    }

    async fn ask_for_offsets(
        &self,
        groups: &BTreeSet<String>,
        wanted: Stability,
        may_pass: impl Fn(&Error) -> bool,
    ) -> BTreeMap<String, Result<CommittedOffsets, Error>> {
        self.ask_coordinators(OffsetFetchRequest::NAME, groups, may_pass, |broker, groups| {
            self.fetch_offsets_once(broker, groups, wanted).boxed()
        })
        .await
    }

    async fn fetch_offsets_once(
        &self,
        broker: i32,
        groups: Arc<[String]>,
        wanted: Stability,
    ) -> Result<Answers<String, CommittedOffsets>, Error> {
        let version = self.connection(broker, CONTROL_LANE).await?.version::<OffsetFetchRequest>()?;
        let at_once = if version >= MANY_GROUPS_VERSION { groups.len().max(1) } else { 1 };
        let parts: Vec<BoxFuture<'_, Answers<String, CommittedOffsets>>> = groups
            .chunks(at_once)
            .map(|part| async move { of_all(part, self.fetch_part(broker, part, wanted).await) }.boxed())
            .collect();
        Ok(stream::iter(parts).buffer_unordered(REQUESTS_AT_ONCE).concat().await)
    }

    async fn fetch_part(
        &self,
        broker: i32,
        groups: &[String],
        wanted: Stability,
    ) -> Result<Answers<String, CommittedOffsets>, Error> {
        let pending = self.start(broker, CONTROL_LANE, |version| build_offset_fetch(version, groups, wanted)).await?;
        let version = pending.version();
        let response = self.observe(pending.response().await)?;
        Ok(process_offset_fetch(version, groups, response))
    }

    /// Commits offsets for a group that has no members, through its coordinator. Every partition is in the result;
    /// a group with members refuses with `UNKNOWN_MEMBER_ID` or `REBALANCE_IN_PROGRESS`.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &CommittedOffsets,
    ) -> BTreeMap<TopicPartition, Result<(), Error>> {
        let mut rounds = Rounds::new(self.retry(), OffsetCommitRequest::NAME, offsets.keys().cloned());
        while let Some(open) = rounds.next().await {
            let mut answers = Vec::with_capacity(open.len());
            // One after the other: they go to one broker, which works on one request of a connection at a time.
            for part in commits(group, &open, offsets) {
                answers.extend(of_all(part, self.commit_once(group, part, offsets).await));
            }
            rounds.settle(answers, Error::is_retriable).await;
        }
        rounds.done()
    }

    async fn commit_once(
        &self,
        group: &str,
        partitions: &[TopicPartition],
        offsets: &CommittedOffsets,
    ) -> Result<Answers<TopicPartition, ()>, Error> {
        let coordinator = self.coordinator(CoordinatorOf::Group, group).await?;
        let build = |version| build_offset_commit(version, group, partitions, offsets);
        let response = self.call_once(coordinator, CONTROL_LANE, Duration::ZERO, build).await?;
        Ok(process_offset_commit(group, response))
    }
}

/// Cuts partitions into requests of at most [`PARTITIONS_PER_COMMIT`] and [`COMMIT_BYTES_MAX`], but at least one each.
fn commits<'p>(group: &str, partitions: &'p [TopicPartition], offsets: &CommittedOffsets) -> Vec<&'p [TopicPartition]> {
    let bytes = |key: &TopicPartition| {
        let metadata = offsets.get(key).map_or(0, |committed| committed.metadata.len());
        COMMIT_RECORD_BYTES + group.len() + key.0.len() + metadata
    };
    let mut requests = Vec::new();
    let (mut begin, mut sum) = (0, 0);
    for (at, key) in partitions.iter().enumerate() {
        let more = bytes(key);
        if at > begin && (at - begin >= PARTITIONS_PER_COMMIT || sum + more > COMMIT_BYTES_MAX) {
            requests.push(&partitions[begin..at]);
            (begin, sum) = (at, 0);
        }
        sum += more;
    }
    if begin < partitions.len() {
        requests.push(&partitions[begin..]);
    }
    requests
}

/// Of every kind: those that cannot be read are named.
fn build_list_groups(_version: i16) -> ListGroupsRequest {
    ListGroupsRequest::default()
}

fn process_list_groups(broker: i32, response: ListGroupsResponse) -> Result<Vec<ListedGroup>, Error> {
    let resource = || Resource::Broker(broker);
    if let Some(error) = Error::from_code(ListGroupsRequest::NAME, response.error_code, resource, None) {
        return Err(error);
    }
    let groups = response.groups.into_iter().map(|group| ListedGroup {
        group: group.group_id.to_string(),
        kind: listed_kind(&group.group_type),
        protocol_type: group.protocol_type.to_string(),
    });
    Ok(groups.collect())
}

fn listed_kind(name: &str) -> ListedKind {
    // Brokers without types (before Kafka 3.7) only have classic groups.
    let known = if name.is_empty() { Some(GroupKind::Classic) } else { GroupKind::of_name(name) };
    known.map_or_else(|| ListedKind::Unknown(name.to_owned()), ListedKind::Known)
}

pub(crate) fn group_ids(groups: &[String]) -> Vec<GroupId> {
    groups.iter().map(|group| GroupId(string(group))).collect()
}

fn build_describe_consumer_groups(groups: &[String]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default().with_group_ids(group_ids(groups))
}

fn process_describe_consumer_groups(
    response: ConsumerGroupDescribeResponse,
) -> Vec<(String, Result<GroupDescription, Error>)> {
    let answers = response.groups.into_iter().map(|group| {
        let id = group.group_id.to_string();
        let message = group.error_message.as_deref();
        let resource = || Resource::Group(id.clone());
        let error = Error::from_code(ConsumerGroupDescribeRequest::NAME, group.error_code, resource, message);
        let members = group.members.iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
        });
        let description = GroupDescription {
            kind: GroupKind::Consumer,
            state: group.group_state.to_string(),
            members: members.collect(),
        };
        (id, error.map_or(Ok(description), Err))
    });
    answers.collect()
}

/// Whether an answer says that a group of another kind may have this name: the broker does not know the request, has the
/// kind switched off, or has no group of it with this name.
fn is_not_found(answer: &Result<GroupDescription, Error>) -> bool {
    match answer {
        Err(Error::Version { .. }) => true,
        Err(error) => matches!(error.code(), Some(GROUP_ID_NOT_FOUND | UNSUPPORTED_VERSION)),
        Ok(description) => description.state == DEAD,
    }
}

fn build_describe_groups(groups: &[String]) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default().with_groups(group_ids(groups))
}

fn process_describe_groups(response: DescribeGroupsResponse) -> Vec<(String, Result<GroupDescription, Error>)> {
    let answers = response.groups.into_iter().map(|group| {
        let id = group.group_id.to_string();
        // Version 6 says so in a code, earlier ones in the state.
        if group.error_code == GROUP_ID_NOT_FOUND {
            let dead = GroupDescription { kind: GroupKind::Classic, state: DEAD.to_owned(), members: vec![] };
            return (id, Ok(dead));
        }
        let message = group.error_message.as_deref();
        let resource = || Resource::Group(id.clone());
        let error = Error::from_code(DescribeGroupsRequest::NAME, group.error_code, resource, message);
        let members = group.members.iter().map(|member| GroupMember {
            member_id: member.member_id.to_string(),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
        });
        let description = GroupDescription {
            kind: GroupKind::Classic,
            state: group.group_state.to_string(),
            members: members.collect(),
        };
        (id, error.map_or(Ok(description), Err))
    });
    answers.collect()
}

/// All topics of the groups; before version 8, of the first one.
fn build_offset_fetch(version: i16, groups: &[String], wanted: Stability) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default();
    // A pending offset of an open transaction would otherwise be passed over in silence.
    let request = if version >= 7 { request.with_require_stable(wanted == Stability::Stable) } else { request };
    if version >= MANY_GROUPS_VERSION {
        let group =
            |id: &String| OffsetFetchRequestGroup::default().with_group_id(GroupId(string(id))).with_topics(None);
        request.with_groups(groups.iter().map(group).collect())
    } else {
        let id = groups.first().map(|id| string(id)).unwrap_or_default();
        request.with_group_id(GroupId(id)).with_topics(None)
    }
}

/// One partition of an answer, whatever version it came in.
struct FetchedOffset {
    topic: String,
    partition: i32,
    error_code: i16,
    committed: CommittedOffset,
}

fn process_offset_fetch(
    version: i16,
    groups: &[String],
    response: OffsetFetchResponse,
) -> Vec<(String, Result<CommittedOffsets, Error>)> {
    if version >= MANY_GROUPS_VERSION {
        let answers = response.groups.into_iter().map(|group| {
            let id = group.group_id.to_string();
            let partitions = group.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |partition| FetchedOffset {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                    error_code: partition.error_code,
                    committed: CommittedOffset {
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: partition.metadata.unwrap_or_default().to_string(),
                    },
                })
            });
            let committed = collect_offsets(&id, group.error_code, partitions);
            (id, committed)
        });
        return answers.collect();
    }
    let Some(id) = groups.first() else { return Vec::new() };
    let partitions = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |partition| FetchedOffset {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            error_code: partition.error_code,
            committed: CommittedOffset {
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata.unwrap_or_default().to_string(),
            },
        })
    });
    vec![(id.clone(), collect_offsets(id, response.error_code, partitions))]
}

fn collect_offsets(
    group: &str,
    error_code: i16,
    partitions: impl Iterator<Item = FetchedOffset>,
) -> Result<CommittedOffsets, Error> {
    let resource = || Resource::Group(group.to_owned());
    if let Some(error) = Error::from_code(OffsetFetchRequest::NAME, error_code, resource, None) {
        return Err(error);
    }
    let mut offsets = CommittedOffsets::new();
    let mut retriable = None;
    for FetchedOffset { topic, partition, error_code, committed } in partitions {
        let resource = || Resource::GroupPartition(group.to_owned(), topic.clone(), partition);
        match Error::from_code(OffsetFetchRequest::NAME, error_code, resource, None) {
            // A final failure goes before one that may pass: trying again would not mend it.
            Some(error) if error.is_retriable() => retriable = retriable.or(Some(error)),
            Some(error) => return Err(error),
            // -1 stands for "nothing committed".
            None if committed.offset >= 0 => drop(offsets.insert((topic, partition), committed)),
            None => {}
        }
    }
    retriable.map_or(Ok(offsets), Err)
}

pub(crate) fn build_offset_commit(
    version: i16,
    group: &str,
    partitions: &[TopicPartition],
    offsets: &CommittedOffsets,
) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for key in partitions {
        let Some(committed) = offsets.get(key) else { continue };
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(key.1)
            .with_committed_offset(committed.offset)
            .with_committed_metadata(Some(string(&committed.metadata)));
        let partition =
            if version >= 6 { partition.with_committed_leader_epoch(committed.leader_epoch) } else { partition };
        topics.entry(&key.0).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
    });
    OffsetCommitRequest::default()
        .with_group_id(GroupId(string(group)))
        // From outside of the group: no generation and no member.
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics.collect())
}

pub(crate) fn process_offset_commit(group: &str, response: OffsetCommitResponse) -> Answers<TopicPartition, ()> {
    let answers = response.topics.into_iter().flat_map(|topic| {
        topic.partitions.into_iter().map(move |answer| {
            let key = (topic.name.to_string(), answer.partition_index);
            let resource = || Resource::GroupPartition(group.to_owned(), key.0.clone(), key.1);
            let error = Error::from_code(OffsetCommitRequest::NAME, answer.error_code, resource, None);
            (key, error.map_or(Ok(()), Err))
        })
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey;
    use kafka_protocol::messages::consumer_group_describe_response::{DescribedGroup as NewGroup, Member};
    use kafka_protocol::messages::describe_groups_response::DescribedGroup;
    use kafka_protocol::messages::list_groups_response::ListedGroup as WireGroup;
    use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };

    use super::*;
    use crate::error::Kind;
    use crate::kafka::coordinators::stand_in::{self, Coordinator};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn encodes<A: Api>(build: impl Fn(i16) -> A) {
        for version in A::VERSIONS {
            build(version).encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
    }

    fn committed(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: 4, metadata: "m".to_owned() }
    }

    #[test]
    fn every_version_can_carry_every_request() {
        let groups = names(&["g", "h"]);
        let offsets: CommittedOffsets = [(("t".to_owned(), 0), committed(5))].into();
        let partitions: Vec<_> = offsets.keys().cloned().collect();
        encodes(build_list_groups);
        encodes(|version| build_offset_fetch(version, &groups, Stability::Stable));
        encodes(|version| build_offset_fetch(version, &groups, Stability::Unstable));
        encodes(|version| build_offset_commit(version, "g", &partitions, &offsets));
        encodes(|_| build_describe_groups(&groups));
        encodes(|_| build_describe_consumer_groups(&groups));
    }

    #[test]
    fn groups_of_every_kind_are_listed_also_of_one_that_is_unknown() {
        let group = |id: &str, kind: &str| {
            WireGroup::default().with_group_id(GroupId(string(id))).with_group_type(string(kind))
        };
        let response = ListGroupsResponse::default().with_groups(vec![
            group("a", "classic"),
            group("b", "Consumer"),
            group("c", "share"),
            group("d", ""),
            group("e", "streams"),
            group("f", "tomorrow"),
        ]);
        let listed: Vec<_> = process_list_groups(1, response).unwrap().into_iter().map(|g| (g.group, g.kind)).collect();
        use GroupKind::*;
        let expected = [("a", Classic), ("b", Consumer), ("c", Share), ("d", Classic), ("e", Streams)];
        let mut expected = expected.map(|(group, kind)| (group.to_owned(), ListedKind::Known(kind))).to_vec();
        expected.push(("f".to_owned(), ListedKind::Unknown("tomorrow".to_owned())));
        assert_eq!(listed, expected);
        let loading = ListGroupsResponse::default().with_error_code(14);
        assert!(process_list_groups(1, loading).unwrap_err().is_retriable());
        for kind in [Classic, Consumer, Streams, Share] {
            assert_eq!(GroupKind::of_name(kind.name()), Some(kind));
        }
    }

    #[test]
    fn committed_offsets_are_read_from_both_shapes_of_answer() {
        let groups = names(&["g"]);
        let old = OffsetFetchResponse::default().with_topics(vec![
            OffsetFetchResponseTopic::default().with_name(topic_name("t")).with_partitions(vec![
                OffsetFetchResponsePartition::default()
                    .with_committed_offset(5)
                    .with_committed_leader_epoch(4)
                    .with_metadata(Some(string("m"))),
                OffsetFetchResponsePartition::default().with_partition_index(1).with_committed_offset(-1),
            ]),
        ]);
        let new = OffsetFetchResponse::default().with_groups(vec![
            OffsetFetchResponseGroup::default().with_group_id(GroupId(string("g"))).with_topics(vec![
                OffsetFetchResponseTopics::default().with_name(topic_name("t")).with_partitions(vec![
                    OffsetFetchResponsePartitions::default()
                        .with_committed_offset(5)
                        .with_committed_leader_epoch(4)
                        .with_metadata(Some(string("m"))),
                ]),
            ]),
        ]);
        let expected: CommittedOffsets = [(("t".to_owned(), 0), committed(5))].into();
        assert_eq!(process_offset_fetch(7, &groups, old), [("g".to_owned(), Ok(expected.clone()))]);
        assert_eq!(process_offset_fetch(9, &groups, new), [("g".to_owned(), Ok(expected))]);
        // An answer without the group is no answer, not an empty one.
        assert_eq!(process_offset_fetch(9, &groups, OffsetFetchResponse::default()), []);
    }

    #[test]
    fn a_failed_partition_fails_its_group_and_a_final_failure_goes_first() {
        let offset = |partition, error_code| FetchedOffset {
            topic: "t".to_owned(),
            partition,
            error_code,
            committed: committed(5),
        };
        let unstable = collect_offsets("g", 0, [offset(0, 0), offset(1, 88)].into_iter()).unwrap_err();
        assert!(unstable.is_retriable() && unstable.to_string().contains("partition 1"), "{unstable}");
        let denied = collect_offsets("g", 0, [offset(0, 88), offset(1, 29)].into_iter()).unwrap_err();
        assert_eq!(denied.kind(), Kind::Denied);
        assert_eq!(collect_offsets("g", 30, std::iter::empty()).unwrap_err().kind(), Kind::Denied);
    }

    #[test]
    fn every_error_code_of_a_commit_is_kept() {
        let partition =
            |index, code| OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code);
        let response = OffsetCommitResponse::default().with_topics(vec![
            OffsetCommitResponseTopic::default().with_name(topic_name("t")).with_partitions(vec![
                partition(0, 0),
                partition(1, 25),
                partition(2, 16),
            ]),
        ]);
        let answers: BTreeMap<_, _> = process_offset_commit("g", response).into_iter().collect();
        assert_eq!(answers[&("t".to_owned(), 0)], Ok(()));
        assert_eq!(answers[&("t".to_owned(), 1)].as_ref().unwrap_err().kind(), Kind::Conflict);
        assert!(answers[&("t".to_owned(), 2)].as_ref().unwrap_err().is_retriable());
    }

    #[test]
    fn a_commit_comes_from_outside_of_the_group() {
        let offsets: CommittedOffsets = [(("t".to_owned(), 0), committed(5))].into();
        let request = build_offset_commit(9, "g", &[("t".to_owned(), 0)], &offsets);
        assert_eq!((request.generation_id_or_member_epoch, request.member_id.as_str()), (-1, ""));
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (5, 4));
    }

    #[test]
    fn members_are_named_and_a_group_of_the_other_kind_is_asked_about_again() {
        let member = Member::default()
            .with_member_id(string("m-1"))
            .with_client_id(string("app"))
            .with_client_host(string("/10.0.0.1"));
        let response = ConsumerGroupDescribeResponse::default().with_groups(vec![
            NewGroup::default()
                .with_group_id(GroupId(string("g")))
                .with_group_state(string("Stable"))
                .with_members(vec![member]),
            NewGroup::default().with_group_id(GroupId(string("h"))).with_error_code(69),
            NewGroup::default().with_group_id(GroupId(string("i"))).with_error_code(30),
        ]);
        let answers = process_describe_consumer_groups(response);
        let stable = answers[0].1.as_ref().unwrap();
        assert_eq!((stable.state.as_str(), stable.members[0].host.as_str()), ("Stable", "/10.0.0.1"));
        let again: Vec<bool> = answers.iter().map(|(_, answer)| is_not_found(answer)).collect();
        assert_eq!(again, [false, true, false]);
    }

    #[test]
    fn a_classic_group_that_is_not_there_is_dead() {
        let response = DescribeGroupsResponse::default().with_groups(vec![
            DescribedGroup::default().with_group_id(GroupId(string("g"))).with_error_code(69),
            DescribedGroup::default().with_group_id(GroupId(string("h"))).with_group_state(string("Empty")),
            DescribedGroup::default().with_group_id(GroupId(string("i"))).with_error_code(16),
        ]);
        let answers = process_describe_groups(response);
        assert_eq!(answers[0].1.as_ref().unwrap().state, "Dead");
        assert_eq!(answers[1].1.as_ref().unwrap().state, "Empty");
        assert!(answers[2].1.as_ref().unwrap_err().is_retriable());
    }

    #[test]
    fn a_commit_fits_into_a_batch_of_the_offsets_topic_however_long_its_metadata_is() {
        let sizes = |metadata: usize, partitions: i32| -> Vec<usize> {
            let offset = || CommittedOffset { offset: 1, leader_epoch: -1, metadata: "m".repeat(metadata) };
            let offsets: CommittedOffsets =
                (0..partitions).map(|number| (("t".to_owned(), number), offset())).collect();
            let keys: Vec<TopicPartition> = offsets.keys().cloned().collect();
            commits("g", &keys, &offsets).iter().map(|part| part.len()).collect()
        };
        assert!(sizes(0, 0).is_empty());
        assert_eq!(sizes(0, 1_001), [500, 500, 1]);
        assert_eq!(sizes(4_096, 300), [124, 124, 52]);
        assert_eq!(sizes(1 << 20, 2), [1, 1], "at least one each");
    }

    /// So many groups of a kind.
    fn many(kind: GroupKind, count: usize) -> impl Iterator<Item = String> {
        (0..count).map(move |number| stand_in::group(kind, number))
    }

    /// About how many groups each request asked, in rising order; no group in two of them.
    fn parts(asked: &[Vec<String>]) -> Vec<usize> {
        let groups: BTreeSet<&String> = asked.iter().flatten().collect();
        assert_eq!(groups.len(), asked.iter().flatten().count(), "a group was asked about twice");
        let mut sizes: Vec<usize> = asked.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        sizes
    }

    #[tokio::test]
    async fn no_request_describes_more_than_a_hundred_groups_and_every_group_is_described_as_what_it_is() {
        let coordinator = Coordinator::start().await;
        let (consumer, classic) = (many(GroupKind::Consumer, 210), many(GroupKind::Classic, 250));
        let groups: BTreeSet<String> = consumer.chain(classic).chain(many(GroupKind::Share, 130)).collect();
        let described = coordinator.cluster.describe_groups(&groups).await;
        assert!(described.keys().eq(&groups));
        for (group, answer) in &described {
            let description = answer.as_ref().unwrap();
            assert!(group.starts_with(description.kind.name()) && description.state == "Empty", "{group}: {answer:?}");
        }
        assert_eq!(parts(&coordinator.asked(ApiKey::ConsumerGroupDescribe)), [90, 100, 100, 100, 100, 100]);
        // Those that the first request does not find.
        for api in [ApiKey::DescribeGroups, ApiKey::ShareGroupDescribe] {
            assert_eq!(parts(&coordinator.asked(api)), [80, 100, 100, 100], "{api:?}");
        }
        assert!(coordinator.asked(ApiKey::FindCoordinator).iter().all(|keys| keys.len() <= 100));
    }

    #[tokio::test]
    async fn no_request_reads_the_committed_offsets_of_more_than_a_hundred_groups() {
        let coordinator = Coordinator::start().await;
        let groups: BTreeSet<String> = many(GroupKind::Classic, 250).collect();
        let read = coordinator.cluster.committed_offsets(&groups).await;
        assert!(read.keys().eq(&groups));
        let key = (stand_in::TOPIC.to_owned(), 0);
        assert!(read.values().all(|answer| answer.as_ref().unwrap()[&key].offset == stand_in::OFFSET));
        assert_eq!(parts(&coordinator.asked(ApiKey::OffsetFetch)), [50, 100, 100]);
    }
}
