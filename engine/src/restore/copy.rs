//! Copies the partitions of a restore: the largest first, and as many at a time as there is memory for.
//!
//! A partition cannot be divided, so that a large one which begins late would be copied alone in the end.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::journal::{Journal, Prepared, PreparedTopic};
use super::maker::{Counts, Maker};
use super::memory::Memory;
use super::plan::{PartitionPlan, Plan, TopicPlan};
use super::report::TopicReport;
use super::runs::{self, Runs};
use super::worker::{self, Shared, Target, Work};
use super::{Error, Restore};
use crate::format::frame;
use crate::format::run::Content;
use crate::kafka::produce_queue::ProduceQueues;
use crate::offsets::groups;
use crate::offsets::map::OffsetMap;
use crate::offsets::positions::{Restored, RestoredPartition};
use crate::rate_limit::RateLimiter;
use crate::rewrite::joining::Limits;
use crate::rewrite::{self, Cut, HeaderValue, InjectedHeader};
use crate::stop::Stop;
use crate::store::Store;
use crate::store::lease::Lease;

/// Bytes of a segment that are read at once.
const PIECE_BYTES: u64 = 1 << 20;
/// The same for a partition of small batches that are not joined: it waits for answers, not for the store.
const SMALL_PIECE_BYTES: u64 = 128 << 10;
/// Batches are small when they take less than this on average, in bytes.
const SMALL_BATCH_BYTES: u64 = 4 << 10;
/// Memory that a partition counts with at least, in bytes: this also bounds how many tiny ones are under way.
const PLACE_BYTES_MIN: u64 = 128 << 10;

/// A partition that waits to be copied.
struct Waiting {
    /// Its topic's place in the plan.
    topic: usize,
    partition: PartitionPlan,
    content: Content,
    work: Work,
}

/// A partition that is copied.
struct Copied {
    topic: usize,
    partition: i32,
    restored: RestoredPartition,
    counts: Counts,
}

/// What all copies need.
#[derive(Clone)]
struct Copier {
    shared: Arc<Shared>,
    store: Store,
    journal: Journal,
    /// Whether the restore has ended before.
    has_ended: bool,
}

