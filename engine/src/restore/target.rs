//! What the target looks like: all that a plan depends on, and where its partitions begin and end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use uuid::Uuid;

use super::Error;
use super::journal::{Prepared, PreparedTopic};
use super::plan::{Action, Existing, MAX_MESSAGE_BYTES_DEFAULT, Plan, RequestLimit, TargetFacts, TopicPlan};
use crate::error::Kind;
use crate::format::manifest::TopicSummary;
use crate::kafka::identity::Missing;
use crate::kafka::list_offsets::Position;
use crate::kafka::permissions::Operations;
use crate::kafka::topics::{ConfigEntry, overrides};
use crate::kafka::{Cluster, Error as KafkaError, TopicMetadata, TopicPartition};
use crate::offsets::groups;

/// Brokers learn of a change a moment after the controller has made it, and until then show the value of before. So a
/// difference counts only when it has been seen this often, so far apart.
pub const CONFIRMATIONS: u32 = 3;
pub const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// Brokers that are asked at once.
const BROKERS_AT_ONCE: usize = 16;
/// `TOPIC_AUTHORIZATION_FAILED`.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// Settings of brokers that are the defaults of topic settings under another name.
const DEFAULTS: [(&str, &str); 10] = [
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.type", "compression.type"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.difference.max.ms", "log.message.timestamp.difference.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("retention.bytes", "log.retention.bytes"),
    ("segment.bytes", "log.segment.bytes"),
];
/// The settings of brokers for the retention of topics that set none: the first that has a value holds.
const RETENTION: [&str; 3] = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"];

/// Looks at the target: only what a plan depends on.
///
/// # Errors
/// [`Error::Hidden`] with the topics whose settings this user may not see, and when the cluster cannot be asked.
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
    let hidden: Vec<String> =
        configs.iter().filter_map(|(topic, shown)| hidden_settings(topic, shown.as_ref().err()?)).collect();
    if !hidden.is_empty() {
        return Err(Error::Hidden(hidden));
    }
    let operations = cluster.topic_operations(&names).await?;
    let mut existing = BTreeMap::new();
    for topic in &there {
        let mut is_empty = true;
        let mut end_offsets = Vec::new();
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition);
            let offset = |listed: &BTreeMap<TopicPartition, Result<_, KafkaError>>| {
                listed.get(&key).cloned().ok_or_else(|| Error::lacks("ListOffsets", &topic.name))?.map_err(Error::from)
            };
            let (start, end): (crate::kafka::list_offsets::ListedOffset, _) = (offset(&starts)?, offset(&ends)?);
            is_empty &= start.offset == end.offset;
            end_offsets.push(end.offset);
        }
        let entries = configs.remove(&topic.name).ok_or_else(|| Error::lacks("DescribeConfigs", &topic.name))??;
        let max_message_bytes = number(&entries, "max.message.bytes").unwrap_or(MAX_MESSAGE_BYTES_DEFAULT);
        existing.insert(
            topic.name.clone(),
            Existing {
                id: topic.id,
                internal: topic.internal,
                partitions: topic.partitions.len(),
                replicas: topic.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0),
                is_empty,
                end_offsets,
                min_insync_replicas: number(&entries, "min.insync.replicas").unwrap_or(1),
                max_message_bytes,
                configs: overrides(&entries),
                effective: entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default())).collect(),
                operations: operations.get(&topic.name).copied().unwrap_or(Operations::NOT_TOLD),
            },
        );
    }
    // Who may not describe brokers is told nothing; the defaults of current brokers are assumed then.
    let Brokers { shown, lacks_describe_configs, request_limit } = brokers(cluster).await;
    // While a cluster is upgraded, some brokers know settings that others do not.
    let has_setting = |name: &str| shown.iter().all(|broker| broker.iter().any(|entry| entry.name == name));
    let all = |name: &str| shown.iter().filter_map(|broker| number::<u64>(broker, name)).collect::<Vec<_>>();
    Ok(TargetFacts {
        cluster_id: cluster.cluster_id().unwrap_or_default(),
        brokers: metadata.brokers.len(),
        lacks_describe_configs,
        min_insync_replicas: shown.iter().filter_map(|broker| number(broker, "min.insync.replicas")).max().unwrap_or(1),
        retention_ms: same(shown.iter().map(|broker| retention_ms(broker))),
        defaults: defaults(&shown),
        message_bytes_min: all("message.max.bytes").into_iter().min(),
        segment_bytes_min: all("log.segment.bytes").into_iter().min(),
        request_limit,
        capabilities: cluster.capabilities().await?,
        has_timestamp_before_and_after: has_setting("log.message.timestamp.before.max.ms"),
        existing,
        busy_groups: busy_groups(cluster, groups.iter().map(|(_, target)| target.clone()).collect()).await,
    })
}

