//! Creates the topics of a plan, and replaces those that are to be overwritten, a few at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::journal::{CreatedTopics, Journal};
use super::plan::{Action, Plan, TopicPlan};
use super::{Error, target};
use crate::kafka::topics::{ConfigChange, NewTopic};
use crate::kafka::{Cluster, Metadata};
use crate::stop::Stop;
use crate::store::lease::Lease;

/// How long the cluster may take to create or delete topics.
const TOPICS_PATIENCE: Duration = Duration::from_secs(120);
/// Topics that are deleted before the first of them is created again: as many as a failure between the two costs at most.
const REPLACED_AT_ONCE: usize = 16;
/// Topics that are created between two looks at the lease.
const CREATED_AT_ONCE: usize = 500;
/// The cluster has the topic.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// The cluster has no topic of this name, or none of this id.
const UNKNOWN: [i16; 2] = [3, 100];

/// Creates the topics that the plan creates, the missing ones first, and gives back the ids of all. `overwritten` names the topics that are to be
/// deleted first, by the ids that they had when the plan was made: a topic with another id is one that this restore has
/// created already.
///
/// The first topic is replaced alone and the others in small groups, so that what the cluster refuses against all that it
/// said before costs one topic. The lease is looked at before each group, and whether the run was asked to end. The ids of created topics
/// are written into the journal.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Replacing`] with what became of the topics that were to be overwritten, [`Error::NotOurs`] when another client
/// was faster, and what the cluster refuses, by topic.
pub async fn create(
    cluster: &Cluster,
    plan: &Plan,
    overwritten: &BTreeMap<String, Uuid>,
    journal: &Journal,
    lease: &Lease,
    stop: &Stop,
) -> Result<BTreeMap<String, Uuid>, Error> {
    let metadata = cluster.metadata(None).await?;
    let id_of = |name: &str| metadata.topics.get(name).map(|topic| topic.id);
    let missing: Vec<&TopicPlan> =
        plan.topics.iter().filter(|topic| !metadata.topics.contains_key(&topic.target)).collect();
    let gone: Vec<String> = missing.iter().filter_map(|topic| deleted_since(topic)).collect();
    if !gone.is_empty() {
        return Err(Error::Refused(gone));
    }
    let mut creation = Creation { cluster, journal, lease, created: journal.created().await? };
    for part in missing.chunks(CREATED_AT_ONCE) {
        may_go_on(lease, stop).await?;
        creation.create(part).await?;
    }
    // What keeps a missing topic away must not cost one that is there.
    none_of_another_shape(cluster, &missing).await?;
    let to_replace: Vec<&TopicPlan> = plan
        .topics
        .iter()
        .filter(|topic| overwritten.get(&topic.target).is_some_and(|id| id_of(&topic.target) == Some(*id)))
        .collect();
    for (group, replaced) in groups(&to_replace) {
        may_go_on(lease, stop).await.map_err(|error| replacing(&to_replace, replaced, &[], error))?;
        replace(&mut creation, group, overwritten)
            .await
            .map_err(|error| replacing(&to_replace, replaced, group, error))?;
    }
    let metadata = none_of_another_shape(cluster, &plan.topics.iter().collect::<Vec<_>>()).await?;
    let id = |name: &String| {
        let topic = metadata.topics.get(name).ok_or_else(|| Error::lacks("Metadata", name))?;
        match &topic.error {
            None => Ok((name.clone(), topic.id)),
            Some(error) => Err(Error::Topic { topic: name.clone(), error: Box::new(error.clone()) }),
        }
    };
    plan.topics.iter().map(|topic| id(&topic.target)).collect()
}

/// Whether this run is still the one that works on the restore, and nobody has asked it to end.
async fn may_go_on(lease: &Lease, stop: &Stop) -> Result<(), Error> {
    if stop.is_set() {
        return Err(Error::Interrupted);
    }
    Ok(lease.check().await?)
}

/// Reads the metadata of topics that are to be there.
///
/// # Errors
/// [`Error::NotOurs`] with those that another client has created otherwise.
async fn none_of_another_shape(cluster: &Cluster, topics: &[&TopicPlan]) -> Result<Metadata, Error> {
    let names: Vec<String> = topics.iter().map(|topic| topic.target.clone()).collect();
    let metadata = cluster.metadata(Some(&names)).await?;
    let not_ours: Vec<String> = topics.iter().filter_map(|topic| other_shape(topic, &metadata)).collect();
    if not_ours.is_empty() { Ok(metadata) } else { Err(Error::NotOurs(not_ours)) }
}

/// The groups in which topics are replaced, each with the number of topics before it.
fn groups<T>(topics: &[T]) -> impl Iterator<Item = (&[T], usize)> {
    let (first, others) = topics.split_at(topics.len().min(1));
    let others = others.chunks(REPLACED_AT_ONCE).enumerate();
    let others = others.map(|(number, group)| (group, 1 + number * REPLACED_AT_ONCE));
    std::iter::once((first, 0)).chain(others).filter(|(group, _)| !group.is_empty())
}

