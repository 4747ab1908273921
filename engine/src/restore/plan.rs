//! The plan: all that a restore is going to do, as a value. `--dry-run` prints it.
//!
//! Pure: manifest, request and what the target looks like go in; nothing is asked and nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backup::select::{Pattern, Selection, select};
use crate::config::restore::{Checked, ExistingTopics};
use crate::format::layout::BackupId;
use crate::format::manifest::{CommittedOffset, Manifest, PartitionSummary, TopicSummary};
use crate::format::segment::TopicKey;

/// What a broker takes in one batch unless it is told otherwise (`message.max.bytes`): 1 MiB and a batch header.
pub const MAX_MESSAGE_BYTES_DEFAULT: u64 = 1_048_588;
/// Room for a header that is added to every record, and for codecs that make larger frames than the producer's did.
const BATCH_ROOM_BYTES: u64 = 64 << 10;

/// A topic of the target that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: usize,
    /// Whether any partition holds a record, or did.
    pub is_empty: bool,
    /// The largest batch that it takes, in bytes.
    pub max_message_bytes: u64,
    /// What is set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

/// The target, as far as a plan depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// The cluster's id.
    pub cluster_id: String,
    /// Brokers that are there.
    pub brokers: usize,
    /// The cluster's own `min.insync.replicas`.
    pub min_insync_replicas: i64,
    /// Whether timestamps far behind and ahead have a setting each (Kafka 3.6) or one together.
    pub has_timestamp_before_and_after: bool,
    /// Target topics that are there.
    pub existing: BTreeMap<String, Existing>,
    /// Members of target groups that are active, by group.
    pub active_groups: BTreeMap<String, Vec<String>>,
}

/// What happens to a target topic before the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is created.
    Create,
    /// It is used as it is, and holds nothing.
    Use,
    /// It is written to behind what it holds.
    Append,
    /// It is deleted and created again.
    Overwrite,
}

/// One topic of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicPlan {
    /// The topic in the backup.
    pub source: TopicKey,
    /// Its name in the target.
    pub target: String,
    /// What happens to it first.
    pub action: Action,
    /// Replicas of each partition, if it is created.
    pub replication_factor: i16,
    /// Configuration that the topic has in the end, if it is created.
    pub configs: BTreeMap<String, String>,
    /// Configuration that holds while data flows.
    pub configs_meanwhile: BTreeMap<String, String>,
    /// The largest batch that is sent, in bytes; larger ones are split.
    pub max_batch_bytes: u64,
    /// What of each partition is restored.
    pub partitions: Vec<PartitionPlan>,
}

/// One partition of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionPlan {
    /// The partition's number.
    pub partition: i32,
    /// The first source offset that the backup answers for.
    pub start_offset: i64,
    /// The source offset after the last one that the backup answers for.
    pub end_offset: i64,
    /// Records in the backup; fewer are restored if a time is given.
    pub records: u64,
    /// Batches that are sent as they are, unless a time cuts them or they are too large.
    pub batches_as_they_are: u64,
    /// Batches that are made anew in any case.
    pub batches_made_anew: u64,
}

/// One consumer group of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPlan {
    /// The group in the backup.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// Its committed offsets on restored topics, as they are in the source.
    pub offsets: Vec<CommittedOffset>,
    /// Its committed offsets on topics that are not restored.
    pub left_out: usize,
}

/// How offsets come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offsets {
    /// Records stand at new offsets, and committed offsets are translated.
    Translated,
}

/// All that a restore is going to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The backup.
    pub backup_id: BackupId,
    /// The cluster that is written to.
    pub target_cluster_id: String,
    /// How offsets come back.
    pub offsets: Offsets,
    /// The latest timestamp that is wanted, in milliseconds since the epoch, inclusive.
    pub point_in_time_ms: Option<i64>,
    /// The earliest timestamp that is wanted, in milliseconds since the epoch, inclusive.
    pub start_ms: Option<i64>,
    /// The topics, by target name.
    pub topics: Vec<TopicPlan>,
    /// The consumer groups, by target name.
    pub groups: Vec<GroupPlan>,
    /// What cannot be done, each in one line: the restore will be partial.
    pub problems: Vec<String>,
    /// What should be known, each in one line.
    pub warnings: Vec<String>,
    /// Why nothing may be done at all, each in one line.
    pub refusals: Vec<String>,
}

