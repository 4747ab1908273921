//! Other restores of the archive that have not ended and hold settings of the same topics.
//!
//! A restore that appends to a topic takes the settings that it finds for those of the topic's owner, and puts them back in
//! the end. If they are the protective settings of a restore that was interrupted, the topic would keep them for ever.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use uuid::Uuid;

use super::Error;
use super::journal::{Intent, Journal, Prepared, PreparedTopic, TopicSettings};
use super::plan::Existing;
use crate::error::Kind;
use crate::format::layout::{ArchiveKeys, RestoreId};
use crate::repository::Archive;
use crate::store::REQUESTS_AT_ONCE;

/// What is known of other restores that hold topics.
#[derive(Debug, Default)]
pub struct Holding {
    /// Topics that have the settings of another restore, in one line each.
    pub refusals: Vec<String>,
    /// Restores of which that is not known, in one line each.
    pub warnings: Vec<String>,
}

/// Which of the topics have the settings of another restore that has not ended. One listing, and three small objects for each
/// restore of the archive that has not ended.
///
/// # Errors
/// When the archive cannot be read. A damaged journal of another restore is a warning.
pub async fn holding(
    archive: &Archive,
    own: &RestoreId,
    cluster_id: &str,
    topics: &BTreeMap<&str, &Existing>,
) -> Result<Holding, Error> {
    let mut holding = Holding::default();
    if topics.is_empty() {
        return Ok(holding);
    }
    let looked = unfinished(archive, own).await?.into_iter().map(|journal| one(journal, cluster_id, topics));
    let mut found = stream::iter(looked).buffered(REQUESTS_AT_ONCE);
    while let Some((id, held)) = found.next().await {
        match held {
            Ok(held) => holding.refusals.extend(held),
            Err(error) if error.kind() == Kind::Corrupt => holding
                .warnings
                .push(format!("it is not known which topics restore {id} holds, which has not ended: {error}")),
            Err(error) => return Err(error),
        }
    }
    drop(found);
    Ok(holding)
}

/// The journals of other restores of the archive that have not ended.
async fn unfinished(archive: &Archive, own: &RestoreId) -> Result<Vec<Journal>, Error> {
    let folder = archive.keys.unfinished_restores();
    let named = archive.store.list(&folder).await?;
    let ids = named.iter().filter_map(|object| ArchiveKeys::leaf(&folder, &object.key)?.parse().ok());
    let others = ids.filter(|id: &RestoreId| id != own);
    Ok(others.map(|id| Journal::new(archive.store.clone(), &archive.keys, id)).collect())
}

/// The ids of the topics of other restores; none from clusters without topic ids.
#[derive(Debug, Default)]
pub struct Claims {
    /// Topics that they have created, as their journals say.
    pub created: BTreeSet<Uuid>,
    /// Topics that they write to.
    pub written_to: BTreeSet<Uuid>,
}

impl Claims {
    /// Whether another restore has created this topic, or writes to it.
    pub fn contains(&self, id: Uuid) -> bool {
        self.created.contains(&id) || self.written_to.contains(&id)
    }
}

