//! Lines of a backup's report that say of which partitions something is not certain. A reader knows each by the words in its constant.

use std::collections::BTreeSet;

/// Words of [`slow_reading`].
pub const MAY_HOLD_DELETED_KEYS: &str = "the backup may hold a value for keys that were deleted meanwhile";
/// Words of [`unproven`] and [`epoch_passed`].
pub const MAY_HOLD_TWO_LOGS: &str = "the backup may hold records of both";
/// Words of [`empty_end`].
pub const TAKEN_FOR_CLEANED: &str = "that is taken for what the log cleaner removed while the topic was compacted";

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