/// What the brokers say of themselves.
struct Brokers {
    /// The settings below of each that tells.
    shown: Vec<Vec<ConfigEntry>>,
    /// Whether this user may not see those of one.
    lacks_describe_configs: bool,
    request_limit: RequestLimit,
}

/// Asks each broker for its settings: they may differ.
async fn brokers(cluster: &Cluster) -> Brokers {
    const REQUEST_BYTES: &str = "socket.request.max.bytes";
    let names: Vec<&str> = DEFAULTS.map(|(_, name)| name).into_iter().chain(RETENTION).chain([REQUEST_BYTES]).collect();
    let asked = cluster.brokers().into_iter().map(|broker| {
        let names = names.as_slice();
        async move { (broker.id, cluster.broker_config(broker.id, Some(names)).await) }
    });
    let mut brokers =
        Brokers { shown: Vec::new(), lacks_describe_configs: false, request_limit: RequestLimit::default() };
    let mut limits = Vec::new();
    let mut answers = stream::iter(asked).buffer_unordered(BROKERS_AT_ONCE);
    while let Some((id, answer)) = answers.next().await {
        match answer {
            Ok(shown) => {
                limits.push(number::<u64>(&shown, REQUEST_BYTES));
                brokers.shown.push(shown);
            }
            Err(error) => {
                brokers.lacks_describe_configs |= error.kind() == Kind::Denied;
                if error.kind() != Kind::Denied {
                    tracing::warn!(
                        "the settings of broker {id} are not known, such as how large requests it takes: {error}"
                    );
                }
                limits.push(None);
            }
        }
    }
    brokers.request_limit = RequestLimit::of(&limits);
    brokers
}

/// The permission that is missing where the settings of a topic are refused.
fn hidden_settings(topic: &str, error: &KafkaError) -> Option<String> {
    (error.code() == Some(TOPIC_AUTHORIZATION_FAILED)).then(|| {
        format!(
            "DescribeConfigs on topic {topic:?} ({error}): grant AlterConfigs on it: a restore needs it, and it includes DescribeConfigs"
        )
    })
}

fn number<T: std::str::FromStr>(entries: &[ConfigEntry], name: &str) -> Option<T> {
    entries.iter().find(|entry| entry.name == name)?.value.as_ref()?.parse().ok()
}

/// The retention of topics that set none ([`RETENTION`]).
fn retention_ms(broker: &[ConfigEntry]) -> Option<i64> {
    let minutes = || number::<i64>(broker, "log.retention.minutes")?.checked_mul(60_000);
    let hours = || number::<i64>(broker, "log.retention.hours")?.checked_mul(3_600_000);
    number(broker, "log.retention.ms").or_else(minutes).or_else(hours)
}

/// The defaults of topic settings, by the name that the setting has on a topic, where all brokers have the same.
fn defaults(brokers: &[Vec<ConfigEntry>]) -> BTreeMap<String, String> {
    let value =
        |name: &str| same(brokers.iter().map(|broker| broker.iter().find(|entry| entry.name == name)?.value.clone()));
    let renamed = DEFAULTS.iter().filter_map(|(topic, broker)| Some(((*topic).to_owned(), value(broker)?)));
    let retention = same(brokers.iter().map(|broker| retention_ms(broker)));
    renamed.chain(retention.map(|retention_ms| ("retention.ms".to_owned(), retention_ms.to_string()))).collect()
}

/// The value that all have.
fn same<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

async fn busy_groups(cluster: &Cluster, groups: BTreeSet<String>) -> BTreeMap<String, String> {
    let described = cluster.describe_groups(&groups).await;
    groups
        .into_iter()
        .filter_map(|group| Some((group.clone(), groups::refusal(&group, described.get(&group))?)))
        .collect()
}

