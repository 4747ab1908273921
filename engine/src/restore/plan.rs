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

/// Topics that brokers keep for themselves: whoever writes to them breaks groups, transactions or share groups.
const KAFKAS_OWN: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];
/// Left behind by reassignments: they name brokers, which are others in the target.
const OF_SOURCE_BROKERS: [&str; 2] =
    ["follower.replication.throttled.replicas", "leader.replication.throttled.replicas"];

/// A topic of the target that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: Uuid,
    /// Whether it belongs to Kafka itself.
    pub internal: bool,
    /// Its partitions.
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Whether no partition holds a record.
    pub is_empty: bool,
    /// How many replicas have to hold a batch before it counts as written.
    pub min_insync_replicas: i64,
    /// The largest batch that it takes, in bytes.
    pub max_message_bytes: u64,
    /// What is set on the topic itself.
    pub configs: BTreeMap<String, String>,
    /// The names of all settings that its broker knows.
    pub settings: BTreeSet<String>,
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
    /// The cluster's own `retention.ms`, -1 for without end; none if it does not tell.
    pub retention_ms: Option<i64>,
    /// Whether timestamps far behind and ahead have a setting each (Kafka 3.6) or one together.
    pub has_timestamp_before_and_after: bool,
    /// Target topics that are there.
    pub existing: BTreeMap<String, Existing>,
    /// Why the offsets of target groups cannot be committed at this moment, by group.
    pub busy_groups: BTreeMap<String, String>,
}

/// What an earlier run of the same restore has decided and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// What it does to each target topic; empty when it did not come to that.
    pub actions: BTreeMap<String, Action>,
    /// Target groups whose offsets it has committed.
    pub groups: BTreeSet<String>,
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
    /// Batches that are sent as they are, unless they are too large.
    pub batches_as_they_are: u64,
    /// Batches that are made anew in any case.
    pub batches_made_anew: u64,
    /// Batches of which only a look inside, or at their header, tells what of them lies in the wanted times.
    pub batches_to_look_at: u64,
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
    /// Groups whose offsets could not be committed at this moment, each in one line. A run that comes to its end says what
    /// became of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub busy_groups: Vec<String>,
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

/// Makes the plan; `at_ms` is the time it is made at, in milliseconds since the epoch.
pub fn make(
    manifest: &Manifest,
    topics: &[(&TopicSummary, String)],
    groups: &[(String, String)],
    config: &Checked,
    facts: &TargetFacts,
    earlier: &Earlier,
    at_ms: i64,
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
        busy_groups: Vec::new(),
        refusals: Vec::new(),
    };
    for problem in &manifest.problems {
        plan.warnings.push(format!("the backup is partial: {problem}"));
    }
    let renamed: BTreeMap<&str, &str> =
        topics.iter().map(|(source, target)| (source.topic.name.as_str(), target.as_str())).collect();
    for (source, target) in topics {
        let decided = earlier.actions.get(target).copied();
        let topic = topic_plan(source, target, config, facts, decided, &mut plan);
        plan.warnings.extend(retention_warning(source, &topic, facts, at_ms));
        plan.topics.push(topic);
    }
    for (source, target) in groups {
        let busy = facts.busy_groups.get(target).filter(|_| !earlier.groups.contains(target));
        plan.busy_groups.extend(
            busy.map(|busy| {
                format!("{busy}: its offsets are restored only if that is over when the records are there")
            }),
        );
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
    decided: Option<Action>,
    plan: &mut Plan,
) -> TopicPlan {
    let existing = facts.existing.get(target);
    if KAFKAS_OWN.contains(&target) || existing.is_some_and(|existing| existing.internal) {
        plan.refusals.push(format!("topic {target:?} is Kafka's own: choose another name (--topic-mapping)"));
    }
    let action = match (decided, existing) {
        (Some(action), existing) => {
            plan.refusals.extend(grown(target, action, existing));
            action
        }
        (None, None) => Action::Create,
        (None, Some(existing)) => action(source, target, existing, config.config.existing_topics, plan),
    };
    let mut configs = source.configs.clone();
    let replication_factor = config.config.replication_factor.unwrap_or(source.replication_factor);
    let is_created = matches!(action, Action::Create | Action::Overwrite);
    if is_created {
        check_replication(target, replication_factor, &mut configs, config, facts, plan);
        leave_out(target, &mut configs, existing, plan);
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
        partitions: source.partitions.iter().map(|partition| partition_plan(partition, config)).collect(),
    }
}

