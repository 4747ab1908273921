//! Where the records of a restored partition stand in the target.
//!
//! A map is a list of stretches: records that follow each other without a gap in both logs. A log without holes is one
//! stretch, however long it is; one hole begins another. Stretches are kept as variable-length distances from each other,
//! a few bytes each, while they are collected, while they are looked through, and in memory altogether: the map of a
//! compacted topic with ten million holes takes some forty megabytes and never a list of numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Kind;
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::hole::{put_varint, take_varint};

/// The newest version of offset maps.
pub const VERSION: u32 = 1;

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not a stored map.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// Stretches that do not follow each other, or do not lie within the target's range.
    #[error(
        "{count} records from source offset {source_offset} on cannot stand at target offset {target_offset}, behind what \
         came before"
    )]
    Disorder {
        /// The source offset of the stretch's first record.
        source_offset: i64,
        /// Its target offset.
        target_offset: i64,
        /// Records in the stretch.
        count: i64,
    },
}

impl Error {
    /// Always [`Kind::Corrupt`].
    pub const fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}

/// Records that follow each other without a gap, in the source and in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The source offset of the first one.
    pub source_offset: i64,
    /// Its target offset.
    pub target_offset: i64,
    /// How many there are; at least 1.
    pub count: i64,
}

impl Stretch {
    fn ends(&self) -> Option<Ends> {
        let fits = self.source_offset >= 0 && self.target_offset >= 0 && self.count > 0;
        fits.then_some(())?;
        Some(Ends {
            source: self.source_offset.checked_add(self.count)?,
            target: self.target_offset.checked_add(self.count)?,
        })
    }
}

/// Where the next stretch begins at the earliest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ends {
    source: i64,
    target: i64,
}

/// Stretches one after the other, each as its distances from the end of the one before: in the source, in the target,
/// then the count.
#[derive(Clone, Default, PartialEq, Eq)]
struct Stretches(Vec<u8>);

impl Stretches {
    /// Appends a stretch that begins at or after `ends`; gives back where it ends.
    fn append(&mut self, ends: Ends, stretch: &Stretch) -> Option<Ends> {
        let after = stretch.ends()?;
        let in_order = stretch.source_offset >= ends.source && stretch.target_offset >= ends.target;
        in_order.then_some(())?;
        put_varint(stretch.source_offset.abs_diff(ends.source), &mut self.0);
        put_varint(stretch.target_offset.abs_diff(ends.target), &mut self.0);
        put_varint(stretch.count.unsigned_abs(), &mut self.0);
        Some(after)
    }

    fn iter(&self) -> impl Iterator<Item = Stretch> + '_ {
        let mut bytes = self.0.as_slice();
        let mut ends = Ends::default();
        std::iter::from_fn(move || {
            let source_offset = ends.source.checked_add_unsigned(take_varint(&mut bytes)?)?;
            let target_offset = ends.target.checked_add_unsigned(take_varint(&mut bytes)?)?;
            let stretch = Stretch { source_offset, target_offset, count: take_varint(&mut bytes)?.try_into().ok()? };
            ends = stretch.ends()?;
            Some(stretch)
        })
    }
}

impl fmt::Debug for Stretches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

// One flat list of numbers: readable without our code, and no longer in memory than its bytes.
impl Serialize for Stretches {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut numbers = serializer.serialize_seq(None)?;
        let mut bytes = self.0.as_slice();
        while let Some(number) = take_varint(&mut bytes) {
            numbers.serialize_element(&number)?;
        }
        numbers.end()
    }
}

