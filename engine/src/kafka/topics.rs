//! Topics as an administrator sees them: configurations, creating and deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use uuid::Uuid;

use crate::kafka::api::Api;
use crate::kafka::cluster::{Asked, CONTROL_LANE, Cluster};
use crate::kafka::delete_records::timeout_ms;
use crate::kafka::error::{Error, Resource, TOPIC_ALREADY_EXISTS, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION};
use crate::kafka::metadata::{Metadata, string, topic_name};
use crate::kafka::retry::Budget;
use crate::kafka::rounds::{Rounds, left_out, of_all};

/// A controller writes one metadata record for each topic, each partition and each setting of a request, and refuses a
/// request of more than 10,000 records (`QuorumController.MAX_RECORDS_PER_USER_OP`). It takes its time for many: this
/// much stays well within a request's deadline.
const METADATA_RECORDS_PER_REQUEST: usize = 2_000;
/// Topics whose configuration one request asks for: about 50 entries come back for each.
const TOPICS_PER_REQUEST: usize = 500;

/// There are fewer brokers than replicas.
const INVALID_REPLICATION_FACTOR: i16 = 38;

const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

/// Where the value of a configuration entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic itself.
    Topic,
    /// Set on one broker or on all of them, while they run.
    DynamicBroker,
    /// From a broker's properties file.
    StaticBroker,
    /// Kafka's own default.
    Default,
    /// Something newer than this program, by its number.
    Other(i8),
}

impl ConfigSource {
    const fn from_id(id: i8) -> Self {
        match id {
            1 => Self::Topic,
            2 | 3 => Self::DynamicBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// One entry of an effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The setting's name.
    pub name: String,
    /// Its value; none if it is sensitive or has none.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether the broker keeps the value to itself.
    pub sensitive: bool,
}

/// Those entries that are set on the topic itself, which is what has to be restored.
pub fn overrides(entries: &[ConfigEntry]) -> BTreeMap<String, String> {
    let own = entries.iter().filter(|entry| entry.source == ConfigSource::Topic);
    own.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?))).collect()
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; at least 1.
    pub partitions: i32,
    /// On how many brokers each is; -1 for the cluster's default (Kafka 2.4).
    pub replication_factor: i16,
    /// What to set on the topic itself.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// How many records of cluster metadata its creation writes.
    fn metadata_records(&self) -> usize {
        1 + usize::try_from(self.partitions).unwrap_or(0) + self.configs.len()
    }
}

/// A change to one setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set it on the topic.
    Set(String),
    /// Take it off the topic, so that the broker's value holds again.
    Delete,
}

impl Cluster {
    /// The effective configuration of topics, every entry with its source; only the given settings if `names` says
    /// so. Every topic is in the result.
    pub async fn topic_configs(
        &self,
        topics: &BTreeSet<String>,
        names: Option<&[&str]>,
    ) -> BTreeMap<String, Result<Vec<ConfigEntry>, Error>> {
        let topics: Vec<String> = topics.iter().cloned().collect();
        let mut done = BTreeMap::new();
        for part in topics.chunks(TOPICS_PER_REQUEST) {
            let answers = self
                .ask_about_topics(DescribeConfigsRequest::NAME, part, Error::is_retriable, |topics| {
                    async move {
                        let resources: Vec<_> = topics.iter().map(|topic| (TOPIC_RESOURCE, topic.clone())).collect();
                        let response = self.call_any_once(|_| build_describe_configs(&resources, names)).await?;
                        Ok(process_describe_configs(response, |topic| Resource::Topic(topic.to_owned())))
                    }
                    .boxed()
                })
                .await;
            done.extend(answers);
        }
        done
    }

    /// The effective configuration of one broker.
    ///
    /// # Errors
    /// What the retry table does not retry, and [`Error::Exhausted`].
    pub async fn broker_config(&self, broker: i32, names: Option<&[&str]>) -> Result<Vec<ConfigEntry>, Error> {
        let resources = [(BROKER_RESOURCE, broker.to_string())];
        let mut retry = self.retry();
        loop {
            retry.ready().await;
            let build = |_| build_describe_configs(&resources, names);
            let answer = match self.call_once(broker, CONTROL_LANE, Duration::ZERO, build).await {
                Ok(response) => process_describe_configs(response, |_| Resource::Broker(broker))
                    .pop()
                    .map_or_else(|| Err(left_out(DescribeConfigsRequest::NAME, broker)), |(_, answer)| answer),
                Err(error) => Err(error),
            };
            match answer {
                Ok(entries) => return Ok(entries),
                Err(error) => retry.again(error).await?,
            }
        }
    }

