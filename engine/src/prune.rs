//! Deleting backups that are not to be kept, and what killed runs left behind.
//!
//! Facts are read, a plan is made of them (pure, see `plan`), and without confirmation that is all. Otherwise the archive's lease is
//! taken, so that no backup is made meanwhile, and the deletions happen in two steps: first manifests and progress, then, from
//! facts that are read again, the parts and segments that no manifest names any more (see `sweep`). Killed at any moment, this leaves
//! backups that are whole, and objects that the next run removes. A restore that began between the two steps is seen by the second
//! one, and then nothing that it may read is deleted.
//!
//! The lease is held while it is decided what goes: some seconds. The second step, which may take long, needs no lease.

mod facts;
mod plan;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

pub use self::plan::Decision;
use self::plan::{Facts, Plan, Rules};
pub use self::sweep::Sweep;
use self::sweep::{Scope, Swept};
use crate::clock::now_ms;
use crate::config::age::Age;
use crate::config::prune::{GRACE, PruneConfig};
use crate::config::retention::RetentionConfig;
use crate::error::Kind;
use crate::format::contents::ArchiveContents;
use crate::format::layout::{ArchiveName, BackupId};
use crate::repository::{self, Archive, LEASE_TTL_MS, Repository};
use crate::stop::Stop;
use crate::store;
use crate::store::lease::{self, Holder, Lease, WaitPolicy};

/// Long enough for the lease of a run that was killed on another machine to expire.
const LEASE_WAIT_MS: i64 = LEASE_TTL_MS + lease::CLOCK_SKEW_MS + 5_000;
/// The most that the clocks of this machine and of the store may differ by.
const CLOCK_DIFFERENCE_MAX_MS: i64 = 10 * 60_000;
/// Deletions between two looks at the lease.
const DELETIONS_PER_CHECK: usize = 1_000;

/// Why pruning failed. What was deleted until then is gone, and every backup that is listed is whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The lease on the archive.
    #[error(transparent)]
    Lease(#[from] lease::Error),
    /// Ages mean nothing when the clocks of this machine and of the store disagree.
    #[error(
        "the clock of this machine is {} minutes {} that of {store}, so that it is not known how old anything is: set the clock, \
         then prune again",
        (ahead_ms / 60_000).abs(),
        if *ahead_ms > 0 { "ahead of" } else { "behind" }
    )]
    Clock {
        /// The store.
        store: String,
        /// Milliseconds that this machine is ahead; negative when it is behind.
        ahead_ms: i64,
    },
    /// The run was asked to stop.
    #[error("stopped as asked, after {deleted} deletions; the same command goes on")]
    Interrupted {
        /// Objects that were deleted.
        deleted: usize,
    },
}

impl Error {
    /// What it asks of whoever reads it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Lease(error) => error.kind(),
            Self::Clock { .. } => Kind::Usage,
            Self::Interrupted { .. } => Kind::Interrupted,
        }
    }
}

/// How pruning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Nothing was deleted: the report is a plan.
    Planned,
    /// What was to go is gone.
    Completed,
    /// Less was deleted than might have been, or is going to be; the problems say why.
    Partial,
}

/// What was deleted, or is going to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether anything was deleted at all, or only planned.
    pub confirmed: bool,
    /// The archive.
    pub archive: ArchiveName,
    /// Backups that go, the oldest first, and why.
    pub removed: Vec<Decision>,
    /// Backups that stay, the oldest first, and why.
    pub kept: Vec<Decision>,
    /// Objects that go.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What the archive holds after the run.
    pub archive_contents: ArchiveContents,
    /// Why less is deleted than might be, each in one line.
    pub problems: Vec<String>,
    /// Milliseconds that it took.
    pub duration_ms: i64,
}

/// Prunes an archive, or says what pruning would do.
///
/// # Errors
/// When the archive cannot be read, or its lease cannot be had.
pub async fn run(config: &PruneConfig, stop: &Stop) -> Result<PruneReport, Error> {
    let started_ms = now_ms();
    let repository = Repository::open(&config.storage).await?;
    let archive = repository.archive(&config.archive).await?;
    let rules = rules(config.max_backups, config.max_age, config.grace, None);
    if !config.confirm {
        let facts = facts::read(&archive, false, rules.grace_ms, now_ms()).await?;
        let mut plan = plan::plan(&facts, &rules, now_ms());
        let needed = plan::needed(&facts, &plan.gone());
        let sweep = Sweep::of(&archive, needed, Scope::All, u64::MAX, rules.grace_ms).await?;
        plan.problems.extend(sweep.problems().iter().cloned());
        let mut swept = sweep.count().await?;
        plan.steps.iter().for_each(|step| swept.add(step));
        let contents = archive.contents().await?;
        return Ok(report(config, plan, swept, contents, now_ms() - started_ms));
    }
    let holder = Holder::current(&format!("prune-{}", uuid::Uuid::new_v4()));
    let wait = WaitPolicy::UpTo(LEASE_WAIT_MS);
    let lease = Lease::acquire(&archive.store, &archive.keys.lease(), holder, LEASE_TTL_MS, wait).await?;
    let begun = Pruning::new(&archive, &lease, stop).begin(&rules, Scope::All).await;
    let released = lease.release().await;
    let (mut plan, mut swept, sweep) = begun?;
    if let Err(error) = released {
        tracing::warn!("the lease could not be given back and has to expire: {error}");
    }
    swept.join(sweep.delete(stop).await?);
    plan.problems.append(&mut swept.problems);
    match archive.store.sweep_temporary(&archive.keys.write_check()).await {
        Ok(temporary) => tracing::debug!(temporary, "unfinished files removed"),
        Err(error) => plan.problems.push(format!("unfinished files of killed runs stay behind: {error}")),
    }
    let contents = archive.contents().await?;
    Ok(report(config, plan, swept, contents, now_ms() - started_ms))
}

