//! Which of an archive's backups a restore reads when it is not told.

use crate::clock::utc;
use crate::format::layout::BackupId;

/// What is wanted of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Newest,
    /// The state at this time, in milliseconds since the epoch.
    Reaching(i64),
}

/// A backup that may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The backup.
    pub id: BackupId,
    /// When its cut was made, in milliseconds since the epoch.
    pub cut_at_ms: i64,
    /// How many things are missing from it.
    pub problems: u64,
}

impl Candidate {
    const fn is_partial(&self) -> bool {
        self.problems > 0
    }
}

/// A backup that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The backup.
    pub id: BackupId,
    /// When it was made, as far as it can be told, in milliseconds since the epoch.
    pub about_ms: i64,
    /// Whether something is missing from it, where that is known.
    pub is_partial: Option<bool>,
    /// Why it cannot be read, in one line.
    pub why: String,
}

/// The best backup: a completed one before one that is partial, whatever their times.
///
/// The newest of them by its cut. For a point in time the oldest that reaches it, since every later one lacks more of what
/// retention has taken; else the newest.
pub fn best(candidates: &[Candidate], wanted: Wanted) -> Option<&Candidate> {
    let by_cut = |candidate: &&Candidate| (candidate.cut_at_ms, candidate.id.clone());
    [false, true].into_iter().find_map(|is_partial| {
        let of_kind = || candidates.iter().filter(move |candidate| candidate.is_partial() == is_partial);
        let reaching = match wanted {
            Wanted::Newest => None,
            Wanted::Reaching(at_ms) => of_kind().filter(|candidate| candidate.cut_at_ms >= at_ms).min_by_key(by_cut),
        };
        reaching.or_else(|| of_kind().max_by_key(by_cut))
    })
}

/// The damaged backup that might have been the better choice, so that only the user can decide for `chosen`. One that is older, that
/// no restore to this time needs, or that is known to be partial where `chosen` is not, stops nobody.
pub fn doubt<'d>(chosen: &Candidate, damaged: &'d [Damaged], wanted: Wanted) -> Option<&'d Damaged> {
    let is_good_enough = match wanted {
        Wanted::Newest => false,
        Wanted::Reaching(at_ms) => chosen.cut_at_ms >= at_ms && !chosen.is_partial(),
    };
    let is_better = |damaged: &&Damaged| {
        damaged.about_ms > chosen.cut_at_ms && (chosen.is_partial() || damaged.is_partial != Some(true))
    };
    damaged.iter().filter(is_better).max_by_key(|damaged| damaged.about_ms).filter(|_| !is_good_enough)
}

