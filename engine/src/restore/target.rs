//! The target cluster before and after the data: what is there, what is created, and which configuration holds when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::Error;
use super::plan::{Action, Existing, MAX_MESSAGE_BYTES_DEFAULT, Plan, TargetFacts, TopicPlan};
use crate::kafka::list_offsets::Position;
use crate::kafka::topics::{ConfigChange, ConfigEntry, NewTopic, overrides};
use crate::kafka::{Cluster, TopicMetadata, TopicPartition};

/// How long the cluster may take to create or delete topics.
const TOPICS_PATIENCE: Duration = Duration::from_secs(120);
/// `INVALID_CONFIG`: the broker does not know a setting, or does not take its value.
const INVALID_CONFIG: i16 = 40;

/// Looks at the target: only what a plan depends on.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn facts(cluster: &Cluster, topics: &[String], groups: &[String]) -> Result<TargetFacts, Error> {
    let metadata = cluster.metadata(None).await?;
    let there: Vec<&TopicMetadata> = topics.iter().filter_map(|name| metadata.topics.get(name)).collect();
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
            let offset = |listed: &BTreeMap<TopicPartition, Result<_, crate::kafka::Error>>| {
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
                partitions: topic.partitions.len(),
                is_empty,
                max_message_bytes,
                configs: overrides(&entries),
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
        has_timestamp_before_and_after: has_setting("log.message.timestamp.before.max.ms"),
        existing,
        active_groups: active_groups(cluster, groups).await?,
    })
}

fn number<T: std::str::FromStr>(entries: &[ConfigEntry], name: &str) -> Option<T> {
    entries.iter().find(|entry| entry.name == name)?.value.as_ref()?.parse().ok()
}

/// Members of those groups that have any, as a person would look for them.
async fn active_groups(cluster: &Cluster, groups: &[String]) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut active = BTreeMap::new();
    for (group, description) in cluster.describe_groups(&groups.iter().cloned().collect()).await {
        let members = description?.members;
        if !members.is_empty() {
            let name = |member: &crate::kafka::groups::GroupMember| {
                format!("{} of client {:?} at {}", member.member_id, member.client_id, member.host)
            };
            active.insert(group, members.iter().map(name).collect());
        }
    }
    Ok(active)
}

/// Creates the topics that the plan creates. `overwritten` names the topics that are to be deleted first, by the ids
/// that they had when the plan was made: a topic with another id is one that this restore has created already.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn create(
    cluster: &Cluster,
    plan: &mut Plan,
    overwritten: &BTreeMap<String, Uuid>,
) -> Result<BTreeMap<String, Uuid>, Error> {
    let metadata = cluster.metadata(None).await?;
    let id_of = |name: &str| metadata.topics.get(name).map(|topic| topic.id);
    let to_delete: BTreeSet<String> =
        overwritten.iter().filter(|(name, id)| id_of(name) == Some(**id)).map(|(name, _)| name.clone()).collect();
    if !to_delete.is_empty() {
        for (name, deleted) in cluster.delete_topics(&to_delete).await {
            deleted.map_err(|error| Error::Topic { topic: name, error })?;
        }
        cluster.await_deleted(&to_delete, TOPICS_PATIENCE).await?;
    }
    let is_missing =
        |topic: &TopicPlan| to_delete.contains(&topic.target) || !metadata.topics.contains_key(&topic.target);
    drop_unknown_settings(cluster, plan, &is_missing).await?;
    let missing: Vec<NewTopic> = plan.topics.iter().filter(|topic| is_missing(topic)).map(new_topic).collect();
    for (name, created) in cluster.create_topics(&missing, false).await {
        created.map_err(|error| Error::Topic { topic: name, error })?;
    }
    let partitions = plan
        .topics
        .iter()
        .map(|topic| (topic.target.clone(), i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX)))
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

fn new_topic(topic: &TopicPlan) -> NewTopic {
    let mut configs = topic.configs.clone();
    configs.extend(topic.configs_meanwhile.clone());
    NewTopic {
        name: topic.target.clone(),
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: topic.replication_factor,
        configs,
    }
}

/// A setting of another Kafka version must not keep the data away: it is left out, and named.
async fn drop_unknown_settings(
    cluster: &Cluster,
    plan: &mut Plan,
    is_missing: &impl Fn(&TopicPlan) -> bool,
) -> Result<(), Error> {
    let Plan { topics, warnings, .. } = plan;
    let missing: Vec<NewTopic> = topics.iter().filter(|topic| is_missing(topic)).map(new_topic).collect();
    for (name, verdict) in cluster.create_topics(&missing, true).await {
        let Err(error) = verdict else { continue };
        if error.code() != Some(INVALID_CONFIG) {
            return Err(Error::Topic { topic: name, error });
        }
        let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
        let mut refused = Vec::new();
        for (setting, value) in &topic.configs {
            let configs = [(setting.clone(), value.clone())].into();
            let alone = NewTopic { configs, ..new_topic(topic) };
            let verdict = cluster.create_topics(&[alone], true).await.remove(&name);
            if let Some(Err(error)) = verdict {
                warnings.push(format!("topic {name:?}: {setting}={value} is left out, the target refuses it: {error}"));
                refused.push(setting.clone());
            }
        }
        if refused.is_empty() {
            return Err(Error::Topic { topic: name, error });
        }
        topic.configs.retain(|setting, _| !refused.contains(setting));
    }
    Ok(())
}

/// Where every partition of the topics ends now.
///
/// # Errors
/// When a leader does not answer.
pub async fn ends(cluster: &Cluster, plan: &Plan) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    let partitions = plan
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.target.clone(), partition.partition)));
    let listed = cluster.list_offsets(partitions, Position::HighWatermark).await;
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
    let set = |value: &String| ConfigChange::Set(value.clone());
    let changes = topics.iter().map(|(topic, configs)| {
        (topic.clone(), configs.iter().map(|(name, value)| (name.clone(), set(value))).collect())
    });
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
    for (name, changed) in cluster.alter_topic_configs(changes).await {
        changed.map_err(|error| Error::Topic { topic: name, error })?;
    }
    Ok(())
}
