//! Ends a restore that is not to be completed: its topics get their own settings back, and it is never resumed.

use uuid::Uuid;

use super::journal::{Abandoned, CreatedTopics, Intent, Journal, Prepared};
use super::others::Claims;
use super::own_settings::{self, OwnSettings};
use super::target::{self, CONFIRM_EVERY, CONFIRMATIONS};
use super::{Error, LEASE_TTL_MS, LEASE_WAIT_MS, Outcome, RestoreReport, others};
use crate::breaker::Breaker;
use crate::clock::now_ms;
use crate::config::restore::{Checked, WhichBackup};
use crate::format::layout::RestoreId;
use crate::kafka::Cluster;
use crate::kafka::topics::ConfigEntry;
use crate::repository::{self, Archive, Repository};
use crate::stop::Stop;
use crate::store::lease::{Holder, Lease, WaitPolicy};

/// Gives the topics of a restore the settings that they would have at its end, and marks its journal, so that no run resumes
/// it. Records that it has written stay, and so does every setting that somebody else has changed since. It waits for a run of
/// the restore that is at work, as long as a lease lasts. A restore that is complete is left alone: its topics have had their
/// own settings since, and whatever their owners have chosen after that.
///
/// # Errors
/// [`Error::NothingToAbandon`], and when archive or cluster cannot be read or changed.
pub async fn run(config: &Checked, id: &RestoreId, stop: &Stop) -> Result<RestoreReport, Error> {
    let started_ms = now_ms();
    let repository = Repository::open(&config.config.storage).await?;
    let archive = match &config.which {
        WhichBackup::Id(backup) => match repository.find(backup).await {
            Err(repository::Error::NoBackup { .. }) => {
                return Err(Error::AbandonNeedsArchive { backup: backup.clone() });
            }
            found => found?.0,
        },
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
    let holder = holder(id);
    let lease =
        Lease::acquire(&archive.store, &journal.lease(), holder, LEASE_TTL_MS, WaitPolicy::UpTo(LEASE_WAIT_MS)).await?;
    let abandoned = abandon(&archive, &cluster, &journal, &lease, started_ms).await;
    if let Err(error) = lease.release().await {
        tracing::warn!("the lease of the restore could not be released and has to expire: {error}");
    }
    abandoned
}

/// Another holder than a run of the restore: the lease of an earlier start of the same run would be taken at once, while that
/// run may be at work on another machine.
fn holder(id: &RestoreId) -> Holder {
    Holder::current(&format!("abandon {id}"))
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
    if intent.request.target_cluster_id != target_cluster_id {
        return Err(nothing());
    }
    let warnings = if journal.done().await?.is_some() {
        vec![format!("restore {} is complete: nothing was changed", journal.id)]
    } else if journal.is_abandoned().await? {
        // What its topics have now, they were given since.
        vec![format!("restore {} was abandoned before: nothing was changed", journal.id)]
    } else {
        let warnings = match journal.prepared().await? {
            Some(prepared) => written_to(cluster, journal, &prepared, lease).await?,
            None => {
                let owners = Owners::read(archive, journal).await?;
                only_created(cluster, &intent, &owners, lease).await?
            }
        };
        journal.write_abandoned(Abandoned { at_ms: now_ms() }).await?;
        warnings
    };
    lease.check().await?;
    journal.close(&intent.request.backup_id).await?;
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

/// The topics of a restore that may have written records.
async fn written_to(
    cluster: &Cluster,
    journal: &Journal,
    prepared: &Prepared,
    lease: &Lease,
) -> Result<Vec<String>, Error> {
    let changed = target::changed(cluster, prepared).await?;
    let settings = journal.settings().await?;
    let ours = prepared.topics.iter().filter(|topic| !changed.contains(&topic.target));
    let ours: Vec<OwnSettings> = ours.map(|topic| OwnSettings::new(topic, &settings)).collect();
    let mut warnings: Vec<String> = changed
        .iter()
        .map(|topic| format!("topic {topic:?} is not the one of the restore: it is left as it is"))
        .collect();
    warnings.extend(own_settings::put_back(cluster, &ours, lease).await?);
    warnings.extend(ours.iter().map(|topic| {
        format!("topic {:?} has its own settings; it may hold a part of the restored records", topic.topic())
    }));
    Ok(warnings)
}

/// The topics of a restore that ended before it could write: it has created or replaced some of them.
async fn only_created(
    cluster: &Cluster,
    intent: &Intent,
    owners: &Owners,
    lease: &Lease,
) -> Result<Vec<String>, Error> {
    let Created { topics, others, lost } = created(cluster, intent, owners).await?;
    let mut warnings = own_settings::put_back(cluster, &topics, lease).await?;
    warnings.extend(others.iter().map(Other::text));
    warnings.extend(
        topics
            .iter()
            .map(|topic| format!("topic {:?} was created by the restore, and has its own settings", topic.topic())),
    );
    warnings.extend(lost.iter().map(|topic| {
        format!("topic {topic:?} was deleted to be overwritten, and not created again: only the backup has its records")
    }));
    Ok(warnings)
}

/// Which topics a restore has created, and which are those of other restores of the archive.
#[derive(Debug, Default)]
pub struct Owners {
    created: CreatedTopics,
    others: Claims,
}

impl Owners {
    /// As the journals say.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub async fn read(archive: &Archive, journal: &Journal) -> Result<Self, Error> {
        let created = journal.created().await?;
        Ok(Self { created, others: others::claims(archive, &journal.id).await? })
    }

    /// Whether somebody else has created the topic that has this name and id now. A run that was killed before it could write down what it
    /// had created is known by the settings only. Two journals may both say that they have created a topic: after a request without an
    /// answer, a topic that is there counts as created. Then nobody knows whose it is.
    fn is_of_another(&self, topic: &str, id: Uuid) -> bool {
        match self.created.ids.get(topic) {
            Some(ours) => *ours != id || self.others.created.contains(&id),
            None => self.others.contains(id),
        }
    }

    /// Whether the topic belongs to another restore, which gives it its own settings in the end.
    fn is_of_another_restore(&self, topic: &str, id: Uuid) -> bool {
        self.others.contains(id) && self.created.ids.get(topic) != Some(&id)
    }
}

/// What a restore that ended before it could write has done to the target.
#[derive(Debug, Default)]
pub struct Created {
    /// The settings of those topics that it has created or replaced.
    pub topics: Vec<OwnSettings>,
    /// Topics that are there in the place of those, and have other settings.
    pub others: Vec<Other>,
    /// Topics that it has deleted and not created again.
    pub lost: Vec<String>,
}

/// A topic that another restore or client created, or whose settings were changed after the restore created it.
#[derive(Debug)]
pub struct Other {
    topic: String,
    /// Whether its id says that another has created it.
    is_of_another: bool,
    /// Those settings that it has as the restore sets them while data flows, unless another restore takes them away.
    protective: Vec<String>,
}

impl Other {
    /// Whether the topic may keep settings of a restore.
    pub fn is_protected(&self) -> bool {
        !self.protective.is_empty()
    }

    /// What is to be said of it, in one line.
    pub fn text(&self) -> String {
        let Self { topic, is_of_another, protective } = self;
        let left = match *is_of_another {
            true => {
                format!("topic {topic:?} is there, and another restore or client has created it: it is left as it is")
            }
            false => format!(
                "topic {topic:?} is there with other settings than the restore creates it with, by another client or its owner: it is left \
                 as it is"
            ),
        };
        match protective.is_empty() {
            true => left,
            false => format!("{left}, with {} as a restore sets it: see whether that is wanted", protective.join(", ")),
        }
    }
}

/// Finds out what a restore that ended before it could write has done.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn created(cluster: &Cluster, intent: &Intent, owners: &Owners) -> Result<Created, Error> {
    let names: Vec<String> = intent.actions.keys().cloned().collect();
    let mut ids = target::ids(cluster, &names).await?;
    for _ in 1..CONFIRMATIONS {
        if intent.created(&ids).1.is_empty() {
            break;
        }
        // A topic that was created just now is not known to every broker.
        tokio::time::sleep(CONFIRM_EVERY).await;
        ids = target::ids(cluster, &names).await?;
    }
    let (there, gone) = intent.created(&ids);
    let mut entries = cluster.topic_configs(&there.iter().map(|topic| (*topic).to_owned()).collect(), None).await;
    let mut created = Created { lost: gone.into_iter().map(str::to_owned).collect(), ..Created::default() };
    for topic in there {
        let id = ids.get(topic).copied().unwrap_or_default();
        let entries = match entries.remove(topic).ok_or_else(|| Error::lacks("DescribeConfigs", topic))? {
            Ok(entries) => entries,
            // Nothing is changed on it, whatever its settings are.
            Err(_) if owners.is_of_another(topic, id) => Vec::new(),
            Err(error) => return Err(Error::Topic { topic: topic.to_owned(), error: Box::new(error) }),
        };
        match whose(topic, id, intent, owners, &entries) {
            Ok(settings) => created.topics.push(settings),
            Err(other) => created.others.push(other),
        }
    }
    Ok(created)
}

