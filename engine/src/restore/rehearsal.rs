//! Proves, before anything is deleted or changed, that the target takes what the plan asks of it.
//!
//! Nothing here changes the target, and a dry run does all of it: the requests that the cluster serves, the permissions of
//! this user, a producer id, and every topic as it is created, protected and left, by requests that are only validated.
//!
//! A topic that is to be overwritten has a name that cannot be created, and a controller answers `TOPIC_ALREADY_EXISTS` before
//! it looks at settings or policies (`ReplicationControlManager.createTopics`). So its creation is validated under a trial
//! name that begins with its own. When the trial name is refused whatever the settings are, nothing proves that the topic can
//! be created again, and the plan is refused.

mod settings;
mod space;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use self::settings::Configs;
use super::plan::protection::{self, Harm};
use super::plan::{self, Action, Plan, TargetFacts, TopicPlan};
use super::topics::{new_topic, set};
use super::{Error, is_kept};
use crate::error::Kind;
use crate::format::manifest::TopicSummary;
use crate::kafka::groups::GroupKind;
use crate::kafka::permissions::Operation;
use crate::kafka::topics::{ConfigChange, NewTopic};
use crate::kafka::{Cluster, Error as KafkaError};

/// `TOPIC_ALREADY_EXISTS`.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// `INVALID_CONFIG`: the broker does not know a setting, or does not take its value.
const INVALID_CONFIG: i16 = 40;
/// `INVALID_REQUEST`: what some versions say of a setting that they do not know.
const INVALID_REQUEST: i16 = 42;
/// `TOPIC_DELETION_DISABLED`: the brokers have `delete.topic.enable=false`.
const TOPIC_DELETION_DISABLED: i16 = 73;
/// `POLICY_VIOLATION`: a create-topic or alter-config policy of the cluster refuses it (KIP-108, KIP-133).
const POLICY_VIOLATION: i16 = 44;
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const SEGMENT_BYTES: &str = "segment.bytes";
/// The longest name that a topic can have.
const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// What is restored, and onto what.
pub struct Rehearsal<'a> {
    /// The target.
    pub cluster: &'a Cluster,
    /// The topics of the backup that are restored, with their names in the target.
    pub sources: &'a [(&'a TopicSummary, String)],
    /// What the target looks like.
    pub facts: &'a TargetFacts,
    /// Topics that an earlier run of the restore has created already.
    pub created: &'a BTreeSet<String>,
    /// The earliest timestamp that is restored, in milliseconds since the epoch.
    pub start_ms: Option<i64>,
    /// The time of the restore, in milliseconds since the epoch.
    pub at_ms: i64,
}

