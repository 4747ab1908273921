//! Whether a log is still the one that was read.
//!
//! A leader that was not in sync (an unclean election) truncates the log, and what is written then has the offsets of what was
//! lost. The batches tell in which leader epoch they were written, and a leader tells where an epoch ended in its log: where it
//! ended before a batch that was read, the batch is of a log that no longer exists (KIP-101).

use std::collections::{BTreeMap, BTreeSet};

use super::committed::EpochRead;
use crate::kafka::leader_epoch::EpochEnd;
use crate::kafka::{Cluster, TopicPartition};

/// Where leader epochs end now, as far as the leaders tell.
#[derive(Debug, Default)]
pub struct Lineage(BTreeMap<(TopicPartition, i32), EpochEnd>);

impl Lineage {
    /// Asks the leaders. An epoch that they say nothing about (an old broker, a missing permission) is left out.
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
                    (Ok(end), Some(epoch)) => drop(lineage.0.insert((partition, epoch), end)),
                    (Err(error), _) => {
                        tracing::debug!(%error, "the leader does not tell where an epoch ends");
                        wanted.remove(&partition);
                    }
                    (Ok(_), None) => {}
                }
            }
        }
    }

    /// Whether the log has lost batches that were read in this epoch, by name and number of the partition.
    pub fn has_lost(&self, topic: &str, partition: i32, read: EpochRead) -> bool {
        let key = ((topic.to_owned(), partition), read.leader_epoch);
        self.0.get(&key).is_some_and(|found| is_lost(read, *found))
    }
}

/// Whether batches that were read in an epoch are no longer there, when the leader says that the epoch ended like this.
///
/// A leader answers with the largest epoch of its log that is not above the one asked for. It knows every epoch of the
/// batches in its log; one that it cannot place at all (-1) is of a log without epochs.
fn is_lost(read: EpochRead, found: EpochEnd) -> bool {
    let is_known = found.leader_epoch >= 0 && found.end_offset >= 0;
    is_known && (found.leader_epoch < read.leader_epoch || found.end_offset < read.end_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_ended_before_what_was_read_of_it_is_of_a_truncated_log() {
        let read = EpochRead { leader_epoch: 3, end_offset: 900 };
        for (leader_epoch, end_offset, lost) in [
            (3, 1200, false),
            (3, 900, false),
            // Truncated to 800, and written to by the leader of epoch 4.
            (3, 800, true),
            // Nothing of epoch 3 is left.
            (2, 700, true),
            (2, 900, true),
            // A log without epochs, or a broker that does not keep them.
            (-1, -1, false),
        ] {
            assert_eq!(is_lost(read, EpochEnd { leader_epoch, end_offset }), lost, "{leader_epoch} {end_offset}");
        }
    }
}
