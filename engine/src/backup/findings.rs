//! What the workers of a run find out about partitions, other than their batches.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::committed::EpochRead;
use super::lines;
use super::queue::{PartitionKey, Task};
use super::reading_time::ReadingTimes;
use super::silence::SilentBrokers;
use crate::format::manifest::{Cut, TopicCut};
use crate::format::segment::TopicKey;

/// What was found out so far.
#[derive(Debug, Default)]
pub struct Findings {
    given_up: BTreeMap<PartitionKey, Error>,
    behind: BTreeMap<PartitionKey, String>,
    gone: BTreeSet<PartitionKey>,
    read: BTreeMap<PartitionKey, BTreeMap<i32, i64>>,
    with_batches: BTreeMap<PartitionKey, BTreeSet<i32>>,
    unproven: BTreeMap<String, BTreeSet<i32>>,
    passed: BTreeMap<String, BTreeSet<i32>>,
    untold: BTreeMap<PartitionKey, i64>,
    tiered: BTreeSet<TopicKey>,
    cleaned: BTreeSet<TopicKey>,
    empty_ends: BTreeSet<PartitionKey>,
    /// Brokers of which partitions stall.
    pub silent: SilentBrokers,
    /// How long it took to read compacted partitions.
    pub times: ReadingTimes,
}

impl Findings {
    /// Nothing yet, for a run that reads this cut.
    pub fn of(cut: &Cut) -> Self {
        // A cut of an older version says so in the topic's own settings only.
        let is_tiered = |topic: &&TopicCut| {
            topic.tiered || topic.configs.get("remote.storage.enable").is_some_and(|value| value == "true")
        };
        let tiered = cut.topics.iter().filter(is_tiered).map(|topic| topic.topic.clone());
        Self { tiered: tiered.collect(), ..Self::default() }
    }

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
    pub fn fell_behind(&mut self, partition: PartitionKey, says: &str) {
        let problem = lines::of_partition(&partition.0.name, partition.1, says);
        tracing::error!("{problem}");
        self.behind.insert(partition, problem);
    }

    /// The topic was deleted, or replaced by another of its name: nobody can be asked about its log any more.
    pub fn topic_is_gone(&mut self, partition: PartitionKey) {
        self.gone.insert(partition);
    }

    /// Batches of a leader epoch were read up to an offset.
    pub fn was_read(&mut self, partition: PartitionKey, epoch: EpochRead) {
        self.with_batches.entry(partition.clone()).or_default().insert(epoch.leader_epoch);
        self.was_stable(partition, epoch);
    }

    /// Whether batches of this leader epoch were read.
    pub fn has_batches_of(&self, partition: &PartitionKey, leader_epoch: i32) -> bool {
        self.with_batches.get(partition).is_some_and(|epochs| epochs.contains(&leader_epoch))
    }

    /// A leader named this last stable offset in this epoch. The log may hold no batch of the epoch.
    pub fn was_stable(&mut self, partition: PartitionKey, epoch: EpochRead) {
        let of_partition = self.read.entry(partition).or_default();
        let end_offset = of_partition.entry(epoch.leader_epoch).or_insert(epoch.end_offset);
        *end_offset = (*end_offset).max(epoch.end_offset);
    }

    /// The partition is in the backup, and nobody has told in the end whether its log is still the one that was read.
    pub fn stays_unproven(&mut self, (topic, partition): PartitionKey) {
        self.unproven.entry(topic.name).or_default().insert(partition);
    }

    /// The partition is in the backup, and its leader's log no longer has a leader epoch in which batches were read.
    pub fn epoch_has_passed(&mut self, (topic, partition): PartitionKey) {
        self.passed.entry(topic.name).or_default().insert(partition);
    }

    /// The partition is in the backup, with a transaction from there on of which its log does not tell whether it was aborted.
    pub fn stays_untold(&mut self, partition: PartitionKey, first_offset: i64) {
        let first = self.untold.entry(partition).or_insert(first_offset);
        *first = (*first).min(first_offset);
    }

    /// A log of the topic has offsets without a record that only the log cleaner leaves.
    pub fn shows_cleaning(&mut self, topic: &TopicKey) {
        if !self.cleaned.contains(topic) {
            self.cleaned.insert(topic.clone());
        }
    }

