//! From topics to a manifest.
//!
//! A run takes the archive's lease, fixes what the backup is to hold (the cut), lets workers copy the record batches into
//! segments, writes down after each segment what is stored (a checkpoint), and creates the manifest last. Whatever
//! instruction it is killed at, there either is a manifest, and then a whole backup, or there is none, and the next run goes
//! on from the last checkpoint with the same cut.

mod archive;
mod checkpoints;
pub mod committed;
mod cut;
mod error;
mod findings;
mod judgement;
mod left;
mod lineage;
pub mod lines;
mod lookahead;
mod patience;
pub mod queue;
mod reading_time;
mod report;
mod retention;
mod silence;
mod sink;
mod unlisted;
mod worker;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::archive::{Archive, Begun};
use self::checkpoints::Checkpoints;
use self::committed::{EpochRead, Stretch};
pub use self::error::Error;
use self::findings::Findings;
use self::lineage::{Fate, Lineage};
pub use self::patience::Patience;
use self::queue::{Cleaning, PartitionKey, Queue, Task};
pub use self::report::{BackupReport, Outcome};
use self::retention::Kept;
use self::sink::SegmentPlan;
use self::worker::{Number, Shared};
use crate::breaker::Breaker;
use crate::clock::now_ms;
use crate::config::backup::Checked;
use crate::error::Kind;
use crate::format::invariants::{self, Broken};
use crate::format::layout::WRITE_CHECK;
use crate::format::manifest::{Cut, Manifest, Part, PartitionCut, PartitionSummary, TopicCut, TopicSummary};
use crate::format::run::Content;
use crate::format::segment::{StoredSegment, TopicKey};
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
/// How often a run looks for offsets that nobody answers for, and reads them. Between two stretches that were read at once there
/// are some when the log start moves over their boundary.
const PASSES_MAX: usize = 5;

/// Makes a backup.
///
/// # Errors
/// When there is no backup at the end of it. A backup of which something is missing is no error, but
/// [`Outcome::Partial`].
pub async fn run(config: &Checked, progress: &Progress, stop: &Stop) -> Result<BackupReport, Error> {
    run_with(Patience::default(), config, progress, stop).await
}

/// Makes a backup with other limits of patience than a user's.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    patience: Patience,
    config: &Checked,
    progress: &Progress,
    stop: &Stop,
) -> Result<BackupReport, Error> {
    let store = Store::open_or_create(&config.config.storage).await?;
    make_in(store, patience, config, progress, stop).await
}

/// Makes a backup in a store that is open already; the configuration's own storage is left alone.
///
/// # Errors
/// As [`run`].
pub async fn run_into(store: Store, config: &Checked, progress: &Progress, stop: &Stop) -> Result<BackupReport, Error> {
    make_in(store, Patience::default(), config, progress, stop).await
}

