//! Records that are missing, are there twice, or should not be there.

use std::collections::BTreeMap;

use super::{Case, Fault, Wrong};
use crate::motion::archive::Stored;
use crate::motion::oracle::{Seen, Truncation};

pub(super) fn check(case: &Case<'_>) -> Vec<Fault> {
    let mut faults = order(case);
    let known = by_offset(case);
    let covered = case.known.covered();
    for stored in &case.stored.records {
        let seen = known.get(&stored.offset).map_or(&[][..], Vec::as_slice);
        if stored.is_aborted {
            faults.push(case.fault(Wrong::Aborted, stored.offset, "no record of a transaction that was aborted"));
        } else if !seen.is_empty()
            && seen.iter().all(|seen| seen.crc != stored.crc)
            && !may_be_unseen(case, stored.offset, seen)
        {
            let text = format!("the record with the checksum {:08x}, found {:08x}", seen[0].crc, stored.crc);
            faults.push(case.fault(Wrong::Different, stored.offset, text));
        } else if seen.is_empty()
            && is_certain(case)
            && covered.contains(&stored.offset)
            && !case.known.is_jumped(stored.offset)
        {
            faults.push(case.fault(Wrong::Unknown, stored.offset, "no record: no committed one was ever there"));
        } else if is_truncated(case, seen, stored.crc) {
            faults.push(case.fault(
                Wrong::Truncated,
                stored.offset,
                "another record: this one was lost before the cut",
            ));
        }
    }
    faults.extend(spliced(case, &known));
    faults.extend(missing(case));
    faults
}

/// Whether the oracle sees every record of the topic that is ever committed, if it reads on at its offset.
fn is_certain(case: &Case<'_>) -> bool {
    !case.kind.is_compacted() && !case.kind.elects_unclean()
}

/// Whether the log may have held a record at this offset that the oracle never read, although it read others there, `seen`. The oracle reads
/// again what was written since an election, and the log cleaner may be faster.
fn may_be_unseen(case: &Case<'_>, offset: i64, seen: &[&Seen]) -> bool {
    // A backup that began before has read of a log that ended then.
    let was_truncated_since =
        |truncation: &Truncation| truncation.offset <= offset && truncation.at_ms >= case.backup.cut_at_ms;
    case.kind.is_compacted()
        && (case.known.truncations.iter().any(was_truncated_since) || seen.iter().all(|seen| case.known.is_dead(seen)))
}

fn by_offset<'a>(case: &Case<'a>) -> BTreeMap<i64, Vec<&'a Seen>> {
    let mut known: BTreeMap<i64, Vec<&Seen>> = BTreeMap::new();
    for seen in &case.known.records {
        known.entry(seen.offset).or_default().push(seen);
    }
    known
}

fn order(case: &Case<'_>) -> Vec<Fault> {
    let pairs = case.stored.records.windows(2).filter(|pair| pair[0].offset >= pair[1].offset);
    pairs
        .map(|pair| {
            let text = format!("an offset behind {}, the offset before it", pair[0].offset);
            case.fault(Wrong::Duplicate, pair[1].offset, text)
        })
        .collect()
}

/// Whether the record is known only from logs that elections had ended before the cut was made.
fn is_truncated(case: &Case<'_>, seen: &[&Seen], crc: u32) -> bool {
    // A record of both logs may be known from the first only: the log cleaner took it after the backup had read it, and before the oracle
    // read it again.
    if case.kind.is_compacted() {
        return false;
    }
    let mut same = seen.iter().filter(|seen| seen.crc == crc).peekable();
    same.peek().is_some() && same.all(|seen| case.known.was_dead(seen, case.backup.cut_at_ms))
}

/// Records of two logs, of which the first ended in an election. The election may have come while the backup was made, so that
/// the records of either log alone are right. No log ever held both. Kafka shows both only to a client that does not ask where the
/// epochs of the first log end (KIP-320). A backup for which no leader answered that question names the partition as a problem.
fn spliced(case: &Case<'_>, known: &BTreeMap<i64, Vec<&Seen>>) -> Option<Fault> {
    if case.is_named_unproven() {
        return None;
    }
    // The oracle reads again from the truncation on. A record of both logs that compaction or retention took before that passes for
    // one of the first log only: there, both logs are known to differ from a record on that each has in the place of the other's.
    let loses_records = case.kind.is_compacted() || case.kind.log_start_moves();
    case.known.truncations.iter().find_map(|truncation| {
        let from_offset = if loses_records { difference(known, truncation)? } else { truncation.offset };
        let begun = truncation.generation;
        let lost = only_of(case, known, from_offset, |_, last| last < begun && (!loses_records || last + 1 == begun))?;
        let later = only_of(case, known, from_offset, |first, _| first >= begun)?;
        let text = format!(
            "records of one log: this one was lost in an election that truncated the log to {}, and the one at {} was \
             written after it",
            truncation.offset, later.offset
        );
        Some(case.fault(Wrong::Spliced, lost.offset, text))
    })
}

/// The first offset at which the log since a truncation is known to hold another record than the one before. No record from there on is
/// of both: after a truncation, a log has other records from one offset on.
fn difference(known: &BTreeMap<i64, Vec<&Seen>>, truncation: &Truncation) -> Option<i64> {
    let differs = |seen: &[&Seen]| {
        let crc_of = |generation: u32| seen.iter().find(|seen| seen.generation == generation).map(|seen| seen.crc);
        let before = truncation.generation.checked_sub(1).and_then(crc_of);
        before.zip(crc_of(truncation.generation)).is_some_and(|(before, since)| before != since)
    };
    known.range(truncation.offset..).find(|(_, seen)| differs(seen)).map(|(offset, _)| *offset)
}

/// The first record of the backup, from an offset on, of which the first and the last generation in which the oracle read it are such.
fn only_of<'a>(
    case: &Case<'a>,
    known: &BTreeMap<i64, Vec<&Seen>>,
    from_offset: i64,
    are_such: impl Fn(u32, u32) -> bool,
) -> Option<&'a Stored> {
    let is_only = |stored: &&Stored| {
        let seen = known.get(&stored.offset).map_or(&[][..], Vec::as_slice);
        let generations = seen.iter().filter(|seen| seen.crc == stored.crc).map(|seen| seen.generation);
        let ends = generations.clone().min().zip(generations.max());
        stored.offset >= from_offset && ends.is_some_and(|(first, last)| are_such(first, last))
    };
    case.stored.records.iter().find(is_only)
}

/// The records that the backup has to have: read before the cut, and behind the log start after the run.
pub(super) fn required<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a Seen> {
    let start_after = case.start_after.filter(|_| case.is_alive && !case.kind.is_compacted());
    let is_required =
        move |seen: &&Seen| start_after.is_some_and(|start| seen.offset >= start) && case.is_before_cut(seen);
    case.known.records.iter().filter(is_required)
}

fn missing(case: &Case<'_>) -> Vec<Fault> {
    let is_there = |seen: &Seen| case.stored.records.binary_search_by_key(&seen.offset, |stored| stored.offset).is_ok();
    required(case)
        .filter(|seen| !is_there(seen))
        .map(|seen| {
            let text = format!(
                "the record that was read at {} ms, {} ms before the cut; the log began at {:?} after the run, and the backup \
                 has {}..{}",
                seen.seen_ms,
                case.backup.cut_at_ms - seen.seen_ms,
                case.start_after,
                case.stored.start_offset,
                case.stored.end_offset
            );
            case.fault(Wrong::Missing, seen.offset, text)
        })
        .collect()
}
