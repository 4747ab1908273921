//! What both groups say of a run, as the engine's own configuration.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};

use jiff::Timestamp;
use kafka_backup::config::DECOMPRESSED_BATCH_BYTES_MAX;
use kafka_backup::config::backup::{
    self, BackupConfig, CHECKPOINT_INTERVAL_SECS, CompressionName, OwnerConfig, PARALLELISM, SEGMENT_BYTES_MAX,
};
use kafka_backup::config::cluster::ClusterConfig;
use kafka_backup::config::restore::{ExistingTopics, RestoreConfig};
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::format::layout::ArchiveName;
use kafka_backup::rate_limit::RateLimit;

use super::{Fields, Refusal, Retention};
use crate::api::compression::Compression;
use crate::api::consumer_groups::{ConsumerGroups, GroupMapping};
use crate::owner::Owner;

/// What a spec says of how a backup works.
#[derive(Debug, Clone, Default)]
pub struct BackupShape {
    /// What the spec calls the settings.
    pub fields: Fields,
    /// Names and expressions.
    pub topics: Vec<String>,
    /// Likewise.
    pub exclude_topics: Vec<String>,
    /// The codec.
    pub compression: Option<CompressionName>,
    /// Its level.
    pub compression_level: Option<i32>,
    /// Workers.
    pub parallelism: Option<i32>,
    /// Seconds between checkpoints; 0 for none.
    pub checkpoint_interval_secs: Option<i64>,
    /// Whether restores add a header with the source's offset.
    pub include_offset_headers: bool,
    /// A name for the cluster.
    pub source_cluster_id: Option<String>,
    /// What may be read in a second.
    pub rate_limit: RateLimit,
}

/// The engine's configuration of a backup.
///
/// # Errors
/// When the engine would refuse it: before a pod is started, not after.
pub fn backup(
    owner: &Owner,
    cluster: ClusterConfig,
    storage: StorageConfig,
    archive: ArchiveName,
    shape: BackupShape,
    retention: Option<&Retention>,
) -> Result<BackupConfig, Refusal> {
    let BackupShape {
        fields,
        topics,
        exclude_topics,
        compression,
        compression_level,
        parallelism,
        checkpoint_interval_secs,
        include_offset_headers,
        source_cluster_id,
        rate_limit,
    } = shape;
    let prefix = owner.name.parse().map_err(|error| Refusal::invalid(format!("metadata.name: {error}")))?;
    let config = BackupConfig {
        cluster,
        storage,
        archive,
        backup_id: None,
        backup_id_of_job: None,
        backup_id_prefix: Some(prefix),
        owner: Some(OwnerConfig {
            group: owner.group.to_owned(),
            kind: owner.kind.as_str().to_owned(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }),
        adopt: false,
        topics,
        exclude_topics,
        consumer_groups: None,
        compression: compression.unwrap_or_default(),
        compression_level,
        parallelism: number(fields, "parallelism", parallelism.map(i64::from), PARALLELISM)?,
        checkpoint_interval_secs: number(
            fields,
            "checkpointIntervalSecs",
            checkpoint_interval_secs,
            CHECKPOINT_INTERVAL_SECS,
        )?,
        segment_bytes_max: SEGMENT_BYTES_MAX,
        rate_limit,
        include_offset_headers,
        source_cluster_id,
        retention: retention.filter(|retention| retention.is_every_run).map(|retention| backup::RetentionConfig {
            max_backups: retention.max_backups,
            max_age: retention.max_age,
        }),
    };
    config.check_values().map_err(|error| fields.refuse(error))?;
    Ok(config)
}

/// What a spec says of how a restore works.
#[derive(Debug, Clone, Default)]
pub struct RestoreShape {
    /// What the spec calls the settings.
    pub fields: Fields,
    /// The archive, where it is known.
    pub archive: Option<ArchiveName>,
    /// The backup; the newest that fits when absent.
    pub backup_id: Option<String>,
    /// RFC 3339.
    pub point_in_time: Option<String>,
    /// RFC 3339.
    pub start_time: Option<String>,
    /// Names and expressions.
    pub topics: Vec<String>,
    /// Likewise.
    pub exclude_topics: Vec<String>,
    /// From the name in the backup.
    pub topic_mapping: BTreeMap<String, String>,
    /// By the name in the backup, from the number in the backup.
    pub partition_mapping: BTreeMap<String, BTreeMap<i32, i32>>,
    /// Whether consumer groups come back, and their other names.
    pub groups: Option<BTreeMap<String, String>>,
    /// Whether records get a header with the source's offset; as the backup says when absent.
    pub offset_header: Option<bool>,
}

/// The engine's configuration of a restore.
///
/// # Errors
/// When the engine would refuse it: before a pod is started, not after.
pub fn restore(
    owner: &Owner,
    cluster: ClusterConfig,
    storage: StorageConfig,
    shape: RestoreShape,
) -> Result<RestoreConfig, Refusal> {
    let RestoreShape {
        fields,
        archive,
        backup_id,
        point_in_time,
        start_time,
        topics,
        exclude_topics,
        topic_mapping,
        partition_mapping,
        groups,
        offset_header,
    } = shape;
    let backup = match backup_id {
        None => None,
        Some(id) => Some(id.parse().map_err(|error| fields.refuse(format!("backupId: {error}")))?),
    };
    let restore_id = format!("{}-{}", owner.name.chars().take(120).collect::<String>(), owner.uid);
    let config = RestoreConfig {
        cluster,
        storage,
        backup,
        archive,
        // One resource is one restore, whichever backup is the newest when a pod is started again.
        restore_id: Some(restore_id.parse().map_err(|error| Refusal::invalid(format!("metadata.name: {error}")))?),
        abandon: None,
        point_in_time,
        start_time,
        topics,
        exclude_topics,
        topic_mapping,
        partition_mapping,
        consumer_groups: groups.as_ref().map(|_| Vec::new()),
        group_mapping: groups.unwrap_or_default(),
        existing_topics: ExistingTopics::Fail,
        replication_factor: None,
        offset_headers: offset_header,
        original_offset_header: None,
        keep_batches: false,
        dry_run: false,
        decompressed_batch_bytes_max: DECOMPRESSED_BATCH_BYTES_MAX,
        parallelism: PARALLELISM,
        rate_limit: RateLimit::default(),
    };
    config.check_values().map_err(|error| fields.refuse(error))?;
    Ok(config)
}

/// The engine's name of a codec.
pub const fn codec(compression: Compression) -> CompressionName {
    match compression {
        Compression::None => CompressionName::None,
        Compression::Gzip => CompressionName::Gzip,
        Compression::Snappy => CompressionName::Snappy,
        Compression::Lz4 => CompressionName::Lz4,
        Compression::Zstd => CompressionName::Zstd,
    }
}

/// Other names of the groups that come back; `None` when none are to.
///
/// # Errors
/// As [`mapping`].
pub fn groups(groups: &ConsumerGroups) -> Result<Option<BTreeMap<String, String>>, Refusal> {
    let ConsumerGroups { restore, mapping } = groups;
    let pairs = mapping.iter().map(|GroupMapping { source_group, target_group }| (source_group, target_group));
    let mapping = self::mapping("spec.consumerGroups.mapping: sourceGroup", pairs)?;
    Ok(restore.then_some(mapping))
}

/// Names and their other names.
///
/// # Errors
/// When a name has two of them.
pub fn mapping<'a>(
    field: &str,
    pairs: impl Iterator<Item = (&'a String, &'a String)>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut mapping = BTreeMap::new();
    for (source, target) in pairs {
        if mapping.insert(source.clone(), target.clone()).is_some_and(|earlier| earlier != *target) {
            return Err(Refusal::invalid(format!("{field} {source:?} is given twice: it can have one other name")));
        }
    }
    Ok(mapping)
}

