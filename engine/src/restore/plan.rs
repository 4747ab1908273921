//! The plan: all that a restore is going to do, as a value. `--dry-run` prints it.
//!
//! Pure: manifest, request and what the target looks like go in; nothing is asked and nothing is changed here.

mod configs;
mod facts;
mod groups;
mod problem;
pub mod protection;
mod requests;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::facts::{Earlier, Existing, TargetFacts};
pub use self::groups::{GroupPlan, wanted_groups};
pub use self::requests::RequestLimit;
pub use self::topics::{Action, MAX_MESSAGE_BYTES_DEFAULT, PartitionPlan, TopicPlan, limit_batches, wanted_topics};
use crate::config::restore::Checked;
use crate::format::layout::BackupId;
use crate::format::manifest::{Manifest, TopicSummary};

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
    /// Bytes of batches that a produce request of several may carry.
    #[serde(skip)]
    pub joined_bytes_max: usize,
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
        joined_bytes_max: facts.request_limit.joined_bytes_max(),
    };
    for problem in &manifest.problems {
        plan.warnings.push(format!("the backup is partial: {problem}"));
    }
    let renamed: BTreeMap<&str, &str> =
        topics.iter().map(|(source, target)| (source.topic.name.as_str(), target.as_str())).collect();
    for (source, target) in topics {
        let decided = earlier.actions.get(target).copied();
        let topic = topics::topic_plan(source, target, config, facts, decided, &manifest.problems, &mut plan);
        plan.warnings.extend(configs::retention_warning(source, &topic, facts, at_ms));
        plan.warnings.extend(configs::compaction_warning(source, config.point_in_time_ms, manifest.cut_at_ms));
        plan.topics.push(topic);
    }
    if !earlier.has_prepared {
        plan.warnings.extend(configs::replicas_warning(&plan.topics, facts));
    }
    for (source, target) in groups {
        plan.busy_groups.extend(groups::busy_warning(target, facts, earlier));
        plan.groups.extend(groups::group_plan(manifest, source, target, &renamed));
    }
    plan
}