/// What a backup run has deleted after its own backup, and what is still to be.
#[derive(Debug)]
pub struct Pruned {
    /// Backups that are gone, the oldest first, and why.
    pub removed: Vec<Decision>,
    /// Why less is deleted than might be, each in one line.
    pub problems: Vec<String>,
    /// The segments and parts that the backups needed, to be deleted when the lease is released.
    pub sweep: Sweep,
}

/// Prunes an archive whose lease the caller holds, and goes on holding; `made` is the backup that it has made. What killed runs of backups that stay have left is for
/// [`run`]: to look for it costs as much as the archive is large.
///
/// # Errors
/// As [`run`]; what was deleted until then is gone.
pub async fn under(
    archive: &Archive,
    retention: &RetentionConfig,
    made: &BackupId,
    lease: &Lease,
    stop: &Stop,
) -> Result<Pruned, Error> {
    let rules = rules(retention.max_backups, retention.max_age, GRACE, Some(made.clone()));
    let (plan, _, sweep) = Pruning::new(archive, lease, stop).begin(&rules, Scope::Gone).await?;
    Ok(Pruned { removed: plan.remove, problems: plan.problems, sweep })
}

fn rules(max_backups: Option<NonZeroUsize>, max_age: Option<Age>, grace: Age, just_made: Option<BackupId>) -> Rules {
    Rules {
        just_made,
        max_backups: max_backups.map(NonZeroUsize::get),
        max_age_ms: max_age.map(Age::as_ms),
        grace_ms: grace.as_ms(),
    }
}

fn report(
    config: &PruneConfig,
    plan: Plan,
    swept: Swept,
    archive_contents: ArchiveContents,
    duration_ms: i64,
) -> PruneReport {
    let Plan { remove, keep, problems, .. } = plan;
    PruneReport {
        outcome: match (problems.is_empty(), config.confirm) {
            (false, _) => Outcome::Partial,
            (true, false) => Outcome::Planned,
            (true, true) => Outcome::Completed,
        },
        confirmed: config.confirm,
        archive: config.archive.clone(),
        removed: remove,
        kept: keep,
        objects: swept.objects,
        bytes: swept.bytes,
        archive_contents,
        problems,
        duration_ms,
    }
}

struct Pruning<'a> {
    archive: &'a Archive,
    lease: &'a Lease,
    stop: &'a Stop,
    swept: Swept,
}

impl<'a> Pruning<'a> {
    fn new(archive: &'a Archive, lease: &'a Lease, stop: &'a Stop) -> Self {
        Self { archive, lease, stop, swept: Swept::default() }
    }

    /// The first step, and what the second one is to delete.
    async fn begin(mut self, rules: &Rules, scope: Scope) -> Result<(Plan, Swept, Sweep), Error> {
        self.check_clock().await?;
        let mut plan = self.plan(rules).await?;
        self.delete(&plan).await?;
        // A restore may have begun before the manifests were gone; and whatever is listed now needs what it names.
        let left = self.facts(rules).await?;
        plan.stay(&left);
        let needed = plan::needed(&left, &BTreeSet::new());
        let sweep = Sweep::of(self.archive, needed, scope, self.lease.epoch(), rules.grace_ms).await?;
        // What was listed is all that there is only if nobody else was at work.
        self.lease.check().await?;
        plan.problems.extend(sweep.problems().iter().cloned());
        plan.problems.append(&mut self.swept.problems);
        Ok((plan, self.swept, sweep))
    }

    /// What goes. The backup that is to be kept before all others is opened first: a listing shows that it is there, and not that it
    /// can be read.
    async fn plan(&self, rules: &Rules) -> Result<Plan, Error> {
        let mut facts = self.facts(rules).await?;
        loop {
            // As late as possible: to read the facts may have taken long, and a restore may have begun meanwhile.
            facts.restores = facts::restores(self.archive, rules.grace_ms, now_ms()).await?;
            let plan = plan::plan(&facts, rules, now_ms());
            let Some(newest) = plan.newest_kept(&mut facts) else { return Ok(plan) };
            if plan.remove.is_empty() || rules.just_made.as_ref() == Some(&newest.id) {
                return Ok(plan);
            }
            match facts::damage(self.archive.manifest(&newest.id).await)? {
                Ok(_) => return Ok(plan),
                Err(why) => newest.told = Err(why),
            }
        }
    }

    async fn facts(&self, rules: &Rules) -> Result<Facts, Error> {
        facts::read(self.archive, true, rules.grace_ms, now_ms()).await
    }

    /// The lease has just been written, and is renewed: the store says when.
    async fn check_clock(&self) -> Result<(), Error> {
        let written = self.archive.store.list(&self.archive.keys.lease()).await?;
        let Some(written_ms) = written.iter().map(|object| object.modified_ms).max() else { return Ok(()) };
        let ahead_ms = now_ms().saturating_sub(written_ms);
        if ahead_ms.abs() <= CLOCK_DIFFERENCE_MAX_MS {
            return Ok(());
        }
        Err(Error::Clock { store: self.archive.store.name().to_owned(), ahead_ms })
    }

    async fn delete(&mut self, plan: &Plan) -> Result<(), Error> {
        for deletions in plan.steps.iter().flat_map(|step| step.chunks(DELETIONS_PER_CHECK)) {
            if self.stop.is_set() {
                return Err(Error::Interrupted { deleted: self.swept.objects });
            }
            self.lease.check().await?;
            self.swept.delete(&self.archive.store, deletions).await?;
        }
        Ok(())
    }
}
