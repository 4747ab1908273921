//! What is to be done for a `KafkaBackup`.

use jiff::Timestamp;
use kafka_backup::report::termination::{BackupResult, Ended, Outcome as Told, Termination};

use super::{CronAction, Decision, Facts, HISTORY_MAX, Note, integer, ledger, text, text_of_ms};
use crate::api::history::{BackupRecord, Outcome};
use crate::api::phase::Phase;
use crate::api::run_kind::RunKind;
use crate::build::{Run, RunKey, names};
use crate::observe::{ObservedRun, RunState};
use crate::owner::Owner;
use crate::plan::{Plan, Refusal, Retention, When};
use crate::state::{BackupState, Newest, Verdict};

/// Decides what to do for a backup.
pub fn decide(
    owner: &Owner,
    facts: &Facts,
    before: &BackupState,
    plan: &Result<Plan, Refusal>,
    runs: &[ObservedRun],
) -> Decision<BackupState> {
    let outdated = outdated(facts, before, plan, runs);
    let mut notes = Vec::new();
    let mut state = settle(owner, facts, before, runs, &outdated, &mut notes);
    let replace: Vec<String> = outdated.into_iter().map(|run| run.job.clone()).collect();

    let active = ledger::active(runs);
    let start = match plan {
        Ok(plan) if active.is_none() => next(owner, facts, &state, plan, runs),
        Ok(_) | Err(_) => None,
    };
    let cron = cron(facts, plan, start.is_some(), runs);
    let goes_on = active.as_ref().filter(|(run, _)| !replace.contains(&run.job));
    state.common.active_run =
        goes_on.map(|(_, active)| ledger::with_last_progress(active, before.common.active_run.as_ref()));
    state.next_scheduled_time = match plan {
        Ok(Plan { when: When::Scheduled(cron), .. }) => cron.next_after(facts.now).map(text),
        Err(refusal) if refusal.is_waiting && !facts.is_suspended => {
            state.next_scheduled_time.filter(|next| next.parse().is_ok_and(|next: Timestamp| next > facts.now))
        }
        Ok(Plan { when: When::Once, .. }) | Err(_) => None,
    };
    if matches!(plan, Ok(Plan { retention: None, .. })) {
        // Who sets the same limits again wants them seen to again.
        (state.common.bookkeeping.pruned_by, state.common.bookkeeping.prune_tried) = (None, None);
    }
    state.phase = phase(&state, plan, start.is_some());

    if let Some((run, _)) = goes_on {
        let verb = if run.kind == Some(RunKind::Prune) { "Prune" } else { "Backup" };
        notes.extend(super::news(verb, run, before.common.active_run.as_ref(), &before.common.conditions));
    }
    if let Some(known) = before.common.active_run.as_ref().filter(|known| replace.contains(&known.job)) {
        let message = format!("Job {} had not begun, and goes: the spec was edited", known.job);
        notes.push(Note { is_warning: false, reason: "BackupReplaced".to_owned(), message });
    }
    if let Err(refusal) = plan {
        notes.extend(super::refused(refusal, &before.common.conditions));
    }
    let active = active.map(|(run, _)| run);
    let verdict = verdict(&state, plan, active, start.as_ref());
    let warnings = warnings(&state, plan, active, runs);
    let ttl = plan.as_ref().ok().and_then(|plan| plan.job.ttl_seconds_after_finished);
    Decision { start, cron, replace, expire: ledger::expiring(ttl, runs), state, verdict, warnings, notes }
}

/// The state with what has become of the runs since. Those that are to be replaced count as if they had never been.
fn settle(
    owner: &Owner,
    facts: &Facts,
    before: &BackupState,
    runs: &[ObservedRun],
    outdated: &[&ObservedRun],
    notes: &mut Vec<Note>,
) -> BackupState {
    let mut state = before.clone();
    state.common.observed_generation = Some(facts.generation);
    let counts = |run: &&ObservedRun| !outdated.iter().any(|outdated| outdated.job == run.job);
    for run in ledger::unrecorded(&before.common.bookkeeping, runs).into_iter().filter(counts) {
        record(owner, &mut state, run, notes);
    }
    ledger::remember(&mut state.common.bookkeeping, runs.iter().filter(counts));
    let is_new = |run: &&ObservedRun| !before.common.bookkeeping.recorded_jobs.contains(&run.job);
    for run in runs.iter().filter(counts).filter(is_new) {
        notice(&mut state, run);
    }
    for trigger in outdated.iter().filter_map(|run| run.trigger.as_deref()) {
        state.common.bookkeeping.forget_trigger(trigger);
    }
    notes.extend(repeated(&mut state, facts));
    if let Some(lost) = lost(before, &state, runs, facts) {
        notes.push(warning("BackupFailed", &lost));
        ledger::add(&mut state.common.totals, Outcome::Failed, 0, 0, 0);
        enter(&mut state, lost);
    }
    state
}

