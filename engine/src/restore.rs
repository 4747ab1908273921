//! From a manifest to topics.
//!
//! A restore is a plan and then its execution. The plan is a value that `--dry-run` prints; its execution is
//! deterministic, and everything that must not change between two runs of it stands in a journal. So a restore that was
//! killed goes on where it was, and one that is run again adds nothing (see `landing` for why).

mod abandon;
mod begin;
mod changes;
mod commits;
mod copy;
mod error;
mod journal;
mod landing;
mod left;
mod maker;
mod memory;
mod others;
mod own_settings;
pub mod plan;
mod protection;
mod reader;
mod rehearsal;
mod report;
mod runs;
mod source;
mod target;
mod topics;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

pub use self::error::Error;
use self::journal::{Intent, Journal, Prepared, PreparedTopic, Request, Settings, TopicSettings};
use self::left::Touched;
pub use self::maker::Counts;
use self::own_settings::OwnSettings;
use self::plan::{Action, GroupPlan, Plan, TargetFacts, TopicPlan};
use self::protection::Protection;
pub use self::report::{Outcome, RestoreReport, TopicReport};
use self::runs::Runs;
use crate::breaker::Breaker;
use crate::clock::now_ms;
use crate::config::restore::{Checked, WhichBackup};
use crate::error::Kind;
use crate::format::layout::RestoreId;
use crate::format::manifest::Manifest;
use crate::format::segment::TopicKey;
use crate::kafka::Cluster;
use crate::offsets::groups::GroupReport;
use crate::offsets::positions::Restored;
use crate::progress::Progress;
use crate::repository::{self, Archive, Repository};
use crate::rewrite::{BOUNDARY_RULES, joining};
use crate::stop::Stop;
use crate::store::REQUESTS_AT_ONCE;
use crate::store::lease::{self, Holder, Lease, WaitPolicy};

/// A restore that fell silent for this long may be gone on with by another process.
const LEASE_TTL_MS: i64 = 60_000;
/// Long enough for the lease of a run that was killed on another machine to expire.
const LEASE_WAIT_MS: i64 = LEASE_TTL_MS + lease::CLOCK_SKEW_MS + 5_000;
/// How long a run that was asked to end may wait for what it is at, before it gives up and says what it leaves behind: well before
/// the 20 seconds after which it is ended.
const SETTLING: Duration = Duration::from_secs(12);
/// How long the archive may take to learn of the end of a run that was asked to end.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// How often a run makes its decisions, when other runs of the same restore change the journal before it has the lease.
const BEGINNINGS_MAX: usize = 5;

/// Restores a backup.
///
/// # Errors
/// When the records are not all in the target at the end of it. Consumer groups that could not be restored are no
/// error, but [`Outcome::Partial`].
pub async fn run(config: &Checked, progress: &Progress, stop: &Stop) -> Result<RestoreReport, Error> {
    if let Some(id) = &config.config.abandon {
        return abandon::run(config, id, stop).await;
    }
    let started_ms = now_ms();
    let Chosen { archive, manifest, warnings } = backup(config).await?;
    let config = &config.clone().for_backup(manifest.include_offset_headers);
    let circuit_breaker = config.config.cluster.circuit_breaker;
    let archive = archive.with_breaker(Breaker::new("store", circuit_breaker));
    let breaker = Breaker::new("brokers", circuit_breaker);
    let cluster = tokio::select! {
        connected = Cluster::connect(&config.config.cluster, breaker) => connected?,
        () = stop.wait() => return Err(Error::Interrupted),
    };
    let (touched, stopping_at) = (Mutex::new(Touched::None), OnceLock::new());
    let run = Restore { config, archive, manifest, warnings, cluster, progress, stop, stopping_at, touched };
    for _ in 0..BEGINNINGS_MAX {
        let begun = run.begin(started_ms).await?;
        if config.config.dry_run {
            run.readable_runs(&begun.planned.plan).await?;
            return Ok(run.planned(begun.planned.plan, begun.journal.id, now_ms() - started_ms));
        }
        if begun.prepared.is_none() && !begun.planned.plan.refusals.is_empty() {
            return Err(run.left_by_any_run(Error::Refused(begun.planned.plan.refusals), &begun.journal).await);
        }
        if stop.is_set() {
            return Err(run.left_by_any_run(Error::Interrupted, &begun.journal).await);
        }
        let journal = begun.journal.clone();
        let lease = tokio::select! {
            lease = run.lease(&journal) => lease,
            () = run.patience() => Err(Error::Interrupted),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => return Err(run.left_by_any_run(error, &journal).await),
        };
        let restored = tokio::select! {
            restored = run.under_lease(begun, &lease, started_ms) => restored,
            () = run.patience() => Err(run.left_by_any_run(Error::Interrupted, &journal).await),
        };
        let released = async {
            if let Err(error) = lease.release().await {
                tracing::warn!("the lease of the restore could not be given back and has to expire: {error}");
            }
        };
        run.at_the_end_of(&restored, released).await;
        if let Some(restored) = restored? {
            return Ok(restored);
        }
        tracing::info!("another run has changed the restore since this one began: it begins again");
    }
    Err(Error::Contended)
}

