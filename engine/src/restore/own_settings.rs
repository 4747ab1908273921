//! Gives topics the settings that they have in the end: what was there before the restore, or what the archive has.
//!
//! The owner of a topic may have changed it since. So a protective setting is changed only while it has the value that the
//! restore has given it, and any other only while it is not set at all; all else is left and reported. A broker that has not
//! learned of our own change yet shows what was there before: so a protective setting is also changed where it looks as if
//! it had been put back already.

use std::collections::BTreeMap;

use super::Error;
use super::journal::{Intent, PreparedTopic, Settings, TopicSettings};
use super::protection::change;
use super::target::{CONFIRM_EVERY, CONFIRMATIONS};
use crate::kafka::topics::{ConfigChange, ConfigEntry, overrides};
use crate::kafka::{Cluster, Error as KafkaError};
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

    /// Whether a topic has all the settings with which the restore creates it. Another client may have created it, of which
    /// the journal does not know more; or its owner has chosen other settings since.
    pub fn is_as_created(topic: &str, intent: &Intent, entries: &[ConfigEntry]) -> bool {
        let Some(TopicSettings { meanwhile, after }) = intent.settings.get(topic) else { return false };
        let own = overrides(entries);
        let value = |name: &String| entries.iter().find(|entry| entry.name == *name)?.value.as_ref();
        let is_ours = |(name, after): (&String, &Option<String>)| match meanwhile.get(name) {
            Some(ours) => value(name) == Some(ours),
            None => own.get(name) == after.as_ref(),
        };
        after.iter().all(is_ours)
    }

    /// Those of a topic that was created, and of which the journal may not know more.
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
        !self.protective(entries).is_empty()
    }

    /// The protective settings that the topic has and does not have in the end.
    pub fn protective(&self, entries: &[ConfigEntry]) -> Vec<String> {
        let states = self.states(entries).filter(|(name, _, _)| self.meanwhile.contains_key(*name));
        states.filter(|(_, _, state)| matches!(state, State::Ours)).map(|(name, _, _)| name.clone()).collect()
    }

    /// What has to be changed, and what somebody else has set and is left, by its name and value.
    fn back(&self, entries: &[ConfigEntry]) -> (BTreeMap<String, ConfigChange>, Vec<(String, String)>) {
        let (mut changes, mut others) = (BTreeMap::new(), Vec::new());
        for (name, after, state) in self.states(entries) {
            match state {
                State::Right => {}
                State::Ours | State::LooksPutBack => {
                    changes.insert(name.clone(), after.clone().map_or(ConfigChange::Delete, ConfigChange::Set));
                }
                State::SomebodyElses(found) => others.push((name.clone(), found)),
            }
        }
        (changes, others)
    }

    /// Each setting, what it is in the end, and what it is now.
    fn states(&self, entries: &[ConfigEntry]) -> impl Iterator<Item = (&String, &Option<String>, State)> {
        let own = overrides(entries);
        let shown = |name: &String| entries.iter().find(|entry| entry.name == *name)?.value.clone();
        self.after.iter().map(move |(name, after)| {
            let (own, shown) = (own.get(name), shown(name));
            let is_after = own == after.as_ref();
            let state = match (self.meanwhile.get(name), shown, own) {
                (Some(ours), Some(shown), _) if shown != *ours && is_after => State::LooksPutBack,
                (Some(ours), Some(shown), _) if shown != *ours => State::SomebodyElses(shown),
                _ if is_after => State::Right,
                (None, _, Some(own)) => State::SomebodyElses(own.clone()),
                (Some(_), ..) | (None, _, None) => State::Ours,
            };
            (name, after, state)
        })
    }
}

/// What a setting of a topic is now.
enum State {
    /// What it is in the end.
    Right,
    /// What it is in the end, while the restore had given it another value: it was put back before, or the broker has not
    /// learned of that value yet.
    LooksPutBack,
    /// What the restore has given it, or not set.
    Ours,
    /// What somebody else has given it since.
    SomebodyElses(String),
}

