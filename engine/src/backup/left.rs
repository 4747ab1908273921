//! What of a cut is left to read, when some of it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::committed::{EpochRead, Stretch};
use super::findings::Findings;
use super::lineage::{Fate, Lineage};
use super::queue::{self, Cleaning};
use super::reading_time::is_stale;
use crate::format::invariants;
use crate::format::manifest::{Cut, Part, PartitionCut, TopicCut};
use crate::format::run::{Content, Run};
use crate::format::segment::TopicKey;
use crate::kafka::Cluster;

/// What of a partition no run answers for, as stretches.
pub fn uncovered(topic: &TopicCut, partition: &PartitionCut, runs: &[&Run]) -> Vec<Stretch> {
    let (start, end) = (partition.start_offset, partition.end_offset);
    let is_cleaned = Cleaning::of(topic).is_possible();
    let ranges = invariants::uncovered(start, end, runs).into_iter();
    ranges.flat_map(|range| queue::stretches(range, is_cleaned)).collect()
}

/// What of a partition is to be read, as stretches. A compacted partition is read on to where its log ends by now, even when the
/// runs reach the end of the cut.
pub fn stretches(topic: &TopicCut, partition: &PartitionCut, runs: &[&Run]) -> Vec<Stretch> {
    let mut stretches = uncovered(topic, partition, runs);
    let end_offset = invariants::read_end(partition.end_offset, runs);
    let has_data = partition.end_offset > partition.start_offset;
    let reaches_end = stretches.last().is_some_and(|last| last.end_offset >= end_offset);
    if Cleaning::of(topic).is_possible() && has_data && !reaches_end {
        stretches.push(Stretch::new(end_offset..end_offset, false));
    }
    stretches
}

/// The runs of an earlier process that may be built upon: each is of a log that still exists, and no topic's are so old that
/// tombstones may have been missed meanwhile. Up to where they reach is noted, so that it is asked again before the commit.
pub async fn still_good(cluster: &Cluster, cut: &Cut, stored: Part, now_ms: i64, findings: &Mutex<Findings>) -> Part {
    let gone = cluster.gone(&stored.runs().map(|(topic, ..)| (topic.name.clone(), topic.id)).collect()).await;
    let epochs = stored
        .runs()
        .filter(|(topic, ..)| !gone.contains(&topic.name))
        .filter_map(|(topic, _, run)| Some(((topic.name.clone(), run.partition), epoch_of(run)?.leader_epoch)));
    let epochs: Vec<_> = epochs.collect();
    let lineage = Lineage::ask(cluster, epochs).await;
    let age_ms = now_ms - cut.at_ms;
    let stale: BTreeSet<&TopicKey> =
        cut.topics.iter().filter(|topic| is_stale(topic, age_ms)).map(|topic| &topic.topic).collect();
    let is_cleaned = |topic: &&TopicCut| Cleaning::of(topic).is_possible();
    let cleaned: BTreeSet<&TopicKey> = cut.topics.iter().filter(is_cleaned).map(|topic| &topic.topic).collect();
    let mut dropped = BTreeSet::new();
    let kept = stored.retain(|topic, run| {
        let fate_of = |epoch| lineage.fate(&topic.name, run.partition, epoch, cleaned.contains(topic));
        let fate = epoch_of(run).map_or(Fate::Untold, fate_of);
        let is_same = match gone.contains(&topic.name) {
            // Where fetches name topics, a part of it may be of the one that was created in its place.
            true => !cluster.fetches_by_name() || cluster.topic_id(&topic.name).is_nil(),
            false => is_proven(topic, fate),
        };
        let is_good = !stale.contains(topic) && is_same;
        if !is_good {
            let (topic, partition) = (&topic.name, run.partition);
            tracing::warn!(topic, partition, ?fate, "what was stored of the partition is read again");
            dropped.insert((topic.clone(), partition));
        }
        is_good
    });
    let kept = without_loose_ends(kept, &dropped);
    let (now, cut_age) = (Instant::now(), Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)));
    let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = ends_never_cleaned(cut);
    for (topic, _, run) in kept.runs() {
        let partition = (topic.clone(), run.partition);
        // An earlier process would have warned of it.
        if is_empty(run) && ends.get(&(topic, run.partition)) == Some(&run.end_offset) {
            findings.has_empty_end(partition.clone());
        }
        if shows_cleaning(run) {
            findings.shows_cleaning(topic);
        }
        if cleaned.contains(topic) {
            findings.times.resume(partition.clone(), now, cut_age);
        }
        if let Some(epoch) = epoch_of(run) {
            findings.was_read(partition, epoch);
        }
    }
    invariants::without_repeats(kept)
}

