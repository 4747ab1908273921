//! Gives topics the settings that they have in the end: what was there before the restore, or what the archive has.
//!
//! The owner of a topic may have changed it since. So a protective setting is changed only while it has the value that the
//! restore has given it, and any other only while it is not set at all; all else is left and reported.

use std::collections::BTreeMap;

use super::Error;
use super::journal::{Intent, PreparedTopic, Settings, TopicSettings};
use super::protection::{CONFIRM_EVERY, CONFIRMATIONS, change};
use crate::kafka::Cluster;
use crate::kafka::topics::{ConfigChange, ConfigEntry, overrides};
use crate::store::lease::Lease;

/// The settings of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSettings {
    topic: String,
    /// What the restore has set while data flows.
    meanwhile: BTreeMap<String, String>,
    /// What the topic has in the end; none for what is not set on it.
    after: BTreeMap<String, Option<String>>,
}

impl OwnSettings {
    /// Those of a topic that was written to, where another program's newer values replace those of before.
    pub fn new(topic: &PreparedTopic, settings: &Settings) -> Self {
        let mut after = topic.configs_after.clone();
        after.extend(settings.reversed.get(&topic.target).into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())));
        Self { topic: topic.target.clone(), meanwhile: topic.configs_meanwhile.clone(), after }
    }

    /// Those of a topic that was created, and of which the journal may not know more: only what the restore has set is
    /// changed, since another client may have created it.
    pub fn of_intent(topic: &str, intent: &Intent) -> Option<Self> {
        let TopicSettings { meanwhile, after } = intent.settings.get(topic)?.clone();
        let after = after.into_iter().filter(|(name, _)| meanwhile.contains_key(name)).collect();
        Some(Self { topic: topic.to_owned(), meanwhile, after })
    }

    /// The topic's name in the target.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What the topic has in the end; none for what is not set on it.
    pub const fn after(&self) -> &BTreeMap<String, Option<String>> {
        &self.after
    }

    /// Whether the topic has a protective setting that it does not have in the end.
    pub fn are_protective(&self, entries: &[ConfigEntry]) -> bool {
        self.back(entries).0.keys().any(|name| self.meanwhile.contains_key(name))
    }

    /// What has to be changed, and what somebody else has set and is left, by its name and value.
    fn back(&self, entries: &[ConfigEntry]) -> (BTreeMap<String, ConfigChange>, Vec<(String, String)>) {
        let own = overrides(entries);
        let value = |name: &String| entries.iter().find(|entry| entry.name == *name)?.value.as_ref();
        let (mut changes, mut others) = (BTreeMap::new(), Vec::new());
        for (name, after) in &self.after {
            if own.get(name) == after.as_ref() {
                continue;
            }
            let of_somebody_else = match self.meanwhile.get(name) {
                Some(ours) => value(name).filter(|found| *found != ours),
                None => own.get(name),
            };
            match of_somebody_else {
                Some(found) => others.push((name.clone(), found.clone())),
                None => {
                    changes.insert(name.clone(), after.clone().map_or(ConfigChange::Delete, ConfigChange::Set));
                }
            }
        }
        (changes, others)
    }
}

/// Those of the topics that have a protective setting now.
///
/// # Errors
/// When the cluster does not show their settings.
pub async fn protective(cluster: &Cluster, topics: Vec<OwnSettings>) -> Result<Vec<OwnSettings>, Error> {
    let entries = entries(cluster, &topics).await?;
    let has = |topic: &OwnSettings| entries.get(&topic.topic).is_some_and(|entries| topic.are_protective(entries));
    Ok(topics.into_iter().filter(has).collect())
}

