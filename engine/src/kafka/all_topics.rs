//! The topics of a cluster, by what several brokers know.
//!
//! A broker that is cut off from its controllers goes on answering with what it knew before, for as long as it runs: without
//! topics that were created since, and as the leader of partitions that have another one (KIP-631: a fenced broker). One broker's
//! word would make it the cut of a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use crate::kafka::cluster::{CONTROL_LANE, Cluster, united};
use crate::kafka::error::Error;
use crate::kafka::metadata::{Metadata, TopicMetadata, build_metadata};

/// How many brokers are asked: more than one that is cut off is an outage that shows. Each lists every partition of the cluster.
const BROKERS_ASKED: usize = 3;
/// How often they are asked while they know different topics: one that was created or deleted just now is known, or forgotten, by
/// all of them a moment later.
pub(crate) const LOOKS: usize = 3;
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

type Topics = BTreeMap<String, TopicMetadata>;

/// What each of some brokers knows.
pub(crate) struct Known {
    /// How many were asked.
    pub asked: usize,
    /// The id of each that has answered, and its answer.
    pub answers: Vec<(i32, Topics)>,
}

impl Cluster {
    /// All topics that we may see, by what up to three brokers know. Of two topics of one name, it is the one that most of them know.
    /// Partitions are led by those with the highest leader epoch. A topic that only one of them knows, and goes on knowing, is in the
    /// answer. Whoever knows of most elections is asked first from then on.
    ///
    /// # Errors
    /// As [`Cluster::metadata`]; brokers beyond the first that do not answer are left out.
    pub async fn all_topics(&self) -> Result<Topics, Error> {
        let mut look = 1;
        loop {
            let known = self.known_topics(None).await?.answers;
            let is_same = known.windows(2).all(|pair| know_the_same(&pair[0].1, &pair[1].1));
            if is_same || look == LOOKS {
                return Ok(self.agreed(known));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            look += 1;
        }
    }

    /// What brokers know together; the one that is ahead is asked first from now on.
    pub(crate) fn agreed(&self, mut known: Vec<(i32, Topics)>) -> Topics {
        let common = common(known.iter().map(|(_, topics)| topics));
        known.sort_by_key(|(_, topics)| std::cmp::Reverse(elections(topics, &common)));
        if let Some((broker, _)) = known.first() {
            self.prefer(*broker);
        }
        merged(known.into_iter().map(|(_, topics)| topics).collect())
    }

    /// What each of up to three brokers knows of these topics, or of all.
    ///
    /// # Errors
    /// As [`Cluster::metadata`]; brokers beyond the first that do not answer are left out.
    pub(crate) async fn known_topics(&self, names: Option<&[String]>) -> Result<Known, Error> {
        let first = self.metadata(names).await?.topics;
        // The one that answers first is the last one that has answered.
        let mut brokers = self.candidates().into_iter().take(BROKERS_ASKED);
        let mut known = Known { asked: brokers.len().max(1), answers: vec![(brokers.next().unwrap_or(-1), first)] };
        for broker in brokers {
            match self.metadata_of(broker, names).await {
                Ok(answer) => known.answers.push((broker, answer.topics)),
                Err(error @ Error::OtherCluster { .. }) => return Err(error),
                Err(error) => tracing::debug!(broker, %error, "the broker does not say which topics it knows"),
            }
        }
        Ok(known)
    }

    /// Follows topics from now on, as [`Cluster::all_topics`] knows them.
    pub fn follow_known(&self, topics: &Topics, names: &BTreeSet<String>) {
        let known = names.iter().filter_map(|name| topics.get(name));
        self.learn(known.map(|topic| (topic.name.clone(), topic.clone())).collect());
    }

    async fn metadata_of(&self, broker: i32, names: Option<&[String]>) -> Result<Metadata, Error> {
        let response = self.call_once(broker, CONTROL_LANE, Duration::ZERO, |_| build_metadata(names)).await?;
        self.accept(&format!("broker {broker}"), response)
    }
}

/// Whether two brokers know the same topics, with as many partitions.
fn know_the_same(one: &Topics, other: &Topics) -> bool {
    fn known(topics: &Topics) -> impl Iterator<Item = (&String, Uuid, usize)> {
        topics.iter().map(|(name, topic)| (name, topic.id, topic.partitions.len()))
    }
    known(one).eq(known(other))
}

/// Names of the topics that all brokers know, under one id.
fn common<'a>(mut known: impl Iterator<Item = &'a Topics>) -> BTreeSet<String> {
    let ids = |topics: &Topics| -> BTreeSet<(String, Uuid)> {
        let known = topics.iter().filter(|(_, topic)| topic.error.is_none());
        known.map(|(name, topic)| (name.clone(), topic.id)).collect()
    };
    let Some(first) = known.next() else { return BTreeSet::new() };
    let common = known.fold(ids(first), |common, topics| common.intersection(&ids(topics)).cloned().collect());
    common.into_iter().map(|(name, _)| name).collect()
}

