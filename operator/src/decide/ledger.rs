//! What is written down of runs that have ended, each once.

use crate::api::history::{ActiveRun, Outcome, Totals};
use crate::api::run_kind::RunKind;
use crate::bookkeeping::Bookkeeping;
use crate::observe::{ObservedRun, RunState};

/// Upper bounds of the buckets of [`Totals::duration_buckets`], in seconds.
pub const BUCKETS: [i64; 8] = [10, 30, 60, 300, 900, 3_600, 14_400, 86_400];

/// The runs that have ended and are not written down yet, the oldest first.
pub fn unrecorded<'a>(bookkeeping: &Bookkeeping, runs: &'a [ObservedRun]) -> Vec<&'a ObservedRun> {
    let mut ended: Vec<_> =
        runs.iter().filter(|run| !run.is_active() && !bookkeeping.recorded_jobs.contains(&run.job)).collect();
    ended.sort_by_key(|run| match run.state {
        RunState::Ended { at, .. } => at,
        RunState::Active { .. } => run.started_at,
    });
    ended
}

/// Remembers which of the Jobs that exist are written down, and no others.
pub fn remember<'a>(bookkeeping: &mut Bookkeeping, runs: impl Iterator<Item = &'a ObservedRun>) {
    let ended = runs.filter(|run| !run.is_active());
    bookkeeping.recorded_jobs = ended.map(|run| run.job.clone()).collect();
    bookkeeping.recorded_jobs.sort();
}

/// Jobs that the operator made, and that are kept for their logs once they have ended; a CronJob keeps as many.
const KEPT: usize = 5;

/// Jobs that are written down, and that Kubernetes has not been told to delete, with the seconds after which it may. Where none are given,
/// all but the newest go.
pub fn expiring(ttl_seconds: Option<i32>, runs: &[ObservedRun]) -> Vec<(String, i32)> {
    let ended = |run: &&ObservedRun| !run.is_active();
    let told = |ttl| move |run: &ObservedRun| (!run.is_expiring).then(|| (run.job.clone(), ttl));
    match ttl_seconds {
        Some(ttl) => runs.iter().filter(ended).filter_map(told(ttl)).collect(),
        None => {
            let mut ours: Vec<_> =
                runs.iter().filter(ended).filter(|run| run.kind != Some(RunKind::Scheduled)).collect();
            ours.sort_by_key(|run| std::cmp::Reverse(run.started_at));
            ours.into_iter().skip(KEPT).filter_map(told(0)).collect()
        }
    }
}

/// The run that is under way, as a status shows it; the newest, should there be several.
pub fn active(runs: &[ObservedRun]) -> Option<(&ObservedRun, ActiveRun)> {
    let run = runs.iter().filter(|run| run.is_active()).max_by_key(|run| (run.started_at, &run.job))?;
    let progress = match &run.state {
        RunState::Active { progress, .. } => progress.clone(),
        RunState::Ended { .. } => None,
    };
    Some((run, ActiveRun { job: run.job.clone(), kind: run.kind, start_time: super::text(run.started_at), progress }))
}

/// The run with what its pod told last, while there is no pod that tells.
pub fn with_last_progress(active: &ActiveRun, known: Option<&ActiveRun>) -> ActiveRun {
    let known = known.filter(|known| known.job == active.job).and_then(|known| known.progress.clone());
    ActiveRun { progress: active.progress.clone().or(known), ..active.clone() }
}

/// Adds a run to the sums.
pub fn add(totals: &mut Totals, outcome: Outcome, records: i64, bytes: i64, seconds: i64) {
    match outcome {
        Outcome::Success => totals.succeeded += 1,
        Outcome::Partial => totals.partial += 1,
        Outcome::Failed => totals.failed += 1,
    }
    totals.records = totals.records.saturating_add(records);
    totals.bytes = totals.bytes.saturating_add(bytes);
    if outcome == Outcome::Failed {
        return;
    }
    totals.seconds = totals.seconds.saturating_add(seconds);
    totals.duration_buckets.resize(BUCKETS.len() + 1, 0);
    let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
    totals.duration_buckets[bucket] += 1;
}