async fn make_in(
    store: Store,
    patience: Patience,
    config: &Checked,
    progress: &Progress,
    stop: &Stop,
) -> Result<BackupReport, Error> {
    let started_ms = now_ms();
    store.check_writable(WRITE_CHECK).await?;
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
    let run = Run { config, cluster, archive, patience, progress, stop };
    let made = run.make(&lease).await;
    if let Ok(Made { manifest, .. }) = &made {
        run.archive.forget_progress(&lease, &manifest.backup_id).await;
    }
    let kept = match (&made, &config.config.retention) {
        (Ok(Made { manifest, .. }), Some(retention)) => {
            Kept::prune(&run.archive, retention, &manifest.backup_id, &lease, stop).await
        }
        (Ok(_), None) | (Err(_), _) => Kept::default(),
    };
    let released = lease.release().await;
    let Made { manifest, resumed, already_there } = made?;
    if let Err(error) = released {
        tracing::warn!("the lease could not be given back and has to expire: {error}");
    }
    // What is left needs no lease, and the next run must not wait for it.
    let kept = kept.end(&run.archive, stop).await;
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
    patience: Patience,
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
        let adoption = self.archive.claim(self.config, &source_cluster_id).await?;
        let (cut, stored) = match self.archive.begin(self.config, &source_cluster_id, now_ms()).await? {
            Begun::Done(manifest) => {
                self.archive.adopt(lease, adoption).await?;
                return Ok(Made { manifest: *manifest, resumed: false, already_there: true });
            }
            Begun::Reading { cut, stored } => {
                // As at the cut, no single broker decides which topics there are.
                self.cluster.identities(&names(&cut)).await?;
                self.archive.adopt(lease, adoption).await?;
                (*cut, stored)
            }
            Begun::New(backup_id) => {
                let cut = cut::take(&self.cluster, self.config, backup_id, now_ms()).await?;
                self.archive.adopt(lease, adoption).await?;
                (self.archive.store_cut(cut).await?, Vec::new())
            }
        };
        let resumed = !stored.is_empty();
        let findings = Arc::new(Mutex::new(Findings::of(&cut)));
        let made = async {
            let runs = self.read(lease, &cut, stored, &findings).await?;
            let findings = std::mem::take(&mut *findings.lock().unwrap_or_else(PoisonError::into_inner));
            self.commit(lease, &cut, runs, findings).await
        };
        match made.await {
            Ok(manifest) => Ok(Made { manifest, resumed, already_there: false }),
            Err(error) => {
                if is_final(&error) {
                    self.archive.give_up(lease, &cut.backup_id, &error).await;
                }
                Err(error)
            }
        }
    }

    /// Copies what is not stored yet; returns the runs of everything that is.
    async fn read(
        &self,
        lease: &Lease,
        cut: &Cut,
        stored: Vec<Part>,
        findings: &Arc<Mutex<Findings>>,
    ) -> Result<Part, Error> {
        self.cluster.follow(&names(cut)).await?;
        let mut stored = left::still_good(&self.cluster, cut, Part::merge(stored), now_ms(), findings).await;
        let are_written_at_once = self.config.checkpoint_interval.is_some();
        let mut checkpoints = Checkpoints::new(self.archive.clone(), lease, cut.backup_id.clone(), are_written_at_once);
        let mut queue = self.whole_queue(cut, &stored);
        for pass in 0..PASSES_MAX {
            let before = checkpoints.parts().len();
            self.read_queue(queue, pass, lease, cut, &mut checkpoints, findings).await?;
            let read = checkpoints.parts()[before..].iter().cloned();
            stored = invariants::without_repeats(Part::merge([stored].into_iter().chain(read)));
            queue = self.queue_of_rest(cut, &stored, findings);
            if queue.is_over() {
                break;
            }
        }
        Ok(stored)
    }

    /// Reads what is queued; the checkpoints say what was stored.
    async fn read_queue(
        &self,
        queue: Queue,
        pass: usize,
        lease: &Lease,
        cut: &Cut,
        checkpoints: &mut Checkpoints<'_>,
        findings: &Arc<Mutex<Findings>>,
    ) -> Result<(), Error> {
        let (sender, mut receiver) = mpsc::channel(STORED_WAITING);
        let run_stop = Stop::default();
        let shared = Arc::new(Shared {
            cluster: self.cluster.clone(),
            queue: Mutex::new(queue),
            plan: Arc::new(self.segment_plan(lease, cut)),
            retry_timeout: Duration::from_millis(self.config.cluster.retry_timeout_ms),
            patience: self.patience,
            began: Instant::now(),
            findings: Arc::clone(findings),
            limiter: RateLimiter::new(self.config.config.rate_limit, run_stop.clone()),
            progress: self.progress.clone(),
            stop: run_stop.clone(),
        });
        let mut workers = JoinSet::new();
        let parallelism = self.config.config.parallelism;
        for lane in 0..parallelism {
            let number = Number { lane, sink: pass * parallelism + lane };
            workers.spawn(worker::run(Arc::clone(&shared), number, sender.clone()));
        }
        drop(sender);
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                segment = receiver.recv() => {
                    let Some(segment) = segment else { break };
                    checkpoints.add(checkpoint_of(segment, &mut receiver)).await?;
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
            None => Ok(()),
        }
    }

    /// What is to be read, by leader: all that is not stored, and of compacted partitions also what was written since.
    fn whole_queue(&self, cut: &Cut, stored: &Part) -> Queue {
        let covered = invariants::by_partition(stored.runs().map(|(topic, _, run)| (topic, run)));
        let mut queue = Queue::default();
        let (mut total, mut left) = (0, 0);
        for topic in &cut.topics {
            for partition in &topic.partitions {
                let runs = covered.get(&(&topic.topic, partition.partition)).map_or(&[][..], Vec::as_slice);
                total += partition.end_offset.abs_diff(partition.start_offset);
                let stretches = left::stretches(topic, partition, runs);
                left += stretches.iter().map(Stretch::remaining).sum::<u64>();
                self.push(&mut queue, topic, partition, stretches);
            }
        }
        self.progress.expect_offsets(total);
        self.progress.found_done(total.saturating_sub(left));
        queue
    }

    /// What nobody answers for, although everything was read.
    fn queue_of_rest(&self, cut: &Cut, stored: &Part, findings: &Mutex<Findings>) -> Queue {
        let findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
        let covered = invariants::by_partition(stored.runs().map(|(topic, _, run)| (topic, run)));
        let mut queue = Queue::default();
        for topic in &cut.topics {
            for partition in &topic.partitions {
                if findings.is_given_up(&topic.topic, partition.partition) {
                    continue;
                }
                let runs = covered.get(&(&topic.topic, partition.partition)).map_or(&[][..], Vec::as_slice);
                self.push(&mut queue, topic, partition, left::uncovered(topic, partition, runs));
            }
        }
        queue
    }

    fn push(&self, queue: &mut Queue, topic: &TopicCut, partition: &PartitionCut, stretches: Vec<Stretch>) {
        let key = Arc::new(topic.topic.clone());
        for stretch in stretches {
            let task = Task::new(Arc::clone(&key), partition.partition, stretch, Cleaning::of(topic));
            queue.push(worker::broker_of(&self.cluster, &task), task);
        }
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

    /// Makes a backup of what is stored, if it is all that it was to be, except the partitions that were given up.
    async fn commit(&self, lease: &Lease, cut: &Cut, runs: Part, mut findings: Findings) -> Result<Manifest, Error> {
        self.give_up_truncated(cut, &mut findings).await;
        let runs = runs.retain(|topic, run| !findings.is_given_up(topic, run.partition));
        let by_partition = invariants::by_partition(runs.runs().map(|(topic, _, run)| (topic, run)));
        let is_missing = |topic: &TopicKey, partition| findings.is_given_up(topic, partition);
        invariants::cut_is_covered(cut, &by_partition, is_missing)?;
        let topics = summaries(cut, &by_partition, is_missing)?;
        let has_data = |partition: &PartitionSummary| partition.start_offset < partition.end_offset;
        let is_empty = !topics.iter().flat_map(|topic| &topic.partitions).any(has_data);
        let is_partial = topics.is_empty() || topics.iter().flat_map(|topic| &topic.partitions).any(|one| one.missing);
        if is_empty && is_partial {
            // A backup of nothing serves nobody.
            let nothing = || Error::NothingReadable { problems: cut.problems.clone() };
            return Err(findings.into_first_failure().unwrap_or_else(nothing));
        }
        let parts = self.archive.store_parts(&cut.backup_id, lease.epoch(), &runs).await?;
        let mut content = Content::default();
        topics.iter().for_each(|topic| content.add(&topic.content()));
        let mut problems = cut.problems.clone();
        problems.extend(findings.problems());
        problems.extend(topics.iter().flat_map(losses));
        problems.extend(self.compacted_since(cut, &topics).await);
        let mut warnings = cut.warnings.clone();
        for (cut, topic) in cut.topics.iter().zip(&topics) {
            warnings.extend(expiries(topic, Cleaning::of(cut)));
        }
        warnings.extend(findings.warnings());
        warnings.extend(findings.times.warnings(&cut.topics, is_missing));
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
            warnings,
            content,
            segment_bytes: runs.segments.iter().map(|segment| segment.bytes).sum(),
            include_offset_headers: self.config.config.include_offset_headers,
            source_cluster_label: self.config.config.source_cluster_id.clone(),
        };
        self.archive.store_manifest(lease, manifest, &runs.segments).await
    }

    /// Names of the topics of the cut that are gone.
    async fn gone(&self, cut: &Cut) -> BTreeSet<String> {
        if let Err(error) = self.cluster.refresh().await {
            tracing::debug!(%error, "which topics are gone is known as of the last metadata");
        }
        let topics = cut.topics.iter().map(|topic| (topic.topic.name.clone(), topic.topic.id));
        self.cluster.gone(&topics.collect()).await
    }

    /// Topics that were not compacted at the cut, and of which records vanished before they were read, may be compacted now: then
    /// it was the log cleaner that took them, and a key may have no value in the backup.
    async fn compacted_since(&self, cut: &Cut, topics: &[TopicSummary]) -> Vec<String> {
        const POLICY: &str = "cleanup.policy";
        // The log cleaner may also take records out of a batch that it leaves.
        let has_gaps = |topic: &&TopicSummary| {
            let content = topic.content();
            content.holes.compaction > 0 || content.rewrite_batches > 0
        };
        let with_gaps: BTreeSet<&TopicKey> = topics.iter().filter(has_gaps).map(|topic| &topic.topic).collect();
        let was_whole = |topic: &&TopicCut| Cleaning::of(topic) == Cleaning::Never && with_gaps.contains(&topic.topic);
        let names: BTreeSet<String> =
            cut.topics.iter().filter(was_whole).map(|topic| topic.topic.name.clone()).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let configs = self.cluster.topic_configs(&names, Some(&[POLICY])).await;
        let changed = configs.into_iter().filter_map(|(topic, entries)| {
            let policy = entries.ok().and_then(|entries| entries.into_iter().find(|entry| entry.name == POLICY)?.value);
            match policy {
                Some(policy) if !policy.contains("compact") => None,
                Some(policy) => Some(lines::of_topic(
                    &topic,
                    &format!(
                        "cleanup.policy became {policy} after the cut, and records are missing between those that were read: \
                         a key may have no value in the backup"
                    ),
                )),
                None => Some(lines::of_topic(
                    &topic,
                    "records are missing between those that were read, and whether the topic has become compacted since \
                     the cut is not known",
                )),
            }
        });
        changed.collect()
    }

    /// Stretches of one partition are read at different times, and some by earlier runs: the log must still be the one of the cut, and
    /// hold what was read of each.
    async fn give_up_truncated(&self, cut: &Cut, findings: &mut Findings) {
        let gone_topics = self.gone(cut).await;
        // Epochs are asked for by name: a topic that was created again has none of those that were read of the one before.
        let (gone, read): (Vec<_>, Vec<_>) =
            findings.epochs_read().into_iter().partition(|((topic, _), _)| gone_topics.contains(&topic.name));
        for ((topic, partition), epoch) in gone {
            // Before Kafka 3.1 a topic is read by its name, and the one that was created in its place answers to that.
            if self.cluster.fetches_by_name() && !self.cluster.topic_id(&topic.name).is_nil() {
                let why = Error::Truncated { topic: topic.name.clone(), partition, offset: epoch.end_offset };
                findings.give_up((topic, partition), why);
            }
        }
        let mut cuts = Vec::new();
        for topic in cut.topics.iter().filter(|topic| !gone_topics.contains(&topic.topic.name)) {
            for partition in &topic.partitions {
                let is_asked = partition.end_offset > partition.start_offset
                    && !findings.is_gone(&topic.topic, partition.partition)
                    && !findings.is_given_up(&topic.topic, partition.partition);
                if let Some(leader_epoch) = partition.leader_epoch.filter(|_| is_asked) {
                    let epoch = EpochRead { leader_epoch, end_offset: partition.end_offset };
                    cuts.push(((topic.topic.clone(), partition.partition), epoch));
                }
            }
        }
        let epochs = read.iter().chain(&cuts);
        let epochs = epochs.map(|((topic, partition), read)| ((topic.name.clone(), *partition), read.leader_epoch));
        let lineage = Lineage::ask(&self.cluster, epochs.collect::<Vec<_>>()).await;
        let is_cleaned = |topic: &&TopicCut| Cleaning::of(topic).is_possible();
        let cleaned: BTreeSet<&TopicKey> = cut.topics.iter().filter(is_cleaned).map(|topic| &topic.topic).collect();
        let fate = |((topic, partition), read): &(PartitionKey, EpochRead)| {
            lineage.fate(&topic.name, *partition, *read, cleaned.contains(topic))
        };
        for one in read.iter().chain(&cuts) {
            let (partition, epoch) = one;
            match fate(one) {
                Fate::Unknown => findings.stays_unproven(partition.clone()),
                // A leader that wrote nothing leaves no epoch behind.
                Fate::Passed if findings.has_batches_of(partition, epoch.leader_epoch) => {
                    findings.epoch_has_passed(partition.clone());
                }
                Fate::Passed | Fate::There | Fate::Lost | Fate::Untold => {}
            }
        }
        let lost = read.into_iter().filter(|read| fate(read) == Fate::Lost);
        let shorter =
            cuts.into_iter().filter(|((topic, partition), cut)| lineage.is_shorter_than(&topic.name, *partition, *cut));
        for ((topic, partition), epoch) in lost.chain(shorter) {
            let why = Error::Truncated { topic: topic.name.clone(), partition, offset: epoch.end_offset };
            findings.give_up((topic, partition), why);
        }
    }
}

