//! Restores one partition: reads its frames, makes batches that can be produced, and sees each of them land once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Error;
use super::landing::{Landing, LastBatch, Sent, Surprise};
use super::maker::{Counts, Maker};
use super::memory::{Memory, Room};
use super::runs;
use super::source::Source;
use crate::error::Kind;
use crate::format::batch::{Batch, batches};
use crate::format::layout::RestoreId;
use crate::format::run::{Content, Run};
use crate::kafka::fetch::{FetchError, FetchLimits, FetchTarget, Isolation};
use crate::kafka::list_offsets::Position;
use crate::kafka::produce::{ProduceBatch, Produced};
use crate::kafka::produce_queue::{PendingBatch, ProduceQueues};
use crate::kafka::producer_id::Producer;
use crate::kafka::retry::Budget;
use crate::kafka::{Cluster, Error as KafkaError};
use crate::offsets::map::{LeftOut, OffsetMap};
use crate::progress::Progress;
use crate::rate_limit::RateLimiter;
use crate::rewrite::{self, ProducibleBatch};
use crate::stop::Stop;
use crate::store::Store;

/// The broker remembers the batch already (KIP-98): it has landed.
const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// The broker misses the batch before this one.
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// The broker has forgotten the producer, or does not know it yet.
const UNKNOWN_PRODUCER_ID: i16 = 59;
/// The checksum of the batch does not fit, or its records are not what its header says.
const CORRUPT_MESSAGE: i16 = 2;
/// What a broker answers to a batch that it will not take, however often it is sent: `MESSAGE_TOO_LARGE`, `RECORD_LIST_TOO_LARGE`,
/// `INVALID_TIMESTAMP`, `UNSUPPORTED_FOR_MESSAGE_FORMAT`, `UNSUPPORTED_COMPRESSION_TYPE` and `INVALID_RECORD`.
const REFUSED_BATCH: [i16; 6] = [10, 18, 32, 43, 76, 87];

/// After so long without a batch a broker may have forgotten the producer. It does so after a day, unless `producer.id.expiration.ms` is
/// less.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// What all partitions of a restore share.
pub struct Shared {
    /// The restore.
    pub restore_id: RestoreId,
    /// The cluster that is written to.
    pub cluster: Cluster,
    /// Where batches wait for their requests.
    pub queues: ProduceQueues,
    /// The one producer of the restore.
    pub producer: Producer,
    /// How long a partition without success is tried again.
    pub retry_timeout: Duration,
    /// Limits the whole run.
    pub limiter: RateLimiter,
    /// Bounds what is in memory.
    pub memory: Memory,
    /// Counts.
    pub progress: Progress,
    /// Ends the run.
    pub stop: Stop,
}

/// One target partition, and where it begins.
pub struct Target {
    /// The topic's name in the target.
    pub topic: String,
    /// Its id in the target.
    pub topic_id: uuid::Uuid,
    /// The partition's number.
    pub partition: i32,
    /// The end of the partition before the first batch of this restore.
    pub base_offset: i64,
    /// The connection that the partition's batches take.
    pub lane: usize,
    /// Source offsets that groups have committed.
    pub source_offsets: Vec<i64>,
}

/// A partition that is to be restored.
pub struct Work {
    /// Where it goes.
    pub target: Target,
    /// Its runs in the order of offsets, each with the key of its segment.
    pub runs: Vec<(String, Run)>,
    /// Bytes of a segment that are read at once.
    pub piece_bytes: u64,
    /// Makes what is produced.
    pub maker: Maker,
}