impl<'de> Deserialize<'de> for Stretches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;

        impl<'de> Visitor<'de> for Numbers {
            type Value = Stretches;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("three numbers for each stretch: source distance, target distance, count")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Stretches, A::Error> {
                let mut stretches = Stretches::default();
                let mut ends = Ends::default();
                while let Some(source_gap) = numbers.next_element::<u64>()? {
                    let missing = || de::Error::custom("a stretch is cut short");
                    let target_gap = numbers.next_element::<u64>()?.ok_or_else(missing)?;
                    let count = numbers.next_element::<u64>()?.ok_or_else(missing)?;
                    let stretch = ends.source.checked_add_unsigned(source_gap).and_then(|source_offset| {
                        let target_offset = ends.target.checked_add_unsigned(target_gap)?;
                        Some(Stretch { source_offset, target_offset, count: i64::try_from(count).ok()? })
                    });
                    ends = stretch
                        .and_then(|stretch| stretches.append(ends, &stretch))
                        .ok_or_else(|| de::Error::custom("a stretch is empty, or reaches beyond all offsets"))?;
                }
                Ok(stretches)
            }
        }

        deserializer.deserialize_seq(Numbers)
    }
}

/// A map that is being collected, while the records are sent.
#[derive(Debug, Clone)]
pub struct OpenMap {
    target_start_offset: i64,
    stretches: Stretches,
    /// Where the last stretch in `stretches` ends.
    ends: Ends,
    /// The stretch that may still grow.
    last: Option<Stretch>,
}

impl OpenMap {
    /// Begins the map of a partition whose first restored record gets `target_start_offset`.
    pub fn new(target_start_offset: i64) -> Self {
        Self { target_start_offset, stretches: Stretches::default(), ends: Ends::default(), last: None }
    }

    /// Notes where records went; neighbours become one stretch. Offsets must rise, in the source and in the target.
    ///
    /// # Errors
    /// [`Error::Disorder`], and then the map is as it was.
    pub fn push(&mut self, next: Stretch) -> Result<(), Error> {
        let Stretch { source_offset, target_offset, count } = next;
        let disorder = || Error::Disorder { source_offset, target_offset, count };
        let at = match &self.last {
            Some(last) => last.ends().ok_or_else(disorder)?,
            None => Ends { source: 0, target: self.target_start_offset },
        };
        if next.ends().is_none() || source_offset < at.source || target_offset < at.target {
            return Err(disorder());
        }
        match &mut self.last {
            Some(last) if (source_offset, target_offset) == (at.source, at.target) => last.count += count,
            Some(last) => {
                self.ends = self.stretches.append(self.ends, last).ok_or_else(disorder)?;
                *last = next;
            }
            None => self.last = Some(next),
        }
        Ok(())
    }

    /// Closes the map; the next record that is written to the target partition gets `target_end_offset`.
    ///
    /// # Errors
    /// [`Error::Disorder`] when a record stands at or after that offset.
    pub fn close(mut self, partition: MappedPartition, target_end_offset: i64) -> Result<OffsetMap, Error> {
        if let Some(last) = &self.last {
            let disorder = || Error::Disorder {
                source_offset: last.source_offset,
                target_offset: last.target_offset,
                count: last.count,
            };
            let ends = self.stretches.append(self.ends, last).ok_or_else(disorder)?;
            if ends.target > target_end_offset {
                return Err(disorder());
            }
        }
        self.last = None;
        let Self { target_start_offset, stretches, .. } = self;
        Ok(OffsetMap { partition, target_start_offset, target_end_offset, stretches })
    }
}

/// Whose map it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MappedPartition {
    /// The topic's name in the source.
    pub source_topic: String,
    /// The topic's name in the target.
    pub target_topic: String,
    /// The partition's number, in both.
    pub partition: i32,
}

/// Where the records of a restored partition stand in the target. It exists once the partition is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OffsetMap {
    /// Whose map it is.
    pub partition: MappedPartition,
    /// The target offset of the first restored record; what was there before stands below it.
    pub target_start_offset: i64,
    /// The target offset after the last restored record.
    pub target_end_offset: i64,
    stretches: Stretches,
}

