//! The topics that the stand-in holds.

use std::ops::Range;

use bytes::Bytes;
use kafka_backup::format::batch::Batch;
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::record::OwnedRecord;
use uuid::Uuid;

/// A topic without compaction, led by the one broker that there is.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    pub partitions: Vec<Log>,
}

/// A partition's batches in their order, with the offsets that each takes.
#[derive(Debug, Default)]
pub struct Log {
    batches: Vec<(Range<i64>, Bytes)>,
}

impl Topic {
    pub fn new(name: &str, partitions: Vec<Log>) -> Self {
        Self { name: name.to_owned(), id: Uuid::new_v4(), partitions }
    }
}

impl Log {
    /// So many batches of one record each, whose values of so many bytes no codec makes smaller.
    pub fn of_noise(batches: usize, value_bytes: usize, seed: u64) -> Self {
        let mut log = Self::default();
        let mut noise = seed;
        for _ in 0..batches {
            let value = std::iter::repeat_with(|| {
                // SplitMix64: as good as random to a compressor.
                noise = noise.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (noise ^ (noise >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed ^ (mixed >> 27)).to_be_bytes()[0]
            });
            let value: Vec<u8> = value.take(value_bytes).collect();
            let record =
                OwnedRecord { timestamp_ms: 1_700_000_000_000, key: None, value: Some(value), headers: vec![] };
            log.push(BatchBuilder::new(log.end_offset()).record(record));
        }
        log
    }

    fn push(&mut self, batch: BatchBuilder) {
        let bytes = Bytes::from(batch.build().unwrap());
        let batch = Batch::parse(&bytes).unwrap();
        let offsets = batch.base_offset()..batch.next_offset();
        self.batches.push((offsets, bytes));
    }

    /// High watermark and last stable offset: nothing is open.
    pub fn end_offset(&self) -> i64 {
        self.batches.last().map_or(0, |(offsets, _)| offsets.end)
    }

    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Whole batches from the one that holds the offset, as many as fit; one in any case if `is_first`.
    pub fn read(&self, offset: i64, bytes_max: usize, is_first: bool) -> Bytes {
        let mut read = Vec::new();
        for (_, bytes) in self.batches.iter().filter(|(offsets, _)| offsets.end > offset) {
            let is_forced = is_first && read.is_empty();
            if !is_forced && read.len() + bytes.len() > bytes_max {
                break;
            }
            read.extend_from_slice(bytes);
        }
        read.into()
    }
}
