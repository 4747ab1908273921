//! Ends a restore that is not to be completed: its topics get their own settings back, and it is never resumed.

use std::collections::BTreeMap;

use super::journal::{Abandoned, Intent, Journal, PreparedTopic};
use super::{Error, LEASE_TTL_MS, LEASE_WAIT_MS, Outcome, RestoreReport, protection};
use crate::breaker::Breaker;
use crate::clock::now_ms;
use crate::config::restore::{Checked, WhichBackup};
use crate::format::layout::RestoreId;
use crate::kafka::Cluster;
use crate::repository::{Archive, Repository};
use crate::stop::Stop;
use crate::store::lease::{Holder, Lease, WaitPolicy};

/// Gives the topics of a restore the settings that they would have at its end, and marks its journal, so that no run resumes
/// it. Records that it has written stay. It waits for a run of the restore that is at work, as long as a lease lasts.
///
/// # Errors
/// [`Error::NothingToAbandon`], and when archive or cluster cannot be read or changed.
pub async fn run(config: &Checked, id: &RestoreId, stop: &Stop) -> Result<RestoreReport, Error> {
    let started_ms = now_ms();
    let repository = Repository::open(&config.config.storage).await?;
    let archive = match &config.which {
        WhichBackup::Id(backup) => repository.find(backup).await?.0,
        WhichBackup::Of(name, _) | WhichBackup::NewestOf(name) | WhichBackup::Reaching(name, _) => {
            repository.archive(name).await?
        }
    };
    let breaker = Breaker::new("brokers", config.config.cluster.circuit_breaker);
    let cluster = tokio::select! {
        connected = Cluster::connect(&config.config.cluster, breaker) => connected?,
        () = stop.wait() => return Err(Error::Interrupted),
    };
    let journal = Journal::new(archive.store.clone(), &archive.keys, id.clone());
    let holder = Holder::current(id.as_str());
    let lease =
        Lease::acquire(&archive.store, &journal.lease(), holder, LEASE_TTL_MS, WaitPolicy::UpTo(LEASE_WAIT_MS)).await?;
    let abandoned = abandon(&archive, &cluster, &journal, &lease, started_ms).await;
    if let Err(error) = lease.release().await {
        tracing::warn!("the lease of the restore could not be released and has to expire: {error}");
    }
    abandoned
}

async fn abandon(
    archive: &Archive,
    cluster: &Cluster,
    journal: &Journal,
    lease: &Lease,
    started_ms: i64,
) -> Result<RestoreReport, Error> {
    let nothing = || Error::NothingToAbandon { id: journal.id.clone(), archive: archive.name.clone() };
    let target_cluster_id = cluster.cluster_id().unwrap_or_default();
    let intent: Intent = journal.begun().await?.ok_or_else(nothing)?;
    if intent.request.target_cluster_id != target_cluster_id || journal.done().await?.is_some() {
        return Err(nothing());
    }
    let mut warnings = Vec::new();
    if let Some(prepared) = journal.prepared().await? {
        let names: Vec<String> = prepared.topics.iter().map(|topic| topic.target.clone()).collect();
        let metadata = cluster.metadata(Some(&names)).await?;
        let ids: BTreeMap<_, _> = metadata.topics.values().map(|topic| (topic.name.clone(), topic.id)).collect();
        let changed = prepared.changed(&ids);
        let ours: Vec<&PreparedTopic> =
            prepared.topics.iter().filter(|topic| !changed.contains(&topic.target.as_str())).collect();
        lease.check().await?;
        protection::put_back(cluster, &ours).await?;
        warnings.extend(
            changed.iter().map(|topic| format!("topic {topic:?} is not the one of the restore: it is left as it is")),
        );
        warnings.extend(ours.iter().map(|topic| {
            format!("topic {:?} has its settings back; it may hold a part of the restored records", topic.target)
        }));
    }
    journal.write_abandoned(Abandoned { at_ms: now_ms() }).await?;
    Ok(RestoreReport {
        outcome: Outcome::Abandoned,
        restore_id: journal.id.clone(),
        backup_id: intent.request.backup_id,
        archive: archive.name.clone(),
        target_cluster_id,
        already_restored: false,
        duration_ms: now_ms() - started_ms,
        records: 0,
        bytes: 0,
        topics: Vec::new(),
        groups: Vec::new(),
        plan: None,
        problems: Vec::new(),
        warnings,
    })
}