/// Restores the partition, or what is left of it.
///
/// # Errors
/// What cannot be overcome by trying again, and [`Error::Interrupted`].
pub async fn run(shared: Arc<Shared>, store: Store, work: Work) -> Result<(OffsetMap, Counts), Error> {
    let Work { target, mut runs, piece_bytes, mut maker } = work;
    let map = OffsetMap::noting(target.base_offset, target.source_offsets.iter().copied());
    let mut worker = Worker {
        shared: Arc::clone(&shared),
        target,
        landing: Landing::default(),
        on_the_way: VecDeque::new(),
        sent_to: None,
        sent_at: Instant::now(),
        waiting: VecDeque::new(),
        map,
    };
    let landed = worker.landed().await?;
    worker.check_last_batch(landed).await?;
    worker.landing = Landing::resumed(landed);
    for (_, run) in runs.drain(..runs::landed(&runs, maker.request(), landed)) {
        worker.pass_over(&run)?;
    }
    let mut source = Source::new(store, runs, piece_bytes);
    while let Some(frame) = source.next(&shared.memory).await? {
        let mut at = frame.offsets.start;
        maker.begin_frame(frame.offsets.start);
        for batch in frame.batches() {
            let batch = batch.map_err(|error| worker.broken(error.into()))?;
            let mut made = shared.memory.with_bench(|bench| maker.make(&batch, &mut bench.scratch)).await;
            // The maker has counted and joined only what was made.
            if made.as_ref().is_err_and(rewrite::Error::is_too_large) {
                made = shared.memory.alone(|scratch| maker.make(&batch, scratch)).await;
            }
            let made = worker.unless_unreadable(&batch, made)?;
            worker.send_all(made).await?;
            let next = batch.next_offset().max(at);
            worker.shared.progress.add(next.abs_diff(at), 0, 0);
            at = next;
        }
        // Frames are the same in every run of a restore, so that what is joined is too, wherever a run begins.
        let made = shared.memory.with_bench(|bench| maker.end_frame(&mut bench.scratch)).await;
        worker.send_all(made).await?;
        worker.shared.progress.add(frame.offsets.end.abs_diff(at), 0, 0);
    }
    worker.finish().await?;
    // As the backup has them, so that a run that is not read again counts for as much.
    worker.map.add_bytes(maker.source_bytes());
    let counts = Counts { records: worker.map.records(), ..maker.counts() };
    Ok((worker.map, counts))
}

/// Looks whether the target still holds all of a partition that an earlier run of this restore has finished.
///
/// # Errors
/// When it has lost records, or is another topic of the same name: brokers before Kafka 2.8 do not tell the two apart.
pub async fn check_finished(shared: &Shared, target: &Target, map: &OffsetMap) -> Result<(), Error> {
    let (landed, acknowledged) = (landed(shared, target).await?, map.records());
    if landed >= acknowledged {
        return Ok(());
    }
    let error = Surprise::Lost { landed, acknowledged };
    Err(Error::Surprise { topic: target.topic.clone(), partition: target.partition, error })
}

/// Records between the base and the end of the target.
async fn landed(shared: &Shared, target: &Target) -> Result<u64, Error> {
    let key = (target.topic.clone(), target.partition);
    let mut ends = shared.cluster.list_offsets([key.clone()], Position::HighWatermark).await;
    let end = ends.remove(&key).ok_or_else(|| Error::lacks("ListOffsets", &target.topic))??.offset;
    u64::try_from(end - target.base_offset).map_err(|_| Error::Shrunk {
        topic: target.topic.clone(),
        partition: target.partition,
        base_offset: target.base_offset,
        end_offset: end,
    })
}

struct Worker {
    shared: Arc<Shared>,
    target: Target,
    landing: Landing,
    on_the_way: VecDeque<PendingBatch>,
    /// The broker that the newest of them was sent to.
    sent_to: Option<i32>,
    /// When the newest batch was sent.
    sent_at: Instant,
    /// One for each unanswered batch, in order.
    waiting: VecDeque<Waiting>,
    map: OffsetMap,
}

/// What is kept of a batch until it is answered.
struct Waiting {
    /// The source offset of its first record.
    source_offset: i64,
    _room: Room,
}

impl Worker {
    /// A run that is in the target as a whole is not read again.
    fn pass_over(&mut self, run: &Run) -> Result<(), Error> {
        let Content { records, raw_bytes, .. } = run.content;
        self.note(run.start_offset, records)?;
        self.map.add_bytes(raw_bytes);
        self.landing.skip(records).map_err(|error| self.surprise(error))?;
        self.shared.progress.add(run.end_offset.abs_diff(run.start_offset), 0, 0);
        Ok(())
    }

    /// Notes where records go that follow each other in the source.
    fn note(&mut self, source_offset: i64, records: u64) -> Result<(), Error> {
        self.map.push(source_offset, records).map_err(|error| Error::OutOfOrder {
            topic: self.target.topic.clone(),
            partition: self.target.partition,
            error,
        })
    }

