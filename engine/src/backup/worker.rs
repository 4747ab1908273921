//! One worker of a backup: it takes stretches, fetches them from their leader, and fills segments.
//!
//! While a response is worked on, the next request is already on its way: the batch headers alone tell where to go on.
//! A response is full of the first partition of the request before the second has a turn, as brokers fill responses in
//! the order of the request; so runs are long although many partitions are asked for at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Error;
use super::committed::Stretch;
use super::queue::{NO_BROKER, Queue, Task};
use super::sink::{SegmentPlan, Sink};
use crate::error::Kind;
use crate::format::hole::{Hole, HoleReason};
use crate::format::segment::StoredSegment;
use crate::kafka::Cluster;
use crate::kafka::fetch::{FetchError, FetchLimits, FetchTarget, Fetched, FetchedPartition};
use crate::kafka::list_offsets::Position;
use crate::kafka::retry::Budget;
use crate::progress::Progress;
use crate::rate_limit::RateLimiter;
use crate::stop::Stop;

/// Bytes of one response, as Kafka's own consumer asks a partition for. Two of them per worker are in memory, and what was just
/// read is still in the processor's cache when it is checked: larger ones cost more time, not less.
const FETCH_BYTES: i32 = 1 << 20;
/// How long a broker may hold an answer back when it has nothing to return.
const FETCH_WAIT_MS: i32 = 500;
/// A partition that was asked for first, and gave nothing, so many times has nothing more before its end.
const IDLE_ANSWERS: u32 = 5;
/// A log that should hold more gives nothing for this long: that is an error, never an end.
const STALL: Duration = Duration::from_secs(60);
/// How long a worker without work waits for what another may give back.
const BACK_WAIT: Duration = Duration::from_millis(10);
/// A topic that nobody knows for so long was deleted; for a moment a broker may not know a topic that is there.
const UNKNOWN_TOPIC_MEANS_DELETED: Duration = Duration::from_secs(10);

/// What all workers of a run share.
pub struct Shared {
    /// The cluster that is read.
    pub cluster: Cluster,
    /// What is still to be read.
    pub queue: Mutex<Queue>,
    /// Where segments go.
    pub plan: Arc<SegmentPlan>,
    /// How long a partition without a leader is waited for.
    pub retry_timeout: Duration,
    /// Limits the whole run.
    pub limiter: RateLimiter,
    /// Counts.
    pub progress: Progress,
    /// Ends the run.
    pub stop: Stop,
}

/// Reads until nothing is left, or the run is asked to stop. Every segment is sent on as soon as it is stored.
///
/// # Errors
/// What cannot be overcome by trying again. The segments that were sent on stay good.
pub async fn run(shared: Arc<Shared>, number: usize, stored: mpsc::Sender<StoredSegment>) -> Result<(), Error> {
    let sink = Sink::new(Arc::clone(&shared.plan), number);
    let budget = Budget::new(shared.retry_timeout, std::time::Instant::now(), number as u64);
    let mut worker = Worker { shared, number, sink, stored, budget };
    let read = worker.read_all().await;
    // What was read before a failure is good, and spares the next run the reading.
    let closed = worker.sink.close().await;
    if let Ok(Some(segment)) = &closed {
        worker.send(segment.clone()).await?;
    }
    read.and(closed.map(drop))
}

struct Worker {
    shared: Arc<Shared>,
    number: usize,
    sink: Sink,
    stored: mpsc::Sender<StoredSegment>,
    /// How long leaders may be sought without any success in between.
    budget: Budget,
}

/// What is to be done with a task after an answer.
enum After {
    /// Ask for more.
    GoOn(Task),
    /// All was read; the offset at which the next batch begins.
    Done(i64),
    /// Somebody else leads the partition now, or will soon.
    Elsewhere(Task),
    /// The log begins later than where we wanted to read.
    Gone(Task),
}

impl After {
    /// The offset up to which the answer has brought the task.
    fn next_offset(&self) -> i64 {
        match self {
            Self::GoOn(task) | Self::Elsewhere(task) | Self::Gone(task) => task.stretch.next_offset,
            Self::Done(next_offset) => *next_offset,
        }
    }
}

/// Judges an answer by the headers of its batches.
fn after(task: &Task, outcome: &Result<Fetched, FetchError>) -> Result<After, Error> {
    match outcome {
        Ok(fetched) => {
            let stretch = task.stretch.after(&fetched.records).map_err(|error| Error::log(task, error))?;
            let is_done = stretch.is_done();
            let task = Task { stretch, ..task.clone() };
            Ok(if is_done { After::Done(task.stretch.next_offset) } else { After::GoOn(task) })
        }
        Err(FetchError::OffsetOutOfRange(_)) => Ok(After::Gone(task.clone())),
        Err(FetchError::NotLeader(_) | FetchError::Later(_) | FetchError::UnknownTopic(_)) => {
            Ok(After::Elsewhere(task.clone()))
        }
        Err(FetchError::Final(error)) => Err(Error::Kafka(error.clone())),
    }
}

