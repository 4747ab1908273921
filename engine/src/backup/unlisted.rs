//! Aborted transactions that a broker does not list.
//!
//! A broker writes each aborted transaction into an index, with the last stable offset after it, and a search of the index ends at the
//! first entry whose last stable offset is not before the upper bound of the search, an offset soon after the response's end
//! (`TransactionIndex.collectAbortedTxns`). Replicas write their own index, and a follower appends many batches at once:
//!
//! ```text
//! producer P   data  abort marker   data  data  data  data  ..  abort marker
//! producer Q                                          data  ..
//!              `--- T1 --------'    `--- T2 ---------------------------'
//!                                                     `--- T3
//! ```
//!
//! If it appends T1 and the beginnings of T2 and T3 at once, `ProducerStateManager.lastStableOffset` passes over every transaction of P, and
//! the entry of T1 has the beginning of T3 as the last stable offset. When this replica has become the leader, a response that ends between
//! the beginnings of T2 and T3 does not list T2, and Kafka's own consumer takes records of it for committed ones.
//!
//! So a list may lack a transaction only if one of the same producer was aborted shortly before it, and the response ends shortly after its
//! beginning: both within one append. Its marker may come much later. The log itself tells the truth: a transaction is aborted when the next
//! marker of its producer says so, or when a response lists it that ends further on.
//!
//! Compaction may also have removed the marker of a committed transaction and kept its data (KAFKA-8351, KAFKA-14055). The producer's
//! next marker ends a later transaction then. That is certain where the later transaction is listed as aborted. But a later transaction
//! without records leaves the index (`CleanedTransactionMetadata.onControlBatchRead`), while its marker stays in the log for
//! `delete.retention.ms`.
//!
//! Two cases look alike if no list has the marker's transaction, and the log cleaner has been behind the beginning of the records: offsets
//! are missing there, or a batch has lost its records.
//!
//! - The records were committed, and their own marker is gone.
//! - The records were aborted by this marker, and a broker without the correction of KAFKA-13727 has dropped the entry of the index.
//!
//! Then the response's list is used as it is, with a warning.

use std::collections::BTreeMap;

use super::committed::{Transactions, Verdict};
use crate::format::batch::{self, Batch, batches};
use crate::format::record::ControlType;
use crate::kafka::fetch::{AbortedTransaction, Fetched, Isolation};

/// More bytes than a follower appends at once: `replica.fetch.max.bytes` is 1 MiB where nobody has changed it.
const APPEND_BYTES_MAX: usize = 4 << 20;

/// What of the log before a response tells whether the response's list may lack a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Bytes that were read.
    bytes: usize,
    /// How many of them were read when a marker ended an aborted transaction of a producer, as far as that is near.
    aborts: BTreeMap<i64, usize>,
}

/// A transaction that begins in a response, or goes on there, and is not listed.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// The base offset of its first batch in the response.
    first_offset: i64,
    /// Where that batch begins in the response, in bytes.
    position: usize,
    /// Bytes that were read before it.
    bytes_before: usize,
}

/// Transactions of a response that are not listed and have no marker in it, by their producers, as far as the list may lack them.
#[derive(Debug)]
pub struct Undecided {
    begun: BTreeMap<i64, Begun>,
    /// Bytes from the response's beginning to where the log was read to.
    bytes: usize,
    /// The offset after the last batch that was seen.
    next_offset: i64,
    last_stable_offset: i64,
    high_watermark: i64,
    /// Whether the log cleaner has left no batch between here and the last stable offset.
    stable_is_empty: bool,
    /// The base offset of the last batch of the response that shows that the log cleaner has been there.
    cleaned_at: Option<i64>,
    /// Whether a stable batch behind the response shows that.
    is_cleaned_behind: bool,
    /// The first of the transactions that stay as they are listed, since their log does not tell whether they were aborted.
    untold: Option<Begun>,
}

