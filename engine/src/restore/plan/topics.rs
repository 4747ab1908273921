//! What happens to each topic, and what of its partitions is restored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Existing, Plan, TargetFacts};
use super::{configs, problem, protection};
use crate::config::restore::{Checked, ExistingTopics};
use crate::format::manifest::{Manifest, PartitionSummary, TopicSummary};
use crate::format::segment::TopicKey;
use crate::select::{Selection, select};
use crate::system_topics::is_system_topic;

/// What a broker takes in one batch unless it is told otherwise (`message.max.bytes`): 1 MiB and a batch header.
pub const MAX_MESSAGE_BYTES_DEFAULT: u64 = 1_048_588;
/// Room for a header that is added to every record, and for codecs that make larger frames than the producer's did.
const BATCH_ROOM_BYTES: u64 = 64 << 10;

/// Topics that brokers keep for themselves: whoever writes to them breaks groups, transactions or share groups.
const KAFKAS_OWN: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];
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
    /// Configuration that the topic is created with: that of the end, under the protective settings that change anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs_created: BTreeMap<String, String>,
    /// Protective settings that hold while data flows.
    pub configs_meanwhile: BTreeMap<String, String>,
    /// The largest batch that is sent, in bytes; larger ones are split.
    pub max_batch_bytes: u64,
    /// The largest batch that the target has to take as it is, in bytes.
    #[serde(skip)]
    pub needed_batch_bytes: u64,
    /// Whether an earlier run of the restore has decided what happens to it, and may have done it.
    #[serde(skip)]
    pub is_decided: bool,
    /// Partitions that the target needs: those that are created, or that have to be there.
    pub target_partitions: usize,
    /// What of each partition is restored.
    pub partitions: Vec<PartitionPlan>,
}

/// One partition of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionPlan {
    /// The partition's number in the backup.
    pub partition: i32,
    /// Its number in the target.
    pub target: i32,
    /// The first source offset that the backup answers for.
    pub start_offset: i64,
    /// The source offset after the last one that the backup answers for.
    pub end_offset: i64,
    /// Records in the backup; fewer are restored if a time is given.
    pub records: u64,
    /// Batches that are sent as they are, unless they are too large.
    pub batches_as_they_are: u64,
    /// Batches that are made anew in any case.
    pub batches_made_anew: u64,
    /// Batches of which only a look inside, or at their header, tells what of them lies in the wanted times.
    pub batches_to_look_at: u64,
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
    errors.extend(wrong_partitions(&by_name, &names, &config.config.partition_mapping));
    if names.is_empty() && errors.is_empty() {
        errors.push("no topic is left to restore".to_owned());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(names.iter().filter_map(|name| Some((*by_name.get(name.as_str())?, target_of(name)))).collect())
}

/// What the mapping of partitions names and is not there, and partitions that would meet in one, in one line each.
fn wrong_partitions(
    by_name: &BTreeMap<&str, &TopicSummary>,
    names: &[String],
    mapping: &BTreeMap<String, BTreeMap<i32, i32>>,
) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, mapped) in mapping {
        let Some(topic) = by_name.get(name.as_str()).filter(|_| names.contains(name)) else {
            errors.push(format!("partitionMapping names topic {name:?}, which is not among the topics to restore"));
            continue;
        };
        let known: BTreeSet<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        for partition in mapped.keys().filter(|partition| !known.contains(*partition)) {
            errors.push(format!(
                "partitionMapping names partition {partition} of topic {name:?}, which the backup does not have"
            ));
        }
        let mut sources: BTreeMap<i32, i32> = BTreeMap::new();
        for partition in &known {
            let target = mapped.get(partition).unwrap_or(partition);
            if let Some(first) = sources.insert(*target, *partition) {
                errors.push(format!(
                    "partitionMapping: partitions {first} and {partition} of topic {name:?} would both become {target}: a \
                     partition that is not named keeps its number"
                ));
            }
        }
    }
    errors
}

