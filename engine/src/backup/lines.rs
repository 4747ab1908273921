//! Lines of a backup's report that are known again. A line is known by its beginning, which is what its function makes when it has nothing to
//! say, or by the words in its constant. Archives hold such lines, so that neither may change.

use std::collections::BTreeSet;

/// Words of [`slow_reading`].
pub const MAY_HOLD_DELETED_KEYS: &str = "the backup may hold a value for keys that were deleted meanwhile";
/// Words of [`unproven`] and [`epoch_passed`].
pub const MAY_HOLD_TWO_LOGS: &str = "the backup may hold records of both";
/// Words of [`empty_end`].
pub const TAKEN_FOR_CLEANED: &str = "that is taken for what the log cleaner removed while the topic was compacted";

/// A problem: keys of a partition may have no value in the backup.
pub fn of_partition(topic: &str, partition: i32, says: &str) -> String {
    format!("{topic}-{partition}: {says}")
}

/// A problem: keys of any partition of a topic may have no value in the backup.
pub fn of_topic(topic: &str, says: &str) -> String {
    format!("topic {topic:?}: {says}")
}

/// A problem: the backup lacks the configuration of a topic.
pub fn without_configuration(topic: &str, why: &str) -> String {
    format!("the configuration of topic {topic:?} is not in the backup: {why}")
}

/// A warning: compacted partitions took so long to read that tombstones may have gone before they were reached.
pub fn slow_reading(topic: &str, partitions: &BTreeSet<i32>, slowest_ms: i64, delete_retention_ms: i64) -> String {
    of(
        topic,
        partitions,
        &format!(
            "reading took up to {slowest_ms} ms, more than half of the {delete_retention_ms} ms for which the log cleaner leaves \
             tombstones (delete.retention.ms): {MAY_HOLD_DELETED_KEYS}"
        ),
    )
}

/// A problem: nobody has said in the end whether the logs are still those that were read.
pub fn unproven(topic: &str, partitions: &BTreeSet<i32>) -> String {
    of(
        topic,
        partitions,
        &format!(
            "no leader told at the end whether the log is still the one that was read: after an unclean election \
             {MAY_HOLD_TWO_LOGS}"
        ),
    )
}

/// A problem: logs of a compacted topic no longer have a leader epoch in which batches were read.
pub fn epoch_passed(topic: &str, partitions: &BTreeSet<i32>) -> String {
    of(
        topic,
        partitions,
        &format!(
            "the leader's log no longer has the leader epoch in which batches were read: after an unclean election \
             {MAY_HOLD_TWO_LOGS}"
        ),
    )
}

/// A warning: logs of a topic that is not compacted give nothing before their ends, and were compacted once.
pub fn empty_end(topic: &str, partitions: &BTreeSet<i32>) -> String {
    of(topic, partitions, &format!("the leader returns nothing up to the end of the log: {TAKEN_FOR_CLEANED}"))
}

fn of(topic: &str, partitions: &BTreeSet<i32>, says: &str) -> String {
    format!("topic {topic:?}, partitions {partitions:?}: {says}")
}

/// The partitions of this topic that a line is about, and what it says of them, if it is one about several partitions.
pub fn partitions<'l>(line: &'l str, topic: &str) -> Option<(BTreeSet<i32>, &'l str)> {
    let rest = line.strip_prefix(&format!("topic {topic:?}, partitions {{"))?;
    let (partitions, says) = rest.split_once("}: ")?;
    let partitions = partitions.split(", ").map(str::parse::<i32>).collect::<Result<BTreeSet<_>, _>>().ok()?;
    Some((partitions, says))
}
