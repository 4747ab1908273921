//! Holds the protective settings of topics while records are written, against other programs that manage configurations.
//!
//! Strimzi's Topic Operator sets every managed topic back to what its KafkaTopic says, every two minutes by default; other
//! tools do the same. So the settings are read again while data flows and before the restore ends. A reversal that shows in
//! the log when it has done harm (records were swept) is undone once; a second one, and any that could change records without
//! a trace, ends the restore.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use super::journal::{Prepared, PreparedTopic};
use super::topics::set;
use crate::kafka::Cluster;
use crate::kafka::topics::{ConfigChange, ConfigEntry, overrides};

/// The first looks come soon, since a reversal does the least harm then; later ones this far apart at most.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Brokers learn of a change a moment after the controller has made it, and until then show the value of before. So a
/// difference counts only when it has been seen this often, so far apart.
const CONFIRMATIONS: u32 = 3;
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// How long brokers may take to show a change.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// One topic whose settings are held.
#[derive(Debug, Clone)]
struct Held {
    topic: String,
    wanted: BTreeMap<String, String>,
    /// Whether the topic is compacted in the end: then the log cleaner takes nothing that it would not take anyway.
    is_compacted_in_the_end: bool,
}

/// A setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    setting: String,
    wanted: String,
    found: String,
}

/// The protective settings of all topics of a restore.
pub struct Protection {
    cluster: Cluster,
    held: Vec<Held>,
    /// Topics and settings that were set back and set again.
    reverted: Mutex<BTreeSet<(String, String)>>,
}

impl Protection {
    /// The settings that a restore has prepared.
    pub fn new(cluster: &Cluster, prepared: &Prepared) -> Self {
        let held = prepared.topics.iter().filter(|topic| !topic.configs_meanwhile.is_empty());
        Self { cluster: cluster.clone(), held: held.map(Held::new).collect(), reverted: Mutex::default() }
    }

    /// Sets what differs, on created and existing topics alike, and reads it again: a topic that another client has created
    /// has settings of its own.
    ///
    /// # Errors
    /// What the cluster refuses, by topic, and [`Error::Reverted`] when a setting does not hold even now.
    pub async fn hold(&self) -> Result<(), Error> {
        let differences = self.differences_of(&self.held.iter().collect::<Vec<_>>()).await?;
        self.set(&differences).await
    }

    /// Looks again and again, and ends when the settings cannot be held.
    pub async fn watch(&self) -> Error {
        let mut pause = FIRST_LOOK;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_EVERY_MAX);
            match self.look().await {
                Ok(()) => {}
                // Brokers that do not answer now are asked again; the last look must succeed.
                Err(error) if error.kind() == crate::error::Kind::Unavailable => {
                    tracing::warn!("the settings of the topics could not be read again: {error}");
                }
                Err(error) => return error,
            }
        }
    }

    /// Reads the settings again, and undoes a first reversal.
    ///
    /// # Errors
    /// [`Error::Reverted`], and when the cluster cannot be asked.
    pub async fn look(&self) -> Result<(), Error> {
        let differences = self.confirmed_differences().await?;
        for (topic, differences) in &differences {
            let Some(held) = self.held.iter().find(|held| held.topic == *topic) else { continue };
            for difference in differences {
                let is_first = lock(&self.reverted).insert((topic.clone(), difference.setting.clone()));
                if !may_be_undone(held, difference, is_first) {
                    return Err(reverted(topic, difference.clone()));
                }
                tracing::warn!(
                    topic,
                    setting = difference.setting,
                    found = difference.found,
                    "another program has set a setting of the restore back: it is set again"
                );
            }
        }
        self.set(&differences).await
    }

    /// What was set back and set again, in one line each.
    pub fn warnings(&self) -> Vec<String> {
        let reverted = lock(&self.reverted);
        let text = |(topic, setting): &(String, String)| {
            format!(
                "topic {topic:?}: another program set {setting} back while the restore ran, and the restore set it again; no \
                 record was lost by it"
            )
        };
        reverted.iter().map(text).collect()
    }

    /// Sets what differs, and waits until brokers show it.
    async fn set(&self, differences: &BTreeMap<String, Vec<Difference>>) -> Result<(), Error> {
        let of_topic = |differences: &Vec<Difference>| {
            set(&differences.iter().map(|difference| (difference.setting.clone(), difference.wanted.clone())).collect())
        };
        change(&self.cluster, differences.iter().map(|(topic, found)| (topic.clone(), of_topic(found))).collect())
            .await?;
        let deadline = Instant::now() + CHANGE_PATIENCE;
        let mut left = self.held_of(differences);
        while !left.is_empty() {
            let found = self.differences_of(&left).await?;
            left = self.held_of(&found);
            let Some((topic, difference)) = first(&found) else { break };
            if Instant::now() >= deadline {
                return Err(reverted(topic, difference.clone()));
            }
            tokio::time::sleep(CONFIRM_EVERY / 4).await;
        }
        Ok(())
    }

    fn held_of(&self, differences: &BTreeMap<String, Vec<Difference>>) -> Vec<&Held> {
        self.held.iter().filter(|held| differences.contains_key(&held.topic)).collect()
    }

    /// What differs now and did so each time when it was read again.
    async fn confirmed_differences(&self) -> Result<BTreeMap<String, Vec<Difference>>, Error> {
        let mut found = self.differences_of(&self.held.iter().collect::<Vec<_>>()).await?;
        for _ in 1..CONFIRMATIONS {
            if found.is_empty() {
                break;
            }
            tokio::time::sleep(CONFIRM_EVERY).await;
            found = self.differences_of(&self.held_of(&found)).await?;
        }
        Ok(found)
    }

    /// What differs now, by topic.
    async fn differences_of(&self, held: &[&Held]) -> Result<BTreeMap<String, Vec<Difference>>, Error> {
        let topics: BTreeSet<String> = held.iter().map(|held| held.topic.clone()).collect();
        let names: BTreeSet<&str> = held.iter().flat_map(|held| held.wanted.keys()).map(String::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let mut configs = self.cluster.topic_configs(&topics, Some(&names)).await;
        let mut differences = BTreeMap::new();
        for held in held {
            let entries = configs.remove(&held.topic).ok_or(Error::NoAnswer)?;
            let entries =
                entries.map_err(|error| Error::Topic { topic: held.topic.clone(), error: Box::new(error) })?;
            let found = held.differences(&entries);
            if !found.is_empty() {
                differences.insert(held.topic.clone(), found);
            }
        }
        Ok(differences)
    }
}