/// Runs that cannot begin, and are of a spec that is another by now. What keeps them from it may stand in that spec: a Secret, a node, a
/// service account. One that only takes its time is left alone, as is one that has begun, whatever became of its pod since.
fn outdated<'a>(
    facts: &Facts,
    before: &BackupState,
    plan: &Result<Plan, Refusal>,
    runs: &'a [ObservedRun],
) -> Vec<&'a ObservedRun> {
    let is_older = |run: &ObservedRun| run.generation.is_some_and(|generation| generation < facts.generation);
    let has_told = |run: &ObservedRun| {
        before.common.active_run.as_ref().is_some_and(|known| known.job == run.job && known.progress.is_some())
    };
    let cannot_begin =
        |run: &ObservedRun| !run.has_begun && !has_told(run) && (super::trouble(run).is_some() || run.is_going);
    // One that was told to go stays what it is, whatever becomes of the plan and of its pod meanwhile; but not one that has a result.
    let has_result = |run: &ObservedRun| {
        matches!(run.state, RunState::Ended { failure: None, .. })
            || before.common.bookkeeping.recorded_jobs.contains(&run.job)
    };
    let is_to_go = |run: &ObservedRun| !has_result(run) && (run.is_going || (plan.is_ok() && run.is_active()));
    runs.iter().filter(|run| is_older(run) && is_to_go(run) && cannot_begin(run)).collect()
}

/// What a Job that exists says of what was done already.
fn notice(state: &mut BackupState, run: &ObservedRun) {
    let book = &mut state.common.bookkeeping;
    match run.kind {
        Some(RunKind::Once) => book.once_generation = book.once_generation.max(run.generation),
        Some(RunKind::Trigger) => {
            if let Some(trigger) = run.trigger.as_deref().filter(|trigger| !book.has_triggered(trigger)) {
                book.add_trigger(trigger);
            }
        }
        Some(RunKind::Prune) => book.prune_tried = prune_key(run.limits.as_deref(), run.generation),
        Some(RunKind::Scheduled) | None => {}
    }
}

/// A trigger whose value is one of before starts nothing, and that is told once.
fn repeated(state: &mut BackupState, facts: &Facts) -> Option<Note> {
    let book = &mut state.common.bookkeeping;
    let trigger = facts.trigger.as_deref().filter(|trigger| !book.is_last_trigger(trigger))?;
    if !book.has_triggered(trigger) {
        return None;
    }
    book.add_trigger(trigger);
    let message =
        format!("The trigger annotation has had the value {trigger:?} before, so nothing is run: give it another");
    Some(Note { is_warning: true, reason: "TriggerRepeated".to_owned(), message })
}

/// What tells one attempt at pruning from another.
fn prune_key(limits: Option<&str>, generation: Option<i64>) -> Option<String> {
    Some(format!("{}/{}", limits?, generation?))
}

/// A run that was under way, and whose Job is gone. Where a later one has ended, nobody looked for so long that Kubernetes has tidied up:
/// what became of it is not known.
fn lost(before: &BackupState, state: &BackupState, runs: &[ObservedRun], facts: &Facts) -> Option<BackupRecord> {
    // Of pruning there is no record: what was not removed is removed by the next one.
    let active = before.common.active_run.as_ref().filter(|active| active.kind != Some(RunKind::Prune))?;
    let is_there = runs.iter().any(|run| run.job == active.job);
    let is_told = |record: &BackupRecord| record.job == active.job || record.start_time > active.start_time;
    if is_there || state.history.iter().any(is_told) {
        return None;
    }
    Some(BackupRecord {
        backup_id: None,
        job: active.job.clone(),
        start_time: active.start_time.clone(),
        completion_time: text(facts.now),
        cut_time: None,
        size: 0,
        records: 0,
        outcome: Outcome::Failed,
        message: Some(format!("Job {} was deleted before it had ended", active.job)),
    })
}

