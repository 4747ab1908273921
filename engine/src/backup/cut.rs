//! The cut: what a backup is to hold, fixed before the first record is read.
//!
//! The order of the questions matters. Log start offsets come first, committed offsets next, ends last: so every committed
//! record that a group had read is in the backup, and nothing that was there at the beginning is missed. Only a group that
//! reads uncommitted records may have a committed offset beyond the end of a partition, behind its last stable offset; a
//! restore puts such a group at the end.

mod groups;

use std::collections::{BTreeMap, BTreeSet};

use super::{Error, lines};
use crate::config::backup::Checked;
use crate::format::layout::BackupId;
use crate::format::manifest::{Cut, OpenTransaction, PartitionCut, TopicCut};
use crate::format::segment::TopicKey;
use crate::kafka::list_offsets::{ListedOffset, Position};
use crate::kafka::topics::{ConfigEntry, overrides};
use crate::kafka::{Cluster, TopicMetadata, TopicPartition};
use crate::select::{Selection, select};
use crate::system_topics::is_system_topic;

/// Settings of a topic whose old records are in other storage than the disks of the brokers, when they are true: of Apache Kafka (KIP-405)
/// and of Confluent.
const TIERED: [&str; 2] = ["remote.storage.enable", "confluent.tier.enable"];
/// What settings of Redpanda begin with. Its tiered storage has several, and its logs lack offsets that were never records (those of
/// `tx_fence` batches), so that missing offsets prove nothing there.
const REDPANDA: &str = "redpanda.";

type Listed = BTreeMap<TopicPartition, Result<ListedOffset, crate::kafka::Error>>;
type Configs = BTreeMap<String, Result<Vec<ConfigEntry>, crate::kafka::Error>>;

/// Asks the cluster all that a cut is made of.
///
/// # Errors
/// When a topic that was named is not there, when nothing is selected, or when the cluster cannot be asked. What is
/// missing of the rest makes a partial backup, and stands in [`Cut::problems`].
pub async fn take(cluster: &Cluster, config: &Checked, backup_id: BackupId, now_ms: i64) -> Result<Cut, Error> {
    // Asked before and after: what begins or ends meanwhile is in one of them.
    let mut factors = reassigned_factors(cluster).await;
    let known = cluster.all_topics().await?;
    factors.extend(reassigned_factors(cluster).await);
    let mut notes = Notes::default();
    let topics = selected_topics(&known, config, &mut notes)?;
    hidden_topics(cluster, config, &mut notes).await;
    let names: BTreeSet<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    cluster.follow_known(&known, &names);
    let configs = cluster.topic_configs(&names, None).await;
    let partitions: Vec<TopicPartition> = topics.iter().flat_map(|topic| partitions_of(topic)).collect();

    let starts = cluster.list_offsets(partitions.iter().cloned(), Position::Earliest).await;
    let groups = groups::take(cluster, config, &names, &mut notes).await;
    let answered = answered(partitions, &starts);
    let high_watermarks = cluster.list_offsets(answered.iter().cloned(), Position::HighWatermark).await;
    let ends = cluster.list_offsets(answered.iter().cloned(), Position::LastStable).await;

    let topics = topics
        .into_iter()
        .map(|topic| {
            let replication_factor = replication_factor(topic, &factors);
            topic_cut(topic, replication_factor, &configs, [&starts, &high_watermarks, &ends], &mut notes)
        })
        .collect::<Vec<_>>();
    let open_transactions = open_transactions(cluster, &topics, &mut notes).await;
    Ok(Cut {
        backup_id,
        at_ms: now_ms,
        source_cluster_id: cluster.cluster_id().unwrap_or_default(),
        selection: config.selection(),
        topics,
        groups,
        open_transactions,
        problems: notes.problems,
        warnings: notes.warnings,
    })
}

/// What is to be told about the cut, each in one line.
#[derive(Debug, Default)]
struct Notes {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Notes {
    fn problem(&mut self, problem: String) {
        tracing::error!("{problem}");
        self.problems.push(problem);
    }

