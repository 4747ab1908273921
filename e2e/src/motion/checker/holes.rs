//! Holes: each has a reason that can be, none lies over a record, and what was lost is in a warning.

use kafka_backup::format::hole::{Hole, HoleReason};

use super::{Case, Fault, Wrong};
use crate::motion::oracle::Seen;

pub(super) fn check(case: &Case<'_>) -> Vec<Fault> {
    let mut faults: Vec<Fault> = case.stored.holes.iter().filter_map(|hole| reason(case, hole)).collect();
    if let Some(offset) = case.stored.inner_holes.first()
        && !case.kind.is_compacted()
    {
        let text = "a record: only compaction takes records out of a batch";
        faults.push(case.fault(Wrong::HoleReason, *offset, text));
    }
    faults.extend(case.stored.holes.iter().filter_map(|hole| over_record(case, hole)));
    faults.extend(warned(case));
    faults
}

/// A reason that cannot be.
fn reason(case: &Case<'_>, hole: &Hole) -> Option<Fault> {
    let offsets = format!("{}..{}", hole.start_offset, hole.end_offset);
    let wrong = match hole.reason {
        HoleReason::Compaction if !case.kind.is_compacted() => "the topic is not compacted".to_owned(),
        HoleReason::Control | HoleReason::Aborted if !case.kind.has_transactions() => {
            "nobody writes to the topic in transactions".to_owned()
        }
        HoleReason::Deleted if case.is_alive => "the topic was not deleted before the run ended".to_owned(),
        HoleReason::Expired if !case.kind.log_start_moves() && case.is_alive => {
            "neither retention nor DeleteRecords takes records of the topic".to_owned()
        }
        HoleReason::Expired => match case.start_after {
            Some(start_after) if start_after < hole.end_offset && case.is_alive => {
                format!("the log began at {start_after} after the run")
            }
            Some(_) | None => return None,
        },
        HoleReason::Compaction | HoleReason::Control | HoleReason::Aborted | HoleReason::Deleted => return None,
    };
    let text = format!("another reason than {:?} for {offsets}: {wrong}", hole.reason);
    Some(case.fault(Wrong::HoleReason, hole.start_offset, text))
}

/// A committed record where the hole says that there never was one.
fn over_record(case: &Case<'_>, hole: &Hole) -> Option<Fault> {
    match hole.reason {
        HoleReason::Control | HoleReason::Aborted => {}
        // Whether these took a record that must be there is asked elsewhere.
        HoleReason::Compaction | HoleReason::Deleted | HoleReason::Expired => return None,
    }
    // An election may have put a marker where a record was.
    if !case.known.truncations.is_empty() {
        return None;
    }
    let offsets = hole.start_offset..hole.end_offset;
    let first = case.known.records.partition_point(|seen| seen.offset < offsets.start);
    let seen = case.known.records.get(first).filter(|seen| offsets.contains(&seen.offset))?;
    let text = format!("the committed record that the oracle read, and not a hole ({:?})", hole.reason);
    Some(case.fault(Wrong::HoleOverRecord, seen.offset, text))
}

/// Losses and the lines about them belong together: what expired is a warning, and what went with its topic a problem.
fn warned(case: &Case<'_>) -> Option<Fault> {
    let Case { backup, stored, .. } = case;
    let lines = [(HoleReason::Expired, &backup.warnings), (HoleReason::Deleted, &backup.problems)];
    if let Some(fault) = lines.into_iter().find_map(|(reason, lines)| unstated(case, reason, lines)) {
        return Some(fault);
    }
    if case.kind.is_compacted() {
        return None;
    }
    let is_lossy = |hole: &&Hole| matches!(hole.reason, HoleReason::Expired | HoleReason::Deleted);
    let lossy: Vec<&Hole> = stored.holes.iter().filter(is_lossy).collect();
    let offsets = stored.start_offset..stored.cut_end_offset;
    let is_lost = |seen: &&Seen| {
        offsets.contains(&seen.offset)
            && case.is_before_cut(seen)
            && stored.records.binary_search_by_key(&seen.offset, |stored| stored.offset).is_err()
            && !lossy.iter().any(|hole| (hole.start_offset..hole.end_offset).contains(&seen.offset))
    };
    let lost = case.known.records.iter().find(is_lost)?;
    Some(case.fault(Wrong::NoWarning, lost.offset, "a hole and a line about it: it was lost after the cut"))
}

/// The first hole of a reason, unless one of these lines says of the partition how many offsets are in such holes.
fn unstated(case: &Case<'_>, reason: HoleReason, lines: &[String]) -> Option<Fault> {
    let mut holes = case.stored.holes.iter().filter(|hole| hole.reason == reason).peekable();
    let first = *holes.peek()?;
    let lost: u64 = holes.map(|hole| hole.end_offset.abs_diff(hole.start_offset)).sum();
    let begin = format!("{}-{}: {lost} offsets ", case.topic, case.number);
    if lines.iter().any(|line| line.starts_with(&begin)) {
        return None;
    }
    let (start_offset, end_offset) = (first.start_offset, first.end_offset);
    let text = format!("a line {begin:?}.. because of the hole {start_offset}..{end_offset} ({reason:?})");
    Some(case.fault(Wrong::NoWarning, start_offset, text))
}