/// Writes down a run that has ended.
fn record(owner: &Owner, state: &mut BackupState, run: &ObservedRun, notes: &mut Vec<Note>) {
    let RunState::Ended { at, termination, failure } = &run.state else { return };
    if run.kind == Some(RunKind::Prune) {
        record_pruning(state, run, notes);
        return;
    }
    if state.history.iter().any(|record| record.job == run.job) {
        return;
    }
    let ended = match termination.as_deref() {
        Some(Termination::Backup(ended)) => Some(ended),
        Some(Termination::Restore(_) | Termination::Prune(_) | Termination::Verify(_)) | None => None,
    };
    let result = ended.and_then(|ended| ended.result.as_ref());
    let outcome = outcome(ended, failure.is_some());
    let entry = BackupRecord {
        backup_id: match (result, outcome) {
            (Some(result), _) => Some(result.backup_id.to_string()),
            (None, Outcome::Success | Outcome::Partial) => run.backup_id.clone().or_else(|| id_of_job(owner, &run.job)),
            (None, Outcome::Failed) => None,
        },
        job: run.job.clone(),
        start_time: text(run.started_at),
        completion_time: text(*at),
        cut_time: result.and_then(|result| text_of_ms(result.cut_at_ms)),
        size: result.map_or(0, |result| integer(result.stored_bytes)),
        records: result.map_or(0, |result| integer(result.records)),
        outcome,
        message: message(ended, failure.as_ref().map(|failure| failure.message.as_str()), outcome),
    };
    let seconds = at.as_second() - run.started_at.as_second();
    let bytes = result.map_or(0, |result| integer(result.bytes));
    ledger::add(&mut state.common.totals, outcome, entry.records, bytes, seconds);
    if let Some(result) = result {
        state.storage_bytes = Some(integer(result.archive_bytes));
    }
    if outcome != Outcome::Failed {
        state.common.bookkeeping.once_done |= run.kind == Some(RunKind::Once);
        if run.limits.is_some() {
            state.common.bookkeeping.pruned_by.clone_from(&run.limits);
        }
    }
    if outcome == Outcome::Success {
        state.newest = newest(result, entry.backup_id.as_ref(), &entry.completion_time).or(state.newest.take());
    }
    notes.push(match outcome {
        Outcome::Success => Note {
            is_warning: false,
            reason: "BackupCompleted".to_owned(),
            message: format!(
                "Backup {} completed: {} records",
                entry.backup_id.as_deref().unwrap_or_default(),
                entry.records
            ),
        },
        Outcome::Partial => warning("BackupPartial", &entry),
        Outcome::Failed => warning("BackupFailed", &entry),
    });
    enter(state, entry);
}

/// The id of the backup that a CronJob's Job makes: the engine chooses it by the same rule.
fn id_of_job(owner: &Owner, job: &str) -> Option<String> {
    let at = Timestamp::from_millisecond(kafka_backup::config::job::scheduled_ms(job)?).ok()?;
    Some(backup_id(owner, at))
}

fn backup_id(owner: &Owner, at: Timestamp) -> String {
    format!("{}-{}", owner.name, at.strftime("%Y%m%d-%H%M%S"))
}

fn record_pruning(state: &mut BackupState, run: &ObservedRun, notes: &mut Vec<Note>) {
    let RunState::Ended { at: _, termination, failure } = &run.state else { return };
    if let Some(failure) = failure {
        notes.push(Note { is_warning: true, reason: "PruneFailed".to_owned(), message: failure.message.clone() });
        return;
    }
    state.common.bookkeeping.pruned_by.clone_from(&run.limits);
    if let Some(Termination::Prune(Ended { result: Some(result), .. })) = termination.as_deref() {
        state.storage_bytes = Some(integer(result.archive_bytes));
        let message =
            format!("{} backups were removed, {} are kept", result.removed.len() + result.removed_omitted, result.kept);
        notes.push(Note { is_warning: false, reason: "Pruned".to_owned(), message });
    }
}

fn enter(state: &mut BackupState, entry: BackupRecord) {
    if entry.outcome == Outcome::Failed {
        state.last_failure_time = Some(entry.completion_time.clone());
    }
    state.history.insert(0, entry);
    state.history.truncate(HISTORY_MAX);
}