/// Names of those topics that have a protective setting now, or may have one, since the cluster does not show their settings.
pub async fn protective(cluster: &Cluster, topics: Vec<OwnSettings>) -> Vec<String> {
    let entries = entries(cluster, &topics).await;
    let may_have = |topic: &OwnSettings| match entries.get(&topic.topic) {
        Some(Ok(entries)) => topic.are_protective(entries),
        Some(Err(_)) => true,
        None => false,
    };
    topics.into_iter().filter(may_have).map(|topic| topic.topic).collect()
}

/// Gives topics the settings that they are to have in the end, those among them that the cluster lets us see and change.
/// Returns what is left as somebody else has set it, in one line each.
///
/// # Errors
/// The first thing that the cluster refuses, by topic, when all others have their settings; and a lost lease.
pub async fn put_back(cluster: &Cluster, topics: &[OwnSettings], lease: &Lease) -> Result<Vec<String>, Error> {
    let mut looks = 1;
    let (changes, others, failed) = loop {
        let entries = entries(cluster, topics).await;
        let (mut changes, mut others, mut failed) = (BTreeMap::new(), Vec::new(), None);
        for topic in topics {
            let (of_topic, left) = match entries.get(&topic.topic) {
                Some(Ok(entries)) => topic.back(entries),
                Some(Err(error)) => {
                    let error = Box::new(error.clone());
                    failed.get_or_insert(Error::Topic { topic: topic.topic.clone(), error });
                    continue;
                }
                None => continue,
            };
            if !of_topic.is_empty() {
                changes.insert(topic.topic.clone(), of_topic);
            }
            others.extend(left.into_iter().map(|(setting, found)| left_alone(&topic.topic, &setting, &found)));
        }
        // A broker that has not learned of our own change yet shows a value that is not ours.
        if others.is_empty() || looks >= CONFIRMATIONS {
            break (changes, others, failed);
        }
        looks += 1;
        tokio::time::sleep(CONFIRM_EVERY).await;
    };
    lease.check().await?;
    change(cluster, changes).await?;
    failed.map_or(Ok(others), Err)
}

/// What the cluster shows of the topics whose settings differ in the end.
async fn entries(cluster: &Cluster, topics: &[OwnSettings]) -> BTreeMap<String, Result<Vec<ConfigEntry>, KafkaError>> {
    let names = topics.iter().filter(|topic| !topic.after.is_empty()).map(|topic| topic.topic.clone());
    cluster.topic_configs(&names.collect(), None).await
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
        assert!(!topic().are_protective(&theirs));
        assert!(changes.is_empty(), "what is not set on a topic and is as wanted needs no change: {changes:?}");
        assert_eq!(others, [(text("retention.ms"), text("5000")), (text("segment.ms"), text("8"))]);
    }

    #[test]
    fn a_setting_that_looks_put_back_is_changed_all_the_same() {
        let stale = [
            entry("retention.bytes", "100", ConfigSource::Default),
            entry("retention.ms", "1000", ConfigSource::Topic),
            entry("segment.ms", "7", ConfigSource::Topic),
        ];
        let (changes, others) = topic().back(&stale);
        let expected = [("retention.bytes", ConfigChange::Delete), ("retention.ms", ConfigChange::Set(text("1000")))];
        assert_eq!(changes, expected.map(|(name, change)| (text(name), change)).into());
        assert!(others.is_empty() && !topic().are_protective(&stale), "{others:?}");
    }

    #[test]
    fn a_topic_with_one_other_setting_is_not_taken_for_one_that_the_restore_created() {
        let mut intent: Intent = serde_json::from_value(serde_json::json!({
            "request": {
                "backupId": "b", "targetClusterId": "c", "topics": {}, "pointInTimeMs": null, "startMs": null,
                "originalOffsetHeader": null
            },
            "actions": {}, "overwritten": {}
        }))
        .unwrap();
        let OwnSettings { topic: name, meanwhile, after } = topic();
        intent.settings.insert(name, TopicSettings { meanwhile, after });
        let created = |bytes: &str, ms: &str, segment: &str| {
            let entries = [
                entry("retention.bytes", bytes, ConfigSource::Default),
                entry("retention.ms", ms, ConfigSource::Topic),
                entry("segment.ms", segment, ConfigSource::Topic),
            ];
            OwnSettings::is_as_created("t", &intent, &entries)
        };
        assert!(created("-1", "-1", "7"));
        assert!(!created("-1", "-1", "8") && !created("-1", "1000", "7") && !created("5", "-1", "7"));
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
