//! One worker of a backup: it takes stretches, fetches them from their leader, and fills segments.
//!
//! While a response is worked on, the next request is already on its way: the batch headers alone tell where to go on.
//! A response is full of the first partition of the request before the second has a turn, as brokers fill responses in
//! the order of the request; so runs are long although many partitions are asked for at once.

mod expired;
mod leaders;
mod request;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::leaders::broker_of;
use self::request::Request;
use super::Error;
use super::committed::{EpochRead, Stretch};
use super::findings::{self, Findings};
use super::judgement::{After, Idle, NextTurn, after, falls_behind, is_hopeless, stalled, to_read_on, too_large};
use super::lineage::Lineage;
use super::lookahead::Lookahead;
use super::patience::Patience;
use super::queue::{Cleaning, NO_BROKER, Queue, Task};
use super::sink::{SegmentPlan, Sink};
use crate::format::hole::{Hole, HoleReason};
use crate::format::segment::StoredSegment;
use crate::kafka::Cluster;
use crate::kafka::fetch::{FetchError, Fetched, FetchedPartition};
use crate::progress::Progress;
use crate::rate_limit::RateLimiter;
use crate::stop::Stop;

/// How long a worker without work waits for what another may give back.
const BACK_WAIT: Duration = Duration::from_millis(10);
/// How long a worker reads on before it sees to tasks that have to go elsewhere: leaders move in groups.
const BACK_EVERY: Duration = Duration::from_secs(2);

/// What all workers of a run share.
pub struct Shared {
    /// The cluster that is read.
    pub cluster: Cluster,
    /// What is still to be read.
    pub queue: Mutex<Queue>,
    /// Where segments go.
    pub plan: Arc<SegmentPlan>,
    /// How long a partition without a leader is waited for, and one whose leader fails.
    pub retry_timeout: Duration,
    /// How long silence is no answer.
    pub patience: Patience,
    /// When the run began to read.
    pub began: Instant,
    /// What is found out besides.
    pub findings: Arc<Mutex<Findings>>,
    /// Limits the whole run.
    pub limiter: RateLimiter,
    /// Counts.
    pub progress: Progress,
    /// Ends the run.
    pub stop: Stop,
}

/// Which worker this is.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// The lane on which it fetches.
    pub lane: usize,
    /// What tells its segments from those of all other workers of the run.
    pub sink: usize,
}

/// Reads until nothing is left, or the run is asked to stop. Every segment is sent on as soon as it is stored.
///
/// # Errors
/// What concerns more than one partition, and cannot be overcome by trying again. The segments that were sent on stay good.
pub async fn run(shared: Arc<Shared>, number: Number, stored: mpsc::Sender<StoredSegment>) -> Result<(), Error> {
    let sink = Sink::new(Arc::clone(&shared.plan), number.sink);
    let mut worker = Worker { shared, lane: number.lane, sink, stored };
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
    lane: usize,
    sink: Sink,
    stored: mpsc::Sender<StoredSegment>,
}

