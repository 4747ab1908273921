//! What is to be done for a `KafkaRestore`: it is run once, and what came of it is final.

use kafka_backup::report::termination::{Ended, Outcome as Told, RestoreResult, Termination};

use super::{CronAction, Decision, Facts, Note, integer, ledger, text};
use crate::api::history::Outcome;
use crate::api::phase::Phase;
use crate::api::restore_status::{RestoreStatus, RestoredTopic};
use crate::build::{Run, RunKey};
use crate::observe::{ObservedRun, RunState};
use crate::plan::{Plan, Refusal};
use crate::state::Verdict;

/// The reason of the warning with what the engine warned of.
const WARNED: &str = "RestoreWarning";

/// Where a restore is.
enum Stage<'a> {
    /// It has ended just now, like this.
    Ended(Verdict),
    /// What came of it stands in the status.
    Over,
    /// This run is under way.
    Running(&'a ObservedRun),
    /// It cannot be planned, or not yet.
    Refused(&'a Refusal),
    /// It is to begin.
    Starting,
}

/// Decides what to do for a restore.
pub fn decide(
    facts: &Facts,
    before: &RestoreStatus,
    plan: &Result<Plan, Refusal>,
    runs: &[ObservedRun],
) -> Decision<RestoreStatus> {
    let mut state = before.clone();
    state.common.observed_generation = Some(facts.generation);
    // What a restore that is over warned of stays.
    let mut warnings = if before.completion_time.is_some() { warned(before) } else { Vec::new() };
    let mut notes = Vec::new();
    let ended = settle(&mut state, facts, runs, &mut notes, &mut warnings);
    let active = ledger::active(runs);
    if let Some((run, active)) = &active {
        notes.extend(super::news("Restore", run, before.common.active_run.as_ref(), &before.common.conditions));
        state.progress = active.progress.as_ref().and_then(|progress| progress.percent).or(state.progress);
    }
    state.common.active_run =
        active.as_ref().map(|(_, active)| ledger::with_last_progress(active, before.common.active_run.as_ref()));
    let stage = match (ended, active, plan) {
        (Some(verdict), ..) => Stage::Ended(verdict),
        (None, ..) if state.completion_time.is_some() => Stage::Over,
        (None, Some((run, _)), _) => Stage::Running(run),
        (None, None, Err(refusal)) => Stage::Refused(refusal),
        (None, None, Ok(_)) => Stage::Starting,
    };
    let start = matches!(stage, Stage::Starting)
        .then(|| Run { key: RunKey::Once { generation: facts.generation }, backup_id: None });
    if let Stage::Refused(refusal) = stage {
        notes.extend(super::refused(refusal, &before.common.conditions));
    }
    let verdict;
    (state.phase, verdict) = tell(stage, &state, before);
    let ttl = plan.as_ref().ok().and_then(|plan| plan.job.ttl_seconds_after_finished);
    Decision {
        start,
        cron: CronAction::Leave,
        replace: Vec::new(),
        expire: ledger::expiring(ttl, runs),
        state,
        verdict,
        warnings,
        notes,
    }
}

/// Writes down what has become of the run since; gives back how it ended, if it has.
fn settle(
    state: &mut RestoreStatus,
    facts: &Facts,
    runs: &[ObservedRun],
    notes: &mut Vec<Note>,
    warnings: &mut Vec<(String, String)>,
) -> Option<Verdict> {
    let mut ended = None;
    for run in ledger::unrecorded(&state.common.bookkeeping, runs) {
        if state.completion_time.is_none() {
            ended = Some(record(state, run, notes, warnings));
        }
    }
    ledger::remember(&mut state.common.bookkeeping, runs.iter());
    if let Some(run) = runs.iter().min_by_key(|run| run.started_at) {
        state.common.bookkeeping.once_generation =
            state.common.bookkeeping.once_generation.or(run.generation).or(Some(facts.generation));
        state.start_time.get_or_insert_with(|| text(run.started_at));
    }
    let is_lost = state.start_time.is_some() && state.completion_time.is_none() && runs.is_empty();
    ended.or_else(|| is_lost.then(|| lose(state, facts, notes)))
}

/// Writes down that the run is gone, and nobody has seen how it ended.
fn lose(state: &mut RestoreStatus, facts: &Facts, notes: &mut Vec<Note>) -> Verdict {
    let message = "The Job was deleted before it had ended: create another KafkaRestore".to_owned();
    state.phase = Phase::Failed;
    state.completion_time = Some(text(facts.now));
    ledger::add(&mut state.common.totals, Outcome::Failed, 0, 0, 0);
    notes.push(Note { is_warning: true, reason: "RestoreFailed".to_owned(), message: message.clone() });
    Verdict::not_ready("RestoreFailed", message)
}

/// The phase and the verdict of a restore at this stage.
fn tell(stage: Stage<'_>, state: &RestoreStatus, before: &RestoreStatus) -> (Phase, Verdict) {
    match stage {
        Stage::Ended(verdict) => (state.phase, verdict),
        Stage::Over => (state.phase, Verdict { is_ready: state.phase != Phase::Failed, ..told(before) }),
        Stage::Running(run) => {
            let verdict = match super::trouble(run) {
                Some(trouble) => Verdict::not_ready(&trouble.reason, &trouble.message),
                None => Verdict::not_ready("RestoreRunning", format!("Job {} restores the backup", run.job)),
            };
            (Phase::Running, verdict)
        }
        Stage::Refused(refusal) => {
            let phase = if refusal.is_waiting { Phase::Pending } else { Phase::Failed };
            (phase, Verdict::not_ready(refusal.reason, &refusal.message))
        }
        Stage::Starting => (Phase::Running, Verdict::not_ready("RestoreRunning", "The restore is being started")),
    }
}

/// What the status already says of a restore that is over.
fn told(before: &RestoreStatus) -> Verdict {
    let condition =
        before.common.conditions.iter().find(|condition| matches!(condition.type_.as_str(), "Ready" | "NotReady"));
    condition.map_or_else(Verdict::default, |condition| Verdict {
        is_ready: condition.type_ == "Ready" && condition.status == "True",
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

fn record(
    state: &mut RestoreStatus,
    run: &ObservedRun,
    notes: &mut Vec<Note>,
    warnings: &mut Vec<(String, String)>,
) -> Verdict {
    let RunState::Ended { at, termination, failure } = &run.state else { return Verdict::default() };
    let ended = match termination.as_deref() {
        Some(Termination::Restore(ended)) => Some(ended),
        Some(Termination::Backup(_) | Termination::Prune(_) | Termination::Verify(_)) | None => None,
    };
    let outcome = match ended.map(|ended| ended.outcome) {
        Some(Told::Completed) => Outcome::Success,
        Some(Told::Partial) => Outcome::Partial,
        Some(Told::Failed | Told::Interrupted) => Outcome::Failed,
        None if failure.is_some() => Outcome::Failed,
        None => Outcome::Success,
    };
    let result = ended.and_then(|ended| ended.result.as_ref());
    if let Some(result) = result {
        enter(state, result);
    }
    state.start_time.get_or_insert_with(|| text(run.started_at));
    state.completion_time = Some(text(*at));
    let seconds = at.as_second() - run.started_at.as_second();
    let (records, bytes) = result.map_or((0, 0), |result| (integer(result.records), integer(result.bytes)));
    ledger::add(&mut state.common.totals, outcome, records, bytes, seconds);
    let (phase, verdict) = match outcome {
        Outcome::Success => {
            state.progress = Some(100);
            (Phase::Completed, Verdict::ready("RestoreCompleted", "Restore completed successfully"))
        }
        Outcome::Partial => {
            let problems = ended.map_or_else(String::new, |ended| ended.problems.join("; "));
            (Phase::PartiallyFailed, Verdict::ready("RestorePartial", problems))
        }
        Outcome::Failed => {
            let message = why(ended, failure.as_ref().map(|failure| failure.message.as_str()), &run.job);
            (Phase::Failed, Verdict::not_ready("RestoreFailed", message))
        }
    };
    state.phase = phase;
    notes.push(Note {
        is_warning: outcome != Outcome::Success,
        reason: verdict.reason.clone(),
        message: verdict.message.clone(),
    });
    if phase == Phase::PartiallyFailed {
        warnings.push((verdict.reason.clone(), verdict.message.clone()));
    }
    if let Some(told) = ended.map(|ended| ended.warnings.join("; ")).filter(|told| !told.is_empty()) {
        notes.push(Note { is_warning: true, reason: WARNED.to_owned(), message: told.clone() });
        warnings.push((WARNED.to_owned(), told));
    }
    verdict
}

fn warned(before: &RestoreStatus) -> Vec<(String, String)> {
    let warnings = before.common.conditions.iter().filter(|condition| condition.type_ == "Warning");
    warnings.map(|condition| (condition.reason.clone(), condition.message.clone())).collect()
}

fn enter(state: &mut RestoreStatus, result: &RestoreResult) {
    state.backup_id = Some(result.backup_id.to_string());
    state.restored_records = Some(integer(result.records));
    state.restored_topics = result
        .topics
        .iter()
        .map(|topic| RestoredTopic { name: topic.name.clone(), records: integer(topic.records) })
        .collect();
    state.restored_groups.clone_from(&result.groups);
}

fn why(ended: Option<&Ended<RestoreResult>>, failure: Option<&str>, job: &str) -> String {
    super::why(ended, failure).unwrap_or_else(|| format!("Job {job} ended without saying why"))
}
