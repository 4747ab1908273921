//! A hole: a stretch of offsets of a partition that holds no record of a backup, with the reason.
//!
//! Holes stand in the frames, beside the batches they surround, so that a log of a million transactions costs
//! no memory in any list; runs and manifests count them. Offsets that compaction removed *inside* a batch are not
//! listed: the batch says so itself.

use serde::{Deserialize, Serialize};

/// Why offsets hold no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoleReason {
    /// The log cleaner took the batches out, or emptied them.
    Compaction,
    /// A control batch: the marker of a transaction's end.
    Control,
    /// Batches of an aborted transaction.
    Aborted,
    /// The topic was deleted, or replaced by another of its name, before the offsets were read: these records are lost to the
    /// backup.
    Deleted,
    /// Retention or DeleteRecords moved the log start offset over the offsets between the cut and their reading: the source has
    /// no such records any more, as if they had expired a moment before the cut.
    Expired,
}

impl HoleReason {
    const fn id(self) -> u8 {
        match self {
            Self::Compaction => 0,
            Self::Control => 1,
            Self::Aborted => 2,
            Self::Deleted => 3,
            Self::Expired => 4,
        }
    }

    const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Compaction),
            1 => Some(Self::Control),
            2 => Some(Self::Aborted),
            3 => Some(Self::Deleted),
            4 => Some(Self::Expired),
            _ => None,
        }
    }
}

/// A stretch of offsets without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hole {
    /// The first offset without a record.
    pub start_offset: i64,
    /// The offset after the last one without a record.
    pub end_offset: i64,
    /// Why.
    pub reason: HoleReason,
}

/// How many offsets hold no record, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoleCounts {
    /// Offsets of batches that the log cleaner removed.
    pub compaction: u64,
    /// Offsets of transaction markers.
    pub control: u64,
    /// Offsets of aborted transactions.
    pub aborted: u64,
    /// Offsets of a topic that was gone before they were read.
    pub deleted: u64,
    /// Offsets that expired between the cut and their reading.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl HoleCounts {
    /// Counts a hole in.
    pub fn add_hole(&mut self, hole: &Hole) {
        let offsets = hole.end_offset.abs_diff(hole.start_offset);
        match hole.reason {
            HoleReason::Compaction => self.compaction += offsets,
            HoleReason::Control => self.control += offsets,
            HoleReason::Aborted => self.aborted += offsets,
            HoleReason::Deleted => self.deleted += offsets,
            HoleReason::Expired => self.expired += offsets,
        }
    }

    /// Counts other holes in.
    pub fn add(&mut self, other: &Self) {
        let Self { compaction, control, aborted, deleted, expired } = other;
        self.compaction += compaction;
        self.control += control;
        self.aborted += aborted;
        self.deleted += deleted;
        self.expired += expired;
    }

    /// All offsets without a record.
    pub fn total(&self) -> u64 {
        let Self { compaction, control, aborted, deleted, expired } = self;
        compaction + control + aborted + deleted + expired
    }
}

/// Appends `hole` to a list that holds its last hole at the end: neighbours of one reason become one.
pub fn push(holes: &mut Vec<Hole>, hole: Hole) {
    if hole.start_offset >= hole.end_offset {
        return;
    }
    match holes.last_mut() {
        Some(last) if last.reason == hole.reason && last.end_offset == hole.start_offset => {
            last.end_offset = hole.end_offset;
        }
        Some(_) | None => holes.push(hole),
    }
}

/// Writes holes as variable-length integers: the distance from the end of the one before (from `start_offset` for
/// the first), the length, the reason.
pub fn encode(start_offset: i64, holes: &[Hole], out: &mut Vec<u8>) {
    let mut at = start_offset;
    for hole in holes {
        put_varint(hole.start_offset.abs_diff(at), out);
        put_varint(hole.end_offset.abs_diff(hole.start_offset), out);
        out.push(hole.reason.id());
        at = hole.end_offset;
    }
}

/// Reads what [`encode`] wrote; nothing when the bytes are not that.
pub fn decode(start_offset: i64, mut bytes: &[u8]) -> Option<Vec<Hole>> {
    let mut holes = Vec::new();
    let mut at = start_offset;
    while !bytes.is_empty() {
        let start_offset = at.checked_add_unsigned(take_varint(&mut bytes)?)?;
        let length = take_varint(&mut bytes)?;
        let end_offset = start_offset.checked_add_unsigned(length)?;
        let (id, rest) = bytes.split_first()?;
        bytes = rest;
        if length == 0 {
            return None;
        }
        holes.push(Hole { start_offset, end_offset, reason: HoleReason::from_id(*id)? });
        at = end_offset;
    }
    Some(holes)
}

/// Appends `value` seven bits at a time, the lowest first.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a value off the front of `bytes`; nothing when there is none or it is longer than 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reasons() -> impl Strategy<Value = HoleReason> {
        prop_oneof![
            Just(HoleReason::Compaction),
            Just(HoleReason::Control),
            Just(HoleReason::Aborted),
            Just(HoleReason::Deleted),
            Just(HoleReason::Expired)
        ]
    }

    proptest! {
        #[test]
        fn holes_come_back_as_they_were(
            start in 0_i64..1 << 50,
            steps in proptest::collection::vec((0_i64..1 << 40, 1_i64..1 << 40, reasons()), 0..50),
        ) {
            let mut at = start;
            let mut holes = Vec::new();
            for (gap, length, reason) in steps {
                holes.push(Hole { start_offset: at + gap, end_offset: at + gap + length, reason });
                at += gap + length;
            }
            let mut bytes = Vec::new();
            encode(start, &holes, &mut bytes);
            prop_assert_eq!(decode(start, &bytes), Some(holes));
        }

        #[test]
        fn any_bytes_are_read_or_refused(start in any::<i64>(), bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(start, &bytes);
        }

        #[test]
        fn varints_come_back(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn neighbours_of_one_reason_become_one_hole() {
        let mut holes = Vec::new();
        push(&mut holes, Hole { start_offset: 1, end_offset: 2, reason: HoleReason::Control });
        push(&mut holes, Hole { start_offset: 2, end_offset: 3, reason: HoleReason::Control });
        push(&mut holes, Hole { start_offset: 3, end_offset: 3, reason: HoleReason::Aborted });
        push(&mut holes, Hole { start_offset: 3, end_offset: 5, reason: HoleReason::Aborted });
        push(&mut holes, Hole { start_offset: 6, end_offset: 7, reason: HoleReason::Aborted });
        assert_eq!(
            holes.iter().map(|hole| (hole.start_offset, hole.end_offset)).collect::<Vec<_>>(),
            [(1, 3), (3, 5), (6, 7)]
        );
    }
}
