//! Small batches that follow each other, joined into larger ones.
//!
//! A producer without `linger.ms` writes batches of one to three records. A broker takes such a batch no faster than one of a
//! thousand records, so that a log of them would be restored a record per round trip. Joining is exact: the same records,
//! bytes and times, in the same order; only the headers of the batches and the differences that count from them are new.
//!
//! What is joined follows from the batches alone, from their bytes in the archive and the sizes of their records before
//! compression, and never from time, nor from what a codec makes of them: a restore that was killed joins the same
//! batches when it is resumed, whichever program resumes it.

use super::{Error, ProducibleBatch, Scratch, Stretch};
use crate::format::Header;
use crate::format::batch::{Batch, Compression, HEADER_BYTES};
use crate::format::record::{RecordTime, Records};

/// Bytes of records that small batches are joined up to, before compression: four times what Kafka's own producer collects
/// by default (`batch.size`). Five such batches of each partition are under way, which is more than a fast line holds.
pub const RECORDS_BYTES_MAX: u64 = 64 << 10;
/// A batch is small when so many of its size make the largest joined one.
const SMALL_BATCHES: u64 = 16;

/// Up to how many bytes a partition's batches are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a small batch at most, header included, as the source stored it.
    small_batch_bytes: usize,
    /// Bytes of the records of a joined batch at most, before compression.
    records_bytes_max: usize,
    /// The largest batch that the target takes, header included.
    max_batch_bytes: usize,
}

impl Limits {
    /// The limits for a partition of so many batches, which take `raw_bytes` in the source. `records_bytes_max` is in the
    /// journal, and `max_batch_bytes` is what the target takes. None where batches are not small on average: they stay as
    /// they are, also the small ones among them.
    pub fn of(batches: u64, raw_bytes: u64, records_bytes_max: u64, max_batch_bytes: usize) -> Option<Self> {
        let small_batch_bytes = records_bytes_max / SMALL_BATCHES;
        if batches == 0 || raw_bytes / batches >= small_batch_bytes {
            return None;
        }
        // Records that no codec makes smaller take somewhat more when they are compressed.
        let fits = max_batch_bytes.saturating_sub(HEADER_BYTES) / 4 * 3;
        Some(Self {
            small_batch_bytes: usize::try_from(small_batch_bytes).unwrap_or(usize::MAX),
            records_bytes_max: usize::try_from(records_bytes_max).unwrap_or(usize::MAX).min(fits),
            max_batch_bytes,
        })
    }
}

/// Joins the batches of one partition as they come. Between two calls of [`Joiner::flush`] it depends on nothing else.
#[derive(Debug)]
pub struct Joiner {
    limits: Option<Limits>,
    group: Group,
    joined: u64,
}