/// Topics that are to be empty and were written to by somebody else: new ones, and those that were empty when the plan was
/// made.
pub fn not_new(
    plan: &Plan,
    existing: &BTreeMap<String, Existing>,
    ends: &BTreeMap<TopicPartition, i64>,
) -> Vec<String> {
    let is_written_to = |topic: &&TopicPlan| {
        let before = match topic.action {
            Action::Create | Action::Overwrite => &[][..],
            Action::Use => existing.get(&topic.target).map_or(&[][..], |existing| &existing.end_offsets),
            Action::Append => return false,
        };
        let of_topic = ends.iter().filter(|((name, _), _)| *name == topic.target);
        of_topic.into_iter().any(|((_, partition), end)| {
            let before = usize::try_from(*partition).ok().and_then(|number| before.get(number));
            *end > before.copied().unwrap_or(0)
        })
    };
    let text = |topic: &TopicPlan| match topic.action {
        Action::Create | Action::Overwrite => just_written_to(&topic.target),
        Action::Use | Action::Append => {
            format!("topic {:?} was empty and was just written to by somebody else", topic.target)
        }
    };
    plan.topics.iter().filter(is_written_to).map(text).collect()
}

fn just_written_to(topic: &str) -> String {
    format!(
        "topic {topic:?} was just created by this restore, and somebody else has written to it: stop its producers, delete the topic, \
         and run the same command again"
    )
}

/// Which of the topics that were just created somebody has written to, in one line each.
///
/// # Errors
/// When a leader does not answer.
pub async fn written_to(cluster: &Cluster, topics: &[&TopicPlan]) -> Result<Vec<String>, Error> {
    let names: Vec<String> = topics.iter().map(|topic| topic.target.clone()).collect();
    // Another client may have been faster, and have created a topic with fewer partitions than are planned.
    let metadata = cluster.metadata(Some(&names)).await?;
    let there = metadata.topics.values().filter(|topic| topic.error.is_none());
    let partitions = there
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition)))
        .collect::<Vec<_>>();
    let ends = listed(cluster, partitions.into_iter(), Position::HighWatermark).await?;
    let written: BTreeSet<&str> =
        ends.iter().filter(|(_, end)| **end > 0).map(|((topic, _), _)| topic.as_str()).collect();
    Ok(written.into_iter().map(just_written_to).collect())
}

fn partitions_of(topic: &TopicPlan) -> impl Iterator<Item = TopicPartition> {
    let numbers = 0..i32::try_from(topic.target_partitions).unwrap_or(i32::MAX);
    numbers.map(|partition| (topic.target.clone(), partition))
}

/// Names of the topics of a restore that are others now, or not there, as most of several brokers say each time when they are asked: a
/// broker that has just started may not know what the others do.
///
/// # Errors
/// When the cluster cannot be asked, or does not agree with itself.
pub async fn changed(cluster: &Cluster, prepared: &Prepared) -> Result<Vec<String>, Error> {
    let topics = prepared.topics.iter().map(|topic| (topic.target.clone(), topic.topic_id));
    let Missing { gone, unclear } = cluster.missing(&topics.collect()).await?;
    if unclear.is_empty() { Ok(gone.into_iter().collect()) } else { Err(not_told(unclear)) }
}

/// Why brokers do not tell which topics have these names: the refusal of a broker, if there is one.
fn not_told(unclear: BTreeMap<String, Option<KafkaError>>) -> Error {
    let names = unclear.keys().cloned().collect();
    let refused = unclear.into_iter().find_map(|(topic, refused)| Some((topic, refused?)));
    match refused {
        Some((topic, error)) => Error::Topic { topic, error: Box::new(error) },
        None => Error::Unclear(names),
    }
}

/// The ids of those topics that are there.
///
/// # Errors
/// When the cluster cannot be asked, or does not tell whether a topic is there.
pub async fn ids(cluster: &Cluster, names: &[String]) -> Result<BTreeMap<String, Uuid>, Error> {
    let identities = cluster.identities(&names.iter().cloned().collect()).await?;
    let mut ids = BTreeMap::new();
    for name in names {
        match identities.id(name) {
            Ok(Some(id)) => drop(ids.insert(name.clone(), id)),
            Ok(None) => {}
            Err(_) => return Err(not_told([(name.clone(), identities.refused(name).cloned())].into())),
        }
    }
    Ok(ids)
}

