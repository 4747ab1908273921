//! The target cluster before and after the data: what is there, what is created, and which configuration holds when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::Error;
use super::plan::{Action, Existing, MAX_MESSAGE_BYTES_DEFAULT, Plan, TargetFacts, TopicPlan};
use crate::error::Kind;
use crate::format::manifest::TopicSummary;
use crate::kafka::list_offsets::Position;
use crate::kafka::topics::{ConfigChange, ConfigEntry, NewTopic, overrides};
use crate::kafka::{Cluster, Error as KafkaError, TopicMetadata, TopicPartition};
use crate::offsets::groups;

/// How long the cluster may take to create or delete topics.
const TOPICS_PATIENCE: Duration = Duration::from_secs(120);
/// The cluster has the topic.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// `INVALID_CONFIG`: the broker does not know a setting, or does not take its value.
const INVALID_CONFIG: i16 = 40;
/// `INVALID_REQUEST`: what some versions say of a setting that they do not know.
const INVALID_REQUEST: i16 = 42;

/// Looks at the target: only what a plan depends on.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn facts(
    cluster: &Cluster,
    topics: &[(&TopicSummary, String)],
    groups: &[(String, String)],
) -> Result<TargetFacts, Error> {
    let metadata = cluster.metadata(None).await?;
    let there: Vec<&TopicMetadata> = topics.iter().filter_map(|(_, name)| metadata.topics.get(name)).collect();
    let names: BTreeSet<String> = there.iter().map(|topic| topic.name.clone()).collect();
    cluster.follow(&names).await?;
    let partitions = || {
        there
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition)))
    };
    let starts = cluster.list_offsets(partitions(), Position::Earliest).await;
    let ends = cluster.list_offsets(partitions(), Position::HighWatermark).await;
    let mut configs = cluster.topic_configs(&names, None).await;
    let mut existing = BTreeMap::new();
    for topic in &there {
        let mut is_empty = true;
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition);
            let offset = |listed: &BTreeMap<TopicPartition, Result<_, KafkaError>>| {
                listed.get(&key).cloned().ok_or(Error::NoAnswer)?.map_err(Error::from)
            };
            let (start, end): (crate::kafka::list_offsets::ListedOffset, _) = (offset(&starts)?, offset(&ends)?);
            is_empty &= start.offset == end.offset;
        }
        let entries = configs.remove(&topic.name).ok_or(Error::NoAnswer)??;
        let max_message_bytes = number(&entries, "max.message.bytes").unwrap_or(MAX_MESSAGE_BYTES_DEFAULT);
        existing.insert(
            topic.name.clone(),
            Existing {
                id: topic.id,
                internal: topic.internal,
                partitions: topic.partitions.len(),
                replicas: topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0),
                is_empty,
                min_insync_replicas: number(&entries, "min.insync.replicas").unwrap_or(1),
                max_message_bytes,
                configs: overrides(&entries),
                settings: entries.into_iter().map(|entry| entry.name).collect(),
            },
        );
    }
    // Who may not describe brokers is told nothing; the defaults of current brokers are assumed then.
    let broker = match cluster.brokers().first() {
        Some(broker) => cluster.broker_config(broker.id, None).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let has_setting = |name: &str| broker.is_empty() || broker.iter().any(|entry| entry.name == name);
    Ok(TargetFacts {
        cluster_id: cluster.cluster_id().unwrap_or_default(),
        brokers: metadata.brokers.len(),
        min_insync_replicas: number(&broker, "min.insync.replicas").unwrap_or(1),
        retention_ms: retention_ms(&broker),
        has_timestamp_before_and_after: has_setting("log.message.timestamp.before.max.ms"),
        existing,
        busy_groups: busy_groups(cluster, groups.iter().map(|(_, target)| target.clone()).collect()).await,
    })
}

