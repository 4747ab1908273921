//! Which consumer groups get their offsets back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Earlier, TargetFacts};
use crate::config::restore::Checked;
use crate::format::manifest::{CommittedOffset, Manifest};
use crate::kafka::groups::GroupKind;
use crate::select::{Patterns, Selection, select};

/// One consumer group of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPlan {
    /// The group in the backup.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// Its protocol, which decides how its position is read and set.
    #[serde(default)]
    pub kind: GroupKind,
    /// Its committed offsets on restored topics, as they are in the source.
    pub offsets: Vec<CommittedOffset>,
    /// Its committed offsets on topics that are not restored.
    pub left_out: usize,
}

/// The consumer groups of the backup that are wanted, with their target names.
///
/// # Errors
/// What was asked for and is not in the backup, one line each.
pub fn wanted_groups(manifest: &Manifest, config: &Checked) -> Result<Vec<(String, String)>, Vec<String>> {
    let Some(patterns) = &config.consumer_groups else { return Ok(Vec::new()) };
    let known: BTreeSet<&str> = manifest.groups.iter().map(|group| group.id.as_str()).collect();
    let Selection { names, missing, idle } = select(known.iter().copied(), patterns, &Patterns::default());
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

/// The offsets of a group on topics that are restored, which `renamed` has by their names in the source.
pub fn group_plan(
    manifest: &Manifest,
    source: &str,
    target: &str,
    renamed: &BTreeMap<&str, &str>,
) -> Option<GroupPlan> {
    let group = manifest.groups.iter().find(|group| group.id == source)?;
    let (offsets, others): (Vec<_>, Vec<_>) =
        group.offsets.iter().cloned().partition(|offset| renamed.contains_key(offset.topic.as_str()));
    // Every protocol but that of share groups commits offsets.
    let kind = GroupKind::of_name(&group.protocol).unwrap_or_default();
    let (source, target, left_out) = (source.to_owned(), target.to_owned(), others.len());
    Some(GroupPlan { source, target, kind, offsets, left_out })
}

/// Why the offsets of a group that were not committed yet could not be at this moment.
pub fn busy_warning(target: &str, facts: &TargetFacts, earlier: &Earlier) -> Option<String> {
    let busy = facts.busy_groups.get(target).filter(|_| !earlier.groups.contains(target))?;
    Some(format!("{busy}: its offsets are restored only if that is over when the records are there"))
}