    /// Creates topics, or only asks whether it would work. The topics' ids come back (nil before Kafka 2.8, and
    /// without meaning when only asking). Every topic is in the result. After a lost connection, a topic that is there with the number of
    /// partitions that was asked for counts as created by us.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> BTreeMap<String, Result<Uuid, Error>> {
        let mut done = BTreeMap::new();
        for part in portions(topics, NewTopic::metadata_records) {
            done.extend(self.create_portion(part, validate_only).await);
        }
        done
    }

    async fn create_portion(&self, topics: &[NewTopic], validate_only: bool) -> BTreeMap<String, Result<Uuid, Error>> {
        let timeout = self.request_timeout();
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let doubt = &AtomicBool::new(false);
        let may_pass = if validate_only { passes_at_controller } else { passes_at_creation };
        let mut answers = self
            .ask_about_topics(CreateTopicsRequest::NAME, &names, may_pass, |names| {
                async move {
                    let topics: Vec<&NewTopic> = topics.iter().filter(|topic| names.contains(&topic.name)).collect();
                    let build = |_| build_create_topics(&topics, validate_only, timeout_ms(timeout));
                    let outcome = self.call_controller_once(timeout / 2, build).await.map(process_create_topics);
                    if outcome.as_ref().is_err_and(Error::leaves_doubt) {
                        doubt.store(true, Ordering::Relaxed);
                    }
                    if let Ok(answers) = &outcome
                        && answers.iter().any(|(_, answer)| answer.as_ref().is_err_and(Error::leaves_doubt))
                    {
                        doubt.store(true, Ordering::Relaxed);
                    }
                    outcome
                }
                .boxed()
            })
            .await;
        if doubt.load(Ordering::Relaxed) && !validate_only {
            self.claim_existing(topics, &mut answers).await;
        }
        answers
    }

    async fn claim_existing(&self, topics: &[NewTopic], answers: &mut BTreeMap<String, Result<Uuid, Error>>) {
        let existing = |answer: &Result<Uuid, Error>| {
            answer.as_ref().is_err_and(|error| error.code() == Some(TOPIC_ALREADY_EXISTS))
        };
        let names: Vec<String> = answers.iter().filter(|(_, a)| existing(a)).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        // If nobody answers, "already exists" stands, which is true as well.
        let Ok(metadata) = self.metadata(Some(&names)).await else { return };
        for topic in topics.iter().filter(|topic| names.contains(&topic.name)) {
            if let Some(id) = has_partitions(&metadata, topic) {
                answers.insert(topic.name.clone(), Ok(id));
            }
        }
    }

    /// Deletes topics by their ids, so that a topic that was created again under the name meanwhile stays (KIP-516); by
    /// name where an id is nil, or the controller is older than Kafka 2.8. Every topic is in the result. A topic that is
    /// gone when the answer to an earlier try got lost counts as deleted by us.
    pub async fn delete_topics(&self, topics: &BTreeMap<String, Uuid>) -> BTreeMap<String, Result<(), Error>> {
        let names: Vec<String> = topics.keys().cloned().collect();
        let mut done = BTreeMap::new();
        for part in names.chunks(METADATA_RECORDS_PER_REQUEST) {
            done.extend(self.delete_portion(part, topics).await);
        }
        done
    }

    async fn delete_portion(
        &self,
        names: &[String],
        ids: &BTreeMap<String, Uuid>,
    ) -> BTreeMap<String, Result<(), Error>> {
        let timeout = self.request_timeout();
        let doubt = &AtomicBool::new(false);
        self.ask_about_topics(DeleteTopicsRequest::NAME, names, passes_at_controller, |topics| {
            async move {
                let build = |version| build_delete_topics(version, &topics, ids, timeout_ms(timeout));
                let outcome = self.call_controller_once(timeout / 2, build).await;
                let outcome = outcome.map(|response| process_delete_topics(response, ids));
                if outcome.as_ref().is_err_and(Error::leaves_doubt) {
                    doubt.store(true, Ordering::Relaxed);
                }
                let gone = |(topic, answer): (String, Result<(), Error>)| match answer {
                    Err(error) if is_unknown(&error) && doubt.load(Ordering::Relaxed) => (topic, Ok(())),
                    answer => (topic, answer),
                };
                outcome.map(|answers| answers.into_iter().map(gone).collect())
            }
            .boxed()
        })
        .await
    }

    /// Changes single settings of topics and leaves all others alone (KIP-339, Kafka 2.3). Every topic is in the
    /// result.
    pub async fn alter_topic_configs(
        &self,
        changes: &BTreeMap<String, BTreeMap<String, ConfigChange>>,
        validate_only: bool,
    ) -> BTreeMap<String, Result<(), Error>> {
        let topics: Vec<String> = changes.keys().cloned().collect();
        let mut done = BTreeMap::new();
        for part in portions(&topics, |topic| changes.get(topic).map_or(1, BTreeMap::len)) {
            let answers = self
                .ask_about_topics(IncrementalAlterConfigsRequest::NAME, part, passes_at_controller, |topics| {
                    async move {
                        let build = |_| build_alter_configs(&topics, changes, validate_only);
                        self.call_controller_once(Duration::ZERO, build).await.map(process_alter_configs)
                    }
                    .boxed()
                })
                .await;
            done.extend(answers);
        }
        done
    }

    /// Waits until each of these topics is there and all its partitions have a leader, however many it has.
    ///
    /// # Errors
    /// The first topic's failure when the time is up: `LEADER_NOT_AVAILABLE`, or what the metadata says about it.
    pub async fn await_created(&self, topics: &BTreeSet<String>, timeout: Duration) -> Result<(), Error> {
        let names: Vec<String> = topics.iter().cloned().collect();
        let mut budget = Budget::new(timeout, Instant::now(), 1);
        loop {
            let metadata = self.metadata(Some(&names)).await?;
            let Some(missing) = names.iter().find_map(|name| lacks(&metadata, name)) else { return Ok(()) };
            match budget.pause(Instant::now()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(exhausted(timeout, missing)),
            }
        }
    }

    /// Waits until none of these topics is there any more. A topic of the same name with another id is another topic.
    ///
    /// # Errors
    /// `TOPIC_ALREADY_EXISTS` of one that is still there when the time is up.
    pub async fn await_deleted(&self, topics: &BTreeMap<String, Uuid>, timeout: Duration) -> Result<(), Error> {
        let names: Vec<String> = topics.keys().cloned().collect();
        let mut budget = Budget::new(timeout, Instant::now(), 2);
        loop {
            let metadata = self.metadata(Some(&names)).await?;
            let Some(left) = topics.iter().find_map(|(name, id)| still_there(&metadata, name, *id)) else {
                return Ok(());
            };
            match budget.pause(Instant::now()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(exhausted(timeout, left)),
            }
        }
    }

    /// Makes one request about many topics, and again about those whose answer may be retried.
    async fn ask_about_topics<'a, T>(
        &self,
        api: &'static str,
        topics: &[String],
        may_pass: fn(&Error) -> bool,
        send: impl Fn(Arc<[String]>) -> Asked<'a, String, T>,
    ) -> BTreeMap<String, Result<T, Error>> {
        let mut rounds = Rounds::new(self.retry(), api, topics.iter().cloned());
        while let Some(open) = rounds.next().await {
            let answers = of_all(&open, send(open.clone().into()).await);
            rounds.settle(answers, may_pass).await;
        }
        rounds.done()
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error.code(), Some(UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID))
}

