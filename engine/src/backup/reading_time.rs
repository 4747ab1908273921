//! How long compacted partitions took to read. If that is less than half of `delete.retention.ms`, tombstones were still there when they were
//! reached, unless another leader's log had lost them before.
//!
//! The log cleaner takes the value of a deleted key first, and its tombstone `delete.retention.ms` later (KIP-534). A reader that has read
//! the value and comes to the tombstone later than that has a value of a key that is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::lines;
use super::queue::{Cleaning, PartitionKey};
use crate::format::manifest::TopicCut;
use crate::format::segment::TopicKey;

/// How long the log cleaner leaves a tombstone, where the broker does not tell: Kafka's default.
const DELETE_RETENTION_MS: i64 = 24 * 3600 * 1000;

/// When the reading of one partition began, and how long it took.
#[derive(Debug, Clone, Copy)]
struct Reading {
    began: Instant,
    /// How long before that an earlier process may have begun.
    earlier: Duration,
    /// From the beginning to where the reader had caught up.
    took: Duration,
}

/// The times of all compacted partitions that were read.
#[derive(Debug, Default)]
pub struct ReadingTimes(BTreeMap<PartitionKey, Reading>);

impl ReadingTimes {
    /// A request brought batches of the partition, and was sent at this time.
    pub fn read(&mut self, partition: PartitionKey, asked: Instant) {
        self.resume(partition, asked, Duration::ZERO);
    }

    /// What an earlier process has read is built upon from now on; it began after the cut, which is so old.
    pub fn resume(&mut self, partition: PartitionKey, now: Instant, cut_age: Duration) {
        self.0.entry(partition).or_insert(Reading { began: now, earlier: cut_age, took: Duration::ZERO });
    }

    /// The reader has come to the end of the log.
    pub fn caught_up(&mut self, partition: &PartitionKey, now: Instant) {
        if let Some(reading) = self.0.get_mut(partition) {
            reading.took = now.duration_since(reading.began) + reading.earlier;
        }
    }

    /// A line for each topic of which tombstones may have gone before they were read; `is_missing` tells the partitions that are not in
    /// the backup.
    pub fn warnings<'a>(
        &'a self,
        topics: &'a [TopicCut],
        is_missing: impl Fn(&TopicKey, i32) -> bool + 'a,
    ) -> impl Iterator<Item = String> + 'a {
        topics.iter().filter_map(move |topic| self.warning(topic, &is_missing))
    }

    fn warning(&self, topic: &TopicCut, is_missing: impl Fn(&TopicKey, i32) -> bool) -> Option<String> {
        let there = topic.partitions.iter().filter(|one| !is_missing(&topic.topic, one.partition));
        let readings = there.filter_map(|one| {
            let reading = self.0.get(&(topic.topic.clone(), one.partition))?;
            let took_ms = i64::try_from(reading.took.as_millis()).unwrap_or(i64::MAX);
            is_stale(topic, took_ms).then_some((one.partition, took_ms))
        });
        let slow: Vec<(i32, i64)> = readings.collect();
        let slowest_ms = slow.iter().map(|(_, took_ms)| *took_ms).max()?;
        let partitions: BTreeSet<i32> = slow.iter().map(|(partition, _)| *partition).collect();
        Some(lines::slow_reading(&topic.topic.name, &partitions, slowest_ms, delete_retention_ms(topic)))
    }
}

/// Whether what was read of a compacted topic so long ago is too old to read on from: a key may have been deleted since, and
/// its tombstone removed before it could be read, so that the backup would bring the key back.
///
/// Half of the time that a tombstone stays is allowed: it begins with the pass of the log cleaner that takes the value (KIP-534), and the
/// pass may come to that value much later.
pub fn is_stale(topic: &TopicCut, age_ms: i64) -> bool {
    Cleaning::of(topic).is_possible() && delete_retention_ms(topic) / 2 < age_ms
}

/// How long the log cleaner leaves a tombstone of the topic, in milliseconds.
pub fn delete_retention_ms(topic: &TopicCut) -> i64 {
    topic.delete_retention_ms.unwrap_or(DELETE_RETENTION_MS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::format::manifest::PartitionCut;

    const DAY_MS: u64 = 24 * 3_600_000;

    fn key(partition: i32) -> PartitionKey {
        (TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() }, partition)
    }

    fn topic(compacted: bool, delete_retention_ms: Option<i64>) -> TopicCut {
        let partition = |partition| PartitionCut {
            partition,
            start_offset: 0,
            end_offset: 10,
            high_watermark: 10,
            leader_epoch: None,
            missing: false,
        };
        TopicCut {
            topic: key(0).0,
            replication_factor: 1,
            configs: BTreeMap::new(),
            compacted,
            config_unknown: false,
            delete_retention_ms,
            tiered: false,
            partitions: vec![partition(0), partition(1)],
        }
    }

    fn warnings(times: &ReadingTimes, topic: TopicCut) -> Vec<String> {
        times.warnings(&[topic], |_, _| false).collect()
    }

    fn took(millis: u64) -> ReadingTimes {
        let mut times = ReadingTimes::default();
        let began = Instant::now();
        times.read(key(1), began);
        times.read(key(1), began + Duration::from_millis(millis));
        times.caught_up(&key(1), began + Duration::from_millis(millis));
        times
    }

    #[test]
    fn a_reading_that_took_longer_than_tombstones_stay_is_a_warning() {
        let slow = warnings(&took(1_001), topic(true, Some(2_000)));
        assert_eq!(slow.len(), 1);
        assert!(slow[0].starts_with("topic \"t\", partitions {1}: reading took up to 1001 ms"), "{slow:?}");
        assert!(warnings(&took(1_000), topic(true, Some(2_000))).is_empty());
    }

    #[test]
    fn where_no_time_is_told_tombstones_stay_for_kafkas_default() {
        assert!(warnings(&took(DAY_MS / 2), topic(true, None)).is_empty());
        assert_eq!(warnings(&took(DAY_MS / 2 + 1), topic(true, None)).len(), 1);
    }

    #[test]
    fn a_topic_that_is_not_compacted_has_no_tombstones_to_miss() {
        assert!(warnings(&took(DAY_MS / 2 + 1), topic(false, None)).is_empty());
    }

    #[test]
    fn a_partition_that_is_not_in_the_backup_brings_no_key_back() {
        assert_eq!(took(1_001).warnings(&[topic(true, Some(2_000))], |_, partition| partition == 1).count(), 0);
    }

    #[test]
    fn what_an_earlier_process_read_counts_from_the_cut() {
        let mut times = ReadingTimes::default();
        let now = Instant::now();
        times.resume(key(0), now, Duration::from_millis(900));
        times.read(key(0), now + Duration::from_millis(50));
        times.caught_up(&key(0), now + Duration::from_millis(101));
        assert_eq!(warnings(&times, topic(true, Some(2_000))).len(), 1);
    }

    #[test]
    fn runs_of_a_compacted_topic_that_are_older_than_its_tombstones_are_not_built_upon() {
        assert!(is_stale(&topic(true, Some(1_000)), 501));
        assert!(!is_stale(&topic(true, Some(1_000)), 500));
        assert!(!is_stale(&topic(false, None), i64::MAX));
        assert!(is_stale(&TopicCut { config_unknown: true, ..topic(false, None) }, DELETE_RETENTION_MS / 2 + 1));
    }
}