/// The backup that is restored.
struct Chosen {
    archive: Archive,
    manifest: Manifest,
    /// What should be known of the choice, each in one line.
    warnings: Vec<String>,
}

async fn backup(config: &Checked) -> Result<Chosen, Error> {
    let repository = Repository::open(&config.config.storage).await?;
    let name = match &config.which {
        WhichBackup::Id(id) => {
            let (archive, manifest) = repository.find(id).await?;
            return Ok(Chosen { archive, manifest, warnings: Vec::new() });
        }
        WhichBackup::Of(name, _) | WhichBackup::NewestOf(name) | WhichBackup::Reaching(name, _) => name,
    };
    let archive = repository.archive(name).await?;
    let begun_with = match &config.config.restore_id {
        Some(id) => Journal::new(archive.store.clone(), &archive.keys, id.clone()).backup_id().await?,
        None => None,
    };
    let (manifest, warnings) = match (&config.which, begun_with) {
        (WhichBackup::Id(id) | WhichBackup::Of(_, id), _) => (archive.finished(id).await?, Vec::new()),
        // A newer backup may have been made since; a restore goes on with the one that it began with.
        (WhichBackup::NewestOf(_) | WhichBackup::Reaching(..), Some(id)) => (archive.finished(&id).await?, Vec::new()),
        (WhichBackup::NewestOf(_), None) => archive.newest().await?,
        (WhichBackup::Reaching(_, at_ms), None) => archive.reaching(*at_ms).await?,
    };
    Ok(Chosen { archive, manifest, warnings })
}

/// A plan, and the target as it was when the plan was made.
struct Planned {
    request: Request,
    plan: Plan,
    facts: TargetFacts,
    /// Whether an earlier run of the restore may have written records.
    is_resumed: bool,
}

/// How far a restore is before this run does anything.
struct Begun {
    journal: Journal,
    intent: Option<Intent>,
    prepared: Option<Prepared>,
    planned: Planned,
}

struct Restore<'a> {
    config: &'a Checked,
    archive: Archive,
    manifest: Manifest,
    /// What should be known of the choice of the backup, each in one line.
    warnings: Vec<String>,
    cluster: Cluster,
    progress: &'a Progress,
    stop: &'a Stop,
    /// When the run was asked to end.
    stopping_at: OnceLock<Instant>,
    /// What the journal said last of the topics that may be left changed, for a time in which it cannot be read.
    touched: Mutex<Touched>,
}

