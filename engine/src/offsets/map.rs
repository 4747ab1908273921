//! The offset map of a restored partition: which source offsets stand where in the target.
//!
//! It is a list of *stretches*, in each of which source and target count on together; a hole in the source ends one. A
//! compacted log makes many short ones, so they are kept as variable-length integers, two to four bytes a stretch, and
//! never as one entry a record. A map with too many of them is cut down to the positions that were noted while it was
//! made: those of committed offsets.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::hole::{put_varint, take_varint};
use crate::offsets::positions::{Positions, Wanted};

/// Bytes of stretches that a map holds at most, in memory and in the journal: one to two million stretches. The map of a
/// log with more transactions or holes keeps only what was noted. A few partitions are copied at a time, so that their
/// maps take no more memory than their records.
const STRETCH_BYTES_MAX: usize = 4 << 20;

/// The newest version of stored maps.
pub const VERSION: u32 = 1;

/// Batches of one partition that may be left out; a partition with more of them is not what a broker stored.
pub const LEFT_OUT_MAX: usize = 100;

/// A record batch that had to be changed and could not be read: none of its records is in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeftOut {
    /// Its base offset in the source.
    pub base_offset: i64,
    /// How many records it holds, as its header says.
    pub records: u64,
    /// Why it cannot be read.
    pub why: String,
}

/// Records that cannot stand behind those that a map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} records from source offset {source_offset} on cannot follow those before offset {end_offset}")]
pub struct OutOfOrder {
    /// Where they begin in the source.
    pub source_offset: i64,
    /// How many there are.
    pub count: u64,
    /// The source offset behind the last record that the map holds.
    pub end_offset: i64,
}

/// The map of one partition, while it is made and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetMap {
    /// The target offset of the first restored record.
    base_offset: i64,
    /// Restored records.
    records: u64,
    /// Bytes of the record batches that hold them, as they were produced.
    bytes: u64,
    /// For each closed stretch: how far its source offset lies behind the end of the one before, then its length.
    encoded: Vec<u8>,
    /// Where the last closed stretch ends in the source.
    encoded_end: i64,
    /// The stretch that may still grow: source offset and length.
    open: Option<(i64, u64)>,
    /// Whether the stretches are all there; none are kept of a map that had too many.
    is_whole: bool,
    /// The positions of offsets that were to be noted.
    noted: Wanted,
    /// What is in the source and not in the target, in the order of offsets.
    left_out: Vec<LeftOut>,
}

/// How a map is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored<T> {
    base_offset: i64,
    records: u64,
    /// Absent in maps of the first programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Gap before and length of each stretch, in turn; empty where there are positions instead.
    stretches: T,
    /// Source and target offset of what was noted, of a map that had too many stretches; absent in all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    positions: Option<Positions>,
    /// Absent where everything was read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

impl OffsetMap {
    /// A map of nothing; the first record will stand at `base_offset` in the target.
    pub fn new(base_offset: i64) -> Self {
        Self::noting(base_offset, [])
    }

    /// The same; whatever becomes of its stretches, it knows where these source offsets stand.
    pub fn noting(base_offset: i64, source_offsets: impl IntoIterator<Item = i64>) -> Self {
        Self {
            base_offset,
            records: 0,
            bytes: 0,
            encoded: Vec::new(),
            encoded_end: 0,
            open: None,
            is_whole: true,
            noted: Wanted::new(base_offset, source_offsets),
            left_out: Vec::new(),
        }
    }

    /// Notes a batch that is left out; false when there are too many.
    pub fn leave_out(&mut self, batch: LeftOut) -> bool {
        let has_room = self.left_out.len() < LEFT_OUT_MAX;
        if has_room {
            self.left_out.push(batch);
        }
        has_room
    }

    /// The batches that were left out, in the order of offsets.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Adds `count` records that stand one after the other in the source, from `source_offset` on, behind all others.
    ///
    /// # Errors
    /// [`OutOfOrder`] when the source offset lies before the end of what was added, or the last record beyond the last
    /// offset that there is. The map is as it was then.
    pub fn push(&mut self, source_offset: i64, count: u64) -> Result<(), OutOfOrder> {
        if count == 0 {
            return Ok(());
        }
        let end_offset = self.source_end_offset();
        if source_offset < end_offset || source_offset.checked_add_unsigned(count).is_none() {
            return Err(OutOfOrder { source_offset, count, end_offset });
        }
        match &mut self.open {
            Some((_, length)) if source_offset == end_offset => *length += count,
            Some(_) | None => {
                self.close();
                self.open = Some((source_offset, count));
            }
        }
        self.records += count;
        self.noted.push(source_offset, count);
        Ok(())
    }

