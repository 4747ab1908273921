//! The offset map of a restored partition: which source offsets stand where in the target.
//!
//! It is a list of *stretches*, in each of which source and target count on together; a hole in the source ends one. A
//! compacted log makes many short ones, so they are kept as variable-length integers, two to four bytes a stretch, and
//! never as one entry a record.

use serde::{Deserialize, Serialize};

use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::hole::{put_varint, take_varint};

/// The newest version of stored maps.
pub const VERSION: u32 = 1;

/// The map of one partition, while it is made and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetMap {
    /// The target offset of the first restored record.
    base_offset: i64,
    /// Restored records.
    records: u64,
    /// For each closed stretch: how far its source offset lies behind the end of the one before, then its length.
    encoded: Vec<u8>,
    /// Where the last closed stretch ends in the source.
    encoded_end: i64,
    /// The stretch that may still grow: source offset and length.
    open: Option<(i64, u64)>,
}

/// How a map is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    base_offset: i64,
    records: u64,
    /// Gap before and length of each stretch, in turn.
    stretches: Vec<u64>,
}

impl OffsetMap {
    /// A map of nothing; the first record will stand at `base_offset` in the target.
    pub const fn new(base_offset: i64) -> Self {
        Self { base_offset, records: 0, encoded: Vec::new(), encoded_end: 0, open: None }
    }

    /// Adds `count` records that stand one after the other in the source, from `source_offset` on, behind all others.
    ///
    /// # Panics
    /// When the source offset lies before the end of what was added: the records would be out of order.
    pub fn push(&mut self, source_offset: i64, count: u64) {
        if count == 0 {
            return;
        }
        self.records += count;
        match &mut self.open {
            Some((start, length)) if start.checked_add_unsigned(*length) == Some(source_offset) => *length += count,
            Some(_) | None => {
                self.close();
                assert!(self.encoded_end <= source_offset, "records come in the order of the source");
                self.open = Some((source_offset, count));
            }
        }
    }

    fn close(&mut self) {
        let Some((start, length)) = self.open.take() else { return };
        put_varint(start.abs_diff(self.encoded_end), &mut self.encoded);
        put_varint(length, &mut self.encoded);
        self.encoded_end = start.saturating_add_unsigned(length);
    }

    /// How many records the map holds.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// The offset after the last restored record in the target.
    pub const fn end_offset(&self) -> i64 {
        self.base_offset.saturating_add_unsigned(self.records)
    }

    /// The target offset of the first restored record at or behind `source_offset`; behind the last one it is the offset
    /// of the next record to come.
    pub fn translate(&self, source_offset: i64) -> i64 {
        let mut before = 0;
        for (start, length) in self.stretches() {
            if source_offset <= start {
                break;
            }
            before += length.min(source_offset.abs_diff(start));
        }
        self.base_offset.saturating_add_unsigned(before)
    }

    /// Source offset and length of every stretch, in order.
    fn stretches(&self) -> impl Iterator<Item = (i64, u64)> {
        let mut rest = self.encoded.as_slice();
        let mut at = 0_i64;
        let closed = std::iter::from_fn(move || {
            let start = at.checked_add_unsigned(take_varint(&mut rest)?)?;
            let length = take_varint(&mut rest)?;
            at = start.checked_add_unsigned(length)?;
            Some((start, length))
        });
        closed.chain(self.open)
    }

    /// Writes the map as a document.
    pub fn seal(&self) -> Vec<u8> {
        let mut end = 0_i64;
        let stretches = self.stretches().flat_map(|(start, length)| {
            let gap = start.abs_diff(end);
            end = start.saturating_add_unsigned(length);
            [gap, length]
        });
        let stored = Stored { base_offset: self.base_offset, records: self.records, stretches: stretches.collect() };
        document::seal(DocumentKind::OffsetMap, VERSION, Encoding::JsonZstd, &stored)
    }

    /// Reads what [`OffsetMap::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn open(bytes: &[u8]) -> Result<Self, document::Error> {
        let stored: Stored = document::open(DocumentKind::OffsetMap, VERSION, bytes)?;
        let content = |what: &str| document::Error::Content(what.to_owned());
        let mut map = Self::new(stored.base_offset);
        let mut end = 0_i64;
        for pair in stored.stretches.chunks(2) {
            let &[gap, length] = pair else { return Err(content("a stretch has no length")) };
            let start = end.checked_add_unsigned(gap).ok_or_else(|| content("a stretch begins nowhere"))?;
            end = start.checked_add_unsigned(length).ok_or_else(|| content("a stretch ends nowhere"))?;
            map.push(start, length);
        }
        if map.records == stored.records { Ok(map) } else { Err(content("the stretches do not add up")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stretches() -> impl Strategy<Value = (i64, Vec<(i64, u64)>)> {
        (0_i64..1000, prop::collection::vec((0_u64..20, 1_u64..20), 0..30)).prop_map(|(base, steps)| {
            let mut at = 0_i64;
            let stretches = steps.into_iter().map(|(gap, length)| {
                let start = at.saturating_add_unsigned(gap);
                at = start.saturating_add_unsigned(length);
                (start, length)
            });
            (base, stretches.collect())
        })
    }

    proptest! {
        #[test]
        fn every_position_goes_where_one_entry_a_record_says((base, stretches) in stretches()) {
            let mut map = OffsetMap::new(base);
            let mut sources = Vec::new();
            for (start, length) in stretches {
                map.push(start, length);
                sources.extend(start..start.saturating_add_unsigned(length));
            }
            prop_assert_eq!(map.records(), sources.len() as u64);
            let last = sources.last().copied().unwrap_or_default();
            for position in 0..last + 3 {
                let before = sources.iter().filter(|source| **source < position).count();
                prop_assert_eq!(map.translate(position), base + i64::try_from(before).unwrap());
            }
            prop_assert_eq!(map.translate(i64::MAX), map.end_offset());
        }

        #[test]
        fn a_map_comes_back_from_the_store((base, stretches) in stretches()) {
            let mut map = OffsetMap::new(base);
            stretches.iter().for_each(|(start, length)| map.push(*start, *length));
            let opened = OffsetMap::open(&map.seal()).unwrap();
            prop_assert_eq!(opened.records(), map.records());
            for (start, length) in stretches {
                for position in start - 1..=start.saturating_add_unsigned(length) {
                    prop_assert_eq!(opened.translate(position), map.translate(position));
                }
            }
        }
    }

    #[test]
    fn a_log_without_holes_takes_a_few_bytes_however_long_it_is() {
        let mut map = OffsetMap::new(0);
        (0..1_000_000).for_each(|offset| map.push(offset, 1));
        assert!(map.encoded.len() < 20, "{} bytes", map.encoded.len());
        assert_eq!(map.translate(777_777), 777_777);
    }
}