impl Unlisted {
    /// Adds the transactions to the response's list that were aborted as their markers in it say, and returns those that may have been
    /// aborted too. Batches before `next_offset` were taken earlier, and those from `end_offset` on are not wanted.
    pub fn complete(&mut self, fetched: &mut Fetched, next_offset: i64, end_offset: i64) -> Undecided {
        let Fetched { last_stable_offset, high_watermark, .. } = *fetched;
        let mut undecided = Undecided {
            begun: BTreeMap::new(),
            bytes: 0,
            next_offset,
            last_stable_offset,
            high_watermark,
            stable_is_empty: false,
            cleaned_at: None,
            is_cleaned_behind: false,
            untold: None,
        };
        let mut transactions = Transactions::new(&fetched.aborted);
        // What is no batch is an error of whoever takes the records.
        for batch in batches(&fetched.records, true).map_while(Result::ok) {
            let verdict = transactions.judge(&batch);
            let (producer_id, bytes) = (batch.producer_id(), batch.bytes().len());
            if batch.next_offset() > next_offset {
                if undecided.shows_cleaner(&batch) {
                    undecided.cleaned_at = Some(batch.base_offset());
                }
                if let Some(marker) = Marker::of(&batch) {
                    undecided.end(marker, &[], &mut fetched.aborted);
                    if marker.is_abort {
                        self.aborts.insert(producer_id, self.bytes);
                    }
                } else if batch.is_transactional()
                    && verdict == Verdict::Committed
                    && batch.base_offset() < end_offset
                    && self.may_lack(producer_id)
                {
                    let (first_offset, position) = (batch.base_offset(), undecided.bytes);
                    let begun = Begun { first_offset, position, bytes_before: self.bytes };
                    undecided.begun.entry(producer_id).or_insert(begun);
                }
                self.bytes += bytes;
                undecided.next_offset = batch.next_offset();
            }
            undecided.bytes += bytes;
        }
        self.aborts.retain(|_, abort| self.bytes - *abort < APPEND_BYTES_MAX);
        let bytes = undecided.bytes;
        undecided.begun.retain(|_, begun| bytes - begun.position < APPEND_BYTES_MAX);
        undecided
    }

    /// Whether a transaction of this producer that begins here may be missing in a list: where the reading began so shortly before that a
    /// marker may stand in front of it, any.
    fn may_lack(&self, producer_id: i64) -> bool {
        let abort = self.aborts.get(&producer_id).copied().unwrap_or(0);
        self.bytes - abort < APPEND_BYTES_MAX
    }
}

impl Undecided {
    /// Whether the list is complete.
    pub fn is_over(&self) -> bool {
        self.begun.is_empty()
    }

    /// From which offset on the log tells more.
    pub const fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// How the log is to be asked: behind the last stable offset there are no lists, and markers only.
    pub const fn isolation(&self) -> Isolation {
        let is_stable = self.next_offset < self.last_stable_offset && !self.stable_is_empty;
        if is_stable { Isolation::Committed } else { Isolation::Uncommitted }
    }

    /// How many bytes were read behind the beginning of the first transaction that is not decided.
    pub fn bytes_behind(&self) -> usize {
        self.begun.values().map(|begun| self.bytes - begun.position).max().unwrap_or(0)
    }

    /// The base offset of the first batch of a transaction that is not decided, or that stays as it is listed although the log does not
    /// tell whether it was aborted.
    pub fn first_offset(&self) -> Option<i64> {
        self.begun.values().chain(&self.untold).map(|begun| begun.first_offset).min()
    }

    /// Notes that requests for what is stable bring no batch, although that goes on. A batch that comes after all proves otherwise.
    pub const fn nothing_stable_is_left(&mut self) {
        self.stable_is_empty = true;
    }

    /// Learns from what a broker returned from [`Undecided::next_offset`] on at [`Undecided::isolation`], and adds to the response's list
    /// what was aborted.
    ///
    /// # Errors
    /// Bytes that are no batch.
    pub fn look_at(&mut self, seen: &Fetched, aborted: &mut Vec<AbortedTransaction>) -> Result<(), batch::Error> {
        let (asked_offset, isolation) = (self.next_offset, self.isolation());
        for AbortedTransaction { producer_id, first_offset } in &seen.aborted {
            // It has no marker before what was asked for, so it is the transaction that goes on there.
            if self.begun.get(producer_id).is_some_and(|begun| *first_offset <= begun.first_offset) {
                self.abort(*producer_id, aborted);
            }
        }
        for batch in batches(&seen.records, true) {
            let batch = batch?;
            if batch.next_offset() <= self.next_offset {
                continue;
            }
            // Nothing is cleaned from the last stable offset on.
            let is_stable = batch.base_offset() < self.last_stable_offset;
            self.is_cleaned_behind |= is_stable && self.shows_cleaner(&batch);
            if let Some(marker) = Marker::of(&batch) {
                self.end(marker, &seen.aborted, aborted);
            }
            self.bytes += batch.bytes().len();
            self.stable_is_empty &= !is_stable;
            self.next_offset = batch.next_offset();
        }
        self.high_watermark = self.high_watermark.max(seen.high_watermark);
        let has_batches = self.next_offset > asked_offset;
        if isolation == Isolation::Committed && has_batches {
            // The list of a response that ends so far after the beginning of a transaction has it, if it was aborted.
            let bytes = self.bytes;
            self.begun.retain(|_, begun| bytes - begun.position < APPEND_BYTES_MAX);
        }
        if self.next_offset >= self.high_watermark {
            // What was stable had its marker in the log, unless the log cleaner took it with the records.
            self.begun.clear();
        }
        Ok(())
    }

