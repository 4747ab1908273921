//! What of a fetch response is committed data, and why the rest is not.
//!
//! A `read_committed` fetch still returns the batches of aborted transactions and the transaction markers; the response
//! lists which producers' transactions were aborted (KIP-98). Nothing here decodes a data record: only the key of a
//! marker is read, to know where an aborted transaction ends.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use crate::format::batch::{self, Batch, batches};
use crate::format::hole::{Hole, HoleReason};
use crate::format::record::ControlType;
use crate::kafka::fetch::AbortedTransaction;

/// What stands next in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Committed data.
    Batch(Batch<'a>),
    /// Offsets without any.
    Hole(Hole),
    /// Offsets that belong to whoever reads the stretch before: a batch that began there reaches over.
    NotOurs {
        /// Where the stretch really begins.
        start_offset: i64,
    },
}

/// Why a response cannot be what the log holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that are no batch, or fail their checksum.
    #[error("{0}")]
    Batch(#[from] batch::Error),
    /// A batch begins before the offset at which the one before it ended.
    #[error("a batch at {base_offset} reaches into the batches before {at}: the log changed while it was read")]
    Overlap {
        /// The base offset of the batch.
        base_offset: i64,
        /// The offset that was read next.
        at: i64,
    },
    /// The leader epoch of a batch is older than that of a batch before it, which no log has (KIP-101).
    #[error(
        "the batch at {base_offset} has leader epoch {leader_epoch}, after one of epoch {before}: the log changed while it \
         was read"
    )]
    EpochFell {
        /// The base offset of the batch.
        base_offset: i64,
        /// Its leader epoch.
        leader_epoch: i32,
        /// The leader epoch of the batch before.
        before: i32,
    },
}

/// Where the batches of a leader epoch end, as far as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRead {
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The offset after the last batch of that epoch that was read.
    pub end_offset: i64,
}

/// A stretch of a partition that one worker reads, and how far it came.
///
/// A batch belongs to the stretch in which its base offset lies. So a partition can be read as several stretches at
/// once, whose boundaries know nothing of batches, and yet each batch is taken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The offset to read next.
    pub next_offset: i64,
    /// The offset before which a batch must begin to belong here.
    pub end_offset: i64,
    /// Whether nothing of the stretch was taken yet.
    pub is_fresh: bool,
    /// Whether the stretch begins where the log does, or where a stored run ends, so that a batch reaching over its start is
    /// nobody else's.
    pub starts_log: bool,
    /// The leader epoch of the last batch; absent before the first one, and when the broker does not tell.
    pub epoch: Option<EpochRead>,
    /// Whether offsets were missing in what was read, between batches or inside of one. A log has an offset for every record that was
    /// written: only the log cleaner takes some out of its middle.
    pub has_gaps: bool,
}

impl Stretch {
    /// A stretch of which nothing was read yet.
    pub fn new(offsets: Range<i64>, starts_log: bool) -> Self {
        let Range { start: next_offset, end: end_offset } = offsets;
        Self { next_offset, end_offset, is_fresh: true, starts_log, epoch: None, has_gaps: false }
    }

    /// The stretch with an end that is not before `end_offset`.
    #[must_use]
    pub fn extended_to(&self, end_offset: i64) -> Self {
        Self { end_offset: self.end_offset.max(end_offset), ..self.clone() }
    }

    /// Whether everything that belongs here was taken.
    pub fn is_done(&self) -> bool {
        self.next_offset >= self.end_offset
    }

    /// Offsets that are still to be read.
    pub fn remaining(&self) -> u64 {
        if self.is_done() { 0 } else { self.end_offset.abs_diff(self.next_offset) }
    }

    /// Where the response leaves the stretch, from the batch headers alone: quick enough to be known before the
    /// response is worked on, so that the next request can be on its way meanwhile.
    ///
    /// # Errors
    /// Bytes that are no batches, and leader epochs that fall.
    pub fn after(&self, records: &[u8]) -> Result<Self, Error> {
        let mut after = self.clone();
        for batch in batches(records, true) {
            let batch = batch?;
            if batch.next_offset() <= after.next_offset {
                continue;
            }
            after.is_fresh = false;
            after.has_gaps |= batch.base_offset() > after.next_offset || batch.has_holes();
            if batch.base_offset() >= after.end_offset {
                after.next_offset = after.end_offset;
                break;
            }
            after.next_offset = batch.next_offset();
            after.epoch = next_epoch(after.epoch, &batch)?;
        }
        Ok(after)
    }

