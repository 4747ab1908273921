//! Batches that a broker takes from a producer, and the stamp that they get when they are sent.

use bytes::{Bytes, BytesMut};

use crate::format::batch::Batch;
use crate::format::{Header, stamp_crc, stamp_producer};

/// Who sends a batch, and the place of its first record in what they sent to the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// The producer id that InitProducerId gave; -1 for none.
    pub producer_id: i64,
    /// The epoch that came with it; -1 for none.
    pub producer_epoch: i16,
    /// The sequence number of the batch's first record, from 0; -1 for none.
    pub base_sequence: i32,
}

impl Producer {
    /// A producer that is not idempotent.
    pub const NONE: Self = Self { producer_id: -1, producer_epoch: -1, base_sequence: -1 };

    /// The sequence number that follows `records` more of them: after 2147483647 comes 0, as brokers count.
    ///
    /// Neither may be negative.
    pub const fn sequence_after(sequence: i32, records: i32) -> i32 {
        // The sum of two non-negative numbers wraps at most once, into the sign bit.
        sequence.wrapping_add(records) & i32::MAX
    }
}

/// Source offsets of records that follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The source offset of the first record.
    pub source_offset: i64,
    /// How many records there are, each one offset after the other.
    pub count: i64,
}

impl Stretch {
    /// The stretches that these offsets, in rising order, come to.
    pub(super) fn of_offsets(offsets: impl Iterator<Item = i64>) -> Vec<Self> {
        let mut stretches: Vec<Self> = Vec::new();
        for offset in offsets {
            match stretches.last_mut() {
                Some(last) if last.source_offset + last.count == offset => last.count += 1,
                Some(_) | None => stretches.push(Self { source_offset: offset, count: 1 }),
            }
        }
        stretches
    }

    /// These stretches, which follow each other in rising order, without those that only continue the one before.
    pub(super) fn joined(parts: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut stretches: Vec<Self> = Vec::new();
        for part in parts {
            match stretches.last_mut() {
                Some(last) if last.source_offset + last.count == part.source_offset => last.count += part.count,
                Some(_) | None => stretches.push(part),
            }
        }
        stretches
    }
}

/// A batch that lacks nothing but its producer and its CRC: [`ProducibleBatch::stamp`] gives both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducibleBatch {
    bytes: BytesMut,
    stretches: Vec<Stretch>,
}

impl ProducibleBatch {
    /// `bytes` are a whole batch but for producer and CRC; `stretches` has its records in order.
    pub(super) fn new(mut bytes: Vec<u8>, stretches: Vec<Stretch>) -> Self {
        // A compressor takes room for the worst case. What is under way is counted by its length.
        bytes.shrink_to_fit();
        Self { bytes: BytesMut::from(Bytes::from(bytes)), stretches }
    }

    /// Bytes that the batch takes in a produce request.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that it takes in memory.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many records it holds: 1 or more. This is what the sequence goes up by, and the target's offsets.
    pub fn record_count(&self) -> i32 {
        let count: i64 = self.stretches.iter().map(|stretch| stretch.count).sum();
        i32::try_from(count).expect("a batch counts its records in 32 bits")
    }

    /// Where its records stood in the source, in order. The first record of the first stretch gets the base offset that the
    /// target answers with, and each one after it the next.
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// The batch as it is so far: producer and CRC are not those that it is sent with.
    pub(super) fn as_unstamped(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes to send. To send them again under another producer, take them back as [`BytesMut`] and [`stamp`] them.
    pub fn stamp(mut self, producer: &Producer) -> Bytes {
        stamp(&mut self.bytes, producer);
        self.bytes.freeze()
    }
}

/// Writes the producer into a batch and computes its CRC anew, in one pass over the bytes.
///
/// # Panics
/// When `batch` is shorter than a batch header.
pub fn stamp(batch: &mut [u8], producer: &Producer) {
    stamp_producer(batch, producer.producer_id, producer.producer_epoch, producer.base_sequence);
    stamp_crc(batch);
}

/// The batch with a producer's header and its records untouched.
///
/// The base offset becomes 0 and the leader epoch -1, as producers send them. Of the attributes only the codec stays: the
/// target knows nothing of the source's transaction, and a delete horizon belongs to the log that it was set in (the base
/// timestamp that holds it stays, since the records' times count from there). Only for what [`super::decide`] lets pass.
pub fn pass_through(batch: &Batch<'_>) -> ProducibleBatch {
    let mut bytes = BytesMut::from(batch.bytes());
    Header {
        base_offset: 0,
        leader_epoch: -1,
        attributes: batch.compression().id(),
        last_offset_delta: batch.last_offset_delta(),
        base_timestamp_ms: batch.base_timestamp_ms(),
        max_timestamp_ms: batch.max_timestamp_ms(),
        record_count: batch.record_count(),
    }
    .write(&mut bytes);
    let stretch = Stretch { source_offset: batch.base_offset(), count: i64::from(batch.record_count()) };
    ProducibleBatch { bytes, stretches: vec![stretch] }
}