    /// Leaves out a batch that cannot be read, and will not be by another run: the rest of the partition is restored.
    fn unless_unreadable(
        &mut self,
        batch: &Batch<'_>,
        made: Result<Vec<ProducibleBatch>, rewrite::Error>,
    ) -> Result<Result<Vec<ProducibleBatch>, rewrite::Error>, Error> {
        match made {
            Err(rewrite::Error::Records { base_offset, source }) if source.kind() == Kind::Corrupt => {
                let (topic, partition) = (&self.target.topic, self.target.partition);
                let (records, why) = (u64::from(batch.record_count().unsigned_abs()), source.to_string());
                tracing::error!(topic, partition, base_offset, records, "a batch of the source cannot be read: {why}");
                let has_room = self.map.leave_out(LeftOut { base_offset, records, why });
                let too_many = || Error::TooManyUnreadable { topic: topic.clone(), partition, base_offset };
                if has_room { Ok(Ok(Vec::new())) } else { Err(too_many()) }
            }
            made => Ok(made),
        }
    }

    async fn send_all(&mut self, made: Result<Vec<ProducibleBatch>, rewrite::Error>) -> Result<(), Error> {
        let made = made.map_err(|error| Error::Rewrite {
            topic: self.target.topic.clone(),
            partition: self.target.partition,
            error,
        })?;
        for batch in made {
            self.send(batch).await?;
        }
        Ok(())
    }

    async fn send(&mut self, batch: ProducibleBatch) -> Result<(), Error> {
        for stretch in batch.stretches() {
            self.note(stretch.source_offset, stretch.count.unsigned_abs())?;
        }
        let source_offset = batch.stretches().first().map_or(-1, |stretch| stretch.source_offset);
        let records = u64::from(batch.record_count().unsigned_abs());
        let bytes = batch.len_bytes() as u64;
        if self.landing.skip(records).map_err(|error| self.surprise(error))? {
            return Ok(());
        }
        if self.shared.stop.is_set() {
            self.settle().await?;
            return Err(Error::Interrupted);
        }
        let room = loop {
            if self.landing.has_room() && !self.must_come_to_rest() {
                if let Some(room) = self.shared.memory.try_room(batch.len_bytes()) {
                    break room;
                }
                if self.landing.unanswered() == 0 {
                    break self.shared.memory.room(batch.len_bytes()).await;
                }
            }
            self.await_one().await?;
            // Late requests of a process that was killed may have been found in the target meanwhile.
            if self.landing.skip(records).map_err(|error| self.surprise(error))? {
                return Ok(());
            }
        };
        self.shared.limiter.take(bytes, records).await;
        if std::mem::replace(&mut self.sent_at, Instant::now()).elapsed() > FORGOTTEN_AFTER {
            self.landing.paused();
        }
        let stamped = batch.stamp(&rewrite::Producer {
            producer_id: self.shared.producer.id,
            producer_epoch: self.shared.producer.epoch,
            base_sequence: self.landing.next_sequence(),
        });
        let sent = self.landing.sent(records, stamped);
        self.waiting.push_back(Waiting { source_offset, _room: room });
        self.shared.progress.add(0, records, bytes);
        if let Err(error) = self.put_in_line(sent) {
            self.recover(error).await?;
        }
        Ok(())
    }

    fn put_in_line(&mut self, sent: Sent) -> Result<(), KafkaError> {
        let Target { topic, topic_id, partition, lane, .. } = &self.target;
        let leader = self.shared.cluster.leader(topic, *partition)?;
        let batch =
            ProduceBatch { topic: topic.clone(), topic_id: *topic_id, partition: *partition, batch: sent.bytes };
        self.on_the_way.push_back(self.shared.queues.push(leader.broker, *lane, batch));
        self.sent_to = Some(leader.broker);
        Ok(())
    }

    /// Whether another broker leads the partition than the one that has unanswered batches of it: the new one would miss them.
    fn must_come_to_rest(&self) -> bool {
        let leader = || self.shared.cluster.leader(&self.target.topic, self.target.partition);
        !self.on_the_way.is_empty() && leader().is_ok_and(|leader| self.sent_to != Some(leader.broker))
    }

    /// Waits for the answer to the oldest batch, and sets right what is wrong.
    async fn await_one(&mut self) -> Result<(), Error> {
        let Some(pending) = self.on_the_way.pop_front() else { return Ok(()) };
        match answer_about(pending).await {
            Ok(answer) => self.answered(answer).await,
            Err(error) => self.recover(error).await,
        }
    }