fn number<T: std::str::FromStr>(entries: &[ConfigEntry], name: &str) -> Option<T> {
    entries.iter().find(|entry| entry.name == name)?.value.as_ref()?.parse().ok()
}

/// The retention of topics that set none, by the first of three settings that has a value.
fn retention_ms(broker: &[ConfigEntry]) -> Option<i64> {
    let minutes = || number::<i64>(broker, "log.retention.minutes")?.checked_mul(60_000);
    let hours = || number::<i64>(broker, "log.retention.hours")?.checked_mul(3_600_000);
    number(broker, "log.retention.ms").or_else(minutes).or_else(hours)
}

async fn busy_groups(cluster: &Cluster, groups: BTreeSet<String>) -> BTreeMap<String, String> {
    let described = cluster.describe_groups(&groups).await;
    groups
        .into_iter()
        .filter_map(|group| Some((group.clone(), groups::refusal(&group, described.get(&group))?)))
        .collect()
}

/// Asks the cluster whether it takes the topics as they are planned, unless they are refused already: their configuration in
/// the end, and the one that they are created with. What is refused at the end only, with all records there, would keep the
/// restore from ever coming to it. A setting of another Kafka version must not keep the data away: it is left out, and named.
///
/// # Errors
/// When the cluster cannot be asked, or we may not create or change topics.
pub async fn rehearse(cluster: &Cluster, plan: &mut Plan, existing: &BTreeMap<String, Existing>) -> Result<(), Error> {
    if !plan.refusals.is_empty() {
        return Ok(());
    }
    let created = |topic: &&TopicPlan| matches!(topic.action, Action::Create | Action::Overwrite);
    let (there, new): (Vec<_>, Vec<_>) =
        plan.topics.iter().filter(created).cloned().partition(|topic| existing.contains_key(&topic.target));
    // A topic that is still to be deleted, or that a killed run has created, has a name that cannot be created.
    let in_the_end = there.iter().map(|topic| (topic.target.clone(), set(&topic.configs))).collect();
    let verdicts = cluster.alter_topic_configs(&in_the_end, true).await;
    leave_refused_out(cluster, plan, Rehearsal::Change, verdicts).await?;
    let in_the_end: Vec<NewTopic> = new.iter().map(|topic| new_topic(topic, &topic.configs)).collect();
    let verdicts = cluster.create_topics(&in_the_end, true).await;
    leave_refused_out(cluster, plan, Rehearsal::Create, verdicts).await?;
    // What is left of the configuration, under that which holds while data flows.
    let is_new = |topic: &&TopicPlan| new.iter().any(|new| new.target == topic.target);
    let meanwhile: Vec<NewTopic> = plan.topics.iter().filter(is_new).map(new_topic_meanwhile).collect();
    let verdicts = cluster.create_topics(&meanwhile, true).await;
    leave_refused_out(cluster, plan, Rehearsal::Create, verdicts).await
}

/// How a configuration is tried out.
#[derive(Debug, Clone, Copy)]
enum Rehearsal {
    /// By creating the topic.
    Create,
    /// By changing the topic that is there.
    Change,
}

async fn leave_refused_out<T>(
    cluster: &Cluster,
    plan: &mut Plan,
    rehearsal: Rehearsal,
    verdicts: BTreeMap<String, Result<T, KafkaError>>,
) -> Result<(), Error> {
    let Plan { topics, warnings, refusals, .. } = plan;
    for (name, verdict) in verdicts {
        let Err(error) = verdict else { continue };
        let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
        let refused = match error.code() {
            // It came into being since we looked: the late request of a run that was killed. `create` sees to the rest.
            Some(TOPIC_ALREADY_EXISTS) => continue,
            Some(INVALID_CONFIG | INVALID_REQUEST) => refused_settings(cluster, topic, rehearsal).await,
            Some(_) | None => BTreeMap::new(),
        };
        if refused.is_empty() {
            if error.kind() != Kind::Conflict && error.kind() != Kind::Usage {
                return Err(Error::Topic { topic: name, error: Box::new(error) });
            }
            refusals.push(format!("topic {name:?} cannot be made as it is planned: {error}"));
        }
        topic.configs.retain(|setting, _| !refused.contains_key(setting));
        warnings.extend(
            refused
                .into_iter()
                .map(|(setting, why)| format!("topic {name:?}: {setting} is left out, the target refuses it: {why}")),
        );
    }
    Ok(())
}