/// The topics of the backup that are wanted, with their target names.
///
/// # Errors
/// What was asked for and is not in the backup, one line each.
pub fn wanted_topics<'m>(
    manifest: &'m Manifest,
    config: &Checked,
) -> Result<Vec<(&'m TopicSummary, String)>, Vec<String>> {
    let by_name: BTreeMap<&str, &TopicSummary> =
        manifest.topics.iter().map(|topic| (topic.topic.name.as_str(), topic)).collect();
    let Selection { names, missing, idle } = select(by_name.keys().copied(), &config.topics, &config.exclude_topics);
    let mut errors: Vec<String> = missing.iter().map(|name| format!("topic {name:?} is not in the backup")).collect();
    errors.extend(idle.iter().map(|pattern| format!("the pattern {pattern:?} fits no topic of the backup")));
    let mapping = &config.config.topic_mapping;
    for source in mapping.keys().filter(|source| !names.contains(source)) {
        errors.push(format!("topicMapping names {source:?}, which is not among the topics to restore"));
    }
    let target_of = |name: &String| mapping.get(name).cloned().unwrap_or_else(|| name.clone());
    let mut sources: BTreeMap<String, &String> = BTreeMap::new();
    for name in &names {
        if let Some(first) = sources.insert(target_of(name), name) {
            errors.push(format!("topics {first:?} and {name:?} are both to become {:?}", target_of(name)));
        }
    }
    if names.is_empty() && errors.is_empty() {
        errors.push("no topic is left to restore".to_owned());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(names.iter().filter_map(|name| Some((*by_name.get(name.as_str())?, target_of(name)))).collect())
}

/// The consumer groups of the backup that are wanted, with their target names.
///
/// # Errors
/// What was asked for and is not in the backup, one line each.
pub fn wanted_groups(manifest: &Manifest, config: &Checked) -> Result<Vec<(String, String)>, Vec<String>> {
    let Some(patterns) = &config.consumer_groups else { return Ok(Vec::new()) };
    let patterns: &[Pattern] = patterns;
    let known: BTreeSet<&str> = manifest.groups.iter().map(|group| group.id.as_str()).collect();
    let Selection { names, missing, idle } = select(known.iter().copied(), patterns, &[]);
    let mut errors: Vec<String> =
        missing.iter().chain(&idle).map(|name| format!("consumer group {name:?} is not in the backup")).collect();
    let mapping = &config.config.group_mapping;
    for source in mapping.keys().filter(|source| !names.contains(source)) {
        errors.push(format!("groupMapping names {source:?}, which is not among the groups to restore"));
    }
    let target_of = |name: &String| mapping.get(name).cloned().unwrap_or_else(|| name.clone());
    let mut targets = BTreeSet::new();
    for name in &names {
        if !targets.insert(target_of(name)) {
            errors.push(format!("two consumer groups are to become {:?}", target_of(name)));
        }
    }
    if errors.is_empty() {
        Ok(names.into_iter().map(|name| (name.clone(), target_of(&name))).collect())
    } else {
        Err(errors)
    }
}

/// Makes the plan.
pub fn make(
    manifest: &Manifest,
    topics: &[(&TopicSummary, String)],
    groups: &[(String, String)],
    config: &Checked,
    facts: &TargetFacts,
) -> Plan {
    let mut plan = Plan {
        backup_id: manifest.backup_id.clone(),
        target_cluster_id: facts.cluster_id.clone(),
        offsets: Offsets::Translated,
        point_in_time_ms: config.point_in_time_ms,
        start_ms: config.start_ms,
        topics: Vec::new(),
        groups: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        refusals: Vec::new(),
    };
    for problem in &manifest.problems {
        plan.warnings.push(format!("the backup is partial: {problem}"));
    }
    let renamed: BTreeMap<&str, &str> =
        topics.iter().map(|(source, target)| (source.topic.name.as_str(), target.as_str())).collect();
    for (source, target) in topics {
        let topic = topic_plan(source, target, config, facts, &mut plan);
        plan.topics.push(topic);
    }
    for (source, target) in groups {
        if let Some(members) = facts.active_groups.get(target) {
            plan.problems.push(format!(
                "consumer group {target:?} has active members ({}): its offsets are not restored, stop them first",
                members.join(", ")
            ));
            continue;
        }
        let Some(group) = manifest.groups.iter().find(|group| group.id == *source) else { continue };
        let (offsets, others): (Vec<_>, Vec<_>) =
            group.offsets.iter().cloned().partition(|offset| renamed.contains_key(offset.topic.as_str()));
        plan.groups.push(GroupPlan { source: source.clone(), target: target.clone(), offsets, left_out: others.len() });
    }
    plan
}

fn topic_plan(
    source: &TopicSummary,
    target: &str,
    config: &Checked,
    facts: &TargetFacts,
    plan: &mut Plan,
) -> TopicPlan {
    let existing = facts.existing.get(target);
    let action = action(source, target, existing, config.config.existing_topics, plan);
    let mut configs = source.configs.clone();
    let replication_factor = config.config.replication_factor.unwrap_or(source.replication_factor);
    let is_created = matches!(action, Action::Create | Action::Overwrite);
    if is_created {
        check_replication(target, replication_factor, &mut configs, config, facts, plan);
    }
    let content = source.content();
    let largest = content.batch_bytes_max + BATCH_ROOM_BYTES;
    let max_batch_bytes = match existing {
        Some(existing) if !is_created => existing.max_message_bytes,
        Some(_) | None => {
            let archived = configs.get("max.message.bytes").and_then(|value| value.parse().ok());
            archived.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT).max(largest)
        }
    };
    if content.batch_bytes_max > max_batch_bytes {
        plan.warnings.push(format!(
            "topic {target:?} takes batches of {max_batch_bytes} bytes, the backup has some of {}: these are split",
            content.batch_bytes_max
        ));
    }
    TopicPlan {
        source: source.topic.clone(),
        target: target.to_owned(),
        action,
        replication_factor,
        configs_meanwhile: meanwhile(is_created, max_batch_bytes, facts),
        configs,
        max_batch_bytes,
        partitions: source.partitions.iter().map(partition_plan).collect(),
    }
}

