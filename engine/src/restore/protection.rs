//! Holds the protective settings of topics while records are written, against other programs that manage configurations.
//!
//! Strimzi's Topic Operator sets every managed topic back to what its KafkaTopic says, every two minutes by default; other
//! tools do the same. So the settings are read again while data flows and before the restore ends. A reversal that shows in
//! the log when it has done harm (records were swept) is undone once; a second one, and any that could change records without
//! a trace, ends the restore. What the other program had set is remembered, and put back in the end (`own_settings`): the
//! owner's newest word counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::listed;
use super::journal::{Journal, Prepared, PreparedTopic, Settings};
use super::plan::Plan;
use super::target::{self, CONFIRM_EVERY, CONFIRMATIONS};
use super::topics::set;
use super::{Error, changes, is_kept};
use crate::kafka::Cluster;
use crate::kafka::topics::{ConfigChange, ConfigEntry, ConfigSource};
use crate::stop::Stop;
use crate::store::lease::{self, Lease};

/// The first looks come soon, since a reversal does the least harm then; later ones this far apart at most.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);
const FIRST_LOOK: Duration = Duration::from_secs(1);
const POLICY: &str = "cleanup.policy";
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// How long brokers may take to show a change.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// One topic whose settings are held.
#[derive(Debug, Clone)]
struct Held {
    topic: String,
    wanted: BTreeMap<String, String>,
    /// What is set on the topic in the end; none for what is not set on it.
    after: BTreeMap<String, Option<String>>,
    /// Whether the topic was there before the restore.
    is_kept: bool,
    /// Whether the topic is compacted in the end: then the log cleaner takes nothing that it would not take anyway.
    is_compacted_in_the_end: bool,
    /// Whether retention takes nothing of the topic in the end, which may hold records of any age.
    is_only_compacted_in_the_end: bool,
}

/// A setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Difference {
    setting: String,
    wanted: String,
    found: String,
    /// What is set on the topic itself; none if the value comes from elsewhere.
    own: Option<String>,
}

/// The protective settings of all topics of a restore.
pub struct Protection<'a> {
    cluster: &'a Cluster,
    prepared: &'a Prepared,
    journal: &'a Journal,
    lease: &'a Lease,
    held: Vec<Held>,
    seen: Mutex<Seen>,
}

/// What other programs have done so far.
#[derive(Debug, Default)]
struct Seen {
    /// As the journal has it.
    settings: Settings,
    /// Topics and settings that were set back since this run began, and set again.
    undone_in_this_run: BTreeSet<(String, String)>,
    /// Topics that were deleted or replaced. The restore no longer holds their settings.
    replaced: BTreeSet<String>,
}