    /// Takes from the response what cannot be decided now: it will be asked for again. Returns whether nothing is left.
    pub fn leave_out(&self, fetched: &mut Fetched, unlisted: &mut Unlisted) -> bool {
        if let Some(first) = self.begun.values().chain(&self.untold).min_by_key(|begun| begun.position) {
            fetched.records.truncate(first.position);
            unlisted.bytes = first.bytes_before;
            // Markers that were left out will be seen again; until then, their producers may have aborted before.
            unlisted.aborts.values_mut().for_each(|abort| *abort = (*abort).min(first.bytes_before));
        }
        fetched.records.is_empty()
    }

    /// Ends the transaction of a marker's producer. `listed` is what the marker's own response lists, and `aborted` what the response
    /// lists that is to be completed.
    fn end(&mut self, marker: Marker, listed: &[AbortedTransaction], aborted: &mut Vec<AbortedTransaction>) {
        let Marker { producer_id, offset, is_abort } = marker;
        let Some(begun) = self.begun.get(&producer_id).copied() else { return };
        let first_offset = begun.first_offset;
        // A transaction of the same producer began after this one, so this one had ended before it, and its own marker is gone.
        let is_of_a_later_one = |one: &AbortedTransaction| {
            one.producer_id == producer_id && one.first_offset > first_offset && one.first_offset < offset
        };
        let had_ended = listed.iter().chain(&*aborted).any(is_of_a_later_one);
        let was_cleaned = self.is_cleaned_behind || self.cleaned_at.is_some_and(|cleaned_at| cleaned_at > first_offset);
        if is_abort && !had_ended && !was_cleaned {
            self.abort(producer_id, aborted);
            return;
        }
        self.begun.remove(&producer_id);
        if is_abort && !had_ended {
            self.untold = self.untold.into_iter().chain([begun]).min_by_key(|one| one.position);
        }
    }

    /// Whether offsets before the next batch are missing, or the batch has lost its records. Only the log cleaner does either.
    fn shows_cleaner(&self, batch: &Batch<'_>) -> bool {
        batch.base_offset() > self.next_offset || batch.record_count() == 0
    }

    fn abort(&mut self, producer_id: i64, aborted: &mut Vec<AbortedTransaction>) {
        let ended = self.begun.remove(&producer_id);
        aborted.extend(ended.map(|Begun { first_offset, .. }| AbortedTransaction { producer_id, first_offset }));
    }
}

/// The end of a transaction.
#[derive(Debug, Clone, Copy)]
struct Marker {
    producer_id: i64,
    offset: i64,
    is_abort: bool,
}

impl Marker {
    fn of(batch: &Batch<'_>) -> Option<Self> {
        let control = if batch.is_control() { ControlType::of_batch(batch).ok()? } else { return None };
        let is_abort = match control {
            ControlType::Abort => true,
            ControlType::Commit => false,
            ControlType::Other(_) => return None,
        };
        Some(Self { producer_id: batch.producer_id(), offset: batch.base_offset(), is_abort })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::committed::{Step, Stretch};
    use super::*;
    use crate::format::builder::BatchBuilder;
    use crate::format::record::OwnedRecord;

    /// What Kafka's own consumer asks a partition for, and a follower.
    const FETCH_BYTES: usize = 1 << 20;
    const KILOBYTE: usize = 1 << 10;

    /// An entry of the index of aborted transactions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Entry {
        producer_id: i64,
        first_offset: i64,
        last_offset: i64,
        last_stable_offset: i64,
    }