impl Worker {
    async fn read_all(&mut self) -> Result<(), Error> {
        loop {
            if self.shared.stop.is_set() {
                return Ok(());
            }
            let taken = self.queue().take();
            let Some((broker, mut tasks)) = taken else {
                if self.queue().is_over() {
                    return Ok(());
                }
                // Another worker may give something back. Until then, what this one has read is not kept from its checkpoint.
                self.rotate().await?;
                tokio::time::sleep(BACK_WAIT).await;
                continue;
            };
            // Another stretch of the same partition may have shown that it cannot be read.
            tasks.retain(|task| !self.findings().is_given_up(&task.topic, task.partition));
            let (replaced, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().partition(|task| self.is_replaced(task));
            let mut back = if broker == NO_BROKER { tasks } else { self.read(broker, tasks).await? };
            back.extend(replaced);
            self.find_leaders(back).await?;
            self.queue().finish(broker);
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn findings(&self) -> std::sync::MutexGuard<'_, Findings> {
        self.shared.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads tasks from one broker until each is done or has to go elsewhere, and returns those of the latter that have no leader yet.
    ///
    /// If a response is too large, each partition is asked for alone: the one whose batch is too large is given up, the others are read.
    async fn read(&mut self, broker: i32, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        let mut back = Vec::new();
        let suspects = self.read_together(broker, tasks, Others::JoinIn, &mut back).await?;
        for task in suspects.map_or_else(Vec::new, |Oversized { tasks, .. }| tasks) {
            let found = self.read_together(broker, vec![task], Others::Wait, &mut back).await?;
            if let Some(Oversized { tasks, bytes, max }) = found {
                tasks.iter().for_each(|task| self.give_up(task, Error::oversized(task, bytes, max)));
            }
        }
        Ok(back)
    }

    /// Reads tasks as [`Worker::read`] does, and adds to `back`. Returns the tasks of a request whose response is too large.
    async fn read_together(
        &mut self,
        broker: i32,
        tasks: Vec<Task>,
        others: Others,
        back: &mut Vec<Task>,
    ) -> Result<Option<Oversized>, Error> {
        let mut looked = Instant::now();
        let mut asked = tasks;
        let mut idle = Idle::default();
        let mut request = self.ask(broker, &asked, idle.is_alone);
        while !asked.is_empty() && !self.shared.stop.is_set() {
            let Request { answer, sent, leader_epochs } = request;
            let outcomes = answer.await.map_err(|_| Error::WorkerEnded)?;
            let now = Instant::now();
            if let Some((bytes, max)) = outcomes.as_ref().err().and_then(too_large) {
                self.queue().answers(broker, &mut asked);
                return Ok(Some(Oversized { tasks: asked, bytes, max }));
            }
            let mut outcomes = match outcomes {
                // Where nobody else answers either, the cluster is away, and the next run reads on.
                Err(error @ crate::kafka::Error::Exhausted { .. }) if self.shared.cluster.refresh().await.is_ok() => {
                    self.queue().set_unreachable(broker);
                    back.extend(self.unanswered(broker, asked, &error, now));
                    return Ok(None);
                }
                outcomes => outcomes?,
            };
            let beyond = self.lookahead(broker, idle.is_alone).complete(&mut asked, &mut outcomes).await;
            self.shared.limiter.take(beyond.bytes, 0).await;
            for (number, first_offset) in beyond.untold {
                self.findings().stays_untold(findings::key(&asked[number]), first_offset);
            }
            let mut is_filled = false;
            let mut judged = Vec::with_capacity(asked.len());
            for (task, answered) in asked.iter().zip(&outcomes) {
                judged.push(self.judge(task, is_filled, &answered.outcome, now));
                is_filled |= answered.has_records();
            }
            let mut next: Vec<Task> = judged.iter().filter_map(to_read_on).collect();
            let response = Response { asked: &asked, outcomes: &outcomes, judged: &judged };
            let ended = self.next_turn(&mut idle, broker, &response, &mut next, now);
            if outcomes.iter().any(FetchedPartition::is_of_a_broker) {
                self.queue().answers(broker, &mut next);
            }
            if !idle.is_alone && others == Others::JoinIn {
                self.queue().top_up(broker, &mut next);
            }
            for (number, task) in asked.iter().enumerate().filter(|(_, task)| task.cleaning.is_possible()) {
                self.note_reading(task, &outcomes[number], &judged[number], sent, leader_epochs[number]);
            }
            request = self.ask(broker, &next, idle.is_alone);
            self.check_epochs(&asked, &outcomes).await;
            for ((task, answered), after) in asked.iter().zip(&outcomes).zip(&judged) {
                // What is given up is not stored: the next run would resume from it.
                if let (Ok(fetched), false) = (&answered.outcome, matches!(after, After::GiveUp(..))) {
                    self.keep(task, fetched, after.task()).await?;
                }
            }
            self.sink.flush().await?;
            if let Some(task) = ended {
                if task.cleaning == Cleaning::Never {
                    self.findings().has_empty_end(findings::key(&task));
                }
                self.findings().times.caught_up(&findings::key(&task), now);
                self.note_epoch(&task);
                self.hole(&task, task.stretch.end_offset, HoleReason::Compaction).await?;
            }
            for after in judged {
                match after {
                    After::GoOn(_) => {}
                    After::Done(task) => self.note_epoch(&task),
                    After::Elsewhere(task) => back.push(task),
                    After::Gone(task) => back.extend(self.skip_expired(task).await?),
                    After::GiveUp(task, error) => self.give_up(&task, error),
                }
            }
            self.rotate().await?;
            asked = next;
            if !back.is_empty() && looked.elapsed() >= BACK_EVERY {
                // What waits for its new leader, or behind a log start that moves, may expire.
                looked = Instant::now();
                let refreshed = self.shared.cluster.refresh().await;
                tracing::debug!(
                    tasks = back.len(),
                    ok = refreshed.is_ok(),
                    "looking for the leaders of partitions that moved"
                );
                *back = self.queue_led(std::mem::take(back)).await?;
            }
        }
        back.extend(asked);
        Ok(None)
    }

    /// What an answer means for its task, with what was found out elsewhere and how long it has been tried.
    fn judge(&self, task: &Task, is_filled: bool, outcome: &Result<Fetched, FetchError>, now: Instant) -> After {
        let Shared { began, patience, retry_timeout, .. } = &*self.shared;
        if self.findings().is_given_up(&task.topic, task.partition) {
            return After::Done(task.clone());
        }
        let after = after(task, is_filled, outcome, now);
        let grown = after.task().stretch.end_offset.saturating_sub(task.stretch.end_offset);
        self.shared.progress.expect_more(u64::try_from(grown).unwrap_or(0));
        match after {
            After::GoOn(mut task) if task.cleaning.is_possible() && task.stretch.next_offset >= task.cut_end_offset => {
                let behind_since = *task.behind_since.get_or_insert(now);
                if !falls_behind(*began, behind_since, now, patience) {
                    return After::GoOn(task);
                }
                let says = format!(
                    "the topic is compacted, and is written to faster than it is read: of keys that were written again after \
                     offset {}, the backup may hold no value",
                    task.stretch.next_offset
                );
                self.findings().fell_behind(findings::key(&task), &says);
                task.stretch.end_offset = task.stretch.next_offset;
                After::Done(task)
            }
            After::Elsewhere(task) | After::Gone(task) if is_hopeless(&task, *retry_timeout, now) => {
                let error = Error::leaderless(&task, self.leader_error(&task));
                After::GiveUp(task, error)
            }
            After::GoOn(_) | After::Done(_) | After::Elsewhere(_) | After::Gone(_) | After::GiveUp(..) => after,
        }
    }

    /// Decides what happens next to the first task of a request, which stays in `next` only if it is asked for again. Returns it when its
    /// log has ended without a batch that says so.
    fn next_turn(
        &self,
        idle: &mut Idle,
        broker: i32,
        &Response { asked, outcomes, judged }: &Response<'_>,
        next: &mut Vec<Task>,
        now: Instant,
    ) -> Option<Task> {
        let patience = &self.shared.patience;
        let [first, ..] = judged else { return None };
        let progressed = match first {
            After::GoOn(task) => task.stretch.next_offset > asked[0].stretch.next_offset,
            After::Done(_) | After::Elsewhere(_) | After::Gone(_) | After::GiveUp(..) => true,
        };
        let answer = outcomes[0].outcome.as_ref().ok().filter(|_| !progressed);
        let (was_cleaned, silence) = {
            let mut findings = self.findings();
            if outcomes.iter().any(FetchedPartition::has_records) {
                findings.silent.gave(broker);
            }
            (findings.was_cleaned(&first.task().topic), findings.silent.stalls(broker, now, patience))
        };
        match idle.judge(first.task(), answer, was_cleaned, silence, patience, now) {
            NextTurn::Same => None,
            NextTurn::Alone => {
                next.drain(1..).for_each(|task| self.queue().push(broker_of(&self.shared.cluster, &task), task));
                None
            }
            NextTurn::Last { since } => {
                // Nothing follows for the other partitions: before Kafka 4.2 a broker reads only the first partition of a request from
                // tiered storage.
                let task = Task { yields_since: Some(since), ..next.remove(0) };
                let mut queue = self.queue();
                // Where no others wait, a worker without work would take it out of the queue at once, before those that this one holds have
                // had their turns.
                match next.is_empty() || queue.waits(broker) {
                    true => queue.push_last(broker, task),
                    false => next.push(task),
                }
                None
            }
            NextTurn::End => Some(next.remove(0)),
            NextTurn::Stalled => {
                let task = next.remove(0);
                let ends_at = answer.map(|fetched| fetched.last_stable_offset.max(fetched.high_watermark));
                // A leader that was elected just now may know less of the end than the one before, but not for so long.
                let error = match ends_at {
                    Some(end_offset) if end_offset < task.stretch.end_offset => {
                        Error::truncated(&task, task.stretch.end_offset)
                    }
                    Some(_) | None => stalled(&task, broker, patience),
                };
                self.give_up(&task, error);
                self.findings().silent.stalled(broker, now);
                None
            }
            NextTurn::Silent { stalls } => {
                let task = next.remove(0);
                self.give_up(&task, Error::silent(&task, broker, stalls));
                None
            }
        }
    }

    fn lookahead(&self, broker: i32, is_alone: bool) -> Lookahead<'_> {
        let Shared { cluster, stop, .. } = &*self.shared;
        Lookahead { cluster, broker, lane: self.lane, max_wait_ms: self.max_wait_ms(is_alone), stop }
    }

    /// Remembers how long a log that may be cleaned has been read, and up to where it was stable: where a hole has a newer value of its
    /// keys further on, the log must still hold that in the end.
    fn note_reading(&self, task: &Task, answered: &FetchedPartition, after: &After, sent: Instant, leader_epoch: i32) {
        let key = findings::key(task);
        if let Ok(fetched) = &answered.outcome {
            if !fetched.records.is_empty() {
                self.findings().times.read(key.clone(), sent);
            }
            if leader_epoch >= 0 {
                let stable = EpochRead { leader_epoch, end_offset: fetched.last_stable_offset };
                self.findings().was_stable(key.clone(), stable);
            }
        }
        if matches!(after, After::Done(_)) {
            self.findings().times.caught_up(&key, Instant::now());
        }
    }

    /// Where a response goes on in a later leader epoch than the one before it ended in, a leader was elected: the log must
    /// still hold what was read of the earlier epoch. Otherwise the partition is given up, and the response is not stored.
    async fn check_epochs(&self, asked: &[Task], outcomes: &[FetchedPartition]) {
        let before = asked.iter().zip(outcomes).filter_map(|(task, answered)| {
            let fetched = answered.outcome.as_ref().ok()?;
            Some((task, task.stretch.epoch_before(&fetched.records)?))
        });
        let before: Vec<_> = before.collect();
        if before.is_empty() {
            return;
        }
        let wanted = before.iter().map(|(task, epoch)| ((task.topic.name.clone(), task.partition), epoch.leader_epoch));
        let lineage = Lineage::ask(&self.shared.cluster, wanted).await;
        for (task, epoch) in before {
            if lineage.has_lost(&task.topic.name, task.partition, epoch, task.cleaning.is_possible()) {
                self.give_up(task, Error::truncated(task, epoch.end_offset));
            } else {
                // Nobody may have answered: then it is asked again before the commit.
                self.findings().was_read(findings::key(task), epoch);
            }
        }
    }

    /// Remembers up to where the last leader epoch of a stretch was read.
    fn note_epoch(&self, task: &Task) {
        if let Some(epoch) = task.stretch.epoch {
            self.findings().was_read(findings::key(task), epoch);
        }
    }

    /// Stores what of a partition's answer belongs to the task, up to where the answer has left it.
    async fn keep(&mut self, task: &Task, fetched: &Fetched, after: &Task) -> Result<(), Error> {
        if fetched.records.is_empty() || self.findings().is_given_up(&task.topic, task.partition) {
            return Ok(());
        }
        if task.cleaning == Cleaning::Never && after.stretch.has_gaps && !task.stretch.has_gaps {
            self.findings().shows_cleaning(&task.topic);
        }
        // Where the log begins by now, a batch that reaches over the start is nobody else's.
        let starts_log = task.stretch.starts_log || fetched.log_start_offset >= task.stretch.next_offset;
        let stretch = Stretch { end_offset: after.stretch.end_offset, starts_log, ..task.stretch.clone() };
        let steps = stretch.steps(&fetched.records, &fetched.aborted);
        let content = match self.sink.append(task, &fetched.records, steps).await {
            Err(error @ Error::Log { .. }) => {
                self.give_up(task, error);
                return Ok(());
            }
            appended => appended?,
        };
        let offsets = after.stretch.next_offset.abs_diff(task.stretch.next_offset);
        self.shared.limiter.take(content.raw_bytes, content.records).await;
        self.shared.progress.add(offsets, content.records, content.raw_bytes);
        Ok(())
    }

    async fn hole(&mut self, task: &Task, end_offset: i64, reason: HoleReason) -> Result<(), Error> {
        let start_offset = task.stretch.next_offset;
        if start_offset >= end_offset {
            return Ok(());
        }
        self.sink.append_hole(task, Hole { start_offset, end_offset, reason }).await?;
        self.shared.progress.add(end_offset.abs_diff(start_offset), 0, 0);
        Ok(())
    }

    /// The partition is left out of the backup, and is a problem of it; the others are read.
    fn give_up(&self, task: &Task, why: Error) {
        self.findings().give_up(findings::key(task), why);
    }

    /// Closes the segment if that is due.
    async fn rotate(&mut self) -> Result<(), Error> {
        match self.sink.rotate().await? {
            Some(segment) => self.send(segment).await,
            None => Ok(()),
        }
    }

    async fn send(&self, segment: StoredSegment) -> Result<(), Error> {
        self.stored.send(segment).await.map_err(|_| Error::WorkerEnded)
    }
}

/// Whether other partitions join those that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    JoinIn,
    Wait,
}

/// Tasks of which one has a batch that is too large to be read.
struct Oversized {
    tasks: Vec<Task>,
    /// What the response announced.
    bytes: i64,
    /// What it may have.
    max: usize,
}

/// A response: what was asked for, what came, and what that means, in the same order.
struct Response<'a> {
    asked: &'a [Task],
    outcomes: &'a [FetchedPartition],
    judged: &'a [After],
}
