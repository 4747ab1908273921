//! Whether a log is still the one that was read.
//!
//! A leader that was not in sync (an unclean election) truncates the log, and what is written then has the offsets of what was
//! lost. The batches tell in which leader epoch they were written, and a leader tells where an epoch ended in its log: where it
//! ended before a batch that was read, the batch is of a log that no longer exists (KIP-101).

use std::collections::{BTreeMap, BTreeSet};

use super::committed::EpochRead;
use crate::kafka::leader_epoch::EpochEnd;
use crate::kafka::{Cluster, Error, TopicPartition};

/// Where leader epochs end now, as far as the leaders tell.
#[derive(Debug, Default)]
pub struct Lineage(BTreeMap<(TopicPartition, i32), Told>);

/// What a leader told about an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Where it ends.
    End(EpochEnd),
    /// Nothing: the broker has no such request (before Kafka 2.0).
    Never,
}

/// What is known of batches that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are still in the log.
    There,
    /// The log has lost them.
    Lost,
    /// The log of a compacted topic is long enough, but has no batch of this epoch. Either the cleaner removed them, or an unclean election
    /// did, and the cleaner removed what replaced them. The leader cannot tell which.
    Passed,
    /// The brokers cannot tell, now or ever.
    Untold,
    /// Nobody has answered.
    Unknown,
}

impl Lineage {
    /// Asks the leaders. An epoch about which nobody answers (a missing leader or permission) is left out.
    pub async fn ask(cluster: &Cluster, epochs: impl IntoIterator<Item = (TopicPartition, i32)>) -> Self {
        let mut wanted: BTreeMap<TopicPartition, BTreeSet<i32>> = BTreeMap::new();
        for (partition, epoch) in epochs {
            wanted.entry(partition).or_default().insert(epoch);
        }
        let mut lineage = Self::default();
        loop {
            // A request names a partition once.
            let round: BTreeMap<TopicPartition, i32> = wanted
                .iter_mut()
                .filter_map(|(partition, epochs)| Some((partition.clone(), epochs.pop_first()?)))
                .collect();
            if round.is_empty() {
                return lineage;
            }
            for (partition, answer) in cluster.epoch_ends(&round).await {
                let epoch = round.get(&partition).copied();
                match (answer, epoch) {
                    (Ok(end), Some(epoch)) => drop(lineage.0.insert((partition, epoch), Told::End(end))),
                    (Err(Error::Version { .. }), Some(epoch)) => {
                        let epochs = wanted.remove(&partition).unwrap_or_default().into_iter().chain([epoch]);
                        lineage.0.extend(epochs.map(|epoch| ((partition.clone(), epoch), Told::Never)));
                    }
                    (Err(error), _) => {
                        tracing::debug!(%error, "the leader does not tell where an epoch ends");
                        wanted.remove(&partition);
                    }
                    (Ok(_), None) => {}
                }
            }
        }
    }

    /// What became of batches that were read in this epoch, by name and number of the partition; `is_cleaned`: whether the log cleaner
    /// may work on it.
    pub fn fate(&self, topic: &str, partition: i32, read: EpochRead, is_cleaned: bool) -> Fate {
        let key = ((topic.to_owned(), partition), read.leader_epoch);
        match self.0.get(&key) {
            Some(Told::End(found)) if is_lost(read, *found, is_cleaned) => Fate::Lost,
            Some(Told::End(found)) if found.leader_epoch < read.leader_epoch => Fate::Passed,
            Some(Told::End(_)) => Fate::There,
            Some(Told::Never) => Fate::Untold,
            None => Fate::Unknown,
        }
    }

    /// Whether the log has lost batches that were read in this epoch, as far as anybody told.
    pub fn has_lost(&self, topic: &str, partition: i32, read: EpochRead, is_cleaned: bool) -> bool {
        self.fate(topic, partition, read, is_cleaned) == Fate::Lost
    }

    /// Whether the log has become shorter than the cut, which was made in this epoch of its leader. No batch of that epoch need be in
    /// the log, so that only the end counts.
    pub fn is_shorter_than(&self, topic: &str, partition: i32, cut: EpochRead) -> bool {
        let key = ((topic.to_owned(), partition), cut.leader_epoch);
        let is_shorter = |found: &EpochEnd| found.end_offset < cut.end_offset;
        matches!(self.0.get(&key), Some(Told::End(found)) if is_shorter(found))
    }
}