/// How often, and since when, the first partition of a request gave nothing.
///
/// A broker fills its answer in the order of the request and gives at least one batch of the first partition that has
/// any. So a first partition without data has none between here and the last stable offset: on a compacted log the cleaner
/// took it; on any other this passes (a new leader's high watermark lags for a moment) or is a stall.
#[derive(Debug, Default)]
struct Idle {
    answers: u32,
    since: Option<Instant>,
}

impl Idle {
    /// Whether the first task has reached its end without a batch that says so.
    fn judge(&mut self, task: &Task, fetched: Option<&Fetched>, progressed: bool, now: Instant) -> Result<bool, Error> {
        let Some(fetched) = fetched.filter(|_| !progressed) else {
            *self = Self::default();
            return Ok(false);
        };
        self.answers += 1;
        let since = *self.since.get_or_insert(now);
        if task.compacted && self.answers >= IDLE_ANSWERS && fetched.last_stable_offset >= task.stretch.end_offset {
            return Ok(true);
        }
        if now.duration_since(since) < STALL {
            return Ok(false);
        }
        Err(Error::Stalled {
            topic: task.topic.name.clone(),
            partition: task.partition,
            offset: task.stretch.next_offset,
            end_offset: task.stretch.end_offset,
            seconds: STALL.as_secs(),
        })
    }
}

