//! Where given source offsets of a restored partition stand in the target, found in one pass over its records.
//!
//! A restore knows before it copies which source offsets consumer groups have committed. So it notes the target positions
//! of just those while records go by, and needs memory for committed offsets, not for the holes of the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kafka::TopicPartition;
use crate::offsets::map::{LeftOut, OffsetMap};

/// Positions of restored partitions, and what else is known of them, by the partition's name in the source.
pub type Restored = BTreeMap<TopicPartition, RestoredPartition>;

/// A partition that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredPartition {
    /// Its name in the target.
    pub target: TopicPartition,
    /// Restored records.
    pub records: u64,
    /// Bytes of the record batches that hold them, as they were produced.
    pub bytes: u64,
    /// The offset after the last restored record in the target.
    pub end_offset: i64,
    /// Where its committed offsets stand in the target.
    pub positions: Positions,
    /// Batches of the source that could not be read.
    pub left_out: Vec<LeftOut>,
}

impl RestoredPartition {
    /// What is kept of a partition's map: the positions of these source offsets, and its sums.
    pub fn new(target: TopicPartition, map: &OffsetMap, source_offsets: impl IntoIterator<Item = i64>) -> Self {
        Self {
            target,
            records: map.records(),
            bytes: map.bytes(),
            end_offset: map.end_offset(),
            positions: map.positions(source_offsets),
            left_out: map.left_out().to_vec(),
        }
    }
}

/// Source offsets whose target positions are wanted, while records go by in the order of their source offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// In order, each once.
    source_offsets: Vec<i64>,
    /// Target positions of the first of them, those that records have reached.
    found: Vec<i64>,
    /// The target offset of the next record.
    next_target: i64,
}

impl Wanted {
    /// Nothing has gone by yet; the first record will stand at `base_offset` in the target.
    pub fn new(base_offset: i64, source_offsets: impl IntoIterator<Item = i64>) -> Self {
        let mut source_offsets: Vec<i64> = source_offsets.into_iter().collect();
        source_offsets.sort_unstable();
        source_offsets.dedup();
        Self { found: Vec::with_capacity(source_offsets.len()), source_offsets, next_target: base_offset }
    }

    /// All of them are found, and no more records come.
    pub(crate) fn all_found(positions: Positions, end_offset: i64) -> Self {
        let (source_offsets, found) = positions.pairs.into_iter().unzip();
        Self { source_offsets, found, next_target: end_offset }
    }

    /// `count` records go by that stand one after the other in the source, from `source_offset` on.
    ///
    /// Records must come in the order of their source offsets.
    pub fn push(&mut self, source_offset: i64, count: u64) {
        let end_offset = source_offset.saturating_add_unsigned(count);
        for wanted in &self.source_offsets[self.found.len()..] {
            if *wanted > end_offset {
                break;
            }
            // One that lies before these records stands at the first of them.
            let before = u64::try_from(wanted.saturating_sub(source_offset)).unwrap_or(0);
            self.found.push(self.next_target.saturating_add_unsigned(before));
        }
        self.next_target = self.next_target.saturating_add_unsigned(count);
    }

    /// The positions, when all records have gone by: what lies behind the last one stands at the end.
    pub fn finish(self) -> Positions {
        let Self { source_offsets, found, next_target } = self;
        let targets = found.into_iter().chain(std::iter::repeat(next_target));
        Positions { pairs: source_offsets.into_iter().zip(targets).collect() }
    }
}

/// Source offsets with the target offset of the first restored record at or behind each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Positions {
    /// Source and target offset, in the order of both.
    pairs: Vec<(i64, i64)>,
}

impl Positions {
    /// Whether they are in order and in the target's range, as those of records are.
    pub(crate) fn lie_within(&self, base_offset: i64, end_offset: i64) -> bool {
        let is_in_order = |pair: &[(i64, i64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        self.pairs.windows(2).all(is_in_order)
            && self.pairs.iter().all(|(_, target)| (base_offset..=end_offset).contains(target))
    }

    /// Where a source offset stands in the target; nothing for one that was not wanted.
    pub fn translate(&self, source_offset: i64) -> Option<i64> {
        let at = self.pairs.binary_search_by_key(&source_offset, |(source, _)| *source).ok()?;
        self.pairs.get(at).map(|(_, target)| *target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_are_those_of_the_offset_map(
            base_offset in 0_i64..1000,
            steps in prop::collection::vec((0_u64..20, 0_u64..20), 0..30),
            some in prop::collection::vec(0_i64..800, 0..40),
            all in any::<bool>(),
        ) {
            let mut wanted: Vec<i64> = if all { (-1..800).collect() } else { some };
            wanted.push(i64::MAX);
            let (mut map, mut noted) = (OffsetMap::new(base_offset), Wanted::new(base_offset, wanted.iter().copied()));
            let mut at = 0_i64;
            for (gap, count) in steps {
                let start = at.saturating_add_unsigned(gap);
                map.push(start, count).unwrap();
                noted.push(start, count);
                at = start.saturating_add_unsigned(count);
            }
            let positions = noted.finish();
            for source in &wanted {
                prop_assert_eq!(positions.translate(*source), Some(map.translate(*source)), "{}", source);
            }
            prop_assert_eq!(map.positions(wanted.iter().copied()), positions);
        }
    }

    #[test]
    fn an_offset_that_was_not_wanted_has_no_position() {
        let mut wanted = Wanted::new(5, [10, 20]);
        wanted.push(10, 3);
        let positions = wanted.finish();
        assert_eq!([9, 10, 11, 20].map(|source| positions.translate(source)), [None, Some(5), None, Some(8)]);
        assert_eq!(Wanted::new(5, []).finish().translate(0), None);
    }
}