/// Whether batches that were read in an epoch are no longer there, when the leader says that the epoch ended like this.
///
/// A leader answers with the largest epoch of its log that is not above the one asked for, and with -1 where the epoch is above
/// every one that it knows: then the log is of a topic that was created again. Kafka's own consumer takes that for a truncation too
/// (KIP-320).
///
/// A replica that was built anew knows the epochs of the batches that it has copied: the log cleaner may have taken all of one epoch,
/// so that of a compacted log only the end counts.
///
/// A leader that knows no epoch up to the one asked for answers with the very epoch and the start of the first one that it knows
/// (`LeaderEpochFileCache.endOffsetFor`). That looks as if the epoch were there. All batches of it may have expired; of a compacted log the
/// cleaner may have taken them, or an unclean election may have, as for [`Fate::Passed`].
const fn is_lost(read: EpochRead, found: EpochEnd, is_cleaned: bool) -> bool {
    (found.leader_epoch < read.leader_epoch && !is_cleaned) || found.end_offset < read.end_offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_ended_before_what_was_read_of_it_is_of_a_truncated_log() {
        let read = EpochRead { leader_epoch: 3, end_offset: 900 };
        for (leader_epoch, end_offset, [lost, lost_if_cleaned]) in [
            (3, 1200, [false, false]),
            (3, 900, [false, false]),
            // Truncated to 800, and written to by the leader of epoch 4.
            (3, 800, [true, true]),
            // Nothing of epoch 3 is left.
            (2, 700, [true, true]),
            // Of a compacted log the next epoch may have overwritten all of it, before the replica that leads now was built.
            (2, 900, [true, false]),
            // Created again: it never had so high an epoch.
            (-1, -1, [true, true]),
        ] {
            let end = EpochEnd { leader_epoch, end_offset };
            assert_eq!([is_lost(read, end, false), is_lost(read, end, true)], [lost, lost_if_cleaned], "{end:?}");
        }
    }

    #[test]
    fn a_log_that_ends_before_the_cut_is_another_whatever_its_epochs() {
        let cut = EpochRead { leader_epoch: 5, end_offset: 900 };
        // The leader of epoch 5 wrote nothing: a clean successor knows the epoch before.
        for (leader_epoch, end_offset, shorter) in [(5, 900, false), (4, 950, false), (4, 899, true), (-1, -1, true)] {
            let told = [((("t".to_owned(), 0), 5), Told::End(EpochEnd { leader_epoch, end_offset }))];
            assert_eq!(Lineage(told.into()).is_shorter_than("t", 0, cut), shorter, "{leader_epoch} {end_offset}");
        }
        assert!(!Lineage::default().is_shorter_than("t", 0, cut));
    }

    #[test]
    fn no_answer_is_not_a_good_one() {
        let read = EpochRead { leader_epoch: 3, end_offset: 900 };
        let of = |told: Option<Told>| Lineage(told.map(|told| ((("t".to_owned(), 0), 3), told)).into_iter().collect());
        assert_eq!(of(None).fate("t", 0, read, false), Fate::Unknown);
        assert_eq!(of(Some(Told::Never)).fate("t", 0, read, false), Fate::Untold);
        let end = EpochEnd { leader_epoch: 3, end_offset: 900 };
        assert_eq!(of(Some(Told::End(end))).fate("t", 0, read, false), Fate::There);
    }

    #[test]
    fn a_cleaned_log_without_the_epoch_that_was_read_proves_nothing() {
        let read = EpochRead { leader_epoch: 3, end_offset: 900 };
        // Epoch 3 ended at 900. Epoch 4 began at 500, and the cleaner took all of it before a replica was built that has epoch 5 at 1000.
        for (leader_epoch, end_offset, expected) in
            [(3, 1_000, Fate::There), (2, 1_000, Fate::Passed), (2, 899, Fate::Lost), (-1, -1, Fate::Lost)]
        {
            let told = Told::End(EpochEnd { leader_epoch, end_offset });
            let lineage = Lineage([((("t".to_owned(), 0), 3), told)].into());
            assert_eq!(lineage.fate("t", 0, read, true), expected, "{leader_epoch} {end_offset}");
        }
    }
}