impl Rehearsal<'_> {
    /// Asks the cluster whether all that is planned can be done, unless the plan is refused already. A setting of the backup
    /// that the target refuses must not keep the data away: it is left out, and named. So is a protective setting, unless
    /// records would be lost without it.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] with every permission that is missing, and when the cluster cannot be asked.
    pub async fn of(&self, plan: &mut Plan) -> Result<(), Error> {
        plan.refusals.extend(incapable(plan, self.facts));
        if !plan.refusals.is_empty() {
            return Ok(());
        }
        self.permissions(plan).await?;
        self.cluster.init_producer_id(None, 0).await.map_err(Error::NoProducer)?;
        self.deletions(plan).await?;
        self.groups(plan).await?;
        if !self.facts.capabilities.alter_configs {
            self.without_alter_configs(plan);
        }
        self.in_the_end(plan).await?;
        self.while_data_flows(plan).await?;
        self.put_back(plan).await?;
        self.keep_what_is_there(plan);
        self.space(plan).await;
        for topic in &mut plan.topics {
            topic.configs_created = protection::created_with(topic, self.facts);
        }
        Ok(())
    }

    /// Every permission that the topics of the plan need.
    async fn permissions(&self, plan: &Plan) -> Result<(), Error> {
        let targets: BTreeSet<String> = plan.topics.iter().map(|topic| topic.target.clone()).collect();
        let mut missing: Vec<String> = self
            .cluster
            .topics_denied_to_write(&targets)
            .await?
            .into_iter()
            .map(|(topic, error)| format!("Write on topic {topic:?} ({error})"))
            .collect();
        let overwritten = || plan.topics.iter().filter(|topic| self.is_overwritten(topic));
        for topic in overwritten() {
            let Some(existing) = self.facts.existing.get(&topic.target) else { continue };
            if existing.operations.allows(Operation::Delete) == Some(false) {
                missing.push(format!("Delete on topic {:?}, which is to be overwritten", topic.target));
            }
        }
        // The permission on a name is looked at before whether a topic has it.
        let new: Vec<NewTopic> = overwritten().map(|topic| new_topic(topic, BTreeMap::new())).collect();
        missing.extend(denied("Create", self.cluster.create_topics(&new, true).await));
        if self.facts.capabilities.alter_configs {
            let changes = plan.topics.iter().map(|topic| (topic.target.clone(), set(&topic.configs_meanwhile)));
            missing.extend(denied("AlterConfigs", self.cluster.alter_topic_configs(&changes.collect(), true).await));
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::NotAllowed(missing)) }
    }

    /// Groups whose offsets could not be committed now: the records come back all the same.
    async fn groups(&self, plan: &mut Plan) -> Result<(), Error> {
        let commits = || plan.groups.iter().filter(|group| group.kind != GroupKind::Share && !group.offsets.is_empty());
        if commits().next().is_some() && !self.facts.capabilities.commit_offsets {
            plan.busy_groups.push("the cluster has no OffsetCommit: no committed offsets are restored".to_owned());
            return Ok(());
        }
        let groups: BTreeSet<String> = commits().map(|group| group.target.clone()).collect();
        let denied = self.cluster.groups_denied_to_commit(&groups).await?;
        let text = |(group, error): (String, KafkaError)| {
            format!("group {group:?}: its offsets could not be committed, the user lacks Read on the group ({error})")
        };
        let topics: BTreeSet<&str> =
            commits().flat_map(|group| group.offsets.iter().map(|offset| offset.topic.as_str())).collect();
        let lacks_read = |topic: &&TopicPlan| {
            let existing = self.facts.existing.get(&topic.target).filter(|_| self.is_there(topic));
            topics.contains(topic.source.name.as_str())
                && existing.is_some_and(|existing| existing.operations.allows(Operation::Read) == Some(false))
        };
        let lacking = plan.topics.iter().filter(lacks_read).map(|topic| {
            format!(
                "no group's offsets on topic {:?} could be committed, the user lacks Read on the topic",
                topic.target
            )
        });
        let told: Vec<String> = denied.into_iter().map(text).chain(lacking).collect();
        plan.busy_groups.extend(told);
        Ok(())
    }

    /// Whether the cluster deletes topics at all: asked with an id that no topic has.
    async fn deletions(&self, plan: &mut Plan) -> Result<(), Error> {
        if !plan.topics.iter().any(|topic| self.is_overwritten(topic) && self.has_an_id(topic)) {
            return Ok(());
        }
        let nobody = [(String::new(), Uuid::new_v4())].into();
        let answers = self.cluster.delete_topics(&nobody).await;
        if answers.into_values().any(|answer| answer.is_err_and(|error| error.code() == Some(TOPIC_DELETION_DISABLED)))
        {
            plan.refusals.push(
                "the cluster deletes no topics (delete.topic.enable=false): nothing can be overwritten".to_owned(),
            );
        }
        Ok(())
    }

    /// Whether the topic needs no creation: it is kept, or an earlier run has created it.
    fn is_there(&self, topic: &TopicPlan) -> bool {
        is_kept(topic) || self.created.contains(&topic.target)
    }

    /// Whether the topic is still to be deleted.
    fn is_overwritten(&self, topic: &TopicPlan) -> bool {
        topic.action == Action::Overwrite && !self.is_there(topic) && self.facts.existing.contains_key(&topic.target)
    }

    /// Brokers before Kafka 2.8 have no topic ids, and delete by name: they are not asked.
    fn has_an_id(&self, topic: &TopicPlan) -> bool {
        self.facts.existing.get(&topic.target).is_some_and(|existing| !existing.id.is_nil())
    }

    /// Protective settings that cannot be set, because they could not be taken back: by those values that hold anyway.
    fn without_alter_configs(&self, plan: &mut Plan) {
        let Plan { topics, warnings, refusals, .. } = plan;
        for topic in topics {
            let names: Vec<String> = topic.configs_meanwhile.keys().cloned().collect();
            for name in names {
                let why = "the cluster has no IncrementalAlterConfigs";
                self.do_without(topic, &name, why, warnings, refusals);
            }
        }
    }

    /// The configuration that topics have in the end. What is refused at the end only, with all records there, would keep the
    /// restore from ever coming to it.
    async fn in_the_end(&self, plan: &mut Plan) -> Result<(), Error> {
        let tried = self.create(plan, |topic| topic.configs.clone()).await;
        for (name, error) in self.verdicts(plan, tried)? {
            let Some(topic) = plan.topics.iter().find(|topic| topic.target == name) else { continue };
            let trial = self.trial_name(topic);
            let check = async |configs: &Configs| self.creates(topic, &trial, configs).await;
            let refused = settings::refused(None, &topic.configs, &error, check).await;
            let Plan { topics, warnings, refusals, .. } = &mut *plan;
            let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
            let Some(refused) = refused else {
                refusals.push(not_creatable(&name, &trial, &error));
                continue;
            };
            topic.configs.retain(|setting, _| !refused.contains_key(setting));
            if refused.contains_key(SEGMENT_BYTES) {
                // The cluster's own holds instead, which may be less.
                plan::limit_batches(topic, self.facts, warnings, refusals);
                let limit = topic.max_batch_bytes.to_string();
                topic.configs_meanwhile.entry(MAX_MESSAGE_BYTES.to_owned()).and_modify(|value| *value = limit);
            }
            warnings.extend(
                refused.into_iter().map(|(setting, why)| {
                    format!("topic {name:?}: {setting} is left out, the target refuses it: {why}")
                }),
            );
        }
        Ok(())
    }

    /// The protective settings, on topics that are created and on those that are there. The configuration of the end has been
    /// accepted, so that whatever is refused here is about a protective setting.
    async fn while_data_flows(&self, plan: &mut Plan) -> Result<(), Error> {
        if !plan.refusals.is_empty() {
            return Ok(());
        }
        let mut tried = self.create(plan, |topic| protection::created_with(topic, self.facts)).await;
        tried.extend(self.cluster.alter_topic_configs(&self.kept(plan, |changes| set(&changes)), true).await);
        for (name, error) in self.verdicts(plan, tried)? {
            let Some(topic) = plan.topics.iter().find(|topic| topic.target == name) else { continue };
            let refused = match self.facts.existing.get(&name).filter(|_| self.is_there(topic)) {
                Some(existing) => {
                    let check = async |configs: &Configs| self.alters(&name, set(configs)).await;
                    settings::refused(Some(&Configs::new()), &protection::changed(topic, existing), &error, check).await
                }
                None => {
                    let trial = self.trial_name(topic);
                    let check = async |configs: &Configs| self.creates(topic, &trial, configs).await;
                    let wanted = protection::created_with(topic, self.facts);
                    settings::refused(Some(&topic.configs), &wanted, &error, check).await
                }
            };
            let Plan { topics, warnings, refusals, .. } = &mut *plan;
            let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
            let Some(refused) = refused else {
                refusals.push(format!("topic {name:?} cannot take the settings of a restore: {error}"));
                continue;
            };
            for (setting, why) in refused {
                self.do_without(topic, &setting, &why.to_string(), warnings, refusals);
            }
        }
        Ok(())
    }

    /// The settings that topics which are kept have again in the end: a policy that came after them may refuse them. A
    /// setting that could not be put back is not changed.
    async fn put_back(&self, plan: &mut Plan) -> Result<(), Error> {
        if !plan.refusals.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.kept(plan, |_| ()).into_keys().collect();
        let back = |plan: &Plan, name: &str| -> Option<BTreeMap<String, ConfigChange>> {
            let topic = plan.topics.iter().find(|topic| topic.target == name)?;
            let existing = self.facts.existing.get(name)?;
            let changed = protection::changed(topic, existing);
            let mut after = protection::afterwards(topic, Some(existing));
            after.retain(|setting, _| changed.contains_key(setting));
            Some(after.into_iter().map(|(setting, value)| (setting, back_to(value))).collect())
        };
        let changes: BTreeMap<String, BTreeMap<String, ConfigChange>> =
            names.iter().filter_map(|name| Some((name.clone(), back(plan, name)?))).collect();
        let tried = self.cluster.alter_topic_configs(&changes, true).await;
        for (name, error) in self.verdicts(plan, tried)? {
            let mut refused = BTreeMap::new();
            for (setting, change) in changes.get(&name).into_iter().flatten() {
                if let Err(why) = self.alters(&name, [(setting.clone(), change.clone())].into()).await
                    && is_about_a_setting(&why)
                {
                    refused.insert(setting.clone(), why);
                }
            }
            let Plan { topics, warnings, refusals, .. } = &mut *plan;
            let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
            if refused.is_empty() {
                refusals.push(format!("topic {name:?} could not get its settings back after the restore: {error}"));
            }
            for (setting, why) in refused {
                let why = format!("it could not be put back after the restore: {why}");
                self.do_without(topic, &setting, &why, warnings, refusals);
            }
        }
        Ok(())
    }

    /// Leaves a compacted topic compacted where a retention cannot be lifted from it: it has no effect until `cleanup.policy` is
    /// `delete`, and then brokers delete what the topic has held for long.
    fn keep_what_is_there(&self, plan: &mut Plan) {
        let Plan { topics, warnings, refusals, .. } = plan;
        for topic in topics {
            let Some(existing) = self.facts.existing.get(&topic.target).filter(|_| is_kept(topic)) else { continue };
            if protection::would_delete_what_is_there(topic, existing) {
                let why = "the records that the topic holds would be deleted by a retention that cannot be lifted";
                self.do_without(topic, "cleanup.policy", why, warnings, refusals);
            }
        }
    }

    /// The changes of topics that are kept, without those of which nothing changes.
    fn kept<T>(&self, plan: &Plan, of: impl Fn(Configs) -> T) -> BTreeMap<String, T> {
        let there = plan.topics.iter().filter_map(|topic| {
            let existing = self.facts.existing.get(&topic.target).filter(|_| self.is_there(topic))?;
            let changes = protection::changed(topic, existing);
            (!changes.is_empty()).then(|| (topic.target.clone(), of(changes)))
        });
        there.collect()
    }

    /// Leaves a protective setting out, or refuses the plan when records would be lost without it.
    fn do_without(
        &self,
        topic: &mut TopicPlan,
        setting: &str,
        why: &str,
        warnings: &mut Vec<String>,
        refusals: &mut Vec<String>,
    ) {
        let Some((source, _)) = self.sources.iter().find(|(_, target)| *target == topic.target) else { return };
        let target = &topic.target;
        match protection::without(setting, source, topic, self.facts, self.start_ms, self.at_ms) {
            Harm::None => {}
            Harm::Risk(risk) => warnings
                .push(format!("topic {target:?}: {setting} cannot be set while the restore runs ({why}), and {risk}")),
            Harm::Loss(loss) => refusals
                .push(format!("topic {target:?}: {setting} cannot be set while the restore runs ({why}), and {loss}")),
        }
        topic.configs_meanwhile.remove(setting);
        if setting == MAX_MESSAGE_BYTES {
            topic.max_batch_bytes = protection::max_batch_bytes_without(topic, self.facts);
        }
    }

    /// Asks whether topics can be created with a configuration, by their own names.
    async fn create(
        &self,
        plan: &Plan,
        configs: impl Fn(&TopicPlan) -> Configs,
    ) -> BTreeMap<String, Result<(), KafkaError>> {
        let created = plan.topics.iter().filter(|topic| !self.is_there(topic));
        let tried: Vec<(String, NewTopic)> = created
            .map(|topic| {
                let name = self.trial_name(topic);
                (topic.target.clone(), NewTopic { name, ..new_topic(topic, configs(topic)) })
            })
            .collect();
        let new: Vec<NewTopic> = tried.iter().map(|(_, new)| new.clone()).collect();
        let mut verdicts = self.cluster.create_topics(&new, true).await;
        let verdict = |(target, new): (String, NewTopic)| Some((target, verdicts.remove(&new.name)?.map(drop)));
        tried.into_iter().filter_map(verdict).collect()
    }

    /// Asks whether one topic can be created under this name with these settings.
    async fn creates(&self, topic: &TopicPlan, name: &str, configs: &Configs) -> Result<(), KafkaError> {
        let new = NewTopic { name: name.to_owned(), ..new_topic(topic, configs.clone()) };
        let verdict = self.cluster.create_topics(std::slice::from_ref(&new), true).await.remove(name);
        verdict.map_or(Ok(()), |verdict| verdict.map(drop))
    }

    /// Asks whether one topic can be changed so.
    async fn alters(&self, topic: &str, changes: BTreeMap<String, ConfigChange>) -> Result<(), KafkaError> {
        let changes = [(topic.to_owned(), changes)].into();
        self.cluster.alter_topic_configs(&changes, true).await.remove(topic).unwrap_or(Ok(()))
    }

    /// The name under which the creation of a topic is validated: its own, unless a topic has it.
    fn trial_name(&self, topic: &TopicPlan) -> String {
        match self.facts.existing.contains_key(&topic.target) {
            true => other_name(&topic.target, Uuid::new_v4()),
            false => topic.target.clone(),
        }
    }

    /// What keeps topics from being as they are planned, by topic.
    ///
    /// # Errors
    /// [`Error::NotAllowed`], and what no other plan would mend.
    fn verdicts(
        &self,
        plan: &Plan,
        tried: BTreeMap<String, Result<(), KafkaError>>,
    ) -> Result<Vec<(String, KafkaError)>, Error> {
        let mut refused = Vec::new();
        let mut missing = Vec::new();
        for (name, verdict) in tried {
            let Err(error) = verdict else { continue };
            match error.code() {
                // It came into being since we looked: the creation sees to the rest.
                Some(TOPIC_ALREADY_EXISTS) => {}
                // It is not there any more: likewise.
                Some(UNKNOWN_TOPIC_OR_PARTITION) => {}
                Some(_) if error.kind() == Kind::Denied => {
                    let action = plan.topics.iter().find(|topic| topic.target == name).map(|topic| topic.action);
                    missing.push(not_permitted(&name, action, &error));
                }
                Some(_) if is_about_a_setting(&error) || matches!(error.kind(), Kind::Conflict | Kind::Usage) => {
                    refused.push((name, error));
                }
                Some(_) | None => return Err(Error::Topic { topic: name, error: Box::new(error) }),
            }
        }
        if missing.is_empty() { Ok(refused) } else { Err(Error::NotAllowed(missing)) }
    }
}

