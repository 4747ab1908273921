//! Which topic has a name, by what several brokers say (topic ids: KIP-516, Kafka 2.8).
//!
//! A broker that is cut off from its controllers goes on answering with what it knew before: that a topic is not there which was
//! created since, and that one is there which was deleted. So a topic is taken for another one, or for deleted, only when most of
//! the brokers that were asked say so.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::kafka::all_topics::{LOOK_EVERY, LOOKS};
use crate::kafka::cluster::Cluster;
use crate::kafka::error::{Error, UNKNOWN_TOPIC_OR_PARTITION};
use crate::kafka::metadata::TopicMetadata;

/// What brokers say of some topics.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// Brokers that were asked. Those that did not answer say nothing.
    asked: usize,
    /// Ids, and none for each broker that knows no topic of the name. Where brokers tell no ids, they are nil.
    said: BTreeMap<String, Vec<Option<Uuid>>>,
    /// What a broker refused to tell, and why.
    refused: BTreeMap<String, Error>,
}

/// Whether the topic of a name is still the one of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// It is.
    Same,
    /// It is another one, or there is none.
    Other,
    /// Brokers contradict each other, or too few have answered.
    Unclear,
}

impl Identities {
    /// Whether the topic of this name has this id, as most brokers say. One that is there as it was needs no majority, while the others
    /// are silent.
    pub fn sameness(&self, name: &str, id: Uuid) -> Sameness {
        let said = self.said(name);
        let same = said.iter().filter(|said| **said == Some(id)).count();
        let others = said.len() - same;
        if self.is_majority(same) || (same > 0 && others == 0) {
            Sameness::Same
        } else if self.is_majority(others) {
            Sameness::Other
        } else {
            Sameness::Unclear
        }
    }

    /// The id of the topic, as most brokers say; none if there is no such topic.
    ///
    /// # Errors
    /// [`Unclear`] when brokers contradict each other, or too few have answered.
    pub fn id(&self, name: &str) -> Result<Option<Uuid>, Unclear> {
        let said = self.said(name);
        let votes = |id: Option<Uuid>| said.iter().filter(|said| **said == id).count();
        let is_there = |id: &Option<Uuid>| id.is_some() && votes(*id) == said.len();
        said.iter().copied().find(|id| self.is_majority(votes(*id)) || is_there(id)).ok_or(Unclear)
    }

    /// Why a broker does not tell, if that is what is unclear.
    pub fn refused(&self, name: &str) -> Option<&Error> {
        self.refused.get(name)
    }

    fn said(&self, name: &str) -> &[Option<Uuid>] {
        self.said.get(name).map_or(&[], Vec::as_slice)
    }

    const fn is_majority(&self, votes: usize) -> bool {
        votes > self.asked / 2
    }

    fn add(&mut self, topic: &TopicMetadata) {
        let said = match &topic.error {
            None => Some(topic.id),
            Some(error) if error.code() == Some(UNKNOWN_TOPIC_OR_PARTITION) => None,
            Some(error) => {
                self.refused.entry(topic.name.clone()).or_insert_with(|| error.clone());
                return;
            }
        };
        self.said.entry(topic.name.clone()).or_default().push(said);
    }
}

/// Brokers contradict each other, or too few have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// Topics that may not be those of before any more.
#[derive(Debug, Default)]
pub struct Missing {
    /// Those whose names belong to other topics now, or to none.
    pub gone: BTreeSet<String>,
    /// Those of which the brokers do not tell, with the refusal of one of them if that is why.
    pub unclear: BTreeMap<String, Option<Error>>,
}