/// Where the partitions end whose topics are not compacted.
fn ends_never_cleaned(cut: &Cut) -> BTreeMap<(&TopicKey, i32), i64> {
    let topics = cut.topics.iter().filter(|topic| Cleaning::of(topic) == Cleaning::Never);
    let partitions = topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    partitions.map(|(topic, partition)| ((&topic.topic, partition.partition), partition.end_offset)).collect()
}

/// Without the holes, of partitions of which some runs were dropped, that no batch proves: a hole alone has no leader epoch, so that it goes
/// with the log before it.
fn without_loose_ends(kept: Part, dropped: &BTreeSet<(String, i32)>) -> Part {
    kept.retain(|topic, run| !(is_empty(run) && dropped.contains(&(topic.name.clone(), run.partition))))
}

/// Whether the run is a hole alone that the log cleaner left, as one is that stands for an end without a batch.
fn is_empty(run: &Run) -> bool {
    let Content { batches, holes, .. } = run.content;
    batches == 0 && holes.compaction == run.end_offset.abs_diff(run.start_offset)
}

/// Whether the log cleaner has removed batches of the run, or records inside of batches: then it has more offsets than records and holes.
fn shows_cleaning(run: &Run) -> bool {
    let Content { records, holes, .. } = run.content;
    // The first batch may reach back over the run's start, with records that count here: a few missing ones are not seen then.
    holes.compaction > 0 || run.end_offset.abs_diff(run.start_offset) > records + holes.total()
}

/// Whether what is stored is of the log that is there now. Only topic ids tell one topic from the next of its name (KIP-516, Kafka 2.8):
/// a topic that was created again may have reached the same leader epoch. A run of an epoch that has passed is read again, although records
/// of it may have expired since: keeping it would make the backup partial. Where nobody answers, brokers are asked again before the
/// commit: what is stored may be all that is left of a partition whose brokers are away, and what has expired since cannot be read again.
const fn is_proven(topic: &TopicKey, fate: Fate) -> bool {
    match fate {
        Fate::There | Fate::Untold | Fate::Unknown => !topic.id.is_nil(),
        Fate::Lost | Fate::Passed => false,
    }
}