    /// Whether the log cleaner has worked on logs of the topic, so that one of them may end with offsets without a batch. Tiered
    /// storage that is slow looks like such an end.
    pub fn was_cleaned(&self, topic: &TopicKey) -> bool {
        self.cleaned.contains(topic) && !self.tiered.contains(topic)
    }

    /// The log of the partition gives nothing before its end, although its topic is not compacted: it was compacted once.
    pub fn has_empty_end(&mut self, partition: PartitionKey) {
        self.empty_ends.insert(partition);
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
        let mut empty_ends: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partition) in self.empty_ends.iter().filter(|key| !self.given_up.contains_key(*key)) {
            empty_ends.entry(&topic.name).or_default().insert(*partition);
        }
        let empty_ends = empty_ends.into_iter().map(|(topic, partitions)| lines::empty_end(topic, &partitions));
        self.untold_lines().chain(empty_ends)
    }

    fn untold_lines(&self) -> impl Iterator<Item = String> {
        let is_there = |(key, _): &(&PartitionKey, &i64)| !self.given_up.contains_key(*key);
        self.untold.iter().filter(is_there).map(|((topic, partition), first_offset)| {
            format!(
                "{}-{partition}: whether transactions from offset {first_offset} on were committed or aborted is not known. They are in \
                 the backup unless the leader lists them as aborted, as a read_committed consumer would read them",
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
        let passed = self.passed.iter().map(|(topic, partitions)| lines::epoch_passed(topic, partitions));
        given_up.chain(self.behind.values().cloned()).chain(unproven).chain(passed).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, tiered: bool) -> TopicCut {
        TopicCut {
            topic: TopicKey { name: name.to_owned(), id: uuid::Uuid::nil() },
            replication_factor: 1,
            configs: BTreeMap::new(),
            compacted: false,
            config_unknown: false,
            delete_retention_ms: None,
            tiered,
            partitions: Vec::new(),
        }
    }

    #[test]
    fn a_log_in_tiered_storage_has_no_end_that_the_log_cleaner_left() {
        let topics = vec![topic("local", false), topic("tiered", true)];
        let cut = Cut {
            backup_id: "b".parse().unwrap(),
            at_ms: 0,
            source_cluster_id: String::new(),
            selection: String::new(),
            topics,
            groups: Vec::new(),
            open_transactions: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        let mut findings = Findings::of(&cut);
        let was_cleaned =
            |findings: &Findings| cut.topics.iter().map(|topic| findings.was_cleaned(&topic.topic)).collect::<Vec<_>>();
        assert_eq!(was_cleaned(&findings), [false; 2]);
        cut.topics.iter().for_each(|topic| findings.shows_cleaning(&topic.topic));
        assert_eq!(was_cleaned(&findings), [true, false]);
    }

    #[test]
    fn an_empty_end_is_a_warning_that_names_the_partitions_that_are_in_the_backup() {
        let key = |partition| (topic("t", false).topic, partition);
        let mut findings = Findings::default();
        (0..3).for_each(|partition| findings.has_empty_end(key(partition)));
        findings.give_up(key(1), Error::NotBegun);
        let warnings: Vec<String> = findings.warnings().collect();
        assert_eq!(warnings, [lines::empty_end("t", &[0, 2].into())]);
    }

    #[test]
    fn an_epoch_in_which_a_leader_only_answered_has_no_batches() {
        let key = (topic("t", false).topic, 0);
        let mut findings = Findings::default();
        findings.was_stable(key.clone(), EpochRead { leader_epoch: 4, end_offset: 9 });
        findings.was_read(key.clone(), EpochRead { leader_epoch: 3, end_offset: 9 });
        assert_eq!([3, 4].map(|epoch| findings.has_batches_of(&key, epoch)), [true, false]);
        assert_eq!(findings.epochs_read().len(), 2, "either is asked about in the end");
    }

    #[test]
    fn a_transaction_of_which_nothing_is_known_is_a_warning_of_a_partition_that_is_in_the_backup() {
        let key = |partition| (topic("t", false).topic, partition);
        let mut findings = Findings::default();
        [(0, 7), (0, 5), (1, 3)].iter().for_each(|(partition, offset)| findings.stays_untold(key(*partition), *offset));
        findings.give_up(key(1), Error::NotBegun);
        let warnings: Vec<String> = findings.warnings().collect();
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(
            warning.starts_with("t-0: whether transactions from offset 5 on were committed or aborted"),
            "{warning}"
        );
    }
}