impl Cluster {
    /// Asks up to three brokers which topics have these names, and follows what most of them say.
    ///
    /// # Errors
    /// As [`Cluster::metadata`].
    pub async fn identities(&self, names: &BTreeSet<String>) -> Result<Identities, Error> {
        let wanted: Vec<String> = names.iter().cloned().collect();
        let known = self.known_topics(Some(&wanted)).await?;
        let mut identities = Identities { asked: known.asked, ..Identities::default() };
        let answers = || known.answers.iter().flat_map(|(_, topics)| topics.values());
        answers().for_each(|topic| identities.add(topic));
        let is_unknown = |topic: &TopicMetadata| topic.error.is_some() && identities.id(&topic.name) == Ok(None);
        let unknown = answers().filter(|topic| is_unknown(topic)).map(|topic| (topic.name.clone(), topic.clone()));
        let unknown: BTreeMap<String, TopicMetadata> = unknown.collect();
        let mut agreed = self.agreed(known.answers);
        agreed.retain(|name, topic| identities.id(name) == Ok(Some(topic.id)) && topic.error.is_none());
        agreed.extend(unknown);
        self.learn(agreed);
        Ok(identities)
    }

    /// Looks several times whether these topics still are those of these ids: a topic is missing if most of up to three brokers say so the
    /// last time, and it was never found. A broker that has just started may not know a topic yet.
    ///
    /// # Errors
    /// As [`Cluster::identities`].
    pub async fn missing(&self, topics: &BTreeMap<String, Uuid>) -> Result<Missing, Error> {
        let mut suspected: BTreeSet<String> = topics.keys().cloned().collect();
        let mut missing = Missing::default();
        for look in 0..LOOKS {
            if suspected.is_empty() {
                break;
            }
            if look > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let identities = self.identities(&suspected).await?;
            missing = Missing::default();
            suspected.retain(|name| match topics.get(name).map(|id| identities.sameness(name, *id)) {
                Some(Sameness::Same) | None => false,
                Some(Sameness::Other) => {
                    missing.gone.insert(name.clone());
                    true
                }
                Some(Sameness::Unclear) => {
                    missing.unclear.insert(name.clone(), identities.refused(name).cloned());
                    true
                }
            });
        }
        Ok(missing)
    }

    /// Names of those topics that are others now, or not there, as the last metadata and [`Cluster::missing`] say. None, if nobody can
    /// be asked.
    pub async fn gone(&self, topics: &BTreeMap<String, Uuid>) -> BTreeSet<String> {
        let suspected = topics.iter().filter(|(name, id)| self.is_gone(name, **id));
        match self.missing(&suspected.map(|(name, id)| (name.clone(), *id)).collect()).await {
            Ok(missing) => missing.gone,
            Err(error) => {
                tracing::debug!(%error, "which topics are gone is not known");
                BTreeSet::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn said(asked: usize, said: &[Option<Uuid>]) -> Identities {
        Identities { asked, said: [("t".to_owned(), said.to_vec())].into(), ..Identities::default() }
    }

    #[test]
    fn one_broker_that_is_cut_off_never_decides_alone() {
        use Sameness::{Other, Same, Unclear};
        for (asked, answers, of_a, id) in [
            // The only broker there is.
            (1, &[Some(A)][..], Same, Ok(Some(A))),
            (1, &[Some(B)], Other, Ok(Some(B))),
            (1, &[None], Other, Ok(None)),
            // The other one does not answer.
            (2, &[Some(A)], Same, Ok(Some(A))),
            (2, &[None], Unclear, Err(super::Unclear)),
            (2, &[Some(B)], Unclear, Ok(Some(B))),
            (2, &[Some(A), Some(B)], Unclear, Err(super::Unclear)),
            (2, &[None, None], Other, Ok(None)),
            // One of three is behind.
            (3, &[Some(A), Some(B), Some(B)], Other, Ok(Some(B))),
            (3, &[None, Some(A), Some(A)], Same, Ok(Some(A))),
            (3, &[Some(A), None, None], Other, Ok(None)),
            (3, &[Some(A), None], Unclear, Err(super::Unclear)),
            (3, &[], Unclear, Err(super::Unclear)),
        ] {
            let identities = said(asked, answers);
            assert_eq!((identities.sameness("t", A), identities.id("t")), (of_a, id), "{asked}: {answers:?}");
        }
    }

    #[test]
    fn where_brokers_tell_no_ids_a_topic_that_is_there_is_the_same() {
        assert_eq!(said(3, &[Some(Uuid::nil()), Some(Uuid::nil())]).sameness("t", Uuid::nil()), Sameness::Same);
    }
}