/// The controller knows all topics. What is unknown to any other broker may be new; what is unknown to it, is not there.
fn passes_at_controller(error: &Error) -> bool {
    error.is_retriable() && !is_unknown(error)
}

/// A broker that restarts is not registered for a while, and its replicas cannot be placed until it is back. That the factor is not too large
/// for the cluster was seen before.
fn passes_at_creation(error: &Error) -> bool {
    passes_at_controller(error) || error.code() == Some(INVALID_REPLICATION_FACTOR)
}

fn exhausted(timeout: Duration, last: Error) -> Error {
    Error::Exhausted { after_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX), last: Box::new(last) }
}

/// What a topic still lacks of being usable.
fn lacks(metadata: &Metadata, name: &str) -> Option<Error> {
    let error = |code| Error::Broker {
        resource: Resource::Topic(name.to_owned()),
        api: CreateTopicsRequest::NAME,
        code,
        message: Some("it was created, and has no leader for each partition yet".to_owned()),
    };
    let Some(topic) = metadata.topics.get(name) else { return Some(error(UNKNOWN_TOPIC_OR_PARTITION)) };
    if let Some(error) = &topic.error {
        return Some(error.clone());
    }
    let is_led = !topic.partitions.is_empty() && topic.partitions.iter().all(|partition| partition.leader.is_some());
    (!is_led).then(|| error(crate::kafka::error::LEADER_NOT_AVAILABLE))
}