    /// The leader epoch that ended between the batches before and those of a response: a leader was elected then, and it may
    /// have truncated the log since.
    pub fn epoch_before(&self, records: &[u8]) -> Option<EpochRead> {
        let before = self.epoch?;
        let first =
            batches(records, true).map_while(Result::ok).find(|batch| batch.next_offset() > self.next_offset)?;
        (first.leader_epoch() > before.leader_epoch).then_some(before)
    }

    /// What of a response belongs to the stretch, in the order of offsets. Every batch's CRC is checked.
    pub fn steps<'a>(
        &self,
        records: &'a [u8],
        aborted: &[AbortedTransaction],
    ) -> impl Iterator<Item = Result<Step<'a>, Error>> {
        let mut stretch = self.clone();
        let mut transactions = Transactions::new(aborted);
        let mut batches = batches(records, true);
        std::iter::from_fn(move || {
            while !stretch.is_done() {
                let batch = match batches.next()? {
                    Ok(batch) => batch,
                    Err(error) => return Some(Err(error.into())),
                };
                // Also batches before the stretch: a marker among them may end an aborted transaction.
                let verdict = transactions.judge(&batch);
                match stretch.place(&batch, verdict) {
                    Ok(Some(step)) => return Some(Ok(step)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            None
        })
    }

    fn place<'a>(&mut self, batch: &Batch<'a>, verdict: Verdict) -> Result<Option<Step<'a>>, Error> {
        let at = self.next_offset;
        if batch.next_offset() <= at {
            return Ok(None);
        }
        let was_fresh = std::mem::replace(&mut self.is_fresh, false);
        if batch.base_offset() >= self.end_offset {
            self.next_offset = self.end_offset;
            let rest = Hole { start_offset: at, end_offset: self.end_offset, reason: HoleReason::Compaction };
            return Ok(Some(Step::Hole(rest)));
        }
        self.next_offset = batch.next_offset();
        if batch.base_offset() < at && !(was_fresh && self.starts_log) {
            return if was_fresh {
                Ok(Some(Step::NotOurs { start_offset: batch.next_offset() }))
            } else {
                Err(Error::Overlap { base_offset: batch.base_offset(), at })
            };
        }
        batch.check_crc()?;
        Ok(Some(match verdict {
            Verdict::Committed => Step::Batch(*batch),
            Verdict::Not(reason) => {
                Step::Hole(Hole { start_offset: batch.base_offset().max(at), end_offset: batch.next_offset(), reason })
            }
        }))
    }
}

/// The epoch after a batch. Brokers that have no leader epochs write -1 into every batch.
fn next_epoch(before: Option<EpochRead>, batch: &Batch<'_>) -> Result<Option<EpochRead>, Error> {
    let leader_epoch = batch.leader_epoch();
    if leader_epoch < 0 {
        return Ok(before);
    }
    match before {
        Some(before) if before.leader_epoch > leader_epoch => {
            Err(Error::EpochFell { base_offset: batch.base_offset(), leader_epoch, before: before.leader_epoch })
        }
        Some(_) | None => Ok(Some(EpochRead { leader_epoch, end_offset: batch.next_offset() })),
    }
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Committed data, as far as the list of aborted transactions says.
    Committed,
    /// Offsets without any.
    Not(HoleReason),
}

/// Which producers are inside an aborted transaction at a point of the log.
pub(super) struct Transactions {
    to_come: VecDeque<AbortedTransaction>,
    inside: HashSet<i64>,
}

impl Transactions {
    /// The beginning of a response with this list.
    pub(super) fn new(aborted: &[AbortedTransaction]) -> Self {
        let mut to_come: Vec<_> = aborted.to_vec();
        to_come.sort_by_key(|transaction| transaction.first_offset);
        Self { to_come: to_come.into(), inside: HashSet::new() }
    }

