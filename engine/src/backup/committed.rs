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

/// An aborted transaction, as a fetch response lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// The offset of its first batch in the partition.
    pub first_offset: i64,
}

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
    /// Whether the stretch begins where the log does, so that a batch reaching over its start is nobody else's.
    pub starts_log: bool,
}

impl Stretch {
    /// A stretch of which nothing was read yet.
    pub fn new(offsets: Range<i64>, starts_log: bool) -> Self {
        Self { next_offset: offsets.start, end_offset: offsets.end, is_fresh: true, starts_log }
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
    /// Bytes that are no batches.
    pub fn after(&self, records: &[u8]) -> Result<Self, Error> {
        let mut after = self.clone();
        for batch in batches(records, true) {
            let batch = batch?;
            if batch.next_offset() <= after.next_offset {
                continue;
            }
            after.is_fresh = false;
            if batch.base_offset() >= after.end_offset {
                after.next_offset = after.end_offset;
                break;
            }
            after.next_offset = batch.next_offset();
        }
        Ok(after)
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Committed,
    Not(HoleReason),
}

/// Which producers are inside an aborted transaction at a point of the log.
struct Transactions {
    to_come: VecDeque<AbortedTransaction>,
    inside: HashSet<i64>,
}

impl Transactions {
    fn new(aborted: &[AbortedTransaction]) -> Self {
        let mut to_come: Vec<_> = aborted.to_vec();
        to_come.sort_by_key(|transaction| transaction.first_offset);
        Self { to_come: to_come.into(), inside: HashSet::new() }
    }

    fn judge(&mut self, batch: &Batch<'_>) -> Verdict {
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
