//! What goes and what stays: a value made from values.
//!
//! Two rules stand above all others. Whatever a backup that stays needs, stays; when that cannot be known, no segment and no part
//! goes. And the deletions happen in an order of which every beginning leaves whole backups: manifests before what they name.
//!
//! Segments and parts are never held as a whole: an archive may have millions. They are in a folder for each backup whose run wrote
//! them, and [`Needed`] says what of each folder stays.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::format::facts::Holdings;
use crate::format::layout::{BackupId, PartId, SegmentId};

/// What an archive holds, as far as pruning cares.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Backups that have a manifest.
    pub backups: Vec<Finished>,
    /// Backups that have none.
    pub unfinished: Vec<Unfinished>,
    /// Progress of finished backups that was not cleared away.
    pub spent: Vec<Progress>,
    /// Facts of backups that have no manifest.
    pub spare: Vec<Stored<BackupId>>,
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

/// Segments and parts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Segments.
    pub segments: BTreeSet<SegmentId>,
    /// Parts.
    pub parts: BTreeSet<PartId>,
}

/// What a backup rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Only what its own runs wrote; how much that is, as far as it is known.
    Own(Option<Holdings>),
    /// These, which runs of any backup wrote.
    Named(Named),
    /// It cannot be known, and why.
    Unknown(String),
}

/// A backup that has a manifest.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The backup.
    pub id: BackupId,
    /// Its manifest.
    pub manifest: Stored<BackupId>,
    /// The objects that hold its facts.
    pub facts: Vec<Stored<BackupId>>,
    /// What is known of it, or why its manifest cannot be read.
    pub told: Result<Told, String>,
    /// What it rests on.
    pub needs: Needs,
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
    /// What its runs wrote down.
    pub progress: Progress,
}

/// What runs of a backup wrote down until it was finished.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The cut, and the mark of a backup that was given up.
    pub cut: Vec<Stored<BackupId>>,
    /// Checkpoints, and whatever else there is.
    pub checkpoints: Vec<Stored<BackupId>>,
}

impl Progress {
    fn objects(&self) -> impl Iterator<Item = &Stored<BackupId>> {
        self.checkpoints.iter().chain(&self.cut)
    }

    fn is_of(&self, backup: &BackupId) -> bool {
        self.objects().any(|object| object.id == *backup)
    }
}

/// A restore that may still read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// Its id.
    pub id: String,
    /// What it reads; `None` when it has not said so yet.
    pub backup: Option<BackupId>,
    /// Whether a run of it may be at work: it holds its lease, or has written something lately.
    pub is_at_work: bool,
}

/// What the user allows to go.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The backup that this very run has made: it stays, whatever clocks say of its age.
    pub just_made: Option<BackupId>,
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
    /// The first deletions, by steps: the spent progress of backups that go, then manifests, then facts, then checkpoints, then cuts.
    /// Within a step there is no order. After any deletion of any step what is listed still is whole.
    pub steps: [Vec<Deletion>; 6],
    /// What should be known of backups that stay, each in one line.
    pub problems: Vec<String>,
}

impl Plan {
    fn add_progress(&mut self, progress: &Progress) {
        self.steps[CHECKPOINTS].extend(progress.checkpoints.iter().map(deletion));
        self.steps[CUTS].extend(progress.cut.iter().map(deletion));
    }