/// The ids of the topics of other restores of the archive that have not ended. One listing, and a small object or two for each of them.
///
/// # Errors
/// When the archive cannot be read. A damaged journal of another restore claims nothing.
pub async fn claims(archive: &Archive, own: &RestoreId) -> Result<Claims, Error> {
    let looked = unfinished(archive, own).await?.into_iter().map(|journal| async move { claims_of(&journal).await });
    let mut found = stream::iter(looked).buffered(REQUESTS_AT_ONCE);
    let mut claims = Claims::default();
    while let Some(one) = found.next().await {
        match one {
            Ok(Claims { created, written_to }) => {
                claims.created.extend(created);
                claims.written_to.extend(written_to);
            }
            Err(error) if error.kind() == Kind::Corrupt => tracing::warn!("another restore is not looked at: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(claims)
}

async fn claims_of(journal: &Journal) -> Result<Claims, Error> {
    let created = journal.created().await?.ids.into_values().filter(|id| !id.is_nil()).collect();
    let prepared = journal.prepared().await?;
    let topics = prepared.iter().flat_map(|prepared| &prepared.topics).map(|topic| topic.topic_id);
    let written_to = topics.filter(|id| !id.is_nil()).collect();
    Ok(Claims { created, written_to })
}

async fn one(
    journal: Journal,
    cluster_id: &str,
    topics: &BTreeMap<&str, &Existing>,
) -> (RestoreId, Result<Vec<String>, Error>) {
    let held = held_by(&journal, cluster_id, topics).await;
    (journal.id, held)
}

async fn held_by(
    journal: &Journal,
    cluster_id: &str,
    topics: &BTreeMap<&str, &Existing>,
) -> Result<Vec<String>, Error> {
    // It may have ended just before it would have said so.
    if journal.done().await?.is_some() || journal.is_abandoned().await? {
        return Ok(Vec::new());
    }
    let Some(intent) = journal.begun().await?.filter(|intent| intent.request.target_cluster_id == cluster_id) else {
        return Ok(Vec::new());
    };
    let held: Vec<String> = match journal.prepared().await? {
        Some(prepared) => held(&prepared, topics),
        // It may have ended after it had created topics, and before it could write.
        None => held_since_creation(&intent, topics),
    };
    let id = &journal.id;
    let text = |topic: String| {
        format!(
            "topic {topic:?} has the settings of restore {id}, which has not ended: run that restore again to complete it, or \
             give the topic its own settings with restore --abandon {id}, first"
        )
    };
    Ok(held.into_iter().map(text).collect())
}

/// Those topics that are the ones of a restore and have a protective setting of it.
fn held(prepared: &Prepared, topics: &BTreeMap<&str, &Existing>) -> Vec<String> {
    let is_held = |topic: &&PreparedTopic| {
        topics.get(topic.target.as_str()).is_some_and(|existing| {
            existing.id == topic.topic_id && is_protected(existing, &topic.configs_meanwhile, &topic.configs_after)
        })
    };
    prepared.topics.iter().filter(is_held).map(|topic| topic.target.clone()).collect()
}

/// Those topics that a restore may have created and that have a protective setting of it.
fn held_since_creation(intent: &Intent, topics: &BTreeMap<&str, &Existing>) -> Vec<String> {
    let is_held = |(topic, settings): &(&String, &TopicSettings)| {
        topics.get(topic.as_str()).is_some_and(|existing| {
            let is_new = intent.overwritten.get(*topic) != Some(&existing.id);
            is_new && is_protected(existing, &settings.meanwhile, &settings.after)
        })
    };
    intent.settings.iter().filter(is_held).map(|(topic, _)| topic.clone()).collect()
}

fn is_protected(
    existing: &Existing,
    meanwhile: &BTreeMap<String, String>,
    after: &BTreeMap<String, Option<String>>,
) -> bool {
    meanwhile.iter().any(|(name, ours)| {
        existing.configs.get(name) == Some(ours) && after.get(name).and_then(Option::as_ref) != Some(ours)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::kafka::permissions::Operations;

    #[test]
    fn a_topic_is_held_while_it_has_a_setting_that_it_does_not_have_in_the_end() {
        let text = |value: &str| value.to_owned();
        let prepared = Prepared {
            producer_id: 1,
            producer_epoch: 0,
            joined_records_bytes: None,
            boundary_rules: 2,
            topics: vec![PreparedTopic {
                target: text("t"),
                topic_id: Uuid::from_u128(1),
                max_batch_bytes: 1,
                base_offsets: vec![0],
                configs_meanwhile: [(text("a"), text("x")), (text("retention.ms"), text("-1"))].into(),
                configs_after: [(text("a"), Some(text("x"))), (text("retention.ms"), None)].into(),
            }],
        };
        let is_held = |id: u128, configs: &[(&str, &str)]| {
            let existing = Existing {
                id: Uuid::from_u128(id),
                internal: false,
                partitions: 1,
                replicas: 1,
                is_empty: false,
                end_offsets: vec![1],
                min_insync_replicas: 1,
                max_message_bytes: 1,
                configs: configs.iter().map(|(name, value)| (text(name), text(value))).collect(),
                effective: BTreeMap::new(),
                operations: Operations::NOT_TOLD,
            };
            !held(&prepared, &[("t", &existing)].into()).is_empty()
        };
        assert!(is_held(1, &[("retention.ms", "-1")]));
        assert!(!is_held(2, &[("retention.ms", "-1")]), "a namesake");
        assert!(!is_held(1, &[("a", "x")]), "it has this one in the end too");
        assert!(!is_held(1, &[("retention.ms", "5")]) && !is_held(1, &[]));
    }
}