/// Batches that are joined when another comes that does not fit, or none comes.
#[derive(Debug, Default)]
struct Group {
    /// As they were: one that stays alone goes as it is.
    batches: Vec<ProducibleBatch>,
    codec: Option<Compression>,
    /// Their records, encoded for the joined batch and not compressed.
    records: Vec<u8>,
    record_count: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl Joiner {
    /// A joiner within these limits; without any it joins nothing.
    pub fn new(limits: Option<Limits>) -> Self {
        Self { limits, group: Group::default(), joined: 0 }
    }

    /// How many batches became part of larger ones so far.
    pub const fn joined(&self) -> u64 {
        self.joined
    }

    /// Takes what was made of one batch of the source, which took `source_bytes` there; gives what is to be produced now,
    /// in order.
    ///
    /// # Errors
    /// [`Error::Compress`]. Records that cannot be read are no error: their batch goes as it is.
    pub fn push(
        &mut self,
        made: Vec<ProducibleBatch>,
        source_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<Vec<ProducibleBatch>, Error> {
        let Some(limits) = self.limits else { return Ok(made) };
        let mut ready = Vec::new();
        for batch in made {
            let is_small = source_bytes <= limits.small_batch_bytes;
            if is_small && self.group.take(&batch, limits, scratch) {
                self.group.batches.push(batch);
                continue;
            }
            ready.extend(self.flush(scratch)?);
            if is_small && self.group.take(&batch, limits, scratch) {
                self.group.batches.push(batch);
            } else {
                ready.push(batch);
            }
        }
        Ok(ready)
    }

    /// Ends what was begun; gives it, in order.
    ///
    /// # Errors
    /// [`Error::Compress`].
    pub fn flush(&mut self, scratch: &mut Scratch) -> Result<Vec<ProducibleBatch>, Error> {
        let group = std::mem::take(&mut self.group);
        let Some((limits, codec)) = self.limits.zip(group.codec).filter(|_| group.batches.len() > 1) else {
            return Ok(group.batches);
        };
        let joined = group.joined(codec, scratch)?;
        // Not to be expected, since the records fit without compression.
        if joined.len_bytes() > limits.max_batch_bytes {
            return Ok(group.batches);
        }
        self.joined += group.batches.len() as u64;
        Ok(vec![joined])
    }
}

impl Group {
    /// Appends the records of a batch, if they fit and can be read; else nothing has changed.
    fn take(&mut self, producible: &ProducibleBatch, limits: Limits, scratch: &mut Scratch) -> bool {
        let Ok(batch) = Batch::parse(producible.as_unstamped()) else { return false };
        if self.codec.is_some_and(|codec| codec != batch.compression()) {
            return false;
        }
        let limit_bytes = limits.records_bytes_max.saturating_sub(self.records.len());
        let Scratch { decompressor, plain, .. } = scratch;
        let opened = decompressor.decompress_into(batch.compression(), batch.records(), limit_bytes, plain);
        let is_taken = opened.is_ok() && self.append_within(&batch, plain, limits.records_bytes_max);
        scratch.release();
        if is_taken {
            self.codec = Some(batch.compression());
        }
        is_taken
    }

    fn append_within(&mut self, batch: &Batch<'_>, plain: &[u8], records_bytes_max: usize) -> bool {
        let (bytes, count) = (self.records.len(), self.record_count);
        let times = (self.base_timestamp_ms, self.max_timestamp_ms);
        if self.append(batch, plain).is_some() && self.records.len() <= records_bytes_max {
            return true;
        }
        self.records.truncate(bytes);
        self.record_count = count;
        (self.base_timestamp_ms, self.max_timestamp_ms) = times;
        false
    }

    fn append(&mut self, batch: &Batch<'_>, plain: &[u8]) -> Option<()> {
        let time = RecordTime::of_batch(batch);
        for record in Records::new(plain, batch) {
            let record = record.ok()?;
            let timestamp_ms = time.of(&record);
            if self.record_count == 0 {
                (self.base_timestamp_ms, self.max_timestamp_ms) = (timestamp_ms, timestamp_ms);
            }
            self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
            let timestamp_delta_ms = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
            record.append_moved(&mut self.records, timestamp_delta_ms, self.record_count, &[]);
            self.record_count = self.record_count.checked_add(1)?;
        }
        Some(())
    }

    fn joined(&self, codec: Compression, scratch: &mut Scratch) -> Result<ProducibleBatch, Error> {
        let mut bytes = vec![0; HEADER_BYTES];
        let compressed = scratch.compressor.compress(codec, None, &self.records, &mut bytes);
        compressed.map_err(|source| Error::Compress {
            base_offset: self.stretches().next().map_or(-1, |stretch| stretch.source_offset),
            source,
        })?;
        Header {
            base_offset: 0,
            leader_epoch: -1,
            attributes: codec.id(),
            last_offset_delta: self.record_count - 1,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            record_count: self.record_count,
        }
        .write(&mut bytes);
        Ok(ProducibleBatch::new(bytes, Stretch::joined(self.stretches())))
    }

    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        self.batches.iter().flat_map(|batch| batch.stretches().iter().copied())
    }
}