    /// Of the complete backups that stay, the newest.
    pub fn newest_kept<'f>(&self, facts: &'f mut Facts) -> Option<&'f mut Finished> {
        let gone = self.gone();
        let is_kept = |backup: &&mut Finished| {
            backup.told.as_ref().is_ok_and(|told| !told.is_partial) && !gone.contains(&backup.id)
        };
        let cut = |backup: &&mut Finished| backup.told.as_ref().map_or(i64::MIN, |told| told.cut_at_ms);
        facts.backups.iter_mut().filter(is_kept).max_by_key(cut)
    }

    /// What was to go and is still there stays.
    pub fn stay(&mut self, left: &Facts) {
        let finished = left.backups.iter().map(|backup| &backup.id);
        let there: BTreeSet<&BackupId> = finished.chain(left.unfinished.iter().map(|backup| &backup.id)).collect();
        let (stay, gone) =
            std::mem::take(&mut self.remove).into_iter().partition(|gone| there.contains(&gone.backup_id));
        self.remove = gone;
        for Decision { backup_id, .. } in &stay {
            self.problems.push(format!("backup {backup_id} could not be deleted"));
        }
        self.keep.extend(stay);
    }

    /// The backups that go.
    pub fn gone(&self) -> BTreeSet<BackupId> {
        self.remove.iter().map(|decision| decision.backup_id.clone()).collect()
    }
}

/// Decides what goes.
pub fn plan(facts: &Facts, rules: &Rules, now_ms: i64) -> Plan {
    let mut plan = Plan::default();
    decide_backups(facts, rules, now_ms, &mut plan);
    decide_progress(facts, rules.grace_ms, now_ms, &mut plan);
    plan
}

/// What of a folder of segments or parts stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Everything: of a backup that is not finished nobody knows what its next run will name.
    All,
    /// Everything, unless there is more than the backup names.
    AtMost(Holdings),
    /// What [`Needed::named`] holds.
    Named,
}

/// What of an archive's segments and parts stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// By the backup whose folder it is. That of a backup that is not among them goes, except what is named.
    pub folders: BTreeMap<BackupId, Keeps>,
    /// What backups name that do not rest on their own folder alone.
    pub named: Named,
    /// Why no segment and no part goes, each in one line.
    pub unknown: Vec<String>,
}

/// Finds what backups need, except those that are `gone`. Everything else that is listed counts, whatever the rules say of it.
pub fn needed(facts: &Facts, gone: &BTreeSet<BackupId>) -> Needed {
    let mut needed = Needed::default();
    let mut unknown = BTreeSet::new();
    for backup in facts.backups.iter().filter(|backup| !gone.contains(&backup.id)) {
        match &backup.needs {
            Needs::Own(None) => drop(needed.folders.insert(backup.id.clone(), Keeps::All)),
            Needs::Own(Some(holdings)) => drop(needed.folders.insert(backup.id.clone(), Keeps::AtMost(*holdings))),
            Needs::Named(Named { segments, parts }) => {
                needed.folders.insert(backup.id.clone(), Keeps::Named);
                needed.named.segments.extend(segments.iter().cloned());
                needed.named.parts.extend(parts.iter().cloned());
            }
            Needs::Unknown(why) => drop(unknown.insert(format!("{why}: no segment is deleted"))),
        }
    }
    for backup in facts.unfinished.iter().filter(|backup| !gone.contains(&backup.id)) {
        needed.folders.insert(backup.id.clone(), Keeps::All);
    }
    for restore in &facts.restores {
        let is_listed = |id: &BackupId| facts.backups.iter().any(|backup| backup.id == *id);
        if restore.is_at_work && !restore.backup.as_ref().is_some_and(is_listed) {
            let id = &restore.id;
            unknown.insert(format!("restore {id} may be reading a backup that is not known: no segment is deleted"));
        }
    }
    needed.unknown = unknown.into_iter().collect();
    needed
}

/// The objects of a folder that go: nobody names them, and they are older than the grace period.
pub fn unneeded<Id: Ord>(objects: &[Stored<Id>], named: &BTreeSet<Id>, grace_ms: i64, now_ms: i64) -> Vec<Deletion> {
    let is_old = |object: &&Stored<Id>| is_older(object.modified_ms, grace_ms, now_ms);
    objects.iter().filter(is_old).filter(|object| !named.contains(&object.id)).map(deletion).collect()
}

fn is_older(modified_ms: i64, grace_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(modified_ms) > grace_ms
}

