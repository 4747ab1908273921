//! Proves, before anything is deleted or changed, that the target takes what the plan asks of it.
//!
//! Nothing here changes the target, and a dry run does all of it: the requests that the cluster serves, the permissions of
//! this user, a producer id, and every topic as it is created, protected and left, by requests that are only validated.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Error;
use super::plan::protection::{self, Harm};
use super::plan::{Action, Plan, TargetFacts, TopicPlan};
use super::topics::{new_topic, set};
use crate::error::Kind;
use crate::format::manifest::TopicSummary;
use crate::kafka::permissions::Operation;
use crate::kafka::topics::NewTopic;
use crate::kafka::{Cluster, Error as KafkaError};

/// `TOPIC_AUTHORIZATION_FAILED`.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// `TOPIC_ALREADY_EXISTS`.
const TOPIC_ALREADY_EXISTS: i16 = 36;
/// `UNKNOWN_TOPIC_OR_PARTITION`.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// `INVALID_CONFIG`: the broker does not know a setting, or does not take its value.
const INVALID_CONFIG: i16 = 40;
/// `INVALID_REQUEST`: what some versions say of a setting that they do not know.
const INVALID_REQUEST: i16 = 42;
/// `POLICY_VIOLATION`: a create-topic or alter-config policy of the cluster refuses it (KIP-108, KIP-133).
const POLICY_VIOLATION: i16 = 44;
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
        if !self.facts.capabilities.alter_configs {
            self.without_alter_configs(plan);
        }
        self.in_the_end(plan).await?;
        self.while_data_flows(plan).await?;
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
        for topic in &plan.topics {
            let Some(existing) = self.facts.existing.get(&topic.target) else { continue };
            let lacks = |operation| existing.operations.allows(operation) == Some(false);
            if topic.action == Action::Overwrite && lacks(Operation::Delete) {
                missing.push(format!("Delete on topic {:?}, which is to be overwritten", topic.target));
            }
        }
        if self.facts.capabilities.alter_configs {
            let changes = plan.topics.iter().map(|topic| (topic.target.clone(), set(&topic.configs_meanwhile)));
            let verdicts = self.cluster.alter_topic_configs(&changes.collect(), true).await;
            let denied = |(topic, verdict): (String, Result<(), KafkaError>)| {
                let error = verdict.err().filter(|error| error.kind() == Kind::Denied)?;
                Some(format!("AlterConfigs on topic {topic:?} ({error})"))
            };
            missing.extend(verdicts.into_iter().filter_map(denied));
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::NotAllowed(missing)) }
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
            let refused = self.refused_alone(topic, &topic.configs).await;
            let Plan { topics, warnings, refusals, .. } = &mut *plan;
            let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
            if refused.is_empty() {
                refusals.push(format!("topic {name:?} cannot be created as it is planned: {error}"));
            }
            topic.configs.retain(|setting, _| !refused.contains_key(setting));
            warnings.extend(
                refused.into_iter().map(|(setting, why)| {
                    format!("topic {name:?}: {setting} is left out, the target refuses it: {why}")
                }),
            );
        }
        Ok(())
    }

    /// The protective settings, on topics that are created and on those that are there.
    async fn while_data_flows(&self, plan: &mut Plan) -> Result<(), Error> {
        if !plan.refusals.is_empty() {
            return Ok(());
        }
        let mut tried = self.create(plan, |topic| protection::created_with(topic, self.facts)).await;
        let there = plan.topics.iter().filter_map(|topic| {
            let existing = self.facts.existing.get(&topic.target).filter(|_| is_kept(topic))?;
            Some((topic.target.clone(), set(&protection::changed(topic, existing))))
        });
        let there: BTreeMap<_, _> = there.filter(|(_, changes)| !changes.is_empty()).collect();
        tried.extend(self.cluster.alter_topic_configs(&there, true).await);
        for (name, error) in self.verdicts(plan, tried)? {
            let Some(topic) = plan.topics.iter().find(|topic| topic.target == name) else { continue };
            let refused = match self.facts.existing.get(&name).filter(|_| is_kept(topic)) {
                Some(existing) => self.refused_changes(topic, &protection::changed(topic, existing)).await,
                None => self.refused_alone(topic, &topic.configs_meanwhile).await,
            };
            let Plan { topics, warnings, refusals, .. } = &mut *plan;
            let Some(topic) = topics.iter_mut().find(|topic| topic.target == name) else { continue };
            if refused.is_empty() {
                refusals.push(format!("topic {name:?} cannot take the settings of a restore: {error}"));
            }
            for (setting, why) in refused {
                self.do_without(topic, &setting, &why.to_string(), warnings, refusals);
            }
        }
        Ok(())
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
        if setting == "max.message.bytes" {
            topic.max_batch_bytes = protection::max_batch_bytes_without(topic, self.facts);
        }
    }

    /// Asks whether topics can be created with a configuration. One that is still to be deleted has a name that cannot be
    /// created: it is tried under another name.
    async fn create(
        &self,
        plan: &Plan,
        configs: impl Fn(&TopicPlan) -> BTreeMap<String, String>,
    ) -> BTreeMap<String, Result<(), KafkaError>> {
        let created = plan.topics.iter().filter(|topic| !is_kept(topic));
        let tried: Vec<(String, NewTopic)> = created
            .map(|topic| {
                let name = self.name_to_try(topic);
                (topic.target.clone(), NewTopic { name, ..new_topic(topic, configs(topic)) })
            })
            .collect();
        let new: Vec<NewTopic> = tried.iter().map(|(_, new)| new.clone()).collect();
        let mut verdicts = self.cluster.create_topics(&new, true).await;
        let mut told = BTreeMap::new();
        for (target, new) in tried {
            let Some(verdict) = verdicts.remove(&new.name) else { continue };
            let verdict = match verdict {
                Err(error) if new.name != target && self.is_about_the_name(&target, &new, &error).await => Ok(()),
                verdict => verdict.map(drop),
            };
            told.insert(target, verdict);
        }
        told
    }

    /// Whether a refusal may be about the other name under which a topic is tried: this user may create topics of its own name
    /// only, or a policy wants names of some form. Then only the creation itself can tell.
    async fn is_about_the_name(&self, target: &str, tried: &NewTopic, error: &KafkaError) -> bool {
        match error.code() {
            Some(TOPIC_AUTHORIZATION_FAILED) => {
                let existing = self.facts.existing.get(target);
                existing.is_some_and(|existing| existing.operations.allows(Operation::Create) != Some(false))
            }
            Some(POLICY_VIOLATION) => !self.is_taken_bare(tried).await,
            Some(_) | None => false,
        }
    }

    /// Whether the topic could be created without any setting.
    async fn is_taken_bare(&self, topic: &NewTopic) -> bool {
        let bare = NewTopic { configs: BTreeMap::new(), ..topic.clone() };
        let verdict = self.cluster.create_topics(std::slice::from_ref(&bare), true).await.remove(&bare.name);
        verdict.is_some_and(|verdict| verdict.is_ok())
    }

    fn name_to_try(&self, topic: &TopicPlan) -> String {
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
                    let is_kept = plan.topics.iter().any(|topic| topic.target == name && is_kept(topic));
                    let operation = if is_kept { "AlterConfigs" } else { "Create" };
                    missing.push(format!("{operation} on topic {name:?} ({error})"));
                }
                Some(_) if matches!(error.kind(), Kind::Conflict | Kind::Usage) => refused.push((name, error)),
                Some(_) | None => return Err(Error::Topic { topic: name, error: Box::new(error) }),
            }
        }
        if missing.is_empty() { Ok(refused) } else { Err(Error::NotAllowed(missing)) }
    }

    /// Those settings with which a topic cannot be created even if it has no other.
    async fn refused_alone(
        &self,
        topic: &TopicPlan,
        configs: &BTreeMap<String, String>,
    ) -> BTreeMap<String, KafkaError> {
        let mut refused = BTreeMap::new();
        let bare = NewTopic { name: self.name_to_try(topic), ..new_topic(topic, BTreeMap::new()) };
        if !self.is_taken_bare(&bare).await {
            return refused;
        }
        for (setting, value) in configs {
            let new = NewTopic { configs: [(setting.clone(), value.clone())].into(), ..bare.clone() };
            let verdict = self.cluster.create_topics(std::slice::from_ref(&new), true).await.remove(&new.name);
            if let Some(Err(error)) = verdict.filter(|verdict| verdict.as_ref().is_err_and(is_about_a_setting)) {
                refused.insert(setting.clone(), error);
            }
        }
        refused
    }

    /// Those settings to which a topic that is there cannot be changed.
    async fn refused_changes(
        &self,
        topic: &TopicPlan,
        configs: &BTreeMap<String, String>,
    ) -> BTreeMap<String, KafkaError> {
        let mut refused = BTreeMap::new();
        for (setting, value) in configs {
            let alone = set(&[(setting.clone(), value.clone())].into());
            let change = [(topic.target.clone(), alone)].into();
            let verdict = self.cluster.alter_topic_configs(&change, true).await.remove(&topic.target);
            if let Some(Err(error)) = verdict.filter(|verdict| verdict.as_ref().is_err_and(is_about_a_setting)) {
                refused.insert(setting.clone(), error);
            }
        }
        refused
    }
}

/// Whether the topic is used as it is.
fn is_kept(topic: &TopicPlan) -> bool {
    match topic.action {
        Action::Use | Action::Append => true,
        Action::Create | Action::Overwrite => false,
    }
}

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