/// Unless the cluster does not know the topic any more: the failure to report about it.
fn still_there(metadata: &Metadata, name: &str, id: Uuid) -> Option<Error> {
    let topic = metadata.topics.get(name);
    let is_gone = topic.and_then(|topic| topic.error.as_ref()).is_some_and(is_unknown);
    let is_another = topic.is_some_and(|topic| topic.error.is_none() && topic.id != id);
    (!is_gone && !is_another).then(|| Error::Broker {
        resource: Resource::Topic(name.to_owned()),
        api: DeleteTopicsRequest::NAME,
        code: TOPIC_ALREADY_EXISTS,
        message: Some("it was deleted, and is still there".to_owned()),
    })
}

/// The id of the topic if it is what was asked for.
fn has_partitions(metadata: &Metadata, asked: &NewTopic) -> Option<Uuid> {
    let topic = metadata.topics.get(&asked.name).filter(|topic| topic.error.is_none())?;
    (usize::try_from(asked.partitions) == Ok(topic.partitions.len())).then_some(topic.id)
}

/// Cuts a list of things into requests of at most [`METADATA_RECORDS_PER_REQUEST`], but at least one thing each.
fn portions<T>(things: &[T], metadata_records: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut portions = Vec::new();
    let (mut begin, mut sum) = (0, 0);
    for (at, thing) in things.iter().enumerate() {
        let records = metadata_records(thing);
        if at > begin && sum + records > METADATA_RECORDS_PER_REQUEST {
            portions.push(&things[begin..at]);
            (begin, sum) = (at, 0);
        }
        sum += records;
    }
    if begin < things.len() {
        portions.push(&things[begin..]);
    }
    portions
}

fn build_describe_configs(resources: &[(i8, String)], names: Option<&[&str]>) -> DescribeConfigsRequest {
    let keys = names.map(|names| names.iter().map(|name| string(name)).collect::<Vec<_>>());
    let resources = resources.iter().map(|(kind, name)| {
        DescribeConfigsResource::default()
            .with_resource_type(*kind)
            .with_resource_name(string(name))
            .with_configuration_keys(keys.clone())
    });
    DescribeConfigsRequest::default().with_resources(resources.collect())
}

fn process_describe_configs(
    response: DescribeConfigsResponse,
    resource: impl Fn(&str) -> Resource,
) -> Vec<(String, Result<Vec<ConfigEntry>, Error>)> {
    let answers = response.results.into_iter().map(|result| {
        let name = result.resource_name.to_string();
        let message = result.error_message.as_deref();
        let error = Error::from_code(DescribeConfigsRequest::NAME, result.error_code, || resource(&name), message);
        let entries = error.map_or_else(|| Ok(result.configs.into_iter().map(config_entry).collect()), Err);
        (name, entries)
    });
    answers.collect()
}

fn config_entry(entry: DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: entry.name.to_string(),
        value: entry.value.map(|value| value.to_string()),
        source: ConfigSource::from_id(entry.config_source),
        sensitive: entry.is_sensitive,
    }
}

