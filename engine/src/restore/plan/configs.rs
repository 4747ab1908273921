//! The configuration of a topic: what of the archived one it gets, and what holds while data flows.

use std::collections::BTreeMap;

use super::{Action, Existing, Plan, TargetFacts, TopicPlan};
use crate::config::restore::Checked;
use crate::format::manifest::{PartitionSummary, TopicSummary};

/// Left behind by reassignments: they name brokers, which are others in the target.
const OF_SOURCE_BROKERS: [&str; 2] =
    ["follower.replication.throttled.replicas", "leader.replication.throttled.replicas"];

/// Settings that name brokers of the source, or that the target does not know, are left out and named.
pub fn leave_out(target: &str, configs: &mut BTreeMap<String, String>, existing: Option<&Existing>, plan: &mut Plan) {
    configs.retain(|name, value| {
        let why = if OF_SOURCE_BROKERS.contains(&name.as_str()) {
            "it names brokers of the source"
        } else if existing.is_some_and(|existing| !existing.effective.contains_key(name)) {
            "the target does not know it"
        } else {
            return true;
        };
        plan.warnings.push(format!("topic {target:?}: {name}={value} is left out, {why}"));
        false
    });
}

/// Whoever restores old records under a shorter retention loses them a few minutes later, without a word from anybody.
pub fn retention_warning(source: &TopicSummary, topic: &TopicPlan, facts: &TargetFacts, at_ms: i64) -> Option<String> {
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

/// A compacted topic keeps one value of each key: that of a point in time is gone once a later one was compacted with it.
pub fn compaction_warning(source: &TopicSummary, point_in_time_ms: Option<i64>, cut_at_ms: i64) -> Option<String> {
    let is_compacted = source.configs.get("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    let before_cut_ms = cut_at_ms.checked_sub(point_in_time_ms?).filter(|before_ms| is_compacted && *before_ms > 0)?;
    Some(format!(
        "topic {:?} is compacted, and the backup was taken {} s after the point in time: keys that were written again in between may \
         lack the value that they had",
        source.topic.name,
        before_cut_ms / 1000
    ))
}

/// Without the cluster's own `min.insync.replicas` nobody can tell whether topics get enough replicas for a record to be written.
pub fn replicas_warning(topics: &[TopicPlan], facts: &TargetFacts) -> Option<String> {
    let is_unknown = |topic: &&TopicPlan| match topic.action {
        Action::Create | Action::Overwrite => !topic.configs.contains_key("min.insync.replicas"),
        Action::Use | Action::Append => false,
    };
    let factors = || topics.iter().filter(is_unknown).map(|topic| topic.replication_factor);
    let fewest = factors().min().filter(|_| facts.lacks_describe_configs)?;
    let most = factors().max()?;
    let replicas = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    Some(format!(
        "the user lacks DescribeConfigs on the cluster, so that its min.insync.replicas is not known; topics to create: {}, replicas: \
         {replicas}. If the cluster's min.insync.replicas is larger, no record can be written to them: grant DescribeConfigs on the \
         cluster, or give a replicationFactor that is enough",
        factors().count()
    ))
}

/// A replication factor that the cluster cannot give, or that lies under `min.insync.replicas`, would land nothing.
pub fn check_replication(
    target: &str,
    factor: i16,
    configs: &mut BTreeMap<String, String>,
    config: &Checked,
    facts: &TargetFacts,
    plan: &mut Plan,
) {
    if usize::try_from(factor).unwrap_or(0) > facts.brokers {
        plan.refusals.push(format!(
            "topic {target:?} is to have {factor} replicas, the target has {} brokers: create it with fewer beforehand, or give \
             replicationFactor",
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
            "topic {target:?} would have {factor} replicas, fewer than min.insync.replicas: nothing could be written; \
             create it beforehand, or give replicationFactor"
        ));
    }
}
