//! Whether the brokers' disks have room for what is restored.

use std::collections::BTreeMap;

use super::{Action, Plan, Rehearsal, TopicPlan, is_kept};
use crate::kafka::log_dirs::LogDirs;
use crate::report::bytes;

impl Rehearsal<'_> {
    /// Warns when the restored topics may not fit. It is no refusal: disks can be made larger while a restore runs, and the same command
    /// resumes one that found none left.
    pub(super) async fn space(&self, plan: &mut Plan) {
        let replaced = plan.topics.iter().filter(|topic| self.is_overwritten(topic));
        let replaced: BTreeMap<String, i32> = replaced
            .filter_map(|topic| {
                let existing = self.facts.existing.get(&topic.target)?;
                Some((topic.target.clone(), i32::try_from(existing.partitions).ok()?))
            })
            .collect();
        match self.cluster.log_dirs(&replaced).await {
            Ok(Some(found)) => plan.warnings.extend(lacking(self.needed(plan), found)),
            Ok(None) => tracing::debug!("the brokers do not tell how much room their disks have"),
            Err(error) => tracing::debug!("it is not known how much room the brokers' disks have: {error}"),
        }
    }

    /// Bytes that the restored records take on all brokers. Topics with tiered storage leave most of theirs elsewhere.
    fn needed(&self, plan: &Plan) -> u64 {
        let is_tiered = |topic: &TopicPlan| {
            let own = match topic.action {
                Action::Create | Action::Overwrite => Some(&topic.configs),
                Action::Use | Action::Append => {
                    self.facts.existing.get(&topic.target).map(|existing| &existing.configs)
                }
            };
            own.and_then(|configs| configs.get("remote.storage.enable")).is_some_and(|value| value == "true")
        };
        let needed = plan.topics.iter().filter(|topic| !is_tiered(topic)).map(|topic| {
            let source = self.sources.iter().find(|(_, target)| *target == topic.target);
            let raw_bytes = source.map_or(0, |(source, _)| source.content().raw_bytes);
            let existing = self.facts.existing.get(&topic.target).filter(|_| is_kept(topic));
            let replicas =
                existing.map_or(topic.replication_factor.unsigned_abs().into(), |existing| existing.replicas as u64);
            raw_bytes.saturating_mul(replicas)
        });
        needed.fold(0, u64::saturating_add)
    }
}

/// What is to be said when there is not enough room.
fn lacking(needed: u64, found: LogDirs) -> Option<String> {
    let room = found.usable_bytes.saturating_add(found.topics_bytes);
    (needed > room).then(|| {
        format!(
            "the restored topics may take {} with all replicas, and the brokers' disks have room for {}: a broker whose disk is full stops; \
             make the disks larger, or restore fewer topics or replicas (replicationFactor)",
            bytes(needed),
            bytes(room)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_topics_leave_that_are_overwritten_is_room() {
        let found = LogDirs { usable_bytes: 100, topics_bytes: 20 };
        assert_eq!(lacking(120, found), None);
        let text = lacking(121, found).unwrap();
        assert!(text.contains("121 B") && text.contains("120 B"), "{text}");
    }
}