    fn warning(&mut self, warning: String) {
        tracing::warn!("{warning}");
        self.warnings.push(warning);
    }
}

fn selected_topics<'a>(
    known: &'a BTreeMap<String, TopicMetadata>,
    config: &Checked,
    notes: &mut Notes,
) -> Result<Vec<&'a TopicMetadata>, Error> {
    // A topic of an add-on is no user data, and harmful in another cluster: a pattern does not take it, its exact name does.
    let candidates: Vec<&str> = known
        .values()
        .filter(|topic| !topic.internal)
        .map(|topic| topic.name.as_str())
        .filter(|name| !is_system_topic(name) || config.topics.names(name))
        .collect();
    let Selection { names, missing, idle } = select(candidates.iter().copied(), &config.topics, &config.exclude_topics);
    if !missing.is_empty() {
        let internal = missing.iter().any(|name| known.get(name).is_some_and(|topic| topic.internal));
        return Err(Error::NoSuchTopic { topics: missing, internal });
    }
    if names.is_empty() {
        return Err(Error::NothingSelected {
            known: candidates.len(),
            topics: config.config.topics.clone(),
            exclude_topics: config.config.exclude_topics.clone(),
        });
    }
    // An expression may be there for topics that are still to come; a name that fits nothing is an error.
    for pattern in idle {
        notes.warning(format!("the topic pattern {pattern:?} fits no topic"));
    }
    let (whole, broken): (Vec<_>, Vec<_>) =
        names.iter().filter_map(|name| known.get(name)).partition(|topic| topic.error.is_none());
    for topic in broken {
        let error = topic.error.as_ref().map(ToString::to_string).unwrap_or_default();
        notes.problem(format!("topic {:?} is not in the backup: {error}", topic.name));
    }
    Ok(whole)
}

/// A list of all topics leaves out those that this user may not describe, and is no error. A backup of all topics warns of it.
async fn hidden_topics(cluster: &Cluster, config: &Checked, notes: &mut Notes) {
    let nobodys = format!("kafka-backup-{}", uuid::Uuid::new_v4());
    // Only what asks for everything fits such a name.
    if select([nobodys.as_str()].into_iter(), &config.topics, &config.exclude_topics).names.is_empty() {
        return;
    }
    match cluster.sees_topic(&nobodys).await {
        Ok(true) => {}
        Ok(false) => notes.warning(
            "the user may not describe every topic: topics that are hidden from it are not in the backup (it lacks Describe on all \
             topics)"
                .to_owned(),
        ),
        Err(error) => {
            notes.warning(format!("whether the cluster has topics that are hidden from this user is not known: {error}"));
        }
    }
}

fn partitions_of(topic: &TopicMetadata) -> impl Iterator<Item = TopicPartition> {
    topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition))
}

/// The partitions to ask the other questions of. One that did not answer the first has been waited for already, for the retry timeout.
fn answered(partitions: Vec<TopicPartition>, starts: &Listed) -> Vec<TopicPartition> {
    partitions.into_iter().filter(|partition| starts.get(partition).is_some_and(Result::is_ok)).collect()
}

fn topic_cut(
    topic: &TopicMetadata,
    replication_factor: i16,
    configs: &Configs,
    listed: [&Listed; 3],
    notes: &mut Notes,
) -> TopicCut {
    let (configs, cleaning, tiered) = match configs.get(&topic.name) {
        Some(Ok(entries)) => (overrides(entries), CleanerConfig::of(entries), is_tiered(entries)),
        // Reading it as compacted is slower, and right either way, except that nothing may be taken for cleaned.
        failed => {
            let error = failed.and_then(|failed| failed.as_ref().err()).map(ToString::to_string).unwrap_or_default();
            notes.problem(lines::without_configuration(&topic.name, &error));
            let cleaning = CleanerConfig { is_compacted: true, is_unknown: true, delete_retention_ms: None };
            (BTreeMap::new(), cleaning, false)
        }
    };
    let partitions = topic.partitions.iter().map(|partition| {
        let key = (topic.name.clone(), partition.partition);
        partition_cut(&key, listed, notes)
    });
    TopicCut {
        topic: TopicKey { name: topic.name.clone(), id: topic.id },
        replication_factor,
        configs,
        compacted: cleaning.is_compacted,
        config_unknown: cleaning.is_unknown,
        delete_retention_ms: cleaning.delete_retention_ms,
        tiered,
        partitions: partitions.collect(),
    }
}

/// Whether a topic's effective configuration may have old records in other storage: a cluster may say so for all topics.
fn is_tiered(entries: &[ConfigEntry]) -> bool {
    let is_on = |entry: &ConfigEntry| TIERED.contains(&entry.name.as_str()) && entry.value.as_deref() == Some("true");
    entries.iter().any(|entry| is_on(entry) || entry.name.starts_with(REDPANDA))
}