/// The settings of a topic that the restore has created, going by its id and settings now; or what it is otherwise.
fn whose(
    topic: &str,
    id: Uuid,
    intent: &Intent,
    owners: &Owners,
    entries: &[ConfigEntry],
) -> Result<OwnSettings, Other> {
    let settings = OwnSettings::of_intent(topic, intent);
    let protective = match &settings {
        Some(settings) if !owners.is_of_another_restore(topic, id) => settings.protective(entries),
        Some(_) | None => Vec::new(),
    };
    let is_of_another = owners.is_of_another(topic, id);
    let is_ours = !is_of_another && OwnSettings::is_as_created(topic, intent, entries);
    settings.filter(|_| is_ours).ok_or_else(|| Other { topic: topic.to_owned(), is_of_another, protective })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::ConfigSource;
    use crate::store::lease::{LeaseRecord, Liveness, Verdict, judge};

    #[test]
    fn a_topic_is_of_another_where_its_id_says_so_and_not_where_nothing_is_known_of_it() {
        let id = Uuid::from_u128;
        let created = CreatedTopics { ids: [("ours".to_owned(), id(1)), ("of-two".to_owned(), id(5))].into() };
        let others = Claims { created: [id(2), id(5)].into(), written_to: [id(1), id(6)].into() };
        let owners = Owners { created, others };
        assert!(!owners.is_of_another("ours", id(1)), "another restore may append to it");
        assert!(owners.is_of_another("ours", id(3)), "it was created again");
        assert!(owners.is_of_another("never-created", id(2)) && owners.is_of_another("never-created", id(6)));
        assert!(!owners.is_of_another("killed", id(4)), "its creation was not written down");
        assert!(owners.is_of_another("of-two", id(5)), "two restores say that they have created it");
    }

    #[test]
    fn protective_settings_of_a_topic_that_is_left_alone_are_named_unless_another_restore_takes_them_away() {
        let id = Uuid::from_u128;
        let intent: Intent = serde_json::from_value(serde_json::json!({
            "request": {
                "backupId": "b", "targetClusterId": "c", "topics": {}, "pointInTimeMs": null, "startMs": null,
                "originalOffsetHeader": null
            },
            "actions": { "t": "create" }, "overwritten": {},
            "settings": { "t": { "meanwhile": { "retention.ms": "-1" }, "after": { "retention.ms": "1000" } } }
        }))
        .unwrap();
        let entry = ConfigEntry {
            name: "retention.ms".to_owned(),
            value: Some("-1".to_owned()),
            source: ConfigSource::Topic,
            sensitive: false,
        };
        // The journal has an id of before the topic was deleted and created again.
        let created = CreatedTopics { ids: [("t".to_owned(), id(1))].into() };
        let mut owners = Owners { created, others: Claims::default() };
        let found = |id, owners: &Owners| whose("t", id, &intent, owners, std::slice::from_ref(&entry));
        assert_eq!(found(id(1), &owners).unwrap().topic(), "t");
        let stale = found(id(2), &owners).unwrap_err();
        assert!(stale.is_protected() && stale.text().contains("with retention.ms as a restore sets it"), "{stale:?}");
        owners.others.created.extend([id(1), id(2)]);
        assert!(!found(id(2), &owners).unwrap_err().is_protected(), "the other restore does");
        assert!(found(id(1), &owners).unwrap_err().is_protected(), "neither of the two does");
    }

    #[test]
    fn the_lease_of_a_run_on_another_machine_is_waited_for() {
        let id: RestoreId = "r1".parse().unwrap();
        let record = |holder| LeaseRecord {
            version: 1,
            holder,
            acquired_at_ms: 0,
            renewed_at_ms: 0,
            ttl_ms: LEASE_TTL_MS,
            released: false,
        };
        let running = record(Holder::current(id.as_str()));
        let verdict = |me: &Holder| judge(Some((1, &running)), me, 1_000, 0, |_| Liveness::Unknown);
        assert!(matches!(verdict(&holder(&id)), Verdict::WaitUntil(_)));
        assert_eq!(verdict(&Holder::current(id.as_str())), Verdict::Take { epoch: 2 }, "the same run, started again");
    }
}