    /// The oldest batch has landed, as this answer says.
    async fn answered(&mut self, answer: Answer) -> Result<(), Error> {
        self.check_answer(answer).await?;
        let base_offset = self.target.base_offset;
        self.landing.answered_at(base_offset, answer.offset).map_err(|error| self.surprise(error))?;
        self.give_room_back();
        Ok(())
    }

    /// What an answer tells beside the offset: whether restored records were deleted, and whether the batch was given another
    /// time.
    async fn check_answer(&mut self, answer: Answer) -> Result<(), Error> {
        let Target { base_offset, .. } = self.target;
        if answer.log_start_offset > base_offset {
            return Err(Error::Swept {
                topic: self.target.topic.clone(),
                partition: self.target.partition,
                base_offset,
                start_offset: answer.log_start_offset,
            });
        }
        // Brokers tell a time also of a batch that they have had before, whatever the topic's timestamp type is.
        match answer.has_time && answer.offset >= 0 {
            true => self.check_times_at(answer.offset).await,
            false => Ok(()),
        }
    }

    /// The batch that holds the record at this offset has its own times.
    async fn check_times_at(&mut self, offset: i64) -> Result<(), Error> {
        let is_stamped = match self.batch_at(offset).await? {
            Some(batch) => batch.has_log_append_time,
            // Without the permission to read, the topic's setting has to tell.
            None => self.stamps_records().await?,
        };
        if !is_stamped {
            return Ok(());
        }
        Err(Error::Stamped { topic: self.target.topic.clone(), partition: self.target.partition, offset })
    }

    async fn stamps_records(&self) -> Result<bool, Error> {
        const SETTING: &str = "message.timestamp.type";
        let topic = &self.target.topic;
        let mut configs = self.shared.cluster.topic_configs(&[topic.clone()].into(), Some(&[SETTING])).await;
        let entries = configs.remove(topic).ok_or_else(|| Error::lacks("DescribeConfigs", topic))??;
        Ok(entries.iter().any(|entry| entry.name == SETTING && entry.value.as_deref() == Some("LogAppendTime")))
    }

    fn give_room_back(&mut self) {
        let answered = self.waiting.len().saturating_sub(self.landing.unanswered());
        self.waiting.drain(..answered);
    }

    /// How long one trouble may last. It begins with the trouble: a worker that waited for the store or for a rate limit has
    /// used up nothing of it.
    fn budget(&self) -> Budget {
        Budget::new(self.shared.retry_timeout, Instant::now(), self.target.partition.unsigned_abs().into())
    }

    /// Lets everything that is on its way come to rest, finds out what of it landed, and sends the rest again.
    async fn recover(&mut self, first: KafkaError) -> Result<(), Error> {
        let mut error = first;
        let mut corrupt = None;
        let mut budget = self.budget();
        loop {
            if is_refused_for_good(&error, self.landing.oldest_unanswered(), &mut corrupt) {
                return Err(self.refused(error));
            }
            let order_is_lost = matches!(error.code(), Some(OUT_OF_ORDER_SEQUENCE_NUMBER | UNKNOWN_PRODUCER_ID));
            if !error.is_retriable() && !error.leaves_doubt() && !order_is_lost {
                return Err(error.into());
            }
            for pending in std::mem::take(&mut self.on_the_way) {
                // What became of it is read from the target's end.
                let _ = answer_about(pending).await;
            }
            if self.shared.stop.is_set() {
                return Err(Error::Interrupted);
            }
            let Some(pause) = budget.pause(Instant::now()) else { return Err(self.given_up(error)) };
            tokio::time::sleep(pause).await;
            self.shared.cluster.breaker().ready().await;
            if let Err(refused) = self.shared.cluster.refresh().await {
                tracing::debug!(error = %refused, "the metadata could not be refreshed");
            }
            let landed = self.landed().await?;
            // The end tells how many records there are, and not whose: another client may have written as many as are missing.
            self.check_last_batch(landed).await?;
            for first in self.landing.landed_without_answer(landed) {
                self.check_times_at(self.target.base_offset.saturating_add_unsigned(first)).await?;
            }
            let again = self.landing.recover(landed).map_err(|error| self.surprise(error))?;
            self.give_room_back();
            match self.send_again(again).await? {
                Ok(()) => return Ok(()),
                Err(refused) => error = refused,
            }
        }
    }