/// What a topic's configuration says about the log cleaner.
struct CleanerConfig {
    is_compacted: bool,
    is_unknown: bool,
    delete_retention_ms: Option<i64>,
}

impl CleanerConfig {
    fn of(entries: &[ConfigEntry]) -> Self {
        let value = |name: &str| entries.iter().find(|entry| entry.name == name)?.value.as_deref();
        let policy = value("cleanup.policy");
        let is_compacted = policy.is_some_and(|policy| policy.contains("compact"));
        Self {
            is_compacted,
            // A broker that leaves the setting out says nothing about it.
            is_unknown: policy.is_none(),
            delete_retention_ms: value("delete.retention.ms").and_then(|ms| ms.parse().ok()).filter(|_| is_compacted),
        }
    }
}

async fn reassigned_factors(cluster: &Cluster) -> BTreeMap<TopicPartition, usize> {
    cluster.reassigned_factors().await.unwrap_or_else(|error| {
        tracing::debug!(%error, "which partitions are being reassigned is not known");
        BTreeMap::new()
    })
}

/// The replication factor of most partitions. During a reassignment, metadata lists old and new replicas together (KIP-455): for partitions in
/// `reassigned`, the number after the reassignment is used.
fn replication_factor(topic: &TopicMetadata, reassigned: &BTreeMap<TopicPartition, usize>) -> i16 {
    let mut partitions_by_factor: BTreeMap<usize, usize> = BTreeMap::new();
    for partition in &topic.partitions {
        let known = reassigned.get(&(topic.name.clone(), partition.partition)).copied();
        let factor = known.filter(|factor| *factor > 0).unwrap_or(partition.replicas.len());
        *partitions_by_factor.entry(factor).or_default() += 1;
    }
    // Of two that are equally frequent, the smaller one: a reassignment adds replicas before it removes any.
    let most =
        partitions_by_factor.iter().max_by_key(|(factor, partitions)| (**partitions, std::cmp::Reverse(**factor)));
    i16::try_from(most.map_or(1, |(factor, _)| *factor)).unwrap_or(i16::MAX)
}

fn partition_cut(
    key: &TopicPartition,
    [starts, high_watermarks, ends]: [&Listed; 3],
    notes: &mut Notes,
) -> PartitionCut {
    let listed = |listed: &Listed| match listed.get(key) {
        Some(Ok(listed)) if listed.offset < 0 => Err(format!("the broker returned offset {}", listed.offset)),
        Some(Ok(listed)) => Ok(*listed),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the cluster said nothing about it".to_owned()),
    };
    let found = listed(starts).and_then(|start| Ok((start.offset, listed(high_watermarks)?.offset, listed(ends)?)));
    match found {
        Ok((start_offset, high_watermark, end)) => PartitionCut {
            partition: key.1,
            start_offset,
            // DeleteRecords or retention between the two questions may have moved the start over the end that was.
            end_offset: end.offset.max(start_offset),
            high_watermark: high_watermark.max(end.offset),
            leader_epoch: Some(end.leader_epoch).filter(|epoch| *epoch >= 0),
            missing: false,
        },
        Err(error) => {
            notes.problem(format!("partition {}-{} is not in the backup: {error}", key.0, key.1));
            PartitionCut {
                partition: key.1,
                start_offset: 0,
                end_offset: 0,
                high_watermark: 0,
                leader_epoch: None,
                missing: true,
            }
        }
    }
}

/// Names what holds back the end of partitions: transactions that are neither committed nor aborted.
async fn open_transactions(cluster: &Cluster, topics: &[TopicCut], notes: &mut Notes) -> Vec<OpenTransaction> {
    let held: BTreeMap<TopicPartition, &PartitionCut> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.name.clone(), partition)))
        .filter(|(_, partition)| partition.high_watermark > partition.end_offset)
        .map(|(topic, partition)| ((topic, partition.partition), partition))
        .collect();
    if held.is_empty() {
        return Vec::new();
    }
    let mut answers = cluster.open_transactions(held.keys().cloned()).await;
    let mut open = Vec::new();
    for ((topic, partition), cut) in held {
        let answer = answers.remove(&(topic.clone(), partition)).and_then(Result::ok).flatten().unwrap_or_default();
        let first = answer.iter().min_by_key(|transaction| transaction.start_offset);
        let transaction = OpenTransaction {
            topic,
            partition,
            producer_id: first.map(|transaction| transaction.producer_id),
            start_offset: cut.end_offset,
            last_timestamp_ms: first.map(|transaction| transaction.last_timestamp_ms),
            held_back: cut.high_watermark - cut.end_offset,
        };
        notes.warning(describe(&transaction));
        open.push(transaction);
    }
    open
}

