//! Record batches made from records: for tests, for stand-ins of a broker, and for filling gaps.

use super::batch::{Compression, HEADER_BYTES};
use super::codec::{self, Compressor};
use super::record::{ControlType, OwnedRecord};
use super::{Header, stamp_crc, stamp_producer};

const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Makes any batch of format v2 that a log can hold, those with holes and with no records at all included.
///
/// Until told otherwise it is what a plain producer writes to offset 0: uncompressed, CreateTime, without a producer id.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    compression: Compression,
    attributes: i16,
    log_append_time_ms: Option<i64>,
    delete_horizon_ms: Option<i64>,
    producer: (i64, i16, i32),
    records: Vec<(i32, OwnedRecord)>,
    last_offset_delta: Option<i32>,
}

impl BatchBuilder {
    /// A batch that begins at this offset and has no records yet.
    pub const fn new(base_offset: i64) -> Self {
        Self {
            base_offset,
            leader_epoch: 0,
            compression: Compression::None,
            attributes: 0,
            log_append_time_ms: None,
            delete_horizon_ms: None,
            producer: (-1, -1, -1),
            records: Vec::new(),
            last_offset_delta: None,
        }
    }

    /// The leader epoch that the broker stamped.
    #[must_use]
    pub const fn leader_epoch(mut self, leader_epoch: i32) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// The records' codec.
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The broker's time for all records; their own times stay in the bytes, as a broker leaves them there.
    #[must_use]
    pub const fn log_append_time_ms(mut self, timestamp_ms: i64) -> Self {
        self.attributes |= LOG_APPEND_TIME_BIT;
        self.log_append_time_ms = Some(timestamp_ms);
        self
    }

    /// The time after which the log cleaner may remove the tombstones (KIP-534); it becomes the base timestamp.
    #[must_use]
    pub const fn delete_horizon_ms(mut self, timestamp_ms: i64) -> Self {
        self.attributes |= DELETE_HORIZON_BIT;
        self.delete_horizon_ms = Some(timestamp_ms);
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL_BIT;
        self
    }

    /// The idempotent producer.
    #[must_use]
    pub const fn producer(mut self, producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Self {
        self.producer = (producer_id, producer_epoch, base_sequence);
        self
    }

    /// Makes the batch a control batch with this one marker.
    #[must_use]
    pub fn control(mut self, control: ControlType, timestamp_ms: i64) -> Self {
        self.attributes |= CONTROL_BIT | TRANSACTIONAL_BIT;
        let key = Some(control.to_key());
        self.record(OwnedRecord { timestamp_ms, key, value: Some(vec![0; 6]), headers: Vec::new() })
    }

    /// Adds a record at the next offset.
    #[must_use]
    pub fn record(self, record: OwnedRecord) -> Self {
        let next = self.records.last().map_or(0, |(offset_delta, _)| offset_delta + 1);
        self.record_at(next, record)
    }

    /// Adds a record at this distance from the base offset, so that there may be a hole before it.
    #[must_use]
    pub fn record_at(mut self, offset_delta: i32, record: OwnedRecord) -> Self {
        self.records.push((offset_delta, record));
        self
    }

    /// Adds records at the next offsets.
    #[must_use]
    pub fn records(self, records: impl IntoIterator<Item = OwnedRecord>) -> Self {
        records.into_iter().fold(self, Self::record)
    }

    /// The last offset delta, for a batch whose last records compaction took away; otherwise it is the last record's.
    #[must_use]
    pub const fn last_offset_delta(mut self, last_offset_delta: i32) -> Self {
        self.last_offset_delta = Some(last_offset_delta);
        self
    }

    /// The batch's bytes, with a CRC that fits.
    ///
    /// # Errors
    /// [`codec::Error::Failed`] when memory runs out.
    pub fn build(&self) -> Result<Vec<u8>, codec::Error> {
        let times = || self.records.iter().map(|(_, record)| record.timestamp_ms);
        let base_timestamp_ms = self.delete_horizon_ms.or_else(|| times().next()).unwrap_or(-1);
        let mut plain = Vec::new();
        for (offset_delta, record) in &self.records {
            record.append_to(&mut plain, base_timestamp_ms, *offset_delta);
        }
        let mut batch = vec![0; HEADER_BYTES];
        // The log cleaner leaves a batch without records without a compressed stream, too.
        if !self.records.is_empty() {
            Compressor::new().compress(self.compression, None, &plain, &mut batch)?;
        }
        let last = self.records.last().map_or(0, |(offset_delta, _)| *offset_delta);
        let header = Header {
            base_offset: self.base_offset,
            leader_epoch: self.leader_epoch,
            attributes: self.attributes | self.compression.id(),
            last_offset_delta: self.last_offset_delta.unwrap_or(last),
            base_timestamp_ms,
            max_timestamp_ms: self.log_append_time_ms.or_else(|| times().max()).unwrap_or(-1),
            record_count: i32::try_from(self.records.len()).expect("fewer records than offset deltas"),
        };
        header.write(&mut batch);
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        stamp_producer(&mut batch, producer_id, producer_epoch, base_sequence);
        stamp_crc(&mut batch);
        Ok(batch)
    }
}
