//! What a run that ends early leaves behind, and what it says of it.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::abandon::{self, Other, Owners};
use super::error::listed;
use super::journal::{Intent, Journal, Prepared, PreparedTopic, Settings};
use super::own_settings::{self, OwnSettings};
use super::plan::{self, TopicPlan};
use super::{Error, Planned, Restore, is_kept, target};
use crate::error::Kind;
use crate::format::layout::RestoreId;
use crate::store::lease::Lease;

/// How long archive and brokers may take to say which topics have the settings of a restore: a run that was asked to end has little
/// time.
const LOOK_PATIENCE: Duration = Duration::from_secs(6);
/// How much of that the archive may take.
const ARCHIVE_PATIENCE: Duration = Duration::from_secs(2);

/// The topics that a restore may have left changed, as its journal has them.
#[derive(Debug, Clone)]
pub(super) enum Touched {
    /// None: it has not begun, or its topics have had their own settings since it ended or was abandoned.
    None,
    /// It may have created or replaced some of these, and written nothing.
    Created(Intent),
    /// It may have written to these, under protective settings.
    Protected(Prepared, Settings),
}

impl Touched {
    /// As these parts of a journal say.
    pub(super) fn new(is_done: bool, intent: Option<&Intent>, prepared: Option<&Prepared>) -> Self {
        match (is_done, prepared, intent) {
            (true, ..) | (false, None, None) => Self::None,
            (false, Some(prepared), _) => Self::Protected(prepared.clone(), Settings::default()),
            (false, None, Some(intent)) => Self::Created(intent.clone()),
        }
    }

    pub(super) async fn read(journal: &Journal) -> Result<Self, Error> {
        if journal.done().await?.is_some() || journal.is_abandoned().await? {
            return Ok(Self::None);
        }
        if let Some(prepared) = journal.prepared().await? {
            return Ok(Self::Protected(prepared, journal.settings().await?));
        }
        Ok(journal.begun().await?.map_or(Self::None, Self::Created))
    }
}

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
        let deadline = Instant::now() + LOOK_PATIENCE;
        let touched = match timeout(ARCHIVE_PATIENCE, Touched::read(journal)).await {
            Ok(Ok(touched)) => touched,
            Ok(Err(error)) => {
                tracing::warn!("what the restore leaves behind is said as of the last answer of the archive: {error}");
                self.last_touched()
            }
            Err(_) => {
                tracing::warn!("what the restore leaves behind is said as of the last answer of the archive");
                self.last_touched()
            }
        };
        let left = match touched {
            Touched::None => None,
            Touched::Created(intent) => self.left_created(&intent, journal, deadline).await,
            Touched::Protected(prepared, settings) => {
                let left = self.left_protected(&prepared, &settings, deadline).await;
                settings_left(&left, &journal.id, error.is_final())
            }
        };
        match left {
            Some(left) => Error::Left { error: Box::new(error), left },
            None => error,
        }
    }

    /// Remembers what the journal says of the topics that may be left changed.
    pub(super) fn has_touched(&self, touched: Touched) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = touched;
    }

    fn last_touched(&self) -> Touched {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why nothing may be written by another restore while this one, whose topics are not all the same any more, has left its settings
    /// on others.
    pub(super) async fn not_given_back(&self, journal: &Journal) -> Result<Option<String>, Error> {
        let Touched::Protected(prepared, settings) = Touched::read(journal).await? else { return Ok(None) };
        let left = self.left_protected(&prepared, &settings, Instant::now() + LOOK_PATIENCE).await;
        Ok((!left.is_empty()).then(|| {
            format!(
                "restore {id} has not ended, and topics keep its settings, such as no retention: {}: give them their own settings with \
                 restore --abandon {id} first",
                listed(&left),
                id = journal.id
            )
        }))
    }

    /// Topics that have the settings of a restore, of one that may have written records. Where brokers are away, all that may have
    /// them.
    async fn left_protected(&self, prepared: &Prepared, settings: &Settings, deadline: Instant) -> Vec<String> {
        let changed = timeout_at(deadline, target::changed(&self.cluster, prepared)).await;
        let changed = changed.map_or(Vec::new(), Result::unwrap_or_default);
        let is_ours = |topic: &&PreparedTopic| !changed.contains(&topic.target);
        let topics = prepared.topics.iter().filter(|topic| !topic.configs_meanwhile.is_empty()).filter(is_ours);
        let topics: Vec<&PreparedTopic> = topics.collect();
        let own = topics.iter().map(|topic| OwnSettings::new(topic, settings)).collect();
        let looked = timeout_at(deadline, own_settings::protective(&self.cluster, own)).await;
        looked.unwrap_or_else(|_| topics.iter().map(|topic| topic.target.clone()).collect())
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
    async fn left_created(&self, intent: &Intent, journal: &Journal, deadline: Instant) -> Option<String> {
        let id = &journal.id;
        let looked = async {
            // Without an answer of the archive, the settings of topics say whose they are.
            let owners = timeout(ARCHIVE_PATIENCE, Owners::read(&self.archive, journal)).await;
            let owners = owners.ok().and_then(Result::ok).unwrap_or_default();
            let created = abandon::created(&self.cluster, intent, &owners).await?;
            let held = own_settings::protective(&self.cluster, created.topics).await;
            Ok::<_, Error>((held, created.others, created.lost))
        };
        let Ok(Ok((held, others, lost))) = timeout_at(deadline, looked).await else {
            return unknown_left(&intent.new_topics().map(str::to_owned).collect::<Vec<_>>(), id);
        };
        let mut left: Vec<String> = settings_left(&held, id, false).into_iter().collect();
        left.extend(others.iter().filter(|other| other.is_protected()).map(Other::text));
        if !lost.is_empty() {
            left.push(format!(
                "deleted and not created again: {}; the same command creates and restores them",
                listed(&lost)
            ));
        }
        (!left.is_empty()).then(|| left.join("; "))
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

/// Topics that a restore may have created or replaced, when brokers do not say which, and how to finish.
fn unknown_left(topics: &[String], id: &RestoreId) -> Option<String> {
    (!topics.is_empty()).then(|| {
        format!(
            "brokers did not say which of these topics the restore has created or replaced, with the settings of a restore such as no \
             retention: {}; the same command completes it, and restore --abandon {id} gives them their own settings",
            listed(topics)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_brokers_say_nothing_of_are_named_with_how_to_finish() {
        let id: RestoreId = "r".parse().unwrap();
        assert_eq!(unknown_left(&[], &id), None);
        let text = unknown_left(&["a".to_owned(), "b".to_owned()], &id).unwrap();
        assert!(text.contains("2 (a, b)") && text.contains("restore --abandon r"), "{text}");
    }

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