/// Gives topics the settings that they are to have in the end. Returns what is left as somebody else has set it, in one line
/// each.
///
/// # Errors
/// What the cluster refuses, by topic, and a lost lease.
pub async fn put_back(cluster: &Cluster, topics: &[OwnSettings], lease: &Lease) -> Result<Vec<String>, Error> {
    let mut looks = 1;
    let (changes, others) = loop {
        let entries = entries(cluster, topics).await?;
        let none = Vec::new();
        let back = topics.iter().map(|topic| (topic, topic.back(entries.get(&topic.topic).unwrap_or(&none))));
        let (mut changes, mut others) = (BTreeMap::new(), Vec::new());
        for (topic, (of_topic, left)) in back {
            if !of_topic.is_empty() {
                changes.insert(topic.topic.clone(), of_topic);
            }
            others.extend(left.into_iter().map(|(setting, found)| left_alone(&topic.topic, &setting, &found)));
        }
        // A broker that has not learned of our own change yet shows a value that is not ours.
        if others.is_empty() || looks >= CONFIRMATIONS {
            break (changes, others);
        }
        looks += 1;
        tokio::time::sleep(CONFIRM_EVERY).await;
    };
    lease.check().await?;
    change(cluster, changes).await?;
    Ok(others)
}

async fn entries(cluster: &Cluster, topics: &[OwnSettings]) -> Result<BTreeMap<String, Vec<ConfigEntry>>, Error> {
    let names = topics.iter().filter(|topic| !topic.after.is_empty()).map(|topic| topic.topic.clone());
    let entries = |(topic, entries): (String, Result<_, _>)| match entries {
        Ok(entries) => Ok((topic, entries)),
        Err(error) => Err(Error::Topic { topic, error: Box::new(error) }),
    };
    cluster.topic_configs(&names.collect(), None).await.into_iter().map(entries).collect()
}

fn left_alone(topic: &str, setting: &str, found: &str) -> String {
    format!("topic {topic:?}: {setting} is {found}, which this restore has not set: it is left so")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::ConfigSource;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn topic() -> OwnSettings {
        OwnSettings {
            topic: text("t"),
            meanwhile: [(text("retention.bytes"), text("-1")), (text("retention.ms"), text("-1"))].into(),
            after: [
                (text("retention.bytes"), None),
                (text("retention.ms"), Some(text("1000"))),
                (text("segment.ms"), Some(text("7"))),
            ]
            .into(),
        }
    }

    fn entry(name: &str, value: &str, source: ConfigSource) -> ConfigEntry {
        ConfigEntry { name: text(name), value: Some(text(value)), source, sensitive: false }
    }

    #[test]
    fn settings_of_the_restore_are_replaced_and_those_of_somebody_else_are_left() {
        use ConfigSource::{Default, Topic};
        let ours = [
            entry("retention.bytes", "-1", Topic),
            entry("retention.ms", "-1", Topic),
            entry("segment.ms", "604800000", Default),
        ];
        let (changes, others) = topic().back(&ours);
        let set = |value: &str| ConfigChange::Set(text(value));
        let expected =
            [("retention.bytes", ConfigChange::Delete), ("retention.ms", set("1000")), ("segment.ms", set("7"))];
        assert_eq!(changes, expected.map(|(name, change)| (text(name), change)).into());
        assert!(others.is_empty() && topic().are_protective(&ours), "{others:?}");
        let theirs = [
            entry("retention.bytes", "-1", Default),
            entry("retention.ms", "5000", Topic),
            entry("segment.ms", "8", Topic),
        ];
        let (changes, others) = topic().back(&theirs);
        assert!(changes.is_empty() && !topic().are_protective(&theirs), "{changes:?}");
        assert_eq!(others, [(text("retention.ms"), text("5000")), (text("segment.ms"), text("8"))]);
    }

    #[test]
    fn a_value_that_the_owner_set_while_the_restore_ran_is_the_one_that_is_put_back() {
        let prepared = PreparedTopic {
            target: text("t"),
            topic_id: uuid::Uuid::nil(),
            max_batch_bytes: 1,
            base_offsets: Vec::new(),
            configs_meanwhile: topic().meanwhile,
            configs_after: topic().after,
        };
        let mut settings = Settings::default();
        settings.reversed.insert(text("t"), [(text("retention.ms"), Some(text("9")))].into());
        let own = OwnSettings::new(&prepared, &settings);
        assert_eq!(own.after["retention.ms"], Some(text("9")));
        assert_eq!(own.after["segment.ms"], Some(text("7")));
    }
}
