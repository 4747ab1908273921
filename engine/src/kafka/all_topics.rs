//! The topics of a cluster, by what several brokers know.
//!
//! A broker that is cut off from its controllers goes on answering with what it knew before, for as long as it runs: without
//! topics that were created since, and as the leader of partitions that have another one (KIP-631: a fenced broker). One broker's
//! word would make it the cut of a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::kafka::cluster::{CONTROL_LANE, Cluster, newer};
use crate::kafka::error::Error;
use crate::kafka::metadata::{Metadata, TopicMetadata, build_metadata};

/// How many brokers are asked: more than one that is cut off is an outage that shows. Each lists every partition of the cluster.
const BROKERS_ASKED: usize = 3;
/// How often they are asked while they know different topics: one that was created or deleted just now is known, or forgotten, by
/// all of them a moment later.
const LOOKS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Topics = BTreeMap<String, TopicMetadata>;

impl Cluster {
    /// All topics that we may see, each as the newest of up to three brokers knows it. Partitions are led by those with the highest
    /// leader epoch. A topic that only one of them knows, and goes on knowing, is in the answer. Whoever knows most is asked first from
    /// then on.
    ///
    /// # Errors
    /// As [`Cluster::metadata`]; brokers beyond the first that do not answer are left out.
    pub async fn all_topics(&self) -> Result<Topics, Error> {
        let mut look = 1;
        loop {
            let known = self.known_topics().await?;
            let is_same = known.windows(2).all(|pair| pair[0].1.keys().eq(pair[1].1.keys()));
            if is_same || look == LOOKS {
                if let Some((broker, _)) = known.iter().max_by_key(|(_, topics)| elections(topics)) {
                    self.prefer(*broker);
                }
                return Ok(known.into_iter().map(|(_, topics)| topics).reduce(merged).unwrap_or_default());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            look += 1;
        }
    }

    /// What each of some brokers knows.
    async fn known_topics(&self) -> Result<Vec<(i32, Topics)>, Error> {
        let first = self.metadata(None).await?.topics;
        // The one that answers first is the last one that has answered.
        let mut brokers = self.candidates().into_iter();
        let mut known = vec![(brokers.next().unwrap_or(-1), first)];
        for broker in brokers.take(BROKERS_ASKED - 1) {
            match self.metadata_of(broker).await {
                Ok(answer) => known.push((broker, answer.topics)),
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

    async fn metadata_of(&self, broker: i32) -> Result<Metadata, Error> {
        let response = self.call_once(broker, CONTROL_LANE, Duration::ZERO, |_| build_metadata(None)).await?;
        self.accept(&format!("broker {broker}"), response)
    }
}

/// How many elections a broker knows of: one that is behind knows of fewer, and of fewer partitions.
fn elections(topics: &Topics) -> i64 {
    let partitions = topics.values().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| i64::from(partition.leader_epoch) + 1).sum()
}

/// What two brokers know together. Of two topics of one name nothing tells which is newer: readers find out by the id.
fn merged(mut topics: Topics, answer: Topics) -> Topics {
    for (name, topic) in answer {
        match topics.get_mut(&name) {
            Some(known) if known.error.is_some() => *known = topic,
            Some(known) if known.id == topic.id && topic.error.is_none() => *known = newer(known, &topic),
            Some(_) => {}
            None => drop(topics.insert(name, topic)),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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

    fn both(known: TopicMetadata, answer: TopicMetadata) -> TopicMetadata {
        merged([("t".to_owned(), known)].into(), [("t".to_owned(), answer)].into()).remove("t").unwrap()
    }

    #[test]
    fn the_highest_leader_epoch_leads_whoever_answers_first() {
        let (old, new) = (topic(1, &[(1, 4), (2, 9)]), topic(1, &[(3, 5), (3, 8), (3, 0)]));
        let leaders = |topic: &TopicMetadata| topic.partitions.iter().map(|at| at.leader.unwrap()).collect::<Vec<_>>();
        assert_eq!(leaders(&both(old.clone(), new.clone())), [3, 2, 3]);
        // The broker that is behind does not know of the added partition.
        assert_eq!(leaders(&both(new, old)), [3, 2, 3]);
    }

    #[test]
    fn a_topic_of_another_id_and_one_with_an_error_change_nothing() {
        let known = topic(1, &[(1, 4)]);
        let error = Error::Broker { resource: Resource::Cluster, api: "Metadata", code: 3, message: None };
        let broken = TopicMetadata { partitions: Vec::new(), error: Some(error), ..known.clone() };
        assert_eq!(both(known.clone(), topic(2, &[(3, 5)])), known);
        assert_eq!(both(known.clone(), broken.clone()), known);
        assert_eq!(both(broken, known.clone()), known);
    }
}