/// Topics on which an operation is denied, in one line each.
fn denied<T>(operation: &str, verdicts: BTreeMap<String, Result<T, KafkaError>>) -> impl Iterator<Item = String> {
    verdicts.into_iter().filter_map(move |(topic, verdict)| {
        let error = verdict.err().filter(|error| error.kind() == Kind::Denied)?;
        Some(format!("{operation} on topic {topic:?} ({error})"))
    })
}

/// The permission that a topic of the plan lacks. Create on the name of a topic that is to be overwritten is there, or would
/// have been missed before: it is the trial name that may not be created.
fn not_permitted(topic: &str, action: Option<Action>, error: &KafkaError) -> String {
    match action {
        Some(Action::Use | Action::Append) => format!("AlterConfigs on topic {topic:?} ({error})"),
        Some(Action::Overwrite) => format!(
            "Create on topics whose names begin with {topic:?} (a prefixed permission): the topic is to be overwritten, and \
             only the validated creation of another topic proves that it can be created again ({error})"
        ),
        Some(Action::Create) | None => format!("Create on topic {topic:?} ({error})"),
    }
}

fn not_creatable(topic: &str, trial: &str, error: &KafkaError) -> String {
    match topic == trial {
        true => format!("topic {topic:?} cannot be created as it is planned: {error}"),
        false => format!(
            "topic {topic:?} is to be overwritten, and nothing proves that it can be created again: a trial under the name \
             {trial:?} is refused whatever its settings are: {error}; let the policy accept such names, restore under another \
             name (topicMapping), or delete the topic beforehand"
        ),
    }
}

