//! Keys of compacted topics: each has a value that it had at the cut or later, or was deleted.

use std::collections::BTreeMap;

use super::{Case, Fault, Wrong};
use crate::motion::oracle::Seen;

/// The newest record of each key at the cut, of those that are judged.
pub(super) fn at_cut<'a>(case: &'a Case<'_>) -> BTreeMap<u64, &'a Seen> {
    let Some(judged_from) = judged_from(case) else { return BTreeMap::new() };
    // They come in the order of their offsets, the live ones of later generations last.
    let seen = case.known.records.iter().filter(|seen| case.is_before_cut(seen));
    let mut newest: BTreeMap<u64, &Seen> = seen.filter_map(|seen| Some((seen.key?, seen))).collect();
    newest.retain(|_, seen| seen.offset >= judged_from);
    newest
}

/// The offset from which on a newest record is judged, if any is. Those before the log start are left out: retention does not look at
/// keys.
///
/// So are those that were there when an election may last have truncated the log. The log cleaner removes a value because of a later one,
/// which the election may take after that: then a replica has neither, and the key is lost without a fault of the backup. What was written
/// when all brokers were back goes only because of what is there.
fn judged_from(case: &Case<'_>) -> Option<i64> {
    let start_after = case.start_after.filter(|_| case.is_alive)?;
    let Some(truncated_ms) = case.truncated_until() else { return Some(start_after) };
    // A backup that began before has read of either log.
    let settled = case.known.sample_after(truncated_ms).filter(|_| truncated_ms < case.backup.cut_at_ms)?;
    Some(start_after.max(settled.high_watermark))
}

pub(super) fn check(case: &Case<'_>) -> Vec<Fault> {
    let mut stored = BTreeMap::new();
    for record in &case.stored.records {
        if let Some(key) = record.key {
            stored.insert(key, record);
        }
    }
    let mut faults = Vec::new();
    for (key, latest) in at_cut(case) {
        let was_deleted = || latest.is_tombstone || is_deleted_later(case, key, latest);
        match stored.get(&key) {
            Some(found) if found.offset >= latest.offset => {}
            // An older tombstone says what the one says that the cleaner took.
            Some(found) if found.is_tombstone && was_deleted() => {}
            Some(_) if was_deleted() && may_be_kafkas_own(case, latest) => {}
            Some(found) if latest.is_tombstone => {
                let text = format!(
                    "no value: the key was deleted at offset {}, {} ms before the cut; the backup has the value of offset {}, and \
                     the run took {} ms",
                    latest.offset,
                    case.backup.cut_at_ms - latest.seen_ms,
                    found.offset,
                    case.backup.completed_at_ms - case.backup.cut_at_ms
                );
                faults.push(case.fault(Wrong::KeyRevived, found.offset, text));
            }
            Some(found) => {
                let text = format!(
                    "the value of offset {} or a later one; the newest in the backup is that of offset {}; deleted later: {}; the \
                     run took {} ms",
                    latest.offset,
                    found.offset,
                    was_deleted(),
                    case.backup.completed_at_ms - case.backup.cut_at_ms
                );
                faults.push(case.fault(Wrong::KeyLost, latest.offset, text));
            }
            None if was_deleted() => {}
            None => {
                let text = "the value that the key had at the cut or a later one; there is none".to_owned();
                faults.push(case.fault(Wrong::KeyLost, latest.offset, text));
            }
        }
    }
    faults
}

/// Whether an older value of a deleted key may be there: the log itself may have brought it back, see
/// [`super::Facts::was_broker_away`], or the tombstone may have gone before it was read. Then the backup has a warning, unless
/// another replica was without it, see [`super::Facts::was_moved`].
fn may_be_kafkas_own(case: &Case<'_>, latest: &Seen) -> bool {
    /// A replica that is in sync may be so far behind.
    const LAG_MS: i64 = 5_000;
    let Case { facts, backup, .. } = case;
    facts.was_broker_away(latest.seen_ms - LAG_MS, backup.completed_at_ms)
        || facts.was_moved(case.topic, case.number, backup.cut_at_ms, backup.completed_at_ms)
        || case.is_named_slow()
}

/// Whether a tombstone was written after the record, and before the run ended.
fn is_deleted_later(case: &Case<'_>, key: u64, latest: &Seen) -> bool {
    let by_oracle = case.known.records.iter().any(|seen| {
        seen.key == Some(key)
            && seen.is_tombstone
            && seen.offset > latest.offset
            && seen.seen_ms <= case.backup.completed_at_ms
    });
    let acknowledged = case.facts.tombstones.get(&(case.topic.to_owned(), case.number, key));
    by_oracle
        || acknowledged.is_some_and(|written| {
            written.iter().any(|(offset, at_ms)| *offset > latest.offset && *at_ms <= case.backup.completed_at_ms)
        })
}