    /// Sends batches again, the first alone: the leader may not know us. The inner failure is one to recover from.
    async fn send_again(&mut self, again: Vec<Sent>) -> Result<Result<(), KafkaError>, Error> {
        for (number, sent) in again.into_iter().enumerate() {
            if let Err(error) = self.put_in_line(sent) {
                return Ok(Err(error));
            }
            if number == 0
                && let Some(pending) = self.on_the_way.pop_front()
            {
                let answer = match answer_about(pending).await {
                    Ok(answer) => answer,
                    Err(error) => return Ok(Err(error)),
                };
                self.answered(answer).await?;
            }
        }
        Ok(Ok(()))
    }

    /// Waits for all answers.
    async fn settle(&mut self) -> Result<(), Error> {
        while !self.on_the_way.is_empty() {
            self.await_one().await?;
        }
        Ok(())
    }

    /// All answers are in, and the target ends where it must.
    async fn finish(&mut self) -> Result<(), Error> {
        self.settle().await?;
        let landed = self.landed().await?;
        self.landing.finish(landed).map_err(|error| self.surprise(error))
    }

    /// Before we go on behind `landed` records: the batch that the target ends with must be ours.
    async fn check_last_batch(&mut self, landed: u64) -> Result<(), Error> {
        let Target { base_offset, .. } = self.target;
        let Some(before) = landed.checked_sub(1) else { return Ok(()) };
        let Some(last) = self.batch_at(base_offset.saturating_add_unsigned(before)).await? else { return Ok(()) };
        let Producer { id, epoch } = self.shared.producer;
        last.is_ours(id, epoch, base_offset).map_err(|error| self.surprise(error))?;
        if last.has_log_append_time {
            let (topic, partition) = (self.target.topic.clone(), self.target.partition);
            return Err(Error::Stamped { topic, partition, offset: last.base_offset });
        }
        Ok(())
    }

    /// The batch that holds the record at this offset. None when it cannot be seen: it was deleted, it stands behind a
    /// transaction that is open, or we may write to the topic and not read it.
    async fn batch_at(&mut self, offset: i64) -> Result<Option<LastBatch>, Error> {
        let mut budget = self.budget();
        loop {
            let error = match self.shared.cluster.leader(&self.target.topic, self.target.partition) {
                // There is none for a moment.
                Err(error) if error.is_retriable() => error,
                leader => match self.ask_batch_at(leader?.broker, offset).await? {
                    Ok(batch) => return Ok(batch),
                    Err(passing) => passing,
                },
            };
            let Some(pause) = budget.pause(Instant::now()) else { return Err(self.given_up(error)) };
            tokio::time::sleep(pause).await;
            if let Err(refused) = self.shared.cluster.refresh().await {
                tracing::debug!(error = %refused, "the metadata could not be refreshed");
            }
        }
    }

    /// One look at the batch that holds the record at this offset. The inner failure may pass.
    async fn ask_batch_at(&self, broker: i32, offset: i64) -> Result<Result<Option<LastBatch>, KafkaError>, Error> {
        // One whole batch comes, however small the limit (KIP-74).
        let limits = FetchLimits { max_bytes: 1, min_bytes: 0, max_wait_ms: 0, isolation: Isolation::Committed };
        let Target { topic, topic_id, partition, lane, .. } = &self.target;
        let (topic, topic_id, partition) = (topic.clone(), *topic_id, *partition);
        let target = FetchTarget { topic, topic_id, partition, leader_epoch: -1, offset, max_bytes: 1 };
        let fetched = self.shared.cluster.fetch(broker, *lane, &[target], limits).await?;
        match fetched
            .into_iter()
            .next()
            .map(|answer| answer.outcome)
            .ok_or_else(|| Error::lacks("Fetch", &self.target.topic))?
        {
            Ok(fetched) => {
                let first = batches(&fetched.records, true).next().transpose();
                let first = first.map_err(|error| self.broken(error.into()))?;
                Ok(Ok(first.filter(|batch| batch.offsets().contains(&offset)).map(|batch| LastBatch {
                    base_offset: batch.base_offset(),
                    producer_id: batch.producer_id(),
                    producer_epoch: batch.producer_epoch(),
                    base_sequence: batch.base_sequence(),
                    has_log_append_time: batch.is_log_append_time(),
                })))
            }
            Err(FetchError::OffsetOutOfRange(_)) => Ok(Ok(None)),
            Err(FetchError::Final(error)) if error.kind() == Kind::Denied => Ok(Ok(None)),
            Err(FetchError::NotLeader(error) | FetchError::Later(error) | FetchError::UnknownTopic(error)) => {
                Ok(Err(error))
            }
            Err(FetchError::Final(error)) => Err(error.into()),
        }
    }

