//! What a status holds, whichever group it is of.

use crate::api::condition::Condition;
use crate::api::history::{ActiveRun, BackupRecord, Totals};
use crate::api::phase::Phase;
use crate::api::restore_status::RestoreStatus;
use crate::bookkeeping::Bookkeeping;

/// Whether all is as it should be, in one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is.
    pub is_ready: bool,
    /// One word in CamelCase.
    pub reason: String,
    /// What, where, and what to do.
    pub message: String,
}

impl Verdict {
    /// All is as it should be.
    pub fn ready(reason: &str, message: impl Into<String>) -> Self {
        Self { is_ready: true, reason: reason.to_owned(), message: message.into() }
    }

    /// It is not, or not yet.
    pub fn not_ready(reason: &str, message: impl Into<String>) -> Self {
        Self { is_ready: false, reason: reason.to_owned(), message: message.into() }
    }
}

/// The newest complete backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Newest {
    /// Its id.
    pub id: String,
    /// When it was finished, RFC 3339.
    pub completed_at: String,
    /// The moment that it shows.
    pub cut_at: Option<String>,
    /// Bytes of its segments.
    pub size: i64,
    /// Records in it.
    pub records: i64,
}

/// What is known of a `KafkaBackup`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BackupState {
    /// The generation that this is about.
    pub observed_generation: Option<i64>,
    /// As they stand in the status.
    pub conditions: Vec<Condition>,
    /// The phase.
    pub phase: Phase,
    /// The run that is under way.
    pub active_run: Option<ActiveRun>,
    /// When it runs next.
    pub next_scheduled_time: Option<String>,
    /// The newest complete backup.
    pub newest: Option<Newest>,
    /// When a run last failed.
    pub last_failure_time: Option<String>,
    /// Bytes of all backups together.
    pub storage_bytes: Option<i64>,
    /// The runs that ended last, the newest first.
    pub history: Vec<BackupRecord>,
    /// Sums over all runs.
    pub totals: Totals,
    /// What the operator remembers of its own doing.
    pub bookkeeping: Bookkeeping,
}

/// What a reconcile knows of a state, whichever kind it is of.
pub trait State {
    /// The generation that it is about.
    fn observed_generation(&self) -> Option<i64>;
    /// As they stand in the status.
    fn conditions(&self) -> &[Condition];
    /// To be written anew.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// To be written anew.
    fn phase_mut(&mut self) -> &mut Phase;
    /// Whether a run is under way.
    fn is_under_way(&self) -> bool;
    /// When it runs next, RFC 3339.
    fn next_scheduled_time(&self) -> Option<&str>;
}

impl State for BackupState {
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn phase_mut(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn is_under_way(&self) -> bool {
        self.active_run.is_some()
    }

    fn next_scheduled_time(&self) -> Option<&str> {
        self.next_scheduled_time.as_deref()
    }
}

impl State for RestoreStatus {
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }

    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }

    fn phase_mut(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn is_under_way(&self) -> bool {
        self.active_run.is_some()
    }

    fn next_scheduled_time(&self) -> Option<&str> {
        None
    }
}
