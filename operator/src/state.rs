//! What a status holds, whichever group it is of.

use crate::api::common_status::CommonStatus;
use crate::api::history::BackupRecord;
use crate::api::phase::Phase;
use crate::api::restore_status::RestoreStatus;

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
    /// What every status holds.
    pub common: CommonStatus,
    /// The phase.
    pub phase: Phase,
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
}

/// A state, whichever kind it is of.
pub trait State {
    /// What every status holds.
    fn common(&self) -> &CommonStatus;
    /// To be written anew.
    fn common_mut(&mut self) -> &mut CommonStatus;
    /// To be written anew.
    fn phase_mut(&mut self) -> &mut Phase;
    /// When it runs next, RFC 3339.
    fn next_scheduled_time(&self) -> Option<&str> {
        None
    }
    /// Nobody knows when it runs next.
    fn forget_next_scheduled_time(&mut self) {}
}

impl State for BackupState {
    fn common(&self) -> &CommonStatus {
        &self.common
    }

    fn common_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }

    fn phase_mut(&mut self) -> &mut Phase {
        &mut self.phase
    }

    fn next_scheduled_time(&self) -> Option<&str> {
        self.next_scheduled_time.as_deref()
    }

    fn forget_next_scheduled_time(&mut self) {
        self.next_scheduled_time = None;
    }
}

impl State for RestoreStatus {
    fn common(&self) -> &CommonStatus {
        &self.common
    }

    fn common_mut(&mut self) -> &mut CommonStatus {
        &mut self.common
    }

    fn phase_mut(&mut self) -> &mut Phase {
        &mut self.phase
    }
}
