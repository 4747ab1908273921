//! From topics to a manifest.
//!
//! A run takes the archive's lease, fixes what the backup is to hold (the cut), lets workers copy the record batches into
//! segments, writes down after each segment what is stored (a checkpoint), and creates the manifest last. Whatever
//! instruction it is killed at, there either is a manifest, and then a whole backup, or there is none, and the next run goes
//! on from the last checkpoint with the same cut.

mod archive;
pub mod committed;
mod cut;
mod error;
pub mod queue;
mod report;
mod retention;
mod sink;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::archive::{Archive, Begun};
pub use self::error::Error;
use self::queue::{Queue, Task};
pub use self::report::{BackupReport, Outcome};
use self::retention::Kept;
use self::sink::SegmentPlan;
use self::worker::Shared;
use crate::breaker::Breaker;
use crate::clock::now_ms;
use crate::config::backup::Checked;
use crate::format::invariants::{self, Broken};
use crate::format::layout::BackupId;
use crate::format::manifest::{Cut, Manifest, Part, PartitionCut, PartitionSummary, TopicCut, TopicSummary};
use crate::format::run::Content;
use crate::format::segment::StoredSegment;
use crate::kafka::Cluster;
use crate::progress::Progress;
use crate::rate_limit::RateLimiter;
use crate::repository::LEASE_TTL_MS;
use crate::stop::Stop;
use crate::store::Store;
use crate::store::lease::{self, Holder, Lease, WaitPolicy};

/// Long enough for the lease of a run that was killed on another machine to expire.
const LEASE_WAIT_MS: i64 = LEASE_TTL_MS + lease::CLOCK_SKEW_MS + 5_000;
/// Segments that wait for a checkpoint; workers wait when there are more.
const STORED_WAITING: usize = 16;

/// Makes a backup.
///
/// # Errors
/// When there is no backup at the end of it. A backup of which something is missing is no error, but
/// [`Outcome::Partial`].
pub async fn run(config: &Checked, progress: &Progress, stop: &Stop) -> Result<BackupReport, Error> {
    let store = Store::open_or_create(&config.config.storage).await?;
    run_into(store, config, progress, stop).await
}

/// Makes a backup in a store that is open already; the configuration's own storage is left alone.
///
/// # Errors
/// As [`run`].
pub async fn run_into(store: Store, config: &Checked, progress: &Progress, stop: &Stop) -> Result<BackupReport, Error> {
    let started_ms = now_ms();
    store.check_writable().await?;
    let circuit_breaker = config.config.cluster.circuit_breaker;
    let store = store.with_breaker(Breaker::new("store", circuit_breaker));
    let breaker = Breaker::new("brokers", circuit_breaker);
    let cluster = tokio::select! {
        connected = Cluster::connect(&config.config.cluster, breaker) => connected?,
        () = stop.wait() => return Err(Error::NotBegun),
    };
    let archive = Archive::new(store.clone(), config.config.archive.clone());
    let holder = Holder::current(&config.backup_id.as_ref().map_or_else(String::new, ToString::to_string));
    let wait = WaitPolicy::UpTo(LEASE_WAIT_MS);
    let lease = Lease::acquire(&store, &archive.keys.lease(), holder, LEASE_TTL_MS, wait).await?;
    let run = Run { config, cluster, archive, progress, stop };
    let made = run.make(&lease).await;
    let kept = match &made {
        Ok(_) => retention::keep(&run.archive, config.config.retention.as_ref(), &lease, stop).await,
        Err(_) => Kept::default(),
    };
    let released = lease.release().await;
    let made = made?;
    if let Err(error) = released {
        tracing::warn!("the lease could not be given back and has to expire: {error}");
    }
    let Made { manifest, resumed, already_there } = made;
    let mut report = BackupReport::of(&manifest, resumed, already_there, started_ms, now_ms());
    report.pruned = kept.pruned;
    report.archive_contents = kept.contents;
    report.warnings.extend(kept.warnings);
    Ok(report)
}

struct Run<'a> {
    config: &'a Checked,
    cluster: Cluster,
    archive: Archive,
    progress: &'a Progress,
    stop: &'a Stop,
}

/// A backup that is in the archive.
struct Made {
    manifest: Manifest,
    resumed: bool,
    already_there: bool,
}