/// Those settings of a planned topic that the cluster refuses even alone.
async fn refused_settings(cluster: &Cluster, topic: &TopicPlan, rehearsal: Rehearsal) -> BTreeMap<String, KafkaError> {
    let mut refused = BTreeMap::new();
    for (setting, value) in &topic.configs {
        let alone = [(setting.clone(), value.clone())].into();
        let verdict = match rehearsal {
            Rehearsal::Create => cluster
                .create_topics(&[new_topic(topic, &alone)], true)
                .await
                .remove(&topic.target)
                .map(|v| v.map(drop)),
            Rehearsal::Change => {
                let change = [(topic.target.clone(), set(&alone))].into();
                cluster.alter_topic_configs(&change, true).await.remove(&topic.target)
            }
        };
        if let Some(Err(error)) = verdict {
            refused.insert(setting.clone(), error);
        }
    }
    refused
}

/// Creates the topics that the plan creates. `overwritten` names the topics that are to be deleted first, by the ids
/// that they had when the plan was made: a topic with another id is one that this restore has created already.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn create(
    cluster: &Cluster,
    plan: &Plan,
    overwritten: &BTreeMap<String, Uuid>,
) -> Result<BTreeMap<String, Uuid>, Error> {
    let metadata = cluster.metadata(None).await?;
    let id_of = |name: &str| metadata.topics.get(name).map(|topic| topic.id);
    let to_delete: BTreeSet<String> =
        overwritten.iter().filter(|(name, id)| id_of(name) == Some(**id)).map(|(name, _)| name.clone()).collect();
    if !to_delete.is_empty() {
        for (name, deleted) in cluster.delete_topics(&to_delete).await {
            deleted.map_err(|error| Error::Topic { topic: name, error: Box::new(error) })?;
        }
        cluster.await_deleted(&to_delete, TOPICS_PATIENCE).await?;
    }
    let is_missing =
        |topic: &TopicPlan| to_delete.contains(&topic.target) || !metadata.topics.contains_key(&topic.target);
    let missing: Vec<NewTopic> =
        plan.topics.iter().filter(|topic| is_missing(topic)).map(new_topic_meanwhile).collect();
    for (name, created) in cluster.create_topics(&missing, false).await {
        match created {
            Ok(_) => {}
            // Late requests of a run that was killed create topics too; what must be new is found empty, or refused.
            Err(error) if error.code() == Some(TOPIC_ALREADY_EXISTS) => {}
            Err(error) => return Err(Error::Topic { topic: name, error: Box::new(error) }),
        }
    }
    let partitions = plan
        .topics
        .iter()
        .map(|topic| (topic.target.clone(), i32::try_from(topic.target_partitions).unwrap_or(i32::MAX)))
        .filter(|(name, _)| missing.iter().any(|topic| topic.name == *name))
        .collect();
    cluster.await_created(&partitions, TOPICS_PATIENCE).await?;
    let names: Vec<String> = plan.topics.iter().map(|topic| topic.target.clone()).collect();
    let metadata = cluster.metadata(Some(&names)).await?;
    let id = |name: &String| {
        let topic = metadata.topics.get(name).filter(|topic| topic.error.is_none()).ok_or(Error::NoAnswer)?;
        Ok((name.clone(), topic.id))
    };
    names.iter().map(id).collect()
}

