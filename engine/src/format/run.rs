//! A run: a stretch of whole batches of one partition inside a segment, and what is known of it without opening it.

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::hole::HoleCounts;

/// What stands in a stretch of a log: sums that can be added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// Record batches.
    pub batches: u64,
    /// Records, as the batch headers count them.
    pub records: u64,
    /// Bytes of the batches as the broker holds them.
    pub raw_bytes: u64,
    /// Bytes of the frames that hold them.
    pub stored_bytes: u64,
    /// Batches that cannot be sent as they are, whatever is asked: log append time, or records missing inside.
    pub rewrite_batches: u64,
    /// The largest batch, in bytes.
    pub batch_bytes_max: u64,
    /// The largest record timestamp, in milliseconds; -1 when there is none.
    ///
    /// There is no smallest one: a batch header gives the first record's time, which bounds nothing.
    pub max_timestamp_ms: Timestamp,
    /// Offsets without a record, by reason.
    pub holes: HoleCounts,
}

/// A timestamp that sums to the largest; -1 when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Default for Timestamp {
    fn default() -> Self {
        Self(-1)
    }
}

impl Content {
    /// Counts one batch in; stored bytes are counted by the frame.
    pub fn add_batch(&mut self, batch: &Batch<'_>) {
        let bytes = batch.bytes().len() as u64;
        self.batches += 1;
        self.records += u64::from(batch.record_count().unsigned_abs());
        self.raw_bytes += bytes;
        self.rewrite_batches += u64::from(batch.is_log_append_time() || batch.has_holes());
        self.batch_bytes_max = self.batch_bytes_max.max(bytes);
        self.max_timestamp_ms = self.max_timestamp_ms.max(Timestamp(batch.max_timestamp_ms()));
    }

    /// Counts another stretch in.
    pub fn add(&mut self, other: &Self) {
        let Self {
            batches,
            records,
            raw_bytes,
            stored_bytes,
            rewrite_batches,
            batch_bytes_max,
            max_timestamp_ms,
            holes,
        } = other;
        self.batches += batches;
        self.records += records;
        self.raw_bytes += raw_bytes;
        self.stored_bytes += stored_bytes;
        self.rewrite_batches += rewrite_batches;
        self.batch_bytes_max = self.batch_bytes_max.max(*batch_bytes_max);
        self.max_timestamp_ms = self.max_timestamp_ms.max(*max_timestamp_ms);
        self.holes.add(holes);
    }
}

/// A run as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// The partition's number.
    pub partition: i32,
    /// The first offset that the run answers for, with its holes.
    pub start_offset: i64,
    /// The offset after the last one that the run answers for.
    pub end_offset: i64,
    /// Where its first frame begins in the segment, in bytes.
    pub position: u64,
    /// Leader epoch of the last batch; -1 when there is none. Tells later whether the log is still the same log.
    pub leader_epoch: i32,
    /// CRC-32C over all bytes of its frames.
    pub crc32c: u32,
    /// What it holds.
    pub content: Content,
}

impl Run {
    /// The bytes of the segment in which the run stands.
    pub fn byte_range(&self) -> std::ops::Range<u64> {
        self.position..self.position.saturating_add(self.content.stored_bytes)
    }
}
