//! The topics that the stand-in holds.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kafka_backup::format::batch::{Batch, batches};
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::record::{ControlType, OwnedRecord};
use uuid::Uuid;

/// A topic, led by the one broker that there is.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    /// Another one when the topic was deleted and created again.
    pub id: Arc<Mutex<Uuid>>,
    /// Whether nobody knows the topic any more.
    pub is_deleted: Arc<AtomicBool>,
    /// Its `cleanup.policy`; an error code where it may not be read.
    pub policy: Policy,
    /// Its `delete.retention.ms`, if the broker tells it.
    pub delete_retention_ms: Option<i64>,
    pub partitions: Vec<Log>,
}

/// What is told of a `cleanup.policy`, which may change.
pub type Policy = Arc<Mutex<Result<&'static str, i16>>>;

/// A partition.
#[derive(Debug, Default)]
pub struct Log(Mutex<State>);

/// An aborted transaction, as the broker lists it.
#[derive(Debug, Clone, Copy)]
pub struct Aborted {
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
    /// The offset of its marker.
    pub last_offset: i64,
    /// A response that ends before this offset does not list it, although it holds records of it.
    pub listed_from: i64,
}

/// What a fetch asked for, from an offset on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What is before the last stable offset, with a list of what was aborted.
    Stable(i64),
    /// What is before the high watermark.
    All(i64),
}

/// What a partition's log holds right now, and what a fetch is answered.
#[derive(Default)]
pub struct State {
    /// Batches in their order, with the offsets that each takes.
    pub batches: Vec<(Range<i64>, Bytes)>,
    /// The log start offset.
    pub start_offset: i64,
    /// Where the log ends, when that is after its last batch.
    pub ends_at: i64,
    /// The high watermark, where that is inside a batch.
    pub high_watermark: Option<i64>,
    /// The last stable offset, where that is before the high watermark.
    pub last_stable_offset: Option<i64>,
    /// The index of aborted transactions.
    pub aborted: Vec<Aborted>,
    /// What a fetch is answered instead of batches.
    pub error_code: i16,
    /// Whether nobody leads the partition.
    pub has_no_leader: bool,
    /// What a question for its offsets is answered instead of them.
    pub offsets_error: i16,
    /// What a question for the end of a leader epoch is answered instead of it.
    pub epochs_error: i16,
    /// The broker that readers are sent to, with no records.
    pub preferred_replica: Option<i32>,
    /// Whether a fetch gives nothing, as one from slow tiered storage does.
    pub is_silent: bool,
    /// Whether only a fetch that names it first gives any, as of tiered storage before Kafka 4.2.
    pub gives_only_as_first: bool,
    /// How many batches a fetch gives at most.
    pub batches_max: Option<usize>,
    /// Whether its next batch is larger than any response that a client reads.
    pub is_oversized: bool,
    /// For how long a client is asked to keep quiet after a fetch.
    pub throttle_time_ms: i32,
    /// The leader epoch of what is appended, and where each epoch began.
    pub epoch_starts: Vec<(i32, i64)>,
    /// Fetches so far.
    pub fetches: u64,
    /// What they asked for.
    pub asked: Vec<Asked>,
    /// With so many batches or more it knows no producer any more, as a broker a while after the last batch of each.
    pub forgets_producers_from: Option<usize>,
    /// What a producer is answered that it does not know, if not `UNKNOWN_PRODUCER_ID`.
    pub unknown_producer: Option<i16>,
    /// Whether it takes any sequence from a producer that it does not know, as brokers do since Kafka 2.5 (KIP-360).
    pub takes_any_sequence: bool,
    /// The idempotent producer that it knows, and the sequence that comes next.
    producer: Option<(i64, i32)>,
    /// Called before a fetch is answered, with the offset that it asks for.
    script: Option<Script>,
}

type Script = Box<dyn FnMut(&mut State, i64) + Send>;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("batches", &self.batches.len()).finish_non_exhaustive()
    }
}

impl Topic {
    pub fn new(name: &str, partitions: Vec<Log>) -> Self {
        let (id, policy) = (Arc::new(Mutex::new(Uuid::new_v4())), Arc::new(Mutex::new(Ok("delete"))));
        Self { name: name.to_owned(), id, is_deleted: Arc::default(), policy, delete_retention_ms: None, partitions }
    }

    pub fn id(&self) -> Uuid {
        *self.id.lock().unwrap()
    }

    pub fn compacted(name: &str, log: Log) -> Self {
        Self::new(name, vec![log]).with_policy(Ok("compact"))
    }

    #[must_use]
    pub fn with_policy(self, policy: Result<&'static str, i16>) -> Self {
        *self.policy.lock().unwrap() = policy;
        self
    }