/// How many elections a broker knows of in these topics. One that is behind knows of fewer, and of fewer partitions; it may know more
/// topics, which were deleted since.
fn elections(topics: &Topics, common: &BTreeSet<String>) -> i64 {
    let partitions = common.iter().filter_map(|name| topics.get(name)).flat_map(|topic| &topic.partitions);
    partitions.map(|partition| i64::from(partition.leader_epoch) + 1).sum()
}

/// What brokers know together, of which the first is most likely ahead of the others.
fn merged(known: Vec<Topics>) -> Topics {
    let mut answers: BTreeMap<String, Vec<TopicMetadata>> = BTreeMap::new();
    for (name, topic) in known.into_iter().flatten() {
        answers.entry(name).or_default().push(topic);
    }
    answers.into_iter().filter_map(|(name, answers)| Some((name, agreed_on(answers)?))).collect()
}

/// What several answers say of one topic, without those that are errors if there are others. Of two topics of one name, it is the one
/// that most of them are about, or else the first.
fn agreed_on(mut answers: Vec<TopicMetadata>) -> Option<TopicMetadata> {
    if answers.iter().any(|topic| topic.error.is_none()) {
        answers.retain(|topic| topic.error.is_none());
    }
    let count = |id: Uuid| answers.iter().filter(|topic| topic.id == id).count();
    let id = answers.iter().map(|topic| topic.id).rev().max_by_key(|id| count(*id))?;
    answers.into_iter().filter(|topic| topic.id == id).reduce(|known, topic| united(&known, &topic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::PartitionMetadata;
    use crate::kafka::error::Resource;

    fn topic(id: u128, leaders: &[(i32, i32)]) -> TopicMetadata {
        let partition = |(number, (leader, leader_epoch)): (i32, &(i32, i32))| PartitionMetadata {
            partition: number,
            leader: Some(*leader),
            leader_epoch: *leader_epoch,
            replicas: Vec::new(),
            isr: Vec::new(),
            error: None,
        };
        TopicMetadata {
            name: "t".to_owned(),
            id: Uuid::from_u128(id),
            internal: false,
            partitions: (0..).zip(leaders).map(partition).collect(),
            error: None,
        }
    }

    fn agreed(answers: &[&TopicMetadata]) -> TopicMetadata {
        agreed_on(answers.iter().map(|topic| (*topic).clone()).collect()).unwrap()
    }

    fn leaders(topic: &TopicMetadata) -> Vec<i32> {
        topic.partitions.iter().map(|at| at.leader.unwrap()).collect()
    }

    #[test]
    fn the_highest_leader_epoch_leads_whoever_answers_first() {
        let (old, new) = (topic(1, &[(1, 4), (2, 9)]), topic(1, &[(3, 5), (3, 8), (3, 0)]));
        assert_eq!(leaders(&agreed(&[&old, &new])), [3, 2, 3]);
        // The broker that is behind does not know of the added partition.
        assert_eq!(leaders(&agreed(&[&new, &old])), [3, 2, 3]);
        // Nor does one that tells no ids, before Kafka 2.8.
        let (old, new) = (topic(0, &[(1, 4), (2, 9)]), topic(0, &[(3, 5), (3, 8), (3, 0)]));
        assert_eq!(leaders(&agreed(&[&new, &new, &old])), [3, 2, 3]);
    }

    #[test]
    fn of_two_topics_of_one_name_it_is_the_one_that_most_brokers_know_or_the_first() {
        let (old, new) = (topic(1, &[(1, 4)]), topic(2, &[(3, 5)]));
        assert_eq!(agreed(&[&old, &new, &new]), new);
        assert_eq!(agreed(&[&new, &old]), new);
        assert_eq!(agreed(&[&old, &new]), old);
        let error = Error::Broker { resource: Resource::Cluster, api: "Metadata", code: 3, message: None };
        let broken = TopicMetadata { partitions: Vec::new(), error: Some(error), ..topic(0, &[]) };
        assert_eq!(agreed(&[&broken, &old, &broken]), old);
        assert_eq!(agreed(&[&broken, &broken]), broken);
    }

    #[test]
    fn a_broker_that_knows_deleted_topics_is_not_ahead_of_one_that_knows_of_an_election() {
        let named = |topics: &[(&str, TopicMetadata)]| -> Topics {
            topics.iter().map(|(name, topic)| ((*name).to_owned(), topic.clone())).collect()
        };
        let behind = named(&[("t", topic(1, &[(1, 4)])), ("deleted", topic(2, &[(1, 90), (1, 90)]))]);
        let ahead = named(&[("t", topic(1, &[(2, 5)])), ("created", topic(3, &[(2, 0)]))]);
        let common = common([&behind, &ahead].into_iter());
        assert_eq!(common, BTreeSet::from(["t".to_owned()]));
        assert!(elections(&ahead, &common) > elections(&behind, &common));
        assert!(!know_the_same(&behind, &ahead) && know_the_same(&ahead, &ahead));
        let again = named(&[("t", topic(9, &[(2, 5)])), ("created", topic(3, &[(2, 0)]))]);
        assert!(!know_the_same(&ahead, &again), "a topic of another id is another topic");
        assert_eq!(merged(vec![ahead, behind]).len(), 3);
    }
}