/// What happens to one topic; what keeps it away, or should be known, is added to the plan. `problems` are those of the backup.
pub fn topic_plan(
    source: &TopicSummary,
    target: &str,
    config: &Checked,
    facts: &TargetFacts,
    decided: Option<Action>,
    problems: &[String],
    plan: &mut Plan,
) -> TopicPlan {
    let existing = facts.existing.get(target);
    let partitions: Vec<PartitionPlan> =
        source.partitions.iter().map(|partition| partition_plan(&source.topic, partition, config)).collect();
    let target_partitions = partitions
        .iter()
        .filter_map(|partition| usize::try_from(partition.target).ok()?.checked_add(1))
        .max()
        .unwrap_or(0);
    if KAFKAS_OWN.contains(&target) || existing.is_some_and(|existing| existing.internal) {
        plan.refusals.push(format!("topic {target:?} is Kafka's own: choose another name (topicMapping)"));
    } else if is_system_topic(target) {
        plan.refusals.push(format!(
            "topic {target:?} holds the state of an add-on of this very cluster: leave it out, or choose another name (topicMapping)"
        ));
    }
    let action = match (decided, existing) {
        (Some(action), existing) => {
            plan.refusals.extend(grown(target, action, existing));
            action
        }
        (None, None) => Action::Create,
        (None, Some(existing)) => {
            action(source, target, target_partitions, existing, config.config.existing_topics, plan)
        }
    };
    without_missing(source, target, action, existing, problems, plan);
    plan.refusals.extend(without_doubt(source, target, action, existing, problems));
    let mut configs = source.configs.clone();
    let replication_factor = config.config.replication_factor.unwrap_or(source.replication_factor);
    let is_created = matches!(action, Action::Create | Action::Overwrite);
    if is_created {
        configs::check_replication(target, replication_factor, &mut configs, config, facts, plan);
        configs::leave_out(target, &mut configs, existing, plan);
    }
    let content = source.content();
    let largest = content.batch_bytes_max + BATCH_ROOM_BYTES;
    let wanted_batch_bytes = match existing {
        Some(existing) if !is_created => existing.max_message_bytes,
        Some(_) | None => {
            let archived = configs.get("max.message.bytes").and_then(|value| value.parse().ok());
            archived.unwrap_or(MAX_MESSAGE_BYTES_DEFAULT).max(largest)
        }
    };
    // A batch that is re-encoded may grow: one whose records are not all restored, too.
    let is_reencoded = content.rewrite_batches > 0
        || config.config.original_offset_header.is_some()
        || config.point_in_time_ms.is_some()
        || config.start_ms.is_some();
    let mut topic = TopicPlan {
        source: source.topic.clone(),
        target: target.to_owned(),
        action,
        replication_factor,
        configs_created: BTreeMap::new(),
        configs_meanwhile: BTreeMap::new(),
        configs,
        max_batch_bytes: wanted_batch_bytes,
        is_decided: decided.is_some(),
        needed_batch_bytes: if action == Action::Overwrite && is_reencoded { largest } else { content.batch_bytes_max },
        target_partitions,
        partitions,
    };
    limit_batches(&mut topic, facts, &mut plan.warnings, &mut plan.refusals);
    let own = own_settings(&topic, facts);
    topic.configs_meanwhile = protection::settings(is_created, topic.max_batch_bytes, own, facts);
    topic.configs_created = protection::created_with(&topic, facts);
    topic
}

/// The settings of the topic itself while it is written to: the archived ones on a topic that the restore creates.
fn own_settings<'t>(topic: &'t TopicPlan, facts: &'t TargetFacts) -> &'t BTreeMap<String, String> {
    match (topic.action, facts.existing.get(&topic.target)) {
        (Action::Use | Action::Append, Some(existing)) => &existing.effective,
        (Action::Create | Action::Overwrite | Action::Use | Action::Append, _) => &topic.configs,
    }
}