    /// Judges the next batch of the response.
    pub(super) fn judge(&mut self, batch: &Batch<'_>) -> Verdict {
        while let Some(begun) = self.to_come.pop_front_if(|next| next.first_offset <= batch.last_offset()) {
            self.inside.insert(begun.producer_id);
        }
        if batch.is_control() {
            // A marker that the log cleaner emptied ends nothing that is still there.
            if ControlType::of_batch(batch) == Ok(ControlType::Abort) {
                self.inside.remove(&batch.producer_id());
            }
            return Verdict::Not(HoleReason::Control);
        }
        if batch.is_transactional() && self.inside.contains(&batch.producer_id()) {
            return Verdict::Not(HoleReason::Aborted);
        }
        // The log cleaner leaves the last batch of a producer, without records, to keep its sequence.
        if batch.record_count() == 0 { Verdict::Not(HoleReason::Compaction) } else { Verdict::Committed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::builder::BatchBuilder;
    use crate::format::record::OwnedRecord;

    fn record() -> OwnedRecord {
        OwnedRecord { timestamp_ms: 7, key: None, value: Some(b"v".to_vec()), headers: Vec::new() }
    }

    /// A batch of data of `count` records, by a producer in a transaction when there is one.
    fn data(base_offset: i64, count: usize, producer_id: Option<i64>) -> Vec<u8> {
        let batch = BatchBuilder::new(base_offset).records((0..count).map(|_| record()));
        let batch = match producer_id {
            Some(producer_id) => batch.producer(producer_id, 0, 0).transactional(),
            None => batch,
        };
        batch.build().unwrap()
    }

    fn marker(offset: i64, producer_id: i64, control: ControlType) -> Vec<u8> {
        BatchBuilder::new(offset).producer(producer_id, 0, -1).transactional().control(control, 7).build().unwrap()
    }

    /// Offsets of data, and holes with reasons, of a response that holds everything.
    fn read(log: &[u8], aborted: &[AbortedTransaction], stretch: &Stretch) -> (Vec<(i64, i64)>, Vec<Hole>) {
        let (mut kept, mut holes) = (Vec::new(), Vec::new());
        for step in stretch.steps(log, aborted) {
            match step.unwrap() {
                Step::Batch(batch) => kept.push((batch.base_offset(), batch.next_offset())),
                Step::Hole(hole) => holes.push(hole),
                Step::NotOurs { .. } => {}
            }
        }
        (kept, holes)
    }

    #[test]
    fn interleaved_transactions_are_told_apart() {
        // 1 aborts, 2 commits, and 1 commits the second time; 3 writes outside of any transaction.
        let log = [
            data(0, 2, Some(1)),
            data(2, 2, Some(2)),
            data(4, 1, None),
            data(5, 1, Some(1)),
            marker(6, 1, ControlType::Abort),
            data(7, 1, Some(1)),
            marker(8, 2, ControlType::Commit),
            marker(9, 1, ControlType::Commit),
        ]
        .concat();
        let aborted = [AbortedTransaction { producer_id: 1, first_offset: 0 }];
        let (kept, holes) = read(&log, &aborted, &Stretch::new(0..10, true));
        assert_eq!(kept, [(2, 4), (4, 5), (7, 8)]);
        let reasons: Vec<_> = holes.iter().map(|hole| (hole.start_offset, hole.reason)).collect();
        assert_eq!(
            reasons,
            [
                (0, HoleReason::Aborted),
                (5, HoleReason::Aborted),
                (6, HoleReason::Control),
                (8, HoleReason::Control),
                (9, HoleReason::Control)
            ]
        );
    }

    #[test]
    fn a_marker_before_the_stretch_still_ends_its_transaction() {
        let log = [data(0, 1, Some(1)), marker(1, 1, ControlType::Abort), data(2, 1, Some(1))].concat();
        let aborted = [AbortedTransaction { producer_id: 1, first_offset: 0 }];
        let (kept, _) = read(&log, &aborted, &Stretch::new(2..3, false));
        assert_eq!(kept, [(2, 3)]);
    }

    #[test]
    fn a_batch_that_reaches_over_the_log_start_is_kept_and_over_another_start_is_not() {
        let log = [data(0, 10, None), data(10, 10, None)].concat();
        let (kept, _) = read(&log, &[], &Stretch::new(5..20, true));
        assert_eq!(kept, [(0, 10), (10, 20)]);
        let (kept, _) = read(&log, &[], &Stretch::new(5..20, false));
        assert_eq!(kept, [(10, 20)]);
    }

    #[test]
    fn a_batch_that_reaches_back_in_the_middle_is_an_error() {
        let log = [data(0, 10, None), data(8, 10, None)].concat();
        let steps: Vec<_> = Stretch::new(0..18, true).steps(&log, &[]).collect();
        assert_eq!(steps[1], Err(Error::Overlap { base_offset: 8, at: 10 }));
    }

    #[test]
    fn a_leader_epoch_that_falls_is_an_error_within_a_response_and_from_one_to_the_next() {
        let of_epoch = |base_offset: i64, leader_epoch: i32| {
            BatchBuilder::new(base_offset).leader_epoch(leader_epoch).record(record()).build().unwrap()
        };
        let fell: Result<Stretch, Error> = Err(Error::EpochFell { base_offset: 1, leader_epoch: 2, before: 3 });
        let stretch = Stretch::new(0..10, true);
        assert_eq!(stretch.after(&[of_epoch(0, 3), of_epoch(1, 2)].concat()), fell);
        assert_eq!(stretch.after(&of_epoch(0, 3)).unwrap().after(&of_epoch(1, 2)), fell);
        // An election, after a batch of a broker that has no leader epochs.
        let after = stretch.after(&[of_epoch(0, 3), of_epoch(1, -1), of_epoch(2, 4)].concat()).unwrap();
        assert_eq!(after.epoch, Some(EpochRead { leader_epoch: 4, end_offset: 3 }));
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut log = data(0, 10, None);
        *log.last_mut().unwrap() ^= 1;
        let steps: Vec<_> = Stretch::new(0..10, true).steps(&log, &[]).collect();
        assert!(matches!(steps[..], [Err(Error::Batch(batch::Error::Crc { base_offset: 0, .. }))]), "{steps:?}");
    }

    #[test]
    fn an_end_in_a_compacted_gap_is_reached() {
        let log = [data(0, 2, None), data(90, 2, None)].concat();
        let stretch = Stretch::new(0..50, true);
        assert!(stretch.after(&log).unwrap().is_done());
        let (kept, holes) = read(&log, &[], &stretch);
        assert_eq!(kept, [(0, 2)]);
        assert_eq!(holes, [Hole { start_offset: 2, end_offset: 50, reason: HoleReason::Compaction }]);
    }

    #[test]
    fn offsets_that_are_not_there_show_that_the_log_cleaner_was() {
        let has_gaps =
            |log: &[Vec<u8>], next_offset| Stretch::new(next_offset..100, false).after(&log.concat()).unwrap().has_gaps;
        let whole = [data(0, 10, None), marker(10, 1, ControlType::Abort), data(11, 5, None)];
        assert!(!has_gaps(&whole, 0));
        assert!(!has_gaps(&whole, 5), "the first batch reaches back");
        assert!(!has_gaps(&[], 0));
        assert!(has_gaps(&[data(0, 10, None), data(11, 5, None)], 0), "between two batches");
        assert!(has_gaps(&[data(20, 10, None)], 10), "before the first");
        assert!(has_gaps(&[data(20, 10, None), data(110, 5, None)], 20), "before the end of the stretch");
        let inside = BatchBuilder::new(0).record(record()).last_offset_delta(3).build().unwrap();
        assert!(has_gaps(std::slice::from_ref(&inside), 0), "inside of one");
        assert!(!has_gaps(&[inside, data(4, 2, None)], 4), "it is behind");
        let cleaned = Stretch::new(10..100, false).after(&data(20, 10, None)).unwrap();
        assert!(cleaned.after(&data(30, 10, None)).unwrap().has_gaps, "it stays known");
    }

    proptest! {
        /// However the log is cut into stretches and responses, each batch is taken once, and in order.
        #[test]
        fn boundaries_change_nothing(
            sizes in proptest::collection::vec((1_usize..8, 0_i64..4), 1..30),
            cuts in proptest::collection::btree_set(1_i64..150, 0..6),
            response_batches in 1_usize..6,
        ) {
            let mut log = Vec::new();
            let mut expected = Vec::new();
            let mut at = 0;
            for (count, gap) in sizes {
                at += gap;
                let end = at + i64::try_from(count).unwrap();
                log.push(data(at, count, None));
                expected.push((at, end));
                at = end;
            }
            let mut bounds: Vec<i64> = cuts.into_iter().filter(|cut| *cut < at).collect();
            bounds.insert(0, 0);
            bounds.push(at);
            let mut kept = Vec::new();
            for bound in bounds.windows(2) {
                let mut stretch = Stretch::new(bound[0]..bound[1], bound[0] == 0);
                while !stretch.is_done() {
                    // What a broker returns: whole batches from the one that holds the offset or follows it.
                    let response: Vec<u8> = log
                        .iter()
                        .filter(|bytes| Batch::parse(bytes).unwrap().next_offset() > stretch.next_offset)
                        .take(response_batches)
                        .flatten()
                        .copied()
                        .collect();
                    kept.extend(read(&response, &[], &stretch).0);
                    stretch = stretch.after(&response).unwrap();
                }
            }
            prop_assert_eq!(kept, expected);
        }
    }
}