impl Restore<'_> {
    /// Copies all partitions that are not finished yet; returns where every record is in the target. When one fails, or the run is asked to end,
    /// also by `stop`, the others end once every batch that is on its way has been answered: whoever changes the topics' settings
    /// after that changes them for nothing that is still to land.
    #[expect(clippy::too_many_arguments, reason = "two runs of one restore, and what ends them")]
    pub(super) async fn copy(
        &self,
        plan: &Plan,
        prepared: &Prepared,
        runs: Runs,
        has_ended: bool,
        journal: &Journal,
        lease: &Lease,
        stop: &Stop,
    ) -> Result<(Restored, Vec<TopicReport>), Error> {
        let names: BTreeSet<String> = plan.topics.iter().map(|topic| topic.target.clone()).collect();
        self.cluster.follow(&names).await?;
        let offsets = |topic: &TopicPlan| -> u64 {
            topic.partitions.iter().map(|partition| partition.end_offset.abs_diff(partition.start_offset)).sum()
        };
        self.progress.expect_offsets(plan.topics.iter().map(offsets).sum());
        let shared = Arc::new(Shared {
            restore_id: journal.id.clone(),
            cluster: self.cluster.clone(),
            queues: ProduceQueues::new(self.cluster.clone(), plan.joined_bytes_max),
            producer: prepared.producer(),
            retry_timeout: Duration::from_millis(self.config.cluster.retry_timeout_ms),
            limiter: RateLimiter::new(self.config.config.rate_limit, stop.clone()),
            memory: Memory::new(self.config.config.parallelism)
                .for_batches_up_to(self.config.config.decompressed_batch_bytes_max),
            progress: self.progress.clone(),
            stop: stop.clone(),
        });
        let copier = Copier { shared, store: self.archive.store.clone(), journal: journal.clone(), has_ended };
        let mut partitions = Restored::new();
        let mut counts: Vec<Counts> = vec![Counts::default(); plan.topics.len()];
        let mut failure = None;
        let mut take = |ended: Result<Result<Copied, Error>, JoinError>| match ended.unwrap_or(Err(Error::WorkerEnded))
        {
            Ok(copied) => {
                counts[copied.topic].add(&copied.counts);
                let source = plan.topics[copied.topic].source.name.clone();
                partitions.insert((source, copied.partition), copied.restored);
            }
            Err(error) => {
                stop.set();
                failure.get_or_insert(error);
            }
        };
        let mut waiting = self.waiting(plan, prepared, runs)?.into_iter();
        let mut next = waiting.next();
        let mut tasks = JoinSet::new();
        while !tasks.is_empty() || (next.is_some() && !stop.is_set()) {
            let wanted = next.as_ref().map_or(0, |next| place_bytes(&next.content, next.work.piece_bytes));
            tokio::select! {
                Some(ended) = tasks.join_next() => take(ended),
                place = copier.shared.memory.place(wanted), if next.is_some() && !stop.is_set() => {
                    let Some(begins) = std::mem::replace(&mut next, waiting.next()) else { continue };
                    let copier = copier.clone();
                    tasks.spawn(async move {
                        let copied = copier.copy(begins).await;
                        drop(place);
                        copied
                    });
                }
                () = self.stop.wait(), if !stop.is_set() => stop.set(),
            }
        }
        match failure {
            Some(error) => return Err(error),
            None if next.is_some() => return Err(Error::Interrupted),
            None => {}
        }
        lease.check().await?;
        let report = |(topic, counts): (&TopicPlan, Counts)| TopicReport {
            source: topic.source.name.clone(),
            target: topic.target.clone(),
            counts,
        };
        Ok((partitions, plan.topics.iter().zip(counts).map(report).collect()))
    }

    /// All partitions, the largest first.
    fn waiting(&self, plan: &Plan, prepared: &Prepared, mut runs: Runs) -> Result<Vec<Waiting>, Error> {
        let mut source_offsets = groups::source_offsets(&self.manifest.groups);
        let mut all = Vec::new();
        for (number, (topic, prepared_topic)) in plan.topics.iter().zip(&prepared.topics).enumerate() {
            for partition in &topic.partitions {
                let of_partition = runs.take(&topic.source.name, partition.partition);
                let keyed =
                    of_partition.into_iter().map(|(segment, run)| (self.archive.keys.segment(&segment.id), run));
                let runs: Vec<_> = keyed.collect();
                let content = runs::content(runs.iter().map(|(_, run)| run));
                let request = self.rewrite_request(prepared_topic, partition);
                let limits = prepared
                    .joined_records_bytes
                    .and_then(|bytes| Limits::of(content.batches, content.raw_bytes, bytes, request.max_batch_bytes));
                let target = Target {
                    topic: topic.target.clone(),
                    topic_id: prepared_topic.topic_id,
                    partition: partition.target,
                    base_offset: prepared_topic
                        .base_offset(partition.target)
                        .ok_or_else(|| Error::lacks("ListOffsets", format!("{}-{}", topic.target, partition.target)))?,
                    lane: 0,
                    source_offsets: source_offsets
                        .remove(&(topic.source.name.clone(), partition.partition))
                        .unwrap_or_default(),
                };
                let piece_bytes = piece_bytes(&content, limits.is_some());
                let work = Work { target, runs, piece_bytes, maker: Maker::new(request, limits) };
                all.push(Waiting { topic: number, partition: *partition, content, work });
            }
        }
        Ok(largest_first(all, self.config.config.parallelism))
    }

    fn rewrite_request(&self, prepared: &PreparedTopic, partition: &PartitionPlan) -> rewrite::Request {
        let header = |key: &String| InjectedHeader { key: key.clone(), value: HeaderValue::SourceOffset };
        rewrite::Request {
            cut: Cut {
                point_in_time_ms: self.config.point_in_time_ms,
                start_ms: self.config.start_ms,
                source_start_offset: Some(partition.start_offset),
                source_end_offset: Some(partition.end_offset),
            },
            max_batch_bytes: usize::try_from(prepared.max_batch_bytes).unwrap_or(usize::MAX),
            headers: self.config.config.original_offset_header.iter().map(header).collect(),
        }
    }
}

impl Copier {
    async fn copy(self, waiting: Waiting) -> Result<Copied, Error> {
        let Self { shared, store, journal, has_ended } = self;
        let Waiting { topic, partition, work, .. } = waiting;
        let target_partition = (work.target.topic.clone(), work.target.partition);
        let source_offsets = work.target.source_offsets.clone();
        let (map, counts) = match journal.map(topic, partition.partition).await? {
            Some(map) => found_finished(&shared, &work.target, &partition, map, has_ended).await?,
            None => {
                let (map, counts) = worker::run(shared, store, work).await?;
                journal.write_map(topic, partition.partition, &map).await?;
                (map, counts)
            }
        };
        // The map is in the journal; what stays in memory is as much as the groups need.
        let restored = RestoredPartition::new(target_partition, &map, source_offsets);
        Ok(Copied { topic, partition: partition.partition, restored, counts })
    }
}