async fn replace(
    creation: &mut Creation<'_>,
    group: &[&TopicPlan],
    overwritten: &BTreeMap<String, Uuid>,
) -> Result<(), Error> {
    let Creation { cluster, lease, .. } = *creation;
    let id = |topic: &&TopicPlan| Some((topic.target.clone(), *overwritten.get(&topic.target)?));
    let ids: BTreeMap<String, Uuid> = group.iter().filter_map(id).collect();
    for (name, deleted) in cluster.delete_topics(&ids).await {
        match deleted {
            Ok(()) => {}
            // Somebody else has deleted it since we looked, which is what we wanted.
            Err(error) if error.code().is_some_and(|code| UNKNOWN.contains(&code)) => {}
            Err(error) => return Err(Error::Topic { topic: name, error: Box::new(error) }),
        }
    }
    let names: BTreeSet<String> = ids.keys().cloned().collect();
    cluster.await_deleted(&ids, TOPICS_PATIENCE).await?;
    tracing::info!(topics = ?names, "topics were deleted, to be created again");
    creation.create(group).await?;
    // A producer that goes on writing would cost all topics, if it were noticed only in the end.
    let written_to = target::written_to(cluster, group).await?;
    if written_to.is_empty() {
        return Ok(());
    }
    // It may be another run of this restore, which has taken it over.
    lease.check().await?;
    Err(Error::Refused(written_to))
}

/// The creation of topics that are not there, and what the journal says of it.
struct Creation<'a> {
    cluster: &'a Cluster,
    journal: &'a Journal,
    lease: &'a Lease,
    created: CreatedTopics,
}

impl Creation<'_> {
    async fn create(&mut self, topics: &[&TopicPlan]) -> Result<(), Error> {
        // They are not there: an id that an earlier run has written down is that of a topic that was deleted since. A run that is killed
        // after the requests must not leave it, or the topic that they create would be taken for somebody else's.
        if self.created.forget(topics.iter().map(|topic| topic.target.as_str())) {
            self.write_down().await?;
        }
        let new: Vec<NewTopic> = topics.iter().map(|topic| new_topic(topic, topic.configs_created.clone())).collect();
        let mut refused = None;
        for (name, answer) in self.cluster.create_topics(&new, false).await {
            match answer {
                // Brokers before Kafka 2.8 have no ids.
                Ok(id) if id.is_nil() => {}
                Ok(id) => drop(self.created.ids.insert(name, id)),
                // A late request of a run that was killed, or another client: `other_shape`, the settings that are applied to all
                // topics, and the look at the ends tell whether it will do.
                Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => {
                    tracing::warn!(topic = name, "the topic was created by another client or an earlier run");
                }
                Err(error) => {
                    refused.get_or_insert(Error::Topic { topic: name, error: Box::new(error) });
                }
            }
        }
        // Also where some were refused: the others are there.
        match (self.write_down().await, refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(refused)) => return Err(refused),
            (Err(error), refused) => {
                if let Some(refused) = refused {
                    tracing::warn!("the cluster refused to create a topic as well: {refused}");
                }
                return Err(error);
            }
        }
        let names: BTreeSet<String> = new.into_iter().map(|topic| topic.name).collect();
        Ok(self.cluster.await_created(&names, TOPICS_PATIENCE).await?)
    }

    /// Writes the ids into the journal. A run that has lost the lease must not write over what the next one writes.
    async fn write_down(&self) -> Result<(), Error> {
        self.lease.check().await?;
        self.journal.write_created(&self.created).await
    }
}

fn replacing(all: &[&TopicPlan], replaced: usize, group: &[&TopicPlan], error: Error) -> Error {
    let names = |topics: &[&TopicPlan]| topics.iter().map(|topic| topic.target.clone()).collect();
    Error::Replacing {
        replaced: names(&all[..replaced]),
        deleted: names(group),
        untouched: names(&all[replaced + group.len()..]),
        error: Box::new(error),
    }
}

/// A topic that was to be used as it is, and is not there any more, is not created again with settings that nobody chose.
fn deleted_since(topic: &TopicPlan) -> Option<String> {
    match topic.action {
        Action::Create | Action::Overwrite => None,
        Action::Use | Action::Append => Some(format!(
            "topic {:?} was there when this restore began and was deleted since: give another restoreId, or make another KafkaRestore",
            topic.target
        )),
    }
}

/// What is different about a topic that this restore was to create: then another client created it.
fn other_shape(topic: &TopicPlan, metadata: &Metadata) -> Option<String> {
    match topic.action {
        Action::Create | Action::Overwrite => {}
        Action::Use | Action::Append => return None,
    }
    let found = metadata.topics.get(&topic.target).filter(|found| found.error.is_none())?;
    let (partitions, wanted) = (found.partitions.len(), topic.target_partitions);
    if partitions != wanted {
        return Some(format!("topic {:?} has {partitions} partitions instead of {wanted}", topic.target));
    }
    let replicas = found.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
    let wanted = usize::try_from(topic.replication_factor).unwrap_or(0);
    (replicas < wanted).then(|| format!("topic {:?} has {replicas} replicas instead of {wanted}", topic.target))
}

/// The topic with these settings.
pub fn new_topic(topic: &TopicPlan, configs: BTreeMap<String, String>) -> NewTopic {
    NewTopic {
        name: topic.target.clone(),
        partitions: i32::try_from(topic.target_partitions).unwrap_or(i32::MAX),
        replication_factor: topic.replication_factor,
        configs,
    }
}

/// The changes that set these settings.
pub fn set(configs: &BTreeMap<String, String>) -> BTreeMap<String, ConfigChange> {
    configs.iter().map(|(name, value)| (name.clone(), ConfigChange::Set(value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topic_is_replaced_alone_and_the_others_in_small_groups() {
        let sizes = |topics: usize| -> Vec<(usize, usize)> {
            groups(&vec![(); topics]).map(|(group, before)| (group.len(), before)).collect()
        };
        assert_eq!(sizes(0), []);
        assert_eq!(sizes(1), [(1, 0)]);
        assert_eq!(sizes(40), [(1, 0), (16, 1), (16, 17), (7, 33)]);
    }
}