/// The run's last leader epoch. The run may end after the epoch did, with a hole: then it is read again in vain, no more.
fn epoch_of(run: &Run) -> Option<EpochRead> {
    (run.leader_epoch >= 0).then_some(EpochRead { leader_epoch: run.leader_epoch, end_offset: run.end_offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::hole::HoleCounts;
    use crate::format::manifest::TopicRuns;
    use crate::format::segment::SegmentRef;

    fn topic(compacted: bool) -> TopicCut {
        TopicCut {
            topic: TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() },
            replication_factor: 1,
            configs: std::collections::BTreeMap::new(),
            compacted,
            config_unknown: false,
            delete_retention_ms: compacted.then_some(1000),
            tiered: false,
            partitions: Vec::new(),
        }
    }

    const CUT: PartitionCut = PartitionCut {
        partition: 0,
        start_offset: 10,
        end_offset: 100,
        high_watermark: 100,
        leader_epoch: None,
        missing: false,
    };

    fn run(start_offset: i64, end_offset: i64) -> Run {
        let content = Content::default();
        Run { partition: 0, start_offset, end_offset, position: 0, leader_epoch: 0, crc32c: 0, content }
    }

    fn ranges(topic: &TopicCut, runs: &[Run]) -> Vec<(i64, i64)> {
        let runs: Vec<&Run> = runs.iter().collect();
        let stretches = stretches(topic, &CUT, &runs);
        stretches.iter().map(|stretch| (stretch.next_offset, stretch.end_offset)).collect()
    }

    #[test]
    fn a_compacted_partition_is_read_on_from_where_it_was_left_even_beyond_the_cut() {
        assert_eq!(ranges(&topic(false), &[run(10, 100)]), []);
        assert_eq!(ranges(&topic(true), &[run(10, 100)]), [(100, 100)]);
        assert_eq!(ranges(&topic(true), &[run(10, 130)]), [(130, 130)]);
        assert_eq!(ranges(&topic(true), &[run(10, 50)]), [(50, 100)]);
        assert_eq!(ranges(&topic(true), &[]), [(10, 100)]);
        let empty = PartitionCut { end_offset: 10, ..CUT };
        assert_eq!(stretches(&topic(true), &empty, &[]), []);
    }

    #[test]
    fn a_run_is_built_upon_only_when_its_log_is_known_to_be_there() {
        let named = TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() };
        let with_id = TopicKey { id: uuid::Uuid::from_u128(1), ..named.clone() };
        for fate in [Fate::There, Fate::Untold, Fate::Unknown] {
            assert_eq!([&named, &with_id].map(|topic| is_proven(topic, fate)), [false, true], "{fate:?}");
        }
        for fate in [Fate::Lost, Fate::Passed] {
            assert!(!is_proven(&with_id, fate), "{fate:?}");
        }
    }

    #[test]
    fn a_stored_run_shows_what_the_cleaner_removed_between_batches_and_inside_of_them() {
        let of = |records, holes| Run { content: Content { records, holes, ..Content::default() }, ..run(10, 20) };
        let holes = |control, compaction| HoleCounts { control, compaction, ..HoleCounts::default() };
        assert!(!shows_cleaning(&of(10, holes(0, 0))));
        assert!(!shows_cleaning(&of(7, holes(3, 0))));
        assert!(!shows_cleaning(&of(12, holes(3, 0))), "the log began inside of the first batch");
        assert!(shows_cleaning(&of(7, holes(0, 3))));
        assert!(shows_cleaning(&of(6, holes(3, 0))));
    }

    #[test]
    fn a_hole_inside_of_a_run_is_no_end_without_a_batch() {
        let of = |batches, compaction| {
            let holes = HoleCounts { compaction, ..HoleCounts::default() };
            is_empty(&Run { content: Content { batches, holes, ..Content::default() }, ..run(10, 20) })
        };
        assert!(of(0, 10));
        assert!(!of(2, 3), "between its batches, or behind them");
        assert!(!of(0, 3), "the rest is of other reasons");
    }

    #[test]
    fn an_end_without_a_batch_goes_with_the_log_before_it() {
        let named = |name: &str| TopicKey { name: name.to_owned(), id: uuid::Uuid::nil() };
        let content = Content { holes: HoleCounts { compaction: 10, ..HoleCounts::default() }, ..Content::default() };
        let end = Run { content, ..run(90, 100) };
        let topics = ["dropped", "kept"].map(|name| TopicRuns {
            topic: named(name),
            runs: vec![(0, run(10, 20)), (0, end.clone()), (0, Run { partition: 1, ..end.clone() })],
        });
        let segment = SegmentRef { id: "s".parse().unwrap(), bytes: 1, index_sha256: String::new() };
        let part = Part { segments: vec![segment], topics: topics.into() };
        let kept = without_loose_ends(part, &[("dropped".to_owned(), 0)].into());
        let kept: Vec<_> =
            kept.runs().map(|(topic, _, run)| (topic.name.as_str(), run.partition, run.end_offset)).collect();
        let expected = [("dropped", 0, 20), ("dropped", 1, 100), ("kept", 0, 20), ("kept", 0, 100), ("kept", 1, 100)];
        assert_eq!(kept, expected);
    }

    #[test]
    fn a_batch_that_reaches_over_the_end_of_what_is_stored_is_read() {
        // The first run was a hole alone: the log began at 50 by then, inside a batch.
        let (first, last) = (run(10, 50), run(70, 80));
        let stretches = stretches(&topic(false), &CUT, &[&first, &last]);
        let owners: Vec<_> = stretches.iter().map(|stretch| (stretch.next_offset, stretch.starts_log)).collect();
        assert_eq!(owners, [(50, true), (80, true)]);
    }
}