fn build_create_topics(topics: &[&NewTopic], validate_only: bool, timeout_ms: i32) -> CreateTopicsRequest {
    let topics = topics.iter().map(|topic| {
        let configs = topic.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(string(name)).with_value(Some(string(value)))
        });
        CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication_factor)
            .with_configs(configs.collect())
    });
    CreateTopicsRequest::default()
        .with_topics(topics.collect())
        .with_validate_only(validate_only)
        .with_timeout_ms(timeout_ms)
}

fn process_create_topics(response: CreateTopicsResponse) -> Vec<(String, Result<Uuid, Error>)> {
    let answers = response.topics.into_iter().map(|topic| {
        let name = topic.name.to_string();
        let resource = || Resource::Topic(name.clone());
        let message = topic.error_message.as_deref();
        let error = Error::from_code(CreateTopicsRequest::NAME, topic.error_code, resource, message);
        (name, error.map_or(Ok(topic.topic_id), Err))
    });
    answers.collect()
}

fn build_delete_topics(
    version: i16,
    topics: &[String],
    ids: &BTreeMap<String, Uuid>,
    timeout_ms: i32,
) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
    if version >= 6 {
        let state = |topic: &String| match ids.get(topic).filter(|id| !id.is_nil()) {
            Some(id) => DeleteTopicState::default().with_name(None).with_topic_id(*id),
            None => DeleteTopicState::default().with_name(Some(topic_name(topic))),
        };
        request.with_topics(topics.iter().map(state).collect())
    } else {
        request.with_topic_names(topics.iter().map(|topic| topic_name(topic)).collect())
    }
}

fn process_delete_topics(
    response: DeleteTopicsResponse,
    ids: &BTreeMap<String, Uuid>,
) -> Vec<(String, Result<(), Error>)> {
    let answers = response.responses.into_iter().filter_map(|topic| {
        // An answer about an id has no name if the topic is not there, or may not be described.
        let by_id = || ids.iter().find(|(_, id)| **id == topic.topic_id).map(|(name, _)| name.clone());
        let name = topic.name.as_ref().map(|name| name.to_string()).or_else(by_id)?;
        let resource = || Resource::Topic(name.clone());
        let message = topic.error_message.as_deref();
        let error = Error::from_code(DeleteTopicsRequest::NAME, topic.error_code, resource, message);
        Some((name, error.map_or(Ok(()), Err)))
    });
    answers.collect()
}

fn build_alter_configs(
    topics: &[String],
    changes: &BTreeMap<String, BTreeMap<String, ConfigChange>>,
    validate_only: bool,
) -> IncrementalAlterConfigsRequest {
    let resources = topics.iter().map(|topic| {
        let changes = changes.get(topic).into_iter().flatten().map(|(name, change)| {
            let config = AlterableConfig::default().with_name(string(name));
            match change {
                ConfigChange::Set(value) => config.with_config_operation(0).with_value(Some(string(value))),
                ConfigChange::Delete => config.with_config_operation(1).with_value(None),
            }
        });
        AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(string(topic))
            .with_configs(changes.collect())
    });
    IncrementalAlterConfigsRequest::default().with_resources(resources.collect()).with_validate_only(validate_only)
}