fn describe(open: &OpenTransaction) -> String {
    let OpenTransaction { topic, partition, producer_id, start_offset, last_timestamp_ms, held_back } = open;
    let producer = producer_id.map_or_else(|| "an unknown producer".to_owned(), |id| format!("producer {id}"));
    let since = last_timestamp_ms
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(String::new, |at| format!(", last written to at {at}"));
    format!(
        "{topic}-{partition}: a transaction of {producer} is open since offset {start_offset}{since}: \
         {held_back} offsets after it are not in this backup"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::metadata::PartitionMetadata;
    use crate::kafka::topics::ConfigSource;

    fn topic(factors: &[usize]) -> TopicMetadata {
        let partition = |(replicas, partition): (&usize, i32)| PartitionMetadata {
            partition,
            leader: Some(0),
            leader_epoch: 0,
            replicas: (0..).take(*replicas).collect(),
            isr: vec![],
            error: None,
        };
        TopicMetadata {
            name: "t".to_owned(),
            id: uuid::Uuid::nil(),
            internal: false,
            partitions: factors.iter().zip(0..).map(partition).collect(),
            error: None,
        }
    }

    #[test]
    fn a_partition_that_nobody_answers_for_is_waited_for_once() {
        let partition = |number| ("t".to_owned(), number);
        let listed = ListedOffset { offset: 5, timestamp: -1, leader_epoch: 0 };
        let starts = [
            (partition(0), Ok(listed)),
            (partition(1), Err(crate::kafka::Error::UnknownBroker { id: 1 })),
            (partition(3), Ok(listed)),
        ];
        let asked = answered((0..4).map(partition).collect(), &starts.into());
        assert_eq!(asked, [partition(0), partition(3)]);
    }

    #[test]
    fn a_partition_that_is_being_reassigned_does_not_raise_the_replication_factor() {
        let unknown = |factors| replication_factor(&topic(factors), &BTreeMap::new());
        assert_eq!([unknown(&[3, 3, 6]), unknown(&[3, 6]), unknown(&[1]), unknown(&[])], [3, 3, 1, 1]);
        // All partitions move.
        let moving = |factors: &[usize], factor: usize| {
            let known = (0..).take(factors.len()).map(|partition| (("t".to_owned(), partition), factor)).collect();
            replication_factor(&topic(factors), &known)
        };
        assert_eq!([moving(&[6], 3), moving(&[6, 6], 3), moving(&[2], 1), moving(&[3], 3)], [3, 3, 1, 3]);
    }

    fn entry(name: &str, value: &str) -> ConfigEntry {
        let (name, value) = (name.to_owned(), Some(value.to_owned()));
        ConfigEntry { name, value, source: ConfigSource::Default, sensitive: false }
    }

    #[test]
    fn a_topic_is_in_tiered_storage_where_its_cluster_says_so_for_all_topics() {
        let of = |entries: &[ConfigEntry]| {
            let configs: Configs = [("t".to_owned(), Ok(entries.to_vec()))].into();
            let nothing = Listed::new();
            let cut = topic_cut(&topic(&[]), 1, &configs, [&nothing; 3], &mut Notes::default());
            assert!(cut.configs.is_empty(), "{:?}", cut.configs);
            cut.tiered
        };
        let kept = entry("cleanup.policy", "delete");
        for name in ["remote.storage.enable", "confluent.tier.enable"] {
            assert!(of(&[kept.clone(), entry(name, "true")]), "{name}");
            assert!(!of(&[kept.clone(), entry(name, "false")]), "{name}");
        }
        assert!(of(&[kept.clone(), entry("redpanda.storage.mode", "unset")]), "its logs lack offsets anyway");
        assert!(!of(&[kept, entry("preallocate", "true")]));
    }

    #[test]
    fn what_the_cleaner_does_is_unknown_where_no_policy_is_told() {
        let compacted =
            CleanerConfig::of(&[entry("cleanup.policy", "compact,delete"), entry("delete.retention.ms", "100")]);
        assert_eq!((compacted.is_compacted, compacted.delete_retention_ms), (true, Some(100)));
        assert!(CleanerConfig::of(&[entry("delete.retention.ms", "100")]).is_unknown);
        assert!(!CleanerConfig::of(&[entry("cleanup.policy", "delete")]).is_unknown);
    }
}
