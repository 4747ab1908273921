//! What goes and what stays: a value made from values.
//!
//! Two rules stand above all others. Whatever a backup that stays needs, stays; when that cannot be known, no segment and no part
//! goes. And the deletions stand in an order of which every beginning leaves whole backups: manifests before what they name.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::format::layout::{BackupId, PartId, SegmentId};

/// What an archive holds, as far as pruning cares.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Backups that have a manifest.
    pub backups: Vec<Finished>,
    /// Backups that have none.
    pub unfinished: Vec<Unfinished>,
    /// Progress of finished backups that was not cleared away.
    pub spent: Vec<Stored<BackupId>>,
    /// All segments.
    pub segments: Vec<Stored<SegmentId>>,
    /// All parts.
    pub parts: Vec<Stored<PartId>>,
    /// Restores that are under way, or may go on.
    pub restores: Vec<Restore>,
}

/// An object of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<Id> {
    /// What it is, or what it belongs to.
    pub id: Id,
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, in milliseconds since the epoch.
    pub modified_ms: i64,
}

/// What a backup rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Segments.
    pub segments: BTreeSet<SegmentId>,
    /// Parts.
    pub parts: BTreeSet<PartId>,
}

/// A backup that has a manifest.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The backup.
    pub id: BackupId,
    /// Its manifest.
    pub manifest: Stored<BackupId>,
    /// What the manifest says; `None` when it cannot be read.
    pub told: Option<Told>,
    /// What it rests on, or why that cannot be known.
    pub needs: Result<Needs, String>,
}

/// What a manifest tells of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When the cut was made, in milliseconds since the epoch.
    pub cut_at_ms: i64,
    /// Whether something is missing from it.
    pub is_partial: bool,
}

/// A backup that has no manifest.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The backup.
    pub id: BackupId,
    /// Whether a run may be at work on it: somebody else holds the archive.
    pub is_at_work: bool,
    /// Its checkpoints, and the cut after them.
    pub progress: Vec<Stored<BackupId>>,
    /// The segments that its checkpoints name, or why they cannot be read.
    pub needs: Result<Needs, String>,
}

/// A restore that may still read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// Its id.
    pub id: String,
    /// What it reads; `None` when it has not said so yet.
    pub backup: Option<BackupId>,
}

/// What the user allows to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// How many complete backups stay at most.
    pub max_backups: Option<usize>,
    /// How old a backup's cut may be, in milliseconds.
    pub max_age_ms: Option<i64>,
    /// How old an object that nobody names must be, in milliseconds.
    pub grace_ms: i64,
}

/// A backup, and why it goes or stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The backup.
    pub backup_id: BackupId,
    /// Why, in a few words.
    pub why: String,
}

/// What is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The object.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// What is going to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Backups that go, the oldest first.
    pub remove: Vec<Decision>,
    /// Backups that stay, the oldest first.
    pub keep: Vec<Decision>,
    /// The first deletions: manifests, and progress that leads nowhere. After any of them, what is listed still is whole.
    pub backups: Vec<Deletion>,
    /// The deletions after those: what then nobody names.
    pub objects: Vec<Deletion>,
    /// Why less is deleted than might be, each in one line.
    pub problems: Vec<String>,
}

/// Decides what goes.
pub fn plan(facts: &Facts, rules: &Rules, now_ms: i64) -> Plan {
    let mut plan = Plan::default();
    decide_backups(facts, rules, now_ms, &mut plan);
    decide_progress(facts, rules.grace_ms, now_ms, &mut plan);
    let gone: BTreeSet<_> = plan.remove.iter().map(|decision| &decision.backup_id).collect();
    let Unnamed { objects, problems } = unnamed(facts, &gone, rules.grace_ms, now_ms);
    plan.objects = objects;
    plan.problems = problems;
    plan
}

/// Parts and segments that nobody needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unnamed {
    /// The deletions, parts first.
    pub objects: Vec<Deletion>,
    /// Why there are none although there might be some, each in one line.
    pub problems: Vec<String>,
}