    #[must_use]
    pub fn with_delete_retention_ms(self, delete_retention_ms: i64) -> Self {
        Self { delete_retention_ms: Some(delete_retention_ms), ..self }
    }
}

/// So many bytes that no codec makes smaller (SplitMix64 is as good as random to a compressor).
fn noise(mut seed: u64, bytes: usize) -> Vec<u8> {
    let next = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn record(key: Option<&str>, value: Vec<u8>) -> OwnedRecord {
    let key = key.map(|key| key.as_bytes().to_vec());
    OwnedRecord { timestamp_ms: 1_700_000_000_000, key, value: Some(value), headers: vec![] }
}

impl Log {
    /// So many batches of one record each, whose values of so many bytes no codec makes smaller.
    pub fn of_noise(batches: usize, value_bytes: usize, seed: u64) -> Self {
        let log = Self::default();
        for number in 0..batches {
            log.state().push(1, None, noise(seed ^ ((number as u64) << 32), value_bytes));
        }
        log
    }

    /// A batch of one record for each key; a response holds no two of them.
    pub fn of_keys(keys: &[&str]) -> Self {
        let log = Self::default();
        keys.iter().for_each(|key| log.state().write(key));
        log
    }

    /// Calls the script before each fetch is answered.
    #[must_use]
    pub fn with(self, script: impl FnMut(&mut State, i64) + Send + 'static) -> Self {
        self.state().script = Some(Box::new(script));
        self
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A fetch at this offset, of what is stable or of everything, is answered from what is returned, which nobody else changes meanwhile.
    pub fn fetched(&self, offset: i64, is_stable: bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.fetches += 1;
        state.asked.push(if is_stable { Asked::Stable(offset) } else { Asked::All(offset) });
        let script = state.script.take();
        if let Some(mut script) = script {
            script(&mut state, offset);
            state.script = Some(script);
        }
        state
    }

    /// The high watermark.
    pub fn end_offset(&self) -> i64 {
        self.state().end_offset()
    }

    pub fn bytes(&self) -> usize {
        self.state().batches.iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.is_silent || self.preferred_replica.is_some()
    }

    /// Whole batches from the one that holds the offset on, those that begin before the end, as many as fit; one in any case if `is_first`.
    pub fn read(&self, offsets: Range<i64>, bytes_max: usize, is_first: bool) -> Bytes {
        let mut read = Vec::new();
        let is_asked = |taken: &Range<i64>| taken.end > offsets.start && taken.start < offsets.end;
        let asked = self.batches.iter().filter(|(taken, _)| !self.is_empty() && is_asked(taken));
        for (_, bytes) in asked.take(self.batches_max.unwrap_or(usize::MAX)) {
            let is_forced = is_first && read.is_empty();
            if !is_forced && read.len() + bytes.len() > bytes_max {
                break;
            }
            read.extend_from_slice(bytes);
        }
        read.into()
    }

    /// What a response with these records lists, which were asked for from this offset on.
    pub fn listed(&self, offset: i64, records: &[u8]) -> impl Iterator<Item = &Aborted> {
        let last = batches(records, true).map_while(Result::ok).last();
        let end_offset = last.map_or(offset, |batch| batch.next_offset());
        self.aborted.iter().filter(move |aborted| {
            let overlaps = aborted.first_offset < end_offset && aborted.last_offset >= offset;
            overlaps && aborted.listed_from <= end_offset
        })
    }

    /// The high watermark.
    pub fn end_offset(&self) -> i64 {
        self.high_watermark.unwrap_or_else(|| self.log_end_offset())
    }

    /// The last stable offset.
    pub fn last_stable_offset(&self) -> i64 {
        self.last_stable_offset.unwrap_or_else(|| self.end_offset())
    }

    /// The epoch of the partition's leader, if there was an election.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.epoch_starts.last().map(|(epoch, _)| *epoch)
    }

    fn log_end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |(offsets, _)| offsets.end).max(self.ends_at)
    }

    /// Appends a batch of one record, so large that a response holds one of them.
    pub fn write(&mut self, key: &str) {
        self.write_bytes(key, 700_000);
    }

    /// Appends a batch of one record, whose value has so many bytes that no codec makes smaller.
    pub fn write_bytes(&mut self, key: &str, value_bytes: usize) {
        self.push(1, Some(key), noise(self.end_offset().unsigned_abs(), value_bytes));
    }

    /// Appends a batch of so many records, in the epoch that is the leader's by now.
    pub fn push(&mut self, records: usize, key: Option<&str>, value: Vec<u8>) {
        self.push_batch(|batch| batch.records((0..records).map(|_| record(key, value.clone()))));
    }

    /// Appends a batch of one record of a transaction, so large that a response holds one of them.
    pub fn write_in_transaction(&mut self, producer_id: i64) {
        self.write_bytes_in_transaction(producer_id, 700_000);
    }

    /// Appends a batch of one record of a transaction, whose value has so many bytes that no codec makes smaller.
    pub fn write_bytes_in_transaction(&mut self, producer_id: i64, value_bytes: usize) {
        let value = noise(self.end_offset().unsigned_abs(), value_bytes);
        self.push_batch(|batch| batch.record(record(None, value)).producer(producer_id, 0, 0).transactional());
    }

    /// Appends the marker of an aborted transaction.
    pub fn abort(&mut self, producer_id: i64) {
        self.end_transaction(producer_id, ControlType::Abort);
    }

    /// Appends the marker of a committed transaction.
    pub fn commit(&mut self, producer_id: i64) {
        self.end_transaction(producer_id, ControlType::Commit);
    }

    fn end_transaction(&mut self, producer_id: i64, control: ControlType) {
        self.push_batch(|batch| batch.producer(producer_id, 0, -1).control(control, 1_700_000_000_000));
    }

    fn push_batch(&mut self, fill: impl FnOnce(BatchBuilder) -> BatchBuilder) {
        let batch = fill(BatchBuilder::new(self.end_offset()));
        self.append(batch.build().unwrap());
    }

    /// Appends a batch. Its checksum covers neither the offset nor the leader epoch, which brokers fill in.
    fn append(&mut self, mut bytes: Vec<u8>) {
        let (base_offset, epoch) = (self.end_offset(), self.leader_epoch().unwrap_or(0));
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        let bytes = Bytes::from(bytes);
        let batch = Batch::parse(&bytes).unwrap();
        let offsets = batch.base_offset()..batch.next_offset();
        self.batches.push((offsets, bytes));
    }

    /// Takes a batch of an idempotent producer if it follows the last one (KIP-98), and returns its offset; or else an error code.
    pub fn produce(&mut self, bytes: &[u8]) -> Result<i64, i16> {
        const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
        const UNKNOWN_PRODUCER_ID: i16 = 59;
        let batch = Batch::parse(bytes).unwrap();
        let (producer_id, sequence) = (batch.producer_id(), batch.base_sequence());
        if self.forgets_producers_from.is_some_and(|batches| self.batches.len() >= batches) {
            self.producer = None;
        }
        match self.producer.filter(|(known, _)| *known == producer_id) {
            Some((_, next)) if next != sequence => return Err(OUT_OF_ORDER_SEQUENCE_NUMBER),
            None if sequence != 0 && !self.takes_any_sequence => {
                return Err(self.unknown_producer.unwrap_or(UNKNOWN_PRODUCER_ID));
            }
            Some(_) | None => {}
        }
        self.producer = Some((producer_id, sequence + batch.record_count()));
        let base_offset = self.end_offset();
        self.append(bytes.to_vec());
        Ok(base_offset)
    }

    /// The log cleaner removes the batch at this offset.
    pub fn clean(&mut self, offset: i64) {
        self.batches.retain(|(offsets, _)| offsets.start != offset);
    }

    /// The log cleaner leaves nothing but the last record of the batch of this offset.
    pub fn clean_inside(&mut self, offset: i64) {
        let batch = self.batches.iter_mut().find(|(offsets, _)| offsets.contains(&offset)).unwrap();
        let last_delta = i32::try_from(batch.0.end - batch.0.start - 1).unwrap();
        let left = BatchBuilder::new(batch.0.start).record_at(last_delta, record(Some("last"), b"v".to_vec()));
        batch.1 = left.build().unwrap().into();
    }

    /// The log start offset moves, and whole batches before it go.
    pub fn expire(&mut self, start_offset: i64) {
        self.start_offset = start_offset;
        self.ends_at = self.end_offset();
        self.batches.retain(|(offsets, _)| offsets.end > start_offset);
    }

    /// An unclean election: the log is truncated to this offset, and goes on in this epoch.
    pub fn elect(&mut self, epoch: i32, end_offset: i64) {
        self.batches.retain(|(offsets, _)| offsets.end <= end_offset);
        self.ends_at = 0;
        self.epoch_starts.push((epoch, end_offset));
    }

    /// Where an epoch ended, as a leader answers OffsetForLeaderEpoch: the largest epoch up to the one asked for.
    pub fn epoch_end(&self, asked: i32) -> (i32, i64) {
        let known: Vec<(i32, i64)> = std::iter::once((0, 0)).chain(self.epoch_starts.iter().copied()).collect();
        let at = known.iter().rposition(|(epoch, _)| *epoch <= asked).unwrap_or(0);
        (known[at].0, known.get(at + 1).map_or(self.log_end_offset(), |(_, start)| *start))
    }
}
