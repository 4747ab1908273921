//! The settings under which a topic takes records of any age as they are, and what it means to do without one of them.
//!
//! They hold while data flows, on created and existing topics alike. A cluster may refuse some of them: a policy limits
//! `retention.ms`, a managed service does not let `compression.type` be set, an old broker cannot change single settings
//! at all. Most can be left out without harm, because the value that holds anyway does the same. Where records would be
//! lost, the plan refuses before anything is changed.

use std::collections::BTreeMap;

use super::{Action, Existing, MAX_MESSAGE_BYTES_DEFAULT, TargetFacts, TopicPlan};
use crate::format::manifest::{PartitionSummary, TopicSummary};
use crate::format::run::Content;

/// What remains on the local disk of a broker with tiered storage while everything is kept remotely, per partition: one
/// segment of the default size.
const LOCAL_RETENTION_BYTES: u64 = 1 << 30;
/// The size of segments unless it is set otherwise (`log.segment.bytes`).
const SEGMENT_BYTES_DEFAULT: u64 = 1 << 30;

/// The protective settings of a topic.
pub fn settings(
    is_created: bool,
    max_batch_bytes: u64,
    own: &BTreeMap<String, String>,
    facts: &TargetFacts,
) -> BTreeMap<String, String> {
    let forever = i64::MAX.to_string();
    let mut settings: BTreeMap<String, String> = [
        ("cleanup.policy", "delete"),
        ("compression.type", "producer"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let limits: &[&str] = if facts.has_timestamp_before_and_after {
        &["message.timestamp.after.max.ms", "message.timestamp.before.max.ms"]
    } else {
        &["message.timestamp.difference.max.ms"]
    };
    settings.extend(limits.iter().map(|name| ((*name).to_owned(), forever.clone())));
    if is_created {
        settings.insert("max.message.bytes".to_owned(), max_batch_bytes.to_string());
    }
    // Local retention without a limit of its own (-2) follows retention.bytes: the restore would fill the local disks (KIP-405).
    let is_tiered = own.get("remote.storage.enable").is_some_and(|value| value == "true");
    let follows = |name: &str| own.get(name).is_none_or(|value| value == "-2");
    if is_tiered && follows("local.retention.bytes") && follows("local.retention.ms") {
        settings.insert("local.retention.bytes".to_owned(), LOCAL_RETENTION_BYTES.to_string());
    }
    settings
}

/// The value of a setting that holds when the restore does not set it; `None` if the target does not tell.
fn effective<'f>(name: &str, topic: &'f TopicPlan, facts: &'f TargetFacts) -> Option<&'f str> {
    let existing = || facts.existing.get(&topic.target).and_then(|existing| existing.effective.get(name));
    let archived = || topic.configs.get(name).or_else(|| facts.defaults.get(name));
    let value = match topic.action {
        Action::Create | Action::Overwrite => archived(),
        Action::Use | Action::Append => existing(),
    };
    value.map(String::as_str)
}

/// The configuration that a topic is created with: the archived one under those protective settings that change anything.
/// What the cluster's defaults do already is not set, since some clusters refuse it all the same.
pub fn created_with(topic: &TopicPlan, facts: &TargetFacts) -> BTreeMap<String, String> {
    match topic.action {
        Action::Create | Action::Overwrite => {}
        Action::Use | Action::Append => return BTreeMap::new(),
    }
    let mut configs = topic.configs.clone();
    for (name, value) in &topic.configs_meanwhile {
        if effective(name, topic, facts) != Some(value) {
            configs.insert(name.clone(), value.clone());
        }
    }
    configs
}

/// The protective settings that change something on a topic that is there.
pub fn changed(topic: &TopicPlan, existing: &Existing) -> BTreeMap<String, String> {
    let differs = |(name, value): &(&String, &String)| existing.effective.get(*name) != Some(*value);
    topic.configs_meanwhile.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether the protective settings make a compacted topic that is there one from which brokers delete old records: a retention that
/// the restore does not lift holds as soon as `cleanup.policy` is `delete`.
pub fn would_delete_what_is_there(topic: &TopicPlan, existing: &Existing) -> bool {
    const POLICY: &str = "cleanup.policy";
    let own = existing.effective.get(POLICY).is_some_and(|policy| !policy.contains("delete"));
    let becomes = topic.configs_meanwhile.get(POLICY).is_some_and(|policy| policy.contains("delete"));
    let is_endless = |name: &str| {
        let value = topic.configs_meanwhile.get(name).or_else(|| existing.effective.get(name));
        value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|limit| limit < 0)
    };
    own && becomes && !(is_endless("retention.ms") && is_endless("retention.bytes"))
}

/// What is set on a topic after the data, `None` for what is not set on it: all of the archived configuration on a topic
/// that the restore creates, and on one that was there before what the protective settings change.
pub fn afterwards(topic: &TopicPlan, existing: Option<&Existing>) -> BTreeMap<String, Option<String>> {
    let meanwhile = |own: &BTreeMap<String, String>| -> BTreeMap<String, Option<String>> {
        topic.configs_meanwhile.keys().map(|name| (name.clone(), own.get(name).cloned())).collect()
    };
    match (topic.action, existing) {
        (Action::Use | Action::Append, Some(existing)) => meanwhile(&existing.configs),
        (Action::Create | Action::Overwrite | Action::Use | Action::Append, _) => {
            let mut after = meanwhile(&topic.configs);
            after.extend(topic.configs.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
            after
        }
    }
}

/// What it means to do without a protective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Harm {
    /// The value that holds anyway does the same.
    None,
    /// What may happen, and is noticed if it does; nothing is lost that cannot be restored again.
    Risk(String),
    /// Which records would be lost or changed, for certain.
    Loss(String),
}

/// What it means for this topic to do without the setting; `at_ms` is the time of the restore, in milliseconds since the
/// epoch, `start_ms` the earliest timestamp that is restored. What a topic that is overwritten may lose, it must be taken to
/// lose: it could not be restored again under another name.
pub fn without(
    name: &str,
    source: &TopicSummary,
    topic: &TopicPlan,
    facts: &TargetFacts,
    start_ms: Option<i64>,
    at_ms: i64,
) -> Harm {
    let may_lose = |text: String| match topic.action {
        Action::Overwrite => Harm::Loss(text),
        Action::Create | Action::Use | Action::Append => Harm::Risk(text),
    };
    let behind = |limit_ms: i64| {
        let oldest_taken_ms = at_ms.saturating_sub(limit_ms);
        if start_ms.is_some_and(|start_ms| start_ms >= oldest_taken_ms) {
            return Harm::None;
        }
        // Of times only the latest of each partition is known.
        match partitions(source, |partition| newest_ms(partition) < oldest_taken_ms) {
            0 => may_lose(format!("it is {limit_ms}: older records are refused; give a startTime to leave them out")),
            behind => Harm::Loss(format!(
                "it is {limit_ms}: all records of {behind} partitions are older and would be refused; give a startTime to leave \
                 them out"
            )),
        }
    };
    let effective = effective(name, topic, facts);
    if effective == topic.configs_meanwhile.get(name).map(String::as_str) {
        return Harm::None;
    }
    let shown = effective.unwrap_or("not known");
    let number = effective.and_then(|value| value.parse::<i64>().ok());
    match name {
        "compression.type" => Harm::Risk(format!("it is {shown}: brokers may compress the batches again")),
        "cleanup.policy" => {
            Harm::Risk(format!("it is {shown}: the log cleaner may remove superseded records while the restore runs"))
        }
        "message.timestamp.type" => match effective {
            Some("CreateTime") => Harm::None,
            Some(_) => Harm::Loss(format!("it is {shown}: every record would get the time of the restore")),
            None => may_lose("it is not known: records may get the time of the restore".to_owned()),
        },
        "retention.ms" => match number {
            Some(retention_ms) if retention_ms < 0 => Harm::None,
            Some(retention_ms) => expiry(source, retention_ms, start_ms, at_ms),
            None => may_lose("it is not known: brokers may delete old records while the restore runs".to_owned()),
        },
        "retention.bytes" => match number.map(u64::try_from) {
            Some(Err(_)) => Harm::None,
            Some(Ok(limit)) => match partitions(source, |partition| partition.content.raw_bytes > limit) {
                0 => Harm::Risk(format!("it is {limit}: brokers may delete records if a partition grows beyond it")),
                over => Harm::Loss(format!("it is {limit}, and {over} partitions of the backup hold more bytes")),
            },
            None => may_lose("it is not known: brokers may delete records while the restore runs".to_owned()),
        },
        "message.timestamp.after.max.ms" => match number {
            Some(limit_ms) => ahead(source, limit_ms, at_ms),
            None => may_lose("it is not known: records with timestamps ahead of now may be refused".to_owned()),
        },
        "message.timestamp.before.max.ms" => match number {
            Some(limit_ms) => behind(limit_ms),
            None => may_lose("it is not known: records with timestamps long past may be refused".to_owned()),
        },
        "message.timestamp.difference.max.ms" => match number {
            Some(limit_ms) => match ahead(source, limit_ms, at_ms) {
                Harm::None => behind(limit_ms),
                harm => harm,
            },
            None => may_lose("it is not known: records with timestamps far from now may be refused".to_owned()),
        },
        "max.message.bytes" => match number.map(u64::try_from) {
            Some(Ok(limit)) if topic.needed_batch_bytes <= limit => Harm::None,
            _ => may_lose(format!(
                "it is {shown}: larger batches are split, and a record that is larger alone is refused"
            )),
        },
        _ => Harm::None,
    }
}

fn newest_ms(partition: &PartitionSummary) -> i64 {
    partition.content.max_timestamp_ms.0
}

/// Partitions with records of which this is so.
fn partitions(source: &TopicSummary, is_so: impl Fn(&PartitionSummary) -> bool) -> usize {
    source.partitions.iter().filter(|partition| partition.content.records > 0 && is_so(partition)).count()
}

/// Whether a limit for timestamps ahead of the broker's time refuses records. The largest of each partition are known.
fn ahead(source: &TopicSummary, limit_ms: i64, at_ms: i64) -> Harm {
    match partitions(source, |partition| newest_ms(partition) > at_ms.saturating_add(limit_ms)) {
        0 => Harm::None,
        ahead => Harm::Loss(format!(
            "it is {limit_ms}: {ahead} partitions of the backup hold records that are further ahead and would be refused"
        )),
    }
}

fn expiry(source: &TopicSummary, retention_ms: i64, start_ms: Option<i64>, at_ms: i64) -> Harm {
    let oldest_kept_ms = at_ms.saturating_sub(retention_ms);
    if start_ms.is_some_and(|start_ms| start_ms >= oldest_kept_ms) {
        return Harm::None;
    }
    match partitions(source, |partition| newest_ms(partition) < oldest_kept_ms) {
        0 => Harm::Risk(format!(
            "it is {retention_ms}: if brokers delete older records while the restore runs, the restore ends with a conflict; \
             give a startTime to leave them out"
        )),
        expired => Harm::Loss(format!(
            "it is {retention_ms}: all records of {expired} partitions are older and would be deleted at once; give a \
             startTime to leave old records out, or let the cluster allow a longer retention"
        )),
    }
}

/// The retention, in milliseconds, under which an overwritten topic is written to; `None` when the restore lifts it, or when
/// there is none.
pub fn limited_retention(topic: &TopicPlan, facts: &TargetFacts) -> Option<i64> {
    if topic.action != Action::Overwrite || topic.configs_meanwhile.contains_key("retention.ms") {
        return None;
    }
    let retention_ms = effective("retention.ms", topic, facts)?.parse::<i64>().ok()?;
    (retention_ms >= 0).then_some(retention_ms)
}

/// Why a topic must not be overwritten under this retention: runs of the backup hold only older records. The largest
/// timestamp of a whole partition would hide them behind one record that is young.
pub fn expiring_runs<'r>(
    target: &str,
    retention_ms: i64,
    runs: impl Iterator<Item = &'r Content>,
    start_ms: Option<i64>,
    at_ms: i64,
) -> Option<String> {
    let oldest_kept_ms = at_ms.saturating_sub(retention_ms);
    if start_ms.is_some_and(|start_ms| start_ms >= oldest_kept_ms) {
        return None;
    }
    let expiring = runs.filter(|run| run.records > 0 && run.max_timestamp_ms.0 < oldest_kept_ms).count();
    (expiring > 0).then(|| {
        format!(
            "topic {target:?}: retention.ms cannot be set while the restore runs, it is {retention_ms}, and {expiring} runs of the \
             backup hold only older records, which brokers may delete before the restore ends; give a startTime to leave old \
             records out, let the cluster allow a longer retention, or restore under another name (topicMapping)"
        )
    })
}

/// Whether records of any age stay in a topic that has the settings `after` the restore: then it can get them back although
/// the restore is not complete. What is not in `after` is as it is now.
pub fn survives(target: &str, after: &BTreeMap<String, Option<String>>, facts: &TargetFacts) -> bool {
    let value = |name: &str| match after.get(name) {
        Some(Some(value)) => Some(value),
        Some(None) => facts.defaults.get(name),
        None => facts.existing.get(target).and_then(|existing| existing.effective.get(name)),
    };
    let is_endless =
        |name: &str| value(name).and_then(|value| value.parse::<i64>().ok()).is_some_and(|limit| limit < 0);
    let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    !deletes || (is_endless("retention.ms") && is_endless("retention.bytes"))
}

/// The largest batch that a created topic takes when its limit cannot be set, in bytes.
pub fn max_batch_bytes_without(topic: &TopicPlan, facts: &TargetFacts) -> u64 {
    let limit = effective("max.message.bytes", topic, facts).and_then(|value| value.parse().ok());
    limit.or(facts.message_bytes_min).unwrap_or(MAX_MESSAGE_BYTES_DEFAULT).min(topic.max_batch_bytes)
}

/// The largest batch that a topic with these settings takes, in bytes, whatever `max.message.bytes` is; and what lets it take larger ones.
/// `has_to_fit`: whether nothing may depend on settings that brokers do not tell.
pub fn batch_limit(has_to_fit: bool, own: &BTreeMap<String, String>, facts: &TargetFacts) -> (u64, &'static str) {
    let segments = "restore under another name (topicMapping), into a topic with larger segments (segment.bytes)";
    let by_requests = match has_to_fit {
        true => facts.request_limit.sure_batch_bytes_max(),
        false => facts.request_limit.batch_bytes_max(),
    };
    let requests = if facts.request_limit.is_whole {
        "let its brokers take larger requests (socket.request.max.bytes)"
    } else {
        "grant this user DescribeConfigs on the cluster and see that all brokers answer, so that it is known how large requests they take \
         (socket.request.max.bytes)"
    };
    (segment_bytes(own, facts), segments).min((by_requests, requests))
}

/// The largest segment of a topic with these settings, in bytes: a broker refuses a batch that is larger
/// (`RECORD_LIST_TOO_LARGE`, `UnifiedLog.append` in Kafka).
fn segment_bytes(own: &BTreeMap<String, String>, facts: &TargetFacts) -> u64 {
    let own = own.get("segment.bytes").and_then(|value| value.parse().ok());
    own.or(facts.segment_bytes_min).unwrap_or(SEGMENT_BYTES_DEFAULT)
}