/// Finds what no backup needs, except those that are `gone`. Everything else that is listed counts, whatever the rules say of it.
pub fn unnamed(facts: &Facts, gone: &BTreeSet<&BackupId>, grace_ms: i64, now_ms: i64) -> Unnamed {
    let mut named = Needs::default();
    let mut problems = BTreeSet::new();
    let finished = facts.backups.iter().map(|backup| (&backup.id, &backup.needs));
    let unfinished = facts.unfinished.iter().map(|backup| (&backup.id, &backup.needs));
    for (_, needs) in finished.chain(unfinished).filter(|(id, _)| !gone.contains(id)) {
        match needs {
            Ok(Needs { segments, parts }) => {
                named.segments.extend(segments.iter().cloned());
                named.parts.extend(parts.iter().cloned());
            }
            Err(why) => {
                problems.insert(format!("{why}: no segment is deleted"));
            }
        }
    }
    for restore in &facts.restores {
        let is_listed = |id: &BackupId| facts.backups.iter().any(|backup| backup.id == *id);
        if !restore.backup.as_ref().is_some_and(is_listed) {
            let id = &restore.id;
            problems.insert(format!("restore {id} may be reading a backup that is not known: no segment is deleted"));
        }
    }
    if !problems.is_empty() {
        return Unnamed { objects: Vec::new(), problems: problems.into_iter().collect() };
    }
    let is_old = |modified_ms: i64| is_older(modified_ms, grace_ms, now_ms);
    let parts = facts.parts.iter().filter(|part| is_old(part.modified_ms) && !named.parts.contains(&part.id));
    let segments = facts.segments.iter();
    let segments = segments.filter(|segment| is_old(segment.modified_ms) && !named.segments.contains(&segment.id));
    Unnamed { objects: parts.map(deletion).chain(segments.map(deletion)).collect(), problems: Vec::new() }
}

fn is_older(modified_ms: i64, grace_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(modified_ms) > grace_ms
}

fn decide_backups(facts: &Facts, rules: &Rules, now_ms: i64, plan: &mut Plan) {
    let mut newest_first: Vec<(&Finished, Told)> = Vec::new();
    for backup in &facts.backups {
        match backup.told {
            Some(told) => newest_first.push((backup, told)),
            // Nobody knows how old it is.
            None => {
                plan.keep.push(Decision { backup_id: backup.id.clone(), why: "its manifest cannot be read".to_owned() })
            }
        }
    }
    newest_first.sort_by(|(a, told_a), (b, told_b)| (told_b.cut_at_ms, &b.id).cmp(&(told_a.cut_at_ms, &a.id)));
    let mut complete_before = 0;
    for (rank, (backup, told)) in newest_first.into_iter().enumerate() {
        let is_newest = rank == 0 || (complete_before == 0 && !told.is_partial);
        let verdict =
            judge(told, is_newest, complete_before, rules, now_ms).and_then(|why| match user(facts, backup) {
                Some(stay) => Err(stay),
                None => Ok(why),
            });
        // A backup that lacks something does not count as one that is kept.
        complete_before += usize::from(!told.is_partial);
        let (Ok(why) | Err(why)) = verdict.clone();
        let decision = Decision { backup_id: backup.id.clone(), why };
        if verdict.is_ok() {
            plan.remove.push(decision);
            plan.backups.push(deletion(&backup.manifest));
        } else {
            plan.keep.push(decision);
        }
    }
    plan.remove.reverse();
    plan.keep.reverse();
    plan.backups.reverse();
}

/// Why a backup may go, or else why it stays.
fn judge(told: Told, is_newest: bool, complete_before: usize, rules: &Rules, now_ms: i64) -> Result<String, String> {
    if is_newest {
        return Err("the newest is never deleted".to_owned());
    }
    if rules.max_backups.is_some_and(|max| complete_before >= max) {
        return Ok(format!("{complete_before} complete backups are newer"));
    }
    let age_ms = now_ms.saturating_sub(told.cut_at_ms);
    if rules.max_age_ms.is_some_and(|max| age_ms > max) {
        return Ok(format!("it is {} days old", age_ms / 86_400_000));
    }
    Err(match (rules.max_backups, rules.max_age_ms) {
        (None, None) => "neither a number nor an age was given".to_owned(),
        (Some(_), _) | (None, Some(_)) => "within the limits".to_owned(),
    })
}

/// What keeps a backup that would go: a restore that reads it, or one that may.
fn user(facts: &Facts, backup: &Finished) -> Option<String> {
    facts.restores.iter().find_map(|restore| match &restore.backup {
        Some(used) if *used == backup.id => Some(format!("restore {} reads it", restore.id)),
        Some(_) => None,
        None => Some(format!("restore {} is under way and may read it", restore.id)),
    })
}

fn decide_progress(facts: &Facts, grace_ms: i64, now_ms: i64, plan: &mut Plan) {
    for Unfinished { id, is_at_work, progress, .. } in &facts.unfinished {
        let is_old = progress.iter().all(|object| is_older(object.modified_ms, grace_ms, now_ms));
        let why = match (is_at_work, is_old) {
            (true, _) => "unfinished, and a run may be at work on it",
            (false, false) => "unfinished, and so young that it may be gone on with",
            (false, true) => "unfinished, and nobody went on with it",
        };
        let decision = Decision { backup_id: id.clone(), why: why.to_owned() };
        if *is_at_work || !is_old {
            plan.keep.push(decision);
        } else {
            plan.remove.push(decision);
            plan.backups.extend(progress.iter().map(deletion));
        }
    }
    let spent = facts.spent.iter().filter(|object| is_older(object.modified_ms, grace_ms, now_ms));
    plan.backups.extend(spent.map(deletion));
}

