//! What a run that ends early leaves behind, and what it says of it.

use std::time::Duration;

use tokio::time::timeout;

use super::abandon::{self, Created, Other};
use super::error::listed;
use super::journal::{Journal, Prepared, PreparedTopic};
use super::own_settings::{self, OwnSettings};
use super::plan::{self, TopicPlan};
use super::{Error, Planned, Restore, is_kept, target};
use crate::error::Kind;
use crate::format::layout::RestoreId;
use crate::store::lease::Lease;

/// How long brokers may take to say which topics have the settings of a restore: a run that was asked to end has little time.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);

impl Restore<'_> {
    /// The error of a run that ends early, with what the run leaves behind. A failure that the same command may not overcome gives
    /// topics that were there before their own settings back, where all that was written survives under them: the same command can
    /// still complete the restore.
    pub(super) async fn left(&self, error: Error, planned: &Planned, journal: &Journal, lease: &Lease) -> Error {
        let is_resumed = matches!(error.kind(), Kind::Unavailable | Kind::Interrupted);
        if !is_resumed && let Err(error) = self.put_back_early(planned, journal, lease).await {
            // They are among those that are named.
            tracing::warn!("topics could not be given their own settings: {error}");
        }
        self.left_by_any_run(error, journal).await
    }

    /// The error of a run that ends, with what it or an earlier run of the restore leaves behind. Nothing is changed: without the
    /// lease, another run may be at work.
    pub(super) async fn left_by_any_run(&self, error: Error, journal: &Journal) -> Error {
        let left = async {
            match (journal.done().await?, journal.prepared().await?) {
                // Its topics have had their own settings since it ended.
                (Some(_), _) => Ok(None),
                (None, Some(prepared)) => self.left_protected(&error, &prepared, journal).await,
                (None, None) => self.left_created(journal).await,
            }
        };
        match left.await {
            Ok(Some(left)) => Error::Left { error: Box::new(error), left },
            Ok(None) => error,
            Err(unknown) => {
                tracing::warn!("it is not known what the restore leaves behind: {unknown}");
                error
            }
        }
    }

    /// Topics that have the settings of a restore, of one that may have written records.
    async fn left_protected(
        &self,
        error: &Error,
        prepared: &Prepared,
        journal: &Journal,
    ) -> Result<Option<String>, Error> {
        let settings = journal.settings().await?;
        // Brokers may be away: then topics are named that may have these settings.
        let changed = timeout(LOOK_PATIENCE, target::changed(&self.cluster, prepared)).await;
        let changed = changed.map_or(Vec::new(), Result::unwrap_or_default);
        let is_ours = |topic: &&PreparedTopic| !changed.contains(&topic.target);
        let topics = prepared.topics.iter().filter(|topic| !topic.configs_meanwhile.is_empty()).filter(is_ours);
        let topics: Vec<&PreparedTopic> = topics.collect();
        let own = topics.iter().map(|topic| OwnSettings::new(topic, &settings)).collect();
        let looked = timeout(LOOK_PATIENCE, own_settings::protective(&self.cluster, own)).await;
        let left = looked.unwrap_or_else(|_| topics.iter().map(|topic| topic.target.clone()).collect());
        Ok(settings_left(&left, &journal.id, error.is_final()))
    }

    /// Gives kept topics their settings back in which nothing can be lost by it.
    async fn put_back_early(&self, planned: &Planned, journal: &Journal, lease: &Lease) -> Result<(), Error> {
        let Planned { plan, facts, .. } = planned;
        let prepared = match journal.done().await? {
            Some(_) => None,
            None => journal.prepared().await?,
        };
        let Some(prepared) = prepared else { return Ok(()) };
        let changed = target::changed(&self.cluster, &prepared).await?;
        let is_ours = |topic: &TopicPlan| is_kept(topic) && !changed.contains(&topic.target);
        let topics = || plan.topics.iter().zip(&prepared.topics).filter(|(topic, _)| is_ours(topic));
        let landed = target::landed(&self.cluster, &topics().map(|(_, prepared)| prepared).collect::<Vec<_>>()).await?;
        let mut settings = journal.settings().await?;
        let is_safe = |topic: &&PreparedTopic| {
            let own = OwnSettings::new(topic, &settings);
            let survives = || plan::protection::survives(&topic.target, own.after(), facts);
            !topic.configs_meanwhile.is_empty() && (!landed.contains(&topic.target) || survives())
        };
        let safe: Vec<&PreparedTopic> = topics().map(|(_, prepared)| prepared).filter(is_safe).collect();
        if safe.is_empty() {
            return Ok(());
        }
        lease.check().await?;
        // Before they are changed: the next run must not take it for the doing of another program.
        settings.put_back.extend(safe.iter().map(|topic| topic.target.clone()));
        journal.write_settings(&settings).await?;
        let own: Vec<OwnSettings> = safe.into_iter().map(|topic| OwnSettings::new(topic, &settings)).collect();
        own_settings::put_back(&self.cluster, &own, lease).await.map(drop)
    }

    /// What a restore leaves behind that ends before it could write: topics that it has created or replaced, with the settings of a
    /// restore.
    async fn left_created(&self, journal: &Journal) -> Result<Option<String>, Error> {
        let Some(intent) = journal.begun().await? else { return Ok(None) };
        let Created { topics, others, lost } = abandon::created(&self.cluster, &intent).await?;
        let held = own_settings::protective(&self.cluster, topics).await;
        let mut left: Vec<String> = settings_left(&held, &journal.id, false).into_iter().collect();
        left.extend(others.iter().filter(|other| other.is_protected()).map(Other::text));
        if !lost.is_empty() {
            left.push(format!(
                "deleted and not created again: {}; the same command creates and restores them",
                listed(&lost)
            ));
        }
        Ok((!left.is_empty()).then(|| left.join("; ")))
    }
}

/// Which topics have the settings of a restore, and how to finish.
fn settings_left(topics: &[String], id: &RestoreId, is_final: bool) -> Option<String> {
    let finish = match is_final {
        true => format!("until restore --abandon {id} gives them their own settings"),
        false => format!("until the same command completes it or restore --abandon {id} gives them their own settings"),
    };
    (!topics.is_empty()).then(|| {
        format!("topics that keep the settings of a restore, such as no retention: {}, {finish}", listed(topics))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_finish_is_said_of_topics_that_keep_the_settings_of_a_restore() {
        let id: RestoreId = "r".parse().unwrap();
        let topics = ["a".to_owned(), "b".to_owned()];
        assert_eq!(settings_left(&[], &id, false), None);
        let text = settings_left(&topics, &id, false).unwrap();
        assert!(
            text.contains("2 (a, b)") && text.contains("the same command completes it or restore --abandon r"),
            "{text}"
        );
        let text = settings_left(&topics, &id, true).unwrap();
        assert!(!text.contains("the same command") && text.contains("restore --abandon r"), "{text}");
    }
}