    /// A broker that has appended its log as a follower.
    #[derive(Debug, Default)]
    struct Broker {
        log: Vec<Vec<u8>>,
        index: Vec<Entry>,
        last_stable_offset: i64,
    }

    fn parsed(batch: &[u8]) -> Batch<'_> {
        Batch::parse(batch).unwrap()
    }

    impl Broker {
        fn end_offset(&self) -> i64 {
            self.log.last().map_or(0, |batch| parsed(batch).next_offset())
        }

        /// As `UnifiedLog.append` does: all transactions of the batches are known before the index is written.
        fn append(&mut self, batches: &[Vec<u8>], open: &mut BTreeMap<i64, i64>) {
            let (mut ongoing, mut completed) = (open.clone(), Vec::new());
            for bytes in batches {
                let batch = parsed(bytes);
                let producer_id = batch.producer_id();
                if batch.is_control() {
                    let first_offset = open.iter().find(|(_, id)| **id == producer_id).map(|(first, _)| *first);
                    let Some(first_offset) = first_offset else { continue };
                    open.remove(&first_offset);
                    let is_aborted = ControlType::of_batch(&batch) == Ok(ControlType::Abort);
                    completed.push((producer_id, first_offset, batch.base_offset(), is_aborted));
                } else if !open.values().any(|id| *id == producer_id) {
                    open.insert(batch.base_offset(), producer_id);
                    ongoing.insert(batch.base_offset(), producer_id);
                }
            }
            for (producer_id, first_offset, last_offset, is_aborted) in completed {
                let next = ongoing.iter().find(|(_, id)| **id != producer_id).map(|(first, _)| *first);
                let last_stable_offset = next.unwrap_or(last_offset + 1);
                ongoing.remove(&first_offset);
                if is_aborted {
                    self.index.push(Entry { producer_id, first_offset, last_offset, last_stable_offset });
                }
            }
            self.log.extend_from_slice(batches);
        }

        /// Whole batches from the one with the offset.
        fn records(&self, offset: i64, end_offset: i64, bytes_max: usize) -> Vec<u8> {
            let mut records: Vec<u8> = Vec::new();
            for bytes in self.log.iter().skip_while(|batch| parsed(batch).next_offset() <= offset) {
                let is_full = !records.is_empty() && records.len() + bytes.len() > bytes_max;
                if is_full || parsed(bytes).base_offset() >= end_offset {
                    break;
                }
                records.extend_from_slice(bytes);
            }
            records
        }

        /// What is stable, and what `TransactionIndex.collectAbortedTxns` finds; the index of offsets has an entry for each batch.
        fn fetch(&self, offset: i64, bytes_max: usize, isolation: Isolation) -> Fetched {
            let end_offset = match isolation {
                Isolation::Committed => self.last_stable_offset,
                Isolation::Uncommitted => self.end_offset(),
            };
            let records = self.records(offset, end_offset, bytes_max);
            let end_offset = batches(&records, true).last().map_or(offset, |batch| batch.unwrap().next_offset());
            let next = self.log.iter().find(|batch| parsed(batch).base_offset() >= end_offset);
            let upper_offset = next.map_or(self.end_offset(), |batch| parsed(batch).last_offset());
            let mut aborted = Vec::new();
            let index = if isolation == Isolation::Committed { &self.index[..] } else { &[] };
            for Entry { producer_id, first_offset, last_offset, last_stable_offset } in index {
                if *last_offset >= offset && *first_offset < upper_offset {
                    aborted.push(AbortedTransaction { producer_id: *producer_id, first_offset: *first_offset });
                }
                if *last_stable_offset >= upper_offset {
                    break;
                }
            }
            Fetched {
                high_watermark: self.end_offset(),
                last_stable_offset: self.last_stable_offset,
                log_start_offset: 0,
                aborted,
                records: Bytes::from(records),
                is_throttled: false,
            }
        }

        /// The base offsets of the batches that a reader takes for committed.
        fn read(&self, bytes_max: usize, looks: bool) -> Vec<i64> {
            let (mut stretch, mut unlisted) = (Stretch::new(0..self.last_stable_offset, true), Unlisted::default());
            let mut taken = Vec::new();
            while !stretch.is_done() {
                let mut fetched = self.fetch(stretch.next_offset, bytes_max, Isolation::Committed);
                if looks {
                    let mut undecided = unlisted.complete(&mut fetched, stretch.next_offset, stretch.end_offset);
                    while !undecided.is_over() {
                        let seen = self.fetch(undecided.next_offset(), bytes_max / 4, undecided.isolation());
                        undecided.look_at(&seen, &mut fetched.aborted).unwrap();
                    }
                }
                for step in stretch.steps(&fetched.records, &fetched.aborted) {
                    if let Step::Batch(batch) = step.unwrap() {
                        taken.push(batch.base_offset());
                    }
                }
                stretch = stretch.after(&fetched.records).unwrap();
            }
            taken
        }
    }

    /// What a producer does next.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Write(usize),
        Abort,
        Commit,
    }

    /// A log, and the first offsets of its committed batches.
    #[derive(Debug, Default)]
    struct Writing {
        log: Vec<Vec<u8>>,
        end_offset: i64,
        open: BTreeMap<i64, Vec<i64>>,
        committed: Vec<i64>,
    }

    impl Writing {
        fn act(&mut self, producer_id: i64, act: Act) {
            let batch = BatchBuilder::new(self.end_offset).producer(producer_id, 0, 0).transactional();
            let marker = |control| BatchBuilder::new(self.end_offset).producer(producer_id, 0, -1).control(control, 7);
            let batch = match act {
                Act::Write(bytes) => {
                    self.open.entry(producer_id).or_default().push(self.end_offset);
                    let value = Some(vec![b'v'; bytes]);
                    batch.record(OwnedRecord { timestamp_ms: 7, key: None, value, headers: Vec::new() })
                }
                Act::Abort | Act::Commit => {
                    let Some(written) = self.open.remove(&producer_id) else { return };
                    match act {
                        Act::Abort => marker(ControlType::Abort),
                        Act::Commit | Act::Write(_) => {
                            self.committed.extend(written);
                            marker(ControlType::Commit)
                        }
                    }
                }
            };
            self.log.push(batch.build().unwrap());
            self.end_offset += 1;
        }
    }

    /// The broker after appends of so many batches each, as far as a follower asks for so much at once.
    fn follower(log: &[Vec<u8>], appends: &[usize]) -> Broker {
        let (mut broker, mut open) = (Broker::default(), BTreeMap::new());
        let (mut rest, mut appends) = (log, appends.iter().cycle());
        while !rest.is_empty() {
            let fits = |count: &usize| rest[..*count].iter().map(Vec::len).sum::<usize>() <= FETCH_BYTES;
            let wanted = appends.next().map_or(1, |count| (*count).min(rest.len()));
            let count = (1..=wanted).rev().find(fits).unwrap_or(1);
            broker.append(&rest[..count], &mut open);
            rest = &rest[count..];
        }
        broker.last_stable_offset = open.keys().next().copied().unwrap_or(broker.end_offset());
        broker
    }

    #[test]
    fn a_transaction_that_is_not_listed_is_aborted_as_its_marker_says() {
        let mut writing = Writing::default();
        let writes = |bytes| Act::Write(bytes * KILOBYTE);
        let acts =
            [(3, writes(600)), (3, Act::Commit), (1, writes(1)), (1, Act::Abort), (1, writes(200)), (1, writes(300))];
        let ends = [(2, writes(1)), (1, Act::Abort), (2, Act::Commit)];
        acts.into_iter().chain(ends).for_each(|(producer_id, act)| writing.act(producer_id, act));
        let broker = follower(&writing.log, &[2, 7]);
        // The first one's last stable offset is the beginning of the other producer's.
        assert_eq!(broker.index[0].last_stable_offset, 6);
        assert_eq!(broker.read(FETCH_BYTES, false), [0, 4, 6], "what Kafka's own consumer takes");
        assert_eq!(broker.read(FETCH_BYTES, true), [0, 6]);
    }

    #[test]
    fn the_marker_is_found_beyond_the_last_stable_offset() {
        let mut writing = Writing::default();
        let write = || Act::Write(5 * KILOBYTE);
        let acts = [(1, write()), (1, Act::Abort), (1, write()), (2, write()), (1, Act::Abort)];
        acts.into_iter().for_each(|(producer_id, act)| writing.act(producer_id, act));
        let broker = follower(&writing.log, &[5]);
        assert_eq!(broker.last_stable_offset, 3);
        assert_eq!(broker.read(FETCH_BYTES, false), [2], "what Kafka's own consumer takes");
        assert_eq!(broker.read(FETCH_BYTES, true), [0; 0]);
    }

    #[test]
    fn a_transaction_whose_marker_is_far_away_is_found_in_the_list_of_a_later_response() {
        let mut writing = Writing::default();
        let write = |kilobytes| Act::Write(kilobytes * KILOBYTE);
        let acts =
            [(3, write(600)), (3, Act::Commit), (1, write(1)), (1, Act::Abort), (1, write(200)), (1, write(300))];
        acts.into_iter().for_each(|(producer_id, act)| writing.act(producer_id, act));
        (0..40).for_each(|_| writing.act(2, write(200)));
        [(1, Act::Abort), (2, Act::Commit)].into_iter().for_each(|(producer_id, act)| writing.act(producer_id, act));
        let broker = follower(&writing.log, &[2, 5]);
        assert_eq!(broker.index[0].last_stable_offset, 6);
        assert!(broker.read(FETCH_BYTES, false).contains(&4), "what Kafka's own consumer takes");
        assert_eq!(broker.read(FETCH_BYTES, true), writing.committed);
    }

    /// Data of producer 1 at the offsets, and a marker at the last one.
    fn log_of_one(offsets: &[i64], control: ControlType) -> Vec<u8> {
        let batch = |offset| BatchBuilder::new(offset).producer(1, 0, 0).transactional();
        let (last, data) = offsets.split_last().unwrap();
        let value = || OwnedRecord { timestamp_ms: 7, key: None, value: Some(b"v".to_vec()), headers: Vec::new() };
        let data = data.iter().flat_map(|offset| batch(*offset).record(value()).build().unwrap());
        data.chain(batch(*last).control(control, 7).build().unwrap()).collect()
    }

    fn answer(records: Vec<u8>, aborted: &[i64]) -> Fetched {
        let listed = |first_offset: &i64| AbortedTransaction { producer_id: 1, first_offset: *first_offset };
        Fetched {
            high_watermark: 100,
            last_stable_offset: 50,
            log_start_offset: 0,
            aborted: aborted.iter().map(listed).collect(),
            records: Bytes::from(records),
            is_throttled: false,
        }
    }

    fn first_offsets(fetched: &Fetched) -> Vec<i64> {
        fetched.aborted.iter().map(|one| one.first_offset).collect()
    }

    #[test]
    fn a_committed_transaction_whose_marker_was_cleaned_is_not_ended_by_the_marker_of_a_listed_one() {
        // The transaction of offset 0 was committed, and its marker at 1 is gone.
        for offsets in [&[0, 2, 3][..], &[0, 3]] {
            let mut fetched = answer(log_of_one(offsets, ControlType::Abort), &[2]);
            let undecided = Unlisted::default().complete(&mut fetched, 0, 50);
            assert!(undecided.is_over());
            assert_eq!(first_offsets(&fetched), [2], "{offsets:?}");
        }
        // The marker is seen in another response, whose list has the later transaction.
        let mut fetched = answer(log_of_one(&[0, 1], ControlType::Other(7)), &[]);
        let mut undecided = Unlisted::default().complete(&mut fetched, 0, 50);
        let seen = answer(log_of_one(&[2, 3], ControlType::Abort), &[2]);
        undecided.look_at(&seen, &mut fetched.aborted).unwrap();
        assert!(undecided.is_over() && fetched.aborted.is_empty(), "{fetched:?}");
    }

    #[test]
    fn a_transaction_that_the_log_cleaner_has_left_is_not_ended_by_a_marker_that_nothing_lists_and_is_named() {
        // The marker at 1 is gone, and so are the records of the later transaction, or all but a batch that has lost them.
        let value = OwnedRecord { timestamp_ms: 7, key: None, value: Some(b"v".to_vec()), headers: Vec::new() };
        let data = BatchBuilder::new(0).producer(1, 0, 0).transactional().record(value).build().unwrap();
        let emptied = BatchBuilder::new(1).producer(2, 0, 0).transactional().build().unwrap();
        let with_emptied = [data, emptied, log_of_one(&[2], ControlType::Abort)].concat();
        for records in [log_of_one(&[0, 3], ControlType::Abort), with_emptied] {
            let mut fetched = answer(records, &[]);
            let undecided = Unlisted::default().complete(&mut fetched, 0, 50);
            assert_eq!((undecided.is_over(), undecided.first_offset()), (true, Some(0)));
            assert!(fetched.aborted.is_empty(), "{fetched:?}");
        }
        // A commit needs no list.
        let mut fetched = answer(log_of_one(&[0, 3], ControlType::Commit), &[]);
        assert_eq!(Unlisted::default().complete(&mut fetched, 0, 50).first_offset(), None);
        // Offsets that are missing before it show nothing.
        let mut fetched = answer(log_of_one(&[5, 6], ControlType::Abort), &[]);
        assert!(Unlisted::default().complete(&mut fetched, 0, 50).is_over());
        assert_eq!(first_offsets(&fetched), [5]);
    }

    #[test]
    fn a_transaction_behind_whose_response_offsets_are_missing_stays_as_it_is_listed_and_is_named() {
        let mut fetched = answer(log_of_one(&[0, 1], ControlType::Other(7)), &[]);
        let mut unlisted = Unlisted::default();
        let mut undecided = unlisted.complete(&mut fetched, 0, 50);
        // The log cleaner may also have come after the response.
        undecided.look_at(&answer(log_of_one(&[4], ControlType::Abort), &[]), &mut fetched.aborted).unwrap();
        assert_eq!((undecided.is_over(), undecided.first_offset()), (true, Some(0)));
        assert!(fetched.aborted.is_empty(), "{fetched:?}");
        assert!(undecided.leave_out(&mut fetched, &mut unlisted), "it is part of what is left out");
    }

    #[test]
    fn where_nothing_stable_is_left_before_the_last_stable_offset_the_log_is_read_on_beyond_it() {
        let mut fetched = answer(log_of_one(&[0, 1], ControlType::Other(7)), &[]);
        let mut undecided = Unlisted::default().complete(&mut fetched, 0, 50);
        assert_eq!((undecided.first_offset(), undecided.isolation()), (Some(0), Isolation::Committed));
        undecided.look_at(&answer(Vec::new(), &[]), &mut fetched.aborted).unwrap();
        assert_eq!(undecided.isolation(), Isolation::Committed, "another partition may have filled the response");
        undecided.nothing_stable_is_left();
        assert_eq!((undecided.next_offset(), undecided.isolation()), (2, Isolation::Uncommitted));
        let seen = answer(log_of_one(&[60], ControlType::Abort), &[]);
        undecided.look_at(&seen, &mut fetched.aborted).unwrap();
        assert!(undecided.is_over());
        assert_eq!(first_offsets(&fetched), [0]);
    }

    #[test]
    fn what_cannot_be_decided_is_left_out() {
        let mut writing = Writing::default();
        for act in [Act::Write(1), Act::Commit, Act::Write(1), Act::Abort] {
            writing.act(1, act);
        }
        let broker = follower(&writing.log, &[1]);
        let records = broker.records(0, 3, FETCH_BYTES).into();
        let mut fetched = broker.fetch(0, FETCH_BYTES, Isolation::Committed);
        (fetched.records, fetched.aborted) = (records, Vec::new());
        let mut unlisted = Unlisted::default();
        let undecided = unlisted.complete(&mut fetched, 0, 4);
        assert_eq!((undecided.is_over(), undecided.next_offset()), (false, 3));
        assert!(!undecided.leave_out(&mut fetched, &mut unlisted), "what was decided is left");
        assert_eq!(&*fetched.records, [&*writing.log[0], &*writing.log[1]].concat());
        assert_eq!(unlisted.bytes, fetched.records.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn what_was_aborted_is_never_taken_and_what_was_committed_always(
            acts in proptest::collection::vec(
                (0_i64..3, prop_oneof![
                    3 => (1_usize..200).prop_map(|size| Act::Write(size * KILOBYTE)),
                    2 => Just(Act::Abort),
                    1 => Just(Act::Commit),
                ]),
                1..150,
            ),
            appends in proptest::collection::vec(1_usize..40, 1..10),
            kilobytes_max in 100_usize..1100,
            ends in any::<bool>(),
        ) {
            let mut writing = Writing::default();
            acts.into_iter().for_each(|(producer_id, act)| writing.act(producer_id, act));
            if ends {
                (0..3).for_each(|producer_id| writing.act(producer_id, Act::Abort));
            }
            let broker = follower(&writing.log, &appends);
            writing.committed.retain(|offset| *offset < broker.last_stable_offset);
            writing.committed.sort_unstable();
            prop_assert_eq!(broker.read(kilobytes_max * KILOBYTE, true), writing.committed);
        }
    }
}
