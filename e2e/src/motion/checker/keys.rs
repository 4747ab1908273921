//! Keys of compacted topics: each has a value that it had at the cut or later, or was deleted.

use std::collections::BTreeMap;

use super::{Case, Fault, Wrong};
use crate::motion::oracle::Seen;

/// The newest record of each key at the cut. Those before the log start are left out: retention does not look at keys.
///
/// There are none where an election may have truncated the log. The log cleaner removes a value because of a later one, which the
/// election may take after that: then the log itself has neither, and the key is lost without a fault of the backup.
pub(super) fn at_cut<'a>(case: &'a Case<'_>) -> BTreeMap<u64, &'a Seen> {
    let is_judged = case.is_alive && !case.may_be_truncated();
    let Some(start_after) = case.start_after.filter(|_| is_judged) else { return BTreeMap::new() };
    // They come in the order of their offsets, the live ones of later generations last.
    let seen = case.known.records.iter().filter(|seen| case.is_before_cut(seen));
    let mut newest: BTreeMap<u64, &Seen> = seen.filter_map(|seen| Some((seen.key?, seen))).collect();
    newest.retain(|_, seen| seen.offset >= start_after);
    newest
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
        let found = stored.get(&key);
        match found {
            Some(found) if found.offset >= latest.offset => {}
            Some(found) if found.is_tombstone => {}
            Some(_) if may_be_kafkas_own(case, key, latest) => {}
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
                    is_deleted_later(case, key, latest),
                    case.backup.completed_at_ms - case.backup.cut_at_ms
                );
                faults.push(case.fault(Wrong::KeyLost, latest.offset, text));
            }
            None if latest.is_tombstone || is_deleted_later(case, key, latest) => {}
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
fn may_be_kafkas_own(case: &Case<'_>, key: u64, latest: &Seen) -> bool {
    /// A replica that is in sync may be so far behind.
    const LAG_MS: i64 = 5_000;
    let Case { facts, backup, .. } = case;
    let was_deleted = latest.is_tombstone || is_deleted_later(case, key, latest);
    was_deleted
        && (facts.was_broker_away(latest.seen_ms - LAG_MS, backup.completed_at_ms)
            || facts.was_moved(case.topic, case.number, backup.cut_at_ms, backup.completed_at_ms)
            || case.is_named_slow())
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