/// Whether a run that resumes the backup would fail in the same way: then the next run is to begin a new one.
fn is_final(error: &Error) -> bool {
    match error.kind() {
        Kind::Corrupt => true,
        Kind::Bug => matches!(error, Error::Broken(_)),
        // Its cut lacks everything, or what its checkpoints name is gone.
        Kind::Unavailable => matches!(error, Error::NothingReadable { .. } | Error::LostSegment { .. }),
        Kind::Usage | Kind::Denied | Kind::Conflict | Kind::Partial | Kind::Interrupted => false,
    }
}

fn names(cut: &Cut) -> BTreeSet<String> {
    cut.topics.iter().map(|topic| topic.topic.name.clone()).collect()
}

/// One checkpoint for all segments that wait.
fn checkpoint_of(first: StoredSegment, waiting: &mut mpsc::Receiver<StoredSegment>) -> Part {
    let mut parts = vec![Part::of(&first)];
    while let Ok(segment) = waiting.try_recv() {
        parts.push(Part::of(&segment));
    }
    Part::merge(parts)
}

fn summaries(
    cut: &Cut,
    runs: &invariants::RunsByPartition<'_>,
    is_missing: impl Fn(&TopicKey, i32) -> bool,
) -> Result<Vec<TopicSummary>, Broken> {
    let partition_of = |topic: &TopicCut, cut: &PartitionCut| {
        let of_partition = runs.get(&(&topic.topic, cut.partition)).map_or(&[][..], Vec::as_slice);
        let missing = cut.missing || is_missing(&topic.topic, cut.partition);
        let start_offset = cut.start_offset;
        let end_offset = if missing { start_offset } else { invariants::read_end(cut.end_offset, of_partition) };
        let content = invariants::runs_tile(&topic.topic, cut.partition, start_offset, end_offset, of_partition)?;
        Ok(PartitionSummary {
            partition: cut.partition,
            start_offset,
            end_offset,
            content,
            cut_end_offset: Some(cut.end_offset).filter(|cut_end_offset| !missing && *cut_end_offset != end_offset),
            last_leader_epoch: of_partition.iter().map(|run| run.leader_epoch).max().filter(|epoch| *epoch >= 0),
            missing,
        })
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
        let deleted = partition.content.holes.deleted;
        let says = format!("{deleted} offsets could not be read: the topic was deleted or replaced after the cut");
        lines::of_partition(&topic.topic.name, partition.partition, &says)
    })
}

fn expiries(topic: &TopicSummary, cleaning: Cleaning) -> impl Iterator<Item = String> {
    // What was read before them may be older values of the same keys.
    let keys = match cleaning {
        Cleaning::Never => "",
        Cleaning::Compacts | Cleaning::Unknown => {
            ": keys may have a value in the backup that is older than the one they had at the cut"
        }
    };
    topic.partitions.iter().filter(|partition| partition.content.holes.expired > 0).map(move |partition| {
        format!(
            "{}-{}: {} offsets expired between the cut and their reading (retention or DeleteRecords){keys}",
            topic.topic.name, partition.partition, partition.content.holes.expired
        )
    })
}