fn partition_plan(partition: &PartitionSummary) -> PartitionPlan {
    let PartitionSummary { partition, start_offset, end_offset, content } = partition;
    PartitionPlan {
        partition: *partition,
        start_offset: *start_offset,
        end_offset: *end_offset,
        records: content.records,
        batches_as_they_are: content.batches - content.rewrite_batches,
        batches_made_anew: content.rewrite_batches,
    }
}

fn action(
    source: &TopicSummary,
    target: &str,
    existing: Option<&Existing>,
    policy: ExistingTopics,
    plan: &mut Plan,
) -> Action {
    let Some(existing) = existing else { return Action::Create };
    let wanted = source.partitions.len();
    let enough = existing.partitions >= wanted;
    let action = match (policy, existing.is_empty) {
        (ExistingTopics::Overwrite, _) => return Action::Overwrite,
        (ExistingTopics::Append, false) => Action::Append,
        (ExistingTopics::Append | ExistingTopics::Fail, true) => Action::Use,
        (ExistingTopics::Fail, false) => {
            plan.refusals.push(format!(
                "topic {target:?} exists and is not empty: choose another name (--topic-mapping), or say what to do with it \
                 (--existing-topics append or overwrite)"
            ));
            return Action::Use;
        }
    };
    if !enough {
        plan.refusals.push(format!(
            "topic {target:?} has {} partitions, the backup has {wanted}: add partitions, or let it be overwritten",
            existing.partitions
        ));
    }
    action
}

/// A replication factor that the cluster cannot give, or that lies under `min.insync.replicas`, would land nothing.
fn check_replication(
    target: &str,
    factor: i16,
    configs: &mut BTreeMap<String, String>,
    config: &Checked,
    facts: &TargetFacts,
    plan: &mut Plan,
) {
    if usize::try_from(factor).unwrap_or(0) > facts.brokers {
        plan.refusals.push(format!(
            "topic {target:?} has {factor} replicas in the backup, the target has {} brokers: give --replication-factor",
            facts.brokers
        ));
    }
    let archived = configs.get("min.insync.replicas").and_then(|value| value.parse::<i64>().ok());
    if archived.unwrap_or(facts.min_insync_replicas) <= i64::from(factor) {
        return;
    }
    if config.config.replication_factor.is_some() {
        plan.warnings.push(format!("topic {target:?}: min.insync.replicas is lowered to its {factor} replicas"));
        configs.insert("min.insync.replicas".to_owned(), factor.to_string());
    } else {
        plan.refusals.push(format!(
            "topic {target:?} would have {factor} replicas, fewer than min.insync.replicas: nothing could be written; give \
             --replication-factor"
        ));
    }
}

/// While data flows nothing may be swept, cleaned, dated or compressed again: records are old, and their times are theirs.
fn meanwhile(is_created: bool, max_batch_bytes: u64, facts: &TargetFacts) -> BTreeMap<String, String> {
    let forever = i64::MAX.to_string();
    let mut configs: BTreeMap<String, String> = [
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let limits: &[&str] = if facts.has_timestamp_before_and_after {
        &["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"]
    } else {
        &["message.timestamp.difference.max.ms"]
    };
    configs.extend(limits.iter().map(|name| ((*name).to_owned(), forever.clone())));
    if is_created {
        configs.insert("max.message.bytes".to_owned(), max_batch_bytes.to_string());
    }
    configs
}