fn warning(reason: &str, entry: &BackupRecord) -> Note {
    let message = entry.message.clone().unwrap_or_else(|| format!("Job {} ended without saying why", entry.job));
    Note { is_warning: true, reason: reason.to_owned(), message }
}

/// The backup of a run that ended well; one whose result nobody has read is known by its id alone.
fn newest(result: Option<&BackupResult>, id: Option<&String>, completed_at: &str) -> Option<Newest> {
    Some(Newest {
        id: id?.clone(),
        completed_at: completed_at.to_owned(),
        cut_at: result.and_then(|result| text_of_ms(result.cut_at_ms)),
        size: result.map_or(0, |result| integer(result.stored_bytes)),
        records: result.map_or(0, |result| integer(result.records)),
    })
}

/// What the engine said counts, and the Job where it said nothing.
fn outcome(ended: Option<&Ended<BackupResult>>, has_failed: bool) -> Outcome {
    match ended.map(|ended| ended.outcome) {
        Some(Told::Completed) => Outcome::Success,
        Some(Told::Partial) => Outcome::Partial,
        Some(Told::Failed | Told::Interrupted) => Outcome::Failed,
        None if has_failed => Outcome::Failed,
        None => Outcome::Success,
    }
}

fn message(ended: Option<&Ended<BackupResult>>, failure: Option<&str>, outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Success => match ended {
            None => Some("its pod was gone before its result was read".to_owned()),
            // A backup that is complete may still have something to say: that old ones could not be removed, for one.
            Some(ended) => (!ended.warnings.is_empty()).then(|| ended.warnings.join("; ")),
        },
        Outcome::Partial => ended.map(|ended| ended.problems.join("; ")),
        Outcome::Failed => super::why(ended, failure),
    }
}

/// The run to start, if nothing is under way: the first that was not made already.
fn next(owner: &Owner, facts: &Facts, state: &BackupState, plan: &Plan, runs: &[ObservedRun]) -> Option<Run> {
    // A Job that is there already is never made again; one that was deleted is known by its record.
    let is_made = |key: &RunKey| {
        let name = names::job(owner, key);
        runs.iter().any(|run| run.job == name) || state.history.iter().any(|record| record.job == name)
    };
    let key = wanted(facts, state, plan).into_iter().flatten().find(|key| !is_made(key))?;
    let backup_id = match key.kind() {
        RunKind::Once | RunKind::Trigger => Some(backup_id(owner, facts.now)),
        RunKind::Prune | RunKind::Scheduled => None,
    };
    Some(Run { key, backup_id })
}

/// What is wanted, the most urgent first.
fn wanted(facts: &Facts, state: &BackupState, plan: &Plan) -> [Option<RunKey>; 3] {
    let book = &state.common.bookkeeping;
    let generation = facts.generation;
    let is_due =
        plan.when == When::Once && !book.once_done && book.once_generation.is_none_or(|tried| tried < generation);
    let trigger = facts.trigger.as_ref().filter(|value| !value.is_empty() && !book.has_triggered(value));
    // Without a backup there is nothing to prune.
    let limits = plan.retention.as_ref().filter(|_| state.newest.is_some()).map(Retention::limits);
    let limits = limits.filter(|limits| {
        book.pruned_by.as_ref() != Some(limits) && book.prune_tried != prune_key(Some(limits), Some(generation))
    });
    [
        is_due.then_some(RunKey::Once { generation }),
        trigger.map(|value| RunKey::Trigger { value: value.clone(), generation }),
        limits.map(|limits| RunKey::Prune { limits, generation }),
    ]
}

fn cron(facts: &Facts, plan: &Result<Plan, Refusal>, is_starting: bool, runs: &[ObservedRun]) -> CronAction {
    let mut active = runs.iter().filter(|run| run.is_active());
    match plan {
        Ok(Plan { when: When::Scheduled(_), .. }) => CronAction::Apply {
            is_held: is_starting || active.clone().any(|run| run.kind != Some(RunKind::Scheduled)),
            anew: active.any(|run| run.kind == Some(RunKind::Scheduled) && super::trouble(run).is_some()),
        },
        // With the CronJob its run would end.
        Ok(Plan { when: When::Once, .. }) if active.any(|run| run.kind == Some(RunKind::Scheduled)) => {
            CronAction::Keep { is_held: false, is_suspended: true }
        }
        Ok(Plan { when: When::Once, .. }) => CronAction::Delete,
        // While Strimzi rolls its brokers the schedule goes on with what was known; what is wrong starts nothing new, and ends nothing.
        Err(refusal) => CronAction::Keep {
            is_held: active.any(|run| run.kind != Some(RunKind::Scheduled)),
            is_suspended: facts.is_suspended || !refusal.is_waiting,
        },
    }
}