impl Worker {
    async fn read_all(&mut self) -> Result<(), Error> {
        loop {
            if self.shared.stop.is_set() {
                return Ok(());
            }
            let taken = self.queue().take();
            let Some((broker, tasks)) = taken else {
                if self.queue().is_over() {
                    return Ok(());
                }
                // Another worker may give something back.
                tokio::time::sleep(BACK_WAIT).await;
                continue;
            };
            let back = if broker == NO_BROKER { tasks } else { self.read(broker, tasks).await? };
            let led = self.find_leaders(back).await?;
            self.queue().finish(broker, led);
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads tasks from one broker until each is done or has to go elsewhere; gives back the latter.
    async fn read(&mut self, broker: i32, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        let mut back = Vec::new();
        let mut asked = tasks;
        let mut idle = Idle::default();
        let mut answer = self.ask(broker, &asked);
        while !asked.is_empty() && !self.shared.stop.is_set() {
            let outcomes = answer.await.map_err(|_| Error::WorkerEnded)??;
            let (mut next, mut gone, mut reached) = (Vec::new(), Vec::new(), Vec::new());
            for (task, answered) in asked.iter().zip(&outcomes) {
                let after = after(task, &answered.outcome)?;
                reached.push(after.next_offset());
                match after {
                    After::GoOn(task) => next.push(task),
                    After::Done(_) => {}
                    After::Elsewhere(task) => back.push(task),
                    After::Gone(task) => gone.push(task),
                }
            }
            let progressed = next.first() != Some(&asked[0]);
            let first = outcomes.first().and_then(|answered| answered.outcome.as_ref().ok());
            let ended = idle.judge(&asked[0], first, progressed, Instant::now())?.then(|| next.remove(0));
            self.queue().top_up(broker, &mut next);
            answer = self.ask(broker, &next);
            for ((task, answered), next_offset) in asked.iter().zip(outcomes).zip(reached) {
                if let Ok(fetched) = answered.outcome {
                    self.keep(task, &fetched, next_offset).await?;
                }
            }
            self.sink.flush().await?;
            if let Some(task) = ended {
                self.hole(&task, task.stretch.end_offset, HoleReason::Compaction).await?;
            }
            for task in gone {
                back.extend(self.skip_deleted(task).await?);
            }
            if let Some(segment) = self.sink.rotate().await? {
                self.send(segment).await?;
            }
            asked = next;
        }
        back.extend(asked);
        Ok(back)
    }

    /// Sends a fetch request; it is on its way before its answer is waited for.
    fn ask(&self, broker: i32, tasks: &[Task]) -> Answer {
        let limits = FetchLimits { max_bytes: FETCH_BYTES, min_bytes: 1, max_wait_ms: FETCH_WAIT_MS };
        let target = |task: &Task| FetchTarget {
            topic: task.topic.name.clone(),
            topic_id: task.topic.id,
            partition: task.partition,
            leader_epoch: -1,
            offset: task.stretch.next_offset,
            max_bytes: FETCH_BYTES,
        };
        let targets: Vec<FetchTarget> = tasks.iter().map(target).collect();
        let (cluster, lane) = (self.shared.cluster.clone(), self.number);
        Answer(tokio::spawn(async move {
            if targets.is_empty() { Ok(Vec::new()) } else { cluster.fetch(broker, lane, &targets, limits).await }
        }))
    }

    /// Stores what of a partition's answer belongs to the task, up to where the next batch begins.
    async fn keep(&mut self, task: &Task, fetched: &Fetched, next_offset: i64) -> Result<(), Error> {
        if fetched.records.is_empty() {
            return Ok(());
        }
        let steps = task.stretch.steps(&fetched.records, &fetched.aborted);
        let content = self.sink.append(task, &fetched.records, steps).await?;
        let offsets = next_offset.abs_diff(task.stretch.next_offset);
        if offsets > 0 {
            self.budget.progress(std::time::Instant::now());
        }
        self.shared.limiter.take(content.raw_bytes, content.records).await;
        self.shared.progress.add(offsets, content.records, content.raw_bytes);
        Ok(())
    }

    async fn hole(&mut self, task: &Task, end_offset: i64, reason: HoleReason) -> Result<(), Error> {
        let start_offset = task.stretch.next_offset;
        self.sink.append_hole(task, Hole { start_offset, end_offset, reason }).await?;
        self.shared.progress.add(end_offset.abs_diff(start_offset), 0, 0);
        Ok(())
    }

    /// Retention or DeleteRecords was faster: what is gone becomes a hole, and the rest is read.
    async fn skip_deleted(&mut self, mut task: Task) -> Result<Option<Task>, Error> {
        let at = task.stretch.next_offset;
        let key = (task.topic.name.clone(), task.partition);
        let mut earliest = self.shared.cluster.list_offsets([key.clone()], Position::Earliest).await;
        let log_start_offset = earliest.remove(&key).ok_or(Error::WorkerEnded)??.offset;
        if log_start_offset <= at {
            return Err(Error::Truncated { topic: task.topic.name.clone(), partition: task.partition, offset: at });
        }
        let end_offset = log_start_offset.min(task.stretch.end_offset);
        self.lose(&task, end_offset).await?;
        task.stretch = Stretch::new(end_offset..task.stretch.end_offset, true);
        Ok((!task.stretch.is_done()).then_some(task))
    }

    /// Offsets that were to be in the backup and cannot be any more.
    async fn lose(&mut self, task: &Task, end_offset: i64) -> Result<(), Error> {
        let (topic, partition, start_offset) = (&task.topic.name, task.partition, task.stretch.next_offset);
        tracing::warn!(topic, partition, start_offset, end_offset, "records were deleted before they could be read");
        self.hole(task, end_offset, HoleReason::Deleted).await
    }

    /// Finds out who leads the partitions now. A topic that is gone, or is another one of the same name, is lost.
    async fn find_leaders(&mut self, mut back: Vec<Task>) -> Result<Vec<(i32, Task)>, Error> {
        let began = std::time::Instant::now();
        let mut led = Vec::new();
        while !back.is_empty() && !self.shared.stop.is_set() {
            let now = std::time::Instant::now();
            let refreshed = self.shared.cluster.refresh().await;
            let Some(pause) = self.budget.pause(now) else {
                let task = &back[0];
                let why = refreshed.err().or_else(|| self.leader_error(task));
                let (topic, partition) = (task.topic.name.clone(), task.partition);
                return Err(Error::Leaderless { topic, partition, why: why.map(Box::new) });
            };
            for task in std::mem::take(&mut back) {
                match self.shared.cluster.leader(&task.topic.name, task.partition) {
                    _ if self.is_replaced(&task) => self.lose(&task, task.stretch.end_offset).await?,
                    Ok(leader) => led.push((leader.broker, task)),
                    Err(error)
                        if error.kind() == Kind::Usage && now.duration_since(began) > UNKNOWN_TOPIC_MEANS_DELETED =>
                    {
                        self.lose(&task, task.stretch.end_offset).await?;
                    }
                    Err(_) => back.push(task),
                }
            }
            tokio::time::sleep(pause).await;
        }
        Ok(led)
    }

    fn leader_error(&self, task: &Task) -> Option<crate::kafka::Error> {
        self.shared.cluster.leader(&task.topic.name, task.partition).err()
    }

    /// Whether the topic's name belongs to another topic now (KIP-516).
    fn is_replaced(&self, task: &Task) -> bool {
        let id = self.shared.cluster.topic_id(&task.topic.name);
        !id.is_nil() && !task.topic.id.is_nil() && id != task.topic.id
    }

    async fn send(&self, segment: StoredSegment) -> Result<(), Error> {
        self.stored.send(segment).await.map_err(|_| Error::WorkerEnded)
    }
}

/// A request on its way, which is given up with its worker.
struct Answer(tokio::task::JoinHandle<Result<Vec<FetchedPartition>, crate::kafka::Error>>);

impl Future for Answer {
    type Output = Result<Result<Vec<FetchedPartition>, crate::kafka::Error>, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
