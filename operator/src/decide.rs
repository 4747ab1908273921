//! What is to be done for a resource, and what its status is to say. Pure: values go in, a value comes out.

pub mod backup;
mod ledger;
pub mod restore;

use jiff::Timestamp;
use kafka_backup::report::termination::{Ended, Outcome};

#[cfg(test)]
mod tests;

pub use self::ledger::BUCKETS;
use crate::api::condition::Condition;
use crate::api::history::ActiveRun;
use crate::api::phase::Phase;
use crate::build::Run;
use crate::observe::{ObservedRun, RunState, Trouble};
use crate::plan::Refusal;
use crate::state::{State, Verdict};

/// Runs that a status keeps.
pub const HISTORY_MAX: usize = 20;

/// What is known of a resource beside its plan.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `metadata.generation`.
    pub generation: i64,
    /// The value of the trigger annotation.
    pub trigger: Option<String>,
    /// Whether its schedule is to start no runs.
    pub is_suspended: bool,
    /// Now.
    pub now: Timestamp,
}

/// What to do with the CronJob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CronAction {
    /// Make it as the plan says.
    Apply {
        /// Whether it is to start nothing for now: a run that it knows nothing of is under way, and of one archive there is one
        /// writer. What was missed meanwhile is started afterwards.
        is_held: bool,
        /// Whether to write it even if it stands there as it should: its ConfigMap has no watch, and a run of it is in trouble.
        anew: bool,
    },
    /// See that there is none.
    Delete,
    /// Leave it as it is, but for whether it starts runs: what else is wanted is not known.
    Keep {
        /// As above.
        is_held: bool,
        /// Whether the spec wants it to start none.
        is_suspended: bool,
    },
    /// Leave it alone.
    Leave,
}

/// Something that happened, for an event on the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whether it needs somebody's attention.
    pub is_warning: bool,
    /// One word in CamelCase.
    pub reason: String,
    /// What happened.
    pub message: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<S> {
    /// A run to start.
    pub start: Option<Run>,
    /// What to do with the CronJob.
    pub cron: CronAction,
    /// Jobs that never began, of a spec that is another by now: they go, and make room.
    pub replace: Vec<String>,
    /// Jobs whose result is recorded: Kubernetes may delete them after so many seconds.
    pub expire: Vec<(String, i32)>,
    /// What the status is to hold, but for its conditions.
    pub state: S,
    /// What to tell.
    pub verdict: Verdict,
    /// What to warn of beside it: reason and message.
    pub warnings: Vec<(String, String)>,
    /// What happened.
    pub notes: Vec<Note>,
}

/// The reason of the warning that something could not be done yet.
const PUT_OFF: &str = "KubernetesError";

impl<S: State> Decision<S> {
    /// Tells that the API server does not let it be done, beside whatever else is wrong; `before` is what the status said. It is told in the
    /// words of before where they are the same but for numbers: some say at each attempt which attempt it was.
    pub fn refuse(&mut self, refused: Verdict, before: &S) {
        let is_same = |told: &str| words(told) == words(&refused.message);
        let message =
            self.told(&refused.reason, before, is_same).unwrap_or_else(|| self.note(&refused.reason, &refused.message));
        let hidden = std::mem::replace(&mut self.verdict, Verdict { message, ..refused });
        if self.state.common().active_run.is_some() || self.start.is_some() {
            // What a run has to tell is no less true.
            self.warnings.extend((!hidden.is_ready).then_some((hidden.reason, hidden.message)));
        } else {
            *self.state.phase_mut() = Phase::Failed;
        }
    }

    /// Tells that it could not be done yet, and will be tried again; `before` is what the status said. It is told in its first words: the next
    /// attempt may meet another error, and a status that is written has its resource looked at.
    pub fn put_off(&mut self, error: &str, before: &S) {
        let message =
            self.told(PUT_OFF, before, |_| true).unwrap_or_else(|| self.note(PUT_OFF, &error.replace('\n', " ")));
        self.warnings.push((PUT_OFF.to_owned(), message));
    }

    /// How it was told before of the same spec.
    fn told(&self, reason: &str, before: &S, is_same: impl Fn(&str) -> bool) -> Option<String> {
        let is_same_spec = before.common().observed_generation == self.state.common().observed_generation;
        let mut conditions = before.common().conditions.iter().filter(|_| is_same_spec);
        let told = conditions.find(|condition| condition.reason == reason && is_same(&condition.message))?;
        Some(told.message.clone())
    }

    /// Tells it by an event, and gives back the message.
    fn note(&mut self, reason: &str, message: &str) -> String {
        self.notes.push(Note { is_warning: true, reason: reason.to_owned(), message: message.to_owned() });
        message.to_owned()
    }
}

/// The words of a message, but for numbers.
fn words(message: &str) -> Vec<&str> {
    let has_digit = |word: &&str| word.contains(|letter: char| letter.is_ascii_digit());
    message.split_whitespace().filter(|word| !has_digit(word)).collect()
}

/// A moment as a status holds it.
pub fn text(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The same of milliseconds since the epoch, with them.
pub fn text_of_ms(ms: i64) -> Option<String> {
    Timestamp::from_millisecond(ms).ok().map(|at| format!("{at:.3}"))
}

/// Why a run failed: in the engine's words, but for one that was only told to stop. Then the Job knows why.
fn why<R>(ended: Option<&Ended<R>>, failure: Option<&str>) -> Option<String> {
    let told = ended.and_then(|ended| ended.error.as_ref()).map(|error| error.message.clone());
    let failure = failure.map(str::to_owned);
    match ended.map(|ended| ended.outcome) {
        Some(Outcome::Interrupted) => failure.or(told),
        Some(Outcome::Completed | Outcome::Partial | Outcome::Failed) | None => told.or(failure),
    }
}

fn trouble(run: &ObservedRun) -> Option<&Trouble> {
    match &run.state {
        RunState::Active { trouble, .. } => trouble.as_ref(),
        RunState::Ended { failure, .. } => failure.as_ref(),
    }
}

/// What there is to tell of a run that is under way: that it began, and what keeps it from going on. Each is told once.
fn news(
    verb: &str,
    run: &ObservedRun,
    known: Option<&ActiveRun>,
    conditions: &[Condition],
) -> impl Iterator<Item = Note> + use<> {
    let is_new = known.is_none_or(|known| known.job != run.job);
    let started = is_new.then(|| Note {
        is_warning: false,
        reason: format!("{verb}Started"),
        message: format!("Job {} was started", run.job),
    });
    let trouble = trouble(run).filter(|trouble| !conditions.iter().any(|told| told.reason == trouble.reason));
    let trouble = trouble.map(|Trouble { reason, message }| Note {
        is_warning: true,
        reason: reason.clone(),
        message: message.clone(),
    });
    started.into_iter().chain(trouble)
}

/// That nothing is run, and why: told once.
fn refused(refusal: &Refusal, conditions: &[Condition]) -> Option<Note> {
    let Refusal { reason, message, is_waiting: _ } = refusal;
    let is_told = conditions.iter().any(|condition| condition.message == *message);
    (!is_told).then(|| Note { is_warning: true, reason: (*reason).to_owned(), message: message.clone() })
}

/// A count as Kubernetes' integers hold it.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