/// Makes no batch larger than the topic takes with its settings, and says so where larger ones are needed.
pub fn limit_batches(
    topic: &mut TopicPlan,
    facts: &TargetFacts,
    warnings: &mut Vec<String>,
    refusals: &mut Vec<String>,
) {
    // A record that is larger alone would be refused when the topic has been deleted.
    let has_to_fit = topic.action == Action::Overwrite && !topic.is_decided;
    let (limit, remedy) = protection::batch_limit(has_to_fit, own_settings(topic, facts), facts);
    topic.max_batch_bytes = topic.max_batch_bytes.min(limit);
    let TopicPlan { target, max_batch_bytes, needed_batch_bytes: needed, .. } = topic;
    if needed <= max_batch_bytes {
        return;
    }
    let text =
        format!("topic {target:?} takes batches of {max_batch_bytes} bytes, the backup needs such of up to {needed}");
    match has_to_fit {
        true => refusals.push(format!("{text}, in which a record may be larger: {remedy}")),
        false => warnings.push(format!("{text}: these are split")),
    }
}

fn partition_plan(topic: &TopicKey, partition: &PartitionSummary, config: &Checked) -> PartitionPlan {
    let PartitionSummary { partition, start_offset, end_offset, content, .. } = partition;
    let made_anew = match &config.config.original_offset_header {
        Some(_) => content.batches,
        None => content.rewrite_batches,
    };
    // Of times only the latest is known: it can say that all records pass, and never that some do not.
    let all_pass = config.start_ms.is_none()
        && config.point_in_time_ms.is_none_or(|latest_ms| content.max_timestamp_ms.0 <= latest_ms);
    let others = content.batches.saturating_sub(made_anew);
    let mapped = config.config.partition_mapping.get(&topic.name).and_then(|mapped| mapped.get(partition));
    PartitionPlan {
        partition: *partition,
        target: *mapped.unwrap_or(partition),
        start_offset: *start_offset,
        end_offset: *end_offset,
        records: content.records,
        batches_as_they_are: if all_pass { others } else { 0 },
        batches_made_anew: made_anew,
        batches_to_look_at: if all_pass { 0 } else { others },
    }
}

/// What to do with a topic that is there before the restore has done anything.
fn action(
    source: &TopicSummary,
    target: &str,
    wanted: usize,
    existing: &Existing,
    policy: ExistingTopics,
    plan: &mut Plan,
) -> Action {
    let action = match (policy, existing.is_empty) {
        (ExistingTopics::Overwrite, _) => return Action::Overwrite,
        (ExistingTopics::Append, false) => Action::Append,
        (ExistingTopics::Append | ExistingTopics::Fail, true) => Action::Use,
        (ExistingTopics::Fail, false) => {
            plan.refusals.push(format!(
                "topic {target:?} exists and is not empty: choose another name (topicMapping), delete it, or say what to do with \
                 it (existingTopics: append or overwrite)"
            ));
            return Action::Use;
        }
    };
    let found = existing.partitions;
    if found < wanted {
        plan.refusals.push(format!(
            "topic {target:?} has {found} partitions, the restore needs {wanted}: add partitions, or let it be overwritten"
        ));
    }
    if found > wanted {
        plan.warnings.push(format!(
            "topic {target:?} has {found} partitions, the restore needs {wanted}: new records of a key may go to another \
             partition than its restored ones"
        ));
    }
    if usize::try_from(existing.min_insync_replicas).is_ok_and(|wanted| wanted > existing.replicas) {
        plan.refusals.push(format!(
            "topic {target:?} has {} replicas, fewer than its min.insync.replicas ({}): nothing can be written to it",
            existing.replicas, existing.min_insync_replicas
        ));
    }
    let kept: Vec<&str> = source
        .configs
        .iter()
        .filter(|(name, value)| existing.configs.get(*name) != Some(*value))
        .map(|(name, _)| name.as_str())
        .collect();
    if !kept.is_empty() {
        plan.warnings.push(format!(
            "topic {target:?} exists and keeps its own configuration; the backup has other values of {}",
            kept.join(", ")
        ));
    }
    action
}

