//! What a plan depends on: the target, and what an earlier run of the same restore has decided.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Action;
use super::requests::RequestLimit;
use crate::kafka::permissions::{Capabilities, Operations};

/// A topic of the target that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: Uuid,
    /// Whether it belongs to Kafka itself.
    pub internal: bool,
    /// Its partitions.
    pub partitions: usize,
    /// Replicas of the partition that has the fewest.
    pub replicas: usize,
    /// Whether no partition holds a record.
    pub is_empty: bool,
    /// Where its partitions end, by number.
    pub end_offsets: Vec<i64>,
    /// How many replicas have to hold a batch before it counts as written.
    pub min_insync_replicas: i64,
    /// The largest batch that it takes, in bytes.
    pub max_message_bytes: u64,
    /// What is set on the topic itself.
    pub configs: BTreeMap<String, String>,
    /// Every setting that its broker knows, with the value that holds; empty for one that has none.
    pub effective: BTreeMap<String, String>,
    /// What this user may do with it.
    pub operations: Operations,
}

/// The target, as far as a plan depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetFacts {
    /// The cluster's id.
    pub cluster_id: String,
    /// Brokers that are there.
    pub brokers: usize,
    /// Whether this user may not see the settings of brokers, so that Kafka's own defaults are assumed.
    pub lacks_describe_configs: bool,
    /// The cluster's own `min.insync.replicas`.
    pub min_insync_replicas: i64,
    /// The cluster's own `retention.ms`, -1 for without end; none if it does not tell.
    pub retention_ms: Option<i64>,
    /// The cluster's defaults of topic settings, by the name that the setting has on a topic; without those that brokers do not tell, or
    /// in which they differ: each has settings of its own.
    pub defaults: BTreeMap<String, String>,
    /// The smallest `message.max.bytes` of its brokers, the default of the largest batch, in bytes; none if they do not tell.
    pub message_bytes_min: Option<u64>,
    /// The smallest `log.segment.bytes` of its brokers, in bytes; none if they do not tell.
    pub segment_bytes_min: Option<u64>,
    /// The largest request that its brokers take.
    pub request_limit: RequestLimit,
    /// Which requests its brokers serve.
    pub capabilities: Capabilities,
    /// Whether timestamps far behind and ahead have a setting each (Kafka 3.6) or one together.
    pub has_timestamp_before_and_after: bool,
    /// Target topics that are there.
    pub existing: BTreeMap<String, Existing>,
    /// Why the offsets of target groups cannot be committed at this moment, by group.
    pub busy_groups: BTreeMap<String, String>,
}

/// What an earlier run of the same restore has decided and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earlier {
    /// What it does to each target topic; empty when it did not come to that.
    pub actions: BTreeMap<String, Action>,
    /// Target groups whose offsets it has committed.
    pub groups: BTreeSet<String>,
    /// Whether its topics are there, with as many replicas as they get.
    pub has_prepared: bool,
}