impl OffsetMap {
    /// Every stretch, in the order of offsets.
    pub fn stretches(&self) -> impl Iterator<Item = Stretch> + '_ {
        self.stretches.iter()
    }

    /// Restored records.
    pub fn records(&self) -> i64 {
        self.stretches().map(|stretch| stretch.count).sum()
    }

    /// The target offset of the first restored record at or after `source_offset`; of the next record to come when there
    /// is none.
    pub fn translate(&self, source_offset: i64) -> i64 {
        let first = self.stretches().find(|stretch| stretch.source_offset + stretch.count > source_offset);
        first.map_or(self.target_end_offset, |stretch| position_in(&stretch, source_offset))
    }

    /// The same for many offsets in one pass.
    pub fn translate_all(&self, source_offsets: &BTreeSet<i64>) -> BTreeMap<i64, i64> {
        let mut stretches = self.stretches().peekable();
        let translate = |source_offset: &i64| {
            while stretches.next_if(|stretch| stretch.source_offset + stretch.count <= *source_offset).is_some() {}
            let first = stretches.peek();
            (*source_offset, first.map_or(self.target_end_offset, |stretch| position_in(stretch, *source_offset)))
        };
        source_offsets.iter().map(translate).collect()
    }

    /// Writes the map as a document.
    pub fn seal(&self) -> Vec<u8> {
        document::seal(DocumentKind::OffsetMap, VERSION, Encoding::JsonZstd, self)
    }

    /// Reads what [`OffsetMap::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn open(bytes: &[u8]) -> Result<Self, Error> {
        let map: Self = document::open(DocumentKind::OffsetMap, VERSION, bytes)?;
        let mut end_offset = map.target_start_offset;
        for Stretch { source_offset, target_offset, count } in map.stretches() {
            if target_offset < end_offset {
                return Err(Error::Disorder { source_offset, target_offset, count });
            }
            end_offset = target_offset + count;
        }
        if map.target_start_offset < 0 || end_offset > map.target_end_offset {
            let why = format!("it ends at {}, and its records at {end_offset}", map.target_end_offset);
            return Err(Error::Document(document::Error::Content(why)));
        }
        Ok(map)
    }
}