    /// Counts the bytes of a record batch whose records were added.
    pub const fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// The source offset behind the last record.
    fn source_end_offset(&self) -> i64 {
        self.open.map_or(self.encoded_end, |(start, length)| start.saturating_add_unsigned(length))
    }

    fn close(&mut self) {
        let Some((start, length)) = self.open.take() else { return };
        if self.is_whole {
            put_varint(start.abs_diff(self.encoded_end), &mut self.encoded);
            put_varint(length, &mut self.encoded);
        }
        self.encoded_end = start.saturating_add_unsigned(length);
        if self.encoded.len() > STRETCH_BYTES_MAX {
            self.is_whole = false;
            self.encoded = Vec::new();
        }
    }

    /// How many records the map holds.
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the record batches that hold them, as they were produced, or as the source held them where a resumed restore
    /// passed over them; 0 in maps of the first programs, which did not count them.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offset after the last restored record in the target.
    pub const fn end_offset(&self) -> i64 {
        self.base_offset.saturating_add_unsigned(self.records)
    }

    /// The target offset of the first restored record at or behind `source_offset`; behind the last one it is the offset
    /// of the next record to come. Only a map whose stretches are all there can tell it of every offset.
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

    /// Where these source offsets stand in the target, all of them in one pass over the map; of a map that had too many
    /// stretches, where those stand that were noted.
    pub fn positions(&self, source_offsets: impl IntoIterator<Item = i64>) -> Positions {
        if !self.is_whole {
            return self.noted.clone().finish();
        }
        let mut wanted = Wanted::new(self.base_offset, source_offsets);
        self.stretches().for_each(|(start, length)| wanted.push(start, length));
        wanted.finish()
    }

    /// Source offset and length of every stretch, in order.
    fn stretches(&self) -> impl Iterator<Item = (i64, u64)> {
        let mut rest = self.encoded.as_slice();
        let open = self.open.filter(|_| self.is_whole);
        let mut at = 0_i64;
        let closed = std::iter::from_fn(move || {
            let start = at.checked_add_unsigned(take_varint(&mut rest)?)?;
            let length = take_varint(&mut rest)?;
            at = start.checked_add_unsigned(length)?;
            Some((start, length))
        });
        closed.chain(open)
    }

    /// Writes the map as a document.
    pub fn seal(&self) -> Vec<u8> {
        let Self { base_offset, records, bytes, .. } = *self;
        let positions = (!self.is_whole).then(|| self.noted.clone().finish());
        let left_out = self.left_out.clone();
        let stored = Stored { base_offset, records, bytes: Some(bytes), stretches: Written(self), positions, left_out };
        document::seal(DocumentKind::OffsetMap, VERSION, Encoding::JsonZstd, &stored)
    }

    /// Reads what [`OffsetMap::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn open(bytes: &[u8]) -> Result<Self, document::Error> {
        let stored: Stored<Read> = document::open(DocumentKind::OffsetMap, VERSION, bytes)?;
        let Stored { base_offset, records, bytes, stretches: Read(map), positions, left_out } = stored;
        if positions.is_none() && !map.is_whole {
            return Err(document::Error::Content("it has more stretches than a map may have".to_owned()));
        }
        if positions.is_none() && map.records != records {
            return Err(document::Error::Content("the stretches do not add up".to_owned()));
        }
        if base_offset < 0 || base_offset.checked_add_unsigned(records).is_none() {
            return Err(document::Error::Content(format!("no record can stand at offset {base_offset}")));
        }
        if left_out.len() > LEFT_OUT_MAX {
            return Err(document::Error::Content("it has more batches left out than a map may have".to_owned()));
        }
        let bytes = bytes.unwrap_or_default();
        let Some(positions) = positions else { return Ok(Self { base_offset, bytes, left_out, ..map }) };
        let end_offset = base_offset.saturating_add_unsigned(records);
        if !positions.lie_within(base_offset, end_offset) {
            return Err(document::Error::Content("its positions are out of order".to_owned()));
        }
        let noted = Wanted::all_found(positions, end_offset);
        Ok(Self { base_offset, records, bytes, is_whole: false, noted, left_out, ..Self::new(base_offset) })
    }
}

/// The stretches of a map on their way out, one number after the other.
struct Written<'a>(&'a OffsetMap);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut end = 0_i64;
        serializer.collect_seq(self.0.stretches().flat_map(|(start, length)| {
            let gap = start.abs_diff(end);
            end = start.saturating_add_unsigned(length);
            [gap, length]
        }))
    }
}

/// The stretches of a map on their way in: only their variable-length form is ever in memory.
struct Read(OffsetMap);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Stretches)
    }
}

struct Stretches;