fn process_alter_configs(response: IncrementalAlterConfigsResponse) -> Vec<(String, Result<(), Error>)> {
    let answers = response.responses.into_iter().map(|answer| {
        let name = answer.resource_name.to_string();
        let resource = || Resource::Topic(name.clone());
        let message = answer.error_message.as_deref();
        let api = IncrementalAlterConfigsRequest::NAME;
        let error = Error::from_code(api, answer.error_code, resource, message);
        (name, error.map_or(Ok(()), Err))
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
    use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::error::Kind;
    use crate::kafka::metadata::{PartitionMetadata, TopicMetadata};

    fn new_topic(name: &str, partitions: i32) -> NewTopic {
        let configs = [("retention.ms".to_owned(), "-1".to_owned())].into();
        NewTopic { name: name.to_owned(), partitions, replication_factor: 1, configs }
    }

    #[test]
    fn a_topic_is_created_when_enough_brokers_are_back() {
        let of = |code| Error::from_code("CreateTopics", code, || Resource::Topic("t".to_owned()), None).unwrap();
        assert!(passes_at_creation(&of(INVALID_REPLICATION_FACTOR)) && passes_at_creation(&of(41)));
        assert!(!passes_at_controller(&of(INVALID_REPLICATION_FACTOR)), "a plan says so at once");
        assert!(!passes_at_creation(&of(TOPIC_ALREADY_EXISTS)));
    }

    #[test]
    fn only_what_is_set_on_the_topic_is_an_override() {
        let entry = |name: &str, value: Option<&str>, source| {
            DescribeConfigsResourceResult::default()
                .with_name(string(name))
                .with_value(value.map(string))
                .with_config_source(source)
        };
        let result = DescribeConfigsResult::default().with_resource_name(string("t")).with_configs(vec![
            entry("cleanup.policy", Some("compact"), 1),
            entry("retention.ms", Some("5"), 4),
            entry("segment.ms", Some("7"), 5),
            entry("message.max.bytes", Some("9"), 3),
        ]);
        let response = DescribeConfigsResponse::default().with_results(vec![result]);
        let (_, entries) = process_describe_configs(response, |t| Resource::Topic(t.to_owned())).remove(0);
        let entries = entries.unwrap();
        assert_eq!(overrides(&entries), [("cleanup.policy".to_owned(), "compact".to_owned())].into());
        let sources: Vec<_> = entries.iter().map(|entry| entry.source).collect();
        use ConfigSource::*;
        assert_eq!(sources, [Topic, StaticBroker, Default, DynamicBroker]);
    }

    #[test]
    fn a_described_topic_without_permission_is_denied_by_name() {
        let result = DescribeConfigsResult::default()
            .with_resource_name(string("t"))
            .with_error_code(29)
            .with_error_message(Some(string("no")));
        let response = DescribeConfigsResponse::default().with_results(vec![result]);
        let (name, answer) = process_describe_configs(response, |t| Resource::Topic(t.to_owned())).remove(0);
        assert_eq!((name.as_str(), answer.unwrap_err().kind()), ("t", Kind::Denied));
    }

    #[test]
    fn creating_carries_partitions_replication_and_configuration() {
        let topic = new_topic("t", 3);
        let request = build_create_topics(&[&topic], true, 5);
        let built = &request.topics[0];
        assert_eq!((built.num_partitions, built.replication_factor, request.validate_only), (3, 1, true));
        assert_eq!(built.configs[0].value.as_deref(), Some("-1"));
        let answers = process_create_topics(CreateTopicsResponse::default().with_topics(vec![
            CreatableTopicResult::default().with_name(topic_name("t")).with_topic_id(Uuid::from_u128(4)),
            CreatableTopicResult::default().with_name(topic_name("u")).with_error_code(36),
        ]));
        assert_eq!(answers[0], ("t".to_owned(), Ok(Uuid::from_u128(4))));
        assert_eq!(answers[1].1.as_ref().unwrap_err().kind(), Kind::Conflict);
    }

    #[test]
    fn requests_to_create_topics_are_sized_by_the_metadata_records_they_cause() {
        let topics: Vec<_> = [1500, 400, 101, 5000, 1, 1].iter().map(|n| new_topic("t", *n)).collect();
        let sizes = |topics: &[NewTopic]| -> Vec<usize> {
            portions(topics, NewTopic::metadata_records).iter().map(|portion| portion.len()).collect()
        };
        assert_eq!(sizes(&topics), [2, 1, 1, 2]);
        assert!(sizes(&[]).is_empty());
        // One partition each, and eight settings: ten records a topic.
        let configs = (0..8).map(|n| (n.to_string(), String::new())).collect();
        let many = vec![NewTopic { configs, ..new_topic("t", 1) }; 450];
        assert_eq!(sizes(&many), [200, 200, 50]);
    }

    #[test]
    fn every_version_can_carry_a_deletion() {
        let ids: BTreeMap<_, _> = [("t".to_owned(), Uuid::from_u128(1)), ("u".to_owned(), Uuid::nil())].into();
        let names: Vec<String> = ids.keys().cloned().collect();
        for version in DeleteTopicsRequest::VERSIONS {
            let request = build_delete_topics(version, &names, &ids, 5);
            request.encode(&mut bytes::BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn a_topic_is_deleted_by_its_id_so_that_a_namesake_stays() {
        let ids: BTreeMap<_, _> = [("t".to_owned(), Uuid::from_u128(1)), ("u".to_owned(), Uuid::nil())].into();
        let names: Vec<String> = ids.keys().cloned().collect();
        let request = build_delete_topics(6, &names, &ids, 5);
        let sent: Vec<_> = request.topics.iter().map(|topic| (topic.name.is_some(), topic.topic_id)).collect();
        assert_eq!(sent, [(false, Uuid::from_u128(1)), (true, Uuid::nil())]);
        let response = DeleteTopicsResponse::default().with_responses(vec![
            DeletableTopicResult::default()
                .with_name(None)
                .with_topic_id(Uuid::from_u128(1))
                .with_error_code(UNKNOWN_TOPIC_ID),
            DeletableTopicResult::default().with_name(Some(topic_name("u"))).with_error_code(29),
        ]);
        let answers: BTreeMap<_, _> = process_delete_topics(response, &ids).into_iter().collect();
        assert!(is_unknown(answers["t"].as_ref().unwrap_err()));
        assert_eq!(answers["u"].as_ref().unwrap_err().kind(), Kind::Denied);
    }

    #[test]
    fn a_topic_that_the_controller_does_not_know_is_not_waited_for() {
        let error = |code| Error::from_code("DeleteTopics", code, || Resource::Topic("t".to_owned()), None).unwrap();
        assert!(!passes_at_controller(&error(UNKNOWN_TOPIC_OR_PARTITION)));
        assert!(!passes_at_controller(&error(UNKNOWN_TOPIC_ID)));
        assert!(passes_at_controller(&error(41)) && !passes_at_controller(&error(29)));
    }

    #[test]
    fn a_change_sets_or_takes_away_one_setting() {
        let changes: BTreeMap<_, _> = [(
            "t".to_owned(),
            [("a".to_owned(), ConfigChange::Set("1".to_owned())), ("b".to_owned(), ConfigChange::Delete)].into(),
        )]
        .into();
        let request = build_alter_configs(&["t".to_owned()], &changes, true);
        assert!(request.validate_only);
        let built: Vec<_> =
            request.resources[0].configs.iter().map(|c| (c.config_operation, c.value.is_some())).collect();
        assert_eq!(built, [(0, true), (1, false)]);
        let answers = process_alter_configs(IncrementalAlterConfigsResponse::default().with_responses(vec![
            AlterConfigsResourceResponse::default().with_resource_name(string("t")).with_error_code(40),
        ]));
        assert_eq!(answers[0].1.as_ref().unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn a_topic_is_there_when_each_of_its_partitions_has_a_leader() {
        let partition = |partition, leader| PartitionMetadata {
            partition,
            leader,
            leader_epoch: 0,
            replicas: vec![],
            isr: vec![],
            error: None,
        };
        let mut topic = TopicMetadata {
            name: "t".to_owned(),
            id: Uuid::from_u128(9),
            internal: false,
            partitions: vec![partition(0, Some(1)), partition(1, None)],
            error: None,
        };
        let metadata = |topic: &TopicMetadata| Metadata {
            cluster_id: None,
            controller: None,
            brokers: BTreeMap::new(),
            topics: [("t".to_owned(), topic.clone())].into(),
        };
        assert_eq!(lacks(&metadata(&topic), "t").unwrap().code(), Some(5));
        assert_eq!(lacks(&metadata(&topic), "u").unwrap().code(), Some(3));
        topic.partitions[1].leader = Some(2);
        assert_eq!(lacks(&metadata(&topic), "t"), None);
        assert!(still_there(&metadata(&topic), "t", Uuid::from_u128(9)).is_some());
        assert_eq!(still_there(&metadata(&topic), "t", Uuid::from_u128(8)), None, "a namesake is another topic");
        assert_eq!(has_partitions(&metadata(&topic), &new_topic("t", 2)), Some(Uuid::from_u128(9)));
        assert_eq!(has_partitions(&metadata(&topic), &new_topic("t", 3)), None);
    }
}
