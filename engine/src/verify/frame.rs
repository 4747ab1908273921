//! One frame, down to its records.

use std::ops::Range;

use bytes::Bytes;

use crate::format::batch::{self, Batch};
use crate::format::codec::Decompressor;
use crate::format::frame::{self, Frame};
use crate::format::record::{self, Records};
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
    /// A batch's records cannot be read.
    #[error("the batch at offset {} cannot be read: {error}", offsets.start)]
    Record {
        /// The offsets of the batch.
        offsets: Range<i64>,
        /// Why not.
        error: record::Error,
    },
    /// It is whole and is not the frame that the index has here.
    #[error("it is not the frame that the index has here: another {0}")]
    Other(&'static str),
}

impl Wrong {
    /// The offsets that cannot be relied on, where they are not those of the whole frame.
    pub fn offsets(&self) -> Option<Range<i64>> {
        match self {
            Self::Record { offsets, .. } => Some(offsets.clone()),
            Self::Frame(_) | Self::Batch(_) | Self::Other(_) => None,
        }
    }

    /// Whether the batch may be read with more memory.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::Record { error: record::Error::TooLarge { .. }, .. })
    }
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
/// The first thing that is wrong with the frame; when the frame is right, every batch whose records cannot be read.
pub fn check(bytes: &Bytes, expected: &Expected, decompressor: &mut Decompressor) -> Result<Sum, Vec<Wrong>> {
    let (frame, mut sum) = open(bytes, expected, decompressor).map_err(|wrong| vec![wrong])?;
    let mut unreadable = Vec::new();
    for batch in frame.batches() {
        let batch = batch.map_err(|error| vec![error.into()])?;
        sum.content.add_batch(&batch);
        sum.leader_epoch = sum.leader_epoch.max(batch.leader_epoch());
        if let Err(error) = read_records(&batch, decompressor) {
            unreadable.push(Wrong::Record { offsets: batch.offsets(), error });
        }
    }
    if !unreadable.is_empty() {
        return Err(unreadable);
    }
    frame.holes.iter().for_each(|hole| sum.content.holes.add_hole(hole));
    if sum.content.max_timestamp_ms.0 != expected.max_timestamp_ms {
        return Err(vec![Wrong::Other("largest timestamp")]);
    }
    Ok(sum)
}

fn open(bytes: &Bytes, expected: &Expected, decompressor: &mut Decompressor) -> Result<(Frame, Sum), Wrong> {
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
    Ok((frame, sum))
}

fn read_records(batch: &Batch<'_>, decompressor: &mut Decompressor) -> Result<(), record::Error> {
    if batch.record_count() == 0 && batch.records().is_empty() {
        return Ok(());
    }
    let records = record::decompress(batch, decompressor)?;
    Records::new(&records, batch).try_for_each(|record| record.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::Compression;
    use crate::format::builder::BatchBuilder;
    use crate::format::checksum;
    use crate::format::frame::Body;
    use crate::format::record::OwnedRecord;
    use crate::format::rope::Rope;

    fn batch(offset: i64, value_bytes: usize) -> Vec<u8> {
        let record = OwnedRecord { timestamp_ms: 1, value: Some(vec![7; value_bytes]), ..OwnedRecord::default() };
        BatchBuilder::new(offset).compression(Compression::Gzip).record(record).build().unwrap()
    }

    /// As a producer with a broken codec makes it, which no broker of old looked into: the batch's own checksum is right.
    fn unreadable(offset: i64) -> Vec<u8> {
        let mut bytes = batch(offset, 100);
        bytes[61..].fill(0xff);
        let crc32c = checksum::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc32c.to_be_bytes());
        bytes
    }

    fn checked(batches: &[Vec<u8>], records_bytes_max: usize) -> Result<Sum, Vec<String>> {
        let (mut rope, all) = (Rope::default(), batches.concat());
        let crc32c = checksum::crc32c(&all);
        rope.own(all);
        let mut out = Rope::default();
        let offsets = 0..batches.len() as i64;
        frame::encode(Body::as_is(rope, crc32c), &[], offsets.clone(), 0, &mut out);
        let expected = Expected { offsets, max_timestamp_ms: 1 };
        check(&out.to_bytes(), &expected, &mut Decompressor::for_records_up_to(records_bytes_max))
            .map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_batch_that_cannot_be_read_is_named_and_the_others_are_looked_at() {
        let found = checked(&[batch(0, 9), unreadable(1), batch(2, 9), unreadable(3)], 1 << 20).unwrap_err();
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("the batch at offset 1 cannot be read: the gzip data is malformed"), "{found:?}");
        assert!(found[1].starts_with("the batch at offset 3 cannot be read"), "{found:?}");
        assert_eq!(checked(&[batch(0, 9), batch(1, 9)], 1 << 20).unwrap().content.records, 2);
    }

    #[test]
    fn a_batch_that_grows_beyond_the_limit_is_named_with_the_flag_that_raises_it() {
        let found = checked(&[batch(0, 9), batch(1, 5000)], 4096).unwrap_err();
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("offset 1") && found[0].contains("--decompressed-batch-bytes-max"), "{found:?}");
    }
}