impl<'de> Visitor<'de> for Stretches {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gap and length of each stretch, in turn")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Read, A::Error> {
        let mut map = OffsetMap::new(0);
        let mut end = 0_i64;
        while let Some(gap) = numbers.next_element::<u64>()? {
            let length: u64 = numbers.next_element()?.ok_or_else(|| A::Error::custom("a stretch has no length"))?;
            let start = end.checked_add_unsigned(gap).ok_or_else(|| A::Error::custom("a stretch begins nowhere"))?;
            end = start.checked_add_unsigned(length).ok_or_else(|| A::Error::custom("a stretch ends nowhere"))?;
            map.push(start, length).map_err(A::Error::custom)?;
        }
        Ok(Read(map))
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
                map.push(start, length).unwrap();
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
            stretches.iter().for_each(|(start, length)| {
                map.push(*start, *length).unwrap();
                map.add_bytes(100 + length);
            });
            let opened = OffsetMap::open(&map.seal()).unwrap();
            prop_assert_eq!((opened.records(), opened.bytes()), (map.records(), map.bytes()));
            for (start, length) in stretches {
                for position in start - 1..=start.saturating_add_unsigned(length) {
                    prop_assert_eq!(opened.translate(position), map.translate(position));
                }
            }
        }
    }

    #[test]
    fn a_log_of_more_holes_than_a_map_holds_keeps_the_positions_that_were_noted() {
        let stretches = i64::try_from(STRETCH_BYTES_MAX / 2 + 10).unwrap();
        let sources = [0, 3, 1_000_000, 2 * stretches, i64::MAX];
        let mut map = OffsetMap::noting(7, sources);
        // Every second offset holds a record.
        (0..stretches).for_each(|number| map.push(2 * number, 1).unwrap());
        let expected = [7, 7 + 2, 7 + 500_000, 7 + stretches, 7 + stretches];
        let sealed = map.seal();
        assert!(map.encoded.capacity() == 0 && sealed.len() < 1000, "{} bytes", sealed.len());
        for map in [OffsetMap::open(&sealed).unwrap(), map] {
            let positions = map.positions(sources);
            assert_eq!(sources.map(|source| positions.translate(source).unwrap()), expected);
            assert_eq!((map.records(), map.end_offset()), (stretches.unsigned_abs(), 7 + stretches));
        }
    }

    #[test]
    fn a_log_without_holes_takes_a_few_bytes_however_long_it_is() {
        let mut map = OffsetMap::new(0);
        (0..1_000_000).for_each(|offset| map.push(offset, 1).unwrap());
        assert!(map.encoded.len() < 20, "{} bytes", map.encoded.len());
        assert_eq!(map.translate(777_777), 777_777);
    }

    #[test]
    fn records_out_of_order_are_refused_and_leave_the_map_as_it_was() {
        let mut map = OffsetMap::new(0);
        map.push(10, 5).unwrap();
        let before = map.clone();
        for (source_offset, count) in [(14, 1), (9, 1), (-1, 3), (15, u64::MAX), (i64::MAX, 1), (15, 1 << 63)] {
            assert_eq!(map.push(source_offset, count), Err(OutOfOrder { source_offset, count, end_offset: 15 }));
            assert_eq!(map, before);
        }
        map.push(14, 0).unwrap();
        map.push(15, 1).unwrap();
        assert_eq!(map.records(), 6);
    }

    /// A map with this body and a checksum that fits it.
    fn forged(body: &str) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        document::seal(DocumentKind::OffsetMap, VERSION, Encoding::JsonZstd, &value)
    }

    #[test]
    fn a_hostile_map_with_a_checksum_that_fits_is_an_error() {
        let (huge, most) = (u64::MAX, i64::MAX);
        for (body, why) in [
            (r#"{"baseOffset":0,"records":1,"stretches":[5]}"#.to_owned(), "has no length"),
            (format!(r#"{{"baseOffset":0,"records":1,"stretches":[{huge},1]}}"#), "begins nowhere"),
            (format!(r#"{{"baseOffset":0,"records":1,"stretches":[1,{most}]}}"#), "ends nowhere"),
            (format!(r#"{{"baseOffset":0,"records":2,"stretches":[{most},0,1,1]}}"#), "begins nowhere"),
            (r#"{"baseOffset":0,"records":2,"stretches":[0,1]}"#.to_owned(), "do not add up"),
            (r#"{"baseOffset":-1,"records":1,"stretches":[0,1]}"#.to_owned(), "no record can stand"),
            (format!(r#"{{"baseOffset":{most},"records":1,"stretches":[0,1]}}"#), "no record can stand"),
            (r#"{"baseOffset":0,"records":1,"stretches":[0,-1]}"#.to_owned(), "cannot be read"),
            (r#"{"baseOffset":5,"records":2,"stretches":[],"positions":[[1,5],[1,6]]}"#.to_owned(), "out of order"),
            (r#"{"baseOffset":5,"records":2,"stretches":[],"positions":[[1,6],[2,5]]}"#.to_owned(), "out of order"),
            (r#"{"baseOffset":5,"records":2,"stretches":[],"positions":[[1,8]]}"#.to_owned(), "out of order"),
            (r#"{"baseOffset":0,"records":0,"stretches":[],"more":1}"#.to_owned(), "unknown field"),
        ] {
            let error = OffsetMap::open(&forged(&body)).unwrap_err();
            assert!(matches!(error, document::Error::Content(_)) && error.to_string().contains(why), "{body}: {error}");
        }
        // Stretches of nothing are no reason to lose a restore.
        let odd = OffsetMap::open(&forged(r#"{"baseOffset":3,"records":2,"stretches":[0,0,4,2]}"#)).unwrap();
        assert_eq!((odd.translate(4), odd.translate(5), odd.translate(9)), (3, 4, 5));
    }

    fn left_out(base_offset: i64) -> LeftOut {
        LeftOut { base_offset, records: 3, why: "it is cut short".to_owned() }
    }

    /// The body of a map, as whoever opens it without this program sees it.
    fn body(map: &OffsetMap) -> serde_json::Value {
        document::open(DocumentKind::OffsetMap, VERSION, &map.seal()).unwrap()
    }

    #[test]
    fn batches_that_were_left_out_come_back_from_the_store_whether_stretches_or_positions_are_kept() {
        for kept in [r#""stretches":[2,2]"#, r#""stretches":[],"positions":[[1,5]]"#] {
            let stored = format!(
                r#"{{"baseOffset":5,"records":2,"bytes":9,{kept},"leftOut":[
                    {{"baseOffset":4,"records":3,"why":"it is cut short"}},
                    {{"baseOffset":9,"records":3,"why":"it is cut short"}}]}}"#
            );
            let map = OffsetMap::open(&forged(&stored)).unwrap();
            assert_eq!(map.left_out(), [left_out(4), left_out(9)], "{kept}");
            assert_eq!(body(&map), serde_json::from_str::<serde_json::Value>(&stored).unwrap());
        }
        // What was left out is no record of the target.
        let mut map = OffsetMap::new(5);
        map.push(2, 2).unwrap();
        assert!(map.leave_out(left_out(4)));
        map.push(7, 1).unwrap();
        let opened = OffsetMap::open(&map.seal()).unwrap();
        assert_eq!((opened.left_out(), opened.records(), opened.end_offset()), (&[left_out(4)][..], 3, 8));
        assert_eq!([3, 4, 7, 8].map(|source| opened.translate(source)), [6, 7, 7, 8]);
    }

    #[test]
    fn a_map_has_no_more_batches_left_out_than_it_may_have() {
        let most = i64::try_from(LEFT_OUT_MAX).unwrap();
        let batches: Vec<LeftOut> = (0..most).map(left_out).collect();
        let mut map = OffsetMap::new(0);
        assert!(batches.iter().all(|batch| map.leave_out(batch.clone())));
        assert!(!map.leave_out(left_out(most)));
        assert_eq!(OffsetMap::open(&map.seal()).unwrap().left_out(), batches);
        map.left_out.push(left_out(most));
        let error = OffsetMap::open(&map.seal()).unwrap_err();
        assert!(error.to_string().contains("more batches left out"), "{error}");
    }

    /// A program that does not know the field would refuse the map.
    #[test]
    fn a_map_of_which_nothing_was_left_out_is_stored_without_the_field() {
        let mut map = OffsetMap::new(5);
        map.push(2, 2).unwrap();
        assert_eq!(body(&map), serde_json::json!({ "baseOffset": 5, "records": 2, "bytes": 0, "stretches": [2, 2] }));
    }

    #[test]
    fn a_map_of_version_1_is_read() {
        let map = OffsetMap::open(include_bytes!("../../tests/golden/v1/restore/map")).unwrap();
        assert!(map.left_out().is_empty());
        assert_eq!((map.records(), map.bytes(), map.end_offset()), (2_000_005, 0, 2_000_022));
        let counted = OffsetMap::open(include_bytes!("../../tests/golden/v1/restore/map-with-bytes")).unwrap();
        assert_eq!(counted, OffsetMap { bytes: 40_000_123, ..map.clone() });
        for (source, target) in [(0, 17), (100, 17), (103, 20), (104, 21), (107, 21), (108, 22), (1_000_001, 23)] {
            assert_eq!(map.translate(source), target, "{source}");
        }
    }
}
