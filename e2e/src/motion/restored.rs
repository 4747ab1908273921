//! Whether a restored partition holds what the backup holds. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Stored;
use super::plan::Kind;
use crate::witness::Properties;

/// What the target's own settings may take once the restore has put them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    Keep,
    /// Records with a key that comes again.
    Compact,
    /// Records that are too old.
    Expire,
    /// Both.
    CompactAndExpire,
}

impl Policy {
    /// That of a target: by the kind of its source, or by what was declared of it. A topic with declared settings was there before the
    /// restore, and has these again after it, and none of its source.
    pub fn of(kind: Option<Kind>, declared: Option<&Properties>) -> Self {
        let (compacts, expires) = match declared {
            Some(declared) => (
                declared.get("cleanup.policy").is_some_and(|policy| policy == "compact"),
                declared.get("retention.ms").is_some_and(|retention| retention.len() < 6),
            ),
            None => {
                (kind.is_some_and(Kind::is_compacted), matches!(kind, Some(Kind::Expiring | Kind::CompactedExpiring)))
            }
        };
        match (compacts, expires) {
            (false, false) => Self::Keep,
            (true, false) => Self::Compact,
            (false, true) => Self::Expire,
            (true, true) => Self::CompactAndExpire,
        }
    }

    /// Whether records that are too old go.
    pub const fn expires(self) -> bool {
        match self {
            Self::Keep | Self::Compact => false,
            Self::Expire | Self::CompactAndExpire => true,
        }
    }
}

/// The records of a partition that a restore to this time brings back.
pub fn until(stored: &[Stored], point_in_time_ms: Option<i64>) -> Vec<Stored> {
    let is_wanted = |stored: &&Stored| point_in_time_ms.is_none_or(|last_ms| stored.timestamp_ms <= last_ms);
    stored.iter().filter(is_wanted).copied().collect()
}

/// Where a group is in the target that has committed this offset in the source: at the first restored record from there on.
pub fn position(restored: &[Stored], committed: i64) -> i64 {
    i64::try_from(restored.partition_point(|stored| stored.offset < committed)).unwrap_or(i64::MAX)
}

/// Where the target differs from the backup: the source's offset, and in words. `found` has the checksums of the target's
/// records in their order.
pub fn difference(stored: &[Stored], found: &[u32], policy: Policy) -> Option<(i64, String)> {
    match policy {
        Policy::Keep => whole(stored, found),
        Policy::Compact => in_order(stored, found).or_else(|| newest(stored, found)),
        // What is to be read next may go while the target is read, and what was read before stays.
        Policy::Expire | Policy::CompactAndExpire => in_order(stored, found),
    }
}

/// Where the end of a target shows that not each record was written to it, and once. It was empty before, each record takes one offset, and
/// neither retention nor the log cleaner moves the end of a log.
pub fn other_end(stored: &[Stored], end_offset: i64) -> Option<(i64, String)> {
    let wanted = i64::try_from(stored.len()).unwrap_or(i64::MAX);
    (end_offset != wanted).then(|| {
        let first = usize::try_from(end_offset).ok().and_then(|end| stored.get(end));
        (first.map_or(-1, |stored| stored.offset), format!("the end of the target at {wanted}, found {end_offset}"))
    })
}

fn whole(stored: &[Stored], found: &[u32]) -> Option<(i64, String)> {
    for (number, (stored, found)) in stored.iter().zip(found).enumerate() {
        if stored.crc != *found {
            let text =
                format!("record {number} of the partition with the checksum {:08x}, found {found:08x}", stored.crc);
            return Some((stored.offset, text));
        }
    }
    (stored.len() != found.len()).then(|| {
        let first = stored.get(found.len()).map_or(-1, |stored| stored.offset);
        (first, format!("{} records, found {}", stored.len(), found.len()))
    })
}

/// Every record of the target is one of the backup's, once, in their order.
fn in_order(stored: &[Stored], found: &[u32]) -> Option<(i64, String)> {
    let mut left = stored.iter();
    let mut last = -1;
    for (number, found) in found.iter().enumerate() {
        match left.find(|stored| stored.crc == *found) {
            Some(stored) => last = stored.offset,
            None => return Some((last, format!("no record {number} with the checksum {found:08x} behind this one"))),
        }
    }
    None
}

