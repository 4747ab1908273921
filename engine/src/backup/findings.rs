//! What the workers of a run find out about partitions, other than their batches.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::committed::EpochRead;
use super::lines;
use super::queue::{PartitionKey, Task};
use super::reading_time::ReadingTimes;
use crate::format::segment::TopicKey;

/// What was found out so far.
#[derive(Debug, Default)]
pub struct Findings {
    given_up: BTreeMap<PartitionKey, Error>,
    behind: BTreeMap<PartitionKey, String>,
    gone: BTreeSet<PartitionKey>,
    read: BTreeMap<PartitionKey, BTreeMap<i32, i64>>,
    unproven: BTreeMap<String, BTreeSet<i32>>,
    untold: BTreeMap<PartitionKey, i64>,
    /// How long it took to read compacted partitions.
    pub times: ReadingTimes,
}

impl Findings {
    /// A partition cannot be read, and is left out of the backup. The first reason counts.
    pub fn give_up(&mut self, partition: PartitionKey, why: Error) {
        if let Entry::Vacant(entry) = self.given_up.entry(partition) {
            let (topic, number) = entry.key();
            tracing::error!(topic = topic.name, partition = number, "the partition is given up: {why}");
            entry.insert(why);
        }
    }

    /// Whether the partition was given up.
    pub fn is_given_up(&self, topic: &TopicKey, partition: i32) -> bool {
        !self.given_up.is_empty() && self.given_up.contains_key(&(topic.clone(), partition))
    }

    /// A compacted partition is in the backup, but its reader did not catch up with the log.
    pub fn fell_behind(&mut self, partition: PartitionKey, problem: String) {
        tracing::error!("{problem}");
        self.behind.insert(partition, problem);
    }

    /// The topic was deleted, or replaced by another of its name: nobody can be asked about its log any more.
    pub fn topic_is_gone(&mut self, partition: PartitionKey) {
        self.gone.insert(partition);
    }

    /// Batches of a leader epoch were read up to an offset.
    pub fn was_read(&mut self, partition: PartitionKey, epoch: EpochRead) {
        let of_partition = self.read.entry(partition).or_default();
        let end_offset = of_partition.entry(epoch.leader_epoch).or_insert(epoch.end_offset);
        *end_offset = (*end_offset).max(epoch.end_offset);
    }

    /// The partition is in the backup, and nobody has told in the end whether its log is still the one that was read.
    pub fn stays_unproven(&mut self, (topic, partition): PartitionKey) {
        self.unproven.entry(topic.name).or_default().insert(partition);
    }

    /// The partition is in the backup, with a transaction from there on of which its log does not tell soon whether it was aborted.
    pub fn stays_untold(&mut self, partition: PartitionKey, first_offset: i64) {
        let first = self.untold.entry(partition).or_insert(first_offset);
        *first = (*first).min(first_offset);
    }

    /// Whether the topic of this partition was found to be gone.
    pub fn is_gone(&self, topic: &TopicKey, partition: i32) -> bool {
        !self.gone.is_empty() && self.gone.contains(&(topic.clone(), partition))
    }

    /// What was read of which epoch, of the partitions whose log can still be asked for.
    pub fn epochs_read(&self) -> Vec<(PartitionKey, EpochRead)> {
        let asked = self.read.iter().filter(|(key, _)| !self.gone.contains(*key) && !self.given_up.contains_key(*key));
        let epochs = asked.flat_map(|(key, epochs)| {
            epochs.iter().map(move |(leader_epoch, end_offset)| {
                (key.clone(), EpochRead { leader_epoch: *leader_epoch, end_offset: *end_offset })
            })
        });
        epochs.collect()
    }

    /// What else should be known of the backup, each in one line.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let is_there = |(key, _): &(&PartitionKey, &i64)| !self.given_up.contains_key(*key);
        self.untold.iter().filter(is_there).map(|((topic, partition), first_offset)| {
            format!(
                "{}-{partition}: no commit or abort marker was found soon enough for transactions from offset {first_offset} on. Those that \
                 the leader does not list as aborted are in the backup, as a read_committed consumer would read them",
                topic.name
            )
        })
    }

    /// What makes the backup partial, each in one line.
    pub fn problems(&self) -> Vec<String> {
        let given_up = self.given_up.iter().map(|((topic, partition), why)| {
            format!("partition {}-{partition} is not in the backup: {why}", topic.name)
        });
        let unproven = self.unproven.iter().map(|(topic, partitions)| lines::unproven(topic, partitions));
        given_up.chain(self.behind.values().cloned()).chain(unproven).collect()
    }

    /// The reason for which the first partition was given up.
    pub fn into_first_failure(self) -> Option<Error> {
        self.given_up.into_values().next()
    }
}

/// The partition of a task.
pub fn key(task: &Task) -> PartitionKey {
    ((*task.topic).clone(), task.partition)
}