fn partition_plan(partition: &PartitionSummary, config: &Checked) -> PartitionPlan {
    let PartitionSummary { partition, start_offset, end_offset, content } = partition;
    let made_anew = match &config.config.original_offset_header {
        Some(_) => content.batches,
        None => content.rewrite_batches,
    };
    // Of times only the latest is known: it can say that all records pass, and never that some do not.
    let all_pass = config.start_ms.is_none()
        && config.point_in_time_ms.is_none_or(|latest_ms| content.max_timestamp_ms.0 <= latest_ms);
    let others = content.batches.saturating_sub(made_anew);
    PartitionPlan {
        partition: *partition,
        start_offset: *start_offset,
        end_offset: *end_offset,
        records: content.records,
        batches_as_they_are: if all_pass { others } else { 0 },
        batches_made_anew: made_anew,
        batches_to_look_at: if all_pass { 0 } else { others },
    }
}

/// What to do with a topic that is there before the restore has done anything.
fn action(source: &TopicSummary, target: &str, existing: &Existing, policy: ExistingTopics, plan: &mut Plan) -> Action {
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
    let (wanted, found) = (source.partitions.len(), existing.partitions);
    if found < wanted {
        plan.refusals.push(format!(
            "topic {target:?} has {found} partitions, the backup has {wanted}: add partitions, or let it be overwritten"
        ));
    }
    if found > wanted {
        plan.warnings.push(format!(
            "topic {target:?} has {found} partitions, the backup has {wanted}: new records of a key may go to another \
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

/// Between the decision to create a topic and the first record nobody else may have written to it.
fn grown(target: &str, action: Action, existing: Option<&Existing>) -> Option<String> {
    let is_ours = matches!(action, Action::Create | Action::Use);
    let has_records = existing.is_some_and(|existing| !existing.is_empty);
    (is_ours && has_records).then(|| {
        format!(
            "topic {target:?} was empty when this restore began, and somebody else has written to it since: choose \
             another --restore-id and say what to do with it (--existing-topics)"
        )
    })
}

/// Settings that name brokers of the source, or that the target does not know, are left out and named.
fn leave_out(target: &str, configs: &mut BTreeMap<String, String>, existing: Option<&Existing>, plan: &mut Plan) {
    configs.retain(|name, value| {
        let why = if OF_SOURCE_BROKERS.contains(&name.as_str()) {
            "it names brokers of the source"
        } else if existing.is_some_and(|existing| !existing.settings.contains(name)) {
            "the target does not know it"
        } else {
            return true;
        };
        plan.warnings.push(format!("topic {target:?}: {name}={value} is left out, {why}"));
        false
    });
}

/// Whoever restores old records under a shorter retention loses them a few minutes later, without a word from anybody.
fn retention_warning(source: &TopicSummary, topic: &TopicPlan, facts: &TargetFacts, at_ms: i64) -> Option<String> {
    let own = match (topic.action, facts.existing.get(&topic.target)) {
        (Action::Use | Action::Append, Some(existing)) => &existing.configs,
        (Action::Create | Action::Overwrite | Action::Use | Action::Append, _) => &topic.configs,
    };
    let is_swept = own.get("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let retention_ms = own.get("retention.ms").and_then(|value| value.parse().ok()).or(facts.retention_ms)?;
    let oldest_kept_ms = at_ms.checked_sub(retention_ms).filter(|_| is_swept && retention_ms >= 0)?;
    let is_old = |partition: &&PartitionSummary| {
        partition.content.records > 0 && (0..oldest_kept_ms).contains(&partition.content.max_timestamp_ms.0)
    };
    let old = source.partitions.iter().filter(is_old).count();
    (old > 0).then(|| {
        format!(
            "topic {:?}: all records of {old} partitions are older than its retention.ms ({retention_ms}), and the target \
             deletes them soon after the restore: create the topic beforehand with a longer one to keep them",
            topic.target
        )
    })
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
            "topic {target:?} is to have {factor} replicas, the target has {} brokers: give --replication-factor",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::restore::RestoreConfig;
    use crate::format::manifest::Group;
    use crate::format::run::{Content, Timestamp};

    /// The newest record of the topics below.
    const NEWEST_MS: i64 = 1_000_000;
    const NOW_MS: i64 = 2_000_000;

    fn config(change: impl FnOnce(&mut RestoreConfig)) -> Checked {
        let text = r#"{"cluster": {"bootstrapServers": ["localhost:9092"]}, "storage": "file:///b", "backup": "b"}"#;
        let mut config: RestoreConfig = serde_json::from_str(text).unwrap();
        change(&mut config);
        config.check().unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn topic(name: &str, configs: &[(&str, &str)]) -> TopicSummary {
        let content = Content {
            batches: 10,
            records: 100,
            rewrite_batches: 3,
            batch_bytes_max: 5_000,
            max_timestamp_ms: Timestamp(NEWEST_MS),
            ..Content::default()
        };
        let partition = |partition| PartitionSummary { partition, start_offset: 5, end_offset: 110, content };
        TopicSummary {
            topic: TopicKey { name: name.to_owned(), id: Uuid::from_u128(1) },
            replication_factor: 3,
            configs: map(configs),
            partitions: vec![partition(0), partition(1)],
        }
    }

    fn manifest(topics: Vec<TopicSummary>) -> Manifest {
        let committed = |topic: &str| CommittedOffset {
            topic: topic.to_owned(),
            partition: 0,
            offset: 50,
            leader_epoch: 0,
            metadata: String::new(),
        };
        let offsets = vec![committed("orders"), committed("elsewhere")];
        let group = |id: &str| Group { id: id.to_owned(), protocol: "classic".to_owned(), offsets: offsets.clone() };
        Manifest {
            backup_id: "b".parse().unwrap(),
            archive: "a".parse().unwrap(),
            engine_version: String::new(),
            source_cluster_id: "source".to_owned(),
            cut_at_ms: 0,
            completed_at_ms: 0,
            topics,
            groups: vec![group("billing"), group("shipping")],
            parts: Vec::new(),
            open_transactions: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            content: Content::default(),
            segment_bytes: 0,
        }
    }

    fn orders() -> Manifest {
        manifest(vec![topic("orders", &[("cleanup.policy", "compact")])])
    }

    fn existing(partitions: usize, is_empty: bool) -> Existing {
        Existing {
            id: Uuid::from_u128(2),
            internal: false,
            partitions,
            replicas: 3,
            is_empty,
            min_insync_replicas: 1,
            max_message_bytes: 4_000,
            configs: map(&[("cleanup.policy", "compact")]),
            settings: BTreeSet::from(["cleanup.policy".to_owned()]),
        }
    }

    fn facts(change: impl FnOnce(&mut TargetFacts)) -> TargetFacts {
        let mut facts = TargetFacts {
            cluster_id: "target".to_owned(),
            brokers: 3,
            min_insync_replicas: 1,
            has_timestamp_before_and_after: true,
            ..TargetFacts::default()
        };
        change(&mut facts);
        facts
    }

    fn made_after(manifest: &Manifest, config: &Checked, facts: &TargetFacts, earlier: &Earlier) -> Plan {
        let topics = wanted_topics(manifest, config).unwrap();
        let groups = wanted_groups(manifest, config).unwrap();
        make(manifest, &topics, &groups, config, facts, earlier, NOW_MS)
    }

    fn made(manifest: &Manifest, config: &Checked, facts: &TargetFacts) -> Plan {
        made_after(manifest, config, facts, &Earlier::default())
    }

    fn with_orders(topic: Existing) -> TargetFacts {
        facts(|facts| drop(facts.existing.insert("orders".to_owned(), topic)))
    }

    #[test]
    fn a_mapping_from_a_topic_that_is_not_restored_is_an_error() {
        let mapped = |mapping: &[(&str, &str)]| {
            let mapping = map(mapping);
            wanted_topics(&orders(), &config(|config| config.topic_mapping = mapping)).map(|topics| topics[0].1.clone())
        };
        assert_eq!(mapped(&[("orders", "orders-2")]), Ok("orders-2".to_owned()));
        assert!(mapped(&[("gone", "x")]).unwrap_err()[0].contains(r#""gone""#));
    }

    #[test]
    fn a_topic_that_takes_the_name_of_another_is_an_error() {
        let manifest = manifest(vec![topic("orders", &[]), topic("payments", &[])]);
        let config = config(|config| config.topic_mapping = map(&[("payments", "orders")]));
        assert!(wanted_topics(&manifest, &config).unwrap_err()[0].contains("are both to become"));
    }

    #[test]
    fn what_was_asked_for_and_is_not_in_the_backup_is_an_error() {
        for pattern in ["gone", "gone.*"] {
            let config = config(|config| config.topics = vec![pattern.to_owned()]);
            assert!(wanted_topics(&orders(), &config).is_err(), "{pattern}");
        }
        let excluded = config(|config| config.exclude_topics = vec![".*".to_owned()]);
        assert_eq!(wanted_topics(&orders(), &excluded), Err(vec!["no topic is left to restore".to_owned()]));
        let group = config(|config| config.consumer_groups = Some(vec!["gone".to_owned()]));
        assert!(wanted_groups(&orders(), &group).is_err());
    }

    #[test]
    fn a_created_topic_keeps_its_configuration_and_takes_old_records_meanwhile() {
        let plan = made(&orders(), &config(|_| ()), &facts(|_| ()));
        let topic = &plan.topics[0];
        assert_eq!((topic.action, topic.replication_factor), (Action::Create, 3));
        assert_eq!(topic.configs, map(&[("cleanup.policy", "compact")]));
        let meanwhile = |name: &str| topic.configs_meanwhile.get(name).map(String::as_str);
        assert_eq!(meanwhile("cleanup.policy"), Some("delete"));
        assert_eq!(meanwhile("retention.ms"), Some("-1"));
        assert_eq!(meanwhile("message.timestamp.type"), Some("CreateTime"));
        assert_eq!(meanwhile("message.timestamp.after.max.ms"), Some("9223372036854775807"));
        assert_eq!(meanwhile("message.timestamp.difference.max.ms"), None);
        assert!(plan.refusals.is_empty() && plan.warnings.is_empty(), "{plan:?}");
        let older = made(&orders(), &config(|_| ()), &facts(|facts| facts.has_timestamp_before_and_after = false));
        assert!(older.topics[0].configs_meanwhile.contains_key("message.timestamp.difference.max.ms"));
    }

    #[test]
    fn a_created_topic_takes_the_largest_batch_whatever_its_limit_was() {
        let largest = |limit: &str| {
            let mut topic = topic("orders", &[("max.message.bytes", limit)]);
            topic.partitions[1].content.batch_bytes_max = 3_000_000;
            let plan = made(&manifest(vec![topic]), &config(|_| ()), &facts(|_| ()));
            assert_eq!(
                plan.topics[0].configs_meanwhile["max.message.bytes"],
                plan.topics[0].max_batch_bytes.to_string()
            );
            plan.topics[0].max_batch_bytes
        };
        assert!(largest("1000") > 3_000_000);
        assert_eq!(largest("5000000"), 5_000_000);
    }

    #[test]
    fn a_topic_with_records_is_refused_unless_the_request_says_what_to_do() {
        let plan_for = |policy, is_empty| {
            made(&orders(), &config(|config| config.existing_topics = policy), &with_orders(existing(2, is_empty)))
        };
        let refused = plan_for(ExistingTopics::Fail, false);
        assert!(refused.refusals[0].contains(r#""orders" exists and is not empty"#));
        for (policy, is_empty, action) in [
            (ExistingTopics::Fail, true, Action::Use),
            (ExistingTopics::Append, true, Action::Use),
            (ExistingTopics::Append, false, Action::Append),
            (ExistingTopics::Overwrite, false, Action::Overwrite),
            (ExistingTopics::Overwrite, true, Action::Overwrite),
        ] {
            let plan = plan_for(policy, is_empty);
            assert_eq!((plan.topics[0].action, plan.refusals.len()), (action, 0), "{policy:?} {is_empty}");
        }
    }

    #[test]
    fn an_existing_topic_needs_as_many_partitions() {
        let plan = |partitions| made(&orders(), &config(|_| ()), &with_orders(existing(partitions, true)));
        assert!(plan(1).refusals[0].contains("1 partitions, the backup has 2"));
        assert!(plan(2).refusals.is_empty() && plan(3).refusals.is_empty());
        assert!(plan(3).warnings.iter().any(|warning| warning.contains("another partition")));
    }

    #[test]
    fn an_existing_topic_keeps_its_limit_and_its_configuration_and_that_is_said() {
        let mut topic = existing(2, true);
        topic.configs = map(&[("cleanup.policy", "delete")]);
        let plan = made(&orders(), &config(|_| ()), &with_orders(topic));
        assert_eq!(plan.topics[0].max_batch_bytes, 4_000);
        assert!(!plan.topics[0].configs_meanwhile.contains_key("max.message.bytes"));
        assert!(plan.warnings.iter().any(|warning| warning.contains("these are split")), "{:?}", plan.warnings);
        assert!(plan.warnings.iter().any(|warning| warning.ends_with("other values of cleanup.policy")));
    }

    #[test]
    fn topics_of_kafka_itself_are_never_written_to() {
        for policy in [ExistingTopics::Fail, ExistingTopics::Append, ExistingTopics::Overwrite] {
            let to_internal = config(|config| {
                config.existing_topics = policy;
                config.topic_mapping = map(&[("orders", "__consumer_offsets")]);
            });
            assert!(made(&orders(), &to_internal, &facts(|_| ())).refusals[0].contains("Kafka's own"));
        }
        let internal = Existing { internal: true, ..existing(2, true) };
        assert!(made(&orders(), &config(|_| ()), &with_orders(internal)).refusals[0].contains("Kafka's own"));
    }

    #[test]
    fn a_replication_factor_that_the_cluster_cannot_give_is_refused() {
        let one = |facts: &mut TargetFacts| facts.brokers = 1;
        assert!(made(&orders(), &config(|_| ()), &facts(one)).refusals[0].contains("--replication-factor"));
        let given = config(|config| config.replication_factor = Some(1));
        let plan = made(&orders(), &given, &facts(one));
        assert_eq!((plan.topics[0].replication_factor, plan.refusals.len()), (1, 0));
    }

    #[test]
    fn fewer_replicas_than_must_be_in_sync_are_refused_or_the_number_is_lowered_and_said() {
        let manifest = manifest(vec![topic("orders", &[("min.insync.replicas", "2")])]);
        let given = config(|config| config.replication_factor = Some(1));
        let plan = made(&manifest, &given, &facts(|_| ()));
        assert_eq!(plan.topics[0].configs["min.insync.replicas"], "1");
        assert!(plan.warnings[0].contains("min.insync.replicas is lowered"));
        let of_cluster = facts(|facts| facts.min_insync_replicas = 4);
        assert!(made(&orders(), &config(|_| ()), &of_cluster).refusals[0].contains("min.insync.replicas"));
        let existing = Existing { replicas: 1, min_insync_replicas: 2, ..existing(2, true) };
        assert!(
            made(&orders(), &config(|_| ()), &with_orders(existing)).refusals[0].contains("nothing can be written")
        );
    }

    #[test]
    fn settings_that_mean_nothing_in_the_target_are_left_out_and_named() {
        let throttled = "leader.replication.throttled.replicas";
        let manifest = manifest(vec![topic("orders", &[(throttled, "0:1"), ("confluent.x", "y")])]);
        let plan = made(&manifest, &config(|_| ()), &facts(|_| ()));
        assert_eq!(plan.topics[0].configs, map(&[("confluent.x", "y")]), "what is unknown only the cluster can tell");
        assert!(plan.warnings[0].contains(throttled));
        let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
        let plan = made(&manifest, &overwrite, &with_orders(existing(2, false)));
        assert!(plan.topics[0].configs.is_empty());
        assert!(plan.warnings.iter().any(|warning| warning.contains("confluent.x=y")));
    }

    #[test]
    fn batches_are_counted_by_what_is_known_of_them() {
        let counts = |change: &dyn Fn(&mut RestoreConfig)| {
            let plan = made(&orders(), &config(|config| change(config)), &facts(|_| ()));
            let partition = plan.topics[0].partitions[0];
            (partition.batches_as_they_are, partition.batches_made_anew, partition.batches_to_look_at)
        };
        assert_eq!(counts(&|_| ()), (7, 3, 0));
        // 1,000,000 ms after the epoch is the newest record: then all pass, and one millisecond earlier any may not.
        assert_eq!(counts(&|config| config.point_in_time = Some("1970-01-01T00:16:40.000Z".to_owned())), (7, 3, 0));
        assert_eq!(counts(&|config| config.point_in_time = Some("1970-01-01T00:16:39.999Z".to_owned())), (0, 3, 7));
        assert_eq!(counts(&|config| config.start_time = Some("1970-01-01T00:00:00Z".to_owned())), (0, 3, 7));
        assert_eq!(counts(&|config| config.original_offset_header = Some("h".to_owned())), (0, 10, 0));
    }

    #[test]
    fn records_that_the_target_would_sweep_at_once_are_warned_about() {
        let age_ms = NOW_MS - NEWEST_MS;
        let warned = |configs: &[(&str, &str)], of_cluster: Option<i64>| {
            let facts = facts(|facts| facts.retention_ms = of_cluster);
            let plan = made(&manifest(vec![topic("orders", configs)]), &config(|_| ()), &facts);
            plan.warnings.iter().any(|warning| warning.contains("all records of 2 partitions are older"))
        };
        assert!(warned(&[], Some(age_ms - 1)));
        assert!(!warned(&[], Some(age_ms)));
        assert!(!warned(&[], Some(-1)) && !warned(&[], None));
        assert!(warned(&[("retention.ms", "1000")], Some(-1)));
        assert!(!warned(&[("retention.ms", "1000"), ("cleanup.policy", "compact")], None));
        assert!(warned(&[("retention.ms", "1000"), ("cleanup.policy", "compact,delete")], None));
    }

    #[test]
    fn offsets_on_topics_that_are_not_restored_are_counted_and_left_out() {
        let config = config(|config| {
            config.consumer_groups = Some(vec!["bill.*".to_owned()]);
            config.group_mapping = map(&[("billing", "billing-2")]);
        });
        let plan = made(&orders(), &config, &facts(|_| ()));
        let [group] = plan.groups.as_slice() else { panic!("{:?}", plan.groups) };
        assert_eq!((group.source.as_str(), group.target.as_str()), ("billing", "billing-2"));
        assert_eq!((group.offsets.len(), group.left_out), (1, 1));
    }

    #[test]
    fn a_group_that_is_busy_is_warned_about_until_it_is_restored() {
        let config = config(|config| config.consumer_groups = Some(Vec::new()));
        let busy = facts(|facts| drop(facts.busy_groups.insert("billing".to_owned(), "members".to_owned())));
        let plan = made(&orders(), &config, &busy);
        assert_eq!((plan.groups.len(), plan.busy_groups.len(), plan.problems.len()), (2, 1, 0));
        assert!(plan.warnings.is_empty(), "it is told once");
        let earlier = Earlier { groups: BTreeSet::from(["billing".to_owned()]), ..Earlier::default() };
        assert!(made_after(&orders(), &config, &busy, &earlier).busy_groups.is_empty());
    }

    #[test]
    fn a_run_that_goes_on_keeps_to_what_was_decided() {
        let decided = |action| Earlier { actions: [("orders".to_owned(), action)].into(), ..Earlier::default() };
        let plan = |action, is_empty| {
            made_after(&orders(), &config(|_| ()), &with_orders(existing(2, is_empty)), &decided(action))
        };
        // A killed run had created the topic: it is still one that gets the archived configuration in the end.
        let created = plan(Action::Create, true);
        assert_eq!((created.topics[0].action, created.refusals.len()), (Action::Create, 0));
        assert!(created.topics[0].configs_meanwhile.contains_key("max.message.bytes"));
        for (action, is_empty, refused) in [
            (Action::Create, false, true),
            (Action::Use, false, true),
            (Action::Append, false, false),
            (Action::Overwrite, false, false),
        ] {
            assert_eq!(!plan(action, is_empty).refusals.is_empty(), refused, "{action:?}");
        }
    }

    #[test]
    fn a_partial_backup_is_said_to_be_one() {
        let mut manifest = orders();
        manifest.problems.push("partition 7 had no leader".to_owned());
        assert_eq!(
            made(&manifest, &config(|_| ()), &facts(|_| ())).warnings,
            ["the backup is partial: partition 7 had no leader"]
        );
    }
}