impl Run<'_> {
    async fn make(&self, lease: &Lease) -> Result<Made, Error> {
        let source_cluster_id = self.cluster.cluster_id().unwrap_or_default();
        self.archive.claim(self.config, &source_cluster_id).await?;
        let (cut, stored) = match self.archive.begin(self.config, now_ms()).await? {
            Begun::Done(manifest) => {
                return Ok(Made { manifest: *manifest, resumed: false, already_there: true });
            }
            Begun::Reading { cut, stored } => (*cut, stored),
            Begun::New(backup_id) => {
                let cut = cut::take(&self.cluster, self.config, backup_id, now_ms()).await?;
                (self.archive.store_cut(cut).await?, Vec::new())
            }
        };
        let resumed = !stored.is_empty();
        let runs = self.read(lease, &cut, stored).await?;
        let manifest = self.commit(lease, &cut, &runs).await?;
        Ok(Made { manifest, resumed, already_there: false })
    }

    /// Copies what is not stored yet; gives back the runs of everything that is.
    async fn read(&self, lease: &Lease, cut: &Cut, mut stored: Vec<Part>) -> Result<Part, Error> {
        let queue = self.queue(cut, &stored).await?;
        let (sender, mut receiver) = mpsc::channel(STORED_WAITING);
        let run_stop = Stop::default();
        let shared = Arc::new(Shared {
            cluster: self.cluster.clone(),
            queue: Mutex::new(queue),
            plan: Arc::new(self.segment_plan(lease, cut)),
            retry_timeout: Duration::from_millis(self.config.cluster.retry_timeout_ms),
            limiter: RateLimiter::new(self.config.config.rate_limit, run_stop.clone()),
            progress: self.progress.clone(),
            stop: run_stop.clone(),
        });
        let mut workers = JoinSet::new();
        for number in 0..self.config.config.parallelism {
            workers.spawn(worker::run(Arc::clone(&shared), number, sender.clone()));
        }
        drop(sender);
        let mut failure = None;
        let mut checkpoints = Checkpoints::new(self, lease, cut);
        loop {
            tokio::select! {
                biased;
                segment = receiver.recv() => {
                    let Some(segment) = segment else { break };
                    let part = checkpoint_of(segment, &mut receiver);
                    checkpoints.add(&part).await?;
                    stored.push(part);
                }
                Some(ended) = workers.join_next() => {
                    if let Err(error) = ended.unwrap_or(Err(Error::WorkerEnded)) {
                        // The others store what they have, which spares the next run the reading.
                        run_stop.set();
                        failure.get_or_insert(error);
                    }
                }
                () = self.stop.wait(), if !run_stop.is_set() => run_stop.set(),
            }
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended.unwrap_or(Err(Error::WorkerEnded)) {
                failure.get_or_insert(error);
            }
        }
        if (failure.is_some() || self.stop.is_set())
            && let Err(error) = checkpoints.end_early().await
        {
            failure.get_or_insert(error);
        }
        match failure {
            Some(error) => Err(error),
            None if self.stop.is_set() => Err(Error::Interrupted { backup_id: cut.backup_id.clone() }),
            None => Ok(Part::merge(stored)),
        }
    }

    /// What is still to be read, by leader.
    async fn queue(&self, cut: &Cut, stored: &[Part]) -> Result<Queue, Error> {
        let names: BTreeSet<String> = cut.topics.iter().map(|topic| topic.topic.name.clone()).collect();
        self.cluster.follow(&names).await?;
        let covered = invariants::by_partition(stored.iter().flat_map(Part::runs).map(|(topic, _, run)| (topic, run)));
        let mut queue = Queue::default();
        let (mut total, mut left) = (0, 0);
        for topic in &cut.topics {
            let key = Arc::new(topic.topic.clone());
            for partition in &topic.partitions {
                let (start, end) = (partition.start_offset, partition.end_offset);
                total += end.abs_diff(start);
                let runs = covered.get(&(&topic.topic, partition.partition)).map_or(&[][..], Vec::as_slice);
                for range in invariants::uncovered(start, end, runs) {
                    left += range.end.abs_diff(range.start);
                    for stretch in queue::stretches(range, start, topic.compacted) {
                        let leader = self.cluster.leader(&key.name, partition.partition);
                        let broker = leader.map_or(queue::NO_BROKER, |leader| leader.broker);
                        let (partition, compacted) = (partition.partition, topic.compacted);
                        queue.push(broker, Task { topic: Arc::clone(&key), partition, stretch, compacted });
                    }
                }
            }
        }
        self.progress.expect_offsets(total);
        self.progress.found_done(total - left);
        Ok(queue)
    }

    fn segment_plan(&self, lease: &Lease, cut: &Cut) -> SegmentPlan {
        SegmentPlan {
            store: self.archive.store.clone(),
            keys: self.archive.keys.clone(),
            backup_id: cut.backup_id.clone(),
            epoch: lease.epoch(),
            compression: self.config.compression,
            segment_bytes_max: self.config.config.segment_bytes_max,
            segment_age_max: self.config.checkpoint_interval,
        }
    }

    /// Makes a backup of what is stored, if it is all that it was to be.
    async fn commit(&self, lease: &Lease, cut: &Cut, runs: &Part) -> Result<Manifest, Error> {
        let by_partition = invariants::by_partition(runs.runs().map(|(topic, _, run)| (topic, run)));
        invariants::cut_is_covered(cut, &by_partition)?;
        let parts = self.archive.store_parts(&cut.backup_id, lease.epoch(), runs).await?;
        let topics = summaries(cut, &by_partition)?;
        let mut content = Content::default();
        topics.iter().for_each(|topic| content.add(&topic.content()));
        let mut problems = cut.problems.clone();
        problems.extend(topics.iter().flat_map(losses));
        let manifest = Manifest {
            backup_id: cut.backup_id.clone(),
            archive: self.archive.name.clone(),
            engine_version: env!("CARGO_PKG_VERSION").to_owned(),
            source_cluster_id: cut.source_cluster_id.clone(),
            cut_at_ms: cut.at_ms,
            completed_at_ms: now_ms(),
            topics,
            groups: cut.groups.clone(),
            parts,
            open_transactions: cut.open_transactions.clone(),
            problems,
            warnings: cut.warnings.clone(),
            content,
            segment_bytes: runs.segments.iter().map(|segment| segment.bytes).sum(),
            include_offset_headers: self.config.config.include_offset_headers,
            source_cluster_label: self.config.config.source_cluster_id.clone(),
        };
        lease.check().await?;
        let manifest = self.archive.store_manifest(manifest).await?;
        self.archive.forget_progress(&cut.backup_id).await;
        Ok(manifest)
    }
}

