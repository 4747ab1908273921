//! The report of any run, and what stands in its place when a run fails.

use serde::Serialize;

use super::text;
use crate::backup::{self, BackupReport};
use crate::describe::DescribeReport;
use crate::error::Kind;
use crate::list::ListReport;
use crate::prune::{self, PruneReport};
use crate::restore::{self, RestoreReport};
use crate::verify::{self, VerifyReport};

/// The report of any run; `run` says of which.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "run", rename_all = "camelCase")]
pub enum RunReport {
    /// Of a backup.
    Backup(BackupReport),
    /// Of a restore.
    Restore(RestoreReport),
    /// Of a listing.
    List(ListReport),
    /// Of a description.
    Describe(DescribeReport),
    /// Of a verification.
    Verify(VerifyReport),
    /// Of pruning.
    Prune(PruneReport),
}

impl RunReport {
    /// What keeps the run from being a full success; `None` when nothing does.
    pub fn shortfall(&self) -> Option<Kind> {
        match self {
            Self::Backup(report) => match report.outcome {
                backup::Outcome::Completed => None,
                backup::Outcome::Partial => Some(Kind::Partial),
            },
            Self::Verify(report) => match report.outcome {
                verify::Outcome::Intact => None,
                verify::Outcome::Damaged => Some(Kind::Corrupt),
            },
            Self::Restore(report) => match report.outcome {
                restore::Outcome::Completed | restore::Outcome::Abandoned => None,
                restore::Outcome::Partial => Some(Kind::Partial),
                // A plan that would be refused is no success.
                restore::Outcome::Planned => {
                    let plan = report.plan.as_ref();
                    plan.is_some_and(|plan| !plan.refusals.is_empty()).then_some(Kind::Conflict)
                }
            },
            Self::Prune(report) => match report.outcome {
                prune::Outcome::Planned | prune::Outcome::Completed => None,
                prune::Outcome::Partial => Some(Kind::Partial),
            },
            Self::List(_) | Self::Describe(_) => None,
        }
    }

    /// One JSON object, on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("reports have string keys and finite numbers only")
    }

    /// The report in words, with a line end after the last line.
    pub fn to_text(&self) -> String {
        text::render(self)
    }
}

/// What stands on stdout when a run failed and JSON was asked for.
pub fn failure_json(kind: Kind, message: &str) -> String {
    serde_json::json!({ "outcome": "failed", "error": { "kind": kind, "message": message } }).to_string()
}