/// Where every partition of the topics ends now.
///
/// # Errors
/// When a leader does not answer.
pub async fn ends(cluster: &Cluster, plan: &Plan) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    listed(cluster, plan.topics.iter().flat_map(partitions_of), Position::HighWatermark).await
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

/// Topics that hold anything behind the offsets at which the restore began.
///
/// # Errors
/// When a leader does not answer.
pub async fn landed(cluster: &Cluster, topics: &[&PreparedTopic]) -> Result<BTreeSet<String>, Error> {
    let partitions = topics
        .iter()
        .flat_map(|topic| (0..).zip(&topic.base_offsets).map(|(partition, _)| (topic.target.clone(), partition)));
    let ends = listed(cluster, partitions, Position::HighWatermark).await?;
    let has_more = |topic: &&&PreparedTopic| {
        let mut bases = (0..).zip(&topic.base_offsets);
        bases.any(|(partition, base)| ends.get(&(topic.target.clone(), partition)).is_some_and(|end| end > base))
    };
    Ok(topics.iter().filter(has_more).map(|topic| topic.target.clone()).collect())
}

/// Sees that every partition of topics still begins at or before the first record that the restore wrote to it.
///
/// # Errors
/// [`Error::Swept`], and when a leader does not answer.
pub async fn nothing_swept(cluster: &Cluster, topics: &[&PreparedTopic]) -> Result<(), Error> {
    let partitions = || {
        topics.iter().flat_map(|topic| {
            (0..).zip(&topic.base_offsets).map(|(partition, base)| ((topic.target.clone(), partition), *base))
        })
    };
    let starts = listed(cluster, partitions().map(|(key, _)| key), Position::Earliest).await?;
    for ((topic, partition), base_offset) in partitions() {
        let start_offset =
            *starts.get(&(topic.clone(), partition)).ok_or_else(|| Error::lacks("ListOffsets", &topic))?;
        if start_offset > base_offset {
            return Err(Error::Swept { topic, partition, base_offset, start_offset });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::error::Resource;
    use crate::kafka::topics::ConfigSource;

    #[test]
    fn a_permission_that_is_missing_is_named_with_its_topic_and_what_to_grant_and_no_other_error_is_taken_for_one() {
        let refused = |code| {
            let resource = Resource::Topic("t".to_owned());
            KafkaError::Broker { resource, api: "DescribeConfigs", code, message: None }
        };
        let line = hidden_settings("t", &refused(TOPIC_AUTHORIZATION_FAILED)).unwrap();
        assert!(
            line.starts_with("DescribeConfigs on topic \"t\"") && line.contains("grant AlterConfigs on it"),
            "{line}"
        );
        let exhausted = KafkaError::Exhausted { after_ms: 1, last: Box::new(refused(7)) };
        assert_eq!(hidden_settings("t", &exhausted), None);
    }

    #[test]
    fn a_default_is_what_all_brokers_have() {
        let broker = |pairs: &[(&str, &str)]| -> Vec<ConfigEntry> {
            let entry = |(name, value): &(&str, &str)| ConfigEntry {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                source: ConfigSource::Default,
                sensitive: false,
            };
            pairs.iter().map(entry).collect()
        };
        let (bytes, policy) = (("message.max.bytes", "1000"), ("log.cleanup.policy", "delete"));
        let first = broker(&[bytes, policy, ("log.retention.hours", "1")]);
        let alike = broker(&[bytes, policy, ("log.retention.ms", "3600000")]);
        let found = defaults(&[first.clone(), alike]);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["cleanup.policy", "max.message.bytes", "retention.ms"]);
        assert_eq!(found["retention.ms"], "3600000");
        let other = broker(&[("message.max.bytes", "2000"), policy]);
        assert_eq!(defaults(&[first, other]).into_keys().collect::<Vec<_>>(), ["cleanup.policy"]);
        assert!(defaults(&[]).is_empty());
    }
}