/// What is written down of a run while it goes on: each stored segment at once, or nothing until the run has to end early.
struct Checkpoints<'a> {
    archive: Archive,
    lease: &'a Lease,
    backup_id: BackupId,
    are_written_at_once: bool,
    number: u64,
    /// What waits for an early end, when there are no checkpoints before.
    waiting: Vec<Part>,
}

impl<'a> Checkpoints<'a> {
    fn new(run: &Run<'_>, lease: &'a Lease, cut: &Cut) -> Self {
        Self {
            archive: run.archive.clone(),
            lease,
            backup_id: cut.backup_id.clone(),
            are_written_at_once: run.config.checkpoint_interval.is_some(),
            number: 0,
            waiting: Vec::new(),
        }
    }

    async fn add(&mut self, part: &Part) -> Result<(), Error> {
        if self.are_written_at_once {
            return self.store(part).await;
        }
        self.waiting.push(part.clone());
        Ok(())
    }

    /// The run does not come to its end: what it has stored is named for the next one.
    async fn end_early(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.waiting) {
            waiting if waiting.is_empty() => Ok(()),
            waiting => self.store(&Part::merge(waiting)).await,
        }
    }

    async fn store(&mut self, part: &Part) -> Result<(), Error> {
        self.lease.check().await?;
        self.archive.store_checkpoint(&self.backup_id, self.lease.epoch(), self.number, part).await?;
        self.number += 1;
        Ok(())
    }
}

/// One checkpoint for all segments that wait.
fn checkpoint_of(first: StoredSegment, waiting: &mut mpsc::Receiver<StoredSegment>) -> Part {
    let mut parts = vec![Part::of(&first)];
    while let Ok(segment) = waiting.try_recv() {
        parts.push(Part::of(&segment));
    }
    Part::merge(parts)
}

fn summaries(cut: &Cut, runs: &invariants::RunsByPartition<'_>) -> Result<Vec<TopicSummary>, Broken> {
    let partition_of = |topic: &TopicCut, partition: &PartitionCut| {
        let (start_offset, end_offset) = (partition.start_offset, partition.end_offset);
        let of_partition = runs.get(&(&topic.topic, partition.partition)).map_or(&[][..], Vec::as_slice);
        let content = invariants::runs_tile(&topic.topic, partition.partition, start_offset, end_offset, of_partition)?;
        Ok(PartitionSummary { partition: partition.partition, start_offset, end_offset, content })
    };
    cut.topics
        .iter()
        .map(|topic| {
            Ok(TopicSummary {
                topic: topic.topic.clone(),
                replication_factor: topic.replication_factor,
                configs: topic.configs.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| partition_of(topic, partition))
                    .collect::<Result<_, Broken>>()?,
            })
        })
        .collect()
}

fn losses(topic: &TopicSummary) -> impl Iterator<Item = String> {
    topic.partitions.iter().filter(|partition| partition.content.holes.deleted > 0).map(|partition| {
        format!(
            "{}-{}: {} offsets were deleted between the cut and their reading (retention, DeleteRecords, or the topic itself)",
            topic.topic.name, partition.partition, partition.content.holes.deleted
        )
    })
}