impl Held {
    fn new(topic: &PreparedTopic) -> Self {
        let policy = topic.configs_after.get("cleanup.policy").and_then(Option::as_deref);
        Self {
            topic: topic.target.clone(),
            wanted: topic.configs_meanwhile.clone(),
            is_compacted_in_the_end: policy.is_some_and(|policy| policy.contains("compact")),
        }
    }

    /// What the topic's configuration has otherwise. A setting that the cluster does not show says nothing.
    fn differences(&self, entries: &[ConfigEntry]) -> Vec<Difference> {
        let difference = |(setting, wanted): (&String, &String)| {
            let found = entries.iter().find(|entry| entry.name == *setting)?.value.clone()?;
            (found != *wanted).then(|| Difference { setting: setting.clone(), wanted: wanted.clone(), found })
        };
        self.wanted.iter().filter_map(difference).collect()
    }
}

fn first(differences: &BTreeMap<String, Vec<Difference>>) -> Option<(&String, &Difference)> {
    differences.iter().find_map(|(topic, differences)| Some((topic, differences.first()?)))
}

/// Whether a setting that was set back may be set again, and the restore go on: only if what happened meanwhile shows.
fn may_be_undone(held: &Held, difference: &Difference, is_first: bool) -> bool {
    let leaves_no_trace = match difference.setting.as_str() {
        "cleanup.policy" => difference.found.contains("compact") && !held.is_compacted_in_the_end,
        _ => false,
    };
    is_first && !leaves_no_trace
}

fn reverted(topic: &str, difference: Difference) -> Error {
    let Difference { setting, wanted, found } = difference;
    Error::Reverted { topic: topic.to_owned(), setting, wanted, found }
}

/// Gives topics the settings that they are to have in the end: `None` takes a setting off the topic. Only what differs is
/// changed.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn put_back(cluster: &Cluster, topics: &[&PreparedTopic]) -> Result<(), Error> {
    let names = topics.iter().filter(|topic| !topic.configs_after.is_empty()).map(|topic| topic.target.clone());
    let mut configs = cluster.topic_configs(&names.collect(), None).await;
    let mut changes = BTreeMap::new();
    for topic in topics {
        let Some(entries) = configs.remove(&topic.target) else { continue };
        let entries = entries.map_err(|error| Error::Topic { topic: topic.target.clone(), error: Box::new(error) })?;
        let own = overrides(&entries);
        let differs = topic.configs_after.iter().filter(|(name, value)| own.get(*name) != value.as_ref());
        let back = |value: &Option<String>| value.clone().map_or(ConfigChange::Delete, ConfigChange::Set);
        let differs: BTreeMap<_, _> = differs.map(|(name, value)| (name.clone(), back(value))).collect();
        if !differs.is_empty() {
            changes.insert(topic.target.clone(), differs);
        }
    }
    change(cluster, changes).await
}

async fn change(cluster: &Cluster, changes: BTreeMap<String, BTreeMap<String, ConfigChange>>) -> Result<(), Error> {
    for (name, changed) in cluster.alter_topic_configs(&changes, false).await {
        changed.map_err(|error| Error::Topic { topic: name, error: Box::new(error) })?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::ConfigSource;

    fn held(after: &str) -> Held {
        Held {
            topic: "t".to_owned(),
            wanted: [("cleanup.policy", "delete"), ("retention.ms", "-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            is_compacted_in_the_end: after.contains("compact"),
        }
    }

    fn entry(name: &str, value: Option<&str>) -> ConfigEntry {
        ConfigEntry {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            source: ConfigSource::Default,
            sensitive: false,
        }
    }

    #[test]
    fn only_values_that_differ_count_whatever_they_come_from() {
        let entries = [entry("cleanup.policy", Some("delete")), entry("retention.ms", Some("604800000"))];
        let found = held("delete").differences(&entries);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].setting.as_str(), found[0].found.as_str()), ("retention.ms", "604800000"));
        assert!(
            held("delete").differences(&[entry("retention.ms", None)]).is_empty(),
            "what is not shown says nothing"
        );
    }

    #[test]
    fn a_first_reversal_is_undone_unless_it_could_leave_no_trace() {
        let difference = |setting: &str, found: &str| Difference {
            setting: setting.to_owned(),
            wanted: String::new(),
            found: found.to_owned(),
        };
        let retention = difference("retention.ms", "1000");
        assert!(may_be_undone(&held("delete"), &retention, true));
        assert!(!may_be_undone(&held("delete"), &retention, false), "a second reversal ends the restore");
        let compacted = difference("cleanup.policy", "compact");
        assert!(!may_be_undone(&held("delete"), &compacted, true), "the log cleaner takes records for good");
        assert!(may_be_undone(&held("compact"), &compacted, true), "it takes what it takes in the end anyway");
    }
}