/// A `KafkaBackup` is referred to that is not there, and no storage is given in its place.
pub fn no_backup(name: Option<&str>) -> Refusal {
    let of = name.map_or_else(String::new, |name| format!(" {name:?}"));
    Refusal::waiting(
        "BackupNotFound",
        format!(
            "there is no KafkaBackup{of} in this namespace: waiting for it; give spec.storage to restore without one"
        ),
    )
}

/// What is wrong with a part of the `KafkaBackup` that a restore refers to, since the restore gives none of its own.
pub fn of_backup(name: Option<&str>, refusal: Refusal) -> Refusal {
    let name = name.map_or_else(String::new, |name| format!(" {name:?}"));
    Refusal { message: format!("KafkaBackup{name}: {}", refusal.message), ..refusal }
}

/// A restore names no cluster, and the `KafkaBackup` whose cluster it would be is not there.
pub fn no_target(name: Option<&str>) -> Refusal {
    let of = name.map_or_else(String::new, |name| format!(" {name:?}"));
    Refusal::waiting(
        "BackupNotFound",
        format!(
            "there is no KafkaBackup{of} in this namespace whose cluster could be written to: give spec.targetCluster"
        ),
    )
}

/// A moment as text.
///
/// # Errors
/// When it is beyond the calendar.
pub fn time(field: &str, millis: i64) -> Result<String, Refusal> {
    let time =
        Timestamp::from_millisecond(millis).map_err(|_| Refusal::invalid(format!("{field} {millis} is no time")))?;
    Ok(format!("{time:.3}"))
}

/// A number of things that are kept.
///
/// # Errors
/// When it is not at least 1.
pub fn count(field: &str, count: Option<i32>) -> Result<Option<NonZeroUsize>, Refusal> {
    let convert = |count| usize::try_from(count).ok().and_then(NonZeroUsize::new);
    count.map(|count| convert(count).ok_or_else(|| Refusal::invalid(format!("{field} must be at least 1")))).transpose()
}

/// A number in a second.
///
/// # Errors
/// When it is not at least 1.
pub fn rate(field: &str, rate: Option<i64>) -> Result<Option<NonZeroU64>, Refusal> {
    let convert = |rate| u64::try_from(rate).ok().and_then(NonZeroU64::new);
    rate.map(|rate| convert(rate).ok_or_else(|| Refusal::invalid(format!("{field} must be at least 1")))).transpose()
}

fn number<T: TryFrom<i64>>(fields: Fields, setting: &str, given: Option<i64>, default: T) -> Result<T, Refusal> {
    match given {
        None => Ok(default),
        Some(number) => T::try_from(number).map_err(|_| fields.refuse(format!("{setting} {number} is out of range"))),
    }
}
