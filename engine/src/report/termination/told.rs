//! From the report of a run, or its failure, to the message.

use super::{
    BackupResult, Ended, Failure, Outcome, PruneResult, RestoreResult, RestoredTopic, Termination, VerifyResult,
};
use crate::backup::{self, BackupReport};
use crate::config::RunKind;
use crate::error::Kind;
use crate::format::contents::ArchiveContents;
use crate::prune::PruneReport;
use crate::report::RunReport;
use crate::restore::{self, RestoreReport};
use crate::verify::VerifyReport;

impl<R> Ended<R> {
    fn new(outcome: Outcome, result: Option<R>) -> Self {
        let (problems, warnings) = (Vec::new(), Vec::new());
        Self { outcome, result, problems, problems_omitted: 0, warnings, warnings_omitted: 0, error: None }
    }
}

impl Termination {
    /// The message of a run that came to its end with this report; `None` for runs that have none (list, describe, cat).
    pub fn of(report: &RunReport) -> Option<Self> {
        let (outcome, error) = match report.shortfall() {
            None => (Outcome::Completed, None),
            Some(Kind::Partial) => (Outcome::Partial, None),
            Some(kind) => (Outcome::Failed, Some(kind)),
        };
        let failure = |message: &str| error.map(|kind| Failure { kind, message: message.to_owned() });
        let told = match report {
            RunReport::Backup(report) => Self::Backup(Ended {
                problems: report.problems.clone(),
                warnings: report.warnings.clone(),
                error: failure("the backup is not whole"),
                ..Ended::new(outcome, Some(backed_up(report)))
            }),
            RunReport::Restore(report) => Self::Restore(Ended {
                problems: report.problems.clone(),
                warnings: report.warnings.clone(),
                error: failure("the plan would be refused: the problems say why"),
                ..Ended::new(outcome, Some(restored(report)))
            }),
            RunReport::Prune(report) => Self::Prune(Ended {
                problems: report.problems.clone(),
                error: failure("not everything was pruned"),
                ..Ended::new(outcome, Some(pruned(report)))
            }),
            RunReport::Verify(report) => Self::Verify(Ended {
                problems: report.findings.iter().map(ToString::to_string).collect(),
                error: failure("what is stored is not what was written: the problems name the objects"),
                ..Ended::new(outcome, Some(verified(report)))
            }),
            RunReport::List(_) | RunReport::Describe(_) => return None,
        };
        Some(told.fitted())
    }

    /// The message of a run that failed; `None` for runs that have none.
    pub fn of_failure(run: RunKind, kind: Kind, message: &str) -> Option<Self> {
        fn failed<R>(kind: Kind, message: &str) -> Ended<R> {
            let outcome = if kind == Kind::Interrupted { Outcome::Interrupted } else { Outcome::Failed };
            Ended { error: Some(Failure { kind, message: message.to_owned() }), ..Ended::new(outcome, None) }
        }
        let told = match run {
            RunKind::Backup => Self::Backup(failed(kind, message)),
            RunKind::Restore => Self::Restore(failed(kind, message)),
            RunKind::Prune => Self::Prune(failed(kind, message)),
            RunKind::Verify => Self::Verify(failed(kind, message)),
            RunKind::List | RunKind::Describe | RunKind::Cat => return None,
        };
        Some(told.fitted())
    }
}

fn backed_up(report: &BackupReport) -> BackupResult {
    let alone = ArchiveContents {
        backups: usize::from(report.outcome == backup::Outcome::Completed),
        bytes: report.stored_bytes,
    };
    let archive = report.archive_contents.unwrap_or(alone);
    BackupResult {
        backup_id: report.backup_id.clone(),
        archive: report.archive.clone(),
        source_cluster_id: report.source_cluster_id.clone(),
        cut_at_ms: report.cut_at_ms,
        started_at_ms: report.started_at_ms,
        duration_ms: report.duration_ms,
        records: report.records,
        bytes: report.bytes,
        stored_bytes: report.stored_bytes,
        topics: report.topics,
        partitions: report.partitions,
        groups: report.groups,
        already_there: report.already_there,
        resumed: report.resumed,
        pruned: report.pruned.clone(),
        pruned_omitted: 0,
        archive_backups: archive.backups,
        archive_bytes: archive.bytes,
    }
}

fn restored(report: &RestoreReport) -> RestoreResult {
    let topic =
        |topic: &restore::TopicReport| RestoredTopic { name: topic.target.clone(), records: topic.counts.records };
    RestoreResult {
        restore_id: report.restore_id.clone(),
        backup_id: report.backup_id.clone(),
        archive: report.archive.clone(),
        target_cluster_id: report.target_cluster_id.clone(),
        planned: report.outcome == restore::Outcome::Planned,
        already_restored: report.already_restored,
        records: report.records,
        bytes: report.bytes,
        topics: report.topics.iter().map(topic).collect(),
        topics_omitted: 0,
        groups: report.groups.iter().filter(|group| group.committed > 0).map(|group| group.target.clone()).collect(),
        groups_omitted: 0,
        duration_ms: report.duration_ms,
    }
}

fn pruned(report: &PruneReport) -> PruneResult {
    PruneResult {
        archive: report.archive.clone(),
        confirmed: report.confirmed,
        removed: report.removed.iter().map(|decision| decision.backup_id.clone()).collect(),
        removed_omitted: 0,
        kept: report.kept.len(),
        objects: report.objects,
        bytes: report.bytes,
        archive_backups: report.archive_contents.backups,
        archive_bytes: report.archive_contents.bytes,
        duration_ms: report.duration_ms,
    }
}

fn verified(report: &VerifyReport) -> VerifyResult {
    VerifyResult {
        archive: report.archive.clone(),
        backups: report.backups.len(),
        segments: report.segments,
        records: report.records,
        bytes: report.bytes,
        findings: report.findings.len(),
        duration_ms: report.duration_ms,
    }
}