/// The change that gives a setting this value; `None` takes it off the topic.
fn back_to(value: Option<String>) -> ConfigChange {
    value.map_or(ConfigChange::Delete, ConfigChange::Set)
}

/// Whether a refusal may be about the value of a setting.
fn is_about_a_setting(error: &KafkaError) -> bool {
    matches!(error.code(), Some(INVALID_CONFIG | INVALID_REQUEST | POLICY_VIOLATION))
}

/// A name that nobody has, for a topic that is only validated.
fn other_name(target: &str, random: Uuid) -> String {
    let suffix = format!("-check-{}", &random.simple().to_string()[..8]);
    let kept: String = target.chars().take(TOPIC_NAME_LENGTH_MAX - suffix.len()).collect();
    kept + &suffix
}

/// What the cluster does not serve and the plan needs, in one line each.
fn incapable(plan: &Plan, facts: &TargetFacts) -> Vec<String> {
    let capabilities = facts.capabilities;
    let needs = |action: Action| plan.topics.iter().any(|topic| topic.action == action);
    let is_created = needs(Action::Create) || needs(Action::Overwrite);
    let mut lacks = Vec::new();
    if !capabilities.producer_ids {
        lacks.push(
            "the cluster has no InitProducerId: without an idempotent producer no restore can write every record exactly once"
                .to_owned(),
        );
    }
    if is_created && !capabilities.create_topics {
        lacks.push("the cluster has no CreateTopics: create the topics beforehand".to_owned());
    }
    if needs(Action::Overwrite) && !capabilities.delete_topics {
        lacks.push("the cluster has no DeleteTopics: nothing can be overwritten".to_owned());
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_to_try_is_one_that_a_topic_can_have() {
        for target in ["orders".to_owned(), "x".repeat(249)] {
            let name = other_name(&target, Uuid::from_u128(7));
            assert!(name != target && name.len() <= TOPIC_NAME_LENGTH_MAX, "{name}");
            assert!(crate::config::restore::is_topic_name(&name), "{name}");
        }
    }
}
