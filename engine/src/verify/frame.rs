//! One frame, down to its records.

use std::ops::Range;

use bytes::Bytes;

use crate::format::batch;
use crate::format::codec::{self, Decompressor};
use crate::format::frame::{self, Frame};
use crate::format::record::{self, RECORDS_BYTES_MAX, Records};
use crate::format::run::Content;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Its bytes.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// A batch.
    #[error(transparent)]
    Batch(#[from] batch::Error),
    /// A batch's records cannot be decompressed.
    #[error("the batch at offset {base_offset} cannot be decompressed: {error}")]
    Codec {
        /// The batch.
        base_offset: i64,
        /// Why not.
        error: codec::Error,
    },
    /// A batch's records cannot be read.
    #[error("the batch at offset {base_offset} cannot be read: {error}")]
    Record {
        /// The batch.
        base_offset: i64,
        /// Why not.
        error: record::Error,
    },
    /// It is whole and is not the frame that the index has here.
    #[error("it is not the frame that the index has here: another {0}")]
    Other(&'static str),
}

/// What the index of a segment says of a frame.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The offsets that it answers for.
    pub offsets: Range<i64>,
    /// Its largest timestamp, in milliseconds; -1 for none.
    pub max_timestamp_ms: i64,
}

/// What stands in a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Counts and sizes.
    pub content: Content,
    /// The largest leader epoch of a batch; -1 for none.
    pub leader_epoch: i32,
}

/// Checks a frame that must fill `bytes`: its own checksum, that of every batch, that batches and holes answer for every
/// offset once, and that every record can be read.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(bytes: &Bytes, expected: &Expected, decompressor: &mut Decompressor) -> Result<Sum, Wrong> {
    let (frame, frame_bytes) = Frame::decode(bytes, decompressor)?;
    if frame_bytes != bytes.len() {
        return Err(Wrong::Other("size"));
    }
    if frame.offsets != expected.offsets {
        return Err(Wrong::Other("range of offsets"));
    }
    frame.check()?;
    let mut sum = Sum { leader_epoch: -1, ..Sum::default() };
    sum.content.stored_bytes = frame_bytes as u64;
    for batch in frame.batches() {
        let batch = batch?;
        let base_offset = batch.base_offset();
        sum.content.add_batch(&batch);
        sum.leader_epoch = sum.leader_epoch.max(batch.leader_epoch());
        if batch.record_count() == 0 && batch.records().is_empty() {
            continue;
        }
        let records = decompressor
            .decompress(batch.compression(), batch.records(), RECORDS_BYTES_MAX)
            .map_err(|error| Wrong::Codec { base_offset, error })?;
        for record in Records::new(&records, &batch) {
            record.map_err(|error| Wrong::Record { base_offset, error })?;
        }
    }
    frame.holes.iter().for_each(|hole| sum.content.holes.add_hole(hole));
    if sum.content.max_timestamp_ms.0 != expected.max_timestamp_ms {
        return Err(Wrong::Other("largest timestamp"));
    }
    Ok(sum)
}
