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

/// Losses and warnings belong together.
fn warned(case: &Case<'_>) -> Option<Fault> {
    let lossy = |hole: &&Hole| matches!(hole.reason, HoleReason::Expired | HoleReason::Deleted);
    if case.is_named() {
        return None;
    }
    if let Some(hole) = case.stored.holes.iter().find(lossy) {
        let text = format!("a warning about the hole {}..{} ({:?})", hole.start_offset, hole.end_offset, hole.reason);
        return Some(case.fault(Wrong::NoWarning, hole.start_offset, text));
    }
    if case.kind.is_compacted() {
        return None;
    }
    let offsets = case.stored.start_offset..case.stored.cut_end_offset;
    let is_lost = |seen: &&Seen| {
        offsets.contains(&seen.offset)
            && case.is_before_cut(seen)
            && case.stored.records.binary_search_by_key(&seen.offset, |stored| stored.offset).is_err()
    };
    let lost = case.known.records.iter().find(is_lost)?;
    Some(case.fault(Wrong::NoWarning, lost.offset, "a warning about a record that was lost after the cut"))
}