/// A partition that could not be read at the backup, whose topic was deleted before it was read to its end, or whose reader did not catch
/// up with a compacted log, held more than the backup does, and must not come back without that in the place of data.
fn without_missing(
    source: &TopicSummary,
    target: &str,
    action: Action,
    existing: Option<&Existing>,
    problems: &[String],
    plan: &mut Plan,
) {
    let name = &source.topic.name;
    let has_problem = |partition: i32| problems.iter().any(|line| problem::lacks_keys(line, name, partition));
    let missing: Vec<String> = source
        .partitions
        .iter()
        .filter(|partition| {
            partition.missing || partition.content.holes.deleted > 0 || has_problem(partition.partition)
        })
        .map(|partition| partition.partition.to_string())
        .collect();
    if missing.is_empty() {
        return;
    }
    let missing = missing.join(", ");
    let holds_data = existing.is_some_and(|existing| !existing.is_empty);
    match (action, holds_data) {
        (Action::Overwrite, true) => plan.refusals.push(format!(
            "topic {target:?} would lose what it holds in partitions of which the backup lacks all or a part ({missing}): leave the topic \
             out, restore it under another name (topicMapping), or delete it beforehand"
        )),
        (Action::Overwrite | Action::Create | Action::Use | Action::Append, _) => plan.warnings.push(format!(
            "topic {target:?}: the backup lacks all or a part of partitions {missing}, which get no other records although they held more"
        )),
    }
}

/// Why a topic that holds data is not overwritten from a backup that may have joined two logs, or that would give it the settings of the
/// cluster in the place of its own, in one line each. The backup's own lines warn of both where nothing is lost.
fn without_doubt(
    source: &TopicSummary,
    target: &str,
    action: Action,
    existing: Option<&Existing>,
    problems: &[String],
) -> Vec<String> {
    const INSTEAD: &str = "leave the topic out, restore it under another name (topicMapping), or delete it beforehand";
    let is_overwritten = match action {
        Action::Overwrite => existing.is_some_and(|existing| !existing.is_empty),
        Action::Create | Action::Use | Action::Append => false,
    };
    if !is_overwritten {
        return Vec::new();
    }
    let name = &source.topic.name;
    let of_two_logs = |partition: i32| problems.iter().any(|line| problem::is_of_two_logs(line, name, partition));
    let partitions = source.partitions.iter().map(|partition| partition.partition);
    let doubtful: Vec<String> =
        partitions.filter(|partition| of_two_logs(*partition)).map(|partition| partition.to_string()).collect();
    let mut refusals = Vec::new();
    if !doubtful.is_empty() {
        refusals.push(format!(
            "topic {target:?} would lose what it holds in partitions of which the backup may hold records of two logs ({}): {INSTEAD}",
            doubtful.join(", ")
        ));
    }
    if problems.iter().any(|line| problem::lacks_configuration(line, name)) {
        refusals.push(format!(
            "topic {target:?} would lose its configuration, which is not in the backup, and get the cluster's defaults: {INSTEAD}"
        ));
    }
    refusals
}

/// Between the decision to create a topic and the first record nobody else may have written to it.
fn grown(target: &str, action: Action, existing: Option<&Existing>) -> Option<String> {
    let is_ours = matches!(action, Action::Create | Action::Use);
    let has_records = existing.is_some_and(|existing| !existing.is_empty);
    (is_ours && has_records).then(|| {
        format!(
            "topic {target:?} was empty when this restore began, and somebody else has written to it since: choose \
             another restoreId, or make another KafkaRestore, and delete it or say what to do with it (existingTopics)"
        )
    })
}