/// The newest value of each key is there.
fn newest(stored: &[Stored], found: &[u32]) -> Option<(i64, String)> {
    let newest: BTreeMap<u64, &Stored> = stored.iter().filter_map(|stored| Some((stored.key?, stored))).collect();
    let found: BTreeSet<u32> = found.iter().copied().collect();
    let is_lost = |stored: &&&Stored| !stored.is_tombstone && !found.contains(&stored.crc);
    newest.values().find(is_lost).map(|stored| (stored.offset, "the newest value of a key".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::properties;

    fn backup() -> Vec<Stored> {
        let stored = |offset: i64, key| Stored {
            offset,
            timestamp_ms: offset,
            crc: u32::try_from(offset).unwrap_or(0),
            key: Some(key),
            is_tombstone: offset == 4,
            is_aborted: false,
        };
        vec![stored(1, 1), stored(2, 2), stored(3, 1), stored(4, 3)]
    }

    fn differs(found: &[u32], policy: Policy) -> Option<i64> {
        difference(&backup(), found, policy).map(|(offset, _)| offset)
    }

    #[test]
    fn a_target_that_keeps_everything_has_every_record_once_and_in_order() {
        assert_eq!(differs(&[1, 2, 3, 4], Policy::Keep), None);
        assert_eq!(differs(&[1, 2, 3], Policy::Keep), Some(4));
        assert_eq!(differs(&[1, 2, 2, 3, 4], Policy::Keep), Some(3));
        assert_eq!(differs(&[1, 3, 2, 4], Policy::Keep), Some(2));
        assert_eq!(differs(&[1, 2, 3, 4, 4], Policy::Keep), Some(-1));
    }

    #[test]
    fn a_target_may_lose_what_its_own_settings_take_and_nothing_else() {
        assert_eq!(differs(&[3, 4], Policy::Expire), None);
        assert_eq!(differs(&[], Policy::Expire), None);
        assert_eq!(differs(&[1, 2], Policy::Expire), None, "the rest went while it was read");
        assert_eq!(differs(&[3, 2], Policy::Expire), Some(3));
        assert_eq!(differs(&[4, 5], Policy::Expire), Some(4));
        assert_eq!(differs(&[2, 3], Policy::Compact), None);
        assert_eq!(differs(&[1, 2, 4], Policy::Compact), Some(3));
        assert_eq!(differs(&[3, 2], Policy::Compact), Some(3));
        assert_eq!(differs(&[2], Policy::CompactAndExpire), None);
        assert_eq!(differs(&[9], Policy::CompactAndExpire), Some(-1));
    }

    #[test]
    fn a_target_ends_where_each_record_was_written_once_whatever_its_settings_take_since() {
        let end = |end_offset| other_end(&backup(), end_offset).map(|(offset, _)| offset);
        assert_eq!([end(4), end(3), end(0)], [None, Some(4), Some(1)]);
        assert_eq!(end(5), Some(-1), "one was written twice");
    }

    #[test]
    fn a_group_is_at_the_next_record_that_is_restored() {
        let until = |ms| until(&backup(), Some(ms));
        assert_eq!(until(0).len(), 0);
        assert_eq!(until(3).iter().map(|stored| stored.offset).collect::<Vec<_>>(), [1, 2, 3]);
        let at = |ms, committed| position(&until(ms), committed);
        assert_eq!([at(4, 0), at(4, 1), at(4, 2), at(4, 4), at(4, 5), at(4, 99)], [0, 0, 1, 3, 4, 4]);
        assert_eq!([at(2, 2), at(2, 3), at(2, 99)], [1, 2, 2], "behind the time there is only the end");
    }

    #[test]
    fn the_policy_is_that_of_the_source_or_what_was_declared() {
        assert_eq!(Policy::of(Some(Kind::Plain), None), Policy::Keep);
        assert_eq!(Policy::of(Some(Kind::Expiring), None), Policy::Expire);
        assert_eq!(Policy::of(Some(Kind::Plain), Some(&properties([("cleanup.policy", "compact")]))), Policy::Compact);
        assert_eq!(Policy::of(Some(Kind::CompactedExpiring), None), Policy::CompactAndExpire);
        let keeps_a_day = properties([("retention.ms", "86400000")]);
        for kind in [Kind::Plain, Kind::Compacted, Kind::Expiring] {
            assert_eq!(Policy::of(Some(kind), Some(&properties([("retention.ms", "2000")]))), Policy::Expire);
            assert_eq!(Policy::of(Some(kind), Some(&keeps_a_day)), Policy::Keep, "{kind:?}");
        }
    }
}