fn position_in(stretch: &Stretch, source_offset: i64) -> i64 {
    stretch.target_offset + (source_offset - stretch.source_offset).max(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> MappedPartition {
        MappedPartition { source_topic: "orders".to_owned(), target_topic: "orders-copy".to_owned(), partition: 3 }
    }

    fn stretch(source_offset: i64, target_offset: i64, count: i64) -> Stretch {
        Stretch { source_offset, target_offset, count }
    }

    fn map(base: i64, stretches: &[Stretch], end: i64) -> OffsetMap {
        let mut open = OpenMap::new(base);
        stretches.iter().for_each(|stretch| open.push(*stretch).unwrap());
        open.close(partition(), end).unwrap()
    }

    /// Gaps and counts, as they come out of batches: most of them without a gap.
    fn log() -> impl Strategy<Value = (i64, Vec<Stretch>)> {
        let steps = proptest::collection::vec((prop_oneof![Just(0_i64), 0_i64..1 << 30], 1_i64..50), 0..40);
        (0_i64..1 << 40, 0_i64..1 << 40, steps).prop_map(|(mut source, base, steps)| {
            let mut target = base;
            let stretches = steps.into_iter().map(|(gap, count)| {
                let next = stretch(source + gap, target, count);
                source += gap + count;
                target += count;
                next
            });
            (base, stretches.collect())
        })
    }

    /// Source offset of every record, with its target offset.
    fn naive(stretches: &[Stretch]) -> BTreeMap<i64, i64> {
        let of = |s: &Stretch| {
            let Stretch { source_offset, target_offset, count } = *s;
            (0..count).map(move |at| (source_offset + at, target_offset + at))
        };
        stretches.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn an_offset_becomes_that_of_the_first_record_at_or_after_it((base, stretches) in log(), asked in proptest::collection::vec(0_i64..1 << 41, 0..20)) {
            let records = naive(&stretches);
            let end = base + records.len() as i64;
            let map = map(base, &stretches, end);
            let near = records.keys().flat_map(|offset| [offset - 1, *offset, offset + 1]);
            let asked: BTreeSet<i64> = near.chain(asked).collect();
            let expected: BTreeMap<i64, i64> = asked
                .iter()
                .map(|offset| (*offset, records.range(offset..).next().map_or(end, |(_, target)| *target)))
                .collect();
            prop_assert_eq!(&map.translate_all(&asked), &expected);
            for (source, target) in expected {
                prop_assert_eq!(map.translate(source), target);
            }
        }

        #[test]
        fn a_map_comes_back_as_it_was((base, stretches) in log()) {
            let map = map(base, &stretches, base + stretches.iter().map(|s| s.count).sum::<i64>());
            prop_assert_eq!(OffsetMap::open(&map.seal()).unwrap(), map);
        }

        #[test]
        fn neighbours_become_one_stretch((base, stretches) in log()) {
            let end = base + stretches.iter().map(|s| s.count).sum::<i64>();
            let merged: Vec<_> = map(base, &stretches, end).stretches().collect();
            for pair in merged.windows(2) {
                prop_assert!(pair[0].source_offset + pair[0].count < pair[1].source_offset);
            }
            prop_assert_eq!(naive(&merged), naive(&stretches));
        }

        #[test]
        fn any_numbers_are_read_or_refused(numbers in proptest::collection::vec(any::<u64>(), 0..12), end in any::<i64>()) {
            let body = serde_json::json!({
                "partition": {"sourceTopic": "a", "targetTopic": "b", "partition": 0},
                "targetStartOffset": 0, "targetEndOffset": end, "stretches": numbers,
            });
            let bytes = document::seal(DocumentKind::OffsetMap, VERSION, Encoding::Json, &body);
            if let Ok(map) = OffsetMap::open(&bytes) {
                let _ = map.translate(i64::MAX);
                prop_assert!(map.stretches().all(|s| s.target_offset + s.count <= end));
            }
        }
    }

    #[test]
    fn records_that_go_back_are_refused() {
        let mut open = OpenMap::new(100);
        assert!(open.push(stretch(0, 99, 1)).is_err(), "before the first target offset");
        open.push(stretch(5, 100, 2)).unwrap();
        for next in [stretch(6, 102, 1), stretch(7, 101, 1), stretch(7, 102, 0), stretch(i64::MAX, 102, 1)] {
            assert!(open.push(next).is_err(), "{next:?}");
        }
        open.push(stretch(7, 102, 1)).unwrap();
        assert_eq!(open.clone().close(partition(), 103).unwrap().stretches().collect::<Vec<_>>(), [stretch(5, 100, 3)]);
        assert!(open.close(partition(), 102).is_err(), "a record after the end");
    }

    #[test]
    fn without_records_every_offset_is_the_next_to_come() {
        let empty = map(7, &[], 7);
        assert_eq!((empty.translate(0), empty.translate(i64::MAX), empty.records()), (7, 7, 0));
    }

    #[test]
    fn version_1_is_read_for_ever() {
        let text = concat!(
            r#"{"kafkaBackup":"offsetMap","version":1,"encoding":"json","bytes":154,"#,
            r#""sha256":"d3da74eec8e6754956b3671cee5c07974fdb8958af3337bc7abe27025dafe991"}"#,
            "\n",
            r#"{"partition":{"sourceTopic":"orders","targetTopic":"orders-copy","partition":3},"#,
            r#""targetStartOffset":10,"targetEndOffset":15,"stretches":[100,10,3,40,0,2]}"#,
        );
        let map = OffsetMap::open(text.as_bytes()).unwrap();
        assert_eq!(map, self::map(10, &[stretch(100, 10, 3), stretch(143, 13, 2)], 15));
    }
}