/// What should be known of the choice, each in one line. `problems` are those of the chosen backup.
pub fn warnings(
    chosen: &Candidate,
    problems: &[String],
    candidates: &[Candidate],
    damaged: &[Damaged],
    wanted: Wanted,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let Candidate { id, cut_at_ms, .. } = chosen;
    if chosen.is_partial() {
        let missing = problems.iter().take(PROBLEMS_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        let more = match problems.len().saturating_sub(PROBLEMS_NAMED) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        warnings.push(format!(
            "the archive has no completed backup that can be read: backup {id} is partial, and this is missing: {missing}{more}"
        ));
    }
    if let Wanted::Reaching(at_ms) = wanted
        && *cut_at_ms < at_ms
    {
        let kind = if chosen.is_partial() { "" } else { "completed " };
        warnings.push(format!(
            "no {kind}backup reaches {}: the newest, {id}, was cut at {}, and what was written after that is not in it",
            utc(at_ms),
            utc(*cut_at_ms)
        ));
    }
    let is_short = match wanted {
        Wanted::Newest => true,
        Wanted::Reaching(at_ms) => *cut_at_ms < at_ms,
    };
    let newer: Vec<&Candidate> =
        candidates.iter().filter(|candidate| candidate.is_partial() && candidate.cut_at_ms > *cut_at_ms).collect();
    let by_cut = |candidate: &&Candidate| candidate.cut_at_ms;
    let reaching = match wanted {
        Wanted::Newest => None,
        Wanted::Reaching(at_ms) => {
            newer.iter().copied().filter(|candidate| candidate.cut_at_ms >= at_ms).min_by_key(by_cut)
        }
    };
    let partial = reaching.or_else(|| newer.iter().copied().max_by_key(by_cut));
    if let Some(Candidate { id: partial, cut_at_ms: partial_cut, problems }) = partial
        && is_short
        && !chosen.is_partial()
    {
        warnings.push(format!(
            "backup {partial}, cut at {}, is newer than {id}, cut at {}, and was not chosen since it is partial ({problems} problems, \
             which `list` shows): name it by its id to restore it instead",
            utc(*partial_cut),
            utc(*cut_at_ms)
        ));
    }
    warnings.extend(damaged.iter().map(|Damaged { id, why, .. }| format!("backup {id} cannot be read: {why}")));
    warnings
}

/// Problems of a partial backup that a warning repeats.
const PROBLEMS_NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(backups: &[(&str, i64, bool)]) -> Vec<Candidate> {
        let of = |&(id, cut_at_ms, is_partial): &(&str, i64, bool)| Candidate {
            id: id.parse().unwrap(),
            cut_at_ms,
            problems: if is_partial { 2 } else { 0 },
        };
        backups.iter().map(of).collect()
    }

    fn chosen(wanted: Wanted, backups: &[(&str, i64, bool)]) -> Option<(String, Vec<String>)> {
        let candidates = candidates(backups);
        let best = best(&candidates, wanted)?;
        let problems: Vec<String> = (0..best.problems).map(|number| format!("problem {number}")).collect();
        Some((best.id.to_string(), warnings(best, &problems, &candidates, &[], wanted)))
    }

    const THREE: [(&str, i64, bool); 3] = [("c", 3000, false), ("a", 1000, false), ("b", 2000, false)];

    #[test]
    fn the_oldest_backup_that_reaches_the_point_in_time_is_read() {
        for (at_ms, id) in [(0, "a"), (1000, "a"), (1001, "b"), (2000, "b"), (3000, "c")] {
            assert_eq!(chosen(Wanted::Reaching(at_ms), &THREE), Some((id.to_owned(), Vec::new())), "{at_ms}");
        }
    }

    #[test]
    fn where_none_reaches_it_the_newest_is_read_with_a_warning() {
        let (id, warnings) = chosen(Wanted::Reaching(3001), &THREE).unwrap();
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert_eq!(id, "c");
        assert!(
            warning.contains("reaches 1970-01-01T00:00:03.001Z") && warning.contains("1970-01-01T00:00:03.000Z"),
            "{warning}"
        );
    }

    #[test]
    fn a_completed_backup_is_chosen_before_a_newer_partial_one_and_the_choice_is_explained() {
        let backups = [("a", 1000, false), ("b", 2000, true), ("c", 3000, true)];
        for (wanted, named, count) in [(Wanted::Newest, "backup c,", 1), (Wanted::Reaching(1500), "backup b,", 2)] {
            let (id, warnings) = chosen(wanted, &backups).unwrap();
            assert_eq!((id.as_str(), warnings.len()), ("a", count), "{warnings:?}");
            let last = warnings.last().unwrap();
            assert!(last.starts_with(named) && last.contains("partial (2 problems"), "{last}");
        }
        // None reaches it: the newest holds more.
        let (_, warnings) = chosen(Wanted::Reaching(9000), &backups).unwrap();
        assert!(warnings.last().unwrap().starts_with("backup c,"), "{warnings:?}");
        // It reaches the point in time: nothing newer is of use.
        assert_eq!(chosen(Wanted::Reaching(1000), &backups), Some(("a".to_owned(), Vec::new())));
        // An older partial backup is nothing to speak of.
        assert_eq!(
            chosen(Wanted::Newest, &[("a", 1000, true), ("b", 2000, false)]),
            Some(("b".to_owned(), Vec::new()))
        );
    }

    #[test]
    fn where_all_are_partial_one_of_them_is_chosen_and_what_is_missing_is_named() {
        let backups = [("a", 1000, true), ("b", 2000, true), ("c", 3000, true)];
        for (wanted, id) in [(Wanted::Newest, "c"), (Wanted::Reaching(1500), "b"), (Wanted::Reaching(9000), "c")] {
            let (found, warnings) = chosen(wanted, &backups).unwrap();
            assert_eq!(found, id);
            assert!(warnings[0].contains("problem 0; problem 1"), "{warnings:?}");
            assert_eq!(warnings.len(), if wanted == Wanted::Reaching(9000) { 2 } else { 1 }, "{warnings:?}");
        }
        assert_eq!(chosen(Wanted::Newest, &[]), None);
    }

    #[test]
    fn a_damaged_backup_is_in_the_way_only_when_it_might_be_the_better_choice() {
        let damaged_of = |is_partial, about_ms| {
            vec![Damaged { id: "x".parse().unwrap(), about_ms, is_partial, why: "cut short".to_owned() }]
        };
        let damaged = |about_ms| damaged_of(None, about_ms);
        let candidates = candidates(&THREE);
        let doubted =
            |wanted, about_ms| doubt(best(&candidates, wanted).unwrap(), &damaged(about_ms), wanted).is_some();
        assert!(doubted(Wanted::Newest, 3001) && !doubted(Wanted::Newest, 3000));
        // It would not have been chosen either.
        assert_eq!(doubt(&candidates[0], &damaged_of(Some(true), 9000), Wanted::Newest), None);
        let partial = Candidate { problems: 1, ..candidates[0].clone() };
        assert!(doubt(&partial, &damaged_of(Some(true), 9000), Wanted::Newest).is_some());
        // Backup b reaches it, whatever a later one holds.
        assert!(!doubted(Wanted::Reaching(1500), 2500) && !doubted(Wanted::Reaching(1500), 1700));
        assert!(doubted(Wanted::Reaching(3500), 3600) && !doubted(Wanted::Reaching(3500), 2900));
        let warnings = warnings(&candidates[0], &[], &candidates, &damaged(1), Wanted::Newest);
        assert_eq!(warnings, ["backup x cannot be read: cut short"]);
    }
}