    async fn landed(&self) -> Result<u64, Error> {
        landed(&self.shared, &self.target).await
    }

    /// The error of a batch, the oldest unanswered one, that the broker will not take.
    fn refused(&self, error: KafkaError) -> Error {
        let source_offset = self.waiting.front().map_or(-1, |waiting| waiting.source_offset);
        Error::RefusedBatch { source_offset, error: Box::new(error) }
    }

    /// The error of a batch that was tried for the whole retry timeout.
    fn given_up(&self, error: KafkaError) -> Error {
        match error.code() {
            Some(UNKNOWN_PRODUCER_ID | OUT_OF_ORDER_SEQUENCE_NUMBER) => {
                Error::Forgotten { id: self.shared.restore_id.clone(), error: Box::new(error) }
            }
            _ => error.into(),
        }
    }

    fn surprise(&self, error: Surprise) -> Error {
        Error::Surprise { topic: self.target.topic.clone(), partition: self.target.partition, error }
    }

    fn broken(&self, error: crate::format::frame::Error) -> Error {
        let (topic, partition) = (&self.target.topic, self.target.partition);
        Error::Damaged { key: format!("the batches of {topic}-{partition}"), start: 0, end: 0, error }
    }
}

/// Whether a broker will not take a batch, however often it is sent. `oldest` is the batch that the error is about, and `corrupt` the one
/// whose checksum did not fit before, by the number of records before each. A line without TLS may have damaged it once: only the second
/// such answer is about what was sent.
fn is_refused_for_good(error: &KafkaError, oldest: Option<u64>, corrupt: &mut Option<u64>) -> bool {
    match error.code() {
        Some(CORRUPT_MESSAGE) => oldest.is_some() && std::mem::replace(corrupt, oldest) == oldest,
        code => code.is_some_and(|code| REFUSED_BATCH.contains(&code)),
    }
}

/// What a broker says about a batch that has landed, now or before.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// The batch's offset; -1 when the broker knows only that it has the batch.
    offset: i64,
    /// Whether the broker tells a time of the batch.
    has_time: bool,
    /// The log start offset of the partition; -1 if the broker does not tell.
    log_start_offset: i64,
}

/// Waits for the answer about one batch: it has landed, now or before, or it is not known to have.
async fn answer_about(pending: PendingBatch) -> Result<Answer, KafkaError> {
    match pending.answer().await {
        Ok(Produced { base_offset, log_append_time_ms, log_start_offset }) => {
            Ok(Answer { offset: base_offset, has_time: log_append_time_ms >= 0, log_start_offset })
        }
        Err(error) if error.code() == Some(DUPLICATE_SEQUENCE_NUMBER) => {
            Ok(Answer { offset: -1, has_time: false, log_start_offset: -1 })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::error::Resource;

    fn answered(code: i16) -> KafkaError {
        let resource = Resource::Partition("t".to_owned(), 0);
        KafkaError::Broker { resource, api: "Produce", code, message: None }
    }

    #[test]
    fn a_batch_that_no_broker_takes_is_refused_at_once_and_one_that_may_have_been_damaged_on_its_way_the_second_time() {
        for code in REFUSED_BATCH {
            assert!(is_refused_for_good(&answered(code), Some(0), &mut None), "{code}");
        }
        let mut corrupt = None;
        let mut refuses = |oldest, code| is_refused_for_good(&answered(code), oldest, &mut corrupt);
        assert!(!refuses(Some(0), CORRUPT_MESSAGE), "it may have been damaged on its way");
        assert!(!refuses(Some(10), CORRUPT_MESSAGE), "the first has landed, and another one was damaged");
        // NOT_LEADER_OR_FOLLOWER, NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT and UNKNOWN_SERVER_ERROR, by a broker that ends, pass.
        for code in [6, 19, 7, -1, OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID] {
            assert!(!refuses(Some(10), code), "{code}");
        }
        assert!(refuses(Some(10), CORRUPT_MESSAGE));
        let lost = KafkaError::Lost { address: "b:9092".to_owned(), why: "closed".to_owned() };
        assert!(!is_refused_for_good(&lost, Some(10), &mut Some(10)));
    }
}