impl<'a> Protection<'a> {
    /// The settings that a restore has prepared.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn new(
        cluster: &'a Cluster,
        plan: &Plan,
        prepared: &'a Prepared,
        journal: &'a Journal,
        lease: &'a Lease,
    ) -> Result<Self, Error> {
        let topics = plan.topics.iter().zip(&prepared.topics);
        let held = topics.filter(|(_, topic)| !topic.configs_meanwhile.is_empty());
        let held = held.map(|(plan, topic)| Held::new(topic, is_kept(plan))).collect();
        let seen = Seen { settings: journal.settings().await?, ..Seen::default() };
        Ok(Self { cluster, prepared, journal, lease, held, seen: Mutex::new(seen) })
    }

    /// Sets what differs, on created and existing topics alike, and reads it again: a topic that another client has created
    /// has settings of its own. In topics that hold records of an earlier run, `landed`, a difference is a reversal, unless
    /// that run has put their settings back itself. In others it is none, but what their owners have set since the restore was
    /// prepared counts in the end.
    ///
    /// # Errors
    /// What the cluster refuses, by topic, and [`Error::Reverted`] when a setting does not hold even now.
    pub async fn hold(&self, landed: &BTreeSet<String>) -> Result<(), Error> {
        let mut differences = self.differences_of(&self.held.iter().collect::<Vec<_>>()).await?;
        if !landed.is_empty() || !self.chosen_since(&differences).is_empty() {
            differences = self.confirmed_differences().await?;
        }
        let put_back = lock(&self.seen).settings.put_back.clone();
        let (reversals, others) =
            differences.clone().into_iter().partition(|(topic, _)| landed.contains(topic) && !put_back.contains(topic));
        self.count(&reversals).await?;
        let chosen = self.chosen_since(&others);
        let must_remember = !chosen.is_empty() || !put_back.is_empty();
        for (topic, difference) in chosen {
            lock(&self.seen).settings.note(topic, difference);
        }
        if must_remember {
            // Before anything is set: whoever comes after a kill here could not tell what was there.
            self.remember().await?;
        }
        if !differences.is_empty() {
            // Between the decision and the lease, the owner may have created a topic again.
            self.none_was_replaced(|topic| differences.contains_key(topic)).await?;
        }
        self.set(&differences).await?;
        lock(&self.seen).undone(&reversals);
        if !put_back.is_empty() {
            lock(&self.seen).settings.put_back.clear();
            self.remember().await?;
        }
        Ok(())
    }

    /// What the owners of topics have set since the restore was prepared.
    fn chosen_since<'d>(
        &self,
        differences: &'d BTreeMap<String, Vec<Difference>>,
    ) -> Vec<(&'d String, &'d Difference)> {
        let held = |topic: &String| self.held.iter().find(|held| held.topic == *topic);
        let seen = lock(&self.seen);
        let is_chosen = |(topic, difference): &(&String, &Difference)| {
            let of_topic = seen.settings.reversed.get(*topic);
            held(topic).is_some_and(|held| held.is_chosen_since(difference, of_topic))
        };
        let all = differences.iter().flat_map(|(topic, found)| found.iter().map(move |difference| (topic, difference)));
        all.filter(is_chosen).collect()
    }

    /// Looks again and again until `ended` is set, and completes the look that has begun then: one that is given up halfway would
    /// count a reversal twice. Whether it has undone a reversal.
    ///
    /// # Errors
    /// As [`Protection::look`], except that brokers do not answer.
    pub async fn watch(&self, ended: &Stop) -> Result<bool, Error> {
        let mut pause = FIRST_LOOK;
        let mut has_undone = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = ended.wait() => return Ok(has_undone),
            }
            pause = (pause * 2).min(LOOK_EVERY_MAX);
            match self.look().await {
                Ok(undone) => has_undone |= undone,
                // Brokers that do not answer now are asked again; the last look must succeed.
                Err(error) if error.kind() == crate::error::Kind::Unavailable => {
                    tracing::warn!("the settings of the topics could not be read again: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Like [`Protection::watch`], without replaced topics: a replaced topic does not end the watch of the others.
    ///
    /// # Errors
    /// As [`Protection::watch`], without [`Error::Changed`].
    pub async fn watch_ours(&self, ended: &Stop) -> Result<(), Error> {
        loop {
            match self.watch(ended).await {
                Ok(_) => return Ok(()),
                Err(Error::Changed(_)) => {}
                Err(error) => return Err(error),
            }
            match self.leave_out_replaced().await {
                // It is seen again.
                Err(error) if error.kind() == crate::error::Kind::Unavailable => {
                    tracing::warn!("brokers do not say which topics were replaced: {error}");
                }
                left_out => left_out?,
            }
        }
    }

    /// As [`Protection::look`], of the topics that are still those of the restore.
    ///
    /// # Errors
    /// As [`Protection::look`].
    pub async fn look_at_ours(&self) -> Result<bool, Error> {
        match self.look().await {
            Err(Error::Changed(_)) => {
                self.leave_out_replaced().await?;
                self.look().await
            }
            looked => looked,
        }
    }

    /// Stops holding the settings of topics that were deleted or replaced.
    async fn leave_out_replaced(&self) -> Result<(), Error> {
        let replaced = target::changed(self.cluster, self.prepared).await?;
        lock(&self.seen).replaced.extend(replaced);
        Ok(())
    }

    /// Reads the settings again, and undoes a first reversal. Whether there was one.
    ///
    /// # Errors
    /// [`Error::Reverted`], [`Error::Changed`] when it is another topic that differs, and when the cluster cannot be asked.
    pub async fn look(&self) -> Result<bool, Error> {
        // Another run of the restore may have taken it over: then this one writes nothing more.
        self.lease.check().await?;
        let differences = match self.confirmed_differences().await {
            // Deleted, or not known to a broker that has just started.
            Err(Error::Topic { error, .. }) if error.code() == Some(UNKNOWN_TOPIC_OR_PARTITION) => {
                return self.none_was_replaced(|_| true).await.map(|()| false);
            }
            differences => differences?,
        };
        if !differences.is_empty() {
            self.none_was_replaced(|topic| differences.contains_key(topic)).await?;
        }
        self.count(&differences).await?;
        self.set(&differences).await?;
        lock(&self.seen).undone(&differences);
        Ok(!differences.is_empty())
    }

    /// Sees that topics are those that were prepared: what somebody has created in their place is not ours to change.
    async fn none_was_replaced(&self, is_meant: impl Fn(&str) -> bool) -> Result<(), Error> {
        let mut replaced = target::changed(self.cluster, self.prepared).await?;
        let left_out = lock(&self.seen).replaced.clone();
        replaced.retain(|topic| is_meant(topic) && !left_out.contains(topic));
        match replaced.is_empty() {
            true => Ok(()),
            false => Err(Error::Changed(replaced.iter().map(|topic| changes::replaced(topic)).collect())),
        }
    }

    /// What was set back and set again, in one line each.
    pub fn warnings(&self) -> Vec<String> {
        let text = |topic: &String, setting: &String, found: &Option<String>| {
            let in_the_end = match found {
                Some(found) => format!("in the end it is {found}, as that program has set it"),
                None => "in the end it is not set on the topic, as that program had it".to_owned(),
            };
            format!(
                "topic {topic:?}: another program changed {setting} before the restore had ended, and the restore set it again; no \
                 record was lost by it; {in_the_end}"
            )
        };
        let seen = lock(&self.seen);
        let reversed = seen.settings.reversed.iter();
        reversed
            .flat_map(|(topic, of_topic)| of_topic.iter().map(move |(name, found)| text(topic, name, found)))
            .collect()
    }

    /// Remembers reversals, also those that end the restore.
    async fn count(&self, reversals: &BTreeMap<String, Vec<Difference>>) -> Result<(), Error> {
        if reversals.is_empty() {
            return Ok(());
        }
        let mut ends_with = None;
        for (topic, differences) in reversals {
            let Some(held) = self.held.iter().find(|held| held.topic == *topic) else { continue };
            for difference in differences {
                let is_first = lock(&self.seen).note(topic, difference);
                let deletes = !differences.iter().any(|difference| difference.setting == POLICY);
                if may_be_undone(held, difference, is_first, deletes) {
                    tracing::warn!(
                        topic,
                        setting = difference.setting,
                        found = difference.found,
                        "another program has set a setting of the restore back: it is set again"
                    );
                } else if ends_with.is_none() {
                    ends_with = Some(reverted(topic, differences));
                }
            }
        }
        self.remember().await?;
        ends_with.map_or(Ok(()), Err)
    }

    async fn remember(&self) -> Result<(), Error> {
        let settings = lock(&self.seen).settings.clone();
        self.lease.check().await?;
        self.journal.write_settings(&settings).await
    }

    /// Sets what differs, and waits until brokers show it.
    async fn set(&self, differences: &BTreeMap<String, Vec<Difference>>) -> Result<(), Error> {
        if differences.is_empty() {
            return Ok(());
        }
        let of_topic = |differences: &Vec<Difference>| {
            set(&differences.iter().map(|difference| (difference.setting.clone(), difference.wanted.clone())).collect())
        };
        self.lease.check().await?;
        change(self.cluster, differences.iter().map(|(topic, found)| (topic.clone(), of_topic(found))).collect())
            .await?;
        if let Err(error @ lease::Error::Lost { .. }) = self.lease.check().await {
            // A request of ours may have come after that run had given them back.
            let topics: Vec<String> = differences.keys().cloned().collect();
            return Err(Error::Left { error: Box::new(error.into()), left: set_late(&topics) });
        }
        let deadline = Instant::now() + CHANGE_PATIENCE;
        let mut left = self.held_of(differences);
        while !left.is_empty() {
            let found = self.differences_of(&left).await?;
            left = self.held_of(&found);
            let Some((topic, differences)) = found.first_key_value() else { break };
            if Instant::now() >= deadline {
                return Err(reverted(topic, differences));
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
        let left_out = lock(&self.seen).replaced.clone();
        let held: Vec<&Held> = self.held.iter().filter(|held| !left_out.contains(&held.topic)).collect();
        let mut found = self.differences_of(&held).await?;
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
            let entries = configs.remove(&held.topic).ok_or_else(|| Error::lacks("DescribeConfigs", &held.topic))?;
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

impl Seen {
    /// Remembers what another program has set; whether it is the first time in this run.
    fn note(&mut self, topic: &str, difference: &Difference) -> bool {
        self.settings.note(topic, difference);
        !self.undone_in_this_run.contains(&(topic.to_owned(), difference.setting.clone()))
    }

    /// Counts reversals that are undone. One that is seen again since it could not be undone is no second one.
    fn undone(&mut self, reversals: &BTreeMap<String, Vec<Difference>>) {
        let settings = |(topic, found): (&String, &Vec<Difference>)| -> Vec<(String, String)> {
            found.iter().map(|difference| (topic.clone(), difference.setting.clone())).collect()
        };
        self.undone_in_this_run.extend(reversals.iter().flat_map(settings));
    }
}

impl Settings {
    /// Remembers what another program has set.
    fn note(&mut self, topic: &str, difference: &Difference) {
        let Difference { setting, own, .. } = difference;
        self.reversed.entry(topic.to_owned()).or_default().insert(setting.clone(), own.clone());
    }
}

impl Held {
    fn new(topic: &PreparedTopic, is_kept: bool) -> Self {
        let policy = topic.configs_after.get(POLICY).and_then(Option::as_deref);
        Self {
            topic: topic.target.clone(),
            wanted: topic.configs_meanwhile.clone(),
            after: topic.configs_after.clone(),
            is_kept,
            is_compacted_in_the_end: policy.is_some_and(|policy| policy.contains("compact")),
            is_only_compacted_in_the_end: policy.is_some_and(|policy| !policy.contains("delete")),
        }
    }

    /// Whether the owner of a topic that was there before has set it since the restore was prepared. A topic that the restore
    /// creates has its settings from the beginning; where another client was faster, the restore's count all the same.
    fn is_chosen_since(&self, difference: &Difference, reversed: Option<&BTreeMap<String, Option<String>>>) -> bool {
        let chosen = reversed.and_then(|reversed| reversed.get(&difference.setting));
        let after = chosen.or_else(|| self.after.get(&difference.setting)).and_then(Option::as_ref);
        self.is_kept && difference.own.as_ref() != after
    }

    /// What the topic's configuration has otherwise. A setting that the cluster does not show says nothing.
    fn differences(&self, entries: &[ConfigEntry]) -> Vec<Difference> {
        let difference = |(setting, wanted): (&String, &String)| {
            let entry = entries.iter().find(|entry| entry.name == *setting)?;
            let found = entry.value.clone()?;
            let own = (entry.source == ConfigSource::Topic).then(|| found.clone());
            // The cluster's default may be what the restore wants: then only this shows that the owner has taken a setting off the
            // topic.
            let was_set =
                self.after.get(setting).is_some_and(|after| after.as_ref().is_some_and(|after| after != wanted));
            let is_taken_off = self.is_kept && was_set && own.is_none();
            (found != *wanted || is_taken_off).then(|| Difference {
                setting: setting.clone(),
                wanted: wanted.clone(),
                found,
                own,
            })
        };
        self.wanted.iter().filter_map(difference).collect()
    }
}

/// Whether a setting that was set back may be set again, and the restore go on: only if what happened meanwhile shows. `deletes`:
/// whether brokers deleted under a retention meanwhile, since the topic's `cleanup.policy` was still the restore's.
fn may_be_undone(held: &Held, difference: &Difference, is_first: bool, deletes: bool) -> bool {
    let leaves_no_trace = match difference.setting.as_str() {
        POLICY => difference.found.contains("compact") && !held.is_compacted_in_the_end,
        // What the topic held before goes, and nobody compares it.
        "retention.ms" | "retention.bytes" => {
            held.is_kept && held.is_only_compacted_in_the_end && held.wanted.contains_key(POLICY) && deletes
        }
        _ => false,
    };
    is_first && !leaves_no_trace
}

/// What a run leaves behind that has set settings while another run took the restore over.
fn set_late(topics: &[String]) -> String {
    format!(
        "settings of the restore were set while another run took it over, which may have ended since: when it has, see that these \
         topics have their own settings: {}",
        listed(topics)
    )
}

fn reverted(topic: &str, differences: &[Difference]) -> Error {
    let change = |Difference { setting, wanted, found, own }: &Difference| match own {
        Some(_) => {
            format!("{setting} was changed to {found} while this restore writes to the topic, which needs {wanted}")
        }
        None => format!(
            "{setting} was changed to the cluster's default, {found}, while this restore writes to the topic, which needs {wanted} on the \
             topic itself"
        ),
    };
    Error::Reverted { topic: topic.to_owned(), changes: differences.iter().map(change).collect() }
}

/// Changes settings of topics.
///
/// # Errors
/// What the cluster refuses, by topic.
pub async fn change(cluster: &Cluster, changes: BTreeMap<String, BTreeMap<String, ConfigChange>>) -> Result<(), Error> {
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

    #[test]
    fn a_reversal_that_could_not_be_undone_yet_is_no_second_one() {
        let difference = Difference {
            setting: "retention.ms".to_owned(),
            wanted: "-1".to_owned(),
            found: "1000".to_owned(),
            own: Some("1000".to_owned()),
        };
        let mut seen = Seen::default();
        assert!(seen.note("t", &difference) && seen.note("t", &difference));
        seen.undone(&[("t".to_owned(), vec![difference.clone()])].into());
        assert!(!seen.note("t", &difference) && seen.note("another", &difference));
    }

    fn held(after: &str) -> Held {
        Held {
            topic: "t".to_owned(),
            wanted: [("cleanup.policy", "delete"), ("retention.ms", "-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            after: [("retention.ms".to_owned(), Some("1000".to_owned()))].into(),
            is_kept: true,
            is_compacted_in_the_end: after.contains("compact"),
            is_only_compacted_in_the_end: !after.contains("delete"),
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
    fn what_the_owner_has_chosen_is_told_from_what_was_there_before() {
        let found = |own: Option<&str>| Difference {
            setting: "retention.ms".to_owned(),
            wanted: "-1".to_owned(),
            found: String::new(),
            own: own.map(str::to_owned),
        };
        let held = held("delete");
        assert!(held.is_chosen_since(&found(Some("5")), None) && held.is_chosen_since(&found(None), None));
        assert!(!held.is_chosen_since(&found(Some("1000")), None));
        let chosen = [("retention.ms".to_owned(), Some("5".to_owned()))].into();
        assert!(!held.is_chosen_since(&found(Some("5")), Some(&chosen)), "that is known");
        assert!(held.is_chosen_since(&found(Some("1000")), Some(&chosen)), "the owner has gone back to it");
        let created = Held { is_kept: false, ..held };
        assert!(!created.is_chosen_since(&found(Some("5")), None), "another client was faster");
    }

    #[test]
    fn a_first_reversal_is_undone_unless_it_could_leave_no_trace() {
        let difference = |setting: &str, found: &str| Difference {
            setting: setting.to_owned(),
            wanted: String::new(),
            found: found.to_owned(),
            own: None,
        };
        let retention = difference("retention.ms", "1000");
        assert!(may_be_undone(&held("delete"), &retention, true, true));
        assert!(!may_be_undone(&held("delete"), &retention, false, true), "a second reversal ends the restore");
        // A compacted topic may hold records of any age, which a retention takes as soon as the policy is the restore's.
        assert!(!may_be_undone(&held("compact"), &retention, true, true), "nobody compares what the topic held before");
        assert!(may_be_undone(&held("compact"), &retention, true, false), "the policy was set back with it");
        assert!(may_be_undone(&held("compact,delete"), &retention, true, true));
        let created = Held { is_kept: false, ..held("compact") };
        assert!(may_be_undone(&created, &retention, true, true), "all that it holds is compared");
        let compacted = difference("cleanup.policy", "compact");
        assert!(!may_be_undone(&held("delete"), &compacted, true, false), "the log cleaner takes records for good");
        assert!(may_be_undone(&held("compact"), &compacted, true, false), "it takes what it takes in the end anyway");
    }

    #[test]
    fn a_setting_that_was_taken_off_is_told_from_one_with_another_value() {
        let text = |found: &str, own: Option<&str>| {
            let (setting, wanted) = ("cleanup.policy".to_owned(), "delete".to_owned());
            let difference = Difference { setting, wanted, found: found.to_owned(), own: own.map(str::to_owned) };
            reverted("t", &[difference]).to_string()
        };
        assert!(text("compact", Some("compact")).contains("was changed to compact while"));
        assert!(text("compact", Some("compact")).contains("which needs delete:"));
        let taken_off = text("delete", None);
        assert!(taken_off.contains("changed to the cluster's default, delete, while"), "{taken_off}");
        assert!(taken_off.contains("which needs delete on the topic itself:"), "{taken_off}");
    }

    #[test]
    fn what_the_owner_has_set_on_the_topic_itself_is_what_is_put_back() {
        let from = |source| ConfigEntry { source, ..entry("retention.ms", Some("1000")) };
        let own = |source| held("delete").differences(&[from(source)])[0].own.clone();
        assert_eq!(own(ConfigSource::Topic), Some("1000".to_owned()));
        assert_eq!(own(ConfigSource::StaticBroker), None, "it was taken off the topic");
        let mut seen = Seen::default();
        let difference = &held("delete").differences(&[from(ConfigSource::Topic)])[0];
        assert!(seen.note("t", difference));
        assert_eq!(seen.settings.reversed["t"]["retention.ms"].as_deref(), Some("1000"));
    }
}