fn verdict(
    state: &BackupState,
    plan: &Result<Plan, Refusal>,
    active: Option<&ObservedRun>,
    start: Option<&Run>,
) -> Verdict {
    if let Err(refusal) = plan {
        return Verdict::not_ready(refusal.reason, &refusal.message);
    }
    if let Some(trouble) = active.and_then(super::trouble) {
        return Verdict::not_ready(&trouble.reason, &trouble.message);
    }
    let last = state.history.first();
    if let (Some(BackupRecord { outcome: Outcome::Failed, job, message, .. }), None) = (last, active) {
        let message = message.clone().unwrap_or_else(|| format!("Job {job} ended without saying why"));
        return Verdict::not_ready("BackupFailed", message);
    }
    match (&state.next_scheduled_time, plan) {
        (Some(next), _) => Verdict::ready("BackupScheduled", format!("Next backup scheduled for {next}")),
        (None, Ok(Plan { when: When::Scheduled(cron), .. })) if cron.is_suspended => Verdict::ready(
            "BackupSuspended",
            "The schedule is suspended: only a triggered backup is made until it is not",
        ),
        (None, Ok(Plan { when: When::Scheduled(_), .. })) => {
            Verdict::not_ready("BackupNeverScheduled", "The schedule has no next time: there is no such day")
        }
        (None, Ok(Plan { when: When::Once, .. }) | Err(_)) => match (&state.newest, active, start) {
            (_, Some(run), _) if run.kind != Some(RunKind::Prune) => {
                Verdict::not_ready("BackupRunning", format!("Job {} makes the backup", run.job))
            }
            (_, None, Some(start)) if start.key.kind() != RunKind::Prune => {
                Verdict::not_ready("BackupRunning", "The backup is being started")
            }
            (Some(newest), ..) => {
                Verdict::ready("BackupCompleted", format!("Backup {} completed: {} records", newest.id, newest.records))
            }
            (None, ..) if last.is_some() => {
                Verdict::ready("BackupPartial", "The backup lacks something: see the warning")
            }
            (None, ..) => Verdict::not_ready("Pending", "No backup has been made"),
        },
    }
}

fn phase(state: &BackupState, plan: &Result<Plan, Refusal>, is_starting: bool) -> Phase {
    if state.common.active_run.is_some() || is_starting {
        return Phase::Running;
    }
    match (plan, state.history.first().map(|record| record.outcome)) {
        (Err(refusal), _) if !refusal.is_waiting => Phase::Failed,
        (_, Some(Outcome::Failed)) => Phase::Failed,
        (_, Some(Outcome::Success | Outcome::Partial)) => Phase::Completed,
        (_, None) => Phase::Pending,
    }
}

fn warnings(
    state: &BackupState,
    plan: &Result<Plan, Refusal>,
    active: Option<&ObservedRun>,
    runs: &[ObservedRun],
) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    // Else it is the verdict.
    if let (Err(_), Some(trouble)) = (plan, active.and_then(super::trouble)) {
        warnings.push((trouble.reason.clone(), trouble.message.clone()));
    }
    match state.history.first() {
        Some(BackupRecord { outcome: Outcome::Partial, message, job, .. }) => {
            let message = message.clone().unwrap_or_else(|| format!("the backup of Job {job} lacks something"));
            warnings.push(("BackupPartial".to_owned(), message));
        }
        Some(BackupRecord { outcome: Outcome::Success, message: Some(message), .. }) => {
            warnings.push(("BackupWarning".to_owned(), message.clone()));
        }
        Some(BackupRecord { outcome: Outcome::Success | Outcome::Failed, .. }) | None => {}
    }
    let prunings = runs.iter().filter(|run| run.kind == Some(RunKind::Prune));
    if let Some(failure) = prunings.max_by_key(|run| run.started_at).and_then(super::trouble) {
        warnings.push(("PruneFailed".to_owned(), failure.message.clone()));
    }
    warnings
}