/// The partitions in the order in which they are copied, which take the connections to a broker in turn.
fn largest_first(mut all: Vec<Waiting>, lanes: usize) -> Vec<Waiting> {
    all.sort_by_key(|waiting| Reverse(waiting.content.raw_bytes));
    for (number, waiting) in all.iter_mut().enumerate() {
        waiting.work.target.lane = number % lanes;
    }
    all
}

/// A partition that an earlier run has finished: it is looked at, unless the restore has ended, and counted.
async fn found_finished(
    shared: &Shared,
    target: &Target,
    partition: &PartitionPlan,
    map: OffsetMap,
    has_ended: bool,
) -> Result<(OffsetMap, Counts), Error> {
    if !has_ended {
        worker::check_finished(shared, target, &map).await?;
    }
    shared.progress.found_done(partition.end_offset.abs_diff(partition.start_offset));
    let counts = Counts { records: map.records(), ..Counts::default() };
    Ok((map, counts))
}

/// Bytes of a partition's segments that are read at once.
fn piece_bytes(content: &Content, is_joined: bool) -> u64 {
    let is_small = content.raw_bytes < content.batches.saturating_mul(SMALL_BATCH_BYTES);
    if is_small && !is_joined { SMALL_PIECE_BYTES } else { PIECE_BYTES }
}

/// Memory that a partition takes while it is copied, in bytes: two pieces and the frame that is being sent.
fn place_bytes(content: &Content, piece_bytes: u64) -> usize {
    let frame_bytes = content.batch_bytes_max.max(frame::RAW_BYTES_TARGET as u64);
    let bytes = content.stored_bytes.min(2 * piece_bytes) + content.raw_bytes.min(frame_bytes);
    usize::try_from(bytes.max(PLACE_BYTES_MIN)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(batches: u64, batch_bytes: u64) -> Content {
        let raw_bytes = batches * batch_bytes;
        let (stored_bytes, batch_bytes_max) = (raw_bytes, batch_bytes);
        Content { batches, raw_bytes, stored_bytes, batch_bytes_max, ..Content::default() }
    }

    fn waiting(topic: usize, number: i32, content: Content) -> Waiting {
        let target = Target {
            topic: format!("t-{topic}"),
            topic_id: uuid::Uuid::nil(),
            partition: number,
            base_offset: 0,
            lane: 0,
            source_offsets: Vec::new(),
        };
        let request = rewrite::Request { cut: Cut::default(), max_batch_bytes: 1 << 20, headers: Vec::new() };
        let work = Work { target, runs: Vec::new(), piece_bytes: PIECE_BYTES, maker: Maker::new(request, None) };
        let partition = PartitionPlan {
            partition: number,
            target: number,
            start_offset: 0,
            end_offset: 0,
            records: 0,
            batches_as_they_are: 0,
            batches_made_anew: 0,
            batches_to_look_at: 0,
        };
        Waiting { topic, partition, content, work }
    }

    #[test]
    fn the_largest_partition_begins_first_so_that_it_is_not_copied_alone_in_the_end() {
        // Topic, partition, batches, and bytes of each batch: all bytes of a partition count.
        let all = [(0, 0, 90, 100), (0, 1, 30, 1_000), (1, 0, 1, 20_000), (1, 1, 1, 900_000), (2, 0, 0, 0)];
        let all = all.map(|(topic, number, batches, bytes)| waiting(topic, number, content(batches, bytes)));
        let ordered = largest_first(all.into(), 2);
        let order = ordered.iter().map(|one| (one.topic, one.partition.partition, one.work.target.lane));
        let order: Vec<_> = order.collect();
        assert_eq!(order, [(1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 1), (2, 0, 0)]);
    }

    #[test]
    fn a_partition_takes_as_much_memory_as_it_has_pieces_and_frames() {
        let place = |content: &Content, is_joined| place_bytes(content, piece_bytes(content, is_joined));
        assert_eq!(place(&content(1_000_000, 16 << 10), false), 3 << 20);
        assert_eq!(place(&content(10_000_000, 200), true), 3 << 20, "joined ones come as fast as any");
        assert_eq!(place(&content(10_000_000, 200), false), (1 << 20) + (256 << 10));
        assert_eq!(place(&content(100, 200), true), 128 << 10);
        assert_eq!(place(&content(0, 0), true), 128 << 10);
        assert_eq!(place(&content(3, 10 << 20), false), 12 << 20, "a frame holds one large batch");
    }
}