fn new_topic(topic: &TopicPlan, configs: &BTreeMap<String, String>) -> NewTopic {
    NewTopic {
        name: topic.target.clone(),
        partitions: i32::try_from(topic.target_partitions).unwrap_or(i32::MAX),
        replication_factor: topic.replication_factor,
        configs: configs.clone(),
    }
}

/// The topic as it is while data flows.
fn new_topic_meanwhile(topic: &TopicPlan) -> NewTopic {
    let mut configs = topic.configs.clone();
    configs.extend(topic.configs_meanwhile.clone());
    new_topic(topic, &configs)
}

fn set(configs: &BTreeMap<String, String>) -> BTreeMap<String, ConfigChange> {
    configs.iter().map(|(name, value)| (name.clone(), ConfigChange::Set(value.clone()))).collect()
}

/// Topics that were to be new and hold something nevertheless: they are somebody else's.
pub fn not_new(plan: &Plan, ends: &BTreeMap<TopicPartition, i64>) -> Vec<String> {
    let is_created = |topic: &&TopicPlan| matches!(topic.action, Action::Create | Action::Overwrite);
    let holds = |topic: &&TopicPlan| ends.iter().any(|((name, _), end)| *name == topic.target && *end > 0);
    let text = |topic: &TopicPlan| format!("topic {:?} was just created and written to by somebody else", topic.target);
    plan.topics.iter().filter(is_created).filter(holds).map(text).collect()
}

/// Where every partition of the topics ends now.
///
/// # Errors
/// When a leader does not answer.
pub async fn ends(cluster: &Cluster, plan: &Plan) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    let partitions = plan.topics.iter().flat_map(|topic| {
        let numbers = 0..i32::try_from(topic.target_partitions).unwrap_or(i32::MAX);
        numbers.map(|partition| (topic.target.clone(), partition))
    });
    listed(cluster, partitions, Position::HighWatermark).await
}

/// These offsets of all partitions.
///
/// # Errors
/// When a leader does not answer.
pub async fn listed(
    cluster: &Cluster,
    partitions: impl Iterator<Item = TopicPartition>,
    position: Position,
) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    let listed = cluster.list_offsets(partitions, position).await;
    listed.into_iter().map(|(key, listed)| Ok((key, listed?.offset))).collect()
}

/// The configuration of a topic after the data: for each setting that is changed meanwhile, its value, or none when it
/// is not set on the topic.
pub fn configs_after(topic: &TopicPlan, existing: Option<&Existing>) -> BTreeMap<String, Option<String>> {
    let is_created = matches!(topic.action, Action::Create | Action::Overwrite);
    let own = match existing {
        Some(existing) if !is_created => &existing.configs,
        Some(_) | None => &topic.configs,
    };
    topic.configs_meanwhile.keys().map(|name| (name.clone(), own.get(name).cloned())).collect()
}

/// Sets the configuration that holds while data flows.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn set_meanwhile(cluster: &Cluster, topics: &[(String, BTreeMap<String, String>)]) -> Result<(), Error> {
    let changes = topics.iter().map(|(topic, configs)| (topic.clone(), set(configs)));
    change(cluster, &changes.collect()).await
}

/// Puts the configuration back that was in the backup, or on the topic before.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn put_back(cluster: &Cluster, topics: &[(String, BTreeMap<String, Option<String>>)]) -> Result<(), Error> {
    let back = |value: &Option<String>| value.clone().map_or(ConfigChange::Delete, ConfigChange::Set);
    let changes = topics.iter().map(|(topic, configs)| {
        (topic.clone(), configs.iter().map(|(name, value)| (name.clone(), back(value))).collect())
    });
    change(cluster, &changes.collect()).await
}

async fn change(cluster: &Cluster, changes: &BTreeMap<String, BTreeMap<String, ConfigChange>>) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    for (name, changed) in cluster.alter_topic_configs(changes, false).await {
        changed.map_err(|error| Error::Topic { topic: name, error: Box::new(error) })?;
    }
    Ok(())
}