fn decide_backups(facts: &Facts, rules: &Rules, now_ms: i64, plan: &mut Plan) {
    let mut newest_first: Vec<(&Finished, Told)> = Vec::new();
    for backup in &facts.backups {
        match &backup.told {
            Ok(told) => newest_first.push((backup, *told)),
            // Nobody knows how old it is.
            Err(why) => {
                match backup.needs {
                    Needs::Own(_) | Needs::Named(_) => {
                        plan.problems.push(format!("backup {} is kept, since it cannot be read: {why}", backup.id));
                    }
                    // Said once, by what follows from it.
                    Needs::Unknown(_) => {}
                }
                plan.keep
                    .push(Decision { backup_id: backup.id.clone(), why: "its manifest cannot be read".to_owned() });
            }
        }
    }
    newest_first.sort_by(|(a, told_a), (b, told_b)| (told_b.cut_at_ms, &b.id).cmp(&(told_a.cut_at_ms, &a.id)));
    // Partial backups that would go if they counted.
    let (mut complete_before, mut beyond) = (0, 0);
    for (rank, (backup, told)) in newest_first.into_iter().enumerate() {
        let is_newest = rank == 0 || (complete_before == 0 && !told.is_partial);
        let verdict = match rules.just_made.as_ref() == Some(&backup.id) {
            true => Err("this run has made it".to_owned()),
            false => judge(told, is_newest, complete_before, rules, now_ms),
        };
        let verdict = match (verdict, user(facts, backup)) {
            (Ok(_), Some(restore)) => {
                if !restore.is_at_work {
                    plan.problems.push(kept_for(backup, restore));
                }
                Err(format!(
                    "restore {} {}",
                    restore.id,
                    if restore.backup.is_some() { "reads it" } else { "may read it" }
                ))
            }
            (verdict, _) => verdict,
        };
        // A backup that lacks something does not count as one that is kept.
        complete_before += usize::from(!told.is_partial);
        let (Ok(why) | Err(why)) = verdict.clone();
        let decision = Decision { backup_id: backup.id.clone(), why };
        if verdict.is_ok() {
            plan.remove.push(decision);
            // Without the manifest, its cut would be one that a run resumes: the backup would come back.
            for progress in facts.spent.iter().filter(|progress| progress.is_of(&backup.id)) {
                plan.steps[SPENT_CHECKPOINTS].extend(progress.checkpoints.iter().map(deletion));
                plan.steps[SPENT_CUTS].extend(progress.cut.iter().map(deletion));
            }
            plan.steps[MANIFESTS].push(deletion(&backup.manifest));
            plan.steps[FACTS].extend(backup.facts.iter().map(deletion));
        } else {
            beyond += usize::from(rules.max_backups.is_some_and(|max| rank >= max && told.is_partial));
            plan.keep.push(decision);
        }
    }
    if let Some(max) = rules.max_backups.filter(|max| complete_before < *max && beyond > 0) {
        plan.problems.push(format!(
            "{beyond} backups more than {max} are kept, since a partial backup does not count and only {complete_before} are complete: \
             see why backups are partial, or give a maximum age too"
        ));
    }
    plan.remove.reverse();
    plan.keep.reverse();
    plan.steps.iter_mut().for_each(|step| step.reverse());
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

/// The restore that reads a backup, or may; one that is at work before others.
fn user<'f>(facts: &'f Facts, backup: &Finished) -> Option<&'f Restore> {
    let reads = |restore: &&Restore| restore.backup.as_ref().is_none_or(|used| *used == backup.id);
    facts.restores.iter().filter(reads).max_by_key(|restore| restore.is_at_work)
}

fn kept_for(backup: &Finished, restore: &Restore) -> String {
    let (backup, restore) = (&backup.id, &restore.id);
    format!(
        "backup {backup} is kept for restore {restore}, which has replaced topics and has not ended: the same command completes it, or \
         restore --abandon {restore} ends it; 30 days after its last sign the backup goes"
    )
}