fn deletion<Id>(object: &Stored<Id>) -> Deletion {
    Deletion { key: object.key.clone(), bytes: object.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: i64 = 1_000 * DAY_MS;

    fn stored<Id: std::str::FromStr>(id: &str, age_ms: i64) -> Stored<Id>
    where
        Id::Err: std::fmt::Debug,
    {
        Stored { id: id.parse().unwrap(), key: id.to_owned(), bytes: 1, modified_ms: NOW_MS - age_ms }
    }

    fn needs(segments: &[&str]) -> Needs {
        let parts = segments.iter().map(|segment| format!("part-{segment}").parse().unwrap()).collect();
        Needs { segments: segments.iter().map(|segment| segment.parse().unwrap()).collect(), parts }
    }

    fn backup(id: &str, age_days: i64, segments: &[&str]) -> Finished {
        Finished {
            id: id.parse().unwrap(),
            manifest: stored(id, age_days * DAY_MS),
            told: Some(Told { cut_at_ms: NOW_MS - age_days * DAY_MS, is_partial: false }),
            needs: Ok(needs(segments)),
        }
    }

    fn partial(id: &str, age_days: i64) -> Finished {
        let told = Some(Told { cut_at_ms: NOW_MS - age_days * DAY_MS, is_partial: true });
        Finished { told, ..backup(id, age_days, &[]) }
    }

    /// Four daily backups, each resting on its own segment and those of all before it.
    fn four() -> Facts {
        let all = ["s1", "s2", "s3", "s4"];
        Facts {
            backups: (1..=4).map(|n| backup(&format!("b{n}"), 14 - n, &all[..usize::try_from(n).unwrap()])).collect(),
            segments: all.iter().map(|id| stored(id, 10 * DAY_MS)).collect(),
            parts: all.iter().map(|id| stored(&format!("part-{id}"), 10 * DAY_MS)).collect(),
            ..Facts::default()
        }
    }

    const NONE: Rules = Rules { max_backups: None, max_age_ms: None, grace_ms: DAY_MS };

    fn keys(deletions: &[Deletion]) -> Vec<&str> {
        deletions.iter().map(|deletion| deletion.key.as_str()).collect()
    }

    fn removed(plan: &Plan) -> Vec<&str> {
        plan.remove.iter().map(|decision| decision.backup_id.as_str()).collect()
    }

    #[test]
    fn without_limits_only_leftovers_go() {
        let mut facts = four();
        facts.segments.push(stored("lost", 2 * DAY_MS));
        facts.parts.push(stored("part-lost", 2 * DAY_MS));
        let plan = plan(&facts, &NONE, NOW_MS);
        assert_eq!((removed(&plan), keys(&plan.backups)), (vec![], vec![]));
        assert_eq!(keys(&plan.objects), ["part-lost", "lost"]);
    }

    #[test]
    fn what_is_younger_than_the_grace_period_stays_whoever_it_belongs_to() {
        let mut facts = four();
        facts.segments.push(stored("young", DAY_MS));
        assert_eq!(keys(&plan(&facts, &NONE, NOW_MS).objects), [""; 0]);
        assert_eq!(keys(&plan(&facts, &NONE, NOW_MS + 1).objects), ["young"]);
    }

    #[test]
    fn surplus_backups_go_oldest_first_and_what_others_share_with_them_stays() {
        let plan = plan(&four(), &Rules { max_backups: Some(2), ..NONE }, NOW_MS);
        assert_eq!((removed(&plan), keys(&plan.backups)), (vec!["b1", "b2"], vec!["b1", "b2"]));
        // The newest rests on all four segments.
        assert_eq!(keys(&plan.objects), [""; 0]);
    }

    #[test]
    fn segments_that_only_deleted_backups_name_go() {
        let mut facts = four();
        facts.backups[2].needs = Ok(needs(&["s3"]));
        facts.backups[3].needs = Ok(needs(&["s4"]));
        let plan = plan(&facts, &Rules { max_backups: Some(2), ..NONE }, NOW_MS);
        assert_eq!(keys(&plan.objects), ["part-s1", "part-s2", "s1", "s2"]);
    }

    #[test]
    fn the_newest_stays_however_old_it_is() {
        let rules = Rules { max_age_ms: Some(0), ..NONE };
        assert_eq!(removed(&plan(&four(), &rules, NOW_MS)), ["b1", "b2", "b3"]);
    }

    #[test]
    fn the_newest_is_told_by_its_cut_not_by_its_name() {
        let mut facts = four();
        facts.backups[0].told = Some(Told { cut_at_ms: NOW_MS, is_partial: false });
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(removed(&plan), ["b2", "b3", "b4"]);
    }

    #[test]
    fn backups_that_lack_something_do_not_count_and_never_replace_the_newest_complete_one() {
        let mut facts = four();
        facts.backups.push(partial("b5", 2));
        facts.backups.push(partial("b0", 20));
        let first = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(removed(&first), ["b0", "b1", "b2", "b3"]);
        let second = plan(&facts, &Rules { max_age_ms: Some(0), ..NONE }, NOW_MS);
        assert_eq!(removed(&second), ["b0", "b1", "b2", "b3"]);
    }

    #[test]
    fn what_a_restore_reads_stays_with_all_it_needs() {
        let mut facts = four();
        facts.backups[1].needs = Ok(needs(&["s2"]));
        facts.backups[3].needs = Ok(needs(&["s4"]));
        facts.restores.push(Restore { id: "r".to_owned(), backup: Some("b2".parse().unwrap()) });
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(removed(&plan), ["b1", "b3"]);
        assert_eq!(keys(&plan.objects), ["part-s1", "part-s3", "s1", "s3"]);
        assert!(plan.keep.iter().any(|decision| decision.why == "restore r reads it"));
    }

    #[test]
    fn a_restore_that_has_not_said_what_it_reads_keeps_everything() {
        let mut facts = four();
        facts.restores.push(Restore { id: "r".to_owned(), backup: None });
        facts.segments.push(stored("lost", 2 * DAY_MS));
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!((removed(&plan), keys(&plan.backups), keys(&plan.objects)), (vec![], vec![], vec![]));
        assert_eq!(plan.problems.len(), 1);
    }

    /// It read the manifest just before that was deleted.
    #[test]
    fn a_restore_of_a_backup_that_is_gone_keeps_every_segment() {
        let mut facts = four();
        facts.restores.push(Restore { id: "r".to_owned(), backup: Some("gone".parse().unwrap()) });
        facts.segments.push(stored("lost", 2 * DAY_MS));
        assert_eq!(keys(&plan(&facts, &NONE, NOW_MS).objects), [""; 0]);
    }

    /// Time goes on between the deletion of manifests and that of segments.
    #[test]
    fn a_backup_that_is_still_listed_keeps_what_it_needs_whatever_the_rules_say_by_now() {
        let facts = four();
        let rules = Rules { max_age_ms: Some(0), max_backups: Some(1), grace_ms: 0 };
        assert_eq!(removed(&plan(&facts, &rules, NOW_MS)).len(), 3);
        assert_eq!(unnamed(&facts, &BTreeSet::new(), 0, NOW_MS), Unnamed::default());
    }

    #[test]
    fn a_damaged_manifest_or_part_keeps_every_segment_and_is_told() {
        for is_manifest in [true, false] {
            let mut facts = four();
            facts.segments.push(stored("lost", 2 * DAY_MS));
            facts.backups[3].needs = Err("damaged".to_owned());
            if is_manifest {
                facts.backups[3].told = None;
            }
            let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
            assert!(!removed(&plan).contains(&"b4"));
            assert_eq!((keys(&plan.objects), plan.problems.len()), (vec![], 1));
        }
    }

    #[test]
    fn a_damaged_part_of_a_backup_that_goes_is_no_hindrance() {
        let mut facts = four();
        facts.backups[0].needs = Err("damaged".to_owned());
        facts.segments.push(stored("lost", 2 * DAY_MS));
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!((keys(&plan.objects), plan.problems.len()), (vec!["lost"], 0));
    }

    fn unfinished(is_at_work: bool, age_ms: i64) -> Facts {
        let progress = vec![stored("checkpoint", age_ms + DAY_MS), stored("cut", age_ms)];
        let needs = Ok(needs(&["u"]));
        Facts {
            unfinished: vec![Unfinished { id: "u1".parse().unwrap(), is_at_work, progress, needs }],
            segments: vec![stored("u", 9 * DAY_MS)],
            ..Facts::default()
        }
    }

    #[test]
    fn an_unfinished_backup_goes_only_when_it_is_old_and_nobody_is_at_work() {
        let old = plan(&unfinished(false, 2 * DAY_MS), &NONE, NOW_MS);
        assert_eq!((keys(&old.backups), keys(&old.objects)), (vec!["checkpoint", "cut"], vec!["u"]));
        for facts in [unfinished(true, 2 * DAY_MS), unfinished(false, DAY_MS)] {
            let kept = plan(&facts, &NONE, NOW_MS);
            assert_eq!((keys(&kept.backups), keys(&kept.objects)), (vec![], vec![]));
        }
    }

    #[test]
    fn an_unfinished_backup_does_not_count_as_one_that_is_kept() {
        let facts = Facts { backups: four().backups, ..unfinished(true, 0) };
        assert_eq!(removed(&plan(&facts, &Rules { max_backups: Some(4), ..NONE }, NOW_MS)), [""; 0]);
    }
}