impl Restore<'_> {
    /// Ends when the run was asked to end and has not for a while, which begins once, whatever the run is at.
    async fn patience(&self) {
        self.stop.wait().await;
        tokio::time::sleep_until(*self.stopping_at.get_or_init(Instant::now) + SETTLING).await;
    }

    /// Does a last thing in the archive. A run that has failed and was asked to end takes little time for it.
    async fn at_the_end_of<T>(&self, restored: &Result<T, Error>, last: impl Future<Output = ()>) {
        if restored.is_err() && self.stop.is_set() {
            if timeout(LAST_PATIENCE, last).await.is_err() {
                tracing::warn!("the archive does not know that this run has ended: it did not answer in time");
            }
        } else {
            last.await;
        }
    }

    async fn lease(&self, journal: &Journal) -> Result<Lease, Error> {
        let holder = Holder::current(journal.id.as_str());
        let wait = WaitPolicy::UpTo(LEASE_WAIT_MS);
        Ok(Lease::acquire(&self.archive.store, &journal.lease(), holder, LEASE_TTL_MS, wait).await?)
    }

    /// Whether the journal is as it was when this run made its decisions. Until it had the lease, another run may have prepared the
    /// restore, or abandoned it.
    async fn is_current(&self, begun: &Begun) -> Result<bool, Error> {
        let Begun { journal, intent, prepared, planned } = begun;
        Ok(!journal.is_abandoned().await?
            && journal.intent(&planned.request).await? == *intent
            && journal.prepared().await? == *prepared)
    }

    /// Restores under the lease, while the archive names the restore as one that has not ended; none when the decisions have to
    /// be made again.
    async fn under_lease(&self, begun: Begun, lease: &Lease, started_ms: i64) -> Result<Option<RestoreReport>, Error> {
        let journal = begun.journal.clone();
        journal.open(&self.manifest.backup_id).await?;
        let restored = self.restore(begun, lease, started_ms).await;
        let closed = async {
            if lease.check().await.is_ok()
                && let Err(error) = journal.close(&self.manifest.backup_id).await
            {
                tracing::warn!("the archive goes on naming restore {} as one that has not ended: {error}", journal.id);
            }
        };
        self.at_the_end_of(&restored, closed).await;
        restored
    }

    /// Restores under the lease; none when the decisions have to be made again.
    async fn restore(&self, begun: Begun, lease: &Lease, started_ms: i64) -> Result<Option<RestoreReport>, Error> {
        if !self.is_current(&begun).await? {
            return Ok(None);
        }
        let Begun { journal, mut planned, .. } = begun;
        match self.complete(&mut planned, &journal, lease).await {
            Ok(mut report) => {
                report.duration_ms = now_ms() - started_ms;
                journal.write_done(&report).await?;
                Ok(Some(report))
            }
            Err(error) => Err(self.left(error, &planned, &journal, lease).await),
        }
    }

    /// Does what is left to do, in the order of the journal.
    async fn complete(&self, planned: &mut Planned, journal: &Journal, lease: &Lease) -> Result<RestoreReport, Error> {
        // A prune that ended before it could see this restore may have taken the backup. A run may even have made another one of its
        // id.
        self.archive.still_holds(&self.manifest).await?;
        let before = journal.done().await?;
        let written = journal.written().await?;
        // Nothing is deleted for a backup that cannot be read; one that is restored already may have been pruned since.
        let is_written = before.is_some() || written.is_some();
        let runs = match (is_written, planned.is_resumed) {
            (true, _) => Runs::default(),
            (false, true) => self.runs(&planned.plan).await?,
            (false, false) => self.readable_runs(&planned.plan).await?,
        };
        let prepared = self.prepare(planned, journal, lease).await?;
        let Planned { plan, is_resumed, .. } = planned;
        if let Some(before) = before {
            // Its topics have had their own settings since it ended, and whatever their owner has set after that.
            return self.again(plan, &prepared, before, journal, lease).await;
        }
        let written = match written {
            Some(written) => written,
            None => self.write(plan, &prepared, *is_resumed, runs, journal, lease).await?,
        };
        self.put_back(&prepared, written, journal, lease).await
    }

    /// Writes what is not written yet, under protective settings; then commits the offsets.
    async fn write(
        &self,
        plan: &mut Plan,
        prepared: &Prepared,
        is_resumed: bool,
        runs: Runs,
        journal: &Journal,
        lease: &Lease,
    ) -> Result<RestoreReport, Error> {
        if !prepared.has_our_boundaries() {
            return Err(Error::OtherBoundaries { id: journal.id.clone() });
        }
        let protection = Protection::new(&self.cluster, plan, prepared, journal, lease).await?;
        let landed = match is_resumed {
            true => target::landed(&self.cluster, &prepared.topics.iter().collect::<Vec<_>>()).await?,
            false => BTreeSet::new(),
        };
        protection.hold(&landed).await?;
        let mut runs = runs;
        let (partitions, topics) = loop {
            let (stop, ended) = (Stop::default(), Stop::default());
            let copying = async {
                let copied = self.copy(plan, prepared, runs, false, journal, lease, &stop).await;
                ended.set();
                copied
            };
            let watching = async {
                let watched = tokio::select! {
                    watched = protection.watch(&ended) => watched,
                    // Who was asked to end does not wait for brokers that may be away.
                    () = async { futures::join!(self.stop.wait(), ended.wait()); } => Ok(false),
                };
                if watched.is_err() {
                    // What is on its way comes to rest before anybody changes a setting.
                    stop.set();
                }
                watched
            };
            let (copied, watched) = futures::join!(copying, watching);
            let was_undone = watched?;
            match copied {
                Ok(copied) => break copied,
                // A broker that learns of a reversal refuses records at once. They are sent again when it is undone, as by a run
                // that comes after a killed one.
                Err(error) if error.may_be_a_reversal() && (was_undone || protection.look().await?) => {
                    tracing::warn!("records were refused under a setting that was set back: {error}");
                    runs = self.runs(plan).await?;
                }
                Err(error) => return Err(error),
            }
        };
        protection.look().await?;
        match target::nothing_swept(&self.cluster, &prepared.topics.iter().collect::<Vec<_>>()).await {
            // An earlier run has committed offsets, and an application may have begun to use the topics: see below.
            Err(Error::Swept { .. }) if commits::has_committed(journal, &plan.groups).await? => {}
            looked => looked?,
        }
        changes::none_lost(&self.cluster, prepared, &partitions).await?;
        let groups = self.groups_under(&protection, plan, &partitions, journal).await?;
        // Thousands of groups take minutes. An application that has begun to use the topics may delete what it has read.
        plan.problems.extend(self.swept_meanwhile(prepared).await?);
        plan.warnings.extend(protection.warnings());
        lease.check().await?;
        journal.write_written(self.report(plan, &partitions, topics, groups, journal, false)).await
    }

    /// What was deleted of restored records while offsets were committed, in one line.
    async fn swept_meanwhile(&self, prepared: &Prepared) -> Result<Option<String>, Error> {
        // `put_back` names those that were replaced, after the others have their own settings.
        let changed = target::changed(&self.cluster, prepared).await?;
        let ours: Vec<&PreparedTopic> =
            prepared.topics.iter().filter(|topic| !changed.contains(&topic.target)).collect();
        match target::nothing_swept(&self.cluster, &ours).await {
            Ok(()) => Ok(None),
            Err(swept @ Error::Swept { .. }) => Ok(Some(swept.to_string())),
            // One of them was deleted since.
            Err(_) if target::changed(&self.cluster, prepared).await? != changed => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits the offsets of the groups and holds the settings of the topics meanwhile: a reverted retention would delete older records of
    /// a compacted topic, since its `cleanup.policy` is `delete` until the end. When the settings cannot be held any more, no further group
    /// is begun.
    async fn groups_under(
        &self,
        protection: &Protection<'_>,
        plan: &mut Plan,
        partitions: &Restored,
        journal: &Journal,
    ) -> Result<Vec<GroupReport>, Error> {
        let (stop, ended) = (Stop::default(), Stop::default());
        let committing = async {
            let committed = self.groups(plan, partitions, journal, None, &stop).await;
            ended.set();
            committed
        };
        let watching = async {
            let watched = protection.watch_ours(&ended).await;
            if let Err(error) = &watched {
                tracing::warn!("the offsets of no further group are committed: {error}");
                stop.set();
            }
            watched
        };
        let (committed, watched) = futures::join!(committing, watching);
        match (committed, watched) {
            (Ok(committed), watched) => {
                // The look before may be half a minute ago.
                let looked = match watched {
                    Ok(()) => protection.look_at_ours().await,
                    Err(error) => Err(error),
                };
                plan.problems.extend(after_all_groups(looked)?);
                Ok(committed)
            }
            // This is why groups were left out.
            (Err(Error::Interrupted), Err(why)) => Err(why),
            (Err(error), _) => Err(error),
        }
    }

    /// Gives the topics the settings that they have in the end.
    async fn put_back(
        &self,
        prepared: &Prepared,
        mut report: RestoreReport,
        journal: &Journal,
        lease: &Lease,
    ) -> Result<RestoreReport, Error> {
        let settings = journal.settings().await?;
        // What an owner has created in their place, while offsets were committed, is not ours to change.
        let changed = target::changed(&self.cluster, prepared).await?;
        let ours = prepared.topics.iter().filter(|topic| !changed.contains(&topic.target));
        let ours: Vec<OwnSettings> = ours.map(|topic| OwnSettings::new(topic, &settings)).collect();
        report.warnings.extend(own_settings::put_back(&self.cluster, &ours, lease).await?);
        match changed.is_empty() {
            true => Ok(report),
            false => Err(Error::Changed(changed.iter().map(|topic| changes::replaced(topic)).collect())),
        }
    }

    /// Says what became of a restore that has ended; only offsets of groups that it could not commit are tried again.
    async fn again(
        &self,
        plan: &mut Plan,
        prepared: &Prepared,
        before: RestoreReport,
        journal: &Journal,
        lease: &Lease,
    ) -> Result<RestoreReport, Error> {
        let (partitions, topics) =
            self.copy(plan, prepared, Runs::default(), true, journal, lease, &Stop::default()).await?;
        plan.warnings.extend(changes::since(&self.cluster, prepared, &partitions).await?);
        let groups = self.groups(plan, &partitions, journal, Some(&before), &Stop::default()).await?;
        lease.check().await?;
        Ok(self.report(plan, &partitions, topics, groups, journal, true))
    }

    fn report(
        &self,
        plan: &mut Plan,
        partitions: &Restored,
        topics: Vec<TopicReport>,
        groups: Vec<GroupReport>,
        journal: &Journal,
        already_restored: bool,
    ) -> RestoreReport {
        plan.problems.extend(report::left_out(partitions));
        RestoreReport {
            outcome: if plan.problems.is_empty() { Outcome::Completed } else { Outcome::Partial },
            restore_id: journal.id.clone(),
            backup_id: self.manifest.backup_id.clone(),
            archive: self.archive.name.clone(),
            target_cluster_id: plan.target_cluster_id.clone(),
            already_restored,
            duration_ms: 0,
            records: partitions.values().map(|partition| partition.records).sum(),
            bytes: partitions.values().map(|partition| partition.bytes).sum(),
            topics,
            groups,
            plan: None,
            problems: std::mem::take(&mut plan.problems),
            warnings: std::mem::take(&mut plan.warnings),
        }
    }

    /// The runs of everything that is restored: every list is read, and every segment is there.
    async fn runs(&self, plan: &Plan) -> Result<Runs, Error> {
        match self.find_runs(plan).await {
            Ok(runs) => Ok(runs),
            Err(error) => Err(self.unless_deleted(error).await),
        }
    }

    /// Like [`Self::runs`]. If topics are to be deleted, it also reads a byte of every segment.
    async fn readable_runs(&self, plan: &Plan) -> Result<Runs, Error> {
        let runs = self.runs(plan).await?;
        match self.can_be_read(plan, &runs).await {
            Ok(()) => Ok(runs),
            Err(error) => Err(self.unless_deleted(error).await),
        }
    }

    /// What it means that something of the backup is missing or damaged: until the archive names this restore as one that has not
    /// ended, retention may delete the backup.
    async fn unless_deleted(&self, error: Error) -> Error {
        if error.kind() != Kind::Corrupt {
            return error;
        }
        match self.archive.still_holds(&self.manifest).await {
            // It was deleted or replaced; or the store does not answer any more, which says nothing of the backup.
            Err(other) if other.kind() != Kind::Corrupt => other.into(),
            Ok(()) | Err(_) => error,
        }
    }

    async fn find_runs(&self, plan: &Plan) -> Result<Runs, Error> {
        let Self { archive, manifest, .. } = self;
        let wanted: BTreeSet<&TopicKey> = plan.topics.iter().map(|topic| &topic.source).collect();
        let mut parts = manifest.parts.clone();
        parts.retain(|part| wanted.iter().any(|topic| part.may_hold_topic(topic)));
        let part = archive.runs_in(&manifest.backup_id, parts).await?;
        let topics = manifest.topics.iter().filter(|topic| wanted.contains(&topic.topic));
        let key = archive.keys.manifest(&manifest.backup_id);
        let runs = Runs::of_topics(topics, &part).map_err(|broken| Error::Broken { key, broken })?;
        match runs.lost_segments(&archive.keys, &archive.list_folders(archive.folders_of(runs.segments())).await?) {
            Some(lost) => Err(Error::LostSegments { backup_id: manifest.backup_id.clone(), lost }),
            None => Ok(runs),
        }
    }

    /// Before topics are deleted, a byte of every segment is read: a listing shows segments, too, that were moved to a storage class
    /// which is not read at once, or that this user may not read.
    async fn can_be_read(&self, plan: &Plan, runs: &Runs) -> Result<(), Error> {
        if !plan.topics.iter().any(|topic| topic.action == Action::Overwrite) {
            return Ok(());
        }
        let Archive { store, keys, .. } = &self.archive;
        let last_bytes: BTreeMap<String, u64> = runs
            .segments()
            .filter_map(|segment| Some((keys.segment(&segment.id), segment.bytes.checked_sub(1)?)))
            .collect();
        let reads = last_bytes.into_iter().map(|(key, at)| async move { store.read_range(&key, at..at + 1).await });
        stream::iter(reads).buffer_unordered(REQUESTS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    /// Brings the target into the state in which records can be written, once.
    async fn prepare(&self, planned: &Planned, journal: &Journal, lease: &Lease) -> Result<Prepared, Error> {
        let Planned { request, plan, facts, .. } = planned;
        let existing = &facts.existing;
        if let Some(prepared) = journal.prepared().await? {
            return Ok(prepared);
        }
        let is_overwritten = |topic: &&TopicPlan| topic.action == Action::Overwrite;
        let id = |topic: &TopicPlan| Some((topic.target.clone(), existing.get(&topic.target)?.id));
        let overwritten: BTreeMap<String, Uuid> = plan.topics.iter().filter(is_overwritten).filter_map(id).collect();
        let actions = plan.topics.iter().map(|topic| (topic.target.clone(), topic.action)).collect();
        let settings = |topic: &TopicPlan| {
            let after = plan::protection::afterwards(topic, existing.get(&topic.target));
            (topic.target.clone(), TopicSettings { meanwhile: topic.configs_meanwhile.clone(), after })
        };
        // A prune that had looked for restores before it could see this one may have taken the backup by now. Nothing was changed yet.
        if !self.archive.store.exists(&self.archive.keys.manifest(&self.manifest.backup_id)).await? {
            return Err(repository::Error::Deleted { backup: self.manifest.backup_id.clone() }.into());
        }
        let intent = journal
            .write_intent(Intent {
                request: request.clone(),
                backup_cut_at_ms: Some(self.manifest.cut_at_ms),
                actions,
                overwritten,
                existing_topics: Some(self.config.config.existing_topics),
                settings: plan.topics.iter().filter(|topic| !is_kept(topic)).map(settings).collect(),
            })
            .await?;
        self.has_touched(Touched::Created(intent.clone()));
        let ids = topics::create(&self.cluster, plan, &intent.overwritten, journal, lease, self.stop).await?;
        let ends = target::ends(&self.cluster, plan).await?;
        let strangers = target::not_new(plan, existing, &ends);
        if !strangers.is_empty() {
            // They may be another run of this restore, which has taken it over.
            lease.check().await?;
            return Err(Error::Refused(strangers));
        }
        let producer = self.cluster.init_producer_id(None, 0).await?;
        let topics = plan
            .topics
            .iter()
            .map(|topic| {
                let base_offsets = journal::base_offsets(&ends, &topic.target, topic.target_partitions);
                Ok(PreparedTopic {
                    target: topic.target.clone(),
                    topic_id: *ids.get(&topic.target).ok_or_else(|| Error::lacks("Metadata", &topic.target))?,
                    max_batch_bytes: topic.max_batch_bytes,
                    base_offsets: base_offsets.ok_or_else(|| Error::lacks("ListOffsets", &topic.target))?,
                    configs_meanwhile: topic.configs_meanwhile.clone(),
                    configs_after: plan::protection::afterwards(topic, existing.get(&topic.target)),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let prepared = Prepared {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            boundary_rules: BOUNDARY_RULES,
            joined_records_bytes: (!self.config.config.keep_batches).then_some(joining::RECORDS_BYTES_MAX),
            topics,
        };
        let prepared = journal.write_prepared(prepared).await?;
        self.has_touched(Touched::Protected(prepared.clone(), Settings::default()));
        Ok(prepared)
    }

    /// Commits the offsets of the groups, but of none that an earlier run has: it may have gone on since. When `stop` is set, no further
    /// group is begun.
    async fn groups(
        &self,
        plan: &mut Plan,
        partitions: &Restored,
        journal: &Journal,
        before: Option<&RestoreReport>,
        stop: &Stop,
    ) -> Result<Vec<GroupReport>, Error> {
        let mut reports = before.map(|before| before.groups.clone()).unwrap_or_default();
        let restored: BTreeSet<String> = reports.iter().map(|report| report.target.clone()).collect();
        let commit = |group: GroupPlan| commits::commit(&self.cluster, journal, group, partitions);
        let left: Vec<GroupPlan> =
            plan.groups.iter().filter(|group| !restored.contains(&group.target)).cloned().collect();
        for commits::Ended { report, problems, warnings } in commits::each(left, stop, commit).await? {
            reports.extend(report);
            plan.problems.extend(problems);
            plan.warnings.extend(warnings);
        }
        Ok(reports)
    }

    fn planned(&self, plan: Plan, restore_id: RestoreId, duration_ms: i64) -> RestoreReport {
        RestoreReport {
            outcome: Outcome::Planned,
            restore_id,
            backup_id: self.manifest.backup_id.clone(),
            archive: self.archive.name.clone(),
            target_cluster_id: plan.target_cluster_id.clone(),
            already_restored: false,
            duration_ms,
            records: 0,
            bytes: 0,
            topics: Vec::new(),
            groups: Vec::new(),
            problems: [plan.refusals.clone(), plan.problems.clone()].concat(),
            warnings: [plan.warnings.clone(), plan.busy_groups.clone()].concat(),
            plan: Some(plan),
        }
    }
}

/// What the last look at the settings says when the offsets of all groups are committed. A reversal is a problem of the report then, and no
/// error: `put_back` runs next and keeps what the owner has set.
fn after_all_groups(looked: Result<bool, Error>) -> Result<Option<String>, Error> {
    match looked {
        // `put_back` says so, when all other topics have their own settings.
        Ok(_) | Err(Error::Changed(_)) => Ok(None),
        Err(error @ Error::Reverted { .. }) => {
            Ok(Some(format!("{error}; all records were written and all offsets committed before")))
        }
        Err(error) => Err(error),
    }
}

/// Whether the topic is used as it is.
fn is_kept(topic: &TopicPlan) -> bool {
    match topic.action {
        Action::Use | Action::Append => true,
        Action::Create | Action::Overwrite => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_set_back_when_all_groups_are_committed_is_a_problem_and_ends_nothing() {
        assert_eq!(after_all_groups(Ok(true)).unwrap(), None);
        assert_eq!(after_all_groups(Err(Error::Changed(vec!["t".to_owned()]))).unwrap(), None);
        let reverted = Error::Reverted { topic: "t".to_owned(), changes: vec!["retention.ms was changed".to_owned()] };
        let problem = after_all_groups(Err(reverted)).unwrap().unwrap();
        assert!(problem.starts_with("topic \"t\": retention.ms was changed"), "{problem}");
        // Another run of the restore may write what this one would.
        let reason = "taken over".to_owned();
        let lost = lease::Error::Lost { place: "p".to_owned(), epoch: 1, reason };
        assert!(matches!(after_all_groups(Err(lost.into())), Err(Error::Lease(_))));
    }
}