fn decide_progress(facts: &Facts, grace_ms: i64, now_ms: i64, plan: &mut Plan) {
    let gone = plan.gone();
    let is_old = |object: &Stored<BackupId>| is_older(object.modified_ms, grace_ms, now_ms);
    for Unfinished { id, is_at_work, progress } in &facts.unfinished {
        let all_old = progress.objects().all(is_old);
        let why = match (is_at_work, all_old) {
            (true, _) => "unfinished, and a run may be at work on it",
            (false, false) => "unfinished, and so young that it may be gone on with",
            (false, true) => "unfinished, and nobody went on with it",
        };
        let decision = Decision { backup_id: id.clone(), why: why.to_owned() };
        if *is_at_work || !all_old {
            plan.keep.push(decision);
        } else {
            plan.remove.push(decision);
            plan.add_progress(progress);
        }
    }
    facts
        .spent
        .iter()
        .filter(|progress| progress.objects().all(is_old) && !gone.iter().any(|id| progress.is_of(id)))
        .for_each(|progress| plan.add_progress(progress));
    plan.steps[FACTS].extend(facts.spare.iter().filter(|object| is_old(object)).map(deletion));
}

/// The steps of [`Plan::steps`]. Cuts go last: checkpoints without one would be taken for those of the next backup of their id.
const SPENT_CHECKPOINTS: usize = 0;
const SPENT_CUTS: usize = 1;
const MANIFESTS: usize = 2;
const FACTS: usize = 3;
const CHECKPOINTS: usize = 4;
const CUTS: usize = 5;

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
        Needs::Named(Named { segments: segments.iter().map(|segment| segment.parse().unwrap()).collect(), parts })
    }

    const HOLDINGS: Holdings = Holdings { segments: 1, bytes: 1, parts: 1, shares: false };

    fn backup(id: &str, age_days: i64, segments: &[&str]) -> Finished {
        Finished {
            id: id.parse().unwrap(),
            manifest: stored(id, age_days * DAY_MS),
            facts: Vec::new(),
            told: Ok(Told { cut_at_ms: NOW_MS - age_days * DAY_MS, is_partial: false }),
            needs: needs(segments),
        }
    }

    fn partial(id: &str, age_days: i64) -> Finished {
        let told = Ok(Told { cut_at_ms: NOW_MS - age_days * DAY_MS, is_partial: true });
        Finished { told, ..backup(id, age_days, &[]) }
    }

    const ALL: [&str; 4] = ["s1", "s2", "s3", "s4"];

    /// Four daily backups, each resting on its own segment and those of all before it.
    fn four() -> Facts {
        let backups = (1..=4).map(|n| backup(&format!("b{n}"), 14 - n, &ALL[..usize::try_from(n).unwrap()])).collect();
        Facts { backups, ..Facts::default() }
    }

    const NONE: Rules = Rules { just_made: None, max_backups: None, max_age_ms: None, grace_ms: DAY_MS };

    fn keys(deletions: &[Deletion]) -> Vec<&str> {
        deletions.iter().map(|deletion| deletion.key.as_str()).collect()
    }

    fn steps(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().flat_map(|step| keys(step)).collect()
    }

    fn removed(plan: &Plan) -> Vec<&str> {
        plan.remove.iter().map(|decision| decision.backup_id.as_str()).collect()
    }

    /// What goes of the segments of [`ALL`] and these, of which the last is half as old as the grace period.
    fn objects(facts: &Facts, plan: &Plan) -> Vec<String> {
        let needed = needed(facts, &plan.gone());
        let mut segments: Vec<Stored<SegmentId>> = ALL.iter().map(|id| stored(id, 10 * DAY_MS)).collect();
        segments.push(stored("lost", DAY_MS + 1));
        segments.push(stored("young", DAY_MS));
        let unneeded = unneeded(&segments, &needed.named.segments, DAY_MS, NOW_MS);
        if needed.unknown.is_empty() { unneeded.into_iter().map(|gone| gone.key).collect() } else { Vec::new() }
    }

    #[test]
    fn without_limits_only_leftovers_go_once_they_are_older_than_the_grace_period() {
        let plan = plan(&four(), &NONE, NOW_MS);
        assert_eq!((removed(&plan), steps(&plan)), (vec![], vec![]));
        assert_eq!(objects(&four(), &plan), ["lost"]);
    }

    #[test]
    fn surplus_backups_go_oldest_first_and_what_others_share_with_them_stays() {
        let plan = plan(&four(), &Rules { max_backups: Some(2), ..NONE }, NOW_MS);
        assert_eq!((removed(&plan), steps(&plan)), (vec!["b1", "b2"], vec!["b1", "b2"]));
        // The newest rests on all four segments.
        assert_eq!(objects(&four(), &plan), ["lost"]);
    }

    #[test]
    fn segments_that_only_deleted_backups_name_go() {
        let mut facts = four();
        facts.backups[2].needs = needs(&["s3"]);
        facts.backups[3].needs = needs(&["s4"]);
        let plan = plan(&facts, &Rules { max_backups: Some(2), ..NONE }, NOW_MS);
        assert_eq!(objects(&facts, &plan), ["s1", "s2", "lost"]);
    }

    #[test]
    fn the_folder_of_a_backup_that_rests_on_nothing_else_is_kept_and_that_of_a_deleted_one_is_not() {
        let mut facts = four();
        facts.backups.iter_mut().for_each(|backup| backup.needs = Needs::Own(Some(HOLDINGS)));
        facts.backups[3].needs = Needs::Own(None);
        let plan = plan(&facts, &Rules { max_backups: Some(2), ..NONE }, NOW_MS);
        let needed = needed(&facts, &plan.gone());
        let kept: Vec<_> = needed.folders.iter().map(|(id, keeps)| (id.as_str(), *keeps)).collect();
        assert_eq!(kept, [("b3", Keeps::AtMost(HOLDINGS)), ("b4", Keeps::All)]);
        assert_eq!((needed.named, needed.unknown), (Named::default(), Vec::new()));
    }

    #[test]
    fn manifests_go_before_their_facts_and_facts_without_a_manifest_when_they_are_old() {
        let mut facts = four();
        facts.backups.iter_mut().for_each(|backup| {
            let name = format!("{}-facts", backup.id);
            backup.facts = vec![stored(&name, 0)];
        });
        facts.spare = vec![stored("spare-old", DAY_MS + 1), stored("spare-young", DAY_MS)];
        let plan = plan(&facts, &Rules { max_backups: Some(3), ..NONE }, NOW_MS);
        assert_eq!(steps(&plan), ["b1", "b1-facts", "spare-old"]);
    }

    #[test]
    fn the_newest_stays_however_old_it_is() {
        let rules = Rules { max_age_ms: Some(0), ..NONE };
        assert_eq!(removed(&plan(&four(), &rules, NOW_MS)), ["b1", "b2", "b3"]);
    }

    #[test]
    fn what_this_run_has_made_stays_and_counts_however_old_its_cut_is() {
        let just_made = Some("b2".parse().unwrap());
        let rules = Rules { just_made: just_made.clone(), max_backups: Some(1), ..NONE };
        let first = plan(&four(), &rules, NOW_MS);
        assert_eq!(removed(&first), ["b1", "b3"]);
        let rules = Rules { just_made, max_age_ms: Some(0), ..NONE };
        assert_eq!(removed(&plan(&four(), &rules, NOW_MS)), ["b1", "b3"]);
        assert!(first.keep.iter().any(|decision| decision.why == "this run has made it"));
    }

    #[test]
    fn of_progress_that_is_spent_the_cut_goes_last() {
        let spent =
            |age_ms| Progress { checkpoints: vec![stored("checkpoint", age_ms)], cut: vec![stored("cut", age_ms)] };
        let facts = |age_ms| Facts { spent: vec![spent(age_ms)], ..four() };
        let old = plan(&facts(2 * DAY_MS), &NONE, NOW_MS);
        assert_eq!((keys(&old.steps[CHECKPOINTS]), keys(&old.steps[CUTS])), (vec!["checkpoint"], vec!["cut"]));
        assert_eq!(steps(&plan(&facts(DAY_MS), &NONE, NOW_MS)), [""; 0]);
    }

    #[test]
    fn a_backup_goes_after_its_spent_cut_which_a_run_would_resume() {
        let progress = |id: &str| {
            let object = |key: &str| Stored { key: key.to_owned(), ..stored(id, 0) };
            Progress { checkpoints: vec![object("checkpoint")], cut: vec![object("cut")] }
        };
        let facts = Facts { spent: vec![progress("b1"), progress("b4")], ..four() };
        let plan = plan(&facts, &Rules { max_backups: Some(3), ..NONE }, NOW_MS);
        assert_eq!(steps(&plan), ["checkpoint", "cut", "b1"], "that of a kept one is too young");
    }

    #[test]
    fn it_is_said_that_nothing_goes_while_every_backup_is_partial() {
        let mut facts = four();
        (0..6).for_each(|age| facts.backups.push(partial(&format!("p{age}"), age)));
        let plan = |max| plan(&facts, &Rules { max_backups: Some(max), ..NONE }, NOW_MS);
        assert!(
            plan(5).problems.iter().any(|problem| problem.starts_with("1 backups more than 5 are kept")),
            "{:?}",
            plan(5).problems
        );
        assert!(plan(7).problems.is_empty() && plan(1).problems.is_empty(), "{:?}", plan(1).problems);
    }

    #[test]
    fn the_newest_is_told_by_its_cut_not_by_its_name() {
        let mut facts = four();
        facts.backups[0].told = Ok(Told { cut_at_ms: NOW_MS, is_partial: false });
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
        facts.backups[1].needs = needs(&["s2"]);
        facts.backups[3].needs = needs(&["s4"]);
        facts.restores.push(Restore { id: "r".to_owned(), backup: Some("b2".parse().unwrap()), is_at_work: true });
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(removed(&plan), ["b1", "b3"]);
        assert_eq!(objects(&facts, &plan), ["s1", "s3", "lost"]);
        assert!(plan.keep.iter().any(|decision| decision.why == "restore r reads it"));
    }

    #[test]
    fn a_restore_that_has_not_said_what_it_reads_keeps_everything() {
        let mut facts = four();
        facts.restores.push(Restore { id: "r".to_owned(), backup: None, is_at_work: true });
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!((removed(&plan), steps(&plan), objects(&facts, &plan)), (vec![], vec![], vec![]));
        assert_eq!(needed(&facts, &plan.gone()).unknown.len(), 1);
    }

    /// It read the manifest just before that was deleted.
    #[test]
    fn a_restore_of_a_backup_that_is_gone_keeps_every_segment() {
        let mut facts = four();
        facts.restores.push(Restore { id: "r".to_owned(), backup: Some("gone".parse().unwrap()), is_at_work: true });
        assert_eq!(objects(&facts, &plan(&facts, &NONE, NOW_MS)), [""; 0]);
        // One that nobody works on any more does not keep segments for ever.
        facts.restores[0].is_at_work = false;
        assert_ne!(objects(&facts, &plan(&facts, &NONE, NOW_MS)), [""; 0]);
    }

    #[test]
    fn the_backup_of_an_interrupted_restore_stays_until_it_is_completed_or_abandoned() {
        let mut facts = four();
        facts.restores.push(Restore { id: "r".to_owned(), backup: Some("b2".parse().unwrap()), is_at_work: false });
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(removed(&plan), ["b1", "b3"]);
        assert!(
            plan.problems.len() == 1 && plan.problems[0].contains("restore --abandon r ends it"),
            "{:?}",
            plan.problems
        );
    }

    /// Time goes on between the deletion of manifests and that of segments.
    #[test]
    fn a_backup_that_is_still_listed_keeps_what_it_needs_whatever_the_rules_say_by_now() {
        let facts = four();
        let rules = Rules { max_age_ms: Some(0), max_backups: Some(1), grace_ms: 0, ..NONE };
        assert_eq!(removed(&plan(&facts, &rules, NOW_MS)).len(), 3);
        assert_eq!(objects(&facts, &Plan::default()), ["lost"]);
    }

    #[test]
    fn a_backup_of_which_nobody_knows_what_it_needs_keeps_every_segment() {
        for is_manifest in [true, false] {
            let mut facts = four();
            facts.backups[3].needs = Needs::Unknown("damaged".to_owned());
            if is_manifest {
                facts.backups[3].told = Err("damaged".to_owned());
            }
            let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
            assert!(!removed(&plan).contains(&"b4"));
            assert_eq!(objects(&facts, &plan), [""; 0]);
            assert_eq!(needed(&facts, &plan.gone()).unknown, ["damaged: no segment is deleted"]);
        }
    }

    #[test]
    fn a_damaged_manifest_of_a_backup_that_rests_on_nothing_else_keeps_its_own_and_is_named() {
        let mut facts = four();
        facts.backups[0].needs = Needs::Own(None);
        facts.backups[0].told = Err("it is cut short".to_owned());
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!((removed(&plan), objects(&facts, &plan)), (vec!["b2", "b3"], vec!["lost".to_owned()]));
        assert_eq!(plan.problems, ["backup b1 is kept, since it cannot be read: it is cut short"]);
        assert_eq!(needed(&facts, &plan.gone()).folders.get(&"b1".parse().unwrap()), Some(&Keeps::All));
    }

    #[test]
    fn a_damaged_part_of_a_backup_that_goes_is_no_hindrance() {
        let mut facts = four();
        facts.backups[0].needs = Needs::Unknown("damaged".to_owned());
        let plan = plan(&facts, &Rules { max_backups: Some(1), ..NONE }, NOW_MS);
        assert_eq!(objects(&facts, &plan), ["lost"]);
    }

    fn unfinished(is_at_work: bool, age_ms: i64) -> Facts {
        let progress =
            Progress { checkpoints: vec![stored("checkpoint", age_ms + DAY_MS)], cut: vec![stored("cut", age_ms)] };
        Facts { unfinished: vec![Unfinished { id: "u1".parse().unwrap(), is_at_work, progress }], ..Facts::default() }
    }

    #[test]
    fn an_unfinished_backup_goes_only_when_it_is_old_and_nobody_is_at_work() {
        let folders = |facts: &Facts, plan: &Plan| needed(facts, &plan.gone()).folders.len();
        let facts = unfinished(false, 2 * DAY_MS);
        let old = plan(&facts, &NONE, NOW_MS);
        assert_eq!((steps(&old), folders(&facts, &old)), (vec!["checkpoint", "cut"], 0));
        assert_eq!(keys(&old.steps[CUTS]), ["cut"]);
        for facts in [unfinished(true, 2 * DAY_MS), unfinished(false, DAY_MS)] {
            let kept = plan(&facts, &NONE, NOW_MS);
            assert_eq!((steps(&kept), folders(&facts, &kept)), (vec![], 1));
        }
    }

    #[test]
    fn an_unfinished_backup_does_not_count_as_one_that_is_kept() {
        let facts = Facts { backups: four().backups, ..unfinished(true, 0) };
        assert_eq!(removed(&plan(&facts, &Rules { max_backups: Some(4), ..NONE }, NOW_MS)), [""; 0]);
    }
}
